/* SPDX-License-Identifier: MIT */
/*
 * The semaphore, first come, first served: a give hands its unit to the first open waiter, so an
 * open waiter waits only while the count is 0, and nobody can overtake.
 */
#include <weir/sync.h>

#include "sync/waiter.h"

enum { SEM_MAGIC = 0x73656d };

struct sem {
	weir__lock lock; /* guards the rest */
	uint32_t magic;
	uint32_t count;
	struct weir__list waiters;
};
_Static_assert(sizeof(struct sem) <= sizeof(weir_sem), "a semaphore fits in its public struct");

static struct sem *inner(weir_sem *s)
{
	struct sem *in = (struct sem *)(void *)s;

	weir__assert(in->magic == SEM_MAGIC, "weir_sem: not a semaphore");
	return in;
}

void weir_sem_init(weir_sem *public, unsigned n)
{
	struct sem *s = (struct sem *)(void *)public;

	*s = (struct sem){ .magic = SEM_MAGIC, .count = n };
	weir__list_init(&s->waiters);
}

int weir_sem_try_take(weir_sem *public)
{
	struct sem *s = inner(public);
	bool got;

	weir__lock_acquire(&s->lock);
	got = s->count > 0;
	if (got)
		s->count--;
	weir__lock_release(&s->lock);
	return got ? 0 : -EAGAIN;
}

int weir_sem_take(const weir_ctx *ctx, weir_sem *public)
{
	struct sem *s = inner(public);
	int r;

	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	weir__lock_acquire(&s->lock);
	if (s->count == 0)
		return weir__waiter_park(ctx, &s->waiters, &s->lock, NULL, "semaphore", s);
	s->count--;
	weir__lock_release(&s->lock);
	return 0;
}

void weir_sem_give(weir_sem *public)
{
	struct sem *s = inner(public);
	struct weir__waiter *n;

	weir__lock_acquire(&s->lock);
	n = weir__waiter_claim(&s->waiters, 0);
	if (!n) {
		weir__assert(s->count < UINT32_MAX, "weir_sem_give: the count overflows");
		s->count++;
	}
	weir__lock_release(&s->lock);
	if (n)
		weir__wait_wake(n->wait);
}
