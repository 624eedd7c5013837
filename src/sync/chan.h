/* SPDX-License-Identifier: MIT */
/* What chan.c shows to select.c. */
#ifndef WEIR_SYNC_CHAN_H
#define WEIR_SYNC_CHAN_H

#include <string.h>
#include <weir/chan.h>

#include "rt/bias.h"
#include "rt/leak.h"
#include "rt/task.h"
#include "sync/waiter.h"

enum {
	WEIR__CHAN_MAGIC = 0x6368616e,
	WEIR__CHAN_CLOSED = 1 << 8, /* added to the index with which a waiter is claimed */
};

/*
 * What is only read is in the first line of the cache, with the lock's owner; all that changes of
 * an unbuffered channel is in the second, which two workers move once for an operation.
 *
 * A buffered channel that nobody owns has two sides, so that a sender and a receiver on two
 * processors do not take turns: `lock` alone will do to send, `recv` alone to receive, while that
 * moves only the buffer (sides.c). All else takes both, in this order. So what either side relies
 * on does not change under it: nobody waits to receive and it is not closed; nobody waits to send.
 */
struct weir_chan {
	__attribute__((aligned(WEIR__CACHE_LINE))) uint64_t key; /* what it is and the size of a
	                                                           * value, for one comparison */
	size_t cap;
	size_t size; /* of a value */
	uint64_t id; /* the order in which a select locks its channels */
	const char *place;
	bool foreign;
	bool split; /* atomic: it has two sides */
	char apart[WEIR__CACHE_LINE - offsetof(struct weir__bias, lock) - 42];

	struct weir__bias lock; /* guards all that follows, and alone, with two sides: */
	struct weir__list recvq, sendq;
	uint32_t sent, tail; /* values so far; where the next goes */
	uint32_t taken_seen; /* no more than `taken` */
	bool closed;

	/* The side of the receivers, in use once it is split. */
	__attribute__((aligned(WEIR__CACHE_LINE))) struct weir__bias recv;
	uint32_t taken, head; /* values so far; where the next is */
	uint32_t sent_seen;   /* no more than `sent` */
	bool senders;         /* somebody waits to send */
	/* With the other side, when it has left nothing; the first under `lock`. */
	struct weir__patience full, empty;

	__attribute__((aligned(WEIR__CACHE_LINE))) struct weir__leak leak;
	char buf[];
};
_Static_assert(offsetof(struct weir_chan, lock.lock) == WEIR__CACHE_LINE &&
                       offsetof(struct weir_chan, recv) == 2 * WEIR__CACHE_LINE &&
                       offsetof(struct weir_chan, leak) == 3 * WEIR__CACHE_LINE,
               "a channel's lines");

static inline uint32_t weir__chan_count(const weir_chan *c)
{
	return c->sent - c->taken;
}

static inline uint64_t weir__chan_key(size_t size)
{
	return (uint64_t)WEIR__CHAN_MAGIC << 32 | (uint32_t)size;
}

/* Has it two sides? Once it has, it always will. Does not change under `lock`. */
static inline bool weir__chan_split(const weir_chan *c)
{
	return __atomic_load_n(&c->split, __ATOMIC_ACQUIRE);
}

/* The other lock, after the first … */
static inline void weir__chan_lock_other(weir_chan *c)
{
	if (!WEIR__PLANT(HALF_LOCKED))
		weir__lock_acquire(&c->recv.lock);
	/* Whoever has both locks moves values without these, which must not fall behind. */
	c->taken_seen = c->taken;
	c->sent_seen = c->sent;
	if (weir__unlikely(!c->split))
		__atomic_store_n(&c->split, true, __ATOMIC_RELEASE);
}

/* … and before it. */
static inline void weir__chan_unlock_other(weir_chan *c)
{
	c->senders = !weir__list_empty(&c->sendq);
	if (!WEIR__PLANT(HALF_LOCKED))
		weir__lock_release(&c->recv.lock);
}

/* The whole channel. */
static inline void weir__chan_lock(weir_chan *c)
{
	/* Between the sides' own turns it matters little who comes next. */
	if (weir__chan_split(c))
		weir__lock_acquire(&c->lock.lock);
	else
		weir__bias_acquire(&c->lock, weir__here());
	if (weir__unlikely(c->cap > 0 && weir__bias_shared(&c->lock)))
		weir__chan_lock_other(c);
}

static inline void weir__chan_unlock(weir_chan *c)
{
	if (weir__unlikely(weir__chan_split(c)))
		weir__chan_unlock_other(c);
	weir__bias_release(&c->lock, weir__here());
}

/* sides.c: a step of a channel with two sides, if that needs one of them only; else -EAGAIN.
 * `patient`: may let the other side go on for a moment. */
int weir__chan_send_aside(weir_chan *c, const void *v, bool patient);
int weir__chan_recv_aside(weir_chan *c, void *v, bool patient);

/* Locked by its owner, without competition from other threads? */
static inline bool weir__chan_owned(const weir_chan *c)
{
	return weir__bias_owned(&c->lock, weir__here());
}

/* Aborts when the channel is freed, of another size, or not for this thread. */
__attribute__((cold, noreturn)) void weir__chan_misused(const weir_chan *c, size_t size,
                                                        const char *call);
static inline void weir__chan_check(const weir_chan *c, size_t size, const char *call)
{
	if (weir__unlikely(c->key != weir__chan_key(size) || !(c->foreign || weir__self())))
		weir__chan_misused(c, size, call);
}

/* After a wait: unlinks a node if its waker did not. */
void weir__chan_leave(weir_chan *c, struct weir__waiter *n);

/*
 * The two steps of a channel, under its lock, without waiting: -EAGAIN, or what the call returns;
 * then *ret_wake, if not NULL, must be woken after the unlock. `owned` and `size` are the
 * channel's; the fast paths know them beforehand, and these are inlined there.
 */
static inline __attribute__((always_inline)) void weir__chan_copy(void *to, const void *from,
                                                                  size_t size)
{
	/* Most values are a word or a pointer; a call of memcpy would cost more than the rest. */
	if (weir__likely(size == 8))
		memcpy(to, from, 8);
	else
		memcpy(to, from, size);
}

static inline __attribute__((always_inline)) void weir__chan_append(weir_chan *c, const void *v,
                                                                    size_t size)
{
	weir__chan_copy(c->buf + c->tail * size, v, size);
	c->tail = c->tail + 1 == c->cap ? 0 : c->tail + 1;
	__atomic_store_n(&c->sent, c->sent + 1, __ATOMIC_RELEASE);
}

static inline __attribute__((always_inline)) void weir__chan_shift(weir_chan *c, void *v,
                                                                   size_t size)
{
	weir__chan_copy(v, c->buf + c->head * size, size);
	c->head = c->head + 1 == c->cap ? 0 : c->head + 1;
	__atomic_store_n(&c->taken, c->taken + 1, __ATOMIC_RELEASE);
}

static inline __attribute__((always_inline)) int
weir__chan_put(weir_chan *c, const void *v, size_t size, bool owned, struct weir__wait **ret_wake)
{
	struct weir__waiter *receiver;

	*ret_wake = NULL;
	if (weir__unlikely(c->closed))
		return -EPIPE;
	receiver = weir__waiter_claim_as(&c->recvq, 0, owned);
	if (receiver) {
		weir__chan_copy(weir__waiter_place(receiver), v, size);
		*ret_wake = receiver->wait;
		if (WEIR__PLANT(DOUBLE_DELIVERY) && weir__chan_count(c) < c->cap)
			weir__chan_append(c, v, size);
		return 0;
	}
	if (weir__chan_count(c) == c->cap)
		return -EAGAIN;
	weir__chan_append(c, v, size);
	return 0;
}

static inline __attribute__((always_inline)) int
weir__chan_take(weir_chan *c, void *v, size_t size, bool owned, struct weir__wait **ret_wake)
{
	struct weir__waiter *sender;

	*ret_wake = NULL;
	if (weir__chan_count(c) > 0) {
		weir__chan_shift(c, v, size);
		sender = weir__waiter_claim_as(&c->sendq, 0, owned);
		if (sender) {
			weir__chan_append(c, weir__waiter_place(sender), size);
			*ret_wake = sender->wait;
		}
		return 1;
	}
	sender = weir__waiter_claim_as(&c->sendq, 0, owned);
	if (sender) {
		weir__chan_copy(v, weir__waiter_place(sender), size);
		*ret_wake = sender->wait;
		return 1;
	}
	return c->closed ? 0 : -EAGAIN;
}

#endif
