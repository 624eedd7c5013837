/* SPDX-License-Identifier: MIT */
/* A bus of its own for NATS clients, with the rights that `weir serve --nats` gives where nobody
 * signs in. */
#include <weir/server.h>

#include "bench.h"

static int serve(const weir_ctx *ctx, void *arg)
{
	weir_nats_options opt = { .anybody = weir_nats_user_new("") };
	weir_server *s = weir_server_new(NULL);
	weir_nats_server *n;
	weir_bus *bus;

	(void)arg;
	must(s && opt.anybody ? 0 : -ENOMEM, "weir_server_new");
	MUST(weir_nats_user_allow(opt.anybody, WEIR_NATS_PUBLISH | WEIR_NATS_SUBSCRIBE, ">"));
	MUST(weir_nats_user_deny(opt.anybody, WEIR_NATS_PUBLISH, "weir.>"));
	MUST(weir_bus_open(ctx, "mem:", &bus));
	MUST(weir_nats_server_new(bus, &opt, &n));
	weir_server_nats(s, n);
	MUST(weir_server_listen(s, "nats://127.0.0.1:0"));
	printf("listening on %s\n", weir_server_addr(s, 0));
	fflush(stdout);
	MUST(weir_server_run(ctx, s));
	weir_nats_server_free(n);
	MUST(weir_bus_drain(ctx, bus));
	weir_server_free(s);
	return 0;
}

BENCH_MAIN(serve)
