/* SPDX-License-Identifier: MIT */
#include <time.h>

#include "queue/queue_test.h"
#include "queue/schedule.h"

/* The next time after a UTC time, both written "2026-01-31 12:00:00". */
static void next_is(const char *schedule, const char *after, const char *expected)
{
	struct weir__schedule w;
	struct tm tm = { 0 };
	int64_t next;
	time_t t;
	char text[32];

	if (weir__schedule_parse(schedule, &w) < 0)
		test_fail(__FILE__, __LINE__, "not a schedule: %s", schedule);
	CHECK(strptime(after, "%Y-%m-%d %H:%M:%S", &tm));
	CHECK_EQ(weir__schedule_next(&w, (int64_t)timegm(&tm) * WEIR_SEC(1), &next), 0);
	t = (time_t)(next / WEIR_SEC(1));
	gmtime_r(&t, &tm);
	strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
	if (strcmp(text, expected))
		test_fail(__FILE__, __LINE__, "%s after %s is %s, not %s", schedule, after, text,
		          expected);
}

TEST(a_schedule_finds_its_next_time)
{
	next_is("* * * * *", "2026-01-01 00:00:00", "2026-01-01 00:01:00");
	next_is("* * * * *", "2026-01-01 00:00:59", "2026-01-01 00:01:00");
	next_is("*/15 * * * *", "2026-01-01 00:15:00", "2026-01-01 00:30:00");
	next_is("0 3 * * *", "2026-01-01 03:00:00", "2026-01-02 03:00:00");
	next_is("30 9-17/4 * * *", "2026-01-01 10:00:00", "2026-01-01 13:30:00");
	next_is("0 0 1 * *", "2026-01-31 12:00:00", "2026-02-01 00:00:00");
	next_is("0 0 31 * *", "2026-02-01 00:00:00", "2026-03-31 00:00:00");
	next_is("0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00");
	next_is("0 12 * * mon-fri", "2026-01-02 12:00:00",
	        "2026-01-05 12:00:00"); /* 2 January 2026 is a Friday. */
	next_is("0 12 * * 7", "2026-01-01 00:00:00", "2026-01-04 12:00:00");
	next_is("0 12 * * 0,SAT", "2026-01-01 00:00:00", "2026-01-03 12:00:00");
	next_is("0 0 13 * fri", "2026-01-01 00:00:00",
	        "2026-01-02 00:00:00"); /* Either day suffices. */
	next_is("0 0 1 jan,Jul *", "2026-01-01 00:00:00", "2026-07-01 00:00:00");
	next_is("5/20 * * * *", "2026-01-01 00:06:00", "2026-01-01 00:25:00");
	next_is("@hourly", "2026-01-01 00:00:01", "2026-01-01 01:00:00");
	next_is("@daily", "2026-12-31 00:00:01", "2027-01-01 00:00:00");
	next_is("@weekly", "2026-01-01 00:00:00", "2026-01-04 00:00:00");
	next_is("@monthly", "2026-01-01 00:00:00", "2026-02-01 00:00:00");
	next_is("@yearly", "2026-01-01 00:00:00", "2027-01-01 00:00:00");
	next_is("@every 90s", "2026-01-01 00:00:00", "2026-01-01 00:01:30");
	next_is("TZ=UTC 0 3 * * *", "2026-01-01 00:00:00", "2026-01-01 03:00:00");
}

TEST(a_wrong_schedule_is_refused)
{
	static const char *const wrong[] = {
		"",
		"*",
		"* * * *",
		"* * * * * *",
		"60 * * * *",
		"* 24 * * *",
		"* * 0 * *",
		"* * 32 * *",
		"* * * 13 *",
		"* * * * 8",
		"a * * * *",
		"1- * * * *",
		"5-1 * * * *",
		"*/0 * * * *",
		"*/ * * * *",
		",1 * * * *",
		"1, * * * *",
		"1..2 * * * *",
		"-1 * * * *",
		"@never",
		"@every",
		"@every 0",
		"@every 1ms",
		"@every x",
		"99999999999 * * * *",
		"* * * foo *",
		"TZ=Mars/Olympus * * * * *",
	};
	struct weir__schedule w;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (weir__schedule_parse(wrong[i], &w) != -EINVAL)
			test_fail(__FILE__, __LINE__, "taken for a schedule: \"%s\"", wrong[i]);
}

TEST(a_schedule_that_never_comes_says_so)
{
	struct weir__schedule w;
	int64_t next;

	CHECK_EQ(weir__schedule_parse("0 0 30 2 *", &w), 0);
	CHECK_EQ(weir__schedule_next(&w, 0, &next), -ERANGE);
}

SIM(a_cron_puts_a_job_at_each_tick, 20)
{
	weir_store *s = store(ctx);
	weir_cron_info i;
	weir_job *j;

	CHECK_EQ(weir_cron_put(s, "tick", "@every 10m", "q", "data", 4), 0);
	for (int n = 1; n <= 6; n++) {
		CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
		CHECK(job_is(j, "data"));
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	CHECK_EQ(weir_cron_get(s, "tick", &i), 0);
	CHECK_STR(i.queue, "q");
	CHECK_STR(i.schedule, "@every 10m");
	CHECK_EQ(i.next_at - i.last_at <= WEIR_MIN(10), 1);
	CHECK(i.next_at > weir_wall());
	CHECK_EQ(weir_cron_delete(s, "tick"), 0);
	CHECK_EQ(weir_cron_delete(s, "tick"), -ENOENT);
	CHECK_EQ(weir_cron_get(s, "tick", &i), -ENOENT);
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(1)), 0);
	take_none(ctx, s, "q");
	store_end(ctx, s);
}

SIM(a_calendar_cron_ticks_on_the_minute, 10)
{
	weir_store *s = store(ctx);
	weir_job *j;

	CHECK_EQ(weir_cron_put(s, "c", "*/5 * * * *", "q", NULL, 0), 0);
	for (int n = 0; n < 3; n++) {
		CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
		CHECK(weir_wall() % WEIR_MIN(5) < WEIR_SEC(1));
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	store_end(ctx, s);
}

static int list(const weir_cron_info *i, void *arg)
{
	strcat(arg, i->name);
	strcat(arg, " ");
	return 0;
}

SIM(crons_are_replaced_by_name_listed_in_order_and_checked, 2)
{
	weir_store *s = store(ctx);
	char text[64] = "";
	weir_cron_info i;

	CHECK_EQ(weir_cron_put(s, "b", "@hourly", "q", NULL, 0), 0);
	CHECK_EQ(weir_cron_put(s, "a", "@hourly", "q", NULL, 0), 0);
	CHECK_EQ(weir_cron_put(s, "b", "@daily", "r", "x", 1), 0);
	CHECK_EQ(weir_cron_each(s, list, text), 0);
	CHECK_STR(text, "a b ");
	CHECK_EQ(weir_cron_get(s, "b", &i), 0);
	CHECK_STR(i.schedule, "@daily");
	CHECK_EQ(i.len, 1);
	CHECK_EQ(weir_cron_put(s, "c", "bad", "q", NULL, 0), -EINVAL);
	CHECK_EQ(weir_cron_put(s, "c", "0 0 30 2 *", "q", NULL, 0), -EINVAL);
	CHECK_EQ(weir_cron_put(s, "c/d", "@daily", "q", NULL, 0), -EINVAL);
	CHECK_EQ(weir_cron_put(s, "c", "@daily", "", NULL, 0), -EINVAL);
	store_end(ctx, s);
}

/* As a server does that sets up its crons at each start. */
SIM(a_cron_that_is_put_again_keeps_its_time, 2)
{
	weir_store *s = store(ctx);
	weir_cron_info i, then;

	CHECK_EQ(weir_cron_put(s, "c", "@every 1h", "q", "old", 3), 0);
	CHECK_EQ(weir_cron_get(s, "c", &then), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(40)), 0);
	CHECK_EQ(weir_cron_put(s, "c", "@every 1h", "q", "new", 3), 0);
	CHECK_EQ(weir_cron_get(s, "c", &i), 0);
	CHECK_EQ(i.next_at, then.next_at);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(21)), 0);
	take_and_ack(ctx, s, "q", "new");
	CHECK_EQ(weir_cron_put(s, "c", "@every 2h", "q", "new", 3), 0);
	CHECK_EQ(weir_cron_get(s, "c", &i), 0);
	CHECK(i.next_at > weir_wall() + WEIR_MIN(119));
	store_end(ctx, s);
}

SIM(a_tick_for_which_there_is_no_room_is_left_out, 2)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queue_max = 2 });

	CHECK_EQ(weir_cron_put(s, "c", "@every 1m", "q", NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(5) + WEIR_SEC(1)), 0);
	CHECK_EQ(info(s, "q").queued, 2);
	take_and_ack(ctx, s, "q", "");
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(1)), 0);
	CHECK_EQ(info(s, "q").queued, 2);
	store_end(ctx, s);
}
