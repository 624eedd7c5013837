/* SPDX-License-Identifier: MIT */
/*
 * A line that goes dead without a word: between client and server stands a relay that from some
 * moment on passes nothing, as a cable that was cut or a firewall that forgot. Neither side hears
 * an end; keepalive has to find out, on both.
 */
#include "demo.h"

enum { SEEDS = 20, FOUND_S = 61 + 20 };

struct relay {
	weir_listener *listener;
	weir_group *group;
	bool dead;
};

struct way {
	struct relay *relay;
	weir_conn *from, *to;
};

/* What comes is read on, since a cut cable does not hold up who sends. */
static int carry(const weir_ctx *ctx, void *arg)
{
	struct way *w = arg;
	char buf[2000];
	ssize_t n;

	while ((n = weir_conn_read(ctx, w->from, buf, sizeof buf)) > 0)
		if (!w->relay->dead && weir_conn_write(ctx, w->to, buf, (size_t)n) < 0)
			break;
	if (!w->relay->dead)
		weir_conn_shutdown_write(w->to);
	return 0;
}

static int join(const weir_ctx *ctx, void *arg)
{
	struct relay *relay = arg;
	struct way there = { .relay = relay }, back = { .relay = relay };
	weir_group g;

	while (weir_accept(ctx, relay->listener, &there.from) > 0) {
		CHECK_EQ(weir_dial(ctx, "mem:site", &there.to), 0);
		back.from = there.to;
		back.to = there.from;
		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go(&g, carry, &there), 0);
		CHECK_EQ(weir_group_go(&g, carry, &back), 0);
		CHECK_EQ(weir_group_wait(&g), 0);
		weir_conn_free(there.from);
		weir_conn_free(there.to);
	}
	return 0;
}

struct handler {
	bool writes;
	weir_latch began, done;
	int r;
	int64_t ended_ns;
};

/* Waits, or sends as much as it is let. */
static int handle(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	struct handler *h = arg;
	static const char piece[10000];
	int r = 0;

	weir_latch_down(&h->began);
	if (h->writes)
		while (r == 0)
			r = weir_grpc_send(ctx, call, piece, sizeof piece);
	else
		r = weir_sleep(ctx, WEIR_NEVER);
	h->r = r;
	h->ended_ns = weir_now();
	weir_latch_down(&h->done);
	return r;
}

static void cut_the_line(const weir_ctx *ctx, bool writes)
{
	weir_grpc_channel_options opt = { .keepalive_ns = WEIR_SEC(100) };
	struct handler h = { .writes = writes };
	struct relay relay = { 0 };
	weir_grpc *call;
	int64_t cut_ns;
	weir_group g;
	struct demo d;
	int r;

	weir_latch_init(&h.began, 1);
	weir_latch_init(&h.done, 1);
	demo_new(&d);
	demo_method(&d, "/t.T/Handle", handle, &h);
	site_start(ctx, &d.site);
	CHECK_EQ(weir_listen("mem:relay", &relay.listener), 0);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, join, &relay), 0);
	CHECK_EQ(weir_grpc_channel_new("mem:relay", &opt, &d.channel), 0);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Handle", NULL, &call), 0);
	CHECK_EQ(weir_grpc_send(ctx, call, "x", 1), 0);
	CHECK_EQ(weir_latch_wait(ctx, &h.began), 0);
	if (!writes)
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(weir_random(200))), 0);
	relay.dead = true;
	cut_ns = weir_now();
	/* The server asks after a minute of silence and waits twenty seconds. */
	CHECK_EQ(weir_latch_wait(ctx, &h.done), 0);
	CHECK(h.r == -ECANCELED || (writes && h.r == -EPIPE));
	CHECK(h.ended_ns - cut_ns < WEIR_SEC(FOUND_S));
	/* So does the client, by what it was told. */
	r = weir_grpc_finish(ctx, call);
	CHECK_EQ(r, WEIR_GRPC_UNAVAILABLE);
	CHECK(weir_now() - cut_ns < WEIR_SEC(100 + 21));
	weir_grpc_free(call);
	weir_grpc_channel_free(d.channel);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_listener_free(relay.listener);
	site_stop(&d.site);
}

SIM(a_handler_that_waits_is_ended_when_the_line_is_dead, SEEDS)
{
	cut_the_line(ctx, false);
}

SIM(a_handler_that_sends_is_ended_when_the_line_is_dead, SEEDS)
{
	cut_the_line(ctx, true);
}
