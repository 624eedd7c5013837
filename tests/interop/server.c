/* SPDX-License-Identifier: MIT */
/*
 * gRPC's interoperability service, for anybody's client. Prints its address and serves until
 * SIGTERM. Of UnimplementedCall and UnimplementedService it knows nothing, as is asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/grpc_protobuf.h>
#include <weir/server.h>
#include <weir/task.h>

#include "interop.pb-c.h"

#define INITIAL  "x-grpc-test-echo-initial"
#define TRAILING "x-grpc-test-echo-trailing-bin"
enum { SIZE_LIMIT = 4 * 1024 * 1024 };

static uint8_t zeros[SIZE_LIMIT];

static int echo_metadata(weir_grpc *call)
{
	const char *v;
	size_t n;
	int r = 0;

	v = weir_grpc_get(call, INITIAL, &n);
	if (v)
		r = weir_grpc_set(call, INITIAL, v, n);
	v = weir_grpc_get(call, TRAILING, &n);
	if (v && r == 0)
		r = weir_grpc_set_trailer(call, TRAILING, v, n);
	return r;
}

static int fill(weir_grpc *call, Grpc__Testing__Payload *p, int size)
{
	if (size < 0 || size > SIZE_LIMIT)
		return weir_grpc_fail(call, WEIR_GRPC_INVALID_ARGUMENT, "%d bytes?", size);
	grpc__testing__payload__init(p);
	p->body = (ProtobufCBinaryData){ (size_t)size, zeros };
	return 0;
}

static int expect_compressed(weir_grpc *call, const Grpc__Testing__BoolValue *want)
{
	if (want && want->value != weir_grpc_was_compressed(call))
		return weir_grpc_fail(call, WEIR_GRPC_INVALID_ARGUMENT,
		                      "the message is%s compressed", want->value ? " not" : "");
	return 0;
}

static int empty_call(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Testing__Empty *in, out = GRPC__TESTING__EMPTY__INIT;
	int r = weir_grpc_recv_pb(ctx, call, grpc__testing__empty, &in);

	(void)arg;
	return r <= 0 ? r : weir_grpc_send_pb(ctx, call, &out);
}

static int unary_call(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Testing__SimpleResponse out = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
	Grpc__Testing__SimpleRequest *in;
	Grpc__Testing__Payload p;
	int r;

	(void)arg;
	r = weir_grpc_recv_pb(ctx, call, grpc__testing__simple_request, &in);
	if (r <= 0)
		return r;
	r = echo_metadata(call);
	if (r == 0)
		r = expect_compressed(call, in->expect_compressed);
	if (r)
		return r;
	if (in->response_status && in->response_status->code)
		return weir_grpc_fail(call, in->response_status->code, "%s",
		                      in->response_status->message);
	r = fill(call, &p, in->response_size);
	if (r)
		return r;
	if (in->response_compressed)
		weir_grpc_compress(call, in->response_compressed->value);
	out.payload = &p;
	return weir_grpc_send_pb(ctx, call, &out);
}

static int answer(const weir_ctx *ctx, weir_grpc *call,
                  const Grpc__Testing__StreamingOutputCallRequest *in)
{
	for (size_t i = 0; i < in->n_response_parameters; i++) {
		Grpc__Testing__StreamingOutputCallResponse out =
			GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
		const Grpc__Testing__ResponseParameters *p = in->response_parameters[i];
		Grpc__Testing__Payload payload;
		int r;

		r = fill(call, &payload, p->size);
		if (r == 0 && p->interval_us > 0)
			r = weir_sleep(ctx, p->interval_us * WEIR_US(1));
		if (r)
			return r;
		if (p->compressed)
			weir_grpc_compress(call, p->compressed->value);
		out.payload = &payload;
		r = weir_grpc_send_pb(ctx, call, &out);
		if (r < 0)
			return r;
	}
	if (in->response_status && in->response_status->code)
		return weir_grpc_fail(call, in->response_status->code, "%s",
		                      in->response_status->message);
	return 0;
}

static int streaming_output(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Testing__StreamingOutputCallRequest *in;
	int r;

	(void)arg;
	r = weir_grpc_recv_pb(ctx, call, grpc__testing__streaming_output_call_request, &in);
	return r <= 0 ? r : answer(ctx, call, in);
}

static int streaming_input(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Testing__StreamingInputCallResponse out =
		GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;
	Grpc__Testing__StreamingInputCallRequest *in;
	int r;

	(void)arg;
	while ((r = weir_grpc_recv_pb(ctx, call, grpc__testing__streaming_input_call_request,
	                              &in)) > 0) {
		r = expect_compressed(call, in->expect_compressed);
		if (r)
			return r;
		out.aggregated_payload_size += in->payload ? (int)in->payload->body.len : 0;
	}
	return r < 0 ? r : weir_grpc_send_pb(ctx, call, &out);
}

static int full_duplex(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Testing__StreamingOutputCallRequest *in;
	int r;

	(void)arg;
	r = echo_metadata(call);
	if (r < 0)
		return r;
	while ((r = weir_grpc_recv_pb(ctx, call, grpc__testing__streaming_output_call_request,
	                              &in)) > 0) {
		r = answer(ctx, call, in);
		if (r)
			return r;
	}
	return r;
}

static int app(const weir_ctx *ctx, void *arg)
{
	static const struct {
		const char *name;
		weir_grpc_fn *fn;
	} methods[] = { { "EmptyCall", empty_call },
		        { "UnaryCall", unary_call },
		        { "StreamingOutputCall", streaming_output },
		        { "StreamingInputCall", streaming_input },
		        { "FullDuplexCall", full_duplex } };
	weir_server *s = weir_server_new(NULL);
	weir_grpc_health *health;
	int r = s ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < sizeof methods / sizeof *methods; i++) {
		char name[64];

		snprintf(name, sizeof name, "/grpc.testing.TestService/%s", methods[i].name);
		r = weir_grpc_method(weir_server_http(s), name, methods[i].fn, NULL);
	}
	if (r == 0)
		r = weir_grpc_health_add(weir_server_http(s), &health);
	if (r == 0)
		r = weir_server_listen(s, arg);
	if (r == 0) {
		printf("%s\n", weir_server_addr(s, 0));
		fflush(stdout);
		r = weir_server_run(ctx, s);
	}
	weir_server_free(s);
	return r;
}

int main(int argc, char **argv)
{
	return weir_main(app, argc > 1 ? argv[1] : (char *)"127.0.0.1:0");
}
