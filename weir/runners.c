/* SPDX-License-Identifier: MIT */
/*
 * Workers of the server itself: for a queue whose settings name a command or a URL, tasks that run
 * the command, or post to the URL, for each of its jobs. They take until a stop begins, finish what
 * they run, and give it back when the stop's budget is nearly used up, as any worker does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "base/log.h"

enum { WORKERS_DEFAULT = 4, SECRET_BYTES = 128 };

struct runners {
	/* One for each queue of the options: */
	weir_webhook **hooks; /* or NULL */
	weir_exec *execs;
};

/* The first line of a file. */
static int read_secret(const char *path, char out[SECRET_BYTES])
{
	FILE *f = fopen(path, "re"); /* no task yet */
	int r = 0;

	if (!f)
		return -errno;
	if (fgets(out, SECRET_BYTES, f))
		out[strcspn(out, "\r\n")] = 0;
	else
		r = ferror(f) ? -EIO : 0;
	fclose(f);
	return r;
}

static int make_hook(const struct queue_config *q, weir_webhook **ret)
{
	weir_webhook_options opt = { .url = q->webhook, .allow_private = q->allow_private };
	char secret[SECRET_BYTES] = "";
	int r = 0;

	if (q->secret_file) {
		r = read_secret(q->secret_file, secret);
		opt.secret = secret;
	}
	if (r < 0) {
		weir__log(WEIR__ERROR, "queue", "webhook of %s: %s: %s", q->name, q->secret_file,
		          strerror(-r));
		return r;
	}
	r = weir_webhook_new(&opt, ret);
	explicit_bzero(secret, sizeof secret);
	if (r == -ENOSYS)
		weir__log(WEIR__ERROR, "queue",
		          "webhook of %s: this weir was built without libcurl", q->name);
	else if (r == -EBADMSG)
		weir__log(WEIR__ERROR, "queue",
		          "webhook of %s: %s does not hold whsec_ and base64 of 24 to 64 bytes",
		          q->name, q->secret_file);
	else if (r < 0)
		weir__log(WEIR__ERROR, "queue", "webhook of %s: %s: %s", q->name, q->webhook,
		          r == -EINVAL ? "not a URL such as https://example.com/hook" :
		                         strerror(-r));
	return r;
}

void runners_free(struct app *app)
{
	struct runners *all = app->runners;

	for (size_t i = 0; all && all->hooks && i < app->opt->nqueues; i++)
		weir_webhook_free(all->hooks[i]);
	if (all) {
		free(all->hooks);
		free(all->execs);
	}
	free(all);
}

int runners_new(struct app *app)
{
	size_t n = app->opt->nqueues;
	struct runners *all = app->runners = calloc(1, sizeof *all);
	int r = 0;

	if (!all || !(all->hooks = calloc(n + 1, sizeof *all->hooks)) ||
	    !(all->execs = calloc(n + 1, sizeof *all->execs)))
		return -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++) {
		struct queue_config *q = &app->opt->queues[i];

		all->execs[i] = (weir_exec){ .argv = (char *const *)(uintptr_t)q->exec,
			                     .limits = q->exec_limits };
		if (q->webhook)
			r = make_hook(q, &all->hooks[i]);
	}
	return r;
}

static int run(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	const struct options *o = app->opt;
	weir_group g;
	int r = 0;

	weir_group_init(&g, ctx);
	for (size_t i = 0; i < o->nqueues && r == 0; i++) {
		struct queue_config *q = &o->queues[i];
		unsigned n = q->workers ? q->workers : WORKERS_DEFAULT;

		if (q->webhook)
			r = weir_workers_start(&g, app->store, q->name, n, weir_job_webhook,
			                       app->runners->hooks[i]);
		else if (q->execs)
			r = weir_workers_start(&g, app->store, q->name, n, weir_job_exec_limited,
			                       &app->runners->execs[i]);
	}
	if (r < 0)
		weir_group_cancel(&g);
	weir_group_wait(&g);
	return r;
}

const weir_service runners_service = { .name = "workers", .run = run };
