/* SPDX-License-Identifier: MIT */
/*
 * Cold jobs: those of a durable queue that wait their turn on disk alone.
 *
 * A queue keeps a window of its next jobs in memory. What comes behind the window is dropped from
 * memory once it is written; all that stays is its number, in runs of consecutive ones, by
 * priority. When the window runs low, the engine's writer reads the next.
 *
 * Only the plain job is ever cold: queued, never taken, without a key. So the disk's first row of
 * it says everything, and whatever else happens to a job happens to one in memory. A cold job
 * still counts as held, with its places in the heaps: to come back needs no more than its record.
 *
 * Of one priority, cold jobs come after those in memory: while some are cold, new ones are put
 * behind them. A better priority may be cold while others are in memory; then the next job waits
 * for it to be read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/inner.h"
#include "rt/task.h"

size_t weir__cold_window = 4096;

/* Where the priority is in the queue's sorted array, or would be. */
static size_t place(const struct weir__queue *q, int priority)
{
	size_t low = 0, high = q->colds_n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (q->colds[mid].priority < priority)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct weir__cold *get(struct weir__queue *q, int priority)
{
	size_t i = place(q, priority);
	struct weir__cold *v;

	if (i < q->colds_n && q->colds[i].priority == priority)
		return &q->colds[i];
	v = realloc(q->colds, (q->colds_n + 1) * sizeof *v);
	if (!v)
		return NULL;
	q->colds = v;
	memmove(v + i + 1, v + i, (q->colds_n - i) * sizeof *v);
	q->colds_n++;
	v[i] = (struct weir__cold){ .priority = priority };
	return &v[i];
}

static bool room(weir_store *s, struct weir__cold *c)
{
	struct weir__cold_run *v;
	size_t cap;

	if (c->end < c->cap)
		return true;
	if (c->first > c->cap / 2) {
		memmove(c->runs, c->runs + c->first, (c->end - c->first) * sizeof *c->runs);
		c->end -= c->first;
		c->first = 0;
		return true;
	}
	cap = c->cap ? c->cap * 2 : 8;
	v = realloc(c->runs, cap * sizeof *v);
	if (!v)
		return false;
	weir__store_charge(s, (cap - c->cap) * sizeof *v, 0);
	c->runs = v;
	c->cap = cap;
	return true;
}

static bool push(weir_store *s, struct weir__queue *q, int priority, uint64_t num, size_t len)
{
	struct weir__cold *c = get(q, priority);
	struct weir__cold_run *last;

	if (!c)
		return false;
	last = c->end > c->first ? &c->runs[c->end - 1] : NULL;
	if (last && last->from + last->n == num) {
		last->n++;
	} else {
		if (!room(s, c))
			return false;
		c->runs[c->end++] = (struct weir__cold_run){ num, 1 };
	}
	q->cold_n++;
	s->cold_n++;
	q->away++;
	q->away_bytes += len;
	return true;
}

/* The queue's best priority that has cold jobs, or NULL. */
static struct weir__cold *best(const struct weir__queue *q)
{
	for (size_t i = 0; q->cold_n && i < q->colds_n; i++)
		if (q->colds[i].end > q->colds[i].first)
			return &q->colds[i];
	return NULL;
}

static bool has(const struct weir__queue *q, int priority)
{
	size_t i = place(q, priority);

	return i < q->colds_n && q->colds[i].priority == priority &&
	       q->colds[i].end > q->colds[i].first;
}

bool weir__cold_wanted(const struct weir__queue *q, int priority)
{
	return has(q, priority) || q->ready.n >= weir__cold_window;
}

bool weir__cold_freeze(weir_store *s, struct weir__record *j)
{
	struct weir__queue *q = j->queue;

	if (j->state != WEIR_QUEUED || j->due_at || j->key || j->attempt || j->cancel ||
	    weir__list_linked(&j->dirty) || !weir__cold_wanted(q, j->ready.priority) ||
	    !weir__span_holds(s, j->num) || !push(s, q, j->ready.priority, j->num, j->len))
		return false;
	weir__job_tell(s, j, "queued", NULL);
	weir__job_forget(s, j);
	weir__cold_refill(s, q); /* Its priority may be better than all in memory. */
	return true;
}

int weir__cold_load(weir_store *s, struct weir__queue *q, int priority, uint64_t num, size_t len)
{
	int r = weir__job_hold_bytes(s, q, len);

	if (r < 0)
		return r;
	if (!push(s, q, priority, num, len))
		return -ENOMEM;
	q->count[WEIR_QUEUED]++;
	return 0;
}

bool weir__cold_first(const struct weir__queue *q, int priority)
{
	const struct weir__cold *c = best(q);

	return (q->coming && q->coming_priority < priority) || (c && c->priority < priority);
}

void weir__cold_refill(weir_store *s, struct weir__queue *q)
{
	if (!q->cold_n || q->reading ||
	    (q->ready.n >= weir__cold_window / 4 && !weir__cold_first(q, weir__ready_priority(q))))
		return;
	q->reading = true;
	s->journal.reads = s->journal.urgent = true;
}

size_t weir__cold_take(weir_store *s, struct weir__queue *q, uint64_t *nums, size_t max)
{
	struct weir__cold *c = best(q);
	size_t n = 0;

	while (c && n < max && c->end > c->first) {
		struct weir__cold_run *run = &c->runs[c->first];

		nums[n++] = run->from++;
		if (--run->n == 0)
			c->first++;
	}
	q->cold_n -= n;
	s->cold_n -= n;
	s->coming += n;
	q->coming = n > 0;
	q->coming_priority = n ? c->priority : 0;
	return n;
}

/* The first run that does not end before the number; c->end if all do. */
static size_t run_at(const struct weir__cold *c, uint64_t num)
{
	size_t low = c->first, high = c->end;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (c->runs[mid].from + c->runs[mid].n <= num)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool weir__cold_within(const struct weir__queue *q, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < q->colds_n; i++) {
		const struct weir__cold *c = &q->colds[i];
		size_t at = run_at(c, from);

		if (at < c->end && c->runs[at].from <= to)
			return true;
	}
	return false;
}

bool weir__cold_remove(weir_store *s, struct weir__queue *q, int priority, uint64_t num)
{
	size_t i = place(q, priority), low;
	struct weir__cold *c;
	struct weir__cold_run *run;

	if (!has(q, priority))
		return false;
	c = &q->colds[i];
	if (!room(s, c)) /* For another run, if this splits one; it may move them. */
		return false;
	low = run_at(c, num);
	if (low == c->end || c->runs[low].from > num)
		return false;
	run = &c->runs[low];
	if (run->n == 1) {
		memmove(run, run + 1, (c->end - low - 1) * sizeof *run);
		c->end--;
	} else if (num == run->from) {
		run->from++;
		run->n--;
	} else if (num == run->from + run->n - 1) {
		run->n--;
	} else {
		memmove(run + 1, run, (c->end - low) * sizeof *run);
		c->end++;
		run[1].n = (uint32_t)(run->from + run->n - num - 1);
		run[1].from = num + 1;
		run->n = (uint32_t)(num - run->from);
	}
	q->cold_n--;
	s->cold_n--;
	return true;
}

void weir__cold_fini(weir_store *s, struct weir__queue *q)
{
	for (size_t i = 0; i < q->colds_n; i++) {
		weir__store_charge(s, 0, q->colds[i].cap * sizeof *q->colds[i].runs);
		free(q->colds[i].runs);
	}
	free(q->colds);
	q->colds = NULL;
	q->colds_n = q->cold_n = 0;
}

/* ---- Looking for one ---- */

int weir__cold_thaw(const weir_ctx *ctx, weir_store *s, const char *id)
{
	struct weir__thaw t = { 0 };
	bool wait = false, left;
	struct weir__span span;
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	if (!weir__self() || !id || strnlen(id, WEIR__ID + 1) != WEIR__ID)
		return 0;
	weir__store_enter(s);
	if (s->cold_n + s->coming && !weir__job_find(s, id) && s->journal.on &&
	    weir__span_find(s, id, 0, &span)) {
		wait = true;
		memcpy(t.id, id, sizeof t.id);
		weir__wait_init(&t.sleeper.wait);
		weir__list_append(&s->journal.thaws, &t.sleeper.node);
		s->journal.reads = s->journal.urgent = true;
		weir__outside(1);
	}
	weir__store_leave(s);
	r = wait ? weir__wait_park(&t.sleeper.wait, ctx, "store read", s) : 0;
	if (r >= 0)
		return -r; /* As in weir__journal_wait(). */
	weir__store_enter(s);
	left = weir__list_linked(&t.sleeper.node);
	if (left)
		weir__list_remove(&t.sleeper.node);
	weir__store_leave(s);
	if (left)
		weir__outside(-1);
	return r;
}
