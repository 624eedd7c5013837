/* SPDX-License-Identifier: MIT */
#include "base/pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define KEPT 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEPT 0
#endif
#endif
#ifndef KEPT
#define KEPT WEIR__POOL_KEPT
#endif

struct weir__pool_piece {
	size_t room;                   /* bytes behind this head */
	struct weir__pool_piece *next; /* while it is kept */
};

void *weir__pool_get(struct weir__pool *p, size_t n)
{
	size_t i = n ? (n - 1) / WEIR__POOL_STEP : 0;
	bool small = n <= WEIR__POOL_MAX;
	struct weir__pool_piece *piece = small ? p->free[i] : NULL;

	if (piece) {
		p->free[i] = piece->next;
		p->kept[i]--;
		return piece + 1;
	}
	if (small)
		n = (i + 1) * WEIR__POOL_STEP;
	else if (n > PTRDIFF_MAX / 2)
		return NULL;
	/* Not the malloc() of base/alloc.h. */
	piece = (malloc)(sizeof *piece + n);
	if (!piece)
		return NULL;
	piece->room = n;
	return piece + 1;
}

void weir__pool_put(struct weir__pool *p, void *at)
{
	struct weir__pool_piece *piece = at;
	size_t i;

	if (!piece)
		return;
	piece--;
	i = piece->room / WEIR__POOL_STEP - 1;
	if (piece->room > WEIR__POOL_MAX || p->kept[i] + 1 > KEPT) {
		free(piece);
		return;
	}
	piece->next = p->free[i];
	p->free[i] = piece;
	p->kept[i]++;
}

void *weir__pool_resize(struct weir__pool *p, void *at, size_t n)
{
	struct weir__pool_piece *piece = at;
	void *to;

	if (piece && piece[-1].room >= n)
		return at;
	to = weir__pool_get(p, n);
	if (to && piece)
		memcpy(to, at, piece[-1].room);
	if (to)
		weir__pool_put(p, at);
	return to;
}

void weir__pool_clear(struct weir__pool *p)
{
	for (size_t i = 0; i < WEIR__POOL_MAX / WEIR__POOL_STEP; i++) {
		struct weir__pool_piece *next;

		for (struct weir__pool_piece *k = p->free[i]; k; k = next) {
			next = k->next;
			free(k);
		}
	}
	*p = (struct weir__pool){ 0 };
}
