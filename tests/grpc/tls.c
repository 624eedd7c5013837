/* SPDX-License-Identifier: MIT */
/* Our client and our server over TLS, on sockets: grpcs://, and what does not fit together. */
#include "demo.h"

enum { LARGE = 1 << 20 };

struct fit {
	const char *const *alpn; /* what the server agrees to */
	bool stranger;           /* the client does not know who vouches for it */
};

static const char *const h2_only[] = { "h2", NULL }, *const h1_only[] = { "http/1.1", NULL };

static bool start(const weir_ctx *ctx, struct demo *d, struct fit fit)
{
	weir_grpc_channel_options opt = { .backoff_ns = WEIR_MS(1) };
	struct tls_files files;
	char target[64];

	if (!tls_built())
		return false;
	files = tls_make_files();
	site_tls.server = tls_make_server(&files, fit.alpn);
	site_tls.other = tls_make_client(fit.stranger ? NULL : files.cert, h2_only);
	tls_remove_files(&files);
	demo_new(d);
	demo_method(d, "/t.T/Echo", echo, NULL);
	site_start(ctx, &d->site);
	snprintf(target, sizeof target, "grpcs://localhost:%s", strrchr(site_at, ':') + 1);
	CHECK_EQ(weir_grpc_channel_new(target, &opt, &d->channel), -EINVAL);
	opt.tls = site_tls.other;
	CHECK_EQ(weir_grpc_channel_new(target, &opt, &d->channel), 0);
	return true;
}

static void stop(struct demo *d)
{
	demo_stop(d);
	site_free_tls();
}

TASK(calls_and_streams_go_over_tls)
{
	char *large = calloc(1, LARGE);
	weir_ctx soon;
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	CHECK(large != NULL);
	if (!start(ctx, &d, (struct fit){ weir_http_protocols(), false })) {
		free(large);
		return;
	}
	CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "hello"), 0);
	CHECK_EQ(call_once(ctx, &d, "/t.T/Nothing", "hello"), WEIR_GRPC_UNIMPLEMENTED);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Echo", NULL, &call), 0);
	for (int i = 0; i < 5; i++) {
		memset(large, i, LARGE);
		CHECK_EQ(weir_grpc_send(ctx, call, large, LARGE), 0);
		CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
		CHECK(n == LARGE && !memcmp(msg, large, LARGE));
	}
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	/* The deadline and the client's cancel reach a handler that waits for more. */
	soon = weir_ctx_timeout(ctx, WEIR_MS(100));
	CHECK_EQ(weir_grpc_start(&soon, d.channel, "/t.T/Echo", NULL, &call), 0);
	CHECK_EQ(weir_grpc_send(&soon, call, "x", 1), 0);
	CHECK_EQ(weir_grpc_recv(&soon, call, &msg, &n), 1);
	CHECK(weir_grpc_recv(&soon, call, &msg, &n) <= 0);
	weir_grpc_free(call);
	while (site_stats(&d.site).active)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	CHECK(site_stats(&d.site).conns_total <= (uint64_t)weir_worker_count());
	free(large);
	stop(&d);
}

TASK(a_server_nobody_vouches_for_is_unavailable)
{
	struct demo d;

	if (!start(ctx, &d, (struct fit){ weir_http_protocols(), true }))
		return;
	CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "secret"), WEIR_GRPC_UNAVAILABLE);
	CHECK_EQ(site_stats(&d.site).requests, 0);
	stop(&d);
}

TASK(a_server_that_speaks_no_http2_is_unavailable)
{
	struct demo d;

	if (!start(ctx, &d, (struct fit){ h1_only, false }))
		return;
	CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "x"), WEIR_GRPC_UNAVAILABLE);
	stop(&d);
	/* One that knows no ALPN agrees to nothing either. */
	CHECK(start(ctx, &d, (struct fit){ NULL, false }));
	CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "x"), WEIR_GRPC_UNAVAILABLE);
	stop(&d);
}
