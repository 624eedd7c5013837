/* SPDX-License-Identifier: MIT */
/*
 * weir.v1 (proto/weir/v1/weir.proto): the same store and bus as the HTTP API, over gRPC. The filter
 * of api.c has seen every call before, so a token is known here; rights are asked for by method.
 *
 * A worker's stream has two tasks, both on the stream's worker: this one takes jobs and sends them,
 * the other receives what became of them. What the worker holds is a list that only these two
 * touch, between waits; a place for each job that may be held is a semaphore's. Beside each job
 * that is held waits a guard, which tells the worker when it is cancelled or its lease is lost; it
 * uses the job's handle, so it is over before that is given up. When the worker has gone its jobs
 * are back at once, with their attempts ended, since the job may be what killed it; when it ended
 * its sending, or this server ends the stream, they are returned as if never taken.
 *
 * On drain no more is taken, what is held may still be finished, and the stream ends when that is
 * done.
 */
#include <stdlib.h>
#include <string.h>
#include <weir/grpc_protobuf.h>

#include "base/assert.h"
#include "grpc/server.h"
#include "grpc_api.h"
#include "handlers.h"
#include "weir.pb-c.h"

enum { HELD_MAX = 1000, PENDING = 1024, PENDING_BYTES = 8 << 20 };
#define REQUEST_DEFAULT WEIR_SEC(1)

static int denied(struct app *app, weir_grpc *call, unsigned rights, const char *what)
{
	if (!app->auth || auth_may(app->auth, weir__grpc_exchange(call), rights, what))
		return 0;
	return weir_grpc_fail(call, WEIR_GRPC_PERMISSION_DENIED,
	                      "this token has no right to do that");
}

/* An error of the store or the bus as the HTTP API words it. */
static int fail(weir_grpc *call, int error)
{
	const char *detail;
	int code;

	if (error == -ECANCELED || error == -ETIMEDOUT || error == -ESHUTDOWN)
		return error;
	(void)error_status(error, &detail);
	code = error == -EAGAIN || error == -ENOBUFS ? WEIR_GRPC_RESOURCE_EXHAUSTED :
	       error == -ENETUNREACH                 ? WEIR_GRPC_NOT_FOUND :
	                                               weir__grpc_code_of(error);
	return weir_grpc_fail(call, code, "%s", detail);
}

static const char *or_null(const char *text)
{
	return *text ? text : NULL;
}

/* ---- jobs ---- */

static int enqueue(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Weir__V1__EnqueueResponse out = WEIR__V1__ENQUEUE_RESPONSE__INIT;
	struct app *app = arg;
	Weir__V1__EnqueueRequest *in;
	weir_job_spec spec;
	char id[WEIR_JOB_ID_LEN + 1];
	int r;

	r = weir_grpc_recv_pb(ctx, call, weir__v1__enqueue_request, &in);
	if (r <= 0)
		return r;
	r = denied(app, call, MAY_PUT, in->queue);
	if (r)
		return r;
	if (in->payload.len > app->opt->body_max)
		return fail(call, -EMSGSIZE);
	if (in->delay_ms > (uint64_t)(DELAY_MAX / WEIR_MS(1)) ||
	    in->timeout_ms > (uint64_t)(DELAY_MAX / WEIR_MS(1)))
		return fail(call, -EINVAL);
	spec = (weir_job_spec){ .data = in->payload.data,
		                .len = in->payload.len,
		                .content_type = or_null(in->content_type),
		                .idempotency_key = or_null(in->idempotency_key),
		                .key = or_null(in->key),
		                .delay_ns = WEIR_MS((int64_t)in->delay_ms),
		                .priority = in->priority,
		                .timeout_ns = WEIR_MS((int64_t)in->timeout_ms),
		                .attempts_max = in->attempts_max };
	r = weir_job_put(ctx, app->store, in->queue, &spec, id);
	if (r < 0)
		return fail(call, r);
	out.id = id;
	out.existing = r == 1;
	return weir_grpc_send_pb(ctx, call, &out);
}

struct worker;

struct held {
	struct worker *worker;
	weir_job *job;
	weir_scope *scope; /* of its guard, while that waits for the job's cancel */
	bool answered;
	weir_latch unguarded;
};

/* A worker's stream. */
struct worker {
	struct app *app;
	weir_grpc *call;
	const char *queue;
	weir_take_options opt;
	weir_ctx own; /* ends when the worker has ended its sending, or is gone */
	weir_mutex sending;
	weir_sem places;
	unsigned max, n;
	bool until_empty;
	weir_group tasks; /* who receives, and guards */
	struct held *held[HELD_MAX];
	int result; /* of the receiving task */
};

static int tell(const weir_ctx *ctx, struct worker *w, const Weir__V1__TakeResponse *out)
{
	int r = weir_mutex_lock(ctx, &w->sending);

	if (r < 0)
		return r;
	r = weir_grpc_send_pb(ctx, w->call, out);
	weir_mutex_unlock(&w->sending);
	return r;
}

static int guard(const weir_ctx *ctx, void *arg)
{
	Weir__V1__Cancelled cancelled = WEIR__V1__CANCELLED__INIT;
	Weir__V1__TakeResponse out = WEIR__V1__TAKE_RESPONSE__INIT;
	struct held *h = arg;
	weir_ctx own;
	int r = h->answered ? -ECANCELED : weir_scope_open(ctx, &own);

	if (r == 0) {
		h->scope = own.scope;
		r = weir_job_wait_cancel(&own, h->job);
		h->scope = NULL;
		weir_scope_close(own.scope);
	}
	if (r == 0 && !h->answered) {
		out.kind_case = WEIR__V1__TAKE_RESPONSE__KIND_CANCELLED;
		out.cancelled = &cancelled;
		cancelled.id = (char *)(uintptr_t)weir_job_id(h->job);
		(void)tell(ctx, h->worker, &out);
	}
	weir_latch_down(&h->unguarded);
	return 0;
}

static int hold(struct worker *w, weir_job *job)
{
	struct held *h = calloc(1, sizeof *h);
	int r;

	if (!h)
		return -ENOMEM;
	h->worker = w;
	h->job = job;
	weir_latch_init(&h->unguarded, 1);
	r = weir_group_go_on(&w->tasks, weir_worker(), guard, h);
	if (r < 0)
		free(h);
	else
		w->held[w->n++] = h;
	return r;
}

/* The job, which is not guarded any more; or NULL. What its guard is saying just then is said. */
static weir_job *let_go(const weir_ctx *ctx, struct worker *w, const char *id)
{
	weir_ctx shielded = weir_ctx_shield(ctx, WEIR_NEVER);
	struct held *h = NULL;
	weir_job *job;
	int r;

	for (unsigned i = 0; i < w->n && !h; i++) {
		if (strcmp(weir_job_id(w->held[i]->job), id) != 0)
			continue;
		h = w->held[i];
		w->held[i] = w->held[--w->n];
	}
	if (!h)
		return NULL;
	h->answered = true;
	if (h->scope)
		weir_scope_cancel(h->scope, -ECANCELED, "the worker has answered");
	r = weir_latch_wait(&shielded, &h->unguarded);
	weir__assert(r == 0, "a guard does not end");
	job = h->job;
	free(h);
	return job;
}

static int nack(const weir_ctx *ctx, struct worker *w, weir_job *job, const Weir__V1__Nack *in)
{
	int64_t delay_ns = in->delay_ms ? WEIR_MS((int64_t)(in->delay_ms & INT32_MAX)) : -1;
	int r;

	if (!in->dead)
		return weir_job_nack(ctx, job, delay_ns, in->why);
	r = weir_lease_bury(ctx, w->app->store, weir_job_id(job), weir_job_lease(job), in->why);
	weir_job_release(job);
	return r;
}

/* What the worker says has become of a job. Consumes it. */
static int answer(const weir_ctx *ctx, struct worker *w, weir_job *job,
                  const Weir__V1__TakeRequest *in)
{
	switch (in->kind_case) {
	case WEIR__V1__TAKE_REQUEST__KIND_ACK:
		return weir_job_ack(ctx, job, in->ack->result.data, in->ack->result.len);
	case WEIR__V1__TAKE_REQUEST__KIND_NACK:
		return nack(ctx, w, job, in->nack);
	default:
		return weir_job_return(job);
	}
}

static const char *answered_id(const Weir__V1__TakeRequest *in)
{
	switch (in->kind_case) {
	case WEIR__V1__TAKE_REQUEST__KIND_ACK:
		return in->ack->id;
	case WEIR__V1__TAKE_REQUEST__KIND_NACK:
		return in->nack->id;
	case WEIR__V1__TAKE_REQUEST__KIND_GIVE_BACK:
		return in->give_back->id;
	default:
		return NULL;
	}
}

static int settle(const weir_ctx *ctx, struct worker *w, const Weir__V1__TakeRequest *in)
{
	Weir__V1__Settled settled = WEIR__V1__SETTLED__INIT;
	Weir__V1__TakeResponse out = WEIR__V1__TAKE_RESPONSE__INIT;
	const char *id = answered_id(in);
	weir_job *job;
	int r;

	if (!id)
		return weir_grpc_fail(w->call, WEIR_GRPC_INVALID_ARGUMENT,
		                      "neither ack nor nack nor give_back");
	job = let_go(ctx, w, id);
	if (!job)
		return weir_grpc_fail(w->call, WEIR_GRPC_INVALID_ARGUMENT,
		                      "job %.40s is not held by this stream", id);
	r = answer(ctx, w, job, in);
	weir_sem_give(&w->places);
	if (r < 0 && r != -ESTALE && r != -EMSGSIZE)
		return fail(w->call, r);
	settled.id = (char *)(uintptr_t)id;
	settled.stale = r == -ESTALE;
	settled.result_lost = r == -EMSGSIZE;
	out.kind_case = WEIR__V1__TAKE_RESPONSE__KIND_SETTLED;
	out.settled = &settled;
	return tell(ctx, w, &out);
}

static int receive(const weir_ctx *ctx, void *arg)
{
	struct worker *w = arg;
	Weir__V1__TakeRequest *in;
	int r;

	while ((r = weir_grpc_recv_pb(ctx, w->call, weir__v1__take_request, &in)) > 0) {
		r = settle(ctx, w, in);
		if (r)
			break;
	}
	w->result = r;
	weir_scope_cancel(w->own.scope, -EPIPE, "the worker has ended its stream");
	return 0;
}

static int send_job(const weir_ctx *ctx, struct worker *w, weir_job *job)
{
	Weir__V1__TakeResponse out = WEIR__V1__TAKE_RESPONSE__INIT;
	Weir__V1__Job j = WEIR__V1__JOB__INIT;
	const char *type = weir_job_content_type(job);

	j.id = (char *)(uintptr_t)weir_job_id(job);
	j.queue = (char *)(uintptr_t)weir_job_queue(job);
	j.payload.data = (uint8_t *)(uintptr_t)weir_job_data(job, &j.payload.len);
	j.content_type = (char *)(uintptr_t)(type ? type : "application/octet-stream");
	j.attempt = weir_job_attempt(job);
	j.timeout_ms = (uint64_t)(weir_job_timeout(job) / WEIR_MS(1));
	out.kind_case = WEIR__V1__TAKE_RESPONSE__KIND_JOB;
	out.job = &j;
	return tell(ctx, w, &out);
}

/* Until the drain (-ESHUTDOWN), or no job is there for a worker that asked for that (0), the end of
 * the worker's sending (-ECANCELED), or an error. */
static int give_jobs(struct worker *w)
{
	weir_ctx live = weir_ctx_until_drain(&w->own), now = live;
	weir_job *job;
	int r;

	while ((r = weir_sem_take(&live, &w->places)) == 0) {
		if (w->until_empty)
			now = weir_ctx_timeout(&live, 0);
		r = weir_job_take(&now, w->app->store, w->queue, &w->opt, &job);
		if (r <= 0) {
			weir_sem_give(&w->places);
			return r == 0 ? -ESHUTDOWN : r == -ETIMEDOUT && w->until_empty ? 0 : r;
		}
		r = hold(w, job);
		if (r < 0) {
			(void)weir_job_return(job);
			return r;
		}
		r = send_job(&w->own, w, job);
		if (r < 0)
			return r;
	}
	return r;
}

static int serve_worker(const weir_ctx *ctx, struct worker *w)
{
	bool gentle;
	int r;

	weir_mutex_init(&w->sending);
	weir_sem_init(&w->places, w->max);
	r = weir_scope_open(ctx, &w->own);
	if (r < 0)
		return r;
	weir_group_init(&w->tasks, ctx);
	r = weir_group_go_on(&w->tasks, weir_worker(), receive, w);
	if (r == 0)
		r = give_jobs(w);
	/* What is held may still be finished: each gives its place back. */
	for (unsigned i = 0; (r == 0 || r == -ESHUTDOWN) && i < w->max; i++)
		if (weir_sem_take(&w->own, &w->places) < 0)
			break;
	weir_group_cancel(&w->tasks);
	(void)weir_group_wait(&w->tasks);
	gentle = w->result == 0 || __atomic_load_n(&w->app->stopping, __ATOMIC_ACQUIRE);
	while (w->n) {
		struct held *h = w->held[--w->n];
		weir_job *job = h->job;

		free(h);
		if (gentle) {
			(void)weir_job_return(job);
		} else {
			(void)weir_lease_lost(w->app->store, weir_job_id(job), weir_job_lease(job));
			weir_job_release(job);
		}
	}
	weir_scope_close(w->own.scope);
	/* The worker's own end of its sending is none of an error. */
	return r == -ECANCELED ? w->result : r;
}

static int take(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	struct app *app = arg;
	Weir__V1__TakeRequest *in;
	struct worker *w;
	int r;

	r = weir_grpc_recv_pb(ctx, call, weir__v1__take_request, &in);
	if (r <= 0)
		return r;
	if (in->kind_case != WEIR__V1__TAKE_REQUEST__KIND_START)
		return weir_grpc_fail(call, WEIR_GRPC_INVALID_ARGUMENT, "start comes first");
	r = denied(app, call, MAY_TAKE, in->start->queue);
	if (r)
		return r;
	if (in->start->max > HELD_MAX || strlen(in->start->worker) > WORKER_MAX ||
	    !weir_queue_name_valid(in->start->queue))
		return fail(call, -EINVAL);
	w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->app = app;
	w->call = call;
	w->max = in->start->max ? in->start->max : 1;
	w->until_empty = in->start->until_empty;
	w->queue = weir_grpc_printf(call, "%s", in->start->queue);
	w->opt.worker = weir_grpc_printf(
		call, "%s", *in->start->worker ? in->start->worker : weir_grpc_peer(call));
	w->opt.renew = true;
	r = w->queue && w->opt.worker ? weir_grpc_send_head(ctx, call) : -ENOMEM;
	if (r == 0)
		r = serve_worker(ctx, w);
	free(w);
	return r;
}

/* ---- messages ---- */

static int check_subject(struct app *app, weir_grpc *call, const char *subject, unsigned right)
{
	if (!weir_subject_valid(subject, right == MAY_SUBSCRIBE))
		return weir_grpc_fail(call, WEIR_GRPC_INVALID_ARGUMENT, "not a subject: %.80s",
		                      subject);
	if (right == MAY_PUBLISH && subject_reserved(subject))
		return weir_grpc_fail(call, WEIR_GRPC_PERMISSION_DENIED,
		                      "subjects under weir. are the server's own");
	return denied(app, call, right, subject);
}

static int publish(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Weir__V1__PublishResponse out = WEIR__V1__PUBLISH_RESPONSE__INIT;
	struct app *app = arg;
	Weir__V1__PublishRequest *in;
	weir_bus_receipt receipt;
	weir_msg m = { 0 };
	int r;

	r = weir_grpc_recv_pb(ctx, call, weir__v1__publish_request, &in);
	if (r <= 0)
		return r;
	r = check_subject(app, call, in->subject, MAY_PUBLISH);
	if (r)
		return r;
	m.subject = in->subject;
	m.data = in->payload.data;
	m.len = in->payload.len;
	r = weir_bus_publish_told(ctx, app->bus, &m, &receipt);
	if (r < 0)
		return fail(call, r);
	out.delivered = receipt.delivered;
	return weir_grpc_send_pb(ctx, call, &out);
}

static int send_message(const weir_ctx *ctx, weir_grpc *call, const weir_msg *m)
{
	Weir__V1__Message out = WEIR__V1__MESSAGE__INIT;

	out.subject = (char *)(uintptr_t)(m->subject ? m->subject : "");
	out.payload = (ProtobufCBinaryData){ m->len, (uint8_t *)(uintptr_t)m->data };
	return weir_grpc_send_pb(ctx, call, &out);
}

static int request(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	struct app *app = arg;
	Weir__V1__PublishRequest *in;
	weir_msg answer;
	weir_ctx soon;
	int r;

	r = weir_grpc_recv_pb(ctx, call, weir__v1__publish_request, &in);
	if (r <= 0)
		return r;
	r = check_subject(app, call, in->subject, MAY_PUBLISH);
	if (r)
		return r;
	soon = weir_ctx_left(ctx) == WEIR_NEVER ? weir_ctx_timeout(ctx, REQUEST_DEFAULT) : *ctx;
	r = weir_bus_request(&soon, app->bus, in->subject, in->payload.data, in->payload.len,
	                     &answer);
	if (r < 0)
		return fail(call, r);
	r = send_message(ctx, call, &answer);
	weir_msg_free(&answer);
	return r;
}

static int subscribe(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	weir_sub_options opt = { .pending_max = PENDING, .pending_bytes = PENDING_BYTES };
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct app *app = arg;
	Weir__V1__SubscribeRequest *in;
	weir_sub *sub;
	weir_msg m;
	int r;

	r = weir_grpc_recv_pb(ctx, call, weir__v1__subscribe_request, &in);
	if (r <= 0)
		return r;
	r = check_subject(app, call, in->subject, MAY_SUBSCRIBE);
	if (r)
		return r;
	opt.queue = or_null(in->group);
	if (opt.queue && !weir_subject_valid(opt.queue, false))
		return fail(call, -EINVAL);
	r = weir_bus_follow(ctx, app->bus, in->subject, &opt, &sub);
	if (r < 0)
		return fail(call, r);
	r = weir_grpc_send_head(ctx, call);
	while (r == 0 && (r = weir_sub_next(&live, sub, &m)) > 0)
		r = send_message(ctx, call, &m);
	(void)weir_sub_close(sub);
	return r;
}

int grpc_install(struct app *app)
{
	static const struct {
		const char *name;
		weir_grpc_fn *fn;
	} methods[] = { { "/weir.v1.Weir/Enqueue", enqueue },
		        { "/weir.v1.Weir/Take", take },
		        { "/weir.v1.Weir/Publish", publish },
		        { "/weir.v1.Weir/Subscribe", subscribe },
		        { "/weir.v1.Weir/Request", request } };
	weir_http_server *http = weir_server_http(app->server);
	weir_grpc_health *health;
	int r = weir_grpc_health_add(http, &health);

	for (size_t i = 0; r == 0 && i < sizeof methods / sizeof *methods; i++)
		r = weir_grpc_method(http, methods[i].name, methods[i].fn, app);
	if (r == 0)
		r = weir_grpc_health_set(health, "weir.v1.Weir", true);
	return r == 0 ? weir_grpc_reflection_add(http, descriptors, descriptors_len) : r;
}
