/* SPDX-License-Identifier: MIT */
/*
 * Opening the file: is it ours, of a version we know, and whole? What is not exactly that is
 * refused with the reason and left as it is: jobs that were accepted are too dear for guesses.
 *
 * So the first look goes through a connection that only reads. A new file gets its schema in one
 * transaction; an empty one is what a crash before that left.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "queue/lockfile.h"
#include "queue/sqlite.h"

static const char tables[] =
	"CREATE TABLE IF NOT EXISTS main.job(num INTEGER PRIMARY KEY, id TEXT NOT NULL, queue TEXT "
	"NOT NULL,"
	" state INTEGER NOT NULL, priority INTEGER NOT NULL, ord INTEGER NOT NULL,"
	" due_at INTEGER, key TEXT, attempts_max INTEGER NOT NULL, timeout_ns INTEGER,"
	" created_at INTEGER NOT NULL, content_type TEXT, size INTEGER NOT NULL, payload BLOB);"
	"CREATE TABLE IF NOT EXISTS main.change(n INTEGER PRIMARY KEY, job INTEGER NOT NULL, state "
	"INTEGER NOT NULL,"
	" ord INTEGER NOT NULL, attempt INTEGER NOT NULL, due_at INTEGER, started_at INTEGER,"
	" finished_at INTEGER, lease TEXT, lease_ns INTEGER, lease_until INTEGER, renew INTEGER,"
	" cancel INTEGER, worker TEXT, progress REAL, note TEXT, error TEXT, result BLOB,"
	" history TEXT);"
	"CREATE TABLE IF NOT EXISTS main.idem(n INTEGER PRIMARY KEY, until INTEGER NOT NULL, queue "
	"TEXT NOT NULL,"
	" key TEXT NOT NULL, id TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS main.queue(name TEXT PRIMARY KEY, paused INTEGER NOT NULL, max "
	"INTEGER,"
	" max_bytes INTEGER, lease_ns INTEGER, attempts_max INTEGER, timeout_ns INTEGER,"
	" backoff_ns INTEGER, backoff_max_ns INTEGER, rate REAL, rate_burst INTEGER,"
	" concurrency INTEGER, key_concurrency INTEGER, finished_max INTEGER, finished_ns INTEGER,"
	" durability INTEGER)"
	" WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS main.cron(name TEXT PRIMARY KEY, schedule TEXT NOT NULL, queue "
	"TEXT NOT NULL,"
	" next_at INTEGER NOT NULL, last_at INTEGER, payload BLOB) WITHOUT ROWID;";

/* For people, so a store that has others gets these without being of another version. */
static const char *const views[][2] = {
	{ "jobs",
	  "CREATE VIEW jobs AS SELECT j.id, j.queue,"
	  " CASE coalesce(c.state, j.state) WHEN 0 THEN 'queued' WHEN 1 THEN 'delayed'"
	  "  WHEN 2 THEN 'running' WHEN 3 THEN 'done' WHEN 4 THEN 'dead' ELSE 'cancelled' END AS "
	  "state,"
	  " j.priority, coalesce(c.attempt, 0) AS attempt, j.attempts_max,"
	  " datetime(j.created_at / 1000000000, 'unixepoch') AS created,"
	  " datetime(coalesce(c.due_at, j.due_at) / 1000000000, 'unixepoch') AS due,"
	  " datetime(c.started_at / 1000000000, 'unixepoch') AS started,"
	  " datetime(c.finished_at / 1000000000, 'unixepoch') AS finished,"
	  " c.worker, c.progress, c.note, c.error, j.key, j.content_type, j.size, j.payload, "
	  "c.result"
	  " FROM job j LEFT JOIN (SELECT max(n), * FROM change GROUP BY job) c ON c.job = j.num" },
	{ "queues",
	  "CREATE VIEW queues AS SELECT name, sum(state = 'queued') AS queued,"
	  " sum(state = 'delayed') AS delayed, sum(state = 'running') AS running,"
	  " sum(state = 'done') AS done, sum(state = 'dead') AS dead,"
	  " sum(state = 'cancelled') AS cancelled, sum(size) AS bytes, max(paused) AS paused"
	  " FROM (SELECT queue AS name, state, size, 0 AS paused FROM jobs"
	  "  UNION ALL SELECT name, '', 0, paused FROM queue) GROUP BY name" },
	{ "dead",
	  "CREATE VIEW dead AS SELECT id, queue, attempt, finished, error, payload FROM jobs"
	  " WHERE state = 'dead'" },
};

static const char *const texts[WEIR__SQL_STATEMENTS] = {
	[WEIR__SQL_BEGIN] = "BEGIN IMMEDIATE",
	[WEIR__SQL_COMMIT] = "COMMIT",
	[WEIR__SQL_ROLLBACK] = "ROLLBACK",
	[WEIR__SQL_JOB] = "INSERT OR FAIL INTO main.job SELECT * FROM row_job",
	[WEIR__SQL_CHANGE] = "INSERT OR FAIL INTO main.change SELECT * FROM row_change",
	[WEIR__SQL_IDEM] = "INSERT INTO main.idem VALUES(NULL,?1,?2,?3,?4)",
	[WEIR__SQL_IDEM_OVER] =
		"DELETE FROM main.idem WHERE n IN (SELECT n FROM main.idem ORDER BY n LIMIT "
		"1000) AND until < ?1",
	[WEIR__SQL_QUEUE] =
		"INSERT OR REPLACE INTO main.queue VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,"
		"?12,?13,?14,?15,?16)",
	[WEIR__SQL_CRON] = "INSERT OR REPLACE INTO main.cron VALUES(?1,?2,?3,?4,?5,?6)",
	[WEIR__SQL_CRON_GONE] = "DELETE FROM main.cron WHERE name = ?1",
	[WEIR__SQL_DELETE] = "DELETE FROM main.job WHERE num = ?1",
	[WEIR__SQL_DELETE_RANGE] = "DELETE FROM main.job WHERE num BETWEEN ?1 AND ?2",
	[WEIR__SQL_OLD] =
		"SELECT c.n, j.num, j.id FROM main.change c CROSS JOIN main.job j ON j.num = c.job"
		" WHERE c.n BETWEEN ?1 AND ?2",
	[WEIR__SQL_READ] = WEIR__SQL_JOBS "WHERE num >= ?1 ORDER BY num LIMIT 1",
	[WEIR__SQL_OLD_OVER] = "DELETE FROM main.change WHERE n <= ?1",
};

/* What is different where the second file is written: see sqlite_more.c. */
static const char *const also[WEIR__SQL_STATEMENTS] = {
	[WEIR__SQL_CRON_GONE] = "INSERT OR REPLACE INTO main.cron VALUES(?1,'','',0,NULL,NULL)",
	[WEIR__SQL_READ] =
		WEIR__SQL_JOBS_OF("main .job") "WHERE num >= ?1 UNION ALL " WEIR__SQL_JOBS_OF(
			"main.job") "WHERE num >= ?1 ORDER BY num LIMIT 1",
};

static int refuse(const struct weir__sqlite *q, const char *why)
{
	weir__log(WEIR__ERROR, "queue",
	          "the store %s %s; it is left as it is: move it away to start without it", q->path,
	          why);
	return -EBADMSG;
}

int weir__sqlite_error(struct weir__sqlite *q, int code, const char *doing)
{
	const char *text = q->db ? sqlite3_errmsg(q->db) : sqlite3_errstr(code);

	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_INTERRUPT:
		return -EINTR;
	case SQLITE_NOTADB:
		return refuse(q, "is not a store of weir");
	case SQLITE_CORRUPT:
		weir__log(WEIR__ERROR, "queue", "the store %s is damaged: %s, %s", q->path, doing,
		          text);
		return -EBADMSG;
	case SQLITE_FULL:
		weir__log_rare(WEIR__ERROR, "queue", "the store %s: %s: the disk is full", q->path,
		               doing);
		return -ENOSPC;
	default:
		weir__log_rare(WEIR__ERROR, "queue", "the store %s: %s: %s (%d)", q->path, doing,
		               text, q->db ? sqlite3_extended_errcode(q->db) : code);
		return -EIO;
	}
}

static int pragma(sqlite3 *db, const char *text, int *ret)
{
	sqlite3_stmt *st;
	int code = sqlite3_prepare_v2(db, text, -1, &st, NULL);

	if (code != SQLITE_OK)
		return code;
	code = sqlite3_step(st);
	if (code == SQLITE_ROW)
		*ret = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Asked of SQLite's layer for files, which may be a test's. */
bool weir__sqlite_exists(const char *path)
{
	sqlite3_vfs *v = sqlite3_vfs_find(NULL);
	int yes = 0;

	return v->xAccess(v, path, SQLITE_ACCESS_EXISTS, &yes) == SQLITE_OK && yes;
}

static int look(struct weir__sqlite *q, int flags, int *ret_id, int *ret_version, int *ret_tables)
{
	int code = sqlite3_open_v2(q->path, &q->db, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (code == SQLITE_OK)
		code = pragma(q->db, "PRAGMA application_id", ret_id);
	if (code == SQLITE_OK)
		code = pragma(q->db, "PRAGMA user_version", ret_version);
	if (code == SQLITE_OK)
		code = pragma(q->db, "SELECT count(*) FROM sqlite_schema", ret_tables);
	return code;
}

/* Whose file is it? 1 ours, 0 there is none or an empty one, or an error. */
static int identify(struct weir__sqlite *q, bool *ret_older)
{
	int id = 0, version = 0, count = 0, r, code;

	if (!weir__sqlite_exists(q->path))
		return 0;
	code = look(q, SQLITE_OPEN_READONLY, &id, &version, &count);
	if ((code & 0xff) == SQLITE_READONLY) {
		/* Whoever wrote it last crashed amid that, and who opens it has to undo it: any
		 * program would. */
		sqlite3_close(q->db);
		q->db = NULL;
		code = look(q, SQLITE_OPEN_READWRITE, &id, &version, &count);
	}
	if (code != SQLITE_OK)
		r = weir__sqlite_error(q, code, "opening");
	else if (id == 0 && version == 0 && count == 0)
		r = 0;
	else if (id != WEIR__SQL_ID)
		r = refuse(q, "is another program's database");
	else if (version > WEIR__SQL_VERSION)
		r = refuse(q, "was written by a newer weir");
	else
		r = 1;
	*ret_older = version < WEIR__SQL_VERSION;
	sqlite3_close(q->db);
	q->db = NULL;
	return r;
}

static int run(struct weir__sqlite *q, const char *text, const char *doing)
{
	int code = sqlite3_exec(q->db, text, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : weir__sqlite_error(q, code, doing);
}

static int count_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
	struct weir__sqlite *q = arg;

	(void)db;
	q->log[strcmp(name, "main") != 0] = frames;
	return SQLITE_OK;
}

/* What is written for the first file, made to be about another: names are of the same length. */
static char *of(const char *text, const char *name)
{
	char *copy = strdup(text);

	for (char *at = copy; copy && (at = strstr(at, "main.")) != NULL; at += 5)
		memcpy(at, name, 4);
	return copy;
}

/* Runs `then` unless `count` finds something there. Both come from sqlite3_mprintf() and are
 * freed. */
static int unless(struct weir__sqlite *q, char *count, char *then)
{
	static const char doing[] = "bringing it up to date";
	int n = 1, r = -ENOMEM, code;

	if (count && then) {
		code = pragma(q->db, count, &n);
		r = code != SQLITE_OK ? weir__sqlite_error(q, code, doing) :
		    n                 ? 0 :
		                        run(q, then, doing);
	}
	sqlite3_free(count);
	sqlite3_free(then);
	return r;
}

/* What an earlier version did not have. Columns come last, so its rows are whole without them. */
static int extend(struct weir__sqlite *q, const char *name)
{
	static const char *const columns[][2] = { { "queue", "durability INTEGER" },
		                                  { "change", "history TEXT" } };
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof columns / sizeof *columns; i++) {
		const char *table = columns[i][0], *column = columns[i][1];

		r = unless(q,
		           sqlite3_mprintf("SELECT count(*) FROM pragma_table_info('%q', '%q')"
		                           " WHERE name = '%.*q'",
		                           table, name, (int)strcspn(column, " "), column),
		           sqlite3_mprintf("ALTER TABLE %s.%s ADD COLUMN %s", name, table, column));
	}
	return r;
}

static int show(struct weir__sqlite *q)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof views / sizeof *views; i++)
		r = unless(q,
		           sqlite3_mprintf("SELECT count(*) FROM main.sqlite_schema WHERE sql = %Q",
		                           views[i][1]),
		           sqlite3_mprintf("DROP VIEW IF EXISTS main.%s; %s", views[i][0],
		                           views[i][1]));
	return r;
}

int weir__sqlite_tables(struct weir__sqlite *q, const char *name)
{
	char *text = of(tables, name);
	int r = text ? run(q, text, "making its tables") : -ENOMEM;

	free(text);
	return r < 0 ? r : extend(q, name);
}

int weir__sqlite_prepare(struct weir__sqlite *q, int set)
{
	for (int i = 0; i < WEIR__SQL_STATEMENTS; i++) {
		char *text = of(set && also[i] ? also[i] : texts[i], set ? "more" : "main");
		int code = SQLITE_NOMEM;

		if (text)
			code = sqlite3_prepare_v3(q->db, text, -1, SQLITE_PREPARE_PERSISTENT,
			                          &q->sets[set][i], NULL);
		free(text);
		if (code == SQLITE_NOMEM)
			return -ENOMEM;
		if (code != SQLITE_OK)
			return refuse(q, "has not the tables that a weir makes");
	}
	return 0;
}

/* In one transaction: there is either a whole store or an empty file, and what is cut off is an
 * older store still. */
static int arrange(struct weir__sqlite *q, bool current)
{
	char text[128];
	int r = run(q, "BEGIN IMMEDIATE", "opening");

	snprintf(text, sizeof text, "PRAGMA application_id=%d; PRAGMA user_version=%d",
	         WEIR__SQL_ID, WEIR__SQL_VERSION);
	if (r == 0 && !current)
		r = run(q, text, "opening");
	if (r == 0 && !current)
		r = weir__sqlite_tables(q, "main");
	if (r == 0)
		r = show(q);
	return r < 0 ? r : run(q, "COMMIT", "opening");
}

/* A second store on the same file would give out the same jobs. The lock is on a file beside it:
 * closing any descriptor of the file itself would end the locks that SQLite has on it. A link is
 * another name of the same store, also before that is there. */
static int lock(struct weir__sqlite *q)
{
	sqlite3_vfs *v = sqlite3_vfs_find(NULL);
	char *real, pid[WEIR__LOCKFILE_PID];
	int n = -1;

	if (strncmp(v->zName, "unix", 4) != 0)
		return 0; /* A test's files are nowhere else. */
	real = malloc((size_t)v->mxPathname + 1);
	if (!real)
		return -ENOMEM;
	if ((v->xFullPathname(v, q->path, v->mxPathname + 1, real) & 0xff) == SQLITE_OK)
		n = asprintf(&q->lock_file, "%s-lock", real);
	free(real);
	if (n < 0) {
		q->lock_file = NULL;
		weir__log(WEIR__ERROR, "queue", "the store %s has no path that can be opened",
		          q->path);
		return -EIO;
	}
	q->lock = weir__lockfile(q->lock_file, pid);
	if (q->lock == -EBUSY)
		weir__log(WEIR__ERROR, "queue", "the store %s is in use, by process %s", q->path,
		          pid);
	else if (q->lock < 0)
		weir__log(WEIR__ERROR, "queue", "%s: %s", q->lock_file, strerrordesc_np(-q->lock));
	return q->lock < 0 ? q->lock : 0;
}

int weir__sqlite_open(struct weir__sqlite *q)
{
	bool older = false;
	int known, code, r = lock(q); /* First: what another makes just now is not to be judged. */

	if (r < 0)
		return r;
	known = identify(q, &older);
	if (known < 0)
		return known;
	code = sqlite3_open_v2(q->path, &q->db,
	                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	                       NULL);
	if (code != SQLITE_OK)
		return weir__sqlite_error(q, code, "opening");
	if (!known)
		(void)chmod(q->path, 0600); /* For its owner only; its log takes after it. */
	sqlite3_busy_timeout(q->db, WEIR__SQL_BUSY_MS);
	r = run(q,
	        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
	        "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16384",
	        "opening");
	if (r == 0)
		r = arrange(q, known && !older);
	if (r == 0 && known && older)
		weir__log(
			WEIR__INFO, "queue",
			"the store %s was written by an older weir, which cannot open it any more",
			q->path);
	sqlite3_wal_hook(q->db, count_frames, q);
	q->sql = q->sets[0];
	if (r == 0)
		r = weir__sqlite_rows(q);
	if (r == 0)
		r = weir__sqlite_prepare(q, 0);
	return r < 0 ? r : weir__sqlite_more_home(q);
}

void weir__sqlite_shut(struct weir__sqlite *q)
{
	for (int set = 0; set < 2; set++)
		for (int i = 0; i < WEIR__SQL_STATEMENTS; i++) {
			sqlite3_finalize(q->sets[set][i]);
			q->sets[set][i] = NULL;
		}
	sqlite3_close(q->db); /* The last to close brings the log home. */
	q->db = NULL;
	weir__sqlite_more_remove(q);
	if (q->lock >= 0) /* Also of a file that was refused: nothing is left beside it. */
		weir__lockfile_remove(q->lock, q->lock_file);
	free(q->lock_file);
	q->lock_file = NULL;
	q->lock = -1;
}
