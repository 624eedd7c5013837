/* SPDX-License-Identifier: MIT */
/*
 * Select waits for the first of several sends and receives and does exactly that one. When several
 * are ready the choice is random and fair.
 *
 *	enum { JOB, TICK };
 *	weir_case cs[] = { [JOB] = WEIR_RECV(jobs, &j), [TICK] = WEIR_RECV(ticks, &t) };
 *	switch (r = weir_select(ctx, cs)) {
 *	case JOB:  run(&j); break;
 *	case TICK: break;
 *	default:   return r;
 *	}
 *
 * When a case's channel is closed, select returns -EPIPE (so it lands in `default`), that case's
 * `result` is 0 for a receive and -EPIPE for a send, every other `result` is -EAGAIN, and no
 * destination is touched. To go on with the rest set that case's channel to NULL: a NULL channel is
 * never ready.
 */
#ifndef WEIR_SELECT_H
#define WEIR_SELECT_H

#include <weir/chan.h>

WEIR_BEGIN

typedef struct weir_case {
	weir_chan *chan;
	void *in;
	const void *out;
	size_t size;
	/* 1: received, 0: sent or, with -EPIPE returned, closed; -EAGAIN: not this one */
	int result;
} weir_case;

#define WEIR_RECV(c, v)                                     \
	{                                                   \
		.chan = (c), .in = (v), .size = sizeof *(v) \
	}
#define WEIR_SEND(c, v)                                      \
	{                                                    \
		.chan = (c), .out = (v), .size = sizeof *(v) \
	}

#define WEIR_SELECT_MAX 64

/* Waits. The index of the case that was done; -EPIPE; or the context's error (nothing was done). */
#define weir_select(ctx, cs) weir_select_((ctx), (cs), sizeof(cs) / sizeof *(cs))
WEIR_API int weir_select_(const weir_ctx *ctx, weir_case *cs, size_t n);

/* Never waits: as above, or -EAGAIN. */
#define weir_try_select(cs) weir_try_select_((cs), sizeof(cs) / sizeof *(cs))
WEIR_API int weir_try_select_(weir_case *cs, size_t n);

/* For C++, which has no array designators: weir_case cs[] = { weir_case_recv(c, &v), … }. */
static inline weir_case weir_case_recv_(weir_chan *c, void *v, size_t size)
{
	weir_case k = { c, v, NULL, size, 0 };
	return k;
}
static inline weir_case weir_case_send_(weir_chan *c, const void *v, size_t size)
{
	weir_case k = { c, NULL, v, size, 0 };
	return k;
}
#define weir_case_recv(c, v) weir_case_recv_((c), (v), sizeof *(v))
#define weir_case_send(c, v) weir_case_send_((c), (v), sizeof *(v))

WEIR_END
#endif
