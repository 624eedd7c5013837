/* SPDX-License-Identifier: MIT */
/*
 * Requests of the HTTP client over HTTP/2, on connections that several clients share: one per
 * worker that asks, since a connection is its worker's alone.
 */
#ifndef WEIR_HTTP_H2_CALL_H
#define WEIR_HTTP_H2_CALL_H

#include <weir/http_client.h>

#include "base/list.h"
#include "http/h2_client.h"

/* Whose turn it is to connect: one task of a worker at a time, the others wait for what comes of
 * it. All zero at first but for the list. Touched on its worker only. */
struct weir__h2_turn {
	bool taken;
	struct weir__list waiting;
};

/* Until who has the turn gives it back: 0, or the context's error. */
int weir__h2_turn_wait(const weir_ctx *ctx, struct weir__h2_turn *t);
/* Wakes all who wait. */
void weir__h2_turn_give(struct weir__h2_turn *t);

struct weir__h2_shared;

/* With one reference, in a run. 0, -ENOMEM; -EOPNOTSUPP: built without HTTP/2. */
int weir__h2_shared_new(struct weir__h2_shared **ret);
struct weir__h2_shared *weir__h2_shared_ref(struct weir__h2_shared *h);
/* In the same run. NULL is fine. */
void weir__h2_shared_unref(struct weir__h2_shared *h);

typedef int weir__h2_dial_fn(const weir_ctx *ctx, void *arg, weir_conn **ret);

/*
 * Connects if need be, sends the request whole and waits for the head of the answer. What the
 * server has not begun is sent once more on a new connection; so is what may be repeated when a
 * kept connection turns out to be lost. The stream is then this worker's, to be closed there.
 */
int weir__h2_request(const weir_ctx *ctx, struct weir__h2_shared *h, weir__h2_dial_fn *dial,
                     void *arg, const char *scheme, const char *host, const weir_http_req *req,
                     bool repeats, weir__h2s **ret);

#endif
