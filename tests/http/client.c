/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <weir/group.h>
#include <weir/http_client.h>

/* A server that answers each request with the next of its texts, and closes where it says so. */
struct canned {
	weir_listener *l;
	const char *const *answers; /* NULL at the end; "CLOSE" closes the connection */
	char seen[4096];            /* all it was sent */
	size_t len;
	int conns;
	size_t step; /* bytes written at once; 0: all */
};

static bool read_request(const weir_ctx *ctx, struct canned *s, weir_conn *c)
{
	size_t from = s->len;

	for (;;) {
		char *end, *length;
		ssize_t n = weir_conn_read(ctx, c, s->seen + s->len, sizeof s->seen - 1 - s->len);

		if (n <= 0)
			return false;
		s->len += (size_t)n;
		s->seen[s->len] = 0;
		end = strstr(s->seen + from, "\r\n\r\n");
		length = strstr(s->seen + from, "Content-Length: ");
		if (end && s->len >= (size_t)(end + 4 - s->seen) +
		                             (length ? strtoul(length + 16, NULL, 10) : 0))
			return true;
	}
}

static int answer(const weir_ctx *ctx, struct canned *s, weir_conn *c, const char *text)
{
	size_t n = strlen(text), step = s->step ? s->step : n;
	int r = 0;

	for (size_t at = 0; at < n && r == 0; at += step)
		r = weir_conn_write(ctx, c, text + at, n - at < step ? n - at : step);
	return r;
}

static int canned_run(const weir_ctx *ctx, void *arg)
{
	struct canned *s = arg;
	const char *const *next = s->answers;
	weir_conn *c;

	while (weir_accept(ctx, s->l, &c) > 0) {
		s->conns++;
		while (*next && read_request(ctx, s, c)) {
			if (strcmp(*next, "CLOSE") && answer(ctx, s, c, *next++) < 0)
				break;
			if (*next && !strcmp(*next, "CLOSE")) {
				next++;
				break;
			}
		}
		weir_conn_free(c);
	}
	return 0;
}

struct rig {
	struct canned s;
	weir_group g;
	weir_http_client *c;
};

static void rig_up(const weir_ctx *ctx, struct rig *t, const char *const *answers, size_t step)
{
	memset(t, 0, sizeof *t);
	t->s.answers = answers;
	t->s.step = step;
	CHECK_EQ(weir_listen("mem:canned", &t->s.l), 0);
	weir_group_init(&t->g, ctx);
	CHECK_EQ(weir_group_go(&t->g, canned_run, &t->s), 0);
	CHECK_EQ(weir_http_client_new("mem:canned", &t->c), 0);
}

static void rig_down(struct rig *t)
{
	weir_http_client_free(t->c);
	weir_listener_close(t->s.l);
	CHECK_EQ(weir_group_wait(&t->g), 0);
	weir_listener_free(t->s.l);
}

static int get(const weir_ctx *ctx, struct rig *t, const char *method, weir_http_res *res)
{
	weir_http_req req = { .method = method, .target = "/x" };

	if (!strcmp(method, "POST")) {
		req.body = "data";
		req.body_len = 4;
	}
	return weir_http_client_do(ctx, t->c, &req, res);
}

#define ANSWERS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Each scene with whole answers and with one byte at a time. */
static const size_t steps[] = { 0, 1, 7 };
#define EACH_STEP(i) for (size_t i = 0; i < 3; i++)

TASK(one_request_and_its_answer)
{
	EACH_STEP(i)
	{
		static const char *const headers[] = { "X-One: 1", "Accept: text/plain", NULL };
		weir_http_req req = { .method = "POST",
			              .target = "/a?b=c",
			              .headers = headers,
			              .body = "hello",
			              .body_len = 5 };
		weir_http_res res;
		struct rig t;
		char body[64];

		rig_up(ctx, &t,
		       ANSWERS("HTTP/1.1 202 Accepted\r\nLocation: /v1/jobs/7\r\nContent-Length: "
		               "4\r\n"
		               "X-Empty:\r\nX-Two:  b  \r\n\r\nfine"),
		       steps[i]);
		CHECK_EQ(weir_http_client_do(ctx, t.c, &req, &res), 0);
		CHECK_STR(t.s.seen, "POST /a?b=c HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
		                    "5\r\nX-One: 1\r\n"
		                    "Accept: text/plain\r\n\r\nhello");
		CHECK_EQ(res.status, 202);
		CHECK_EQ(res.length, 4);
		CHECK(res.keep);
		CHECK_STR(weir_http_client_header(t.c, "location"), "/v1/jobs/7");
		CHECK_STR(weir_http_client_header(t.c, "x-empty"), "");
		CHECK_STR(weir_http_client_header(t.c, "X-TWO"), "b");
		CHECK(!weir_http_client_header(t.c, "x-three"));
		CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 4);
		CHECK_STR(body, "fine");
		CHECK_EQ(weir_http_client_read(ctx, t.c, body, sizeof body), 0);
		rig_down(&t);
	}
}

TASK(chunks_are_joined_and_the_connection_is_kept)
{
	EACH_STEP(i)
	{
		weir_http_res res;
		struct rig t;
		char body[64];

		rig_up(ctx, &t,
		       ANSWERS("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
		               "chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n"
		               "0\r\nTrailer: t\r\n\r\n",
		               "HTTP/1.1 204 No Content\r\n\r\n",
		               "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", /* to HEAD */
		               "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
		               "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
		       steps[i]);
		CHECK_EQ(get(ctx, &t, "GET", &res), 0);
		CHECK_EQ(res.length, -1);
		CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 13);
		CHECK_STR(body, "abc0123456789");
		CHECK(!weir_http_client_header(t.c, "trailer"));
		CHECK_EQ(get(ctx, &t, "GET", &res), 0);
		CHECK_EQ(res.status, 204);
		CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 0);
		CHECK_EQ(get(ctx, &t, "HEAD", &res), 0);
		CHECK_EQ(res.length, 10);
		CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 0);
		CHECK_EQ(get(ctx, &t, "GET", &res), 0);
		CHECK_EQ(res.status, 304);
		CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 0);
		CHECK_EQ(get(ctx, &t, "GET", &res), 0);
		CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 2);
		rig_down(&t);
		CHECK_EQ(t.s.conns, 1);
	}
}

TASK(interim_answers_are_passed_over)
{
	EACH_STEP(i)
	{
		weir_http_res res;
		struct rig t;

		rig_up(ctx, &t,
		       ANSWERS("HTTP/1.1 100 Continue\r\nX: old\r\n\r\nHTTP/1.1 103 Early "
		               "Hints\r\n\r\n"
		               "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		       steps[i]);
		CHECK_EQ(get(ctx, &t, "GET", &res), 0);
		CHECK_EQ(res.status, 200);
		CHECK(!weir_http_client_header(t.c, "x"));
		rig_down(&t);
	}
}

TASK(a_body_may_end_with_the_connection)
{
	weir_http_res res;
	struct rig t;
	char body[64];

	rig_up(ctx, &t,
	       ANSWERS("HTTP/1.1 200 OK\r\n\r\nall there is", "CLOSE",
	               "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
	       0);
	CHECK_EQ(get(ctx, &t, "GET", &res), 0);
	CHECK(!res.keep);
	CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 12);
	CHECK_EQ(get(ctx, &t, "POST", &res), 0);
	rig_down(&t);
	CHECK_EQ(t.s.conns, 2);
}

TASK(a_body_cut_short_is_an_error)
{
	weir_http_res res;
	struct rig t;
	char body[64];

	rig_up(ctx, &t,
	       ANSWERS("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "CLOSE",
	               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	               "CLOSE"),
	       0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(get(ctx, &t, "POST", &res), 0);
		CHECK_EQ(weir_http_client_read(ctx, t.c, body, sizeof body), 4);
		CHECK_EQ(weir_http_client_read(ctx, t.c, body, sizeof body), -ECONNRESET);
		CHECK_EQ(weir_http_client_read(ctx, t.c, body, sizeof body), -ECONNRESET);
	}
	rig_down(&t);
}

TASK(a_kept_connection_that_the_server_closed_is_replaced)
{
	weir_http_res res;
	struct rig t;

	rig_up(ctx, &t,
	       ANSWERS("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "CLOSE",
	               "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
	       0);
	CHECK_EQ(get(ctx, &t, "POST", &res), 0);
	/* The close may be seen before the request is sent, or only after: this one may be
	 * repeated. */
	CHECK_EQ(get(ctx, &t, "GET", &res), 0);
	rig_down(&t);
	CHECK_EQ(t.s.conns, 2);
}

TASK(a_request_is_repeated_once_and_only_if_it_may_be)
{
	weir_http_res res;
	struct rig t;

	rig_up(ctx, &t, ANSWERS("CLOSE", "CLOSE", "CLOSE"), 0);
	CHECK_EQ(get(ctx, &t, "POST", &res), -ECONNRESET);
	CHECK_EQ(t.s.conns, 1);
	CHECK_EQ(get(ctx, &t, "GET", &res), -ECONNRESET); /* a fresh connection: no second try */
	CHECK_EQ(t.s.conns, 2);
	rig_down(&t);
}

TASK(an_unread_body_goes_with_its_connection)
{
	weir_http_res res;
	struct rig t;
	char body[64];

	rig_up(ctx, &t,
	       ANSWERS("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir",
	               "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"),
	       0);
	CHECK_EQ(get(ctx, &t, "GET", &res), 0);
	CHECK_EQ(get(ctx, &t, "GET", &res), 0);
	CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 6);
	CHECK_STR(body, "second");
	rig_down(&t);
	CHECK_EQ(t.s.conns, 2);
}

TASK(nonsense_is_a_bad_message)
{
	static const char *const bad[] = {
		"SSH-2.0-OpenSSH_9.2\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		weir_http_res res;
		struct rig t;

		rig_up(ctx, &t, ANSWERS(bad[i]), 0);
		CHECK_EQ(get(ctx, &t, "GET", &res), -EBADMSG);
		rig_down(&t);
	}
}

TASK(a_head_without_end_is_bounded)
{
	size_t n = 1 << 20;
	char *huge = malloc(n + 1);
	weir_http_res res;
	struct rig t;

	memset(huge, 'a', n);
	memcpy(huge, "HTTP/1.1 200 OK\r\nX: ", 20);
	huge[n] = 0;
	rig_up(ctx, &t, ANSWERS(huge), 0);
	CHECK_EQ(get(ctx, &t, "GET", &res), -EBADMSG);
	rig_down(&t);
	free(huge);
}

TASK(a_silent_server_ends_with_the_context)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5));
	weir_http_res res;
	struct rig t;

	rig_up(ctx, &t, ANSWERS("", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0);
	CHECK_EQ(get(&soon, &t, "GET", &res), -ETIMEDOUT);
	CHECK_EQ(get(ctx, &t, "GET", &res), 0);
	rig_down(&t);
}

TASK(what_a_request_cannot_hold_is_refused)
{
	static const char *const smuggle[] = { "X: a\r\nY: b", NULL };
	static const char *const nameless[] = { "no colon", NULL };
	weir_http_req bad[] = {
		{ .method = "GET", .target = "no-slash" },
		{ .method = "GET", .target = "/a b" },
		{ .method = "GET", .target = "/a\r\nX: y" },
		{ .method = "G T", .target = "/" },
		{ .method = "", .target = "/" },
		{ .method = "GET", .target = "/", .headers = smuggle },
		{ .method = "GET", .target = "/", .headers = nameless },
	};
	weir_http_client *c;
	weir_http_res res;

	CHECK_EQ(weir_http_client_new("mem:nobody", &c), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(weir_http_client_do(ctx, c, &bad[i], &res), -EINVAL);
	bad[0].target = "/";
	CHECK_EQ(weir_http_client_do(ctx, c, &bad[0], &res), -ECONNREFUSED);
	weir_http_client_free(c);
}

TEST(base_urls_are_checked)
{
	static const char *const good[] = { "http://127.0.0.1:8080",
		                            "http://127.0.0.1",
		                            "http://[::1]:80/",
		                            "http://[::1]",
		                            "HTTP://localhost:1",
		                            "unix:/run/x",
		                            "mem:x" };
	static const char *const bad[] = {
		"",           "127.0.0.1:80", "ftp://x",    "http://",          "http:///x",
		"http://a/b", "http://u@h:1", "http://a b", "http://a\r\nX: 1", "http2://a\x7f"
	};
	weir_http_client *c;

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		CHECK_EQ(weir_http_client_new(good[i], &c), 0);
		weir_http_client_free(c);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(weir_http_client_new(bad[i], &c), -EINVAL);
	CHECK_EQ(weir_http_client_new("https://", &c), -EINVAL);
	weir_http_client_free(NULL);
}

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"

TASK(events_arrive_one_at_a_time)
{
	EACH_STEP(i)
	{
		weir_sse_event e;
		weir_http_res res;
		struct rig t;

		rig_up(ctx, &t,
		       ANSWERS(STREAM
		               "\xef\xbb\xbf"
		               "retry: 1500\n\n: hello\n\nid: 1\nevent: add\ndata: a\ndata:  b\n\n"
		               "data:c\r\n\r\nid\rdata: d\r\rid: 9\n\ndata\n\ndata: lost",
		               "CLOSE"),
		       steps[i]);
		CHECK_EQ(get(ctx, &t, "GET", &res), 0);
		CHECK_EQ(weir_http_client_event(ctx, t.c, &e), 1);
		CHECK_STR(e.event, "add");
		CHECK_STR(e.data, "a\n b");
		CHECK_STR(e.id, "1");
		CHECK_EQ(e.len, 4);
		CHECK_EQ(e.retry_ns, WEIR_MS(1500));
		CHECK_EQ(weir_http_client_event(ctx, t.c, &e), 1);
		CHECK_STR(e.event, "message");
		CHECK_STR(e.data, "c");
		CHECK_STR(e.id, "1");
		CHECK_EQ(weir_http_client_event(ctx, t.c, &e), 1);
		CHECK_STR(e.data, "d");
		CHECK_STR(e.id, "");
		CHECK_EQ(weir_http_client_event(ctx, t.c, &e), 1);
		CHECK_STR(e.data, "");
		CHECK_EQ(e.len, 0);
		CHECK_STR(e.id, "9");
		CHECK_EQ(weir_http_client_event(ctx, t.c, &e), 0);
		CHECK_EQ(weir_http_client_event(ctx, t.c, &e), 0);
		rig_down(&t);
	}
}

TASK(only_an_event_stream_has_events)
{
	weir_sse_event e;
	weir_http_res res;
	struct rig t;

	rig_up(ctx, &t, ANSWERS("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata: x\n\n"), 0);
	CHECK_EQ(get(ctx, &t, "GET", &res), 0);
	CHECK_EQ(weir_http_client_event(ctx, t.c, &e), -EBADMSG);
	rig_down(&t);
}

SIM(answers_survive_a_network_that_cuts_them_up, 300)
{
	weir_http_res res;
	struct rig t;
	char body[64];

	rig_up(ctx, &t,
	       ANSWERS("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	               "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	               "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
	       0);
	CHECK_EQ(get(ctx, &t, "POST", &res), 0);
	CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 5);
	CHECK_STR(body, "abcde");
	CHECK_EQ(get(ctx, &t, "POST", &res), 0);
	CHECK_EQ(weir_http_client_read_all(ctx, t.c, body, sizeof body), 2);
	rig_down(&t);
}
