/* SPDX-License-Identifier: MIT */
/* Many messages at a time: a reader that waits for a number of them, and a publisher that says when
 * it is done, in process and over a real nats-server. */
#include <weir/bus.h>
#include <weir/group.h>

#include "bus/bus.h"
#include "numbers.h"
#include "servers.h"

enum { MANY = 100 };

struct gatherer {
	weir_sub *s;
	size_t want;
	int64_t limit_ns;
	int got, first;
};

static int gather(const weir_ctx *ctx, void *arg)
{
	struct gatherer *g = arg;
	struct weir__bus_msg *m[MANY];
	weir_ctx soon = weir_ctx_timeout(ctx, g->limit_ns);

	g->got = weir__sub_gather(&soon, g->s, g->want, m, MANY);
	for (int i = 0; i < g->got; i++) {
		g->first = i ? g->first : atoi(m[i]->data);
		weir__bus_msg_unref(m[i]);
	}
	return 0;
}

TASK(a_reader_that_waits_for_five_is_not_woken_for_four)
{
	weir_bus *b = open_bus(ctx, "mem:");
	struct gatherer g = { follow(ctx, b, "a", NULL), 5, WEIR_SEC(20), 0, -1 };
	weir_sub_stats st;
	weir_group group;

	weir_group_init(&group, ctx);
	CHECK_EQ(weir_group_go(&group, gather, &g), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(weir_yield(ctx), 0);
	weir_sub_stats_get(g.s, &st);
	CHECK_EQ(st.pending, 4);
	CHECK_EQ(publish(ctx, b, "a", 4), 0);
	CHECK_EQ(weir_group_wait(&group), 0);
	CHECK_EQ(g.got, 5);
	CHECK_EQ(g.first, 0);
	weir_sub_stats_get(g.s, &st);
	CHECK_EQ(st.handled, 5);
	weir_sub_close(g.s);
	weir_bus_close(b);
}

TASK(what_had_come_is_taken_when_the_wait_for_more_ends)
{
	weir_bus *b = open_bus(ctx, "mem:");
	struct gatherer g = { follow(ctx, b, "a", NULL), 5, WEIR_MS(10), 0, -1 };

	CHECK_EQ(publish(ctx, b, "a", 7), 0);
	CHECK_EQ(gather(ctx, &g), 0);
	CHECK_EQ(g.got, 1);
	CHECK_EQ(g.first, 7);
	CHECK_EQ(gather(ctx, &g), 0);
	CHECK_EQ(g.got, -ETIMEDOUT);
	weir_sub_close(g.s);
	weir_bus_close(b);
}

TASK(who_waits_for_more_than_fits_takes_half_of_it)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", &(weir_sub_options){ .pending_max = 8 });
	struct gatherer g = { s, MANY, WEIR_SEC(20), 0, -1 };

	for (int i = 0; i < 4; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(gather(ctx, &g), 0);
	CHECK_EQ(g.got, 4);
	weir_sub_close(s);
	weir_bus_close(b);
}

TASK(a_drain_ends_the_wait_for_many)
{
	weir_bus *b = open_bus(ctx, "mem:");
	struct gatherer g = { follow(ctx, b, "a", NULL), 5, WEIR_SEC(20), 0, -1 };
	weir_group group;

	weir_group_init(&group, ctx);
	CHECK_EQ(weir_group_go(&group, gather, &g), 0);
	CHECK_EQ(publish(ctx, b, "a", 1), 0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(weir_yield(ctx), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(weir_group_wait(&group), 0);
	CHECK_EQ(g.got, 1);
	CHECK_EQ(gather(ctx, &g), 0);
	CHECK_EQ(g.got, 0);
	weir_sub_close(g.s);
}

TASK(what_is_published_together_arrives_with_the_kick)
{
	struct bus_server server;
	weir_bus *b;
	weir_sub *s;

	if (!nats_server_start(&server, free_port())) {
		skip("nats-server is not installed");
		return;
	}
	b = open_bus(ctx, server.url);
	s = follow(ctx, b, "a", NULL);
	for (int round = 0; round < 20; round++) {
		int n = 1 + 7 * round % MANY;
		struct gatherer g = { s, (size_t)n, WEIR_SEC(20), 0, -1 };

		for (int i = 0; i < n; i++) {
			char text[16];
			int len = snprintf(text, sizeof text, "%d", i);

			CHECK_EQ(weir__bus_publish_more(ctx, b,
			                                &(weir_msg){ .subject = "a",
			                                             .data = text,
			                                             .len = (size_t)len }),
			         0);
		}
		weir__bus_kick(b);
		CHECK_EQ(gather(ctx, &g), 0);
		CHECK_EQ(g.got, n);
		CHECK_EQ(g.first, 0);
	}
	weir_sub_close(s);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	server_kill(&server, SIGKILL);
}

TASK(whoever_publishes_many_that_do_not_fit_at_a_time_waits_for_room_and_gets_it)
{
	struct gatherer g = { NULL, 16, WEIR_SEC(20), 0, -1 };
	static char large[3000];
	struct bus_server server;
	char url[128];
	weir_bus *b;
	weir_sub *s;

	if (!nats_server_start(&server, free_port())) {
		skip("nats-server is not installed");
		return;
	}
	snprintf(url, sizeof url, "%s?buffer=4KiB", server.url);
	b = open_bus(ctx, url);
	s = follow(ctx, b, "a", NULL);
	for (int i = 0; i < 16; i++)
		CHECK_EQ(weir__bus_publish_more(ctx, b,
		                                &(weir_msg){ .subject = "a",
		                                             .data = large,
		                                             .len = sizeof large }),
		         0);
	weir__bus_kick(b);
	g.s = s;
	CHECK_EQ(gather(ctx, &g), 0);
	CHECK_EQ(g.got, 16);
	weir_sub_close(s);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	server_kill(&server, SIGKILL);
}
