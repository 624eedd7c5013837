/* SPDX-License-Identifier: MIT */
/* Hubs: everyone gets everything once and in order; who leaves, stalls or comes back is treated
 * as promised. */
#include <weir/http_client.h>
#include <weir/sse.h>
#include <weir/sync.h>

#include "site.h"

struct stage {
	struct site site;
	weir_hub *hub;
	const weir_hub_options *per_client;
};

static int join(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct stage *t = arg;

	return weir_hub_join(ctx, x, t->hub, t->per_client);
}

static void stage_open(const weir_ctx *ctx, struct stage *t, const weir_hub_options *opt)
{
	t->per_client = NULL;
	CHECK_EQ(weir_hub_new(ctx, opt, &t->hub), 0);
	site_new(&t->site, NULL);
	site_route(&t->site, "GET /e", join, t);
	site_start(ctx, &t->site);
}

static void stage_close(const weir_ctx *ctx, struct stage *t)
{
	weir_group_drain(&t->site.group);
	CHECK_EQ(weir_hub_close(ctx, t->hub), 0);
	site_join(&t->site);
}

static weir_hub_stats stats(const struct stage *t)
{
	weir_hub_stats st;

	weir_hub_stats_get(t->hub, &st);
	return st;
}

static void wait_clients(const weir_ctx *ctx, const struct stage *t, size_t n)
{
	while (stats(t).clients != n)
		CHECK_EQ(weir_sleep(ctx, WEIR_US(100)), 0);
}

static int64_t publish(struct stage *t, int v)
{
	char text[16];

	return weir_hub_publish(t->hub, "n", text, (size_t)snprintf(text, sizeof text, "%d", v));
}

/* A client which has had its head. */
static weir_http_client *client(const weir_ctx *ctx, const char *last_id)
{
	char line[80];
	const char *const headers[] = { line, NULL };
	weir_http_req get = { .method = "GET",
		              .target = "/e",
		              .headers = last_id ? headers : NULL };
	weir_http_client *c;
	weir_http_res res;

	snprintf(line, sizeof line, "Last-Event-ID: %s", last_id ? last_id : "");
	c = site_client();
	CHECK_EQ(weir_http_client_do(ctx, c, &get, &res), 0);
	CHECK_EQ(res.status, 200);
	return c;
}

/* The next event's number; -1 for a gap. */
static int next(const weir_ctx *ctx, weir_http_client *c)
{
	weir_sse_event e;

	CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
	if (!strcmp(e.event, "gap"))
		return -1;
	CHECK_STR(e.event, "n");
	return atoi(e.data);
}

SIM(all_clients_get_all_events_in_order, 200)
{
	weir_http_client *c[6];
	struct stage t;
	uint64_t sent;

	stage_open(ctx, &t, NULL);
	for (int i = 0; i < 6; i++)
		c[i] = client(ctx, NULL);
	wait_clients(ctx, &t, 6);
	sent = site_stats(&t.site).bytes_out;
	for (int v = 0; v < 40; v++)
		CHECK_EQ(publish(&t, v), v + 1);
	for (int i = 0; i < 6; i++)
		for (int v = 0; v < 40; v++)
			CHECK_EQ(next(ctx, c[i]), v);
	/* An id of 16 hexadecimal digits alone makes so much. */
	CHECK(site_stats(&t.site).bytes_out - sent > 240 * 40);
	CHECK_EQ(stats(&t).delivered, 240);
	CHECK_EQ(stats(&t).dropped, 0);
	for (int i = 0; i < 6; i++)
		weir_http_client_free(c[i]);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

TASK(an_idle_stream_holds_no_task)
{
	weir_http_client *c[20];
	struct stage t;

	stage_open(ctx, &t, NULL);
	for (int i = 0; i < 20; i++)
		c[i] = client(ctx, NULL);
	wait_clients(ctx, &t, 20);
	while (weir_task_count() > 3)
		weir_sleep(ctx, WEIR_US(100));
	for (int i = 0; i < 20; i++)
		weir_http_client_free(c[i]);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(who_leaves_is_forgotten_without_a_publish, 200)
{
	weir_http_client *c[10];
	struct stage t;

	stage_open(ctx, &t, NULL);
	for (int i = 0; i < 10; i++)
		c[i] = client(ctx, NULL);
	wait_clients(ctx, &t, 10);
	for (int i = 0; i < 10; i += 2)
		weir_http_client_free(c[i]);
	wait_clients(ctx, &t, 5);
	publish(&t, 7);
	for (int i = 1; i < 10; i += 2) {
		CHECK_EQ(next(ctx, c[i]), 7);
		weir_http_client_free(c[i]);
	}
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(drain_sends_what_is_left_then_retry_then_the_end, 1000)
{
	struct stage t;
	weir_conn *c[8];
	const char *got, *a, *b;

	stage_open(ctx, &t, NULL);
	for (int i = 0; i < 8; i++) {
		c[i] = dial(ctx);
		say(ctx, c[i], GET("/e"));
		hear(ctx, c[i], "retry: ");
	}
	wait_clients(ctx, &t, 8);
	publish(&t, 1);
	if (weir_random(2))
		weir_yield(ctx);
	publish(&t, 2);
	if (weir_random(2))
		weir_yield(ctx);
	weir_group_drain(&t.site.group);
	for (int i = 0; i < 8; i++) {
		got = hear(ctx, c[i], NULL);
		a = strstr(got, "data: 2");
		CHECK(a != NULL);
		b = strstr(a, "retry: ");
		CHECK(b != NULL);
		HAS(b, "\r\n0\r\n\r\n");
		weir_conn_free(c[i]);
	}
	CHECK_EQ(weir_hub_close(ctx, t.hub), 0);
	site_join(&t.site);
}

SIM(close_ends_streams_cleanly_and_the_connection_serves_on, 200)
{
	weir_http_client *c;
	struct stage t;
	weir_sse_event e;

	stage_open(ctx, &t, NULL);
	c = client(ctx, NULL);
	wait_clients(ctx, &t, 1);
	publish(&t, 1);
	CHECK_EQ(weir_hub_close(ctx, t.hub), 0);
	CHECK_EQ(next(ctx, c), 1);
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 0);
	CHECK_EQ(site_stats(&t.site).conns, 1);
	weir_http_client_free(c);
	site_stop(&t.site);
}

SIM(cancel_of_the_hubs_scope_cuts, 200)
{
	weir_ctx mine;
	struct stage t;
	weir_conn *c;

	CHECK_EQ(weir_scope_open(ctx, &mine), 0);
	CHECK_EQ(weir_hub_new(&mine, NULL, &t.hub), 0);
	t.per_client = NULL;
	site_new(&t.site, NULL);
	site_route(&t.site, "GET /e", join, &t);
	site_start(ctx, &t.site);
	c = dial(ctx);
	say(ctx, c, GET("/e"));
	hear(ctx, c, "retry: ");
	wait_clients(ctx, &t, 1);
	weir_scope_cancel(mine.scope, -ECANCELED, "test");
	LACKS(hear(ctx, c, NULL), "0\r\n\r\n");
	CHECK_EQ(weir_hub_close(ctx, t.hub), 0);
	weir_scope_close(mine.scope);
	weir_conn_free(c);
	site_stop(&t.site);
}

SIM(cancel_of_the_server_cuts, 200)
{
	struct stage t;
	weir_conn *c;

	stage_open(ctx, &t, NULL);
	c = dial(ctx);
	say(ctx, c, GET("/e"));
	hear(ctx, c, "retry: ");
	wait_clients(ctx, &t, 1);
	weir_group_cancel(&t.site.group);
	LACKS(hear(ctx, c, NULL), "0\r\n\r\n");
	site_join(&t.site);
	CHECK_EQ(stats(&t).clients, 0);
	CHECK_EQ(weir_hub_close(ctx, t.hub), 0);
	weir_conn_free(c);
}

SIM(a_hub_that_ends_takes_nobody_and_publishes_nothing, 50)
{
	weir_ctx mine;
	struct stage t;

	CHECK_EQ(weir_scope_open(ctx, &mine), 0);
	CHECK_EQ(weir_hub_new(&mine, NULL, &t.hub), 0);
	t.per_client = NULL;
	site_new(&t.site, NULL);
	site_route(&t.site, "GET /e", join, &t);
	site_start(ctx, &t.site);
	weir_scope_drain(mine.scope);
	weir_sleep(ctx, WEIR_MS(1));
	HAS(ask(ctx, GET_CLOSE("/e")), "HTTP/1.1 503 ");
	weir_hub_close(ctx, t.hub);
	weir_scope_close(mine.scope);
	site_stop(&t.site);
}

TASK(too_many_clients_get_503)
{
	weir_hub_options two = { .clients_max = 2 };
	weir_http_client *a, *b;
	struct stage t;
	const char *got;

	stage_open(ctx, &t, &two);
	a = client(ctx, NULL);
	b = client(ctx, NULL);
	got = ask(ctx, GET_CLOSE("/e"));
	HAS(got, "HTTP/1.1 503 ");
	HAS(got, "\r\nretry-after: ");
	weir_http_client_free(a);
	wait_clients(ctx, &t, 1);
	a = client(ctx, NULL);
	weir_http_client_free(a);
	weir_http_client_free(b);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

TASK(head_gets_the_head_only)
{
	struct stage t;
	const char *got;

	stage_open(ctx, &t, NULL);
	got = ask(ctx, "HEAD /e HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	HAS(got, "text/event-stream");
	LACKS(got, "retry");
	CHECK_EQ(stats(&t).clients, 0);
	stage_close(ctx, &t);
}

TASK(http_1_0_gets_a_stream_without_chunks)
{
	struct stage t;
	weir_conn *c;
	const char *got;

	stage_open(ctx, &t, NULL);
	c = dial(ctx);
	say(ctx, c, "GET /e HTTP/1.0\r\n\r\n");
	hear(ctx, c, "retry: ");
	wait_clients(ctx, &t, 1);
	publish(&t, 5);
	got = hear(ctx, c, "data: 5\n\n");
	LACKS(got, "\r\n");
	weir_conn_free(c);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

TASK(bad_events_are_refused)
{
	static char big[(1 << 20) + 1];
	struct stage t;

	stage_open(ctx, &t, NULL);
	CHECK_EQ(weir_hub_publish(t.hub, "a\nb", "x", 1), -EINVAL);
	CHECK_EQ(weir_hub_publish(t.hub, NULL, big, sizeof big), -EMSGSIZE);
	CHECK_EQ(weir_hub_publish(t.hub, NULL, "x", 1), 1);
	stage_close(ctx, &t);
}

/* ---- Coming back ---- */

SIM(a_client_that_comes_back_misses_nothing, 200)
{
	weir_http_client *c;
	weir_sse_event e;
	struct stage t;
	char id[64];

	stage_open(ctx, &t, NULL);
	c = client(ctx, NULL);
	wait_clients(ctx, &t, 1);
	publish(&t, 0);
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
	snprintf(id, sizeof id, "%s", e.id);
	weir_http_client_free(c);
	for (int v = 1; v < 100; v++)
		publish(&t, v);
	c = client(ctx, id);
	for (int v = 1; v < 100; v++)
		CHECK_EQ(next(ctx, c), v);
	wait_clients(ctx, &t, 1);
	publish(&t, 100);
	CHECK_EQ(next(ctx, c), 100);
	CHECK_EQ(stats(&t).gaps, 0);
	weir_http_client_free(c);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(a_gap_is_told_where_the_replay_does_not_reach, 100)
{
	weir_hub_options small = { .replay_max = 10 };
	weir_http_client *c;
	weir_sse_event e;
	struct stage t;
	char id[64];

	stage_open(ctx, &t, &small);
	c = client(ctx, NULL);
	wait_clients(ctx, &t, 1);
	publish(&t, 0);
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
	snprintf(id, sizeof id, "%s", e.id);
	weir_http_client_free(c);
	for (int v = 1; v <= 30; v++)
		publish(&t, v);
	c = client(ctx, id);
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
	CHECK_STR(e.event, "gap");
	CHECK_STR(e.data, "{\"missed\":20}");
	for (int v = 21; v <= 30; v++)
		CHECK_EQ(next(ctx, c), v);
	weir_http_client_free(c);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

TASK(an_id_of_another_life_gets_a_gap_and_all_that_is_held)
{
	static const char *const ids[] = { "0123456789abcdef-3", "x", "-", "17" };
	weir_http_client *c;
	weir_sse_event e;
	struct stage t;

	stage_open(ctx, &t, NULL);
	publish(&t, 1);
	publish(&t, 2);
	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
		c = client(ctx, ids[i]);
		CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
		CHECK_STR(e.event, "gap");
		CHECK_STR(e.data, "{\"missed\":null}");
		CHECK_EQ(next(ctx, c), 1);
		CHECK_EQ(next(ctx, c), 2);
		weir_http_client_free(c);
	}
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

struct load {
	struct stage *t;
	int n;
	char id[64]; /* of event 0 */
};

/* Publishes event 0. */
static void load_begin(const weir_ctx *ctx, struct load *l, struct stage *t)
{
	weir_http_client *c = client(ctx, NULL);
	weir_sse_event e;

	l->t = t;
	wait_clients(ctx, t, 1);
	publish(t, 0);
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
	snprintf(l->id, sizeof l->id, "%s", e.id);
	weir_http_client_free(c);
}

static int publisher(const weir_ctx *ctx, void *arg)
{
	struct load *l = arg;

	for (int v = 1; v <= l->n; v++) {
		publish(l->t, v);
		if (weir_random(3) == 0)
			weir_sleep(ctx, WEIR_US(10));
	}
	return 0;
}

/* Reads, leaves and comes back until it has all; counts what comes twice or not at all. */
static int returner(const weir_ctx *ctx, void *arg)
{
	struct load *l = arg;
	char id[64];
	int want = 1;

	snprintf(id, sizeof id, "%s", l->id);
	while (want <= l->n) {
		weir_http_client *c = client(ctx, id);
		int take = 1 + (int)weir_random(20);

		for (; take && want <= l->n; take--) {
			weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(5));
			weir_sse_event e;

			if (weir_http_client_event(&soon, c, &e) != 1)
				test_fail(__FILE__, __LINE__, "no event %d", want);
			CHECK_STR(e.event, "n");
			CHECK_EQ(atoi(e.data), want);
			want++;
			snprintf(id, sizeof id, "%s", e.id);
		}
		weir_http_client_free(c);
	}
	return 0;
}

SIM(clients_that_come_and_go_while_events_flow_get_each_once, 1000)
{
	struct load l = { .n = 60 };
	struct stage t;
	weir_group g;

	stage_open(ctx, &t, NULL);
	load_begin(ctx, &l, &t);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, publisher, &l), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_group_go(&g, returner, &l), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(who_joins_between_two_events_gets_the_second_once, 1000)
{
	struct load l = { .n = 100 };
	weir_http_client *stay[6];
	struct stage t;
	weir_group g;

	stage_open(ctx, &t, NULL);
	load_begin(ctx, &l, &t);
	for (int i = 0; i < 6; i++)
		stay[i] = client(ctx, NULL); /* So that events come in where others join. */
	wait_clients(ctx, &t, 6);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, publisher, &l), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_group_go(&g, returner, &l), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 6; i++)
		weir_http_client_free(stay[i]);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

/* ---- Who does not read ---- */

static weir_conn *stalled(const weir_ctx *ctx)
{
	weir_conn *c = dial(ctx);

	say(ctx, c, GET("/e"));
	hear(ctx, c, "retry: ");
	return c;
}

static char kib[1024 + 1];

static void publish_big(struct stage *t, int n)
{
	memset(kib, 'x', 1024);
	for (int i = 0; i < n; i++)
		CHECK(weir_hub_publish(t->hub, "big", kib, 1024) > 0);
}

SIM(a_client_that_takes_nothing_is_cut_and_does_not_delay_the_others, 50)
{
	weir_hub_options opt = { .write_ns = WEIR_SEC(2),
		                 .pending_max = 2000,
		                 .heartbeat_ns = WEIR_NEVER };
	weir_http_client *good;
	struct stage t;
	weir_conn *bad;
	int64_t from;

	stage_open(ctx, &t, &opt);
	bad = stalled(ctx);
	good = client(ctx, NULL);
	wait_clients(ctx, &t, 2);
	publish_big(&t, 1000);
	from = weir_now();
	for (int i = 0; i < 1000; i++) {
		weir_sse_event e;

		CHECK_EQ(weir_http_client_event(ctx, good, &e), 1);
	}
	CHECK(weir_now() - from < WEIR_SEC(1));
	wait_clients(ctx, &t, 1);
	CHECK(weir_now() - from >= WEIR_SEC(2) - WEIR_MS(10));
	CHECK(weir_now() - from <= WEIR_SEC(3));
	CHECK_EQ(stats(&t).closed_slow, 1);
	weir_conn_free(bad);
	weir_http_client_free(good);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(a_client_that_reads_slowly_but_reads_is_not_cut, 20)
{
	weir_hub_options opt = { .write_ns = WEIR_SEC(2),
		                 .pending_max = 2000,
		                 .heartbeat_ns = WEIR_NEVER };
	struct stage t;
	weir_conn *slow;
	char buf[16384];

	stage_open(ctx, &t, &opt);
	slow = stalled(ctx);
	wait_clients(ctx, &t, 1);
	publish_big(&t, 500);
	for (int i = 0; i < 60; i++) {
		weir_sleep(ctx, WEIR_SEC(1));
		weir_conn_read(&(weir_ctx){ ctx->scope, weir_now(), ctx->flags }, slow, buf,
		               sizeof buf);
	}
	CHECK_EQ(stats(&t).clients, 1);
	CHECK_EQ(stats(&t).delivered, 500);
	weir_conn_free(slow);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(a_lagging_client_loses_the_oldest_and_is_told_how_many, 50)
{
	weir_hub_options opt = { .pending_max = 10,
		                 .heartbeat_ns = WEIR_NEVER,
		                 .write_ns = WEIR_NEVER };
	weir_http_client *c;
	weir_sse_event e;
	struct stage t;
	uint64_t seen = 0, missed = 0;

	stage_open(ctx, &t, &opt);
	c = client(ctx, NULL);
	wait_clients(ctx, &t, 1);
	for (int i = 0; i < 100; i++) {
		publish_big(&t, 10);
		weir_sleep(ctx, WEIR_MS(1));
	}
	CHECK(stats(&t).dropped > 0);
	publish(&t, 77);
	for (;;) {
		CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
		if (!strcmp(e.event, "n"))
			break;
		if (!strcmp(e.event, "gap"))
			missed += strtoull(e.data + strlen("{\"missed\":"), NULL, 10);
		else
			seen++;
	}
	CHECK_EQ(seen + missed, 1000);
	CHECK_EQ(missed, stats(&t).dropped);
	CHECK(stats(&t).gaps > 0);
	weir_http_client_free(c);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(a_burst_beyond_the_inbox_is_told_as_a_gap, 200)
{
	weir_hub_options opt = { .pending_max = 8 };
	weir_http_client *c[3];
	struct stage t;

	stage_open(ctx, &t, &opt);
	for (int i = 0; i < 3; i++)
		c[i] = client(ctx, NULL);
	wait_clients(ctx, &t, 3);
	for (int v = 1; v <= 100; v++)
		publish(&t, v);
	for (int i = 0; i < 3; i++) {
		int last = 0, got = 0, missed = 0;

		while (last < 100) {
			weir_sse_event e;

			CHECK_EQ(weir_http_client_event(ctx, c[i], &e), 1);
			if (!strcmp(e.event, "gap")) {
				missed += atoi(e.data + strlen("{\"missed\":"));
				continue;
			}
			CHECK(atoi(e.data) > last);
			last = atoi(e.data);
			got++;
		}
		CHECK_EQ(got + missed, 100);
		weir_http_client_free(c[i]);
	}
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(close_as_overflow_ends_the_stream, 50)
{
	weir_hub_options opt = { .heartbeat_ns = WEIR_NEVER, .write_ns = WEIR_NEVER };
	weir_hub_options per_client = { .pending_max = 4, .overflow = WEIR_CLOSE };
	struct stage t;
	weir_conn *c;

	stage_open(ctx, &t, &opt);
	t.per_client = &per_client;
	c = stalled(ctx);
	wait_clients(ctx, &t, 1);
	for (int i = 0; i < 300 && stats(&t).clients; i++) {
		publish_big(&t, 2);
		weir_sleep(ctx, WEIR_MS(1));
	}
	CHECK_EQ(stats(&t).clients, 0);
	CHECK_EQ(stats(&t).closed_slow, 1);
	weir_conn_free(c);
	stage_close(ctx, &t);
}

SIM(a_quiet_stream_gets_a_comment_at_every_heartbeat, 50)
{
	weir_hub_options opt = { .heartbeat_ns = WEIR_SEC(15) };
	struct stage t;
	weir_conn *c;
	int64_t from;

	stage_open(ctx, &t, &opt);
	c = stalled(ctx);
	wait_clients(ctx, &t, 1);
	from = weir_now();
	for (int i = 1; i <= 4; i++) {
		hear(ctx, c, ":\n\n");
		CHECK(weir_now() - from >= WEIR_SEC(15) * i - WEIR_MS(50));
		CHECK(weir_now() - from <= WEIR_SEC(15) * i + WEIR_MS(500));
	}
	weir_sleep(ctx, WEIR_SEC(10));
	publish(&t, 1);
	hear(ctx, c, "data: 1");
	from = weir_now();
	hear(ctx, c, ":\n\n"); /* What was sent counts: the beat is 15 s after it. */
	CHECK(weir_now() - from >= WEIR_SEC(15) - WEIR_MS(50));
	weir_conn_free(c);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}

SIM(joins_leaves_publishes_and_the_end_race, 2000)
{
	struct load l = { .n = 20 };
	weir_conn *c[4];
	struct stage t;
	weir_ctx mine;
	weir_group g;

	l.t = &t;
	CHECK_EQ(weir_scope_open(ctx, &mine), 0);
	CHECK_EQ(weir_hub_new(&mine, NULL, &t.hub), 0);
	t.per_client = NULL;
	site_new(&t.site, NULL);
	site_route(&t.site, "GET /e", join, &t);
	site_start(ctx, &t.site);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, publisher, &l), 0);
	for (int i = 0; i < 4; i++) {
		c[i] = dial(ctx);
		say(ctx, c[i], GET("/e"));
		if (weir_random(2))
			weir_yield(ctx);
	}
	for (int i = 0; i < 4; i++)
		if (weir_random(2)) {
			weir_conn_free(c[i]);
			c[i] = NULL;
		}
	for (int i = 0; i < 3; i++)
		switch (weir_random(6)) {
		case 0:
			weir_group_drain(&t.site.group);
			break;
		case 1:
			weir_group_cancel(&t.site.group);
			break;
		case 2:
			weir_scope_drain(mine.scope);
			break;
		case 3:
			weir_scope_cancel(mine.scope, -ECANCELED, "test");
			break;
		case 4:
			weir_sleep(ctx, WEIR_MS(1));
			break;
		}
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 4; i++)
		weir_conn_free(c[i]);
	weir_group_drain(&t.site.group);
	site_join(&t.site);
	CHECK_EQ(stats(&t).clients, 0);
	CHECK_EQ(weir_hub_close(ctx, t.hub), 0);
	weir_scope_close(mine.scope);
}

TASK(workers_publish_and_clients_come_and_go)
{
	struct load l = { .n = 2000 };
	struct stage t;
	weir_group g;

	stage_open(ctx, &t, &(weir_hub_options){ .replay_max = 10000, .pending_max = 10000 });
	load_begin(ctx, &l, &t);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, publisher, &l), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(weir_group_go(&g, returner, &l), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	wait_clients(ctx, &t, 0);
	stage_close(ctx, &t);
}
