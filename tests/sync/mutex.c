/* SPDX-License-Identifier: MIT */
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
