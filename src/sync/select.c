/* SPDX-License-Identifier: MIT */
/*
 * Select, as Go does it: with all channels of the cases locked do one that is ready, by chance; if
 * none is, stand in every channel's queue with one wait, unlock, park; the first waker's claim
 * decides; then leave the other queues.
 *
 * Invariants: all channels are locked while the cases are looked at and while the nodes are linked,
 * so nothing can become ready in between, and a select cannot meet itself when it both sends to
 * and receives from one channel: while it looks, none of its nodes is in a queue. Channels are
 * locked in the order of their ids, one that occurs twice once. The nodes live in the cases' priv.
 *
 * Rejected: one lock at a time with register, recheck and retry (crossbeam, parallel CML): no
 * deadlock to think about, but a wait then costs two rounds of all locks.
 */
#include <weir/select.h>
#include <weir/sim.h>

#include "sync/chan.h"

_Static_assert(sizeof(struct weir__waiter) <= sizeof((weir_case){ 0 }.priv),
               "a node fits in a case");
_Static_assert(WEIR_SELECT_MAX <= UINT8_MAX, "a case's index fits in a byte");
_Static_assert(WEIR_SELECT_MAX <= WEIR__CHAN_CLOSED, "the closed bit is none of an index");

static struct weir__waiter *node(weir_case *k)
{
	return (struct weir__waiter *)(void *)k->priv;
}

/* Fills `order` with the cases that have a channel, sorted by its id. Their number. */
static size_t sort(weir_case *cs, size_t n, uint8_t *order)
{
	size_t live = 0;

	weir__assert(n <= WEIR_SELECT_MAX, "weir_select: %zu cases, more than %d", n,
	             WEIR_SELECT_MAX);
	for (size_t i = 0; i < n; i++) {
		size_t at;

		cs[i].result = -EAGAIN;
		if (!cs[i].chan)
			continue;
		weir__assert(!cs[i].in != !cs[i].out, "weir_select: case %zu has no value, or two",
		             i);
		weir__chan_check(cs[i].chan, cs[i].size, "weir_select");
		for (at = live++; at > 0 && cs[order[at - 1]].chan->id > cs[i].chan->id; at--)
			order[at] = order[at - 1];
		order[at] = (uint8_t)i;
	}
	return live;
}

static void lock_all(weir_case *cs, const uint8_t *order, size_t live)
{
	for (size_t i = 0; i < live; i++)
		if (i == 0 || cs[order[i]].chan != cs[order[i - 1]].chan)
			weir__chan_lock(cs[order[i]].chan);
}

static void unlock_all(weir_case *cs, const uint8_t *order, size_t live)
{
	for (size_t i = live; i-- > 0;)
		if (i == 0 || cs[order[i]].chan != cs[order[i - 1]].chan)
			weir__chan_unlock(cs[order[i]].chan);
}

/* Could the case be done? A queue may hold only waiters who have left, so yes means perhaps. */
static bool promising(const weir_case *k)
{
	const weir_chan *c = k->chan;

	if (c->closed)
		return true;
	return k->out ? c->len < c->cap || !weir__list_empty(&c->recvq) :
	                c->len > 0 || !weir__list_empty(&c->sendq);
}

/* Does a ready case, each with the same chance. Its index with its result in *ret_result, or
 * -EAGAIN. */
static int look(weir_case *cs, const uint8_t *order, size_t live, int *ret_result,
                struct weir__wait **ret_wake)
{
	uint8_t ready[WEIR_SELECT_MAX];
	size_t n = 0;

	for (size_t i = 0; i < live; i++)
		if (promising(&cs[order[i]]))
			ready[n++] = order[i];
	for (; n > 0; n--) {
		size_t pick = n > 1 ? weir_random((uint32_t)n) : 0;
		weir_case *k = &cs[ready[pick]];
		bool owned = weir__chan_owned(k->chan);
		int r = k->out ? weir__chan_put(k->chan, k->out, k->size, owned, ret_wake) :
		                 weir__chan_take(k->chan, k->in, k->size, owned, ret_wake);

		if (r != -EAGAIN) {
			*ret_result = r;
			return ready[pick];
		}
		ready[pick] = ready[n - 1];
	}
	return -EAGAIN;
}

/* The result of the call from that of the case which was done, or whose channel is closed. */
static int done(weir_case *cs, int index, int result)
{
	cs[index].result = result;
	return result == (cs[index].out ? 0 : 1) ? index : -EPIPE;
}

int weir_try_select_(weir_case *cs, size_t n)
{
	struct weir__wait *wake = NULL;
	uint8_t order[WEIR_SELECT_MAX];
	size_t live = sort(cs, n, order);
	int result, r;

	lock_all(cs, order, live);
	r = look(cs, order, live, &result, &wake);
	unlock_all(cs, order, live);
	if (wake)
		weir__wait_wake(wake);
	return r < 0 ? r : done(cs, r, result);
}

/* After the wait: unlinks every node whose waker did not. */
static void leave(weir_case *cs, const uint8_t *order, size_t live, int won)
{
	for (size_t i = 0; i < live; i++)
		if (order[i] != won)
			weir__chan_leave(cs[order[i]].chan, node(&cs[order[i]]));
}

int weir_select_(const weir_ctx *ctx, weir_case *cs, size_t n)
{
	struct weir__wait *wake = NULL, wait;
	uint8_t order[WEIR_SELECT_MAX];
	size_t live = sort(cs, n, order);
	int result, r;
	bool closed;

	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	lock_all(cs, order, live);
	r = look(cs, order, live, &result, &wake);
	if (r >= 0) {
		unlock_all(cs, order, live);
		if (wake)
			weir__wait_wake(wake);
		return done(cs, r, result);
	}
	weir__wait_init(&wait);
	for (size_t i = 0; i < live; i++) {
		weir_case *k = &cs[order[i]];

		*node(k) = (struct weir__waiter){ .wait = &wait, .index = order[i] };
		node(k)->data = k->out ? (void *)k->out : k->in;
		weir__list_append(k->out ? &k->chan->sendq : &k->chan->recvq, &node(k)->link);
	}
	unlock_all(cs, order, live);
	r = weir__wait_park(&wait, ctx, "select", cs);
	closed = r >= WEIR__CHAN_CLOSED;
	leave(cs, order, live, closed ? r - WEIR__CHAN_CLOSED : r);
	if (r < 0)
		return r;
	if (!closed)
		return done(cs, r, cs[r].out ? 0 : 1);
	r -= WEIR__CHAN_CLOSED;
	return done(cs, r, cs[r].out ? -EPIPE : 0);
}
