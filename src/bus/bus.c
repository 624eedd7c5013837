/* SPDX-License-Identifier: MIT */
/*
 * The broker in memory, and a program's handle on it, the bus.
 *
 * A publish encodes the message once, finds the subscriptions under the broker's lock (taking a
 * reference on each), and delivers after letting it go, to one queue after the other in the
 * publisher's own task: so order per publisher holds, a publish that has returned has delivered,
 * and a flush has nothing to do (route.c). A bus whose broker is elsewhere hands messages and
 * subscriptions to its remote (remote.h), and has the broker here for its inboxes and counters
 * only.
 *
 * A bus has one group for the tasks of its handlers. The bus holds it open, so that any task may
 * subscribe; the group, and so the bus, is closed by the task that opened it.
 *
 * Lock order: none of the locks (registry, broker, subscription, remote) is taken under another.
 */
#include "bus/bus.h"

#include <weir/sim.h>

#include <stdlib.h>
#include <string.h>

static weir__lock registry_lock = WEIR__LOCK_INIT;
static struct weir__list registry = { &registry, &registry };

void weir__broker_ref(struct weir__broker *k)
{
	__atomic_fetch_add(&k->refs, 1, __ATOMIC_RELAXED);
}

void weir__broker_unref(struct weir__broker *k)
{
	if (__atomic_fetch_sub(&k->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	weir__cache_fini(&k->cache);
	weir__trie_fini(&k->trie);
	free(k->name);
	free(k);
}

static struct weir__broker *broker_new(const char *name)
{
	struct weir__broker *k = calloc(1, sizeof *k);

	if (!k)
		return NULL;
	k->refs = 1;
	k->buses = 1;
	weir__trie_init(&k->trie,
	                (uint64_t)weir_random(UINT32_MAX) << 32 | weir_random(UINT32_MAX));
	weir__cache_init(&k->cache, k->trie.plain.seed);
	k->name = *name ? strdup(name) : NULL;
	if (*name && !k->name) {
		free(k);
		return NULL;
	}
	return k;
}

/* The broker of that name, made when there is none. An empty name is always a new one. */
static struct weir__broker *broker_open(const char *name)
{
	struct weir__broker *fresh = broker_new(name);

	if (!fresh || !*name)
		return fresh;
	weir__lock_acquire(&registry_lock);
	weir__list_each (l, &registry) {
		struct weir__broker *k = weir__container(l, struct weir__broker, link);

		if (strcmp(k->name, name))
			continue;
		k->buses++;
		weir__broker_ref(k);
		weir__lock_release(&registry_lock);
		weir__broker_unref(fresh);
		return k;
	}
	weir__list_append(&registry, &fresh->link);
	weir__lock_release(&registry_lock);
	return fresh;
}

static void broker_close(struct weir__broker *k)
{
	weir__lock_acquire(&registry_lock);
	if (--k->buses == 0 && k->name)
		weir__list_remove(&k->link);
	weir__lock_release(&registry_lock);
	weir__broker_unref(k);
}

int weir__broker_add(struct weir__broker *k, struct weir__target *t, const char *pattern)
{
	int r;

	weir__lock_acquire(&k->lock);
	r = weir__trie_insert(&k->trie, &t->entry, pattern);
	if (r == 0) {
		weir__target_ref(t);
		__atomic_store_n(&k->subs, k->subs + 1, __ATOMIC_RELAXED);
		weir__cache_forget(&k->cache, pattern);
		__atomic_fetch_add(&k->generation, 1, __ATOMIC_RELEASE);
	}
	weir__lock_release(&k->lock);
	return r;
}

void weir__broker_remove(struct weir__broker *k, struct weir__target *t)
{
	char pattern[WEIR_SUBJECT_MAX + 1];
	bool was_in;

	weir__lock_acquire(&k->lock);
	was_in = t->entry.node != NULL;
	if (was_in)
		weir__trie_pattern(&t->entry, pattern);
	weir__trie_remove(&k->trie, &t->entry);
	if (was_in) {
		__atomic_store_n(&k->subs, k->subs - 1, __ATOMIC_RELAXED);
		weir__cache_forget(&k->cache, pattern);
		__atomic_fetch_add(&k->generation, 1, __ATOMIC_RELEASE);
	}
	weir__lock_release(&k->lock);
	if (was_in)
		weir__target_unref(t);
}

void weir__sub_unindex(weir_sub *s)
{
	if (s->remote)
		s->remote->ops->remove(s->remote, s);
	else
		weir__broker_remove(s->broker, &s->target);
}

void weir__target_unref(struct weir__target *t)
{
	if (__atomic_fetch_sub(&t->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	if (t->ops)
		t->ops->free(t);
	else
		weir__sub_free(weir__container(t, weir_sub, target));
}

static uint64_t close_remote(const weir_ctx *ctx, weir_bus *b)
{
	uint64_t unsent = b->remote ? b->remote->ops->close(ctx, b->remote) : 0;

	weir__remote_unref(b->remote);
	return unsent;
}

int weir_bus_open(const weir_ctx *ctx, const char *url, weir_bus **ret)
{
	weir_ctx forever = { .scope = ctx->scope, .deadline_ns = WEIR_NEVER };
	bool remote = !strncmp(url, "nats://", 7) || !strncmp(url, "tls://", 6);
	weir_bus *b;
	int r;

	if (!strchr(url, ':'))
		return -EINVAL;
	if (strncmp(url, "mem:", 4) && !remote)
		return -EPROTONOSUPPORT;
	b = calloc(1, sizeof *b);
	if (!b)
		return -ENOMEM;
	b->broker = broker_open(remote ? "" : url + 4);
	r = b->broker ? 0 : -ENOMEM;
	if (r == 0 && remote)
		r = weir__cluster_open(ctx, url, b->broker, &b->remote);
	if (r < 0) {
		if (b->broker)
			broker_close(b->broker);
		free(b);
		return r;
	}
	b->magic = WEIR__BUS_MAGIC;
	weir__list_init(&b->subs);
	weir_group_init(&b->group, &forever);
	r = weir_group_hold(&b->group);
	if (r < 0) {
		weir_group_wait(&b->group);
		close_remote(NULL, b);
		broker_close(b->broker);
		free(b);
		return r;
	}
	*ret = b;
	return 0;
}

static bool inside(weir_bus *b)
{
	bool found = false;

	weir__lock_acquire(&b->broker->lock);
	weir__list_each (l, &b->subs)
		if (weir__sub_inside(weir__container(l, weir_sub, link)))
			found = true;
	weir__lock_release(&b->broker->lock);
	return found;
}

/*
 * All subscriptions stop taking before the first is waited for, so that they empty side by side.
 * One that is followed stays its owner's, who may be closing it right now: hence the reference.
 */
static void finish(const weir_ctx *ctx, weir_bus *b, bool discard, weir_bus_report *report)
{
	struct weir__list mine, *l;

	weir__list_init(&mine);
	weir__lock_acquire(&b->broker->lock);
	__atomic_store_n(&b->draining, true, __ATOMIC_RELAXED);
	__atomic_store_n(&b->closed, discard, __ATOMIC_RELAXED);
	weir__lock_release(&b->broker->lock);
	for (;;) {
		weir_sub *s;

		weir__lock_acquire(&b->broker->lock);
		l = weir__list_pop(&b->subs);
		s = l ? weir__container(l, weir_sub, link) : NULL;
		if (s && s->fn)
			s->bus_consumes = true;
		else if (s)
			weir__sub_ref(s);
		weir__lock_release(&b->broker->lock);
		if (!s)
			break;
		if (s->fn)
			weir__sub_report(s, report, true);
		weir__sub_end(s, discard && s->fn);
		if (s->fn)
			weir__list_append(&mine, l);
		else
			weir__sub_unref(s);
	}
	while ((l = weir__list_pop(&mine))) {
		weir_sub *s = weir__container(l, weir_sub, link);

		weir__sub_join(ctx, s);
		weir__sub_report(s, report, false);
		weir__sub_unref(s);
	}
	weir_group_release(&b->group);
	weir_group_wait(&b->group);
	report->unsent = close_remote(discard ? NULL : ctx, b);
	broker_close(b->broker);
	b->magic = 0;
	free(b);
}

int weir_bus_drain(const weir_ctx *ctx, weir_bus *b)
{
	weir_bus_report report;

	return weir_bus_drain_report(ctx, b, &report);
}

int weir_bus_drain_report(const weir_ctx *ctx, weir_bus *b, weir_bus_report *ret)
{
	weir_bus_report report = { 0 };
	int r;

	weir__magic_check(b, WEIR__BUS_MAGIC);
	if (inside(b))
		return -EDEADLK;
	if (b->remote)
		(void)b->remote->ops->flush(ctx, b->remote, false);
	finish(ctx, b, false, &report);
	*ret = report;
	r = weir_ctx_err(ctx);
	return r == 0 && report.unsent ? -ENOTCONN : r;
}

void weir_bus_close(weir_bus *b)
{
	weir_bus_report report = { 0 };

	if (!b)
		return;
	weir__magic_check(b, WEIR__BUS_MAGIC);
	weir__assert(!inside(b), "weir_bus_close() from a handler of the bus itself");
	finish(NULL, b, true, &report);
}

/* ---- Publishing ---- */

size_t weir__bus_payload_max(const weir_bus *b)
{
	return b->remote ? b->remote->ops->payload_max(b->remote) : WEIR__BUS_PAYLOAD_MAX;
}

static int check(const weir_bus *b, const weir_msg *m)
{
	size_t max = weir__bus_payload_max(b);
	size_t headers = m->headers ? strnlen(m->headers, max + 1) : 0;

	if (headers && b->remote)
		headers += WEIR__BUS_FRAME;
	if (!weir_subject_valid(m->subject, false))
		return -EINVAL;
	if (m->reply && !weir_subject_valid(m->reply, false))
		return -EINVAL;
	if (m->len > max || headers > max - m->len)
		return -EMSGSIZE;
	return 0;
}

static int send(const weir_ctx *ctx, weir_bus *b, const weir_msg *m, bool more,
                weir_bus_receipt *ret)
{
	struct weir__broker *k = b->broker;
	struct weir__bus_msg *e;
	struct weir__hits h;
	int r;

	weir__magic_check(b, WEIR__BUS_MAGIC);
	if (__atomic_load_n(&b->closed, __ATOMIC_RELAXED))
		return -EPIPE;
	r = check(b, m);
	if (r < 0)
		return r;
	/* Not for its answer: a publisher that never waits is to let the handlers of its worker
	 * run, which else would drop what they cannot take. */
	(void)weir__wait_check(ctx);
	e = weir__bus_msg_new(m);
	if (!e)
		return -ENOMEM;
	if (b->remote) {
		r = b->remote->ops->publish(ctx, b->remote, e, more);
		weir__bus_msg_unref(e);
		if (r == 0)
			weir__broker_count(k, 1, m->len, 0);
		*ret = (weir_bus_receipt){ 0 };
		return r;
	}
	weir__broker_match(k, m->subject, 1, m->len, &h);
	r = h.failed ? -ENOMEM : weir__hits_push(ctx, &h, e);
	if (r > 0)
		__atomic_fetch_add(&k->delivered, (uint64_t)r, __ATOMIC_RELAXED);
	*ret = (weir_bus_receipt){ .found = h.n,
		                   .delivered = r > 0 ? (size_t)r : 0,
		                   .dropped = h.dropped };
	weir__hits_free(&h);
	weir__bus_msg_unref(e);
	return r;
}

int weir__bus_send(const weir_ctx *ctx, weir_bus *b, const weir_msg *m, weir_bus_receipt *ret)
{
	return send(ctx, b, m, false, ret);
}

int weir_bus_publish_msg(const weir_ctx *ctx, weir_bus *b, const weir_msg *m)
{
	weir_bus_receipt receipt;

	return weir__bus_send(ctx, b, m, &receipt);
}

int weir__bus_publish_more(const weir_ctx *ctx, weir_bus *b, const weir_msg *m)
{
	weir_bus_receipt receipt;

	return send(ctx, b, m, true, &receipt);
}

void weir__bus_kick(weir_bus *b)
{
	if (b->remote)
		b->remote->ops->kick(b->remote);
}

int weir_bus_publish_told(const weir_ctx *ctx, weir_bus *b, const weir_msg *m,
                          weir_bus_receipt *ret)
{
	int r = weir__bus_send(ctx, b, m, ret);

	return r < 0 ? r : 0;
}

int weir_bus_publish(const weir_ctx *ctx, weir_bus *b, const char *subject, const void *data,
                     size_t len)
{
	weir_msg m = { .subject = subject, .data = data, .len = len };
	int r = weir_bus_publish_msg(ctx, b, &m);

	return r < 0 ? r : 0;
}

int weir_bus_flush(const weir_ctx *ctx, weir_bus *b)
{
	weir__magic_check(b, WEIR__BUS_MAGIC);
	return b->remote ? b->remote->ops->flush(ctx, b->remote, true) : weir_ctx_err(ctx);
}

void weir_bus_stats_get(const weir_bus *b, weir_bus_stats *ret)
{
	struct weir__broker *k = b->broker;

	weir__magic_check(b, WEIR__BUS_MAGIC);
	weir__lock_acquire(&k->lock);
	*ret = (weir_bus_stats){ .subs = k->subs, .published = k->published, .bytes = k->bytes };
	weir__lock_release(&k->lock);
	ret->delivered = __atomic_load_n(&k->delivered, __ATOMIC_RELAXED);
	ret->dropped = __atomic_load_n(&k->dropped, __ATOMIC_RELAXED);
	if (b->remote)
		b->remote->ops->stats(b->remote, ret);
}

bool weir_bus_heard(const weir_bus *b, size_t ours)
{
	weir__magic_check(b, WEIR__BUS_MAGIC);
	return b->remote || __atomic_load_n(&b->broker->subs, __ATOMIC_RELAXED) > ours;
}

int weir_bus_each_sub(weir_bus *b, int (*fn)(const weir_sub_info *info, void *arg), void *arg)
{
	struct weir__hits h;
	int r;

	weir__magic_check(b, WEIR__BUS_MAGIC);
	weir__hits_init(&h);
	weir__lock_acquire(&b->broker->lock);
	weir__list_each (l, &b->subs)
		weir__hits_add(&h, &weir__container(l, weir_sub, link)->target);
	weir__lock_release(&b->broker->lock);
	r = h.failed ? -ENOMEM : 0;
	for (size_t i = 0; r == 0 && i < h.n; i++) {
		weir_sub *s = weir__container(h.all[i], weir_sub, target);
		weir_sub_info info = { .subject = s->subject,
			               .queue = s->target.queue,
			               .handled_by_task = s->fn != NULL };

		weir_sub_stats_get(s, &info.stats);
		r = fn(&info, arg);
	}
	weir__hits_free(&h);
	return r;
}

/* ---- Subscribing ---- */

static int options_check(const weir_sub_options *opt)
{
	if (opt && opt->queue && !weir_subject_valid(opt->queue, false))
		return -EINVAL;
	if (opt && opt->ack_subject && !weir_subject_valid(opt->ack_subject, false))
		return -EINVAL;
	return 0;
}

/* Take it from its bus. False: the bus is being closed and consumes it. */
static bool unlist(weir_sub *s)
{
	bool ours;

	weir__lock_acquire(&s->broker->lock);
	ours = !s->bus_consumes;
	if (ours && weir__list_linked(&s->link))
		weir__list_remove(&s->link);
	weir__lock_release(&s->broker->lock);
	return ours;
}

/* The task has begun before the subscription is found: a new task may have to wait for its first
 * turn behind a publisher that never waits, and the queue would run over. */
static int start(const weir_ctx *ctx, weir_bus *b, weir_sub *s)
{
	int r = -EPIPE;

	weir__lock_acquire(&b->broker->lock);
	if (!b->draining) {
		weir__list_append(&b->subs, &s->link);
		r = 0;
	}
	weir__lock_release(&b->broker->lock);
	if (r == 0 && s->fn) {
		weir__sub_ref(s); /* the task's */
		r = weir_group_go(&b->group, weir__sub_run, s);
		if (r < 0)
			weir__sub_unref(s);
	}
	if (r < 0)
		weir__sub_fail(s, r);
	return r == 0 && s->fn ? weir__sub_begin(ctx, s) : r;
}

/* An answer comes straight to its bus, below the inbox of all. */
static bool is_inbox(weir_bus *b, const char *subject)
{
	const char *inbox = b->remote->ops->inbox(b->remote);

	return !strncmp(subject, inbox, strlen(inbox));
}

static int index_sub(const weir_ctx *ctx, weir_bus *b, weir_sub *s)
{
	if (!b->remote || is_inbox(b, s->subject))
		return weir__broker_add(b->broker, &s->target, s->subject);
	s->remote = weir__remote_ref(b->remote);
	return b->remote->ops->add(ctx, b->remote, s);
}

static void join(const weir_ctx *ctx, weir_sub *s, bool discard)
{
	weir__sub_end(s, discard);
	weir__sub_join(ctx, s);
	weir__sub_unref(s);
}

static int subscribe(const weir_ctx *ctx, weir_bus *b, const char *subject,
                     const weir_sub_options *opt, weir_msg_fn *fn, void *arg, weir_sub **ret)
{
	weir_sub *s;
	int r;

	weir__magic_check(b, WEIR__BUS_MAGIC);
	if (!weir_subject_valid(subject, true))
		return -EINVAL;
	r = options_check(opt);
	if (r < 0)
		return r;
	r = weir__sub_new(b, subject, opt, fn, arg, &s);
	if (r < 0)
		return r;
	weir__sub_ref(
		s); /* A handler may subscribe while its bus is being closed, which consumes. */
	r = start(ctx, b, s);
	if (r == 0)
		r = index_sub(ctx, b, s);
	/* Who ends a subscription marks it before it removes it: if it had not been in yet, that
	 * falls to us. */
	if (r == 0 && !weir__sub_open(s))
		weir__sub_unindex(s);
	if (r == 0)
		*ret = s;
	else if (unlist(s))
		join(NULL, s, true);
	weir__sub_unref(s);
	return r;
}

int weir_bus_subscribe_with(const weir_ctx *ctx, weir_bus *b, const char *subject,
                            const weir_sub_options *opt, weir_msg_fn *fn, void *arg, weir_sub **ret)
{
	int r = weir_ctx_err(ctx);

	weir__assert(fn, "weir_bus_subscribe() to %s without a handler", subject);
	return r < 0 ? r : subscribe(ctx, b, subject, opt, fn, arg, ret);
}

int weir_bus_subscribe(const weir_ctx *ctx, weir_bus *b, const char *subject, weir_msg_fn *fn,
                       void *arg, weir_sub **ret)
{
	return weir_bus_subscribe_with(ctx, b, subject, NULL, fn, arg, ret);
}

int weir_bus_follow(const weir_ctx *ctx, weir_bus *b, const char *subject,
                    const weir_sub_options *opt, weir_sub **ret)
{
	int r = weir_ctx_err(ctx);

	return r < 0 ? r : subscribe(ctx, b, subject, opt, NULL, NULL, ret);
}

/* What close and drain share. */
static void consume(const weir_ctx *ctx, weir_sub *s, bool discard)
{
	bool ours = unlist(s);

	weir__assert(ours, "subscription %s is closed while its bus is being closed", s->subject);
	join(ctx, s, discard);
}

int weir_sub_drain(const weir_ctx *ctx, weir_sub *s)
{
	weir__magic_check(s, WEIR__SUB_MAGIC);
	if (weir__sub_inside(s))
		return -EDEADLK;
	if (s->remote)
		(void)s->remote->ops->flush(ctx, s->remote, false);
	consume(ctx, s, !s->fn);
	return weir_ctx_err(ctx);
}

int weir_sub_close(weir_sub *s)
{
	if (!s)
		return 0;
	weir__magic_check(s, WEIR__SUB_MAGIC);
	if (weir__sub_inside(s))
		return -EDEADLK;
	consume(NULL, s, true);
	return 0;
}
