/* SPDX-License-Identifier: MIT */
/* Time limits, over seeds in virtual time; and the handler limit against handlers that never let
 * go. */
#include "site.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "hello\n");
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

/* From `from`, at least a and at most b seconds. */
static void took(int64_t from, double a, double b)
{
	double s = (double)(weir_now() - from) / 1e9;

	if (s < a || s > b)
		test_fail(__FILE__, __LINE__, "took %g s, not %g to %g", s, a, b);
}

SIM(a_head_that_does_not_end_gets_408_after_10_s, 50)
{
	struct site s;
	weir_conn *c;
	int64_t from;

	site_new(&s, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	from = weir_now();
	/* A byte now and then does not help. */
	say(ctx, c, "GET / HT");
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(2)), 0);
		say(ctx, c, i ? "x" : "TP/1.1\r\nHost: ");
	}
	HAS(hear(ctx, c, NULL), "HTTP/1.1 408 ");
	took(from, 9.99, 10.1);
	weir_conn_free(c);
	site_stop(&s);
}

SIM(an_idle_connection_is_ended_after_75_s, 50)
{
	struct site s;
	weir_conn *c;
	int64_t from;

	site_new(&s, NULL);
	site_route(&s, "GET /", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	hear(ctx, c, "hello\n");
	from = weir_now();
	CHECK_STR(hear(ctx, c, NULL), "");
	took(from, 74.9, 75.1);
	weir_conn_free(c);
	site_stop(&s);
}

SIM(a_body_must_move_but_may_be_slow, 50)
{
	struct site s;
	weir_conn *c;
	int64_t from;

	site_new(&s, NULL);
	CHECK_EQ(weir_http_route(s.server, "POST /", echo, NULL,
	                         &(weir_http_limits){ .handler_ns = WEIR_MIN(10) }),
	         0);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n");
	for (int i = 0; i < 12; i++) {
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(9)), 0);
		say(ctx, c, "x");
	}
	hear(ctx, c, "\r\n\r\nxxxxxxxxxxxx");
	say(ctx, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nx");
	from = weir_now();
	HAS(hear(ctx, c, NULL), "HTTP/1.1 408 ");
	took(from, 9.99, 10.1);
	weir_conn_free(c);
	site_stop(&s);
}

static int flood(const weir_ctx *ctx, weir_http *x, void *arg)
{
	static const char piece[4096];
	int *result = arg, r;

	while ((r = weir_http_write(ctx, x, piece, sizeof piece)) == 0)
		;
	*result = r;
	return r;
}

SIM(a_client_that_stops_reading_is_cut, 50)
{
	struct site s;
	weir_conn *c;
	int64_t from;
	int result = 0;

	site_new(&s, &(weir_http_limits){ .write_ns = WEIR_SEC(2) });
	site_route(&s, "GET /", flood, &result);
	site_start(ctx, &s);
	c = dial(ctx);
	from = weir_now();
	say(ctx, c, GET("/"));
	while (result == 0)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(10)), 0);
	CHECK_EQ(result, -ETIMEDOUT);
	took(from, 1.9, 2.2);
	weir_conn_free(c);
	site_stop(&s);
}

SIM(a_body_that_trickles_behind_its_answer_is_not_waited_for, 50)
{
	struct site s;
	weir_conn *c;
	int64_t from;

	site_new(&s, NULL);
	site_route(&s, "POST /", hello, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx");
	HAS(hear(ctx, c, "hello\n"), "HTTP/1.1 200 OK\r\n");
	from = weir_now();
	say(ctx, c, "x");
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	say(ctx, c, "x");
	CHECK_STR(hear(ctx, c, NULL), "");
	took(from, 1.9, 2.1);
	weir_conn_free(c);
	site_stop(&s);
}

SIM(bodies_that_wait_to_be_whole_have_one_bound, 50)
{
	static const char big[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
	static const char small[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nsmall";
	static char half[50000], rest[50000];
	struct site s;
	weir_conn *held, *c;

	memset(half, 'x', sizeof half);
	memset(rest, 'x', sizeof rest);
	site_new(&s, &(weir_http_limits){ .bodies_max = 90000 });
	site_route(&s, "POST /", echo, NULL);
	site_start(ctx, &s);
	held = dial(ctx);
	say(ctx, held, big);
	CHECK_EQ(weir_conn_write(ctx, held, half, sizeof half), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	/* What is only announced costs nothing, small bodies neither. */
	for (int i = 0; i < 2; i++) {
		c = dial(ctx);
		say(ctx, c, i ? big : small);
		if (i)
			CHECK_EQ(weir_conn_write(ctx, c, half, sizeof half), 0);
		HAS(hear(ctx, c, i ? NULL : "small"), i ? "HTTP/1.1 503 " : "HTTP/1.1 200 ");
		weir_conn_free(c);
	}
	CHECK_EQ(weir_conn_write(ctx, held, rest, sizeof rest), 0);
	HAS(hear(ctx, held, "\r\n\r\nxxx"), "HTTP/1.1 200 ");
	weir_conn_free(held);
	/* All of it came back. */
	for (int i = 0; i < 3; i++) {
		c = dial(ctx);
		say(ctx, c, big);
		CHECK_EQ(weir_conn_write(ctx, c, half, sizeof half), 0);
		CHECK_EQ(weir_conn_write(ctx, c, rest, sizeof rest), 0);
		HAS(hear(ctx, c, "\r\n\r\nxxx"), "HTTP/1.1 200 ");
		weir_conn_free(c);
	}
	site_stop(&s);
}

/* ---- the handler limit ---- */

struct seen {
	int result, late, cause;
};

static int sleeper(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct seen *seen = arg;

	seen->result = weir_sleep(ctx, WEIR_SEC(1000));
	seen->late = weir_http_printf(ctx, x, "too late\n");
	seen->cause = weir_ctx_cause(ctx, NULL);
	return 0;
}

SIM(a_handler_that_sleeps_past_its_limit_is_answered_for_and_cancelled, 100)
{
	struct seen seen = { 1, 1, 1 };
	struct site s;
	weir_conn *c;
	const char *got;
	int64_t from;

	site_new(&s, NULL);
	CHECK_EQ(weir_http_route(s.server, "GET /", sleeper, &seen,
	                         &(weir_http_limits){ .handler_ns = WEIR_SEC(2) }),
	         0);
	site_start(ctx, &s);
	c = dial(ctx);
	from = weir_now();
	say(ctx, c, GET("/"));
	got = hear(ctx, c, NULL);
	HAS(got, "HTTP/1.1 503 Service Unavailable\r\n");
	HAS(got, "\r\nConnection: close\r\n");
	HAS(got, "\r\nRetry-After: 1\r\n");
	HAS(got, "\r\nDate: ");
	HAS(got, "\"status\":503");
	LACKS(got, "too late");
	took(from, 1.99, 2.1);
	weir_conn_free(c);
	site_stop(&s);
	CHECK_EQ(seen.result, -ECANCELED);
	CHECK_EQ(seen.late, -ETIMEDOUT);
	CHECK_EQ(seen.cause, -ETIMEDOUT);
}

static int streamer(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = weir_http_flush(ctx, x);

	(void)arg;
	for (int i = 0; i < 30 && r == 0; i++) {
		r = weir_sleep(ctx, WEIR_SEC(1));
		if (r == 0)
			r = weir_http_printf(ctx, x, "%d\n", i);
		if (r == 0)
			r = weir_http_flush(ctx, x);
	}
	return r;
}

SIM(a_handler_that_began_to_stream_is_not_touched_by_its_limit, 50)
{
	struct site s;
	weir_conn *c;
	const char *got;

	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_SEC(2), .write_ns = WEIR_SEC(2) });
	site_route(&s, "GET /", streamer, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/"));
	got = hear(ctx, c, "\r\n0\r\n\r\n");
	HAS(got, "\r\n29\n");
	weir_conn_free(c);
	site_stop(&s);
}

static int at_the_limit(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = weir_sleep(ctx,
	                   WEIR_SEC(2) - WEIR_US(weir_random(3000)) + WEIR_US(weir_random(3000)));

	(void)arg;
	if (r == 0)
		r = weir_http_printf(ctx, x, "hello\n");
	return r < 0 ? r : weir_http_flush(ctx, x);
}

SIM(at_the_limit_the_answer_is_the_handlers_or_the_servers_and_never_both, 500)
{
	struct site s;
	weir_conn *c;
	const char *got;

	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_SEC(2) });
	site_route(&s, "GET /", at_the_limit, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET_CLOSE("/"));
	got = hear(ctx, c, NULL);
	CHECK(!strncmp(got, "HTTP/1.1 200 OK", 15) || !strncmp(got, "HTTP/1.1 503 ", 13));
	CHECK((strstr(got, "hello\n") != NULL) == !strncmp(got, "HTTP/1.1 200", 12));
	CHECK(!strstr(got + 1, "HTTP/1.1"));
	weir_conn_free(c);
	site_stop(&s);
}

static atomic_bool over;
static char address[64];

static int never_lets_go(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)ctx;
	(void)x;
	(void)arg;
	while (!over)
		;
	return 0;
}

/* A thread of its own, since the only worker is busy: what it hears, and after how long. */
static void *foreign_client(void *arg)
{
	static char heard[4096];
	struct sockaddr_in to = { .sin_family = AF_INET };
	const char *request = GET("/");
	size_t len = 0;
	ssize_t n;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)arg;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
	CHECK_EQ(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	CHECK_EQ(write(fd, request, strlen(request)), strlen(request));
	while ((n = read(fd, heard + len, sizeof heard - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	over = true;
	return heard;
}

static int serve_spinner(const weir_ctx *ctx, void *arg)
{
	pthread_t thread;
	void *heard;
	struct site s;
	int64_t from;

	(void)arg;
	site_new(&s, &(weir_http_limits){ .handler_ns = WEIR_MS(300) });
	site_free_tls(); /* The client is no task. */
	site_route(&s, "GET /", never_lets_go, NULL);
	site_start_at(ctx, &s, "127.0.0.1:0");
	snprintf(address, sizeof address, "%s", site_at);
	from = weir_now();
	CHECK_EQ(pthread_create(&thread, NULL, foreign_client, NULL), 0);
	while (!over)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	took(from, 0.29, 2.0);
	pthread_join(thread, &heard);
	HAS(heard, "HTTP/1.1 503 Service Unavailable\r\n");
	site_stop(&s);
	return 0;
}

TEST(a_handler_that_spins_on_the_only_worker_is_answered_for_too)
{
	CHECK_EQ(weir_run(&(weir_options){ .workers = 1 }, serve_spinner, NULL), 0);
}
