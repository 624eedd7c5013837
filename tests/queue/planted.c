/* SPDX-License-Identifier: MIT */
/*
 * Does the storm find bugs? The code of leases is compiled into this test once more, with bugs to
 * switch on; each must be found within 1000 seeds.
 */
enum planted { NONE, LEAKED_LEASE, DOUBLE_DELIVERY, NO_FENCE, LOST_WAKEUP };
static enum planted planted;
#define WEIR__PLANT(bug) (planted == (bug))

#include <ftw.h>

#include "../../src/queue/lease.c"
#include "queue/storm.h"

static int one(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	storm(ctx);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void search(void);

/* A storm that dies leaves its spool behind: in a directory of ours. */
static void must_find(enum planted bug)
{
	char dir[64];

	snprintf(dir, sizeof dir, "%s/weir-planted-XXXXXX",
	         access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	CHECK(mkdtemp(dir));
	setenv("TMPDIR", dir, 1);
	planted = bug;
	CHECK_DIES(search, "storm.h");
	CHECK_EQ(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void search(void)
{
	for (uint64_t seed = 1; seed <= 1000; seed++)
		if (weir_sim(seed, one, NULL) != 0)
			test_fail("planted.c", __LINE__, "seed %llu", (unsigned long long)seed);
}

TEST(without_a_planted_bug_a_hundred_seeds_find_none)
{
	for (uint64_t seed = 1; seed <= 100; seed++)
		CHECK_EQ(weir_sim(seed, one, NULL), 0);
}

TEST(a_leaked_lease_is_found)
{
	must_find(LEAKED_LEASE);
}

TEST(a_double_delivery_is_found)
{
	must_find(DOUBLE_DELIVERY);
}

TEST(a_late_ack_that_is_taken_is_found)
{
	must_find(NO_FENCE);
}

TEST(a_lost_wake_up_is_found)
{
	must_find(LOST_WAKEUP);
}
