/* SPDX-License-Identifier: MIT */
/*
 * Latch, mutex, semaphore and rate limiter for tasks. All live in place, need no cleanup but that
 * nobody waits on them any more, and work across workers.
 *
 *	weir_latch done;
 *	weir_latch_init(&done, 3);          // three weir_latch_down() open it
 *	r = weir_latch_wait(ctx, &done);
 *
 *	weir_rate limit;
 *	weir_rate_init(&limit, 5.0, 1);     // five a second, one at once
 *	r = weir_rate_wait(ctx, &limit);
 */
#ifndef WEIR_SYNC_H
#define WEIR_SYNC_H

#include <weir/ctx.h>

WEIR_BEGIN

/* A latch opens when it has been counted down; it never closes again. It may be destroyed as soon
 * as a wait on it has returned 0 and no further down can come. */
typedef struct weir_latch {
	void *priv[4];
} weir_latch;
WEIR_API void weir_latch_init(weir_latch *l, unsigned n);
WEIR_API void weir_latch_down(weir_latch *l); /* any task or foreign thread; below zero aborts */
WEIR_API int weir_latch_wait(const weir_ctx *ctx, weir_latch *l) WEIR_MUST_USE;

/* Not recursive. Barging, with hand-off to who has waited for 1 ms. */
typedef struct weir_mutex {
	void *priv[5];
} weir_mutex;
WEIR_API void weir_mutex_init(weir_mutex *m);
WEIR_API int weir_mutex_lock(const weir_ctx *ctx, weir_mutex *m) WEIR_MUST_USE;
WEIR_API int weir_mutex_try_lock(weir_mutex *m) WEIR_MUST_USE; /* 0 or -EAGAIN */
WEIR_API void weir_mutex_unlock(weir_mutex *m);

/* First come, first served. */
typedef struct weir_sem {
	void *priv[4];
} weir_sem;
WEIR_API void weir_sem_init(weir_sem *s, unsigned n);
WEIR_API int weir_sem_take(const weir_ctx *ctx, weir_sem *s) WEIR_MUST_USE;
WEIR_API int weir_sem_try_take(weir_sem *s) WEIR_MUST_USE; /* 0 or -EAGAIN */
WEIR_API void weir_sem_give(weir_sem *s);

/*
 * Token bucket (GCRA): `per_sec` (above 0) on average, `burst` (at least 1) at once. Waiters are
 * served first come, first served, and try gets nothing while somebody waits. A waiter whose
 * context ends has used nothing up.
 */
typedef struct weir_rate {
	int64_t every_ns, at_ns, slack_ns;
	void *priv[4];
} weir_rate;
WEIR_API void weir_rate_init(weir_rate *r, double per_sec, unsigned burst);
WEIR_API int weir_rate_wait(const weir_ctx *ctx, weir_rate *r) WEIR_MUST_USE;
WEIR_API int weir_rate_try(weir_rate *r) WEIR_MUST_USE; /* 0 or -EAGAIN */

/* The nanoseconds until who comes now would be served: 0 for at once. */
WEIR_API int64_t weir_rate_next(const weir_rate *r);

WEIR_END
#endif
