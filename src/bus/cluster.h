/* SPDX-License-Identifier: MIT */
/* What the files of the cluster adapter share. cluster.c says how it works. */
#ifndef WEIR_BUS_CLUSTER_H
#define WEIR_BUS_CLUSTER_H

#include <nats/nats.h>
#include <pthread.h>
#include <semaphore.h>

#include "bus/bus.h"
#include "bus/remote.h"

/* One subscription of the cluster, and those of this bus that it feeds. */
struct weir__shared {
	struct weir__hash_node node; /* in k->plain unless it has a queue; under the lock */
	struct weir__list link;      /* in k->all, later in k->ended; under the lock */
	uint32_t refs; /* atomic: the index's (later the list of ended's), the ring's, each ns's */
	struct weir__cluster *k;
	char *subject, *queue;
	struct weir__list users; /* their target.entry.link; under the lock */
	uint64_t seq;            /* live once so much is confirmed; under the lock */
	int error;               /* why it cannot be; under the lock */

	/* The thread's alone. */
	struct weir__list mine; /* in k->made */
	natsSubscription *ns;
	int64_t dropped; /* by nats.c, as last seen */
	bool over;
};

/* What the thread is to do. Both NULL: send a mark. */
struct weir__order {
	struct weir__bus_msg *msg;
	struct weir__shared *sub; /* with a reference */
};

enum {
	WEIR__ORDERS = 1 << 16,
	WEIR__SPENT = 64,
};

/* The last token of a mark's subject. Those who follow ">" are not shown them. */
#define WEIR__MARK "weir-mark"

struct weir__cluster {
	struct weir__remote remote; /* refs: the bus, its subscriptions, the thread */
	char *url;
	struct weir__broker *local; /* whose index finds the inboxes; and the counters */
	char inbox[32];             /* "_INBOX.….": what all inboxes begin with */
	sem_t wake;
	pthread_t thread;

	weir__lock lock; /* guards the rest */
	struct weir__hash_table plain;
	struct weir__list all, ended, waiters;
	struct weir__order *ring;
	size_t head, n, bytes, bytes_max;
	size_t foreign; /* connections and subscriptions of which nats.c has not said its last */
	bool sleeping;  /* the thread, for want of orders */
	bool up, given_up, stop, done, slow;
	size_t payload_max;      /* atomic: what the server said */
	bool remark;             /* a mark is due, since one may have been lost */
	int opened;              /* 1, or why it could not be; 0: not yet */
	int error;               /* from then on nothing works */
	uint64_t pushed, handed; /* orders */
	uint64_t sent; /* messages; atomic, written by the thread alone, without the lock */
	uint64_t sent_confirmed;
	uint64_t confirmed;                        /* orders before the last mark that came back */
	uint64_t sent_marked;                      /* messages before the last mark that went out */
	uint64_t lost, lost_told, refused, unsent; /* messages */
	uint64_t connects;
	uint64_t stuck; /* in this connection handing over has failed; 0: in none */
	int64_t down_at;
	natsConnection *nc; /* written by the thread, which reads it without the lock */

	/* Guards these, which are to be destroyed; none of ours is locked under it. */
	weir__lock spent_lock;
	natsMsg *spent[WEIR__SPENT];
	size_t n_spent, spent_bytes;

	/* The thread's alone. */
	natsOptions *opts;
	natsSubscription *inbox_ns;
	struct weir__list made;
	int64_t joined_at; /* when a connection was last made in place of another */
};

/* cluster.c */
void weir__shared_unref(struct weir__shared *sh);
/* Releases the lock; all who wait look again, and the thread. */
void weir__cluster_wake(struct weir__cluster *k);
/* Releases the lock; the thread looks again. */
void weir__cluster_work(struct weir__cluster *k);
/* One more, or one less, that nats.c refers to. */
void weir__cluster_lend(struct weir__cluster *k);
void weir__cluster_returned(struct weir__cluster *k);

/* cluster_in.c: what nats.c calls, on threads of its own. */
natsStatus weir__cluster_callbacks(natsOptions *o, struct weir__cluster *k);
void weir__cluster_on_message(natsConnection *nc, natsSubscription *ns, natsMsg *m, void *shared);
void weir__cluster_on_inbox(natsConnection *nc, natsSubscription *ns, natsMsg *m, void *cluster);
/* The connection is there, is gone. */
void weir__cluster_up(struct weir__cluster *k, natsConnection *nc);
void weir__cluster_down(struct weir__cluster *k, const char *why);

/* cluster_thread.c */
void *weir__cluster_run(void *cluster);

/* cluster_url.c: "nats://[user:pass@]a:4222,b:4222?creds=FILE&…" as options for nats.c; *ret_bytes
 * is what may wait for a connection. 0, -EINVAL after a word in the log, or -ENOMEM. */
int weir__cluster_options(const char *url, natsOptions **ret, size_t *ret_bytes);

/* cluster_msg.c: into and out of nats.c's form. NULL without memory. */
natsMsg *weir__cluster_msg_out(const struct weir__bus_msg *m);
struct weir__bus_msg *weir__cluster_msg_in(natsMsg *m);
/* To destroy a message. nats.c has a thread of its own free them, and wakes it for each that is
 * destroyed while that sleeps: so some are kept, and destroyed together. Any thread. */
void weir__cluster_spend(struct weir__cluster *k, natsMsg *m);
void weir__cluster_forget_spent(struct weir__cluster *k); /* all that are kept */

#endif
