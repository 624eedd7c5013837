/* SPDX-License-Identifier: MIT */
/*
 * A broker that is elsewhere: what a bus does through it in place of its own index. One per bus;
 * subscriptions keep its memory, since one that is followed may outlive its bus.
 */
#ifndef WEIR_BUS_REMOTE_H
#define WEIR_BUS_REMOTE_H

#include <weir/bus.h>

struct weir__bus_msg;
struct weir__remote_ops;

struct weir__remote {
	const struct weir__remote_ops *ops;
	uint32_t refs; /* atomic */
};

struct weir__remote_ops {
	/* Takes a reference on m. Waits for room while connected. 0; -ENOBUFS: not connected, and
	 * what is kept meanwhile is full; -EMSGSIZE; -EPIPE; the context's error.
	 * `more`: others follow at once, and it may wait for some of them, or the kick, to
	 * begin. */
	int (*publish)(const weir_ctx *ctx, struct weir__remote *r, struct weir__bus_msg *m,
	               bool more);
	void (*kick)(struct weir__remote *r);
	/* A round trip: all before it has been taken over there, and what came back has been queued
	 * here. 0, -EPIPE, or the context's error; -ECONNRESET: what was published before may be
	 * lost (told once). Without `reports` that is not told, and -ENOTCONN ends the wait. */
	int (*flush)(const weir_ctx *ctx, struct weir__remote *r, bool reports);
	/* Live when it returns; takes a reference. 0, -ENOMEM, -EACCES, -EPIPE, or the context's
	 * error. */
	int (*add)(const weir_ctx *ctx, struct weir__remote *r, weir_sub *s);
	/* Fine when it is not in. Never waits; any thread. */
	void (*remove)(struct weir__remote *r, weir_sub *s);
	/* Subjects that begin so come back to this bus: its inboxes. */
	const char *(*inbox)(struct weir__remote *r);
	/* Ends it; without a context at once. How many messages were never handed over. */
	uint64_t (*close)(const weir_ctx *ctx, struct weir__remote *r);
	void (*stats)(struct weir__remote *r, weir_bus_stats *ret);
	/* Bytes of headers and payload that it takes in one message, as it last said. */
	size_t (*payload_max)(struct weir__remote *r);
	void (*free)(struct weir__remote *r); /* the last reference is gone */
};

/* For "nats://…" and "tls://…". `local` is the broker that inboxes are found in. -EPROTONOSUPPORT
 * when built without. */
struct weir__broker;
int weir__cluster_open(const weir_ctx *ctx, const char *url, struct weir__broker *local,
                       struct weir__remote **ret);

static inline struct weir__remote *weir__remote_ref(struct weir__remote *r)
{
	__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
	return r;
}

static inline void weir__remote_unref(struct weir__remote *r)
{
	if (r && __atomic_fetch_sub(&r->refs, 1, __ATOMIC_ACQ_REL) == 1)
		r->ops->free(r);
}

#endif
