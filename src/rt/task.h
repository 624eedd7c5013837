/* SPDX-License-Identifier: MIT */
/*
 * Tasks and workers as the runtime sees them. A task's struct lies at the top of its own stack,
 * in the page that is touched anyway. Fields are the home worker's unless they say otherwise;
 * those that the dump reads from elsewhere are written with relaxed atomics.
 */
#ifndef WEIR_RT_TASK_H
#define WEIR_RT_TASK_H

#include <pthread.h>
#include <weir/sim.h>
#include <weir/task.h>

#include "base/list.h"
#include "rt/bias.h"
#include "rt/fiber.h"
#include "rt/msg.h"
#include "rt/scope.h"
#include "rt/stack.h"
#include "rt/timer.h"
#include "rt/wait.h"

enum {
	WEIR__TASK_NAME = 32,
	WEIR__BUDGET = 128,
	WEIR__RUN_NEXT_MAX = 16, /* hand-offs before the queue gets its turn */
	WEIR__DIRECT_MAX = 64,   /* switches from task to task before the scheduler gets its turn */
};

struct weir__worker;

/* By lines of the cache: that of a switch, then that of a wait; the last is for tasks with a name.
 * Who wakes it from another worker touches none of them, only its wait. */
struct weir__task {
	struct weir__fiber fiber;
	struct weir__worker *worker; /* its home, once it has run or was placed */
	struct weir__task *next;     /* in a run queue */
	uint32_t spent;              /* operations since it was switched to */
	unsigned wait_flags;
	struct weir__msg msg; /* its start when placed; later see struct weir__crowd */

	struct weir__wait *wait; /* what it is parked on */
	const char *what;        /* what it waits on; NULL: ready or running */
	void *lowest;            /* the deepest stack pointer seen at a switch */
	union {
		weir_scope *wait_scope;
		weir__task *next_mark; /* before it runs: see struct weir__marks */
	};
	const void *on;
	int64_t since_ns, until_ns; /* for those who look; until only while it waits */
	weir_scope *checked;        /* the last scope found fit for its waits */

	weir_ctx ctx; /* what fn gets */
	unsigned open_groups, open_scopes;
	struct weir__member member; /* in its scope, from its first wait on */

	uint64_t id; /* atomic: 0, no task lives here; see weir__task_look() */
	weir_task_fn *fn;
	void *arg;
	void (*end)(
		weir__task *t); /* called on its worker after fn, as the last act on its stack */
	void *owner;            /* for end: its group */
	int result;
	bool sampled; /* its stack was zeroed for the census */
	bool named;   /* atomic: by itself */
	const char *place;
	const char *given; /* the name of its function … */

	char name[WEIR__TASK_NAME]; /* … and its own, if it is named */
} __attribute__((aligned(WEIR__CACHE_LINE)));

/* The task whose stack has this top: there, whether it lives or not. */
static inline weir__task *weir__task_at(char *top)
{
	return (weir__task *)(void *)top - 1;
}

/* What others see of a task. */
struct weir__task_view {
	uint64_t id;
	const char *name, *place, *what;
	char own_name[WEIR__TASK_NAME];
	int worker;
	bool runs;
	unsigned wait_flags;
	int64_t since_ns, until_ns;
};

/* False: no task lives there. Any thread. */
bool weir__task_look(const weir__task *t, struct weir__task_view *ret);
void weir__tasks_each(void (*fn)(const struct weir__task_view *t, void *arg), void *arg);

static inline const char *weir__task_name(const weir__task *t)
{
	return t->named ? t->name : t->given;
}

/*
 * For who wakes very many tasks at once: their stacks are no longer in the caches, and each of them
 * would be waited for. So a task of a crowd knows one that will run a little later, in the message
 * that it does not need while it is ready, and the scheduler has that one's memory fetched
 * meanwhile.
 */
enum { WEIR__CROWD_AHEAD = 4 };
struct weir__crowd {
	weir__task *last[WEIR__CROWD_AHEAD];
	unsigned count;
};

/*
 * Of a very long queue of new tasks each 256th is marked and knows the next mark, so that a thief
 * takes whole stretches without a walk along tasks that are in no cache.
 */
enum { WEIR__STRETCH = 256 };
struct weir__marks {
	weir__task *first, *last; /* first: NULL, there are none */
	uint32_t before;          /* tasks up to the first mark, itself included */
	uint32_t after;           /* tasks since the last one */
};

struct weir__worker {
	int index;
	pthread_t thread;
	struct weir__fiber fiber; /* the scheduler's own stack */
	weir__task *current;      /* atomic: others look who runs */
	weir__task *run_next, *ready_first, **ready_last;
	struct weir__msg *late_first, **late_last; /* weir__post_late() */
	unsigned run_next_used, direct;
	unsigned glance;     /* a mask for direct: when to look at the counter */
	uint64_t glanced;    /* at the counter; its value */
	uint64_t looked;     /* at descriptors and timers; the counter's value */
	uint64_t id, id_end; /* for new tasks */
	/* What it stole last: how many tasks, when (by the exact clock), and how many had ended
	 * here before. */
	uint32_t loot;
	int64_t loot_at;
	uint64_t loot_ended;
	int *error; /* errno of its thread: each task has its own value */
	struct weir__stack_cache stacks;
	weir_scope *scopes; /* free ones, linked through parent */
	uint32_t scope_count;
	uint32_t crowd;             /* of its ready tasks, so many know who comes later */
	int64_t now_ns;             /* as of the last look at the clock … */
	uint64_t now_cycles;        /* … which was when the counter stood here */
	struct weir__timer *timers; /* the soonest, above all others */
	uint32_t timer_seq;
	uint64_t rng;
	int epoll, event;
	bool yielded;      /* a task let others run: new ones too */
	bool had_messages; /* since it last was idle … */
	bool has_woken;    /* … and whether it woke another that slept */
	/* Of spins after messages, and of those for the answer of one that it woke. */
	struct {
		unsigned misses;
		int64_t not_until;
	} spin[2];
	int64_t no_wake_until, no_move_until;
	const char *census_place; /* the last that was noted, and how deep */
	size_t census_depth;
	weir__task *dead; /* ended, its stack is free once it is left */

	/* Written by others too: a cache line of their own. */
	__attribute__((aligned(64))) struct weir__msg *inbox; /* atomic, newest first: messages,
	                                                        * and waits that are over */
	/* Apart, so that who has posted finds it in its own cache although the inbox has gone
	 * already. */
	__attribute__((aligned(64))) uint32_t sleeping; /* atomic */
	uint32_t steal_any;   /* atomic: the supervisor saw an old task on somebody's queue */
	int64_t sleeps_until; /* atomic: while sleeping */
	int64_t woken_at;     /* atomic: by whom got `sleeping`; 0: nobody yet */

	/* Read by others. */
	__attribute__((aligned(64))) uint64_t turn; /* atomic, relaxed: switches so far */
	uint64_t started, ended;                    /* atomic, relaxed: tasks, by this worker */
	int cpu;                 /* atomic, relaxed: where it last span or woke */
	bool spins;              /* atomic, relaxed: it looks for messages before it sleeps */
	weir_worker_info counts; /* relaxed; its own, but for hogs: the supervisor's */

	/* Where idle ones look often, apart from what is written often: its own lock, seldom taken
	 * by others; guards: */
	__attribute__((aligned(64))) struct weir__bias fresh_lock;
	weir__task *fresh_first, **fresh_last; /* new tasks that may be stolen */
	uint32_t fresh_count;                  /* atomic too, for a look without the lock */
	uint32_t aside_count;                  /* its own: an upper bound of them */
	weir__task *fresh_aside; /* atomic: its newest ones, started while another had the lock */
	struct weir__marks marks;
	struct weir__crowd fresh_crowd; /* its last ones, while it is very long */

	/* Simulation. */
	struct weir__fiber sim_fiber; /* the scheduler's stack when logical */
	struct weir__fiber *sim_at;   /* where it goes on */
	bool sim_idle;
};

struct weir__runtime {
	/* Read all the time and written hardly ever: away from what is. */
	struct weir__worker *workers;
	int count;
	uint32_t stopping; /* atomic: workers leave when set */
	uint64_t started;  /* atomic: tasks, by foreign threads */
	weir_scope *root;
	weir_options opt;
	int64_t grace_ns;
	int result;

	__attribute__((aligned(WEIR__CACHE_LINE))) uint32_t idle; /* atomic: workers asleep */
	uint32_t searching;     /* atomic: workers looking for work to steal */
	uint32_t next_worker;   /* atomic: for spawns from foreign threads */
	int64_t no_steal_until; /* atomic: stealing has not paid */
	int64_t no_small_until; /* atomic: nor has stealing a few */
	int64_t wake_ns;        /* atomic: what waking a sleeping worker takes */
	uint64_t next_id;       /* atomic */
};

extern struct weir__runtime weir__rt;

/* Operations that a task may do before others get a turn; 0 in a simulation, where the oracle
 * decides that each time. */
extern uint32_t weir__budget;

/* The worker of the calling thread (in a simulation: the logical one), or NULL. */
extern __thread struct weir__worker *weir__self_tls __attribute__((tls_model("initial-exec")));
static inline struct weir__worker *weir__self(void)
{
	return weir__self_tls;
}
static inline int weir__here(void)
{
	return weir__self_tls ? weir__self_tls->index : -1;
}
static inline weir__task *weir__current(void)
{
	return weir__self_tls ? weir__self_tls->current : NULL;
}

/* Counts for others to see. One thread counts, so no atomic read-modify-write is needed. */
static inline void weir__count(uint64_t *n, uint64_t more)
{
	__atomic_store_n(n, *n + more, __ATOMIC_RELAXED);
}

/* Starts a task under a context's scope: on `worker`, or (-1) here and stealable until it runs. 0
 * or -ENOMEM. From any thread. */
int weir__spawn(const weir_ctx *ctx, int worker, weir_task_fn *fn, void *arg, const char *name,
                const char *place, void (*end)(weir__task *t), void *owner);

/* Hands a task that never ran to a worker for good. */
void weir__place(weir__task *t, struct weir__worker *to);

/* Frees the stack of the task that ended last, now that it was left. */
void weir__bury(struct weir__worker *w);

/* Puts a task of this worker on its run queue. */
static inline void weir__ready(struct weir__worker *w, weir__task *t)
{
	/* In a simulation the oracle chooses from the queue. */
	if (!w->run_next && !weir__simulating) {
		w->run_next = t;
		return;
	}
	t->next = NULL;
	*w->ready_last = t;
	w->ready_last = &t->next;
}

static inline void weir__crowd_add(struct weir__crowd *crowd, weir__task *t)
{
	weir__task **place = &crowd->last[crowd->count++ % WEIR__CROWD_AHEAD];

	if (crowd->count > WEIR__CROWD_AHEAD)
		(*place)->msg.next = &t->msg;
	*place = t;
	t->msg.next = &t->msg;
}

/* Has the lines fetched of the task that will run a little later than this one, and those of its
 * first frames; if there is none, nothing happens. */
static inline void weir__crowd_expect(const weir__task *t)
{
	enum { FRAMES = 5 };
	uintptr_t later = (uintptr_t)t->msg.next - offsetof(weir__task, msg);

	for (uintptr_t at = later - FRAMES * WEIR__CACHE_LINE;
	     at < later + offsetof(weir__task, name); at += WEIR__CACHE_LINE)
		__builtin_prefetch((void *)at, 1);
}

static inline void weir__ready_in_crowd(struct weir__worker *w, weir__task *t,
                                        struct weir__crowd *crowd)
{
	weir__crowd_add(crowd, t);
	w->crowd++;
	weir__ready(w, t);
}

/* Puts a wait that is claimed into the inbox of its worker. */
void weir__post_wake(struct weir__wait *w);

static inline void weir__wait_init_for(struct weir__wait *w, weir__task *t)
{
	w->task = t;
	w->claim = WEIR__OPEN;
	w->worker = t->worker->index;
}

/* It runs from now on. */
static inline void weir__mark(struct weir__worker *w, weir__task *t)
{
	__atomic_store_n(&w->current, t, __ATOMIC_RELAXED);
	t->spent = 0;
	__atomic_store_n(&w->turn, w->turn + 1, __ATOMIC_RELAXED);
}

/* What runs next on this worker; NULL: the scheduler should look. */
weir__task *weir__pick(struct weir__worker *w);

/* Where a task that leaves switches to: straight to the next one, mostly, since every round
 * through the scheduler costs as much as a switch; or to the scheduler. */
static inline __attribute__((always_inline)) struct weir__fiber *weir__after(struct weir__worker *w)
{
	weir__task *next = w->run_next;

	if (weir__unlikely(__atomic_load_n(&w->inbox, __ATOMIC_RELAXED) != NULL) ||
	    weir__unlikely(++w->direct >= WEIR__DIRECT_MAX))
		return &w->fiber;
	if (weir__likely(next && w->run_next_used < WEIR__RUN_NEXT_MAX)) {
		w->run_next = NULL;
		w->run_next_used++;
	} else {
		next = weir__pick(w);
		if (!next)
			return &w->fiber;
	}
	weir__mark(w, next);
	return &next->fiber;
}

/* Leaves the current task, which is parked or queued. Inlined: after the switch there should be as
 * few returns as can be. */
static inline __attribute__((always_inline)) void weir__leave(struct weir__worker *w, weir__task *t)
{
	void *sp = __builtin_frame_address(0);
	int saved = *w->error;
	struct weir__fiber *to = weir__after(w);

	if (sp < t->lowest)
		t->lowest = sp;
	if (weir__likely(to != &t->fiber))
		weir__fiber_switch(&t->fiber, to, false);
	*w->error = saved;
}

/* Parks the current task until its wait is claimed: the claim's value. */
static inline __attribute__((always_inline)) int weir__park(weir__task *t, struct weir__wait *w,
                                                            weir_scope *scope, unsigned flags,
                                                            int64_t until_ns, const char *what,
                                                            const void *on)
{
	struct weir__worker *worker = t->worker;

	t->wait = w;
	t->wait_scope = scope;
	__atomic_store_n(&t->wait_flags, flags, __ATOMIC_RELAXED);
	__atomic_store_n(&t->on, on, __ATOMIC_RELAXED);
	__atomic_store_n(&t->since_ns, worker->now_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&t->until_ns, until_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&t->what, what, __ATOMIC_RELEASE);
	weir__leave(worker, t);
	__atomic_store_n(&t->what, NULL, __ATOMIC_RELAXED);
	t->wait = NULL;
	return __atomic_load_n(&w->claim, __ATOMIC_ACQUIRE);
}

/* The scheduler, until the runtime stops. */
void weir__worker_loop(struct weir__worker *w);
int weir__worker_init(struct weir__worker *w, int index);
void weir__worker_fini(struct weir__worker *w);
void weir__worker_kick(struct weir__worker *w);

/* The stop code with which a wait of this task under ctx ends at once, or 0. */
int weir__stop_of(weir__task *t, const weir_ctx *ctx);

static inline bool weir__may_wait(const weir__task *t, const weir_ctx *ctx)
{
	return weir__likely(ctx->scope == t->ctx.scope) &&
	       weir__likely(!(weir__scope_state(ctx->scope) & (WEIR__MEMBERS | WEIR__CANCELED)));
}

/* weir__wait_check(), if that is known to be 0 by a few instructions; else false, and nothing
 * happened. */
static inline bool weir__wait_at_once(weir__task *t, const weir_ctx *ctx)
{
	return weir__likely(t) && weir__may_wait(t, ctx) && weir__likely(++t->spent < weir__budget);
}

/* Counts what can wake a task from outside the runtime (descriptors under epoll, offloaded calls,
 * foreign channels, holds of groups); with none, and all waiting, the supervisor reports a
 * deadlock. Not of the run: a channel may be older and younger than one. */
extern uint32_t weir__outsiders; /* atomic */
static inline void weir__outside(int change)
{
	__atomic_add_fetch(&weir__outsiders, (uint32_t)change, __ATOMIC_RELAXED);
}

/* run.c: around what a foreign thread does to the workers. What it wakes may be the last task, and
 * then the end of the run waits until it has left. false: nothing runs. */
bool weir__foreign_enter(void);
void weir__foreign_leave(void);

/* scope.c */
void weir__scopes_flush(struct weir__worker *w);

/* timer.c */
int64_t weir__timer_next(const struct weir__worker *w); /* WEIR_NEVER: none */
void weir__timers_run(struct weir__worker *w, int64_t now_ns);

/* poll.c: wait for events up to timeout_ns (0: only look; WEIR_NEVER: no end). */
void weir__poll(struct weir__worker *w, int64_t timeout_ns);

/* clock.c: how far weir__now_coarse() may lag behind; and a look at the exact clock. */
int64_t weir__clock_resolution(void);
int64_t weir__clock_refresh(struct weir__worker *w);
uint64_t weir__cycles(void);        /* the processor's counter … */
uint64_t weir__cycles_per_ms(void); /* … and at most a millisecond of it */

#endif
