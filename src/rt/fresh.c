/* SPDX-License-Identifier: MIT */
/* Stealing, and what else is seldom done to the queues of new tasks. See fresh.h. */
#include "rt/fresh.h"

enum { STEAL_MAX = 256 }; /* of twice as many the owner would wait for long */
#define THIEF_EVERY_NS WEIR_US(50)
#define STEAL_PAYS_NS  1000 /* a task */
#define STEAL_PAUSE_NS WEIR_MS(1)

void weir__fresh_wake_one(struct weir__worker *not_this)
{
	int64_t now;

	if (__atomic_load_n(&weir__rt.searching, __ATOMIC_RELAXED))
		return;
	/* Waking costs a system call; while a burst of small tasks is spawned, one in a while is
	 * enough. */
	now = weir__now_coarse();
	if (now < not_this->no_wake_until ||
	    now < __atomic_load_n(&weir__rt.no_steal_until, __ATOMIC_RELAXED))
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

uint32_t weir__fresh_append_locked(struct weir__worker *w, weir__task *t)
{
	uint32_t count;

	weir__bias_acquire(&w->fresh_lock, weir__here());
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

static bool can_steal_from(const struct weir__worker *from, uint32_t least)
{
	return __atomic_load_n(&from->fresh_count, __ATOMIC_SEQ_CST) >= least;
}

/* Moves half of the other's new tasks here, at most STEAL_MAX. Takes both locks in turn, never
 * together. */
static bool steal_from(struct weir__worker *w, struct weir__worker *from)
{
	weir__task *first = NULL, **last = &first, *t;
	uint32_t n;

	weir__bias_acquire(&from->fresh_lock, weir__here());
	n = (from->fresh_count + 1) / 2;
	if (n > STEAL_MAX)
		n = STEAL_MAX;
	/* Without memory for a part of its scope here, leave it where it is. */
	w->loot_ended = w->ended;
	while (n-- && from->fresh_first) {
		struct weir__part *part = weir__scope_part(from->fresh_first->ctx.scope, w->index);

		if (!part)
			break;
		t = weir__fresh_take(from);
		t->member.part = part;
		weir__count(&w->counts.steals, 1);
		w->loot++;
		t->next = NULL;
		*last = t;
		last = &t->next;
	}
	weir__bias_release(&from->fresh_lock, weir__here());
	if (!first)
		return false;
	w->loot_at = weir__now_coarse();
	weir__bias_acquire(&w->fresh_lock, weir__here());
	for (t = first; t; t = t->next)
		__atomic_store_n(&w->fresh_count, w->fresh_count + 1, __ATOMIC_RELEASE);
	*w->fresh_last = first;
	w->fresh_last = last;
	w->fresh_crowd.count = 0;
	weir__bias_release(&w->fresh_lock, weir__here());
	return true;
}

/* Out of work: did the last theft pay? */
static void judge_loot(struct weir__worker *w)
{
	int64_t now;

	if (!w->loot || weir__simulating)
		return;
	now = weir__now_coarse();
	if (w->ended - w->loot_ended >= w->loot && now - w->loot_at < w->loot * STEAL_PAYS_NS)
		__atomic_store_n(&weir__rt.no_steal_until, now + STEAL_PAUSE_NS, __ATOMIC_RELAXED);
	w->loot = 0;
}

static bool may_steal(void)
{
	int64_t until = __atomic_load_n(&weir__rt.no_steal_until, __ATOMIC_RELAXED);

	return weir__likely(!until) || weir__now_coarse() >= until;
}

weir__task *weir__steal(struct weir__worker *w)
{
	bool any = __atomic_load_n(&w->steal_any, __ATOMIC_RELAXED) &&
	           __atomic_exchange_n(&w->steal_any, 0, __ATOMIC_RELAXED);
	bool got = false;
	uint32_t least = any || weir__simulating ? 1 : 2;
	uint32_t start = weir_random((uint32_t)weir__rt.count);

	judge_loot(w);
	if (!any && !weir__simulating && !weir__loot_around())
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

bool weir__loot_around(void)
{
	for (int i = 0; i < weir__rt.count && may_steal(); i++)
		if (can_steal_from(&weir__rt.workers[i], 2))
			return true;
	return false;
}
