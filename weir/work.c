/* SPDX-License-Identifier: MIT */
/*
 * weir work: a command for each job.
 *
 * Every slot (--jobs N) is a task with a connection of its own, on which it takes one job after the
 * other, over HTTP with lease=connection or over a stream of gRPC. So a lease lives exactly as long
 * as the slot's connection: when weir is killed, its command dies with it (die_with_parent), and
 * the server gives the job back at once. The kernel would close our end a moment before the command
 * has gone; so the command's guard holds the connection too (hold_fd), and the server sees its end
 * only when both are dead. There is no moment in which a job runs beside an orphan of ours.
 *
 * While a command runs, its slot looks once a second whether the lease is still good and the job
 * still wanted. When it is not, or when the server cannot be reached any
 * more, the command is ended: somebody else may have the job by now.
 *
 * A stop (SIGTERM) ends the waiting for jobs at once; what runs may finish. At the end of two
 * thirds of --grace the runtime cancels it: the command is ended, and the job is given back without
 * counting the attempt. A connection that just closes ends the attempt, as nobody knows then
 * whether it was the job that killed its worker.
 */
#include "work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/process.h>

#include "base/list.h"

enum { RESULT_MAX = 1 << 20, DEAD_AT_ONCE = 100 };
/* One run of the command, in a task of its own beside the one that asks. */
struct run {
	struct crew *crew;
	const struct taken *job;
	/* a descriptor of the connection on which it was taken, to be held by the command */
	int conn;
	weir_process_spec spec;
	weir_process_result res;
	int r;
	weir_latch done;
};

void work_say(const struct taken *j, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fprintf(stderr, "weir: job %s %s\n", j->id, text);
}

int work_untold(const struct taken *j, int error)
{
	work_say(j, "ended, but the server could not be told (%s); it will run again",
	         strerror(-error));
	return error;
}

/* ---- Running ---- */

static int run_command(const weir_ctx *ctx, void *arg)
{
	struct run *run = arg;
	const struct options *o = run->crew->o;
	char id[96], queue[96], attempt[48];
	char *const env[] = { id, queue, attempt, NULL };
	/* What a stop leaves us is the last third of its budget; SIGKILL has to come within
	 * that. */
	int64_t kill_ns = o->kill_after_ns < o->grace_ns / 4 ? o->kill_after_ns : o->grace_ns / 4;
	weir_ctx limit = run->job->timeout_ns ? weir_ctx_timeout(ctx, run->job->timeout_ns) : *ctx;

	snprintf(id, sizeof id, "WEIR_JOB_ID=%s", run->job->id);
	snprintf(queue, sizeof queue, "WEIR_QUEUE=%s", o->args[0]);
	snprintf(attempt, sizeof attempt, "WEIR_ATTEMPT=%u", run->job->attempt);
	run->spec = (weir_process_spec){ .argv = o->tail,
		                         .env = env,
		                         .in = run->job->payload.data,
		                         .in_len = run->job->payload.len,
		                         .out_max = RESULT_MAX,
		                         .limits = o->limits,
		                         .kill_ns = kill_ns,
		                         .die_with_parent = true,
		                         .hold_fd = run->conn > 0 ? run->conn : 0 };
	run->r = weir_process_run(&limit, &run->spec, &run->res);
	weir_latch_down(&run->done);
	return 0;
}

/* Waits until the command has ended, and ends it when its job is cancelled or lost. */
static enum verdict guard(const weir_ctx *ctx, struct slot *s, struct run *run, weir_group *g)
{
	enum verdict v = KEEP;
	int r;

	for (;;) {
		weir_ctx soon = weir_ctx_timeout(ctx, WORK_ASK_EVERY);

		r = weir_latch_wait(&soon, &run->done);
		if (r != -ETIMEDOUT)
			break;
		v = s->crew->way->ask(ctx, s, run->job);
		if (v != KEEP)
			break;
	}
	if (v != KEEP)
		weir_group_cancel(g);
	if (v == LOST)
		work_say(run->job, "is not ours any more: its command is ended");
	return v;
}

/* ---- Telling ---- */

static int tell_failure(const weir_ctx *ctx, struct slot *s, const struct taken *j, bool dead,
                        const char *why)
{
	work_say(j, "failed: %s", why);
	if (s->crew->way->failed(ctx, s, j, dead, why) == -ESTALE)
		work_say(j, "was not ours any more");
	return -EIO;
}

static int tell_success(const weir_ctx *ctx, struct slot *s, const struct run *run)
{
	const struct taken *j = run->job;
	int r = s->crew->way->done(ctx, s, j, run->res.out, run->res.out_len);

	if (run->res.truncated || r == -EMSGSIZE)
		work_say(j, "is done; its output is too large to be kept whole as the result");
	if (r == -ESTALE)
		work_say(j, "ended, but it was not ours any more");
	return r == -EMSGSIZE ? 0 : r;
}

/* 0 acknowledged; < 0 not. */
static int conclude(const weir_ctx *ctx, struct slot *s, struct run *run, enum verdict v)
{
	const struct taken *j = run->job;
	char why[128];

	if (v == LOST)
		return -ESTALE;
	if (v == CANCEL)
		return tell_failure(ctx, s, j, false, "cancelled");
	if (run->r == -ETIMEDOUT)
		return tell_failure(ctx, s, j, false, "took longer than its time limit");
	if (run->r == -ECANCELED) {
		work_say(j, "is given back: weir work ends");
		(void)s->crew->way->give_back(ctx, s, j);
		return -ECANCELED;
	}
	if (run->r == 0 && run->res.code == 0)
		return tell_success(ctx, s, run);
	weir_process_why(&run->spec, &run->res, run->r, why, sizeof why);
	return tell_failure(ctx, s, j, run->r == 0 && run->res.code == DEAD_AT_ONCE, why);
}

static int run_job(const weir_ctx *ctx, struct slot *s, const struct taken *j)
{
	struct crew *crew = s->crew;
	struct run run = { .crew = crew, .job = j, .conn = crew->way->dup(s) };
	enum verdict v = KEEP;
	weir_group g;
	int r;

	crew->running++;
	weir_latch_init(&run.done, 1);
	weir_group_init(&g, ctx);
	r = weir_group_go(&g, run_command, &run);
	if (r == 0)
		v = guard(ctx, s, &run, &g);
	(void)weir_group_wait(&g);
	if (run.conn >= 0)
		close(run.conn);
	if (r == 0)
		r = conclude(ctx, s, &run, v);
	free(run.res.out);
	crew->running--;
	return r;
}

/* ---- Taking ---- */

/* What to do when a take gave nothing: 0 tries again, < 0 ends the slot. */
static int no_job(const weir_ctx *ctx, struct client *c, struct crew *crew, int r, unsigned *tries)
{
	weir_ctx live = weir_ctx_until_drain(ctx);

	if (crew->fatal || weir_ctx_err(&live) < 0)
		return -ECANCELED;
	if (r == 0)
		return crew->o->until_empty ? -ENOENT : 0;
	if (!crew->ever || (r != -EAGAIN && (crew->o->once || crew->o->until_empty))) {
		crew->fatal = client_say_error(c, r);
		return -ECANCELED;
	}
	if (!crew->away)
		fprintf(stderr, "weir: %s; trying again\n",
		        r == -EAGAIN ? "the server gives out no jobs now" : "the server is gone");
	crew->away = true;
	return client_pause(&live, tries, 0);
}

static int run_slot(const weir_ctx *ctx, void *arg)
{
	struct crew *crew = arg;
	struct slot s = { .crew = crew };
	unsigned tries = 0;
	struct taken j;
	int r;

	r = client_copy(&s.c, crew->c);
	if (r < 0)
		return r;
	for (;;) {
		j = (struct taken){ .payload = WEIR__BUF_INIT };
		r = crew->way->take(ctx, &s, &j);
		if (r >= 0) {
			if (crew->away)
				fputs("weir: the server is back\n", stderr);
			crew->away = false;
			tries = 0;
		}
		if (r <= 0) {
			weir__buf_free(&j.payload);
			r = no_job(ctx, &s.c, crew, r, &tries);
			if (r < 0)
				break;
			continue;
		}
		r = run_job(ctx, &s, &j);
		weir__buf_free(&j.payload);
		if (crew->o->once) {
			crew->failed = r != 0;
			break;
		}
		if (weir_ctx_draining(ctx))
			break;
	}
	crew->way->end(ctx, &s);
	client_close(&s.c);
	if (crew->fatal)
		weir_group_drain(crew->slots); /* What is wrong here is wrong for all. */
	return 0;
}

static void make_name(struct crew *crew)
{
	char host[40] = "";

	if (crew->o->name) {
		snprintf(crew->name, sizeof crew->name, "%s", crew->o->name);
		return;
	}
	if (gethostname(host, sizeof host - 1) < 0)
		host[0] = 0;
	snprintf(crew->name, sizeof crew->name, "%s:%d", host, (int)getpid());
}

static void on_stop(weir_hook *hook, int step)
{
	const struct crew *crew = weir__container(hook, struct crew, stop);
	unsigned n = crew->running;

	if (step == WEIR_DRAIN && n)
		fprintf(stderr, "weir: finishing %u job%s; a second signal ends %s at once\n", n,
		        n == 1 ? "" : "s", n == 1 ? "it" : "them");
}

static int work(const weir_ctx *ctx, struct client *c)
{
	struct crew crew = { .o = c->o,
		             .c = c,
		             .way = c->grpc ? &work_over_grpc : &work_over_http,
		             .stop = { .fn = on_stop } };
	weir_group slots;
	int r, e;

	make_name(&crew);
	r = weir_hook_add(ctx->scope, &crew.stop);
	if (r < 0)
		return client_say_error(c, r);
	weir_group_init(&slots, ctx);
	crew.slots = &slots;
	if (isatty(STDERR_FILENO))
		fprintf(stderr,
		        "weir: waiting for jobs of %s; Ctrl-C finishes what runs and ends\n",
		        c->o->args[0]);
	for (unsigned i = 0; i < c->o->jobs && r == 0; i++)
		r = weir_group_go(&slots, run_slot, &crew);
	if (r < 0)
		weir_group_cancel(&slots);
	e = weir_group_wait(&slots);
	weir_hook_remove(&crew.stop);
	r = r < 0 ? r : e;
	if (r < 0 && r != -ECANCELED)
		return client_say_error(c, r);
	return crew.fatal ? crew.fatal : crew.failed ? EXIT_FAILED : EXIT_DONE;
}

int cmd_work(const struct options *o)
{
	return need_queue(o->args[0]) ? EXIT_USAGE : client_run(o, work, NULL);
}
