/* SPDX-License-Identifier: MIT */
/*
 * Channels. The job: move values by copy from senders to receivers, in order, each exactly once.
 *
 * Invariants, under the lock (a waiter is *open* while nobody has claimed its wait):
 *  - an open receiver waits only while the buffer is empty and no open sender waits;
 *  - an open sender waits only while the buffer is full;
 *  - nobody open waits on a closed channel.
 * So a value overtakes none: who finds a waiting receiver hands it the value directly, by copy to
 * the receiver's stack, and who makes a place by taking from a full buffer puts the first waiting
 * sender's value there itself. Both queues are first come, first served. Nodes whose wait was
 * claimed by a deadline or a stop may stand in a queue until their task runs; they count as absent.
 *
 * Locks: one channel's lock is taken alone, or by a select together with others in the order of
 * weir_chan.id. Waking takes place after the unlock.
 *
 * Rejected: a lock-free ring (select needs to see several channels at once, and direct hand-off
 * beats a ring when tasks share a worker); addresses as the lock order (a simulation replays by
 * seed, and addresses differ from run to run); waking the receiver to take from the buffer itself
 * (another could come first, and each message would cost two turns of the lock).
 */
#include "sync/chan.h"

#include <stdlib.h>
#include <string.h>

#include <weir/task.h>

static uint64_t last_id;

void weir__chan_leave(weir_chan *c, struct weir__waiter *n)
{
	weir__chan_lock(c);
	if (weir__list_linked(&n->link))
		weir__list_remove(&n->link);
	weir__chan_unlock(c);
}

void weir__chan_misused(const weir_chan *c, size_t size, const char *call)
{
	weir__assert(c->key >> 32 == WEIR__CHAN_MAGIC, "%s: not a live channel", call);
	weir__assert(c->size == size,
	             "%s: a value of %zu bytes, but the channel made at %s carries %zu", call, size,
	             c->place, c->size);
	weir__assert(c->foreign || weir__self(),
	             "%s: the channel made at %s is for tasks; a foreign thread needs "
	             "weir_chan_new_foreign()",
	             call, c->place);
	__builtin_unreachable();
}

weir_chan *weir_chan_new_(size_t size, size_t cap, bool foreign, const char *place)
{
	size_t bytes;
	weir_chan *c;

	if (size > UINT32_MAX || cap >= UINT32_MAX || __builtin_mul_overflow(size, cap, &bytes) ||
	    __builtin_add_overflow(bytes, sizeof *c + WEIR__CACHE_LINE, &bytes))
		return NULL;
	c = aligned_alloc(WEIR__CACHE_LINE,
	                  bytes / WEIR__CACHE_LINE * WEIR__CACHE_LINE); /* It was rounded up. */
	if (!c)
		return NULL;
	*c = (weir_chan){
		.recv = WEIR__BIAS_INIT_SHARED,
		.key = weir__chan_key(size),
		.foreign = foreign,
		.size = size,
	};
	weir__bias_init(&c->lock);
	c->split = cap > 0 && weir__bias_shared(&c->lock);
	c->cap = cap;
	if (foreign)
		weir__outside(1);
	c->place = place;
	weir__leak_track(&c->leak, "a channel", place);
	c->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	weir__list_init(&c->recvq);
	weir__list_init(&c->sendq);
	return c;
}

void weir_chan_close(weir_chan *c)
{
	struct weir__list won;

	weir__chan_check(c, c->size, "weir_chan_close");
	weir__list_init(&won);
	weir__chan_lock(c);
	weir__assert(!c->closed, "weir_chan_close: the channel made at %s is closed already",
	             c->place);
	c->closed = true;
	weir__waiter_claim_all(&c->recvq, WEIR__CHAN_CLOSED, true, &won);
	weir__waiter_claim_all(&c->sendq, WEIR__CHAN_CLOSED, true, &won);
	weir__chan_unlock(c);
	weir__waiter_wake_all(&won);
}

void weir_chan_free(weir_chan *c)
{
	bool waited;

	if (!c)
		return;
	weir__assert(c->key >> 32 == WEIR__CHAN_MAGIC, "weir_chan_free: not a live channel");
	/* Whoever made the last use of it may still be on the way out of the lock. */
	weir__chan_lock(c);
	waited = !weir__list_empty(&c->recvq) || !weir__list_empty(&c->sendq);
	weir__chan_unlock(c);
	weir__assert(!waited, "weir_chan_free: a task waits on the channel made at %s", c->place);
	if (c->foreign)
		weir__outside(-1);
	weir__leak_forget(&c->leak);
	c->key = 0;
	free(c);
}

/* With the channel locked: stands in one of its queues, unlocks and parks. The claim's value, or
 * the context's error. */
static inline __attribute__((always_inline)) int wait_in(const weir_ctx *ctx, weir_chan *c,
                                                         struct weir__list *queue,
                                                         struct weir__waiter *n, bool owned,
                                                         const char *what)
{
	struct weir__wait *wait = n->wait;
	weir__task *t = weir__self()->current;
	int r;

	weir__wait_init_for(wait, t);
	n->index = 0;
	n->local = owned;
	weir__list_append(queue, &n->link);
	if (owned)
		weir__bias_exit(&c->lock);
	else {
		weir__chan_unlock(c);
		weir__give_away(n);
		weir__give_away(&c->lock.lock);
	}
	if (WEIR__PLANT(MISSED_CANCEL))
		r = weir__wait_park_hard(wait, what, c);
	else if (weir__likely(ctx->deadline_ns == WEIR_NEVER && weir__list_linked(&t->member.link)))
		/* The stop was looked at just now, and comes between tasks only. */
		r = weir__park(t, wait, ctx->scope, ctx->flags, WEIR_NEVER, what, c);
	else
		r = weir__wait_park(wait, ctx, what, c);
	if (weir__unlikely(r < 0))
		weir__chan_leave(c, n);
	return r;
}

static inline int sent(int r)
{
	return r == WEIR__CHAN_CLOSED ? -EPIPE : r;
}

static inline int received(int r)
{
	return r < 0 ? r : r != WEIR__CHAN_CLOSED;
}

/* Calls of their own, so that the fast paths need no stack. */
static __attribute__((noinline)) int wait_to_send_owned(const weir_ctx *ctx, weir_chan *c,
                                                        const void *v)
{
	struct weir__wait wait;
	struct weir__waiter n;

	n.wait = &wait;
	n.data = (void *)v;
	n.carries = false;
	return sent(wait_in(ctx, c, &c->sendq, &n, true, "chan send"));
}

static __attribute__((noinline)) int wait_to_recv_owned(const weir_ctx *ctx, weir_chan *c, void *v)
{
	struct weir__wait wait;
	struct weir__waiter n;

	n.wait = &wait;
	n.data = v;
	n.carries = false;
	return received(wait_in(ctx, c, &c->recvq, &n, true, "chan recv"));
}

/* The same for any channel: node, wait and a small value are in one line of the cache, which is all
 * that another worker touches of this one. */
static __attribute__((noinline)) int wait_to_send_any(const weir_ctx *ctx, weir_chan *c,
                                                      const void *v)
{
	struct weir__alone a;

	a.node.wait = &a.wait;
	a.node.carries = c->size <= sizeof a.node.value;
	if (a.node.carries)
		memcpy(&a.node.value, v, c->size);
	else
		a.node.data = (void *)v;
	return sent(wait_in(ctx, c, &c->sendq, &a.node, weir__chan_owned(c), "chan send"));
}

static __attribute__((noinline)) int wait_to_recv_any(const weir_ctx *ctx, weir_chan *c, void *v)
{
	struct weir__alone a;
	int r;

	a.node.wait = &a.wait;
	a.node.carries = c->size <= sizeof a.node.value;
	if (!a.node.carries)
		a.node.data = v;
	r = wait_in(ctx, c, &c->recvq, &a.node, weir__chan_owned(c), "chan recv");
	if (r == 0 && a.node.carries)
		memcpy(v, &a.node.value, c->size);
	return received(r);
}

/* A step for any channel, from any thread. ctx NULL: do not wait. */
static __attribute__((noinline)) int send_any(const weir_ctx *ctx, weir_chan *c, const void *v,
                                              size_t size)
{
	struct weir__wait *wake;
	bool owned;
	int r;

	weir__chan_check(c, size, ctx ? "weir_chan_send" : "weir_chan_try_send");
	r = ctx ? weir__wait_check(ctx) : 0;
	if (r < 0)
		return r;
	if (weir__chan_split(c) && weir__chan_send_aside(c, v, ctx != NULL) == 0)
		return 0;
	weir__chan_lock(c);
	owned = weir__chan_owned(c);
	r = weir__chan_put(c, v, c->size, owned, &wake);
	if (r == -EAGAIN && ctx)
		return wait_to_send_any(ctx, c, v);
	weir__chan_unlock(c);
	if (wake)
		weir__wait_wake(wake);
	return r;
}

static __attribute__((noinline)) int recv_any(const weir_ctx *ctx, weir_chan *c, void *v,
                                              size_t size)
{
	struct weir__wait *wake;
	bool owned;
	int r;

	weir__chan_check(c, size, ctx ? "weir_chan_recv" : "weir_chan_try_recv");
	r = ctx ? weir__wait_check(ctx) : 0;
	if (r < 0)
		return r;
	if (weir__chan_split(c) && weir__chan_recv_aside(c, v, ctx != NULL) == 1)
		return 1;
	weir__chan_lock(c);
	owned = weir__chan_owned(c);
	r = weir__chan_take(c, v, c->size, owned, &wake);
	if (r == -EAGAIN && ctx)
		return wait_to_recv_any(ctx, c, v);
	weir__chan_unlock(c);
	if (wake)
		weir__wait_wake(wake);
	return r;
}

static __attribute__((noinline)) int wake_and_return(struct weir__wait *wake, int r)
{
	weir__wait_wake(wake);
	return r;
}

/*
 * The fast paths: a word, through a channel that only this worker uses. What they call they call
 * last, so that they need no stack.
 */
static inline __attribute__((always_inline)) bool is_fast(const weir_ctx *ctx, weir_chan *c,
                                                          size_t size, struct weir__worker *w)
{
	return weir__likely(size == 8) && weir__likely(c->key == weir__chan_key(8)) &&
	       weir__likely(w) && (!ctx || weir__likely(weir__wait_at_once(w->current, ctx))) &&
	       weir__likely(weir__bias_enter(&c->lock, w->index));
}

static inline __attribute__((always_inline)) int wake_fast(struct weir__worker *w,
                                                           struct weir__wait *wake, int r)
{
	if (!wake)
		return r;
	if (weir__unlikely(wake->worker != w->index))
		return wake_and_return(wake, r);
	weir__ready(w, wake->task);
	return r;
}

static inline __attribute__((always_inline)) int send_value(const weir_ctx *ctx, weir_chan *c,
                                                            const void *v, size_t size)
{
	struct weir__worker *w = weir__self();
	struct weir__wait *wake;
	int r;

	if (!is_fast(ctx, c, size, w))
		return send_any(ctx, c, v, size);
	r = weir__chan_put(c, v, 8, true, &wake);
	if (r == -EAGAIN && ctx)
		return wait_to_send_owned(ctx, c, v);
	weir__bias_exit(&c->lock);
	return wake_fast(w, wake, r);
}

static inline __attribute__((always_inline)) int recv_value(const weir_ctx *ctx, weir_chan *c,
                                                            void *v, size_t size)
{
	struct weir__worker *w = weir__self();
	struct weir__wait *wake;
	int r;

	if (!is_fast(ctx, c, size, w))
		return recv_any(ctx, c, v, size);
	r = weir__chan_take(c, v, 8, true, &wake);
	if (r == -EAGAIN && ctx)
		return wait_to_recv_owned(ctx, c, v);
	weir__bias_exit(&c->lock);
	return wake_fast(w, wake, r);
}

int weir_chan_send_(const weir_ctx *ctx, weir_chan *c, const void *v, size_t size)
{
	return send_value(ctx, c, v, size);
}

int weir_chan_recv_(const weir_ctx *ctx, weir_chan *c, void *v, size_t size)
{
	return recv_value(ctx, c, v, size);
}

int weir_chan_try_send_(weir_chan *c, const void *v, size_t size)
{
	return send_value(NULL, c, v, size);
}

int weir_chan_try_recv_(weir_chan *c, void *v, size_t size)
{
	return recv_value(NULL, c, v, size);
}

size_t weir_chan_len(const weir_chan *c)
{
	weir_chan *locked = (weir_chan *)c;
	size_t len;

	weir__chan_check(c, c->size, "weir_chan_len");
	weir__chan_lock(locked);
	len = weir__chan_count(c);
	weir__chan_unlock(locked);
	return len;
}
