/* SPDX-License-Identifier: MIT */
/* Parking and waking; wait.h has the protocol. */
#include "rt/wait.h"

#include "rt/task.h"

struct deadline {
	struct weir__timer timer;
	struct weir__wait *wait;
	int value;
};

/* Hears nothing from outside the task's own subtree: its scope, one above it, or one it made. */
static void check_scope(weir__task *t, weir_scope *s)
{
	weir__assert(s->magic == WEIR__SCOPE_MAGIC, "a wait under a context whose scope has ended");
	weir__assert(s == t->ctx.scope || s->maker == t || weir__scope_is_under(t->ctx.scope, s),
	             "a wait under a context that is neither above nor below the task's own");
	t->checked = s;
}

int weir__stop_of(weir__task *t, const weir_ctx *ctx)
{
	int r = weir__stop_code(weir__scope_state(ctx->scope), ctx->flags);

	if (r == 0 && ctx->scope != t->ctx.scope && !(ctx->flags & WEIR__SHIELD) &&
	    (weir__scope_state(t->ctx.scope) & WEIR__CANCELED))
		r = -ECANCELED;
	return r;
}

static __attribute__((noinline)) int check_slow(weir__task *t, const weir_ctx *ctx)
{
	weir__assert(t != NULL, "a call that can wait was made outside of a task");
	if (ctx->scope != t->checked)
		check_scope(t, ctx->scope);
	if (weir__simulating ? weir_random(4) == 0 : ++t->spent >= weir__budget)
		weir_yield(ctx);
	return weir__stop_of(t, ctx);
}

int weir__wait_check(const weir_ctx *ctx)
{
	weir__task *t = weir__current();

	return weir__wait_at_once(t, ctx) ? 0 : check_slow(t, ctx);
}

void weir__wait_init(struct weir__wait *w)
{
	weir__wait_init_for(w, weir__current());
}

/* A stop must find the task from its first park on. One that comes while it is linked, or before,
 * is seen by its look at the scope or sends this worker a message that arrives after the park. */
static void be_found(weir__task *t)
{
	if (!weir__list_linked(&t->member.link))
		weir__list_append(&t->member.part->members, &t->member.link);
}

static void expired(struct weir__timer *timer)
{
	struct deadline *d = weir__container(timer, struct deadline, timer);

	if (weir__wait_claim(d->wait, d->value))
		weir__wait_wake(d->wait);
}

/* At at_ns the wait ends with `value`. */
static __attribute__((noinline)) int park_until(struct weir__wait *w, const weir_ctx *ctx,
                                                int64_t at_ns, int value, const char *what,
                                                const void *on)
{
	struct deadline d = { .wait = w, .value = value };
	int r;

	be_found(w->task);
	weir__timer_start(&d.timer, at_ns, expired);
	r = weir__park(w->task, w, ctx->scope, ctx->flags, at_ns, what, on);
	if (weir__timer_armed(&d.timer))
		weir__timer_stop(&d.timer);
	return r;
}

static __attribute__((noinline)) int park_unless_stopped(struct weir__wait *w, const weir_ctx *ctx,
                                                         const char *what, const void *on)
{
	int r = weir__stop_of(w->task, ctx);

	if (r < 0 && weir__wait_claim(w, r))
		return r;
	if (ctx->deadline_ns != WEIR_NEVER)
		return park_until(w, ctx, ctx->deadline_ns, -ETIMEDOUT, what, on);
	be_found(w->task);
	return weir__park(w->task, w, ctx->scope, ctx->flags, WEIR_NEVER, what, on);
}

/* Looks at the stop once more: who waits again within one call has heard nothing since its check,
 * for between a wake-up and the next park no stop can claim anything. */
int weir__wait_park(struct weir__wait *w, const weir_ctx *ctx, const char *what, const void *on)
{
	if (!weir__may_wait(w->task, ctx) || ctx->deadline_ns != WEIR_NEVER ||
	    weir__unlikely(!weir__list_linked(&w->task->member.link)))
		return park_unless_stopped(w, ctx, what, on);
	return weir__park(w->task, w, ctx->scope, ctx->flags, WEIR_NEVER, what, on);
}

int weir__wait_park_hard(struct weir__wait *w, const char *what, const void *on)
{
	return weir__park(w->task, w, NULL, WEIR__SHIELD, WEIR_NEVER, what, on);
}

void weir__wait_wake(struct weir__wait *w)
{
	struct weir__worker *self = weir__self();

	if (weir__likely(self && self->index == w->worker))
		weir__ready(self, w->task);
	else
		weir__post_wake(w);
}

int weir_sleep(const weir_ctx *ctx, int64_t ns)
{
	struct weir__wait w;
	int64_t at;
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	if (ns <= 0)
		return weir_yield(ctx);
	if (__builtin_add_overflow(weir_now(), ns, &at))
		at = WEIR_NEVER;
	weir__wait_init(&w);
	if (at == WEIR_NEVER)
		return weir__wait_park(&w, ctx, "sleep",
		                       NULL); /* Until a stop: without a timer of its own. */
	if (ctx->deadline_ns <= at)
		return park_until(&w, ctx, ctx->deadline_ns, -ETIMEDOUT, "sleep", NULL);
	return park_until(&w, ctx, at, 0, "sleep", NULL);
}

int weir_yield(const weir_ctx *ctx)
{
	weir__task *t = weir__current();

	weir__assert(t != NULL, "weir_yield() outside of a task");
	/* In a simulation others of other workers too, or a loop of yields hangs it. */
	weir__point();
	t->next = NULL;
	*t->worker->ready_last = t;
	t->worker->ready_last = &t->next;
	t->worker->yielded = true;
	weir__leave(t->worker, t);
	return weir_ctx_err(ctx);
}
