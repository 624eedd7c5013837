/* SPDX-License-Identifier: MIT */
/*
 * Every allocation of the library, so that a simulation may refuse it. Included before each source
 * of the library by the build (meson.build), not by name: code calls malloc() as ever, and no call
 * can be forgotten.
 */
#ifndef WEIR_BASE_ALLOC_H
#define WEIR_BASE_ALLOC_H
#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

extern bool weir__simulating;
bool weir__sim_refuses(void);

static inline bool weir__refused(void)
{
	return __builtin_expect(weir__simulating, 0) && weir__sim_refuses();
}

#define malloc(size)               (weir__refused() ? NULL : malloc(size))
#define calloc(n, size)            (weir__refused() ? NULL : calloc((n), (size)))
#define realloc(p, size)           (weir__refused() ? NULL : realloc((p), (size)))
#define aligned_alloc(align, size) (weir__refused() ? NULL : aligned_alloc((align), (size)))
#define strdup(s)                  (weir__refused() ? NULL : (strdup)(s))
#define strndup(s, n)              (weir__refused() ? NULL : (strndup)((s), (n)))

#endif
#endif
