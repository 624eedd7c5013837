/* SPDX-License-Identifier: MIT */
/* The service weir.v1 of `weir serve`. */
#ifndef WEIR_PROGRAM_GRPC_API_H
#define WEIR_PROGRAM_GRPC_API_H

#include <stddef.h>

struct app;

/* Registers its methods, health and reflection. 0 or -Exxx. Without gRPC in the build it does
 * nothing. */
int grpc_install(struct app *app);

/* The FileDescriptorSet of proto/weir/v1/weir.proto. */
extern const unsigned char descriptors[];
extern const size_t descriptors_len;

#endif
