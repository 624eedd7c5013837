/* SPDX-License-Identifier: MIT */
#include "base/heap.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"

enum { LEAST = 16 };

void weir__heap_free(struct weir__heap *h)
{
	free(h->v);
	h->v = NULL;
	h->n = h->cap = 0;
}

static bool resize(struct weir__heap *h, size_t cap)
{
	struct weir__heap_node **v;

	if (cap > SIZE_MAX / sizeof *v)
		return false;
	v = realloc(h->v, cap * sizeof *v);
	if (!v)
		return false;
	h->v = v;
	h->cap = cap;
	return true;
}

bool weir__heap_reserve(struct weir__heap *h, size_t n)
{
	size_t cap = h->cap ? h->cap : LEAST;

	if (n <= h->cap)
		return true;
	while (cap < n)
		cap *= 2;
	return resize(h, cap);
}

void weir__heap_trim(struct weir__heap *h, size_t n)
{
	size_t cap = h->cap;

	if (n < h->n)
		n = h->n;
	/* A quarter full shrinks to half, so that a heap that breathes does not reallocate at
	 * every breath. */
	while (cap > LEAST && n < cap / 4)
		cap /= 2;
	if (cap < h->cap)
		(void)resize(h, cap);
}

static void put(struct weir__heap *h, size_t i, struct weir__heap_node *x)
{
	h->v[i] = x;
	x->slot = i + 1;
}

static void up(struct weir__heap *h, size_t i, struct weir__heap_node *x)
{
	while (i && h->less(x, h->v[(i - 1) / 2])) {
		put(h, i, h->v[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(h, i, x);
}

static void down(struct weir__heap *h, size_t i, struct weir__heap_node *x)
{
	size_t child;

	while ((child = 2 * i + 1) < h->n) {
		if (child + 1 < h->n && h->less(h->v[child + 1], h->v[child]))
			child++;
		if (!h->less(h->v[child], x))
			break;
		put(h, i, h->v[child]);
		i = child;
	}
	put(h, i, x);
}

bool weir__heap_push(struct weir__heap *h, struct weir__heap_node *x)
{
	weir__assert(!x->slot, "heap: an item was pushed twice");
	if (!weir__heap_reserve(h, h->n + 1))
		return false;
	up(h, h->n++, x);
	return true;
}

void weir__heap_moved(struct weir__heap *h, struct weir__heap_node *x)
{
	size_t i = x->slot - 1;

	weir__assert(i < h->n && h->v[i] == x, "heap: an item is not in this heap");
	if (i && h->less(x, h->v[(i - 1) / 2]))
		up(h, i, x);
	else
		down(h, i, x);
}

void weir__heap_remove(struct weir__heap *h, struct weir__heap_node *x)
{
	size_t i = x->slot - 1;
	struct weir__heap_node *tail;

	weir__assert(i < h->n && h->v[i] == x, "heap: an item is not in this heap");
	tail = h->v[--h->n];
	x->slot = 0;
	if (tail == x)
		return;
	put(h, i, tail);
	weir__heap_moved(h, tail);
}
