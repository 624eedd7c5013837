/* SPDX-License-Identifier: MIT */
/*
 * How a stop reaches everyone who waits under a scope, although a wait registers nothing and
 * takes no lock.
 *
 * A scope has one *part* per worker that ever had a member of it; only that worker touches the
 * part's members. Tasks and child scopes link into their worker's part once, when they first run
 * or are made. To wait is: load the state, note {scope, flags} in the task, park.
 *
 * To stop is: OR the state, walk the own worker's part, post the embedded message of every other
 * part. On its arrival that worker walks its members: parked tasks whose wait has ended are
 * claimed and readied, child scopes are stopped in turn, hooks run. Since tasks are pinned, the
 * look at the state, the park, and the message's arrival happen on one thread: a state that was
 * set too late to be seen by the look is followed by a message that comes after the park. A new
 * part is pushed by CAS and then the state is loaded again, both sequentially consistent: either
 * the stopper finds the part, or the newcomer finds the stop.
 *
 * A part's message is embedded; `queued` drops duplicates, and in flight it holds a reference to
 * the scope. The state of a child arrives asynchronously: weir_ctx_err() walks up.
 *
 * Rejected: a list of waiters per scope (every wait would lock it), and a stop channel as in Go
 * (every select in the program would meet in its lock).
 */
#include "rt/scope.h"

#include <stdlib.h>
#include <string.h>

#include "rt/task.h"

#ifdef WEIR__ASAN
static const int SCOPES_KEPT = 0; /* so that a use after the end is seen */
#else
enum { SCOPES_KEPT = 256 };
#endif

struct hook_priv {
	struct weir__member member;
};
_Static_assert(sizeof(struct hook_priv) <= sizeof((weir_hook *)0)->priv,
               "weir_hook.priv is too small");

static struct hook_priv *hook_priv(weir_hook *h)
{
	return (struct hook_priv *)h->priv;
}

static void part_init(struct weir__part *p, struct weir__part *next, weir_scope *s, int worker)
{
	p->next = next;
	p->scope = s;
	p->worker = worker;
	p->queued = 0;
	weir__list_init(&p->members);
}

/* As a new one is, but for its magic, parent and maker. */
static void scope_clean(weir_scope *s)
{
	s->state = 0;
	s->refs = 1;
	s->cause = 0;
	s->why = NULL;
	s->member.link.next = NULL;
	s->member.kind = WEIR__A_SCOPE;
	s->parts = &s->home;
	part_init(&s->home, NULL, s, weir__here());
}

/* A few free scopes are kept by each worker, clean: every group and every request makes one. */
static weir_scope *scope_get(void)
{
	struct weir__worker *w = weir__self();
	weir_scope *s;

	if (weir__likely(w && w->scopes)) {
		s = w->scopes;
		w->scopes = s->parent;
		w->scope_count--;
		return s;
	}
	s = malloc(sizeof *s);
	if (s)
		scope_clean(s);
	return s;
}

/* `used`: by more than tasks and scopes of its own worker, or stopped. */
static void scope_put(weir_scope *s, bool used)
{
	struct weir__worker *w = weir__self();

	if (!w || (int)w->scope_count >= SCOPES_KEPT) {
		free(s);
		return;
	}
	if (weir__unlikely(used || s->home.worker != w->index))
		scope_clean(s);
	s->parent = w->scopes;
	w->scopes = s;
	w->scope_count++;
}

void weir__scopes_flush(struct weir__worker *w)
{
	weir_scope *s;

	while ((s = w->scopes)) {
		w->scopes = s->parent;
		free(s);
	}
}

weir_scope *weir__scope_new(weir_scope *parent, weir__task *maker)
{
	weir_scope *s = scope_get();

	if (!s)
		return NULL;
	s->magic = WEIR__SCOPE_MAGIC;
	s->parent = parent;
	s->maker = maker;
	if (!parent || weir__scope_join(parent, &s->member) == 0)
		return s;
	scope_put(s, true);
	return NULL;
}

/* The last one need not say so: with one reference left nobody can take another. */
static bool drop(weir_scope *s)
{
	return __atomic_load_n(&s->refs, __ATOMIC_ACQUIRE) == 1 ||
	       __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0;
}

void weir__scope_unref(weir_scope *s)
{
	struct weir__part *next;
	bool used;

	if (!drop(s))
		return;
	used = s->parts != &s->home || s->state != 0 || s->cause != 0 || s->refs != 1;
	for (struct weir__part *p = s->parts; p; p = next) {
		next = p->next;
		weir__assert(weir__list_empty(&p->members),
		             "a scope ended while it still had members");
		if (weir__unlikely(p != &s->home))
			free(p);
	}
	s->magic = 0;
	scope_put(s, used);
}

void weir__scope_free(weir_scope *s)
{
	weir__magic_check(s, WEIR__SCOPE_MAGIC);
	weir__assert(weir__list_empty(&s->home.members),
	             "a scope was closed while it still had members");
	if (s->parent)
		weir__scope_leave(&s->member);
	s->parent = NULL;
	s->maker = NULL;
	weir__scope_unref(s);
}

void weir__scope_adopt(weir_scope *s, weir__task *maker)
{
	s->maker = maker;
}

struct weir__part *weir__scope_part_away(weir_scope *s, int worker)
{
	struct weir__part *first = __atomic_load_n(&s->parts, __ATOMIC_ACQUIRE), *p, *mine;

	for (p = first; p; p = p->next)
		if (p->worker == worker)
			return p;
	mine = malloc(sizeof *mine);
	if (!mine)
		return NULL;
	part_init(mine, first, s, worker);
	for (;;) {
		mine->next = first;
		weir__point();
		if (__atomic_compare_exchange_n(&s->parts, &first, mine, false, __ATOMIC_SEQ_CST,
		                                __ATOMIC_ACQUIRE))
			return mine;
		/* Somebody else may have pushed the same worker's: there is to be one. */
		for (p = first; p != mine->next; p = p->next) {
			if (p->worker != worker)
				continue;
			free(mine);
			return p;
		}
	}
}

static void scope_stop(weir_scope *s, uint32_t bits);
static void tell(weir_scope *s, uint32_t state, struct weir__member *m, struct weir__crowd *crowd);

int weir__scope_join(weir_scope *s, struct weir__member *m)
{
	weir__magic_check(s, WEIR__SCOPE_MAGIC);
	m->part = weir__scope_part(s, weir__here());
	if (!m->part)
		return -ENOMEM;
	weir__scope_enter(m);
	return 0;
}

void weir__scope_enter(struct weir__member *m)
{
	weir_scope *s = m->part->scope;
	uint32_t state;

	m->heard = 0;
	weir__list_append(&m->part->members, &m->link);
	state = weir__scope_state(s);
	if (state & (WEIR__DRAINED | WEIR__CANCELED))
		tell(s, state, m, &(struct weir__crowd){ .count = 0 });
}

void weir__scope_leave(struct weir__member *m)
{
	if (!weir__list_linked(&m->link))
		return;
	weir__assert(m->part->worker == weir__here(),
	             "a member left its scope on another worker than it joined");
	weir__list_remove(&m->link);
}

/* A task's wait may be over: claim it if so. On its worker. */
static void check_task(weir__task *t, struct weir__crowd *crowd)
{
	struct weir__wait *w = t->wait;
	int r;

	if (!w || (t->wait_flags & WEIR__SHIELD) || !t->wait_scope)
		return;
	r = weir__stop_code(weir__scope_state(t->wait_scope), t->wait_flags);
	if (r == 0 && (weir__scope_state(t->ctx.scope) & WEIR__CANCELED))
		r = -ECANCELED;
	if (r < 0 && weir__wait_claim(w, r))
		weir__ready_in_crowd(t->worker, t, crowd);
}

static void tell_hook(weir_hook *h, struct weir__member *m, uint32_t state)
{
	/* The hook may remove or free itself in fn: note what it heard first. A drain after a
	 * cancel tells the cancel again: so an owner that cancelled its own scope (a connection
	 * whose handler was too slow) hears of a stop from above. */
	if ((state & WEIR__DRAINED) && !(m->heard & WEIR_DRAIN)) {
		bool both = (state & WEIR__CANCELED) != 0;

		m->heard |= WEIR_DRAIN;
		if (both)
			m->heard |= WEIR_CANCEL;
		h->fn(h, both ? WEIR_CANCEL : WEIR_DRAIN);
		return;
	}
	if ((state & WEIR__CANCELED) && !(m->heard & WEIR_CANCEL)) {
		m->heard |= WEIR_CANCEL;
		h->fn(h, WEIR_CANCEL);
	}
}

static void tell(weir_scope *s, uint32_t state, struct weir__member *m, struct weir__crowd *crowd)
{
	switch (m->kind) {
	case WEIR__A_TASK:
		check_task(weir__container(m, weir__task, member), crowd);
		break;
	case WEIR__A_SCOPE: {
		weir_scope *child = weir__container(m, weir_scope, member);

		/* A hook of the child may close it. */
		__atomic_add_fetch(&child->refs, 1, __ATOMIC_RELAXED);
		if (state & WEIR__CANCELED)
			weir_scope_cancel(child, __atomic_load_n(&s->cause, __ATOMIC_ACQUIRE),
			                  __atomic_load_n(&s->why, __ATOMIC_ACQUIRE));
		if (state & WEIR__MEMBERS)
			scope_stop(child, WEIR__DRAINED);
		weir__scope_unref(child);
		break;
	}
	case WEIR__A_HOOK: {
		weir_hook *h = weir__container(
			(struct hook_priv *)weir__container(m, struct hook_priv, member), weir_hook,
			priv);
		/* Hooks that hold the drain hear it at once; the others with the members. */
		if (!h->holds_drain && !(state & WEIR__MEMBERS))
			state &= ~(uint32_t)WEIR__DRAINED;
		tell_hook(h, m, state);
		break;
	}
	}
}

/* On the part's worker. Members may come and go while they are told. */
static void walk(struct weir__part *p)
{
	weir_scope *s = p->scope;
	struct weir__crowd crowd = { .count = 0 };
	struct weir__list todo, *node;

	if (p == &s->home && s->maker)
		check_task(s->maker, &crowd);
	if (weir__list_empty(&p->members))
		return;
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED); /* A hook may close the scope. */
	todo = p->members;
	todo.next->prev = todo.prev->next = &todo;
	weir__list_init(&p->members);
	while ((node = weir__list_pop(&todo))) {
		weir__list_append(&p->members, node);
		/* The state anew for each: a hook may have stopped the scope further, and the walk
		 * of that stop saw only those told before. */
		tell(s, weir__scope_state(s), weir__container(node, struct weir__member, link),
		     &crowd);
	}
	weir__scope_unref(s);
}

static void part_arrived(struct weir__msg *m)
{
	struct weir__part *p = weir__container(m, struct weir__part, msg);

	__atomic_store_n(&p->queued, 0, __ATOMIC_SEQ_CST);
	walk(p);
	weir__scope_unref(p->scope);
}

static void spread(weir_scope *s)
{
	int worker = weir__here();
	struct weir__part *own = NULL, *next;

	for (struct weir__part *p = __atomic_load_n(&s->parts, __ATOMIC_SEQ_CST); p; p = next) {
		next = p->next;
		if (p->worker == worker) {
			own = p;
			continue;
		}
		if (__atomic_exchange_n(&p->queued, 1, __ATOMIC_SEQ_CST))
			continue;
		__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
		p->msg.fn = part_arrived;
		weir__post(p->worker, &p->msg);
	}
	if (own)
		walk(own);
}

static void scope_stop(weir_scope *s, uint32_t bits)
{
	uint32_t old, new;

	weir__point();
	old = __atomic_load_n(&s->state, __ATOMIC_SEQ_CST);
	do {
		new = old | bits;
		if ((bits & WEIR__DRAINED) && !(old & WEIR__HOLDS))
			new |= WEIR__MEMBERS;
	} while (!__atomic_compare_exchange_n(&s->state, &old, new, false, __ATOMIC_SEQ_CST,
	                                      __ATOMIC_SEQ_CST));
	if (new != old)
		spread(s);
}

void weir_scope_drain(weir_scope *s)
{
	weir__magic_check(s, WEIR__SCOPE_MAGIC);
	scope_stop(s, WEIR__DRAINED);
}

void weir_scope_drain_members(weir_scope *s)
{
	weir__magic_check(s, WEIR__SCOPE_MAGIC);
	scope_stop(s, WEIR__DRAINED | WEIR__MEMBERS);
}

void weir_scope_cancel(weir_scope *s, int cause, const char *why)
{
	int none = 0;

	weir__magic_check(s, WEIR__SCOPE_MAGIC);
	/* Before the state, so that whoever sees the cancel finds a cause. */
	if (__atomic_compare_exchange_n(&s->cause, &none, cause ? cause : -ECANCELED, false,
	                                __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		__atomic_store_n(&s->why, why, __ATOMIC_RELEASE);
	scope_stop(s, WEIR__CANCELED);
}

int weir_scope_open(const weir_ctx *ctx, weir_ctx *ret)
{
	weir_scope *s;

	weir__assert(!(ctx->flags & WEIR__SHIELD), "a scope was opened under weir_ctx_shield()");
	s = weir__scope_new(ctx->scope, weir__current());
	if (!s)
		return -ENOMEM;
	if (s->maker)
		s->maker->open_scopes++;
	*ret = *ctx;
	ret->scope = s;
	return 0;
}

void weir_scope_close(weir_scope *s)
{
	weir__magic_check(s, WEIR__SCOPE_MAGIC);
	weir__assert(s->maker == weir__current(),
	             "a scope was closed by another task than the one that opened it");
	if (s->maker)
		s->maker->open_scopes--;
	weir__scope_free(s);
}

int weir_hook_add(weir_scope *s, weir_hook *h)
{
	struct weir__member *m = &hook_priv(h)->member;

	weir__magic_check(s, WEIR__SCOPE_MAGIC);
	m->kind = WEIR__A_HOOK;
	m->part = weir__scope_part(s, weir__here());
	if (!m->part)
		return -ENOMEM;
	m->holds = h->holds_drain;
	if (m->holds)
		__atomic_fetch_add(&s->state, WEIR__HOLDER, __ATOMIC_SEQ_CST);
	weir__scope_enter(m);
	return 0;
}

void weir_hook_remove(weir_hook *h)
{
	struct weir__member *m = &hook_priv(h)->member;
	weir_scope *s;
	uint32_t state;

	if (!weir__list_linked(&m->link))
		return;
	s = m->part->scope;
	weir__scope_leave(m);
	if (!m->holds)
		return;
	/* The last who held a drain back and did not pass it on: now nothing holds it. */
	state = __atomic_sub_fetch(&s->state, WEIR__HOLDER, __ATOMIC_SEQ_CST);
	if ((state & WEIR__DRAINED) && !(state & (WEIR__MEMBERS | WEIR__HOLDS)))
		scope_stop(s, WEIR__MEMBERS);
}

bool weir__scope_is_under(const weir_scope *s, const weir_scope *above)
{
	for (; s; s = s->parent)
		if (s == above)
			return true;
	return false;
}
