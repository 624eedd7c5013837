/* SPDX-License-Identifier: MIT */
/* Which addresses belong to the public internet: the IANA special-purpose registries (RFC 6890),
 * from which nothing is let through but what is globally reachable. */
#include <arpa/inet.h>
#include <string.h>

#include "queue/courier.h"

static bool public4(uint32_t a)
{
	static const struct {
		uint32_t net;
		int bits;
	} special[] = {
		{ 0x00000000, 8 },  /* this network */
		{ 0x0a000000, 8 },  /* private */
		{ 0x64400000, 10 }, /* shared by carriers */
		{ 0x7f000000, 8 },  /* loopback */
		{ 0xa9fe0000, 16 }, /* link-local; clouds keep their metadata there */
		{ 0xac100000, 12 }, /* private */
		{ 0xc0000000, 24 }, /* protocol assignments */
		{ 0xc0000200, 24 }, /* documentation */
		{ 0xc0586300, 24 }, /* 6to4 relays */
		{ 0xc0a80000, 16 }, /* private */
		{ 0xc6120000, 15 }, /* benchmarks */
		{ 0xc6336400, 24 }, /* documentation */
		{ 0xcb007100, 24 }, /* documentation */
		{ 0xe0000000, 3 },  /* multicast, reserved, broadcast */
	};

	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		if ((a ^ special[i].net) >> (32 - special[i].bits) == 0)
			return false;
	return true;
}

static uint32_t word(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return ntohl(v);
}

static bool public6(const unsigned char a[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const unsigned char nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

	if (!memcmp(a, mapped, 12) || !memcmp(a, nat64, 12))
		return public4(word(a + 12));
	if ((a[0] & 0xe0) != 0x20) /* Global unicast is 2000::/3. */
		return false;
	if (a[0] == 0x20 && a[1] == 0x02) /* 6to4 */
		return public4(word(a + 2));
	if (a[0] == 0x20 && a[1] == 0x01 && a[2] < 0x02) /* 2001::/23: Teredo and other protocols */
		return false;
	return word(a) != 0x20010db8 && (word(a) & 0xfffff000) != 0x3fff0000; /* documentation */
}

bool weir__address_public(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return public4(
			ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr));
	if (sa->sa_family == AF_INET6)
		return public6(((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr);
	return false;
}
