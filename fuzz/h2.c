/* SPDX-License-Identifier: MIT */
/* Whatever frames a client sends, the server goes on serving others, and stops clean: no handler
 * and no connection is left. In simulated time, over memory. */
#include "fuzz.h"

#include <weir/grpc.h>
#include <weir/net.h>
#include <weir/sim.h>

enum { FRAME = 9, FRAMES_MAX = 400, STREAMS = 16 };

struct input {
	const uint8_t *data;
	size_t n;
	weir_http_server *server;
	weir_listener *listener;
};

static int serve(const weir_ctx *ctx, void *arg)
{
	struct input *in = arg;

	return weir_http_serve(ctx, in->server, in->listener);
}

static int echo_body(const weir_ctx *ctx, weir_http *x, void *arg)
{
	char buf[300];
	ssize_t n;
	int r = 0;

	(void)arg;
	while (r == 0 && (n = weir_http_read(ctx, x, buf, sizeof buf)) != 0)
		r = n < 0 ? (int)n : weir_http_write(ctx, x, buf, (size_t)n);
	return r;
}

static int echo_call(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	const void *msg;
	size_t n;
	int r;

	(void)arg;
	while ((r = weir_grpc_recv(ctx, call, &msg, &n)) > 0)
		if ((r = weir_grpc_send(ctx, call, msg, n)) < 0)
			break;
	return r;
}

static void discard(const weir_ctx *ctx, weir_conn *c, int64_t ns)
{
	weir_ctx soon = weir_ctx_timeout(ctx, ns);
	char buf[4096];

	while (weir_conn_read(&soon, c, buf, sizeof buf) > 0)
		;
}

/* Type, flags, stream and length of a frame in four bytes, then what it holds: so that what is made
 * up is a frame more often than not. A type of 255 waits for the server. */
static void talk(const weir_ctx *ctx, weir_conn *c, const struct input *in)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
	const uint8_t *p = in->data, *end = in->data + in->n;
	uint8_t head[FRAME] = { 0 };

	if (weir_conn_write(ctx, c, preface, sizeof preface) < 0)
		return;
	for (int i = 0; i < FRAMES_MAX && end - p >= 4; i++) {
		size_t n = p[3] < end - p - 4 ? p[3] : (size_t)(end - p - 4);

		if (p[0] == 255)
			discard(ctx, c, WEIR_MS(1 + p[1]));
		head[2] = (uint8_t)n;
		head[3] = p[0];
		head[4] = p[1];
		head[8] = p[2] % STREAMS;
		if (weir_conn_write(ctx, c, head, sizeof head) < 0 ||
		    (n && weir_conn_write(ctx, c, p + 4, n) < 0))
			return;
		p += 4 + n;
	}
}

static int one(const weir_ctx *ctx, void *arg)
{
	static const weir_http_limits limits = { .streams_max = 8,
		                                 .header_max = 1024,
		                                 .handler_ns = WEIR_SEC(5) };
	struct input *in = arg;
	weir_http_stats st;
	weir_group g;
	weir_conn *c;

	in->server = weir_http_server_new(&limits);
	HOLDS(in->server);
	HOLDS(weir_http_route(in->server, "POST /e", echo_body, NULL, NULL) == 0);
	HOLDS(weir_grpc_method(in->server, "/f.F/F", echo_call, NULL) == 0);
	HOLDS(weir_listen("mem:fuzz", &in->listener) == 0);
	weir_group_init(&g, ctx);
	HOLDS(weir_group_go(&g, serve, in) == 0);
	HOLDS(weir_dial(ctx, "mem:fuzz", &c) == 0);
	talk(ctx, c, in);
	if (in->n & 1)
		discard(ctx, c, WEIR_SEC(1));
	weir_conn_free(c);
	weir_group_drain(&g);
	HOLDS(weir_group_wait(&g) == 0);
	weir_http_server_stats(in->server, &st);
	HOLDS(st.active == 0);
	HOLDS(st.idle == 0);
	weir_listener_free(in->listener);
	weir_http_server_free(in->server);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct input in = { .data = data, .n = n };

	HOLDS(weir_sim(1, one, &in) == 0);
	return 0;
}
