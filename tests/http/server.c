/* SPDX-License-Identifier: MIT */
/* The server as a client sees it: bytes in, bytes out, over memory. */
#include <weir/http.h>
#include <weir/net.h>

#include "test.h"

#include <stdarg.h>

struct site {
	weir_http_server *server;
	weir_listener *listener;
	weir_group group;
};

static int serve(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;

	return weir_http_serve(ctx, s->server, s->listener);
}

static void site_new(struct site *s, const weir_http_limits *limits)
{
	s->server = weir_http_server_new(limits);
	CHECK(s->server != NULL);
}

static void site_start(const weir_ctx *ctx, struct site *s)
{
	CHECK_EQ(weir_listen("mem:site", &s->listener), 0);
	weir_group_init(&s->group, ctx);
	CHECK_EQ(weir_group_go(&s->group, serve, s), 0);
}

/* Drains the server and checks that nothing is left of it. */
static void site_stop(struct site *s)
{
	weir_group_drain(&s->group);
	CHECK_EQ(weir_group_wait(&s->group), 0);
	weir_listener_free(s->listener);
	weir_http_server_free(s->server);
}

static weir_conn *dial(const weir_ctx *ctx)
{
	weir_conn *c;

	CHECK_EQ(weir_dial(ctx, "mem:site", &c), 0);
	return c;
}

static void say(const weir_ctx *ctx, weir_conn *c, const char *text)
{
	CHECK_EQ(weir_conn_write(ctx, c, text, strlen(text)), 0);
}

/* Reads until `until` has come, or the end; what was read. */
static const char *hear(const weir_ctx *ctx, weir_conn *c, const char *until)
{
	static __thread char buf[128 * 1024];
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(100));
	size_t len = 0;
	ssize_t n;

	buf[0] = 0;
	while (!until || !strstr(buf, until)) {
		n = weir_conn_read(&soon, c, buf + len, sizeof buf - 1 - len);
		CHECK(n >= 0);
		if (n == 0)
			break;
		len += (size_t)n;
		buf[len] = 0;
	}
	return buf;
}

#define HAS(text, part)                                                                 \
	do {                                                                            \
		const char *t_ = (text);                                                \
		if (!strstr(t_, (part)))                                                \
			test_fail(__FILE__, __LINE__, "no \"%s\" in:\n%s", (part), t_); \
	} while (0)

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "hello, %s\n", weir_http_path(x, "name"));
}

TASK(a_handler_answers_with_a_length)
{
	struct site s;
	weir_conn *c;
	const char *got;

	site_new(&s, NULL);
	CHECK_EQ(weir_http_route(s.server, "GET /hello/{name}", hello, NULL, NULL), 0);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, "GET /hello/a%20b HTTP/1.1\r\nHost: x\r\n\r\n");
	got = hear(ctx, c, "hello, a b\n");
	HAS(got, "HTTP/1.1 200 OK\r\n");
	HAS(got, "\r\nContent-Length: 11\r\n");
	say(ctx, c, "GET /hello/again HTTP/1.1\r\nHost: x\r\n\r\n");
	hear(ctx, c, "hello, again\n");
	weir_conn_free(c);
	site_stop(&s);
}
