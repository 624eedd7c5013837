/* SPDX-License-Identifier: MIT */
/*
 * The two sides of a buffered channel that several workers use (chan.h). With one lock a sender and
 * a receiver on two processors take turns at it, and wait for each other most of the time.
 *
 * Each side has what it changes in a line of the cache of its own, and keeps there how far it saw
 * the other come, so that it looks at the other's line only when that is used up. A value is
 * written before `sent` and read before `taken` is stored; the other side loads these with acquire.
 * No barrier is needed against a wait that begins meanwhile, since that takes both locks: either it
 * comes first, and this side finds somebody waiting, or it comes after, and finds the value.
 */
#include "sync/chan.h"

/* Fewer values than these were not worth the pause. */
enum { PAUSES = 96, GAIN_MIN = 4, LOOKS_MAX = 6 };

/*
 * Under a side's lock, when the other has left nothing to do: to wait in earnest and be woken costs
 * both as much as many values do, so lets the other go on for a moment. True: look again.
 */
static bool other_goes_on(weir__lock *lock, const uint32_t *counter, struct weir__patience *p)
{
	uint32_t was = __atomic_load_n(counter, __ATOMIC_RELAXED), gain;

	if (weir__simulating || !weir__patience_left(p))
		return false;
	weir__lock_release(lock);
	weir__patience_pause(PAUSES);
	weir__lock_acquire(lock);
	gain = __atomic_load_n(counter, __ATOMIC_RELAXED) - was;
	weir__patience_learn(p, gain >= GAIN_MIN);
	return gain > 0;
}

int weir__chan_send_aside(weir_chan *c, const void *v, bool patient)
{
	int looks = patient ? LOOKS_MAX : 0, r = -EAGAIN;

	weir__bias_acquire_slow(&c->lock, weir__here());
	do {
		if (c->closed || !weir__list_empty(&c->recvq))
			break;
		if (c->sent - c->taken_seen >= c->cap)
			c->taken_seen = __atomic_load_n(&c->taken, __ATOMIC_ACQUIRE);
		if (c->sent - c->taken_seen < c->cap) {
			weir__point();
			weir__chan_append(c, v, c->size);
			r = 0;
			break;
		}
	} while (looks-- > 0 && other_goes_on(&c->lock.lock, &c->taken, &c->full));
	weir__lock_release(&c->lock.lock);
	return r;
}

int weir__chan_recv_aside(weir_chan *c, void *v, bool patient)
{
	int looks = patient ? LOOKS_MAX : 0, r = -EAGAIN;

	weir__bias_acquire_slow(&c->recv, weir__here());
	do {
		if (c->senders)
			break;
		if (c->taken == c->sent_seen)
			c->sent_seen = __atomic_load_n(&c->sent, __ATOMIC_ACQUIRE);
		if (c->taken != c->sent_seen) {
			weir__point();
			weir__chan_shift(c, v, c->size);
			r = 1;
			break;
		}
	} while (looks-- > 0 && other_goes_on(&c->recv.lock, &c->sent, &c->empty));
	weir__lock_release(&c->recv.lock);
	return r;
}
