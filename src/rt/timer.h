/* SPDX-License-Identifier: MIT */
/*
 * Timers: intrusive, one heap per worker, armed and stopped only on that worker (so: from its
 * tasks, hooks and messages). The callback runs on the worker between tasks, must not wait, and
 * may free or re-arm its timer.
 */
#ifndef WEIR_RT_TIMER_H
#define WEIR_RT_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir__timer {
	int64_t at_ns;
	void (*fn)(struct weir__timer *t);
	struct weir__timer *child, *next; /* in the heap: the first below, the next beside */
	struct weir__timer **link;        /* what points to it; NULL: not armed */
	uint32_t seq;
	uint16_t worker;
};

/* Arms (or re-arms) for a point in time (weir_now()). Never fires early, never fails. */
void weir__timer_start(struct weir__timer *t, int64_t at_ns, void (*fn)(struct weir__timer *t));
/* Fine when not armed. */
void weir__timer_stop(struct weir__timer *t);
static inline bool weir__timer_armed(const struct weir__timer *t)
{
	return t->link != NULL;
}

/* Now, cheaply: never later than weir_now(), at most a millisecond behind. */
int64_t weir__now_coarse(void);

#endif
