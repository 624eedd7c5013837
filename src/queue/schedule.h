/* SPDX-License-Identifier: MIT */
/*
 * When a cron is due. Five fields (minute, hour, day of the month, month, day of the week), each a
 * list of values, ranges and steps ("1-5,30", "0-30/10", "*" with a step), months and days also by
 * English name; or @hourly, @daily (@midnight), @weekly, @monthly, @yearly (@annually); or "@every
 * 5m". In UTC; "TZ=UTC " may stand in front. As in cron(8), when both days are restricted either
 * suffices.
 */
#ifndef WEIR_QUEUE_SCHEDULE_H
#define WEIR_QUEUE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct weir__schedule {
	int64_t every_ns; /* 0: by the calendar */
	uint64_t minutes; /* bit n: value n */
	uint32_t hours, days;
	uint16_t months;
	uint8_t weekdays; /* Sunday is 0 */
	bool any_day, any_weekday;
};

/* 0 or -EINVAL. "@every" takes a second at least. */
int weir__schedule_parse(const char *text, struct weir__schedule *ret);

/* The first time later than `after` (both in ns since 1970), or -ERANGE when there is none within
 * eight years (30 February). */
int weir__schedule_next(const struct weir__schedule *when, int64_t after, int64_t *ret);

#endif
