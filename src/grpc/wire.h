/* SPDX-License-Identifier: MIT */
/*
 * What gRPC adds to HTTP/2 on the wire (PROTOCOL-HTTP2.md of gRPC): the prefix of a message, the
 * deadline as a header, percent-encoded status messages, binary metadata, and which code stands for
 * which error. Nothing here waits.
 */
#ifndef WEIR_GRPC_WIRE_H
#define WEIR_GRPC_WIRE_H

#include <weir/grpc.h>

#include "base/buf.h"

enum { WEIR__GRPC_PREFIX = 5, WEIR__GRPC_TIMEOUT_MAX = 12 };

static inline void weir__grpc_prefix(unsigned char out[WEIR__GRPC_PREFIX], bool compressed,
                                     size_t n)
{
	out[0] = compressed;
	out[1] = (unsigned char)(n >> 24);
	out[2] = (unsigned char)(n >> 16);
	out[3] = (unsigned char)(n >> 8);
	out[4] = (unsigned char)n;
}

static inline size_t weir__grpc_prefix_len(const unsigned char in[WEIR__GRPC_PREFIX])
{
	return (size_t)in[1] << 24 | (size_t)in[2] << 16 | (size_t)in[3] << 8 | in[4];
}

/* "100m" to nanoseconds: 0 or -EINVAL (no digit, more than eight, no such unit). What is too long
 * for the clock is WEIR_NEVER. */
int weir__grpc_timeout_parse(const char *text, int64_t *ret_ns);

/* The finest unit that holds it in eight digits, rounded up so that it never ends early. */
void weir__grpc_timeout_format(char out[WEIR__GRPC_TIMEOUT_MAX], int64_t ns);

/* grpc-message: bytes outside of 0x20..0x7e, and '%', travel as %XX. What cannot be decoded is
 * taken as it stands. */
void weir__grpc_percent_encode(struct weir__buf *out, const char *text, size_t n);
void weir__grpc_percent_decode(struct weir__buf *out, const char *text, size_t n);

/* Values of "-bin" fields: sent without padding, taken with and without. 0 or -EINVAL. */
void weir__grpc_bin_encode(struct weir__buf *out, const void *data, size_t n);
int weir__grpc_bin_decode(struct weir__buf *out, const char *text, size_t n);
bool weir__grpc_is_bin(const char *name, size_t n);

/* May a user send metadata of this name: lower case, no ":", nothing that gRPC or HTTP/2 uses
 * itself? */
bool weir__grpc_name_ok(const char *name);
/* Is a field that arrived gRPC's or HTTP's own, and so not shown as metadata? */
bool weir__grpc_reserved(const char *name, size_t n);

/* From a handler's or a transport's -errno, or a code, to a code. */
int weir__grpc_code_of(int r);
/* For an answer that has no grpc-status (http-grpc-status-mapping.md). */
int weir__grpc_code_of_http(int status);
/* For RST_STREAM. */
int weir__grpc_code_of_h2(uint32_t error);

/* "0".."16"; anything else is WEIR_GRPC_UNKNOWN. */
int weir__grpc_code_parse(const char *text, size_t n);

#endif
