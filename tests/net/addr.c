/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "net/addr.h"

static void parses_as(const char *text, const char *shown)
{
	char out[WEIR__ADDR_TEXT_MAX];
	struct weir__addr a;

	CHECK_EQ(weir__addr_parse(text, &a), 0);
	weir__addr_format(&a.ip, a.len, out, sizeof out);
	CHECK_STR(out, shown);
}

static void is_refused(const char *text)
{
	struct weir__addr a;

	if (weir__addr_parse(text, &a) != -EINVAL)
		test_fail(__FILE__, __LINE__, "\"%s\" was taken for an address", text);
}

TEST(numeric_addresses_survive_a_round_trip)
{
	parses_as("127.0.0.1:8080", "127.0.0.1:8080");
	parses_as("[::1]:0", "[::1]:0");
	parses_as("[2001:db8::2]:65535", "[2001:db8::2]:65535");
	parses_as("[::ffff:10.1.2.3]:7", "10.1.2.3:7");
	parses_as("unix:/run/x.sock", "unix:/run/x.sock");
}

TEST(an_empty_host_is_every_interface)
{
	struct weir__addr a;

	parses_as(":8080", "[::]:8080");
	CHECK_EQ(weir__addr_parse(":1", &a), 0);
	CHECK(a.wildcard);
}

TEST(localhost_is_not_asked_for)
{
	struct weir__addr a;

	CHECK_EQ(weir__addr_parse("LocalHost:80", &a), 0);
	CHECK_EQ(a.kind, WEIR__ADDR_IP);
	CHECK(a.localhost);
	parses_as("localhost:80", "127.0.0.1:80");
}

TEST(names_keep_their_port)
{
	struct weir__addr a;

	CHECK_EQ(weir__addr_parse("db-1.example.org:5432", &a), 0);
	CHECK_EQ(a.kind, WEIR__ADDR_NAME);
	CHECK_EQ(a.port, 5432);
	CHECK_STR(a.name, "db-1.example.org");
	CHECK_EQ(weir__addr_parse("example.org.:1", &a), 0);
	CHECK_EQ(weir__addr_parse("3com.com:1", &a), 0);
}

TEST(half_numbers_are_no_addresses)
{
	is_refused("127.1:80");
	is_refused("256.0.0.1:80");
	is_refused("1.2.3.4.5:80");
	is_refused("1234:80");
	is_refused("0x7f.1:80");
	is_refused("010.0.0.1.9:80");
}

TEST(bad_ports_are_refused)
{
	is_refused("127.0.0.1");
	is_refused("127.0.0.1:");
	is_refused("127.0.0.1:65536");
	is_refused("127.0.0.1:-1");
	is_refused("127.0.0.1:+1");
	is_refused("127.0.0.1: 1");
	is_refused("127.0.0.1:80x");
	is_refused("127.0.0.1:000080");
}

TEST(odd_hosts_are_refused)
{
	is_refused("");
	is_refused("::1:80");
	is_refused("[::1:80");
	is_refused("[::1]80");
	is_refused("[]:80");
	is_refused("[127.0.0.1]:80");
	is_refused("a b:80");
	is_refused("a..b:80");
	is_refused(".a:80");
	is_refused("a/b:80");
	is_refused("caf\xc3\xa9:80");
}

TEST(long_names_and_paths_are_refused)
{
	char text[512];

	memset(text, 'a', sizeof text);
	memcpy(text, "unix:/", 6);
	text[5 + 107] = 0;
	struct weir__addr a;
	CHECK_EQ(weir__addr_parse(text, &a), 0);
	text[5 + 107] = 'a';
	text[5 + 108] = 0;
	is_refused(text);
	is_refused("unix:");
	is_refused("mem:");
	is_refused("mem:with space");
	is_refused("mem:0123456789012345678901234567890123456789012345678");
	memset(text, 'a', 400);
	strcpy(text + 400, ":80");
	is_refused(text);
	memset(text, 'a', 64);
	strcpy(text + 64, ".b:80");
	is_refused(text);
}
