/* SPDX-License-Identifier: MIT */
/*
 * Scopes: the tree along which drain and cancel travel. scope.c tells how a stop reaches its
 * waiters without a lock shared by them.
 */
#ifndef WEIR_RT_SCOPE_H
#define WEIR_RT_SCOPE_H

#include <weir/ctx.h>

#include "base/assert.h"
#include "base/list.h"
#include "rt/msg.h"
#include "rt/wait.h"

enum {
	WEIR__DRAINED = 1, /* drain has reached this scope … */
	WEIR__MEMBERS = 2, /* … and its members: what until-drain waits look at */
	WEIR__CANCELED = 4,
	/* Hooks that hold the drain back from the members, counted in the upper bits. */
	WEIR__HOLDER = 8,
};
#define WEIR__HOLDS (~7u)

enum weir__ctx_flags { WEIR__UNTIL_DRAIN = 1, WEIR__SHIELD = 2 };

struct weir__part;

/* What a scope reaches on one worker: a task, a child scope or a hook. Only that worker touches
 * it. */
struct weir__member {
	struct weir__list link;
	enum { WEIR__A_TASK, WEIR__A_SCOPE, WEIR__A_HOOK } kind;
	uint8_t heard; /* hooks: the steps it was told */
	bool holds;    /* hooks: counted as holding the drain */
	struct weir__part *part;
};

struct weir__part {
	struct weir__part *next; /* pushed by CAS, never removed before the scope goes */
	weir_scope *scope;
	int worker;
	uint32_t queued; /* is msg in flight? atomic */
	struct weir__list members;
	struct weir__msg msg;
};

#define WEIR__SCOPE_MAGIC 0x5c09e001u

struct weir_scope {
	uint32_t magic;
	uint32_t state;             /* atomic */
	uint32_t refs;              /* atomic: its owner, messages in flight, walks */
	int cause;                  /* atomic; 0 until somebody cancels: the first one's stays */
	const char *why;            /* atomic; written just after the cause: NULL for a moment */
	weir_scope *parent;         /* outlives it, until it is closed */
	weir__task *maker;          /* the task whose waits may use this scope; NULL: none */
	struct weir__member member; /* in the parent */
	struct weir__part *parts;   /* atomic */
	struct weir__part home;
};

/* A child of `parent` (NULL: a root) on the current worker. NULL without memory. */
weir_scope *weir__scope_new(weir_scope *parent, weir__task *maker);
/* By its owner, on its worker: leaves the parent and drops the owner's reference. Members must be
 * gone. */
void weir__scope_free(weir_scope *s);
void weir__scope_unref(weir_scope *s);

/* On the current worker: links the member into this worker's part. 0 or -ENOMEM. */
int weir__scope_join(weir_scope *s, struct weir__member *m);
void weir__scope_leave(struct weir__member *m);
/* The part of a worker, for a later weir__scope_enter() there, which cannot fail: member.part is to
 * be set. NULL without memory. Any thread. */
struct weir__part *weir__scope_part_away(weir_scope *s, int worker);
static inline struct weir__part *weir__scope_part(weir_scope *s, int worker)
{
	return weir__likely(s->home.worker == worker) ? &s->home : weir__scope_part_away(s, worker);
}
void weir__scope_enter(struct weir__member *m);

/* Let the calling task, in place of the maker, use the scope from now on. On the scope's worker. */
void weir__scope_adopt(weir_scope *s, weir__task *maker);

static inline uint32_t weir__scope_state(const weir_scope *s)
{
	return __atomic_load_n(&s->state, __ATOMIC_SEQ_CST);
}

/* The stop code for a wait under {state, flags}, or 0. */
static inline int weir__stop_code(uint32_t state, unsigned flags)
{
	if (!(state & (WEIR__MEMBERS | WEIR__CANCELED)) || (flags & WEIR__SHIELD))
		return 0;
	if (state & WEIR__CANCELED)
		return -ECANCELED;
	return flags & WEIR__UNTIL_DRAIN ? -ESHUTDOWN : 0;
}

bool weir__scope_is_under(const weir_scope *s, const weir_scope *above);

#endif
