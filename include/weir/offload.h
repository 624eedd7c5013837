/* SPDX-License-Identifier: MIT */
/*
 * Offload: run what blocks (files, name service, SQLite) on a thread of a bounded pool while the
 * task waits. The function gets no context and must not call anything of Weir that waits.
 *
 * A blocking call cannot be unwound, so its way out is one of two:
 *  - weir_offload(): the argument is heap memory. When the wait ends early the function goes on,
 *    and `drop(arg)` is called when it has ended. After a normal end the caller owns arg again.
 *  - weir_offload_interruptible(): arg may be on the stack. When the context ends, `interrupt(arg)`
 *    is called (perhaps repeatedly, from another thread, only between the function's start and
 *    end), and the wait goes on until the function has returned.
 */
#ifndef WEIR_OFFLOAD_H
#define WEIR_OFFLOAD_H

#include <weir/ctx.h>

WEIR_BEGIN

typedef int weir_offload_fn(void *arg);

/* The function's result (it should not use the stop codes), or the context's error, after which arg
 * is gone. Waits. Context already ended: the error, fn never ran, and drop(arg) was called. */
WEIR_API int weir_offload(const weir_ctx *ctx, weir_offload_fn *fn, void *arg,
                          void (*drop)(void *arg));

/* The function's result; the context's error only if the function had not started. Waits. */
WEIR_API int weir_offload_interruptible(const weir_ctx *ctx, weir_offload_fn *fn, void *arg,
                                        void (*interrupt)(void *arg));

WEIR_END
#endif
