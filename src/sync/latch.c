/* SPDX-License-Identifier: MIT */
/*
 * The latch. Its one difficulty is its end: a latch on a stack may be gone as soon as a wait on it
 * has returned 0. So the last touch of weir_latch_down() is the unlocking store, waking goes by
 * nodes it has won, and a wait looks at the count only under the lock: it cannot see zero before
 * the unlock. A lock-free look at the count would be faster and wrong.
 */
#include <weir/sync.h>

#include "sync/waiter.h"

enum { LATCH_MAGIC = 0x6c61 };

struct latch {
	weir__lock lock; /* guards the rest */
	uint32_t magic;
	uint32_t left;
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
	struct weir__list won;

	weir__assert(l->magic == LATCH_MAGIC, "weir_latch_down: not a latch");
	weir__list_init(&won);
	weir__lock_acquire(&l->lock);
	weir__assert(l->left > 0, "weir_latch_down: the latch is open already");
	if (--l->left == 0)
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
	if (l->left > 0)
		return weir__waiter_park(ctx, &l->waiters, &l->lock, NULL, "latch", l);
	weir__lock_release(&l->lock);
	return 0;
}
