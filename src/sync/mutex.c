/* SPDX-License-Identifier: MIT */
/*
 * The mutex. Barging: unlock makes the mutex free and wakes the first waiter, who tries again with
 * whoever else comes; a running task may thus take and give it many times without a switch. Who has
 * waited for 1 ms gets it handed over instead, so nobody starves.
 *
 * `state` is HELD, WAITERS, both or 0. A mutex that one worker uses is biased (rt/bias.h): lock and
 * unlock are plain loads and stores by that worker inside its bias. When a second one has come the
 * bias is over for ever, and without WAITERS both are one CAS each. All else goes through the
 * biased lock as the inner lock, which guards the queue, and everything does while it is still open
 * whether there will be a bias. So `state` changes under the inner lock, or by CAS once that is
 * shared for ever.
 *
 * WAITERS is set and cleared only under the inner lock, and cleared only by who takes the mutex, so
 * that a slow unlocker's last touch is its leaving the inner lock, which the next holder passes
 * through: whoever has the mutex next may free it. After the owner's fast unlock a stranger waits
 * in the same way until the owner is out.
 *
 * No wake-up is lost: a waiter woken to try again first looks whether the mutex is free, then
 * queues (at the head, where it was) and only then can its context end it; until then the mutex is
 * held by somebody who will see WAITERS.
 */
#include <weir/sync.h>

#include "rt/task.h"
#include "sync/waiter.h"

enum { MUTEX_MAGIC = 0x6d78 };
enum { HELD = 1, WAITERS = 2 };
enum { RETRY = 0, HANDED = 1 }; /* what a waiter's wait is claimed with */

static const int64_t patience_ns = WEIR_MS(1);

struct mutex {
	uint16_t state; /* accessed atomically */
	uint16_t magic;
	struct weir__bias bias; /* the inner lock */
	struct weir__list waiters;
};
_Static_assert(sizeof(struct mutex) <= sizeof(weir_mutex), "a mutex fits in its public struct");

struct mutex_waiter {
	struct weir__waiter base;
	int64_t since_ns;
};

static struct mutex *inner(weir_mutex *m)
{
	struct mutex *in = (struct mutex *)(void *)m;

	weir__assert(in->magic == MUTEX_MAGIC, "weir_mutex: not a mutex");
	return in;
}

void weir_mutex_init(weir_mutex *public)
{
	struct mutex *m = (struct mutex *)(void *)public;

	*m = (struct mutex){ .magic = MUTEX_MAGIC };
	weir__bias_init(&m->bias);
	m->bias.once = true;
	weir__list_init(&m->waiters);
}

static void enter(struct mutex *m)
{
	int self = weir__here();

	if (weir__bias_enter(&m->bias, self))
		return;
	if (weir__bias_shared(&m->bias))
		weir__lock_acquire(&m->bias.lock); /* Whose turn it is, is the mutex's affair. */
	else
		weir__bias_acquire_slow(&m->bias, self);
}

static void leave(struct mutex *m)
{
	weir__bias_release(&m->bias, weir__here());
}

/* Changes the state at once, or does nothing: false. */
static inline __attribute__((always_inline)) bool at_once(struct mutex *m, uint16_t from,
                                                          uint16_t to)
{
	bool can;

	if (weir__likely(weir__bias_enter(&m->bias, weir__here()))) {
		can = __atomic_load_n(&m->state, __ATOMIC_RELAXED) == from;
		if (weir__likely(can))
			__atomic_store_n(&m->state, to, __ATOMIC_RELAXED);
		weir__bias_exit(&m->bias);
		return can;
	}
	return weir__bias_shared(&m->bias) &&
	       __atomic_compare_exchange_n(&m->state, &from, to, false, __ATOMIC_ACQ_REL,
	                                   __ATOMIC_RELAXED);
}

/* Under the inner lock. */
static bool change(struct mutex *m, uint16_t from, uint16_t to)
{
	weir__point();
	return __atomic_compare_exchange_n(&m->state, &from, to, false, __ATOMIC_ACQ_REL,
	                                   __ATOMIC_RELAXED);
}

/* Under the inner lock: takes the mutex if it is free, else announces a waiter. */
static bool take_or_announce(struct mutex *m)
{
	uint16_t waiters = weir__list_empty(&m->waiters) ? 0 : WAITERS;

	for (;;) {
		uint16_t state = __atomic_load_n(&m->state, __ATOMIC_RELAXED);

		if (!(state & HELD)) {
			if (change(m, state, (uint16_t)(HELD | waiters)))
				return true;
		} else if (change(m, state, HELD | WAITERS)) {
			return false;
		}
	}
}

static __attribute__((noinline)) int lock_slow(const weir_ctx *ctx, struct mutex *m)
{
	struct weir__wait wait;
	struct mutex_waiter n = { .base.wait = &wait };
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	for (;;) {
		enter(m);
		if (take_or_announce(m)) {
			leave(m);
			return 0;
		}
		weir__wait_init(&wait);
		if (n.since_ns == 0) {
			n.since_ns = weir_now();
			weir__list_append(&m->waiters, &n.base.link);
		} else {
			weir__list_prepend(&m->waiters, &n.base.link);
		}
		leave(m);
		r = weir__wait_park(&wait, ctx, "mutex", m);
		if (r == HANDED)
			return 0;
		if (r < 0) {
			enter(m);
			if (weir__list_linked(&n.base.link))
				weir__list_remove(&n.base.link);
			leave(m);
			return r;
		}
	}
}

/* Both fast paths call nothing but the slow one, last. */
int weir_mutex_lock(const weir_ctx *ctx, weir_mutex *public)
{
	struct mutex *m = inner(public);

	if (weir__likely(weir__wait_at_once(weir__current(), ctx)) &&
	    weir__likely(at_once(m, 0, HELD)))
		return 0;
	return lock_slow(ctx, m);
}

int weir_mutex_try_lock(weir_mutex *public)
{
	struct mutex *m = inner(public);
	bool got;

	weir__point();
	if (at_once(m, 0, HELD))
		return 0;
	if (__atomic_load_n(&m->state, __ATOMIC_RELAXED) & HELD)
		return -EAGAIN;
	/* Free, but only the inner lock tells whether somebody still waits, or who is the owner. */
	enter(m);
	got = !(__atomic_load_n(&m->state, __ATOMIC_RELAXED) & HELD) && take_or_announce(m);
	leave(m);
	return got ? 0 : -EAGAIN;
}

/* Pops the first open waiter and claims it, for a hand-off if its patience has run out. */
static struct mutex_waiter *claim_first(struct mutex *m, int *ret_how)
{
	struct weir__list *link;

	while ((link = weir__list_pop(&m->waiters))) {
		struct weir__waiter *base = weir__container(link, struct weir__waiter, link);
		struct mutex_waiter *n = weir__container(base, struct mutex_waiter, base);

		*ret_how = weir_now() - n->since_ns >= patience_ns ? HANDED : RETRY;
		if (weir__wait_claim(base->wait, *ret_how))
			return n;
	}
	return NULL;
}

static __attribute__((noinline)) void unlock_slow(struct mutex *m)
{
	struct mutex_waiter *n;
	int how = RETRY;

	weir__point();
	if (at_once(m, HELD, 0))
		return;
	enter(m);
	weir__assert(__atomic_load_n(&m->state, __ATOMIC_RELAXED) & HELD,
	             "weir_mutex_unlock: the mutex is not locked");
	n = claim_first(m, &how);
	if (!n || how == RETRY)
		__atomic_store_n(&m->state, WAITERS, __ATOMIC_RELEASE);
	leave(m);
	if (n)
		weir__wait_wake(n->base.wait);
}

void weir_mutex_unlock(weir_mutex *public)
{
	struct mutex *m = inner(public);

	if (weir__unlikely(weir__simulating) || weir__unlikely(!at_once(m, HELD, 0)))
		unlock_slow(m);
}
