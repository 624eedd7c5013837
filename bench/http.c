/* SPDX-License-Identifier: MIT */
/* Hello over HTTP, and a hub of events: GET / answers, GET /events follows, POST /events publishes
 * its body. Over TLS when TLS_CERT and TLS_KEY name files. */
#include <weir/server.h>
#include <weir/sse.h>

#include "bench.h"

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_reply(ctx, x, 200, "text/plain", "hello, world\n", 13);
}

static weir_hub *hub;

static int follow(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_hub_join(ctx, x, hub, NULL);
}

static int publish(const weir_ctx *ctx, weir_http *x, void *arg)
{
	char data[1024];
	ssize_t n = weir_http_read_all(ctx, x, data, sizeof data);
	int64_t id;

	(void)arg;
	if (n < 0)
		return (int)n;
	id = weir_hub_publish(hub, NULL, data, (size_t)n);
	return id < 0 ? (int)id : 0;
}

static int serve(const weir_ctx *ctx, void *arg)
{
	weir_server *s = weir_server_new(NULL);
	weir_tls_pair pair = { getenv("TLS_CERT"), getenv("TLS_KEY") };
	weir_http_server *http;
	weir_tls *tls = NULL;

	(void)arg;
	must(s ? 0 : -ENOMEM, "weir_server_new");
	http = weir_server_http(s);
	MUST(weir_hub_new(ctx, NULL, &hub));
	MUST(weir_http_route(http, "GET /{$}", hello, NULL, NULL));
	MUST(weir_http_route(http, "GET /events", follow, NULL, NULL));
	MUST(weir_http_route(http, "POST /events", publish, NULL, NULL));
	if (pair.cert)
		MUST(weir_tls_new(&(weir_tls_options){ .server = true,
		                                       .pairs = &pair,
		                                       .pairs_n = 1,
		                                       .alpn = weir_http_protocols() },
		                  &tls));
	weir_server_tls(s, tls);
	MUST(weir_server_listen(s, "127.0.0.1:0"));
	printf("listening on %s\n", weir_server_addr(s, 0));
	fflush(stdout);
	MUST(weir_server_run(ctx, s));
	MUST(weir_hub_close(ctx, hub));
	weir_server_free(s);
	weir_tls_free(tls);
	return 0;
}

BENCH_MAIN(serve)
