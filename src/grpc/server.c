/* SPDX-License-Identifier: MIT */
/*
 * gRPC over the HTTP server: a method is a route, a call an exchange, its messages the two bodies
 * and its status a field behind the answer's.
 *
 * So a call's context is its exchange's: it ends when the client resets the stream or its
 * connection dies, hears the server's drain and cancel, and the deadline that the client sent is
 * put on top. The limits of HTTP on handlers and progress are lifted, since calls live as long as
 * their deadline says; a client that vanished is found by the connection's keepalive.
 *
 * A call that ends without a message and without a head sent is answered by one HEADERS frame that
 * holds everything ("trailers-only"). So is what HTTP refuses before there is a call (a filter's
 * 401, a limit's 503): many clients tell their users nothing of an HTTP status but UNKNOWN.
 */
#include "grpc/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"

enum { CALLS_MAX = 1000000, MESSAGE_MAX = 4096 };

struct weir__grpc_method {
	struct weir__grpc_method *next;
	struct weir__grpc_server *server;
	weir_grpc_fn *fn;
	void *arg;
};

struct server_call {
	weir_grpc call; /* first */
	weir_http *x;
};

/* ---- the transport of a call ---- */

weir_http *weir__grpc_exchange(weir_grpc *call)
{
	return ((struct server_call *)call)->x;
}

static ssize_t server_read(const weir_ctx *ctx, weir_grpc *call, void *buf, size_t n)
{
	return weir_http_read(ctx, weir__grpc_exchange(call), buf, n);
}

static int set_head(weir_grpc *call)
{
	weir_http *x = weir__grpc_exchange(call);
	int r;

	r = weir__http_fixed(x, false, "content-type", "application/grpc");
	if (r == 0)
		r = weir__http_fixed(x, false, "grpc-accept-encoding", "gzip");
	if (r == 0 && call->announce && call->out_gzip)
		r = weir_http_set(x, "grpc-encoding", "gzip");
	for (struct weir__grpc_field *f = call->initial.first; r == 0 && f; f = f->next)
		r = weir_http_add(x, f->name, f->value);
	call->head_sent = true;
	return r;
}

static int server_write(const weir_ctx *ctx, weir_grpc *call, const struct iovec *iov, int n)
{
	int r = call->head_sent ? 0 : set_head(call);

	for (int i = 0; r == 0 && i < n; i++)
		r = weir_http_write(ctx, weir__grpc_exchange(call), iov[i].iov_base,
		                    iov[i].iov_len);
	return r < 0 ? r : weir__http_flush_soon(ctx, weir__grpc_exchange(call));
}

static const char *server_field(weir_grpc *call, bool trailing, const char *name, size_t *ret_len)
{
	const char *value = trailing ? NULL : weir_http_header(weir__grpc_exchange(call), name);

	if (value)
		*ret_len = strlen(value);
	return value;
}

static int server_ended(const weir_ctx *ctx, weir_grpc *call, int error)
{
	(void)ctx;
	(void)call;
	return error;
}

static int server_charge(weir_grpc *call, size_t bytes)
{
	return weir__http_charge(weir__grpc_exchange(call), bytes);
}

static const struct weir__grpc_io server_io = { server_read, server_write, server_field,
	                                        server_ended, server_charge };

int weir_grpc_send_head(const weir_ctx *ctx, weir_grpc *call)
{
	int r;

	weir__grpc_live(call, __func__);
	if (call->head_sent)
		return 0;
	r = set_head(call);
	return r < 0 ? r : weir_http_flush(ctx, weir__grpc_exchange(call));
}

/* ---- the status ---- */

static int put(weir_http *x, bool trailing, const char *name, const char *value)
{
	return trailing ? weir__http_trailer(x, name, value) : weir_http_add(x, name, value);
}

static int put_message(weir_http *x, bool trailing, const char *message)
{
	struct weir__buf text = WEIR__BUF_INIT;
	int r = 0;

	weir__grpc_percent_encode(&text, message, strnlen(message, MESSAGE_MAX));
	if (text.data && !text.failed)
		r = put(x, trailing, "grpc-message", text.data);
	weir__buf_free(&text);
	return r;
}

static int put_status(weir_http *x, bool trailing, int code, const char *message)
{
	static const char digits[][3] = { "0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
		                          "9", "10", "11", "12", "13", "14", "15", "16" };
	int r;

	if (!trailing)
		weir__http_unsized(x);
	r = weir__http_fixed(x, trailing, "grpc-status", digits[code]);
	return r == 0 && *message ? put_message(x, trailing, message) : r;
}

/* What a handler's result means to the client. */
static int code_of(const weir_ctx *ctx, weir_grpc *call, int r)
{
	int code = weir__grpc_code_of(r), cause;
	const char *why;

	if (r >= 0 || *call->message)
		return code;
	call->message = strerror(-r);
	cause = weir_ctx_cause(ctx, &why);
	if (r == -ECANCELED && cause && cause != -EPIPE && cause != -ECONNRESET) {
		call->message = "the server is stopping";
		return WEIR_GRPC_UNAVAILABLE;
	}
	if (r == -ESHUTDOWN)
		call->message = "the server is stopping";
	else if (r == -ETIMEDOUT)
		call->message = "the deadline has passed";
	else if (code == WEIR_GRPC_UNKNOWN)
		weir__log_rare(WEIR__ERROR, "grpc", "%s failed: %s", call->path, strerror(-r));
	return code;
}

static int finish(const weir_ctx *ctx, weir_grpc *call, int result)
{
	weir_http *x = weir__grpc_exchange(call);
	bool trailing = call->head_sent;
	int r = 0, code = code_of(ctx, call, result);

	if (!trailing)
		r = set_head(call);
	if (r == 0)
		r = put_status(x, trailing, code, call->message);
	for (struct weir__grpc_field *f = call->trailing.first; r == 0 && f; f = f->next)
		r = put(x, trailing, f->name, f->value);
	return r;
}

/* ---- what HTTP refuses ---- */

static int code_of_refusal(int status)
{
	switch (status) {
	case 413:
	case 429:
	case 431:
		return WEIR_GRPC_RESOURCE_EXHAUSTED;
	case 500:
		return WEIR_GRPC_INTERNAL;
	case 501:
		return WEIR_GRPC_UNIMPLEMENTED;
	default:
		return weir__grpc_code_of_http(status);
	}
}

static bool refusal(weir_http *x, const char *detail)
{
	int status = x->status;

	if (!weir__grpc_type_ok(weir_http_header(x, "content-type")) ||
	    weir_http_status(x, 200) < 0)
		return false;
	if (weir_http_set(x, "content-type", "application/grpc") == 0 &&
	    put_status(x, false, code_of_refusal(status),
	               detail ? detail : weir_http_reason(status)) == 0)
		return true;
	x->status = status;
	return false;
}

/* ---- a call ---- */

static bool is_list_with(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (*list) {
		list += strspn(list, ", ");
		if (!strncmp(list, word, n) && (!list[n] || strchr(", ;", list[n])))
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

/* What the client's head says beyond the method. 0 or the code with which the call ends. */
static int read_head(weir_grpc *call, weir_ctx *ctx)
{
	weir_http *x = weir__grpc_exchange(call);
	const char *timeout = weir_http_header(x, "grpc-timeout"),
		   *coding = weir_http_header(x, "grpc-encoding"),
		   *accepts = weir_http_header(x, "grpc-accept-encoding");
	int64_t ns;

	call->out_gzip = accepts && is_list_with(accepts, "gzip");
	call->in_gzip = coding && !strcmp(coding, "gzip");
	if (coding && !call->in_gzip && strcmp(coding, "identity") != 0)
		return weir_grpc_fail(call, WEIR_GRPC_UNIMPLEMENTED,
		                      "grpc-encoding %s is not known", coding);
	if (!timeout)
		return 0;
	if (weir__grpc_timeout_parse(timeout, &ns) < 0)
		return weir_grpc_fail(call, WEIR_GRPC_INTERNAL, "grpc-timeout %s is malformed",
		                      timeout);
	*ctx = weir_ctx_timeout(ctx, ns);
	return 0;
}

static int run(const weir_ctx *ctx, weir_http *x, struct weir__grpc_server *server,
               weir_grpc_fn *fn, void *arg)
{
	struct server_call sc;
	weir_ctx soon = *ctx;
	int r;

	if (!weir__http_is_h2(x))
		return weir_http_problem(ctx, x, 505, "gRPC needs HTTP/2.");
	weir__http_count_pings(x);
	weir__grpc_init(&sc.call, &server_io, weir_http_url_path(x), server->recv_max);
	sc.x = x;
	sc.call.peer = weir_http_peer(x);
	sc.call.interceptors = &server->interceptors;
	sc.call.handler = fn;
	sc.call.handler_arg = arg;
	r = read_head(&sc.call, &soon);
	if (r == 0)
		r = weir_grpc_proceed(&soon, &sc.call);
	r = finish(&soon, &sc.call, r);
	weir__grpc_fini(&sc.call);
	return r;
}

static int serve(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct weir__grpc_method *m = arg;

	if (!weir__grpc_type_ok(weir_http_header(x, "content-type")))
		return 415;
	return run(ctx, x, m->server, m->fn, m->arg);
}

static int unknown(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	(void)ctx;
	(void)arg;
	return weir_grpc_fail(call, WEIR_GRPC_UNIMPLEMENTED, "%s is not known here", call->path);
}

static int unrouted(const weir_ctx *ctx, weir_http *x, void *arg, bool *ret_done)
{
	if (strcmp(weir_http_method(x), "POST") != 0 || !weir__http_is_h2(x) ||
	    !weir__grpc_type_ok(weir_http_header(x, "content-type")))
		return 0;
	*ret_done = true;
	return run(ctx, x, arg, unknown, NULL);
}

/* ---- before serving ---- */

static void server_free(struct weir__http_guest *guest)
{
	struct weir__grpc_server *g = (struct weir__grpc_server *)guest;
	struct weir__grpc_method *m;

	while ((m = g->methods)) {
		g->methods = m->next;
		free(m);
	}
	weir__grpc_health_free(g->health);
	weir__grpc_reflection_free(g->reflection);
	free(g);
}

struct weir__grpc_server *weir__grpc_server(weir_http_server *s)
{
	struct weir__grpc_server *g = (struct weir__grpc_server *)s->guest;

	if (g)
		return g;
	g = calloc(1, sizeof *g);
	if (!g)
		return NULL;
	g->guest.free = server_free;
	g->guest.refusal = refusal;
	g->recv_max = WEIR__GRPC_RECV_MAX;
	s->guest = &g->guest;
	weir__http_unrouted(s, unrouted, g);
	return g;
}

int weir_grpc_method(weir_http_server *s, const char *method, weir_grpc_fn *fn, void *arg)
{
	static const weir_http_limits lifted = {
		.read_ns = WEIR_NEVER,
		.write_ns = WEIR_NEVER,
		.handler_ns = WEIR_NEVER,
		.body_max = SIZE_MAX,
		.requests_max = CALLS_MAX,
	};
	struct weir__grpc_server *g = weir__grpc_server(s);
	const char *second = method[0] == '/' ? strchr(method + 1, '/') : NULL;
	struct weir__grpc_method *m;
	char pattern[256];
	int n, r;

	if (!second || second == method + 1 || !second[1] || strchr(second + 1, '/') ||
	    strpbrk(method, "{} "))
		return -EINVAL;
	n = snprintf(pattern, sizeof pattern, "POST %s", method);
	if (n < 0 || (size_t)n >= sizeof pattern)
		return -EINVAL;
	m = malloc(sizeof *m);
	if (!g || !m) {
		free(m);
		return -ENOMEM;
	}
	*m = (struct weir__grpc_method){ .next = g->methods, .server = g, .fn = fn, .arg = arg };
	r = weir_http_route(s, pattern, serve, m, &lifted);
	if (r < 0) {
		free(m);
		return r;
	}
	g->methods = m;
	return 0;
}

int weir_grpc_recv_max(weir_http_server *s, size_t max)
{
	struct weir__grpc_server *g = weir__grpc_server(s);

	if (!g)
		return -ENOMEM;
	g->recv_max = weir__grpc_recv_max(max);
	return 0;
}

int weir_grpc_intercept(weir_http_server *s, weir_grpc_fn *fn, void *arg)
{
	struct weir__grpc_server *g = weir__grpc_server(s);
	struct weir__grpc_interceptors *in;

	if (!g)
		return -ENOMEM;
	in = &g->interceptors;
	if (in->n == WEIR__GRPC_INTERCEPTORS)
		return -ENOSPC;
	in->v[in->n].fn = fn;
	in->v[in->n++].arg = arg;
	return 0;
}
