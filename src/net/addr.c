/* SPDX-License-Identifier: MIT */
/*
 * Parsing is strict where the C library is lax: getaddrinfo() and inet_aton() take "127.1",
 * "0x7f.1" and "1234" for addresses, so that one typing mistake listens or connects somewhere else.
 * Here a host whose last label is all digits has to be a full dotted quad.
 */
#include "net/addr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static int parse_port(const char *text, uint16_t *ret)
{
	unsigned port = 0;
	size_t n = strlen(text);

	if (n == 0 || n > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = port * 10 + (unsigned)(*text - '0');
	}
	if (port > 65535)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

static bool is_host_name(const char *s)
{
	bool digits = true; /* of the label at hand */
	size_t label = 0;

	for (; *s; s++) {
		if (*s == '.') {
			if (label == 0 || (digits && !s[1]))
				return false;
			digits = true;
			label = 0;
			continue;
		}
		if (!isalnum((unsigned char)*s) && *s != '-' && *s != '_')
			return false;
		if (!isdigit((unsigned char)*s))
			digits = false;
		if (++label > 63)
			return false;
	}
	return label == 0 || !digits; /* A dot at the end is fine. */
}

static void set_in6(struct weir__addr *a, const struct in6_addr *host, uint16_t port)
{
	a->kind = WEIR__ADDR_IP;
	a->ip.in6.sin6_family = AF_INET6;
	a->ip.in6.sin6_addr = *host;
	a->ip.in6.sin6_port = htons(port);
	a->len = sizeof a->ip.in6;
}

static void set_in(struct weir__addr *a, struct in_addr host, uint16_t port)
{
	a->kind = WEIR__ADDR_IP;
	a->ip.in.sin_family = AF_INET;
	a->ip.in.sin_addr = host;
	a->ip.in.sin_port = htons(port);
	a->len = sizeof a->ip.in;
}

static int parse_inet(const char *text, struct weir__addr *a)
{
	const char *colon = strrchr(text, ':');
	char host[WEIR__HOST_MAX + 1];
	struct in6_addr in6;
	struct in_addr in;
	size_t n;
	int r;

	if (!colon)
		return -EINVAL;
	r = parse_port(colon + 1, &a->port);
	if (r < 0)
		return r;
	n = (size_t)(colon - text);
	if (n >= sizeof host)
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = 0;

	if (n == 0) {
		a->wildcard = true;
		set_in6(a, &in6addr_any, a->port);
		return 0;
	}
	if (host[0] == '[') {
		if (host[n - 1] != ']')
			return -EINVAL;
		host[n - 1] = 0;
		if (inet_pton(AF_INET6, host + 1, &in6) != 1)
			return -EINVAL;
		set_in6(a, &in6, a->port);
		return 0;
	}
	if (inet_pton(AF_INET, host, &in) == 1) {
		set_in(a, in, a->port);
		return 0;
	}
	if (!strcasecmp(host, "localhost")) {
		a->localhost = true;
		in.s_addr = htonl(INADDR_LOOPBACK);
		set_in(a, in, a->port);
		return 0;
	}
	if (!is_host_name(host))
		return -EINVAL;
	a->kind = WEIR__ADDR_NAME;
	memcpy(a->name, host, n + 1);
	return 0;
}

static int parse_unix(const char *path, struct weir__addr *a)
{
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof a->ip.un.sun_path)
		return -EINVAL;
	a->kind = WEIR__ADDR_UNIX;
	a->ip.un.sun_family = AF_UNIX;
	memcpy(a->ip.un.sun_path, path, n + 1);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return 0;
}

static int parse_mem(const char *name, struct weir__addr *a)
{
	size_t n = strlen(name);

	if (n == 0 || n > WEIR__MEM_NAME_MAX)
		return -EINVAL;
	for (const char *s = name; *s; s++)
		if (!isgraph((unsigned char)*s))
			return -EINVAL;
	a->kind = WEIR__ADDR_MEM;
	memcpy(a->name, name, n + 1);
	return 0;
}

int weir__addr_parse(const char *text, struct weir__addr *ret)
{
	struct weir__addr a = { 0 };
	int r;

	if (!strncmp(text, "unix:", 5))
		r = parse_unix(text + 5, &a);
	else if (!strncmp(text, "mem:", 4))
		r = parse_mem(text + 4, &a);
	else
		r = parse_inet(text, &a);
	if (r < 0)
		return r;
	*ret = a;
	return 0;
}

void weir__addr_format(const union weir__sockaddr *a, socklen_t len, char *ret, size_t cap)
{
	char host[INET6_ADDRSTRLEN];
	struct in_addr v4;

	switch (len >= sizeof a->any.sa_family ? a->any.sa_family : AF_UNSPEC) {
	case AF_INET:
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof host);
		snprintf(ret, cap, "%s:%u", host, ntohs(a->in.sin_port));
		return;
	case AF_INET6:
		if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
			memcpy(&v4, &a->in6.sin6_addr.s6_addr[12], sizeof v4);
			inet_ntop(AF_INET, &v4, host, sizeof host);
			snprintf(ret, cap, "%s:%u", host, ntohs(a->in6.sin6_port));
			return;
		}
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof host);
		snprintf(ret, cap, "[%s]:%u", host, ntohs(a->in6.sin6_port));
		return;
	case AF_UNIX:
		if (len > offsetof(struct sockaddr_un, sun_path) && a->un.sun_path[0]) {
			snprintf(ret, cap, "unix:%.*s",
			         (int)(len - offsetof(struct sockaddr_un, sun_path)),
			         a->un.sun_path);
			return;
		}
		snprintf(ret, cap, "unix");
		return;
	default:
		snprintf(ret, cap, "unknown");
	}
}
