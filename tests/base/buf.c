/* SPDX-License-Identifier: MIT */
#include "../test.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

enum { LEN = 18 }; /* two words and what is left over */

/* What becomes of a byte among letters. */
static void escaped(char out[8], unsigned c)
{
	if (c == '"' || c == '\\')
		snprintf(out, 8, "\\%c", c);
	else if (c == '\n')
		memcpy(out, "\\n", 3);
	else if (c < 0x20 || c == 0x7f)
		snprintf(out, 8, "\\u%04x", c);
	else if (c >= 0x80)
		memcpy(out, "\xef\xbf\xbd", 4);
	else
		snprintf(out, 8, "%c", c);
}

TEST(every_byte_becomes_json_wherever_it_stands)
{
	struct weir__buf b = WEIR__BUF_INIT;

	for (unsigned c = 0; c < 256; c++) {
		for (int at = 0; at < LEN; at++) {
			char text[LEN], want[64], as[8];

			memset(text, 'a', LEN);
			text[at] = (char)c;
			escaped(as, c);
			snprintf(want, sizeof want, "\"%.*s%s%.*s\"", at, "aaaaaaaaaaaaaaaaaa", as,
			         LEN - 1 - at, "aaaaaaaaaaaaaaaaaa");
			weir__buf_clear(&b);
			weir__buf_json(&b, text, LEN);
			CHECK_STR(b.data, want);
			CHECK_EQ(weir__utf8_valid(text, LEN), c < 0x80);
		}
	}
	weir__buf_free(&b);
}

TEST(a_sequence_of_utf_8_stays_whole_wherever_it_stands)
{
	for (size_t at = 0; at + 3 <= LEN; at++) {
		struct weir__buf b = WEIR__BUF_INIT;
		char text[LEN + 1];

		memset(text, 'a', LEN);
		text[LEN] = 0;
		memcpy(text + at, "\xe2\x82\xac", 3);
		CHECK(weir__utf8_valid(text, LEN));
		CHECK(!weir__utf8_valid(text, at + 2));
		weir__buf_json(&b, text, LEN);
		CHECK_EQ(b.len, LEN + 2);
		CHECK(memcmp(b.data + 1, text, LEN) == 0);
		weir__buf_free(&b);
	}
}

TEST(numbers_are_written_in_decimal)
{
	static const uint64_t v[] = { 0, 7, 10, 4096, UINT64_MAX };
	struct weir__buf b = WEIR__BUF_INIT;

	for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
		char want[24];

		snprintf(want, sizeof want, "%llu", (unsigned long long)v[i]);
		weir__buf_clear(&b);
		weir__buf_u64(&b, v[i]);
		CHECK_STR(b.data, want);
	}
	weir__buf_free(&b);
}
