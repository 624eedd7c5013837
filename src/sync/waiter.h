/* SPDX-License-Identifier: MIT */
/*
 * The node by which a waiting task stands in the queue of a channel, port, latch, mutex or
 * semaphore. It lives on the waiting task's stack (a select's nodes in its weir_cases), so a wait
 * allocates nothing.
 *
 * Invariants: a node is linked and unlinked only under the lock of the object it waits on. Whoever
 * pops a node must try to claim its wait under that same lock, for after the unlock a loser's
 * waiter may be gone. Who claimed it may touch the node until weir__wait_wake(), and nothing after.
 */
#ifndef WEIR_SYNC_WAITER_H
#define WEIR_SYNC_WAITER_H

#include "base/list.h"
#include "rt/task.h"

/*
 * tests/sync/planted.c compiles these files with bugs planted here, to see that the race tests
 * find them. In the library there are none.
 */
#ifndef WEIR__PLANT
#define WEIR__PLANT(bug) false
#endif

struct weir__waiter {
	struct weir__list link;
	struct weir__wait *wait; /* a select's nodes share one */
	union {
		void *data;     /* where the value is, or is to go */
		uint64_t value; /* the value itself: see weir__waiter_place() */
	};
	int index;  /* what the wait is claimed with: a select's case, else 0 */
	bool local; /* linked by the owner of a biased lock, for a wait on nothing else */
	bool carries; /* a small value, so that another worker need touch no further line of the cache */
};

/* A node and its wait in one line, for who waits in one queue that other workers use. */
struct weir__alone {
	struct weir__waiter node;
	struct weir__wait wait;
} __attribute__((aligned(WEIR__CACHE_LINE)));
_Static_assert(sizeof(struct weir__alone) == WEIR__CACHE_LINE, "one line");

/* Where its value is, or is to go. */
static inline void *weir__waiter_place(struct weir__waiter *n)
{
	return weir__unlikely(n->carries) ? &n->value : n->data;
}

/*
 * Pops until one claim wins: the node, or NULL when nobody waits. `add` is added to its index.
 * `owned`: the lock is held as its owner (so there is no simulation); then only this thread can
 * claim the wait of a local node, and need not compete.
 */
static inline struct weir__waiter *weir__waiter_claim_as(struct weir__list *queue, int add,
                                                         bool owned)
{
	struct weir__list *link;

	for (;;) {
		struct weir__waiter *n;

		if (!owned)
			weir__fetch_to_write(queue->next); /* It is written to, too. */
		link = weir__list_pop(queue);
		if (!link)
			return NULL;
		n = weir__container(link, struct weir__waiter, link);
		if (!owned   ? weir__wait_claim(n->wait, n->index + add) :
		    n->local ? weir__wait_claim_local(n->wait, n->index + add) :
		               weir__wait_claim_bare(n->wait, n->index + add))
			return n;
		if (WEIR__PLANT(LOST_WAKEUP))
			return NULL;
	}
}

static inline struct weir__waiter *weir__waiter_claim(struct weir__list *queue, int add)
{
	return weir__waiter_claim_as(queue, add, false);
}

/*
 * Claims all. Those of this worker are readied at once, since none of them runs before the caller
 * waits or returns, and each of very many is touched once only; the others are gathered in `won`,
 * in runs of one worker, for weir__waiter_wake_all() after the unlock. `early`: a full run goes at
 * once, which is safe where who frees the object takes its lock before.
 */
void weir__waiter_claim_all(struct weir__list *queue, int add, bool early, struct weir__list *won);
void weir__waiter_wake_all(struct weir__list *won);

/* Unlinks a node after its wait was claimed by somebody who did not pop it. */
static inline void weir__waiter_leave(struct weir__waiter *n, weir__lock *lock)
{
	weir__lock_acquire(lock);
	if (weir__list_linked(&n->link))
		weir__list_remove(&n->link);
	weir__lock_release(lock);
}

/*
 * The whole wait of who stands in one queue: with the lock held, appends a node, unlocks and parks.
 * The claim's value, or the context's error, after which the node is unlinked.
 */
static inline int weir__waiter_park(const weir_ctx *ctx, struct weir__list *queue, weir__lock *lock,
                                    void *data, const char *what, const void *on)
{
	struct weir__wait wait;
	struct weir__waiter n = { .wait = &wait, .data = data };
	int r;

	weir__wait_init(&wait);
	weir__list_append(queue, &n.link);
	weir__lock_release(lock);
	r = weir__wait_park(&wait, ctx, what, on);
	if (r < 0)
		weir__waiter_leave(&n, lock);
	return r;
}

#endif
