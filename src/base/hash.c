/* SPDX-License-Identifier: MIT */
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { LEAST = 16 };

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

__attribute__((always_inline)) static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

uint64_t weir__hash(const uint64_t seed[2], const void *data, size_t n)
{
	const unsigned char *p = data;
	uint64_t v[4] = { seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
		          seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573 };
	uint64_t word, last = (uint64_t)n << 56;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&word, p, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t i = 0; i < n; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct weir__hash_node **chain(struct weir__hash_table *t, uint64_t hash)
{
	return t->cap ? &t->v[hash & (t->cap - 1)] : &t->one;
}

static void resize(struct weir__hash_table *t, size_t cap)
{
	struct weir__hash_table to = { .v = calloc(cap, sizeof *to.v), .cap = cap };
	struct weir__hash_node *x, *next, **at;

	if (!to.v)
		return;
	for (size_t i = 0; i < (t->cap ? t->cap : 1); i++) {
		for (x = t->cap ? t->v[i] : t->one; x; x = next) {
			next = x->next;
			at = chain(&to, x->hash);
			x->next = *at;
			*at = x;
		}
	}
	free(t->v);
	t->v = to.v;
	t->cap = cap;
	t->one = NULL;
}

void weir__hash_add(struct weir__hash_table *t, struct weir__hash_node *x, uint64_t hash)
{
	struct weir__hash_node **at;

	if (t->n >= t->cap)
		resize(t, t->cap ? t->cap * 2 : LEAST);
	at = chain(t, hash);
	x->hash = hash;
	x->next = *at;
	*at = x;
	t->n++;
}

void weir__hash_remove(struct weir__hash_table *t, struct weir__hash_node *x)
{
	struct weir__hash_node **at = chain(t, x->hash);

	while (*at && *at != x)
		at = &(*at)->next;
	weir__assert(*at, "hash: an item is not in this table");
	*at = x->next;
	t->n--;
	/* An eighth full halves, so that a peak does not stay for good. */
	if (t->cap > LEAST && t->n < t->cap / 8)
		resize(t, t->cap / 2);
}

void weir__hash_free(struct weir__hash_table *t)
{
	free(t->v);
	t->v = NULL;
	t->one = NULL;
	t->n = t->cap = 0;
}
