/* SPDX-License-Identifier: MIT */
#include "../test.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct seen {
	char text[256];
	size_t n;
};

static void see(const struct weir__json_member *m, void *arg)
{
	static const char kinds[] = "snb0<>";
	struct seen *s = arg;

	s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%u%c%s%s%s ", m->depth,
	                         kinds[m->kind], m->key ? m->key : "", m->text ? "=" : "",
	                         m->text ? m->text : "");
}

static int read_with(int (*fn)(char *, size_t, weir__json_fn *, void *), const char *text,
                     struct seen *s)
{
	char *copy = strdup(text); /* exactly so long, so that a read beyond it is seen */
	int r;

	s->n = 0;
	s->text[0] = 0;
	r = fn(copy, strlen(text), see, s);
	free(copy);
	return r;
}

TEST(an_object_tells_its_members_and_no_more)
{
	struct seen s;

	CHECK_EQ(read_with(weir__json_object, " {\"a\":1,\"b\":{\"c\":[2]},\"d\\n\":\"\\u00e9\"} ",
	                   &s),
	         0);
	CHECK_STR(s.text, "1na 1<b 1sd\n=\xc3\xa9 ");
}

TEST(a_walk_tells_all_in_its_order)
{
	struct seen s;

	CHECK_EQ(read_with(weir__json_walk, "{\"a\":[{\"b\":\"x\"},[],true],\"c\":null}", &s), 0);
	CHECK_STR(s.text, "1<a 2< 3sb=x 2> 2< 2> 2b 1> 10c ");
	CHECK_EQ(read_with(weir__json_walk, "{}", &s), 0);
	CHECK_STR(s.text, "");
}

TEST(what_is_no_object_is_refused)
{
	static const char *const bad[] = { "",
		                           "[]",
		                           "1",
		                           "{",
		                           "{\"a\"}",
		                           "{\"a\":}",
		                           "{\"a\":1,}",
		                           "{\"a\":[1,]}",
		                           "{\"a\":[,]}",
		                           "{\"a\":1}x",
		                           "{\"a\":{]}",
		                           "{,}",
		                           "{\"a\":\"\\u0000\"}",
		                           "{\"a\":01}",
		                           "{\"a\":-00.5}" };
	struct seen s;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_EQ(read_with(weir__json_walk, bad[i], &s), -EINVAL);
}

static void note(const struct weir__json_member *m, void *arg)
{
	*(int64_t *)arg = m->number;
}

TEST(a_number_is_whole_or_the_end_of_its_range)
{
	static const struct {
		const char *text;
		int64_t is;
	} of[] = {
		{ "{\"a\":0}", 0 },
		{ "{\"a\":-0.5}", 0 },
		{ "{\"a\":-12.9}", -12 },
		{ "{\"a\":1234567890123456789}", 1234567890123456789 },
		{ "{\"a\":9223372036854775807}", INT64_MAX },
		{ "{\"a\":-9223372036854775808}", INT64_MIN },
		{ "{\"a\":9223372036854775808}", INT64_MAX },
		{ "{\"a\":-99999999999999999999}", INT64_MIN },
		{ "{\"a\":99999999999999999999}", INT64_MAX },
	};

	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		char text[64];
		int64_t n = 7;

		snprintf(text, sizeof text, "%s", of[i].text);
		CHECK_EQ(weir__json_object(text, strlen(text), note, &n), 0);
		CHECK_EQ(n, of[i].is);
	}
}

TEST(levels_are_bounded)
{
	char text[80] = "{\"a\":";
	struct seen s;

	for (int i = 0; i < 16; i++)
		strcat(text, "[");
	for (int i = 0; i < 16; i++)
		strcat(text, "]");
	strcat(text, "}");
	CHECK_EQ(read_with(weir__json_object, text, &s), 0);
	memmove(text + 6, text + 5, strlen(text + 5) + 1);
	text[5] = '[';
	text[strlen(text) - 1] = ']';
	strcat(text, "}");
	CHECK_EQ(read_with(weir__json_object, text, &s), -EINVAL);
}
