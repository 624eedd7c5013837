/* SPDX-License-Identifier: MIT */
/*
 * Simulation: the same library on one thread, where one seeded oracle makes every choice (which
 * task runs, which select case, who steals, how long the network takes) and a virtual clock jumps
 * to the next timer when all tasks wait. A test of ten minutes takes milliseconds; a race found by
 * a seed is replayed by that seed.
 *
 *	for (uint64_t seed = 1; seed <= 10000; seed++)
 *		assert(weir_sim(seed, test, NULL) == 0);
 *
 * In a simulation real descriptors, processes and foreign threads abort; "mem:" addresses work. All
 * tasks waiting with no timer left is a deadlock: it is reported with the list of tasks, and
 * aborts.
 */
#ifndef WEIR_SIM_H
#define WEIR_SIM_H

#include <weir/task.h>

WEIR_BEGIN

/* fn's result. */
WEIR_API int weir_sim(uint64_t seed, weir_task_fn *fn, void *arg);

/* A number below n from the oracle (in a real run: a fast random one). */
WEIR_API uint32_t weir_random(uint32_t n);

/* Somebody sets the wall clock (weir_wall()): it jumps by so much, forward or back. In a simulation
 * only. */
WEIR_API void weir_sim_wall_step(int64_t ns);

/* From now on one in so many of the library's allocations fails, as the oracle chooses; 0, as at
 * the beginning: none. What then returns -ENOMEM or NULL has changed nothing. */
WEIR_API void weir_sim_refuse_memory(uint32_t one_in);

/* From now on one in so many of the places where the library writes files ends the process with
 * status 86, as a crash would; 0, as at the beginning: none. For a test that forks, and looks at
 * what the files hold. */
WEIR_API void weir_sim_crash(uint32_t one_in);

/* A hash of every choice made in the last weir_sim(): equal for equal seeds. */
WEIR_API uint64_t weir_sim_trace(void);

WEIR_END
#endif
