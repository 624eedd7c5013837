/* SPDX-License-Identifier: MIT */
/*
 * The second file, for as long as somebody reads the first.
 *
 * SQLite's log begins anew only when nobody reads a state from before; one reader that keeps its
 * transaction open lets it grow with every write. So when the log is at its cap and cannot begin
 * anew, what follows is written to a second file, PATH-more, with the same tables and a log of its
 * own. Nobody reads that one. When the reader has left, the rows are copied home, some thousand
 * between two transactions, so that neither producers wait nor the log grows over its cap again;
 * then the second file is emptied, and the first goes on.
 *
 * A transaction is in one of the files, whole. Rows are only appended meanwhile, none deleted, and
 * the second file is emptied before anything is deleted from the first; so copying rows twice,
 * after a crash, changes nothing. A store that opens copies what it finds first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "queue/sqlite.h"

#define AGAIN      WEIR_MS(250) /* how often to look whether the reader has left */
#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#define CHUNK      4096      /* rows that are copied at once … */
#define CHUNK_SIZE (1 << 20) /* … and their bytes, at most a quarter of the log's cap */

int weir__sqlite_log_cap = 16384;

static int run(struct weir__sqlite *q, const char *text)
{
	int code = sqlite3_exec(q->db, text, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : weir__sqlite_error(q, code, "its second file");
}

static int attach(struct weir__sqlite *q)
{
	char *path = sqlite3_mprintf("%s-more", q->path);
	char *text = path ? sqlite3_mprintf("ATTACH %Q AS more", path) : NULL;
	int r = text ? run(q, text) : -ENOMEM;

	if (r == 0)
		(void)chmod(path, 0600); /* As the first: its log takes after it. */
	sqlite3_free(text);
	sqlite3_free(path);
	if (r == 0)
		r = run(q, "PRAGMA more.journal_mode=WAL; PRAGMA more.synchronous=FULL;"
		           "PRAGMA more.journal_size_limit=67108864");
	if (r == 0)
		r = weir__sqlite_tables(q, "more");
	if (r == 0)
		r = weir__sqlite_prepare(q, 1);
	q->attached = r == 0;
	if (r < 0) {
		/* Or no later try could attach it; that it is not attached yet is no matter. */
		for (size_t i = 0; i < WEIR__SQL_STATEMENTS; i++) {
			sqlite3_finalize(q->sets[1][i]);
			q->sets[1][i] = NULL;
		}
		sqlite3_exec(q->db, "DETACH more", NULL, NULL, NULL);
	}
	return r;
}

/* The log of the first file is at its cap, and somebody keeps it from beginning anew. */
int weir__sqlite_more_begin(struct weir__sqlite *q)
{
	int r = q->attached ? 0 : attach(q);

	if (r < 0)
		return r;
	weir__log(
		WEIR__WARN, "queue",
		"somebody has been reading the store %s for long; what comes is written to %s-more "
		"meanwhile",
		q->path, q->path);
	q->more = true;
	q->copying = false;
	q->sql = q->sets[1];
	q->again_at = weir_now() + AGAIN;
	return 0;
}

/* Does the log of the first file begin anew? */
static bool log_restarts(struct weir__sqlite *q)
{
	int code;

	if (weir_now() < q->again_at)
		return false;
	q->again_at = weir_now() + AGAIN;
	sqlite3_busy_timeout(q->db, 0);
	code = sqlite3_wal_checkpoint_v2(q->db, "main", SQLITE_CHECKPOINT_RESTART, NULL, NULL);
	sqlite3_busy_timeout(q->db, WEIR__SQL_BUSY_MS);
	if (code != SQLITE_OK)
		return false;
	q->log[0] = 0;
	return true;
}

/* Rows of one table behind *from, of which `size` is what varies; how many. */
static int copy_rows(struct weir__sqlite *q, const char *table, const char *key, const char *size,
                     int64_t *from)
{
	int bytes =
		weir__sqlite_log_cap < CHUNK_SIZE / 1024 ? weir__sqlite_log_cap * 1024 : CHUNK_SIZE;
	char text[400];
	sqlite3_stmt *st;
	int64_t to = *from;
	int n = 0, code;

	snprintf(text, sizeof text,
	         "SELECT max(%s), count(*) FROM (SELECT %s, row_number() OVER w AS i,"
	         " sum(%s + 256) OVER w AS bytes FROM more.%s WHERE %s > %lld"
	         " WINDOW w AS (ORDER BY %s) LIMIT " STRING(CHUNK) ") WHERE i = 1 OR bytes <= %d",
	         key, key, size, table, key, (long long)*from, key, bytes);
	code = sqlite3_prepare_v2(q->db, text, -1, &st, NULL);
	if (code == SQLITE_OK && (code = sqlite3_step(st)) == SQLITE_ROW) {
		to = sqlite3_column_int64(st, 0);
		n = sqlite3_column_int(st, 1);
		code = SQLITE_OK;
	}
	sqlite3_finalize(st);
	if (code != SQLITE_OK)
		return weir__sqlite_error(q, code, "its second file");
	if (!n)
		return 0;
	snprintf(text, sizeof text,
	         "INSERT OR REPLACE INTO main.%s SELECT * FROM more.%s WHERE %s > %lld AND %s <= "
	         "%lld",
	         table, table, key, (long long)*from, key, (long long)to);
	code = run(q, text);
	if (code < 0)
		return code;
	*from = to;
	return n;
}

/* The next rows to the first file: 1 there are more, 0 that were all, or an error. */
static int copy_some(struct weir__sqlite *q)
{
	int64_t job = q->copied_job, change = q->copied_change;
	int jobs, changes = 0, r = run(q, "BEGIN IMMEDIATE");

	if (r < 0)
		return r;
	r = jobs = copy_rows(q, "job", "num", "size", &job);
	if (r >= 0)
		r = changes = copy_rows(q, "change", "n", "coalesce(length(result), 0)", &change);
	if (r >= 0 && jobs + changes == 0)
		r = run(q,
		        "INSERT INTO main.idem SELECT NULL, until, queue, key, id FROM more.idem;"
		        "INSERT OR REPLACE INTO main.queue SELECT * FROM more.queue;"
		        "INSERT OR REPLACE INTO main.cron SELECT * FROM more.cron;"
		        "DELETE FROM main.cron WHERE schedule = ''");
	if (r >= 0)
		r = run(q, "COMMIT");
	if (r < 0) {
		if (!sqlite3_get_autocommit(q->db))
			sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
		return r;
	}
	q->copied_job = job;
	q->copied_change = change;
	return jobs + changes > 0;
}

static int empty(struct weir__sqlite *q)
{
	return run(q,
	           "BEGIN IMMEDIATE; DELETE FROM more.job; DELETE FROM more.change;"
	           "DELETE FROM more.idem; DELETE FROM more.queue; DELETE FROM more.cron; COMMIT");
}

void weir__sqlite_more_step(struct weir__sqlite *q)
{
	int64_t start = weir_now();
	int r;

	if (start < q->copy_at)
		return;
	if (!q->copying) {
		if (!log_restarts(q))
			return;
		q->copying = true;
		q->copied_job = q->copied_change = 0;
	}
	if (q->log[0] >= weir__sqlite_log_cap && !log_restarts(q))
		return; /* Another reader has come. */
	r = copy_some(q);
	if (r >= 0 && q->log[0] >= weir__sqlite_log_frames)
		sqlite3_wal_checkpoint_v2(q->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	/* At least half of the time is for those who wait. */
	q->copy_at = weir_now() + (weir_now() - start);
	if (r == 0)
		r = empty(q);
	else if (r > 0)
		return;
	if (r < 0) {
		q->again_at = weir_now() + AGAIN;
		return;
	}
	q->more = q->copying = false;
	q->sql = q->sets[0];
	weir__log(WEIR__INFO, "queue", "the store %s is one file again", q->path);
}

int weir__sqlite_more_home(struct weir__sqlite *q)
{
	char *path = sqlite3_mprintf("%s-more", q->path);
	int r;

	if (!path)
		return -ENOMEM;
	r = weir__sqlite_exists(path) ? attach(q) : 0;
	sqlite3_free(path);
	if (r < 0 || !q->attached)
		return r;
	q->copied_job = q->copied_change = 0;
	while ((r = copy_some(q)) > 0)
		sqlite3_wal_checkpoint_v2(q->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return r < 0 ? r : empty(q);
}

void weir__sqlite_more_remove(struct weir__sqlite *q)
{
	static const char *const ends[] = { "-more", "-more-wal", "-more-shm" };
	char path[4096];

	for (size_t i = 0; q->attached && !q->more && i < sizeof ends / sizeof *ends; i++) {
		snprintf(path, sizeof path, "%s%s", q->path, ends[i]);
		unlink(path);
	}
}
