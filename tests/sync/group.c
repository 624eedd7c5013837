/* SPDX-License-Identifier: MIT */
/* Groups and scopes: joins, errors, drain and cancel, and all of them racing. */
#include "test.h"

#include <weir/weir.h>

static int add_one(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
	return 0;
}

static int fail_io(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	return -EIO;
}

static int sleep_long(const weir_ctx *ctx, void *arg)
{
	int r = weir_sleep(ctx, WEIR_HOUR(1));

	if (arg)
		*(int *)arg = r;
	return r;
}

static int sleep_until_drain(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);

	*(int *)arg = weir_sleep(&live, WEIR_HOUR(1));
	return *(int *)arg;
}

TASK(group_joins_all_its_tasks)
{
	weir_group g;
	int n = 0;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(weir_group_go(&g, add_one, &n), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(n, 1000);
	CHECK_EQ(weir_task_count(), 1);
}

static int yields_once(const weir_ctx *ctx, void *arg)
{
	weir_group g;
	int n = 0;

	(void)arg;
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, add_one, &n), 0);
	CHECK_EQ(weir_yield(ctx), 0);
	CHECK_EQ(n, 1);
	return weir_group_wait(&g);
}

TEST(yield_lets_a_new_task_run)
{
	weir_options one = { .workers = 1 };

	CHECK_EQ(weir_run(&one, yields_once, NULL), 0);
}

TASK(group_wait_gives_the_first_error)
{
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, fail_io, NULL), 0);
	CHECK_EQ(weir_group_wait(&g), -EIO);
}

TASK(group_cancel_on_error_ends_the_others)
{
	weir_group g;
	int r = 0;

	weir_group_init(&g, ctx);
	weir_group_cancel_on_error(&g);
	CHECK_EQ(weir_group_go(&g, sleep_long, &r), 0);
	CHECK_EQ(weir_group_go(&g, fail_io, NULL), 0);
	CHECK_EQ(weir_group_wait(&g), -EIO);
	CHECK_EQ(r, -ECANCELED);
}

TASK(group_cancel_reaches_tasks_on_every_worker)
{
	weir_group g;
	int r[64] = { 0 };

	weir_group_init(&g, ctx);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(weir_group_go_on(&g, i % weir_worker_count(), sleep_long, &r[i]), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(5)), 0);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(r[i], -ECANCELED);
}

TASK(group_drain_ends_only_waits_until_drain)
{
	weir_group g;
	int until = 0, n = 0;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, sleep_until_drain, &until), 0);
	weir_group_drain(&g);
	CHECK_EQ(weir_group_go(&g, add_one, &n), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(until, -ESHUTDOWN);
	CHECK_EQ(n, 1);
}

TASK(group_go_after_cancel_fails)
{
	weir_group g;
	int n = 0;

	weir_group_init(&g, ctx);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_go(&g, add_one, &n), -ECANCELED);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(n, 0);
}

static int waits_for_own_group(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	CHECK_EQ(weir_group_wait(arg), -EDEADLK);
	return 0;
}

TASK(group_wait_from_its_own_task_is_refused)
{
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, waits_for_own_group, &g), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}

static int under_parent(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	return weir_sleep(arg, WEIR_HOUR(1)); /* the parent's context, not its own */
}

TASK(a_wait_under_the_parents_context_hears_its_own_group)
{
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, under_parent, (void *)ctx), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(2)), 0);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
}

TASK(deadline_ends_a_wait_and_never_early)
{
	for (int i = 0; i < 20; i++) {
		int64_t from = weir_now();
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(3));

		CHECK_EQ(weir_sleep(&soon, WEIR_SEC(10)), -ETIMEDOUT);
		CHECK(weir_now() - from >= WEIR_MS(3));
	}
}

TASK(timeout_after_long_computing_is_counted_from_now)
{
	int64_t from = weir_now();

	while (weir_now() - from < WEIR_MS(60))
		;
	from = weir_now();
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(20));
	CHECK_EQ(weir_sleep(&soon, WEIR_SEC(10)), -ETIMEDOUT);
	CHECK(weir_now() - from >= WEIR_MS(20));
}

TASK(shield_is_deaf_to_cancel_and_ends_by_its_own_time)
{
	weir_ctx inner, shield;

	CHECK_EQ(weir_scope_open(ctx, &inner), 0);
	weir_scope_cancel(inner.scope, -EIO, "a test");
	CHECK_EQ(weir_sleep(&inner, 0), -ECANCELED);
	shield = weir_ctx_shield(&inner, WEIR_SEC(60)); /* Long enough on any machine. */
	CHECK_EQ(weir_sleep(&shield, WEIR_MS(1)), 0);
	shield = weir_ctx_shield(&inner, WEIR_MS(5));
	CHECK_EQ(weir_sleep(&shield, WEIR_SEC(60)), -ETIMEDOUT);
	weir_scope_close(inner.scope);
}

TASK(cancel_has_a_cause_that_can_be_read)
{
	weir_ctx inner;
	const char *why;

	CHECK_EQ(weir_scope_open(ctx, &inner), 0);
	CHECK_EQ(weir_ctx_cause(&inner, &why), 0);
	weir_scope_cancel(inner.scope, -ETIMEDOUT, "handler timeout");
	weir_scope_cancel(inner.scope, -EIO, "too late to be the cause");
	CHECK_EQ(weir_ctx_cause(&inner, &why), -ETIMEDOUT);
	CHECK_STR(why, "handler timeout");
	weir_scope_close(inner.scope);
}

struct counted {
	weir_hook hook;
	int drains, cancels;
};

static void count_hook(weir_hook *h, int step)
{
	struct counted *c = (struct counted *)h;

	if (step == WEIR_DRAIN)
		c->drains++;
	else
		c->cancels++;
}

TASK(hooks_hear_each_step_once)
{
	struct counted c = { .hook.fn = count_hook };
	weir_ctx inner;

	CHECK_EQ(weir_scope_open(ctx, &inner), 0);
	CHECK_EQ(weir_hook_add(inner.scope, &c.hook), 0);
	weir_scope_drain(inner.scope);
	weir_scope_drain(inner.scope);
	CHECK_EQ(c.drains, 1);
	weir_scope_cancel(inner.scope, -ECANCELED, NULL);
	weir_scope_cancel(inner.scope, -ECANCELED, NULL);
	CHECK_EQ(c.cancels, 1);
	weir_hook_remove(&c.hook);
	weir_scope_close(inner.scope);
}

TASK(a_hook_that_holds_the_drain_passes_it_on_later)
{
	struct counted c = { .hook = { .fn = count_hook, .holds_drain = true } };
	weir_ctx outer, inner, live;

	CHECK_EQ(weir_scope_open(ctx, &outer), 0);
	CHECK_EQ(weir_hook_add(outer.scope, &c.hook), 0);
	CHECK_EQ(weir_scope_open(&outer, &inner), 0);
	live = weir_ctx_until_drain(&inner);
	weir_scope_drain(outer.scope);
	CHECK_EQ(c.drains, 1);
	CHECK_EQ(weir_ctx_err(&live), 0);
	weir_scope_drain_members(outer.scope);
	CHECK_EQ(weir_ctx_err(&live), -ESHUTDOWN);
	weir_scope_close(inner.scope);
	weir_hook_remove(&c.hook);
	weir_scope_close(outer.scope);
}

/* A tree of groups whose tasks sleep, yield and make groups of their own, stopped at a random
 * moment. */
struct tree {
	int depth;
};

static int grow(const weir_ctx *ctx, void *arg)
{
	struct tree below = { ((struct tree *)arg)->depth - 1 };
	weir_group g;
	int r;

	if (below.depth < 0)
		return weir_sleep(ctx, WEIR_MS(weir_random(50)));
	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		r = weir_group_go(&g, grow, &below);
		if (r < 0)
			break;
		if (weir_random(4) == 0)
			weir_yield(ctx);
	}
	if (weir_random(8) == 0)
		weir_group_cancel(&g);
	return weir_group_wait(&g);
}

SIM(a_tree_of_groups_ends_whenever_it_is_stopped, 10000)
{
	struct tree top = { 3 };
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, grow, &top), 0);
	weir_sleep(ctx, WEIR_MS(weir_random(60)));
	if (weir_random(2))
		weir_group_drain(&g);
	if (weir_random(2))
		weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(weir_task_count(), 1);
}

TASK(a_tree_of_groups_on_real_workers)
{
	for (int i = 0; i < 50; i++) {
		struct tree top = { 4 };
		weir_group g;

		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go(&g, grow, &top), 0);
		weir_sleep(ctx, WEIR_MS(weir_random(10)));
		weir_group_cancel(&g);
		CHECK_EQ(weir_group_wait(&g), 0);
	}
	CHECK_EQ(weir_task_count(), 1);
}

SIM(ten_minutes_pass_at_once, 20)
{
	int64_t from = weir_now();

	for (int i = 0; i < 600; i++)
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(weir_now() - from, WEIR_MIN(10));
}

static int tree_body(const weir_ctx *ctx, void *arg)
{
	struct tree top = { 3 };

	(void)arg;
	return grow(ctx, &top);
}

TEST(a_seed_run_twice_gives_the_same_trace)
{
	uint64_t first, different = 0;

	for (uint64_t seed = 1; seed <= 200; seed++) {
		weir_sim(seed, tree_body, NULL);
		first = weir_sim_trace();
		weir_sim(seed, tree_body, NULL);
		CHECK(weir_sim_trace() == first);
		weir_sim(seed + 1000, tree_body, NULL);
		different += weir_sim_trace() != first;
	}
	CHECK(different >= 199);
}

static int stuck(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	return weir_sleep(ctx, WEIR_NEVER);
}

static void run_stuck(void)
{
	weir_sim(7, stuck, NULL);
}

TEST(a_deadlock_in_a_simulation_is_reported_with_its_tasks)
{
	CHECK_DIES(run_stuck, "deadlock in the simulation of seed 7");
}

TASK(a_drain_held_by_a_hook_goes_on_when_the_last_such_hook_is_removed)
{
	struct counted a = { .hook = { .fn = count_hook, .holds_drain = true } }, b = a;
	weir_ctx inner, live;

	CHECK_EQ(weir_scope_open(ctx, &inner), 0);
	live = weir_ctx_until_drain(&inner);
	CHECK_EQ(weir_hook_add(inner.scope, &a.hook), 0);
	CHECK_EQ(weir_hook_add(inner.scope, &b.hook), 0);
	weir_scope_drain(inner.scope);
	CHECK_EQ(weir_yield(&live), 0);
	weir_hook_remove(&a.hook);
	CHECK_EQ(weir_yield(&live), 0);
	weir_hook_remove(&b.hook);
	CHECK_EQ(weir_yield(&live), -ESHUTDOWN);
	weir_scope_close(inner.scope);
}

TASK(a_hook_that_is_gone_holds_no_later_drain)
{
	struct counted a = { .hook = { .fn = count_hook, .holds_drain = true } };
	weir_ctx inner, live;

	CHECK_EQ(weir_scope_open(ctx, &inner), 0);
	live = weir_ctx_until_drain(&inner);
	CHECK_EQ(weir_hook_add(inner.scope, &a.hook), 0);
	weir_hook_remove(&a.hook);
	weir_scope_drain(inner.scope);
	CHECK_EQ(weir_sleep(&live, WEIR_SEC(60)), -ESHUTDOWN);
	CHECK_EQ(a.drains, 0);
	weir_scope_close(inner.scope);
}

static int leaves_a_scope(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	weir_task_name("the careless one");
	return weir_scope_open(ctx, &(weir_ctx){ 0 });
}

static int starts_the_careless_one(const weir_ctx *ctx, void *arg)
{
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, leaves_a_scope, arg), 0);
	return weir_group_wait(&g);
}

static void run_leaves_a_scope(void)
{
	weir_run(NULL, starts_the_careless_one, NULL);
}

TEST(a_task_that_ends_with_an_open_scope_aborts)
{
	CHECK_DIES(run_leaves_a_scope, "ended with a scope that it did not close");
}

/* An owner that cancelled its own scope so hears of a stop from above. */
TASK(a_hook_hears_a_drain_after_its_cancel_as_a_cancel)
{
	struct counted c = { .hook.fn = count_hook };
	weir_ctx inner;

	CHECK_EQ(weir_scope_open(ctx, &inner), 0);
	CHECK_EQ(weir_hook_add(inner.scope, &c.hook), 0);
	weir_scope_cancel(inner.scope, -ECANCELED, NULL);
	weir_scope_drain(inner.scope);
	CHECK_EQ(c.drains, 0);
	CHECK_EQ(c.cancels, 2);
	weir_hook_remove(&c.hook);
	weir_scope_close(inner.scope);
}

struct canceller {
	weir_hook hook;
	weir_scope *scope;
};

static void cancel_on_drain(weir_hook *h, int step)
{
	if (step == WEIR_DRAIN)
		weir_scope_cancel(((struct canceller *)h)->scope, -ECANCELED, "a hook");
}

/* The members after it in the list hear the cancel too. */
TASK(a_hook_may_cancel_its_scope_while_the_drain_goes_round)
{
	struct canceller first = { .hook.fn = cancel_on_drain };
	struct counted last = { .hook.fn = count_hook };
	weir_ctx inner;
	weir_group g;

	CHECK_EQ(weir_scope_open(ctx, &inner), 0);
	first.scope = inner.scope;
	CHECK_EQ(weir_hook_add(inner.scope, &first.hook), 0);
	weir_group_init(&g, &inner);
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), sleep_long, NULL), 0);
	CHECK_EQ(weir_hook_add(inner.scope, &last.hook), 0);
	weir_yield(ctx);
	weir_scope_drain(inner.scope);
	CHECK_EQ(last.cancels, 1);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_hook_remove(&first.hook);
	weir_hook_remove(&last.hook);
	weir_scope_close(inner.scope);
}

static int until_cancelled(const weir_ctx *ctx, void *arg)
{
	int r;

	(void)arg;
	while ((r = weir_yield(ctx)) == 0)
		;
	return r;
}

static int joins_one(const weir_ctx *ctx, void *arg)
{
	weir_group g;

	(void)arg;
	weir_group_init(&g, ctx);
	if (weir_group_go(&g, until_cancelled, NULL) < 0)
		CHECK_EQ(weir_ctx_err(ctx), -ECANCELED);
	CHECK_EQ(weir_group_wait(&g), 0);
	return 0;
}

/* weir_ctx_err() may see a stop above before the group's scope has heard of it. */
SIM(a_stop_from_above_is_no_error_of_the_group, 2000)
{
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(weir_group_go(&g, joins_one, NULL), 0);
	weir_sleep(ctx, 0);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
}

static int hogs(const weir_ctx *ctx, void *arg)
{
	while (!*(volatile bool *)arg) {
		int64_t from = weir_now();

		while (weir_now() - from < WEIR_MS(5))
			;
		weir_yield(ctx);
	}
	return 0;
}

static int sleeps_beside_hogs(const weir_ctx *ctx, void *arg)
{
	bool done = false;
	weir_group g;
	int64_t from;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(weir_group_go(&g, hogs, &done), 0);
	weir_yield(ctx);
	from = weir_now();
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(20)), 0);
	*(int64_t *)arg = weir_now() - from;
	done = true;
	return weir_group_wait(&g);
}

TEST(a_timer_is_not_much_late_beside_tasks_that_compute)
{
	weir_options one = { .workers = 1 };
	int64_t took = 0;

	CHECK_EQ(weir_run(&one, sleeps_beside_hogs, &took), 0);
	CHECK(took < WEIR_MS(200)); /* It was 300 ms when only turns were counted. */
}
