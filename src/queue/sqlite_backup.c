/* SPDX-License-Identifier: MIT */
/*
 * A copy of a durable store while it is served, and a check of one.
 *
 * Both only read, through connections of their own. While a second file is in use
 * (sqlite_more.c) a copy is of both: the second as it is at a moment, then the first as it is
 * later. Rows leave the second only when the first has them, so none is missing.
 *
 * The copy is made under another name, synced, and renamed when it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "queue/sqlite.h"

static int said(sqlite3 *db, const char *path, const char *doing)
{
	weir__log(WEIR__ERROR, "queue", "%s: %s: %s", path, doing,
	          db ? sqlite3_errmsg(db) : "out of memory");
	return sqlite3_errcode(db) == SQLITE_FULL ? -ENOSPC : -EIO;
}

static int number(sqlite3 *db, const char *text, int64_t *ret)
{
	sqlite3_stmt *st;
	int code = sqlite3_prepare_v2(db, text, -1, &st, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(st);
	if (code == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return code == SQLITE_ROW ? 0 : -EIO;
}

/* A store of ours that can be read by this version. */
static int open_store(const char *path, sqlite3 **ret)
{
	int64_t id = 0, version = 0;
	int r = -EBADMSG;

	if (access(path, F_OK) < 0) {
		weir__log(WEIR__ERROR, "queue", "%s: %s", path, strerrordesc_np(errno));
		return -ENOENT;
	}
	if (sqlite3_open_v2(path, ret, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(*ret, WEIR__SQL_BUSY_MS) != SQLITE_OK ||
	    number(*ret, "PRAGMA application_id", &id) < 0 ||
	    number(*ret, "PRAGMA user_version", &version) < 0)
		return said(*ret, path, "reading");
	if (id != WEIR__SQL_ID)
		weir__log(WEIR__ERROR, "queue", "%s is not a store of weir", path);
	else if (version > WEIR__SQL_VERSION)
		weir__log(WEIR__ERROR, "queue", "%s was written by a newer weir", path);
	else
		r = 0;
	return r;
}

/* Rows of the second file into the copy, however many columns its version has. */
static int copy_table(sqlite3 *from, sqlite3 *to, const char *select, const char *table)
{
	sqlite3_stmt *in = NULL, *out = NULL;
	char insert[128];
	int code, n;

	code = sqlite3_prepare_v2(from, select, -1, &in, NULL);
	n = snprintf(insert, sizeof insert, "INSERT OR REPLACE INTO %s VALUES(?", table);
	for (int i = 1; i < sqlite3_column_count(in); i++)
		n += snprintf(insert + n, sizeof insert - (size_t)n, ",?");
	snprintf(insert + n, sizeof insert - (size_t)n, ")");
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(to, insert, -1, &out, NULL);
	while (code == SQLITE_OK && (code = sqlite3_step(in)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(in); i++)
			sqlite3_bind_value(out, i + 1, sqlite3_column_value(in, i));
		code = sqlite3_step(out) == SQLITE_DONE ? sqlite3_reset(out) : SQLITE_ERROR;
	}
	sqlite3_finalize(in);
	sqlite3_finalize(out);
	return code == SQLITE_DONE ? 0 : -EIO;
}

static int copy_more(sqlite3 *more, sqlite3 *to)
{
	static const char *const tables[][2] = {
		{ "SELECT * FROM job", "job" },
		{ "SELECT * FROM change", "change" },
		{ "SELECT NULL, until, queue, key, id FROM idem", "idem" },
		{ "SELECT * FROM queue", "queue" },
		{ "SELECT * FROM cron", "cron" },
	};
	int r = sqlite3_exec(to, "BEGIN", NULL, NULL, NULL) == SQLITE_OK ? 0 : -EIO;

	for (size_t i = 0; r == 0 && i < sizeof tables / sizeof *tables; i++)
		r = copy_table(more, to, tables[i][0], tables[i][1]);
	if (r == 0 && sqlite3_exec(to, "DELETE FROM cron WHERE schedule = ''; COMMIT", NULL, NULL,
	                           NULL) != SQLITE_OK)
		r = -EIO;
	return r;
}

/* All of it in one step, which is one reading transaction. */
static int copy_main(sqlite3 *from, sqlite3 *to)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
	int code;

	if (!b)
		return -EIO;
	do
		code = sqlite3_backup_step(b, -1);
	while ((code == SQLITE_BUSY || code == SQLITE_LOCKED) && sqlite3_sleep(10) >= 0);
	sqlite3_backup_finish(b);
	return code == SQLITE_DONE ? 0 : -EIO;
}

static int sync_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0 || fsync(fd) < 0) /* no task yet */
		r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

static int copy(const char *path, const char *tmp)
{
	char *name = sqlite3_mprintf("%s-more", path);
	sqlite3 *from = NULL, *more = NULL, *to = NULL;
	int r = name ? open_store(path, &from) : -ENOMEM;

	if (r < 0)
		goto out;
	if (access(name, F_OK) == 0 &&
	    (sqlite3_open_v2(name, &more, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	     sqlite3_exec(more, "BEGIN; SELECT count(*) FROM job", NULL, NULL, NULL) !=
	             SQLITE_OK)) {
		r = said(more, name, "reading");
		goto out;
	}
	r = sqlite3_open(tmp, &to) == SQLITE_OK ? copy_main(from, to) : -EIO;
	if (r == 0 && more)
		r = copy_more(more, to);
	if (r == 0 && sqlite3_exec(to, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) != SQLITE_OK)
		r = -EIO;
	if (r < 0)
		r = said(to, tmp, "writing");
out:
	sqlite3_close(from);
	sqlite3_close(more);
	sqlite3_close(to);
	sqlite3_free(name);
	return r;
}

int weir_store_backup(const char *path, const char *to)
{
	char *tmp = sqlite3_mprintf("%s.part", to);
	int fd, r;

	if (!tmp)
		return -ENOMEM;
	if (access(to, F_OK) == 0) {
		weir__log(WEIR__ERROR, "queue", "%s exists", to);
		r = -EEXIST;
		goto out;
	}
	unlink(tmp);
	fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = -errno;
		weir__log(WEIR__ERROR, "queue", "%s: %s", tmp, strerrordesc_np(-r));
		goto out;
	}
	close(fd);
	r = copy(path, tmp);
	if (r == 0)
		r = sync_file(tmp);
	if (r == 0 && rename(tmp, to) < 0)
		r = -errno;
	if (r < 0)
		unlink(tmp);
out:
	sqlite3_free(tmp);
	return r;
}

int weir_store_check(const char *path, size_t *ret_jobs)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *st = NULL;
	int64_t jobs = 0;
	int r = open_store(path, &db), code, bad = 0;

	if (r < 0)
		goto out;
	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(20)", -1, &st, NULL) != SQLITE_OK) {
		r = said(db, path, "checking");
		goto out;
	}
	while ((code = sqlite3_step(st)) == SQLITE_ROW) {
		const char *line = (const char *)sqlite3_column_text(st, 0);

		if (!line || strcmp(line, "ok")) {
			weir__log(WEIR__ERROR, "queue", "%s: %s", path,
			          line ? line : "out of memory");
			bad++;
		}
	}
	if (code != SQLITE_DONE)
		bad += said(db, path, "checking") < 0;
	if (!bad && (number(db,
	                    "SELECT count(*) FROM jobs WHERE state IN ('queued', 'delayed', "
	                    "'running')",
	                    &jobs) < 0))
		bad += said(db, path, "checking") < 0;
	r = bad ? -EBADMSG : 0;
	*ret_jobs = (size_t)jobs;
out:
	sqlite3_finalize(st);
	sqlite3_close(db);
	return r;
}
