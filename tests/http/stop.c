/* SPDX-License-Identifier: MIT */
/* How requests and connections end: the client leaves, the server drains, the server is cancelled.
 * Over seeds. */
#include "http/exchange.h"
#include "site.h"

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "hello\n");
}

/* Sleeps a second under the context it is told, and keeps the result. */
struct nap {
	bool until_drain, begun, over;
	int result, cause;
};

static int nap(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct nap *n = arg;
	weir_ctx live = weir_ctx_until_drain(ctx);

	n->begun = true;
	n->result = weir_sleep(n->until_drain ? &live : ctx, WEIR_SEC(20));
	n->cause = weir_ctx_cause(ctx, NULL);
	n->over = true;
	return n->result == -ECANCELED ? n->result :
	                                 weir_http_printf(ctx, x, "result %d\n", n->result);
}

static void wait_for(const weir_ctx *ctx, const bool *flag)
{
	while (!*flag)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
}

/* ---- the client leaves ---- */

SIM(a_client_that_leaves_cancels_its_handler, 200)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", nap, &n);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	wait_for(ctx, &n.begun);
	weir_conn_free(c);
	wait_for(ctx, &n.over);
	CHECK_EQ(n.result, -ECANCELED);
	CHECK_EQ(n.cause, -EPIPE);
	CHECK_EQ(site_stats(&s).client_gone, 1);
	while (site_stats(&s).conns)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	CHECK_EQ(site_stats(&s).finished_in_drain, 0);
	site_stop(&s);
}

SIM(a_client_that_leaves_is_noticed_behind_a_chunked_body_that_nobody_reads, 200)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "POST /", nap, &n);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c,
	    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "5\r\nhello\r\n0\r\n\r\n");
	wait_for(ctx, &n.begun);
	weir_conn_free(c);
	wait_for(ctx, &n.over);
	CHECK_EQ(n.result, -ECANCELED);
	CHECK_EQ(n.cause, -EPIPE);
	site_stop(&s);
}

SIM(a_client_that_sent_all_and_its_end_is_answered, 200)
{
	struct site s;
	weir_conn *c;
	const char *got;
	int64_t from;

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/") GET("/") GET("/"));
	weir_conn_shutdown_write(c);
	from = weir_now();
	got = hear(ctx, c, NULL);
	CHECK(weir_now() - from < WEIR_SEC(1)); /* Nothing more can come: it is not kept. */
	for (int i = 0; i < 3; i++) {
		HAS(got, "hello\n");
		got = strstr(got, "hello\n") + 1;
	}
	weir_conn_free(c);
	site_stop(&s);
}

SIM(an_end_behind_further_requests_cancels_nothing, 200)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *c;
	const char *got;

	weir_sim_net_set(&(weir_sim_net){ .whole = true });
	site_new(&s, NULL);
	site_route(&s, "GET /nap", nap, &n);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	if (weir_random(2)) {
		say(ctx, c, GET("/nap") GET("/"));
		wait_for(ctx, &n.begun);
	} else {
		say(ctx, c, GET("/nap"));
		wait_for(ctx, &n.begun);
		say(ctx, c, GET("/"));
	}
	weir_conn_shutdown_write(c);
	got = hear(ctx, c, NULL);
	HAS(got, "result 0\n");
	HAS(got, "hello\n");
	CHECK_EQ(site_stats(&s).client_gone, 0);
	weir_conn_free(c);
	site_stop(&s);
}

SIM(a_body_cut_short_gets_400, 100)
{
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "POST /", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Le");
	weir_conn_shutdown_write(c);
	HAS(hear(ctx, c, NULL), "HTTP/1.1 400 ");
	weir_conn_free(c);
	site_stop(&s);
}

/* ---- drain ---- */

SIM(drain_lets_a_running_handler_answer_and_closes, 200)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *c;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /", nap, &n);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	wait_for(ctx, &n.begun);
	weir_group_drain(&s.group);
	got = hear(ctx, c, NULL);
	HAS(got, "result 0\n");
	HAS(got, "\r\nConnection: close\r\n");
	CHECK_EQ(site_stats(&s).finished_in_drain, 1);
	weir_conn_free(c);
	site_join(&s);
}

SIM(drain_reaches_a_handler_that_waits_for_new_work, 200)
{
	struct nap n = { .until_drain = true };
	struct site s;
	weir_conn *c;
	char want[32];

	site_new(&s, NULL);
	site_route(&s, "GET /", nap, &n);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	wait_for(ctx, &n.begun);
	weir_group_drain(&s.group);
	snprintf(want, sizeof want, "result %d\n", -ESHUTDOWN);
	HAS(hear(ctx, c, NULL), want);
	weir_conn_free(c);
	site_join(&s);
}

SIM(drain_ends_idle_connections_soon_and_cleanly, 200)
{
	struct site s;
	weir_conn *c[5];
	int64_t from;

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	for (int i = 0; i < 5; i++) {
		c[i] = dial(ctx);
		if (i)
			say(ctx, c[i], GET("/"));
		if (i)
			hear(ctx, c[i], "hello\n");
	}
	from = weir_now();
	weir_group_drain(&s.group);
	for (int i = 0; i < 5; i++) {
		CHECK_STR(hear(ctx, c[i], NULL), "");
		weir_conn_free(c[i]);
	}
	site_join(&s);
	CHECK(weir_now() - from < WEIR_MS(500));
}

SIM(a_request_on_its_way_when_drain_begins_is_served, 300)
{
	struct site s;
	weir_conn *c;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	hear(ctx, c, "hello\n");
	if (weir_random(2)) {
		say(ctx, c, GET("/"));
		weir_group_drain(&s.group);
	} else {
		weir_group_drain(&s.group);
		say(ctx, c, GET("/"));
	}
	got = hear(ctx, c, NULL);
	HAS(got, "hello\n");
	HAS(got, "\r\nConnection: close\r\n");
	weir_conn_free(c);
	site_join(&s);
}

static int late_worker(const weir_ctx *ctx, void *arg)
{
	struct site s;
	weir_conn *c;
	int64_t until;

	(void)arg;
	site_new(&s, &(weir_http_limits){ .idle_ns = WEIR_MS(50) });
	site_route(&s, "GET /", hello, NULL);
	site_start_at(ctx, &s, "127.0.0.1:0");
	c = dial(ctx);
	say(ctx, c, GET("/"));
	hear(ctx, c, "hello\n");
	while (site_stats(&s).idle < 1)
		CHECK_EQ(weir_yield(ctx), 0);
	say(ctx, c, GET("/"));
	for (until = weir_now() + WEIR_MS(60); weir_now() < until;)
		; /* The only worker finds the time over before it finds the request. */
	HAS(hear(ctx, c, "hello\n"), "hello\n");
	weir_conn_free(c);
	site_stop(&s);
	return 0;
}

TEST(a_request_that_came_in_time_is_served_although_the_worker_is_late)
{
	CHECK_EQ(weir_run(&(weir_options){ .workers = 1 }, late_worker, NULL), 0);
}

SIM(drain_answers_all_requests_that_were_read, 200)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *c;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /nap", nap, &n);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	weir_sim_net_set(&(weir_sim_net){ .whole = true });
	c = dial(ctx);
	say(ctx, c, GET("/nap") GET("/") GET("/"));
	wait_for(ctx, &n.begun);
	weir_group_drain(&s.group);
	got = hear(ctx, c, NULL);
	HAS(got, "result 0\n");
	got = strstr(got, "hello\n");
	CHECK(got != NULL);
	HAS(got + 1, "hello\n");
	HAS(got + 1, "\r\nConnection: close\r\n");
	weir_conn_free(c);
	site_join(&s);
}

SIM(a_connection_in_the_queue_when_drain_begins_is_served, 300)
{
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	hear(ctx, c = dial(ctx), "");
	weir_conn_free(c);
	c = dial(ctx);
	weir_group_drain(&s.group);
	say(ctx, c, GET("/"));
	HAS(hear(ctx, c, NULL), "hello\n");
	weir_conn_free(c);
	site_join(&s);
}

SIM(cancel_ends_everything_at_once, 300)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *running, *idle, *half;
	int64_t from;

	site_new(&s, NULL);
	site_route(&s, "GET /nap", nap, &n);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	running = dial(ctx);
	idle = dial(ctx);
	half = dial(ctx);
	say(ctx, running, GET("/nap"));
	say(ctx, idle, GET("/"));
	hear(ctx, idle, "hello\n");
	say(ctx, half, "GET / HT");
	wait_for(ctx, &n.begun);
	from = weir_now();
	weir_group_cancel(&s.group);
	CHECK_STR(hear(ctx, running, NULL), "");
	CHECK_STR(hear(ctx, idle, NULL), "");
	CHECK_STR(hear(ctx, half, NULL), "");
	CHECK_EQ(n.result, -ECANCELED);
	CHECK_EQ(site_stats(&s).cut, 1);
	weir_conn_free(running);
	weir_conn_free(idle);
	weir_conn_free(half);
	site_join(&s);
	CHECK(weir_now() - from < WEIR_MS(100));
}

/* ---- connections that are kept ---- */

static int keep(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir_http_conn_keep(weir_http_connection(x), arg != NULL);
	return weir_http_printf(ctx, x, "%s\n", arg ? "kept" : "given up");
}

static void site_with_keep(const weir_ctx *ctx, struct site *s)
{
	site_new(s, NULL);
	site_route(s, "GET /keep", keep, s);
	site_route(s, "GET /give-up", keep, NULL);
	site_start(ctx, s);
}

SIM(a_kept_connection_has_no_idle_limit_and_outlives_the_drain, 200)
{
	struct site s;
	weir_conn *c;
	int64_t from;

	site_with_keep(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/keep"));
	hear(ctx, c, "kept\n");
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(3600)), 0);
	say(ctx, c, GET("/keep"));
	hear(ctx, c, "kept\n");
	weir_group_drain(&s.group);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(3600)), 0);
	say(ctx, c, GET("/keep"));
	LACKS(hear(ctx, c, "kept\n"), "Connection:");
	say(ctx, c, GET("/give-up"));
	from = weir_now();
	HAS(hear(ctx, c, NULL), "\r\nConnection: close\r\n");
	weir_conn_free(c);
	site_join(&s);
	CHECK(weir_now() - from < WEIR_MS(100));
}

SIM(a_connection_that_was_given_up_idles_out_again, 50)
{
	struct site s;
	weir_conn *c;
	int64_t from;

	site_with_keep(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/keep"));
	hear(ctx, c, "kept\n");
	say(ctx, c, GET("/give-up"));
	hear(ctx, c, "given up\n");
	from = weir_now();
	CHECK_STR(hear(ctx, c, NULL), "");
	CHECK(weir_now() - from < WEIR_SEC(80));
	weir_conn_free(c);
	site_stop(&s);
}

SIM(cancel_ends_a_kept_connection, 50)
{
	struct site s;
	weir_conn *c;
	int64_t from;

	site_with_keep(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/keep"));
	hear(ctx, c, "kept\n");
	weir_group_drain(&s.group);
	from = weir_now();
	weir_group_cancel(&s.group);
	CHECK_STR(hear(ctx, c, NULL), "");
	site_join(&s);
	CHECK(weir_now() - from < WEIR_MS(100));
	weir_conn_free(c);
}

SIM(goodbye_is_said_while_new_connections_are_served, 50)
{
	struct site s;

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	weir_http_server_goodbye(s.server);
	for (int i = 0; i < 3; i++)
		HAS(ask(ctx, GET("/")), "\r\nConnection: close\r\n");
	site_stop(&s);
}

SIM(cancel_does_not_linger_where_the_limit_has_struck, 50)
{
	struct nap n = { 0 };
	struct site s;
	weir_conn *c;
	int64_t from;

	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_SEC(5) });
	site_route(&s, "GET /nap", nap, &n);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/nap"));
	HAS(hear(ctx, c, NULL), "HTTP/1.1 503 ");
	from = weir_now();
	weir_group_cancel(&s.group);
	site_join(&s);
	CHECK(weir_now() - from < WEIR_MS(100));
	weir_conn_free(c);
}

/* ---- streams ---- */

struct sink {
	weir__stream *stream;
	int told[4], count;
	bool end_on_drain, joined;
};

static void told(weir__stream *st, int why, void *arg)
{
	struct sink *k = arg;

	k->told[k->count++] = why;
	if (why == -ESHUTDOWN && !k->end_on_drain)
		return;
	weir__stream_end(st, why == -ESHUTDOWN);
}

static int join(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct sink *k = arg;
	int r = weir_http_flush(ctx, x);

	if (r == 0)
		r = weir__http_detach(x, told, k, &k->stream);
	k->joined = true;
	return r;
}

SIM(a_stream_hears_that_its_client_left, 200)
{
	struct sink k = { 0 };
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", join, &k);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	hear(ctx, c, "\r\n\r\n");
	wait_for(ctx, &k.joined);
	CHECK_EQ(site_stats(&s).active, 1);
	weir_conn_free(c);
	while (!k.count)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	CHECK_EQ(k.told[0], -EPIPE);
	CHECK_EQ(site_stats(&s).active, 0);
	site_stop(&s);
	CHECK_EQ(k.count, 1);
}

SIM(a_stream_hears_drain_and_can_end_cleanly, 200)
{
	struct sink k = { .end_on_drain = true };
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", join, &k);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	hear(ctx, c, "\r\n\r\n");
	weir_group_drain(&s.group);
	CHECK_STR(hear(ctx, c, NULL), "0\r\n\r\n");
	weir_conn_free(c);
	site_join(&s);
	CHECK_EQ(k.told[0], -ESHUTDOWN);
	CHECK_EQ(k.count, 1);
}

SIM(a_stream_hears_cancel_after_drain, 200)
{
	struct sink k = { 0 };
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "GET /", join, &k);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	hear(ctx, c, "\r\n\r\n");
	wait_for(ctx, &k.joined);
	weir_group_drain(&s.group);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(5)), 0);
	weir_group_cancel(&s.group);
	CHECK_STR(hear(ctx, c, NULL), "");
	weir_conn_free(c);
	site_join(&s);
	CHECK_EQ(k.told[0], -ESHUTDOWN);
	CHECK_EQ(k.told[1], -ECANCELED);
	CHECK_EQ(k.count, 2);
}
