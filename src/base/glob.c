/* SPDX-License-Identifier: MIT */
#include "base/glob.h"

#include <stddef.h>
#include <string.h>

bool weir__glob_match(const char *pattern, const char *text)
{
	const char *star = NULL, *back = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			back = text;
		} else if (*pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++back;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

bool weir__subject_covers(const char *a, const char *b)
{
	for (;;) {
		size_t n = strcspn(a, "."), m = strcspn(b, ".");
		bool tail = m == 1 && *b == '>', any = m == 1 && *b == '*';

		if (n == 1 && *a == '>')
			return true;
		if (tail || (any && !(n == 1 && *a == '*')))
			return false;
		if (!(n == 1 && *a == '*') && (n != m || memcmp(a, b, n)))
			return false;
		if (!a[n] || !b[m])
			return !a[n] && !b[m];
		a += n + 1;
		b += m + 1;
	}
}
