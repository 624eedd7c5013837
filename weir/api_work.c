/* SPDX-License-Identifier: MIT */
/* Jobs from the worker's side: take under a lease, then ack, nack, extend or tell of progress with
 * it. */
#include <stdio.h>
#include <string.h>

#include "handlers.h"

enum {
	TAKE_BYTES = 8 << 20, /* payloads of one answer; at least one job is always given */
	TAKERS_MAX = 10000,   /* waiting at a time */
	/* What a store keeps; as JSON it is longer. Not --body-max: a run that is over cannot be
	 * made smaller. */
	RESULT_MAX = 1 << 20,
};

/* ---- Taking ---- */
void render_taken(struct weir__buf *b, const weir_job *j)
{
	size_t len;
	const void *data = weir_job_data(j, &len);
	const char *type = weir_job_content_type(j);

	weir__buf_byte(b, '{');
	put_word(b, "id", weir_job_id(j));
	put_word(b, "queue", weir_job_queue(j));
	put_word(b, "lease", weir_job_lease(j));
	put_u64(b, "attempt", weir_job_attempt(j));
	put_str(b, "content_type", type ? type : "application/octet-stream");
	put_duration(b, "timeout", weir_job_timeout(j));
	put_bytes(b, "payload", data, len);
	weir__buf_byte(b, '}');
}

int take_some(const weir_ctx *ctx, struct app *app, const char *queue, int64_t wait_ns,
              const weir_take_options *opt, weir_job **jobs, size_t max)
{
	weir_ctx fresh = weir_ctx_until_drain(ctx);
	size_t n = 0, bytes = 0, len;
	int r;

	while (n < max && bytes < TAKE_BYTES) {
		weir_ctx soon = weir_ctx_timeout(&fresh, n ? 0 : wait_ns);

		r = weir_job_take(&soon, app->store, queue, opt, &jobs[n]);
		if (r <= 0 && n == 0)
			return r == -ETIMEDOUT ? 0 : r == 0 ? -ESHUTDOWN : r;
		if (r <= 0)
			break;
		(void)weir_job_data(jobs[n++], &len);
		bytes += len;
	}
	return (int)n;
}

static int reply_taken(const weir_ctx *ctx, weir_http *x, weir_job **jobs, size_t n)
{
	struct weir__buf b = WEIR__BUF_INIT;
	size_t guess = 0, len;

	for (size_t i = 0; i < n; i++) {
		(void)weir_job_data(jobs[i], &len);
		guess += len + 256;
	}
	(void)weir__buf_reserve(&b, guess); /* At once; in pieces it would be several times. */
	weir__buf_byte(&b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			weir__buf_byte(&b, ',');
		render_taken(&b, jobs[i]);
	}
	weir__buf_byte(&b, ']');
	if (!b.failed)
		return reply_json(ctx, x, 200, &b);
	weir__buf_free(&b);
	return -ENOMEM;
}

static int take(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *queue = weir_http_path(x, "queue"), *lease = weir_http_query(x, "lease");
	struct params p = { .x = x };
	weir_take_options opt = { .worker = weir_http_query(x, "worker") };
	weir_job *jobs[TAKE_MAX];
	int64_t wait_ns = 0, max = 1;
	char *body;
	size_t len;
	int r, n;

	r = weir_http_body(ctx, x, &body, &len);
	if (r < 0)
		return r;
	if (len)
		wrong(&p, "a take has no body: wait, max, lease and worker belong into the query");
	opt.renew = lease && !strcmp(lease, "connection");
	read_duration(&p, "wait", weir_http_query(x, "wait"), 0, WAIT_MAX, &wait_ns);
	read_int(&p, "max", weir_http_query(x, "max"), 1, TAKE_MAX, &max);
	read_duration(&p, "lease", opt.renew ? NULL : lease, LEASE_MIN, LEASE_MAX, &opt.lease_ns);
	if (opt.worker && strlen(opt.worker) > WORKER_MAX)
		wrong(&p, "worker: longer than %d bytes", WORKER_MAX);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	if (!opt.worker)
		opt.worker = weir_http_peer(x);
	n = take_some(ctx, app, queue, wait_ns, &opt, jobs, (size_t)max);
	if (n < 0)
		return reply_error(ctx, x, app, n, queue);
	if (n == 0)
		return 204;
	r = opt.renew ? leases_hold(app->leases, x, jobs, (size_t)n) : 0;
	if (r == 0)
		r = reply_taken(ctx, x, jobs, (size_t)n);
	/* Not told to the client: not its job. */
	for (int i = 0; i < n; i++) {
		if (r < 0)
			(void)weir_job_return(jobs[i]);
		else
			weir_job_release(jobs[i]);
	}
	return r < 0 && !weir_http_started(x) ? reply_error(ctx, x, app, r, NULL) : r;
}

/* ---- With the lease ---- */
struct held {
	struct params p;
	const char *id, *lease;
	char *body;
	size_t len;
	bool raw; /* the body is an ack's result */
};

/* 0, or < 0. The body is read whole. It may hold the lease and what else is in `known`; that of an
 * ack is the result and no JSON of ours, where the lease stands elsewhere. */
static int read_held(const weir_ctx *ctx, weir_http *x, struct held *h, const char *const *known,
                     bool is_ack)
{
	const char *query = weir_http_query(x, "lease");
	int r;

	memset(h, 0, sizeof *h);
	h->p.x = x;
	h->id = weir_http_path(x, "id");
	h->lease = query ? query : weir_http_header(x, "weir-lease");
	h->raw = is_ack && h->lease;
	r = weir_http_body(ctx, x, &h->body, &h->len);
	if (r < 0)
		return r;
	if (h->len && !h->raw) {
		h->p.body = json_read(&h->p, h->body, h->len);
		if (h->p.body && !json_is_object(h->p.body))
			wrong(&h->p, "the body is no JSON object");
		refuse_unknown(&h->p, known);
	}
	if (!h->lease)
		h->lease = member(&h->p, "lease");
	if (!h->lease)
		wrong(&h->p,
		      "the lease is missing: ?lease=, Weir-Lease or \"lease\" in a JSON body");
	return 0;
}

/* cancel_member: the run goes on, and r says whether it is to end. `state` is that of a job whose
 * run is over, or NULL: then it is looked at. */
static int finish(const weir_ctx *ctx, weir_http *x, struct app *app, struct held *h, int r,
                  const char *cancel_member, const char *state)
{
	struct weir__buf b = WEIR__BUF_INIT;
	weir_job_info job;

	if (h->p.error[0]) {
		r = reply_wrong(ctx, x, &h->p);
	} else if (r < 0) {
		if (r == -ESTALE || r == -ENOENT || r == -EMSGSIZE)
			leases_settled(ctx, app->leases, x, h->id, h->lease);
		r = reply_error(ctx, x, app, r, NULL);
	} else {
		if (!cancel_member)
			leases_settled(ctx, app->leases, x, h->id, h->lease);
		weir__buf_byte(&b, '{');
		if (cancel_member)
			put_bool(&b, cancel_member, r == 1);
		else if (state)
			put_word(&b, "state", state);
		else if (weir_job_get(ctx, app->store, h->id, false, &job) == 0) {
			put_str(&b, "state", weir_job_state_name(job.state));
			put_time(&b, "due_at", job.state == WEIR_DELAYED ? job.due_at : 0);
			weir_job_info_free(&job);
		}
		weir__buf_byte(&b, '}');
		r = reply_json(ctx, x, 200, &b);
	}
	json_decref(h->p.body);
	return r;
}

/* What stands in the body, or in the query but for the result. */
static const char *const ack_names[] = { "lease", "result", NULL },
			 *const nack_names[] = { "lease", "delay", "error", "dead", NULL },
			 *const lease_only[] = { "lease", NULL },
			 *const extend_names[] = { "lease", "for", NULL },
			 *const progress_names[] = { "lease", "progress", "note", NULL };

static int ack(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	json_t *result;
	char *text = NULL;
	struct held h;
	int r;

	r = read_held(ctx, x, &h, ack_names, true);
	if (r < 0)
		return r;
	result = h.raw ? NULL : json_object_get(h.p.body, "result");
	if (h.p.error[0]) {
		r = 0;
	} else if (h.raw) {
		r = weir_lease_ack(ctx, app->store, h.id, h.lease, h.body, h.len);
	} else if (json_is_string(result)) {
		r = weir_lease_ack(ctx, app->store, h.id, h.lease, json_string_value(result),
		                   json_string_length(result));
	} else {
		text = result ? json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
		r = result && !text ? -ENOMEM :
		                      weir_lease_ack(ctx, app->store, h.id, h.lease, text,
		                                     text ? strlen(text) : 0);
		free(text);
	}
	return finish(ctx, x, app, &h, r, NULL, weir_job_state_name(WEIR_DONE));
}

static int nack(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	int64_t delay = -1;
	bool dead = false;
	const char *error;
	struct held h;
	int r;

	r = read_held(ctx, x, &h, nack_names, false);
	if (r < 0)
		return r;
	error = param(&h.p, "error");
	read_duration(&h.p, "delay", param(&h.p, "delay"), 0, DELAY_MAX, &delay);
	read_flag(&h.p, "dead", param(&h.p, "dead"), &dead);
	if (!h.p.error[0] && dead)
		r = weir_lease_bury(ctx, app->store, h.id, h.lease, error ? error : "");
	else if (!h.p.error[0])
		r = weir_lease_nack(ctx, app->store, h.id, h.lease, delay, error ? error : "");
	return finish(ctx, x, app, &h, r, NULL, NULL);
}

static int give_back(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct held h;
	int r;

	r = read_held(ctx, x, &h, lease_only, false);
	if (r < 0)
		return r;
	if (!h.p.error[0])
		r = weir_lease_return(app->store, h.id, h.lease);
	return finish(ctx, x, app, &h, r, NULL, NULL);
}

static int extend(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	int64_t lease_ns = 0;
	struct held h;
	int r;

	r = read_held(ctx, x, &h, extend_names, false);
	if (r < 0)
		return r;
	read_duration(&h.p, "for", param(&h.p, "for"), LEASE_MIN, LEASE_MAX, &lease_ns);
	if (!h.p.error[0])
		r = weir_lease_extend(app->store, h.id, h.lease, lease_ns);
	return finish(ctx, x, app, &h, r, "cancel", NULL);
}

static int progress(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	double fraction = -1;
	const char *note;
	struct held h;
	int r;

	r = read_held(ctx, x, &h, progress_names, false);
	if (r < 0)
		return r;
	note = param(&h.p, "note");
	read_real(&h.p, "progress", param(&h.p, "progress"), 0, 1, &fraction);
	if (fraction < 0 && !note)
		wrong(&h.p, "progress (0 to 1) or note is missing");
	if (!h.p.error[0])
		r = weir_lease_progress(app->store, h.id, h.lease, fraction, note);
	return finish(ctx, x, app, &h, r, "cancel", NULL);
}

const struct route work_routes[] = {
	{ "POST /v1/queues/{queue}/take",
	  take,
	  MAY_TAKE,
	  OF_QUEUE,
	  { .handler_ns = WEIR_NEVER, .body_max = 4096, .requests_max = TAKERS_MAX },
	  NAMES("wait", "max", "lease", "worker") },
	{ "POST /v1/jobs/{id}/ack",
	  ack,
	  MAY_TAKE,
	  OF_JOB,
	  { .body_max = 2 * RESULT_MAX },
	  lease_only },
	{ "POST /v1/jobs/{id}/nack", nack, MAY_TAKE, OF_JOB, { 0 }, nack_names },
	{ "POST /v1/jobs/{id}/return", give_back, MAY_TAKE, OF_JOB, { 0 }, lease_only },
	{ "POST /v1/jobs/{id}/extend", extend, MAY_TAKE, OF_JOB, { 0 }, extend_names },
	{ "POST /v1/jobs/{id}/progress", progress, MAY_TAKE, OF_JOB, { 0 }, progress_names },
	{ NULL, NULL, 0, OF_SERVER, { 0 } },
};
