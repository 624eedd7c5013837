/* SPDX-License-Identifier: MIT */
#include "suggest.h"

#include <stddef.h>
#include <string.h>

enum { LETTERS = 63 };

static unsigned char fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (unsigned char)(c - 'A' + 'a');
	return (unsigned char)(c == '_' || c == '.' ? '-' : c);
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	a = a < b ? a : b;
	return a < c ? a : c;
}

/* Optimal string alignment: three rows of the usual table are enough. */
unsigned suggest_distance(const char *a, const char *b)
{
	unsigned rows[3][LETTERS + 1] = { 0 };
	unsigned *before = rows[0], *last = rows[1], *row = rows[2], *spare;
	size_t n = strnlen(a, LETTERS), m = strnlen(b, LETTERS);

	for (unsigned j = 0; j <= m; j++)
		last[j] = j;
	for (unsigned i = 1; i <= n; i++) {
		row[0] = i;
		for (unsigned j = 1; j <= m; j++) {
			unsigned differ = fold(a[i - 1]) != fold(b[j - 1]);

			row[j] = least(last[j] + 1, row[j - 1] + 1, last[j - 1] + differ);
			if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
			    fold(a[i - 2]) == fold(b[j - 1]) && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[m];
}

void suggest_offer(struct suggest *s, const char *candidate)
{
	unsigned d = suggest_distance(s->wrong, candidate);
	size_t n = strlen(s->wrong), m = strlen(candidate);
	/* A third of the letters may be wrong; a name that was only begun ("--queue-m") is as near
	 * as one letter. */
	size_t limit = (n > m ? n : m) / 3 + (n < 3 && m < 3);

	if (n >= 3 && n < m && !strncmp(s->wrong, candidate, n))
		d = 1;
	if (d > limit || (s->best && d >= s->distance))
		return;
	s->best = candidate;
	s->distance = d;
}
