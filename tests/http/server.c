/* SPDX-License-Identifier: MIT */
/* Requests and answers, as a client sees them. */
#include "site.h"

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "hello, %s\n", weir_http_path(x, "name"));
}

static int result(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)ctx;
	(void)x;
	return *(int *)arg;
}

static int echo(const weir_ctx *ctx, weir_http *x, void *arg)
{
	char *body;
	size_t len;
	int r;

	(void)arg;
	r = weir_http_body(ctx, x, &body, &len);
	return r < 0 ? r : weir_http_reply(ctx, x, 200, NULL, body, len);
}

/* ?n=… bytes, in pieces of 1000 */
static int bytes(const weir_ctx *ctx, weir_http *x, void *arg)
{
	size_t n = strtoul(weir_http_query(x, "n"), NULL, 10);
	char piece[1000];
	int r = 0;

	(void)arg;
	memset(piece, 'x', sizeof piece);
	while (n && r == 0) {
		size_t k = n < sizeof piece ? n : sizeof piece;

		r = weir_http_write(ctx, x, piece, k);
		n -= k;
	}
	return r;
}

TASK(a_handler_answers_with_a_length_and_the_connection_goes_on)
{
	struct site s;
	weir_conn *c;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/hello/a%20b"));
	got = hear(ctx, c, "hello, a b\n");
	HAS(got, "HTTP/1.1 200 OK\r\n");
	HAS(got, "\r\nContent-Length: 11\r\n");
	HAS(got, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
	LACKS(got, "Connection:");
	say(ctx, c, GET("/hello/again"));
	hear(ctx, c, "hello, again\n");
	weir_conn_free(c);
	site_stop(&s);
}

TASK(pipelined_requests_are_answered_in_order)
{
	struct site s;
	weir_conn *c;
	const char *a, *b, *d;

	site_new(&s, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/hello/a") GET("/hello/b") GET_CLOSE("/hello/c") GET("/hello/never"));
	a = hear(ctx, c, NULL);
	b = strstr(a, "hello, b\n");
	d = strstr(a, "hello, c\n");
	HAS(a, "hello, a\n");
	CHECK(b && d && strstr(a, "hello, a\n") < b && b < d);
	LACKS(a, "never");
	weir_conn_free(c);
	site_stop(&s);
}

TASK(an_idle_connection_holds_no_task)
{
	weir_conn *c[50];
	struct site s;
	size_t before;

	site_new(&s, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_start(ctx, &s);
	hear(ctx, c[0] = dial(ctx), "");
	for (int i = 0; i < 50; i++) {
		if (i)
			c[i] = dial(ctx);
		say(ctx, c[i], GET("/hello/x"));
		hear(ctx, c[i], "hello, x\n");
	}
	while (site_stats(&s).idle < 50)
		CHECK_EQ(weir_sleep(ctx, WEIR_US(200)), 0);
	before = weir_task_count();
	CHECK(before <= 3);
	CHECK_EQ(site_stats(&s).conns, 50);
	for (int i = 0; i < 50; i++)
		weir_conn_free(c[i]);
	site_stop(&s);
}

TASK(head_gets_the_head_of_get)
{
	struct site s;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_route(&s, "GET /bytes", bytes, NULL);
	site_start(ctx, &s);
	got = ask(ctx, "HEAD /hello/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	HAS(got, "\r\nContent-Length: 9\r\n");
	LACKS(got, "hello, x");
	got = ask(ctx, "HEAD /bytes?n=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	HAS(got, "\r\nContent-Length: 100000\r\n");
	LACKS(got, "xxx");
	site_stop(&s);
}

TASK(results_become_statuses)
{
	static const struct {
		int result;
		const char *line;
	} table[] = {
		{ 0, "HTTP/1.1 200 OK" },        { 204, "HTTP/1.1 204 No Content" },
		{ 418, "HTTP/1.1 418 Unknown" }, { -ETIMEDOUT, "HTTP/1.1 504 " },
		{ -EAGAIN, "HTTP/1.1 503 " },    { -ESHUTDOWN, "HTTP/1.1 503 " },
		{ -EMSGSIZE, "HTTP/1.1 413 " },  { -EINVAL, "HTTP/1.1 400 " },
		{ -ENOENT, "HTTP/1.1 404 " },    { -EACCES, "HTTP/1.1 403 " },
		{ -EIO, "HTTP/1.1 500 " },       { 12345, "HTTP/1.1 500 " },
		{ 404, "HTTP/1.1 404 " },
	};
	struct site s;
	int value = 0;

	site_new(&s, NULL);
	site_route(&s, "/", result, &value);
	site_start(ctx, &s);
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		const char *got;

		value = table[i].result;
		got = ask(ctx, GET_CLOSE("/"));
		HAS(got, table[i].line);
		if (strstr(table[i].line, " 503 "))
			HAS(got, "\r\nretry-after: 1\r\n");
		if (value != 0 && value != 204)
			HAS(got, "\"type\":\"about:blank\"");
	}
	value = -ECANCELED;
	CHECK_STR(ask(ctx, GET("/")), "");
	site_stop(&s);
}

TASK(a_204_has_no_body_and_no_length)
{
	struct site s;
	int value = 204;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "/", result, &value);
	site_start(ctx, &s);
	got = ask(ctx, GET_CLOSE("/"));
	LACKS(got, "Content-Length");
	LACKS(got, "Content-Type");
	CHECK_STR(strstr(got, "\r\n\r\n"), "\r\n\r\n");
	site_stop(&s);
}

TASK(unknown_paths_and_methods_are_told_apart)
{
	struct site s;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_route(&s, "POST /hello/{name}", echo, NULL);
	site_start(ctx, &s);
	HAS(ask(ctx, GET_CLOSE("/nowhere")), "HTTP/1.1 404 ");
	got = ask(ctx, "DELETE /hello/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	HAS(got, "HTTP/1.1 405 ");
	HAS(got, "\r\nallow: POST, GET, HEAD, OPTIONS\r\n");
	got = ask(ctx, "OPTIONS /hello/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	HAS(got, "HTTP/1.1 204 ");
	HAS(got, "\r\nallow: POST, GET, HEAD, OPTIONS\r\n");
	HAS(ask(ctx, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
	    "HTTP/1.1 204 ");
	HAS(ask(ctx, "BREW /hello/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
	    "HTTP/1.1 501 ");
	site_stop(&s);
}

TASK(bodies_arrive_by_length_and_in_chunks)
{
	struct site s;

	site_new(&s, NULL);
	site_route(&s, "POST /echo", echo, NULL);
	site_start(ctx, &s);
	HAS(ask(ctx, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	             "5\r\n\r\nhello"),
	    "\r\n\r\nhello");
	HAS(ask(ctx, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: "
	             "chunked\r\n\r\n"
	             "3;ext=\"1\"\r\nhel\r\n0002\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"),
	    "\r\n\r\nhello");
	site_stop(&s);
}

TASK(a_body_beyond_its_limit_gets_413)
{
	weir_http_limits small = { .body_max = 10 };
	struct site s;

	site_new(&s, &small);
	site_route(&s, "POST /echo", echo, NULL);
	site_start(ctx, &s);
	HAS(ask(ctx, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello hello"),
	    "HTTP/1.1 413 ");
	HAS(ask(ctx, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	             "b\r\nhello hello\r\n0\r\n\r\n"),
	    "HTTP/1.1 413 ");
	HAS(ask(ctx, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	             "10\r\n\r\n0123456789"),
	    "\r\n\r\n0123456789");
	site_stop(&s);
}

TASK(a_client_that_waits_for_100_gets_it_when_the_body_is_wanted)
{
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "POST /echo", echo, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c,
	    "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
	CHECK_STR(hear(ctx, c, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
	say(ctx, c, "hello");
	hear(ctx, c, "\r\n\r\nhello");
	weir_conn_free(c);
	/* Not wanted: the final answer at once, and the end, since nobody knows whether the body
	 * comes. */
	LACKS(ask(ctx, "GET /hello/x HTTP/1.1\r\nHost: x\r\nExpect: "
	               "100-continue\r\nContent-Length: 5\r\n\r\n"),
	      "100 Continue");
	site_stop(&s);
}

TASK(a_long_answer_is_chunked_to_11_and_ends_with_the_connection_to_10)
{
	struct site s;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /bytes", bytes, NULL);
	site_start(ctx, &s);
	got = ask(ctx, GET_CLOSE("/bytes?n=16384"));
	HAS(got, "\r\nContent-Length: 16384\r\n");
	got = ask(ctx, GET_CLOSE("/bytes?n=100000"));
	HAS(got, "\r\nTransfer-Encoding: chunked\r\n");
	LACKS(got, "Content-Length");
	HAS(got, "\r\n0\r\n\r\n");
	got = ask(ctx, "GET /bytes?n=100000 HTTP/1.0\r\n\r\n");
	LACKS(got, "Transfer-Encoding");
	HAS(got, "\r\nConnection: close\r\n");
	CHECK_EQ(strlen(strstr(got, "\r\n\r\n") + 4), 100000);
	site_stop(&s);
}

TASK(a_body_that_nobody_read_does_not_spoil_the_next_request)
{
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "/hello/{name}", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c,
	    "POST /hello/a HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n"
	    "GET /hello/evil HTTP/1.1\r\nHost: x\r\n\r\n\r\n" GET("/hello/b"));
	LACKS(hear(ctx, c, "hello, b\n"), "evil");
	weir_conn_free(c);
	site_stop(&s);
}

static int read_all(const weir_ctx *ctx, weir_http *x, void *arg)
{
	char buf[10];
	ssize_t n = weir_http_read_all(ctx, x, buf, sizeof buf);

	(void)arg;
	CHECK(!weir_http_started(x));
	return n < 0 ? (int)n : weir_http_printf(ctx, x, "%zd bytes\n", n);
}

TASK(a_body_is_read_whole_or_refused)
{
	static char request[64 * 1024];
	struct site s;
	weir_conn *c;
	size_t len;

	site_new(&s, NULL);
	site_route(&s, "POST /echo", echo, NULL);
	site_route(&s, "POST /all", read_all, NULL);
	site_start(ctx, &s);
	HAS(ask(ctx, "POST /all HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	             "10\r\n\r\n0123456789"),
	    "\r\n\r\n10 bytes\n");
	HAS(ask(ctx, "POST /all HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	             "11\r\n\r\n0123456789x"),
	    "HTTP/1.1 413 ");
	HAS(ask(ctx, "POST /all HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
	    "\r\n\r\n0 bytes\n");
	/* Chunks whose sum nobody knows before. */
	len = (size_t)snprintf(
		request, sizeof request,
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 300; i++)
		len += (size_t)snprintf(request + len, sizeof request - len, "64\r\n%0100d\r\n", 0);
	snprintf(request + len, sizeof request - len, "0\r\n\r\n");
	c = dial(ctx);
	say(ctx, c, request);
	HAS(hear(ctx, c, "\r\n\r\n000"), "\r\nContent-Length: 30000\r\n");
	weir_conn_free(c);
	site_stop(&s);
}

TASK(http_1_0_keeps_the_connection_only_when_asked)
{
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, "GET /hello/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	HAS(hear(ctx, c, "hello, a\n"), "\r\nConnection: keep-alive\r\n");
	say(ctx, c, "GET /hello/b HTTP/1.0\r\n\r\n");
	HAS(hear(ctx, c, NULL), "\r\nConnection: close\r\n");
	weir_conn_free(c);
	site_stop(&s);
}

TASK(an_empty_line_behind_a_body_is_passed_over)
{
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "/hello/{name}", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, "POST /hello/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx\r\n");
	hear(ctx, c, "hello, a\n");
	while (site_stats(&s).idle < 1)
		CHECK_EQ(weir_sleep(ctx, WEIR_US(100)), 0);
	say(ctx, c, GET("/hello/b"));
	hear(ctx, c, "hello, b\n");
	weir_conn_free(c);
	site_stop(&s);
}

static int much(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		char *p = weir_http_alloc(x, 1000);

		CHECK(p != NULL);
		memset(p, 1, 1000);
	}
	CHECK(!weir_http_alloc(x, (size_t)3 << 20));
	CHECK(!weir_http_alloc(x, SIZE_MAX));
	CHECK_STR(weir_http_target(x), "/much/12%20x/a/b?q=1");
	CHECK_STR(weir_http_url_path(x), "/much/12 x/a/b");
	CHECK_STR(weir_http_path(x, "one"), "12 x");
	CHECK_STR(weir_http_path(x, "rest"), "a/b");
	CHECK_EQ(weir_http_path_u64(x, "one", &(uint64_t){ 0 }), -EINVAL);
	CHECK_STR(weir_http_pattern(x), "GET /much/{one}/{rest...}");
	HAS(weir_http_peer(x), site_tls.server ? "127.0.0.1:" : "mem:site");
	return weir_http_printf(ctx, x, "%0*d\n", 5000, 7);
}

TASK(an_exchange_gives_bounded_memory_and_tells_what_was_asked)
{
	struct site s;

	site_new(&s, NULL);
	site_route(&s, "GET /much/{one}/{rest...}", much, NULL);
	site_start(ctx, &s);
	HAS(ask(ctx, GET_CLOSE("/much/12%20x/a/b?q=1")), "\r\nContent-Length: 5001\r\n");
	site_stop(&s);
}

static int headers(const weir_ctx *ctx, weir_http *x, void *arg)
{
	size_t at = 0;

	(void)arg;
	CHECK_EQ(weir_http_set(x, "x-a", "1"), 0);
	CHECK_EQ(weir_http_set(x, "X-A", "2"), 0);
	CHECK_EQ(weir_http_add(x, "x-a", "3"), 0);
	CHECK_EQ(weir_http_set(x, "x-b", "a\r\nx-evil: 1"), -EINVAL);
	CHECK_EQ(weir_http_set(x, "x b", "1"), -EINVAL);
	CHECK_EQ(weir_http_set(x, "date", "now"), -EINVAL);
	CHECK_EQ(weir_http_status(x, 99), -EINVAL);
	CHECK_STR(weir_http_header(x, "hOsT"), "x");
	CHECK(!weir_http_header(x, "absent"));
	CHECK_STR(weir_http_query(x, "q"), "a b&c");
	CHECK_STR(weir_http_query(x, "empty"), "");
	CHECK(!weir_http_query(x, "none"));
	CHECK_STR(weir_http_query_name(x, &at), "other");
	CHECK_STR(weir_http_query_name(x, &at), "q");
	CHECK_STR(weir_http_query_name(x, &at), "a b");
	CHECK_STR(weir_http_query_name(x, &at), "");
	CHECK_STR(weir_http_query_name(x, &at), "empty");
	CHECK(!weir_http_query_name(x, &at));
	CHECK(!weir_http_query_name(x, &at));
	CHECK(!weir_http_starved(x));
	CHECK_STR(weir_http_query(x, "a b"), "=");
	CHECK_EQ(weir_http_flush(ctx, x), 0);
	CHECK_EQ(weir_http_set(x, "x-c", "1"), -EALREADY);
	CHECK_EQ(weir_http_status(x, 201), -EALREADY);
	return 0;
}

TASK(headers_and_queries_are_checked_and_decoded)
{
	struct site s;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /", headers, NULL);
	site_start(ctx, &s);
	got = ask(ctx, GET_CLOSE("/?other=1&&q=a+b%26c&%61+b==&=v&empty&"));
	HAS(got, "\r\nX-A: 2\r\nx-a: 3\r\n");
	LACKS(got, "x-a: 1");
	LACKS(got, "evil");
	HAS(got, "\r\n\r\n0\r\n\r\n");
	site_stop(&s);
}

static int short_body(const weir_ctx *ctx, weir_http *x, void *arg)
{
	CHECK_EQ(weir_http_set(x, "content-length", "10"), 0);
	CHECK_EQ(weir_http_write(ctx, x, "12345", 5), 0);
	CHECK_EQ(weir_http_write(ctx, x, "123456", 6), -EMSGSIZE);
	return arg ? weir_http_write(ctx, x, "67890", 5) : 0;
}

TASK(a_length_that_the_handler_sets_is_held_to)
{
	struct site s;
	int whole;

	site_new(&s, NULL);
	site_route(&s, "GET /short", short_body, NULL);
	site_route(&s, "GET /whole", short_body, &whole);
	site_start(ctx, &s);
	HAS(ask(ctx, GET_CLOSE("/short")), "HTTP/1.1 500 ");
	HAS(ask(ctx, GET_CLOSE("/whole")), "\r\n\r\n1234567890");
	site_stop(&s);
}

static int unchanged(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)ctx;
	(void)arg;
	CHECK_EQ(weir_http_set(x, "content-length", "10"), 0);
	return 304;
}

TASK(a_length_of_what_is_not_sent_is_no_promise)
{
	struct site s;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /", unchanged, NULL);
	site_start(ctx, &s);
	got = ask(ctx, GET_CLOSE("/"));
	HAS(got, "HTTP/1.1 304 ");
	LACKS(got, "Content-Length");
	site_stop(&s);
}

static int fails_late(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	CHECK_EQ(weir_http_set(x, "Cache-Control", "public, max-age=31536000"), 0);
	CHECK_EQ(weir_http_set(x, "Content-Encoding", "gzip"), 0);
	CHECK_EQ(weir_http_set(x, "ETag", "\"1\""), 0);
	CHECK_EQ(weir_http_set(x, "X-Trace", "7"), 0);
	CHECK_EQ(weir_http_write(ctx, x, "half", 4), 0);
	return -EIO;
}

TASK(an_error_takes_nothing_over_from_the_answer_that_failed)
{
	struct site s;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /", fails_late, NULL);
	site_start(ctx, &s);
	got = ask(ctx, GET_CLOSE("/"));
	HAS(got, "HTTP/1.1 500 ");
	HAS(got, "\r\nX-Trace: 7\r\n");
	LACKS(got, "gzip");
	LACKS(got, "max-age");
	LACKS(got, "ETag");
	LACKS(got, "half");
	site_stop(&s);
}

static int out_of_range(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)ctx;
	(void)arg;
	CHECK_EQ(weir_http_set(x, "Content-Range", "bytes */7"), 0);
	CHECK_EQ(weir_http_set(x, "Content-Encoding", "gzip"), 0);
	CHECK_EQ(weir_http_set(x, "Cache-Control", "no-store"), 0);
	return 416;
}

TASK(a_status_that_the_handler_chose_goes_with_what_it_set)
{
	struct site s;
	const char *got;

	site_new(&s, NULL);
	site_route(&s, "GET /", out_of_range, NULL);
	site_start(ctx, &s);
	got = ask(ctx, GET_CLOSE("/"));
	HAS(got, "HTTP/1.1 416 ");
	HAS(got, "\r\nContent-Range: bytes */7\r\n");
	HAS(got, "\r\nCache-Control: no-store\r\n");
	LACKS(got, "gzip");
	site_stop(&s);
}

static int late_length(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	CHECK_EQ(weir_http_write(ctx, x, "1234567890", 10), 0);
	CHECK_EQ(weir_http_set(x, "content-length", "5"), -EINVAL);
	CHECK_EQ(weir_http_set(x, "content-length", "10"), 0);
	return weir_http_flush(ctx, x);
}

TASK(a_length_that_comes_late_holds_what_was_written)
{
	struct site s;

	site_new(&s, NULL);
	site_route(&s, "GET /", late_length, NULL);
	site_start(ctx, &s);
	HAS(ask(ctx, GET_CLOSE("/")),
	    "\r\nContent-Length: 10\r\nConnection: close\r\n\r\n1234567890");
	site_stop(&s);
}

static int filter(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	if (weir_http_header(x, "let-me-in"))
		return 0;
	return weir_http_problem(ctx, x, 401, "Who are you?") < 0 ? 500 : 401;
}

TASK(a_filter_comes_before_everything)
{
	struct site s;

	site_new(&s, NULL);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	weir_http_filter(s.server, filter, NULL);
	site_start(ctx, &s);
	HAS(ask(ctx, GET_CLOSE("/hello/x")), "HTTP/1.1 401 Unauthorized");
	HAS(ask(ctx, GET_CLOSE("/nowhere")), "Who are you?");
	HAS(ask(ctx,
	        "GET /hello/x HTTP/1.1\r\nHost: x\r\nLet-Me-In: 1\r\nConnection: close\r\n\r\n"),
	    "hello, x\n");
	site_stop(&s);
}

TASK(static_files_are_revalidated)
{
	struct site s;
	char request[256], etag[64];
	const char *got;

	site_new(&s, NULL);
	CHECK_EQ(weir_http_static(s.server, "/", "<p>", 3, "default-src 'self'"), 0);
	CHECK_EQ(weir_http_static(s.server, "/app.js", "js", 2, NULL), 0);
	site_start(ctx, &s);
	HAS(ask(ctx, GET_CLOSE("/app.js")), "\r\ncontent-type: text/javascript; charset=utf-8\r\n");
	HAS(ask(ctx, GET_CLOSE("/other")), "HTTP/1.1 404 ");
	got = ask(ctx, GET_CLOSE("/"));
	HAS(got, "\r\ncontent-security-policy: default-src 'self'\r\n");
	HAS(got, "\r\n\r\n<p>");
	CHECK_EQ(sscanf(strstr(got, "etag: "), "etag: %63s", etag), 1);
	snprintf(request, sizeof request,
	         "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: %s\r\n\r\n",
	         etag);
	got = ask(ctx, request);
	HAS(got, "HTTP/1.1 304 ");
	LACKS(got, "<p>");
	site_stop(&s);
}

static weir_http *kept;

static int keep(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)ctx;
	(void)arg;
	kept = x;
	return 0;
}

static int use_late(const weir_ctx *ctx, void *arg)
{
	struct site s;

	(void)arg;
	site_new(&s, NULL);
	site_route(&s, "GET /kept", keep, NULL);
	site_start(ctx, &s);
	hear(ctx, dial(ctx), "");
	say(ctx, dial(ctx), GET("/kept"));
	while (site_stats(&s).idle < 2)
		weir_sleep(ctx, WEIR_US(100));
	weir_http_status(kept, 200);
	return 0;
}

static void run_use_late(void)
{
	weir_run(&(weir_options){ .workers = 1 }, use_late, NULL);
}

TEST(an_exchange_used_after_its_handler_returned_aborts_and_names_the_route)
{
	CHECK_DIES(
		run_use_late,
		"weir_http_status on an exchange whose handler has returned (route \"GET /kept\")");
}

struct over {
	weir_hook hook;
	bool told;
};

static void over(weir_hook *hook, int step)
{
	struct over *o = (struct over *)hook;

	if (step != WEIR_CANCEL)
		return;
	__atomic_store_n(&o->told, true, __ATOMIC_RELEASE);
	weir_hook_remove(hook);
}

static int lease(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct over *o = arg;

	o->hook.fn = over;
	CHECK_EQ(weir_hook_add(weir_http_conn_scope(x), &o->hook), 0);
	return weir_http_printf(ctx, x, "leased\n");
}

TASK(a_hook_on_the_connection_outlives_the_exchange_and_hears_the_end)
{
	static struct over o;
	struct site s;
	weir_conn *c;

	site_new(&s, NULL);
	site_route(&s, "GET /lease", lease, &o);
	site_route(&s, "GET /hello/{name}", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/lease"));
	hear(ctx, c, "leased\n");
	say(ctx, c, GET("/hello/x"));
	hear(ctx, c, "hello, x\n");
	CHECK(!o.told);
	weir_conn_free(c);
	while (!__atomic_load_n(&o.told, __ATOMIC_ACQUIRE))
		CHECK_EQ(weir_sleep(ctx, WEIR_US(100)), 0);
	site_stop(&s);
}
