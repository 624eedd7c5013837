/* SPDX-License-Identifier: MIT */
/* Connections that have come of age: told to go within a tenth of the time, and no call is lost. */
#include "http/h2_client.h"

#include "demo.h"

enum { SEEDS = 20, CONNS = 10 };
#define AGE_NS WEIR_SEC(60)

SIM(connections_are_told_to_go_around_their_age_and_not_all_at_once, SEEDS)
{
	static const struct weir__h2c_options none;
	int64_t first = WEIR_NEVER, last = 0, from;
	weir__h2c *c[CONNS];
	struct site s;
	int left = CONNS;

	site_new(&s, &(weir_http_limits){ .age_ns = AGE_NS });
	site_start(ctx, &s);
	for (int i = 0; i < CONNS; i++)
		CHECK_EQ(weir__h2c_new(dial(ctx), &none, &c[i]), 0);
	from = weir_now();
	while (left) {
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(10)), 0);
		for (int i = 0; i < CONNS; i++) {
			int64_t age = weir_now() - from;

			if (!c[i] || weir__h2c_state(c[i]) == 0)
				continue;
			CHECK(age >= AGE_NS / 10 * 9 - WEIR_MS(20) &&
			      age < AGE_NS / 10 * 11 + WEIR_SEC(1));
			first = age < first ? age : first;
			last = age;
			weir__h2c_close(c[i]);
			c[i] = NULL;
			left--;
		}
	}
	CHECK(last - first > AGE_NS / 100);
	site_stop(&s);
}

SIM(a_stream_outlives_the_age_and_no_call_is_lost_to_it, SEEDS)
{
	struct demo d;
	const void *msg;
	weir_grpc *call;
	size_t n;

	site_new(&d.site, &(weir_http_limits){ .age_ns = AGE_NS });
	demo_method(&d, "/t.T/Echo", echo, NULL);
	demo_start(ctx, &d);
	CHECK_EQ(weir_grpc_start(ctx, d.channel, "/t.T/Echo", NULL, &call), 0);
	for (int i = 0; i < 200; i++) {
		CHECK_EQ(weir_grpc_send(ctx, call, "x", 1), 0);
		CHECK_EQ(weir_grpc_recv(ctx, call, &msg, &n), 1);
		CHECK_EQ(call_once(ctx, &d, "/t.T/Echo", "y"), 0);
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	}
	CHECK(site_stats(&d.site).conns_total >= 3);
	CHECK_EQ(weir_grpc_finish(ctx, call), 0);
	weir_grpc_free(call);
	demo_stop(&d);
}
