/* SPDX-License-Identifier: MIT */
/*
 * A task's start and its end. Whatever may fail fails at the start, since a task that was accepted
 * always runs; the stack of one that has ended is free as soon as its worker has left it.
 */
#include <unistd.h>

#include "rt/census.h"
#include "rt/fresh.h"

enum { ID_BLOCK = 64 };

/* Is there nothing to note about its end? Most tasks end like the one before. */
static inline bool is_usual(const struct weir__worker *w, const weir__task *t)
{
	return weir__likely(t->place == w->census_place && !t->sampled &&
	                    (size_t)((char *)t - (char *)t->lowest) <= w->census_depth);
}

/* Nobody lives there any more. */
static inline void unmark(struct weir__worker *w, weir__task *t)
{
	w->dead = NULL;
	weir__fiber_fini(&t->fiber);
	__atomic_store_n(&t->id, 0, __ATOMIC_RELAXED);
}

static __attribute__((noinline)) void bury_noted(struct weir__worker *w, weir__task *t)
{
	size_t depth = (size_t)((char *)t - (char *)t->lowest);

	weir__census_note(t);
	/* What is as shallow as this one needs no second look at its stack either. */
	w->census_place = weir__stack_shallow((char *)(t + 1), t->lowest) ? t->place : NULL;
	w->census_depth = depth;
	unmark(w, t);
	weir__stack_put(&w->stacks, (char *)(t + 1), t->lowest);
}

static inline void bury(struct weir__worker *w)
{
	weir__task *t = w->dead;

	if (!is_usual(w, t) || weir__unlikely(w->stacks.count == WEIR__STACKS_KEPT)) {
		bury_noted(w, t);
		return;
	}
	unmark(w, t);
	w->stacks.free[w->stacks.count++] = (char *)(t + 1);
}

void weir__bury(struct weir__worker *w)
{
	bury(w);
}

/* Its group's tasks would use what is gone with it: they are told with their places, then
 * itself. */
static _Noreturn __attribute__((noinline)) void left_open(const weir__task *t)
{
	if (t->open_groups)
		weir_dump(STDERR_FILENO);
	weir__die("a task ended with a %s",
	          t->open_groups ? "group that was not joined" : "scope that it did not close");
}

static void task_entry(void *arg)
{
	weir__task *t = arg;
	struct weir__worker *w = t->worker;

	weir__fiber_arrived(&t->fiber);
	t->result = t->fn(&t->ctx, t->arg);
	if (weir__unlikely(t->open_groups | t->open_scopes))
		left_open(t);
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

/* On the worker to which a task was handed that nobody else may take. */
static void placed(struct weir__msg *m)
{
	weir__task *t = weir__container(m, weir__task, msg);
	struct weir__worker *w = weir__self();

	t->next = NULL;
	*w->ready_last = t;
	w->ready_last = &t->next;
}

void weir__place(weir__task *t, struct weir__worker *to)
{
	t->msg.fn = placed;
	if (to == weir__self())
		placed(&t->msg);
	else
		weir__post_to(to, &t->msg);
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

/* Of a task on a stack that is free, by the worker w or (NULL) a foreign thread, for the worker
 * `to`. */
static inline __attribute__((always_inline)) void init(weir__task *t, struct weir__worker *w,
                                                       struct weir__worker *to, const weir_ctx *ctx,
                                                       struct weir__part *part)
{
	__atomic_thread_fence(__ATOMIC_RELEASE); /* After the end of the one before: its id. */
	weir__fiber_init(&t->fiber, weir__stack_bottom(t + 1), t, task_entry, t);
	__atomic_store_n(&t->worker, to, __ATOMIC_RELAXED);
	t->wait = NULL;
	t->msg.next = NULL; /* It is of no crowd. */
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
}

/* Whatever may fail fails here: an accepted task always runs. */
static weir__task *task_new(struct weir__worker *w, struct weir__worker *to, const weir_ctx *ctx)
{
	struct weir__part *part = weir__scope_part(ctx->scope, to->index);
	weir__task *t;
	char *top;

	if (!part)
		return NULL;
	if (w && w->dead)
		bury(w);
	top = weir__stack_get(w ? &w->stacks : NULL);
	if (!top)
		return NULL;
	t = weir__task_at(top);
	t->sampled = w && weir__census_sample(w->started, weir__stack_bottom(top));
	init(t, w, to, ctx, part);
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

static __attribute__((noinline)) int spawn_any(const weir_ctx *ctx, int worker, weir_task_fn *fn,
                                               void *arg, const char *name, const char *place,
                                               void (*end)(weir__task *t), void *owner)
{
	struct weir__worker *w = weir__self(), *to = worker < 0 && w ? w : choose(worker);
	weir__task *t = task_new(w, to, ctx);

	if (!t)
		return -ENOMEM;
	describe(t, next_id(w), fn, arg, name, place, end, owner);
	if (worker < 0)
		weir__fresh_push(to, t);
	else
		weir__place(t, to);
	return 0;
}

/* A stack that is there for the taking; the one that is still warm, if nothing need be noted of the
 * task that left it. */
static inline bool has_stack(const struct weir__worker *w)
{
	return weir__likely(!weir__simulating) &&
	       (w->dead ? is_usual(w, w->dead) : weir__likely(w->stacks.count > 0));
}

static __attribute__((noinline)) int queue_shared(struct weir__worker *w, weir__task *t)
{
	weir__fresh_push(w, t);
	return 0;
}

static __attribute__((noinline)) int wake_a_thief(struct weir__worker *w)
{
	weir__fresh_wake_one(w);
	return 0;
}

/* What it calls in rare cases it calls last, so that the others need not save registers. */
int weir__spawn(const weir_ctx *ctx, int worker, weir_task_fn *fn, void *arg, const char *name,
                const char *place, void (*end)(weir__task *t), void *owner)
{
	struct weir__worker *w = weir__self();
	struct weir__part *part = &ctx->scope->home;
	uint32_t count;
	weir__task *t;

	if (weir__unlikely(worker >= 0 || !w) || weir__unlikely(part->worker != w->index) ||
	    !has_stack(w) || weir__unlikely(weir__census_wants(w->started)) ||
	    weir__unlikely(w->id == w->id_end))
		return spawn_any(ctx, worker, fn, arg, name, place, end, owner);
	t = w->dead;
	if (t) {
		unmark(w, t);
	} else {
		t = weir__task_at(w->stacks.free[--w->stacks.count]);
		if (weir__likely(w->stacks.count >= WEIR__CROWD_AHEAD))
			weir__expect(
				weir__task_at(w->stacks.free[w->stacks.count - WEIR__CROWD_AHEAD]));
	}
	t->sampled = false;
	init(t, w, w, ctx, part);
	describe(t, ++w->id, fn, arg, name, place, end, owner);
	if (weir__unlikely(!weir__bias_enter(&w->fresh_lock, w->index)))
		return queue_shared(w, t);
	count = weir__fresh_append(w, t);
	weir__bias_exit(&w->fresh_lock);
	return weir__fresh_wants_thief(count) ? wake_a_thief(w) : 0;
}
