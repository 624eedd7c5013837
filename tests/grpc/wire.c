/* SPDX-License-Identifier: MIT */
/* What gRPC writes into headers and messages, and what it takes. */
#include <errno.h>

#include "grpc/gzip.h"
#include "grpc/wire.h"
#include "test.h"

TEST(a_timeout_is_digits_and_a_unit)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = { { "1n", 1 },           { "20u", 20000 },           { "100m", 100000000 },
		     { "3S", WEIR_SEC(3) }, { "2M", WEIR_SEC(120) },    { "1H", WEIR_SEC(3600) },
		     { "0S", 0 },           { "99999999H", WEIR_NEVER } };
	static const char *const bad[] = { "",   "1",   "S",   "123456789S", "-1S",
		                           "1s", "1SS", " 1S", "1.5S" };
	int64_t ns;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		CHECK_EQ(weir__grpc_timeout_parse(good[i].text, &ns), 0);
		CHECK_EQ(ns, good[i].ns);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_EQ(weir__grpc_timeout_parse(bad[i], &ns), -EINVAL);
}

TEST(a_timeout_that_is_sent_is_never_shorter)
{
	char text[WEIR__GRPC_TIMEOUT_MAX];
	int64_t ns = 1, back;

	for (int i = 0; i < 61; i++, ns = ns * 2 + 1) {
		weir__grpc_timeout_format(text, ns);
		CHECK(strlen(text) <= 9);
		CHECK_EQ(weir__grpc_timeout_parse(text, &back), 0);
		CHECK(back >= ns && back / 1000 - ns / 1000 <= ns / 1000);
	}
	weir__grpc_timeout_format(text, -5);
	CHECK_STR(text, "0n");
	weir__grpc_timeout_format(text, INT64_MAX);
	CHECK_STR(text, "2562048H");
}

TEST(status_messages_survive_percent_encoding)
{
	struct weir__buf out = WEIR__BUF_INIT, back = WEIR__BUF_INIT;
	char all[256];

	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	weir__grpc_percent_encode(&out, all, sizeof all);
	for (size_t i = 0; i < out.len; i++)
		CHECK(out.data[i] >= 0x20 && out.data[i] <= 0x7e);
	weir__grpc_percent_decode(&back, out.data, out.len);
	CHECK_EQ(back.len, sizeof all);
	CHECK(!memcmp(back.data, all, sizeof all));
	weir__buf_clear(&back);
	weir__grpc_percent_decode(&back, "50%, %zz%4", 10);
	CHECK_STR(back.data, "50%, %zz%4");
	weir__buf_free(&out);
	weir__buf_free(&back);
}

TEST(binary_metadata_is_taken_with_padding_and_without)
{
	static const char *const forms[] = { "q6ur", "q6urqw", "q6urqw==", "q6urq6s", "q6urq6s=" };
	static const size_t lengths[] = { 3, 4, 4, 5, 5 };
	struct weir__buf out = WEIR__BUF_INIT;

	for (int i = 0; i < 5; i++) {
		weir__buf_clear(&out);
		CHECK_EQ(weir__grpc_bin_decode(&out, forms[i], strlen(forms[i])), 0);
		CHECK_EQ(out.len, lengths[i]);
		for (size_t k = 0; k < out.len; k++)
			CHECK_EQ((unsigned char)out.data[k], 0xab);
	}
	CHECK_EQ(weir__grpc_bin_decode(&out, "q", 1), -EINVAL);
	CHECK_EQ(weir__grpc_bin_decode(&out, "q6!r", 4), -EINVAL);
	weir__buf_clear(&out);
	weir__grpc_bin_encode(&out, "\xab\xab\xab\xab", 4);
	CHECK_STR(out.data, "q6urqw");
	weir__buf_free(&out);
}

TEST(metadata_names_are_lower_case_and_not_grpcs_own)
{
	CHECK(weir__grpc_name_ok("x-trace-id"));
	CHECK(weir__grpc_name_ok("a.b_c-bin"));
	CHECK(!weir__grpc_name_ok("X-Trace"));
	CHECK(!weir__grpc_name_ok(""));
	CHECK(!weir__grpc_name_ok(":path"));
	CHECK(!weir__grpc_name_ok("grpc-status"));
	CHECK(!weir__grpc_name_ok("content-type"));
	CHECK(!weir__grpc_name_ok("a b"));
}

TEST(codes_are_read_strictly)
{
	CHECK_EQ(weir__grpc_code_parse("0", 1), 0);
	CHECK_EQ(weir__grpc_code_parse("16", 2), 16);
	CHECK_EQ(weir__grpc_code_parse("17", 2), WEIR_GRPC_UNKNOWN);
	CHECK_EQ(weir__grpc_code_parse("", 0), WEIR_GRPC_UNKNOWN);
	CHECK_EQ(weir__grpc_code_parse("1x", 2), WEIR_GRPC_UNKNOWN);
	CHECK_STR(weir_grpc_code_name(14), "UNAVAILABLE");
	CHECK_STR(weir_grpc_code_name(99), "UNKNOWN");
}

TEST(gzip_gives_back_what_it_was_given)
{
	struct weir__buf zipped = WEIR__BUF_INIT, out = WEIR__BUF_INIT;
	char data[5000];

	for (size_t n = 0; n <= sizeof data; n += 1250) {
		for (size_t i = 0; i < n; i++)
			data[i] = (char)(i * i >> 3);
		weir__buf_clear(&zipped);
		weir__buf_clear(&out);
		CHECK_EQ(weir__gzip(&zipped, data, n), 0);
		CHECK_EQ(weir__gunzip(&out, zipped.data, zipped.len, sizeof data), 0);
		CHECK_EQ(out.len, n);
		CHECK(!n || !memcmp(out.data, data, n));
	}
	weir__buf_free(&zipped);
	weir__buf_free(&out);
}

TEST(a_small_message_cannot_fill_the_memory)
{
	struct weir__buf zipped = WEIR__BUF_INIT, out = WEIR__BUF_INIT;
	char *zeros = calloc(1, 8 << 20);

	CHECK_EQ(weir__gzip(&zipped, zeros, 8 << 20), 0);
	CHECK(zipped.len < 64 << 10);
	CHECK_EQ(weir__gunzip(&out, zipped.data, zipped.len, 1 << 20), -EMSGSIZE);
	CHECK(out.len <= (1 << 20) + 1);
	weir__buf_clear(&out);
	CHECK_EQ(weir__gunzip(&out, zipped.data, zipped.len, 8 << 20), 0);
	weir__buf_clear(&out);
	CHECK_EQ(weir__gunzip(&out, zipped.data, zipped.len / 2, 8 << 20), -EBADMSG);
	weir__buf_clear(&out);
	CHECK_EQ(weir__gunzip(&out, "no gzip at all", 14, 8 << 20), -EBADMSG);
	free(zeros);
	weir__buf_free(&zipped);
	weir__buf_free(&out);
}
