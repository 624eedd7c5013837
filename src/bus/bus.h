/* SPDX-License-Identifier: MIT */
/* What the files of the bus share: messages, brokers, subscriptions. Who guards what is said at
 * each field. */
#ifndef WEIR_BUS_BUS_H
#define WEIR_BUS_BUS_H

#include <weir/bus.h>

#include "bus/cache.h"
#include "bus/remote.h"
#include "bus/trie.h"
#include "rt/lock.h"
#include "rt/wait.h"

enum {
	WEIR__BUS_PAYLOAD_MAX = 1 << 20,
	/* "NATS/1.0", the empty line behind headers, and a line's end that may be missing: counted
	 * with them by a NATS server */
	WEIR__BUS_FRAME = 14,
};

/* A message, encoded once and shared by reference count between all queues that hold it.
 * Immutable. */
struct weir__bus_msg {
	uint32_t refs; /* atomic */
	size_t cost;   /* bytes it holds: what pending_bytes counts */
	size_t len;
	const char *reply, *headers, *data;
	bool no_responders; /* the cluster's answer that there are none */
	char subject[];
};

/* NULL without memory. */
struct weir__bus_msg *weir__bus_msg_new(const weir_msg *m);
void weir__bus_msg_ref(struct weir__bus_msg *m);
void weir__bus_msg_unref(struct weir__bus_msg *m);

/* The broker: what "mem:name" names. Shared by the buses that opened it; their subscriptions
 * keep its memory. */
struct weir__broker {
	struct weir__list link; /* in the registry while a bus has it open; under that lock */
	char *name;             /* NULL: not shared */
	size_t buses;           /* under that lock, too */
	uint32_t refs;          /* atomic */
	weir__lock lock;        /* guards the rest; held while nothing else is locked */
	struct weir__trie trie;
	struct weir__cache cache; /* of what the trie found */
	uint64_t
		generation; /* atomic: changes with the index, so that who keeps what a subject found
	                      * knows whether it still holds */
	size_t subs;
	uint64_t published, bytes;
	uint64_t delivered, dropped; /* atomic */
};

/*
 * What the index finds: a subscription of this process, with its queue (ops NULL), or somebody
 * else's way to take messages, such as a connection of the NATS listener. A publisher that has
 * found one holds a reference while it delivers.
 */
struct weir__target {
	struct weir__trie_entry entry; /* under the broker's lock */
	const struct weir__target_ops *ops;
	const char *queue; /* NULL: no group */
	uint32_t refs;     /* atomic; one of the index while it is in there */
};

struct weir__target_ops {
	/* On any worker, never waits, keeps its own reference on m if it needs one. 1: taken; 0:
	 * dropped and counted there; -EPIPE: takes no more; with `only_room` -EAGAIN in place of a
	 * drop. */
	int (*push)(struct weir__target *t, struct weir__bus_msg *m, bool only_room);
	void (*free)(struct weir__target *t); /* the last reference is gone */
};

static inline void weir__target_ref(struct weir__target *t)
{
	__atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
}
void weir__target_unref(struct weir__target *t);

/* What a subject finds, each with a reference. */
struct weir__hits {
	struct weir__target *few[16], **all;
	size_t n, cap;
	size_t dropped; /* what full queues lost by it: this message, or others in its favour */
	bool failed;    /* no memory for all of them */
};

#define WEIR__BUS_MAGIC 0x77627573u
#define WEIR__SUB_MAGIC 0x77737562u

struct weir_bus {
	uint32_t magic;
	struct weir__broker *broker;
	struct weir__remote *remote; /* NULL: the broker is all there is; else it finds inboxes */
	weir_group group;
	/* Under the broker's lock; the flags are also read without. */
	struct weir__list subs;
	bool draining, closed;
};

enum weir__sub_state {
	WEIR__SUB_OPEN,
	WEIR__SUB_DRAINING, /* takes no more; what is in the queue is delivered */
	WEIR__SUB_ENDED,    /* empty, and no handler will run any more */
};

/*
 * References: one of the user (or of the bus), one of the index while it is in there, one of the
 * handler's task, and those of publishers which have found it and are about to deliver. The memory
 * goes with the last; the bus may be gone by then.
 */
struct weir_sub {
	uint32_t magic;
	struct weir__target target;
	weir_bus *bus; /* may be gone unless there is a handler; not to be touched by publishers */
	struct weir__broker *broker;
	struct weir__remote *remote; /* in whose index it is; NULL: the broker's */
	struct weir__shared *shared; /* the remote's */
	struct weir__list link;      /* in bus->subs until it is closed; under the broker's lock */
	bool bus_consumes;           /* its bus is being closed; under the broker's lock */
	weir_msg_fn *fn;             /* NULL: followed */
	void *arg;
	char *subject, *ack_subject;
	size_t pending_max, pending_bytes_max;
	enum weir_sub_overflow overflow;
	int64_t block_ns;
	uint64_t max;

	weir__lock lock; /* guards the rest; nothing is locked under it */
	enum weir__sub_state state;
	struct weir__bus_msg **ring;
	size_t ring_cap, head, count, bytes;
	struct weir__bus_msg *current; /* what the last next() gave */
	uint64_t accepted, handled, failed, dropped;
	struct weir__list reader, writers, counters, joiners; /* of waiters */
	weir__task *task;  /* runs the handler; written under the lock, read also without */
	weir_scope *scope; /* of that task; NULL before and after */
	int begun;         /* 1, or why it could not; 0: not yet */
	bool cancelled, cancelling;
};

int weir__sub_new(weir_bus *b, const char *subject, const weir_sub_options *opt, weir_msg_fn *fn,
                  void *arg, weir_sub **ret);
void weir__sub_ref(weir_sub *s);
void weir__sub_unref(weir_sub *s);
void weir__sub_free(weir_sub *s); /* for weir__target_unref() only */

/*
 * Put a message into the queue. 1 + how many others it pushed out; 0: dropped; -EPIPE: takes no
 * more; the context's error under BLOCK; with `only_room` never drops and never waits: -EAGAIN when
 * full.
 */
int weir__sub_push(const weir_ctx *ctx, weir_sub *s, struct weir__bus_msg *m, bool only_room);

/* Take the oldest; the caller gets its reference. 1, 0 (ended), -EBUSY or the context's error. */
int weir__sub_take(const weir_ctx *ctx, weir_sub *s, struct weir__bus_msg **ret);

/* Wait until `want` messages are queued (no more than half of what it may hold), and take up to
 * `max` of what is there, which count as handled; the caller gets the references. When the wait
 * ends early, those that had come. How many; 0 (ended), -EBUSY or the context's error. */
int weir__sub_gather(const weir_ctx *ctx, weir_sub *s, size_t want, struct weir__bus_msg **ret,
                     size_t max);

/* Stop taking; with `discard` the queue is emptied too, and the handler cancelled. Never waits. */
void weir__sub_end(weir_sub *s, bool discard);

/* Wait for the handler to end; the context's end cancels it. */
void weir__sub_join(const weir_ctx *ctx, weir_sub *s);

/* The handler's task, and to wait until it has begun: 0, -ENOMEM, or the context's error. */
int weir__sub_run(const weir_ctx *ctx, void *arg);
int weir__sub_begin(const weir_ctx *ctx, weir_sub *s);
/* There will be no task. */
void weir__sub_fail(weir_sub *s, int r);

bool weir__sub_open(weir_sub *s);
/* Out of the index, or the remote's. */
void weir__sub_unindex(weir_sub *s);

/* Is the caller this subscription's handler? */
bool weir__sub_inside(const weir_sub *s);

/* Adds to a report: before its end begins, and when it has ended. */
void weir__sub_report(weir_sub *s, weir_bus_report *r, bool before);

void weir__sub_msg(weir_sub *s, struct weir__bus_msg *m, weir_msg *ret);

/* weir_bus_publish_told(). */
int weir__bus_send(const weir_ctx *ctx, weir_bus *b, const weir_msg *m, weir_bus_receipt *ret);

/* weir_bus_publish_msg() for many: they may not go out before weir__bus_kick(), with which whoever
 * calls the first ends, however far he came. */
int weir__bus_publish_more(const weir_ctx *ctx, weir_bus *b, const weir_msg *m);
void weir__bus_kick(weir_bus *b);

/* Bytes of headers and payload in one message: a NATS server may take fewer than we do. */
size_t weir__bus_payload_max(const weir_bus *b);

void weir__broker_ref(struct weir__broker *k);
void weir__broker_unref(struct weir__broker *k);

/* Into and out of the broker's index. 0 or -ENOMEM; the second is fine when it is not in. */
int weir__broker_add(struct weir__broker *k, struct weir__target *t, const char *pattern);
void weir__broker_remove(struct weir__broker *k, struct weir__target *t);

/* Who is to get a message on this subject, into *h, which weir__hits_free() empties. So many
 * messages and bytes are counted as published. */
void weir__broker_match(struct weir__broker *k, const char *subject, uint64_t published,
                        uint64_t bytes, struct weir__hits *h);
/* By hand. */
void weir__hits_init(struct weir__hits *h);
void weir__hits_add(struct weir__hits *h, struct weir__target *t);
void weir__hits_free(struct weir__hits *h);
/* From the i-th on: brings the members of its queue group behind it. How many they are, with it; 1
 * without a group. */
size_t weir__hits_group(struct weir__hits *h, size_t i);
/* To all of them, of a group to one. How many got it, or the error of a BLOCK subscriber. */
int weir__hits_push(const weir_ctx *ctx, struct weir__hits *h, struct weir__bus_msg *m);

/* Messages that were published without weir__broker_match(), and deliveries without
 * weir__bus_send(). */
void weir__broker_count(struct weir__broker *k, uint64_t published, uint64_t bytes,
                        uint64_t delivered);
/* Messages that got lost on the way to those who had subscribed. */
void weir__broker_drop(struct weir__broker *k, uint64_t n);

#endif
