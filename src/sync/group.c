/* SPDX-License-Identifier: MIT */
/*
 * A group counts its tasks and holds. The count starts at one, the maker's own, which
 * weir_group_wait() gives back: so only one place, put(), can bring it to zero, and whoever does
 * so claims the joiner.
 *
 * After its last put() a task touches nothing of the group: the joiner may already have returned.
 */
#include <weir/group.h>

#include "rt/task.h"

#define GROUP_MAGIC 0x96009001u

struct inner {
	uint32_t magic;
	uint32_t count; /* atomic */
	weir_scope *scope;
	int32_t error; /* atomic: the first */
	bool cancel_on_error, canceled_by_error;
	weir__task *maker;
	struct weir__wait wait; /* the joiner's, ready before its put() */
};
_Static_assert(sizeof(struct inner) <= sizeof((weir_group *)0)->priv,
               "weir_group.priv is too small");

static struct inner *inner(const weir_group *g)
{
	struct inner *p = (struct inner *)g->priv;

	weir__assert(p->magic == GROUP_MAGIC, "a group was used before its init or after its wait");
	return p;
}

void weir_group_init(weir_group *g, const weir_ctx *ctx)
{
	struct inner *p = (struct inner *)g->priv;

	weir__assert(!(ctx->flags & WEIR__SHIELD), "a group was made under weir_ctx_shield()");
	*p = (struct inner){ .magic = GROUP_MAGIC, .count = 1, .maker = weir__current() };
	weir__assert(p->maker != NULL, "a group was made outside of a task");
	g->ctx = *ctx;
	p->scope = weir__scope_new(ctx->scope, p->maker);
	if (p->scope)
		g->ctx.scope = p->scope;
	p->maker->open_groups++;
}

void weir_group_cancel_on_error(weir_group *g)
{
	inner(g)->cancel_on_error = true;
}

static void put(struct inner *p)
{
	weir__point();
	if (__atomic_sub_fetch(&p->count, 1, __ATOMIC_ACQ_REL) == 0 &&
	    weir__wait_claim(&p->wait, 0))
		weir__wait_wake(&p->wait);
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

static void task_ended(weir__task *t)
{
	struct inner *p = t->owner;

	if (t->result < 0)
		note_error(p, t->result);
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
	weir__assert(__atomic_fetch_add(&p->count, 1, __ATOMIC_RELAXED) > 0,
	             "a task was started in a joined group");
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
	weir__assert(t == p->maker, "a group was joined by another task than its maker");
	weir__wait_init(&p->wait);
	if (__atomic_sub_fetch(&p->count, 1, __ATOMIC_ACQ_REL) > 0)
		weir__wait_park_hard(&p->wait, "group wait", g);
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
	return __atomic_load_n(&inner(g)->count, __ATOMIC_RELAXED) - 1;
}

int weir_group_hold(weir_group *g)
{
	struct inner *p = inner(g);

	if (!p->scope)
		return -ENOMEM;
	__atomic_add_fetch(&p->count, 1, __ATOMIC_RELAXED);
	weir__outside(1);
	return 0;
}

void weir_group_release(weir_group *g)
{
	weir__outside(-1);
	put(inner(g));
}
