/* SPDX-License-Identifier: MIT */
/* Server-Sent Events by hand: what is written, and what a reader makes of it. */
#include <weir/http_client.h>
#include <weir/sse.h>

#include "http/replay.h"
#include "http/sse.h"
#include "http/sse_parse.h"
#include "site.h"

static void encodes(const char *event, const char *data, const char *want)
{
	struct weir__buf b = WEIR__BUF_INIT;

	CHECK_EQ(weir__sse_event(&b, event, data, strlen(data)), 0);
	CHECK_STR(b.data, want);
	weir__buf_free(&b);
}

TEST(data_is_split_at_every_end_of_line)
{
	encodes(NULL, "a", "data: a\n");
	encodes("tick", "a\nb", "event: tick\ndata: a\ndata: b\n");
	encodes(NULL, "a\rb\r\nc\n\nd", "data: a\ndata: b\ndata: c\ndata: \ndata: d\n");
	encodes(NULL, "a\n", "data: a\ndata: \n");
	encodes(NULL, "", "data: \n");
	encodes(NULL, "x\nevent: evil\nid: 7\n\ndata: y",
	        "data: x\ndata: event: evil\ndata: id: 7\ndata: \ndata: data: y\n");
}

TEST(an_event_name_of_two_lines_is_refused)
{
	struct weir__buf b = WEIR__BUF_INIT;

	CHECK_EQ(weir__sse_event(&b, "a\nb", "x", 1), -EINVAL);
	CHECK_EQ(weir__sse_event(&b, "a\r", "x", 1), -EINVAL);
	weir__buf_free(&b);
}

TEST(whatever_the_data_a_reader_gets_it_back_with_lf_for_line_ends)
{
	struct weir__sse_parser p;

	srand(1);
	weir__sse_init(&p);
	for (int round = 0; round < 5000; round++) {
		struct weir__buf b = WEIR__BUF_INIT, want = WEIR__BUF_INIT;
		char data[40];
		size_t len = (size_t)rand() % sizeof data;
		ssize_t n = 0;
		bool event = false;

		for (size_t i = 0; i < len; i++)
			data[i] = "ab: \r\n"[rand() % 6];
		CHECK_EQ(weir__sse_event(&b, "e", data, len), 0);
		weir__buf_byte(&b, '\n');
		for (size_t i = 0; i < len; i++)
			if (data[i] != '\r')
				weir__buf_byte(&want, data[i]);
			else if (i + 1 == len || data[i + 1] != '\n')
				weir__buf_byte(&want, '\n');
		while (!event) {
			ssize_t r = weir__sse_feed(&p, b.data + n, b.len - (size_t)n, &event);

			CHECK(r > 0);
			n += r;
		}
		CHECK_EQ(n, b.len);
		CHECK_EQ(p.data.len, want.len);
		CHECK(want.len == 0 || !memcmp(p.data.data, want.data, want.len));
		weir__buf_free(&b);
		weir__buf_free(&want);
	}
	weir__sse_fini(&p);
}

TASK(retry_is_within_half_of_what_was_asked)
{
	for (int i = 0; i < 200; i++) {
		struct weir__buf b = WEIR__BUF_INIT;
		int ms;

		weir__sse_retry(&b, WEIR_SEC(2));
		CHECK_EQ(sscanf(b.data, "retry: %d\n\n", &ms), 1);
		CHECK(ms >= 1000 && ms <= 3000);
		weir__buf_free(&b);
	}
}

TEST(only_ids_of_this_epoch_are_numbers_of_the_replay)
{
	uint64_t n;

	CHECK(weir__replay_parse("ab", "ab-12", &n));
	CHECK_EQ(n, 12);
	CHECK(!weir__replay_parse("ab", "ac-12", &n));
	CHECK(!weir__replay_parse("ab", "ab-", &n));
	CHECK(!weir__replay_parse("ab", "ab", &n));
	CHECK(!weir__replay_parse("ab", "ab-1x", &n));
	CHECK(!weir__replay_parse("ab", "ab--1", &n));
	CHECK(!weir__replay_parse("ab", "ab-99999999999999999999999", &n));
	CHECK(!weir__replay_parse("ab", "", &n));
}

TEST(the_replay_keeps_the_last_events_by_count_and_by_bytes)
{
	struct weir__buf text = WEIR__BUF_INIT;
	struct weir__replay p;

	weir__buf_str(&text, "data: 0123456789\n\n");
	CHECK_EQ(weir__replay_init(&p, 5, 100), 0);
	for (uint64_t n = 1; n <= 20; n++) {
		struct weir__hub_chunk *k = weir__hub_chunk_new(&text);

		weir__hub_chunk_seal(k, "e", n);
		CHECK(memmem(k->text, k->text_len, "data: 0123456789\n\n", 18) != NULL);
		weir__replay_add(&p, k);
		weir__hub_chunk_unref(k);
		CHECK(p.count <= 5 && p.bytes <= 100);
		CHECK(weir__replay_get(&p, n) != NULL);
		CHECK(weir__replay_get(&p, n + 1) == NULL);
		CHECK_EQ(p.first + p.count, n + 1);
	}
	CHECK_EQ(p.count, 3); /* 100 bytes hold three of them. */
	CHECK(weir__replay_get(&p, 17) == NULL);
	weir__replay_fini(&p);
	weir__buf_free(&text);
}

static int three(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = weir_sse_begin(ctx, x);

	(void)arg;
	if (r == 0)
		r = weir_sse_send(ctx, x, "tick", "one\ntwo", 7);
	if (r == 0)
		r = weir_sse_ping(ctx, x);
	if (r == 0)
		r = weir_sse_send_id(ctx, x, "17", NULL, "x", 1);
	CHECK_EQ(weir_sse_send_id(ctx, x, "1\n2", NULL, "x", 1), -EINVAL);
	CHECK_EQ(weir_sse_send(ctx, x, "a\rb", "x", 1), -EINVAL);
	return r < 0 ? r : weir_sse_retry(ctx, x, WEIR_SEC(4));
}

SIM(a_stream_by_hand_reads_as_it_was_written, 50)
{
	weir_http_req get = { .method = "GET", .target = "/e" };
	weir_http_client *c;
	weir_sse_event e;
	weir_http_res res;
	struct site s;

	site_new(&s, NULL);
	site_route(&s, "GET /e", three, NULL);
	site_start(ctx, &s);
	c = site_client();
	CHECK_EQ(weir_http_client_do(ctx, c, &get, &res), 0);
	CHECK_EQ(res.status, 200);
	CHECK_STR(weir_http_client_header(c, "content-type"), "text/event-stream");
	CHECK_STR(weir_http_client_header(c, "cache-control"), "no-store");
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
	CHECK(e.retry_ns >= WEIR_SEC(1) && e.retry_ns <= WEIR_SEC(3));
	CHECK_STR(e.event, "tick");
	CHECK_STR(e.data, "one\ntwo");
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 1);
	CHECK_STR(e.id, "17");
	CHECK_STR(e.data, "x");
	CHECK_EQ(weir_http_client_event(ctx, c, &e), 0);
	weir_http_client_free(c);
	site_stop(&s);
}

static int endless(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int r = weir_sse_begin(ctx, x);

	(void)arg;
	while (r == 0 && (r = weir_sleep(&live, WEIR_SEC(1))) == 0)
		r = weir_sse_send(ctx, x, "tick", "1", 1);
	return r == -ESHUTDOWN ? weir_sse_retry(ctx, x, WEIR_SEC(1)) : r;
}

SIM(a_stream_outlives_the_handlers_limit_and_says_goodbye_on_drain, 50)
{
	weir_http_limits limits = { .handler_ns = WEIR_SEC(2), .write_ns = WEIR_SEC(2) };
	weir_conn *c;
	struct site s;
	const char *got;

	site_new(&s, &limits);
	site_route(&s, "GET /e", endless, NULL);
	site_start(ctx, &s);
	c = dial(ctx);
	say(ctx, c, GET("/e"));
	hear(ctx, c, "event: tick");
	weir_sleep(ctx, WEIR_SEC(60));
	weir_group_drain(&s.group);
	got = hear(ctx, c, NULL);
	HAS(got, "retry: ");
	HAS(got, "\r\n0\r\n\r\n");
	weir_conn_free(c);
	site_join(&s);
}
