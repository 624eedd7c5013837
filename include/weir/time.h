/* SPDX-License-Identifier: MIT */
/*
 * Time: signed 64-bit nanoseconds on the monotonic clock, which is virtual in a simulation.
 * A deadline is a point in time, a timeout a distance.
 *
 *	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(250));
 */
#ifndef WEIR_TIME_H
#define WEIR_TIME_H

#include <weir/api.h>

WEIR_BEGIN

#define WEIR_US(n)   ((int64_t)(n)*1000)
#define WEIR_MS(n)   ((int64_t)(n)*1000000)
#define WEIR_SEC(n)  ((int64_t)(n)*1000000000)
#define WEIR_MIN(n)  (WEIR_SEC(60) * (n))
#define WEIR_HOUR(n) (WEIR_SEC(3600) * (n))
#define WEIR_NEVER   INT64_MAX

/* The exact monotonic time now, in nanoseconds. From any thread; never waits. */
WEIR_API int64_t weir_now(void);

/* Nanoseconds since 1970 (UTC). In a simulation it starts at 2026-01-01 and moves with
 * weir_now(), but for weir_sim_wall_step(). */
WEIR_API int64_t weir_wall(void);

WEIR_END
#endif
