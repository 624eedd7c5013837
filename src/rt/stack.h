/* SPDX-License-Identifier: MIT */
/* Stacks of tasks: 64 KiB usable above a guard of 36 KiB or more, carved from slabs of 64 MiB.
 * See stack.c. */
#ifndef WEIR_RT_STACK_H
#define WEIR_RT_STACK_H

#include <stddef.h>
#include <stdint.h>

#include "rt/fiber.h"
#include "rt/lock.h"

/* The sanitizers' frames are far larger. */
#if defined(WEIR__ASAN) || defined(WEIR__TSAN)
#define WEIR__STACK_SIZE (256 * 1024)
#else
#define WEIR__STACK_SIZE (64 * 1024)
#endif

/* 4096, or more on some kernels of aarch64. */
size_t weir__page_size(void);

/*
 * A stack goes by its top, [top - WEIR__STACK_USABLE, top) at least; they begin at different lines
 * of their pages, or what lies at the tops would meet in a few sets of the caches.
 */
enum {
	WEIR__CACHE_LINE = 64,
	WEIR__STACK_COLORS = 16,
	WEIR__STACK_UNIT = 4096, /* stacks begin at multiples of it */
	WEIR__STACK_USABLE = WEIR__STACK_SIZE - WEIR__STACK_COLORS * WEIR__CACHE_LINE,
	WEIR__STACK_KEEP = 16 * 1024, /* what went deeper gives the pages below back at once */
};

/* The lowest byte of the stack that an address in its uppermost page belongs to. */
static inline char *weir__stack_bottom(const void *at)
{
	return (char *)(((uintptr_t)at + WEIR__STACK_UNIT - 1) & -(uintptr_t)WEIR__STACK_UNIT) -
	       WEIR__STACK_SIZE;
}

/* Tops of free stacks, the last one first; one cache a worker, used only by it. A worker that
 * sleeps keeps fewer, for a slab of which one is kept cannot give its pages back. */
enum { WEIR__STACKS_KEPT = 1024, WEIR__STACKS_ASLEEP = 128 };
struct weir__stack_cache {
	unsigned count;
	char *free[WEIR__STACKS_KEPT];
};

/* Somebody else (AddressSanitizer, Valgrind) is to be told of each stack that becomes free. */
extern bool weir__stack_watched;

/* NULL without memory or mappings (logged). cache may be NULL. */
char *weir__stack_get_slow(struct weir__stack_cache *cache);
static inline char *weir__stack_get(struct weir__stack_cache *cache)
{
	if (weir__likely(cache && cache->count && !weir__simulating))
		return cache->free[--cache->count];
	return weir__stack_get_slow(cache);
}

/* May a stack that was used down to `deepest` just be kept? */
static inline bool weir__stack_shallow(char *top, void *deepest)
{
	return top - (char *)deepest < WEIR__STACK_KEEP - WEIR__STACK_UNIT && !weir__stack_watched;
}

/* `deepest` is the lowest address known to have been used. */
void weir__stack_put_slow(struct weir__stack_cache *cache, char *top, void *deepest);
static inline void weir__stack_put(struct weir__stack_cache *cache, char *top, void *deepest)
{
	if (weir__likely(cache && cache->count < WEIR__STACKS_KEPT &&
	                 weir__stack_shallow(top, deepest)))
		cache->free[cache->count++] = top;
	else
		weir__stack_put_slow(cache, top, deepest);
}

void weir__stack_cache_flush(struct weir__stack_cache *cache, unsigned left);

/* For who is out of work: makes a few stacks ready if many are being made. False: there was nothing
 * to do. */
bool weir__stacks_ahead(void);

/* Each that ever was handed out, free ones too. Any thread. */
void weir__stacks_each(void (*fn)(char *top, void *arg), void *arg);

/* Gives back the pages of stacks that have been free for a while and will hardly be missed. When to
 * call again, or WEIR_NEVER. Any thread. */
int64_t weir__stacks_trim(int64_t now_ns);

/* The lowest byte of the stack whose guard holds this address, or NULL. Async-signal-safe. */
void *weir__stack_of_guard(const void *addr);

#endif
