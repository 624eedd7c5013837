/* SPDX-License-Identifier: MIT */
/*
 * Calls of a client: a call around a stream.
 *
 * The stream is opened by the first message, or the first wait for one; until then a lost
 * connection costs nothing, since the next one is taken. After that only a call whose one message
 * is still at hand is repeated (weir_grpc_unary): by itself when the server cannot have seen it,
 * else as often as its maker allows, since then it may have run.
 *
 * A call is over once its status is known: the trailers say it, or what ended it does (a reset, a
 * lost connection, the deadline, weir_grpc_cancel). The stream stays until weir_grpc_free(), since
 * metadata lives in it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/sim.h>

#include "base/assert.h"
#include "base/units.h"
#include "grpc/channel.h"

enum { TRIES = 5, RETRIES_MAX = 10 };
#define PAUSE_NS     WEIR_MS(200)
#define PAUSE_MAX_NS WEIR_SEC(5)

struct client_call {
	weir_grpc call; /* first */
	weir_grpc_channel *channel;
	weir__h2s *stream;
	int64_t deadline_ns;
	bool wait_for_ready, head_seen, trailers_only;
	unsigned before; /* how often it was made before */
	char *path;
};

static void over(weir_grpc *call, int code, const char *message)
{
	if (call->status >= 0)
		return;
	call->status = code;
	call->message = message;
}

/* What ended the stream before its trailers. */
static void broken(struct client_call *cc, int error)
{
	if (error == -ECONNRESET && cc->stream && weir__h2s_refused(cc->stream)) {
		over(&cc->call, WEIR_GRPC_UNAVAILABLE, "the server refused the stream");
		return;
	}
	if (error == -ECONNRESET && cc->stream && weir__h2s_error(cc->stream)) {
		int code = weir__grpc_code_of_h2(weir__h2s_error(cc->stream));

		if (code == WEIR_GRPC_CANCELLED && weir_now() >= cc->deadline_ns)
			over(&cc->call, WEIR_GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
		else
			over(&cc->call, code, "the server reset the stream");
		return;
	}
	over(&cc->call, WEIR_GRPC_UNAVAILABLE,
	     error == -ECONNREFUSED    ? "nobody listens there" :
	     error == -EHOSTUNREACH    ? "the server cannot be reached" :
	     error == -EKEYREJECTED    ? "the certificate of the server, or ours, is not trusted" :
	     error == -EPROTONOSUPPORT ? "the server speaks no HTTP/2" :
	                                 "the connection was lost");
}

/* Of a context under which the call was used: 0, or the error as it is to be passed on. The end of
 * the call's own deadline ends the call. */
static int context_ended(struct client_call *cc, int r)
{
	if (r == -ETIMEDOUT && weir_now() >= cc->deadline_ns) {
		over(&cc->call, WEIR_GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
		if (cc->stream)
			weir__h2s_reset(cc->stream, WEIR__H2_CANCEL);
	}
	return r;
}

static bool of_context(int r)
{
	return r == -ECANCELED || r == -ETIMEDOUT || r == -ESHUTDOWN;
}

/* ---- the head, both ways ---- */

static size_t put(struct weir__h2_field *f, size_t n, const char *name, const char *value)
{
	f[n] = (struct weir__h2_field){ name, value, strlen(name), strlen(value) };
	return n + 1;
}

static int open_stream(struct client_call *cc, weir__h2c *conn)
{
	weir_grpc *call = &cc->call;
	char timeout[WEIR__GRPC_TIMEOUT_MAX], before[12];
	struct weir__h2_field *f;
	size_t n = 0, more = 0;
	int r;

	for (struct weir__grpc_field *m = call->initial.first; m; m = m->next)
		more++;
	f = weir_grpc_alloc(call, (11 + more) * sizeof *f);
	if (!f)
		return -ENOMEM;
	n = put(f, n, ":method", "POST");
	n = put(f, n, ":scheme", cc->channel->scheme);
	n = put(f, n, ":path", call->path);
	n = put(f, n, ":authority", cc->channel->authority);
	n = put(f, n, "te", "trailers");
	n = put(f, n, "content-type", "application/grpc");
	n = put(f, n, "user-agent", "grpc-c-weir");
	n = put(f, n, "grpc-accept-encoding", "gzip");
	if (cc->deadline_ns != WEIR_NEVER) {
		weir__grpc_timeout_format(timeout, cc->deadline_ns - weir_now());
		n = put(f, n, "grpc-timeout", timeout);
	}
	if (cc->before) {
		snprintf(before, sizeof before, "%u", cc->before);
		n = put(f, n, "grpc-previous-rpc-attempts", before);
	}
	if (call->announce)
		n = put(f, n, "grpc-encoding", "gzip");
	for (struct weir__grpc_field *m = call->initial.first; m; m = m->next)
		f[n++] = (struct weir__h2_field){ m->name, m->value, strlen(m->name), m->len };
	r = weir__h2c_open(conn, f, n, &cc->stream);
	if (r < 0)
		return r;
	call->head_sent = true;
	call->peer = weir_grpc_printf(call, "%s", weir__h2c_peer(conn));
	if (!call->peer)
		call->peer = "";
	return 0;
}

/* 0 with a stream; -EPIPE: the call is over; or the context's error. */
static int have_stream(const weir_ctx *ctx, struct client_call *cc)
{
	weir_grpc *call = &cc->call;
	weir__h2c *conn;
	int r;

	/* While this task waits for a connection the call's other one may have opened the
	 * stream. */
	while (!cc->stream) {
		if (call->status >= 0)
			return -EPIPE;
		r = weir__grpc_connection(ctx, cc->channel, cc->wait_for_ready, &conn);
		if (r == 0 && !cc->stream && call->status < 0)
			r = open_stream(cc, conn);
		if (r < 0 && (r != -ESHUTDOWN || weir_ctx_err(ctx) < 0))
			break;
	}
	if (cc->stream)
		return 0;
	if (of_context(r))
		return context_ended(cc, r);
	if (r == -ENOMEM)
		return r;
	broken(cc, r);
	return -EPIPE;
}

/* What the server's head says. */
static void read_head(struct client_call *cc)
{
	const struct weir__h2_field *status = weir__h2s_field(cc->stream, false, ":status"),
				    *type = weir__h2s_field(cc->stream, false, "content-type"),
				    *coding = weir__h2s_field(cc->stream, false, "grpc-encoding");
	int64_t code = 0;

	if (status)
		(void)weir__parse_int(status->value, &code);
	cc->head_seen = true;
	cc->trailers_only = weir__h2s_field(cc->stream, false, "grpc-status") != NULL;
	if (cc->trailers_only)
		return;
	if (code != 200) {
		over(&cc->call, weir__grpc_code_of_http((int)code),
		     "the server's answer is not gRPC");
		return;
	}
	if (!type || !weir__grpc_type_ok(type->value)) {
		over(&cc->call, WEIR_GRPC_UNKNOWN, "the server's answer is not gRPC");
		return;
	}
	cc->call.in_gzip = coding && !strcmp(coding->value, "gzip");
	if (coding && !cc->call.in_gzip && strcmp(coding->value, "identity") != 0)
		over(&cc->call, WEIR_GRPC_INTERNAL, "the server uses a coding nobody asked for");
}

static int see_head(const weir_ctx *ctx, struct client_call *cc)
{
	int r;

	if (cc->head_seen)
		return 0;
	r = have_stream(ctx, cc);
	if (r == 0)
		r = weir__h2s_head(ctx, cc->stream);
	if (r < 0)
		return r;
	read_head(cc);
	if (cc->call.status >= 0)
		weir__h2s_reset(cc->stream, WEIR__H2_CANCEL);
	return 0;
}

/* The status, from where the server put it. */
static void read_status(struct client_call *cc)
{
	bool trailing = !cc->trailers_only;
	const struct weir__h2_field *status = weir__h2s_field(cc->stream, trailing, "grpc-status"),
				    *message =
					    weir__h2s_field(cc->stream, trailing, "grpc-message");
	struct weir__buf text = WEIR__BUF_INIT;
	const char *copy = "";

	if (cc->call.status >= 0)
		return;
	if (!status) {
		over(&cc->call, WEIR_GRPC_UNKNOWN, "the server gave no status");
		return;
	}
	if (message) {
		weir__grpc_percent_decode(&text, message->value, message->value_len);
		if (text.data && !text.failed)
			copy = weir_grpc_printf(&cc->call, "%s", text.data);
		weir__buf_free(&text);
	}
	over(&cc->call, weir__grpc_code_parse(status->value, status->value_len), copy ? copy : "");
}

/* ---- the transport of a call ---- */

static weir_ctx until_deadline(const weir_ctx *ctx, const struct client_call *cc)
{
	return cc->deadline_ns == WEIR_NEVER ? *ctx : weir_ctx_deadline(ctx, cc->deadline_ns);
}

static ssize_t client_read(const weir_ctx *ctx, weir_grpc *call, void *buf, size_t n)
{
	struct client_call *cc = (struct client_call *)call;
	weir_ctx soon = until_deadline(ctx, cc);
	int r;

	if (call->status >= 0)
		return 0;
	r = see_head(&soon, cc);
	if (r < 0)
		return r;
	return call->status >= 0 ? 0 : weir__h2s_read(&soon, cc->stream, buf, n);
}

static int client_write(const weir_ctx *ctx, weir_grpc *call, const struct iovec *iov, int n)
{
	struct client_call *cc = (struct client_call *)call;
	weir_ctx soon = until_deadline(ctx, cc);
	int r;

	r = have_stream(&soon, cc);
	if (r < 0)
		return r;
	r = weir__h2s_send(&soon, cc->stream, iov, n, false);
	if (r == 0 || r == -ENOMEM)
		return r;
	if (!of_context(r))
		return -EPIPE;
	/* A part of the message may have left, and nothing can follow it. */
	context_ended(cc, r);
	weir_grpc_cancel(call);
	return r;
}

static const char *client_field(weir_grpc *call, bool trailing, const char *name, size_t *ret_len)
{
	struct client_call *cc = (struct client_call *)call;
	const struct weir__h2_field *f;

	if (!cc->stream)
		return NULL;
	f = weir__h2s_field(cc->stream, trailing && !cc->trailers_only, name);
	if (!f)
		return NULL;
	*ret_len = f->value_len;
	return f->value;
}

static int client_ended(const weir_ctx *ctx, weir_grpc *call, int error)
{
	struct client_call *cc = (struct client_call *)call;

	(void)ctx;
	if (of_context(error))
		return context_ended(cc, error);
	if (error == 0) {
		if (call->status < 0)
			read_status(cc);
		return 0;
	}
	if (error == -EBADMSG || error == -EMSGSIZE || error == -ENOMEM) {
		over(call, weir__grpc_code_of(error),
		     error == -EMSGSIZE ? "the answer is longer than the limit" :
		     error == -ENOMEM   ? "no memory" :
		                          "the answer cannot be read");
		if (cc->stream)
			weir__h2s_reset(cc->stream, WEIR__H2_CANCEL);
		return error;
	}
	broken(cc, error);
	return 0;
}

static const struct weir__grpc_io client_io = { client_read, client_write, client_field,
	                                        client_ended };

/* ---- a call ---- */

static int add_lines(weir_grpc *call, const char *const *lines)
{
	for (; lines && *lines; lines++) {
		const char *colon = strchr(*lines, ':'), *value;
		char name[128];
		int r;

		if (!colon || (size_t)(colon - *lines) >= sizeof name)
			return -EINVAL;
		memcpy(name, *lines, (size_t)(colon - *lines));
		name[colon - *lines] = 0;
		value = colon + 1 + strspn(colon + 1, " ");
		r = weir_grpc_set(call, name, value, strlen(value));
		if (r < 0)
			return r;
	}
	return 0;
}

int weir_grpc_start(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method,
                    const weir_grpc_call_options *opt, weir_grpc **ret)
{
	struct client_call *cc;
	size_t n = strlen(method);
	int r;

	weir__magic_check(ch, WEIR__GRPC_CHANNEL_MAGIC);
	if (method[0] != '/' || n > 1024)
		return -EINVAL;
	cc = malloc(sizeof *cc + n + 1);
	if (!cc)
		return -ENOMEM;
	cc->path = memcpy(cc + 1, method, n + 1);
	weir__grpc_init(&cc->call, &client_io, cc->path, ch->opt.recv_max);
	cc->channel = ch;
	cc->stream = NULL;
	cc->deadline_ns = ctx->deadline_ns;
	cc->wait_for_ready = opt && opt->wait_for_ready;
	cc->head_seen = cc->trailers_only = false;
	cc->before = 0;
	cc->call.out_gzip = true;
	r = add_lines(&cc->call, opt ? opt->metadata : NULL);
	for (unsigned i = 0; r == 0 && i < ch->interceptors.n; i++)
		r = ch->interceptors.v[i].fn(ctx, &cc->call, ch->interceptors.v[i].arg);
	if (r) {
		weir_grpc_free(&cc->call);
		return r;
	}
	*ret = &cc->call;
	return 0;
}

int weir_grpc_end_send(const weir_ctx *ctx, weir_grpc *call)
{
	struct client_call *cc = (struct client_call *)call;
	weir_ctx soon = until_deadline(ctx, cc);
	int r;

	weir__grpc_live(call, __func__);
	if (call->end_sent)
		return 0;
	r = have_stream(&soon, cc);
	if (r == 0)
		r = weir__h2s_send(&soon, cc->stream, NULL, 0, true);
	if (r == 0)
		call->end_sent = true;
	return r;
}

int weir_grpc_head(const weir_ctx *ctx, weir_grpc *call)
{
	struct client_call *cc = (struct client_call *)call;
	weir_ctx soon = until_deadline(ctx, cc);
	int r;

	weir__grpc_live(call, __func__);
	if (call->status >= 0)
		return 0;
	r = see_head(&soon, cc);
	return r < 0 ? client_ended(ctx, call, r) : 0;
}

int weir_grpc_finish(const weir_ctx *ctx, weir_grpc *call)
{
	const void *msg;
	size_t n;
	int r;

	r = weir_grpc_end_send(ctx, call);
	if (r == 0 || r == -EPIPE) {
		do
			r = weir_grpc_recv(ctx, call, &msg, &n);
		while (r > 0);
	}
	if (r < 0 && of_context(r))
		weir_grpc_cancel(call);
	if (call->status >= 0 && (r == 0 || !of_context(r)))
		return call->status;
	return r < 0 ? r : WEIR_GRPC_UNKNOWN;
}

void weir_grpc_cancel(weir_grpc *call)
{
	struct client_call *cc = (struct client_call *)call;

	weir__grpc_live(call, __func__);
	over(call, WEIR_GRPC_CANCELLED, "cancelled");
	if (cc->stream)
		weir__h2s_reset(cc->stream, WEIR__H2_CANCEL);
}

int weir_grpc_dup(const weir_grpc *call)
{
	const struct client_call *cc = (const struct client_call *)call;

	weir__grpc_live(call, __func__);
	return cc->stream ? weir__h2s_dup(cc->stream) : -ENOTCONN;
}

void weir_grpc_free(weir_grpc *call)
{
	struct client_call *cc = (struct client_call *)call;

	if (!call)
		return;
	weir__grpc_live(call, __func__);
	if (cc->stream)
		weir__h2s_close(cc->stream, WEIR__H2_CANCEL);
	weir__grpc_fini(call);
	free(cc);
}

/* ---- one message each way ---- */

static int once(const weir_ctx *ctx, weir_grpc *call, const void *msg, size_t n,
                const void **ret_msg, size_t *ret_len)
{
	int r, got;

	r = weir_grpc_send(ctx, call, msg, n);
	if (r == 0)
		r = weir_grpc_end_send(ctx, call);
	/* -EPIPE: the server has answered already. */
	if (r < 0 && r != -EPIPE)
		return r;
	got = weir_grpc_recv(ctx, call, ret_msg, ret_len);
	r = got > 0 ? weir__grpc_at_end(ctx, call) : got;
	if (r < 0 && (of_context(r) || call->status < 0))
		return r;
	if (call->status == WEIR_GRPC_OK && got <= 0) {
		call->status = WEIR_GRPC_INTERNAL;
		call->message = "the server gave no answer";
	} else if (call->status < 0) {
		weir_grpc_cancel(call);
		call->status = WEIR_GRPC_INTERNAL;
		call->message = "the server gave more than one answer";
	}
	return call->status;
}

/* What the server asks for (gRPC's A6): 0 and the pause, -ENOENT if nothing, -ECANCELED: no
 * more. */
static int pushback(struct client_call *cc, int64_t *ret_ns)
{
	int64_t ms;
	size_t n;
	const char *text = client_field(&cc->call, true, "grpc-retry-pushback-ms", &n);

	if (!text)
		return -ENOENT;
	if (weir__parse_int(text, &ms) < 0 || ms < 0 || ms > INT32_MAX)
		return -ECANCELED;
	*ret_ns = WEIR_MS(ms);
	return 0;
}

struct tries {
	unsigned refused, retried;
};

/* After a call has ended with UNAVAILABLE: is it to be made again, and after which pause? */
static bool again(const weir_ctx *ctx, struct client_call *cc, unsigned retries, struct tries *t,
                  int64_t *ret_ns)
{
	int64_t ns = PAUSE_NS << (t->retried < 5 ? t->retried : 5);
	int r;

	*ret_ns = 0;
	if (cc->stream && weir__h2s_refused(cc->stream) && t->refused < TRIES - 1) {
		t->refused++;
		return true;
	}
	if (t->retried == retries || (cc->head_seen && !cc->trailers_only))
		return false;
	t->retried++;
	r = pushback(cc, ret_ns);
	if (r == -ENOENT)
		*ret_ns = (ns < PAUSE_MAX_NS ? ns : PAUSE_MAX_NS) / 1000 * (800 + weir_random(400));
	return r != -ECANCELED && *ret_ns < weir_ctx_left(ctx);
}

int weir_grpc_unary(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method,
                    const weir_grpc_call_options *opt, const void *msg, size_t n, weir_grpc **ret,
                    const void **ret_msg, size_t *ret_len)
{
	unsigned retries = opt ? opt->retries : 0;
	struct tries t = { 0 };
	struct client_call *cc;
	weir_grpc *call;
	int64_t ns;
	int r;

	*ret = NULL;
	if (retries > RETRIES_MAX)
		return -EINVAL;
	for (;;) {
		r = weir_grpc_start(ctx, ch, method, opt, &call);
		if (r)
			return r;
		cc = (struct client_call *)call;
		cc->before = t.retried;
		r = once(ctx, call, msg, n, ret_msg, ret_len);
		if (r != WEIR_GRPC_UNAVAILABLE || !again(ctx, cc, retries, &t, &ns))
			break;
		weir_grpc_free(call);
		r = ns ? weir_sleep(ctx, ns) : 0;
		if (r < 0)
			return r;
	}
	if (r < 0)
		weir_grpc_free(call);
	else
		*ret = call;
	return r;
}
