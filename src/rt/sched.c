/* SPDX-License-Identifier: MIT */
/*
 * The scheduler: what a worker runs next, where a new task goes, and how a worker sleeps and is
 * woken.
 *
 * A worker looks, in this order, at: its inbox (wake-ups and messages from other threads), its
 * timers, run_next (the task readied last, so that a hand-off stays hot), its ready queue, its
 * fresh queue (new tasks, which others may steal), the others' fresh queues; then it sleeps in
 * epoll_wait. run_next inherits the budget of who readied it: after WEIR__RUN_NEXT_MAX in a row the
 * queue gets its turn. A task that leaves switches to the next one itself, unless there are messages;
 * after WEIR__DIRECT_MAX such switches the scheduler gets its turn and lets a fresh task come first.
 * A quarter of a millisecond after the last time it looks at timers and descriptors.
 *
 * Stealing: only what never ran, and only from a queue of two or more, since the owner takes a
 * single one soon (a sleeper is woken when such a queue grows or shrinks, but not more often than
 * every THIEF_EVERY_NS); if it does not, the supervisor notices and lets a sleeper take it
 * (steal_any). Stealing costs both some microseconds: if all that was stolen ended in less than that,
 * nobody steals for STEAL_PAUSE_NS. (What waits for something instead of ending lives on here: that is
 * worth a theft.)
 *
 * Spinning: a worker that has just had messages from others looks for the next for up to 50 µs
 * before it sleeps, since waking a sleeping processor takes about as long. At most one more than
 * half of the workers at a time; not for 10 ms after three vain tries in a row, or after the kernel
 * took the processor away meanwhile.
 *
 * Sleeping: set `sleeping`, look once more at everything that a waker may have left, sleep.
 * Waking: publish, then exchange `sleeping`; the one who gets 1 writes the eventfd. So a burst of
 * messages to one sleeper costs one system call.
 */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rt/census.h"
#include "rt/sim.h"
#include "rt/super.h"
#include "rt/task.h"

enum { STEAL_MAX = 64, ID_BLOCK = 64, SPIN_MISSES = 3, SPIN_PAUSES = 4 };
/* Switches between two glances at the counter, less one: where tasks leave soon, and elsewhere. */
enum { GLANCE_SELDOM = 15, GLANCE_OFTEN = 3 };
#define SPIN_NS        WEIR_US(50)
#define SPIN_GAP_NS    WEIR_US(10)
#define SPIN_PAUSE_NS  WEIR_MS(10)
#define THIEF_EVERY_NS WEIR_US(50)
#define STEAL_PAYS_NS  1000 /* a task */
#define STEAL_PAUSE_NS WEIR_MS(1)

struct weir__runtime weir__rt;
uint32_t weir__outsiders;
uint32_t weir__budget = WEIR__BUDGET;
__thread struct weir__worker *weir__self_tls __attribute__((tls_model("initial-exec")));

/* Has the lines of a task and of its first frames fetched; if there is none, nothing happens. */
static __attribute__((noinline)) weir__task *one_of_crowd(struct weir__worker *w, weir__task *t)
{
	enum { FRAMES = 5 };
	uintptr_t later = (uintptr_t)t->msg.next - offsetof(weir__task, msg);

	w->crowd--;
	for (uintptr_t at = later - FRAMES * WEIR__CACHE_LINE;
	     at < later + offsetof(weir__task, name); at += WEIR__CACHE_LINE)
		__builtin_prefetch((void *)at, 1);
	return t;
}

static weir__task *ready_pop(struct weir__worker *w)
{
	weir__task *t = w->ready_first;

	if (!t)
		return NULL;
	if (weir__simulating && t->next && weir_random(2)) {
		/* Let the oracle take the second instead. */
		weir__task *second = t->next;
		t->next = second->next;
		if (!t->next)
			w->ready_last = &t->next;
		return second;
	}
	w->ready_first = t->next;
	if (!w->ready_first)
		w->ready_last = &w->ready_first;
	return weir__unlikely(w->crowd) ? one_of_crowd(w, t) : t;
}

/* ---- waking ---- */

void weir__worker_kick(struct weir__worker *w)
{
	struct weir__worker *self = weir__self();
	uint64_t one = 1;
	int saved = errno;

	if (weir__simulating) {
		weir__sim_wake(w);
		return;
	}
	if (!__atomic_load_n(&w->sleeping, __ATOMIC_SEQ_CST) ||
	    !__atomic_exchange_n(&w->sleeping, 0, __ATOMIC_SEQ_CST))
		return;
	if (self)
		weir__count(&self->counts.wakes, 1);
	if (write(w->event, &one, sizeof one) < 0)
		weir__die("cannot write an eventfd: %s", strerror(errno));
	errno = saved;
}

void weir__post(int worker, struct weir__msg *m)
{
	struct weir__worker *w = &weir__rt.workers[worker], *self = weir__self();

	if (!self)
		(void)weir__foreign_enter();
	weir__point();
	m->next = __atomic_load_n(&w->inbox, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&w->inbox, &m->next, m, true, __ATOMIC_SEQ_CST,
	                                    __ATOMIC_RELAXED))
		;
	if (w != self)
		weir__worker_kick(w);
	if (!self)
		weir__foreign_leave();
}

static void task_woken(struct weir__msg *m)
{
	weir__ready(weir__self(), weir__container(m, weir__task, msg));
}

void weir__post_late(struct weir__msg *m)
{
	struct weir__worker *w = weir__self();

	m->next = NULL;
	*w->late_last = m;
	w->late_last = &m->next;
}

static bool run_late(struct weir__worker *w)
{
	struct weir__msg *m = w->late_first, *next;

	w->late_first = NULL;
	w->late_last = &w->late_first;
	if (!m)
		return false;
	for (; m; m = next) {
		next = m->next;
		m->fn(m);
	}
	return true;
}

static bool run_inbox(struct weir__worker *w)
{
	struct weir__msg *m, *next, *oldest = NULL;

	if (!__atomic_load_n(&w->inbox, __ATOMIC_RELAXED))
		return false;
	m = __atomic_exchange_n(&w->inbox, NULL, __ATOMIC_ACQUIRE);
	w->had_messages = true;
	for (; m; m = next) {
		next = m->next;
		m->next = oldest;
		oldest = m;
		weir__count(&w->counts.messages, 1);
	}
	for (m = oldest; m; m = next) {
		next = m->next;
		m->fn(m);
	}
	return true;
}

/* ---- new tasks ---- */

/* The task at `t` and its first frame will be wanted next: have the lines here by then. */
static inline void expect(weir__task *t)
{
	char *line = (char *)t - WEIR__CACHE_LINE;

	for (size_t at = 0; at <= offsetof(weir__task, name); at += WEIR__CACHE_LINE)
		__builtin_prefetch(line + at, 1);
}

static void unmark(struct weir__worker *w, weir__task *t)
{
	w->dead = NULL;
	weir__fiber_fini(&t->fiber);
	__atomic_store_n(&t->id, 0, __ATOMIC_RELAXED);
	weir__stack_put(&w->stacks, (char *)(t + 1), t->lowest);
}

static __attribute__((noinline)) void bury_noted(struct weir__worker *w, weir__task *t)
{
	weir__census_note(t);
	w->census_place = t->place;
	w->census_depth = (size_t)((char *)t - (char *)t->lowest);
	unmark(w, t);
}

/* The stack of the task that ended last is free now that it was left. Most end like the one
 * before. */
static inline void bury(struct weir__worker *w)
{
	weir__task *t = w->dead;

	if (weir__likely(t->place == w->census_place && !t->sampled &&
	                 (size_t)((char *)t - (char *)t->lowest) <= w->census_depth))
		unmark(w, t);
	else
		bury_noted(w, t);
}

static void task_entry(void *arg)
{
	weir__task *t = arg;
	struct weir__worker *w = t->worker;

	weir__fiber_arrived(&t->fiber);
	t->result = t->fn(&t->ctx, t->arg);
	if (weir__unlikely(t->open_groups | t->open_scopes))
		weir__die("task %s (%s) ended with a %s", weir__task_name(t), t->place,
		          t->open_groups ? "group that was not joined" :
		                           "scope that it did not close");
	if (weir__list_linked(&t->member.link))
		weir__list_remove(&t->member.link);
	__atomic_store_n(&w->ended, w->ended + 1, __ATOMIC_RELEASE);
	t->end(t);
	if (w->dead)
		bury(w);
	w->dead = t;
	weir__fiber_switch(&t->fiber, weir__after(w), true);
	__builtin_unreachable();
}

/* Hands to a worker a task that nobody else may take. */
static void placed(struct weir__msg *m)
{
	weir__task *t = weir__container(m, weir__task, msg);
	struct weir__worker *w = weir__self();

	m->fn = task_woken;
	t->next = NULL;
	*w->ready_last = t;
	w->ready_last = &t->next;
}

/* A queue of so many tasks has just changed. Looking at the clock costs as much as that: of a long
 * one, each eighth change will do. */
static bool worth_a_thief(uint32_t count)
{
	return count > 1 && (count < 8 || count % 8 == 0);
}

static __attribute__((noinline)) void wake_one(struct weir__worker *not_this)
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

/* Under the lock. */
static uint32_t fresh_append(struct weir__worker *w, weir__task *t)
{
	uint32_t count = w->fresh_count + 1;

	t->next = NULL;
	*w->fresh_last = t;
	w->fresh_last = &t->next;
	__atomic_store_n(&w->fresh_count, count, __ATOMIC_RELEASE);
	return count;
}

/* Under the lock. */
static weir__task *fresh_take(struct weir__worker *w)
{
	weir__task *t = w->fresh_first;

	if (weir__unlikely(!t))
		return NULL;
	w->fresh_first = t->next;
	if (!w->fresh_first)
		w->fresh_last = &w->fresh_first;
	else
		expect(w->fresh_first);
	__atomic_store_n(&w->fresh_count, w->fresh_count - 1, __ATOMIC_RELEASE);
	return t;
}

static __attribute__((noinline)) uint32_t append_locked(struct weir__worker *w, weir__task *t)
{
	uint32_t count;

	weir__bias_acquire(&w->fresh_lock, weir__here());
	count = fresh_append(w, t);
	weir__bias_release(&w->fresh_lock, weir__here());
	if (w != weir__self())
		weir__worker_kick(w);
	return count;
}

static inline void fresh_push(struct weir__worker *w, weir__task *t)
{
	uint32_t count;

	if (weir__likely(weir__bias_enter(&w->fresh_lock, weir__here()))) {
		count = fresh_append(w, t);
		weir__bias_exit(&w->fresh_lock);
	} else {
		count = append_locked(w, t);
	}
	if (weir__unlikely(__atomic_load_n(&weir__rt.idle, __ATOMIC_SEQ_CST)) &&
	    worth_a_thief(count))
		wake_one(w);
}

static __attribute__((noinline)) weir__task *take_locked(struct weir__worker *w)
{
	weir__task *t;

	weir__bias_acquire(&w->fresh_lock, w->index);
	t = fresh_take(w);
	weir__bias_release(&w->fresh_lock, w->index);
	return t;
}

static __attribute__((noinline)) weir__task *wake_one_and(struct weir__worker *w, weir__task *t)
{
	wake_one(w);
	return t;
}

static inline weir__task *fresh_pop(struct weir__worker *w)
{
	weir__task *t;

	if (!__atomic_load_n(&w->fresh_count, __ATOMIC_RELAXED))
		return NULL;
	if (weir__likely(weir__bias_enter(&w->fresh_lock, w->index))) {
		t = fresh_take(w);
		weir__bias_exit(&w->fresh_lock);
	} else {
		t = take_locked(w);
	}
	if (weir__unlikely(!t))
		return NULL;
	__atomic_store_n(&t->worker, w, __ATOMIC_RELAXED); /* For good. */
	if (weir__unlikely(__atomic_load_n(&weir__rt.idle, __ATOMIC_SEQ_CST)) &&
	    worth_a_thief(__atomic_load_n(&w->fresh_count, __ATOMIC_RELAXED)))
		return wake_one_and(w, t);
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
		t = fresh_take(from);
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

static weir__task *steal(struct weir__worker *w)
{
	bool any = __atomic_exchange_n(&w->steal_any, 0, __ATOMIC_RELAXED), got = false;
	uint32_t least = any || weir__simulating ? 1 : 2;
	uint32_t start = weir_random((uint32_t)weir__rt.count);

	judge_loot(w);
	if (!any && !may_steal())
		return NULL;
	__atomic_add_fetch(&weir__rt.searching, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < weir__rt.count && !got; i++) {
		struct weir__worker *from =
			&weir__rt.workers[(start + (uint32_t)i) % (uint32_t)weir__rt.count];

		got = from != w && can_steal_from(from, least) && steal_from(w, from);
	}
	__atomic_sub_fetch(&weir__rt.searching, 1, __ATOMIC_RELAXED);
	return got ? fresh_pop(w) : NULL;
}

/* Numbers are taken by the block, so that workers do not meet at each spawn. */
static uint64_t next_id(struct weir__worker *w)
{
	if (!w)
		return __atomic_add_fetch(&weir__rt.next_id, 1, __ATOMIC_RELAXED);
	if (w->id == w->id_end) {
		w->id = __atomic_fetch_add(&weir__rt.next_id, ID_BLOCK, __ATOMIC_RELAXED);
		w->id_end = w->id + ID_BLOCK;
	}
	return ++w->id;
}

size_t weir_task_count(void)
{
	uint64_t n = 0;

	/* The ended ones first: one that starts and ends meanwhile is not counted below zero. */
	for (int i = 0; i < weir__rt.count; i++)
		n -= __atomic_load_n(&weir__rt.workers[i].ended, __ATOMIC_ACQUIRE);
	for (int i = 0; i < weir__rt.count; i++)
		n += __atomic_load_n(&weir__rt.workers[i].started, __ATOMIC_RELAXED);
	return n + __atomic_load_n(&weir__rt.started, __ATOMIC_RELAXED);
}

static __attribute__((noinline)) struct weir__worker *choose(int worker)
{
	weir__assert(worker < weir__rt.count, "there is no worker %d", worker);
	if (worker < 0)
		worker = (int)(__atomic_fetch_add(&weir__rt.next_worker, 1, __ATOMIC_RELAXED) %
		               (uint32_t)weir__rt.count);
	return &weir__rt.workers[worker];
}

/* By the worker w or (NULL) a foreign thread, for the worker `to`. */
static inline __attribute__((always_inline)) weir__task *
task_new(struct weir__worker *w, struct weir__worker *to, const weir_ctx *ctx)
{
	/* Whatever may fail fails here: an accepted task always runs. */
	struct weir__part *part = weir__scope_part(ctx->scope, to->index);
	weir__task *t;
	char *top;

	if (weir__unlikely(!part))
		return NULL;
	if (w && w->dead)
		bury(w); /* The stack that is still warm. */
	else if (w && w->stacks.count > 1)
		expect(weir__task_at(w->stacks.free[w->stacks.count - 2]));
	top = weir__stack_get(w ? &w->stacks : NULL);
	if (weir__unlikely(!top))
		return NULL;
	t = weir__task_at(top);
	t->sampled = w && weir__census_sample(w->started, weir__stack_bottom(top));
	__atomic_thread_fence(__ATOMIC_RELEASE); /* After the end of the one before: its id. */
	weir__fiber_init(&t->fiber, weir__stack_bottom(top), t, task_entry, t);
	__atomic_store_n(&t->worker, to, __ATOMIC_RELAXED);
	t->msg.fn = task_woken;
	t->wait = NULL;
	t->checked = NULL;
	__atomic_store_n(&t->what, NULL, __ATOMIC_RELAXED);
	t->open_groups = t->open_scopes = 0;
	t->member.link.next = NULL;
	t->member.kind = WEIR__A_TASK;
	t->member.part = part;
	t->ctx = *ctx;
	t->lowest = t;
	__atomic_store_n(&t->since_ns, w ? w->now_ns : weir__now_coarse(), __ATOMIC_RELAXED);
	__atomic_store_n(&t->named, false, __ATOMIC_RELAXED);
	if (w)
		__atomic_store_n(&w->started, w->started + 1, __ATOMIC_RELAXED);
	else
		__atomic_add_fetch(&weir__rt.started, 1, __ATOMIC_RELAXED);
	return t;
}

static inline void describe(weir__task *t, uint64_t id, weir_task_fn *fn, void *arg,
                            const char *name, const char *place, void (*end)(weir__task *t),
                            void *owner)
{
	t->fn = fn;
	t->arg = arg;
	t->end = end;
	t->owner = owner;
	__atomic_store_n(&t->place, place, __ATOMIC_RELAXED);
	__atomic_store_n(&t->given, name, __ATOMIC_RELAXED);
	__atomic_store_n(&t->id, id, __ATOMIC_RELEASE);
}

/* From a foreign thread, or for a certain worker. */
static __attribute__((noinline)) int spawn_away(const weir_ctx *ctx, int worker, weir_task_fn *fn,
                                                void *arg, const char *name, const char *place,
                                                void (*end)(weir__task *t), void *owner)
{
	struct weir__worker *w = weir__self(), *to = choose(worker);
	weir__task *t = task_new(w, to, ctx);

	if (!t)
		return -ENOMEM;
	describe(t, next_id(w), fn, arg, name, place, end, owner);
	if (worker < 0) {
		fresh_push(to, t);
		return 0;
	}
	t->msg.fn = placed;
	if (to == w)
		placed(&t->msg);
	else
		weir__post(worker, &t->msg);
	return 0;
}

int weir__spawn(const weir_ctx *ctx, int worker, weir_task_fn *fn, void *arg, const char *name,
                const char *place, void (*end)(weir__task *t), void *owner)
{
	struct weir__worker *w = weir__self();
	weir__task *t;

	if (weir__unlikely(worker >= 0 || !w))
		return spawn_away(ctx, worker, fn, arg, name, place, end, owner);
	t = task_new(w, w, ctx);
	if (weir__unlikely(!t))
		return -ENOMEM;
	describe(t, next_id(w), fn, arg, name, place, end, owner);
	fresh_push(w, t);
	return 0;
}

/* ---- the loop ---- */

static bool time_to_look(const struct weir__worker *w)
{
	if (weir__simulating)
		return weir_random(16) == 0;
	return weir__cycles() - w->looked >= weir__cycles_per_ms() / 4;
}

/* Puts run_next, which has had its share, behind the others. */
static void yield_run_next(struct weir__worker *w)
{
	weir__task *t = w->run_next;

	w->run_next = NULL;
	t->next = NULL;
	*w->ready_last = t;
	w->ready_last = &t->next;
}

static inline weir__task *pick(struct weir__worker *w)
{
	weir__task *t = w->run_next;

	if (t && ++w->run_next_used <= WEIR__RUN_NEXT_MAX) {
		w->run_next = NULL;
		return t;
	}
	w->run_next_used = 0;
	if (t)
		yield_run_next(w);
	if (weir__simulating ? weir_random(2) == 0 : w->yielded || w->direct >= WEIR__DIRECT_MAX) {
		w->yielded = false;
		if ((t = fresh_pop(w)))
			return t;
	}
	if ((t = ready_pop(w)))
		return t;
	return fresh_pop(w);
}

/* The counter costs as much as the rest: it is looked at the less often the sooner tasks leave. */
static __attribute__((noinline)) weir__task *glance_or_pick(struct weir__worker *w)
{
	uint64_t now;

	if (weir__simulating)
		return time_to_look(w) ? NULL : pick(w);
	if (w->direct & w->glance)
		return pick(w);
	now = weir__cycles();
	w->glance = now - w->glanced < weir__cycles_per_ms() / 64 ? GLANCE_SELDOM : GLANCE_OFTEN;
	w->glanced = now;
	return now - w->looked >= weir__cycles_per_ms() / 4 ? NULL : pick(w);
}

weir__task *weir__pick(struct weir__worker *w)
{
	if (weir__unlikely(weir__simulating || !(w->direct & w->glance) || w->run_next ||
	                   w->yielded))
		return glance_or_pick(w);
	w->run_next_used = 0;
	return w->ready_first ? ready_pop(w) : fresh_pop(w);
}

static void run(struct weir__worker *w, weir__task *t)
{
	weir__mark(w, t);
	weir__fiber_switch(&w->fiber, &t->fiber, false);
	__atomic_store_n(&w->current, NULL, __ATOMIC_RELAXED);
	if (w->dead)
		bury(w);
}

static bool work_around(const struct weir__worker *w)
{
	if (__atomic_load_n(&w->inbox, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&w->fresh_count, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&weir__rt.stopping, __ATOMIC_SEQ_CST))
		return true;
	for (int i = 0; i < weir__rt.count && may_steal(); i++)
		if (can_steal_from(&weir__rt.workers[i], 2))
			return true;
	return false;
}

/* Timers, descriptors and late messages, although tasks are ready. */
static void look(struct weir__worker *w)
{
	w->looked = weir__cycles();
	weir__timers_run(w, weir__clock_refresh(w));
	if (!weir__simulating)
		weir__poll(w, 0);
	run_late(w);
}

/* True when something came. */
static bool spin(struct weir__worker *w)
{
	int64_t begin = weir_now(), last = begin, now;
	bool came = false;

	if (begin < w->no_spin_until)
		return false;
	if (__atomic_fetch_add(&weir__rt.spinning, 1, __ATOMIC_RELAXED) >
	    (uint32_t)weir__rt.count / 2) {
		__atomic_sub_fetch(&weir__rt.spinning, 1, __ATOMIC_RELAXED);
		return false;
	}
	weir__count(&w->counts.spins, 1);
	for (;;) {
		/* Not all the time: whoever has more for us keeps the line of the inbox meanwhile. */
		for (int i = 0; i < SPIN_PAUSES; i++)
			weir__relax();
		came = __atomic_load_n(&w->inbox, __ATOMIC_RELAXED) != NULL ||
		       __atomic_load_n(&w->fresh_count, __ATOMIC_RELAXED) != 0;
		if (came)
			break;
		now = weir_now();
		if (now - last > SPIN_GAP_NS || now - begin > SPIN_NS)
			break;
		last = now;
	}
	__atomic_sub_fetch(&weir__rt.spinning, 1, __ATOMIC_RELAXED);
	if (came) {
		w->spin_misses = 0;
	} else if (++w->spin_misses >= SPIN_MISSES) {
		w->spin_misses = 0;
		w->no_spin_until = begin + SPIN_PAUSE_NS;
	}
	return came;
}

static void go_idle(struct weir__worker *w)
{
	int64_t next;

	if (weir__simulating) {
		if (!work_around(w))
			weir__sim_idle(w);
		weir__timers_run(w, weir__clock_refresh(w));
		return;
	}
	if (w->had_messages) {
		w->had_messages = false;
		if (weir__rt.count > 1 && spin(w))
			return;
	}
	if (w->stacks.count > WEIR__STACKS_ASLEEP)
		weir__stack_cache_flush(&w->stacks, WEIR__STACKS_ASLEEP);
	__atomic_store_n(&w->sleeps_until, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&w->sleeping, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&weir__rt.idle, 1, __ATOMIC_SEQ_CST);
	if (!work_around(w)) {
		weir__count(&w->counts.parks, 1);
		next = weir__timer_next(w);
		__atomic_store_n(&w->sleeps_until, next, __ATOMIC_RELAXED);
		if (next == WEIR_NEVER) {
			weir__poll(w, WEIR_NEVER);
		} else {
			int64_t left = next - weir_now();
			weir__poll(w, left > 0 ? left : 0);
		}
	}
	__atomic_store_n(&w->sleeping, 0, __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&weir__rt.idle, 1, __ATOMIC_SEQ_CST);
	weir__super_wake();
	weir__timers_run(w, weir__clock_refresh(w));
}

void weir__worker_loop(struct weir__worker *w)
{
	while (!__atomic_load_n(&weir__rt.stopping, __ATOMIC_RELAXED)) {
		weir__task *t;

		run_inbox(w);
		if (time_to_look(w))
			look(w);
		t = pick(w);
		if (!t && weir__rt.count > 1)
			t = steal(w);
		w->direct = 0;
		if (t)
			run(w, t);
		else if (!run_late(w))
			go_idle(w);
	}
	while (run_inbox(w) || run_late(w))
		;
}

int weir__worker_init(struct weir__worker *w, int index)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

	memset(w, 0, sizeof *w);
	w->index = index;
	w->late_last = &w->late_first;
	w->ready_last = &w->ready_first;
	w->fresh_last = &w->fresh_first;
	weir__bias_init_owned(&w->fresh_lock, index);
	w->now_ns = weir_now();
	w->rng = ((uint64_t)index + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)w->now_ns;
	w->epoll = w->event = -1;
	if (weir__simulating)
		return 0;
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	w->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->epoll < 0 || w->event < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->event, &ev) < 0)
		return -errno;
	return 0;
}

void weir__worker_fini(struct weir__worker *w)
{
	if (w->epoll >= 0)
		close(w->epoll);
	if (w->event >= 0)
		close(w->event);
	weir__stack_cache_flush(&w->stacks, 0);
	weir__scopes_flush(w);
}

uint32_t weir_random(uint32_t n)
{
	static __thread uint64_t foreign;
	struct weir__worker *w = weir__self();
	uint64_t *state = w ? &w->rng : &foreign, x;

	if (weir__simulating) {
		x = weir__sim_random();
	} else {
		if (!*state)
			*state = (uint64_t)weir_now() | 1;
		x = *state;
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		*state = x;
		x *= 0x2545f4914f6cdd1du;
	}
	return n ? (uint32_t)(((x >> 32) * n) >> 32) : 0;
}
