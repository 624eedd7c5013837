/* SPDX-License-Identifier: MIT */
/* Stealing, and what else is seldom done to the queues of new tasks. See fresh.h. */
#include "rt/fresh.h"

/* At a time: so long the owner may have to wait. Of a very long queue more, for there the thief
 * need not walk from task to task. */
enum { STEAL_MAX = 256, STEAL_MAX_LONG = 4096, ASIDE_MAX = 256 };
#define THIEF_EVERY_NS WEIR_US(50)
#define STEAL_PAYS_NS  1000 /* a task */
#define STEAL_PAUSE_NS WEIR_MS(1)
#define SMALL_PAYS_NS  WEIR_US(50)
#define SMALL_EVERY_NS WEIR_US(200)

/* How long must a queue be that is stolen from now? */
static uint32_t least_loot(void)
{
	int64_t none = __atomic_load_n(&weir__rt.no_steal_until, __ATOMIC_RELAXED);
	int64_t small = __atomic_load_n(&weir__rt.no_small_until, __ATOMIC_RELAXED);

	if (weir__unlikely(none) && weir__now_coarse() < none)
		return UINT32_MAX;
	return weir__unlikely(small) && weir_now() < small ? STEAL_MAX : 2;
}

static bool can_steal_from(const struct weir__worker *from, uint32_t least)
{
	uint32_t count = __atomic_load_n(&from->fresh_count, __ATOMIC_SEQ_CST);

	/* How many were put aside is not known; the owner has other things to do than to take
	 * them. */
	if (__atomic_load_n(&from->fresh_aside, __ATOMIC_SEQ_CST))
		count += 2;
	return count >= least;
}

void weir__fresh_wake_one(struct weir__worker *not_this)
{
	int64_t now;

	if (__atomic_load_n(&weir__rt.searching, __ATOMIC_RELAXED))
		return;
	/* Waking costs a system call; while a burst of small tasks is spawned, one in a while is
	 * enough. */
	now = weir__now_coarse();
	if (now < not_this->no_wake_until || !can_steal_from(not_this, least_loot()))
		return;
	not_this->no_wake_until = now + THIEF_EVERY_NS;
	for (int i = 0; i < weir__rt.count; i++) {
		struct weir__worker *w = &weir__rt.workers[i];
		if (w == not_this || !__atomic_load_n(&w->sleeping, __ATOMIC_RELAXED))
			continue;
		weir__worker_kick(w);
		return;
	}
}

/* By its owner. False: there is no more room. */
static bool put_aside(struct weir__worker *w, weir__task *t)
{
	weir__task *newest = __atomic_load_n(&w->fresh_aside, __ATOMIC_RELAXED);

	if (!newest)
		w->aside_count = 0;
	if (w->aside_count == ASIDE_MAX)
		return false;
	w->aside_count++;
	do {
		t->next = newest;
		weir__point();
	} while (!__atomic_compare_exchange_n(&w->fresh_aside, &newest, t, false, __ATOMIC_SEQ_CST,
	                                      __ATOMIC_RELAXED));
	return true;
}

void weir__fresh_gather(struct weir__worker *w)
{
	/* Release: who finds nothing there finds the lock taken, or the queue longer. */
	weir__task *t = __atomic_exchange_n(&w->fresh_aside, NULL, __ATOMIC_ACQ_REL);
	weir__task *oldest = NULL, *next;

	for (; t; t = next) {
		next = t->next;
		t->next = oldest;
		oldest = t;
	}
	for (t = oldest; t; t = next) {
		next = t->next;
		weir__fresh_link(w, t);
	}
}

uint32_t weir__fresh_append_locked(struct weir__worker *w, weir__task *t)
{
	uint32_t count;

	if (w != weir__self() || !weir__lock_try(&w->fresh_lock.lock)) {
		if (w == weir__self() && put_aside(w, t))
			return __atomic_load_n(&w->fresh_count, __ATOMIC_RELAXED) + 1;
		weir__bias_acquire(&w->fresh_lock, weir__here());
	}
	count = weir__fresh_append(w, t);
	weir__bias_release(&w->fresh_lock, weir__here());
	if (w != weir__self())
		weir__worker_kick(w);
	return count;
}

weir__task *weir__fresh_take_locked(struct weir__worker *w)
{
	weir__task *t;

	weir__bias_acquire(&w->fresh_lock, w->index);
	t = weir__fresh_take(w);
	weir__bias_release(&w->fresh_lock, w->index);
	return t;
}

weir__task *weir__fresh_wake_one_and(struct weir__worker *w, weir__task *t)
{
	weir__fresh_wake_one(w);
	return t;
}

weir__task *weir__fresh_adopt(struct weir__worker *w, weir__task *t)
{
	struct weir__part *part = weir__scope_part(t->ctx.scope, w->index);

	if (!part) {
		/* Without memory for it the task goes back to where it was started. */
		weir__place(t, t->worker);
		return NULL;
	}
	t->member.part = part;
	__atomic_store_n(&t->worker, w, __ATOMIC_RELAXED); /* For good. */
	return t;
}

void weir__fresh_mark(struct weir__worker *w, weir__task *t, uint32_t count)
{
	t->next_mark = NULL;
	w->marks.after = 0;
	if (w->marks.first) {
		w->marks.last->next_mark = t;
	} else {
		w->marks.first = t;
		w->marks.before = count;
	}
	w->marks.last = t;
}

/* Under the lock of who is stolen from: the last task of those that go, and how many they are. */
static weir__task *last_to_take(struct weir__worker *from, uint32_t *ret_n)
{
	struct weir__marks *m = &from->marks;
	weir__task *last = from->fresh_first;
	uint32_t most = (from->fresh_count + 1) / 2, n = 0;

	if (m->first && m->before <= most) {
		if (most > STEAL_MAX_LONG)
			most = STEAL_MAX_LONG;
		do {
			last = m->first;
			n += m->before;
			weir__fresh_next_mark(from);
		} while (m->first && n + WEIR__STRETCH <= most);
	} else {
		if (most > STEAL_MAX)
			most = STEAL_MAX;
		for (n = 1; n < most; n++)
			last = last->next;
		if (m->first)
			m->before -= n;
	}
	*ret_n = n;
	return last;
}

/* Moves half of the other's new tasks here, up to a bound. Takes both locks in turn, never
 * together. */
static bool steal_from(struct weir__worker *w, struct weir__worker *from)
{
	weir__task *first, *last;
	uint32_t n;

	weir__bias_acquire(&from->fresh_lock, weir__here());
	/* Its owner does that sooner, for it has them in its cache; unless it starts no more. */
	if (from->fresh_count < STEAL_MAX)
		weir__fresh_gather(from);
	first = from->fresh_first;
	/* Without memory for a part of its scope here, leave it where it is. */
	if (!first || !weir__scope_part(first->ctx.scope, w->index)) {
		weir__bias_release(&from->fresh_lock, weir__here());
		return false;
	}
	last = last_to_take(from, &n);
	from->fresh_first = last->next;
	if (!from->fresh_first)
		from->fresh_last = &from->fresh_first;
	last->next = NULL;
	__atomic_store_n(&from->fresh_count, from->fresh_count - n, __ATOMIC_RELEASE);
	weir__bias_release(&from->fresh_lock, weir__here());
	weir__count(&w->counts.steals, n);
	w->loot = n;
	w->loot_ended = w->ended;
	w->loot_at = weir_now();
	weir__bias_acquire(&w->fresh_lock, weir__here());
	*w->fresh_last = first;
	w->fresh_last = &last->next;
	weir__fresh_forget(w);
	__atomic_store_n(&w->fresh_count, w->fresh_count + n, __ATOMIC_RELEASE);
	weir__bias_release(&w->fresh_lock, weir__here());
	return true;
}

/* Out of work: did the last theft pay? */
static void judge_loot(struct weir__worker *w)
{
	int64_t now;

	if (!w->loot || weir__simulating)
		return;
	now = weir_now();
	if (w->ended - w->loot_ended >= w->loot && now - w->loot_at < w->loot * STEAL_PAYS_NS)
		__atomic_store_n(&weir__rt.no_steal_until, now + STEAL_PAUSE_NS, __ATOMIC_RELAXED);
	else if (now - w->loot_at < SMALL_PAYS_NS)
		__atomic_store_n(&weir__rt.no_small_until, w->loot_at + SMALL_EVERY_NS,
		                 __ATOMIC_RELAXED);
	w->loot = 0;
}

static bool loot_around(uint32_t least)
{
	for (int i = 0; i < weir__rt.count; i++)
		if (can_steal_from(&weir__rt.workers[i], least))
			return true;
	return false;
}

bool weir__loot_around(void)
{
	return loot_around(least_loot());
}

int64_t weir__steal_again(void)
{
	int64_t none = __atomic_load_n(&weir__rt.no_steal_until, __ATOMIC_RELAXED);
	int64_t small = __atomic_load_n(&weir__rt.no_small_until, __ATOMIC_RELAXED);
	int64_t until = none > small ? none : small;

	return weir__unlikely(until) && until > weir__now_coarse() ? until : WEIR_NEVER;
}

weir__task *weir__steal(struct weir__worker *w)
{
	bool any = __atomic_load_n(&w->steal_any, __ATOMIC_RELAXED) &&
	           __atomic_exchange_n(&w->steal_any, 0, __ATOMIC_RELAXED);
	bool got = false;
	uint32_t start = weir_random((uint32_t)weir__rt.count), least;

	judge_loot(w);
	least = any || weir__simulating ? 1 : least_loot();
	if (!any && !weir__simulating && !loot_around(least))
		return NULL;
	__atomic_add_fetch(&weir__rt.searching, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < weir__rt.count && !got; i++) {
		struct weir__worker *from =
			&weir__rt.workers[(start + (uint32_t)i) % (uint32_t)weir__rt.count];

		got = from != w && can_steal_from(from, least) && steal_from(w, from);
	}
	__atomic_sub_fetch(&weir__rt.searching, 1, __ATOMIC_RELAXED);
	return got ? weir__fresh_pop(w) : NULL;
}
