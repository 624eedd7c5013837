/* SPDX-License-Identifier: MIT */
/*
 * NATS clients on a bus of this process: a server of the NATS client protocol, whose subscriptions
 * and messages are those of the bus. What a client in any language publishes, weir_bus_subscribe()
 * hears, and the other way round.
 *
 *	r = weir_nats_server_new(bus, NULL, &n);
 *	r = weir_listen(":4222", &l);
 *	r = weir_nats_serve(ctx, n, l, NULL);   // until drain: clients are told to go elsewhere
 *	weir_nats_server_free(n);
 *
 * Core NATS: headers, queue groups, no-responders, permissions; no JetStream, no clustering. A
 * client that takes too little is cut when it has max_pending bytes to get, or took nothing for
 * write_ns; it never holds up the others.
 */
#ifndef WEIR_NATS_H
#define WEIR_NATS_H

#include <weir/bus.h>
#include <weir/tls.h>

WEIR_BEGIN

typedef struct weir_nats_server weir_nats_server;

/* Who signed in and what that allows. Made by the sign-in function; immutable once it has been
 * handed over; freed with the last connection that has it. */
typedef struct weir_nats_user weir_nats_user;

enum { WEIR_NATS_PUBLISH = 1, WEIR_NATS_SUBSCRIBE = 2 };

/* Nothing is allowed to a new user. NULL without memory. The name is copied. */
WEIR_API weir_nats_user *weir_nats_user_new(const char *name);
/* Allow, or deny whatever else allows it, one or both for all that a pattern matches. A
 * subscription to a pattern has to be covered as a whole; what a pattern covers only in part is
 * denied when it arrives. 0, -EINVAL (no pattern), -ENOMEM. */
WEIR_API int weir_nats_user_allow(weir_nats_user *u, unsigned what, const char *pattern);
WEIR_API int weir_nats_user_deny(weir_nats_user *u, unsigned what, const char *pattern);
/* Publishing to these subjects is allowed though it may be denied. `*` stands for any characters,
 * dots too. */
WEIR_API int weir_nats_user_open(weir_nats_user *u, const char *glob);
WEIR_API void weir_nats_user_free(weir_nats_user *u); /* one that was not handed over */

/* What a client showed in its CONNECT; NULL: nothing of the kind. nkey is set only when its
 * signature over the server's nonce holds. */
typedef struct weir_nats_login {
	const char *user, *pass, *token, *nkey, *peer;
} weir_nats_login;

typedef struct weir_nats_options {
	const char *name;        /* server_name; default "weir" */
	size_t max_payload;      /* headers and payload; default 1 MiB, at most 64 MiB */
	size_t max_control_line; /* default 4096 */
	size_t max_pending;      /* bytes a client has yet to take; default 64 MiB */
	size_t max_pending_all; /* of all clients together; who then has over 64 KiB to take is cut;
	                          * default 1 GiB */
	size_t max_subs;        /* of a connection; default 1,000,000 */
	unsigned max_conns;     /* default 65536 */
	unsigned ping_max;      /* unanswered pings; default 2 */
	int64_t ping_ns;        /* default 2 min */
	int64_t auth_ns;        /* until a client has signed in, where it must; default 2 s */
	int64_t write_ns;       /* a client has to take some bytes in it; default 10 s */
	int64_t lame_duck_ns;   /* clients may leave by themselves so long when the server stops, at
	                          * most a sixth of the budget; default 2 s */
	/* On a worker, must not wait. 0 and *ret, or -EACCES. NULL: nobody has to sign in. `renew`
	 * is asked by weir_nats_reload(): what is that user now? -EACCES: gone. */
	int (*sign_in)(const weir_nats_login *login, weir_nats_user **ret, void *arg);
	int (*renew)(const char *name, weir_nats_user **ret, void *arg);
	void *arg;
	/* Where nobody has to sign in: everybody's rights, taken over; NULL: all. */
	weir_nats_user *anybody;
	bool tls_first; /* with TLS the handshake comes before INFO, not behind it */
} weir_nats_options;

/* The bus has to be in this process ("mem:") and outlive the server. 0, -EOPNOTSUPP, -ENOMEM. */
WEIR_API int weir_nats_server_new(weir_bus *bus, const weir_nats_options *opt,
                                  weir_nats_server **ret);
WEIR_API void weir_nats_server_free(weir_nats_server *n);

/*
 * Serves a listener until the context drains or is cancelled. Drain: closes the listener, serves
 * who got through, tells every client to leave (INFO with ldm), waits for those who do, then
 * delivers what has arrived and closes the rest, a few at a time. With tls (borrowed; NULL for
 * none) every client has to speak it. 0 or the listener's error.
 */
WEIR_API int weir_nats_serve(const weir_ctx *ctx, weir_nats_server *n, weir_listener *l,
                             weir_tls *tls);

/* Rights have changed: asks `renew` for every connection; who is gone is cut, subscriptions that
 * are no longer allowed end, the rest stays as it is. Any thread; never waits. */
WEIR_API void weir_nats_reload(weir_nats_server *n);

typedef struct weir_nats_stats {
	uint64_t conns, conns_total, subs;
	uint64_t in_msgs, in_bytes, out_msgs, out_bytes; /* payload */
	uint64_t slow, stale, refused;                   /* connections that were cut for it */
	uint64_t ended_in_drain, left_in_drain;          /* closed by us; by themselves */
	uint64_t lost; /* bytes that cut connections did not take */
} weir_nats_stats;
WEIR_API void weir_nats_stats_get(const weir_nats_server *n, weir_nats_stats *ret);

/* The monitoring documents of a NATS server as JSON, malloc'd: "varz", "connz", "subsz". query: as
 * in a URL ("limit=10&subs=1"), may be NULL. 0, -ENOENT, -ENOMEM. Any task. */
WEIR_API int weir_nats_monitor(weir_nats_server *n, const char *what, const char *query,
                               char **ret);

WEIR_END
#endif
