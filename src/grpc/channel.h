/* SPDX-License-Identifier: MIT */
/* A channel's connections: one for each worker that calls, made when needed. */
#ifndef WEIR_GRPC_CHANNEL_H
#define WEIR_GRPC_CHANNEL_H

#include "base/list.h"
#include "grpc/call.h"
#include "http/h2_call.h"

/* Touched on its worker only. */
struct weir__grpc_slot {
	weir__h2c *conn;
	struct weir__h2_turn turn;
	int64_t not_before_ns;
	unsigned failures;
	int error;            /* of the last try */
	int64_t keepalive_ns; /* twice as long each time the server found it too often */
} __attribute__((aligned(64)));

#define WEIR__GRPC_CHANNEL_MAGIC 0x67436861u
struct weir_grpc_channel {
	uint32_t magic;
	weir_grpc_channel_options opt;
	char *address, *authority;
	char *host; /* whom a certificate has to name; NULL: no TLS */
	const char *scheme;
	struct weir__grpc_interceptors interceptors;
	int workers;
	struct weir__grpc_slot slots[];
};

/* A connection of the calling worker that takes new streams. 0, the context's error, or why there
 * is none; -EAGAIN: not again before the back-off's end. */
int weir__grpc_connection(const weir_ctx *ctx, weir_grpc_channel *ch, bool wait, weir__h2c **ret);

#endif
