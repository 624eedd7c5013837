/* SPDX-License-Identifier: MIT */
/*
 * The latch. Its one difficulty is its end: a latch on a stack may be gone as soon as a wait on it
 * has returned 0. So the last touch of weir_latch_down() is the unlocking store, waking goes by
 * nodes it has won, and a wait looks at the count only under the lock: it cannot see zero before
 * the unlock. A lock-free look at the count would be faster and wrong. Not so a count that leaves
 * something over: no wait can have returned meanwhile, so all but the last go without the lock, in
 * which a million tasks of two workers would meet.
 */
#include <weir/sync.h>

#include "sync/waiter.h"

enum { LATCH_MAGIC = 0x6c61 };

struct latch {
	weir__lock lock; /* guards the rest */
	uint32_t magic;
	uint32_t left; /* atomic: the step to 0 is taken under the lock */
	struct weir__list waiters;
};
_Static_assert(sizeof(struct latch) <= sizeof(weir_latch), "a latch fits in its public struct");

static struct latch *inner(weir_latch *l)
{
	return (struct latch *)(void *)l;
}

void weir_latch_init(weir_latch *public, unsigned n)
{
	struct latch *l = inner(public);

	*l = (struct latch){ .magic = LATCH_MAGIC, .left = n };
	weir__list_init(&l->waiters);
}

void weir_latch_down(weir_latch *public)
{
	struct latch *l = inner(public);
	uint32_t left = __atomic_load_n(&l->left, __ATOMIC_RELAXED);
	struct weir__list won;

	weir__assert(l->magic == LATCH_MAGIC, "weir_latch_down: not a latch");
	while (left > 1) {
		weir__point();
		if (__atomic_compare_exchange_n(&l->left, &left, left - 1, true, __ATOMIC_ACQ_REL,
		                                __ATOMIC_RELAXED))
			return;
	}
	weir__list_init(&won);
	weir__lock_acquire(&l->lock);
	left = __atomic_fetch_sub(&l->left, 1, __ATOMIC_ACQ_REL);
	weir__assert(left > 0, "weir_latch_down: the latch is open already");
	if (left == 1)
		weir__waiter_claim_all(&l->waiters, 0, false, &won);
	weir__lock_release(&l->lock);
	weir__waiter_wake_all(&won);
}

int weir_latch_wait(const weir_ctx *ctx, weir_latch *public)
{
	struct latch *l = inner(public);
	int r;

	weir__assert(l->magic == LATCH_MAGIC, "weir_latch_wait: not a latch");
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	weir__lock_acquire(&l->lock);
	if (__atomic_load_n(&l->left, __ATOMIC_ACQUIRE) > 0)
		return weir__waiter_park(ctx, &l->waiters, &l->lock, NULL, "latch", l);
	weir__lock_release(&l->lock);
	return 0;
}
