/* SPDX-License-Identifier: MIT */
/* Which addresses a webhook may be sent to. */
#include <arpa/inet.h>

#include "queue/courier.h"
#include "test.h"

static bool is_public(const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return weir__address_public((const struct sockaddr *)(const void *)&in);
	CHECK_EQ(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return weir__address_public((const struct sockaddr *)(const void *)&in6);
}

TEST(addresses_of_the_internet_are_public)
{
	static const char *const list[] = { "1.1.1.1",     "8.8.8.8",         "9.255.255.255",
		                            "11.0.0.0",    "100.63.255.255",  "100.128.0.0",
		                            "126.1.1.1",   "128.0.0.1",       "169.253.0.1",
		                            "172.15.0.1",  "172.32.0.1",      "192.167.1.1",
		                            "223.255.0.1", "2606:4700::1111", "2a00:1450::1",
		                            "2001:4860::", "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8",
		                            "2002:808::1", "3ffe::1" };

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (!is_public(list[i]))
			test_fail(__FILE__, __LINE__, "%s is taken for private", list[i]);
}

TEST(all_others_are_not)
{
	static const char *const list[] = {
		"0.0.0.0",
		"0.1.2.3",
		"10.0.0.1",
		"10.255.255.255",
		"100.64.0.1",
		"127.0.0.1",
		"127.255.255.255",
		"169.254.169.254",
		"172.16.0.1",
		"172.31.255.255",
		"192.0.0.8",
		"192.0.2.1",
		"192.168.0.1",
		"192.88.99.1",
		"198.18.0.1",
		"198.51.100.1",
		"203.0.113.1",
		"224.0.0.1",
		"240.0.0.1",
		"255.255.255.255",
		"::",
		"::1",
		"::ffff:10.0.0.1",
		"::ffff:127.0.0.1",
		"::127.0.0.1",
		"64:ff9b::10.0.0.1",
		"64:ff9b:1::1",
		"100::1",
		"2001::1",
		"2001:db8::1",
		"2002:a00:1::1",
		"3fff::1",
		"fc00::1",
		"fd12::1",
		"fe80::1",
		"fec0::1",
		"ff02::1",
	};
	struct sockaddr un = { .sa_family = AF_UNIX };

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (is_public(list[i]))
			test_fail(__FILE__, __LINE__, "%s is taken for public", list[i]);
	CHECK(!weir__address_public(&un));
}
