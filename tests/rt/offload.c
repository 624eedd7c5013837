/* SPDX-License-Identifier: MIT */
/* Offload: both ways out of a blocking call. */
#include "test.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <weir/weir.h>

static int answer(void *arg)
{
	return *(int *)arg + 1;
}

TASK(offload_gives_the_functions_result)
{
	int v = 41;

	CHECK_EQ(weir_offload(ctx, answer, &v, NULL), 42);
	CHECK_EQ(weir_offload_interruptible(ctx, answer, &v, NULL), 42);
}

struct blocked {
	sem_t go, dropped;
	weir_latch started;
	int result;
};

static int block(void *arg)
{
	struct blocked *b = arg;

	while (sem_wait(&b->go) < 0)
		;
	return 7;
}

static void drop(void *arg)
{
	struct blocked *b = arg;
	sem_post(&b->dropped);
}

TASK(offload_left_early_drops_the_argument_after_its_end)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5));
	struct blocked b;

	sem_init(&b.go, 0, 0);
	sem_init(&b.dropped, 0, 0);
	CHECK_EQ(weir_offload(&soon, block, &b, drop), -ETIMEDOUT);
	CHECK(sem_trywait(&b.dropped) < 0);
	sem_post(&b.go);
	sem_wait(&b.dropped);
}

static void interrupt(void *arg)
{
	struct blocked *b = arg;
	sem_post(&b->go);
}

static int start_and_block(void *arg)
{
	struct blocked *b = arg;

	weir_latch_down(&b->started);
	return block(b);
}

static int interruptible(const weir_ctx *ctx, void *arg)
{
	struct blocked *b = arg;

	b->result = weir_offload_interruptible(ctx, start_and_block, b, interrupt);
	return 0;
}

TASK(offload_interrupted_returns_only_when_the_function_has)
{
	struct blocked b = { .result = 0 };
	weir_group g;

	sem_init(&b.go, 0, 0);
	weir_latch_init(&b.started, 1);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, interruptible, &b), 0);
	CHECK_EQ(weir_latch_wait(ctx, &b.started), 0);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(b.result, 7);
}

static int many(const weir_ctx *ctx, void *arg)
{
	int *v = malloc(sizeof *v);

	(void)arg;
	*v = 1;
	weir_ctx soon =
		weir_ctx_timeout(ctx, weir_random(3) ? WEIR_SEC(10) : WEIR_US(weir_random(1000)));
	int r = weir_offload(&soon, answer, v, free);
	if (r == 2)
		free(v);
	else
		CHECK(r == -ETIMEDOUT || r == -ECANCELED);
	return 0;
}

SIM(offload_ends_and_leaves_race, 3000)
{
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_group_go(&g, many, NULL), 0);
	if (weir_random(2)) {
		weir_sleep(ctx, WEIR_US(weir_random(1000)));
		weir_group_cancel(&g);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	/* Those left behind end by themselves. */
	weir_sleep(ctx, WEIR_MS(10));
}

TASK(offload_many_at_a_time)
{
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 500; i++)
		CHECK_EQ(weir_group_go(&g, many, NULL), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}

static int mark(void *arg)
{
	*(bool *)arg = true;
	return 3;
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Who leaves before the start waits again at the same place of the stack. */
static int mark_within(const weir_ctx *ctx, int64_t ns)
{
	weir_ctx soon = weir_ctx_timeout(ctx, ns);
	bool ran = false;
	int r = weir_offload_interruptible(&soon, mark, &ran, nothing);

	CHECK_EQ(r, ran ? 3 : -ETIMEDOUT);
	return r;
}

SIM(a_call_that_left_before_its_start_does_not_end_the_next_one, 500)
{
	for (int i = 0; i < 5; i++)
		mark_within(ctx, WEIR_US(10));
	CHECK_EQ(mark_within(ctx, WEIR_SEC(1)), 3);
	weir_sleep(ctx, WEIR_MS(10));
}

struct meeting {
	sem_t here, there;
};

static int meet_first(void *arg)
{
	struct meeting *m = arg;

	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	sem_post(&m->here);
	return sem_timedwait(&m->there, &until) < 0 ? -EIO : 0;
}

static int meet_second(void *arg)
{
	struct meeting *m = arg;

	while (sem_wait(&m->here) < 0)
		;
	sem_post(&m->there);
	return 0;
}

static int go_first(const weir_ctx *ctx, void *arg)
{
	return weir_offload(ctx, meet_first, arg, NULL);
}

static int go_second(const weir_ctx *ctx, void *arg)
{
	return weir_offload(ctx, meet_second, arg, NULL);
}

/* One thread is idle, and two calls come before it has woken: each gets a thread. */
TASK(a_blocked_call_does_not_hold_up_the_next_one)
{
	struct meeting m;
	weir_group g;
	int v = 1;

	sem_init(&m.here, 0, 0);
	sem_init(&m.there, 0, 0);
	CHECK_EQ(weir_offload(ctx, answer, &v, NULL), 2);
	weir_sleep(ctx, WEIR_MS(20)); /* The thread is on its way to be idle; nothing tells when. */
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), go_first, &m), 0);
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), go_second, &m), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}

/* ---- the end ---- */

static pthread_key_t of_thread;
static int ended; /* atomic */

/* What a library frees for a thread; here it takes its time. */
static void end_of_thread(void *value)
{
	struct timespec a_while = { .tv_nsec = 50 * 1000 * 1000 };

	(void)value;
	nanosleep(&a_while, NULL);
	__atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED);
}

static int note_thread(void *arg)
{
	return -pthread_setspecific(of_thread, arg);
}

static void wait_for_it(void *arg)
{
	(void)arg;
}

static int offload_both_ways(const weir_ctx *ctx, void *arg)
{
	CHECK_EQ(weir_offload(ctx, note_thread, arg, NULL), 0);
	CHECK_EQ(weir_offload_interruptible(ctx, note_thread, arg, wait_for_it), 0);
	return 0;
}

/* Else it meets the end of the process, where libraries free what is of all threads. */
TEST(what_is_done_at_a_threads_end_is_over_when_the_run_is)
{
	weir_options two = { .workers = 2 };

	CHECK_EQ(pthread_key_create(&of_thread, end_of_thread), 0);
	for (int run = 1; run <= 2; run++) {
		CHECK_EQ(weir_run(&two, offload_both_ways, &two), 0);
		CHECK_EQ(__atomic_load_n(&ended, __ATOMIC_RELAXED), 2 * run);
	}
}
