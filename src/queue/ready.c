/* SPDX-License-Identifier: MIT */
/*
 * Who is next in a queue, and who gets it.
 *
 * The ready heap holds jobs without a key, and keys: a key stands there with the order (priority,
 * then arrival) of its best job, and only while it has ready jobs and runs fewer than
 * key_concurrency. So a key at its cap costs nothing, however many of its jobs wait, and the order
 * over all is exact.
 *
 * Takers are served first come, first served. Between operations, a queue has waiting takers only
 * if no job may run now: whatever lets one run (a put, an end of a run, a resume, a rate's token)
 * calls dispatch, which hands jobs over directly; so a put wakes exactly one taker.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "queue/inner.h"

static bool ready_less(const struct weir__heap_node *x, const struct weir__heap_node *y)
{
	const struct weir__ready *a = weir__container(x, struct weir__ready, node);
	const struct weir__ready *b = weir__container(y, struct weir__ready, node);

	return a->priority != b->priority ? a->priority < b->priority : a->seq < b->seq;
}

/* ---- Keys ---- */

static uint64_t key_hash(const struct weir__queue *q, const char *key)
{
	const uint64_t *seed = q->store->keys.seed;

	return weir__hash(seed, q->name, strlen(q->name)) * 31 + weir__hash(seed, key, strlen(key));
}

static struct weir__key *key_find(struct weir__queue *q, const char *text)
{
	weir__hash_each (n, &q->store->keys, key_hash(q, text)) {
		struct weir__key *k = weir__container(n, struct weir__key, node);

		if (k->queue == q && !strcmp(k->text, text))
			return k;
	}
	return NULL;
}

static size_t key_size(const struct weir__key *k)
{
	return sizeof *k + k->len + 1;
}

static struct weir__key *key_get(weir_store *s, struct weir__queue *q, const char *text)
{
	struct weir__key *k = key_find(q, text);
	size_t len = strlen(text);

	if (k)
		return k;
	k = calloc(1, sizeof *k + len + 1);
	if (!k)
		return NULL;
	memcpy(k->text, text, len + 1);
	k->len = len;
	k->queue = q;
	k->ready.is_key = true;
	k->jobs.less = ready_less;
	weir__list_append(&q->keys, &k->link);
	weir__hash_add(&s->keys, &k->node, key_hash(q, text));
	weir__store_charge(s, key_size(k), 0);
	return k;
}

static void key_free(weir_store *s, struct weir__key *k)
{
	weir__list_remove(&k->link);
	weir__hash_remove(&s->keys, &k->node);
	weir__store_charge(s, 0, key_size(k));
	weir__heap_free(&k->jobs);
	free(k);
}

/* Puts the key where it belongs in the ready heap, or out of it. */
static void key_place(struct weir__queue *q, struct weir__key *k)
{
	struct weir__heap_node *first = weir__heap_first(&k->jobs);
	bool may = first && (!q->set.key_concurrency || k->running < q->set.key_concurrency);

	if (may) {
		k->ready.priority = weir__container(first, struct weir__ready, node)->priority;
		k->ready.seq = weir__container(first, struct weir__ready, node)->seq;
	}
	if (weir__heap_in(&k->ready.node)) {
		if (may)
			weir__heap_moved(&q->ready, &k->ready.node);
		else
			weir__heap_remove(&q->ready, &k->ready.node);
	} else if (may) {
		weir__assert(weir__heap_push(&q->ready, &k->ready.node),
		             "queue: no room for a key that has jobs");
	}
}

/* ---- Jobs ---- */

int weir__ready_room(struct weir__queue *q, size_t n)
{
	q->ready.less = ready_less;
	return weir__heap_reserve(&q->ready, n) ? 0 : -ENOMEM;
}

int weir__ready_hold(weir_store *s, struct weir__queue *q, struct weir__record *j)
{
	struct weir__key *k;

	/* Each key in the heap stands for at least one held job, so room for the jobs is room for
	 * all. */
	if (weir__ready_room(q, q->held + 1) < 0)
		return -ENOMEM;
	if (!j->key || !*j->key)
		return 0;
	k = key_get(s, q, j->key);
	if (!k)
		return -ENOMEM;
	if (!weir__heap_reserve(&k->jobs, k->held + 1)) {
		if (!k->held)
			key_free(s, k);
		return -ENOMEM;
	}
	k->held++;
	j->key_entry = k;
	return 0;
}

void weir__ready_unhold(weir_store *s, struct weir__queue *q, struct weir__record *j)
{
	struct weir__key *k = j->key_entry;

	weir__heap_trim(&q->ready, q->held);
	if (!k)
		return;
	j->key_entry = NULL;
	if (--k->held == 0)
		key_free(s, k);
	else
		weir__heap_trim(&k->jobs, k->held);
}

void weir__ready_add(struct weir__queue *q, struct weir__record *j)
{
	struct weir__key *k = j->key_entry;
	bool ok = weir__heap_push(k ? &k->jobs : &q->ready, &j->ready.node);

	weir__assert(ok, "queue: no room for a job that is held");
	if (k)
		key_place(q, k);
}

void weir__ready_remove(struct weir__queue *q, struct weir__record *j)
{
	struct weir__key *k = j->key_entry;

	weir__heap_remove(k ? &k->jobs : &q->ready, &j->ready.node);
	if (k)
		key_place(q, k);
}

void weir__ready_running(struct weir__queue *q, struct weir__record *j, int by)
{
	struct weir__key *k = j->key_entry;

	if (!k)
		return;
	k->running += (size_t)by;
	key_place(q, k);
}

void weir__ready_refresh(struct weir__queue *q)
{
	weir__list_each (n, &q->keys)
		key_place(q, weir__container(n, struct weir__key, link));
}

struct weir__record *weir__ready_next(weir_store *s, struct weir__queue *q)
{
	struct weir__heap_node *n = weir__heap_first(&q->ready);
	struct weir__ready *r;

	if (q->cold_n || q->reading) {
		weir__cold_refill(s, q);
		if (n && weir__cold_first(q, weir__ready_priority(q)))
			return NULL; /* It is about to be read. */
	}
	if (!n || q->set.paused || s->draining ||
	    (q->set.concurrency && q->count[WEIR_RUNNING] >= q->set.concurrency))
		return NULL;
	if (q->set.rate > 0 && weir_rate_try(&q->rate) < 0) {
		if (!weir__heap_in(&q->rate_due.node))
			weir__due_arm(s, &q->rate_due, weir_now() + weir_rate_next(&q->rate));
		return NULL;
	}
	r = weir__container(n, struct weir__ready, node);
	if (r->is_key)
		r = weir__container(
			weir__heap_first(&weir__container(r, struct weir__key, ready)->jobs),
			struct weir__ready, node);
	return weir__container(r, struct weir__record, ready);
}

void weir__ready_dispatch(weir_store *s, struct weir__queue *q)
{
	while (!weir__list_empty(&q->takers)) {
		struct weir__taker *t =
			weir__container(q->takers.next, struct weir__taker, sleeper.node);
		struct weir__record *j;

		/* A taker whose wait has ended must not cost a token of the rate. */
		if (__atomic_load_n(&t->sleeper.wait.claim, __ATOMIC_ACQUIRE) != WEIR__OPEN) {
			weir__list_remove(&t->sleeper.node);
			continue;
		}
		j = weir__ready_next(s, q);
		if (!j)
			return;
		/* Losing the claim here is a race lost to a timer or a stop: the job goes to the
		 * next taker, or stays. */
		if (weir__store_claim(s, &t->sleeper, 1))
			weir__lease_start(s, j, t);
	}
}

void weir__rate_due(weir_store *s, struct weir__due *d)
{
	weir__ready_dispatch(s, weir__container(d, struct weir__queue, rate_due));
}

int weir__ready_priority(const struct weir__queue *q)
{
	const struct weir__heap_node *n = weir__heap_first(&q->ready);

	return n ? weir__container(n, struct weir__ready, node)->priority : INT_MAX;
}

void weir__ready_fini(struct weir__queue *q)
{
	weir__heap_free(&q->ready);
}
