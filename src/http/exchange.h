/* SPDX-License-Identifier: MIT */
/*
 * Streams: an exchange that was handed over. Its handler has returned, its task is gone; what lives
 * on is the connection's small record, served by callbacks on its worker. For hubs:
 *
 *	r = weir_http_flush(ctx, x);                        the head leaves; may wait
 *	r = weir__http_detach(x, stopped, me, &stream);     the handler's last act; never waits
 *	return r;                                           0: the stream is ours until weir__stream_end()
 *
 * Everything below happens on the stream's worker, where its handler ran: between tasks, in
 * messages, watches and timers, none of which may wait. Bytes go out with weir__conn_try_writev()
 * on weir__stream_conn(), each event framed as one chunk if weir__stream_chunked(); on -EAGAIN
 * weir__conn_watch(…, WEIR__OUT, …). Reading and on_gone stay the server's.
 */
#ifndef WEIR_HTTP_EXCHANGE_H
#define WEIR_HTTP_EXCHANGE_H

#include <weir/http.h>

#include "net/conn.h"

typedef struct weir__stream weir__stream;

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

weir_conn *weir__stream_conn(weir__stream *s);
void weir__stream_wrote(weir__stream *s, size_t n); /* so many bytes have left: for the counts */
bool weir__stream_chunked(
	const weir__stream *s); /* else the end of the connection ends the stream */

/*
 * Gives the stream back, once, on its worker; no watch of the owner may be left. clean: every frame
 * was written whole; the last chunk follows and the connection serves on or lingers. Otherwise it
 * is cut.
 */
void weir__stream_end(weir__stream *s, bool clean);

/* The line before a chunk of n bytes ("1f\r\n"); after the bytes follows "\r\n". Its length. */
enum { WEIR__CHUNK_HEAD = 20 };
size_t weir__chunk_head(char out[WEIR__CHUNK_HEAD], size_t n);

#endif
