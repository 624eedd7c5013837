/* SPDX-License-Identifier: MIT */
/*
 * Small pieces of memory that are kept when they are given back, for the next of their size. One
 * thread at a time. A library that makes and frees a dozen small things per request (nghttp2) costs
 * a third of what it costs with malloc(), and finds its things in the cache.
 *
 * Sizes are rounded up to multiples of WEIR__POOL_STEP; larger than WEIR__POOL_MAX goes to malloc()
 * and back. At most WEIR__POOL_KEPT pieces of a size are kept, so a pool that has nothing out holds
 * half a megabyte at the most. Simulated refusals of memory do not reach it. Under AddressSanitizer
 * nothing is kept, so that it sees every use after free.
 */
#ifndef WEIR_BASE_POOL_H
#define WEIR_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

enum { WEIR__POOL_STEP = 64, WEIR__POOL_MAX = 512, WEIR__POOL_KEPT = 256 };

struct weir__pool_piece;
struct weir__pool {
	struct weir__pool_piece *free[WEIR__POOL_MAX / WEIR__POOL_STEP];
	uint32_t kept[WEIR__POOL_MAX / WEIR__POOL_STEP];
};

/* A pool of zeros is empty. */
void *weir__pool_get(struct weir__pool *p, size_t n);   /* NULL without memory; not zeroed */
void weir__pool_put(struct weir__pool *p, void *piece); /* NULL: nothing */
/* As realloc(): a piece that is NULL is made. */
void *weir__pool_resize(struct weir__pool *p, void *piece, size_t n);
/* Gives back what is kept; the pool is empty, and as good as new. */
void weir__pool_clear(struct weir__pool *p);

#endif
