/* SPDX-License-Identifier: MIT */
/*
 * When a cron is due. Five fields (minute, hour, day of the month, month, day of the week), each a
 * list of values, ranges and steps ("1-5,30", "0-30/10", "*" with a step), months and days also by
 * English name; or @hourly, @daily (@midnight), @weekly, @monthly, @yearly (@annually); or "@every
 * 5m". As in cron(8), when both days are restricted either suffices.
 *
 * In UTC, or by the local clock of a zone: "TZ=Europe/Berlin 30 2 * * *". Where that clock jumps,
 * what is due at given hours still comes exactly once: what falls into the hour left out comes when
 * it would have begun, and of an hour that comes twice only the first counts. What is due at every
 * hour ("*" stands first in that field) goes by the time that really passes.
 */
#ifndef WEIR_QUEUE_SCHEDULE_H
#define WEIR_QUEUE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/zone.h"

struct weir__schedule {
	char zone[WEIR__ZONE_NAME_MAX + 1]; /* "": UTC */
	int64_t every_ns;                   /* 0: by the calendar */
	uint64_t minutes;                   /* bit n: value n */
	uint32_t hours, days;
	uint16_t months;
	uint8_t weekdays; /* Sunday is 0 */
	bool any_day, any_weekday, any_hour;
};

/* 0 or -EINVAL. "@every" takes a second at least. */
int weir__schedule_parse(const char *text, struct weir__schedule *ret);

/* The first time later than `after` (both in ns since 1970), or -ERANGE when there is none within
 * eight years (30 February). `zone` is what the schedule's names; NULL: UTC. */
int weir__schedule_next(const struct weir__schedule *when, const struct weir__zone *zone,
                        int64_t after, int64_t *ret);

#endif
