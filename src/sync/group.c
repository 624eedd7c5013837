/* SPDX-License-Identifier: MIT */
/*
 * A group counts its tasks and holds in two parts, whose sum counts: `here`, which only the
 * maker's worker changes, without atomics, since most tasks end where they were started; and
 * `away`, for everybody else. Nobody waits for the sum to be zero before weir_group_wait() has
 * marked `away` with JOINING, and only the maker's worker ever finds that it is: a task that ends
 * on another worker after that posts it a message to look again. One message at a time: QUEUED,
 * set by the very change that counts the task's end, says that it is under way, and that the
 * joiner cannot return before it has arrived.
 *
 * After its end was counted a task touches nothing of the group, unless it has set QUEUED: the
 * joiner may already have returned.
 */
#include <weir/group.h>

#include "rt/task.h"

#define GROUP_MAGIC 0x96009001u

enum { JOINING = 1, QUEUED = 2, ONE = 4 };

struct inner {
	uint32_t magic;
	int32_t here;  /* atomic, relaxed: written by the maker's worker */
	int32_t away;  /* atomic: in steps of ONE, and the flags */
	int32_t error; /* atomic: the first */
	weir_scope *scope;
	bool cancel_on_error;
	struct weir__msg look;  /* to the maker's worker */
	struct weir__wait wait; /* for the join; names the maker and its worker from the start */
};
_Static_assert(sizeof(struct inner) <= sizeof((weir_group *)0)->priv,
               "weir_group.priv is too small");

static struct inner *inner(const weir_group *g)
{
	struct inner *p = (struct inner *)g->priv;

	weir__assert(p->magic == GROUP_MAGIC, "a group was used before its init or after its wait");
	return p;
}

/* Is this the maker's worker? */
static bool at_home(const struct inner *p)
{
	return weir__here() == p->wait.worker;
}

/* At home. */
static void add_here(struct inner *p, int32_t n)
{
	__atomic_store_n(&p->here, p->here + n, __ATOMIC_RELAXED);
}

static void add_one(struct inner *p)
{
	if (weir__likely(at_home(p)))
		add_here(p, 1);
	else
		__atomic_add_fetch(&p->away, ONE, __ATOMIC_RELAXED);
}

/* At home, with what `away` was a moment ago: how many have not ended. */
static int32_t sum(const struct inner *p, int32_t away)
{
	return p->here + (away & ~(ONE - 1)) / ONE;
}

/* At home: the joiner returns if all have ended. */
static void look(struct inner *p, int32_t away)
{
	if (!(away & QUEUED) && sum(p, away) == 0 && weir__wait_claim_local(&p->wait, 0))
		weir__wait_wake(&p->wait);
}

static void look_arrived(struct weir__msg *m)
{
	struct inner *p = weir__container(m, struct inner, look);

	look(p, __atomic_and_fetch(&p->away, ~QUEUED, __ATOMIC_ACQ_REL));
}

/* One has ended. */
static __attribute__((noinline)) void put(struct inner *p)
{
	int32_t old, new;

	weir__point();
	if (at_home(p)) {
		add_here(p, -1);
		old = __atomic_load_n(&p->away, __ATOMIC_ACQUIRE);
		if (old & JOINING)
			look(p, old);
		return;
	}
	weir__point();
	old = __atomic_load_n(&p->away, __ATOMIC_RELAXED);
	do {
		new = old - ONE;
		if (old & JOINING)
			new |= QUEUED;
	} while (!__atomic_compare_exchange_n(&p->away, &old, new, true, __ATOMIC_ACQ_REL,
	                                      __ATOMIC_RELAXED));
	if ((new &QUEUED) && !(old & QUEUED))
		weir__post(p->wait.worker, &p->look);
}

void weir_group_init(weir_group *g, const weir_ctx *ctx)
{
	struct inner *p = (struct inner *)g->priv;
	weir__task *maker = weir__current();

	weir__assert(!(ctx->flags & WEIR__SHIELD), "a group was made under weir_ctx_shield()");
	weir__assert(maker != NULL, "a group was made outside of a task");
	*p = (struct inner){ .magic = GROUP_MAGIC, .look.fn = look_arrived };
	weir__wait_init_for(&p->wait, maker);
	g->ctx = *ctx;
	p->scope = weir__scope_new(ctx->scope, maker);
	if (p->scope)
		g->ctx.scope = p->scope;
	maker->open_groups++;
}

void weir_group_cancel_on_error(weir_group *g)
{
	inner(g)->cancel_on_error = true;
}

static void note_error(struct inner *p, int error)
{
	weir_ctx ctx = { .scope = p->scope, .deadline_ns = WEIR_NEVER };
	int32_t none = 0;

	/* A task may see a stop above before this scope has heard of it; so does weir_ctx_err(). */
	if ((error == -ECANCELED && weir_ctx_err(&ctx) < 0) ||
	    (error == -ESHUTDOWN &&
	     (weir__scope_state(p->scope) & WEIR__DRAINED || weir_ctx_draining(&ctx))))
		return;
	if (__atomic_compare_exchange_n(&p->error, &none, error, false, __ATOMIC_ACQ_REL,
	                                __ATOMIC_RELAXED) &&
	    p->cancel_on_error)
		weir_scope_cancel(p->scope, error, "a task of the group failed");
}

static __attribute__((noinline)) void failed(weir__task *t)
{
	note_error(t->owner, t->result);
	put(t->owner);
}

static void task_ended(weir__task *t)
{
	struct inner *p = t->owner;

	if (weir__unlikely(t->result < 0))
		failed(t);
	else if (weir__likely(at_home(p) && !weir__simulating) &&
	         sum(p, __atomic_load_n(&p->away, __ATOMIC_RELAXED)) > 1)
		add_here(p, -1); /* Others will end after it, so nobody need look. */
	else
		put(p);
}

int weir_group_go_(weir_group *g, int worker, weir_task_fn *fn, void *arg, const char *name,
                   const char *place)
{
	struct inner *p = inner(g);
	int r;

	if (!p->scope)
		return -ENOMEM;
	if (weir__scope_state(p->scope) & WEIR__CANCELED)
		return -ECANCELED;
	add_one(p);
	r = weir__spawn(&g->ctx, worker, fn, arg, name, place, task_ended, p);
	if (r < 0)
		put(p);
	return r;
}

int weir_group_wait(weir_group *g)
{
	struct inner *p = inner(g);
	weir__task *t = weir__current();
	int r;

	if (t && t->owner == p && t->end == task_ended)
		return -EDEADLK;
	weir__assert(t == p->wait.task, "a group was joined by another task than its maker");
	weir__point();
	if (sum(p, __atomic_load_n(&p->away, __ATOMIC_ACQUIRE)) > 0) {
		if (sum(p, __atomic_or_fetch(&p->away, JOINING, __ATOMIC_ACQ_REL)) > 0)
			weir__wait_park_hard(&p->wait, "group wait", g);
	}
	t->open_groups--;
	r = __atomic_load_n(&p->error, __ATOMIC_ACQUIRE);
	if (p->scope)
		weir__scope_free(p->scope);
	p->magic = 0;
	return r;
}

void weir_group_cancel(weir_group *g)
{
	struct inner *p = inner(g);

	if (p->scope)
		weir_scope_cancel(p->scope, -ECANCELED, "its group was cancelled");
}

void weir_group_drain(weir_group *g)
{
	struct inner *p = inner(g);

	if (p->scope)
		weir_scope_drain(p->scope);
}

size_t weir_group_count(const weir_group *g)
{
	struct inner *p = inner(g);
	int32_t away = __atomic_load_n(&p->away, __ATOMIC_RELAXED);
	int32_t n = __atomic_load_n(&p->here, __ATOMIC_RELAXED) + (away & ~(ONE - 1)) / ONE;

	return n > 0 ? (size_t)n : 0;
}

int weir_group_hold(weir_group *g)
{
	struct inner *p = inner(g);

	if (!p->scope)
		return -ENOMEM;
	add_one(p);
	weir__outside(1);
	return 0;
}

void weir_group_release(weir_group *g)
{
	weir__outside(-1);
	put(inner(g));
}
