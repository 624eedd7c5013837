/* SPDX-License-Identifier: MIT */
/* The bus at full rate: who stands still, and a drain in the middle of it. */
#include <weir/bus.h>
#include <weir/group.h>
#include <weir/sync.h>

#include <malloc.h>

#include "numbers.h"

static int count(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)ctx, (void)m;
	++*(int64_t *)arg;
	return 0;
}

static int stand_still(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)m, (void)arg;
	return weir_sleep(ctx, WEIR_HOUR(1));
}

/* Publishes for so long at full rate; how many. */
static int64_t flood(const weir_ctx *ctx, weir_bus *b, int64_t ns)
{
	int64_t until = weir_now() + ns, n = 0;

	for (; n % 64 || weir_now() < until; n++)
		CHECK_EQ(weir_bus_publish(ctx, b, "a", "0123456789abcdef", 16), 0);
	return n;
}

TASK(one_that_stands_still_of_a_hundred_slows_nobody_and_grows_nothing)
{
	int64_t each = test_long ? WEIR_SEC(10) : WEIR_SEC(1), alone, beside;
	weir_sub_options lossless = { .overflow = WEIR_SUB_BLOCK };
	weir_bus *b = open_bus(ctx, "mem:");
	int64_t got[99] = { 0 };
	weir_sub *live[99], *still;
	weir_sub_stats st;
	size_t before;

	for (int i = 0; i < 99; i++)
		CHECK_EQ(weir_bus_subscribe_with(ctx, b, "a", &lossless, count, &got[i], &live[i]),
		         0);
	alone = flood(ctx, b, each);
	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", stand_still, NULL, &still), 0);
	before = mallinfo2().uordblks;
	beside = flood(ctx, b, each);
	for (int i = 0; i < 99; i++)
		CHECK_EQ(weir_sub_wait(ctx, live[i], (uint64_t)(alone + beside)), 0);
	weir_sub_stats_get(still, &st);
	CHECK(st.pending <= 1024);
	CHECK_EQ(st.dropped + st.pending + st.handled + 1, beside); /* One is in its hands. */
	CHECK(mallinfo2().uordblks < before + (4 << 20));
	CHECK(beside > alone / 20); /* A machine that is busy with other things must not fail it. */
	CHECK_EQ(weir_sub_close(still), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	for (int i = 0; i < 99; i++)
		CHECK_EQ(got[i], alone + beside);
}

struct traffic {
	weir_bus *b;
	int64_t accepted; /* atomic */
	bool stop;        /* atomic */
};

static int publish_on(const weir_ctx *ctx, void *arg)
{
	struct traffic *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		CHECK_EQ(weir_bus_publish(ctx, t->b, "a", "x", 1), 0);
		__atomic_add_fetch(&t->accepted, 1, __ATOMIC_RELEASE);
		weir_yield(ctx);
	}
	return 0;
}

TASK(what_was_accepted_before_a_drain_is_delivered_in_the_middle_of_traffic)
{
	weir_sub_options lossless = { .overflow = WEIR_SUB_BLOCK };
	struct traffic t = { .b = open_bus(ctx, "mem:") };
	weir_bus_stats st;
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_group_go(&g, publish_on, &t), 0);
	for (int round = 0; round < 50; round++) {
		int64_t got = 0, from, until;
		weir_sub *s;

		CHECK_EQ(weir_bus_subscribe_with(ctx, t.b, "a", &lossless, count, &got, &s), 0);
		from = __atomic_load_n(&t.accepted, __ATOMIC_ACQUIRE);
		CHECK_EQ(weir_sub_wait(ctx, s, 20), 0);
		until = __atomic_load_n(&t.accepted, __ATOMIC_ACQUIRE);
		CHECK_EQ(weir_sub_drain(ctx, s), 0);
		/* Three were perhaps between their publish and their count when it began. */
		CHECK(got >= until - from - 3);
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELEASE);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_bus_stats_get(t.b, &st);
	CHECK_EQ(st.dropped, 0);
	weir_bus_close(t.b);
}
