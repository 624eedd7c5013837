/* SPDX-License-Identifier: MIT */
/*
 * The short lock: spins briefly, then sleeps on a futex. Held only for a few instructions and
 * never across a switch of tasks. In a simulation every acquire and release is a point where the
 * oracle may let another logical worker go on.
 */
#ifndef WEIR_RT_LOCK_H
#define WEIR_RT_LOCK_H

#include <stdint.h>
#include <stdbool.h>

#include "base/assert.h"

typedef struct weir__lock {
	uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps; accessed atomically */
} weir__lock;

#define WEIR__LOCK_INIT \
	{               \
		0       \
	}

extern bool weir__simulating;
void weir__sim_point(void);
void weir__sim_give_way(void); /* the same for who waits for another logical worker */
void weir__lock_slow(weir__lock *l);
void weir__lock_wake(weir__lock *l);

/* Call where other workers could interfere: every lock and every atomic that carries a protocol. */
static inline void weir__point(void)
{
	if (weir__unlikely(weir__simulating))
		weir__sim_point();
}

/* For a moment of a loop that waits for another processor. */
static inline void weir__relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("yield");
#endif
}

/* Has the line fetched to be written: else a look takes it first for reading, and then once
 * more. */
static inline void weir__fetch_to_write(const void *at)
{
#if defined(__x86_64__)
	/* The builtin says this only for processors named to the compiler; others take it for
	 * nothing. */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
	__builtin_prefetch(at, 1);
#endif
}

/* The line will be wanted by another processor next, which finds it sooner in the cache that all
 * share than in this one's own. Processors that know no such hint take it for nothing. */
static inline void weir__give_away(const void *at)
{
#if defined(__x86_64__)
	__asm__ volatile("cldemote %0" : : "m"(*(const char *)at));
#else
	(void)at;
#endif
}

static inline void weir__lock_acquire(weir__lock *l)
{
	uint32_t free_word = 0;

	weir__point();
	if (!__atomic_compare_exchange_n(&l->word, &free_word, 1, false, __ATOMIC_ACQUIRE,
	                                 __ATOMIC_RELAXED))
		weir__lock_slow(l);
}

/* False while somebody holds it. */
static inline bool weir__lock_try(weir__lock *l)
{
	uint32_t free_word = 0;

	weir__point();
	return __atomic_compare_exchange_n(&l->word, &free_word, 1, false, __ATOMIC_ACQUIRE,
	                                   __ATOMIC_RELAXED);
}

static inline void weir__lock_release(weir__lock *l)
{
	if (weir__unlikely(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2))
		weir__lock_wake(l);
	weir__point();
}

#endif
