/* SPDX-License-Identifier: MIT */
/* What gRPC keeps with an HTTP server. */
#ifndef WEIR_GRPC_SERVER_H
#define WEIR_GRPC_SERVER_H

#include "grpc/call.h"
#include "http/server.h"

struct weir__grpc_method;

struct weir__grpc_server {
	struct weir__http_guest guest; /* first */
	size_t recv_max;
	struct weir__grpc_interceptors interceptors;
	struct weir__grpc_method *methods;
	weir_grpc_health *health;
	struct weir__grpc_reflection *reflection;
};

/* Made when first asked for; NULL without memory. */
struct weir__grpc_server *weir__grpc_server(weir_http_server *s);

/* The exchange under a server's call: who asks. */
weir_http *weir__grpc_exchange(weir_grpc *call);

void weir__grpc_health_free(weir_grpc_health *h);
void weir__grpc_reflection_free(struct weir__grpc_reflection *r);

#endif
