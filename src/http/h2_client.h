/* SPDX-License-Identifier: MIT */
/*
 * The client's side of an HTTP/2 connection (RFC 9113): many streams, each used by a task, over one
 * byte stream.
 *
 *	r = weir__h2c_new(io, &opt, &c);                     io is taken over
 *	r = weir__h2c_open(c, fields, n, &s);
 *	r = weir__h2s_send(ctx, s, body, len, true);
 *	r = weir__h2s_head(ctx, s);
 *	while ((n = weir__h2s_read(ctx, s, buf, sizeof buf)) > 0)
 *	weir__h2s_close(s, WEIR__H2_CANCEL);                 whatever has become of it
 *	weir__h2c_close(c);
 *
 * A connection has no task: it is served by watches, timers and messages of its worker, and all of
 * this may be called by that worker's tasks only. Per stream one task may read and one may send.
 */
#ifndef WEIR_HTTP_H2_CLIENT_H
#define WEIR_HTTP_H2_CLIENT_H

#include <weir/net.h>

typedef struct weir__h2c weir__h2c;
typedef struct weir__h2s weir__h2s;

enum { WEIR__H2_NO_ERROR = 0, WEIR__H2_CANCEL = 8 };

struct weir__h2c_options {
	int64_t keepalive_ns; /* ping after so long without a byte; 0: never */
	int64_t keepalive_timeout_ns;
};

struct weir__h2_field {
	const char *name, *value; /* NUL-terminated; names in lower case */
	size_t name_len, value_len;
};

/* 0 or -ENOMEM; then `io` is still the caller's. On the worker of `io`. */
int weir__h2c_new(weir_conn *io, const struct weir__h2c_options *opt, weir__h2c **ret);
/* Says goodbye. Streams that are still open go on without their maker's interest in others. */
void weir__h2c_close(weir__h2c *c);
/* 0; -ESHUTDOWN: the server takes no new streams; or why it was lost. */
int weir__h2c_state(const weir__h2c *c);
/* Has the server said anything yet? A connection that is lost before was none. */
bool weir__h2c_settled(const weir__h2c *c);
/* Has the server ended it because it was asked too often whether it is there (gRPC's A8)? */
bool weir__h2c_too_many_pings(const weir__h2c *c);
const char *weir__h2c_peer(const weir__h2c *c);
/* The same of a stream's connection. */
int weir__h2s_state(const weir__h2s *s);
/* A second descriptor for the connection of a stream, as weir_http_client_dup(). */
int weir__h2s_dup(const weir__h2s *s);

/* 0, -ESHUTDOWN, -ENOMEM or why the connection was lost. The fields begin with the pseudo ones and
 * are copied. Leaves with the first bytes, or at the end of the turn. */
int weir__h2c_open(weir__h2c *c, const struct weir__h2_field *fields, size_t n, weir__h2s **ret);

/* Copies; waits while 64 KiB are unsent. 0, -EPIPE (the server takes no more: it has answered, or
 * reset), why the connection was lost, or the context's. */
int weir__h2s_send(const weir_ctx *ctx, weir__h2s *s, const struct iovec *iov, int n, bool end);

/* Waits for the head of the answer. 0, -ECONNRESET (weir__h2s_error()), -EBADMSG (its heads have
 * more than 64 KiB), why the connection was lost, or the context's. */
int weir__h2s_head(const weir_ctx *ctx, weir__h2s *s);

extern int weir__h2c_reads; /* in a row, before others have their turn; tests make it few */

/* > 0, 0 at the end (trailers have come, if any will), or as weir__h2s_head(). */
ssize_t weir__h2s_read(const weir_ctx *ctx, weir__h2s *s, void *buf, size_t n);

/* Of the head or the trailers; NULL if absent. They live as long as the stream. */
const struct weir__h2_field *weir__h2s_field(const weir__h2s *s, bool trailing, const char *name);

/* The code of a stream that was reset. */
uint32_t weir__h2s_error(const weir__h2s *s);
/* Tells the server that nobody waits any more, and wakes who does: -ECONNRESET. */
void weir__h2s_reset(weir__h2s *s, uint32_t code);
/* The server has not seen it: it may be sent again elsewhere. */
bool weir__h2s_refused(const weir__h2s *s);

/* Gives it back; one that has not ended is reset with `code`. No task may be in a call on it. */
void weir__h2s_close(weir__h2s *s, uint32_t code);

#endif
