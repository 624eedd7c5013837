/* SPDX-License-Identifier: MIT */
/* Threads that are none of the runtime's, and the end of a run. */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include <weir/chan.h>
#include <weir/group.h>

#include "test.h"

static void *releases(void *arg)
{
	weir_group_release(arg);
	return NULL;
}

static int waits_for_a_release(const weir_ctx *ctx, void *arg)
{
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_hold(&g), 0);
	CHECK_EQ(pthread_create(arg, NULL, releases, &g), 0);
	return weir_group_wait(&g);
}

TEST(a_run_may_end_by_what_a_foreign_thread_does)
{
	for (int i = 0; i < 300; i++) {
		pthread_t thread;

		CHECK_EQ(weir_run(&(weir_options){ .workers = 2 }, waits_for_a_release, &thread),
		         0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
}

static uint32_t runs_on; /* atomic */

static void *stops(void *arg)
{
	while (__atomic_load_n(&runs_on, __ATOMIC_ACQUIRE))
		weir_stop();
	return arg;
}

static int until_stopped(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);

	(void)arg;
	CHECK_EQ(weir_sleep(&live, WEIR_HOUR(1)), -ESHUTDOWN);
	return 0;
}

TEST(a_stop_may_come_before_during_and_after_a_run)
{
	pthread_t thread;
	FILE *log = freopen("/dev/null", "w", stderr);

	CHECK(log != NULL);
	runs_on = 1;
	CHECK_EQ(pthread_create(&thread, NULL, stops, NULL), 0);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(weir_run(&(weir_options){ .workers = 2 }, until_stopped, NULL), 0);
	__atomic_store_n(&runs_on, 0, __ATOMIC_RELEASE);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static int receives(const weir_ctx *ctx, void *arg)
{
	int v;

	CHECK_EQ(weir_chan_recv(ctx, arg, &v), 1);
	return v;
}

static void *sends_late(void *arg)
{
	int v = 7;

	usleep(300000); /* Longer than the supervisor takes to see that all wait. */
	CHECK_EQ(weir_chan_try_send(arg, &v), 0);
	return NULL;
}

TEST(a_foreign_channel_from_before_the_run_is_a_way_out_of_its_waits)
{
	weir_chan *c = weir_chan_new_foreign(sizeof(int), 1);
	char said[4096];
	pthread_t thread;
	int out[2];
	ssize_t n;

	CHECK(c != NULL && pipe2(out, O_NONBLOCK) == 0);
	dup2(out[1], STDERR_FILENO);
	CHECK_EQ(pthread_create(&thread, NULL, sends_late, c), 0);
	CHECK_EQ(weir_run(&(weir_options){ .workers = 2 }, receives, c), 7);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	n = read(out[0], said, sizeof said - 1);
	said[n > 0 ? n : 0] = 0;
	CHECK(!strstr(said, "deadlock"));
	weir_chan_free(c);
}
