/* SPDX-License-Identifier: MIT */
/* A reader that waits for a number of messages. */
#include <weir/bus.h>
#include <weir/group.h>

#include "bus/bus.h"
#include "numbers.h"

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
