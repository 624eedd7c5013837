/* SPDX-License-Identifier: MIT */
/* A durable store in a directory of its own, for the tests that open it again and look into its
 * file. */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/sqlite.h"
#include "queue_test.h"

/* In memory: here it is not the disk that is tested. */
static char dir[] = "/dev/shm/weir-durable-XXXXXX";
static char url[64], file[64];

static void fresh(void)
{
	strcpy(dir + sizeof dir - 7, "XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	snprintf(url, sizeof url, "sqlite:%s/jobs.db", dir);
	snprintf(file, sizeof file, "%s/jobs.db", dir);
}

static void clean(void)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; (e = readdir(d)) != NULL;)
		unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(dir);
}

static weir_store *open_with(const weir_ctx *ctx, const weir_store_options *opt)
{
	weir_store *s;

	CHECK_EQ(weir_store_open(ctx, url, opt, &s), 0);
	return s;
}

/* A take that may have to wait for the disk. */
static void take_soon(const weir_ctx *ctx, weir_store *s, const char *queue, const char *text)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(20));
	weir_job *j;

	CHECK_EQ(weir_job_take(&soon, s, queue, NULL, &j), 1);
	if (!job_is(j, text))
		test_fail(__FILE__, __LINE__, "took %s, not %s",
		          (const char *)weir_job_data(j, NULL), text);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
}

static weir_store *reopen(const weir_ctx *ctx, weir_store *s)
{
	if (s)
		CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
	return open_with(ctx, NULL);
}

/* Rows of a table of the file, as anybody sees them who opens it. */
static int rows(const char *table)
{
	char text[128];
	sqlite3 *db;
	sqlite3_stmt *st;
	int n;

	snprintf(text, sizeof text, "SELECT count(*) FROM %s", table);
	CHECK_EQ(sqlite3_open_v2(file, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	CHECK_EQ(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
	CHECK_EQ(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

#endif
