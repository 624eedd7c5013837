/* SPDX-License-Identifier: MIT */
/*
 * What the writer writes: all that is dirty as one transaction, synced before it is answered.
 *
 * Rows are only appended: a job once, each of its changes behind the last. Acks as updates or
 * deletes in the order in which they come touch a page each; appended they cost a third. What that
 * leaves behind is cleared by the transaction that follows, in runs: jobs by the segment once half
 * of it is of no interest, changes from the front once most are outdated, with those that are not
 * appended anew.
 *
 * When the disk is full the transaction is tried again without the new jobs: acks are small, may
 * make room, and their workers should not suffer from what producers did.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/sqlite.h"

enum {
	CHANGES_SPARE = 65536,  /* outdated changes that do not matter */
	CHANGES_AT_ONCE = 2048, /* of them looked at in one round */
};

static int step(struct weir__sqlite *q, enum weir__sql which)
{
	int code = sqlite3_step(q->sql[which]);

	sqlite3_reset(q->sql[which]);
	return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

static void bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (text && *text)
		sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

static void bind_number(sqlite3_stmt *st, int at, int64_t v)
{
	if (v)
		sqlite3_bind_int64(st, at, v);
	else
		sqlite3_bind_null(st, at);
}

static int write_idem(struct weir__sqlite *q, int64_t until, const char *queue, const char *key,
                      const char *id)
{
	sqlite3_stmt *st = q->sql[WEIR__SQL_IDEM];

	sqlite3_bind_int64(st, 1, until);
	bind_text(st, 2, queue);
	bind_text(st, 3, key);
	bind_text(st, 4, id);
	return step(q, WEIR__SQL_IDEM);
}

int weir__sqlite_idems(struct weir__sqlite *q)
{
	int code = sqlite3_exec(q->db, "BEGIN IMMEDIATE; DELETE FROM idem", NULL, NULL, NULL);

	weir__list_each (n, &q->store->idems) {
		const struct weir__idem *i = weir__container(n, struct weir__idem, link);

		if (code == SQLITE_OK)
			code = write_idem(q, i->until_wall, i->text, i->text + strlen(i->text) + 1,
			                  i->id);
	}
	if (code == SQLITE_OK)
		code = step(q, WEIR__SQL_COMMIT);
	return code == SQLITE_OK ? 0 : weir__sqlite_error(q, code, "writing");
}

/* Is what the job's own row says all there is to say? */
static bool plain(const struct weir__row *row)
{
	return row->state <= WEIR_DELAYED && !row->attempt && !*row->error && !row->cancel;
}

/* What is to be told of the rows that are there. */
static int write_rows(struct weir__sqlite *q, bool fresh_too)
{
	size_t jobs = 0, changes = 0;
	int code = SQLITE_OK;

	for (size_t i = 0; i < q->rows_n; i++) {
		struct weir__row *row = &q->rows[i];
		bool change = row->changed;

		row->insert = row->fresh && fresh_too && !row->gone;
		if (row->fresh)
			change = row->insert && !plain(row);
		row->change = change ? ++q->changes : 0;
		jobs += row->insert;
		changes += change;
	}
	if (jobs)
		code = step(q, WEIR__SQL_JOB);
	for (size_t i = 0; i < q->rows_n && code == SQLITE_OK; i++) {
		const struct weir__row *row = &q->rows[i];

		if (row->insert && *row->idem)
			code = write_idem(q, row->idem_until, row->queue, row->idem, row->rec->id);
	}
	if (changes && code == SQLITE_OK)
		code = step(q, WEIR__SQL_CHANGE);
	for (size_t i = 0; i < q->rows_n && code == SQLITE_OK; i++)
		if (q->rows[i].change)
			q->rows[i].rec->change = q->rows[i].change;
	return code;
}

static int write_queue(struct weir__sqlite *q, const struct weir__queue_row *row)
{
	sqlite3_stmt *st = q->sql[WEIR__SQL_QUEUE];
	const weir_queue_settings *g = &row->given;

	bind_text(st, 1, row->name);
	sqlite3_bind_int(st, 2, g->paused);
	bind_number(st, 3, (int64_t)g->max);
	bind_number(st, 4, (int64_t)g->max_bytes);
	bind_number(st, 5, g->lease_ns);
	bind_number(st, 6, g->attempts_max);
	bind_number(st, 7, g->timeout_ns);
	bind_number(st, 8, g->backoff_ns);
	bind_number(st, 9, g->backoff_max_ns);
	sqlite3_bind_double(st, 10, g->rate);
	bind_number(st, 11, g->rate_burst);
	bind_number(st, 12, g->concurrency);
	bind_number(st, 13, g->key_concurrency);
	bind_number(st, 14, (int64_t)g->finished_max);
	bind_number(st, 15, g->finished_ns);
	bind_number(st, 16, g->durability);
	return step(q, WEIR__SQL_QUEUE);
}

static int write_cron(struct weir__sqlite *q, const struct weir__cron_row *row)
{
	sqlite3_stmt *st = q->sql[WEIR__SQL_CRON];

	bind_text(st, 1, row->name);
	bind_text(st, 2, row->schedule);
	bind_text(st, 3, row->queue);
	sqlite3_bind_int64(st, 4, row->next_at);
	bind_number(st, 5, row->last_at);
	sqlite3_bind_blob64(st, 6, row->data, row->len, SQLITE_STATIC);
	return step(q, WEIR__SQL_CRON);
}

static int write_rest(struct weir__sqlite *q, bool fresh_too)
{
	struct weir__batch *b = &q->batch;
	int code = SQLITE_OK;

	for (size_t i = 0; fresh_too && i < b->idems_n && code == SQLITE_OK; i++) {
		const struct weir__idem_row *row = b->idems[i];

		code = write_idem(q, row->until, row->text, row->text + strlen(row->text) + 1,
		                  row->id);
	}

	for (struct weir__cron_gone *g = b->crons_gone; g && code == SQLITE_OK; g = g->next) {
		bind_text(q->sql[WEIR__SQL_CRON_GONE], 1, g->name);
		code = step(q, WEIR__SQL_CRON_GONE);
	}
	for (size_t i = 0; i < b->queues_n && code == SQLITE_OK; i++)
		code = write_queue(q, &b->queues[i]);
	for (size_t i = 0; i < b->crons_n && code == SQLITE_OK; i++)
		code = write_cron(q, b->crons[i]);
	return code;
}

/* ---- Clearing up ---- */

/* Without memory for its segment a job's row stays until the next start. */
static struct weir__segment *segment_of(struct weir__sqlite *q, uint64_t num)
{
	size_t i = num / WEIR__SQL_SEGMENT;

	if (i >= q->segments_n) {
		size_t n = i + i / 2 + 16;
		struct weir__segment **v = realloc(q->segments, n * sizeof *v);

		if (!v)
			return NULL;
		memset(v + q->segments_n, 0, (n - q->segments_n) * sizeof *v);
		q->segments = v;
		q->segments_n = n;
	}
	if (!q->segments[i])
		q->segments[i] = calloc(1, sizeof **q->segments);
	return q->segments[i];
}

static int delete_gone(struct weir__sqlite *q, size_t i)
{
	struct weir__segment *g = q->segments[i];
	int64_t from = (int64_t)(i * WEIR__SQL_SEGMENT);
	int code = SQLITE_OK;

	if (g->gone + g->deleted == WEIR__SQL_SEGMENT) {
		sqlite3_bind_int64(q->sql[WEIR__SQL_DELETE_RANGE], 1, from);
		sqlite3_bind_int64(q->sql[WEIR__SQL_DELETE_RANGE], 2, from + WEIR__SQL_SEGMENT - 1);
		return step(q, WEIR__SQL_DELETE_RANGE);
	}
	for (int k = 0; k < WEIR__SQL_SEGMENT && code == SQLITE_OK; k++) {
		if (!(g->bits[k / 64] >> (k % 64) & 1))
			continue;
		sqlite3_bind_int64(q->sql[WEIR__SQL_DELETE], 1, from + k);
		code = step(q, WEIR__SQL_DELETE);
	}
	return code;
}

static void gone(struct weir__sqlite *q, uint64_t num)
{
	struct weir__segment *g = segment_of(q, num);
	unsigned k = num % WEIR__SQL_SEGMENT;

	if (!g || g->bits[k / 64] >> (k % 64) & 1)
		return;
	g->bits[k / 64] |= 1ull << (k % 64);
	g->gone++;
}

/* Deletes rows of jobs that are gone, where there are enough of them together. */
static int clear_jobs(struct weir__sqlite *q)
{
	const struct weir__batch *b = &q->batch;
	int code = SQLITE_OK;

	for (size_t i = 0; i < b->jobs_n && code == SQLITE_OK; i++) {
		size_t n = b->jobs[i]->num / WEIR__SQL_SEGMENT;
		struct weir__segment *g = n < q->segments_n ? q->segments[n] : NULL;

		if (!g || g->clearing || g->gone < WEIR__SQL_SEGMENT / 2)
			continue;
		g->clearing = true;
		code = delete_gone(q, n);
	}
	return code;
}

/* The transaction has ended: what it deleted is not in the file any more, or still is. */
static void cleared_jobs(struct weir__sqlite *q, bool deleted)
{
	const struct weir__batch *b = &q->batch;

	for (size_t i = 0; i < b->jobs_n; i++) {
		size_t n = b->jobs[i]->num / WEIR__SQL_SEGMENT;
		struct weir__segment *g = n < q->segments_n ? q->segments[n] : NULL;

		if (!g || !g->clearing)
			continue;
		g->clearing = false;
		if (!deleted)
			continue;
		g->deleted += g->gone;
		g->gone = 0;
		memset(g->bits, 0, sizeof g->bits);
	}
}

static int clear_idems(struct weir__sqlite *q)
{
	int64_t now = weir_wall();
	int code;

	if (now < q->idem_at)
		return SQLITE_OK;
	sqlite3_bind_int64(q->sql[WEIR__SQL_IDEM_OVER], 1, now);
	code = step(q, WEIR__SQL_IDEM_OVER);
	if (code == SQLITE_OK && sqlite3_changes(q->db) == 0)
		q->idem_at = now + WEIR_SEC(10);
	return code;
}

/* The oldest changes: where none is its job's newest any more they are deleted, and where some are
 * these are marked to be written anew. A job that is out of the store goes with its change. */
static int clear_changes(struct weir__sqlite *q)
{
	sqlite3_stmt *st = q->sql[WEIR__SQL_OLD];
	weir_store *s = q->store;
	int64_t from = (int64_t)q->changes_from, to = from + WEIR__SQL_OLD_MAX;
	size_t n = 0, newest = 0;
	int code;

	if (q->changes - q->changes_from < CHANGES_SPARE + q->changes_live)
		return SQLITE_OK;
	sqlite3_bind_int64(st, 1, from + 1);
	sqlite3_bind_int64(st, 2, to);
	while ((code = sqlite3_step(st)) == SQLITE_ROW && n < WEIR__SQL_OLD_MAX) {
		const void *id = sqlite3_column_text(st, 2);

		q->old[n].change = (uint64_t)sqlite3_column_int64(st, 0);
		q->old[n].job = (uint64_t)sqlite3_column_int64(st, 1);
		memcpy(q->old[n].id, id, WEIR__ID + 1);
		n++;
	}
	sqlite3_reset(st);
	if (code != SQLITE_DONE)
		return code;
	weir__store_enter(s);
	for (size_t i = 0; i < n; i++) {
		struct weir__record *j = weir__job_find(s, q->old[i].id);

		if (j && j->change == q->old[i].change) {
			weir__journal_anew(s, j);
			newest++;
		}
		if (j)
			q->old[i].job = 0;
	}
	q->changes_live = s->jobs.n * 2;
	weir__store_leave(s);
	code = SQLITE_OK;
	for (size_t i = 0; i < n && code == SQLITE_OK; i++)
		if (q->old[i].job) {
			sqlite3_bind_int64(q->sql[WEIR__SQL_DELETE], 1, (int64_t)q->old[i].job);
			code = step(q, WEIR__SQL_DELETE);
		}
	if (code != SQLITE_OK || newest)
		return code;
	sqlite3_bind_int64(q->sql[WEIR__SQL_OLD_OVER], 1, to);
	code = step(q, WEIR__SQL_OLD_OVER);
	if (code == SQLITE_OK)
		q->cleared = (uint64_t)to;
	return code;
}

static int clear(struct weir__sqlite *q)
{
	int code = clear_jobs(q);

	if (code == SQLITE_OK)
		code = clear_changes(q);
	return code == SQLITE_OK ? clear_idems(q) : code;
}

/* After the transaction: what has become of no interest with it. */
static void note_gone(struct weir__sqlite *q)
{
	weir__store_enter(q->store);
	for (size_t i = 0; i < q->batch.jobs_n; i++)
		if (q->batch.jobs[i]->gone && q->batch.jobs[i]->num &&
		    !weir__list_linked(&q->batch.jobs[i]->dirty))
			gone(q, q->batch.jobs[i]->num);
	weir__store_leave(q->store);
}

/* ---- A round ---- */

/* Whether the next transactions are synced before they are answered. A synced one takes those
 * before it along, since they share the log. */
static int sync_as(struct weir__sqlite *q, bool sync)
{
	int code = SQLITE_OK;

	if (q->relaxed == !sync)
		return code;
	if (q->attached)
		code = sqlite3_exec(q->db,
		                    sync ? "PRAGMA more.synchronous=FULL" :
		                           "PRAGMA more.synchronous=NORMAL",
		                    NULL, NULL, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_exec(q->db,
		                    sync ? "PRAGMA main.synchronous=FULL" :
		                           "PRAGMA main.synchronous=NORMAL",
		                    NULL, NULL, NULL);
	if (code == SQLITE_OK)
		q->relaxed = !sync;
	return code;
}

static int write_all(struct weir__sqlite *q, bool fresh_too)
{
	size_t at = 0;
	int code = sync_as(q, q->batch.sync);

	if (code == SQLITE_OK)
		code = step(q, WEIR__SQL_BEGIN);
	if (code == SQLITE_OK)
		weir__sqlite_log_room(q);
	while (code == SQLITE_OK && (q->rows_n = weir__journal_rows(q->store, &q->batch, at,
	                                                            q->rows, WEIR__SQL_ROWS)) > 0) {
		code = write_rows(q, fresh_too);
		for (size_t i = 0; i < q->rows_n; i++)
			weir__result_unref(q->rows[i].result);
		at += q->rows_n;
	}
	if (code == SQLITE_OK)
		code = write_rest(q, fresh_too);
	if (code == SQLITE_OK && !q->more)
		code = clear(q);
	if (code == SQLITE_OK)
		code = step(q, WEIR__SQL_COMMIT);
	cleared_jobs(q, code == SQLITE_OK);
	if (code == SQLITE_OK) {
		q->changes_from = q->cleared;
		return 0;
	}
	q->cleared = q->changes_from;
	code = weir__sqlite_error(q, code, "writing");
	if (!sqlite3_get_autocommit(q->db))
		step(q, WEIR__SQL_ROLLBACK);
	return code;
}

int weir__sqlite_round(struct weir__sqlite *q)
{
	weir_store *s = q->store;
	int r, r_rest;

	weir__sqlite_reads(q);
	r = weir__journal_take(s, &q->batch, q->rested);
	if (r == 0) {
		if (q->more)
			weir__sqlite_more_step(q);
		return 0;
	}
	if (r < 0) {
		sqlite3_sleep(100); /* Memory may come back. */
		return r;
	}
	r = r_rest = write_all(q, true);
	if (r < 0)
		r_rest = write_all(q, false);
	if (r_rest == 0)
		note_gone(q);
	weir__journal_done(q->store, &q->batch, r, r_rest);
	if (r_rest == 0)
		weir__sqlite_log_mind(q);
	return r_rest < 0 ? r_rest : r;
}
