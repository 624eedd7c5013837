/* SPDX-License-Identifier: MIT */
/*
 * Workers in this process: tasks that take a job, run its handler, and say what came of it.
 *
 * Each run has a group with one task, the guard, that waits until the job is cancelled or its lease
 * is lost, and then cancels the group. The handler runs in the worker's own task under the group's
 * context, so cancel and the time limit reach it wherever it waits. The lease does not run out by
 * time: worker and store live in one process.
 *
 * What a handler returned becomes a verdict in this order: 0 is an ack, whatever else happened; a
 * run that was stopped from above, or that put itself off, goes back without counting; past its
 * limit, it failed by that; else it failed by what it said.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/inner.h"

#define NO_ROOM WEIR_SEC(1) /* until a worker asks again */

struct crew {
	weir_store *store;
	char queue[WEIR__NAME_MAX + 1];
	weir_job_fn *fn;
	void *arg;
	uint32_t refs; /* atomic: its tasks */
};

/* The crew holds the store's memory: who ends a run after the close still asks it for the next
 * job. */
static void leave(struct crew *c)
{
	weir_store *s = c->store;

	if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
		return;
	free(c);
	weir__store_unref(s);
}

static int guard(const weir_ctx *ctx, void *arg)
{
	weir_job *job = arg;
	int r = weir_job_wait_cancel(ctx, job);

	if (r < 0)
		return r;
	weir_scope_cancel(ctx->scope, -ECANCELED, "the job was cancelled");
	return 0;
}

static void fail(const weir_ctx *ctx, weir_job *job, int r)
{
	const char *why = job->why ? job->why : strerrordesc_np(-r);

	if (!why)
		why = "the handler failed";
	if (r == -EINVAL)
		weir__taken_finish(ctx, job, WEIR__KILL, 0, why);
	else
		weir_job_nack(ctx, job, job->retry_ns, why);
}

static void conclude(const weir_ctx *ctx, weir_job *job, int64_t deadline, int r)
{
	char text[64];

	if (r >= 0) {
		weir_job_ack(ctx, job, NULL, 0);
	} else if (weir_ctx_err(ctx) < 0 || (r == -ESHUTDOWN && weir_ctx_draining(ctx))) {
		weir_job_return(job);
	} else if (job->defer_ns >= 0) {
		weir__taken_finish(NULL, job, WEIR__RETURN, job->defer_ns,
		                   job->why ? job->why : "put off");
	} else if (weir_now() >= deadline) {
		snprintf(text, sizeof text, "ran longer than its limit of %.3g s",
		         (double)weir_job_timeout(job) / 1e9);
		weir_job_nack(ctx, job, -1, text);
	} else {
		fail(ctx, job, r);
	}
}

static void run(const weir_ctx *ctx, const struct crew *c, weir_job *job)
{
	int64_t limit = weir_job_timeout(job), deadline = WEIR_NEVER;
	weir_ctx under;
	weir_group g;
	int r;

	weir_group_init(&g, ctx);
	r = weir_group_go_on(&g, weir_worker(), guard, job); /* Its wakes stay on this thread. */
	if (r < 0) {
		weir_group_wait(&g);
		weir_job_return(job); /* Unguarded nothing runs. */
		return;
	}
	under = g.ctx;
	if (limit > 0) {
		deadline = weir_now() + limit;
		under = weir_ctx_deadline(&under, deadline);
	}
	r = c->fn(&under, job, c->arg);
	weir_group_cancel(&g);
	weir_group_wait(&g);
	conclude(ctx, job, deadline, r);
}

static int worker(const weir_ctx *ctx, void *arg)
{
	struct crew *c = arg;
	weir_ctx live = weir_ctx_until_drain(ctx);
	const weir_take_options opt = { .renew = true, .worker = "local" };
	weir_job *job;
	int r;

	weir_task_name("worker %s", c->queue);
	do {
		while ((r = weir_job_take(&live, c->store, c->queue, &opt, &job)) > 0)
			run(ctx, c, job);
		if (r != -ENOMEM && r != -ENOSPC)
			break;
		/* There will be room again; a worker that left would be missed for ever. */
		weir__log_rare(WEIR__WARN, "queue", "the workers of %s wait: %s", c->queue,
		               r == -ENOMEM ? "there is no memory" :
		                              "there are as many queues as there may be");
		r = weir_sleep(&live, NO_ROOM);
	} while (r == 0);
	leave(c);
	return r;
}

int weir_workers_start(weir_group *g, weir_store *s, const char *queue, unsigned n, weir_job_fn *fn,
                       void *arg)
{
	struct crew *c;
	int r = 0;

	weir__magic_check(s, weir__store_magic);
	if (!weir_queue_name_valid(queue))
		return -EINVAL;
	c = malloc(sizeof *c);
	if (!c)
		return -ENOMEM;
	weir__store_ref(s);
	*c = (struct crew){ .store = s, .fn = fn, .arg = arg, .refs = 1 };
	memcpy(c->queue, queue, strlen(queue) + 1);
	for (unsigned i = 0; i < n && r == 0; i++) {
		__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
		r = weir_group_go(g, worker, c);
		if (r < 0)
			__atomic_sub_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	}
	leave(c);
	return r;
}
