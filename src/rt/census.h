/* SPDX-License-Identifier: MIT */
/* How deep stacks went, by the place where their tasks were started. See census.c. */
#ifndef WEIR_RT_CENSUS_H
#define WEIR_RT_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

struct weir__buf;
struct weir__task;

/* Is the task that gets this stack, the so-manieth of its worker, a sample? Then the stack is
 * zeroed. */
bool weir__census_clean(void *stack);
static inline bool weir__census_sample(uint64_t started, void *stack)
{
	enum { FIRST = 64, ONE_IN = 4096 };

	return __builtin_expect(started < FIRST || started % ONE_IN == 0, 0) &&
	       weir__census_clean(stack);
}

/* A task has ended and left its stack. */
void weir__census_note(const struct weir__task *t);

/* The deepest of each place, in lines. */
void weir__census_print(struct weir__buf *out);

#endif
