/* SPDX-License-Identifier: MIT */
/*
 * New tasks: each worker has a queue of those that were started on it and have not run, from which
 * idle workers may steal.
 *
 * Stealing: only what never ran, and only from a queue of two or more, since the owner takes a
 * single one soon (a sleeper is woken when such a queue grows or shrinks, but not more often than
 * every THIEF_EVERY_NS); if it does not, the supervisor notices and lets a sleeper take it
 * (steal_any). Stealing costs both some 20 µs: if all that was stolen ended in less than a
 * microsecond each, nobody steals for STEAL_PAUSE_NS. (What waits for something instead of ending
 * lives on here: that is worth a theft.) And if the thief was through with it sooner than it is
 * worth, the next theft comes SMALL_EVERY_NS after that one, or when there is more to take.
 *
 * The owner does not wait for a thief when it starts tasks: while another has the lock it puts them
 * aside, newest first, on a short list that it alone adds to and whoever has the lock takes as a
 * whole: itself, mostly. Who has taken that list holds tasks that are nowhere else until they are
 * in the queue: so an owner that finds both empty looks whether somebody has the lock, too, or it
 * would sleep while some of them are left to it (tests/model/aside.pml).
 */
#ifndef WEIR_RT_FRESH_H
#define WEIR_RT_FRESH_H

#include "rt/task.h"

/* A queue as long as this is longer than the caches. Its tasks know who comes a little later, as
 * those of a crowd do, and some of them are marked. */
enum { WEIR__FRESH_LONG = 2048 };

/* Lets a worker that sleeps look for what it may steal. */
void weir__fresh_wake_one(struct weir__worker *not_this);

/* Under the lock: what was put aside joins the queue. */
void weir__fresh_gather(struct weir__worker *w);

/* Where it has to be shared, a moment ago or often: the slow halves of what is below. */
uint32_t weir__fresh_append_locked(struct weir__worker *w, weir__task *t);
weir__task *weir__fresh_take_locked(struct weir__worker *w);
weir__task *weir__fresh_adopt(struct weir__worker *w, weir__task *t);
weir__task *weir__fresh_wake_one_and(struct weir__worker *w, weir__task *t);

/* Moves tasks of others here and gives the first of them, or NULL. */
weir__task *weir__steal(struct weir__worker *w);
/* Could that find something? */
bool weir__loot_around(void);
/* When does a pause in stealing end, in which nobody is woken for what is there to take? WEIR_NEVER: there
 * is none. */
int64_t weir__steal_again(void);

/* The task at `t` and its first frame will be wanted next: have the lines here by then. */
static inline void weir__expect(weir__task *t)
{
	char *line = (char *)t - WEIR__CACHE_LINE;

	for (size_t at = 0; at <= offsetof(weir__task, name); at += WEIR__CACHE_LINE)
		__builtin_prefetch(line + at, 1);
}

/* A queue of so many tasks has just changed: should somebody who sleeps know? Looking at the clock
 * costs as much as that: of a long one, each eighth change will do. */
static inline bool weir__fresh_wants_thief(uint32_t count)
{
	return weir__unlikely(__atomic_load_n(&weir__rt.idle, __ATOMIC_SEQ_CST)) && count > 1 &&
	       (count < 8 || count % 8 == 0);
}

/* May there be new tasks in its queue, or on their way to it? For its owner the answer no is sure;
 * the order is that of weir__fresh_gather(). */
static inline bool weir__fresh_any(const struct weir__worker *w)
{
	return __atomic_load_n(&w->fresh_aside, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&w->fresh_lock.lock.word, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&w->fresh_count, __ATOMIC_SEQ_CST);
}

static inline bool weir__fresh_has_aside(const struct weir__worker *w)
{
	return weir__unlikely(__atomic_load_n(&w->fresh_aside, __ATOMIC_RELAXED) != NULL);
}

/* Under the lock: the task, the queue's last of `count`, is a mark. */
void weir__fresh_mark(struct weir__worker *w, weir__task *t, uint32_t count);

/* Under the lock: who is in the queue is of no crowd and no mark. */
static inline void weir__fresh_forget(struct weir__worker *w)
{
	w->fresh_crowd.count = 0;
	w->marks = (struct weir__marks){ .first = NULL };
}

/* Under the lock: the first mark is no longer in the queue. */
static inline void weir__fresh_next_mark(struct weir__worker *w)
{
	w->marks.first = w->marks.first->next_mark;
	w->marks.before = WEIR__STRETCH;
}

/* Under the lock: at the end of the queue as it is. */
static inline uint32_t weir__fresh_link(struct weir__worker *w, weir__task *t)
{
	uint32_t count = w->fresh_count + 1;

	t->next = NULL;
	*w->fresh_last = t;
	w->fresh_last = &t->next;
	if (weir__unlikely(count > WEIR__FRESH_LONG)) {
		/* Who is in the crowd is among the last of the queue, or was taken from a short
		 * one. */
		if (count == WEIR__FRESH_LONG + 1)
			weir__fresh_forget(w);
		weir__crowd_add(&w->fresh_crowd, t);
		if (weir__unlikely(++w->marks.after >= WEIR__STRETCH))
			weir__fresh_mark(w, t, count);
	}
	__atomic_store_n(&w->fresh_count, count, __ATOMIC_RELEASE);
	return count;
}

/* Under the lock. */
static inline uint32_t weir__fresh_append(struct weir__worker *w, weir__task *t)
{
	if (weir__fresh_has_aside(w))
		weir__fresh_gather(w);
	return weir__fresh_link(w, t);
}

/* Under the lock. */
static inline weir__task *weir__fresh_take(struct weir__worker *w)
{
	weir__task *t;

	if (weir__fresh_has_aside(w))
		weir__fresh_gather(w);
	t = w->fresh_first;
	if (weir__unlikely(!t))
		return NULL;
	if (weir__unlikely(w->marks.first != NULL) && --w->marks.before == 0)
		weir__fresh_next_mark(w);
	w->fresh_first = t->next;
	if (!w->fresh_first)
		w->fresh_last = &w->fresh_first;
	else if (weir__unlikely(t->msg.next != NULL))
		weir__crowd_expect(t);
	else
		weir__expect(w->fresh_first);
	__atomic_store_n(&w->fresh_count, w->fresh_count - 1, __ATOMIC_RELEASE);
	return t;
}

/* On `w`, or from a foreign thread. */
static inline void weir__fresh_push(struct weir__worker *w, weir__task *t)
{
	uint32_t count;

	if (weir__likely(weir__bias_enter(&w->fresh_lock, weir__here()))) {
		count = weir__fresh_append(w, t);
		weir__bias_exit(&w->fresh_lock);
	} else {
		count = weir__fresh_append_locked(w, t);
	}
	if (weir__fresh_wants_thief(count))
		weir__fresh_wake_one(w);
}

/* The next one, which belongs to this worker from now on, or NULL. */
static inline weir__task *weir__fresh_pop(struct weir__worker *w)
{
	weir__task *t;

	if (!__atomic_load_n(&w->fresh_count, __ATOMIC_RELAXED) && !weir__fresh_any(w))
		return NULL;
	if (weir__likely(weir__bias_enter(&w->fresh_lock, w->index))) {
		t = weir__fresh_take(w);
		weir__bias_exit(&w->fresh_lock);
	} else {
		t = weir__fresh_take_locked(w);
	}
	if (weir__unlikely(!t))
		return NULL;
	if (weir__unlikely(t->worker != w))
		t = weir__fresh_adopt(w, t);
	if (weir__fresh_wants_thief(__atomic_load_n(&w->fresh_count, __ATOMIC_RELAXED)))
		return weir__fresh_wake_one_and(w, t);
	return t;
}

#endif
