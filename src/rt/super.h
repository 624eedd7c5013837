/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: the plain thread that owns signals, the clock of a stop, the watchdog and the
 * last report. A worker that spins or blocks cannot stop it. While workers are busy it ticks
 * every 100 ms; while all sleep it sleeps too.
 */
#ifndef WEIR_RT_SUPER_H
#define WEIR_RT_SUPER_H

#include "base/list.h"

/* Called on the supervisor's thread about every 100 ms while anything runs: for what must happen
 * even though a worker spins or blocks. Must not wait, and may take only short locks. */
struct weir__tick {
	struct weir__list link;
	void (*fn)(struct weir__tick *t);
};
void weir__tick_add(struct weir__tick *t);
void weir__tick_remove(
	struct weir__tick *t); /* when it returns, fn is not running and will not run again */

/* What a hard stop says before the list of tasks when weir_options named nothing, in the order of
 * adding. On the supervisor's thread; must not wait. */
struct weir__last_word {
	struct weir__list link;
	void (*fn)(int fd, struct weir__last_word *w);
};
void weir__last_word_add(struct weir__last_word *w);
void weir__last_word_remove(
	struct weir__last_word *w); /* when it returns, fn is not running and will not run again */

/* A worker woke up: the supervisor must tick again. One load when it already does. */
void weir__super_wake(void);

/* run.c → super.c: watches over the run until weir__super_done(). On the thread that called
 * weir_run(). */
int weir__super_init(void);
void weir__super_loop(void);
void weir__super_done(void);
void weir__super_fini(void);

#endif
