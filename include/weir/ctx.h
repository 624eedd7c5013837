/* SPDX-License-Identifier: MIT */
/*
 * Contexts: the way out of every wait.
 *
 * A context is a small value: a scope (which can be drained, then cancelled), a deadline, flags.
 * Deriving one allocates nothing, registers nothing and needs no cleanup:
 *
 *	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1));
 *	weir_ctx live = weir_ctx_until_drain(ctx);
 *
 *	while ((r = weir_chan_recv(&live, jobs, &job)) > 0)
 *		work(ctx, &job);
 *
 * How a wait ends: -ECANCELED (its scope, or the task's own group, was cancelled), -ETIMEDOUT (its
 * deadline passed), -ESHUTDOWN (drain began; only under weir_ctx_until_drain). A call under a
 * context whose scope has ended returns that error even if data is ready, and the data stays where
 * it is. A deadline ends only a wait: what is ready is taken even after it.
 *
 * A context is borrowed from whoever made its scope (a group, an exchange, a call) and dies with
 * it. Never store one in a channel, a record or a job. Its scope must be the task's own, or above
 * it, or made by this task below it; a wait under any other context aborts.
 */
#ifndef WEIR_CTX_H
#define WEIR_CTX_H

#include <weir/time.h>

WEIR_BEGIN

typedef struct weir_scope weir_scope;

typedef struct weir_ctx {
	weir_scope *scope;
	int64_t deadline_ns; /* WEIR_NEVER for none */
	unsigned flags;
} weir_ctx;

/* Ends `ns` from now at the latest; an earlier deadline of `ctx` stays. Never early, a few ms
 * late. */
WEIR_API weir_ctx weir_ctx_timeout(const weir_ctx *ctx, int64_t ns);

/* The same with a point in time (weir_now() + x). */
WEIR_API weir_ctx weir_ctx_deadline(const weir_ctx *ctx, int64_t at_ns);

/* Also ends, with -ESHUTDOWN, when drain begins: for waiting for *new* work. */
WEIR_API weir_ctx weir_ctx_until_drain(const weir_ctx *ctx);

/* Deaf to cancel and drain; ends `ns` from now, whatever the deadline of `ctx` was. For cleanup
 * that must wait. No group can be made under it. */
WEIR_API weir_ctx weir_ctx_shield(const weir_ctx *ctx, int64_t ns);

/* 0, or the error with which a wait would end now. Never waits; from the scope's tasks. */
WEIR_API int weir_ctx_err(const weir_ctx *ctx);

/* The nanoseconds left: WEIR_NEVER without a deadline, 0 when it has passed. */
WEIR_API int64_t weir_ctx_left(const weir_ctx *ctx);

/* Has drain begun (or cancel)? For loops that do not wait. */
WEIR_API bool weir_ctx_draining(const weir_ctx *ctx);

/* Why the scope was cancelled: an -Exxx (0 while it is not) and, in *ret_why, a static text or
 * NULL. */
WEIR_API int weir_ctx_cause(const weir_ctx *ctx, const char **ret_why);

/*
 * Scopes. Most code never makes one: a group, a server, an exchange has its own. One made here is a
 * child of ctx's scope, belongs to the calling task (whose waits may use *ret from then on), and is
 * closed by it.
 */
WEIR_API int weir_scope_open(const weir_ctx *ctx, weir_ctx *ret);
WEIR_API void weir_scope_close(weir_scope *scope);

/* Drain or cancel a scope and all below it. Any thread that holds it may call; never waits. Drain
 * stops at a scope that has a drain hook. The first cause stays; `why` must be static. */
WEIR_API void weir_scope_drain(weir_scope *scope);
WEIR_API void weir_scope_cancel(weir_scope *scope, int cause, const char *why);

/*
 * Hooks: what stops when no task waits (an idle connection, a stream of a hub, a child process).
 * `fn` runs on the worker where the hook was added, must not wait, and may remove the hook. It
 * hears WEIR_DRAIN once and WEIR_CANCEL once (only the latter when both have come), also if they
 * came before it was added; a drain that comes after a cancel tells WEIR_CANCEL again. With
 * `holds_drain` the drain of the hook's scope stops here: the owner passes it on with
 * weir_scope_drain_members() when it is time.
 */
enum { WEIR_DRAIN = 1, WEIR_CANCEL = 2 };

typedef struct weir_hook weir_hook;
struct weir_hook {
	void (*fn)(weir_hook *hook, int step);
	bool holds_drain;
	void *priv[6];
};

/* 0 or -ENOMEM. On the hook's worker only; the hook stays where it is until it is removed. */
WEIR_API int weir_hook_add(weir_scope *scope, weir_hook *hook);
WEIR_API void weir_hook_remove(weir_hook *hook);
WEIR_API void weir_scope_drain_members(weir_scope *scope);

WEIR_END
#endif
