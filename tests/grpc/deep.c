/* SPDX-License-Identifier: MIT */
/* Messages that lie in each other, as deep as their sender likes. */
#include "demo.h"

#include <weir/grpc_protobuf.h>

enum { SEEDS = 5, LIMIT = 100, TOO_LONG = 4096 };

/* message Node { Node child = 1; } as protoc-c would have it. */
typedef struct {
	ProtobufCMessage base;
	ProtobufCMessage *child;
} Node;

extern const ProtobufCMessageDescriptor node__descriptor;

static void node_init(ProtobufCMessage *m)
{
	*(Node *)m = (Node){ PROTOBUF_C_MESSAGE_INIT(&node__descriptor), NULL };
}

static const ProtobufCFieldDescriptor node_fields[] = {
	{ .name = "child",
	  .id = 1,
	  .label = PROTOBUF_C_LABEL_OPTIONAL,
	  .type = PROTOBUF_C_TYPE_MESSAGE,
	  .offset = offsetof(Node, child),
	  .descriptor = &node__descriptor },
};
static const unsigned node_by_name[] = { 0 };
static const ProtobufCIntRange node_ranges[] = { { 1, 0 }, { 0, 1 } };

const ProtobufCMessageDescriptor node__descriptor = {
	.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
	.name = "t.Node",
	.short_name = "Node",
	.c_name = "Node",
	.package_name = "t",
	.sizeof_message = sizeof(Node),
	.n_fields = 1,
	.fields = node_fields,
	.fields_sorted_by_name = node_by_name,
	.n_field_ranges = 1,
	.field_ranges = node_ranges,
	.message_init = node_init,
};

/* Written from the innermost out. Its length. */
static size_t nest(unsigned char *end, int depth)
{
	size_t n = 0;

	while (--depth > 0) {
		size_t len = n;

		if (len > 127)
			*(end - ++n) = (unsigned char)(len >> 7);
		*(end - ++n) = (unsigned char)((len & 127) | (len > 127 ? 128 : 0));
		*(end - ++n) = 1 << 3 | 2;
	}
	return n;
}

static int measure(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	int r, *depth = arg;
	Node *in;

	*depth = 0;
	r = weir_grpc_recv_pb(ctx, call, node, &in);
	if (r <= 0)
		return r;
	for (Node *n = in; n; n = (Node *)n->child)
		++*depth;
	return weir_grpc_send_pb(ctx, call, in);
}

SIM(a_message_may_be_a_hundred_deep_and_no_deeper, SEEDS)
{
	static const int depths[] = { 1, 15, 16, 17, 60, LIMIT, LIMIT + 1, 1000 };
	unsigned char room[TOO_LONG];
	struct demo d;
	int seen;

	demo_new(&d);
	demo_method(&d, "/t.T/Depth", measure, &seen);
	demo_start(ctx, &d);
	for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
		size_t n = nest(room + sizeof room, depths[i]), len;
		weir_grpc *call;
		const void *msg;
		int r = weir_grpc_unary(ctx, d.channel, "/t.T/Depth", NULL, room + sizeof room - n,
		                        n, &call, &msg, &len);

		CHECK_EQ(r, depths[i] <= LIMIT ? WEIR_GRPC_OK : WEIR_GRPC_INTERNAL);
		CHECK_EQ(seen, depths[i] <= LIMIT ? depths[i] : 0);
		if (r == 0)
			CHECK(len == n && !memcmp(msg, room + sizeof room - n, n));
		weir_grpc_free(call);
	}
	demo_stop(&d);
}

/* Looks for it now and then, with no time to wait. */
static int glance(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	bool *here = arg;
	Node *in;
	int r;

	do {
		weir_ctx now = weir_ctx_timeout(ctx, 1);

		r = weir_sleep(ctx, WEIR_MS(1));
		r = r < 0 ? r : weir_grpc_recv_pb(&now, call, node, &in);
	} while (r == -ETIMEDOUT);
	*here = r == 1;
	return r < 0 ? r : 0;
}

SIM(a_deep_message_is_not_lost_to_the_end_of_a_wait, SEEDS)
{
	unsigned char room[TOO_LONG];
	size_t n = nest(room + sizeof room, LIMIT), len;
	bool here = false;
	weir_grpc *call;
	const void *msg;
	struct demo d;

	demo_new(&d);
	demo_method(&d, "/t.T/Glance", glance, &here);
	demo_start(ctx, &d);
	(void)weir_grpc_unary(ctx, d.channel, "/t.T/Glance", NULL, room + sizeof room - n, n, &call,
	                      &msg, &len);
	CHECK(here);
	weir_grpc_free(call);
	demo_stop(&d);
}
