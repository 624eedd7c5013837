/* SPDX-License-Identifier: MIT */
/*
 * Select, as Go does it: with all channels of the cases locked do one that is ready, by chance; if
 * none is, stand in every channel's queue with one wait, unlock, park; the first waker's claim
 * decides; then leave the other queues.
 *
 * Invariants: all channels are locked while the cases are looked at and while the nodes are linked,
 * so nothing can become ready in between, and a select cannot meet itself when it both sends to
 * and receives from one channel: while it looks, none of its nodes is in a queue. Channels are
 * locked in the order of their ids, one that occurs twice once; if all are biased to this worker,
 * it just enters them, for that cannot block. The nodes are on the waiting task's stack.
 *
 * Rejected: one lock at a time with register, recheck and retry (crossbeam, parallel CML): no
 * deadlock to think about, but a wait then costs two rounds of all locks.
 */
#include <weir/select.h>
#include <weir/sim.h>

#include "sync/chan.h"

enum { FEW = 4 }; /* cases whose nodes cost little stack */

_Static_assert(WEIR_SELECT_MAX <= 64, "there is a bit for each case");
_Static_assert(WEIR_SELECT_MAX <= WEIR__CHAN_CLOSED, "the closed bit is none of an index");

/* Could the case be done? A queue may hold only waiters who have left, so yes means perhaps. */
static inline bool promising(const weir_case *k)
{
	const weir_chan *c = k->chan;

	return c->closed || (k->out ? weir__chan_count(c) < c->cap || !weir__list_empty(&c->recvq) :
	                              weir__chan_count(c) > 0 || !weir__list_empty(&c->sendq));
}

static void check(const weir_case *k)
{
	weir__assert(!k->in != !k->out, "weir_select: a case has no value, or two");
	weir__chan_check(k->chan, k->size, "weir_select");
}

static inline void exit_all(weir_case *cs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cs[i].chan)
			weir__bias_exit(&cs[i].chan->lock);
}

/* Locks all channels if they are this worker's own, which needs no order. *ret_ready: a bit for
 * each case that may be ready. Every case's result says first that it was not this one. */
static inline bool enter_all(weir_case *cs, size_t n, uint64_t *ret_ready)
{
	struct weir__worker *w = weir__self();
	uint64_t ready = 0;

	if (weir__unlikely(!w) || weir__unlikely(n > WEIR_SELECT_MAX))
		return false;
	for (size_t i = 0; i < n; i++) {
		weir_case *k = &cs[i];

		k->result = -EAGAIN;
		if (!k->chan)
			continue;
		if (weir__unlikely(k->chan->key != weir__chan_key(k->size)) ||
		    weir__unlikely(!weir__bias_enter(&k->chan->lock, w->index))) {
			exit_all(cs, i);
			return false;
		}
		ready |= (uint64_t)promising(k) << i;
	}
	*ret_ready = ready;
	return true;
}

/* The channels of the cases, locked in order. */
struct locked {
	uint64_t ready;
	uint8_t live, order[WEIR_SELECT_MAX];
};

static void lock_all(weir_case *cs, size_t n, struct locked *l)
{
	size_t at;

	weir__assert(n <= WEIR_SELECT_MAX, "weir_select: %zu cases, more than %d", n,
	             WEIR_SELECT_MAX);
	l->live = 0;
	l->ready = 0;
	for (size_t i = 0; i < n; i++) {
		cs[i].result = -EAGAIN;
		if (!cs[i].chan)
			continue;
		check(&cs[i]);
		for (at = l->live++; at > 0 && cs[l->order[at - 1]].chan->id > cs[i].chan->id; at--)
			l->order[at] = l->order[at - 1];
		l->order[at] = (uint8_t)i;
	}
	for (size_t i = 0; i < l->live; i++)
		if (i == 0 || cs[l->order[i]].chan != cs[l->order[i - 1]].chan)
			weir__chan_lock(cs[l->order[i]].chan);
	for (size_t i = 0; i < l->live; i++)
		l->ready |= (uint64_t)promising(&cs[l->order[i]]) << l->order[i];
}

/* l NULL: they were entered. */
static inline void unlock_all(weir_case *cs, size_t n, const struct locked *l)
{
	if (!l) {
		exit_all(cs, n);
		return;
	}
	for (size_t i = l->live; i-- > 0;)
		if (i == 0 || cs[l->order[i]].chan != cs[l->order[i - 1]].chan)
			weir__chan_unlock(cs[l->order[i]].chan);
}

/* Of the ready cases, does one, each with the same chance. Its index with its result in
 * *ret_result, or -EAGAIN. */
static __attribute__((noinline)) int do_one(weir_case *cs, uint64_t ready, int *ret_result,
                                            struct weir__wait **ret_wake)
{
	while (ready) {
		int count = __builtin_popcountll(ready), pick;
		uint64_t rest = ready;
		weir_case *k;
		bool owned;
		int r;

		for (uint32_t skip = count > 1 ? weir_random((uint32_t)count) : 0; skip > 0; skip--)
			rest &= rest - 1;
		pick = __builtin_ctzll(rest);
		k = &cs[pick];
		check(k);
		owned = weir__chan_owned(k->chan);
		r = k->out ? weir__chan_put(k->chan, k->out, k->size, owned, ret_wake) :
		             weir__chan_take(k->chan, k->in, k->size, owned, ret_wake);
		if (r != -EAGAIN) {
			*ret_result = r;
			return pick;
		}
		ready &= ~((uint64_t)1 << pick);
	}
	return -EAGAIN;
}

/* The result of the call from that of the case which was done, or whose channel is closed. */
static int done(weir_case *cs, int index, int result)
{
	cs[index].result = result;
	return result == (cs[index].out ? 0 : 1) ? index : -EPIPE;
}

/* With the channels locked: the result of the call, unlocked; or -EAGAIN, still locked. */
static inline int try_locked(weir_case *cs, size_t n, uint64_t ready, const struct locked *l)
{
	struct weir__wait *wake = NULL;
	int result, r;

	if (!ready)
		return -EAGAIN;
	r = do_one(cs, ready, &result, &wake);
	if (r < 0)
		return r;
	unlock_all(cs, n, l);
	if (wake)
		weir__wait_wake(wake);
	return done(cs, r, result);
}

static __attribute__((noinline)) int try_entered(weir_case *cs, size_t n, uint64_t ready)
{
	int r = try_locked(cs, n, ready, NULL);

	if (r == -EAGAIN)
		exit_all(cs, n);
	return r;
}

static __attribute__((noinline)) int try_any(weir_case *cs, size_t n)
{
	struct locked l;
	int r;

	lock_all(cs, n, &l);
	r = try_locked(cs, n, l.ready, &l);
	if (r == -EAGAIN)
		unlock_all(cs, n, &l);
	return r;
}

int weir_try_select_(weir_case *cs, size_t n)
{
	uint64_t ready;

	if (weir__unlikely(!enter_all(cs, n, &ready)))
		return try_any(cs, n);
	if (weir__unlikely(ready != 0))
		return try_entered(cs, n, ready);
	exit_all(cs, n);
	return -EAGAIN;
}

/* After the wait: unlinks every node whose waker did not. */
static inline void leave(const weir_case *cs, struct weir__waiter *nodes, size_t n, int won)
{
	struct weir__worker *w = weir__self();

	for (size_t i = 0; i < n; i++) {
		weir_chan *c = cs[i].chan;

		if (!c || (int)i == won)
			continue;
		if (weir__unlikely(!weir__bias_enter(&c->lock, w->index))) {
			weir__chan_leave(c, &nodes[i]);
			continue;
		}
		if (weir__list_linked(&nodes[i].link))
			weir__list_remove(&nodes[i].link);
		weir__bias_exit(&c->lock);
	}
}

/* With the channels locked and none ready: stands in all queues, unlocks and parks. */
static inline __attribute__((always_inline)) int wait_by(const weir_ctx *ctx, weir_case *cs,
                                                         struct weir__waiter *nodes, size_t n,
                                                         const struct locked *l)
{
	struct weir__wait wait;
	bool closed;
	int r;

	weir__wait_init_for(&wait, weir__current());

	for (size_t i = 0; i < n; i++) {
		weir_case *k = &cs[i];

		if (!k->chan)
			continue;
		check(k);
		nodes[i] = (struct weir__waiter){ .wait = &wait, .index = (int)i };
		nodes[i].data = k->out ? (void *)k->out : k->in;
		weir__list_append(k->out ? &k->chan->sendq : &k->chan->recvq, &nodes[i].link);
	}
	unlock_all(cs, n, l);
	r = weir__wait_park(&wait, ctx, "select", cs);
	closed = r >= WEIR__CHAN_CLOSED;
	leave(cs, nodes, n, closed ? r - WEIR__CHAN_CLOSED : r);
	if (r < 0)
		return r;
	if (!closed)
		return done(cs, r, cs[r].out ? 0 : 1);
	r -= WEIR__CHAN_CLOSED;
	return done(cs, r, cs[r].out ? -EPIPE : 0);
}

static __attribute__((noinline)) int wait_in_many(const weir_ctx *ctx, weir_case *cs, size_t n,
                                                  const struct locked *l)
{
	struct weir__waiter nodes[WEIR_SELECT_MAX];

	return wait_by(ctx, cs, nodes, n, l);
}

static inline int wait_in_all(const weir_ctx *ctx, weir_case *cs, size_t n, const struct locked *l)
{
	struct weir__waiter nodes[FEW];

	return n <= FEW ? wait_by(ctx, cs, nodes, n, l) : wait_in_many(ctx, cs, n, l);
}

static __attribute__((noinline)) int select_any(const weir_ctx *ctx, weir_case *cs, size_t n)
{
	struct locked l;
	int r = weir__wait_check(ctx);

	if (r < 0) {
		for (size_t i = 0; i < n; i++)
			cs[i].result = -EAGAIN;
		return r;
	}
	lock_all(cs, n, &l);
	r = try_locked(cs, n, l.ready, &l);
	return r == -EAGAIN ? wait_in_all(ctx, cs, n, &l) : r;
}

int weir_select_(const weir_ctx *ctx, weir_case *cs, size_t n)
{
	uint64_t ready;
	int r;

	if (weir__unlikely(!weir__wait_at_once(weir__current(), ctx)) ||
	    weir__unlikely(!enter_all(cs, n, &ready)))
		return select_any(ctx, cs, n);
	r = try_locked(cs, n, ready, NULL);
	return r == -EAGAIN ? wait_in_all(ctx, cs, n, NULL) : r;
}
