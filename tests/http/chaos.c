/* SPDX-License-Identifier: MIT */
/*
 * Everything at once, over seeds: clients that pipeline, trickle, damage, half-close and leave,
 * over a network that loses connections; handlers that sleep, stream, read, fail and hand over; and
 * a server that is drained or cancelled in the middle. Whatever happens, every answer that came is
 * whole or cut at an end of stream, and the server ends with nothing left.
 */
#include "http/exchange.h"
#include "site.h"

static int quick(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "quick\n");
}

static int slow(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir_ctx live = weir_random(2) ? *ctx : weir_ctx_until_drain(ctx);
	int r = weir_sleep(&live, WEIR_MS(weir_random(4000)));

	(void)arg;
	return r < 0 ? r : weir_http_printf(ctx, x, "slow\n");
}

static int upload(const weir_ctx *ctx, weir_http *x, void *arg)
{
	char *body;
	size_t len;
	int r = weir_random(4) ? weir_http_body(ctx, x, &body, &len) : 0;

	(void)arg;
	return r < 0 ? r : 204;
}

static int stream(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = 0;

	(void)arg;
	for (uint32_t n = weir_random(20); n && r == 0; n--) {
		r = weir_http_printf(ctx, x, "%.*s", (int)weir_random(400),
		                     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		if (r == 0 && weir_random(2))
			r = weir_http_flush(ctx, x);
		if (r == 0)
			r = weir_sleep(ctx, WEIR_MS(weir_random(300)));
	}
	return r;
}

static int fail(const weir_ctx *ctx, weir_http *x, void *arg)
{
	static const int results[] = { 404, -EAGAIN, -ENOENT, -ECANCELED, -ETIMEDOUT, 503 };

	(void)arg;
	if (weir_random(3) == 0)
		weir_http_write(ctx, x, "half", 4);
	if (weir_random(3) == 0)
		weir_http_flush(ctx, x);
	return results[weir_random(6)];
}

static void stop(weir__stream *s, int why, void *arg)
{
	(void)arg;
	if (why == -ESHUTDOWN && weir_random(2))
		return; /* Deaf to drain: cancel will come. */
	weir__stream_end(s, why == -ESHUTDOWN);
}

static int hand_over(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir__stream *s;
	int r = weir_http_flush(ctx, x);

	(void)arg;
	return r < 0 ? r : weir__http_detach(x, stop, NULL, &s);
}

static const char *const texts[] = {
	GET("/quick"),
	GET("/slow"),
	GET("/stream"),
	GET("/fail"),
	GET("/over"),
	GET("/nowhere"),
	GET_CLOSE("/quick"),
	"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789",
	"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
	"POST /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n0123456789",
	"GET /quick HTTP/1.1\r\nHo",
	"BAD\r\n\r\n",
	"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /stream HTTP/1.0\r\n\r\n",
};

/* Every error is fine here, but only a stop may end a wait as a stop. */
static int client(const weir_ctx *ctx, void *arg)
{
	weir_conn *c;
	char buf[4096];
	int r = try_dial(ctx, &c);

	(void)arg;
	if (r < 0)
		return 0;
	for (uint32_t n = 1 + weir_random(5); n && r >= 0; n--) {
		const char *t = texts[weir_random(sizeof texts / sizeof texts[0])];
		size_t len = strlen(t), cut = weir_random(4) ? len : weir_random((uint32_t)len);

		r = cut ? weir_conn_write(ctx, c, t, cut) : 0;
		if (r == 0 && weir_random(2))
			r = weir_sleep(ctx, WEIR_MS(weir_random(1000)));
		if (r == 0 && cut < len && weir_random(4))
			r = weir_conn_write(ctx, c, t + cut, len - cut);
		if (r == 0 && weir_random(3)) {
			weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(weir_random(2000)));
			ssize_t got = weir_conn_read(&soon, c, buf, sizeof buf);

			CHECK(got > 0 || got != -EBUSY);
		}
	}
	if (weir_random(2))
		weir_conn_shutdown_write(c);
	if (weir_random(2)) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(30));

		while (weir_conn_read(&soon, c, buf, sizeof buf) > 0)
			;
	}
	weir_conn_free(c);
	return 0;
}

SIM(whatever_clients_and_handlers_do_the_server_ends_with_nothing_left, 10000)
{
	weir_http_limits limits = {
		.handler_ns = WEIR_SEC(2),
		.read_ns = WEIR_SEC(1),
		.write_ns = WEIR_SEC(1),
		.header_ns = WEIR_SEC(3),
		.idle_ns = WEIR_SEC(5),
		.conns_max = 6,
		.requests_max = 3,
		.body_max = 100000,
	};
	struct site s;
	weir_group clients;
	weir_http_stats st;

	weir_sim_net_set(
		&(weir_sim_net){ .latency_ns = WEIR_MS(5), .loss = weir_random(3) ? 0 : 200 });
	site_new(&s, &limits);
	site_route(&s, "GET /quick", quick, NULL);
	site_route(&s, "GET /slow", slow, NULL);
	site_route(&s, "GET /stream", stream, NULL);
	site_route(&s, "GET /fail", fail, NULL);
	site_route(&s, "GET /over", hand_over, NULL);
	site_route(&s, "POST /up", upload, NULL);
	site_start(ctx, &s);
	weir_group_init(&clients, ctx);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(weir_group_go(&clients, client, NULL), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(weir_random(6000))), 0);
	weir_group_drain(&s.group);
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(weir_random(3000))), 0);
	weir_group_cancel(&s.group);
	CHECK_EQ(weir_group_wait(&s.group), 0);
	st = site_stats(&s);
	CHECK_EQ(st.conns, 0);
	CHECK_EQ(st.active, 0);
	CHECK_EQ(st.idle, 0);
	CHECK_EQ(weir_group_wait(&clients), 0);
	weir_listener_free(s.listener);
	weir_http_server_free(s.server);
}
