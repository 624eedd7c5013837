/* SPDX-License-Identifier: MIT */
/* Protobuf's wire format, walked without unpacking. */
#ifndef WEIR_GRPC_PROTOWIRE_H
#define WEIR_GRPC_PROTOWIRE_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

struct weir__pb_bytes {
	const char *at;
	size_t n;
};

struct weir__pb_field {
	uint32_t number;
	uint64_t value; /* of a varint */
	bool prefixed;  /* its length stood before it: text, bytes, a message, or packed */
	struct weir__pb_bytes bytes; /* of all but varints */
};

/* Takes the next field: 1, 0 at the end, -EBADMSG. */
int weir__pb_next(struct weir__pb_bytes *in, struct weir__pb_field *ret);

/* How many messages lie in each other at most: 1 for one that holds none. -EBADMSG: it is malformed
 * where this looks, or deeper than WEIR__PB_DEPTH_MAX. */
enum { WEIR__PB_DEPTH_MAX = 100 };
int weir__pb_depth(const ProtobufCMessageDescriptor *type, struct weir__pb_bytes in);

#endif
