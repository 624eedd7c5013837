/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <errno.h>

#include "http/sse_parse.h"

/* All events of a stream as "type|id|data;", fed in pieces of `step` bytes. */
static const char *parse(const char *text, size_t n, size_t step)
{
	static char out[1024];
	struct weir__sse_parser p;
	size_t len = 0;

	weir__sse_init(&p);
	out[0] = 0;
	for (size_t at = 0; at < n;) {
		size_t part = n - at < step ? n - at : step;
		bool event;
		ssize_t r = weir__sse_feed(&p, text + at, part, &event);

		CHECK(r > 0);
		CHECK((size_t)r <= part);
		CHECK(event || (size_t)r == part);
		at += (size_t)r;
		if (event)
			len += (size_t)snprintf(out + len, sizeof out - len, "%s|%s|%s;",
			                        p.event.len ? p.event.data : "",
			                        p.id.len ? p.id.data : "",
			                        p.data.len ? p.data.data : "");
	}
	weir__sse_fini(&p);
	return out;
}

static void gives(const char *text, size_t n, const char *events)
{
	for (size_t step = 1; step <= n; step++)
		CHECK_STR(parse(text, n, step), events);
}

#define GIVES(text, events) gives(text, sizeof(text) - 1, events)

TEST(the_examples_of_the_standard)
{
	GIVES("data: This is the first message.\n\ndata: This is the second message, it\ndata: has "
	      "two lines.\n\n",
	      "||This is the first message.;||This is the second message, it\nhas two lines.;");
	GIVES("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
	      "add||73857293;remove||2153;");
	GIVES(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
	      "event\n",
	      "|1|first event;||second event;");
	GIVES("data\n\ndata\ndata\n\ndata:", "||;||\n;");
	GIVES("data:test\n\ndata: test\n\n", "||test;||test;");
}

TEST(any_line_end_will_do)
{
	GIVES("data:a\r\rdata:b\r\n\r\ndata:c\n\r\n", "||a;||b;||c;");
	GIVES("\n\r\r\n\n", "");
}

TEST(one_byte_order_mark_is_dropped)
{
	GIVES("\xef\xbb\xbf"
	      "data:a\n\n",
	      "||a;");
	GIVES("\xef\xbb\xbf\xef\xbb\xbf"
	      "data:a\n\ndata:b\n\n",
	      "||b;");
	GIVES("\xef\xbb"
	      "data:a\n\ndata:b\n\n",
	      "||b;");
}

TEST(odd_fields_are_ignored)
{
	GIVES("Data: x\ndata : x\nfoo: bar\n:data: x\ndata: y\n\n", "||y;");
	GIVES("id: a\0b\ndata: x\n\n", "||x;");
	GIVES("event: lost\n\ndata: x\n\n", "||x;");
	GIVES("id: 7\n\ndata: x\n\n", "|7|x;");
}

TEST(retry_takes_digits_only)
{
	struct weir__sse_parser p;
	bool event;

	weir__sse_init(&p);
	CHECK_EQ(weir__sse_feed(&p, "retry: 20\nretry: 1s\nretry:\nretry: -1\n", 37, &event), 37);
	CHECK_EQ(p.retry_ns, 20000000);
	CHECK_EQ(weir__sse_feed(&p, "retry: 99999999999999999999999999\n", 34, &event), 34);
	CHECK_EQ(p.retry_ns, 86400000000000);
	weir__sse_fini(&p);
}

TEST(a_line_that_memory_did_not_suffice_for_is_no_line)
{
	struct weir__sse_parser p;
	bool event;

	weir__sse_init(&p);
	CHECK_EQ(weir__sse_feed(&p, "data: a", 7, &event), 7);
	p.line.failed = true; /* As when it could not grow. */
	CHECK_EQ(weir__sse_feed(&p, "bc\n\n", 4, &event), -ENOMEM);
	weir__sse_fini(&p);
}

TEST(lines_and_events_are_bounded_and_comments_are_not_kept)
{
	static char big[1 << 16];
	struct weir__sse_parser p;
	ssize_t r = 0;
	bool event;

	memset(big, 'x', sizeof big);
	weir__sse_init(&p);
	CHECK_EQ(weir__sse_feed(&p, ":", 1, &event), 1);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(weir__sse_feed(&p, big, sizeof big, &event), sizeof big);
	CHECK(p.line.cap < sizeof big);
	CHECK_EQ(weir__sse_feed(&p, "\ndata:", 6, &event), 6);
	for (int i = 0; i < 1000 && r >= 0; i++)
		r = weir__sse_feed(&p, big, sizeof big, &event);
	CHECK_EQ(r, -EMSGSIZE);
	weir__sse_fini(&p);
}
