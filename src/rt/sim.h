/* SPDX-License-Identifier: MIT */
/* The simulation's side of the runtime: a virtual clock and a driver that lets logical workers
 * take turns. See sim.c. */
#ifndef WEIR_RT_SIM_H
#define WEIR_RT_SIM_H

#include <stdint.h>

struct weir__worker;

int64_t weir__sim_now(void);
uint64_t weir__sim_random(void);
/* A logical worker has nothing to do until somebody wakes it or its next timer is due. */
void weir__sim_idle(struct weir__worker *w);
void weir__sim_wake(struct weir__worker *w);

/* How many simulations were begun: what is set for one is not for the next. */
extern uint64_t weir__sim_runs;

/* Between two writes to files: the process may end here, if the test wants that. */
void weir__sim_crash_point(void);

#endif
