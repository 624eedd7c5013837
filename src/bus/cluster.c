/* SPDX-License-Identifier: MIT */
/*
 * The cluster adapter: a bus whose broker is a NATS server or a cluster of them, spoken to through
 * nats.c.
 *
 * Everything that nats.c might make one wait for (it holds its locks while it writes to a socket)
 * is done by one thread of the adapter. Tasks put orders into its ring: a message, a subscription
 * to make, a mark. The ring is also what an outage fills: it is bounded in orders and bytes, while
 * connected a publisher waits for room under its context, while not connected it gets -ENOBUFS.
 *
 * What is known to have arrived: behind some orders the thread publishes a mark to an inbox of its
 * own. Everything goes one way through one connection and comes back through one delivery thread,
 * so a mark that has come back says that all orders before it were taken over by the server, and
 * that what the server had sent before it is in its subscribers' queues. Flush, live subscriptions
 * and drains wait for such a mark; beyond those one is sent every MARK_EVERY messages or MARK_MS,
 * and no more than WINDOW messages go out ahead of the last that came back. A connection that
 * breaks loses at most those: their number is logged, counted, and told to whoever flushes next.
 * Nothing is sent twice.
 *
 * Plain subscriptions of one pattern share one subscription of the cluster; members of queue groups
 * have one each, so that the cluster deals evenly. nats.c renews them after a reconnect. When
 * nats.c gives a connection up (an error of protocol or of rights) the thread makes another and
 * subscribes anew.
 *
 * Messages come in on nats.c's delivery thread, which puts them into the subscriptions' queues
 * directly: that never waits, so one that is full drops by its policy (BLOCK: the new one) and
 * slows nobody. Requests do not subscribe: all inboxes of a bus are below one subject.
 *
 * In cluster.c what a bus asks for, in cluster_thread.c what the thread does, in cluster_in.c what
 * nats.c tells.
 *
 * Locks: k->lock and, for messages that are to be destroyed, k->spent_lock. Nothing is locked under
 * either, and nats.c is not called under them. The thread takes up to 64 orders a turn of k->lock,
 * and counts k->sent without it, one by one, before nats.c has the message: so that a connection
 * that breaks among them tells no more as lost than was on its way.
 *
 * Rejected: nats.c called by offloading (a thread switch per message); its FlushTimeout() as the
 * mark (the thread would wait a round trip per batch); its own buffer for outages (what is in it
 * cannot be counted); keeping what is not yet confirmed and sending it again (at most once is the
 * contract).
 */
#include "bus/cluster.h"

#include "rt/task.h"

#include <weir/sim.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RING = WEIR__ORDERS,
	RING_SPARE = 1 << 10, /* for orders that are no messages */
	TOGETHER = 32,        /* of many messages, the thread is woken for so many */
};

struct waiter {
	struct weir__list link;
	struct weir__wait wait;
};

static struct weir__cluster *of(struct weir__remote *r)
{
	return weir__container(r, struct weir__cluster, remote);
}

void weir__shared_unref(struct weir__shared *sh)
{
	if (__atomic_fetch_sub(&sh->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	weir__remote_unref(&sh->k->remote);
	free(sh->subject);
	free(sh->queue);
	free(sh);
}

/* ---- Waiting for the thread, and waking it ---- */

void weir__cluster_wake(struct weir__cluster *k)
{
	struct weir__list wakes, *l;
	bool work = k->sleeping;

	k->sleeping = false;
	weir__list_init(&wakes);
	while ((l = weir__list_pop(&k->waiters)))
		if (weir__wait_claim(&weir__container(l, struct waiter, link)->wait, 1))
			weir__list_append(&wakes, l);
	weir__lock_release(&k->lock);
	while ((l = weir__list_pop(&wakes)))
		weir__wait_wake(&weir__container(l, struct waiter, link)->wait);
	if (work)
		sem_post(&k->wake);
}

/* With the lock before and after. */
static int park(const weir_ctx *ctx, struct weir__cluster *k, const char *what)
{
	struct waiter w;
	int r;

	weir__wait_init(&w.wait);
	weir__list_append(&k->waiters, &w.link);
	weir__lock_release(&k->lock);
	r = ctx ? weir__wait_park(&w.wait, ctx, what, k) : weir__wait_park_hard(&w.wait, what, k);
	weir__lock_acquire(&k->lock);
	if (weir__list_linked(&w.link))
		weir__list_remove(&w.link);
	return r < 0 ? r : 0;
}

void weir__cluster_work(struct weir__cluster *k)
{
	bool wake = k->sleeping;

	k->sleeping = false;
	weir__lock_release(&k->lock);
	if (wake)
		sem_post(&k->wake);
}

void weir__cluster_lend(struct weir__cluster *k)
{
	weir__lock_acquire(&k->lock);
	k->foreign++;
	weir__lock_release(&k->lock);
}

void weir__cluster_returned(struct weir__cluster *k)
{
	weir__lock_acquire(&k->lock);
	k->foreign--;
	weir__cluster_work(k);
}

static bool has_room(const struct weir__cluster *k, const struct weir__order *o)
{
	if (!o->msg)
		return k->n < RING;
	return k->n < RING - RING_SPARE &&
	       (k->bytes == 0 || k->bytes + o->msg->cost <= k->bytes_max);
}

/* Put an order into the ring; its number, or < 0. With the lock, which is kept. */
static int64_t put(const weir_ctx *ctx, struct weir__cluster *k, struct weir__order o)
{
	while (!k->stop && !k->error && !has_room(k, &o)) {
		int r;

		if (!k->up && o.msg) {
			k->refused++;
			return -ENOBUFS;
		}
		if (k->sleeping) { /* It was not woken for those that more were to follow. */
			k->sleeping = false;
			sem_post(&k->wake);
		}
		r = park(ctx, k, "room in what goes to the NATS cluster");
		if (r < 0)
			return r;
	}
	if (k->stop || k->error)
		return k->error ? k->error : -EPIPE;
	k->ring[(k->head + k->n++) & (RING - 1)] = o;
	k->bytes += o.msg ? o.msg->cost : 0;
	return (int64_t)++k->pushed;
}

/* ---- What a bus asks for ---- */

static int publish(const weir_ctx *ctx, struct weir__remote *r, struct weir__bus_msg *m, bool more)
{
	struct weir__cluster *k = of(r);
	int64_t seq;

	weir__lock_acquire(&k->lock);
	seq = put(ctx, k, (struct weir__order){ .msg = m });
	if (seq > 0)
		weir__bus_msg_ref(m);
	if (more && k->n < TOGETHER)
		weir__lock_release(&k->lock);
	else
		weir__cluster_work(k);
	return seq < 0 ? (int)seq : 0;
}

static void kick(struct weir__remote *r)
{
	struct weir__cluster *k = of(r);

	weir__lock_acquire(&k->lock);
	weir__cluster_work(k);
}

static int flush(const weir_ctx *ctx, struct weir__remote *remote, bool reports)
{
	struct weir__cluster *k = of(remote);
	int64_t seq;
	int r = 0;

	weir__lock_acquire(&k->lock);
	seq = !reports && !k->up ? -ENOTCONN : put(ctx, k, (struct weir__order){ NULL });
	weir__cluster_work(k);
	if (seq < 0)
		return (int)seq;
	weir__lock_acquire(&k->lock);
	while (r == 0 && k->confirmed < (uint64_t)seq && !k->done && !k->error) {
		if (!reports && !k->up)
			r = -ENOTCONN;
		else
			r = park(ctx, k, "the NATS cluster's word that it has all");
	}
	if (r == 0 && k->confirmed < (uint64_t)seq)
		r = k->error ? k->error : -EPIPE;
	if (r == 0 && reports && k->lost != k->lost_told) {
		k->lost_told = k->lost;
		r = -ECONNRESET;
	}
	weir__lock_release(&k->lock);
	return r;
}

static uint64_t hash_of(struct weir__cluster *k, const char *subject)
{
	return weir__hash(k->plain.seed, subject, strlen(subject));
}

/* The one that feeds plain subscriptions to that pattern. With the lock. */
static struct weir__shared *find(struct weir__cluster *k, const char *subject)
{
	weir__hash_each (x, &k->plain, hash_of(k, subject)) {
		struct weir__shared *sh = weir__container(x, struct weir__shared, node);

		if (!sh->error && !strcmp(sh->subject, subject))
			return sh;
	}
	return NULL;
}

static struct weir__shared *shared_new(struct weir__cluster *k, const weir_sub *s)
{
	struct weir__shared *sh = calloc(1, sizeof *sh);

	if (!sh)
		return NULL;
	sh->refs = 1;
	sh->k = k;
	weir__remote_ref(&k->remote);
	weir__list_init(&sh->users);
	sh->subject = strdup(s->subject);
	sh->queue = s->target.queue ? strdup(s->target.queue) : NULL;
	if (!sh->subject || (s->target.queue && !sh->queue)) {
		weir__shared_unref(sh);
		return NULL;
	}
	return sh;
}

/* Join the one of this pattern, or make it of `fresh`. With the lock. */
static int enter(const weir_ctx *ctx, struct weir__cluster *k, weir_sub *s,
                 struct weir__shared *fresh, struct weir__shared **ret)
{
	struct weir__shared *sh = s->target.queue ? NULL : find(k, s->subject);

	if (!sh) {
		int64_t seq = put(ctx, k, (struct weir__order){ .sub = fresh });

		if (seq < 0)
			return (int)seq;
		sh = s->target.queue ? NULL : find(k, s->subject);
		if (sh) {
			/* Made by others while we waited: the order becomes a mark. */
			k->ring[(k->head + k->n - 1) & (RING - 1)].sub = NULL;
		} else {
			sh = fresh;
			sh->refs += 2; /* the index's and the ring's */
			sh->seq = (uint64_t)seq;
			weir__list_append(&k->all, &sh->link);
			if (!sh->queue)
				weir__hash_add(&k->plain, &sh->node, hash_of(k, sh->subject));
		}
	}
	weir__list_append(&sh->users, &s->target.entry.link);
	s->shared = sh;
	weir__sub_ref(s);
	*ret = sh;
	return 0;
}

static int add(const weir_ctx *ctx, struct weir__remote *remote, weir_sub *s)
{
	struct weir__cluster *k = of(remote);
	struct weir__shared *fresh = shared_new(k, s), *sh = NULL;
	int r;

	if (!fresh)
		return -ENOMEM;
	weir__lock_acquire(&k->lock);
	r = enter(ctx, k, s, fresh, &sh);
	if (r == 0)
		__atomic_fetch_add(&sh->refs, 1, __ATOMIC_RELAXED);
	weir__cluster_work(k);
	weir__shared_unref(fresh);
	if (r < 0)
		return r;
	weir__lock_acquire(&k->lock);
	while (r == 0 && k->confirmed < sh->seq && !sh->error && !k->error && !k->done)
		r = park(ctx, k, "a subscription to be live in the NATS cluster");
	if (r == 0 && (sh->error || k->error))
		r = sh->error ? sh->error : k->error;
	if (r == 0 && k->done)
		r = -EPIPE;
	weir__lock_release(&k->lock);
	weir__shared_unref(sh);
	return r;
}

static void remove_sub(struct weir__remote *remote, weir_sub *s)
{
	struct weir__cluster *k = of(remote);
	struct weir__shared *sh;

	weir__lock_acquire(&k->lock);
	sh = s->shared;
	s->shared = NULL;
	if (sh) {
		weir__list_remove(&s->target.entry.link);
		if (weir__list_empty(&sh->users)) {
			weir__list_remove(&sh->link);
			if (!sh->queue)
				weir__hash_remove(&k->plain, &sh->node);
			weir__list_append(&k->ended, &sh->link);
		}
	}
	weir__cluster_work(k);
	if (sh)
		weir__sub_unref(s);
}

static const char *inbox(struct weir__remote *r)
{
	return of(r)->inbox;
}

static void stats(struct weir__remote *remote, weir_bus_stats *ret)
{
	struct weir__cluster *k = of(remote);

	weir__lock_acquire(&k->lock);
	ret->cluster = true;
	ret->connected = k->up;
	ret->reconnects = k->connects > 1 ? k->connects - 1 : 0;
	ret->maybe_lost = k->lost;
	ret->refused = k->refused;
	ret->unsent = k->n;
	weir__lock_release(&k->lock);
}

static size_t payload_max(struct weir__remote *r)
{
	return __atomic_load_n(&of(r)->payload_max, __ATOMIC_RELAXED);
}

/* It is done, so this takes no time: but a program that ends now would pull OpenSSL from under what
 * the thread still has of it. */
static void reap(struct weir__cluster *k)
{
	pthread_join(k->thread, NULL);
}

static uint64_t close_cluster(const weir_ctx *ctx, struct weir__remote *remote)
{
	struct weir__cluster *k = of(remote);
	uint64_t unsent;
	bool all_there;

	weir__lock_acquire(&k->lock);
	all_there = k->n == 0 && __atomic_load_n(&k->sent, __ATOMIC_SEQ_CST) == k->sent_confirmed;
	weir__lock_release(&k->lock);
	if (ctx && !all_there)
		(void)flush(ctx, remote, true);
	weir__lock_acquire(&k->lock);
	k->stop = true;
	weir__cluster_work(k);
	weir__lock_acquire(&k->lock);
	while (!k->done)
		(void)park(NULL, k, "the connection to the NATS cluster to close");
	unsent = k->unsent;
	weir__lock_release(&k->lock);
	reap(k);
	return unsent;
}

static void free_cluster(struct weir__remote *remote)
{
	struct weir__cluster *k = of(remote);

	weir__hash_free(&k->plain);
	weir__broker_unref(k->local);
	sem_destroy(&k->wake);
	free(k->ring);
	free(k->url);
	free(k);
}

static const struct weir__remote_ops ops = { .publish = publish,
	                                     .kick = kick,
	                                     .flush = flush,
	                                     .add = add,
	                                     .remove = remove_sub,
	                                     .inbox = inbox,
	                                     .close = close_cluster,
	                                     .stats = stats,
	                                     .payload_max = payload_max,
	                                     .free = free_cluster };

static struct weir__cluster *cluster_new(const char *url, struct weir__broker *local)
{
	struct weir__cluster *k = calloc(1, sizeof *k);

	if (!k)
		return NULL;
	k->remote.ops = &ops;
	k->remote.refs = 2; /* ours and the thread's */
	k->payload_max = WEIR__BUS_PAYLOAD_MAX;
	k->local = local;
	weir__broker_ref(local);
	sem_init(&k->wake, 0, 0);
	weir__list_init(&k->all);
	weir__list_init(&k->ended);
	weir__list_init(&k->made);
	weir__list_init(&k->waiters);
	k->plain.seed[0] = local->trie.plain.seed[0];
	k->plain.seed[1] = local->trie.plain.seed[1];
	snprintf(k->inbox, sizeof k->inbox, "_INBOX.%08x%08x.", weir_random(UINT32_MAX),
	         weir_random(UINT32_MAX));
	k->url = strdup(url);
	k->ring = calloc(RING, sizeof *k->ring);
	if (!k->url || !k->ring) {
		free_cluster(&k->remote);
		return NULL;
	}
	return k;
}

/* The first connection, and a round trip over it. */
static int wait_open(const weir_ctx *ctx, struct weir__cluster *k)
{
	int r = 0;

	weir__lock_acquire(&k->lock);
	while (!k->opened && r == 0)
		r = park(ctx, k, "a connection to the NATS cluster");
	if (r == 0 && k->opened < 0)
		r = k->opened;
	weir__lock_release(&k->lock);
	return r < 0 ? r : flush(ctx, &k->remote, true);
}

int weir__cluster_open(const weir_ctx *ctx, const char *url, struct weir__broker *local,
                       struct weir__remote **ret)
{
	struct weir__cluster *k = cluster_new(url, local);
	bool done;
	int r;

	if (!k)
		return -ENOMEM;
	weir__outside(1);
	r = pthread_create(&k->thread, NULL, weir__cluster_run, k);
	if (r > 0) {
		weir__outside(-1);
		free_cluster(&k->remote);
		return -r;
	}
	r = wait_open(ctx, k);
	if (r < 0) {
		weir__lock_acquire(&k->lock);
		k->stop = true;
		weir__cluster_work(k);
		weir__lock_acquire(&k->lock);
		while (!k->done && weir_ctx_err(ctx) == 0 &&
		       park(ctx, k, "a connection's end") == 0)
			;
		done = k->done;
		weir__lock_release(&k->lock);
		if (done)
			reap(k);
		else
			pthread_detach(k->thread); /* It is connecting, and hears of it later. */
		weir__remote_unref(&k->remote);
		return r;
	}
	*ret = &k->remote;
	return 0;
}
