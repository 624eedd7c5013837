/* SPDX-License-Identifier: MIT */
/*
 * What subjects found lately, so that a hot subject costs one look instead of a walk through an
 * index whose nodes are not in the processor's caches. A change of a plain pattern forgets that one
 * subject, a change of a wildcard forgets all: so the inboxes of requests, which come and go all
 * the time, empty nothing. No locks: the index's owner guards it.
 */
#ifndef WEIR_BUS_CACHE_H
#define WEIR_BUS_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir__target;
struct weir__cache_slot;

struct weir__cache {
	uint64_t seed[2];
	uint64_t epoch;                 /* of the wildcards */
	struct weir__cache_slot *slots; /* NULL until something was looked for */
};

void weir__cache_init(struct weir__cache *c, const uint64_t seed[2]);
void weir__cache_fini(struct weir__cache *c);

/* What the subject found: true and *ret_n targets (perhaps none), or false; *ret_hash is for
 * weir__cache_put(). */
bool weir__cache_get(struct weir__cache *c, const char *subject, uint64_t *ret_hash,
                     struct weir__target ***ret, size_t *ret_n);
/* Keep what was found, when it is the second time lately that it was not known. */
void weir__cache_put(struct weir__cache *c, const char *subject, uint64_t hash,
                     struct weir__target *const *found, size_t n);
/* The index changed at that pattern. */
void weir__cache_forget(struct weir__cache *c, const char *pattern);

#endif
