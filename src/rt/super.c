/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's loop: signals, the clock of a stop, the watchdog's tick. It runs on the thread
 * that called weir_run(), asks nothing of the workers, and reads their lists under their short
 * locks; so a stop ends although every worker spins.
 *
 * A stop: drain the root at once, cancel it at two thirds of the budget, report and leave at its
 * end or at a second signal.
 *
 * Resting: `resting` is set, then the workers are looked at; a worker clears its sleeping mark,
 * then looks at `resting`: one of both sees the other.
 */
#include "rt/super.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "rt/fresh.h"
#include "rt/hog.h"
#include "rt/lock.h"
#include "rt/task.h"

#define TICK_NS WEIR_MS(100)
enum { HOG_TICKS = 10, REPORT_SECONDS = 5 };

static struct {
	int event, signals;
	sigset_t old_mask;
	uint32_t resting, done, stop_asked; /* atomic */
	int64_t stop_at;                    /* atomic; 0: not stopping */
	bool canceled, told_deadlock;
	weir__lock tick_lock;
	struct weir__list ticks;
	weir__lock report_lock;
	struct weir__list last_words;
	struct watched {
		uint64_t turn;
		unsigned same;
		uint32_t fresh;
	} * watched;
} super;

static void poke(void)
{
	uint64_t one = 1;
	int saved = errno;

	if (write(super.event, &one, sizeof one) < 0 && errno != EAGAIN)
		weir__die("cannot write an eventfd: %s", strerror(errno));
	errno = saved;
}

void weir__super_wake(void)
{
	if (__atomic_load_n(&super.resting, __ATOMIC_SEQ_CST) &&
	    __atomic_exchange_n(&super.resting, 0, __ATOMIC_SEQ_CST))
		poke();
}

void weir__super_done(void)
{
	__atomic_store_n(&super.done, 1, __ATOMIC_RELEASE);
	poke();
}

void weir_stop(void)
{
	if (weir__foreign_enter() &&
	    __atomic_exchange_n(&super.stop_asked, 1, __ATOMIC_ACQ_REL) == 0)
		poke();
	weir__foreign_leave();
}

int64_t weir_stop_left(void)
{
	int64_t at = __atomic_load_n(&super.stop_at, __ATOMIC_RELAXED), left;

	if (!at)
		return WEIR_NEVER;
	left = at + weir__rt.grace_ns - weir_now();
	return left > 0 ? left : 0;
}

void weir__tick_add(struct weir__tick *t)
{
	weir__lock_acquire(&super.tick_lock);
	if (!super.ticks.next)
		weir__list_init(&super.ticks);
	weir__list_append(&super.ticks, &t->link);
	weir__lock_release(&super.tick_lock);
}

void weir__tick_remove(struct weir__tick *t)
{
	weir__lock_acquire(&super.tick_lock);
	if (weir__list_linked(&t->link))
		weir__list_remove(&t->link);
	weir__lock_release(&super.tick_lock);
}

void weir__last_word_add(struct weir__last_word *w)
{
	weir__lock_acquire(&super.report_lock);
	if (!super.last_words.next)
		weir__list_init(&super.last_words);
	weir__list_append(&super.last_words, &w->link);
	weir__lock_release(&super.report_lock);
}

void weir__last_word_remove(struct weir__last_word *w)
{
	weir__lock_acquire(&super.report_lock);
	weir__list_remove(&w->link);
	weir__lock_release(&super.report_lock);
}

static void say_last_words(void)
{
	weir__lock_acquire(&super.report_lock);
	if (weir__rt.opt.report) {
		weir__rt.opt.report(STDERR_FILENO, weir__rt.opt.report_arg);
	} else if (super.last_words.next) {
		weir__list_each (node, &super.last_words) {
			struct weir__last_word *w =
				weir__container(node, struct weir__last_word, link);

			w->fn(STDERR_FILENO, w);
		}
	}
	weir__lock_release(&super.report_lock);
}

int weir__super_init(void)
{
	sigset_t mask;

	super.resting = super.done = super.stop_asked = 0;
	super.stop_at = 0;
	super.canceled = super.told_deadlock = false;
	super.signals = -1;
	super.event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	super.watched = calloc((size_t)weir__rt.count, sizeof *super.watched);
	if (super.event < 0 || !super.watched)
		return super.event < 0 ? -errno : -ENOMEM;
	if (!weir__rt.opt.signals)
		return 0;
	weir__hog_init();
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mask, &super.old_mask);
	super.signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	return super.signals < 0 ? -errno : 0;
}

void weir__super_fini(void)
{
	if (super.signals >= 0) {
		close(super.signals);
		/* After a stop the program is about to end: a further signal must not change
		 * how. */
		if (!super.stop_at)
			pthread_sigmask(SIG_SETMASK, &super.old_mask, NULL);
	}
	close(super.event);
	free(super.watched);
	super.watched = NULL;
}

static void out_of_patience(int sig)
{
	(void)sig;
	_exit(3);
}

/* What follows takes locks, runs a callback and writes to stderr, which nobody may read: none of
 * that may keep the process. */
static void hard_stop(const char *why)
{
	sigset_t mask;

	if (weir__rt.opt.forced_ok) {
		signal(SIGALRM, out_of_patience);
		sigemptyset(&mask);
		sigaddset(&mask, SIGALRM);
		pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
		alarm(REPORT_SECONDS);
	}
	weir__log(WEIR__ERROR, "stop", "forced: %s; %zu tasks still alive", why, weir_task_count());
	say_last_words();
	weir_dump(STDERR_FILENO);
	if (weir__rt.opt.forced_ok)
		_exit(3);
	abort();
}

static void begin_stop(const char *why)
{
	if (super.stop_at)
		return;
	weir__log(WEIR__INFO, "stop", "%s: draining, %.3g s at most", why,
	          (double)weir__rt.grace_ns / 1e9);
	__atomic_store_n(&super.stop_at, weir_now(), __ATOMIC_RELAXED);
	weir_scope_drain(weir__rt.root);
}

static void take_signals(void)
{
	struct signalfd_siginfo si;

	while (super.signals >= 0 && read(super.signals, &si, sizeof si) == (ssize_t)sizeof si) {
		if (si.ssi_signo == SIGUSR1) {
			weir_dump(STDERR_FILENO);
			continue;
		}
		if (super.stop_at)
			hard_stop("a second signal");
		begin_stop(si.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
	}
}

/* The moment of the stop's next step. */
static int64_t next_step(void)
{
	if (!super.stop_at)
		return WEIR_NEVER;
	return super.stop_at + (super.canceled ? weir__rt.grace_ns : weir__rt.grace_ns / 3 * 2);
}

static void step(void)
{
	if (weir_now() < next_step())
		return;
	if (super.canceled)
		hard_stop("the budget is used up");
	super.canceled = true;
	weir__log(WEIR__WARN, "stop", "two thirds of the budget are used up: cancelling");
	weir_scope_cancel(weir__rt.root, -ECANCELED, "the stop's budget is nearly used up");
}

/* True when something has run since the last tick. */
static bool watch(void)
{
	bool active = false;

	for (int i = 0; i < weir__rt.count; i++) {
		struct weir__worker *w = &weir__rt.workers[i];
		struct watched *seen = &super.watched[i];
		uint64_t turn = __atomic_load_n(&w->turn, __ATOMIC_RELAXED);
		bool asleep = __atomic_load_n(&w->sleeping, __ATOMIC_RELAXED);

		if (turn != seen->turn || !asleep)
			active = true;
		if (turn == seen->turn && !asleep) {
			bool fresh = weir__fresh_any(w);

			if (++seen->same == HOG_TICKS)
				weir__hog_report(w);
			/* Its queue holds what an idle worker should take, even a single task. */
			for (int k = 0; fresh && k < weir__rt.count; k++) {
				struct weir__worker *thief = &weir__rt.workers[k];
				if (!__atomic_load_n(&thief->sleeping, __ATOMIC_RELAXED))
					continue;
				__atomic_store_n(&thief->steal_any, 1, __ATOMIC_RELAXED);
				weir__worker_kick(thief);
				break;
			}
		} else {
			seen->same = 0;
		}
		seen->turn = turn;
	}
	return active;
}

static void note_drain(const struct weir__task_view *t, void *arg)
{
	*(bool *)arg |= t->what && (t->wait_flags & WEIR__UNTIL_DRAIN);
}

/* All workers sleep, no timer is armed, and nothing outside can wake a task: then only a signal's
 * drain is left as a way out, and only for who waits until drain. */
static void check_deadlock(void)
{
	bool waits_for_drain = false;

	if (super.told_deadlock || super.stop_at ||
	    __atomic_load_n(&weir__outsiders, __ATOMIC_RELAXED) || !weir_task_count())
		return;
	for (int i = 0; i < weir__rt.count; i++) {
		struct weir__worker *w = &weir__rt.workers[i];

		if (!__atomic_load_n(&w->sleeping, __ATOMIC_SEQ_CST) ||
		    __atomic_load_n(&w->sleeps_until, __ATOMIC_RELAXED) != WEIR_NEVER)
			return;
	}
	weir__tasks_each(note_drain, &waits_for_drain);
	if (waits_for_drain)
		return;
	super.told_deadlock = true;
	weir__log(WEIR__ERROR, "rt", "deadlock: every task waits for another");
	weir_dump(STDERR_FILENO);
}

static void tick(void)
{
	weir__lock_acquire(&super.tick_lock);
	if (super.ticks.next) {
		weir__list_each_safe (node, &super.ticks) {
			struct weir__tick *t = weir__container(node, struct weir__tick, link);
			t->fn(t);
		}
	}
	weir__lock_release(&super.tick_lock);
}

void weir__super_loop(void)
{
	struct pollfd p[2] = { { .fd = super.event, .events = POLLIN },
		               { .fd = super.signals, .events = POLLIN } };
	bool active = true;

	while (!__atomic_load_n(&super.done, __ATOMIC_ACQUIRE)) {
		int64_t now = weir_now(), until = next_step(), trim = weir__stacks_trim(now);
		uint64_t drop;
		int ms = -1;

		if (!active) {
			__atomic_store_n(&super.resting, 1, __ATOMIC_SEQ_CST);
			active = __atomic_load_n(&weir__rt.idle, __ATOMIC_SEQ_CST) <
			         (uint32_t)weir__rt.count;
		}
		if (active) {
			__atomic_store_n(&super.resting, 0, __ATOMIC_SEQ_CST);
			if (until > now + TICK_NS)
				until = now + TICK_NS;
		}
		if (until > trim)
			until = trim;
		if (until != WEIR_NEVER)
			ms = until > now ? (int)((until - now) / 1000000) + 1 : 0;
		if (poll(p, 2, ms) < 0 && errno != EINTR)
			weir__die("the supervisor cannot poll: %s", strerror(errno));
		if (p[0].revents && read(super.event, &drop, sizeof drop) < 0 && errno != EAGAIN)
			weir__die("the supervisor cannot read its eventfd: %s", strerror(errno));
		take_signals();
		if (__atomic_load_n(&super.stop_asked, __ATOMIC_ACQUIRE))
			begin_stop("asked to stop");
		step();
		tick();
		active = watch();
		if (!active)
			check_deadlock();
	}
}
