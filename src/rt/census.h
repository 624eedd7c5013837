/* SPDX-License-Identifier: MIT */
/* How deep stacks went, by the place where their tasks were started. See census.c. */
#ifndef WEIR_RT_CENSUS_H
#define WEIR_RT_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

struct weir__buf;
struct weir__task;

/* Is the so-manieth task of a worker to be a sample? */
static inline bool weir__census_wants(uint64_t started)
{
	enum { FIRST = 64, ONE_IN = 4096 };

	return started < FIRST || started % ONE_IN == 0;
}

/* Then its stack is zeroed, if that works. */
bool weir__census_clean(void *stack);
static inline bool weir__census_sample(uint64_t started, void *stack)
{
	return weir__census_wants(started) && weir__census_clean(stack);
}

/* A task has ended and left its stack. */
void weir__census_note(const struct weir__task *t);

/* The deepest of each place, in lines. */
void weir__census_print(struct weir__buf *out);

#endif
