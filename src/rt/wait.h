/* SPDX-License-Identifier: MIT */
/*
 * The wait: one token on the waiting task's stack for which channel, timer, stop and poller race;
 * exactly one wins.
 *
 * The shape of every call that can wait:
 *
 *	r = weir__wait_check(ctx);              stop comes before data
 *	if (r < 0)
 *		return r;
 *	weir__lock_acquire(&obj->lock);
 *	if (ready) { take it; release; return; }
 *	weir__wait_init(&w);
 *	link a node holding &w into obj's queue
 *	weir__lock_release(&obj->lock);
 *	r = weir__wait_park(&w, ctx, "chan recv", obj);
 *	if (r < 0 and the node may still be linked) { acquire; unlink if linked; release; }
 *
 * and of every waker, under obj's lock:
 *
 *	for each node: unlink it (mark it unlinked) and try weir__wait_claim(node->wait, 1);
 *	the one that won: copy the value to or from the waiter's stack; release the lock;
 *	weir__wait_wake(node->wait)
 *
 * Winner: unlink, claim, copy, unlock, wake, then touch nothing of the waiter. Loser: after the
 * unlock the waiter may be gone. The waiter returns only when its nodes are unlinked, and only
 * after its winner's wake. Unlocking before the park is safe, since a wake that comes first is
 * found in the worker's inbox after the switch.
 */
#ifndef WEIR_RT_WAIT_H
#define WEIR_RT_WAIT_H

#include <weir/ctx.h>

#include "rt/lock.h"

typedef struct weir__task weir__task;

#define WEIR__OPEN INT32_MIN

/* Who wakes it from another worker touches nothing else of the task: the wait itself is put into
 * the inbox. */
struct weir__wait {
	weir__task *task;
	struct weir__msg *next; /* in its worker's inbox */
	int32_t claim;          /* WEIR__OPEN, or the value of who won; accessed atomically */
	int32_t worker;         /* its task's */
};

/* 0, or the stop code with which a wait under ctx ends at once. The deadline is not looked at. */
int weir__wait_check(const weir_ctx *ctx);

/* For the current task. */
void weir__wait_init(struct weir__wait *w);

/* Suspends the task until the wait is claimed; the claim's value (>= 0 from wakers), or the
 * context's error. `what` is static text for the dump ("chan recv"), `on` the object. */
int weir__wait_park(struct weir__wait *w, const weir_ctx *ctx, const char *what, const void *on);

/* The same without a context, for joins: only wakers end it. */
int weir__wait_park_hard(struct weir__wait *w, const char *what, const void *on);

/* One CAS; whoever gets true must call weir__wait_wake() once it has left all locks. */
static inline bool weir__wait_claim_bare(struct weir__wait *w, int value)
{
	int32_t open = WEIR__OPEN;

	return __atomic_compare_exchange_n(&w->claim, &open, value, false, __ATOMIC_ACQ_REL,
	                                   __ATOMIC_ACQUIRE);
}

static inline bool weir__wait_claim(struct weir__wait *w, int value)
{
	weir__point();
	return weir__wait_claim_bare(w, value);
}

/* The same where all who could claim it run on this thread. */
static inline bool weir__wait_claim_local(struct weir__wait *w, int value)
{
	if (__atomic_load_n(&w->claim, __ATOMIC_RELAXED) != WEIR__OPEN)
		return false;
	__atomic_store_n(&w->claim, value, __ATOMIC_RELAXED);
	return true;
}

/* Any thread. */
void weir__wait_wake(struct weir__wait *w);

#endif
