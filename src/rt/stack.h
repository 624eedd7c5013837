/* SPDX-License-Identifier: MIT */
/* Stacks of tasks: 64 KiB usable above a guard of 36 KiB or more, carved from slabs of 64 MiB.
 * See stack.c. */
#ifndef WEIR_RT_STACK_H
#define WEIR_RT_STACK_H

#include <stddef.h>
#include <stdint.h>

#include "rt/fiber.h"

/* The sanitizers' frames are far larger. */
#if defined(WEIR__ASAN) || defined(WEIR__TSAN)
#define WEIR__STACK_SIZE (256 * 1024)
#else
#define WEIR__STACK_SIZE (64 * 1024)
#endif

/* 4096, or more on some kernels of aarch64. */
size_t weir__page_size(void);

/* Free stacks, the last one first; one cache a worker, used only by it. */
enum { WEIR__STACKS_KEPT = 256 };
struct weir__stack_cache {
	unsigned count;
	void *free[WEIR__STACKS_KEPT];
};

/* The lowest usable byte; the stack is [p, p + WEIR__STACK_SIZE). NULL without memory or mappings
 * (logged). cache may be NULL. */
void *weir__stack_get(struct weir__stack_cache *cache);

/* `deepest` is the lowest address known to have been used: what went deep gives its pages back. */
void weir__stack_put(struct weir__stack_cache *cache, void *stack, void *deepest);

void weir__stack_cache_flush(struct weir__stack_cache *cache);

/* Gives back the pages of stacks that have been free for a while and will hardly be missed. When to
 * call again, or WEIR_NEVER. Any thread. */
int64_t weir__stacks_trim(int64_t now_ns);

/* The stack whose guard holds this address, or NULL. Async-signal-safe. */
void *weir__stack_of_guard(const void *addr);

#endif
