/* SPDX-License-Identifier: MIT */
/* The client protocol of NATS as bytes. */
#include "nats/parse.h"

#include "test.h"

static const struct weir__nats_limits limits = { .line = 4096, .payload = 1024 };

/* A copy of exactly its size, so that a read past the end is seen. */
static char *copy(const char *text, size_t n)
{
	char *p = malloc(n ? n : 1);

	CHECK(p);
	memcpy(p, text, n);
	return p;
}

static ssize_t parse(const char *text, struct weir__nats_frame *f)
{
	char *p = copy(text, strlen(text));
	size_t need = 0;
	ssize_t r = weir__nats_parse(&limits, p, strlen(text), f, &need);

	free(p);
	return r;
}

TEST(a_publish_is_read_with_and_without_a_reply_address)
{
	char text[] = "PUB a.b 3\r\nxyz\r\nPUB a inbox 0\r\n\r\n";
	struct weir__nats_frame f;
	size_t need;
	ssize_t r = weir__nats_parse(&limits, text, strlen(text), &f, &need);

	CHECK_EQ(r, 16);
	CHECK_EQ(f.op, WEIR__NATS_PUB);
	CHECK_STR(f.subject.at, "a.b");
	CHECK(!f.reply.at);
	CHECK_EQ(f.total, 3);
	CHECK(!memcmp(f.body, "xyz", 3));
	CHECK_EQ(weir__nats_parse(&limits, text + r, strlen("PUB a inbox 0\r\n\r\n"), &f, &need),
	         17);
	CHECK(f.reply.len == 5 && !memcmp(f.reply.at, "inbox", 5));
	CHECK(f.tail == f.reply.at);
	CHECK_EQ(f.total, 0);
}

TEST(headers_are_counted_apart)
{
	char text[] = "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
	struct weir__nats_frame f;
	size_t need, n = strlen(text);

	CHECK_EQ(weir__nats_parse(&limits, text, n, &f, &need), (ssize_t)n);
	CHECK_EQ(f.headers, 12);
	CHECK_EQ(f.total, 14);
	CHECK(!memcmp(f.body + f.headers, "hi", 2));
}

TEST(operations_are_read_without_regard_to_case_and_with_blanks_and_tabs)
{
	struct weir__nats_frame f;

	CHECK(parse("sub\tfoo.*  q\t 7\r\n", &f) > 0);
	CHECK_EQ(f.op, WEIR__NATS_SUB);
	CHECK_EQ(f.queue.len, 1);
	CHECK_EQ(f.sid.len, 1);
	CHECK(parse("pInG\r\n", &f) > 0);
	CHECK_EQ(f.op, WEIR__NATS_PING);
	CHECK(parse("unSub 7 12\n", &f) > 0);
	CHECK_EQ(f.max, 12);
	CHECK(parse("CONNECT{}\r\n", &f) > 0);
	CHECK_EQ(f.args.len, 2);
	CHECK(parse("+OK\r\n", &f) > 0);
	CHECK(parse("-ERR 'no'\r\n", &f) > 0);
	CHECK_EQ(f.op, WEIR__NATS_ERROR);
}

TEST(a_frame_means_the_same_however_it_was_cut)
{
	static const char *const frames[] = {
		"CONNECT {\"verbose\":false}\r\n",
		"PUB a.b.c reply 11\r\nhello world\r\n",
		"HPUB x 12 12\r\nNATS/1.0\r\n\r\n\r\n",
		"SUB > q 1\r\n",
		"UNSUB 1 5\r\n",
		"PING\r\n",
	};

	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		size_t n = strlen(frames[i]);

		for (size_t cut = 0; cut < n; cut++) {
			char *p = copy(frames[i], cut);
			struct weir__nats_frame f;
			size_t need = 0;

			CHECK_EQ(weir__nats_parse(&limits, p, cut, &f, &need), 0);
			CHECK(need > cut);
			CHECK(need <= n);
			CHECK(!memcmp(p, frames[i], cut));
			free(p);
		}
		CHECK_EQ(parse(frames[i], &(struct weir__nats_frame){ 0 }), (ssize_t)n);
	}
}

TEST(what_is_no_operation_is_refused_before_its_line_ends)
{
	struct weir__nats_frame f;

	CHECK_EQ(parse("GET / HTTP", &f), WEIR__NATS_UNKNOWN);
	CHECK_EQ(parse("X", &f), WEIR__NATS_UNKNOWN);
	CHECK_EQ(parse("\r\n", &f), WEIR__NATS_UNKNOWN);
	CHECK_EQ(parse("PUBX a 1\r\n", &f), WEIR__NATS_UNKNOWN);
	CHECK_EQ(parse("P", &f), 0);
}

TEST(a_control_line_has_a_longest_length)
{
	struct weir__nats_frame f;
	char *line = malloc(6000);
	size_t need;

	memset(line, 'a', 6000);
	memcpy(line, "SUB ", 4);
	CHECK_EQ(weir__nats_parse(&limits, line, 4097, &f, &need), 0);
	CHECK_EQ(weir__nats_parse(&limits, line, 4098, &f, &need), WEIR__NATS_LINE);
	memcpy(line + 4094, " 1\r\n", 4);
	CHECK_EQ(weir__nats_parse(&limits, line, 4098, &f, &need), 4098);
	free(line);
}
