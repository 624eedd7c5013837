/* SPDX-License-Identifier: MIT */
/*
 * How long jobs wait and run: counts by size, four classes to an octave (a percentile is off by a
 * tenth at most), over the minute that goes on and the one before it, so that what is said is of
 * now and costs the same however many jobs there are.
 */
#include <string.h>

#include "queue/inner.h"

enum { FIRST_BIT = 10 }; /* up to 2 µs is one class */

static unsigned class_of(int64_t ns)
{
	uint64_t v = ns > 0 ? (uint64_t)ns : 0;
	unsigned top, i;

	if (v >> (FIRST_BIT + 1) == 0)
		return 0;
	top = 63 - (unsigned)__builtin_clzll(v);
	i = (top - FIRST_BIT) * 4 + (unsigned)(v >> (top - 2) & 3);
	return i < WEIR__CLASSES ? i : WEIR__CLASSES - 1;
}

/* The middle of a class. */
static int64_t value_of(unsigned i)
{
	return ((int64_t)(4 + i % 4) * 2 + 1) << (FIRST_BIT + i / 4 - 3);
}

static void turn(struct weir__latency *l, int64_t now)
{
	int64_t minute = now / WEIR_MIN(1);

	if (minute == l->minute)
		return;
	if (minute == l->minute + 1)
		memcpy(l->before, l->count, sizeof l->before);
	else
		memset(l->before, 0, sizeof l->before);
	memset(l->count, 0, sizeof l->count);
	l->minute = minute;
}

void weir__latency_count(struct weir__latency *l, int64_t ns, int64_t now)
{
	turn(l, now);
	l->count[class_of(ns)]++;
}

weir_queue_latency weir__latency_get(struct weir__latency *l, int64_t now)
{
	static const unsigned percent[3] = { 50, 95, 99 };
	int64_t at[3] = { 0 };
	uint64_t sum = 0, below = 0;
	size_t k = 0;

	turn(l, now);
	for (unsigned i = 0; i < WEIR__CLASSES; i++)
		sum += l->count[i] + l->before[i];
	for (unsigned i = 0; i < WEIR__CLASSES && k < 3; i++) {
		below += l->count[i] + l->before[i];
		while (k < 3 && sum && below * 100 >= sum * percent[k])
			at[k++] = value_of(i);
	}
	return (weir_queue_latency){ sum, at[0], at[1], at[2] };
}
