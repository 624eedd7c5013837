/* SPDX-License-Identifier: MIT */
/* Contexts are values; see weir/ctx.h for their meaning and scope.c for how they end. */
#include <weir/ctx.h>

#include "rt/scope.h"
#include "rt/task.h"

weir_ctx weir_ctx_deadline(const weir_ctx *ctx, int64_t at_ns)
{
	weir_ctx c = *ctx;

	if (at_ns < c.deadline_ns)
		c.deadline_ns = at_ns;
	return c;
}

/* A point in time `ns` from now without asking the exact clock, which costs four times as much:
 * round up, so never early. */
static int64_t from_now(int64_t ns)
{
	int64_t at;

	if (ns < 0)
		ns = 0;
	if (__builtin_add_overflow(weir__now_coarse() + weir__clock_resolution(), ns, &at))
		return WEIR_NEVER;
	return at;
}

weir_ctx weir_ctx_timeout(const weir_ctx *ctx, int64_t ns)
{
	return weir_ctx_deadline(ctx, from_now(ns));
}

weir_ctx weir_ctx_until_drain(const weir_ctx *ctx)
{
	weir_ctx c = *ctx;

	c.flags |= WEIR__UNTIL_DRAIN;
	return c;
}

weir_ctx weir_ctx_shield(const weir_ctx *ctx, int64_t ns)
{
	weir_ctx c = *ctx;

	c.flags = WEIR__SHIELD;
	c.deadline_ns = from_now(ns);
	return c;
}

/* What the scope's waits will hear once every message has arrived. */
static uint32_t state_from_above(const weir_ctx *ctx)
{
	uint32_t all = 0;
	bool drains = true;

	for (const weir_scope *s = ctx->scope; s; s = s->parent) {
		uint32_t state = weir__scope_state(s);

		all |= state & WEIR__CANCELED;
		if (state & WEIR__MEMBERS)
			all |= drains ? WEIR__MEMBERS : 0;
		else if (state & WEIR__HOLDS)
			drains = false;
	}
	return all;
}

int weir_ctx_err(const weir_ctx *ctx)
{
	weir__task *t = weir__current();
	int r = 0;

	if (!(ctx->flags & WEIR__SHIELD)) {
		r = weir__stop_code(state_from_above(ctx), ctx->flags);
		if (r == 0 && t && t->ctx.scope != ctx->scope)
			r = weir__stop_code(state_from_above(&t->ctx) & WEIR__CANCELED, 0);
	}
	if (r == 0 && ctx->deadline_ns != WEIR_NEVER && ctx->deadline_ns <= weir_now())
		r = -ETIMEDOUT;
	return r;
}

int64_t weir_ctx_left(const weir_ctx *ctx)
{
	int64_t left;

	if (ctx->deadline_ns == WEIR_NEVER)
		return WEIR_NEVER;
	left = ctx->deadline_ns - weir_now();
	return left > 0 ? left : 0;
}

bool weir_ctx_draining(const weir_ctx *ctx)
{
	return (state_from_above(ctx) & (WEIR__MEMBERS | WEIR__CANCELED)) != 0;
}

int weir_ctx_cause(const weir_ctx *ctx, const char **ret_why)
{
	for (const weir_scope *s = ctx->scope; s; s = s->parent) {
		if (!(weir__scope_state(s) & WEIR__CANCELED))
			continue;
		if (ret_why)
			*ret_why = __atomic_load_n(&s->why, __ATOMIC_ACQUIRE);
		return __atomic_load_n(&s->cause, __ATOMIC_ACQUIRE);
	}
	if (ret_why)
		*ret_why = NULL;
	return 0;
}
