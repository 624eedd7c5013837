/* SPDX-License-Identifier: MIT */
/*
 * A bus carries messages by subject: "orders.new". Subscriptions may hold wildcards: "orders.*"
 * (one token), "orders.>" (one or more, last). At most once, in order per publisher.
 *
 *	r = weir_bus_open(ctx, "mem:", &bus);
 *	r = weir_bus_subscribe(ctx, bus, "orders.*", on_order, &state, &sub);
 *	r = weir_bus_publish(ctx, bus, "orders.new", "42", 2);
 *	r = weir_sub_drain(ctx, sub);          // on_order has run for all that was published before
 */
#ifndef WEIR_BUS_H
#define WEIR_BUS_H

#include <weir/group.h>

WEIR_BEGIN

typedef struct weir_bus weir_bus;
typedef struct weir_sub weir_sub;

#define WEIR_SUBJECT_MAX 1024 /* bytes */

/* Valid inside the handler, or until the next weir_sub_next() on its subscription. headers:
 * "Name: value\r\n…" or NULL. data is followed by a NUL that len does not count. */
typedef struct weir_msg {
	const char *subject, *reply, *headers;
	const void *data;
	size_t len;
	void *priv[3];
} weir_msg;

typedef int weir_msg_fn(const weir_ctx *ctx, const weir_msg *m, void *arg);

enum weir_sub_overflow {
	WEIR_SUB_DROP_OLDEST = 0,
	WEIR_SUB_DROP_NEW,
	WEIR_SUB_CLOSE,
	WEIR_SUB_BLOCK
};

typedef struct weir_sub_options {
	const char *queue;       /* queue group: one member gets each message */
	const char *ack_subject; /* where answers go for messages without a reply address */
	size_t pending_max;      /* messages; default 1024 */
	size_t pending_bytes;    /* default 8 MiB; an empty queue takes any one message */
	/* BLOCK: the publisher waits, under its context and no longer than block_ns. CLOSE: takes
	 * no more, delivers what it has. */
	enum weir_sub_overflow overflow;
	int64_t block_ns; /* 0: as long as its context lets it */
	uint64_t max;     /* takes no more after so many messages; 0: never */
} weir_sub_options;

/*
 * "mem:" is a broker of its own in this process; "mem:name" is shared by all that open the name.
 * Its tasks belong to ctx's scope, whose cancel ends them; its drain does not, since what still
 * runs may publish: the owner drains the bus when it is time. 0, -EINVAL, -EPROTONOSUPPORT,
 * -ENOMEM.
 *
 * "nats://a:4222,b:4222" is a NATS server or a cluster, "tls://…" the same with TLS. Sign in as
 * "nats://user:password@a" or "nats://token@a", by ?creds=FILE, or by ?nkey=PUBLIC&seed=FILE.
 * ?ca=FILE says whom to believe, ?cert=FILE&key=FILE who we are, ?buffer=8MiB what may wait for a
 * connection. Waits for the first one: also -ECONNREFUSED, -EACCES, -EPROTO (TLS), or the context's
 * error. From then on it connects again by itself, with all subscriptions. doc/design/bus.md says
 * what differs.
 */
WEIR_API int weir_bus_open(const weir_ctx *ctx, const char *url, weir_bus **ret);

/*
 * Deliver what has arrived to every subscription, join the handlers, and free the bus and its
 * subscriptions; one that is followed is left to its owner, who still gets what has arrived, then
 * 0, and closes it. When the context ends the handlers are cancelled, and still joined. By the task
 * that opened the bus; nobody else may be using it, but for the handlers, which may publish to the
 * end. 0, or the context's error; -ENOTCONN when messages never reached the cluster. From a handler
 * of its own: -EDEADLK.
 */
WEIR_API int weir_bus_drain(const weir_ctx *ctx, weir_bus *b);

/* What a drain did. `pending` waited when it began; `handled` and `dropped` since then, of the
 * subscriptions with a handler. */
typedef struct weir_bus_report {
	size_t subs;
	uint64_t pending, handled, dropped;
	size_t cut;      /* handlers that had to be cancelled */
	uint64_t unsent; /* messages that never reached the cluster */
} weir_bus_report;
WEIR_API int weir_bus_drain_report(const weir_ctx *ctx, weir_bus *b, weir_bus_report *ret);

/* The same without delivering: cancels the handlers; their publishing gets -EPIPE. NULL is fine. */
WEIR_API void weir_bus_close(weir_bus *b);

/* Waits only for a BLOCK subscriber that is full, and yields now and then. 0; -EINVAL (bad
 * subject: no empty token, no white space or wildcard); -EMSGSIZE (payload and headers over 1 MiB,
 * or over the max_payload of a cluster's server); -EPIPE; -ENOMEM; the context's error only under a
 * BLOCK subscriber (others may have got it). Over a cluster it waits while more is on its way than
 * may be; -ENOBUFS when there is no connection and what may wait for one is full. */
WEIR_API int weir_bus_publish(const weir_ctx *ctx, weir_bus *b, const char *subject,
                              const void *data, size_t len);
/* All of it: reply address and headers. Returns how many subscriptions got it; over a cluster,
 * which does not tell, 0. */
WEIR_API int weir_bus_publish_msg(const weir_ctx *ctx, weir_bus *b, const weir_msg *m);

/* How a message fared. All 0 over a cluster. */
typedef struct weir_bus_receipt {
	size_t found;     /* subscriptions that match, each member of a queue group counted */
	size_t delivered; /* queues that took it */
	size_t dropped;   /* messages lost to full queues by it: itself, or older for its sake */
} weir_bus_receipt;
/* The same, for who wants to know. 0 or as above; *ret is set unless the message was refused. */
WEIR_API int weir_bus_publish_told(const weir_ctx *ctx, weir_bus *b, const weir_msg *m,
                                   weir_bus_receipt *ret);

/* Live when it returns. The handler runs in a task of the subscription, one message at a time;
 * what it returns is counted and logged if < 0. 0,
 * -EINVAL, -ENOMEM, -EPIPE (the bus closes), or the context's error. */
WEIR_API int weir_bus_subscribe(const weir_ctx *ctx, weir_bus *b, const char *subject,
                                weir_msg_fn *fn, void *arg, weir_sub **ret);
WEIR_API int weir_bus_subscribe_with(const weir_ctx *ctx, weir_bus *b, const char *subject,
                                     const weir_sub_options *opt, weir_msg_fn *fn, void *arg,
                                     weir_sub **ret);

/* Synchronous: no task; take messages with weir_sub_next(), one task at a time. opt may be NULL.
 * Close or drain it before the bus or after. */
WEIR_API int weir_bus_follow(const weir_ctx *ctx, weir_bus *b, const char *subject,
                             const weir_sub_options *opt, weir_sub **ret);

/* 1, 0 when closed and empty, -EBUSY (another task waits in it), or the context's error. */
WEIR_API int weir_sub_next(const weir_ctx *ctx, weir_sub *s, weir_msg *ret);

/* Waits until n messages (since its start) have been handled, or taken by next. 0, -EPIPE (it
 * ended before), or the context's error. */
WEIR_API int weir_sub_wait(const weir_ctx *ctx, weir_sub *s, uint64_t n);

/* Take no more, deliver what has arrived, join, free. Always consumes; the context only decides
 * when the handler gets cancelled (then: its error). What a followed one still holds is dropped.
 * From its own handler: -EDEADLK, and nothing is consumed. */
WEIR_API int weir_sub_drain(const weir_ctx *ctx, weir_sub *s);
/* The same without delivering: the handler is cancelled and joined. From its own handler:
 * -EDEADLK. NULL is fine. */
WEIR_API int weir_sub_close(weir_sub *s);

/* delivered: put into the queue. dropped: by overflow, or still in the queue when it was closed. */
typedef struct weir_sub_stats {
	uint64_t delivered, handled, failed, dropped;
	size_t pending, pending_bytes;
} weir_sub_stats;
WEIR_API void weir_sub_stats_get(const weir_sub *s, weir_sub_stats *ret);

/* All that was published before has been put into its subscribers' queues; over a cluster: into
 * those of this bus, and the server has taken it over. 0 or the context's error; -ECONNRESET: a
 * connection broke, and some of what was published may be lost (told once); -EPIPE. */
WEIR_API int weir_bus_flush(const weir_ctx *ctx, weir_bus *b);

/* Ask and wait for the first answer: 1 and *ret (free with weir_msg_free), -ENETUNREACH (no
 * responders), -ENOBUFS (all of them are full and dropped it), or as weir_bus_publish(). */
WEIR_API int weir_bus_request(const weir_ctx *ctx, weir_bus *b, const char *subject,
                              const void *data, size_t len, weir_msg *ret);
WEIR_API void weir_msg_free(weir_msg *m);

/* Ask all: takes up to n answers until the context ends. How many, each to be freed with
 * weir_msg_free(): with none -ETIMEDOUT or what ended it; after a cancel -ECANCELED and none. Else
 * as weir_bus_request(). `m` may have headers; its reply address is not used. */
WEIR_API int weir_bus_request_many(const weir_ctx *ctx, weir_bus *b, const weir_msg *m,
                                   weir_msg *ret, size_t n);

/* Answer a message. -EDESTADDRREQ when it carries no reply address and its subscription named no
 * ack subject. */
WEIR_API int weir_msg_reply(const weir_ctx *ctx, const weir_msg *m, const void *data, size_t len);

/* Does a subject match a pattern? Are they well formed? Pure. */
WEIR_API bool weir_subject_match(const char *pattern, const char *subject);
WEIR_API bool weir_subject_valid(const char *subject, bool wildcards);

/* Of the broker, "mem:". Of this bus over a cluster, where `delivered` and `dropped` are those of
 * its own subscriptions. */
typedef struct weir_bus_stats {
	size_t subs;
	uint64_t published, delivered, dropped, bytes;
	bool cluster, connected;
	uint64_t reconnects;
	uint64_t maybe_lost; /* messages that were on their way when a connection broke */
	uint64_t refused;    /* messages the publisher got -ENOBUFS for, or that NATS refused */
	size_t unsent;       /* messages that wait for a connection now */
} weir_bus_stats;
/* Each subscription of this bus handle, for an operator: until fn returns something else than 0,
 * which is returned; or -ENOMEM. Subscriptions may come and go meanwhile. fn must not end one. */
typedef struct weir_sub_info {
	const char *subject, *queue;
	bool handled_by_task; /* else it is followed */
	weir_sub_stats stats;
} weir_sub_info;
WEIR_API int weir_bus_each_sub(weir_bus *b, int (*fn)(const weir_sub_info *info, void *arg),
                               void *arg);

WEIR_API void weir_bus_stats_get(const weir_bus *b, weir_bus_stats *ret);
/* May anybody hear what is published: is there a cluster, or more than `ours` subscriptions? Takes
 * no lock, for who asks often. */
WEIR_API bool weir_bus_heard(const weir_bus *b, size_t ours);

WEIR_END
#endif
