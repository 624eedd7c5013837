/* SPDX-License-Identifier: MIT */
/*
 * A port is a channel of calls: one task owns a state, others call it and wait for the reply.
 *
 *	r = weir_port_call(&soon, port, &id, &user);                  // a caller
 *
 *	while ((r = weir_port_recv(ctx, port, &call, &id)) > 0)       // the owner
 *		weir_call_reply(call, lookup(id, &user), &user);
 *
 * A reply to a caller who has left is discarded safely. A call carries its deadline by value.
 * A call that was received must be answered or dropped, once, by any task.
 */
#ifndef WEIR_PORT_H
#define WEIR_PORT_H

#include <weir/ctx.h>

WEIR_BEGIN

typedef struct weir_port weir_port;
typedef struct weir_call weir_call;

/* Requests of `req` bytes, replies of `rep` bytes, at most `cap` calls queued (at least 1). 0 or
 * -ENOMEM. */
WEIR_API int weir_port_new(weir_port **ret, size_t req, size_t rep, size_t cap);

/* Take no more calls: callers, queued or new, get -EPIPE; the owner's recv gives 0. Twice is
 * fine. */
WEIR_API void weir_port_close(weir_port *p);

/* Closes it if needed. No task may be in a call of it; calls received and not yet answered may live
 * on. NULL is fine. */
WEIR_API void weir_port_free(weir_port *p);

/* Waits for a place, for the owner and for the reply. What the owner gave as `err` (0 or more: *rep
 * is filled; below 0: untouched), -EPIPE (port closed, or the call dropped), or the context's
 * error. The owner's codes must not be stop codes: those are passed on as -EIO. */
#define weir_port_call(ctx, p, req, rep) \
	weir_port_call_((ctx), (p), (req), sizeof *(req), (rep), sizeof *(rep))
WEIR_API int weir_port_call_(const weir_ctx *ctx, weir_port *p, const void *req, size_t n,
                             void *rep, size_t m);

/* Never waits for a place (-EAGAIN when the port is full), but does wait for the reply. */
#define weir_port_try_call(ctx, p, req, rep) \
	weir_port_try_call_((ctx), (p), (req), sizeof *(req), (rep), sizeof *(rep))
WEIR_API int weir_port_try_call_(const weir_ctx *ctx, weir_port *p, const void *req, size_t n,
                                 void *rep, size_t m);

/* Waits for a call. 1, 0 when closed, or the context's error. Calls whose caller has left are
 * skipped. */
#define weir_port_recv(ctx, p, call, req) weir_port_recv_((ctx), (p), (call), (req), sizeof *(req))
WEIR_API int weir_port_recv_(const weir_ctx *ctx, weir_port *p, weir_call **call, void *req,
                             size_t n);

/* Answer and forget the call. Never waits. */
#define weir_call_reply(call, err, rep) weir_call_reply_((call), (err), (rep), sizeof *(rep))
WEIR_API void weir_call_reply_(weir_call *call, int err, const void *rep, size_t m);

/* Forget the call without an answer: the caller gets -EPIPE. */
WEIR_API void weir_call_drop(weir_call *call);

/* Has the caller left? When will it (WEIR_NEVER)? */
WEIR_API bool weir_call_gone(const weir_call *call);
WEIR_API int64_t weir_call_deadline(const weir_call *call);

WEIR_END
#endif
