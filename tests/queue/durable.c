/* SPDX-License-Identifier: MIT */
/* Jobs that outlive the store: every field comes back, and what was answered is in the file. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue_test.h"

static char dir[] = "/tmp/weir-durable-XXXXXX";
static char url[64], file[64];

static void fresh(void)
{
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

static weir_store *reopen(const weir_ctx *ctx, weir_store *s)
{
	if (s)
		CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
	return open_with(ctx, NULL);
}

TASK(a_job_that_was_put_is_there_when_the_store_opens_again)
{
	weir_store *s;
	struct id id;

	fresh();
	s = reopen(ctx, NULL);
	id = put_with(ctx, s, "q",
	              (weir_job_spec){ .priority = -3, .key = "k", .content_type = "a/b" }, "hi");
	s = reopen(ctx, s);
	CHECK_STR(state(s, id), "queued");
	CHECK_EQ(job(s, id).priority, -3);
	CHECK_STR(job(s, id).content_type, "a/b");
	take_and_ack(ctx, s, "q", "hi");
	s = reopen(ctx, s);
	CHECK_STR(state(s, id), "done");
	take_none(ctx, s, "q");
	store_end(ctx, s);
	clean();
}
