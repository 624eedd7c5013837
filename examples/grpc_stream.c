/* SPDX-License-Identifier: MIT */
/*
 * Stopping streams: a ticker over gRPC to any number of clients, and a SIGTERM that ends them all
 * in order.
 *
 * In many servers a stream keeps the graceful stop from ever ending: it waits for calls to finish,
 * and a stream never does. Here a call hears the stop:
 *
 *  - SIGTERM (or ^C) sends GOAWAY to every connection first, so that clients go elsewhere with what
 *    is new, and only then begins the drain of the calls.
 *  - The handler waits for the next tick under `live`, which ends with the drain. It says a last
 *    word under the plain context, which does not, and ends with a status: UNAVAILABLE.
 *  - A handler that did not care would be cancelled after the grace period and named in the report.
 *  - A client that leaves ends the handler's context too, at once.
 *
 *	$ ./example-grpc_stream 127.0.0.1:7777 &
 *	listening on 127.0.0.1:7777
 *	$ ./example-grpc_stream watch grpc://127.0.0.1:7777 3
 *	client 0: tick 1
 *	…
 *	kill: client 0: ended: UNAVAILABLE (the server is stopping)
 */
#include <weir/grpc_protobuf.h>
#include <weir/server.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ticker.pb-c.h"

/* ---- the server ---- */

static int watch(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	Ticker__Tick tick = TICKER__TICK__INIT;
	Ticker__WatchRequest *in;
	int r;

	(void)arg;
	r = weir_grpc_recv_pb(ctx, call, ticker__watch_request, &in);
	if (r <= 0)
		return r;
	if (!in->every_ms)
		return weir_grpc_fail(call, WEIR_GRPC_INVALID_ARGUMENT, "every_ms is missing");
	do {
		tick.number++;
		r = weir_grpc_send_pb(ctx, call, &tick);
		if (r == 0)
			r = weir_sleep(&live, WEIR_MS(in->every_ms));
	} while (r == 0);
	return r; /* -ESHUTDOWN: UNAVAILABLE, "the server is stopping" */
}

static int serve(const weir_ctx *ctx, void *arg)
{
	char **argv = arg;
	weir_server *s = weir_server_new(NULL);
	int r = s ? 0 : -ENOMEM;

	if (r == 0)
		r = weir_grpc_method(weir_server_http(s), "/ticker.Ticker/Watch", watch, NULL);
	if (r == 0)
		r = weir_server_listen(s, argv[1] ? argv[1] : "127.0.0.1:7777");
	if (r == 0) {
		fprintf(stderr, "listening on %s\n", weir_server_addr(s, 0));
		r = weir_server_run(ctx, s);
	}
	weir_server_free(s);
	return r;
}

/* ---- clients, each a task ---- */

struct client {
	weir_grpc_channel *channel;
	int number;
};

static int follow(const weir_ctx *ctx, void *arg)
{
	Ticker__WatchRequest ask = TICKER__WATCH_REQUEST__INIT;
	struct client *c = arg;
	Ticker__Tick *tick;
	weir_grpc *call;
	int r;

	r = weir_grpc_start(ctx, c->channel, "/ticker.Ticker/Watch", NULL, &call);
	if (r < 0)
		return r;
	ask.every_ms = 100;
	weir_grpc_send_pb(ctx, call, &ask);
	weir_grpc_end_send(ctx, call);
	while ((r = weir_grpc_recv_pb(ctx, call, ticker__tick, &tick)) > 0)
		printf("client %d: tick %llu\n", c->number, (unsigned long long)tick->number);
	if (r == 0)
		printf("client %d: ended: %s (%s)\n", c->number,
		       weir_grpc_code_name(weir_grpc_status(call)), weir_grpc_message(call));
	weir_grpc_free(call);
	return r;
}

static int clients(const weir_ctx *ctx, void *arg)
{
	char **argv = arg;
	struct client c[100];
	long n = argv[3] ? strtol(argv[3], NULL, 10) : 1;
	int r;
	weir_grpc_channel *channel;
	weir_group g;

	setvbuf(stdout, NULL, _IOLBF, 0);
	r = weir_grpc_channel_new(argv[2], NULL, &channel);
	if (r < 0)
		return r;
	weir_group_init(&g, ctx);
	for (int i = 0; i < n && i < 100 && r == 0; i++) {
		c[i] = (struct client){ channel, i };
		r = weir_group_go(&g, follow, &c[i]);
	}
	r = weir_group_wait(&g);
	weir_grpc_channel_free(channel);
	return r;
}

int main(int argc, char **argv)
{
	return weir_main(argc > 2 && !strcmp(argv[1], "watch") ? clients : serve, argv);
}
