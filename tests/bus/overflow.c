/* SPDX-License-Identifier: MIT */
/* Subscriptions that are full: what is dropped, what closes, and publishers that wait. */
#include <weir/bus.h>
#include <weir/group.h>
#include <weir/sync.h>

#include "numbers.h"

static int sum_dropped(const weir_sub_info *info, void *arg)
{
	uint64_t *sum = arg;

	CHECK(!info->handled_by_task);
	sum[0] += info->stats.dropped;
	sum[1]++;
	return 0;
}

TASK(drop_oldest_keeps_the_newest_and_counts)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", &(weir_sub_options){ .pending_max = 3 });
	weir_sub_stats st;
	weir_msg m;

	for (int i = 0; i < 10; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.dropped, 7);
	CHECK_EQ(st.pending, 3);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(number(&m), 7);
	weir_sub_close(s);
	weir_bus_close(b);
}

TASK(drop_new_keeps_the_oldest_and_counts)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s =
		follow(ctx, b, "a",
	               &(weir_sub_options){ .pending_max = 3, .overflow = WEIR_SUB_DROP_NEW });
	weir_sub_stats st;
	weir_msg m;

	for (int i = 0; i < 10; i++)
		CHECK_EQ(weir_bus_publish_msg(ctx, b,
		                              &(weir_msg){ .subject = "a", .data = "7", .len = 1 }),
		         i < 3);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.dropped, 7);
	CHECK_EQ(st.delivered, 3);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	weir_sub_close(s);
	weir_bus_close(b);
}

TASK(close_on_overflow_delivers_what_was_there_and_ends)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a",
	                     &(weir_sub_options){ .pending_max = 2, .overflow = WEIR_SUB_CLOSE });
	weir_bus_stats st;
	weir_msg m;

	for (int i = 0; i < 4; i++)
		publish(ctx, b, "a", i);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.subs, 0);
	CHECK_EQ(st.dropped, 1);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(number(&m), 1);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 0);
	weir_sub_close(s);
	weir_bus_close(b);
}

TASK(bytes_are_bounded_too_but_an_empty_queue_takes_any_one_message)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s =
		follow(ctx, b, "a",
	               &(weir_sub_options){ .pending_bytes = 1000, .overflow = WEIR_SUB_DROP_NEW });
	static char big[4000];
	weir_sub_stats st;
	weir_msg m;

	weir_bus_publish(ctx, b, "a", big, sizeof big);
	weir_bus_publish(ctx, b, "a", big, 1);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.delivered, 1);
	CHECK_EQ(st.dropped, 1);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	for (int i = 0; i < 5; i++)
		weir_bus_publish(ctx, b, "a", big, 300);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.pending, 2);
	CHECK(st.pending_bytes <= 1000);
	weir_sub_close(s);
	weir_bus_close(b);
}

SIM(block_makes_the_publisher_wait_and_drops_nothing, 300)
{
	struct seen seen = { .slow_ns = WEIR_MS(1) };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_options opt = { .pending_max = 2, .overflow = WEIR_SUB_BLOCK };
	weir_bus_stats st;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe_with(ctx, b, "a", &opt, note, &seen, &s), 0);
	for (int i = 0; i < 30; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_sub_drain(ctx, s), 0);
	CHECK_EQ(seen.n, 30);
	for (int i = 0; i < 30; i++)
		CHECK_EQ(seen.order[i], i);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.dropped, 0);
	weir_bus_close(b);
}

static int publish_on_one_worker(const weir_ctx *ctx, void *arg)
{
	struct seen seen = { 0 };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_bus_stats st;
	weir_sub *s;

	(void)arg;
	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", note, &seen, &s), 0);
	for (int i = 0; i < 4000; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_sub_drain(ctx, s), 0);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.dropped, 0);
	CHECK_EQ(seen.n, 4000);
	weir_bus_close(b);
	return 0;
}

TEST(a_publisher_that_never_waits_lets_the_handlers_of_its_worker_run)
{
	CHECK_EQ(weir_run(&(weir_options){ .workers = 1 }, publish_on_one_worker, NULL), 0);
}

SIM(block_ends_with_the_publishers_context, 200)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a",
	                     &(weir_sub_options){ .pending_max = 1, .overflow = WEIR_SUB_BLOCK });
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(20));
	weir_sub_stats st;

	CHECK_EQ(publish(&soon, b, "a", 1), 0);
	CHECK_EQ(publish(&soon, b, "a", 2), -ETIMEDOUT);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.dropped, 1);
	weir_sub_close(s);
	weir_bus_close(b);
}

SIM(block_ends_with_the_subscriptions_own_limit_and_counts_it, 200)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_options opt = { .pending_max = 1,
		                 .overflow = WEIR_SUB_BLOCK,
		                 .block_ns = WEIR_MS(20) };
	weir_sub *s = follow(ctx, b, "a", &opt);
	weir_msg m = { .subject = "a" };
	weir_bus_receipt receipt;
	int64_t from;

	CHECK_EQ(weir_bus_publish_told(ctx, b, &m, &receipt), 0);
	CHECK_EQ(receipt.delivered, 1);
	from = weir_now();
	CHECK_EQ(weir_bus_publish_told(ctx, b, &m, &receipt), 0);
	CHECK(weir_now() - from >= WEIR_MS(20));
	CHECK_EQ(receipt.found, 1);
	CHECK_EQ(receipt.delivered, 0);
	CHECK_EQ(receipt.dropped, 1);
	weir_sub_close(s);
	weir_bus_close(b);
}

TASK(a_publisher_is_told_what_was_dropped_and_an_operator_by_whom)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *oldest = follow(ctx, b, "a", &(weir_sub_options){ .pending_max = 2 });
	weir_sub *new =
		follow(ctx, b, "a",
	               &(weir_sub_options){ .pending_max = 2, .overflow = WEIR_SUB_DROP_NEW });
	weir_sub *roomy = follow(ctx, b, ">", NULL);
	weir_msg m = { .subject = "a" };
	weir_bus_receipt receipt;
	uint64_t dropped[2] = { 0 };

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(weir_bus_publish_told(ctx, b, &m, &receipt), 0);
		CHECK_EQ(receipt.found, 3);
		CHECK_EQ(receipt.delivered, 3);
		CHECK_EQ(receipt.dropped, 0);
	}
	CHECK_EQ(weir_bus_publish_told(ctx, b, &m, &receipt), 0);
	CHECK_EQ(receipt.delivered, 2); /* An older one made way, and the new one did not get in. */
	CHECK_EQ(receipt.dropped, 2);
	CHECK_EQ(weir_bus_each_sub(b, sum_dropped, dropped), 0);
	CHECK_EQ(dropped[0], 2);
	CHECK_EQ(dropped[1], 3);
	weir_sub_close(oldest);
	weir_sub_close(new);
	weir_sub_close(roomy);
	weir_bus_close(b);
}

SIM(closing_a_full_subscription_frees_its_blocked_publishers, 300)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a",
	                     &(weir_sub_options){ .pending_max = 1, .overflow = WEIR_SUB_BLOCK });
	struct pub p[3];
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		p[i] = (struct pub){ b, "a", 0, 5, 0 };
		CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
	}
	weir_sleep(ctx, WEIR_MS(1));
	weir_sub_close(s);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(p[i].result, 0);
	weir_bus_close(b);
}

SIM(one_big_message_taken_makes_room_for_several_blocked_publishers, 100)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_options opt = { .pending_bytes = 2000, .overflow = WEIR_SUB_BLOCK };
	weir_sub *s = follow(ctx, b, "a", &opt);
	static char big[1900];
	struct pub p[3];
	weir_group g;
	weir_msg m;

	CHECK_EQ(weir_bus_publish(ctx, b, "a", big, sizeof big), 0);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		p[i] = (struct pub){ b, "a", 0, 1, -1 };
		CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
	}
	weir_sleep(ctx, WEIR_MS(1));
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_sub_close(s);
	weir_bus_close(b);
}

SIM(max_frees_the_publishers_that_still_wait, 100)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_options opt = { .pending_max = 1, .max = 2, .overflow = WEIR_SUB_BLOCK };
	weir_sub *s = follow(ctx, b, "a", &opt);
	struct pub p[4];
	weir_group g;
	weir_msg m;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 4; i++) {
		p[i] = (struct pub){ b, "a", 0, 1, -1 };
		CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
	}
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_sub_close(s);
	weir_bus_close(b);
}

SIM(max_closes_after_so_many, 100)
{
	struct seen seen = { 0 };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_bus_stats st;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe_with(ctx, b, "a", &(weir_sub_options){ .max = 3 }, note, &seen,
	                                 &s),
	         0);
	for (int i = 0; i < 5; i++)
		publish(ctx, b, "a", i);
	CHECK_EQ(weir_sub_wait(ctx, s, 3), 0);
	CHECK_EQ(weir_sub_wait(ctx, s, 4), -EPIPE);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.subs, 0);
	CHECK_EQ(seen.n, 3);
	weir_sub_close(s);
	weir_bus_close(b);
}
