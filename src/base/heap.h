/* SPDX-License-Identifier: MIT */
/*
 * A binary heap of pointers to items that know their place, so that any of them can be taken out.
 * What belongs to an item follows its embedded node; `less` gives the order and must be total
 * (ties by a sequence number), so that it never depends on addresses. Room is reserved apart from
 * pushing: who has reserved cannot fail later.
 */
#ifndef WEIR_BASE_HEAP_H
#define WEIR_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct weir__heap_node {
	size_t slot; /* 1 + its index in the heap; 0: in none */
};

struct weir__heap {
	struct weir__heap_node **v;
	size_t n, cap;
	bool (*less)(const struct weir__heap_node *a, const struct weir__heap_node *b);
};

#define WEIR__HEAP_INIT(less_fn)      \
	{                             \
		NULL, 0, 0, (less_fn) \
	}

void weir__heap_free(struct weir__heap *h); /* the array only, and reset to empty */
bool weir__heap_reserve(struct weir__heap *h,
                        size_t n); /* room for n items in all; false without memory */
bool weir__heap_push(struct weir__heap *h,
                     struct weir__heap_node *x); /* false without memory: never after a reserve */
void weir__heap_remove(struct weir__heap *h, struct weir__heap_node *x);
void weir__heap_moved(struct weir__heap *h, struct weir__heap_node *x); /* its order changed */

/* Gives memory back once the heap is far emptier than it was; keeps room for `n`. */
void weir__heap_trim(struct weir__heap *h, size_t n);

static inline struct weir__heap_node *weir__heap_first(const struct weir__heap *h)
{
	return h->n ? h->v[0] : NULL;
}

static inline bool weir__heap_in(const struct weir__heap_node *x)
{
	return x->slot != 0;
}

#endif
