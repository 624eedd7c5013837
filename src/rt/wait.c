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

static int stop_code(weir__task *t, const weir_ctx *ctx)
{
	int r = weir__stop_code(weir__scope_state(ctx->scope), ctx->flags);

	if (r == 0 && ctx->scope != t->ctx.scope && !(ctx->flags & WEIR__SHIELD) &&
	    (weir__scope_state(t->ctx.scope) & WEIR__CANCELED))
		r = -ECANCELED;
	return r;
}

int weir__wait_check(const weir_ctx *ctx)
{
	weir__task *t = weir__current();

	weir__assert(t != NULL, "a call that can wait was made outside of a task");
	if (weir__unlikely(ctx->scope != t->checked))
		check_scope(t, ctx->scope);
	if (weir__unlikely(++t->spent >= WEIR__BUDGET) ||
	    weir__unlikely(weir__simulating && weir_random(4) == 0)) {
		t->spent = 0;
		weir_yield(ctx);
	}
	return stop_code(t, ctx);
}

void weir__wait_init(struct weir__wait *w)
{
	w->task = weir__current();
	w->claim = WEIR__OPEN;
}

static void expired(struct weir__timer *timer)
{
	struct deadline *d = weir__container(timer, struct deadline, timer);

	if (weir__wait_claim(d->wait, d->value))
		weir__wait_wake(d->wait);
}

static int park(struct weir__wait *w, weir_scope *scope, unsigned flags, int64_t at_ns, int value,
                const char *what, const void *on)
{
	weir__task *t = w->task;
	struct deadline d = { .wait = w, .value = value };

	if (at_ns != WEIR_NEVER)
		weir__timer_start(&d.timer, at_ns, expired);
	t->wait = w;
	t->wait_scope = scope;
	__atomic_store_n(&t->wait_flags, flags, __ATOMIC_RELAXED);
	__atomic_store_n(&t->on, on, __ATOMIC_RELAXED);
	__atomic_store_n(&t->since_ns, t->worker->now_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&t->until_ns, at_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&t->what, what, __ATOMIC_RELEASE);
	weir__leave(t);
	__atomic_store_n(&t->what, NULL, __ATOMIC_RELAXED);
	t->wait = NULL;
	t->spent = 0;
	if (weir__timer_armed(&d.timer))
		weir__timer_stop(&d.timer);
	return __atomic_load_n(&w->claim, __ATOMIC_ACQUIRE);
}

/* Looks at the stop once more: who waits again within one call has heard nothing since its check,
 * for between a wake-up and the next park no stop can claim anything. */
int weir__wait_park(struct weir__wait *w, const weir_ctx *ctx, const char *what, const void *on)
{
	int r = stop_code(w->task, ctx);

	if (weir__unlikely(r < 0) && weir__wait_claim(w, r))
		return r;
	return park(w, ctx->scope, ctx->flags, ctx->deadline_ns, -ETIMEDOUT, what, on);
}

int weir__wait_park_hard(struct weir__wait *w, const char *what, const void *on)
{
	return park(w, NULL, WEIR__SHIELD, WEIR_NEVER, 0, what, on);
}

void weir__wait_wake(struct weir__wait *w)
{
	weir__task *t = w->task;

	if (weir__self() == t->worker)
		weir__ready(t);
	else
		weir__post(t->worker->index, &t->msg);
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
	if (ctx->deadline_ns <= at && at != WEIR_NEVER)
		return park(&w, ctx->scope, ctx->flags, ctx->deadline_ns, -ETIMEDOUT, "sleep",
		            NULL);
	return park(&w, ctx->scope, ctx->flags, at, 0, "sleep", NULL);
}

int weir_yield(const weir_ctx *ctx)
{
	weir__task *t = weir__current();

	weir__assert(t != NULL, "weir_yield() outside of a task");
	/* In a simulation others of other workers too, or a loop of yields hangs it. */
	weir__point();
	t->spent = 0;
	t->next = NULL;
	*t->worker->ready_last = t;
	t->worker->ready_last = &t->next;
	t->worker->yielded = true;
	weir__leave(t);
	return weir_ctx_err(ctx);
}
