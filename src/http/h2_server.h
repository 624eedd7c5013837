/* SPDX-License-Identifier: MIT */
/*
 * What the files of the HTTP server ask of its HTTP/2 side. Without nghttp2 these are in h2_none.c,
 * and only weir__h2_server_start() is ever called.
 */
#ifndef WEIR_HTTP_H2_SERVER_H
#define WEIR_HTTP_H2_SERVER_H

#include <weir/http.h>

struct weir__http_conn;
struct weir__h2_stream;

/* The connection's task has read the preface, among the n bytes: from now on it is in state H2, and
 * its end is this side's. -EPROTONOSUPPORT, -ENOMEM: it is not. */
int weir__h2_server_start(struct weir__http_conn *c, const void *bytes, size_t n);
void weir__h2_server_deadline(struct weir__http_conn *c, int64_t at_ns);
void weir__h2_server_kept(struct weir__http_conn *c); /* weir_http_conn_keep() has changed it */
void weir__h2_server_cancel(struct weir__http_conn *c);

/* The wire of an exchange. */
int weir__h2_push(const weir_ctx *ctx, weir_http *x, const void *data, size_t n, bool last);
void weir__h2_push_soon(weir_http *x);
int weir__h2_continue(weir_http *x);
ssize_t weir__h2_body(const weir_ctx *ctx, weir_http *x, void *buf, size_t n);

/* Of a stream that was handed over. */
ssize_t weir__h2_try_writev(struct weir__h2_stream *st, const struct iovec *iov, int n);
void weir__h2_watch(struct weir__h2_stream *st);
void weir__h2_unwatch(struct weir__h2_stream *st);
void weir__h2_server_end(struct weir__h2_stream *st, bool clean);

#endif
