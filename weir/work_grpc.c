/* SPDX-License-Identifier: MIT */
/*
 * weir work over gRPC: a slot's jobs come over one Take stream on a connection of its own. The
 * stream holds the lease, and tells by itself when a job is not wanted any more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <weir/grpc_protobuf.h>

#include "weir.pb-c.h"
#include "work.h"

#define METHOD "/weir.v1.Weir/Take"

static int next(const weir_ctx *ctx, struct slot *s, Weir__V1__TakeResponse **ret)
{
	return weir_grpc_recv_pb(ctx, s->call, weir__v1__take_response, ret);
}

static enum verdict ask(const weir_ctx *ctx, struct slot *s, const struct taken *j)
{
	Weir__V1__TakeResponse *m;
	int r;

	/* What has come; nothing is waited for. */
	for (;;) {
		weir_ctx now = weir_ctx_timeout(ctx, 0);

		r = next(&now, s, &m);
		if (r <= 0)
			break;
		if (m->kind_case == WEIR__V1__TAKE_RESPONSE__KIND_CANCELLED &&
		    !strcmp(m->cancelled->id, j->id))
			return CANCEL;
	}
	return r == -ETIMEDOUT || weir_ctx_err(ctx) < 0 ? KEEP : LOST;
}

static int tell(const weir_ctx *ctx, struct slot *s, const struct taken *j,
                const Weir__V1__TakeRequest *what)
{
	/* A stop that comes now should not undo what is done. */
	weir_ctx shielded = weir_ctx_shield(ctx, WORK_TELL_NS);
	Weir__V1__TakeResponse *m;
	int r;

	r = weir_grpc_send_pb(&shielded, s->call, what);
	while (r == 0 && (r = next(&shielded, s, &m)) > 0) {
		if (m->kind_case == WEIR__V1__TAKE_RESPONSE__KIND_SETTLED &&
		    !strcmp(m->settled->id, j->id))
			return m->settled->stale       ? -ESTALE :
			       m->settled->result_lost ? -EMSGSIZE :
			                                 0;
		r = 0;
	}
	return work_untold(j, r < 0 ? r : -ECONNRESET);
}

static char *text(const char *s)
{
	return (char *)(uintptr_t)s;
}

static int done(const weir_ctx *ctx, struct slot *s, const struct taken *j, const void *result,
                size_t len)
{
	Weir__V1__TakeRequest what = WEIR__V1__TAKE_REQUEST__INIT;
	Weir__V1__Ack ack = WEIR__V1__ACK__INIT;

	what.kind_case = WEIR__V1__TAKE_REQUEST__KIND_ACK;
	what.ack = &ack;
	ack.id = text(j->id);
	ack.result = (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)result };
	return tell(ctx, s, j, &what);
}

static int failed(const weir_ctx *ctx, struct slot *s, const struct taken *j, bool dead,
                  const char *why)
{
	Weir__V1__TakeRequest what = WEIR__V1__TAKE_REQUEST__INIT;
	Weir__V1__Nack nack = WEIR__V1__NACK__INIT;

	what.kind_case = WEIR__V1__TAKE_REQUEST__KIND_NACK;
	what.nack = &nack;
	nack.id = text(j->id);
	nack.why = text(why);
	nack.dead = dead;
	return tell(ctx, s, j, &what);
}

static int give_back(const weir_ctx *ctx, struct slot *s, const struct taken *j)
{
	Weir__V1__TakeRequest what = WEIR__V1__TAKE_REQUEST__INIT;
	Weir__V1__GiveBack back = WEIR__V1__GIVE_BACK__INIT;

	what.kind_case = WEIR__V1__TAKE_REQUEST__KIND_GIVE_BACK;
	what.give_back = &back;
	back.id = text(j->id);
	return tell(ctx, s, j, &what);
}

/* ---- Taking ---- */

static int begin(const weir_ctx *ctx, const weir_ctx *live, struct slot *s)
{
	Weir__V1__TakeRequest what = WEIR__V1__TAKE_REQUEST__INIT;
	Weir__V1__TakeStart start = WEIR__V1__TAKE_START__INIT;
	const char *lines[] = { s->c.auth, NULL };
	weir_grpc_call_options opt = { .metadata = lines };
	int r = weir_grpc_start(ctx, s->c.grpc, METHOD, &opt, &s->call);

	if (r < 0)
		return r;
	what.kind_case = WEIR__V1__TAKE_REQUEST__KIND_START;
	what.start = &start;
	start.queue = text(s->crew->o->args[0]);
	start.worker = s->crew->name;
	start.max = 1;
	start.until_empty = s->crew->o->until_empty;
	r = weir_grpc_send_pb(live, s->call, &what);
	if (r == 0)
		r = weir_grpc_head(live, s->call);
	if (r == 0 && weir_grpc_status(s->call) < 0)
		s->crew->ever = true;
	return r == -EPIPE ? 0 : r; /* The status says more. */
}

/* The stream is over: as take(). */
static int over(struct slot *s, int r)
{
	int code = weir_grpc_status(s->call);

	if (code == WEIR_GRPC_UNAVAILABLE)
		r = s->crew->ever ? -ECONNRESET : -ECONNREFUSED;
	else if (code == WEIR_GRPC_RESOURCE_EXHAUSTED)
		r = -EAGAIN;
	else if (code > 0)
		r = -EINVAL;
	if (r == -EINVAL) {
		fprintf(stderr, "weir: work: %s: %s\n", s->crew->o->args[0],
		        *weir_grpc_message(s->call) ? weir_grpc_message(s->call) :
		                                      weir_grpc_code_name(code));
		s->crew->fatal = EXIT_FAILED;
	}
	weir_grpc_free(s->call);
	s->call = NULL;
	return r;
}

static int read_job(const Weir__V1__Job *in, struct taken *j)
{
	if (!*in->id || strlen(in->id) >= sizeof j->id)
		return -EBADMSG;
	memcpy(j->id, in->id, strlen(in->id) + 1);
	j->attempt = in->attempt;
	j->timeout_ns = WEIR_MS((int64_t)(in->timeout_ms & INT32_MAX));
	weir__buf_add(&j->payload, in->payload.data, in->payload.len);
	return j->payload.failed ? -ENOMEM : 1;
}

static int take(const weir_ctx *ctx, struct slot *s, struct taken *j)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	Weir__V1__TakeResponse *m;
	int r = s->call ? 0 : begin(ctx, &live, s);

	/* What was still to be said of the last job is of no use any more. */
	while (r == 0 && (r = next(&live, s, &m)) > 0) {
		if (m->kind_case == WEIR__V1__TAKE_RESPONSE__KIND_JOB)
			return read_job(m->job, j);
		r = 0;
	}
	return !s->call || weir_ctx_err(&live) < 0 ? r : over(s, r);
}

static int dup_connection(struct slot *s)
{
	return weir_grpc_dup(s->call);
}

/* A job that was on its way goes back as if never taken. */
static void end(const weir_ctx *ctx, struct slot *s)
{
	weir_ctx shielded = weir_ctx_shield(ctx, WEIR_SEC(1));

	if (s->call)
		(void)weir_grpc_finish(&shielded, s->call);
	weir_grpc_free(s->call);
	s->call = NULL;
}

const struct work_way work_over_grpc = { take, ask, done, failed, give_back, dup_connection, end };
