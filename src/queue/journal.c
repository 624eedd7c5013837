/* SPDX-License-Identifier: MIT */
/*
 * What a durable engine has to write, and who waits for it.
 *
 * Whatever changes a record, a queue's settings or a cron marks it dirty under the store's lock.
 * The engine's writer takes what is dirty at once, writes it as one transaction and says how
 * that went; meanwhile the next transaction's changes gather. So a record that changed twice
 * between two transactions is written once, and what was changed under one hold of the lock (a
 * cron's tick and its job) comes to disk together or not at all; but for what may be left, see
 * below.
 *
 * A new job is pending until it is on disk: it counts against the bounds, but nobody can take it,
 * and if the disk refuses it, it is gone and its producer told. Everything else happens in memory
 * first; its caller is answered when it is on disk. If the disk refuses that, the caller hears
 * it, the change stays dirty and is tried again: memory is never behind the disk, and what was
 * not answered may happen again after a crash.
 *
 * A take and whatever else befalls a running job is waited for by nobody, and its end mostly
 * follows soon. So that is left for 10 to 20 ms while transactions go on, for its end to be written
 * instead.
 *
 * A queue may ask for less. In one of durability "os" what changed is written, but the transaction
 * is not synced unless something else in it has to be. Jobs of one of durability "memory" have no
 * number and are not dirty until the store closes; one that has a number, from before the queue was
 * told so, goes on as it began.
 *
 * The writer may be a thread of its own, so the functions it calls wait for nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/journal.h"
#include "rt/task.h"

enum { LATER_NS = 10000000 };

static void mark(weir_store *s, struct weir__record *j, bool later)
{
	if (!weir__list_linked(&j->dirty)) {
		j->refs++;
		s->journal.jobs_n++;
		s->journal.news = true;
	} else if (!later) {
		weir__list_remove(&j->dirty);
	} else {
		return;
	}
	weir__list_append(later ? &s->journal.later[1] : &s->journal.jobs, &j->dirty);
}

static void hurry(weir_store *s)
{
	for (int i = 0; i < 2; i++)
		weir__list_append_all(&s->journal.jobs, &s->journal.later[i]);
}

void weir__journal_job(weir_store *s, struct weir__record *j)
{
	enum weir_durability d = j->queue->set.durability;

	if (!s->journal.on || s->journal.applying)
		return;
	if (!j->num) {
		if (d == WEIR_MEMORY && !s->journal.keeps && !j->pending)
			return;
		j->num = ++s->journal.last_num;
		weir__span_note(s, j->num, j->id);
	}
	j->changed = true;
	j->syncs |= d != WEIR_OS;
	mark(s, j, j->state == WEIR_RUNNING && j->saved);
}

void weir__journal_anew(weir_store *s, struct weir__record *j)
{
	weir__journal_job(s, j);
	if (weir__list_linked(&j->dirty))
		mark(s, j, false);
}

void weir__journal_gone(weir_store *s, struct weir__record *j)
{
	if (j->pending) {
		j->pending = false;
		j->queue->pending--;
	}
	if (j->fresh) {
		j->fresh->pending = NULL;
		j->fresh = NULL;
	}
	if (!s->journal.on || !j->num)
		return;
	j->gone = true;
	mark(s, j, false);
}

void weir__journal_keep(weir_store *s, struct weir__queue *q)
{
	weir__list_each (n, &q->all) {
		struct weir__record *j = weir__container(n, struct weir__record, all);

		if (!j->num)
			weir__journal_job(s, j);
	}
}

void weir__journal_keep_all(weir_store *s)
{
	weir__store_enter(s);
	s->journal.keeps = true;
	for (size_t i = 0; i < s->queues_n; i++)
		weir__journal_keep(s, s->queues[i]);
	weir__store_leave(s);
}

void weir__journal_queue(weir_store *s, struct weir__queue *q)
{
	if (!s->journal.on)
		return;
	q->dirty = s->journal.queues = s->journal.news = true;
}

void weir__journal_cron(weir_store *s, struct weir__cron *c)
{
	if (!s->journal.on)
		return;
	c->dirty = s->journal.crons = s->journal.news = true;
}

int weir__journal_cron_gone(weir_store *s, const char *name)
{
	struct weir__cron_gone *g;

	if (!s->journal.on)
		return 0;
	g = calloc(1, sizeof *g);
	if (!g)
		return -ENOMEM;
	memcpy(g->name, name, strlen(name) + 1);
	g->next = s->journal.crons_gone;
	s->journal.crons_gone = g;
	s->journal.news = true;
	return 0;
}

/* ---- Waiting ---- */

void weir__journal_wait_for(weir_store *s, struct weir__settle *w, bool put)
{
	struct weir__journal *jl = &s->journal;

	/* The engine's own thread is the one that would have to end the wait. */
	if (!jl->on || !weir__self())
		return;
	w->wait = true;
	w->put = put;
	w->ticket = ++jl->tickets;
	weir__wait_init(&w->sleeper.wait);
	weir__list_append(&jl->waits, &w->sleeper.node);
	weir__outside(1);
	jl->urgent = true;
}

void weir__journal_wait_for_job(weir_store *s, struct weir__settle *w, struct weir__record *j)
{
	if (!j->num)
		return;
	if (weir__list_linked(&j->dirty))
		mark(s, j, false);
	weir__journal_wait_for(s, w, false);
}

int weir__journal_wait(const weir_ctx *ctx, weir_store *s, struct weir__settle *w)
{
	bool left;
	int r;

	if (!w->wait)
		return 0;
	r = ctx ? weir__wait_park(&w->sleeper.wait, ctx, "store write", s) :
	          weir__wait_park_hard(&w->sleeper.wait, "store write", s);
	if (r >= 0)
		return -r; /* What the writer says is an errno, since a wake gives no negative. */
	weir__store_enter(s);
	left = weir__list_linked(&w->sleeper.node);
	if (left)
		weir__list_remove(&w->sleeper.node);
	weir__store_leave(s);
	if (left)
		weir__outside(-1);
	return r;
}

int weir__journal_sync(const weir_ctx *ctx, weir_store *s)
{
	struct weir__settle w = { 0 };

	weir__store_enter(s);
	hurry(s);
	weir__journal_wait_for(s, &w, false);
	weir__store_leave(s);
	return weir__journal_wait(ctx, s, &w);
}

/* ---- The writer's side ---- */

bool weir__journal_wakes(weir_store *s)
{
	struct weir__journal *jl = &s->journal;
	bool wake = (jl->writer == WEIR__ASLEEP && (jl->news || jl->urgent)) ||
	            (jl->writer == WEIR__DOZING && jl->urgent);

	jl->news = jl->urgent = false;
	if (wake)
		jl->writer = WEIR__BUSY;
	return wake;
}

bool weir__journal_work(const weir_store *s)
{
	const struct weir__journal *jl = &s->journal;

	return jl->jobs_n || jl->queues || jl->crons || jl->crons_gone || jl->idems_n ||
	       weir__journal_urgent(s);
}

bool weir__journal_urgent(const weir_store *s)
{
	return !weir__list_empty(&s->journal.waits);
}

static int take_idems(weir_store *s, struct weir__batch *b)
{
	struct weir__journal *jl = &s->journal;

	if (!jl->idems_n)
		return 0;
	b->idems = calloc(jl->idems_n, sizeof *b->idems);
	if (!b->idems)
		return -ENOMEM;
	weir__list_each (n, &s->idems) {
		const struct weir__idem *i = weir__container(n, struct weir__idem, link);
		struct weir__idem_row *row;

		if (!i->dirty)
			continue;
		row = malloc(sizeof *row + i->len);
		if (!row)
			return -ENOMEM;
		row->until = i->until_wall;
		row->len = i->len;
		memcpy(row->id, i->id, sizeof row->id);
		memcpy(row->text, i->text, i->len);
		b->idems[b->idems_n++] = row;
	}
	weir__list_each (n, &s->idems)
		weir__container(n, struct weir__idem, link)->dirty = false;
	jl->idems_n = 0;
	return 0;
}

/* Copies of what is dirty besides jobs; under the lock, since there is little and rarely any. */
static int take_rest(weir_store *s, struct weir__batch *b)
{
	struct weir__journal *jl = &s->journal;
	int r;

	if (jl->queues) {
		b->queues = calloc(s->queues_n + 1, sizeof *b->queues);
		if (!b->queues)
			return -ENOMEM;
		for (size_t i = 0; i < s->queues_n; i++) {
			struct weir__queue *q = s->queues[i];
			struct weir__queue_row *row = &b->queues[b->queues_n];

			if (!q->dirty)
				continue;
			memcpy(row->name, q->name, sizeof row->name);
			row->given = q->given;
			b->queues_n++;
		}
	}
	if (jl->crons) {
		b->crons = calloc(s->crons_n + 1, sizeof(struct weir__cron *));
		if (!b->crons)
			return -ENOMEM;
		for (size_t i = 0; i < s->crons_n; i++) {
			const struct weir__cron *c = s->crons[i];
			struct weir__cron_row *row;

			if (!c->dirty)
				continue;
			row = malloc(sizeof *row + c->len);
			if (!row)
				return -ENOMEM;
			weir__cron_row(c, row);
			b->crons[b->crons_n++] = row;
		}
	}
	r = take_idems(s, b);
	if (r < 0)
		return r;
	for (size_t i = 0; i < s->queues_n; i++)
		s->queues[i]->dirty = false;
	for (size_t i = 0; i < s->crons_n; i++)
		s->crons[i]->dirty = false;
	jl->queues = jl->crons = false;
	b->crons_gone = jl->crons_gone;
	jl->crons_gone = NULL;
	return 0;
}

static void batch_clear(struct weir__batch *b)
{
	while (b->crons_gone) {
		struct weir__cron_gone *g = b->crons_gone;

		b->crons_gone = g->next;
		free(g);
	}
	while (b->crons_n)
		free(b->crons[--b->crons_n]);
	while (b->idems_n)
		free(b->idems[--b->idems_n]);
	free(b->idems);
	free(b->crons);
	free(b->queues);
	b->idems = NULL;
	b->crons = NULL;
	b->queues = NULL;
	b->queues_n = b->jobs_n = 0;
}

void weir__batch_free(struct weir__batch *b)
{
	batch_clear(b);
	free(b->jobs);
	b->jobs = NULL;
}

/* What has been left for long enough. */
static void take_later(struct weir__journal *jl)
{
	int64_t now = weir_now();

	if (now < jl->later_ns)
		return;
	jl->later_ns = now + LATER_NS;
	weir__list_append_all(&jl->jobs, &jl->later[0]);
	weir__list_append_all(&jl->later[0], &jl->later[1]);
}

int weir__journal_take(weir_store *s, struct weir__batch *b, bool all)
{
	struct weir__journal *jl = &s->journal;
	int r;

	for (;;) {
		struct weir__record **v;
		size_t n;

		weir__store_enter(s);
		n = jl->jobs_n;
		if (n <= b->jobs_cap)
			break;
		weir__store_leave(s);
		v = realloc(b->jobs, n * 2 * sizeof *v);
		if (!v)
			return -ENOMEM;
		b->jobs = v;
		b->jobs_cap = n * 2;
	}
	r = take_rest(s, b);
	if (r == 0) {
		b->ticket = jl->tickets;
		b->sync = b->queues_n || b->crons_n || b->crons_gone || b->idems_n;
		if (all)
			hurry(s);
		else
			take_later(jl);
		while (!weir__list_empty(&jl->jobs)) {
			struct weir__record *j =
				weir__container(jl->jobs.next, struct weir__record, dirty);

			weir__list_remove(&j->dirty);
			j->writes = j->changed;
			j->changed = false;
			b->sync |= j->syncs;
			j->syncs = false;
			b->jobs[b->jobs_n++] = j;
		}
		jl->jobs_n -= b->jobs_n;
		r = b->jobs_n || b->sync || weir__journal_urgent(s);
	}
	weir__store_leave(s);
	if (r <= 0)
		batch_clear(b);
	return r;
}

static void copy(char *to, size_t cap, const char *from)
{
	size_t n = from ? strnlen(from, cap - 1) : 0;

	if (n)
		memcpy(to, from, n);
	to[n] = 0;
}

size_t weir__journal_rows(weir_store *s, const struct weir__batch *b, size_t at,
                          struct weir__row *rows, size_t max)
{
	int64_t now = weir_now(), wall = weir_wall();
	size_t n = 0;

	weir__store_enter(s);
	for (; n < max && at + n < b->jobs_n; n++) {
		struct weir__record *j = b->jobs[at + n];
		struct weir__row *row = &rows[n];

		row->rec = j;
		row->fresh = !j->saved;
		row->changed = j->writes || j->changed;
		row->gone = j->gone;
		row->state = j->state;
		row->cancel = j->cancel;
		row->renew = j->renew;
		row->ord = j->ready.seq;
		row->attempt = j->attempt;
		row->due_at = j->due_at;
		row->started_at = j->started_at;
		row->finished_at = j->finished_at;
		row->lease_ns = j->lease_ns;
		row->lease_until = j->state == WEIR_RUNNING && weir__heap_in(&j->due.node) ?
		                           wall + (j->due.at_ns - now) :
		                           0;
		memcpy(row->token, j->token, sizeof row->token);
		row->progress = j->progress;
		copy(row->worker, sizeof row->worker, j->worker);
		copy(row->note, sizeof row->note, j->note);
		copy(row->error, sizeof row->error, j->error);
		row->changes = j->changes_total;
		row->histories = weir__job_history(j, row->history);
		row->result = j->result;
		if (j->result)
			__atomic_add_fetch(&j->result->refs, 1, __ATOMIC_RELAXED);
		*row->queue = 0;
		*row->idem = 0;
		if (row->fresh && !j->gone) { /* Who is gone before it was written need not be. */
			memcpy(row->queue, j->queue->name, sizeof row->queue);
			if (j->fresh) {
				const char *key = j->fresh->text + strlen(j->fresh->text) + 1;

				copy(row->idem, sizeof row->idem, key);
				row->idem_until = j->fresh->until_wall;
			}
		}
	}
	weir__store_leave(s);
	return n;
}

/* The disk would not have this new job. */
static void refuse(weir_store *s, struct weir__record *j)
{
	struct weir__queue *q = j->queue;

	q->put_total--;
	q->refused_total++;
	if (j->fresh)
		weir__idem_drop(s, j->fresh);
	j->num = 0;
	j->refused = true;
	if (weir__list_linked(&j->dirty)) { /* Cancelled meanwhile. */
		weir__list_remove(&j->dirty);
		s->journal.jobs_n--;
		j->refs--;
	}
	weir__job_remove(s, j);
	weir__queue_idle(s, q);
}

static void admit(weir_store *s, struct weir__record *j)
{
	struct weir__queue *q = j->queue;

	j->pending = false;
	j->queue->pending--;
	if (j->fresh)
		j->fresh->pending = NULL;
	j->fresh = NULL;
	if (j->state != WEIR_QUEUED) /* Cancelled meanwhile. */
		return;
	s->journal.applying = true;
	if (!weir__cold_freeze(s, j))
		weir__job_place(s, j);
	s->journal.applying = false;
	weir__ready_dispatch(s, q);
}

static void written(weir_store *s, struct weir__record *j, int r_put, int r_rest)
{
	/* A new job goes with the puts, also one for which nobody waits. */
	int r = j->saved || j->gone ? r_rest : r_put;

	if (r == 0) {
		j->saved = true;
		if (j->pending)
			admit(s, j);
	} else if (j->pending) {
		refuse(s, j);
	} else if (j->saved || !j->gone) {
		j->changed |= j->writes;
		j->syncs = true;
		mark(s, j, false);
	}
	weir__job_unref(s, j);
}

/* What was not written besides jobs: once more, whatever it says by now. */
static void again(weir_store *s, struct weir__batch *b)
{
	struct weir__cron_gone **last = &s->journal.crons_gone;

	for (size_t i = 0; i < b->queues_n; i++) {
		struct weir__queue *q = weir__queue_find(s, b->queues[i].name);

		if (q)
			weir__journal_queue(s, q);
	}
	for (size_t i = 0; b->crons_n && i < s->crons_n; i++)
		weir__journal_cron(s, s->crons[i]);
	while (*last)
		last = &(*last)->next;
	*last = b->crons_gone;
	b->crons_gone = NULL;
}

void weir__journal_done(weir_store *s, struct weir__batch *b, int r_put, int r_rest)
{
	struct weir__journal *jl = &s->journal;
	size_t at = 0;
	int woken = 0;

	while (at < b->jobs_n) {
		weir__store_enter(s);
		for (int i = 0; i < WEIR__BATCH && at < b->jobs_n; i++)
			written(s, b->jobs[at++], r_put, r_rest);
		weir__store_leave(s);
	}
	weir__store_enter(s);
	if (r_rest < 0)
		again(s, b);
	for (size_t i = 0; r_put < 0 && i < b->idems_n; i++)
		weir__idem_again(s, b->idems[i]->text, b->idems[i]->len);
	while (!weir__list_empty(&jl->waits)) {
		struct weir__settle *w =
			weir__container(jl->waits.next, struct weir__settle, sleeper.node);

		if (w->ticket > b->ticket)
			break;
		weir__store_claim(s, &w->sleeper, -(w->put ? r_put : r_rest));
		woken++;
	}
	jl->news = false; /* The writer looks by itself. */
	weir__store_leave(s);
	weir__outside(-woken);
	batch_clear(b);
}

int weir__journal_end(weir_store *s, size_t *ret_lost)
{
	struct weir__journal *jl = &s->journal;
	size_t stale = 0, lost = 0;
	bool rest;

	weir__store_enter(s);
	rest = jl->queues || jl->crons || jl->crons_gone || jl->idems_n;
	jl->on = false;
	hurry(s);
	while (!weir__list_empty(&jl->jobs)) {
		struct weir__record *j = weir__container(jl->jobs.next, struct weir__record, dirty);

		if (j->saved)
			stale++;
		else if (j->held)
			lost++;
		weir__list_remove(&j->dirty);
		weir__job_unref(s, j);
	}
	jl->jobs_n = 0;
	while (jl->crons_gone) {
		struct weir__cron_gone *g = jl->crons_gone;

		jl->crons_gone = g->next;
		free(g);
	}
	weir__store_leave(s);
	if (lost)
		weir__log(WEIR__ERROR, "queue",
		          "%zu jobs that were in memory only could not be written: they are lost",
		          lost);
	if (stale)
		weir__log(WEIR__ERROR, "queue",
		          "changes of %zu jobs could not be written: they may run again", stale);
	if (rest)
		weir__log(WEIR__ERROR, "queue",
		          "changes of settings, crons or keys could not be written");
	*ret_lost = lost;
	return lost || stale || rest ? -EIO : 0;
}
