/* SPDX-License-Identifier: MIT */
/*
 * The rows that are to be written as two tables that SQLite reads, row_job and row_change: a batch
 * is one INSERT … SELECT. Bound and run row by row, each would open the table anew, look for its
 * end and allocate; that was more than half of what a put costs the writer.
 *
 * A column is in the same place as in the table it is for. What SQLite is given is not copied: the
 * rows stay as they are until the statement has ended, and a history until the next row's.
 */
#include <string.h>

#include "queue/sqlite.h"

struct table {
	sqlite3_vtab base;
	struct weir__sqlite *q;
	bool changes;
};

struct cursor {
	sqlite3_vtab_cursor base;
	size_t at;
};

static const char *const names[] = { "row_job", "row_change" };
static const char *const columns[] = {
	"CREATE TABLE x(num, id, queue, state, priority, ord, due_at, key, attempts_max, "
	"timeout_ns,"
	" created_at, content_type, size, payload)",
	"CREATE TABLE x(n, job, state, ord, attempt, due_at, started_at, finished_at, lease, "
	"lease_ns,"
	" lease_until, renew, cancel, worker, progress, note, error, result, history)",
};

/* What is not set stays NULL. */
static void text(sqlite3_context *to, const char *v)
{
	if (v && *v)
		sqlite3_result_text(to, v, -1, SQLITE_STATIC);
}

static void number(sqlite3_context *to, int64_t v)
{
	if (v)
		sqlite3_result_int64(to, v);
}

static void job_column(sqlite3_context *to, const struct weir__row *row, int column)
{
	const struct weir__record *j = row->rec;

	switch (column) {
	case 0:
		return sqlite3_result_int64(to, (int64_t)j->num);
	case 1:
		return sqlite3_result_text(to, j->id, WEIR__ID, SQLITE_STATIC);
	case 2:
		return text(to, row->queue);
	case 3:
		return sqlite3_result_int(
			to, row->state == WEIR_QUEUED && row->due_at ? WEIR_DELAYED : row->state);
	case 4:
		return sqlite3_result_int(to, j->ready.priority);
	case 5:
		return sqlite3_result_int64(to, (int64_t)row->ord);
	case 6:
		return number(to, row->due_at);
	case 7:
		return text(to, j->key);
	case 8:
		return sqlite3_result_int64(to, j->attempts_max);
	case 9:
		return number(to, j->timeout_ns);
	case 10:
		return sqlite3_result_int64(to, j->created_at);
	case 11:
		return text(to, j->content_type);
	case 12:
		return sqlite3_result_int64(to, (int64_t)j->len);
	case 13:
		return sqlite3_result_blob64(to, j->data, j->len, SQLITE_STATIC);
	}
}

static void add_number(struct weir__buf *b, uint64_t v, char end)
{
	weir__buf_u64(b, v);
	weir__buf_byte(b, end);
}

/* The number of the first, then a line each: when (how long after the one before), what, in which
 * attempt, and the note that goes with it. */
static void history(sqlite3_context *to, struct weir__buf *b, const struct weir__row *row)
{
	int64_t before = 0;

	weir__buf_clear(b);
	add_number(b, row->changes - row->histories + 1, '\n');
	for (unsigned i = 0; i < row->histories; i++) {
		const weir_job_event *e = &row->history[i];
		int64_t since = e->at_wall - before;

		if (since < 0)
			weir__buf_byte(b, '-');
		add_number(b, since < 0 ? -(uint64_t)since : (uint64_t)since, ' ');
		before = e->at_wall;
		weir__buf_str(b, e->state);
		weir__buf_byte(b, ' ');
		add_number(b, e->attempt, *e->note ? ' ' : '\n');
		if (!*e->note)
			continue;
		for (const char *c = e->note; *c; c++)
			weir__buf_byte(b, *c == '\n' ? ' ' : *c);
		weir__buf_byte(b, '\n');
	}
	if (!b->failed)
		sqlite3_result_text(to, b->data, (int)b->len, SQLITE_STATIC);
}

static void change_column(sqlite3_context *to, struct weir__sqlite *q, const struct weir__row *row,
                          int column)
{
	switch (column) {
	case 0:
		return sqlite3_result_int64(to, (int64_t)row->change);
	case 1:
		return sqlite3_result_int64(to, (int64_t)row->rec->num);
	case 2:
		return sqlite3_result_int(to, row->state);
	case 3:
		return sqlite3_result_int64(to, (int64_t)row->ord);
	case 4:
		return sqlite3_result_int64(to, row->attempt);
	case 5:
		return number(to, row->due_at);
	case 6:
		return number(to, row->started_at);
	case 7:
		return number(to, row->finished_at);
	case 8:
		return text(to, row->token);
	case 9:
		return number(to, row->lease_ns);
	case 10:
		return number(to, row->lease_until);
	case 11:
		return number(to, row->renew);
	case 12:
		return number(to, row->cancel);
	case 13:
		return text(to, row->worker);
	case 14:
		if (row->progress >= 0)
			sqlite3_result_double(to, row->progress);
		return;
	case 15:
		return text(to, row->note);
	case 16:
		return text(to, row->error);
	case 17:
		if (row->result)
			sqlite3_result_blob64(to, row->result->data, row->result->len,
			                      SQLITE_STATIC);
		return;
	case 18:
		return history(to, &q->text, row);
	}
}

/* ---- What SQLite asks of a table ---- */

static int table_new(sqlite3 *db, void *arg, int argc, const char *const *argv, sqlite3_vtab **ret,
                     char **ret_error)
{
	bool changes = !strcmp(argv[0], names[1]);
	int code = sqlite3_declare_vtab(db, columns[changes]);
	struct table *t;

	(void)argc;
	(void)ret_error;
	if (code != SQLITE_OK)
		return code;
	t = sqlite3_malloc(sizeof *t);
	if (!t)
		return SQLITE_NOMEM;
	*t = (struct table){ .q = arg, .changes = changes };
	*ret = &t->base;
	return SQLITE_OK;
}

static int table_free(sqlite3_vtab *t)
{
	sqlite3_free(t);
	return SQLITE_OK;
}

static int best_index(sqlite3_vtab *t, sqlite3_index_info *info)
{
	(void)t;
	info->estimatedRows = WEIR__SQL_ROWS;
	info->estimatedCost = WEIR__SQL_ROWS;
	return SQLITE_OK;
}

static int cursor_new(sqlite3_vtab *t, sqlite3_vtab_cursor **ret)
{
	struct cursor *c = sqlite3_malloc(sizeof *c);

	(void)t;
	if (!c)
		return SQLITE_NOMEM;
	*c = (struct cursor){ 0 };
	*ret = &c->base;
	return SQLITE_OK;
}

static int cursor_free(sqlite3_vtab_cursor *c)
{
	sqlite3_free(c);
	return SQLITE_OK;
}

static const struct table *table_of(const struct cursor *c)
{
	return (const struct table *)c->base.pVtab;
}

static void pass(struct cursor *c)
{
	const struct table *t = table_of(c);
	const struct weir__sqlite *q = t->q;

	while (c->at < q->rows_n && !(t->changes ? q->rows[c->at].change : q->rows[c->at].insert))
		c->at++;
}

static int filter(sqlite3_vtab_cursor *cursor, int index, const char *index_text, int argc,
                  sqlite3_value **argv)
{
	struct cursor *c = (struct cursor *)cursor;

	(void)index;
	(void)index_text;
	(void)argc;
	(void)argv;
	c->at = 0;
	pass(c);
	return SQLITE_OK;
}

static int next(sqlite3_vtab_cursor *cursor)
{
	struct cursor *c = (struct cursor *)cursor;

	c->at++;
	pass(c);
	return SQLITE_OK;
}

static int eof(sqlite3_vtab_cursor *cursor)
{
	const struct cursor *c = (const struct cursor *)cursor;

	return c->at >= table_of(c)->q->rows_n;
}

static int column(sqlite3_vtab_cursor *cursor, sqlite3_context *to, int i)
{
	const struct cursor *c = (const struct cursor *)cursor;
	const struct table *t = table_of(c);
	const struct weir__row *row = &t->q->rows[c->at];

	if (t->changes)
		change_column(to, t->q, row, i);
	else
		job_column(to, row, i);
	return SQLITE_OK;
}

static int rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
	*ret = (sqlite3_int64)((const struct cursor *)cursor)->at;
	return SQLITE_OK;
}

int weir__sqlite_rows(struct weir__sqlite *q)
{
	static const sqlite3_module module = {
		.xConnect = table_new,
		.xDisconnect = table_free,
		.xBestIndex = best_index,
		.xOpen = cursor_new,
		.xClose = cursor_free,
		.xFilter = filter,
		.xNext = next,
		.xEof = eof,
		.xColumn = column,
		.xRowid = rowid,
	};

	for (int i = 0; i < 2; i++) {
		int code = sqlite3_create_module(q->db, names[i], &module, q);

		if (code != SQLITE_OK)
			return weir__sqlite_error(q, code, "opening");
	}
	return 0;
}
