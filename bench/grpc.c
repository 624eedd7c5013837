/* SPDX-License-Identifier: MIT */
/*
 * gRPC: a server with one method of one message each way and one that streams, and the load for it
 * and its peers (which serve the same methods):
 *
 *	bench-grpc                            serves
 *	bench-grpc stream TARGET SECONDS      streams of small messages: messages per second
 *	bench-grpc calls TARGET SECONDS RATE  calls begun at an even rate: percentiles
 */
#include <weir/grpc_protobuf.h>
#include <weir/server.h>

#include "bench.h"
#include "interop.pb-c.h"

#define SERVICE "/grpc.testing.TestService/"
enum { MESSAGES = 10000, MESSAGE = 16, STREAMS = 8, CALLS_MAX = 1 << 20 };

static uint8_t zeros[1 << 20];

static int unary(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Testing__SimpleResponse out = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
	Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;
	Grpc__Testing__SimpleRequest *in;
	int r = weir_grpc_recv_pb(ctx, call, grpc__testing__simple_request, &in);

	(void)arg;
	if (r <= 0)
		return r;
	if (in->response_size < 0 || (size_t)in->response_size > sizeof zeros)
		return -EINVAL;
	payload.body = (ProtobufCBinaryData){ (size_t)in->response_size, zeros };
	out.payload = &payload;
	return weir_grpc_send_pb(ctx, call, &out);
}

static int stream(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Testing__StreamingOutputCallResponse out =
		GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
	Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;
	Grpc__Testing__StreamingOutputCallRequest *in;
	int r = weir_grpc_recv_pb(ctx, call, grpc__testing__streaming_output_call_request, &in);

	(void)arg;
	out.payload = &payload;
	for (size_t i = 0; r > 0 && i < in->n_response_parameters; i++) {
		payload.body =
			(ProtobufCBinaryData){ (size_t)in->response_parameters[i]->size, zeros };
		if (payload.body.len > sizeof zeros)
			return -EINVAL;
		r = weir_grpc_send_pb(ctx, call, &out) < 0 ? -EPIPE : 1;
	}
	return r < 0 ? r : 0;
}

static int serve(const weir_ctx *ctx)
{
	weir_server *s = weir_server_new(NULL);

	must(s ? 0 : -ENOMEM, "weir_server_new");
	MUST(weir_grpc_method(weir_server_http(s), SERVICE "UnaryCall", unary, NULL));
	MUST(weir_grpc_method(weir_server_http(s), SERVICE "StreamingOutputCall", stream, NULL));
	MUST(weir_server_listen(s, "127.0.0.1:0"));
	printf("listening on %s\n", weir_server_addr(s, 0));
	fflush(stdout);
	MUST(weir_server_run(ctx, s));
	weir_server_free(s);
	return 0;
}

/* ---- load ---- */

struct load {
	weir_grpc_channel *channel;
	int64_t until;
	uint64_t messages;
	float *us;
	size_t calls, failed;
};

static int read_streams(const weir_ctx *ctx, void *arg)
{
	static Grpc__Testing__ResponseParameters v[MESSAGES], *at[MESSAGES];
	Grpc__Testing__StreamingOutputCallRequest in =
		GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
	struct load *load = arg;

	for (int i = 0; i < MESSAGES; i++) {
		grpc__testing__response_parameters__init(&v[i]);
		v[i].size = MESSAGE;
		at[i] = &v[i];
	}
	in.response_parameters = at;
	in.n_response_parameters = MESSAGES;
	while (weir_now() < load->until) {
		const void *msg;
		weir_grpc *call;
		size_t n;

		MUST(weir_grpc_start(ctx, load->channel, SERVICE "StreamingOutputCall", NULL,
		                     &call));
		MUST(weir_grpc_send_pb(ctx, call, &in));
		MUST(weir_grpc_end_send(ctx, call));
		while (weir_grpc_recv(ctx, call, &msg, &n) > 0)
			load->messages++;
		must(-weir_grpc_status(call), "the stream's status");
		weir_grpc_free(call);
	}
	return 0;
}

struct one {
	struct load *load;
	int64_t due;
};

static int call_once(const weir_ctx *ctx, void *arg)
{
	static const char request[] = "\x10\x0b\x1a\x07\x12\x05world";
	struct one *one = arg;
	struct load *load = one->load;
	const void *msg;
	weir_grpc *call;
	size_t n;

	if (weir_grpc_unary(ctx, load->channel, SERVICE "UnaryCall", NULL, request,
	                    sizeof request - 1, &call, &msg, &n) == 0)
		load->us[load->calls++] = (float)(weir_now() - one->due) / 1000;
	else
		load->failed++;
	weir_grpc_free(call);
	free(one);
	return 0;
}

static int ascending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

static void call_evenly(const weir_ctx *ctx, struct load *load, double rate)
{
	double every = 1e9 / rate;
	int64_t start = weir_now();
	weir_group g;
	size_t n = 0;

	load->us = calloc(CALLS_MAX, sizeof *load->us);
	must(load->us ? 0 : -ENOMEM, "calloc");
	weir_group_init(&g, ctx);
	while (weir_now() < load->until && n < CALLS_MAX) {
		/* Late ones are begun at once, and their wait counts. */
		while (start + (int64_t)((double)n * every) <= weir_now() && n < CALLS_MAX) {
			struct one *one = malloc(sizeof *one);

			must(one ? 0 : -ENOMEM, "malloc");
			*one = (struct one){ load, start + (int64_t)((double)n++ * every) };
			MUST(weir_group_go_on(&g, weir_worker(), call_once, one));
		}
		MUST(weir_yield(ctx));
	}
	MUST(weir_group_wait(&g));
	must(load->calls ? 0 : -EIO, "calls");
	qsort(load->us, load->calls, sizeof *load->us, ascending);
	printf("%zu calls, %zu failed, p50 %.0f us, p99 %.0f us\n", load->calls, load->failed,
	       load->us[load->calls / 2], load->us[load->calls * 99 / 100]);
	free(load->us);
}

static int app(const weir_ctx *ctx, void *arg)
{
	struct load load = { 0 };
	char **argv = arg;
	int64_t start, ns;
	weir_group g;

	if (!argv[1])
		return serve(ctx);
	MUST(weir_grpc_channel_new(argv[2], NULL, &load.channel));
	start = weir_now();
	ns = WEIR_SEC(atoi(argv[3]));
	load.until = start + ns;
	if (argv[1][0] == 'c') {
		call_evenly(ctx, &load, atof(argv[4]));
	} else {
		weir_group_init(&g, ctx);
		for (int i = 0; i < STREAMS; i++)
			MUST(weir_group_go_on(&g, weir_worker(), read_streams, &load));
		MUST(weir_group_wait(&g));
		printf("%llu messages, %.0f/s\n", (unsigned long long)load.messages,
		       (double)load.messages * 1e9 / (double)(weir_now() - start));
	}
	weir_grpc_channel_free(load.channel);
	return 0;
}

int main(int argc, char **argv)
{
	(void)argc;
	return weir_main(app, argv);
}
