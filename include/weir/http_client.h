/* SPDX-License-Identifier: MIT */
/*
 * HTTP client: one request at a time, over a connection that is kept open between them.
 *
 *	weir_http_client *c;
 *	r = weir_http_client_new("http://127.0.0.1:8080", &c);
 *	r = weir_http_client_do(ctx, c, &(weir_http_req){ .method = "GET", .target = "/healthz" }, &res);
 *	r = weir_http_client_read_all(ctx, c, buf, sizeof buf);
 *
 * Not for several tasks at once. A base URL is http://host:port, https://host, http://[::1]:port or
 * unix:PATH or mem:NAME, all in HTTP/1.1; or http2://host:port (also http2://unix:PATH and
 * http2://mem:NAME; HTTP/2 without being asked whether) or https2://host (agreed on with ALPN, else
 * -EPROTONOSUPPORT). In HTTP/2 clients that share are many requests at a time on one connection per
 * worker.
 */
#ifndef WEIR_HTTP_CLIENT_H
#define WEIR_HTTP_CLIENT_H

#include <weir/http.h>

WEIR_BEGIN

typedef struct weir_http_client weir_http_client;

typedef struct weir_http_req {
	const char *method, *target;
	const char *const *headers; /* "name: value" lines, NULL at the end; or NULL */
	const void *body;
	size_t body_len;
} weir_http_req;

typedef struct weir_http_res {
	int status;
	bool keep;      /* the connection can be used again once the body is read */
	int64_t length; /* -1: unknown */
} weir_http_res;

/* 0, -ENOMEM, -EINVAL (not such a URL). https trusts the system's authorities. */
WEIR_API int weir_http_client_new(const char *base, weir_http_client **ret);

/* Another client of the same server, for another task: in HTTP/2 both use the same connections,
 * which end with the last of them. Of one worker at a time each, from its request to the end of its
 * answer. 0, -ENOMEM, -EINVAL for a client of HTTP/1.1. */
WEIR_API int weir_http_client_share(const weir_http_client *c, weir_http_client **ret);

/* Trust and certificates for https from the next connection on; borrowed, for a client. */
WEIR_API void weir_http_client_tls(weir_http_client *c, weir_tls *t);
WEIR_API void weir_http_client_free(weir_http_client *c);

/* Connects if needed, sends, and waits for the head of the answer. A kept connection that the
 * server closed before the first byte of an answer is replaced once, for methods that may be
 * repeated (GET, HEAD, PUT, DELETE). An unread body of the last answer is discarded with its
 * connection. 0, an error of weir_dial() or weir_tls_connect(), -EOPNOTSUPP (https, but built
 * without TLS), -EBADMSG, -ECONNRESET, or the
 * context's. */
WEIR_API int weir_http_client_do(const weir_ctx *ctx, weir_http_client *c, const weir_http_req *req,
                                 weir_http_res *ret);

/* A second descriptor for the connection of the last answer, for weir_process_spec.hold_fd; the
 * caller closes it. -ENOTCONN, -EOPNOTSUPP for mem:, -EMFILE. */
WEIR_API int weir_http_client_dup(weir_http_client *c);

/* A header of the last answer, until the next request; NULL if absent. */
WEIR_API const char *weir_http_client_header(const weir_http_client *c, const char *name);

/* Body bytes; 0 at its end. */
WEIR_API ssize_t weir_http_client_read(const weir_ctx *ctx, weir_http_client *c, void *buf,
                                       size_t n);

/* The whole body, NUL-terminated: its length, or -EMSGSIZE when cap is too small. */
WEIR_API ssize_t weir_http_client_read_all(const weir_ctx *ctx, weir_http_client *c, char *buf,
                                           size_t cap);

/* One Server-Sent Event of a text/event-stream answer (WHATWG): 1, 0 at the end. Strings live until
 * the next call. Comments are passed over. */
typedef struct weir_sse_event {
	const char *id, *event, *data;
	size_t len;
	int64_t retry_ns;
} weir_sse_event;
WEIR_API int weir_http_client_event(const weir_ctx *ctx, weir_http_client *c, weir_sse_event *ret);

WEIR_END
#endif
