/* SPDX-License-Identifier: MIT */
/*
 * A store whose queues are in another system. Jobs wait there; the ones that are held by workers of
 * this process are records here as well, from the fetch to the end of the run, so that leases,
 * tokens, time limits, guards, progress, history and figures are those of every store. A finished
 * one stays here for a while as others do, and can be asked for here.
 *
 *	put      checked here, given an id, and accepted there (remote_put.c)
 *	take     the taker waits here. One task per queue fetches as many as there are takers, while
 *	         there are takers; what comes is admitted, and given out by the usual dispatch.
 *	end      the verdict is made here, said there, and becomes true here when it was confirmed;
 *	         a verdict of somebody who does not wait goes into the outbox (remote_end.c)
 *	renewal  the keeper (remote_end.c) renews what is held long before it ends there. What it
 *	         could not renew in time is lost: its token ends here before anybody else can get it
 *	         there. That is the fence, and it needs only that clocks run equally fast.
 *
 * A restart of this process forgets what it held; the engine gives that to others when its time is
 * over. What an engine cannot do is refused with -EOPNOTSUPP by the table in engines.c.
 *
 * Rejected: records for jobs that wait there. Another process may take them at any time, so they
 * would be guesses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/far.h"
#include "rt/scope.h"

enum { FETCH_MAX = 64 };
#define AGAIN  WEIR_MS(250)
#define LINGER WEIR_MS(500)

bool weir__far_can(const weir_store *s, enum weir__feature f)
{
	return s->far->row->can & 1u << f;
}

struct weir__delivery *weir__delivery_new(const struct weir__remote_job *job, unsigned attempt,
                                          const char *token, int64_t until_ns)
{
	const char *texts[] = { job->id, job->content_type, job->key, job->idempotency_key, token };
	const char **to[5];
	struct weir__delivery *d;
	size_t n = sizeof *d + job->len + 1;
	char *at;

	for (size_t i = 0; i < 5; i++)
		n += texts[i] ? strlen(texts[i]) + 1 : 0;
	d = calloc(1, n);
	if (!d)
		return NULL;
	d->job = *job;
	d->attempt = attempt;
	d->until_ns = until_ns;
	at = (char *)(d + 1);
	if (job->len)
		memcpy(at, job->data, job->len);
	d->job.data = at;
	at += job->len + 1;
	to[0] = &d->job.id;
	to[1] = &d->job.content_type;
	to[2] = &d->job.key;
	to[3] = &d->job.idempotency_key;
	to[4] = &d->token;
	for (size_t i = 0; i < 5; i++) {
		size_t len = texts[i] ? strlen(texts[i]) + 1 : 0;

		*to[i] = len ? memcpy(at, texts[i], len) : NULL;
		at += len;
	}
	return d;
}

/* ---- Tasks in the engine's verbs ---- */

bool weir__far_enter(weir_store *s)
{
	bool in;

	weir__store_enter(s);
	in = !s->far->stopping;
	s->far->users += in;
	weir__store_leave(s);
	return in;
}

void weir__far_leave(weir_store *s)
{
	struct weir__far *f = s->far;

	weir__store_enter(s);
	if (--f->users == 0 && f->leave) {
		weir__store_claim(s, f->leave, 0);
		f->leave = NULL;
	}
	weir__store_leave(s);
}

int weir__far_make(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	struct weir__far *f = s->far;
	weir_queue_settings set = { 0 };
	struct weir__queue *q;
	bool made = false;
	int r;

	weir__store_enter(s);
	r = weir__queue_get(s, queue, &q);
	if (r == 0) {
		q->kept = true;
		made = q->made;
		set = q->set;
	}
	weir__store_leave(s);
	if (r < 0 || made)
		return r;
	r = f->ops->make(ctx, f->engine, queue, &set);
	if (r < 0)
		return r;
	weir__store_enter(s);
	q->made = !memcmp(&set, &q->set, sizeof set); /* Others may have come meanwhile. */
	weir__store_leave(s);
	return 0;
}

/* ---- Fetching ---- */

/* Under the lock: who may still be waiting. */
static size_t takers(const struct weir__queue *q)
{
	size_t n = 0;

	weir__list_each (l, &q->takers) {
		const struct weir__taker *t = weir__container(l, struct weir__taker, sleeper.node);

		if (__atomic_load_n(&t->sleeper.wait.claim, __ATOMIC_ACQUIRE) == WEIR__OPEN &&
		    ++n == FETCH_MAX)
			break;
	}
	return n;
}

/* What was held under this id is another's now. False: it is ours yet, and what comes is a double
 * of it, put twice there. */
static bool replace(weir_store *s, const char *id)
{
	struct weir__record *old = weir__job_find(s, id);

	if (!old)
		return true;
	if (old->hold && weir__far_held(s, old->hold))
		return false;
	if (old->hold)
		weir__hold_drop(old);
	weir__job_remove(s, old);
	return true;
}

/* Takes the delivery over. 0, or -ENOMEM: it is still the caller's. */
static int deliver(weir_store *s, const char *queue, struct weir__delivery *d)
{
	const weir_job_spec spec = { .data = d->job.data,
		                     .len = d->job.len,
		                     .content_type = d->job.content_type,
		                     .key = d->job.key,
		                     .priority = d->job.priority,
		                     .timeout_ns = d->job.timeout_ns,
		                     .attempts_max = d->job.attempts_max };
	struct weir__hold *h = calloc(1, sizeof *h);
	struct weir__record *j = weir__job_new(&spec);
	struct weir__queue *q;
	bool used_up = false, first;

	if (!h || !j) {
		free(h);
		weir__job_free(j);
		return -ENOMEM;
	}
	if (!weir__far_is_id(d->job.id)) { /* Somebody else has put it. */
		weir__far_id(queue, d->job.id, d->own_id);
		d->job.id = d->own_id;
	}
	h->refs = 1;
	h->d = d;
	memcpy(h->queue, queue, strlen(queue) + 1);
	memcpy(j->id, d->job.id, WEIR__ID + 1);
	j->attempt = d->attempt ? d->attempt - 1 : 0;
	j->created_at = d->job.created_at;
	weir__store_enter(s);
	first = replace(s, j->id);
	q = weir__queue_find(s, queue); /* The fetcher keeps it. */
	if (!j->attempts_max)
		j->attempts_max = q->set.attempts_max;
	used_up = j->attempt >= j->attempts_max;
	if (!first || !weir__store_room(s, sizeof *j + 2 * j->len) ||
	    weir__job_admit(s, q, j) < 0) {
		weir__list_append(&s->far->outbox, &h->link);
		h->verdict = WEIR__RETURN;
		h->delay_ns = WEIR_SEC(1);
		weir__far_wake_keeper(s);
		weir__job_unref(s, j);
		weir__store_leave(s);
		return 0;
	}
	j->hold = h;
	h->rec = j;
	h->at_ns = d->until_ns == WEIR_NEVER ? WEIR_NEVER :
	                                       weir_now() + (d->until_ns - weir_now()) / 3;
	weir__list_append(&s->far->held, &h->link);
	j->queued_ns = weir_now() - (weir_wall() - j->created_at);
	weir__ready_add(q, j);
	weir__list_append(&q->waiting, &j->link);
	if (used_up) { /* Its workers died over it, each without a word. */
		q->dead_total++;
		weir__far_hand(s, j, WEIR__KILL, 0, "no attempts left");
		weir__job_to_finished(s, j, WEIR_DEAD, "no attempts left");
	} else {
		weir__ready_dispatch(s, q);
		/* Its taker has gone. Another may come soon, and giving it back costs an
		 * attempt. */
		if (j->state == WEIR_QUEUED)
			h->at_ns = weir_now() + LINGER;
	}
	weir__far_wake_keeper(s);
	weir__store_leave(s);
	return 0;
}

/* What finds no memory here waits for some while it is ours, and is then given back; the others do
 * not wait for it. */
static void deliver_all(const weir_ctx *ctx, weir_store *s, const char *queue,
                        struct weir__delivery **got, size_t n)
{
	int slept = 0;

	while (n) {
		size_t left = 0;

		for (size_t i = 0; i < n; i++) {
			struct weir__delivery *d = got[i];

			if (deliver(s, queue, d) == 0)
				continue;
			if (slept == 0 && weir_now() + AGAIN < d->until_ns) {
				got[left++] = d;
				continue;
			}
			weir__log_rare(WEIR__ERROR, "queue",
			               "a job of queue %s finds no memory here", queue);
			(void)s->far->ops->nack(ctx, s->far->engine, queue, d, 0, false);
			free(d);
		}
		n = left;
		slept = n ? weir_sleep(ctx, AGAIN) : 0;
	}
}

/* One fetch for those who wait. 1: go on; 0: nobody waits. */
static int fetch_some(const weir_ctx *ctx, struct weir__fetcher *fe, struct weir__delivery **got)
{
	weir_store *s = fe->store;
	struct weir__queue *q;
	weir_ctx scope;
	size_t want;
	int n, r;

	r = weir_scope_open(ctx, &scope);
	if (r < 0) { /* No memory for now. */
		r = weir_sleep(ctx, AGAIN);
		return r < 0 ? r : 1;
	}
	weir__store_enter(s);
	q = weir__queue_find(s, fe->queue);
	want = s->draining ? 0 : takers(q);
	if (!want && !fe->coming) {
		q->fetcher = NULL;
		weir__queue_idle(s, q);
		weir__store_leave(s);
		weir_scope_close(scope.scope);
		return 0;
	}
	fe->scope = want ? scope.scope : NULL;
	weir__store_leave(s);
	if (!want) {
		weir_scope_close(scope.scope);
		r = weir_yield(ctx);
		return r < 0 ? r : 1;
	}
	r = weir__far_make(&scope, s, fe->queue);
	n = r < 0 ? r : s->far->ops->fetch(&scope, s->far->engine, fe->queue, want, got);
	weir__store_enter(s);
	fe->scope = NULL;
	weir__store_leave(s);
	weir_scope_close(scope.scope);
	deliver_all(ctx, s, fe->queue, got, n < 0 ? 0 : (size_t)n);
	if (n < 0 && weir_ctx_err(ctx) == 0 && n != -ECANCELED) {
		weir__log_rare(WEIR__WARN, "queue", "%s: no jobs of queue %s: %s",
		               s->far->row->name, fe->queue, strerror(-n));
		r = weir_sleep(ctx, AGAIN);
		return r < 0 ? r : 1;
	}
	return weir_ctx_err(ctx) < 0 ? weir_ctx_err(ctx) : 1;
}

static int fetcher(const weir_ctx *ctx, void *arg)
{
	struct weir__fetcher *fe = arg;
	struct weir__delivery *got[FETCH_MAX];
	struct weir__queue *q;
	int r;

	weir_task_name("fetch %s", fe->queue);
	do
		r = fetch_some(ctx, fe, got);
	while (r > 0);
	if (r < 0) {
		weir__store_enter(fe->store);
		q = weir__queue_find(fe->store, fe->queue);
		q->fetcher = NULL;
		weir__queue_idle(fe->store, q);
		weir__store_leave(fe->store);
	}
	free(fe);
	return 0;
}

int weir__far_fetch(weir_store *s, const char *queue)
{
	struct weir__fetcher *fe = calloc(1, sizeof *fe);
	struct weir__queue *q;
	bool start = false;
	int r;

	if (!fe)
		return -ENOMEM;
	fe->store = s;
	memcpy(fe->queue, queue, strlen(queue) + 1);
	weir__store_enter(s);
	r = s->draining ? 0 : weir__queue_get(s, queue, &q);
	if (!s->draining && r == 0) {
		start = !q->fetcher;
		if (start)
			q->fetcher = fe;
		q->fetcher->coming++;
	}
	if (start)
		s->far->users++;
	weir__store_leave(s);
	if (!start) {
		free(fe);
		return r;
	}
	r = weir_group_go(&s->group, fetcher, fe);
	if (r < 0) {
		weir__store_enter(s);
		q = weir__queue_find(s, queue);
		q->fetcher = NULL;
		while (!weir__list_empty(&q->takers)) /* Nobody would bring them anything. */
			weir__store_claim(
				s, weir__container(q->takers.next, struct weir__sleeper, node), 0);
		weir__queue_idle(s, q);
		weir__store_leave(s);
		free(fe);
	}
	weir__far_leave(s);
	return r;
}

int weir__far_taker_in(weir_store *s, const char *queue)
{
	struct weir__queue *q = weir__queue_find(s, queue);

	if (!q || !q->fetcher)
		return s->draining ? 0 : -ENOMEM; /* It could not be started. */
	q->fetcher->coming--;
	return 0;
}

/* Its scope, to be stopped without the lock. */
static weir_scope *leave_fetch(struct weir__fetcher *fe)
{
	weir_scope *scope = fe->scope;

	fe->scope = NULL;
	__atomic_add_fetch(&scope->refs, 1, __ATOMIC_RELAXED);
	return scope;
}

static void stop_fetch(weir_scope *scope)
{
	if (!scope)
		return;
	weir_scope_cancel(scope, -ECANCELED, "nobody waits for a job");
	weir__scope_unref(scope);
}

void weir__far_taker_out(weir_store *s, const char *queue, struct weir__taker *t)
{
	weir_scope *scope = NULL;
	struct weir__queue *q;

	weir__store_enter(s);
	if (weir__list_linked(&t->sleeper.node))
		weir__list_remove(&t->sleeper.node);
	q = weir__queue_find(s, queue);
	if (q && q->fetcher && q->fetcher->scope && !takers(q))
		scope = leave_fetch(q->fetcher);
	weir__store_leave(s);
	stop_fetch(scope);
}

/* Nobody is to wait in a fetch: there will be no takers. */
void weir__far_drain(weir_store *s)
{
	weir_scope *scope;

	do {
		scope = NULL;
		weir__store_enter(s);
		for (size_t i = 0; i < s->queues_n && !scope; i++)
			if (s->queues[i]->fetcher && s->queues[i]->fetcher->scope)
				scope = leave_fetch(s->queues[i]->fetcher);
		weir__store_leave(s);
		stop_fetch(scope);
	} while (scope);
}

/* ---- Looking ---- */

static size_t known(int64_t n)
{
	return n > 0 ? (size_t)n : 0;
}

void weir__far_fill(const struct weir__queue *q, weir_queue_info *ret)
{
	ret->durability = q->store->far->row->durability;
	ret->queued = known(q->there.queued);
	ret->delayed = known(q->there.delayed);
	ret->bytes = known(q->there.bytes);
	if (q->there.running > 0)
		ret->running = known(q->there.running);
	if (q->there.dead > 0)
		ret->dead = known(q->there.dead);
}

void weir__far_spilled(const weir_store *s, weir_queue_info *ret)
{
	size_t n = weir__spill_count(s, ret->name);

	if (!n)
		return;
	ret->queued += n;
	ret->durability = "spilled: on this machine's disk until the engine is back";
}

int weir_queue_refresh(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	struct weir__remote_counts c;
	struct weir__queue *q;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (!s->far)
		return 0;
	if (!weir_queue_name_valid(queue))
		return -EINVAL;
	if (!weir__far_enter(s))
		return -EPIPE;
	r = weir__far_make(ctx, s, queue);
	if (r == 0) {
		r = s->far->ops->count(ctx, s->far->engine, queue, &c);
		r = r == 0 || r == -ENOMEM || weir__remote_stops(r) ? r : -ENOTCONN;
	}
	if (r == 0) {
		weir__store_enter(s);
		q = weir__queue_find(s, queue);
		if (q)
			q->there = c;
		weir__store_leave(s);
	}
	weir__far_leave(s);
	return r;
}

bool weir_store_up(weir_store *s)
{
	weir__magic_check(s, weir__store_magic);
	return !s->far || s->far->ops->up(s->far->engine);
}

bool weir__far_refuses(const weir_store *s, const weir_queue_settings *set, const bool *paused)
{
	if ((paused && *paused) || (set && set->paused))
		return !weir__far_can(s, WEIR__CAN_PAUSE);
	return set && (set->durability || (set->rate > 0 && !weir__far_can(s, WEIR__CAN_RATE)) ||
	               ((set->concurrency || set->key_concurrency) &&
	                !weir__far_can(s, WEIR__CAN_CONCURRENCY)));
}

/* ---- Life ---- */

static int load(const weir_ctx *ctx, weir_store *s, const char *url)
{
	struct weir__far *f = calloc(1, sizeof *f);
	int r;

	if (!f)
		return -ENOMEM;
	f->row = weir__engine_row_of(url);
	f->ops = f->row->remote;
	weir__list_init(&f->held);
	weir__list_init(&f->outbox);
	r = f->ops->open(ctx, url, &s->opt, &f->engine);
	if (r < 0) {
		free(f);
		return r;
	}
	s->far = f;
	if (s->opt.spill)
		r = weir__spill_open(ctx, s, s->opt.spill);
	if (r == 0)
		r = weir_group_go(&s->group, weir__far_keeper, s);
	if (r == 0)
		r = weir_group_hold(&s->group);
	return r; /* < 0: the store ends its tasks, and then us. */
}

void weir__far_stop(weir_store *s)
{
	struct weir__far *f = s->far;
	struct weir__sleeper w = { 0 };
	bool wait;

	weir__store_enter(s);
	s->draining = f->stopping = true;
	wait = f->users > 0;
	if (wait) {
		weir__wait_init(&w.wait);
		f->leave = &w;
	}
	weir__store_leave(s);
	if (wait) /* Their verbs end by themselves soon, whatever the engine does. */
		(void)weir__wait_park_hard(&w.wait, "the last to leave an engine", s);
	weir__far_drain(s);
	weir_group_release(&s->group);
}

/* The store has taken back what was held; nobody but us is here. */
static int save(const weir_ctx *ctx, weir_store *s, size_t *ret_jobs)
{
	weir_ctx shield = weir_ctx_shield(ctx, WEIR_SEC(5));
	struct weir__far *f = s->far;

	*ret_jobs = 0;
	weir__store_enter(s);
	while (!weir__list_empty(&f->held)) { /* What came too late to be taken back. */
		struct weir__hold *h = weir__container(f->held.next, struct weir__hold, link);

		weir__far_hand(s, h->rec, WEIR__RETURN, 0, NULL);
	}
	weir__store_leave(s);
	weir__far_flush(&shield, s);
	weir__far_end(&shield, s);
	return 0;
}

void weir__far_end(const weir_ctx *ctx, weir_store *s)
{
	struct weir__far *f = s->far;

	if (f->spill)
		(void)weir_store_close(ctx, f->spill, NULL);
	f->spill = NULL;
	f->ops->close(ctx, f->engine);
	f->engine = NULL;
}

const struct weir__engine weir__engine_remote = { .scheme = "", .load = load, .save = save };
