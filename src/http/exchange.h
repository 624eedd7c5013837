/* SPDX-License-Identifier: MIT */
/*
 * Streams: an exchange that was handed over. Its handler has returned, its task is gone; what lives
 * on is the small record of its HTTP/1.1 connection or HTTP/2 stream, served by callbacks on its
 * worker. For hubs:
 *
 *	r = weir_http_flush(ctx, x);                        the head leaves; may wait
 *	r = weir__http_detach(x, stopped, me, &stream);     the handler's last act; never waits
 *	return r;                                           0: the stream is ours until weir__stream_end()
 *
 * Everything below happens on the stream's worker, where its handler ran: between tasks, in
 * messages, watches and timers, none of which may wait. Bytes go out with
 * weir__stream_try_writev(), each event framed as one chunk if weir__stream_chunked(); on -EAGAIN
 * weir__stream_watch(). Reading and the peer's leaving stay the server's.
 */
#ifndef WEIR_HTTP_EXCHANGE_H
#define WEIR_HTTP_EXCHANGE_H

#include <weir/http.h>

#include "net/conn.h"

typedef struct weir__http_stream weir__stream;

/*
 * Told on the stream's worker: why is -ESHUTDOWN when drain begins (say goodbye, then end it), or
 * -EPIPE (the client left) or -ECANCELED (end it now, nothing can be said). Drain at most once, and
 * of the others one, last; none after weir__stream_end(). It may call weir__stream_end() itself.
 */
typedef void weir__stream_fn(weir__stream *s, int why, void *arg);

/* A handler's last act after weir_http_flush(). 0: the caller owns the stream and `stop` will be
 * called as above, never from inside this call. -EPIPE: the client has left; -EINVAL: nothing was
 * flushed, or the answer has a length. Then nothing happened. */
int weir__http_detach(weir_http *x, weir__stream_fn *stop, void *arg, weir__stream **ret);

/* Never waits: how many bytes have left (for HTTP/2: are framed and leave next), or -EAGAIN, or the
 * connection's error. */
ssize_t weir__stream_try_writev(weir__stream *s, const struct iovec *iov, int n);

/* After -EAGAIN: call fn once, as a message of its own, when bytes may leave again. 0 or an error
 * of epoll_ctl. unwatch: fn will not be called. */
typedef void weir__stream_ready_fn(weir__stream *s, void *arg);
int weir__stream_watch(weir__stream *s, weir__stream_ready_fn *fn, void *arg);
void weir__stream_unwatch(weir__stream *s);

/* Is each event to be framed as a chunk? Not in HTTP/2, nor where the end of the connection ends
 * the stream. */
bool weir__stream_chunked(const weir__stream *s);

/*
 * Gives the stream back, once, on its worker; no watch of the owner may be left. clean: every frame
 * was written whole; the last chunk or END_STREAM follows and the connection serves on or lingers.
 * Otherwise it is cut.
 */
void weir__stream_end(weir__stream *s, bool clean);

/* ---- For src/grpc: what only HTTP/2 has ---- */

bool weir__http_is_h2(const weir_http *x);

/* The fields of the request, in order, without pseudo-fields. False past the end. */
bool weir__http_field(const weir_http *x, size_t i, const char **ret_name, const char **ret_value,
                      size_t *ret_value_len);

/* A field behind the body, sent with its end when the handler returns; no content-length is sent
 * then. In HTTP/1.1 dropped. 0, -EINVAL, -ENOMEM, -EALREADY after the end. */
int weir__http_trailer(weir_http *x, const char *name, const char *value);

/* A field of the answer, or one behind its body, of HTTP/2: both texts are constants of the program
 * that are valid and in lower case, so they are neither looked at nor copied. As
 * weir_http_set(). */
int weir__http_fixed(weir_http *x, bool trailer, const char *name, const char *value);

/* As weir_http_flush(), but in HTTP/2 what was written leaves when the handler waits or returns:
 * then it goes with what else there is by then. So an error may be told by a later call. On the
 * stream's own worker only, as gRPC's calls are: its messages read what is collected. */
int weir__http_flush_soon(const weir_ctx *ctx, weir_http *x);

/* No content-length is sent with an answer that is known in whole. */
void weir__http_unsized(weir_http *x);

/* The answer ends here, whatever the handler does then: with RST_STREAM and this code. */
void weir__http_reset(weir_http *x, uint32_t code);

/* From now on pings on its connection are counted as gRPC does (HTTP/2 only). */
void weir__http_count_pings(weir_http *x);

/* Is asked before the server answers 404, 405 or 501 itself: 0 leaves it to the server, else as a
 * handler's result; *ret_done: it has answered. Before serving; one. */
void weir__http_unrouted(weir_http_server *s,
                         int (*fn)(const weir_ctx *ctx, weir_http *x, void *arg, bool *ret_done),
                         void *arg);

/* The line before a chunk of n bytes ("1f\r\n"); after the bytes follows "\r\n". Its length. */
enum { WEIR__CHUNK_HEAD = 20 };
size_t weir__chunk_head(char out[WEIR__CHUNK_HEAD], size_t n);

#endif
