/* SPDX-License-Identifier: MIT */
#include "base/base64.h"
#include "base/units.h"
#include "test.h"

#include <errno.h>

static void duration_is(const char *text, int64_t ns)
{
	int64_t n = -1;

	CHECK_EQ(weir__parse_duration(text, &n), 0);
	CHECK_EQ(n, ns);
}

TEST(durations_are_read_in_every_unit)
{
	duration_is("0", 0);
	duration_is("7ns", 7);
	duration_is("7us", 7000);
	duration_is("250ms", WEIR_MS(250));
	duration_is("30s", WEIR_SEC(30));
	duration_is("5m", WEIR_MIN(5));
	duration_is("1h", WEIR_HOUR(1));
	duration_is("2d", WEIR_HOUR(48));
	duration_is("1h30m", WEIR_MIN(90));
	duration_is("1m30s250ms", WEIR_MS(90250));
}

TEST(durations_that_are_none_are_refused)
{
	static const char *const bad[] = { "",      "s",    "30", "-1s",  "+1s",     " 1s",
		                           "1s ",   "1.5s", "1S", "1x",   "1s1s",    "1s1m",
		                           "30sec", "1ms1", "00", "1h30", "infinity" };
	int64_t n = 42;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(weir__parse_duration(bad[i], &n), -EINVAL);
	CHECK_EQ(n, 42);
}

TEST(durations_beyond_64_bits_are_out_of_range)
{
	int64_t n = 42;

	CHECK_EQ(weir__parse_duration("9223372036854775807ns", &n), 0);
	CHECK_EQ(n, INT64_MAX);
	CHECK_EQ(weir__parse_duration("9223372036854775808ns", &n), -ERANGE);
	CHECK_EQ(weir__parse_duration("106752d", &n), -ERANGE);
	CHECK_EQ(weir__parse_duration("9223372036s1000ms", &n), -ERANGE);
	CHECK_EQ(weir__parse_duration("99999999999999999999999h", &n), -ERANGE);
}

static void bytes_is(const char *text, uint64_t want)
{
	uint64_t n = 1;

	CHECK_EQ(weir__parse_bytes(text, &n), 0);
	CHECK_EQ(n, want);
}

TEST(bytes_are_read_in_every_unit)
{
	bytes_is("0", 0);
	bytes_is("4096", 4096);
	bytes_is("4096B", 4096);
	bytes_is("64KiB", 65536);
	bytes_is("256MiB", 256u << 20);
	bytes_is("3GiB", UINT64_C(3) << 30);
	bytes_is("1TiB", UINT64_C(1) << 40);
	bytes_is("5kB", 5000);
	bytes_is("5MB", 5000000);
}

TEST(bytes_that_are_none_are_refused)
{
	static const char *const bad[] = { "",     "B",  "-1",    "1.5MiB", "1 MiB",
		                           "1mib", "1K", "1MiBs", "0x10" };
	uint64_t n;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(weir__parse_bytes(bad[i], &n), -EINVAL);
	CHECK_EQ(weir__parse_bytes("8388608TiB", &n), -ERANGE);
	CHECK_EQ(weir__parse_bytes("9223372036854775808", &n), -ERANGE);
}

TEST(rates_are_read_in_every_unit)
{
	static const struct {
		const char *text;
		double per_second;
	} good[] = { { "10/s", 10 }, { "120/m", 2 },  { "5400/h", 1.5 },
		     { "10", 10 },   { "0.25", .25 }, { "1e-05", 1e-05 } };
	static const char *const bad[] = { "",     "/s",   "-1",    "10/", "10/d", "10/ss", "ten",
		                           "0x10", "0X10", "10 /s", "10s", " 10",  "nan",   "inf" };
	static const char *const zero[] = { "0", "0/s", "0.0/h" };
	double d = 42;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(weir__parse_rate(bad[i], &d), -EINVAL);
	for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++)
		CHECK_EQ(weir__parse_rate(zero[i], &d), -EDOM);
	CHECK_EQ(weir__parse_rate("2e9", &d), -ERANGE);
	CHECK_EQ(weir__parse_rate("1e999", &d), -ERANGE);
	CHECK(d == 42);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		CHECK_EQ(weir__parse_rate(good[i].text, &d), 0);
		CHECK(d > good[i].per_second * .999 && d < good[i].per_second * 1.001);
	}
}

TEST(numbers_are_read_whole)
{
	int64_t n;

	CHECK_EQ(weir__parse_int("-1000", &n), 0);
	CHECK_EQ(n, -1000);
	CHECK_EQ(weir__parse_int("", &n), -EINVAL);
	CHECK_EQ(weir__parse_int("-", &n), -EINVAL);
	CHECK_EQ(weir__parse_int("1e3", &n), -EINVAL);
	CHECK_EQ(weir__parse_int("10 ", &n), -EINVAL);
	CHECK_EQ(weir__parse_int("9223372036854775808", &n), -ERANGE);
}

TEST(what_is_formatted_parses_to_the_same)
{
	static const int64_t times[] = {
		0, 1, 999, 1500000000, WEIR_MIN(90), WEIR_HOUR(25) + 1, INT64_MAX - 1
	};
	static const uint64_t sizes[] = { 0, 1, 1000, 1024, 1536, 256u << 20, INT64_MAX };
	char buf[WEIR__UNITS_MAX];

	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
		duration_is(weir__format_duration(buf, times[i]), times[i]);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		bytes_is(weir__format_bytes(buf, sizes[i]), sizes[i]);
	CHECK_STR(weir__format_duration(buf, WEIR_SEC(90)), "1m30s");
	CHECK_STR(weir__format_bytes(buf, 256u << 20), "256MiB");
	CHECK_STR(weir__format_bytes(buf, 1000), "1000B");
	CHECK_STR(weir__format_about(buf, WEIR_MS(1234)), "1.2s");
	CHECK_STR(weir__format_about(buf, WEIR_MS(35)), "35ms");
}

TEST(base64_goes_there_and_back)
{
	struct weir__buf text = WEIR__BUF_INIT, back = WEIR__BUF_INIT;
	unsigned char data[256];

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (unsigned char)(i * 7);
	for (size_t n = 0; n <= sizeof data; n++) {
		weir__buf_clear(&text);
		weir__buf_clear(&back);
		weir__base64_encode(&text, data, n);
		CHECK_EQ(weir__base64_decode(&back, text.data ? text.data : "", text.len), 0);
		CHECK_EQ(back.len, n);
		CHECK(!n || !memcmp(back.data, data, n));
	}
	weir__buf_clear(&text);
	weir__base64_encode(&text, "fooba", 5);
	CHECK_STR(text.data, "Zm9vYmE=");
	CHECK_EQ(weir__base64_decode(&back, "Zm9", 3), -EINVAL);
	CHECK_EQ(weir__base64_decode(&back, "Z===", 4), -EINVAL);
	CHECK_EQ(weir__base64_decode(&back, "Zh==", 4), -EINVAL);
	CHECK_EQ(weir__base64_decode(&back, "Zg==Zg==", 8), -EINVAL);
	CHECK_EQ(weir__base64_decode(&back, "Zm9\n", 4), -EINVAL);
	weir__buf_free(&text);
	weir__buf_free(&back);
}
