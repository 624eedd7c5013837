/* SPDX-License-Identifier: MIT */
/*
 * The wall clock, when somebody sets it: by hand, after a suspend, by a time service that steps.
 * What is due at a time of day has then to be counted anew, for waits go by the monotonic clock.
 *
 *	r = weir__wall_open(&w);
 *	while ((r = weir__wall_wait(ctx, w)) == 0)
 *		count anew
 *	weir__wall_close(w);
 */
#ifndef WEIR_RT_WALL_H
#define WEIR_RT_WALL_H

#include <weir/ctx.h>

struct weir__wall;

/* 0 or -Exxx. By the task that will wait. */
int weir__wall_open(struct weir__wall **ret);
/* 0 once the clock has been set since the last call, or since open; or the context's error. */
int weir__wall_wait(const weir_ctx *ctx, struct weir__wall *w);
void weir__wall_close(struct weir__wall *w);

/* sim.c's part: how far the simulated wall clock was moved. */
int64_t weir__wall_shift(void);
void weir__wall_sim_reset(void);

#endif
