/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/lockfile.h"

enum { THREADS = 4, ROUNDS = 500 };

static char file[64];
static int holders, most, taken; /* atomic */

/* A lock belongs to an open file, so threads exclude each other as processes do. */
static void *take_and_remove(void *arg)
{
	char pid[WEIR__LOCKFILE_PID];

	(void)arg;
	for (int i = 0; i < ROUNDS;) {
		int fd = weir__lockfile(file, pid), n;

		if (fd < 0) {
			CHECK_EQ(fd, -EBUSY);
			sched_yield();
			continue;
		}
		n = __atomic_add_fetch(&holders, 1, __ATOMIC_SEQ_CST);
		if (n > 1)
			__atomic_store_n(&most, n, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&taken, 1, __ATOMIC_SEQ_CST);
		sched_yield();
		__atomic_sub_fetch(&holders, 1, __ATOMIC_SEQ_CST);
		weir__lockfile_remove(fd, file);
		i++;
	}
	return NULL;
}

TEST(a_lock_file_that_its_holder_removes_never_has_two_holders)
{
	pthread_t t[THREADS];

	snprintf(file, sizeof file, "/tmp/weir-lockfile-%ld", (long)getpid());
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, take_and_remove, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	CHECK_EQ(most, 0);
	CHECK_EQ(taken, THREADS * ROUNDS);
	CHECK(access(file, F_OK) < 0);
}

TEST(a_lock_file_that_somebody_else_put_in_its_place_is_not_removed)
{
	char pid[WEIR__LOCKFILE_PID];
	int mine, other;

	snprintf(file, sizeof file, "/tmp/weir-lockfile-%ld", (long)getpid());
	mine = weir__lockfile(file, pid);
	CHECK(mine >= 0);
	CHECK_EQ(weir__lockfile(file, pid), -EBUSY);
	CHECK_EQ(atol(pid), getpid());
	CHECK_EQ(unlink(file), 0);
	other = weir__lockfile(file, pid);
	CHECK(other >= 0);
	weir__lockfile_remove(mine, file);
	CHECK_EQ(access(file, F_OK), 0);
	weir__lockfile_remove(other, file);
	CHECK(access(file, F_OK) < 0);
}
