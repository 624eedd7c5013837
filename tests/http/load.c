/* SPDX-License-Identifier: MIT */
/* Many clients at once over real sockets: bounds, and a drain under load that fails nobody. */
#include "site.h"

#include <stdatomic.h>

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "hello\n");
}

static int wait_a_little(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = weir_sleep(ctx, WEIR_MS(1));

	(void)arg;
	return r < 0 ? r : weir_http_printf(ctx, x, "hello\n");
}

struct crowd {
	const char *request;
	int64_t rounds; /* < 0: until the server says close */
	atomic_uint answered, dropped, broken;
};

/* One answer, read by its end mark. 1: whole, 0: the stream ended before its first byte, -1: in the
 * middle. */
static int answer(const weir_ctx *ctx, weir_conn *c, bool *ret_close)
{
	char buf[1024];
	size_t len = 0;
	ssize_t n;

	for (;;) {
		n = weir_conn_read(ctx, c, buf + len, sizeof buf - 1 - len);
		if (n <= 0)
			return len || n < 0 ? -1 : 0;
		len += (size_t)n;
		buf[len] = 0;
		if (strstr(buf, "\r\n\r\nhello\n"))
			break;
	}
	*ret_close = strstr(buf, "Connection: close") != NULL;
	return 1;
}

static int client(const weir_ctx *ctx, void *arg)
{
	struct crowd *k = arg;
	bool close = false;
	weir_conn *c;
	int r = try_dial(ctx, &c);

	if (r < 0)
		return r;
	for (int64_t i = 0; i != k->rounds && !close; i++) {
		r = weir_conn_write(ctx, c, k->request, strlen(k->request));
		r = r < 0 ? -1 : answer(ctx, c, &close);
		atomic_fetch_add(r > 0 ? &k->answered : r == 0 ? &k->dropped : &k->broken, 1);
		if (r <= 0)
			break;
	}
	weir_conn_free(c);
	return 0;
}

static void crowd(const weir_ctx *ctx, struct crowd *k, weir_group *g, int n)
{
	weir_group_init(g, ctx);
	for (int i = 0; i < n; i++)
		CHECK_EQ(weir_group_go(g, client, k), 0);
}

TASK(every_request_of_many_clients_is_answered)
{
	struct crowd k = { .request = GET("/"), .rounds = 100 };
	struct site s;
	weir_group g;

	site_new(&s, NULL);
	site_route(&s, "GET /", wait_a_little, NULL);
	site_start_at(ctx, &s, "127.0.0.1:0");
	crowd(ctx, &k, &g, 50);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(k.answered, 5000);
	CHECK_EQ(site_stats(&s).status[2], 5000);
	site_stop(&s);
}

TASK(a_drain_under_load_fails_no_request)
{
	struct crowd k = { .request = GET("/"), .rounds = -1 };
	struct site s;
	weir_group g;

	site_new(&s, NULL);
	site_route(&s, "GET /", wait_a_little, NULL);
	site_start_at(ctx, &s, "127.0.0.1:0");
	crowd(ctx, &k, &g, 50);
	while (k.answered < 500 || site_stats(&s).conns < 50)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	weir_group_drain(&s.group);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(k.broken, 0);
	CHECK_EQ(k.dropped, 0);
	CHECK_EQ(site_stats(&s).status[2], k.answered);
	site_join(&s);
}

TASK(a_connection_whose_client_ended_its_side_is_answered_and_not_kept)
{
	struct site s;
	int64_t from = weir_now();

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_start_at(ctx, &s, "127.0.0.1:0");
	for (int i = 0; i < 50; i++) {
		weir_conn *c;

		c = dial(ctx);
		say(ctx, c, GET("/"));
		hear(ctx, c, "hello\n");
		say(ctx, c, GET("/"));
		weir_conn_shutdown_write(c);
		HAS(hear(ctx, c, NULL), "hello\n");
		weir_conn_free(c);
	}
	CHECK(weir_now() - from <
	      WEIR_SEC(30)); /* Their end has no second event; who misses it keeps them for 75 s. */
	site_stop(&s);
}

TASK(beyond_the_limit_of_connections_the_others_wait_their_turn)
{
	struct crowd k = { .request = GET_CLOSE("/"), .rounds = 1 };
	struct site s;
	weir_group g;

	site_new(&s, &(weir_http_limits){ .conns_max = 3 });
	site_route(&s, "GET /", wait_a_little, NULL);
	site_start_at(ctx, &s, "127.0.0.1:0");
	crowd(ctx, &k, &g, 50);
	while (k.answered + k.broken + k.dropped < 50) {
		CHECK(site_stats(&s).conns <= 3);
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(k.answered, 50);
	site_stop(&s);
}

struct gate {
	atomic_bool open;
	atomic_uint inside;
};

static int at_the_gate(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct gate *g = arg;
	int r = 0;

	g->inside++;
	while (!g->open && r == 0)
		r = weir_sleep(ctx, WEIR_MS(1));
	return r < 0 ? r : weir_http_printf(ctx, x, "hello\n");
}

static void note(const weir_http_info *info, void *arg)
{
	unsigned *n = arg;

	CHECK_STR(info->route, "GET /gate");
	CHECK(info->task != 0 && info->since_ns >= 0 && strncmp(info->peer, "127.0.0.1:", 10) == 0);
	++*n;
}

TASK(beyond_the_limit_of_a_route_requests_are_told_to_come_back)
{
	struct crowd k = { .request = GET_CLOSE("/gate"), .rounds = 1 };
	struct gate gate = { 0 };
	struct site s;
	weir_group g;
	weir_conn *c;
	unsigned seen = 0;
	const char *got;

	site_new(&s, NULL);
	CHECK_EQ(weir_http_route(s.server, "GET /gate", at_the_gate, &gate,
	                         &(weir_http_limits){ .requests_max = 5 }),
	         0);
	site_route(&s, "GET /", hello, NULL);
	site_start_at(ctx, &s, "127.0.0.1:0");
	crowd(ctx, &k, &g, 5);
	while (gate.inside < 5)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	weir_http_each(s.server, note, &seen);
	CHECK_EQ(seen, 5);
	c = dial(ctx);
	say(ctx, c, GET("/gate"));
	got = hear(ctx, c, "}\n");
	HAS(got, "HTTP/1.1 503 ");
	HAS(got, "\r\nretry-after: 1\r\n");
	say(ctx, c, GET("/"));
	hear(ctx, c, "hello\n");
	weir_conn_free(c);
	gate.open = true;
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(k.answered, 5);
	site_stop(&s);
}
