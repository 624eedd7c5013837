/* SPDX-License-Identifier: MIT */
/*
 * Addresses as text and as the kernel has them. Parsing never asks a name service: a host that is
 * neither numeric, empty nor "localhost" stays a name, for weir__resolve().
 */
#ifndef WEIR_NET_ADDR_H
#define WEIR_NET_ADDR_H

#include <weir/ctx.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

enum weir__addr_kind { WEIR__ADDR_IP, WEIR__ADDR_UNIX, WEIR__ADDR_MEM, WEIR__ADDR_NAME };

union weir__sockaddr {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

enum {
	WEIR__HOST_MAX = 253, /* of a name, RFC 1035 §2.3.4 */
	WEIR__MEM_NAME_MAX = 48,
	WEIR__ADDR_TEXT_MAX = 128, /* "unix:" and the longest path a socket can have, and a NUL */
	WEIR__RESOLVE_MAX = 8,
};

struct weir__addr {
	enum weir__addr_kind kind;
	bool wildcard;  /* the host was empty */
	bool localhost; /* ip holds 127.0.0.1; ::1 is the same host */
	uint16_t port;  /* of a name */
	socklen_t len;
	union weir__sockaddr ip;       /* IP and UNIX */
	char name[WEIR__HOST_MAX + 1]; /* NAME and MEM */
};

/* 0 or -EINVAL. An empty host is [::]. */
int weir__addr_parse(const char *text, struct weir__addr *ret);

/* "127.0.0.1:80", "[::1]:80" (IPv4 mapped into IPv6 as IPv4), "unix:PATH", or "unix" for a nameless
 * end; NUL-terminated, cut at cap. */
void weir__addr_format(const union weir__sockaddr *a, socklen_t len, char *ret, size_t cap);

/* Waits for the name service. The number of addresses, at most WEIR__RESOLVE_MAX; -EHOSTUNREACH for
 * an unknown name; the context's error. */
int weir__resolve(const weir_ctx *ctx, const char *host, uint16_t port, union weir__sockaddr *ret,
                  socklen_t *ret_len);

#endif
