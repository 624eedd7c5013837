/* SPDX-License-Identifier: MIT */
/* What chan.c shows to select.c. */
#ifndef WEIR_SYNC_CHAN_H
#define WEIR_SYNC_CHAN_H

#include <weir/chan.h>

#include "rt/bias.h"
#include "rt/task.h"
#include "sync/waiter.h"

enum {
	WEIR__CHAN_MAGIC = 0x6368616e,
	WEIR__CHAN_CLOSED = 1 << 8, /* added to the index with which a waiter is claimed */
};

struct weir_chan {
	struct weir__bias lock; /* guards all below that changes */
	uint32_t magic;
	bool foreign, closed;
	size_t size, cap; /* of a value; values */
	size_t len, head, tail;
	struct weir__list recvq, sendq;
	uint64_t id; /* the order in which a select locks its channels */
	const char *place;
	char buf[];
};

static inline void weir__chan_lock(weir_chan *c)
{
	weir__bias_acquire(&c->lock, weir__here());
}

static inline void weir__chan_unlock(weir_chan *c)
{
	weir__bias_release(&c->lock, weir__here());
}

/* Locked by its owner, without competition from other threads? */
static inline bool weir__chan_owned(const weir_chan *c)
{
	return weir__bias_owned(&c->lock, weir__here());
}

/* Aborts when the channel is freed, of another size, or not for this thread. */
__attribute__((cold)) void weir__chan_misused(const weir_chan *c, size_t size, const char *call);
static inline void weir__chan_check(const weir_chan *c, size_t size, const char *call)
{
	if (weir__unlikely(c->magic != WEIR__CHAN_MAGIC || c->size != size ||
	                   !(c->foreign || weir__self())))
		weir__chan_misused(c, size, call);
}

/* After a wait: unlinks a node if its waker did not. */
void weir__chan_leave(weir_chan *c, struct weir__waiter *n);

/*
 * Under the lock, without waiting. -EAGAIN, or what the call returns; then *ret_wake, if not NULL,
 * must be woken after the unlock.
 */
int weir__chan_put(weir_chan *c, const void *v, struct weir__wait **ret_wake);
int weir__chan_take(weir_chan *c, void *v, struct weir__wait **ret_wake);

#endif
