/* SPDX-License-Identifier: MIT */
/* `weir backup` and `weir check`: they look at the file of a durable store by themselves, so that
 * they work with a server and without. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/queue.h>

#include "weir.h"
#include "base/log.h"

/* The file that the same settings make `weir serve` use; NULL without memory. */
static char *store_file(const struct options *o)
{
	char *path;

	if (strchr(o->store, '/'))
		return strdup(o->store);
	return asprintf(&path, "%s/jobs.db", o->data) < 0 ? NULL : path;
}

/* Only a file can be copied and read here. */
static bool is_url(const struct options *o)
{
	if (strstr(o->store, "://"))
		fprintf(stderr, "weir: %s is no file: its engine has its own tools for that\n",
		        o->store);
	return strstr(o->store, "://");
}

static int failed(int r)
{
	if (r == -EPROTONOSUPPORT)
		fprintf(stderr, "weir: built without SQLite\n");
	return EXIT_FAILED;
}

int cmd_backup(const struct options *o)
{
	char *path;
	int r;

	weir__log_set(WEIR__WARN, WEIR__LOG_PLAIN);
	if (is_url(o))
		return EXIT_FAILED;
	path = store_file(o);
	r = path ? weir_store_backup(path, o->args[0]) : -ENOMEM;

	if (r == 0)
		printf("%s is a copy of %s\n", o->args[0], path);
	free(path);
	return r < 0 ? failed(r) : EXIT_DONE;
}

int cmd_check(const struct options *o)
{
	size_t jobs = 0;
	char *path;
	int r;

	weir__log_set(WEIR__WARN, WEIR__LOG_PLAIN);
	if (!o->nargs && is_url(o))
		return EXIT_FAILED;
	path = o->nargs ? strdup(o->args[0]) : store_file(o);
	r = path ? weir_store_check(path, &jobs) : -ENOMEM;

	if (r == 0)
		printf("%s is whole: %zu job%s to be done\n", path, jobs, jobs == 1 ? "" : "s");
	free(path);
	return r < 0 ? failed(r) : EXIT_DONE;
}
