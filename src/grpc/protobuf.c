/* SPDX-License-Identifier: MIT */
/*
 * protobuf-c's messages, packed behind their prefix and unpacked into memory of the call that is
 * given back as a whole when the next message comes.
 *
 * protobuf-c unpacks what lies in a message by calling itself, with a kilobyte of stack each time
 * and without a limit; whoever sends a message chooses how deep it goes. So it is looked at before:
 * one that is deep is unpacked on a thread with a larger stack, one that is deeper than protobuf's
 * other libraries allow is refused.
 */
#include <weir/grpc_protobuf.h>

#include <weir/offload.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "grpc/call.h"
#include "grpc/protowire.h"

/* For its turn at such a thread: its context may only have ended a wait, and the message has left
 * the stream by then and would be lost. */
#define UNPACK_NS WEIR_SEC(10)

enum { ON_STACK = 1024, CHUNK = 4096, AMPLIFIED = 16, SHALLOW = 16 };

void *weir__grpc_alloc_until_next(weir_grpc *call, size_t n)
{
	struct weir__grpc_chunk *k = call->unpacked;
	size_t size;
	void *p;

	if (n > PTRDIFF_MAX / 2)
		return NULL;
	n = (n + 15) & ~(size_t)15;
	if (n <= sizeof call->unpack_here - call->unpack_used) {
		p = call->unpack_here + call->unpack_used;
		call->unpack_used += n;
		return p;
	}
	if (!k || k->size - k->used < n) {
		/* Twice as much each time, so that a message of many parts has few chunks. */
		size = k ? 2 * k->size : CHUNK;
		if (size > 1024 * 1024)
			size = 1024 * 1024;
		if (size < n)
			size = n;
		if (call->unpack_size + size > AMPLIFIED * call->recv_max) {
			call->unpack_full = true;
			return NULL;
		}
		k = malloc(sizeof *k + size);
		if (!k)
			return NULL;
		*k = (struct weir__grpc_chunk){ .next = call->unpacked, .size = size };
		call->unpacked = k;
		call->unpack_size += size;
	}
	p = k->bytes + k->used;
	k->used += n;
	return p;
}

static void *unpack_alloc(void *arg, size_t n)
{
	return weir__grpc_alloc_until_next(arg, n);
}

static void unpack_free(void *arg, void *p)
{
	(void)arg;
	(void)p;
}

struct unpacking {
	ProtobufCAllocator alloc;
	const ProtobufCMessageDescriptor *type;
	const void *msg;
	size_t n;
	ProtobufCMessage *ret;
};

static int unpack_deep(void *arg)
{
	struct unpacking *u = arg;

	u->ret = protobuf_c_message_unpack(u->type, &u->alloc, u->n, u->msg);
	return 0;
}

/* It computes, and for not much longer than it took to send. */
static void let_it(void *arg)
{
	(void)arg;
}

static int unpack(const weir_ctx *ctx, weir_grpc *call, const ProtobufCMessageDescriptor *type,
                  size_t size, const void *msg, size_t n, void *ret)
{
	struct unpacking u = { { unpack_alloc, unpack_free, call }, type, msg, n, NULL };
	int r = 1;

	weir__assert(size == type->sizeof_message, "a message of %s in a variable of another type",
	             type->name);
	weir__grpc_unpacked_free(call);
	/* Each that lies in another takes two bytes at least. */
	if (n > 2 * SHALLOW)
		r = weir__pb_depth(type, (struct weir__pb_bytes){ msg, n });
	if (r < 0)
		return r;
	if (r <= SHALLOW) {
		r = unpack_deep(&u);
	} else {
		weir_ctx own = weir_ctx_shield(ctx, UNPACK_NS);

		r = weir_offload_interruptible(&own, unpack_deep, &u, let_it);
	}
	if (r < 0)
		return r;
	if (!u.ret)
		return call->unpack_full ? -EMSGSIZE : -EBADMSG;
	memcpy(ret, &u.ret, sizeof u.ret);
	return 0;
}

int weir_grpc_recv_pb_(const weir_ctx *ctx, weir_grpc *call, const ProtobufCMessageDescriptor *type,
                       size_t size, void *ret)
{
	const void *msg;
	size_t n;
	int r;

	r = weir_grpc_recv(ctx, call, &msg, &n);
	if (r <= 0)
		return r;
	r = unpack(ctx, call, type, size, msg, n, ret);
	return r < 0 ? r : 1;
}

int weir_grpc_send_pb_(const weir_ctx *ctx, weir_grpc *call, const ProtobufCMessage *msg)
{
	size_t n = protobuf_c_message_get_packed_size(msg);
	char here[ON_STACK], *buf = here;
	int r;

	weir__grpc_live(call, __func__);
	if (n + WEIR__GRPC_PREFIX > sizeof here) {
		buf = malloc(n + WEIR__GRPC_PREFIX);
		if (!buf)
			return -ENOMEM;
	}
	protobuf_c_message_pack(msg, (uint8_t *)buf + WEIR__GRPC_PREFIX);
	r = weir__grpc_send_framed(ctx, call, buf, n);
	if (buf != here)
		free(buf);
	return r;
}

int weir_grpc_unary_pb_(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method,
                        const weir_grpc_call_options *opt, const ProtobufCMessage *in,
                        weir_grpc **ret_call, const ProtobufCMessageDescriptor *type, size_t size,
                        void *ret)
{
	size_t n = protobuf_c_message_get_packed_size(in), answer_len;
	char here[ON_STACK], *buf = here;
	const void *answer;
	int r;

	*ret_call = NULL;
	if (n > sizeof here) {
		buf = malloc(n);
		if (!buf)
			return -ENOMEM;
	}
	protobuf_c_message_pack(in, (uint8_t *)buf);
	r = weir_grpc_unary(ctx, ch, method, opt, buf, n, ret_call, &answer, &answer_len);
	if (buf != here)
		free(buf);
	if (r != 0)
		return r;
	r = unpack(ctx, *ret_call, type, size, answer, answer_len, ret);
	if (r < 0) {
		weir_grpc_free(*ret_call);
		*ret_call = NULL;
	}
	return r;
}
