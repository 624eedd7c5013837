/* SPDX-License-Identifier: MIT */
/*
 * A target reads bytes and checks what must hold for all of them, beyond that no sanitizer speaks.
 * One file a target; its corpus is in corpus/<name>. Run by script/fuzz.
 */
#ifndef WEIR_FUZZ_H
#define WEIR_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define HOLDS(cond)                                                                        \
	do {                                                                               \
		if (!(cond)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                           \
		}                                                                          \
	} while (0)

/* A heap copy of exactly n bytes, so that a read past the end is seen. */
static inline char *fuzz_copy(const uint8_t *data, size_t n)
{
	char *p = malloc(n ? n : 1);

	HOLDS(p);
	if (n)
		memcpy(p, data, n);
	return p;
}

#endif
