/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <weir/group.h>
#include <weir/sync.h>

#include "test.h"

TASK(a_mutex_is_taken_once)
{
	weir_ctx late = weir_ctx_deadline(ctx, weir_now());
	weir_mutex m;

	weir_mutex_init(&m);
	CHECK_EQ(weir_mutex_lock(ctx, &m), 0);
	CHECK_EQ(weir_mutex_try_lock(&m), -EAGAIN);
	CHECK_EQ(weir_mutex_lock(&late, &m), -ETIMEDOUT);
	weir_mutex_unlock(&m);
	CHECK_EQ(weir_mutex_try_lock(&m), 0);
	weir_mutex_unlock(&m);
	CHECK_EQ(weir_mutex_lock(&late, &m), 0);
	weir_mutex_unlock(&m);
}

TASK(stop_comes_before_a_free_mutex)
{
	weir_mutex m;
	weir_ctx sub;

	weir_mutex_init(&m);
	CHECK_EQ(weir_scope_open(ctx, &sub), 0);
	weir_scope_cancel(sub.scope, -ECANCELED, "test");
	CHECK_EQ(weir_mutex_lock(&sub, &m), -ECANCELED);
	CHECK_EQ(weir_mutex_try_lock(&m), 0);
	weir_mutex_unlock(&m);
	weir_scope_close(sub.scope);
}

struct shared {
	weir_mutex m;
	long count, expected; /* count under m */
	int turns;
	bool hurried;
};

/* Adds one at a time, sometimes waiting in the middle, sometimes leaving early. */
static int adder(const weir_ctx *ctx, void *arg)
{
	struct shared *s = arg;

	for (int n = 0; n < s->turns; n++) {
		weir_ctx soon = *ctx;
		long seen;
		int r;

		if (s->hurried && weir_random(2))
			soon = weir_ctx_deadline(ctx, weir_now() + WEIR_US(weir_random(5)));
		r = weir_random(4) ? weir_mutex_lock(&soon, &s->m) : weir_mutex_try_lock(&s->m);
		if (r < 0) {
			CHECK(r == -ETIMEDOUT || r == -EAGAIN || r == -ECANCELED);
			continue;
		}
		seen = s->count;
		if (s->hurried && weir_random(3) == 0)
			(void)weir_sleep(ctx, WEIR_US(weir_random(4)));
		else if (weir_random(16) == 0)
			(void)weir_yield(ctx);
		s->count = seen + 1;
		__atomic_add_fetch(&s->expected, 1, __ATOMIC_RELAXED);
		weir_mutex_unlock(&s->m);
	}
	return 0;
}

static void add_up(const weir_ctx *ctx, int turns, bool hurried)
{
	struct shared s = { .turns = turns, .hurried = hurried };
	weir_group g;

	weir_mutex_init(&s.m);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(weir_group_go_on(&g, (int)weir_random((uint32_t)weir_worker_count()),
		                          adder, &s),
		         0);
	if (hurried && weir_random(4) == 0) {
		(void)weir_sleep(ctx, WEIR_US(weir_random(6)));
		weir_group_cancel(&g);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(s.count, s.expected);
	CHECK_EQ(weir_mutex_try_lock(&s.m), 0);
	weir_mutex_unlock(&s.m);
}

SIM(one_at_a_time_and_nobody_is_forgotten_over_seeds, 10000)
{
	add_up(ctx, 4, true);
}

TASK(one_at_a_time_and_nobody_is_forgotten_on_workers)
{
	add_up(ctx, 20000, false);
	for (int n = 0; n < 50; n++)
		add_up(ctx, 20, true);
}

struct hog {
	weir_mutex m;
	int64_t hold_ns;
	int turns;
	bool other_had_it;
};

static int patient(const weir_ctx *ctx, void *arg)
{
	struct hog *h = arg;

	CHECK_EQ(weir_mutex_lock(ctx, &h->m), 0);
	h->other_had_it = true;
	weir_mutex_unlock(&h->m);
	return 0;
}

/* Takes it again right after each unlock. The turn in which the other got in between. */
static int hog(const weir_ctx *ctx, int64_t hold_ns)
{
	struct hog h = { .hold_ns = hold_ns };
	weir_group g;
	int turn;

	weir_mutex_init(&h.m);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_mutex_lock(ctx, &h.m), 0);
	CHECK_EQ(weir_group_go(&g, patient, &h), 0);
	for (turn = 1;; turn++) {
		CHECK_EQ(weir_sleep(ctx, h.hold_ns), 0);
		weir_mutex_unlock(&h.m);
		CHECK_EQ(weir_mutex_lock(ctx, &h.m), 0);
		if (h.other_had_it)
			break;
	}
	weir_mutex_unlock(&h.m);
	CHECK_EQ(weir_group_wait(&g), 0);
	return turn;
}

SIM(who_has_waited_for_a_millisecond_gets_it_handed_over, 50)
{
	CHECK(hog(ctx, WEIR_MS(2)) == 1);
	CHECK(hog(ctx, WEIR_US(250)) <= 5);
}

static void unlock_free(void)
{
	weir_mutex m;

	weir_mutex_init(&m);
	weir_mutex_unlock(&m);
}

TEST(unlocking_a_free_mutex_aborts)
{
	CHECK_DIES(unlock_free, "weir_mutex_unlock: the mutex is not locked");
}

static int lock_it(const weir_ctx *ctx, void *arg)
{
	return weir_mutex_lock(ctx, arg);
}

/* It is on its way to try again, when its context ends and another takes the mutex. */
TASK(a_waiter_cancelled_between_two_tries_leaves)
{
	weir_mutex m;
	weir_group g;

	weir_mutex_init(&m);
	CHECK_EQ(weir_mutex_lock(ctx, &m), 0);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), lock_it, &m), 0);
	weir_yield(ctx);
	weir_mutex_unlock(&m);
	CHECK_EQ(weir_mutex_try_lock(&m), 0);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_mutex_unlock(&m);
	CHECK_EQ(weir_mutex_lock(ctx, &m), 0);
	weir_mutex_unlock(&m);
}

struct passed_on {
	weir_mutex m;
	long count; /* under m */
	uint32_t come;
	bool free_it;
};

static void once_more(const weir_ctx *ctx, struct passed_on *p)
{
	CHECK_EQ(weir_mutex_lock(ctx, &p->m), 0);
	p->count++;
	weir_mutex_unlock(&p->m);
}

static int comes_later(const weir_ctx *ctx, void *arg)
{
	struct passed_on *p = arg;

	for (int i = 0; i < 500; i++)
		once_more(ctx, p);
	__atomic_store_n(&p->come, 1, __ATOMIC_RELEASE);
	return 0;
}

/* Long enough for the first worker to have it without atomics when the second comes, at any
 * moment. */
TASK(a_mutex_of_one_worker_becomes_one_of_two)
{
	for (int round = 0; round < 300; round++) {
		struct passed_on p = { .count = 0 };
		long own = 0;
		weir_group g;

		weir_mutex_init(&p.m);
		for (; own < 100; own++)
			once_more(ctx, &p);
		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go_on(&g, !weir_worker(), comes_later, &p), 0);
		for (; !__atomic_load_n(&p.come, __ATOMIC_ACQUIRE); own++)
			once_more(ctx, &p);
		CHECK_EQ(weir_group_wait(&g), 0);
		CHECK(p.count == own + 500);
	}
}

static int waits_for_it(const weir_ctx *ctx, void *arg)
{
	struct passed_on *p = arg;

	__atomic_store_n(&p->come, 1, __ATOMIC_RELEASE);
	once_more(ctx, p);
	return 0;
}

/* Its own worker's tasks wait for it, one leaves, and another worker comes while it is held. */
TASK(a_mutex_held_by_its_worker_is_waited_for)
{
	for (int round = 0; round < 50; round++) {
		struct passed_on p = { .count = 0 };
		int here = weir_worker();
		weir_ctx soon;
		weir_group g;

		weir_mutex_init(&p.m);
		for (int i = 0; i < 100; i++)
			once_more(ctx, &p);
		CHECK_EQ(weir_mutex_lock(ctx, &p.m), 0);
		soon = weir_ctx_deadline(ctx, weir_now());
		CHECK_EQ(weir_mutex_lock(&soon, &p.m), -ETIMEDOUT);
		weir_group_init(&g, ctx);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(weir_group_go_on(&g, here, waits_for_it, &p), 0);
		weir_yield(ctx);
		if (round & 1) {
			p.come = 0;
			CHECK_EQ(weir_group_go_on(&g, !here, waits_for_it, &p), 0);
			while (!__atomic_load_n(&p.come, __ATOMIC_ACQUIRE))
				weir_yield(ctx);
		}
		weir_mutex_unlock(&p.m);
		CHECK_EQ(weir_group_wait(&g), 0);
		CHECK(p.count == 103 + (round & 1));
	}
}

static int takes_and_frees(const weir_ctx *ctx, void *arg)
{
	struct passed_on *p = arg;

	__atomic_store_n(&p->come, 1, __ATOMIC_RELEASE);
	for (;;) {
		CHECK_EQ(weir_mutex_lock(ctx, &p->m), 0);
		if (p->free_it)
			break;
		weir_mutex_unlock(&p->m);
	}
	weir_mutex_unlock(&p->m);
	free(p);
	return 0;
}

/* The first touches nothing of it once it has unlocked it for the last time. */
TASK(who_has_a_mutex_next_may_free_it)
{
	for (int round = 0; round < 100; round++) {
		struct passed_on *p = calloc(1, sizeof *p);
		weir_group g;

		CHECK(p != NULL);
		weir_mutex_init(&p->m);
		for (int i = 0; i < 100; i++)
			once_more(ctx, p);
		weir_group_init(&g, ctx);
		CHECK_EQ(weir_mutex_lock(ctx, &p->m), 0);
		CHECK_EQ(weir_group_go_on(&g, !weir_worker(), takes_and_frees, p), 0);
		while (round & 1 && !__atomic_load_n(&p->come, __ATOMIC_ACQUIRE))
			weir_yield(ctx);
		p->free_it = true;
		weir_mutex_unlock(&p->m);
		CHECK_EQ(weir_group_wait(&g), 0);
	}
}

static void *try_it(void *arg)
{
	weir_mutex *m = arg;

	CHECK_EQ(weir_mutex_try_lock(m), 0);
	CHECK_EQ(weir_mutex_try_lock(m), -EAGAIN);
	weir_mutex_unlock(m);
	return NULL;
}

/* After `uses` by this worker: before it has the mutex without atomics, and after. */
static void foreign_thread_after(const weir_ctx *ctx, int uses)
{
	struct passed_on p = { .count = 0 };
	pthread_t thread;

	weir_mutex_init(&p.m);
	for (int i = 0; i < uses; i++)
		once_more(ctx, &p);
	CHECK_EQ(pthread_create(&thread, NULL, try_it, &p.m), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	for (int i = 0; i < uses; i++)
		once_more(ctx, &p);
	CHECK_EQ(weir_mutex_try_lock(&p.m), 0);
	weir_mutex_unlock(&p.m);
}

TASK(a_foreign_thread_tries_a_mutex_that_a_worker_used)
{
	foreign_thread_after(ctx, 0);
	foreign_thread_after(ctx, 5);
	foreign_thread_after(ctx, 100);
}
