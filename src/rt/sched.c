/* SPDX-License-Identifier: MIT */
/*
 * The scheduler: what a worker runs next, and how it sleeps and is woken. Where a new task goes is
 * told in fresh.h.
 *
 * A worker looks, in this order, at: its inbox (wake-ups and messages from other threads), its
 * timers, run_next (the task readied last, so that a hand-off stays hot), its ready queue, its
 * fresh queue (new tasks, which others may steal), the others' fresh queues; then it sleeps in
 * epoll_wait. run_next inherits the budget of who readied it: after WEIR__RUN_NEXT_MAX in a row the
 * queue gets its turn. A task that leaves switches to the next one itself, unless there are
 * messages; after WEIR__DIRECT_MAX such switches the scheduler gets its turn and lets a fresh task
 * come first. A quarter of a millisecond after the last time it looks at timers and descriptors.
 *
 * Spinning: a worker that has just had messages from others looks for the next for up to 50 µs
 * before it sleeps, since waking a sleeping processor takes about as long; and so does one that has
 * just woken another, for as much longer as a wake was seen to take, since no answer comes before
 * (else two that answer each other miss each other's answers by a little, and sleep each time). At
 * most one more than half of the workers at a time; not for 10 ms after three vain tries in a row
 * of the same kind (who asks, hears the answer and rests spins in vain after it, but not before),
 * or after the kernel took the processor away meanwhile; and see part_company().
 *
 * Sleeping: set `sleeping`, look once more at everything that a waker may have left, sleep.
 * Waking: publish, then exchange `sleeping`; the one who gets 1 writes the eventfd. So a burst of
 * messages to one sleeper costs one system call.
 */
#include <sched.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rt/fresh.h"
#include "rt/sim.h"
#include "rt/super.h"

enum { SPIN_MISSES = 3 };
/* Switches between two glances at the counter, less one: where tasks leave soon, and elsewhere. */
enum { GLANCE_SELDOM = 15, GLANCE_OFTEN = 3 };
#define SPIN_NS       WEIR_US(50)
#define WAKE_NS_MAX   WEIR_US(150) /* one that took longer waited for a processor */
#define MOVE_EVERY_NS WEIR_MS(50)
#define SPIN_GAP_NS   WEIR_US(10)
#define SPIN_PAUSE_NS WEIR_MS(10)

struct weir__runtime weir__rt;
uint32_t weir__outsiders;
uint32_t weir__budget = WEIR__BUDGET;
__thread struct weir__worker *weir__self_tls __attribute__((tls_model("initial-exec")));

static __attribute__((noinline)) weir__task *one_of_crowd(struct weir__worker *w, weir__task *t)
{
	w->crowd--;
	weir__crowd_expect(t);
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
	if (self) {
		weir__count(&self->counts.wakes, 1);
		self->has_woken = true;
	}
	__atomic_store_n(&w->woken_at, weir_now(), __ATOMIC_RELAXED);
	if (write(w->event, &one, sizeof one) < 0)
		weir__die("cannot write an eventfd: %s", strerror(errno));
	errno = saved;
}

void weir__post(int worker, struct weir__msg *m)
{
	weir__post_to(&weir__rt.workers[worker], m);
}

/* What lies in an inbox: messages, and waits that are over, which are told apart by the lowest bit
 * (so a wait needs no function, and fits into a line of the cache with its node). */
static struct weir__msg *entry_of(struct weir__wait *wait)
{
	return (struct weir__msg *)((uintptr_t)wait | 1);
}

static struct weir__wait *wait_of(struct weir__msg *entry)
{
	return (uintptr_t)entry & 1 ? (struct weir__wait *)((uintptr_t)entry - 1) : NULL;
}

static struct weir__msg **next_of(struct weir__msg *entry)
{
	struct weir__wait *wait = wait_of(entry);

	return wait ? &wait->next : &entry->next;
}

static inline void post(struct weir__worker *w, struct weir__msg *entry, struct weir__msg **next)
{
	struct weir__worker *self = weir__self();

	if (!self)
		(void)weir__foreign_enter();
	weir__point();
	/* Mostly it is empty: a look first would move its line twice. */
	*next = NULL;
	while (!__atomic_compare_exchange_n(&w->inbox, next, entry, true, __ATOMIC_SEQ_CST,
	                                    __ATOMIC_RELAXED))
		;
	if (w != self) {
		weir__worker_kick(w);
		weir__give_away(&w->inbox);
	}
	if (!self)
		weir__foreign_leave();
}

void weir__post_to(struct weir__worker *w, struct weir__msg *m)
{
	post(w, m, &m->next);
}

void weir__post_wake(struct weir__wait *wait)
{
	post(&weir__rt.workers[wait->worker], entry_of(wait), &wait->next);
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
		next = *next_of(m);
		*next_of(m) = oldest;
		oldest = m;
		weir__count(&w->counts.messages, 1);
	}
	for (m = oldest; m; m = next) {
		struct weir__wait *wait = wait_of(m);

		next = *next_of(m);
		if (wait)
			weir__ready(w, wait->task);
		else
			m->fn(m);
	}
	return true;
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
		if ((t = weir__fresh_pop(w)))
			return t;
	}
	if ((t = ready_pop(w)))
		return t;
	return weir__fresh_pop(w);
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
	return w->ready_first ? ready_pop(w) : weir__fresh_pop(w);
}

static void run(struct weir__worker *w, weir__task *t)
{
	weir__mark(w, t);
	weir__fiber_switch(&w->fiber, &t->fiber, false);
	__atomic_store_n(&w->current, NULL, __ATOMIC_RELAXED);
	if (w->dead)
		weir__bury(w);
}

static bool work_around(const struct weir__worker *w)
{
	if (__atomic_load_n(&w->inbox, __ATOMIC_SEQ_CST) || weir__fresh_any(w) ||
	    __atomic_load_n(&weir__rt.stopping, __ATOMIC_SEQ_CST))
		return true;
	return weir__loot_around();
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

/* After a sleep: how long it took to be woken, as a mean over the last ones. */
static void note_wake(struct weir__worker *w)
{
	int64_t at = __atomic_load_n(&w->woken_at, __ATOMIC_RELAXED), took, mean;

	__atomic_store_n(&w->cpu, sched_getcpu(), __ATOMIC_RELAXED);
	if (!at)
		return; /* Not by another worker. */
	took = weir_now() - at;
	if (took > WAKE_NS_MAX)
		took = WAKE_NS_MAX;
	mean = __atomic_load_n(&weir__rt.wake_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&weir__rt.wake_ns, mean ? mean + (took - mean) / 8 : took,
	                 __ATOMIC_RELAXED);
}

/*
 * A spin was in vain. If another worker has the same processor, that is why: the kernel likes to
 * wake a thread where its waker runs, and there it waits until this one sleeps. Two who talk so
 * much that they spin do better on a processor each, so this one moves.
 */
static void part_company(struct weir__worker *w, int64_t now)
{
	cpu_set_t all, others;
	int cpu = sched_getcpu();
	bool shared = false;

	for (int i = 0; i < weir__rt.count; i++)
		shared |= i != w->index &&
		          __atomic_load_n(&weir__rt.workers[i].cpu, __ATOMIC_RELAXED) == cpu;
	if (!shared || now < w->no_move_until)
		return;
	w->no_move_until = now + MOVE_EVERY_NS;
	if (sched_getaffinity(0, sizeof all, &all) < 0 || CPU_COUNT(&all) < weir__rt.count)
		return;
	others = all;
	CPU_CLR(cpu, &others);
	if (sched_setaffinity(0, sizeof others, &others) == 0)
		sched_setaffinity(0, sizeof all, &all);
	__atomic_store_n(&w->cpu, sched_getcpu(), __ATOMIC_RELAXED);
}

/* Each says for itself whether it spins, so that who has found something loses no time with a count
 * that all share. A few more at once do no harm. */
static bool enough_spin(void)
{
	int spinning = 0, most = weir__rt.count / 2;

	if (weir__rt.count == 2)
		return false;
	for (int i = 0; i < weir__rt.count && spinning <= most; i++)
		spinning += __atomic_load_n(&weir__rt.workers[i].spins, __ATOMIC_RELAXED);
	return spinning > most;
}

/* True when something came. `woke`: this worker has just woken another. */
static bool spin(struct weir__worker *w, bool woke)
{
	int64_t most = SPIN_NS + (woke ? __atomic_load_n(&weir__rt.wake_ns, __ATOMIC_RELAXED) : 0);
	int64_t begin = weir_now(), last = begin, now;
	bool came = false;

	if (begin < w->spin[woke].not_until)
		return false;
	if (enough_spin())
		return false;
	if (woke)
		sched_yield(); /* The kernel may have put it where this one runs. */
	__atomic_store_n(&w->spins, true, __ATOMIC_RELAXED);
	weir__count(&w->counts.spins, 1);
	__atomic_store_n(&w->cpu, sched_getcpu(), __ATOMIC_RELAXED);
	for (;;) {
		weir__relax();
		/* So that taking what has come costs no second trip. */
		weir__fetch_to_write(&w->inbox);
		came = __atomic_load_n(&w->inbox, __ATOMIC_RELAXED) != NULL ||
		       __atomic_load_n(&w->fresh_count, __ATOMIC_RELAXED) != 0;
		if (came)
			break;
		now = weir_now();
		if (now - last > SPIN_GAP_NS || now - begin > most)
			break;
		last = now;
	}
	__atomic_store_n(&w->spins, false, __ATOMIC_RELAXED);
	if (!came)
		part_company(w, begin);
	if (came) {
		w->spin[woke].misses = 0;
	} else if (++w->spin[woke].misses >= SPIN_MISSES) {
		w->spin[woke].misses = 0;
		w->spin[woke].not_until = begin + SPIN_PAUSE_NS;
	}
	return came;
}

static void go_idle(struct weir__worker *w)
{
	bool woke = w->has_woken;
	int64_t next, again;

	if (weir__simulating) {
		if (!work_around(w))
			weir__sim_idle(w);
		weir__timers_run(w, weir__clock_refresh(w));
		return;
	}
	if (w->had_messages || woke) {
		w->had_messages = w->has_woken = false;
		if (weir__rt.count > 1 && spin(w, woke))
			return;
	}
	if (w->stacks.count > WEIR__STACKS_ASLEEP)
		weir__stack_cache_flush(&w->stacks, WEIR__STACKS_ASLEEP);
	__atomic_store_n(&w->sleeps_until, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&w->woken_at, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&w->sleeping, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&weir__rt.idle, 1, __ATOMIC_SEQ_CST);
	if (!work_around(w)) {
		weir__count(&w->counts.parks, 1);
		next = weir__timer_next(w);
		again = weir__steal_again();
		if (again < next)
			next = again;
		__atomic_store_n(&w->sleeps_until, next, __ATOMIC_RELAXED);
		if (next == WEIR_NEVER) {
			weir__poll(w, WEIR_NEVER);
		} else {
			int64_t left = next - weir_now();
			weir__poll(w, left > 0 ? left : 0);
		}
		note_wake(w);
		/* That was a look, with the timers below: one before the task that it woke runs
		 * would find nothing. */
		w->looked = weir__cycles();
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
			t = weir__steal(w);
		w->direct = 0;
		if (t)
			run(w, t);
		else if (!run_late(w) && (weir__simulating || !weir__stacks_ahead()))
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
	w->epoll = w->event = w->cpu = -1;
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
