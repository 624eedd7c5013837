/* SPDX-License-Identifier: MIT */
/* URLs of servers that the courier carries requests to, and the addresses behind their names. */
#ifndef WEIR_QUEUE_URL_H
#define WEIR_QUEUE_URL_H

#include <netinet/in.h>
#include <weir/ctx.h>

#include "net/addr.h"
#include "queue/courier.h"

enum { WEIR__URL_MAX = 2048 };

struct weir__url {
	bool tls;
	char host[WEIR__HOST_MAX + 1]; /* without brackets */
	uint16_t port;
	const char *rest; /* of the text: from the '/' or '?' behind the host, or "" */
};

/* http:// or https://, a host and perhaps a port; no user, no fragment, no blanks. */
bool weir__url_parse(const char *text, struct weir__url *ret);

struct weir__url_addrs {
	char text[WEIR__COURIER_ADDRS][INET6_ADDRSTRLEN];
};

/* The addresses of a host, to `p` too, which points to them. 0; -EHOSTUNREACH for an unknown name;
 * the context's error. Waits for the name service. */
int weir__url_look_up(const weir_ctx *ctx, const char *host, uint16_t port,
                      struct weir__url_addrs *ret, struct weir__parcel *p);

#endif
