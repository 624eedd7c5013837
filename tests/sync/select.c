/* SPDX-License-Identifier: MIT */
#include <weir/group.h>
#include <weir/select.h>

#include "test.h"

static weir_chan *ints(size_t cap)
{
	weir_chan *c = weir_chan_new(sizeof(int), cap);

	CHECK(c);
	return c;
}

TASK(select_does_the_one_case_that_is_ready)
{
	enum { A, B };
	weir_chan *a = ints(1), *b = ints(1);
	int v = 3, x = -1, y = -1;
	weir_case cs[] = { [A] = WEIR_RECV(a, &x), [B] = WEIR_RECV(b, &y) };

	CHECK_EQ(weir_chan_send(ctx, b, &v), 0);
	CHECK_EQ(weir_select(ctx, cs), B);
	CHECK_EQ(cs[B].result, 1);
	CHECK_EQ(cs[A].result, -EAGAIN);
	CHECK_EQ(y, 3);
	CHECK_EQ(x, -1);
	weir_chan_free(a);
	weir_chan_free(b);
}

TASK(select_mixes_sends_and_receives)
{
	enum { IN, OUT };
	weir_chan *a = ints(1), *b = ints(1);
	int x = -1, y = 4;
	weir_case cs[] = { [IN] = WEIR_RECV(a, &x), [OUT] = WEIR_SEND(b, &y) };

	CHECK_EQ(weir_select(ctx, cs), OUT);
	CHECK_EQ(cs[OUT].result, 0);
	CHECK_EQ(weir_chan_try_recv(b, &x), 1);
	CHECK_EQ(x, 4);
	weir_chan_free(a);
	weir_chan_free(b);
}

TASK(try_select_says_eagain_when_nothing_is_ready)
{
	weir_chan *a = ints(0), *b = ints(0);
	int x = -1;
	weir_case cs[] = { WEIR_RECV(a, &x), WEIR_SEND(b, &x) };

	CHECK_EQ(weir_try_select(cs), -EAGAIN);
	CHECK_EQ(cs[0].result, -EAGAIN);
	CHECK_EQ(cs[1].result, -EAGAIN);
	weir_chan_free(a);
	weir_chan_free(b);
}

TASK(a_select_does_not_meet_itself)
{
	weir_chan *c = ints(0);
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(1));
	int x = -1, y = 1;
	weir_case cs[] = { WEIR_RECV(c, &x), WEIR_SEND(c, &y), WEIR_RECV(c, &x) };

	CHECK_EQ(weir_try_select(cs), -EAGAIN);
	CHECK_EQ(weir_select(&soon, cs), -ETIMEDOUT);
	CHECK_EQ(x, -1);
	weir_chan_free(c);
}

struct twin {
	weir_chan *c;
	int in, out, r;
};

static int both_ways(const weir_ctx *ctx, void *arg)
{
	struct twin *t = arg;
	weir_case cs[] = { WEIR_RECV(t->c, &t->in), WEIR_SEND(t->c, &t->out) };

	t->r = weir_select(ctx, cs);
	return 0;
}

SIM(two_selects_that_send_and_receive_on_one_channel_meet, 200)
{
	weir_chan *c = ints(0);
	struct twin t[2] = { { c, -1, 10, 0 }, { c, -1, 11, 0 } };
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, both_ways, &t[0]), 0);
	CHECK_EQ(weir_group_go(&g, both_ways, &t[1]), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(t[0].r + t[1].r, 1);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(t[i].in, t[i].r == 0 ? t[1 - i].out : -1);
	weir_chan_free(c);
}

TASK(a_closed_channel_lands_in_default_with_its_result_and_touches_nothing)
{
	enum { IN, OUT };
	weir_chan *a = ints(1), *b = ints(1), *open = ints(0);
	int x = -1, y = 2;
	weir_case in[] = { WEIR_RECV(open, &x), WEIR_RECV(a, &x) };
	weir_case out[] = { WEIR_RECV(open, &x), WEIR_SEND(b, &y) };

	weir_chan_close(a);
	weir_chan_close(b);
	CHECK_EQ(weir_select(ctx, in), -EPIPE);
	CHECK_EQ(in[0].result, -EAGAIN);
	CHECK_EQ(in[1].result, 0);
	CHECK_EQ(weir_try_select(out), -EPIPE);
	CHECK_EQ(out[0].result, -EAGAIN);
	CHECK_EQ(out[1].result, -EPIPE);
	CHECK_EQ(x, -1);
	weir_chan_free(a);
	weir_chan_free(b);
	weir_chan_free(open);
}

TASK(a_closed_channel_first_gives_what_is_buffered)
{
	weir_chan *a = ints(1);
	int x = 5;
	weir_case cs[] = { WEIR_RECV(a, &x) };

	CHECK_EQ(weir_chan_send(ctx, a, &x), 0);
	weir_chan_close(a);
	x = -1;
	CHECK_EQ(weir_select(ctx, cs), 0);
	CHECK_EQ(x, 5);
	CHECK_EQ(weir_select(ctx, cs), -EPIPE);
	weir_chan_free(a);
}

static int close_it(const weir_ctx *ctx, void *arg)
{
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	weir_chan_close(arg);
	return 0;
}

SIM(close_wakes_a_waiting_select, 50)
{
	weir_chan *a = ints(0), *b = ints(0);
	int x = -1, y = 1;
	weir_case cs[] = { WEIR_RECV(a, &x), WEIR_SEND(b, &y) };
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, close_it, b), 0);
	CHECK_EQ(weir_select(ctx, cs), -EPIPE);
	CHECK_EQ(cs[0].result, -EAGAIN);
	CHECK_EQ(cs[1].result, -EPIPE);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_chan_free(a);
	weir_chan_free(b);
}

SIM(a_null_channel_is_never_ready, 10)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1));
	int x = -1;
	weir_case cs[] = { WEIR_RECV(NULL, &x), WEIR_SEND(NULL, &x) };

	CHECK_EQ(weir_try_select(cs), -EAGAIN);
	CHECK_EQ(weir_select(&soon, cs), -ETIMEDOUT);
	CHECK_EQ(weir_select_(&soon, NULL, 0), -ETIMEDOUT);
}

TASK(stop_comes_before_data_in_select)
{
	weir_chan *a = ints(1);
	int x = 1;
	weir_case cs[] = { WEIR_RECV(a, &x) };
	weir_ctx sub;

	CHECK_EQ(weir_scope_open(ctx, &sub), 0);
	CHECK_EQ(weir_chan_send(ctx, a, &x), 0);
	weir_scope_cancel(sub.scope, -ECANCELED, "test");
	CHECK_EQ(weir_select(&sub, cs), -ECANCELED);
	CHECK_EQ(cs[0].result, -EAGAIN);
	CHECK_EQ(weir_chan_len(a), 1);
	weir_scope_close(sub.scope);
	weir_chan_free(a);
}

TASK(the_choice_between_ready_cases_is_fair)
{
	enum { N = 4, ROUNDS = 4000 };
	int count[N] = { 0 }, x = 0;
	weir_chan *c[N];
	weir_case cs[N];

	for (int i = 0; i < N; i++) {
		c[i] = ints(1);
		CHECK_EQ(weir_chan_send(ctx, c[i], &x), 0);
	}
	for (int n = 0; n < ROUNDS; n++) {
		int r;

		for (int i = 0; i < N; i++)
			cs[i] = (weir_case)WEIR_RECV(c[i], &x);
		r = weir_select(ctx, cs);
		CHECK(r >= 0);
		count[r]++;
		CHECK_EQ(weir_chan_send(ctx, c[r], &x), 0);
	}
	for (int i = 0; i < N; i++) {
		CHECK(count[i] > ROUNDS / N * 8 / 10);
		weir_chan_free(c[i]);
	}
}

SIM(a_select_of_the_most_cases_waits_on_all, 20)
{
	weir_chan *c[WEIR_SELECT_MAX];
	weir_case cs[WEIR_SELECT_MAX];
	int x = -1;
	weir_group g;

	for (int i = 0; i < WEIR_SELECT_MAX; i++) {
		c[i] = ints(0);
		cs[WEIR_SELECT_MAX - 1 - i] = (weir_case)WEIR_RECV(c[i], &x);
	}
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, close_it, c[7]), 0);
	CHECK_EQ(weir_select(ctx, cs), -EPIPE);
	CHECK_EQ(cs[WEIR_SELECT_MAX - 1 - 7].result, 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < WEIR_SELECT_MAX; i++)
		weir_chan_free(c[i]);
}

enum { SHARED = 3, EACH = 50 };

struct crowd {
	weir_chan *c[SHARED];
	int sum_in, sum_out;
};

/* Selects in both directions over all channels, in an order of its own. */
static int mingle(const weir_ctx *ctx, void *arg)
{
	struct crowd *w = arg;

	for (int n = 0; n < EACH; n++) {
		int in = 0, out = 1 + (int)weir_random(1000), r;
		uint32_t from = weir_random(SHARED);
		weir_case cs[2 * SHARED];

		for (uint32_t i = 0; i < SHARED; i++) {
			weir_chan *c = w->c[(from + i) % SHARED];

			cs[2 * i] = (weir_case)WEIR_RECV(c, &in);
			cs[2 * i + 1] = (weir_case)WEIR_SEND(c, &out);
		}
		r = weir_select(ctx, cs);
		if (r == -ECANCELED)
			break;
		CHECK(r >= 0);
		if (r % 2 == 0)
			__atomic_add_fetch(&w->sum_in, in, __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&w->sum_out, out, __ATOMIC_RELAXED);
	}
	return 0;
}

static int last_one_cancels(const weir_ctx *ctx, void *arg)
{
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(20)), 0);
	weir_group_cancel(arg);
	return 0;
}

/* Whoever is left over when the others are done has nobody to meet, and is cancelled. */
static void crowd(const weir_ctx *ctx)
{
	struct crowd w = { 0 };
	weir_group g, stopper;

	for (int i = 0; i < SHARED; i++)
		w.c[i] = ints(0);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_group_go(&g, mingle, &w), 0);
	weir_group_init(&stopper, ctx);
	CHECK_EQ(weir_group_go(&stopper, last_one_cancels, &g), 0);
	CHECK_EQ(weir_group_wait(&stopper), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(w.sum_in, w.sum_out);
	for (int i = 0; i < SHARED; i++)
		weir_chan_free(w.c[i]);
}

SIM(a_crowd_of_selects_over_the_same_channels_loses_nothing_over_seeds, 2000)
{
	crowd(ctx);
}

TASK(a_crowd_of_selects_over_the_same_channels_loses_nothing_on_workers)
{
	for (int n = 0; n < 20; n++)
		crowd(ctx);
}
