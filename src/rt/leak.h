/* SPDX-License-Identifier: MIT */
/*
 * What a task made and nobody freed until the end of the run is told there, with the place and the
 * task that made it. For things made by hand and seldom: tracking takes a lock.
 */
#ifndef WEIR_RT_LEAK_H
#define WEIR_RT_LEAK_H

#include "base/list.h"

struct weir__leak {
	struct weir__list link;
	const char *what, *place;
	char task[32];
};

/* Of things made outside of tasks, and in simulations, nothing is told. */
void weir__leak_track(struct weir__leak *l, const char *what, const char *place);
void weir__leak_forget(struct weir__leak *l);

/* At the end of a run: one line each, for the first few. */
void weir__leak_report(void);

#endif
