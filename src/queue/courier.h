/* SPDX-License-Identifier: MIT */
/*
 * The courier: one thread that carries POST requests to HTTP and HTTPS servers, as many at a time as
 * tasks wait for. In courier.c by libcurl; built without it (courier_none.c) nothing is carried.
 */
#ifndef WEIR_QUEUE_COURIER_H
#define WEIR_QUEUE_COURIER_H

#include <netinet/in.h>
#include <weir/ctx.h>

#include "base/buf.h"

#ifndef WEIR__HAVE_CURL
#define WEIR__HAVE_CURL 0
#endif

enum { WEIR__COURIER_HEADERS = 6, WEIR__COURIER_ADDRS = 8 };

struct weir__parcel {
	/* The caller's, until the call returns. */
	const char *url;
	const char *host; /* of the URL, to be reached at `addrs`: it is not looked up again */
	uint16_t port;
	const char *addrs[WEIR__COURIER_ADDRS];     /* numeric; ended by NULL if fewer */
	const char *headers[WEIR__COURIER_HEADERS]; /* ended by NULL if fewer */
	const void *data;
	size_t len;
	int64_t timeout_ns;
	size_t answer_max; /* bytes of the answer's body that are kept */
	bool allow_private;

	/* The answer. */
	long status;            /* 0: none came */
	int64_t retry_after_ns; /* −1: not said */
	struct weir__buf answer;
	bool refused; /* the address is not one that may be reached */
	char error[128];
};

/* 0 with an answer; -EIO: none, and error says why; -ENOSYS: built without libcurl; -ENOMEM; or the
 * context's error, when it has let go of the parcel. Waits. */
int weir__courier_post(const weir_ctx *ctx, struct weir__parcel *p);

/* Is it an address of the public internet? Not loopback, private, link-local, multicast, or one
 * behind which such an IPv4 address may stand. */
bool weir__address_public(const struct sockaddr *sa);

#endif
