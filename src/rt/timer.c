/* SPDX-License-Identifier: MIT */
/*
 * A four-ary heap of {time, timer}: shallow, and a comparison stays in the array. Most timers are
 * stopped before they fire, and new ones mostly belong near the end, so both are cheap.
 */
#include "rt/timer.h"

#include <stdlib.h>
#include <time.h>

#include "rt/task.h"

static void place(struct weir__worker *w, uint32_t i, struct weir__heap_entry e)
{
	w->heap[i] = e;
	e.timer->slot = i + 1;
}

static void sift_up(struct weir__worker *w, uint32_t i, struct weir__heap_entry e)
{
	while (i > 0) {
		uint32_t up = (i - 1) / 4;
		if (w->heap[up].at_ns <= e.at_ns)
			break;
		place(w, i, w->heap[up]);
		i = up;
	}
	place(w, i, e);
}

static void sift_down(struct weir__worker *w, uint32_t i, struct weir__heap_entry e)
{
	for (;;) {
		uint32_t first = i * 4 + 1, least = first;

		if (first >= w->heap_len)
			break;
		for (uint32_t k = first + 1; k < first + 4 && k < w->heap_len; k++)
			if (w->heap[k].at_ns < w->heap[least].at_ns)
				least = k;
		if (e.at_ns <= w->heap[least].at_ns)
			break;
		place(w, i, w->heap[least]);
		i = least;
	}
	place(w, i, e);
}

void weir__timer_start(struct weir__timer *t, int64_t at_ns, void (*fn)(struct weir__timer *t))
{
	struct weir__worker *w = weir__self();

	weir__assert(w != NULL, "a timer was started outside of a worker");
	weir__timer_stop(t);
	t->at_ns = at_ns;
	t->fn = fn;
	t->worker = (uint16_t)w->index;
	if (w->heap_len == w->heap_cap) {
		uint32_t cap = w->heap_cap ? w->heap_cap * 2 : 64;
		struct weir__heap_entry *heap = realloc(w->heap, cap * sizeof *heap);

		weir__assert(heap != NULL, "no memory for a timer");
		w->heap = heap;
		w->heap_cap = cap;
	}
	sift_up(w, w->heap_len++, (struct weir__heap_entry){ at_ns, t });
}

void weir__timer_stop(struct weir__timer *t)
{
	struct weir__worker *w = weir__self();
	struct weir__heap_entry last;
	uint32_t i;

	if (!t->slot)
		return;
	weir__assert(w != NULL && w->index == t->worker, "a timer was stopped on another worker");
	i = t->slot - 1;
	t->slot = 0;
	last = w->heap[--w->heap_len];
	if (i == w->heap_len)
		return;
	if (i > 0 && w->heap[(i - 1) / 4].at_ns > last.at_ns)
		sift_up(w, i, last);
	else
		sift_down(w, i, last);
}

int64_t weir__timer_next(const struct weir__worker *w)
{
	return w->heap_len ? w->heap[0].at_ns : WEIR_NEVER;
}

void weir__timers_run(struct weir__worker *w, int64_t now_ns)
{
	while (w->heap_len && w->heap[0].at_ns <= now_ns) {
		struct weir__timer *t = w->heap[0].timer;

		weir__timer_stop(t);
		t->fn(t);
	}
}
