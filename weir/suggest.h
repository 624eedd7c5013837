/* SPDX-License-Identifier: MIT */
/* "did you mean …": the nearest right name to a wrong one. */
#ifndef WEIR_SUGGEST_H
#define WEIR_SUGGEST_H

/* How many letters have to be inserted, deleted, replaced or swapped with their neighbour to get
 * from a to b. Only the first 63 bytes of each count. Upper and lower case, and '-', '_' and '.',
 * are the same. */
unsigned suggest_distance(const char *a, const char *b);

struct suggest {
	const char *wrong;
	const char *best; /* NULL: nothing is near enough to be worth saying */
	unsigned distance;
};

#define SUGGEST_INIT(wrong_name)      \
	{                             \
		(wrong_name), NULL, 0 \
	}

/* Offer candidates one by one; then read `best`. */
void suggest_offer(struct suggest *s, const char *candidate);

#endif
