/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 in a simulation: the server with our client over memory, and the races of resets, drains,
 * limits and lost connections, over seeds. What single frames do is tests/blackbox/test_h2_*.py.
 */
#include "http/exchange.h"
#include "http/h2_client.h"
#include <pthread.h>
#include <weir/http_client.h>
#include <weir/sse.h>

#include "site.h"

static const struct weir__h2c_options no_options;

static weir__h2c *connect_h2(const weir_ctx *ctx)
{
	weir__h2c *c;

	CHECK_EQ(weir__h2c_new(dial(ctx), &no_options, &c), 0);
	return c;
}

static weir__h2s *request(weir__h2c *c, const char *method, const char *path)
{
	struct weir__h2_field f[] = {
		{ ":method", method, 7, strlen(method) },
		{ ":scheme", "http", 7, 4 },
		{ ":path", path, 5, strlen(path) },
		{ ":authority", "x", 10, 1 },
	};
	weir__h2s *s;
	int r = weir__h2c_open(c, f, 4, &s);

	return r == 0 ? s : NULL;
}

static weir__h2s *get(const weir_ctx *ctx, weir__h2c *c, const char *path)
{
	weir__h2s *s = request(c, "GET", path);

	if (s)
		weir__h2s_send(ctx, s, NULL, 0, true);
	return s;
}

static int status_of(const weir_ctx *ctx, weir__h2s *s)
{
	int r = weir__h2s_head(ctx, s);

	return r < 0 ? r : atoi(weir__h2s_field(s, false, ":status")->value);
}

/* The whole body's length, or an error; every byte is checked to be that of its place. */
static ssize_t pattern_length(const weir_ctx *ctx, weir__h2s *s)
{
	char buf[3000];
	ssize_t n, len = 0;

	while ((n = weir__h2s_read(ctx, s, buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n; i++, len++)
			CHECK_EQ((unsigned char)buf[i], len % 251);
	return n < 0 ? n : len;
}

static void read_all(const weir_ctx *ctx, weir__h2s *s)
{
	char buf[3000];

	while (weir__h2s_read(ctx, s, buf, sizeof buf) > 0)
		;
}

static void expect_over(const weir_ctx *ctx, const struct site *s)
{
	while (site_stats(s).active)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
}

/* ---- handlers ---- */

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "hello\n");
}

enum { BIG = 300000 };

static char pattern_bytes[BIG];

static void fill(void)
{
	for (int i = 0; i < BIG; i++)
		pattern_bytes[i] = (char)(i % 251);
}

/* Handlers and clients on all workers send it. */
static const char *pattern(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fill);
	return pattern_bytes;
}

static int big(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = 0;

	(void)arg;
	for (int at = 0; r == 0 && at < BIG; at += BIG / 3)
		r = weir_http_write(ctx, x, pattern() + at, BIG / 3);
	return r;
}

static int echo(const weir_ctx *ctx, weir_http *x, void *arg)
{
	char buf[1000];
	ssize_t n;
	int r = 0;

	(void)arg;
	while (r == 0 && (n = weir_http_read(ctx, x, buf, sizeof buf)) != 0)
		r = n < 0 ? (int)n : weir_http_write(ctx, x, buf, (size_t)n);
	return r;
}

static int trailed(const weir_ctx *ctx, weir_http *x, void *arg)
{
	CHECK_EQ(weir__http_trailer(x, "x-sum", "42"), 0);
	return arg ? 0 : weir_http_printf(ctx, x, "body");
}

struct nap {
	unsigned begun, over;
	int result, cause;
};

static int nap(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct nap *n = arg;

	(void)x;
	__atomic_add_fetch(&n->begun, 1, __ATOMIC_RELAXED);
	n->result = weir_sleep(ctx, WEIR_SEC(60));
	n->cause = weir_ctx_cause(ctx, NULL);
	__atomic_add_fetch(&n->over, 1, __ATOMIC_RELAXED);
	return n->result;
}

static int until_drain(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int r = weir_http_printf(ctx, x, "begin ");

	(void)arg;
	if (r == 0)
		r = weir_http_flush(ctx, x);
	while (r == 0 && (r = weir_sleep(&live, WEIR_MS(3))) == 0) {
		r = weir_http_printf(ctx, x, ". ");
		if (r == 0)
			r = weir_http_flush(ctx, x);
	}
	return r == -ESHUTDOWN ? weir_http_printf(ctx, x, "end") : r;
}

static void wait_for(const weir_ctx *ctx, const unsigned *n, unsigned enough)
{
	while (__atomic_load_n(n, __ATOMIC_RELAXED) < enough)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
}

/* ---- answers ---- */

SIM(many_streams_are_answered_on_one_connection, 30)
{
	weir__h2s *st[60];
	struct site s;
	weir__h2c *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_route(&s, "GET /big", big, NULL);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	for (int i = 0; i < 60; i++)
		st[i] = get(ctx, c, i % 10 ? "/" : "/big");
	for (int i = 0; i < 60; i++) {
		CHECK_EQ(status_of(ctx, st[i]), 200);
		if (i % 10 == 0)
			CHECK_EQ(pattern_length(ctx, st[i]), BIG);
		weir__h2s_close(st[i], WEIR__H2_CANCEL);
	}
	CHECK_EQ(site_stats(&s).conns_total, 1);
	CHECK_EQ(site_stats(&s).requests, 60);
	weir__h2c_close(c);
	site_stop(&s);
}

struct upload {
	weir__h2s *s;
	int result;
};

static int upload(const weir_ctx *ctx, void *arg)
{
	struct upload *u = arg;
	static char text[BIG];
	struct iovec iov = { text, BIG };

	for (int i = 0; i < BIG; i++)
		text[i] = (char)(i % 251);
	u->result = weir__h2s_send(ctx, u->s, &iov, 1, true);
	return 0;
}

SIM(a_body_streams_both_ways_at_once, 30)
{
	struct upload u;
	weir_group g;
	struct site s;
	weir__h2c *c;

	site_new(&s, NULL);
	site_route(&s, "POST /", echo, NULL);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	u.s = request(c, "POST", "/");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), upload, &u), 0);
	CHECK_EQ(status_of(ctx, u.s), 200);
	CHECK_EQ(pattern_length(ctx, u.s), BIG);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(u.result, 0);
	weir__h2s_close(u.s, WEIR__H2_CANCEL);
	weir__h2c_close(c);
	site_stop(&s);
}

SIM(trailers_follow_the_body_and_stand_alone, 50)
{
	struct site s;
	weir__h2c *c;
	char buf[10];

	site_new(&s, NULL);
	site_route(&s, "GET /", trailed, NULL);
	site_route(&s, "GET /empty", trailed, &s);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	for (int i = 0; i < 2; i++) {
		weir__h2s *st = get(ctx, c, i ? "/" : "/empty");

		CHECK_EQ(status_of(ctx, st), 200);
		for (ssize_t n, all = 0;; all += n) {
			n = weir__h2s_read(ctx, st, buf, sizeof buf);
			if (n <= 0) {
				CHECK_EQ(n, 0);
				CHECK_EQ(all, i ? 4 : 0);
				break;
			}
		}
		CHECK_STR(weir__h2s_field(st, true, "x-sum")->value, "42");
		CHECK(!weir__h2s_field(st, false, "content-length"));
		weir__h2s_close(st, WEIR__H2_CANCEL);
	}
	weir__h2c_close(c);
	site_stop(&s);
}

/* ---- a handler's task of another worker writes ---- */

struct helper {
	weir_http *x;
	int result;
};

static int write_from_elsewhere(const weir_ctx *ctx, void *arg)
{
	struct helper *h = arg;

	h->result = big(ctx, h->x, NULL);
	return 0;
}

static int delegates(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct helper h = { .x = x };
	weir_group g;

	(void)arg;
	weir_group_init(&g, ctx);
	h.result = weir_group_go_on(&g, (weir_worker() + 1) % weir_worker_count(),
	                            write_from_elsewhere, &h);
	weir_group_wait(&g);
	return h.result;
}

static void across_workers(const weir_ctx *ctx)
{
	weir__h2s *st[5];
	struct site s;
	weir__h2c *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", delegates, NULL);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	for (int i = 0; i < 5; i++)
		st[i] = get(ctx, c, "/");
	for (int i = 0; i < 5; i++) {
		if (i == 3) {
			weir__h2s_close(st[i], WEIR__H2_CANCEL);
			continue;
		}
		CHECK_EQ(status_of(ctx, st[i]), 200);
		CHECK_EQ(pattern_length(ctx, st[i]), BIG);
		weir__h2s_close(st[i], WEIR__H2_CANCEL);
	}
	expect_over(ctx, &s);
	weir__h2c_close(c);
	site_stop(&s);
}

SIM(a_task_of_another_worker_may_write_an_answer, 20)
{
	across_workers(ctx);
}

TASK(a_task_of_another_thread_may_write_an_answer)
{
	across_workers(ctx);
}

/* ---- the client leaves ---- */

SIM(a_reset_cancels_its_handler_and_no_other, 200)
{
	struct nap n = { 0 };
	weir__h2s *a, *b;
	struct site s;
	weir__h2c *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", nap, &n);
	site_route(&s, "GET /hello", hello, NULL);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	a = get(ctx, c, "/");
	wait_for(ctx, &n.begun, 1);
	weir__h2s_close(a, WEIR__H2_CANCEL);
	wait_for(ctx, &n.over, 1);
	CHECK_EQ(n.result, -ECANCELED);
	CHECK_EQ(n.cause, -EPIPE);
	b = get(ctx, c, "/hello");
	CHECK_EQ(status_of(ctx, b), 200);
	weir__h2s_close(b, WEIR__H2_CANCEL);
	CHECK_EQ(site_stats(&s).client_gone, 1);
	weir__h2c_close(c);
	site_stop(&s);
}

SIM(a_client_that_leaves_cancels_all_its_handlers, 200)
{
	struct nap n = { 0 };
	weir__h2s *st[8];
	struct site s;
	weir__h2c *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", nap, &n);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	for (int i = 0; i < 8; i++)
		st[i] = get(ctx, c, "/");
	wait_for(ctx, &n.begun, 8);
	for (int i = 0; i < 8; i++)
		weir__h2s_close(st[i], WEIR__H2_CANCEL);
	weir__h2c_close(c);
	wait_for(ctx, &n.over, 8);
	while (site_stats(&s).conns)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	site_stop(&s);
}

/* ---- the limit ---- */

static int stuck(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int *result = arg;

	(void)ctx;
	weir_sleep(&(weir_ctx){ .scope = ctx->scope, .deadline_ns = WEIR_NEVER }, WEIR_SEC(5));
	*result = weir_http_printf(ctx, x, "too late");
	return 0;
}

SIM(the_limit_answers_for_a_handler_and_the_connection_goes_on, 100)
{
	int result = 0;
	weir__h2s *st;
	struct site s;
	weir__h2c *c;
	int64_t from;

	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_SEC(1) });
	site_route(&s, "GET /", stuck, &result);
	site_route(&s, "GET /hello", hello, NULL);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	from = weir_now();
	st = get(ctx, c, "/");
	CHECK_EQ(status_of(ctx, st), 503);
	CHECK(weir_now() - from >= WEIR_SEC(1) && weir_now() - from < WEIR_SEC(2));
	weir__h2s_close(st, WEIR__H2_CANCEL);
	st = get(ctx, c, "/hello");
	CHECK_EQ(status_of(ctx, st), 200);
	weir__h2s_close(st, WEIR__H2_CANCEL);
	expect_over(ctx, &s);
	CHECK_EQ(result, -ETIMEDOUT);
	CHECK_EQ(site_stats(&s).conns, 1);
	weir__h2c_close(c);
	site_stop(&s);
}

SIM(a_silent_client_with_open_streams_is_asked_and_cut, 50)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *io;

	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_NEVER, .keepalive_ns = WEIR_SEC(2) });
	site_route(&s, "GET /", nap, &n);
	site_start(ctx, &s);
	io = dial(ctx);
	/* A client that has said its request and reads nothing any more, as behind a cut cable. */
	CHECK_EQ(weir_conn_write(ctx, io,
	                         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	                         "\0\0\0\4\0\0\0\0\0"
	                         "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1x",
	                         24 + 9 + 15),
	         0);
	wait_for(ctx, &n.over, 1);
	CHECK_EQ(n.result, -ECANCELED);
	CHECK_EQ(site_stats(&s).timeouts, 1);
	weir_conn_free(io);
	site_stop(&s);
}

/* ---- drain ---- */

static int drain_soon(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;
	int r = weir_sleep(ctx, WEIR_MS(weir_random(30)));

	weir_group_drain(&s->group);
	return r;
}

SIM(streams_end_by_themselves_when_the_server_drains, 300)
{
	weir_group g;
	weir__h2s *st[6];
	struct site s;
	weir__h2c *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", until_drain, NULL);
	site_route(&s, "GET /hello", hello, NULL);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	for (int i = 0; i < 6; i++)
		st[i] = get(ctx, c, i % 3 ? "/" : "/hello");
	CHECK_EQ(status_of(ctx, st[5]), 200);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, drain_soon, &s), 0);
	for (int i = 0; i < 6; i++) {
		char buf[4096];
		ssize_t n, len = 0;

		CHECK_EQ(status_of(ctx, st[i]), 200);
		while ((n = weir__h2s_read(ctx, st[i], buf + len, sizeof buf - (size_t)len)) > 0)
			len += n;
		CHECK_EQ(n, 0);
		if (i % 3)
			CHECK(len > 3 && !memcmp(buf + len - 3, "end", 3));
		weir__h2s_close(st[i], WEIR__H2_CANCEL);
	}
	/* Whoever was told by a stream's end to go has been told not to come back. */
	CHECK_EQ(weir__h2c_state(c) < 0, true);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir__h2c_close(c);
	site_join(&s);
}

/* nghttp2 answers no ping once it has heard GOAWAY and has no stream; the server would wait for
 * that. */
SIM(a_client_without_streams_does_not_hold_up_the_drain, 100)
{
	weir__h2s *st;
	struct site s;
	weir__h2c *c;
	int64_t began;
	char buf[100];

	site_new(&s, NULL);
	site_route(&s, "GET /hello", hello, NULL);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	st = get(ctx, c, "/hello");
	CHECK_EQ(status_of(ctx, st), 200);
	began = weir_now();
	weir_group_drain(&s.group);
	site_join(&s);
	CHECK(weir_now() - began < WEIR_MS(500));
	CHECK_EQ(weir__h2c_state(c), -ESHUTDOWN);
	/* What had come is still there, and the stream's end is no stop: who saw one would ask
	 * again. */
	CHECK_EQ(weir__h2s_read(ctx, st, buf, sizeof buf), 6);
	CHECK_EQ(weir__h2s_read(ctx, st, buf, sizeof buf), 0);
	CHECK_EQ(weir__h2s_send(ctx, st, &(struct iovec){ buf, 6 }, 1, false), -EPIPE);
	weir__h2s_close(st, WEIR__H2_CANCEL);
	weir__h2c_close(c);
}

SIM(a_cancel_ends_what_ignores_the_drain, 200)
{
	struct nap n = { 0 };
	weir__h2s *st[4];
	struct site s;
	weir__h2c *c;

	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_NEVER });
	site_route(&s, "GET /", nap, &n);
	site_start(ctx, &s);
	c = connect_h2(ctx);
	for (int i = 0; i < 4; i++)
		st[i] = get(ctx, c, "/");
	wait_for(ctx, &n.begun, 4);
	if (weir_random(2))
		weir_group_drain(&s.group);
	weir_sleep(ctx, WEIR_MS(weir_random(2000)));
	weir_group_cancel(&s.group);
	for (int i = 0; i < 4; i++) {
		CHECK(status_of(ctx, st[i]) < 0);
		weir__h2s_close(st[i], WEIR__H2_CANCEL);
	}
	weir__h2c_close(c);
	site_join(&s);
	CHECK_EQ(n.over, 4);
	CHECK_EQ(n.result, -ECANCELED);
}

/* ---- everything at random ---- */

static int handed(const weir_ctx *ctx, weir_http *x, void *arg);

static void told(weir__stream *s, int why, void *arg)
{
	(void)arg;
	weir__stream_end(s, why == -ESHUTDOWN);
}

static int handed(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir__stream *stream;
	int r = weir_http_printf(ctx, x, "x");

	(void)arg;
	if (r == 0)
		r = weir_http_flush(ctx, x);
	return r < 0 ? r : weir__http_detach(x, told, NULL, &stream);
}

static int restless(const weir_ctx *ctx, void *arg)
{
	static const char *const path[] = { "/", "/big", "/nap", "/handed", "/drain", "/away" };
	unsigned *calls = arg;

	for (int round = 0; round < 3; round++) {
		weir__h2s *st[8];
		weir_conn *io;
		weir__h2c *c;

		if (weir_dial(ctx, "mem:site", &io) < 0)
			return 0;
		CHECK_EQ(weir__h2c_new(io, &no_options, &c), 0);
		for (int i = 0; i < 8; i++) {
			st[i] = weir_random(4) ? get(ctx, c, path[weir_random(6)]) :
			                         request(c, "POST", "/echo");
			*calls += 1;
		}
		for (int i = 0; i < 8; i++) {
			weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(weir_random(20)));

			if (st[i] && weir_random(3) && weir__h2s_head(&soon, st[i]) == 0 &&
			    weir_random(2))
				read_all(&soon, st[i]);
			if (st[i] && weir_random(2))
				weir__h2s_reset(st[i], WEIR__H2_CANCEL);
		}
		for (int i = 0; i < 8; i++)
			if (st[i])
				weir__h2s_close(st[i], WEIR__H2_CANCEL);
		weir__h2c_close(c);
	}
	return 0;
}

SIM(resets_drains_cancels_and_losses_at_any_moment_leave_nothing, 2000)
{
	struct nap n = { 0 };
	unsigned calls = 0;
	weir_group g;
	struct site s;

	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_MS(40) });
	site_route(&s, "GET /", big, NULL);
	site_route(&s, "GET /big", big, NULL);
	site_route(&s, "GET /nap", nap, &n);
	site_route(&s, "GET /handed", handed, NULL);
	site_route(&s, "GET /drain", big, NULL);
	site_route(&s, "GET /away", delegates, NULL);
	site_route(&s, "POST /echo", echo, NULL);
	site_start(ctx, &s);
	if (weir_random(2))
		weir_sim_net_set(&(weir_sim_net){ .latency_ns = WEIR_MS(1), .loss = 200 });
	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_group_go(&g, restless, &calls), 0);
	weir_sleep(ctx, WEIR_MS(weir_random(100)));
	if (weir_random(2))
		weir_group_drain(&s.group);
	weir_sleep(ctx, WEIR_MS(weir_random(100)));
	if (weir_random(2))
		weir_group_cancel(&s.group);
	weir_group_wait(&g);
	weir_group_drain(&s.group);
	weir_group_wait(&s.group);
	CHECK_EQ(site_stats(&s).active, 0);
	CHECK_EQ(site_stats(&s).idle, 0);
	CHECK_EQ(site_stats(&s).conns, 0);
	CHECK_EQ(n.begun, n.over);
	weir_listener_free(s.listener);
	weir_http_server_free(s.server);
}

/* ---- our HTTP client ---- */

static int events(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = weir_sse_begin(ctx, x);

	(void)arg;
	for (int i = 0; r == 0 && i < 3; i++)
		r = weir_sse_send(ctx, x, "tick", "data", 4);
	return r;
}

struct asker {
	const weir_http_client *first;
	int at_once;
};

static int asks(const weir_ctx *ctx, void *arg)
{
	struct asker *a = arg;
	weir_http_client *c;
	weir_http_res res;
	ssize_t n, len = 0;
	char buf[5000];

	CHECK_EQ(weir_http_client_share(a->first, &c), 0);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(weir_http_client_do(
				 ctx, c,
				 &(weir_http_req){ .method = "POST",
		                                   .target = "/echo",
		                                   .headers =
		                                           (const char *[]){ "X-Test: Yes ", NULL },
		                                   .body = pattern(),
		                                   .body_len = BIG },
				 &res),
		         0);
		CHECK_EQ(res.status, 200);
		CHECK(weir_http_client_header(c, "Date") != NULL);
		if (i == 3)
			continue; /* unread */
		for (len = 0; (n = weir_http_client_read(ctx, c, buf, sizeof buf)) > 0; len += n)
			for (ssize_t k = 0; k < n; k++)
				CHECK_EQ((unsigned char)buf[k], (len + k) % 251);
		CHECK_EQ(n, 0);
		CHECK_EQ(len, BIG);
	}
	weir_http_client_free(c);
	return 0;
}

static void share(const weir_ctx *ctx, const char *scheme)
{
	struct site s;
	weir_http_client *c;
	weir_http_res res;
	weir_sse_event e;
	char base[100];
	struct asker a;
	weir_group g;

	site_new(&s, &(weir_http_limits){ .body_max = 2 * BIG });
	site_route(&s, "POST /echo", echo, NULL);
	site_route(&s, "GET /events", events, NULL);
	CHECK_EQ(weir_listen("127.0.0.1:0", &s.listener), 0);
	weir_group_init(&s.group, ctx);
	CHECK_EQ(weir_group_go(&s.group, site_serve, &s), 0);
	snprintf(base, sizeof base, "%s://localhost:%s", scheme,
	         strrchr(weir_listener_addr(s.listener), ':') + 1);
	CHECK_EQ(weir_http_client_new(base, &c), 0);
	weir_http_client_tls(c, site_tls.other);
	a.first = c;
	weir_group_init(&g, ctx);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(weir_group_go(&g, asks, &a), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK(site_stats(&s).conns_total <= 2 * (uint64_t)weir_worker_count());
	CHECK_EQ(weir_http_client_do(
			 ctx, c, &(weir_http_req){ .method = "GET", .target = "/events" }, &res),
	         0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
		CHECK_STR(e.event, "tick");
	}
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 0);
	weir_http_client_free(c);
	site_stop(&s);
}

TASK(clients_that_share_ask_at_once_on_one_connection_per_worker)
{
	share(ctx, "http2");
}

TASK(so_they_do_over_tls)
{
	if (!tls_built())
		return;
	if (!site_tls.server)
		site_make_tls();
	share(ctx, "https2");
	site_free_tls();
}
