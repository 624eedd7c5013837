/* SPDX-License-Identifier: MIT */
/*
 * Messages of protobuf-c on gRPC's calls. A type is named as protoc-c writes its descriptor:
 * helloworld__hello_request for Helloworld__HelloRequest.
 *
 *	static int say_hello(const weir_ctx *ctx, weir_grpc *call, void *arg)
 *	{
 *		Helloworld__HelloReply out = HELLOWORLD__HELLO_REPLY__INIT;
 *		Helloworld__HelloRequest *in;
 *		int r = weir_grpc_recv_pb(ctx, call, helloworld__hello_request, &in);
 *
 *		(void)arg;
 *		if (r <= 0)
 *			return r;
 *		out.message = weir_grpc_printf(call, "Hello %s", in->name);
 *		return weir_grpc_send_pb(ctx, call, &out);
 *	}
 *
 * Received messages live in the call's memory, until the next one is received, and need no freeing.
 */
#ifndef WEIR_GRPC_PROTOBUF_H
#define WEIR_GRPC_PROTOBUF_H

#include <weir/grpc.h>

#include <protobuf-c/protobuf-c.h>

WEIR_BEGIN

/* As weir_grpc_recv(); what is no such message, or has more than 100 in each other, is -EBADMSG,
 * and one that needs more than 16 times the longest message's memory -EMSGSIZE. A variable of
 * another size than the type aborts. */
#define weir_grpc_recv_pb(ctx, call, type, ret) \
	weir_grpc_recv_pb_((ctx), (call), &type##__descriptor, sizeof **(ret), (ret))
WEIR_API int weir_grpc_recv_pb_(const weir_ctx *ctx, weir_grpc *call,
                                const ProtobufCMessageDescriptor *type, size_t size, void *ret);

/* As weir_grpc_send(). */
#define weir_grpc_send_pb(ctx, call, msg) weir_grpc_send_pb_((ctx), (call), &(msg)->base)
WEIR_API int weir_grpc_send_pb_(const weir_ctx *ctx, weir_grpc *call, const ProtobufCMessage *msg);

/* As weir_grpc_unary(). */
#define weir_grpc_unary_pb(ctx, ch, method, opt, in, ret_call, type, ret)          \
	weir_grpc_unary_pb_((ctx), (ch), (method), (opt), &(in)->base, (ret_call), \
	                    &type##__descriptor, sizeof **(ret), (ret))
WEIR_API int weir_grpc_unary_pb_(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method,
                                 const weir_grpc_call_options *opt, const ProtobufCMessage *in,
                                 weir_grpc **ret_call, const ProtobufCMessageDescriptor *type,
                                 size_t size, void *ret);

WEIR_END
#endif
