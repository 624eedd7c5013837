/* SPDX-License-Identifier: MIT */
/*
 * HTTP server: a handler is written top to bottom, in blocking style, and runs in a task of its
 * own.
 *
 *	static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
 *	{
 *		(void)arg;
 *		return weir_http_printf(ctx, x, "hello, %s\n", weir_http_path(x, "name"));
 *	}
 *
 *	weir_http_server *s = weir_http_server_new(NULL);
 *	r = weir_http_route(s, "GET /hello/{name}", hello, NULL, NULL);
 *	r = weir_http_serve(ctx, s, listener);
 *
 * A handler returns 0 (answered; with nothing written an empty 200), a status from 200 to 599
 * ("answer that"), or -errno: -ETIMEDOUT 504, -ECANCELED no answer and the connection closes,
 * -EAGAIN and -ESHUTDOWN 503 with Retry-After, -EMSGSIZE 413, -EINVAL 400, -ENOENT 404, -EACCES
 * 403, else 500 and a line in the log; what it had set of the answer that failed (its coding, its
 * ETag, how long it may be kept) is not said with the error. Its context ends when the client
 * leaves, when its limit passes, or when the server stops. At its limit (limits.handler_ns) the
 * server itself writes the 503, even if the handler never returns; the handler's context ends with
 * cause -ETIMEDOUT, and later writes return -ETIMEDOUT. Once the first byte of an answer is written
 * the limit is off and only progress counts. Using an exchange after its handler returned aborts,
 * naming the route.
 */
#ifndef WEIR_HTTP_H
#define WEIR_HTTP_H

#include <weir/tls.h>
#include <weir/group.h>

WEIR_BEGIN

typedef struct weir_http weir_http; /* an exchange: one request and its answer */
typedef struct weir_http_server weir_http_server;
typedef int weir_http_fn(const weir_ctx *ctx, weir_http *x, void *arg);

/* 0 means: the default, or for a route, the server's. WEIR_NEVER and SIZE_MAX lift a limit. */
typedef struct weir_http_limits {
	int64_t header_ns;     /* 10 s: the whole request head has to arrive */
	int64_t idle_ns;       /* 75 s: between requests */
	int64_t read_ns;       /* 10 s: progress, some bytes of a body have to arrive */
	int64_t write_ns;      /* 10 s: progress, some bytes of an answer have to leave */
	int64_t handler_ns;    /* 30 s: until the first byte of the answer */
	size_t header_max;     /* 32 KiB */
	unsigned fields_max;   /* 100 */
	size_t body_max;       /* 1 MiB */
	unsigned requests_max; /* at a time, per route; beyond: 503. Default 10000 */
	/* connections of the server; beyond it the listener waits. Default 100000 */
	unsigned conns_max;
	/* Of the server: bytes of bodies and of gRPC's messages that wait in memory to be whole,
	 * all requests together, but for the first 16 KiB of each; beyond: 503. Default 256 MiB. */
	size_t bodies_max;
	/* Of an HTTP/2 connection: streams at a time (100); how long it may live before it is told
	 * to go, give or take a tenth (WEIR_NEVER); how long a client with open streams may be
	 * silent before it is asked whether it is still there (60 s; it has 20 s to say so). */
	unsigned streams_max;
	int64_t age_ns, keepalive_ns;
} weir_http_limits;

/* NULL without memory. `limits` may be NULL and is copied. */
WEIR_API weir_http_server *weir_http_server_new(const weir_http_limits *limits);

/* When no weir_http_serve() runs any more. NULL is fine. */
WEIR_API void weir_http_server_free(weir_http_server *s);

/*
 * Routes as in Go 1.22: "GET /users/{id}", "/files/{path...}", "/{$}". No method: any. GET serves
 * HEAD too. The most specific pattern wins. -EEXIST on a conflict (logged with both patterns),
 * -EINVAL for a bad pattern. Unknown path: 404; known path, other method: 405 with Allow. A
 * trailing ":verb" in the last segment is matched literally: "POST
 * /v1/queues/{queue}/jobs:batch". `limits` may be NULL. Before serving.
 */
WEIR_API int weir_http_route(weir_http_server *s, const char *pattern, weir_http_fn *fn, void *arg,
                             const weir_http_limits *limits);

/*
 * A filter runs before every handler (also before 404): 0 goes on; anything else is taken as a
 * handler's result. At most one. For access checks.
 */
WEIR_API void weir_http_filter(weir_http_server *s, weir_http_fn *fn, void *arg);

/*
 * Accept and serve until the listener is closed or the context drains or is cancelled, then end
 * all its connections: on drain what is accepted is served ("Connection: close"), idle
 * connections are half-closed and lingered so that a request already on its way is served,
 * streams hear drain; on cancel all stop. Returns when every connection has ended: 0, or an error
 * of the listener. Several calls may share a server. Borrowed: the listener.
 */
WEIR_API int weir_http_serve(const weir_ctx *ctx, weir_http_server *s, weir_listener *l);

/* The same over TLS: each connection begins with a handshake, in its own task. Borrowed: t, which
 * is a server's. */
WEIR_API int weir_http_serve_tls(const weir_ctx *ctx, weir_http_server *s, weir_listener *l,
                                 weir_tls *t);

/* What the server speaks, for weir_tls_options.alpn. */
WEIR_API const char *const *weir_http_protocols(void);

/* From now on every answer says "Connection: close", while new connections are still served:
 * before a drain, so that clients go elsewhere by themselves. Any thread. */
WEIR_API void weir_http_server_goodbye(weir_http_server *s);

typedef struct weir_http_stats {
	uint64_t requests, conns_total, conns, idle, status[6]; /* status[2] counts 2xx */
	uint64_t active; /* requests, and streams that were handed over */
	uint64_t bytes_in, bytes_out, refused, timeouts, client_gone;
	uint64_t finished_in_drain, cut; /* of the stop */
} weir_http_stats;
WEIR_API void weir_http_server_stats(const weir_http_server *s, weir_http_stats *ret);

/* Every exchange that runs now: for the report of a hard stop. Any thread; strings live during
 * the call. */
typedef struct weir_http_info {
	const char *route, *peer;
	/* its task's id (weir_task_info.id), 0 for a stream that was handed over */
	uint64_t task;
	int64_t since_ns;
} weir_http_info;
WEIR_API void weir_http_each(weir_http_server *s, void (*fn)(const weir_http_info *, void *),
                             void *arg);

/* ---- The request. Strings belong to the exchange and live until its handler returns. ---- */
WEIR_API const char *weir_http_method(const weir_http *x);
WEIR_API const char *weir_http_target(const weir_http *x); /* as sent: "/a%20b?q=1" */
/* decoded and normal, without query: "/a b" */
WEIR_API const char *weir_http_url_path(const weir_http *x);
WEIR_API const char *weir_http_peer(const weir_http *x);
WEIR_API const char *weir_http_pattern(const weir_http *x); /* the route's, or NULL */
/* What was agreed on with the client; -ENOTCONN for a connection without TLS. */
WEIR_API int weir_http_tls_info(const weir_http *x, weir_tls_info *ret);
/* NULL if absent; the first */
WEIR_API const char *weir_http_header(const weir_http *x, const char *name);

/* A {name} of the route, decoded; a wrong name aborts. A {name...} has no dot segments, but begins
 * with a slash where the client wrote "//" or "%2F": who opens a file by it has to refuse that. As
 * a number: 0 or -EINVAL. */
WEIR_API const char *weir_http_path(weir_http *x, const char *name);
WEIR_API int weir_http_path_u64(weir_http *x, const char *name, uint64_t *ret);

/* A query parameter, decoded; NULL if absent, or without memory. */
WEIR_API const char *weir_http_query(weir_http *x, const char *name);
/* The names of the query, decoded, one by one as they were sent, for who refuses those it does not
 * know: *at is 0 first. "" for one that is none; NULL after the last, or without memory. */
WEIR_API const char *weir_http_query_name(weir_http *x, size_t *at);

/* Memory that lives as long as the exchange; NULL without. Bounded by 1 MiB + body_max. */
WEIR_API void *weir_http_alloc(weir_http *x, size_t n);
/* Was there once no memory for it? Then a parameter that seems absent may be there. */
WEIR_API bool weir_http_starved(const weir_http *x);

/* Body bytes: > 0, 0 at the end, -EMSGSIZE beyond body_max, -ETIMEDOUT without progress, or the
 * context's error. Sends "100 Continue" first when the client waits for it. Waits. */
WEIR_API ssize_t weir_http_read(const weir_ctx *ctx, weir_http *x, void *buf, size_t n);

/* The whole body into buf: its length, or -EMSGSIZE if it is longer than cap (or body_max).
 * Waits. */
WEIR_API ssize_t weir_http_read_all(const weir_ctx *ctx, weir_http *x, void *buf, size_t cap);

/* The whole body in the exchange's memory, NUL-terminated; once. 0, as weir_http_read(), or
 * -ENOBUFS beyond the server's bodies_max (503 if it is returned). Waits. */
WEIR_API int weir_http_body(const weir_ctx *ctx, weir_http *x, char **ret, size_t *ret_len);

/* ---- The answer. ---- */
/* Default 200; -EINVAL below 200. Before the first byte; after it these return -EALREADY. */
WEIR_API int weir_http_status(weir_http *x, int status);
/* Replace or add a header field. -EINVAL for bytes that a field cannot hold. Content-Length,
 * Connection, Date and Transfer-Encoding are the server's; setting content-length is allowed
 * (-EINVAL if more was written already) and then checked. */
WEIR_API int weir_http_set(weir_http *x, const char *name, const char *value);
WEIR_API int weir_http_add(weir_http *x, const char *name, const char *value);

/* Part of the body. Small answers are collected and leave with a Content-Length when the handler
 * returns; beyond 16 KiB, or after weir_http_flush(), chunked. HEAD discards. Waits. */
WEIR_API int weir_http_write(const weir_ctx *ctx, weir_http *x, const void *data, size_t n);
WEIR_API int weir_http_printf(const weir_ctx *ctx, weir_http *x, const char *fmt, ...)
	WEIR_PRINTF(3, 4);
WEIR_API int weir_http_flush(const weir_ctx *ctx, weir_http *x);

/* Status, type and body at once. */
WEIR_API int weir_http_reply(const weir_ctx *ctx, weir_http *x, int status, const char *type,
                             const void *data, size_t n);

/* RFC 9457 problem details: {"type":"about:blank","title":…,"status":…,"detail":…}. */
WEIR_API int weir_http_problem(const weir_ctx *ctx, weir_http *x, int status, const char *fmt, ...)
	WEIR_PRINTF(4, 5);

/* Has the first byte of the answer been claimed? */
WEIR_API bool weir_http_started(const weir_http *x);

/* The connection's scope: it ends when the client's connection has gone, later than the
 * exchange's. To be used only to add hooks to, from the handler's task. */
WEIR_API weir_scope *weir_http_conn_scope(weir_http *x);

/*
 * Keep the connection although it is idle, and through a drain: for what lives as long as it
 * does, such as a lease. While kept it has no idle limit, drain leaves it open and its answers
 * announce no close; cancel ends it as any other. Given up, it ends as it would have: soon, when
 * drain has begun. From the handler's task and from hooks on the connection's scope.
 */
typedef struct weir__http_conn weir_http_conn;
WEIR_API weir_http_conn *weir_http_connection(weir_http *x);
WEIR_API void weir_http_conn_keep(weir_http_conn *c, bool keep);

/* Serve static files from memory (used by the dashboard). `path` starts with '/'; type by its
 * suffix; with ETag and 304. Data is borrowed. Before serving. */
WEIR_API int weir_http_static(weir_http_server *s, const char *path, const void *data, size_t n,
                              const char *csp);

/* Standard reason phrase of a status; "Unknown" for others. */
WEIR_API const char *weir_http_reason(int status);

WEIR_END
#endif
