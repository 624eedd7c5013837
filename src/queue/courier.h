/* SPDX-License-Identifier: MIT */
/*
 * The courier: one thread that carries requests to HTTP and HTTPS servers, as many at a time as
 * tasks wait for. In courier.c by libcurl; built without it (courier_none.c) nothing is carried.
 *
 * Webhooks share one; who keeps connections to a server of his own has one of his own, so that
 * nobody's request goes over a connection that it would not have been allowed to make.
 */
#ifndef WEIR_QUEUE_COURIER_H
#define WEIR_QUEUE_COURIER_H

#include <netinet/in.h>
#include <weir/ctx.h>

#include "base/buf.h"

#ifndef WEIR__HAVE_CURL
#define WEIR__HAVE_CURL 0
#endif

enum { WEIR__COURIER_HEADERS = 8, WEIR__COURIER_ADDRS = 8 };

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
	int64_t late_ns;   /* how long the answer is waited for when the context has ended */
	size_t answer_max; /* bytes of the answer's body that are kept */
	bool get;          /* a GET, without data; else a POST */
	bool allow_private;
	bool keep;           /* the connection, for the next one */
	const char *ca_file; /* whom to trust over HTTPS; NULL: whom the system does */

	/* The answer. */
	int result;             /* 0 with an answer; -EIO: none, and error says why; -ENOMEM */
	long status;            /* 0: none came */
	int64_t retry_after_ns; /* −1: not said */
	int64_t date; /* of a refusal: seconds since 1970, by the server's clock; or −1 */
	struct weir__buf answer;
	bool refused; /* the address is not one that may be reached */
	bool unsent;  /* no connection was made */
	char error[128];
};

struct weir__courier;

/* NULL without memory or libcurl. Needs no task to be called in. */
struct weir__courier *weir__courier_new(void);
/* Nothing is under way any more. Waits for its thread to end, which is soon. */
void weir__courier_free(struct weir__courier *c);

/* Carries n parcels at once and waits until each has its result; beyond the context's end for as
 * long as the first one's late_ns says. 0; or the context's error, when it has let go of all of
 * them (those that came back before have their results, the others -ECANCELED). */
int weir__courier_carry(const weir_ctx *ctx, struct weir__courier *c, struct weir__parcel *p,
                        size_t n);

/* One, by the webhooks' courier: its result, -ENOSYS without libcurl, or the context's error. */
int weir__courier_post(const weir_ctx *ctx, struct weir__parcel *p);

/* Is it an address of the public internet? Not loopback, private, link-local, multicast, or one
 * behind which such an IPv4 address may stand. */
bool weir__address_public(const struct sockaddr *sa);

#endif
