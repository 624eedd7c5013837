/* SPDX-License-Identifier: MIT */
#include <weir/group.h>
#include <weir/sync.h>

#include "test.h"

SIM(a_burst_goes_at_once_and_the_rest_at_the_rate, 10)
{
	int64_t from = weir_now();
	weir_rate r;

	weir_rate_init(&r, 100.0, 5);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_rate_wait(ctx, &r), 0);
	CHECK_EQ(weir_now(), from);
	for (int i = 1; i <= 100; i++) {
		CHECK_EQ(weir_rate_wait(ctx, &r), 0);
		CHECK_EQ(weir_now(), from + i * WEIR_MS(10));
	}
}

SIM(an_idle_time_fills_the_burst_and_no_more, 10)
{
	weir_rate r;

	weir_rate_init(&r, 10.0, 3);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_rate_try(&r), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(60)), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_rate_try(&r), 0);
	CHECK_EQ(weir_rate_try(&r), -EAGAIN);
}

SIM(next_says_when_one_is_free, 10)
{
	weir_rate r;

	weir_rate_init(&r, 4.0, 1);
	CHECK_EQ(weir_rate_next(&r), 0);
	CHECK_EQ(weir_rate_try(&r), 0);
	CHECK_EQ(weir_rate_next(&r), WEIR_MS(250));
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(249)), 0);
	CHECK_EQ(weir_rate_try(&r), -EAGAIN);
	CHECK_EQ(weir_rate_next(&r), WEIR_MS(1));
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	CHECK_EQ(weir_rate_try(&r), 0);
}

SIM(a_waiter_whose_context_ends_has_used_nothing_up, 10)
{
	weir_ctx soon = weir_ctx_deadline(ctx, weir_now() + WEIR_MS(100));
	weir_rate r;

	weir_rate_init(&r, 1.0, 1);
	CHECK_EQ(weir_rate_try(&r), 0);
	CHECK_EQ(weir_rate_wait(&soon, &r), -ETIMEDOUT);
	CHECK_EQ(weir_rate_next(&r), WEIR_MS(900));
}

TASK(stop_comes_before_a_free_token)
{
	weir_rate r;
	weir_ctx sub;

	weir_rate_init(&r, 1.0, 1);
	CHECK_EQ(weir_scope_open(ctx, &sub), 0);
	weir_scope_cancel(sub.scope, -ECANCELED, "test");
	CHECK_EQ(weir_rate_wait(&sub, &r), -ECANCELED);
	CHECK_EQ(weir_rate_try(&r), 0);
	weir_scope_close(sub.scope);
}

struct crowd {
	weir_rate rate;
	int served, turns;
	int64_t limit_ns;
};

static int visitor(const weir_ctx *ctx, void *arg)
{
	struct crowd *c = arg;

	for (int n = 0; n < c->turns; n++) {
		weir_ctx soon = *ctx;
		int r;

		if (c->limit_ns)
			soon = weir_ctx_deadline(ctx, weir_now() + 1 +
			                                      weir_random((uint32_t)c->limit_ns));
		r = weir_rate_wait(&soon, &c->rate);
		if (r == 0)
			__atomic_add_fetch(&c->served, 1, __ATOMIC_RELAXED);
		else
			CHECK(r == -ETIMEDOUT || r == -ECANCELED);
	}
	return 0;
}

/* More callers than the rate serves, who all leave early: the rate is used in full all the same. */
SIM(callers_who_give_up_do_not_starve_the_others, 20)
{
	struct crowd c = { .turns = 100, .limit_ns = WEIR_MS(300) };
	int64_t from = weir_now(), took;
	weir_group g;

	weir_rate_init(&c.rate, 10.0, 1);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(weir_group_go(&g, visitor, &c), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	took = weir_now() - from;
	CHECK(c.served >= took / WEIR_MS(100) * 8 / 10);
	CHECK(c.served <= took / WEIR_MS(100) + 1);
}

static void race(const weir_ctx *ctx)
{
	struct crowd c = { .turns = 4, .limit_ns = weir_random(2) ? 6000 : 0 };
	int64_t from = weir_now(), took;
	weir_group g;

	weir_rate_init(&c.rate, 1e6, 1 + weir_random(3));
	weir_group_init(&g, ctx);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_group_go_on(&g, (int)weir_random((uint32_t)weir_worker_count()),
		                          visitor, &c),
		         0);
	if (weir_random(4) == 0) {
		(void)weir_sleep(ctx, WEIR_US(weir_random(6)));
		weir_group_cancel(&g);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	took = weir_now() - from;
	CHECK(c.served <= took / 1000 + 3);
	/* Nobody is left in line. */
	CHECK_EQ(weir_sleep(ctx, WEIR_US(30)), 0);
	CHECK_EQ(weir_rate_try(&c.rate), 0);
}

SIM(the_line_moves_on_whoever_leaves_it_over_seeds, 10000)
{
	race(ctx);
}

TASK(the_line_moves_on_whoever_leaves_it_on_workers)
{
	for (int n = 0; n < 100; n++)
		race(ctx);
}

static void no_rate(void)
{
	weir_rate r;

	weir_rate_init(&r, 0.0, 1);
}

TEST(a_rate_of_zero_aborts)
{
	CHECK_DIES(no_rate, "weir_rate_init: a rate must be above 0");
}
