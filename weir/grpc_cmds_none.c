/* SPDX-License-Identifier: MIT */
/* In the place of grpc_cmds.c where the library has no gRPC: grpc_open() fails, and nothing else is
 * called. */
#include <stdio.h>

#include "bus_cmds.h"
#include "work.h"

int grpc_open(struct client *c)
{
	(void)c;
	fputs("weir: built without gRPC\n", stderr);
	return -EOPNOTSUPP;
}

void grpc_close(struct client *c)
{
	(void)c;
}

#define NEVER(name)                                     \
	int name(const weir_ctx *ctx, struct client *c) \
	{                                               \
		(void)ctx;                              \
		(void)c;                                \
		return EXIT_FAILED;                     \
	}
NEVER(grpc_enqueue)
NEVER(grpc_publish)
NEVER(grpc_request)
NEVER(grpc_subscribe)

const struct work_way work_over_grpc;
