/* SPDX-License-Identifier: MIT */
/*
 * Subscriptions: a bounded queue of messages between publishers and one reader, which is the
 * handler's task or whoever follows.
 *
 * Invariants, all under s->lock:
 *  - state only goes OPEN, DRAINING, ENDED. Only OPEN takes messages; ENDED has an empty queue.
 *  - delivered = handled + dropped while queued + in the queue + (0 or 1 in the handler's hands).
 *  - count <= pending_max, and bytes <= pending_bytes_max unless the queue holds a single message.
 *
 * The queue is a ring that grows to pending_max on demand; it grows outside of the lock, by a
 * publisher that then looks again. All waits are of one form (park below): a node in one of four
 * lists, woken by a signal after which the waiter looks again. A reader which was signalled takes
 * what is there before it looks at its context again, and a writer which fits wakes the next, so no
 * signal is lost.
 *
 * The handler's task opens a scope of its own, so that closing one subscription cancels one
 * handler. Cancelling happens outside of the lock (it runs hooks), so `cancelling` keeps the task
 * from closing the scope under the canceller's hands.
 *
 * Rejected: weir_chan as the queue (it cannot drop the oldest, nor count bytes), a group per
 * subscription (a group is joined by its maker only, a subscription by whoever closes it).
 */
#include "bus/bus.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum { PENDING_DEFAULT = 1024, RING_FIRST = 8 };
#define BYTES_DEFAULT ((size_t)8 << 20)

struct waiter {
	struct weir__list link;
	struct weir__wait wait;
	uint64_t n; /* counters: how many must have been handled; the reader: be queued */
};

/* Wake-ups decided under the lock, to be sent after it. A claimed waiter stays on its stack
 * until it is woken, so its link can carry it. */
struct wakes {
	struct weir__list list;
};

static void signal_one(struct weir__list *waiters, struct wakes *wakes)
{
	struct weir__list *l;

	while ((l = weir__list_pop(waiters))) {
		struct waiter *w = weir__container(l, struct waiter, link);

		if (weir__wait_claim(&w->wait, 1)) {
			weir__list_append(&wakes->list, l);
			return;
		}
	}
}

/* The reader waits for so many. */
static void signal_reader(weir_sub *s, struct wakes *wakes)
{
	if (!weir__list_empty(&s->reader) &&
	    s->count >= weir__container(s->reader.next, struct waiter, link)->n)
		signal_one(&s->reader, wakes);
}

static void signal_all(struct weir__list *waiters, struct wakes *wakes)
{
	while (!weir__list_empty(waiters))
		signal_one(waiters, wakes);
}

static void release_and_wake(weir_sub *s, struct wakes *wakes)
{
	struct weir__list *l;

	weir__lock_release(&s->lock);
	while ((l = weir__list_pop(&wakes->list)))
		weir__wait_wake(&weir__container(l, struct waiter, link)->wait);
}

/* Waits in a list, the lock being held before and after. Without a context only a signal ends
 * it. */
static int park(const weir_ctx *ctx, weir_sub *s, struct weir__list *waiters, struct waiter *w,
                const char *what)
{
	int r;

	weir__wait_init(&w->wait);
	weir__list_append(waiters, &w->link);
	weir__lock_release(&s->lock);
	r = ctx ? weir__wait_park(&w->wait, ctx, what, s) : weir__wait_park_hard(&w->wait, what, s);
	weir__lock_acquire(&s->lock);
	if (weir__list_linked(&w->link))
		weir__list_remove(&w->link);
	return r < 0 ? r : 0;
}

static void count_drops(weir_sub *s, uint64_t n)
{
	s->dropped += n;
	weir__broker_drop(s->broker, n);
}

static struct weir__bus_msg *pop(weir_sub *s)
{
	struct weir__bus_msg *m = s->ring[s->head];

	s->head = (s->head + 1) & (s->ring_cap - 1);
	s->count--;
	s->bytes -= m->cost;
	return m;
}

static bool fits(const weir_sub *s, const struct weir__bus_msg *m)
{
	return s->count == 0 ||
	       (s->count < s->pending_max && s->bytes + m->cost <= s->pending_bytes_max);
}

/* Called without the lock: others may grow it meanwhile. */
static int grow(weir_sub *s, size_t cap)
{
	struct weir__bus_msg **to = calloc(cap, sizeof(struct weir__bus_msg *)), **from = to;

	if (!to)
		return -ENOMEM;
	weir__lock_acquire(&s->lock);
	if (s->ring_cap < cap) {
		for (size_t i = 0; i < s->count; i++)
			to[i] = s->ring[(s->head + i) & (s->ring_cap - 1)];
		from = s->ring;
		s->ring = to;
		s->ring_cap = cap;
		s->head = 0;
	}
	weir__lock_release(&s->lock);
	free(from);
	return 0;
}

static int copy(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

int weir__sub_new(weir_bus *b, const char *subject, const weir_sub_options *opt, weir_msg_fn *fn,
                  void *arg, weir_sub **ret)
{
	static const weir_sub_options none;
	weir_sub *s = calloc(1, sizeof *s);
	char *queue;

	if (!s)
		return -ENOMEM;
	if (!opt)
		opt = &none;
	s->magic = WEIR__SUB_MAGIC;
	s->target.refs = 1;
	s->bus = b;
	s->broker = b->broker;
	weir__broker_ref(s->broker);
	s->fn = fn;
	s->arg = arg;
	s->pending_max = opt->pending_max ? opt->pending_max : PENDING_DEFAULT;
	s->pending_bytes_max = opt->pending_bytes ? opt->pending_bytes : BYTES_DEFAULT;
	s->overflow = opt->overflow;
	s->block_ns = opt->block_ns;
	s->max = opt->max;
	weir__list_init(&s->reader);
	weir__list_init(&s->writers);
	weir__list_init(&s->counters);
	weir__list_init(&s->joiners);
	if (copy(opt->queue, &queue) == 0)
		s->target.queue = queue;
	if ((opt->queue && !s->target.queue) || copy(subject, &s->subject) < 0 ||
	    copy(opt->ack_subject, &s->ack_subject) < 0) {
		weir__sub_unref(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void weir__sub_ref(weir_sub *s)
{
	weir__target_ref(&s->target);
}

void weir__sub_unref(weir_sub *s)
{
	weir__target_unref(&s->target);
}

void weir__sub_free(weir_sub *s)
{
	while (s->count)
		weir__bus_msg_unref(pop(s));
	weir__bus_msg_unref(s->current);
	free(s->ring);
	free(s->subject);
	free((char *)(uintptr_t)s->target.queue);
	free(s->ack_subject);
	weir__broker_unref(s->broker);
	weir__remote_unref(s->remote);
	s->magic = 0;
	free(s);
}

/* Waits for room. 1: there is some; 0: the policy's own limit has passed; -EPIPE; or the context's
 * error. */
static int wait_for_room(const weir_ctx *ctx, weir_sub *s, struct weir__bus_msg *m)
{
	weir_ctx mine = s->block_ns ? weir_ctx_timeout(ctx, s->block_ns) : *ctx;
	struct waiter w;
	int r;

	while (s->state == WEIR__SUB_OPEN && !fits(s, m)) {
		r = park(&mine, s, &s->writers, &w, "publish to a full subscription");
		if (r < 0) {
			count_drops(s, 1);
			return s->block_ns && weir_ctx_err(ctx) == 0 ? 0 : r;
		}
	}
	return s->state == WEIR__SUB_OPEN ? 1 : -EPIPE;
}

/* Makes room by the policy. 1 + how many it dropped for it; 0: the message is dropped; -EPIPE; the
 * context's error. */
static int overflow(const weir_ctx *ctx, weir_sub *s, struct weir__bus_msg *m, struct wakes *wakes)
{
	int n = 0;

	switch (s->overflow) {
	case WEIR_SUB_DROP_OLDEST:
		for (; !fits(s, m); n++)
			weir__bus_msg_unref(pop(s));
		count_drops(s, (uint64_t)n);
		return 1 + n;
	case WEIR_SUB_BLOCK:
		if (ctx)
			return wait_for_room(ctx, s, m);
		break; /* From a cluster: nobody is there who could wait. */
	case WEIR_SUB_CLOSE:
		weir__log_rare(WEIR__WARN, "bus", "subscription %s is full and closes", s->subject);
		s->state = WEIR__SUB_DRAINING;
		signal_all(&s->reader, wakes);
		break;
	case WEIR_SUB_DROP_NEW:
		break;
	}
	count_drops(s, 1);
	return 0;
}

int weir__sub_push(const weir_ctx *ctx, weir_sub *s, struct weir__bus_msg *m, bool only_room)
{
	struct wakes wakes;
	bool last = false;
	int r, pushed_out = 0;
	size_t cap;

	weir__list_init(&wakes.list);
	weir__lock_acquire(&s->lock);
	for (;;) {
		r = 1;
		if (s->state != WEIR__SUB_OPEN)
			r = -EPIPE;
		else if (!fits(s, m))
			r = only_room ? -EAGAIN : overflow(ctx, s, m, &wakes);
		if (r > 0) {
			pushed_out += r - 1;
			r = 1 + pushed_out;
		}
		if (r <= 0 || s->count < s->ring_cap)
			break;
		cap = s->ring_cap ? 2 * s->ring_cap : RING_FIRST;
		weir__lock_release(&s->lock);
		r = grow(s, cap);
		weir__lock_acquire(&s->lock);
		if (r < 0) {
			count_drops(s, 1);
			break;
		}
	}
	if (r > 0) {
		weir__bus_msg_ref(m);
		s->ring[(s->head + s->count++) & (s->ring_cap - 1)] = m;
		s->bytes += m->cost;
		s->accepted++;
		if (s->max && s->accepted == s->max)
			s->state = WEIR__SUB_DRAINING;
		signal_reader(s, &wakes);
		if (s->count < s->pending_max)
			signal_one(&s->writers, &wakes);
	}
	if (s->state != WEIR__SUB_OPEN) {
		last = true;
		signal_all(&s->writers, &wakes);
	}
	release_and_wake(s, &wakes);
	if (last)
		weir__sub_unindex(s);
	return r;
}

int weir__sub_take(const weir_ctx *ctx, weir_sub *s, struct weir__bus_msg **ret)
{
	struct wakes wakes;
	struct waiter w = { .n = 1 };
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	weir__list_init(&wakes.list);
	weir__lock_acquire(&s->lock);
	while (s->count == 0 && s->state == WEIR__SUB_OPEN && r == 0) {
		if (!weir__list_empty(&s->reader))
			r = -EBUSY;
		else
			r = park(ctx, s, &s->reader, &w, "subscription");
	}
	if (r == 0 && s->count) {
		*ret = pop(s);
		signal_one(&s->writers, &wakes);
		r = 1;
	}
	release_and_wake(s, &wakes);
	return r;
}

/* So many have left the reader's hands. With the lock. */
static void count_handled(weir_sub *s, uint64_t n, struct wakes *wakes)
{
	s->handled += n;
	weir__list_each_safe (l, &s->counters) {
		struct waiter *w = weir__container(l, struct waiter, link);

		if (w->n > s->handled)
			continue;
		weir__list_remove(l);
		if (weir__wait_claim(&w->wait, 1))
			weir__list_append(&wakes->list, l);
	}
}

static void handled(weir_sub *s, int result)
{
	struct wakes wakes;

	weir__list_init(&wakes.list);
	weir__lock_acquire(&s->lock);
	if (result < 0)
		s->failed++;
	count_handled(s, 1, &wakes);
	release_and_wake(s, &wakes);
}

int weir__sub_gather(const weir_ctx *ctx, weir_sub *s, size_t want, struct weir__bus_msg **ret,
                     size_t max)
{
	struct wakes wakes;
	struct waiter w = { .n = want < s->pending_max / 2 ? want : s->pending_max / 2 };
	int r = weir__wait_check(ctx);
	size_t n = 0;

	if (r < 0)
		return r;
	w.n = w.n ? w.n : 1;
	weir__list_init(&wakes.list);
	weir__lock_acquire(&s->lock);
	while (s->count < w.n && s->state == WEIR__SUB_OPEN && r == 0) {
		if (!weir__list_empty(&s->reader))
			r = -EBUSY;
		else
			r = park(ctx, s, &s->reader, &w, "subscription");
	}
	for (; r != -EBUSY && s->count && n < max; n++) {
		ret[n] = pop(s);
		signal_one(&s->writers, &wakes);
	}
	count_handled(s, n, &wakes);
	release_and_wake(s, &wakes);
	return n ? (int)n : r;
}

/* The queue's end: what it still holds is dropped and counted. With the lock. */
static void finish(weir_sub *s, struct wakes *wakes)
{
	s->state = WEIR__SUB_ENDED;
	if (s->count)
		count_drops(s, s->count);
	while (s->count)
		weir__bus_msg_unref(pop(s));
	signal_all(&s->reader, wakes);
	signal_all(&s->writers, wakes);
	signal_all(&s->counters, wakes);
	signal_all(&s->joiners, wakes);
}

/* First the mark, then the index: see weir__broker_add(). */
static void stop_taking(weir_sub *s)
{
	weir__lock_acquire(&s->lock);
	if (s->state == WEIR__SUB_OPEN)
		s->state = WEIR__SUB_DRAINING;
	weir__lock_release(&s->lock);
	weir__sub_unindex(s);
}

bool weir__sub_open(weir_sub *s)
{
	bool open;

	weir__lock_acquire(&s->lock);
	open = s->state == WEIR__SUB_OPEN;
	weir__lock_release(&s->lock);
	return open;
}

static void deliver(const weir_ctx *ctx, weir_sub *s)
{
	struct weir__bus_msg *m;
	weir_msg view;

	while (weir__sub_take(ctx, s, &m) > 0) {
		int r;

		weir__sub_msg(s, m, &view);
		r = s->fn(ctx, &view, s->arg);
		if (r < 0 && r != -ECANCELED)
			weir__log_rare(WEIR__WARN, "bus", "the handler of %s returned %d (%s)",
			               s->subject, r,
			               strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
		weir__bus_msg_unref(m);
		handled(s, r);
	}
}

int weir__sub_run(const weir_ctx *ctx, void *arg)
{
	weir_sub *s = arg;
	struct wakes wakes;
	struct waiter w;
	weir_ctx mine;
	bool skip;
	int r;

	weir__list_init(&wakes.list);
	weir__wait_init(&w.wait);
	weir_task_name("sub %s", s->subject);
	r = weir_scope_open(ctx, &mine);
	if (r < 0)
		weir__log(WEIR__ERROR, "bus", "no memory to run the handler of %s", s->subject);
	weir__lock_acquire(&s->lock);
	skip = s->cancelled || r < 0;
	__atomic_store_n(&s->task, w.wait.task, __ATOMIC_RELAXED);
	if (!skip)
		s->scope = mine.scope;
	s->begun = r < 0 ? r : 1;
	signal_all(&s->joiners, &wakes);
	release_and_wake(s, &wakes);
	if (!skip)
		deliver(&mine, s);

	stop_taking(s);
	weir__lock_acquire(&s->lock);
	s->scope = NULL;
	while (s->cancelling)
		park(NULL, s, &s->reader, &w, "the end of a cancel");
	weir__lock_release(&s->lock);
	if (r == 0)
		weir_scope_close(mine.scope);
	weir__lock_acquire(&s->lock);
	__atomic_store_n(&s->task, NULL, __ATOMIC_RELAXED);
	finish(s, &wakes);
	release_and_wake(s, &wakes);
	weir__sub_unref(s);
	return 0;
}

void weir__sub_fail(weir_sub *s, int r)
{
	struct wakes wakes;

	weir__list_init(&wakes.list);
	weir__lock_acquire(&s->lock);
	s->begun = r;
	finish(s, &wakes);
	release_and_wake(s, &wakes);
}

int weir__sub_begin(const weir_ctx *ctx, weir_sub *s)
{
	struct waiter w;
	int r = 0;

	weir__lock_acquire(&s->lock);
	while (!s->begun && r == 0)
		r = park(ctx, s, &s->joiners, &w, "a subscription's task to begin");
	if (r == 0 && s->begun < 0)
		r = s->begun;
	weir__lock_release(&s->lock);
	return r;
}

bool weir__sub_inside(const weir_sub *s)
{
	struct weir__wait self;

	if (!weir_in_task())
		return false;
	weir__wait_init(&self);
	return __atomic_load_n(&s->task, __ATOMIC_RELAXED) == self.task;
}

static void cancel(weir_sub *s)
{
	struct wakes wakes;
	weir_scope *scope;

	weir__list_init(&wakes.list);
	weir__lock_acquire(&s->lock);
	s->cancelled = true;
	scope = s->scope;
	s->cancelling = scope != NULL;
	weir__lock_release(&s->lock);
	if (!scope)
		return;
	weir_scope_cancel(scope, -ECANCELED, "its subscription was closed");
	weir__lock_acquire(&s->lock);
	s->cancelling = false;
	signal_all(&s->reader, &wakes);
	release_and_wake(s, &wakes);
}

void weir__sub_end(weir_sub *s, bool discard)
{
	struct wakes wakes;

	weir__list_init(&wakes.list);
	stop_taking(s);
	weir__lock_acquire(&s->lock);
	if (discard && !s->fn) {
		finish(s, &wakes);
	} else if (discard && s->state != WEIR__SUB_ENDED) {
		count_drops(s, s->count);
		while (s->count)
			weir__bus_msg_unref(pop(s));
	}
	signal_all(&s->reader, &wakes);
	signal_all(&s->writers, &wakes);
	release_and_wake(s, &wakes);
	if (discard && s->fn)
		cancel(s);
}

void weir__sub_join(const weir_ctx *ctx, weir_sub *s)
{
	struct waiter w;
	int r = ctx ? weir__wait_check(ctx) : 0;

	if (!s->fn)
		return;
	weir__lock_acquire(&s->lock);
	while (s->state != WEIR__SUB_ENDED && r == 0)
		r = park(ctx, s, &s->joiners, &w, "the end of a subscription");
	weir__lock_release(&s->lock);
	if (r == 0)
		return;
	cancel(s);
	weir__lock_acquire(&s->lock);
	while (s->state != WEIR__SUB_ENDED)
		park(NULL, s, &s->joiners, &w, "the end of a cancelled subscription");
	weir__lock_release(&s->lock);
}

void weir__sub_msg(weir_sub *s, struct weir__bus_msg *m, weir_msg *ret)
{
	*ret = (weir_msg){ .subject = m->subject,
		           .reply = m->reply,
		           .headers = m->headers,
		           .data = m->data,
		           .len = m->len,
		           .priv = { m, s->bus, s } };
}

int weir_sub_next(const weir_ctx *ctx, weir_sub *s, weir_msg *ret)
{
	struct weir__bus_msg *m;
	int r;

	weir__magic_check(s, WEIR__SUB_MAGIC);
	weir__assert(!s->fn, "weir_sub_next() on %s, which has a handler", s->subject);
	weir__sub_ref(s); /* A close from elsewhere may free it while we wait. */
	r = weir__sub_take(ctx, s, &m);
	if (r > 0) {
		weir__bus_msg_unref(s->current);
		s->current = m;
		weir__sub_msg(s, m, ret);
		handled(s, 0);
	}
	weir__sub_unref(s);
	return r;
}

int weir_sub_wait(const weir_ctx *ctx, weir_sub *s, uint64_t n)
{
	struct waiter w = { .n = n };
	int r;

	weir__magic_check(s, WEIR__SUB_MAGIC);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	weir__sub_ref(s);
	weir__lock_acquire(&s->lock);
	while (r == 0 && s->handled < n && s->state != WEIR__SUB_ENDED)
		r = park(ctx, s, &s->counters, &w, "messages to be handled");
	if (r == 0 && s->handled < n)
		r = -EPIPE;
	weir__lock_release(&s->lock);
	weir__sub_unref(s);
	return r;
}

/* Counts of before are taken off, so that what is left is what happened since. */
void weir__sub_report(weir_sub *s, weir_bus_report *r, bool before)
{
	weir__lock_acquire(&s->lock);
	if (before) {
		r->subs++;
		r->pending += s->count;
		r->handled -= s->handled;
		r->dropped -= s->dropped;
	} else {
		r->handled += s->handled;
		r->dropped += s->dropped;
		r->cut += s->cancelled;
	}
	weir__lock_release(&s->lock);
}

void weir_sub_stats_get(const weir_sub *s, weir_sub_stats *ret)
{
	weir__lock *lock = (weir__lock *)&s->lock;

	weir__lock_acquire(lock);
	*ret = (weir_sub_stats){ .delivered = s->accepted,
		                 .handled = s->handled,
		                 .failed = s->failed,
		                 .dropped = s->dropped,
		                 .pending = s->count,
		                 .pending_bytes = s->bytes };
	weir__lock_release(lock);
}
