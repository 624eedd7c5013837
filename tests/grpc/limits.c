/* SPDX-License-Identifier: MIT */
/* What a call may take, and what is refused before there is one. */
#include "demo.h"

enum { SEEDS = 40 };

SIM(a_message_beyond_the_limit_is_refused, SEEDS)
{
	char big[3000];
	const void *msg;
	weir_grpc *call;
	struct demo d;
	size_t n;

	memset(big, 'x', sizeof big);
	demo_new(&d);
	demo_method(&d, "/t.T/Echo", echo, NULL);
	CHECK_EQ(weir_grpc_recv_max(d.site.server, 2000), 0);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_unary(ctx, d.channel, "/t.T/Echo", NULL, big, 2000, &call, &msg, &n), 0);
	weir_grpc_free(call);
	CHECK_EQ(weir_grpc_unary(ctx, d.channel, "/t.T/Echo", NULL, big, 2001, &call, &msg, &n),
	         WEIR_GRPC_RESOURCE_EXHAUSTED);
	weir_grpc_free(call);
	/* The limit holds for what comes out of a compressed one, too. */
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Echo", NULL, &call), 0);
	weir_grpc_compress(call, true);
	CHECK_EQ(weir_grpc_send(ctx, call, big, 2001), 0);
	CHECK_EQ(weir_grpc_finish(ctx, call), WEIR_GRPC_RESOURCE_EXHAUSTED);
	weir_grpc_free(call);
	demo_stop(&d);
}

TASK(a_limit_that_is_none_leaves_room_for_what_a_call_keeps)
{
	weir_grpc_channel_options opt = { .recv_max = SIZE_MAX };
	weir_grpc_channel *ch;
	weir_grpc *call;

	CHECK_EQ(weir_grpc_channel_new("mem:nobody", &opt, &ch), 0);
	CHECK_EQ(weir_grpc_start(ctx, ch, "/t.T/V", NULL, &call), 0);
	CHECK(weir_grpc_alloc(call, 100000) != NULL);
	weir_grpc_free(call);
	weir_grpc_channel_free(ch);
}

TASK(a_target_that_is_no_address_is_refused)
{
	static const char *const bad[] = { "grpc://",      "grpc://host",  "grpc://h:99999",
		                           "grpc://1.2:3", "grpc://a:1/b", "unix:",
		                           "http://a:1",   "mem:" };
	weir_grpc_channel *ch;

	(void)ctx;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_EQ(weir_grpc_channel_new(bad[i], NULL, &ch), -EINVAL);
}

static int take_one(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	const void *msg;
	size_t n;
	int r = weir_grpc_recv(ctx, call, &msg, &n);

	if (r > 0)
		*(size_t *)arg = n;
	return r < 0 ? r : 0;
}

SIM(what_a_small_message_swells_to_is_counted_too, 5)
{
	static const char zeros[200000];
	size_t sizes[] = { 10000, 100000, 200000 }, got;
	weir_grpc *call;
	struct demo d;

	site_new(&d.site, &(weir_http_limits){ .bodies_max = 150000 });
	demo_method(&d, "/t.T/Take", take_one, &got);
	demo_start(ctx, &d);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		bool fits = sizes[i] < 150000;

		got = 0;
		CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Take", NULL, &call), 0);
		weir_grpc_compress(call, true);
		CHECK_EQ(weir_grpc_send(ctx, call, zeros, sizes[i]), 0);
		CHECK_EQ(weir_grpc_finish(ctx, call),
		         fits ? WEIR_GRPC_OK : WEIR_GRPC_RESOURCE_EXHAUSTED);
		CHECK_EQ(got, fits ? sizes[i] : 0);
		weir_grpc_free(call);
	}
	demo_stop(&d);
}
