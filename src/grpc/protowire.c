/* SPDX-License-Identifier: MIT */
#include "grpc/protowire.h"

#include <errno.h>

static int varint(struct weir__pb_bytes *in, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		unsigned char c;

		if (!in->n)
			return -EBADMSG;
		c = (unsigned char)*in->at++;
		in->n--;
		v |= (uint64_t)(c & 127) << shift;
		if (c < 128) {
			*ret = v;
			return 0;
		}
	}
	return -EBADMSG;
}

int weir__pb_next(struct weir__pb_bytes *in, struct weir__pb_field *ret)
{
	uint64_t tag, n = 0;

	*ret = (struct weir__pb_field){ 0 };
	if (!in->n)
		return 0;
	if (varint(in, &tag) < 0 || tag > UINT32_MAX)
		return -EBADMSG;
	ret->number = (uint32_t)(tag >> 3);
	switch (tag & 7) {
	case 0:
		return varint(in, &ret->value) < 0 ? -EBADMSG : 1;
	case 1:
		n = 8;
		break;
	case 2:
		if (varint(in, &n) < 0)
			return -EBADMSG;
		ret->prefixed = true;
		break;
	case 5:
		n = 4;
		break;
	default:
		return -EBADMSG;
	}
	if (n > in->n)
		return -EBADMSG;
	ret->bytes = (struct weir__pb_bytes){ in->at, (size_t)n };
	in->at += n;
	in->n -= (size_t)n;
	return 1;
}

int weir__pb_depth(const ProtobufCMessageDescriptor *type, struct weir__pb_bytes in)
{
	struct {
		const ProtobufCMessageDescriptor *type;
		struct weir__pb_bytes left;
	} level[WEIR__PB_DEPTH_MAX];
	int depth = 1, deepest = 1;

	level[0].type = type;
	level[0].left = in;
	while (depth > 0) {
		const ProtobufCFieldDescriptor *known;
		struct weir__pb_field f;
		int r = weir__pb_next(&level[depth - 1].left, &f);

		if (r < 0)
			return r;
		if (r == 0) {
			depth--;
			continue;
		}
		known = f.prefixed ? protobuf_c_message_descriptor_get_field(level[depth - 1].type,
		                                                             f.number) :
		                     NULL;
		if (!known || known->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (depth == WEIR__PB_DEPTH_MAX)
			return -EBADMSG;
		level[depth].type = known->descriptor;
		level[depth].left = f.bytes;
		if (++depth > deepest)
			deepest = depth;
	}
	return deepest;
}
