/* SPDX-License-Identifier: MIT */
/*
 * Hash table with intrusive nodes and a keyed hash (SipHash-1-3, Aumasson and Bernstein 2012), so
 * that no peer can choose keys that collide. The caller compares: walk the chain of a hash and
 * look at what holds each node.
 *
 *	uint64_t h = weir__hash(t.seed, name, strlen(name));
 *	weir__hash_each(n, &t, h)
 *		if (same(weir__container(n, struct thing, node), name)) …
 *
 * Nothing may depend on the order of a chain. Adding never fails: without memory to grow chains
 * get longer.
 */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct weir__hash_node {
	struct weir__hash_node *next;
	uint64_t hash;
};

struct weir__hash_table {
	uint64_t seed[2];
	struct weir__hash_node **v;
	size_t n, cap;               /* cap is a power of two, or 0 */
	struct weir__hash_node *one; /* the only chain while there is no array */
};

uint64_t weir__hash(const uint64_t seed[2], const void *data, size_t n);

void weir__hash_add(struct weir__hash_table *t, struct weir__hash_node *x, uint64_t hash);
void weir__hash_remove(struct weir__hash_table *t, struct weir__hash_node *x);
void weir__hash_free(struct weir__hash_table *t); /* the array only */

static inline struct weir__hash_node *weir__hash_chain(const struct weir__hash_table *t,
                                                       uint64_t hash)
{
	return t->cap ? t->v[hash & (t->cap - 1)] : t->one;
}

/* Those of this very hash; the body must not add or remove, unless it then leaves the loop. */
#define weir__hash_each(x, t, h)                                                     \
	for (struct weir__hash_node *x = weir__hash_chain((t), (h)); x; x = x->next) \
		if (x->hash == (h))

#endif
