/* SPDX-License-Identifier: MIT */
/* One message compressed by gzip (RFC 1952), as gRPC sends it. */
#ifndef WEIR_GRPC_GZIP_H
#define WEIR_GRPC_GZIP_H

#include "base/buf.h"

/* Append. 0, -ENOMEM; unzip also -EBADMSG (not one whole gzip member), -EMSGSIZE (more than max
 * bytes come out: it stops there, so a small message cannot fill the memory). */
int weir__gzip(struct weir__buf *out, const void *data, size_t n);
int weir__gunzip(struct weir__buf *out, const void *data, size_t n, size_t max);

#endif
