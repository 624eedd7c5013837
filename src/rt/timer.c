/* SPDX-License-Identifier: MIT */
/*
 * A pairing heap of the timers themselves: to arm one is to compare it with the soonest and to
 * hang it below or above; to stop one that has nothing below it is to unlink it. Most timers are
 * limits that are armed and stopped again before any later one fires, so both touch two or three
 * nodes however many others are pending. What is left to order is ordered when the soonest fires,
 * in amortised O(log n).
 *
 * It needs no memory of its own, so arming cannot fail.
 *
 * Invariants: a node is at least as late as the one above it; of equal times the one armed first
 * is the sooner (a simulation replays that). `link` is the pointer that points to the node.
 *
 * Rejected: an array heap (grows, so a wait with a limit could fail for lack of memory; a limit
 * sooner than 100,000 others moved a dozen of them twice), and a wheel (fires late by its slot, or
 * cascades; an idle program would tick).
 */
#include "rt/timer.h"

#include "rt/task.h"

static bool sooner(const struct weir__timer *a, const struct weir__timer *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && (int32_t)(a->seq - b->seq) < 0);
}

/* Of two tops without neighbours: the later one goes below the other, which is returned. */
static struct weir__timer *meld(struct weir__timer *a, struct weir__timer *b)
{
	if (sooner(b, a)) {
		struct weir__timer *swap = a;
		a = b;
		b = swap;
	}
	b->next = a->child;
	if (b->next)
		b->next->link = &b->next;
	b->link = &a->child;
	a->child = b;
	return a;
}

/* One top from a list of neighbours: melds them in pairs, then the pairs into one. */
static struct weir__timer *gather(struct weir__timer *first)
{
	struct weir__timer *pairs = NULL, *all = NULL;

	while (first) {
		struct weir__timer *a = first, *b = a->next;

		first = b ? b->next : NULL;
		if (b)
			a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct weir__timer *next = pairs->next;

		all = all ? meld(all, pairs) : pairs;
		pairs = next;
	}
	return all;
}

static void add(struct weir__worker *w, struct weir__timer *t)
{
	t = w->timers ? meld(w->timers, t) : t;
	w->timers = t;
	t->link = &w->timers;
	t->next = NULL;
}

void weir__timer_start(struct weir__timer *t, int64_t at_ns, void (*fn)(struct weir__timer *t))
{
	struct weir__worker *w = weir__self();

	weir__assert(w != NULL, "a timer was started outside of a worker");
	weir__timer_stop(t);
	t->at_ns = at_ns;
	t->fn = fn;
	t->worker = (uint16_t)w->index;
	t->seq = w->timer_seq++;
	t->child = NULL;
	add(w, t);
}

void weir__timer_stop(struct weir__timer *t)
{
	struct weir__worker *w = weir__self();

	if (!t->link)
		return;
	weir__assert(w != NULL && w->index == t->worker, "a timer was stopped on another worker");
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
	t->link = NULL;
	if (t->child)
		add(w, gather(t->child));
}

int64_t weir__timer_next(const struct weir__worker *w)
{
	return w->timers ? w->timers->at_ns : WEIR_NEVER;
}

void weir__timers_run(struct weir__worker *w, int64_t now_ns)
{
	while (w->timers && w->timers->at_ns <= now_ns) {
		struct weir__timer *t = w->timers;

		weir__timer_stop(t);
		t->fn(t);
	}
}
