/* SPDX-License-Identifier: MIT */
/*
 * The simulation: logical workers are fibers on one thread. The driver picks one of those that
 * have something to do, by the oracle, and switches to wherever it was: in its scheduler, or in
 * the middle of a task. weir__point(), which stands in every lock and every claim, may switch
 * back. So claims race against parks, stops and timers as they would on real threads, but a seed
 * replays them exactly.
 *
 * Who goes on is chosen in one of two ways, half of the seeds each:
 *  - at random: a point switches with a chance of one in SWITCH_ONE_IN, to anybody;
 *  - by priorities (after PCT, "A Randomized Scheduler with Probabilistic Guarantees of Finding
 *    Bugs", ASPLOS 2010): the highest that has something to do goes on, and at a few points chosen
 *    by the oracle the one that runs falls below all others. So one logical worker may stand still
 *    in the middle of something while another does very much, which a random choice at every point
 *    hardly ever tries. Who has passed ALONE_MAX points in a row falls too: it may be waiting for
 *    another by asking again and again.
 *
 * The clock stands still while anybody runs; when all logical workers are idle it jumps to the
 * next timer. No timer left: deadlock.
 *
 * A logical worker that was switched out while it holds a short lock is waited for:
 * weir__lock_slow() gives way until the lock is free.
 */
#include "rt/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <weir/sim.h>

#include "rt/offload.h"
#include "rt/task.h"
#include "rt/wall.h"
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#endif

enum { SWITCH_ONE_IN = 8, WORKERS_MAX = 3, ALONE_MAX = 500, STEPS_LOG_MAX = 10, CRASHED = 86 };
enum { GUARD = 64 * 1024 };

bool weir__simulating;
uint64_t weir__sim_runs;

static struct {
	uint64_t seed, rng, trace;
	int64_t now_ns;
	struct weir__fiber driver;
	bool ended;
	uint32_t refuse_one_in, crash_one_in;
	/* By priorities: */
	int rank[WORKERS_MAX], lowest;
	uint32_t steps; /* between two falls, at most; 0: at random */
	uint32_t left, alone;
} sim;

int64_t weir__sim_now(void)
{
	return sim.now_ns;
}

uint64_t weir_sim_trace(void)
{
	return sim.trace;
}

/* splitmix64; every choice goes into the trace. */
uint64_t weir__sim_random(void)
{
	uint64_t z = sim.rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	sim.trace = (sim.trace ^ z ^ (uint64_t)sim.now_ns) * 0x100000001b3u;
	return z;
}

static void to_driver(struct weir__worker *w)
{
	struct weir__fiber *at = w->current ? &w->current->fiber : &w->fiber;

	w->sim_at = at;
	weir__fiber_switch(at, &sim.driver, false);
}

static void fall(struct weir__worker *w)
{
	sim.rank[w->index] = --sim.lowest;
	sim.left = 1 + weir_random(sim.steps);
	sim.alone = 0;
}

static bool outranked(const struct weir__worker *w)
{
	for (int i = 0; i < weir__rt.count; i++)
		if (!weir__rt.workers[i].sim_idle && sim.rank[i] > sim.rank[w->index])
			return true;
	return false;
}

void weir__sim_point(void)
{
	struct weir__worker *w = weir__self();

	if (!w)
		return;
	if (!sim.steps) {
		if (weir_random(SWITCH_ONE_IN) == 0)
			to_driver(w);
		return;
	}
	if (--sim.left == 0 || ++sim.alone > ALONE_MAX)
		fall(w);
	if (outranked(w))
		to_driver(w);
}

void weir__sim_give_way(void)
{
	struct weir__worker *w = weir__self();

	if (w && sim.steps)
		fall(w);
	weir__sim_point();
}

/* How far a seed's priorities reach. */
static void choose_scheduler(void)
{
	if (weir_random(2))
		return;
	sim.steps = 16u << weir_random(STEPS_LOG_MAX);
	sim.left = 1 + weir_random(sim.steps);
	for (int i = 0; i < weir__rt.count; i++)
		sim.rank[i] = (int)weir_random(1000);
}

void weir_sim_refuse_memory(uint32_t one_in)
{
	sim.refuse_one_in = one_in;
}

bool weir__sim_refuses(void)
{
	return sim.refuse_one_in && weir__self() && weir_random(sim.refuse_one_in) == 0;
}

void weir_sim_crash(uint32_t one_in)
{
	sim.crash_one_in = one_in;
}

void weir__sim_crash_point(void)
{
	if (sim.crash_one_in && weir_random(sim.crash_one_in) == 0)
		_exit(CRASHED);
}

void weir__sim_idle(struct weir__worker *w)
{
	w->sim_idle = true;
	to_driver(w);
}

void weir__sim_wake(struct weir__worker *w)
{
	w->sim_idle = false;
}

static void worker_entry(void *arg)
{
	struct weir__worker *w = arg;

	weir__fiber_arrived(&w->fiber);
	weir__worker_loop(w);
	w->sim_idle = true;
	weir__fiber_switch(&w->fiber, &sim.driver, true);
}

/* A logical worker's, kept for later runs; offloaded calls run on it too, and have as much of it as
 * on threads of their own. */
static char *stack_of(int worker)
{
	static char *stacks[WORKERS_MAX];
	char *at = stacks[worker];

	if (at)
		return at;
	at = mmap(NULL, GUARD + WEIR__OFFLOAD_STACK, PROT_READ | PROT_WRITE,
	          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	weir__assert(at != MAP_FAILED && mprotect(at, GUARD, PROT_NONE) == 0,
	             "no memory for a simulation");
	at += GUARD;
	(void)VALGRIND_STACK_REGISTER(at, at + WEIR__OFFLOAD_STACK);
	return stacks[worker] = at;
}

static void root_ended(weir__task *t)
{
	weir__rt.result = t->result;
	sim.ended = true;
}

/* The worker that goes on, or NULL when all are idle. */
static struct weir__worker *pick(void)
{
	struct weir__worker *ready[WORKERS_MAX];
	uint32_t n = 0;

	for (int i = 0; i < weir__rt.count; i++) {
		if (weir__rt.workers[i].sim_idle)
			continue;
		if (sim.steps && n) {
			if (sim.rank[i] > sim.rank[ready[0]->index])
				ready[0] = &weir__rt.workers[i];
			continue;
		}
		ready[n++] = &weir__rt.workers[i];
	}
	return n ? ready[n > 1 ? weir_random(n) : 0] : NULL;
}

static void jump(void)
{
	int64_t next = WEIR_NEVER;

	for (int i = 0; i < weir__rt.count; i++)
		if (weir__timer_next(&weir__rt.workers[i]) < next)
			next = weir__timer_next(&weir__rt.workers[i]);
	if (next == WEIR_NEVER) {
		fprintf(stderr,
		        "weir: deadlock in the simulation of seed %llu: every task waits for "
		        "another\n",
		        (unsigned long long)sim.seed);
		weir_dump(STDERR_FILENO);
		abort();
	}
	if (next > sim.now_ns)
		sim.now_ns = next;
	for (int i = 0; i < weir__rt.count; i++)
		if (weir__timer_next(&weir__rt.workers[i]) <= sim.now_ns)
			weir__rt.workers[i].sim_idle = false;
}

static void resume(struct weir__worker *w)
{
	weir__self_tls = w;
	weir__fiber_switch(&sim.driver, w->sim_at, false);
	weir__self_tls = NULL;
}

int weir_sim(uint64_t seed, weir_task_fn *fn, void *arg)
{
	static __attribute__((aligned(64))) struct weir__worker workers[WORKERS_MAX];
	weir_ctx ctx = { .deadline_ns = WEIR_NEVER };
	struct weir__worker *w;
	int r;

	weir__assert(!weir__rt.workers, "weir_sim() was called while a run goes on");
	memset(&weir__rt, 0, sizeof weir__rt);
	memset(&sim, 0, sizeof sim);
	weir__wall_sim_reset();
	weir__sim_runs++;
	sim.seed = sim.rng = seed;
	sim.trace = 0xcbf29ce484222325u;
	weir__simulating = true;
	weir__budget = 0;
	weir__fiber_init_thread(&sim.driver);
	weir__rt.workers = workers;
	weir__rt.grace_ns = WEIR_SEC(30);
	weir__rt.count = 1 + (int)weir_random(WORKERS_MAX);
	choose_scheduler();
	for (int i = 0; i < weir__rt.count; i++) {
		weir__worker_init(&workers[i], i);
		workers[i].error = &errno;
		weir__fiber_init(&workers[i].fiber, stack_of(i), stack_of(i) + WEIR__OFFLOAD_STACK,
		                 worker_entry, &workers[i]);
		workers[i].sim_at = &workers[i].fiber;
	}
	weir__self_tls = &workers[0];
	weir__rt.root = ctx.scope = weir__scope_new(NULL, NULL);
	weir__self_tls = NULL;
	weir__assert(ctx.scope != NULL, "no memory for a simulation");
	r = weir__spawn(&ctx, 0, fn, arg, "root", "weir_sim", root_ended, NULL);
	while (r == 0 && !sim.ended) {
		w = pick();
		if (w)
			resume(w);
		else
			jump();
	}
	sim.refuse_one_in = sim.crash_one_in = 0;
	__atomic_store_n(&weir__rt.stopping, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < weir__rt.count; i++)
		workers[i].sim_idle = false;
	while ((w = pick()))
		resume(w);
	weir__assert(weir_task_count() == 0, "%zu tasks were leaked in the simulation of seed %llu",
	             weir_task_count(), (unsigned long long)seed);
	weir__self_tls = &workers[0];
	weir__scope_free(weir__rt.root);
	weir__self_tls = NULL;
	for (int i = 0; i < weir__rt.count; i++) {
		weir__fiber_fini(&workers[i].fiber);
		weir__worker_fini(&workers[i]);
	}
	weir__rt.workers = NULL;
	weir__rt.count = 0;
	weir__simulating = false;
	weir__budget = WEIR__BUDGET;
	return r < 0 ? r : weir__rt.result;
}
