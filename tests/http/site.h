/* SPDX-License-Identifier: MIT */
/* A server over memory and a client that says and hears bytes, for the tests of src/http. With
 * WEIR_TEST_TLS in the environment, in tests that are no simulation, both speak TLS; with
 * WEIR_TEST_H2 clients made here speak HTTP/2. */
#ifndef WEIR_TESTS_HTTP_SITE_H
#define WEIR_TESTS_HTTP_SITE_H

#include <weir/http_client.h>
#include <weir/net.h>

#include "net/tls_test.h"
#include "rt/lock.h"
#include "test.h"

enum { HEAR_MAX = 256 * 1024 };

struct site {
	weir_http_server *server;
	weir_listener *listener;
	weir_group group;
};

/* NULLs: none. The client says nothing of HTTP/2, and the other speaks nothing else. */
static struct tls_both site_tls;
static char site_at[64]; /* where the last one listens */

static inline int site_serve(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;

	return weir_http_serve_tls(ctx, s->server, s->listener, site_tls.server);
}

static inline void site_make_tls(void)
{
	static const char *const h2[] = { "h2", NULL };
	struct tls_files f = tls_make_files();

	site_tls = (struct tls_both){ tls_make_server(&f, weir_http_protocols()),
		                      tls_make_client(f.cert, NULL), tls_make_client(f.cert, h2) };
	tls_remove_files(&f);
}

static inline void site_free_tls(void)
{
	tls_free_both(&site_tls);
	site_tls = (struct tls_both){ 0 };
}

static inline void site_new(struct site *s, const weir_http_limits *limits)
{
	s->server = weir_http_server_new(limits);
	CHECK(s->server != NULL);
	if (getenv("WEIR_TEST_TLS") && !weir__simulating && !site_tls.server)
		site_make_tls();
}

static inline void site_route(struct site *s, const char *pattern, weir_http_fn *fn, void *arg)
{
	CHECK_EQ(weir_http_route(s->server, pattern, fn, arg, NULL), 0);
}

static inline void site_start_at(const weir_ctx *ctx, struct site *s, const char *addr)
{
	CHECK_EQ(weir_listen(addr, &s->listener), 0);
	snprintf(site_at, sizeof site_at, "%s", weir_listener_addr(s->listener));
	weir_group_init(&s->group, ctx);
	CHECK_EQ(weir_group_go(&s->group, site_serve, s), 0);
}

static inline void site_start(const weir_ctx *ctx, struct site *s)
{
	site_start_at(ctx, s, site_tls.server ? "127.0.0.1:0" : "mem:site");
}

static inline void site_join(struct site *s)
{
	CHECK_EQ(weir_group_wait(&s->group), 0);
	weir_listener_free(s->listener);
	weir_http_server_free(s->server);
}

/* Drains the server and waits until nothing is left of it. */
static inline void site_stop(struct site *s)
{
	weir_group_drain(&s->group);
	site_join(s);
}

static inline weir_http_stats site_stats(const struct site *s)
{
	weir_http_stats st;

	weir_http_server_stats(s->server, &st);
	return st;
}

static inline int try_dial(const weir_ctx *ctx, weir_conn **ret)
{
	int r = weir_dial(ctx, site_at, ret);

	if (r == 0 && site_tls.client) {
		r = weir_tls_connect(ctx, site_tls.client, "localhost", ret);
		if (r < 0)
			weir_conn_free(*ret);
	}
	return r;
}

static inline weir_conn *dial(const weir_ctx *ctx)
{
	weir_conn *c;

	CHECK_EQ(try_dial(ctx, &c), 0);
	return c;
}

static inline weir_http_client *site_client(void)
{
	bool h2 = getenv("WEIR_TEST_H2") != NULL;
	weir_http_client *c;
	char base[80];

	if (h2)
		snprintf(base, sizeof base, "%s%s", site_tls.client ? "https2://" : "http2://",
		         site_at);
	else
		snprintf(base, sizeof base, "%s%s", site_tls.client ? "https://" : "", site_at);
	CHECK_EQ(weir_http_client_new(base, &c), 0);
	weir_http_client_tls(c, h2 ? site_tls.other : site_tls.client);
	return c;
}

static inline void say(const weir_ctx *ctx, weir_conn *c, const char *text)
{
	CHECK_EQ(weir_conn_write(ctx, c, text, strlen(text)), 0);
}

/* Reads until `until` has come, or (NULL) the end; all that was read. The buffer is the worker's:
 * use it before the next wait. */
static inline const char *hear(const weir_ctx *ctx, weir_conn *c, const char *until)
{
	static char bufs[8]
			/* Not thread-local: workers have small stacks, and those hold what is. */
			[HEAR_MAX];
	char *buf = bufs[weir_worker()];
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1000));
	size_t len = 0;
	ssize_t n;

	buf[0] = 0;
	while (!until || !strstr(buf, until)) {
		CHECK(len < HEAR_MAX - 1);
		n = weir_conn_read(&soon, c, buf + len, HEAR_MAX - 1 - len);
		CHECK(n >= 0);
		if (n == 0)
			break;
		len += (size_t)n;
		buf[len] = 0;
	}
	return buf;
}

/* A whole exchange on a connection of its own, which it asks the server to end. */
static inline const char *ask(const weir_ctx *ctx, const char *text)
{
	weir_conn *c = dial(ctx);
	const char *got;

	say(ctx, c, text);
	got = hear(ctx, c, NULL);
	weir_conn_free(c);
	return got;
}

#define HAS(text, part)                                                                      \
	do {                                                                                 \
		const char *t_ = (text);                                                     \
		if (!strstr(t_, (part)))                                                     \
			test_fail(__FILE__, __LINE__, "no \"%s\" in:\n%.2000s", (part), t_); \
	} while (0)
#define LACKS(text, part)                                                                 \
	do {                                                                              \
		const char *t_ = (text);                                                  \
		if (strstr(t_, (part)))                                                   \
			test_fail(__FILE__, __LINE__, "\"%s\" in:\n%.2000s", (part), t_); \
	} while (0)

#define GET(path)       "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

#endif
