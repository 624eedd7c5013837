/* SPDX-License-Identifier: MIT */
/*
 * Workers that ask over the bus, as any NATS client can: a request on weir.jobs.take.{queue} is
 * answered with jobs and their leases as the HTTP API gives them, and one on weir.jobs.ack, nack,
 * return, extend or progress, with the lease in its body, with what became of it.
 *
 * Each request is a task of its own, since a take waits for a job and an ack perhaps for the disk;
 * their number is bounded. A lease given here ends by time: the bus does not tell when a client
 * leaves. But an answer that reaches nobody gives its jobs back at once. What names an address for
 * its answer below weir. is left alone, or the server could be made to speak there for others.
 */
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "base/units.h"

enum {
	ASKS_MAX = 1000, /* at a time */
	PENDING = 1024,
	PENDING_BYTES = 8 << 20,
};

#define ROOT "weir.jobs."

struct ask {
	struct app *app;
	unsigned *asks; /* atomic: how many there are */
	size_t len;
	char *reply;
	char *what; /* "take.mail", "ack"; behind the body */
	char body[];
};

static bool may_answer(const weir_msg *m)
{
	return m->reply && strcmp(m->reply, "weir") && strncmp(m->reply, "weir.", 5);
}

static struct ask *ask_new(struct app *app, unsigned *asks, const weir_msg *m)
{
	const char *what = m->subject + sizeof ROOT - 1;
	size_t reply = strlen(m->reply) + 1, n = strlen(what) + 1;
	struct ask *a = malloc(sizeof *a + m->len + 1 + reply + n);

	if (!a)
		return NULL;
	*a = (struct ask){ .app = app, .asks = asks, .len = m->len };
	if (m->len)
		memcpy(a->body, m->data, m->len);
	a->body[m->len] = 0;
	a->reply = memcpy(a->body + m->len + 1, m->reply, reply);
	a->what = memcpy(a->reply + reply, what, n);
	return a;
}

/* How many it reached, or < 0. Consumes the buffer. */
static int answer(const weir_ctx *ctx, struct app *app, const char *to, struct weir__buf *b)
{
	weir_msg m = { .subject = to, .data = b->data, .len = b->len };
	int r = b->failed ? -ENOMEM : weir_bus_publish_msg(ctx, app->bus, &m);

	weir__buf_free(b);
	return r;
}

static int answer_error(const weir_ctx *ctx, struct app *app, const char *to, int status,
                        const char *detail)
{
	struct weir__buf b = WEIR__BUF_INIT;

	render_refusal(&b, status, detail);
	return answer(ctx, app, to, &b);
}

/* ---- Taking ---- */

static int take(const weir_ctx *ctx, struct ask *a, struct params *p, const char *queue)
{
	weir_take_options opt = { .worker = member(p, "worker") };
	struct weir__buf b = WEIR__BUF_INIT;
	weir_job *jobs[TAKE_MAX];
	int64_t wait_ns = 0, max = 1;
	weir_bus_stats bus;
	const char *detail;
	int n, r, status;

	refuse_unknown(p, NAMES("wait", "max", "lease", "worker"));
	read_duration(p, "wait", member(p, "wait"), 0, WAIT_MAX, &wait_ns);
	read_int(p, "max", member(p, "max"), 1, TAKE_MAX, &max);
	read_duration(p, "lease", member(p, "lease"), LEASE_MIN, LEASE_MAX, &opt.lease_ns);
	if (opt.worker && strlen(opt.worker) > WORKER_MAX)
		wrong(p, "worker: longer than %d bytes", WORKER_MAX);
	if (!opt.worker)
		opt.worker = "bus";
	if (p->error[0])
		return answer_error(ctx, a->app, a->reply, 400, p->error);
	n = take_some(ctx, a->app, queue, wait_ns, &opt, jobs, (size_t)max);
	if (n < 0) {
		status = error_status(n, &detail);
		return answer_error(ctx, a->app, a->reply, status, detail);
	}
	weir__buf_byte(&b, '[');
	for (int i = 0; i < n; i++) {
		if (i)
			weir__buf_byte(&b, ',');
		render_taken(&b, jobs[i]);
	}
	weir__buf_byte(&b, ']');
	r = answer(ctx, a->app, a->reply, &b);
	weir_bus_stats_get(a->app->bus, &bus);
	for (int i = 0; i < n; i++) {
		/* Nobody hears: not his job. A cluster does not tell. */
		if (r < 0 || (r == 0 && !bus.cluster))
			(void)weir_job_return(jobs[i]);
		else
			weir_job_release(jobs[i]);
	}
	return r;
}

/* ---- With the lease ---- */

static int ack(const weir_ctx *ctx, struct ask *a, struct params *p, const char *id,
               const char *lease)
{
	json_t *result = json_object_get(p->body, "result");
	char *text;
	int r;

	if (json_is_string(result) || !result)
		return weir_lease_ack(ctx, a->app->store, id, lease, json_string_value(result),
		                      result ? json_string_length(result) : 0);
	text = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY);
	r = text ? weir_lease_ack(ctx, a->app->store, id, lease, text, strlen(text)) : -ENOMEM;
	free(text);
	return r;
}

static int nack(const weir_ctx *ctx, struct ask *a, struct params *p, const char *id,
                const char *lease)
{
	const char *error = member(p, "error");
	int64_t delay = -1;
	bool dead = false;

	read_duration(p, "delay", member(p, "delay"), 0, DELAY_MAX, &delay);
	read_flag(p, "dead", member(p, "dead"), &dead);
	if (p->error[0])
		return -EINVAL;
	error = error ? error : "";
	return dead ? weir_lease_bury(ctx, a->app->store, id, lease, error) :
	              weir_lease_nack(ctx, a->app->store, id, lease, delay, error);
}

static int extend(const weir_ctx *ctx, struct ask *a, struct params *p, const char *id,
                  const char *lease)
{
	int64_t lease_ns = 0;

	(void)ctx;
	read_duration(p, "for", member(p, "for"), LEASE_MIN, LEASE_MAX, &lease_ns);
	return p->error[0] ? -EINVAL : weir_lease_extend(a->app->store, id, lease, lease_ns);
}

static int progress(const weir_ctx *ctx, struct ask *a, struct params *p, const char *id,
                    const char *lease)
{
	double fraction = -1;

	(void)ctx;
	read_real(p, "progress", member(p, "progress"), 0, 1, &fraction);
	return p->error[0] ?
	               -EINVAL :
	               weir_lease_progress(a->app->store, id, lease, fraction, member(p, "note"));
}

static int give_back(const weir_ctx *ctx, struct ask *a, struct params *p, const char *id,
                     const char *lease)
{
	(void)ctx;
	(void)p;
	return weir_lease_return(a->app->store, id, lease);
}

static const struct verb {
	const char *name;
	int (*fn)(const weir_ctx *ctx, struct ask *a, struct params *p, const char *id,
	          const char *lease);
	bool goes_on; /* the job still runs: the answer says whether it was cancelled */
	const char *const *known;
} verbs[] = {
	{ "ack", ack, false, NAMES("id", "lease", "result") },
	{ "nack", nack, false, NAMES("id", "lease", "delay", "error", "dead") },
	{ "return", give_back, false, NAMES("id", "lease") },
	{ "extend", extend, true, NAMES("id", "lease", "for") },
	{ "progress", progress, true, NAMES("id", "lease", "progress", "note") },
};

static int with_lease(const weir_ctx *ctx, struct ask *a, struct params *p, const struct verb *v)
{
	const char *id = member(p, "id"), *lease = member(p, "lease"), *detail;
	struct weir__buf b = WEIR__BUF_INIT;
	weir_job_info job;
	int r = -EINVAL, status;

	refuse_unknown(p, v->known);
	if (!id || !lease)
		wrong(p, "id and lease are needed, in a JSON object");
	if (!p->error[0])
		r = v->fn(ctx, a, p, id, lease);
	if (p->error[0])
		return answer_error(ctx, a->app, a->reply, 400, p->error);
	if (r == -ENOENT && shares_jobs(a->app))
		return 0; /* Another weir gave that lease, and answers. */
	if (r < 0) {
		status = error_status(r, &detail);
		return answer_error(ctx, a->app, a->reply, status, detail);
	}
	weir__buf_byte(&b, '{');
	if (v->goes_on) {
		put_bool(&b, "cancel", r == 1);
	} else if (weir_job_get(ctx, a->app->store, id, false, &job) == 0) {
		put_str(&b, "state", weir_job_state_name(job.state));
		weir_job_info_free(&job);
	}
	weir__buf_byte(&b, '}');
	return answer(ctx, a->app, a->reply, &b);
}

/* Another weir asks for a job that it does not know: only who knows it answers. */
static int look(const weir_ctx *ctx, struct ask *a, struct params *p)
{
	const char *id = member(p, "id");
	struct weir__buf b = WEIR__BUF_INIT;
	weir_job_info job;

	if (!id || weir_job_get(ctx, a->app->store, id, true, &job) < 0)
		return 0;
	render_job(&b, &job);
	weir_job_info_free(&job);
	return answer(ctx, a->app, a->reply, &b);
}

/* ---- Requests ---- */

static int serve_ask(const weir_ctx *ctx, void *arg)
{
	struct ask *a = arg;
	struct params p = { .x = NULL };
	const struct verb *verb = NULL;
	char queue[WEIR_SUBJECT_MAX + 1];

	weir_task_name("jobs over the bus");
	if (a->len) {
		p.body = json_read(&p, a->body, a->len);
		if (p.body && !json_is_object(p.body))
			wrong(&p, "the body has to be a JSON object");
	}
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (!strcmp(a->what, verbs[i].name))
			verb = &verbs[i];
	if (!strncmp(a->what, "take.", 5)) {
		snprintf(queue, sizeof queue, "%s", a->what + 5);
		(void)take(ctx, a, &p, queue);
	} else if (!strcmp(a->what, "get") && shares_jobs(a->app)) {
		(void)look(ctx, a, &p);
	} else if (verb) {
		(void)with_lease(ctx, a, &p, verb);
	} else {
		(void)answer_error(ctx, a->app, a->reply, 404,
		                   "weir.jobs. knows take.{queue}, ack, nack, return, extend and "
		                   "progress");
	}
	json_decref(p.body);
	__atomic_sub_fetch(a->asks, 1, __ATOMIC_RELAXED);
	free(a);
	return 0;
}

static void take_in(const weir_ctx *ctx, struct app *app, weir_group *g, unsigned *asks,
                    const weir_msg *m)
{
	struct ask *a;

	if (!may_answer(m))
		return;
	if (__atomic_add_fetch(asks, 1, __ATOMIC_RELAXED) > ASKS_MAX) {
		__atomic_sub_fetch(asks, 1, __ATOMIC_RELAXED);
		(void)answer_error(ctx, app, m->reply, 503, "too many requests at a time");
		return;
	}
	a = ask_new(app, asks, m);
	if (a && weir_group_go(g, serve_ask, a) == 0)
		return;
	__atomic_sub_fetch(asks, 1, __ATOMIC_RELAXED);
	free(a);
	(void)answer_error(ctx, app, m->reply, 503, "out of memory");
}

struct door {
	struct app *app;
	weir_sub *sub;
	weir_group *group; /* whose task this door is */
	unsigned *asks;
};

static const char *const subjects[] = { ROOT "take.>", ROOT "*" };
_Static_assert(sizeof subjects / sizeof *subjects == DOORS, "a subscription for each");

static int listen_at(const weir_ctx *ctx, void *arg)
{
	struct door *d = arg;
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_msg m;
	int r;

	while ((r = weir_sub_next(&live, d->sub, &m)) > 0)
		take_in(ctx, d->app, d->group, d->asks, &m);
	return r == -ESHUTDOWN ? 0 : r;
}

static int run(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	struct door door[DOORS];
	unsigned n = 0;
	weir_group g;
	int r = 0, e;

	weir_group_init(&g, ctx);
	for (size_t i = 0; i < DOORS && r == 0; i++) {
		door[i] = (struct door){ app, app->doors[i], &g, &n };
		r = weir_group_go(&g, listen_at, &door[i]);
	}
	if (r < 0)
		weir_group_cancel(&g);
	e = weir_group_wait(&g);
	return r < 0 ? r : e;
}

static int close_doors(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;

	(void)ctx;
	for (size_t i = 0; i < DOORS; i++) {
		(void)weir_sub_close(app->doors[i]);
		app->doors[i] = NULL;
	}
	return 0;
}

/* They are live before the first client is let in. */
static int open_doors(const weir_ctx *ctx, void *arg)
{
	weir_sub_options opt = { .pending_max = PENDING, .pending_bytes = PENDING_BYTES };
	struct app *app = arg;
	int r = 0;

	/* Of those that share the queues one gives a job; a lease is for who gave it. */
	opt.queue = shares_jobs(app) ? "weir" : NULL;
	for (size_t i = 0; i < DOORS && r == 0; i++, opt.queue = NULL)
		r = weir_bus_follow(ctx, app->bus, subjects[i], &opt, &app->doors[i]);
	if (r < 0)
		close_doors(ctx, arg);
	return r;
}

const weir_service bus_work_service = {
	.name = "jobs over the bus", .open = open_doors, .run = run, .close = close_doors
};
