/* SPDX-License-Identifier: MIT */
/* `weir move`: queues from one store to another, by their URLs and without a server. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "base/log.h"
#include "queue/move.h"
#include "queue/remote.h"

enum { QUEUES_MAX = 1000 };

struct job {
	const struct options *o;
	struct weir__move m;
	size_t n;
	char names[QUEUES_MAX][65];
	size_t total, stays; /* jobs: ready, delayed */
};

static int note(const weir_queue_info *info, void *arg)
{
	struct job *j = arg;

	if (j->n == QUEUES_MAX)
		return 1;
	if (j->o->nargs && strcmp(j->o->args[0], info->name))
		return 0;
	memcpy(j->names[j->n++], info->name, sizeof info->name);
	j->total += info->queued;
	j->stays += info->delayed;
	return 0;
}

static void say_progress(struct job *j)
{
	fprintf(stderr, "weir: %llu of %zu jobs moved\n",
	        (unsigned long long)__atomic_load_n(&j->m.moved, __ATOMIC_RELAXED), j->total);
}

static int progress(const weir_ctx *ctx, void *arg)
{
	int r;

	while ((r = weir_sleep(ctx, WEIR_SEC(1))) == 0)
		say_progress(arg);
	return r;
}

static void complain(struct job *j, const char *queue, int r)
{
	if (r == -EOPNOTSUPP)
		fprintf(stderr,
		        "weir: job %s of queue %s asks for \"%s\", which %s cannot do; it and "
		        "those "
		        "behind it stay\n",
		        j->m.refused, queue, j->m.lacks, weir__engine_row_of(j->o->to)->name);
	else if (r == -EAGAIN)
		fprintf(stderr, "weir: queue %s is full there; what is left stays\n", queue);
	else
		fprintf(stderr, "weir: queue %s: %s; what is left stays\n", queue,
		        r == -ESHUTDOWN ? "stopped" : strerror(-r));
}

/* The file of "sqlite:FILE", or NULL. */
static const char *file_of(const char *url)
{
	return strncmp(url, "sqlite:", 7) ? NULL : url + 7;
}

static bool same_store(const char *from, const char *to)
{
	struct stat a, b;

	if (file_of(from) && file_of(to) && stat(file_of(from), &a) == 0 &&
	    stat(file_of(to), &b) == 0)
		return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
	return !strcmp(from, to);
}

/* What a move between the two would not do, or not do well; NULL if there is nothing. */
static const char *why_not(const struct options *o)
{
	if (!o->from || !o->to)
		return "from where, and to where? usage: weir move --from URL --to URL [QUEUE]";
	if (!strcmp(o->from, "mem:") || !strcmp(o->to, "mem:"))
		return "mem: is inside of a server, where no move can reach it";
	if (same_store(o->from, o->to))
		return "--from and --to are the same store";
	if (file_of(o->from) && access(file_of(o->from), F_OK) < 0)
		return "there is no such file as --from names";
	if (weir__engine_row_of(o->from) && weir__engine_row_of(o->from)->remote && !o->nargs)
		return "an engine does not tell which queues it has; name one";
	return NULL;
}

static int open_one(const weir_ctx *ctx, const char *url, weir_store **ret)
{
	const weir_store_options opt = { .queue_max = 1000000000,
		                         .queue_bytes = (size_t)1 << 40,
		                         .memory_max = (size_t)4 << 30 };
	int r = weir_store_open(ctx, url, &opt, ret);

	if (r < 0) {
		const char *at = strrchr(url, '@'); /* Without the password. */
		int scheme = at ? (int)strcspn(url, ":") : 0;

		fprintf(stderr, "weir: %.*s%s%s cannot be opened: %s\n", scheme, url,
		        at ? "://" : "", at ? at + 1 : url,
		        r == -EPROTONOSUPPORT ?
		                "it is no store's URL such as sqlite:FILE, or not built in" :
		        r == -EBUSY ? "stop what serves it first" :
		                      strerror(-r));
	}
	return r;
}

static int move(const weir_ctx *ctx, void *arg)
{
	struct job *j = arg;
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_group g;
	int r, each, bad = 0;

	r = open_one(ctx, j->o->from, &j->m.from);
	if (r < 0)
		return EXIT_FAILED;
	r = open_one(ctx, j->o->to, &j->m.to);
	if (r < 0) {
		(void)weir_store_close(ctx, j->m.from, NULL);
		return EXIT_FAILED;
	}
	if (j->o->nargs)
		(void)weir_queue_refresh(ctx, j->m.from, j->o->args[0]);
	(void)weir_queue_each(j->m.from, note, j);
	if (j->o->nargs && !j->n)
		fprintf(stderr, "weir: there is no queue %s in it\n", j->o->args[0]);
	weir_group_init(&g, ctx);
	if (isatty(2))
		(void)weir_group_go(&g, progress, j);
	for (size_t i = 0; i < j->n; i++) {
		each = weir__move_queue(&live, &j->m, j->names[i]);
		if (each < 0) {
			complain(j, j->names[i], each);
			bad = each;
		}
		if (each == -ESHUTDOWN || each == -ECANCELED)
			break;
	}
	weir_group_cancel(&g);
	(void)weir_group_wait(&g);
	r = weir_store_close(ctx, j->m.from, NULL);
	(void)weir_store_close(ctx, j->m.to, NULL);
	say_progress(j);
	if (j->m.known)
		fprintf(stderr,
		        "weir: %llu of them were there already, from a move that was cut off\n",
		        (unsigned long long)j->m.known);
	if (j->stays)
		fprintf(stderr, "weir: %zu delayed jobs stay until they are due\n", j->stays);
	return r < 0 || bad || j->stays ? EXIT_FAILED : EXIT_DONE;
}

int cmd_move(const struct options *o)
{
	const weir_options rt = { .workers = 2, .grace_ns = WEIR_SEC(30), .signals = true };
	const char *why = why_not(o);
	struct job *j;
	int r;

	if (why) {
		fprintf(stderr, "weir: %s\n", why);
		return EXIT_USAGE;
	}
	if (o->nargs && need_queue(o->args[0]))
		return EXIT_USAGE;
	weir__log_set(WEIR__WARN, WEIR__LOG_PLAIN);
	j = calloc(1, sizeof *j);
	if (!j)
		return EXIT_FAILED;
	j->o = o;
	r = weir_run(&rt, move, j);
	free(j);
	return r < 0 ? EXIT_FAILED : r;
}
