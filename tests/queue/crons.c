/* SPDX-License-Identifier: MIT */
#include <time.h>
#include <unistd.h>

#include "queue/queue_test.h"
#include "queue/schedule.h"

/* "2026-01-31 12:00:00" */
static int64_t utc(const char *text)
{
	struct tm tm = { 0 };

	CHECK(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
	return (int64_t)timegm(&tm) * WEIR_SEC(1);
}

/* The next time after a UTC time. */
static void next_is(const char *schedule, const char *after, const char *expected)
{
	struct weir__zone *zone = NULL;
	struct weir__schedule w;
	int64_t next;
	time_t t;
	struct tm tm;
	char text[32];

	if (weir__schedule_parse(schedule, &w) < 0)
		test_fail(__FILE__, __LINE__, "not a schedule: %s", schedule);
	if (w.zone[0])
		CHECK_EQ(weir__zone_load(w.zone, &zone), 0);
	CHECK_EQ(weir__schedule_next(&w, zone, utc(after), &next), 0);
	weir__zone_free(zone);
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

TEST(a_schedule_of_a_zone_goes_by_its_local_clock)
{
	/* Berlin: summer from 29 March 01:00 UTC (02:00 becomes 03:00) to 25 October 01:00 UTC. */
	next_is("TZ=Europe/Berlin 0 3 * * *", "2026-01-01 00:00:00", "2026-01-01 02:00:00");
	next_is("TZ=Europe/Berlin 0 3 * * *", "2026-07-01 00:00:00", "2026-07-01 01:00:00");
	next_is("TZ=America/New_York 0 9 * * mon", "2026-01-01 00:00:00", "2026-01-05 14:00:00");
	next_is("TZ=Asia/Kolkata 15 0 * * *", "2026-01-01 00:00:00", "2026-01-01 18:45:00");
	next_is("TZ=Pacific/Auckland 0 0 1 1 *", "2026-02-01 00:00:00", "2026-12-31 11:00:00");
	next_is("TZ=Europe/Berlin @daily", "2026-06-01 12:00:00", "2026-06-01 22:00:00");
	next_is("TZ=Europe/Berlin @every 1h", "2026-03-29 00:30:00", "2026-03-29 01:30:00");
	/* Far behind the changes that are listed in the file. */
	next_is("TZ=Europe/Berlin 0 3 * * *", "2093-07-01 00:00:00", "2093-07-01 01:00:00");
	next_is("TZ=America/Sao_Paulo 0 3 * * *", "2093-07-01 00:00:00", "2093-07-01 06:00:00");
}

TEST(what_falls_into_the_hour_left_out_comes_when_it_would_have_begun)
{
	next_is("TZ=Europe/Berlin 30 2 * * *", "2026-03-28 12:00:00", "2026-03-29 01:00:00");
	next_is("TZ=Europe/Berlin 30 2 * * *", "2026-03-29 01:00:00", "2026-03-30 00:30:00");
	next_is("TZ=Europe/Berlin */10 2 * * *", "2026-03-28 12:00:00", "2026-03-29 01:00:00");
	next_is("TZ=Europe/Berlin */10 2 * * *", "2026-03-29 01:00:00", "2026-03-30 00:00:00");
	next_is("TZ=Europe/Berlin 30 2 * * mon", "2026-03-28 12:00:00", "2026-03-30 00:30:00");
	/* Every hour: the time that really passes. */
	next_is("TZ=Europe/Berlin 30 * * * *", "2026-03-29 00:30:00", "2026-03-29 01:30:00");
	/* Samoa left a whole day out. */
	next_is("TZ=Pacific/Apia 0 12 30 12 *", "2011-12-29 00:00:00", "2011-12-30 10:00:00");
	/* Lord Howe's clock moves by half an hour. */
	next_is("TZ=Australia/Lord_Howe 15 2 * * *", "2026-10-03 00:00:00", "2026-10-03 15:30:00");
	next_is("TZ=Australia/Lord_Howe 15 2 * * *", "2026-10-03 15:30:00", "2026-10-04 15:15:00");
}

TEST(an_hour_that_comes_twice_counts_once)
{
	next_is("TZ=Europe/Berlin 30 2 * * *", "2026-10-24 12:00:00", "2026-10-25 00:30:00");
	next_is("TZ=Europe/Berlin 30 2 * * *", "2026-10-25 00:30:00", "2026-10-26 01:30:00");
	next_is("TZ=Europe/Berlin 0 3 * * *", "2026-10-25 00:30:00", "2026-10-25 02:00:00");
	next_is("TZ=America/New_York 15,45 1 * * *", "2026-11-01 05:45:00", "2026-11-02 06:15:00");
	next_is("TZ=Europe/Berlin 30 * * * *", "2026-10-25 00:30:00", "2026-10-25 01:30:00");
	next_is("TZ=Europe/Berlin 30 * * * *", "2026-10-25 01:30:00", "2026-10-25 02:30:00");
}

/* localtime(3) is asked the same in many zones, through all their changes. */
TEST(a_zone_agrees_with_the_system_at_every_change)
{
	static const char *const names[] = {
		"Europe/Berlin",     "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca",
		"America/Sao_Paulo", "Asia/Tehran",      "Pacific/Apia",        "Europe/Dublin",
		"America/Nuuk",      "Asia/Gaza",        "Antarctica/Troll",    "Etc/GMT+12"
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct weir__zone *z;
		struct weir__zone_span span;

		CHECK_EQ(weir__zone_load(names[i], &z), 0);
		setenv("TZ", names[i], 1);
		tzset();
		for (int64_t at = utc("1970-01-02 00:00:00") / WEIR_SEC(1);
		     at < utc("2110-01-01 00:00:00") / WEIR_SEC(1);) {
			weir__zone_span_at(z, at, &span);
			CHECK(span.from <= at && at < span.until);
			for (int k = 0; k < 2; k++) {
				time_t t = k && span.until != INT64_MAX ? span.until - 1 : at;
				struct tm tm;

				localtime_r(&t, &tm);
				if (tm.tm_gmtoff != span.offset)
					test_fail(__FILE__, __LINE__,
					          "%s at %lld is off by %ld, not %d", names[i],
					          (long long)t, tm.tm_gmtoff, span.offset);
			}
			if (span.until == INT64_MAX)
				break;
			at = span.until;
			weir__zone_span_at(z, at, &(struct weir__zone_span){ 0 });
		}
		weir__zone_free(z);
	}
}

TEST(what_is_no_zone_is_refused)
{
	struct weir__zone *z;

	CHECK_EQ(weir__zone_load("Europe/Nowhere", &z), -ENOENT);
	CHECK_EQ(weir__zone_load("Europe", &z), -ENOENT);
	CHECK_EQ(weir__zone_load("../etc/passwd", &z), -EINVAL);
	CHECK_EQ(weir__zone_load("/etc/localtime", &z), -EINVAL);
	CHECK_EQ(weir__zone_load("tzdata.zi", &z), -EINVAL);
	CHECK_EQ(weir__zone_load("", &z), -EINVAL);
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
		"TZ= * * * * *",
		"TZ=../x * * * * *",
		"TZ=Europe/Berlin",
		"@every 1ms",
		"@every x",
		"99999999999 * * * *",
		"* * * foo *",
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
	CHECK_EQ(weir__schedule_next(&w, NULL, 0, &next), -ERANGE);
}

SIM(a_cron_puts_a_job_at_each_tick, 20)
{
	weir_store *s = store(ctx);
	weir_cron_info i;
	weir_job *j;

	CHECK_EQ(weir_cron_put(ctx, s, "tick", "@every 10m", "q", "data", 4), 0);
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
	CHECK_EQ(weir_cron_delete(ctx, s, "tick"), 0);
	CHECK_EQ(weir_cron_delete(ctx, s, "tick"), -ENOENT);
	CHECK_EQ(weir_cron_get(s, "tick", &i), -ENOENT);
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(1)), 0);
	take_none(ctx, s, "q");
	store_end(ctx, s);
}

SIM(a_calendar_cron_ticks_on_the_minute, 10)
{
	weir_store *s = store(ctx);
	weir_job *j;

	CHECK_EQ(weir_cron_put(ctx, s, "c", "*/5 * * * *", "q", NULL, 0), 0);
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

	CHECK_EQ(weir_cron_put(ctx, s, "b", "@hourly", "q", NULL, 0), 0);
	CHECK_EQ(weir_cron_put(ctx, s, "a", "@hourly", "q", NULL, 0), 0);
	CHECK_EQ(weir_cron_put(ctx, s, "b", "@daily", "r", "x", 1), 0);
	CHECK_EQ(weir_cron_each(s, list, text), 0);
	CHECK_STR(text, "a b ");
	CHECK_EQ(weir_cron_get(s, "b", &i), 0);
	CHECK_STR(i.schedule, "@daily");
	CHECK_EQ(i.len, 1);
	CHECK_EQ(weir_cron_put(ctx, s, "c", "bad", "q", NULL, 0), -EINVAL);
	CHECK_EQ(weir_cron_put(ctx, s, "c", "0 0 30 2 *", "q", NULL, 0), -EINVAL);
	CHECK_EQ(weir_cron_put(ctx, s, "c/d", "@daily", "q", NULL, 0), -EINVAL);
	CHECK_EQ(weir_cron_put(ctx, s, "c", "@daily", "", NULL, 0), -EINVAL);
	store_end(ctx, s);
}

/* As a server does that sets up its crons at each start. */
SIM(a_cron_that_is_put_again_keeps_its_time, 2)
{
	weir_store *s = store(ctx);
	weir_cron_info i, then;

	CHECK_EQ(weir_cron_put(ctx, s, "c", "@every 1h", "q", "old", 3), 0);
	CHECK_EQ(weir_cron_get(s, "c", &then), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(40)), 0);
	CHECK_EQ(weir_cron_put(ctx, s, "c", "@every 1h", "q", "new", 3), 0);
	CHECK_EQ(weir_cron_get(s, "c", &i), 0);
	CHECK_EQ(i.next_at, then.next_at);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(21)), 0);
	take_and_ack(ctx, s, "q", "new");
	CHECK_EQ(weir_cron_put(ctx, s, "c", "@every 2h", "q", "new", 3), 0);
	CHECK_EQ(weir_cron_get(s, "c", &i), 0);
	CHECK(i.next_at > weir_wall() + WEIR_MIN(119));
	store_end(ctx, s);
}

SIM(a_tick_for_which_there_is_no_room_is_left_out, 2)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queue_max = 2 });

	CHECK_EQ(weir_cron_put(ctx, s, "c", "@every 1m", "q", NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(5) + WEIR_SEC(1)), 0);
	CHECK_EQ(info(s, "q").queued, 2);
	take_and_ack(ctx, s, "q", "");
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(1)), 0);
	CHECK_EQ(info(s, "q").queued, 2);
	store_end(ctx, s);
}

/* How often a cron has put a job. */
static uint64_t ticks(weir_store *s)
{
	return info(s, "q").put_total;
}

SIM(a_clock_put_forward_ticks_at_once_and_only_once, 20)
{
	weir_store *s = store(ctx);

	CHECK_EQ(weir_cron_put(ctx, s, "c", "0 * * * *", "q", NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(90)), 0);
	CHECK_EQ(ticks(s), 1);
	/* 01:30 becomes 05:45. */
	weir_sim_wall_step(WEIR_MIN(255));
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(ticks(s), 2);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(14)), 0);
	CHECK_EQ(ticks(s), 2);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(2)), 0);
	CHECK_EQ(ticks(s), 3);
	store_end(ctx, s);
}

SIM(a_clock_put_back_a_little_repeats_no_tick, 20)
{
	weir_store *s = store(ctx);

	CHECK_EQ(weir_cron_put(ctx, s, "c", "0 * * * *", "q", NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(130)), 0);
	CHECK_EQ(ticks(s), 2);
	/* 02:10 becomes 00:40: 01:00 and 02:00 have been. */
	weir_sim_wall_step(-WEIR_MIN(90));
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(139)), 0);
	CHECK_EQ(ticks(s), 2);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(2)), 0);
	CHECK_EQ(ticks(s), 3);
	store_end(ctx, s);
}

SIM(a_clock_that_was_a_year_ahead_is_counted_anew, 20)
{
	weir_store *s = store(ctx);

	weir_sim_wall_step(WEIR_HOUR(24 * 365));
	CHECK_EQ(weir_cron_put(ctx, s, "c", "0 * * * *", "q", NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(61)), 0);
	CHECK_EQ(ticks(s), 1);
	weir_sim_wall_step(-WEIR_HOUR(24 * 365));
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(60)), 0);
	CHECK_EQ(ticks(s), 2);
	store_end(ctx, s);
}

SIM(a_clock_set_between_two_lives_neither_repeats_nor_silences, 20)
{
	char spool[] = "/tmp/weir-crons-XXXXXX";
	weir_store_options opt = { .spool = spool };
	weir_cron_info c;
	weir_store *s;
	int fd = mkstemp(spool);

	CHECK(fd >= 0);
	close(fd);
	unlink(spool);
	s = store_with(ctx, &opt);
	CHECK_EQ(weir_cron_put(ctx, s, "c", "0 * * * *", "q", NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(61)), 0);
	CHECK_EQ(ticks(s), 1);
	store_end(ctx, s);
	/* 01:01 becomes 00:31: 01:00 has been. */
	weir_sim_wall_step(-WEIR_MIN(30));
	s = store_with(ctx, &opt);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(80)), 0);
	CHECK_EQ(info(s, "q").queued, 1);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(10)), 0);
	CHECK_EQ(info(s, "q").queued, 2);
	store_end(ctx, s);
	weir_sim_wall_step(-WEIR_HOUR(24 * 365));
	s = store_with(ctx, &opt);
	CHECK_EQ(weir_cron_get(s, "c", &c), 0);
	CHECK(c.next_at > weir_wall() && c.next_at <= weir_wall() + WEIR_HOUR(1));
	store_end(ctx, s);
	unlink(spool);
}

/* What a cron of every ten minutes has put, counted apart from it: wall is where its clock
 * stands. */
struct count {
	int64_t wall, next;
	uint64_t ticks;
};

static void passes(struct count *c, int64_t ns, bool at_once)
{
	c->wall += ns;
	while (c->wall >= c->next) {
		c->ticks++;
		c->next = at_once ? c->wall / WEIR_MIN(10) * WEIR_MIN(10) + WEIR_MIN(10) :
		                    c->next + WEIR_MIN(10);
	}
}

SIM(ticks_come_exactly_once_however_the_clock_is_set_and_the_server_restarted, 30)
{
	char spool[] = "/tmp/weir-crons-XXXXXX";
	weir_store_options opt = { .spool = spool };
	weir_cron_info i = { 0 };
	struct count c;
	weir_store *s;
	int64_t last = 0, step;
	int fd = mkstemp(spool);

	CHECK(fd >= 0);
	close(fd);
	unlink(spool);
	s = store_with(ctx, &opt);
	CHECK_EQ(weir_cron_put(ctx, s, "c", "*/10 * * * *", "q", NULL, 0), 0);
	c = (struct count){ .wall = weir_wall() };
	c.next = c.wall / WEIR_MIN(10) * WEIR_MIN(10) + WEIR_MIN(10);
	for (int round = 0; round < 30; round++) {
		bool down = weir_random(4) == 0;

		if (down)
			store_end(ctx, s);
		step = WEIR_SEC((int64_t)weir_random(7200)) - WEIR_HOUR(1);
		if (c.next - c.wall - step > WEIR_HOUR(2)) /* Else it would be taken for wrong. */
			step = -step;
		weir_sim_wall_step(step);
		passes(&c, step, true);
		if (down)
			s = store_with(ctx, &opt);
		step = WEIR_SEC(1 + (int64_t)weir_random(2400));
		CHECK_EQ(weir_sleep(ctx, step), 0);
		passes(&c, step, false);
		CHECK_EQ(info(s, "q").queued, c.ticks);
		CHECK_EQ(weir_cron_get(s, "c", &i), 0);
		CHECK_EQ(i.next_at, c.next);
		CHECK(i.last_at >= last);
		last = i.last_at;
	}
	store_end(ctx, s);
	unlink(spool);
}

TASK(a_cron_of_a_zone_is_taken_and_an_unknown_zone_refused)
{
	weir_store *s = store(ctx);
	weir_cron_info c;

	CHECK_EQ(weir_cron_put(ctx, s, "c", "TZ=Europe/Berlin 0 3 * * *", "q", NULL, 0), 0);
	CHECK_EQ(weir_cron_get(s, "c", &c), 0);
	CHECK_STR(c.schedule, "TZ=Europe/Berlin 0 3 * * *");
	CHECK(c.next_at > weir_wall());
	CHECK_EQ(weir_cron_put(ctx, s, "d", "TZ=Europe/Nowhere 0 3 * * *", "q", NULL, 0), -ENOENT);
	store_end(ctx, s);
}
