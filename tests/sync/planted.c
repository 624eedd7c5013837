/* SPDX-License-Identifier: MIT */
/*
 * Does the race table find bugs? The channel's code is compiled into this test once more, with
 * four bugs to switch on; each must be found within 1000 seeds.
 */
enum planted { NONE, LOST_WAKEUP, DOUBLE_DELIVERY, MISSED_CANCEL, HALF_LOCKED };
static enum planted planted;
#define WEIR__PLANT(bug) (planted == (bug))

#include "../../src/sync/chan.c"
#include "sync/race.h"

static int table(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	race_table(ctx);
	return 0;
}

static void search(void)
{
	for (uint64_t seed = 1; seed <= 1000; seed++)
		if (weir_sim(seed, table, NULL) != 0)
			test_fail(__FILE__, __LINE__, "seed %llu", (unsigned long long)seed);
}

TEST(without_a_planted_bug_a_hundred_seeds_find_none)
{
	for (uint64_t seed = 1; seed <= 100; seed++)
		CHECK_EQ(weir_sim(seed, table, NULL), 0);
}

/* Found as a deadlock, or as an order that changed since a sender waits beside a waiting
 * receiver. */
TEST(a_lost_wake_up_is_found)
{
	planted = LOST_WAKEUP;
	CHECK_DIES(search, "race.h");
}

TEST(a_double_delivery_is_found_by_the_ledger)
{
	planted = DOUBLE_DELIVERY;
	CHECK_DIES(search, "race.h");
}

/* By a task that waits on, so as a deadlock, or by a result that ignores the stop. */
TEST(a_missed_cancel_is_found)
{
	planted = MISSED_CANCEL;
	CHECK_DIES(search, "race.h");
}

/* Who waits takes one lock of two, and a value comes meanwhile. */
TEST(a_channel_of_which_half_is_locked_is_found)
{
	planted = HALF_LOCKED;
	CHECK_DIES(search, "race.h");
}
