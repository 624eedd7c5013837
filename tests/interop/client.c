/* SPDX-License-Identifier: MIT */
/*
 * gRPC's interoperability cases (interop-test-descriptions.md), run against a server:
 *
 *	interop-client grpc://127.0.0.1:8080 empty_unary large_unary …
 *
 * Prints "ok CASE" or "not ok CASE: why" for each, last "N passed, N failed".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/grpc_protobuf.h>
#include <weir/task.h>

#include "interop.pb-c.h"

#define SERVICE "/grpc.testing.TestService/"
enum { LARGE_IN = 271828, LARGE_OUT = 314159, SOAK = 100 };

static char zeros[LARGE_IN];
static char why[256];

#define expect(cond)                                                               \
	do {                                                                       \
		if (!(cond)) {                                                     \
			snprintf(why, sizeof why, "line %d: %s", __LINE__, #cond); \
			return -1;                                                 \
		}                                                                  \
	} while (0)

static Grpc__Testing__Payload payload_of(size_t n)
{
	Grpc__Testing__Payload p = GRPC__TESTING__PAYLOAD__INIT;

	p.body.data = (uint8_t *)zeros;
	p.body.len = n;
	return p;
}

static int empty_unary(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	Grpc__Testing__Empty in = GRPC__TESTING__EMPTY__INIT, *out;
	weir_grpc *call;
	int r;

	r = weir_grpc_unary_pb(ctx, ch, SERVICE "EmptyCall", NULL, &in, &call, grpc__testing__empty,
	                       &out);
	expect(r == 0);
	weir_grpc_free(call);
	return 0;
}

static int unary(const weir_ctx *ctx, weir_grpc_channel *ch, bool compressed_answer)
{
	Grpc__Testing__SimpleRequest in = GRPC__TESTING__SIMPLE_REQUEST__INIT;
	Grpc__Testing__BoolValue yes = GRPC__TESTING__BOOL_VALUE__INIT;
	Grpc__Testing__Payload p = payload_of(LARGE_IN);
	Grpc__Testing__SimpleResponse *out;
	weir_grpc *call;
	int r;

	yes.value = true;
	in.response_size = LARGE_OUT;
	in.payload = &p;
	in.response_compressed = compressed_answer ? &yes : NULL;
	r = weir_grpc_unary_pb(ctx, ch, SERVICE "UnaryCall", NULL, &in, &call,
	                       grpc__testing__simple_response, &out);
	if (r != 0)
		snprintf(why, sizeof why, "unary: %d", r);
	if (r != 0)
		return -1;
	expect(out->payload && out->payload->body.len == LARGE_OUT);
	for (size_t i = 0; i < out->payload->body.len; i++)
		expect(out->payload->body.data[i] == 0);
	expect(weir_grpc_was_compressed(call) == compressed_answer);
	weir_grpc_free(call);
	return 0;
}

static int large_unary(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	return unary(ctx, ch, false);
}

static int client_streaming(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	static const size_t sizes[] = { 27182, 8, 1828, 45904 };
	Grpc__Testing__StreamingInputCallResponse *out;
	weir_grpc *call;

	expect(weir_grpc_start(ctx, ch, SERVICE "StreamingInputCall", NULL, &call) == 0);
	for (int i = 0; i < 4; i++) {
		Grpc__Testing__StreamingInputCallRequest in =
			GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
		Grpc__Testing__Payload p = payload_of(sizes[i]);

		in.payload = &p;
		expect(weir_grpc_send_pb(ctx, call, &in) == 0);
	}
	expect(weir_grpc_end_send(ctx, call) == 0);
	expect(weir_grpc_recv_pb(ctx, call, grpc__testing__streaming_input_call_response, &out) ==
	       1);
	expect(out->aggregated_payload_size == 74922);
	expect(weir_grpc_finish(ctx, call) == 0);
	weir_grpc_free(call);
	return 0;
}

static const int out_sizes[] = { 31415, 9, 2653, 58979 };

static int ask(const weir_ctx *ctx, weir_grpc *call, const int *sizes, int n, const int *compressed,
               size_t payload)
{
	Grpc__Testing__StreamingOutputCallRequest in =
		GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
	Grpc__Testing__ResponseParameters v[4], *at[4];
	Grpc__Testing__Payload p = payload_of(payload);
	Grpc__Testing__BoolValue flag[4];

	for (int i = 0; i < n; i++) {
		grpc__testing__response_parameters__init(&v[i]);
		grpc__testing__bool_value__init(&flag[i]);
		v[i].size = sizes[i];
		if (compressed) {
			flag[i].value = compressed[i];
			v[i].compressed = &flag[i];
		}
		at[i] = &v[i];
	}
	in.response_parameters = at;
	in.n_response_parameters = (size_t)n;
	in.payload = payload ? &p : NULL;
	return weir_grpc_send_pb(ctx, call, &in);
}

static int expect_answer(const weir_ctx *ctx, weir_grpc *call, int size)
{
	Grpc__Testing__StreamingOutputCallResponse *out;

	expect(weir_grpc_recv_pb(ctx, call, grpc__testing__streaming_output_call_response, &out) ==
	       1);
	expect(out->payload && out->payload->body.len == (size_t)size);
	return 0;
}

static int server_streaming(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	weir_grpc *call;

	expect(weir_grpc_start(ctx, ch, SERVICE "StreamingOutputCall", NULL, &call) == 0);
	expect(ask(ctx, call, out_sizes, 4, NULL, 0) == 0);
	expect(weir_grpc_end_send(ctx, call) == 0);
	for (int i = 0; i < 4; i++)
		if (expect_answer(ctx, call, out_sizes[i]) < 0)
			return -1;
	expect(weir_grpc_finish(ctx, call) == 0);
	weir_grpc_free(call);
	return 0;
}

static int ping_pong(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	static const size_t in_sizes[] = { 27182, 8, 1828, 45904 };
	weir_grpc *call;

	expect(weir_grpc_start(ctx, ch, SERVICE "FullDuplexCall", NULL, &call) == 0);
	for (int i = 0; i < 4; i++) {
		expect(ask(ctx, call, &out_sizes[i], 1, NULL, in_sizes[i]) == 0);
		if (expect_answer(ctx, call, out_sizes[i]) < 0)
			return -1;
	}
	expect(weir_grpc_finish(ctx, call) == 0);
	weir_grpc_free(call);
	return 0;
}

static int empty_stream(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	const void *msg;
	weir_grpc *call;
	size_t n;

	expect(weir_grpc_start(ctx, ch, SERVICE "FullDuplexCall", NULL, &call) == 0);
	expect(weir_grpc_end_send(ctx, call) == 0);
	expect(weir_grpc_recv(ctx, call, &msg, &n) == 0);
	expect(weir_grpc_finish(ctx, call) == 0);
	weir_grpc_free(call);
	return 0;
}

/* ---- compression ---- */

/* Returns the status with which the server ends it. */
static int send_compressed_unary(const weir_ctx *ctx, weir_grpc_channel *ch, bool expected,
                                 bool compressed)
{
	Grpc__Testing__SimpleRequest in = GRPC__TESTING__SIMPLE_REQUEST__INIT;
	Grpc__Testing__BoolValue flag = GRPC__TESTING__BOOL_VALUE__INIT;
	Grpc__Testing__Payload p = payload_of(LARGE_IN);
	weir_grpc *call;
	int r;

	flag.value = expected;
	in.expect_compressed = &flag;
	in.response_size = LARGE_OUT;
	in.payload = &p;
	expect(weir_grpc_start(ctx, ch, SERVICE "UnaryCall", NULL, &call) == 0);
	weir_grpc_compress(call, compressed);
	r = weir_grpc_send_pb(ctx, call, &in);
	expect(r == 0 || r == -EPIPE);
	r = weir_grpc_finish(ctx, call);
	weir_grpc_free(call);
	return r;
}

static int client_compressed_unary(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	expect(send_compressed_unary(ctx, ch, true, false) == WEIR_GRPC_INVALID_ARGUMENT);
	expect(send_compressed_unary(ctx, ch, true, true) == 0);
	expect(send_compressed_unary(ctx, ch, false, false) == 0);
	return 0;
}

static int send_part(const weir_ctx *ctx, weir_grpc *call, size_t n, bool expected, bool compressed)
{
	Grpc__Testing__StreamingInputCallRequest in =
		GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
	Grpc__Testing__BoolValue flag = GRPC__TESTING__BOOL_VALUE__INIT;
	Grpc__Testing__Payload p = payload_of(n);

	flag.value = expected;
	in.expect_compressed = &flag;
	in.payload = &p;
	weir_grpc_compress(call, compressed);
	return weir_grpc_send_pb(ctx, call, &in);
}

static int client_compressed_streaming(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	Grpc__Testing__StreamingInputCallResponse *out;
	weir_grpc *call;

	expect(weir_grpc_start(ctx, ch, SERVICE "StreamingInputCall", NULL, &call) == 0);
	expect(send_part(ctx, call, 27182, true, false) == 0);
	expect(weir_grpc_finish(ctx, call) == WEIR_GRPC_INVALID_ARGUMENT);
	weir_grpc_free(call);
	expect(weir_grpc_start(ctx, ch, SERVICE "StreamingInputCall", NULL, &call) == 0);
	expect(send_part(ctx, call, 27182, true, true) == 0);
	expect(send_part(ctx, call, 45904, false, false) == 0);
	expect(weir_grpc_end_send(ctx, call) == 0);
	expect(weir_grpc_recv_pb(ctx, call, grpc__testing__streaming_input_call_response, &out) ==
	       1);
	expect(out->aggregated_payload_size == 73086);
	expect(weir_grpc_finish(ctx, call) == 0);
	weir_grpc_free(call);
	return 0;
}

static int server_compressed_unary(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	return unary(ctx, ch, true) < 0 ? -1 : unary(ctx, ch, false);
}

static int server_compressed_streaming(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	static const int sizes[] = { 31415, 92653 }, compressed[] = { true, false };
	weir_grpc *call;

	expect(weir_grpc_start(ctx, ch, SERVICE "StreamingOutputCall", NULL, &call) == 0);
	expect(ask(ctx, call, sizes, 2, compressed, 0) == 0);
	expect(weir_grpc_end_send(ctx, call) == 0);
	for (int i = 0; i < 2; i++) {
		if (expect_answer(ctx, call, sizes[i]) < 0)
			return -1;
		expect(weir_grpc_was_compressed(call) == compressed[i]);
	}
	expect(weir_grpc_finish(ctx, call) == 0);
	weir_grpc_free(call);
	return 0;
}

/* ---- metadata and status ---- */

#define INITIAL  "x-grpc-test-echo-initial"
#define TRAILING "x-grpc-test-echo-trailing-bin"

static int check_echoes(weir_grpc *call)
{
	const char *v;
	size_t n = 0;

	v = weir_grpc_get(call, INITIAL, &n);
	expect(v && !strcmp(v, "test_initial_metadata_value"));
	v = weir_grpc_get_trailer(call, TRAILING, &n);
	expect(v && n == 3 && !memcmp(v, "\xab\xab\xab", 3));
	return 0;
}

static int start_with_metadata(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method,
                               weir_grpc **ret)
{
	static const char initial[] = "test_initial_metadata_value";

	expect(weir_grpc_start(ctx, ch, method, NULL, ret) == 0);
	expect(weir_grpc_set(*ret, INITIAL, initial, sizeof initial - 1) == 0);
	expect(weir_grpc_set(*ret, TRAILING, "\xab\xab\xab", 3) == 0);
	return 0;
}

static int custom_metadata(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	Grpc__Testing__SimpleRequest in = GRPC__TESTING__SIMPLE_REQUEST__INIT;
	weir_grpc *call;

	if (start_with_metadata(ctx, ch, SERVICE "UnaryCall", &call) < 0)
		return -1;
	in.response_size = 10;
	expect(weir_grpc_send_pb(ctx, call, &in) == 0);
	expect(weir_grpc_finish(ctx, call) == 0);
	if (check_echoes(call) < 0)
		return -1;
	weir_grpc_free(call);
	if (start_with_metadata(ctx, ch, SERVICE "FullDuplexCall", &call) < 0)
		return -1;
	expect(ask(ctx, call, &out_sizes[1], 1, NULL, 8) == 0);
	if (expect_answer(ctx, call, out_sizes[1]) < 0)
		return -1;
	expect(weir_grpc_finish(ctx, call) == 0);
	if (check_echoes(call) < 0)
		return -1;
	weir_grpc_free(call);
	return 0;
}

static int echo_status(const weir_ctx *ctx, weir_grpc_channel *ch, int code, const char *message)
{
	Grpc__Testing__EchoStatus status = GRPC__TESTING__ECHO_STATUS__INIT;
	Grpc__Testing__SimpleRequest in = GRPC__TESTING__SIMPLE_REQUEST__INIT;
	Grpc__Testing__SimpleResponse *out;
	weir_grpc *call;

	status.code = code;
	status.message = (char *)message;
	in.response_status = &status;
	expect(weir_grpc_unary_pb(ctx, ch, SERVICE "UnaryCall", NULL, &in, &call,
	                          grpc__testing__simple_response, &out) == code);
	expect(!strcmp(weir_grpc_message(call), message));
	weir_grpc_free(call);
	return 0;
}

static int status_code_and_message(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	Grpc__Testing__StreamingOutputCallRequest in =
		GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
	Grpc__Testing__EchoStatus status = GRPC__TESTING__ECHO_STATUS__INIT;
	weir_grpc *call;

	if (echo_status(ctx, ch, 2, "test status message") < 0)
		return -1;
	status.code = 2;
	status.message = (char *)"test status message";
	in.response_status = &status;
	expect(weir_grpc_start(ctx, ch, SERVICE "FullDuplexCall", NULL, &call) == 0);
	expect(weir_grpc_send_pb(ctx, call, &in) == 0);
	expect(weir_grpc_finish(ctx, call) == 2);
	expect(!strcmp(weir_grpc_message(call), "test status message"));
	weir_grpc_free(call);
	return 0;
}

static int special_status_message(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	return echo_status(ctx, ch, 2,
	                   "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP "
	                   "\xf0\x9f\x98\x88\t\n");
}

static int unimplemented(const weir_ctx *ctx, weir_grpc_channel *ch, const char *method)
{
	const void *msg;
	weir_grpc *call;
	size_t n;

	expect(weir_grpc_unary(ctx, ch, method, NULL, "", 0, &call, &msg, &n) ==
	       WEIR_GRPC_UNIMPLEMENTED);
	weir_grpc_free(call);
	return 0;
}

static int unimplemented_method(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	return unimplemented(ctx, ch, SERVICE "UnimplementedCall");
}

static int unimplemented_service(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	return unimplemented(ctx, ch, "/grpc.testing.UnimplementedService/UnimplementedCall");
}

/* ---- ends ---- */

static int cancel_after_begin(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	weir_grpc *call;

	if (start_with_metadata(ctx, ch, SERVICE "StreamingInputCall", &call) < 0)
		return -1;
	weir_grpc_cancel(call);
	expect(weir_grpc_finish(ctx, call) == WEIR_GRPC_CANCELLED);
	weir_grpc_free(call);
	return 0;
}

static int cancel_after_first_response(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	weir_grpc *call;

	expect(weir_grpc_start(ctx, ch, SERVICE "FullDuplexCall", NULL, &call) == 0);
	expect(ask(ctx, call, &out_sizes[0], 1, NULL, 27182) == 0);
	if (expect_answer(ctx, call, out_sizes[0]) < 0)
		return -1;
	weir_grpc_cancel(call);
	expect(weir_grpc_finish(ctx, call) == WEIR_GRPC_CANCELLED);
	weir_grpc_free(call);
	return 0;
}

static int timeout_on_sleeping_server(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(1));
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r;

	expect(weir_grpc_start(&soon, ch, SERVICE "FullDuplexCall", NULL, &call) == 0);
	(void)ask(&soon, call, &out_sizes[0], 1, NULL, 27182);
	while ((r = weir_grpc_recv(ctx, call, &msg, &n)) > 0)
		;
	expect(r == 0 || r == -ETIMEDOUT);
	expect(weir_grpc_status(call) == WEIR_GRPC_DEADLINE_EXCEEDED);
	weir_grpc_free(call);
	return 0;
}

static int rpc_soak(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	for (int i = 0; i < SOAK; i++)
		if (large_unary(ctx, ch) < 0)
			return -1;
	return 0;
}

static const char *target;

static int channel_soak(const weir_ctx *ctx, weir_grpc_channel *ch)
{
	(void)ch;
	for (int i = 0; i < SOAK; i++) {
		weir_grpc_channel *own;
		int r;

		expect(weir_grpc_channel_new(target, NULL, &own) == 0);
		r = large_unary(ctx, own);
		weir_grpc_channel_free(own);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(const weir_ctx *ctx, weir_grpc_channel *ch);
} cases[] = {
#define CASE(name)          \
	{                   \
#name, name \
	}
	CASE(empty_unary),
	CASE(large_unary),
	CASE(client_streaming),
	CASE(server_streaming),
	CASE(ping_pong),
	CASE(empty_stream),
	CASE(client_compressed_unary),
	CASE(client_compressed_streaming),
	CASE(server_compressed_unary),
	CASE(server_compressed_streaming),
	CASE(custom_metadata),
	CASE(status_code_and_message),
	CASE(special_status_message),
	CASE(unimplemented_method),
	CASE(unimplemented_service),
	CASE(cancel_after_begin),
	CASE(cancel_after_first_response),
	CASE(timeout_on_sleeping_server),
	CASE(rpc_soak),
	CASE(channel_soak),
};

static bool wanted(char **names, const char *name)
{
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

static int app(const weir_ctx *ctx, void *arg)
{
	char **names = (char **)arg + 2;
	weir_grpc_channel *ch;
	int passed = 0, failed = 0, r;

	target = ((char **)arg)[1];
	r = weir_grpc_channel_new(target, NULL, &ch);
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(120));

		if (!wanted(names, cases[i].name))
			continue;
		if (cases[i].fn(&soon, ch) == 0) {
			printf("ok %s\n", cases[i].name);
			passed++;
		} else {
			printf("not ok %s: %s\n", cases[i].name, why);
			failed++;
		}
	}
	weir_grpc_channel_free(ch);
	printf("%d passed, %d failed\n", passed, failed);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: interop-client TARGET CASE...\n");
		return 2;
	}
	return weir_main(app, argv);
}
