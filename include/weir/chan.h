/* SPDX-License-Identifier: MIT */
/*
 * Channels carry values by copy, sized at creation; a send or receive of another size aborts.
 * Capacity 0 makes a rendezvous. Values come out in the order in which they went in. Close wakes
 * everyone: receivers get what is buffered, then 0; senders get -EPIPE.
 *
 *	weir_chan *c = weir_chan_new(sizeof(int), 16);
 *	int v = 7;
 *	r = weir_chan_send(ctx, c, &v);
 *	while ((r = weir_chan_recv(ctx, c, &v)) > 0)
 *		use(v);
 *
 * Any task on any worker may use a channel. Foreign threads may call only try_ functions and
 * close, and only on channels made with weir_chan_new_foreign().
 */
#ifndef WEIR_CHAN_H
#define WEIR_CHAN_H

#include <weir/ctx.h>

WEIR_BEGIN

typedef struct weir_chan weir_chan;

/* size: bytes of a value; cap: values that wait in it, fewer than 2^32 - 1. NULL without memory, or
 * for more than that. The caller owns it. */
#define weir_chan_new(size, cap)         weir_chan_new_((size), (cap), false, WEIR_HERE)
#define weir_chan_new_foreign(size, cap) weir_chan_new_((size), (cap), true, WEIR_HERE)
WEIR_API weir_chan *weir_chan_new_(size_t size, size_t cap, bool foreign, const char *place);

/* Closing twice aborts. */
WEIR_API void weir_chan_close(weir_chan *c);

/* Nobody may wait on it any more (else it aborts); values still buffered are dropped. NULL is
 * fine. */
WEIR_API void weir_chan_free(weir_chan *c);

/* Waits for a receiver or a place. 0, -EPIPE, or the context's error (the value was not sent). */
#define weir_chan_send(ctx, c, v) weir_chan_send_((ctx), (c), (v), sizeof *(v))
WEIR_API int weir_chan_send_(const weir_ctx *ctx, weir_chan *c, const void *v, size_t size);

/* Waits for a value. 1, 0 when closed and empty, or the context's error (nothing was taken). */
#define weir_chan_recv(ctx, c, v) weir_chan_recv_((ctx), (c), (v), sizeof *(v))
WEIR_API int weir_chan_recv_(const weir_ctx *ctx, weir_chan *c, void *v, size_t size);

/* Never wait: as above, or -EAGAIN. */
#define weir_chan_try_send(c, v) weir_chan_try_send_((c), (v), sizeof *(v))
#define weir_chan_try_recv(c, v) weir_chan_try_recv_((c), (v), sizeof *(v))
WEIR_API int weir_chan_try_send_(weir_chan *c, const void *v, size_t size);
WEIR_API int weir_chan_try_recv_(weir_chan *c, void *v, size_t size);

/* Values buffered now; a hint when others use the channel. */
WEIR_API size_t weir_chan_len(const weir_chan *c);

WEIR_END
#endif
