/* SPDX-License-Identifier: MIT */
/* What HTTP refuses before there is a call, as a client of gRPC hears it. */
#include "demo.h"

enum { SEEDS = 20 };

enum how { BY_RESULT, BY_PROBLEM, BY_REPLY, BY_ERRNO };

struct door {
	enum how how;
	int status;
};

static int refuse(const weir_ctx *ctx, weir_http *x, void *arg)
{
	const struct door *door = arg;
	int r;

	switch (door->how) {
	case BY_PROBLEM:
		r = weir_http_problem(ctx, x, door->status, "Not %s: 100 %%.", "today");
		return r < 0 ? r : door->status;
	case BY_REPLY:
		r = weir_http_reply(ctx, x, door->status, "text/plain", "no", 2);
		return r < 0 ? r : door->status;
	case BY_ERRNO:
		return -EAGAIN;
	case BY_RESULT:
		break;
	}
	return door->status;
}

static int refused(const weir_ctx *ctx, struct demo *d, char message[100])
{
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r = weir_grpc_unary(ctx, d->channel, "/t.T/Echo", NULL, "x", 1, &call, &msg, &n);

	CHECK(call != NULL);
	snprintf(message, 100, "%s", weir_grpc_message(call));
	weir_grpc_free(call);
	return r;
}

SIM(a_refusal_of_http_has_the_code_that_belongs_to_it, SEEDS)
{
	static const struct {
		int status, code;
	} cases[] = { { 400, WEIR_GRPC_INTERNAL },
		      { 401, WEIR_GRPC_UNAUTHENTICATED },
		      { 403, WEIR_GRPC_PERMISSION_DENIED },
		      { 404, WEIR_GRPC_UNIMPLEMENTED },
		      { 409, WEIR_GRPC_UNKNOWN },
		      { 413, WEIR_GRPC_RESOURCE_EXHAUSTED },
		      { 429, WEIR_GRPC_RESOURCE_EXHAUSTED },
		      { 500, WEIR_GRPC_INTERNAL },
		      { 501, WEIR_GRPC_UNIMPLEMENTED },
		      { 503, WEIR_GRPC_UNAVAILABLE } };
	struct door door;
	char message[100];
	struct demo d;

	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo, NULL);
	weir_http_filter(d.site.server, refuse, &door);
	demo_start(ctx, &d);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		door = (struct door){ BY_RESULT, cases[i].status };
		CHECK_EQ(refused(ctx, &d, message), cases[i].code);
		CHECK_STR(message, weir_http_reason(cases[i].status));
		door.how = BY_PROBLEM;
		CHECK_EQ(refused(ctx, &d, message), cases[i].code);
		CHECK_STR(message, "Not today: 100 %.");
		door.how = BY_REPLY;
		CHECK_EQ(refused(ctx, &d, message), cases[i].code);
		CHECK_STR(message, weir_http_reason(cases[i].status));
	}
	door.how = BY_ERRNO;
	CHECK_EQ(refused(ctx, &d, message), WEIR_GRPC_UNAVAILABLE);
	CHECK_STR(message, "Try again later.");
	demo_stop(&d);
}
