/* SPDX-License-Identifier: MIT */
/*
 * weir work: a command for each job.
 *
 * Every slot (--jobs N) is a task with a connection of its own, on which it takes one job after the
 * other with lease=connection. So a lease lives exactly as long as the slot's connection: when weir
 * is killed, its command dies with it (die_with_parent), and the server gives the job back at once.
 * The kernel would close our end a moment before the command has gone; so the command's guard holds
 * the connection too (hold_fd), and the server sees its end only when both are dead. There is no
 * moment in which a job runs beside an orphan of ours.
 *
 * While a command runs, its slot asks once a second over the same connection whether the lease is
 * still good and the job still wanted. When it is not, or when the server cannot be reached any
 * more, the command is ended: somebody else may have the job by now.
 *
 * A stop (SIGTERM) ends the waiting for jobs at once; what runs may finish. At the end of two
 * thirds of --grace the runtime cancels it: the command is ended, and the job is given back without
 * counting the attempt. A connection that just closes ends the attempt, as nobody knows then whether
 * it was the job that killed its worker.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/process.h>

#include "base/list.h"
#include "base/units.h"

enum { RESULT_MAX = 1 << 20, DEAD_AT_ONCE = 100 };
#define WAIT_SECONDS 30
#define ASK_EVERY    WEIR_SEC(1)
#define TELL_NS      WEIR_SEC(5)

struct crew {
	const struct options *o;
	struct client *c; /* to be copied by each slot */
	char target[256]; /* of the take */
	char name[64];
	bool ever;   /* a slot has reached the server; all on one worker thread, as all of this */
	bool away;   /* it was said that the server gives nothing */
	bool failed; /* --once: the job was not acknowledged */
	int fatal;   /* an exit status that ends all slots */
	unsigned running;
	weir_hook stop; /* hears that weir work is to end */
	weir_group *slots;
};

struct taken {
	char id[64], lease[128];
	unsigned attempt;
	int64_t timeout_ns;
	struct weir__buf payload;
};

/* One run of the command, in a task of its own beside the one that asks. */
struct run {
	struct crew *crew;
	const struct taken *job;
	/* a descriptor of the connection on which it was taken, to be held by the command */
	int conn;
	weir_process_result res;
	int r;
	weir_latch done;
};

static void say(const struct taken *j, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void say(const struct taken *j, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fprintf(stderr, "weir: job %s %s\n", j->id, text);
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
	run->r = weir_process_run(&limit,
	                          &(weir_process_spec){ .argv = o->tail,
	                                                .env = env,
	                                                .in = run->job->payload.data,
	                                                .in_len = run->job->payload.len,
	                                                .out_max = RESULT_MAX,
	                                                .kill_ns = kill_ns,
	                                                .die_with_parent = true,
	                                                .hold_fd = run->conn > 0 ? run->conn : 0 },
	                          &run->res);
	weir_latch_down(&run->done);
	return 0;
}

enum verdict { KEEP, CANCEL, LOST };

/* Is the job still ours and still wanted? */
static enum verdict ask(const weir_ctx *ctx, struct client *c, const struct taken *j)
{
	char target[256];
	struct request q = { .method = "POST", .target = target, .timeout_ns = WEIR_SEC(10) };
	struct answer a = { .body = WEIR__BUF_INIT };
	/* Cut in the middle the connection would be lost, and with it the lease. */
	weir_ctx shielded = weir_ctx_shield(ctx, ASK_EVERY);
	enum verdict v = KEEP;
	int r;

	snprintf(target, sizeof target, "/v1/jobs/%s/extend?lease=%s", j->id, j->lease);
	r = client_exchange(&shielded, c, &q, &a);
	if (r < 0)
		v = weir_ctx_err(ctx) < 0 ?
		            KEEP :
		            LOST; /* A stop is told to the command by its own context. */
	else if (a.status == 409 || a.status == 404)
		v = LOST;
	else if (a.status == 200 && json_is_true(json_object_get(a.json, "cancel")))
		v = CANCEL;
	answer_free(&a);
	return v;
}

/* Waits until the command has ended, and ends it when its job is cancelled or lost. */
static enum verdict guard(const weir_ctx *ctx, struct client *c, struct run *run, weir_group *g)
{
	enum verdict v = KEEP;
	int r;

	for (;;) {
		weir_ctx soon = weir_ctx_timeout(ctx, ASK_EVERY);

		r = weir_latch_wait(&soon, &run->done);
		if (r != -ETIMEDOUT)
			break;
		v = ask(ctx, c, run->job);
		if (v != KEEP)
			break;
	}
	if (v != KEEP)
		weir_group_cancel(g);
	if (v == LOST)
		say(run->job, "is not ours any more: its command is ended");
	return v;
}

/* ---- Telling ---- */

/* The end of the run, to the server: its status (2xx all is well, 413 the result is too large), or
 * -Exxx. */
static int tell(const weir_ctx *ctx, struct client *c, const struct taken *j, const char *verb,
                const char *query, const weir_process_result *res)
{
	/* A stop that comes now should not undo what is done. */
	weir_ctx shielded = weir_ctx_shield(ctx, TELL_NS);
	struct weir__buf target = WEIR__BUF_INIT;
	struct answer a = { .body = WEIR__BUF_INIT };
	struct request q = { .method = "POST",
		             .headers = { "content-type: application/octet-stream" } };
	int r;

	weir__buf_printf(&target, "/v1/jobs/%s/%s?lease=%s%s", j->id, verb, j->lease, query);
	q.target = target.data;
	if (res) {
		q.body = res->out;
		q.len = res->out_len;
	}
	r = target.failed ? -ENOMEM : client_exchange(&shielded, c, &q, &a);
	if (r < 0)
		say(j, "ended, but the server could not be told (%s); it will run again",
		    strerror(-r));
	else if (a.status / 100 != 2 && a.status != 409 && a.status != 413)
		(void)client_say_refusal(c, &a);
	r = r < 0 ? r : a.status;
	answer_free(&a);
	weir__buf_free(&target);
	return r;
}

static int tell_failure(const weir_ctx *ctx, struct client *c, const struct taken *j, bool dead,
                        const char *why)
{
	struct weir__buf query = WEIR__BUF_INIT;
	int r;

	weir__buf_str(&query, dead ? "&dead=true&error=" : "&error=");
	put_escaped(&query, why);
	say(j, "failed: %s", why);
	r = query.failed ? -ENOMEM : tell(ctx, c, j, "nack", query.data, NULL);
	if (r == 409)
		say(j, "was not ours any more");
	weir__buf_free(&query);
	return -EIO;
}

/* The job is done even when its result does not fit: some servers have then counted it as done
 * already (409 to the second ack). */
static int tell_success(const weir_ctx *ctx, struct client *c, const struct run *run)
{
	const struct taken *j = run->job;
	int r = tell(ctx, c, j, "ack", "", &run->res);

	if (run->res.truncated || r == 413)
		say(j, "is done; its output is too large to be kept whole as the result");
	if (r == 413) {
		r = tell(ctx, c, j, "ack", "", NULL);
		r = r == 409 ? 200 : r;
	}
	if (r == 409)
		say(j, "ended, but it was not ours any more");
	return r < 0 ? r : r / 100 == 2 ? 0 : -ESTALE;
}

/* 0 acknowledged; < 0 not. */
static int conclude(const weir_ctx *ctx, struct client *c, struct run *run, enum verdict v)
{
	const struct taken *j = run->job;
	char why[128];

	if (v == LOST)
		return -ESTALE;
	if (v == CANCEL)
		return tell_failure(ctx, c, j, false, "cancelled");
	if (run->r == -ETIMEDOUT)
		return tell_failure(ctx, c, j, false, "took longer than its time limit");
	if (run->r == -ECANCELED) {
		say(j, "is given back: weir work ends");
		(void)tell(ctx, c, j, "return", "", NULL);
		return -ECANCELED;
	}
	if (run->r < 0) {
		snprintf(why, sizeof why, "%s: %s", run->crew->o->tail[0], strerror(-run->r));
		return tell_failure(ctx, c, j, false, why);
	}
	if (run->res.code == 0)
		return tell_success(ctx, c, run);
	if (run->res.code < 0)
		snprintf(why, sizeof why, "signal %d (%s)", -run->res.code,
		         strsignal(-run->res.code));
	else
		snprintf(why, sizeof why, "exit status %d", run->res.code);
	return tell_failure(ctx, c, j, run->res.code == DEAD_AT_ONCE, why);
}

static int run_job(const weir_ctx *ctx, struct client *c, struct crew *crew, const struct taken *j)
{
	struct run run = { .crew = crew, .job = j, .conn = weir_http_client_dup(c->http) };
	enum verdict v = KEEP;
	weir_group g;
	int r;

	crew->running++;
	weir_latch_init(&run.done, 1);
	weir_group_init(&g, ctx);
	r = weir_group_go(&g, run_command, &run);
	if (r == 0)
		v = guard(ctx, c, &run, &g);
	(void)weir_group_wait(&g);
	if (run.conn >= 0)
		close(run.conn);
	if (r == 0)
		r = conclude(ctx, c, &run, v);
	free(run.res.out);
	crew->running--;
	return r;
}

/* ---- Taking ---- */

static int read_job(const json_t *o, struct taken *j)
{
	const char *id = get_text(o, "id"), *lease = get_text(o, "lease"),
		   *timeout = get_text(o, "timeout");

	if (!*id || strlen(id) >= sizeof j->id || !*lease || strlen(lease) >= sizeof j->lease)
		return -EBADMSG;
	memcpy(j->id, id, strlen(id) + 1);
	memcpy(j->lease, lease, strlen(lease) + 1);
	j->attempt = (unsigned)get_int(o, "attempt");
	if (*timeout && weir__parse_duration(timeout, &j->timeout_ns) < 0)
		return -EBADMSG;
	return get_bytes(o, "payload", &j->payload);
}

/* 1 and a job; 0 there was none; < 0 no answer, or a refusal that may pass; an exit status in
 * crew->fatal for others. */
static int take(const weir_ctx *ctx, struct client *c, struct crew *crew, struct taken *j)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct request q = { .method = "POST",
		             .target = crew->target,
		             .timeout_ns = WEIR_SEC(WAIT_SECONDS + 30) };
	struct answer a = { .body = WEIR__BUF_INIT };
	int r;

	*j = (struct taken){ .payload = WEIR__BUF_INIT };
	r = client_exchange(&live, c, &q, &a);
	if (r < 0)
		goto out;
	crew->ever = true;
	if (a.status == 204) {
		r = 0;
	} else if (a.status == 200) {
		r = json_array_size(a.json) == 1 ? read_job(json_array_get(a.json, 0), j) :
		                                   -EBADMSG;
		r = r < 0 ? r : 1;
	} else if (a.status == 503 || a.status == 507 || a.status == 429) {
		r = -EAGAIN;
	} else {
		crew->fatal = client_say_refusal(c, &a);
		r = -EINVAL;
	}
out:
	answer_free(&a);
	return r;
}

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

static int slot(const weir_ctx *ctx, void *arg)
{
	struct crew *crew = arg;
	struct client c;
	unsigned tries = 0;
	struct taken j;
	int r;

	r = client_copy(&c, crew->c);
	if (r < 0)
		return r;
	for (;;) {
		r = take(ctx, &c, crew, &j);
		if (r >= 0) {
			if (crew->away)
				fputs("weir: the server is back\n", stderr);
			crew->away = false;
			tries = 0;
		}
		if (r <= 0) {
			weir__buf_free(&j.payload);
			r = no_job(ctx, &c, crew, r, &tries);
			if (r < 0)
				break;
			continue;
		}
		r = run_job(ctx, &c, crew, &j);
		weir__buf_free(&j.payload);
		if (crew->o->once) {
			crew->failed = r != 0;
			break;
		}
		if (weir_ctx_draining(ctx))
			break;
	}
	client_close(&c);
	if (crew->fatal)
		weir_group_drain(crew->slots); /* What is wrong here is wrong for all. */
	return 0;
}

static void make_target(struct crew *crew)
{
	char host[40] = "";
	struct weir__buf b = WEIR__BUF_INIT;

	if (crew->o->name) {
		snprintf(crew->name, sizeof crew->name, "%s", crew->o->name);
	} else {
		if (gethostname(host, sizeof host - 1) < 0)
			host[0] = 0;
		snprintf(crew->name, sizeof crew->name, "%s:%d", host, (int)getpid());
	}
	put_escaped(&b, crew->name);
	snprintf(crew->target, sizeof crew->target,
	         "/v1/queues/%s/take?lease=connection&wait=%ds&worker=%s", crew->o->args[0],
	         crew->o->until_empty ? 0 : WAIT_SECONDS, b.data ? b.data : "");
	weir__buf_free(&b);
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
	struct crew crew = { .o = c->o, .c = c, .stop = { .fn = on_stop } };
	weir_group slots;
	int r, e;

	make_target(&crew);
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
		r = weir_group_go(&slots, slot, &crew);
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
