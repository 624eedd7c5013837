/* SPDX-License-Identifier: MIT */
/*
 * gRPC: calls as tasks. A handler runs in a task of its own, receives and sends messages in
 * blocking style, and its context ends when the client leaves, when the call's deadline passes,
 * when the connection dies, or when the server is cancelled; weir_ctx_until_drain() adds drain.
 *
 *	static int echo(const weir_ctx *ctx, weir_grpc *call, void *arg)
 *	{
 *		const void *msg;
 *		size_t n;
 *		int r;
 *
 *		(void)arg;
 *		while ((r = weir_grpc_recv(ctx, call, &msg, &n)) > 0)
 *			if ((r = weir_grpc_send(ctx, call, msg, n)) < 0)
 *				break;
 *		return r;
 *	}
 *
 *	r = weir_grpc_method(server, "/demo.Echo/Echo", echo, NULL);
 *
 * The server is the HTTP server: gRPC shares its port with everything else. Messages of protobuf-c
 * are sent and received with weir/grpc_protobuf.h.
 *
 * A handler returns 0 (OK), a code ("end with that"; weir_grpc_fail() adds a message), or -errno:
 * -ETIMEDOUT DEADLINE_EXCEEDED, -ECANCELED CANCELLED, -ESHUTDOWN and -EAGAIN UNAVAILABLE, -EINVAL
 * INVALID_ARGUMENT, -ENOENT NOT_FOUND, -EEXIST ALREADY_EXISTS, -EACCES PERMISSION_DENIED, -EMSGSIZE
 * RESOURCE_EXHAUSTED, -ENOSYS UNIMPLEMENTED, -EBADMSG INTERNAL, else UNKNOWN. So a handler may
 * return what a client call returned.
 *
 * A call may be used by tasks of its own worker only (weir_group_go_on(g, weir_worker(), …)): one
 * that receives and one that sends at a time.
 */
#ifndef WEIR_GRPC_H
#define WEIR_GRPC_H

#include <weir/http.h>
#include <weir/tls.h>

WEIR_BEGIN

typedef struct weir_grpc weir_grpc; /* a call, seen from either end */
typedef int weir_grpc_fn(const weir_ctx *ctx, weir_grpc *call, void *arg);

enum weir_grpc_code {
	WEIR_GRPC_OK,
	WEIR_GRPC_CANCELLED,
	WEIR_GRPC_UNKNOWN,
	WEIR_GRPC_INVALID_ARGUMENT,
	WEIR_GRPC_DEADLINE_EXCEEDED,
	WEIR_GRPC_NOT_FOUND,
	WEIR_GRPC_ALREADY_EXISTS,
	WEIR_GRPC_PERMISSION_DENIED,
	WEIR_GRPC_RESOURCE_EXHAUSTED,
	WEIR_GRPC_FAILED_PRECONDITION,
	WEIR_GRPC_ABORTED,
	WEIR_GRPC_OUT_OF_RANGE,
	WEIR_GRPC_UNIMPLEMENTED,
	WEIR_GRPC_INTERNAL,
	WEIR_GRPC_UNAVAILABLE,
	WEIR_GRPC_DATA_LOSS,
	WEIR_GRPC_UNAUTHENTICATED,
};
/* "NOT_FOUND"; "UNKNOWN" for what is no code. */
WEIR_API const char *weir_grpc_code_name(int code);

/* ---- Serving. All of it before weir_http_serve(). ---- */

/* "/pkg.Service/Method". 0, -EEXIST, -EINVAL, -ENOMEM. */
WEIR_API int weir_grpc_method(weir_http_server *s, const char *method, weir_grpc_fn *fn, void *arg);

/* The longest message that is taken, before and after unpacking; 0: 4 MiB. */
WEIR_API int weir_grpc_recv_max(weir_http_server *s, size_t max);

/*
 * Interceptors wrap every handler (also of what is unknown), the first added outermost:
 *
 *	static int count(const weir_ctx *ctx, weir_grpc *call, void *arg)
 *	{
 *		int r = allowed(call) ? weir_grpc_proceed(ctx, call) : WEIR_GRPC_UNAUTHENTICATED;
 *		...
 *		return r;
 *	}
 *
 * At most 16 (-ENOSPC).
 */
WEIR_API int weir_grpc_intercept(weir_http_server *s, weir_grpc_fn *fn, void *arg);
WEIR_API int weir_grpc_proceed(const weir_ctx *ctx, weir_grpc *call);

/*
 * grpc.health.v1.Health: Check, Watch, List. The service "" is the whole server and serves from the
 * start. Once drain begins all say NOT_SERVING, for good. The handle lives as long as the server;
 * weir_grpc_health_set() from any task.
 */
typedef struct weir_grpc_health weir_grpc_health;
WEIR_API int weir_grpc_health_add(weir_http_server *s, weir_grpc_health **ret);
WEIR_API int weir_grpc_health_set(weir_grpc_health *h, const char *service, bool serving);

/* Server reflection (v1 and v1alpha) over a serialized FileDescriptorSet, as
 * `protoc --include_imports --descriptor_set_out` writes it. It is borrowed; may be called once
 * for each set. 0, -EBADMSG (not such a set), -ENOMEM. */
WEIR_API int weir_grpc_reflection_add(weir_http_server *s, const void *set, size_t n);

/* ---- A call, on either side. ---- */

/* The next message: 1, 0 when the other side has ended its sending (in a client: and the status is
 * known), -EMSGSIZE (longer than the limit), -EBADMSG, -EPIPE or -ECONNRESET (the other side is
 * gone), or the context's error. It lives until the next call of this function and may be written
 * to. Waits. */
WEIR_API int weir_grpc_recv(const weir_ctx *ctx, weir_grpc *call, const void **ret,
                            size_t *ret_len);

/* Copied; leaves with what else is sent in this turn of the worker. Waits for the other side's
 * window when 64 KiB are on their way. 0, -EPIPE (the call is over: a client finds its status), or
 * the context's error. */
WEIR_API int weir_grpc_send(const weir_ctx *ctx, weir_grpc *call, const void *msg, size_t n);

/* From now on messages are compressed by gzip, if the other side can read it, or not. To be called
 * before the first message by who ever wants it. */
WEIR_API void weir_grpc_compress(weir_grpc *call, bool on);
/* Was the last message that was received compressed? */
WEIR_API bool weir_grpc_was_compressed(const weir_grpc *call);

/*
 * Metadata. Names are lower case; those that end in "-bin" hold any bytes, the others printable
 * ASCII, of which spaces at the ends are left out. Initial metadata is set before the first
 * message, trailing metadata by servers until the handler returns. -EINVAL (no such name or value), -EALREADY (has left), -ENOSPC (more than
 * 32 KiB), -ENOMEM.
 */
WEIR_API int weir_grpc_set(weir_grpc *call, const char *name, const void *value, size_t n);
WEIR_API int weir_grpc_set_trailer(weir_grpc *call, const char *name, const void *value, size_t n);

/* What the other side sent: the first of this name, decoded and NUL-terminated, or NULL. It lives
 * as long as the call. In a client initial metadata is there after the first weir_grpc_recv(), or
 * weir_grpc_head(); trailing metadata once that gave 0. `ret_len` may be NULL. */
WEIR_API const char *weir_grpc_get(weir_grpc *call, const char *name, size_t *ret_len);
WEIR_API const char *weir_grpc_get_trailer(weir_grpc *call, const char *name, size_t *ret_len);

/* Memory that lives as long as the call; NULL without, or beyond four times the longest message. */
WEIR_API void *weir_grpc_alloc(weir_grpc *call, size_t n);
WEIR_API char *weir_grpc_printf(weir_grpc *call, const char *fmt, ...) WEIR_PRINTF(2, 3);

WEIR_API const char *weir_grpc_path(const weir_grpc *call); /* "/pkg.Service/Method" */
WEIR_API const char *weir_grpc_peer(const weir_grpc *call);

/* Servers: `return weir_grpc_fail(call, WEIR_GRPC_NOT_FOUND, "no %s", name)`. Returns the code. */
WEIR_API int weir_grpc_fail(weir_grpc *call, int code, const char *fmt, ...) WEIR_PRINTF(3, 4);
/* A serialized google.rpc.Status, to go with the status of the call. Copied. */
WEIR_API int weir_grpc_set_details(weir_grpc *call, const void *status, size_t n);
/* Servers: send the initial metadata now. */
WEIR_API int weir_grpc_send_head(const weir_ctx *ctx, weir_grpc *call);

/* ---- Calling. ---- */

/*
 * A channel reaches one server and may be used by all tasks: it holds a connection for each worker
 * that calls, made when needed. When one is lost or the server says goodbye (GOAWAY) the next call
 * makes another, with back-off after failures.
 */
typedef struct weir_grpc_channel weir_grpc_channel;

/* 0 or NULL: the default. */
typedef struct weir_grpc_channel_options {
	const char *authority;  /* of the target */
	weir_tls *tls;          /* for grpcs: a client's with ALPN "h2"; outlives the channel */
	size_t recv_max;        /* 4 MiB */
	int64_t backoff_ns;     /* 1 s after the first failure, then 1.6 times as long … */
	int64_t backoff_max_ns; /* … up to 120 s, each varied by a fifth */
	int64_t connect_ns;     /* 20 s */
	int64_t keepalive_ns; /* a ping after so long without a byte; default: never. A server that
	                           says too_many_pings is asked half as often from then on */
	int64_t keepalive_timeout_ns; /* 20 s for its answer */
} weir_grpc_channel_options;

/* "grpc://127.0.0.1:8080", "grpcs://…" (TLS: `opt->tls`), "unix:PATH", "mem:NAME". Never waits. 0,
 * -EINVAL, -ENOMEM. */
WEIR_API int weir_grpc_channel_new(const char *target, const weir_grpc_channel_options *opt,
                                   weir_grpc_channel **ret);
/* When no call is left. Closes the connections, on each worker; waits for that. NULL is fine. */
WEIR_API void weir_grpc_channel_free(weir_grpc_channel *ch);

/* Before a call leaves: it may set metadata; a result other than 0 ends the call with it. At most
 * 16; before the first call. */
WEIR_API int weir_grpc_channel_intercept(weir_grpc_channel *ch, weir_grpc_fn *fn, void *arg);

typedef struct weir_grpc_call_options {
	bool wait_for_ready; /* wait for a connection instead of failing with the last error */
	/*
	 * weir_grpc_unary(): so often, at most 10 times, a call that ended with UNAVAILABLE before
	 * any head came is made again, if it does no harm when the server did see the first: after
	 * 0.2 s, then twice as long each time up to 5 s, varied by a fifth, or when the server says
	 * (grpc-retry-pushback-ms); never beyond the deadline.
	 */
	unsigned retries;
	/* "name: value" lines of metadata, NULL at the end; or NULL */
	const char *const *metadata;
} weir_grpc_call_options;

/*
 * Begin a call. Its deadline is the context's and travels with it. `opt` may be NULL. 0 and a call
 * that has to be freed, -EINVAL, -ENOMEM, or what an
 * interceptor said. Never waits: the first message, or the first wait for one, finds a connection;
 * if there is none, the call is over and its status says UNAVAILABLE.
 */
WEIR_API int weir_grpc_start(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method,
                             const weir_grpc_call_options *opt, weir_grpc **ret);

/* No more messages will be sent. 0 or as weir_grpc_send(). */
WEIR_API int weir_grpc_end_send(const weir_ctx *ctx, weir_grpc *call);

/* Waits for the initial metadata. 0 (also when the call has ended without), or as
 * weir_grpc_recv(). */
WEIR_API int weir_grpc_head(const weir_ctx *ctx, weir_grpc *call);

/* Ends the sending, discards what still comes and waits for the status: 0 or a code, or the
 * context's error (the call is then cancelled). */
WEIR_API int weir_grpc_finish(const weir_ctx *ctx, weir_grpc *call);

/* Tell the server that nobody waits any more. The status is CANCELLED unless it is known. */
WEIR_API void weir_grpc_cancel(weir_grpc *call);

/* The code, -1 while it is not known; its message ("" without); its details. */
WEIR_API int weir_grpc_status(const weir_grpc *call);
WEIR_API const char *weir_grpc_message(const weir_grpc *call);
WEIR_API const void *weir_grpc_details(weir_grpc *call, size_t *ret_len);

/* Clients: a second descriptor for the connection of a call that has begun, for
 * weir_process_spec.hold_fd; the caller closes it. -ENOTCONN, -EOPNOTSUPP for mem:, -EMFILE. */
WEIR_API int weir_grpc_dup(const weir_grpc *call);

/* Clients: gives it back, cancelled if it has not ended. NULL is fine. */
WEIR_API void weir_grpc_free(weir_grpc *call);

/*
 * A call with one message each way: 0, or the code that the server gave, and the call, which has to
 * be freed; on 0 its answer is *ret_msg and lives as long as it. Or as weir_grpc_start(), with *ret
 * NULL. Repeated by itself when the server refused it unseen, and by `opt->retries`. Waits.
 */
WEIR_API int weir_grpc_unary(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method,
                             const weir_grpc_call_options *opt, const void *msg, size_t n,
                             weir_grpc **ret, const void **ret_msg, size_t *ret_len);

WEIR_END
#endif
