/* SPDX-License-Identifier: MIT */
#include "demo.h"

enum { SEEDS = 2, QUESTIONS = 2000 };

/* Who browses a server keeps one stream for it, and asks on it for as long as it likes. */
SIM(a_stream_of_questions_does_not_use_up_its_memory, SEEDS)
{
	/* FileDescriptorSet { file { name: "a.proto" service { name: "S" } } } */
	static const char set[] = "\x0a\x0e\x0a\x07"
				  "a.proto\x32\x03\x0a\x01S";
	/* By name, of the file of a symbol, all services, extensions' numbers; each is answered. */
	static const char *const questions[] = { "\x1a\x07\x61.proto", "\x22\x01S", "\x3a\x01*",
		                                 "\x32\x01S" };
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	demo_new(&d);
	CHECK_EQ(weir_grpc_recv_max(d.site.server, 1024), 0);
	CHECK_EQ(weir_grpc_reflection_add(d.site.server, set, sizeof set - 1), 0);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel,
	                         "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", NULL,
	                         &call),
	         0);
	for (int i = 0; i < QUESTIONS; i++) {
		const char *q = questions[i % 4];

		CHECK_EQ(weir_grpc_send(ctx, call, q, strlen(q)), 0);
		CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
	}
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	demo_stop(&d);
}
