/* SPDX-License-Identifier: MIT */
/*
 * Cold jobs back into memory, by the writer, between two transactions: the next of a queue whose
 * window runs low, and single ones that somebody asks for by id.
 *
 * Ids rise with numbers over spans of them (spans.c), so a job is found by its id with a search
 * that halves the numbers of one.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "queue/sqlite.h"
#include "rt/task.h"

/* The row of a number: 1 with the record, 0 if there is none (more), or an error. */
static int read_one(struct weir__sqlite *q, uint64_t num, struct weir__record **ret)
{
	sqlite3_stmt *st = q->sql[WEIR__SQL_READ];
	int code, state, r = 0;

	sqlite3_bind_int64(st, 1, (int64_t)num);
	code = sqlite3_step(st);
	if (code == SQLITE_ROW) {
		r = weir__sqlite_record(st, ret, &state);
		if (r == 0) /* Its name was checked. */
			memcpy(q->queue, sqlite3_column_text(st, 2),
			       (size_t)sqlite3_column_bytes(st, 2) + 1);
	} else if (code != SQLITE_DONE) {
		r = weir__sqlite_error(q, code, "reading");
	}
	sqlite3_reset(st);
	return r < 0 ? r : code == SQLITE_ROW;
}

/* Places what was read; under the lock. */
static void place(weir_store *s, struct weir__queue *to, struct weir__record *j)
{
	weir__job_admit_held(s, to, j);
	s->journal.applying = true;
	weir__job_come_back(s, j);
	s->journal.applying = false;
}

static void refill(struct weir__sqlite *q, const char *name)
{
	weir_store *s = q->store;
	struct weir__queue *to;
	size_t n = 0, got = 0, missing = 0;
	int r = 1;

	weir__store_enter(s);
	to = weir__queue_find(s, name);
	if (to)
		n = weir__cold_take(s, to, q->nums, WEIR__SQL_READ_MAX);
	weir__store_leave(s);
	if (!n)
		return;
	for (; got < n && r >= 0; got++) {
		q->read[got] = NULL;
		r = read_one(q, q->nums[got], &q->read[got]);
		/* The next one instead: its row is not there. */
		if (q->read[got] && q->read[got]->num != q->nums[got]) {
			weir__job_free(q->read[got]);
			q->read[got] = NULL;
		}
	}
	for (size_t i = 0; i < got; i++)
		missing += !q->read[i];
	if (missing)
		weir__log(WEIR__ERROR, "queue",
		          "%zu jobs of queue %s are not in the file any more: they are lost",
		          missing, name);
	if (got < n)
		weir__log(WEIR__ERROR, "queue",
		          "%zu jobs of queue %s cannot be read now; they wait for the next start",
		          n - got, name);
	weir__store_enter(s);
	to = weir__queue_find(s, name); /* What it holds has kept it. */
	for (size_t i = 0; i < n; i++) {
		if (i < got && q->read[i])
			place(s, to, q->read[i]);
		else
			weir__job_lost(s, to);
	}
	to->reading = to->coming = false;
	s->coming -= n;
	weir__ready_dispatch(s, to);
	weir__cold_refill(s, to);
	weir__queue_idle(s, to); /* If all were lost. */
	weir__store_leave(s);
}

/* Whoever asked for this job; one who does not wait any more has left the list. */
static void answer(weir_store *s, const char *id, int r)
{
	struct weir__list *n, *next;
	int woken = 0;

	weir__store_enter(s);
	for (n = s->journal.thaws.next; n != &s->journal.thaws; n = next) {
		struct weir__thaw *t = weir__container(n, struct weir__thaw, sleeper.node);

		next = n->next;
		if (strcmp(t->id, id))
			continue;
		weir__store_claim(s, &t->sleeper, -r);
		woken++;
	}
	weir__store_leave(s);
	weir__outside(-woken);
}

/* The job of this id among those numbers: 1, 0 if it is not there, or an error. */
static int search(struct weir__sqlite *q, const char *id, const struct weir__span *span,
                  struct weir__record **ret)
{
	uint64_t low = span->from, high = span->to + 1;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;
		struct weir__record *j = NULL;
		int c, r = read_one(q, mid, &j);

		if (r < 0)
			return r;
		c = r && j->num <= span->to ? strcmp(j->id, id) : 1;
		if (c == 0) {
			*ret = j;
			return 1;
		}
		if (c < 0)
			low = j->num + 1;
		else
			high = mid;
		weir__job_free(j);
	}
	return 0;
}

/* The job of this id, if it is cold, into memory. 0 or an error. */
static int thaw(struct weir__sqlite *q, const char *id)
{
	weir_store *s = q->store;
	struct weir__record *j = NULL;
	struct weir__queue *to;
	struct weir__span span = { .to = 0 };
	bool may;
	int r = 0;

	while (r == 0) {
		weir__store_enter(s);
		may = weir__span_find(s, id, span.to + 1, &span);
		weir__store_leave(s);
		if (!may)
			return 0;
		r = search(q, id, &span, &j);
	}
	if (r < 0)
		return r;
	weir__store_enter(s);
	to = weir__queue_find(s, q->queue);
	if (to && !weir__job_find(s, id) && weir__cold_remove(s, to, j->ready.priority, j->num)) {
		place(s, to, j);
		j = NULL;
	}
	weir__store_leave(s);
	weir__job_free(j);
	return 0;
}

void weir__sqlite_reads(struct weir__sqlite *q)
{
	weir_store *s = q->store;
	char name[WEIR__NAME_MAX + 1];
	char id[WEIR__ID + 1];
	bool any;

	do {
		any = false;
		weir__store_enter(s);
		s->journal.reads = false;
		for (size_t i = 0; i < s->queues_n && !any; i++)
			if (s->queues[i]->reading && s->queues[i]->cold_n) {
				any = true;
				memcpy(name, s->queues[i]->name, sizeof name);
			}
		weir__store_leave(s);
		if (any)
			refill(q, name);
	} while (any);
	for (;;) {
		weir__store_enter(s);
		any = !weir__list_empty(&s->journal.thaws);
		if (any)
			memcpy(id,
			       weir__container(s->journal.thaws.next, struct weir__thaw,
			                       sleeper.node)
			               ->id,
			       sizeof id);
		weir__store_leave(s);
		if (!any)
			return;
		answer(s, id, thaw(q, id));
	}
}
