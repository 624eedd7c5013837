/* SPDX-License-Identifier: MIT */
/* Calls between our client and our server, over memory, in simulated time. */
#include "demo.h"

#include "grpc/server.h"
#include "http/h2.h"
#include "http/h2_client.h"

enum { SEEDS = 40 };

SIM(a_message_goes_there_and_back, SEEDS)
{
	struct demo d;

	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo, NULL);
	demo_start(ctx, &d);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "hello"), 0);
	demo_stop(&d);
}

static int talk(const weir_ctx *ctx, void *arg)
{
	struct demo *d = arg;
	char out[2000];
	const void *msg;
	weir_grpc *call;
	size_t n;

	CHECK_EQ(weir_grpc_start(ctx, d->channel, "/t.T/Echo", NULL, &call), 0);
	for (unsigned i = 0; i < 30; i++) {
		size_t len = weir_random(sizeof out);

		memset(out, (int)i, sizeof out);
		CHECK_EQ(weir_grpc_send(ctx, call, out, len), 0);
		CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
		CHECK(n == len && !memcmp(msg, out, n));
	}
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	return 0;
}

static int hear_one(const weir_ctx *ctx, void *arg)
{
	const void *msg;
	size_t n;

	CHECK_EQ(weir_grpc_recv(ctx, arg, &msg, &n), 1);
	CHECK(n == 5 && !memcmp(msg, "hello", 5));
	return 0;
}

/* Both find no stream yet, and wait for the same connection. */
SIM(who_receives_may_begin_a_call_beside_who_sends, SEEDS)
{
	weir_grpc *call;
	weir_group g;
	struct demo d;

	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo, NULL);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Echo", NULL, &call), 0);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), hear_one, call), 0);
	CHECK_EQ(weir_grpc_send(ctx, call, "hello", 5), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	demo_stop(&d);
}

SIM(many_streams_share_a_connection, SEEDS)
{
	weir_group g;
	struct demo d;

	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo, NULL);
	demo_start(ctx, &d);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(weir_group_go(&g, talk, &d), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK(site_stats(&d.site).conns_total <= (uint64_t)weir_worker_count());
	demo_stop(&d);
}

static int big_answers(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	size_t n = 300 * 1024;
	char *msg = calloc(1, n);
	int r = 0;

	(void)arg;
	for (int i = 0; i < 20 && r == 0; i++)
		r = weir_grpc_send(ctx, call, msg, n);
	free(msg);
	return r;
}

TASK(a_burst_that_is_more_than_one_turn_reads_is_read_to_its_end)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(30));
	char target[80];
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	weir__h2c_reads = 1;
	demo_new(&d);
	demo_method(&d, "/t.T/Big", big_answers, NULL);
	site_start_at(ctx, &d.site, "127.0.0.1:0");
	snprintf(target, sizeof target, "grpc://%s", site_at);
	CHECK_EQ(weir_grpc_channel_new(target, NULL, &d.channel), 0);
	for (int i = 0; i < 5; i++) {
		int messages = 0;

		CHECK_EQ(weir_grpc_start(&soon, d.channel, "/t.T/Big", NULL, &call), 0);
		CHECK_EQ(weir_grpc_end_send(&soon, call), 0);
		while (weir_grpc_recv(&soon, call, &msg, &n) > 0)
			messages++;
		CHECK_EQ(messages, 20);
		CHECK_EQ(weir_grpc_status(call), 0);
		weir_grpc_free(call);
	}
	demo_stop(&d);
	weir__h2c_reads = 32;
}

SIM(a_reader_that_sleeps_holds_back_the_sender, SEEDS)
{
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	demo_new(&d);
	demo_method(&d, "/t.T/Big", big_answers, NULL);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Big", NULL, &call), 0);
	CHECK_EQ(weir_grpc_end_send(ctx, call), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(100)), 0);
	CHECK(site_stats(&d.site).bytes_out < 3 * 1024 * 1024);
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
		CHECK_EQ(n, 300 * 1024);
	}
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	demo_stop(&d);
}

/* More than the client's window holds, in messages that are collected behind what waits for it; and
 * then it listens. */
static int over_the_window(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	enum { WINDOWS = 2 * 1024 * 1024, LAST = 4 };
	const struct weir__h2_stream *st = weir__grpc_exchange(call)->stream->h2;
	size_t all = 0, n, size = 1000 + weir_random(3000);
	char msg[4000];
	const void *word;
	int r;

	(void)arg;
	CHECK_EQ(weir_grpc_recv(ctx, call, &word, &n), 1);
	r = 0;
	for (unsigned i = 0; r >= 0 && !st->out_left; i++) {
		memset(msg, (int)i, size);
		r = weir_grpc_send(ctx, call, msg, size);
		all += size;
		CHECK(all < WINDOWS);
		if (r == 0)
			r = weir_sleep(ctx, WEIR_MS(1));
	}
	for (int i = 0; r >= 0 && i < LAST; i++) {
		r = weir_grpc_send(ctx, call, "last", 4);
		if (r == 0 && weir_random(2))
			r = weir_sleep(ctx, WEIR_MS(1));
	}
	return r < 0 ? r : weir_grpc_recv(ctx, call, &word, &n) == 1 ? 0 : -EPROTO;
}

SIM(what_is_written_behind_a_full_window_leaves_when_it_opens, SEEDS)
{
	unsigned last = 0, i = 0;
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	demo_new(&d);
	demo_method(&d, "/t.T/Over", over_the_window, NULL);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Over", NULL, &call), 0);
	CHECK_EQ(weir_grpc_send(ctx, call, "begin", 5), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(10)), 0);
	while (last < 4) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(10));

		CHECK_EQ(weir_grpc_recv(&soon, call, &msg, &n), 1);
		if (n == 4) {
			last += !memcmp(msg, "last", 4);
			continue;
		}
		for (size_t k = 0; k < n; k++)
			CHECK_EQ(((const unsigned char *)msg)[k], i & 255);
		i++;
	}
	CHECK_EQ(weir_grpc_send(ctx, call, "enough", 6), 0);
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	demo_stop(&d);
}

/* The streams of a connection share its window, so what opens for one may be less than it waits
 * for. */
enum { SHARERS = 6, SHARED = 400 };

static int fill_the_window(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	char msg[4000];
	int r = 0;

	(void)arg;
	for (int i = 0; r == 0 && i < SHARED; i++) {
		size_t size = 100 + weir_random(sizeof msg - 100);

		memset(msg, i, size);
		r = weir_grpc_send(ctx, call, msg, size);
		if (r == 0 && weir_random(3) == 0)
			r = weir_yield(ctx);
	}
	return r;
}

/* As many as there are, but at most so many; each whole and in its turn. */
static int read_in_order(const weir_ctx *ctx, weir_grpc *call, int most)
{
	const void *msg;
	size_t n;
	int i = 0;

	for (; i < most && weir_grpc_recv(ctx, call, &msg, &n) > 0; i++) {
		for (size_t k = 0; k < n; k++)
			CHECK_EQ(((const unsigned char *)msg)[k], i & 255);
		if (weir_random(16) == 0)
			weir_sleep(ctx, WEIR_MS(weir_random(20)));
	}
	return i;
}

static int read_all(const weir_ctx *ctx, void *arg)
{
	struct demo *d = arg;
	weir_grpc *call;

	CHECK_EQ(weir_grpc_start(ctx, d->channel, "/t.T/Fill", NULL, &call), 0);
	CHECK_EQ(weir_grpc_end_send(ctx, call), 0);
	CHECK_EQ(read_in_order(ctx, call, SHARED + 1), SHARED);
	CHECK_EQ(weir_grpc_status(call), 0);
	weir_grpc_free(call);
	return 0;
}

SIM(streams_that_share_a_window_lose_nothing, SEEDS)
{
	struct demo d;
	weir_group g;

	demo_new(&d);
	demo_method(&d, "/t.T/Fill", fill_the_window, NULL);
	demo_start(ctx, &d);
	weir_group_init(&g, ctx);
	for (int i = 0; i < SHARERS; i++)
		weir_group_go(&g, read_all, &d);
	weir_group_wait(&g);
	demo_stop(&d);
}

/* … and end at any moment: by their client, by a deadline, by the server's drain or its cancel. */
static int read_some(const weir_ctx *ctx, void *arg)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(1 + weir_random(400)));
	struct demo *d = arg;
	weir_grpc *call;

	if (weir_grpc_start(&soon, d->channel, "/t.T/Fill", NULL, &call) < 0)
		return 0;
	(void)weir_grpc_end_send(&soon, call);
	(void)read_in_order(&soon, call, (int)weir_random(2 * SHARED));
	weir_grpc_free(call);
	return 0;
}

SIM(streams_that_share_a_window_end_at_any_moment, SEEDS)
{
	struct demo d;
	weir_group g;

	demo_new(&d);
	demo_method(&d, "/t.T/Fill", fill_the_window, NULL);
	demo_start(ctx, &d);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 2 * SHARERS; i++)
		weir_group_go(&g, read_some, &d);
	weir_sleep(ctx, WEIR_MS(weir_random(200)));
	if (weir_random(3) == 0)
		weir_group_drain(&d.site.group);
	weir_sleep(ctx, WEIR_MS(weir_random(200)));
	if (weir_random(3) == 0)
		weir_group_cancel(&d.site.group);
	weir_group_wait(&g);
	demo_stop(&d);
}

/* ---- ends ---- */

struct ended {
	weir_latch began, done;
	int r;
	int64_t left;
};

static int wait_for_ever(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	struct ended *e = arg;

	(void)call;
	e->left = weir_ctx_left(ctx);
	weir_latch_down(&e->began);
	e->r = weir_sleep(ctx, WEIR_NEVER);
	weir_latch_down(&e->done);
	return e->r;
}

static void ended_init(struct ended *e)
{
	weir_latch_init(&e->began, 1);
	weir_latch_init(&e->done, 1);
}

SIM(the_deadline_travels_and_ends_both_sides, SEEDS)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(30));
	struct ended e;
	struct demo d;
	int r;

	ended_init(&e);
	demo_new(&d);
	demo_method(&d, "/t.T/Wait", wait_for_ever, &e);
	demo_start(ctx, &d);
	r = call_once(&soon, &d, "/t.T/Wait", "x");
	CHECK(r == -ETIMEDOUT || r == WEIR_GRPC_DEADLINE_EXCEEDED);
	CHECK_EQ(weir_latch_wait(ctx, &e.done), 0);
	CHECK(e.left > WEIR_SEC(29) && e.left < WEIR_SEC(31));
	CHECK(e.r == -ETIMEDOUT || e.r == -ECANCELED);
	demo_stop(&d);
}

SIM(a_client_that_cancels_ends_the_handlers_context_at_once, SEEDS)
{
	struct ended e;
	weir_grpc *call;
	int64_t start;
	struct demo d;

	ended_init(&e);
	demo_new(&d);
	demo_method(&d, "/t.T/Wait", wait_for_ever, &e);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Wait", NULL, &call), 0);
	CHECK_EQ(weir_grpc_send(ctx, call, "x", 1), 0);
	CHECK_EQ(weir_latch_wait(ctx, &e.began), 0);
	start = weir_now();
	weir_grpc_cancel(call);
	CHECK_EQ(weir_grpc_finish(ctx, call), WEIR_GRPC_CANCELLED);
	CHECK_EQ(weir_latch_wait(ctx, &e.done), 0);
	CHECK_EQ(e.r, -ECANCELED);
	CHECK(weir_now() - start < WEIR_SEC(1));
	weir_grpc_free(call);
	demo_stop(&d);
}

SIM(a_connection_that_is_lost_ends_the_handlers_context, SEEDS)
{
	struct ended e;
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	ended_init(&e);
	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo, NULL);
	demo_method(&d, "/t.T/Wait", wait_for_ever, &e);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Wait", NULL, &call), 0);
	CHECK_EQ(weir_grpc_send(ctx, call, "x", 1), 0);
	CHECK_EQ(weir_latch_wait(ctx, &e.began), 0);
	/* The next byte on any connection loses it. */
	weir_sim_net_set(&(weir_sim_net){ .loss = 1 });
	(void)weir_grpc_send(ctx, call, "y", 1);
	CHECK_EQ(weir_latch_wait(ctx, &e.done), 0);
	CHECK_EQ(e.r, -ECANCELED);
	CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 0);
	CHECK_EQ(weir_grpc_status(call), WEIR_GRPC_UNAVAILABLE);
	weir_grpc_free(call);
	weir_sim_net_set(&(weir_sim_net){ 0 });
	demo_stop(&d);
}

static int status_under_pings(const weir_ctx *ctx, int64_t keepalive_ns)
{
	weir_grpc_channel_options opt = { .keepalive_ns = keepalive_ns };
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MIN(30));
	struct ended e;
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;
	int status;

	ended_init(&e);
	demo_new(&d);
	demo_method(&d, "/t.T/Wait", wait_for_ever, &e);
	site_start(ctx, &d.site);
	CHECK_EQ(weir_grpc_channel_new("mem:site", &opt, &d.channel), 0);
	CHECK_EQ(weir_grpc_start(&soon, d.channel, "/t.T/Wait", NULL, &call), 0);
	CHECK_EQ(weir_grpc_send(&soon, call, "x", 1), 0);
	(void)weir_grpc_recv(&soon, call, &msg, &n);
	status = weir_grpc_status(call);
	weir_grpc_free(call);
	demo_stop(&d);
	return status;
}

SIM(a_client_that_pings_too_often_is_told_so, SEEDS)
{
	CHECK_EQ(status_under_pings(ctx, WEIR_SEC(10)), WEIR_GRPC_UNAVAILABLE);
	CHECK_EQ(status_under_pings(ctx, WEIR_MIN(6)), WEIR_GRPC_DEADLINE_EXCEEDED);
}

SIM(a_client_that_was_told_so_pings_half_as_often, SEEDS)
{
	weir_grpc_channel_options opt = { .keepalive_ns = WEIR_SEC(10) };
	int refused = 0, status;
	struct ended e;
	struct demo d;

	weir_latch_init(&e.began, 100);
	weir_latch_init(&e.done, 100);
	demo_new(&d);
	demo_method(&d, "/t.T/Wait", wait_for_ever, &e);
	site_start(ctx, &d.site);
	CHECK_EQ(weir_grpc_channel_new("mem:site", &opt, &d.channel), 0);
	/* 10, 20 and 40 s are too often; in 80 s something of the server's own keepalive comes. */
	do {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MIN(60));
		const void *msg;
		weir_grpc *call;
		size_t n;

		CHECK_EQ(weir_grpc_start(&soon, d.channel, "/t.T/Wait", NULL, &call), 0);
		CHECK_EQ(weir_grpc_send(&soon, call, "x", 1), 0);
		(void)weir_grpc_recv(&soon, call, &msg, &n);
		status = weir_grpc_status(call);
		refused += status == WEIR_GRPC_UNAVAILABLE;
		weir_grpc_free(call);
	} while (status == WEIR_GRPC_UNAVAILABLE && refused < 10);
	CHECK_EQ(status, WEIR_GRPC_DEADLINE_EXCEEDED);
	CHECK_EQ(refused, 3);
	demo_stop(&d);
}

/* ---- the server's stop ---- */

static int ticks(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int r;

	(void)arg;
	do {
		r = weir_grpc_send(ctx, call, "tick", 4);
		if (r == 0)
			r = weir_sleep(&live, WEIR_SEC(1));
	} while (r == 0);
	return r;
}

static int slow_echo(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	int r = weir_sleep(ctx, WEIR_SEC(3));

	return r < 0 ? r : echo(ctx, call, arg);
}

struct watcher {
	struct demo *d;
	weir_latch *began;
};

static int watch_ticks(const weir_ctx *ctx, void *arg)
{
	struct watcher *w = arg;
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r;

	CHECK_EQ(weir_grpc_start(ctx, w->d->channel, "/t.T/Ticks", NULL, &call), 0);
	CHECK_EQ(weir_grpc_end_send(ctx, call), 0);
	CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
	weir_latch_down(w->began);
	while ((r = weir_grpc_recv(ctx, call, &msg, &n)) > 0)
		;
	CHECK_EQ(r, 0);
	CHECK_EQ(weir_grpc_status(call), WEIR_GRPC_UNAVAILABLE);
	CHECK_STR(weir_grpc_message(call), "the server is stopping");
	weir_grpc_free(call);
	return 0;
}

static int call_slowly(const weir_ctx *ctx, void *arg)
{
	struct watcher *w = arg;
	const void *msg;
	weir_grpc *call;
	size_t n;

	CHECK_EQ(weir_grpc_start(ctx, w->d->channel, "/t.T/Slow", NULL, &call), 0);
	CHECK_EQ(weir_grpc_send(ctx, call, "x", 1), 0);
	weir_latch_down(w->began);
	CHECK_EQ(weir_grpc_end_send(ctx, call), 0);
	CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	return 0;
}

SIM(drain_ends_streams_with_a_status_and_lets_calls_finish, SEEDS)
{
	struct watcher w;
	weir_latch began;
	weir_group g;
	struct demo d;

	weir_latch_init(&began, 10);
	w = (struct watcher){ &d, &began };
	demo_new(&d);
	demo_method(&d, "/t.T/Ticks", ticks, NULL);
	demo_method(&d, "/t.T/Slow", slow_echo, NULL);
	demo_start(ctx, &d);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(weir_group_go(&g, watch_ticks, &w), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(weir_group_go(&g, call_slowly, &w), 0);
	CHECK_EQ(weir_latch_wait(ctx, &began), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	weir_group_drain(&d.site.group);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_grpc_channel_free(d.channel);
	site_join(&d.site);
}

SIM(a_client_finds_the_server_that_took_over, SEEDS)
{
	weir_grpc_call_options wait = { .wait_for_ready = true };
	struct demo a, b;
	const void *msg;
	weir_grpc *call;
	size_t n;

	demo_new(&a);
	demo_method(&a, "/t.T/Echo", echo, NULL);
	demo_start(ctx, &a);
	CHECK_EQ(call_once(ctx, &a, "/t.T/Echo", "x"), 0);
	site_stop(&a.site);
	CHECK_EQ(call_once(ctx, &a, "/t.T/Echo", "x"), WEIR_GRPC_UNAVAILABLE);
	demo_new(&b);
	demo_method(&b, "/t.T/Echo", echo, NULL);
	site_start(ctx, &b.site);
	CHECK_EQ(weir_grpc_unary(ctx, a.channel, "/t.T/Echo", &wait, "x", 1, &call, &msg, &n), 0);
	weir_grpc_free(call);
	CHECK_EQ(call_once(ctx, &a, "/t.T/Echo", "x"), 0);
	weir_grpc_channel_free(a.channel);
	site_stop(&b.site);
}

/* ---- status, metadata, limits ---- */

static int refuse(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	(void)ctx;
	(void)arg;
	CHECK_EQ(weir_grpc_set_trailer(call, "why", "because", 7), 0);
	CHECK_EQ(weir_grpc_set_details(call, "\x08\x05", 2), 0);
	return weir_grpc_fail(call, WEIR_GRPC_NOT_FOUND, "no %s: 100%%\n", "such thing");
}

static int errno_result(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	(void)ctx;
	(void)call;
	return *(int *)arg;
}

SIM(a_status_has_message_details_and_trailers, SEEDS)
{
	int denied = -EACCES;
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	demo_new(&d);
	demo_method(&d, "/t.T/Refuse", refuse, NULL);
	demo_method(&d, "/t.T/Denied", errno_result, &denied);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_unary(ctx, d.channel, "/t.T/Refuse", NULL, "", 0, &call, &msg, &n),
	         WEIR_GRPC_NOT_FOUND);
	CHECK_STR(weir_grpc_message(call), "no such thing: 100%\n");
	CHECK_STR(weir_grpc_get_trailer(call, "why", NULL), "because");
	CHECK(!memcmp(weir_grpc_details(call, &n), "\x08\x05", 2) && n == 2);
	weir_grpc_free(call);
	CHECK_EQ(call_once(ctx, &d, "/t.T/Denied", ""), WEIR_GRPC_PERMISSION_DENIED);
	CHECK_EQ(call_once(ctx, &d, "/t.T/Nothing", ""), WEIR_GRPC_UNIMPLEMENTED);
	CHECK_EQ(call_once(ctx, &d, "/no.Service/Nothing", ""), WEIR_GRPC_UNIMPLEMENTED);
	demo_stop(&d);
}

static int count_in(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	char *trace = arg;
	int r;

	memcpy(trace + strlen(trace), "a", 2);
	r = weir_grpc_get(call, "pass", NULL) ? weir_grpc_proceed(ctx, call) :
	                                        WEIR_GRPC_UNAUTHENTICATED;
	memcpy(trace + strlen(trace), "A", 2);
	return r;
}

static int count_too(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	char *trace = arg;

	memcpy(trace + strlen(trace), "b", 2);
	return weir_grpc_proceed(ctx, call);
}

static int show_pass(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	(void)ctx;
	return *(bool *)arg ? weir_grpc_set(call, "pass", "x", 1) : 0;
}

SIM(interceptors_wrap_calls_on_both_sides, SEEDS)
{
	char trace[32] = "";
	bool pass = true;
	struct demo d;

	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo, NULL);
	CHECK_EQ(weir_grpc_intercept(d.site.server, count_in, trace), 0);
	CHECK_EQ(weir_grpc_intercept(d.site.server, count_too, trace), 0);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_channel_intercept(d.channel, show_pass, &pass), 0);
	CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "x"), 0);
	CHECK_STR(trace, "abA");
	pass = false;
	CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "x"), WEIR_GRPC_UNAUTHENTICATED);
	CHECK_STR(trace, "abAaA");
	demo_stop(&d);
}

static int echo_metadata(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	const char *v;
	size_t n;

	v = weir_grpc_get(call, "data-bin", &n);
	CHECK(v && n == 5 && !memcmp(v, "\0\1\2\3\xff", 5));
	CHECK_EQ(weir_grpc_set(call, "data-bin", v, n), 0);
	CHECK_EQ(weir_grpc_set_trailer(call, "last-bin", v, n), 0);
	CHECK_EQ(weir_grpc_set(call, "Upper", "x", 1), -EINVAL);
	CHECK_EQ(weir_grpc_set(call, "line", "a\nb", 3), -EINVAL);
	return echo(ctx, call, arg);
}

SIM(metadata_holds_any_bytes, SEEDS)
{
	const void *msg;
	weir_grpc *call;
	const char *v;
	struct demo d;
	size_t n;

	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo_metadata, NULL);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Echo", NULL, &call), 0);
	CHECK_EQ(weir_grpc_set(call, "data-bin", "\0\1\2\3\xff", 5), 0);
	CHECK_EQ(weir_grpc_send(ctx, call, "x", 1), 0);
	CHECK_EQ(weir_grpc_set(call, "late", "x", 1), -EALREADY);
	CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
	v = weir_grpc_get(call, "data-bin", &n);
	CHECK(v && n == 5 && !memcmp(v, "\0\1\2\3\xff", 5));
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	v = weir_grpc_get_trailer(call, "last-bin", &n);
	CHECK(v && n == 5 && !memcmp(v, "\0\1\2\3\xff", 5));
	CHECK(weir_grpc_get(call, "nothing", NULL) == NULL);
	weir_grpc_free(call);
	demo_stop(&d);
}

static int says_v(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	const char *v = weir_grpc_get(call, "v", NULL), *none = weir_grpc_get(call, "none", NULL);

	(void)ctx;
	(void)arg;
	return weir_grpc_fail(call, WEIR_GRPC_ABORTED, "<%s> <%s>", v ? v : "-", none ? none : "-");
}

SIM(space_around_metadata_is_left_out, SEEDS)
{
	struct demo d;
	weir_grpc *call;

	demo_new(&d);
	demo_method(&d, "/t.T/V", says_v, NULL);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/V", NULL, &call), 0);
	CHECK_EQ(weir_grpc_set(call, "v", "  a b  ", 7), 0);
	CHECK_EQ(weir_grpc_set(call, "none", "  ", 2), 0);
	CHECK_EQ(weir_grpc_finish(ctx, call), WEIR_GRPC_ABORTED);
	CHECK_STR(weir_grpc_message(call), "<a b> <>");
	weir_grpc_free(call);
	demo_stop(&d);
}
