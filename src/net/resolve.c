/* SPDX-License-Identifier: MIT */
/*
 * Names. getaddrinfo() blocks for as long as its name servers like and cannot be interrupted, so it
 * runs in the offload pool with heap memory of its own: when the wait ends first, the call is
 * abandoned and the pool frees the record.
 */
#include "net/addr.h"

#include <weir/offload.h>

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
	char host[WEIR__HOST_MAX + 1];
	uint16_t port;
	int n;
	union weir__sockaddr at[WEIR__RESOLVE_MAX];
	socklen_t len[WEIR__RESOLVE_MAX];
};

static int lookup_run(void *arg)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
		                  .ai_socktype = SOCK_STREAM,
		                  .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV };
	struct addrinfo *list;
	struct lookup *q = arg;
	char port[6];
	int r;

	snprintf(port, sizeof port, "%u", q->port);
	r = getaddrinfo(q->host, port, &hints, &list); /* offloaded */
	if (r == EAI_MEMORY)
		return -ENOMEM;
	if (r != 0)
		return -EHOSTUNREACH;
	for (struct addrinfo *a = list; a && q->n < WEIR__RESOLVE_MAX; a = a->ai_next) {
		if (a->ai_addrlen > sizeof q->at[0])
			continue;
		memcpy(&q->at[q->n], a->ai_addr, a->ai_addrlen);
		q->len[q->n++] = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return q->n > 0 ? 0 : -EHOSTUNREACH;
}

int weir__resolve(const weir_ctx *ctx, const char *host, uint16_t port, union weir__sockaddr *ret,
                  socklen_t *ret_len)
{
	struct lookup *q = calloc(1, sizeof *q);
	int r, n;

	if (!q)
		return -ENOMEM;
	snprintf(q->host, sizeof q->host, "%s", host);
	q->port = port;
	r = weir_offload(ctx, lookup_run, q, free);
	/* These three mean that the context ended and that q belongs to the pool now. */
	if (r == -ECANCELED || r == -ETIMEDOUT || r == -ESHUTDOWN)
		return r;
	n = q->n;
	if (r == 0) {
		memcpy(ret, q->at, (size_t)n * sizeof q->at[0]);
		memcpy(ret_len, q->len, (size_t)n * sizeof q->len[0]);
	}
	free(q);
	return r < 0 ? r : n;
}
