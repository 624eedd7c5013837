/* SPDX-License-Identifier: MIT */
#include "queue/schedule.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <weir/time.h>

#include "base/units.h"

#define DAY_S 86400

static const char *const month_names[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul",
	                                   "aug", "sep", "oct", "nov", "dec", NULL };
static const char *const day_names[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL };

struct field {
	int low, high;
	const char *const *names; /* of low, low + 1, … */
};

static const struct field fields[5] = {
	{ 0, 59, NULL },        { 0, 23, NULL },     { 1, 31, NULL },
	{ 1, 12, month_names }, { 0, 7, day_names },
};

/* A number or name at *p; -1 if there is none. */
static int value(const char **p, const struct field *f)
{
	int n = 0, digits = 0;

	for (int i = 0; f->names && f->names[i]; i++) {
		if (!strncasecmp(*p, f->names[i], 3)) {
			*p += 3;
			return f->low + i;
		}
	}
	for (; **p >= '0' && **p <= '9' && digits < 4; ++*p, digits++)
		n = n * 10 + (**p - '0');
	return digits ? n : -1;
}

/* One part of a list: *, a, a-b, each with /step. */
static int part(const char **p, const struct field *f, uint64_t *bits, bool *star)
{
	int from, to, step = 1;

	if (**p == '*') {
		++*p;
		from = f->low;
		to = f->high;
		*star = true;
	} else {
		from = to = value(p, f);
		if (**p == '-') {
			++*p;
			to = value(p, f);
		} else if (**p == '/') {
			to = f->high; /* "5/15": from 5 on */
		}
	}
	if (**p == '/') {
		static const struct field steps = { 1, 59, NULL };

		++*p;
		step = value(p, &steps);
		if (step < 1)
			return -EINVAL;
	}
	if (from < f->low || to < from || to > f->high)
		return -EINVAL;
	for (; from <= to; from += step)
		*bits |= (uint64_t)1 << from;
	return 0;
}

static int list(const char **p, const struct field *f, uint64_t *bits, bool *star)
{
	*bits = 0;
	*star = false;
	for (;;) {
		int r = part(p, f, bits, star);

		if (r < 0 || **p != ',')
			return r;
		++*p;
	}
}

static const char *skip(const char *p)
{
	return p + strspn(p, " \t");
}

static int parse_fields(const char *p, struct weir__schedule *w)
{
	uint64_t bits[5];
	bool star[5];

	for (int i = 0; i < 5; i++) {
		const char *from = p = skip(p);

		if (!*p || list(&p, &fields[i], &bits[i], &star[i]) < 0 || p == from ||
		    (*p && !strchr(" \t", *p)))
			return -EINVAL;
	}
	if (*skip(p))
		return -EINVAL;
	w->minutes = bits[0];
	w->hours = (uint32_t)bits[1];
	w->days = (uint32_t)bits[2];
	w->months = (uint16_t)bits[3];
	w->weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 0x7f);
	w->any_day = star[2];
	w->any_weekday = star[4];
	w->any_hour = star[1];
	return 0;
}

int weir__schedule_parse(const char *text, struct weir__schedule *ret)
{
	static const struct {
		const char *name, *fields;
	} known[] = {
		{ "@hourly", "0 * * * *" },   { "@daily", "0 0 * * *" },
		{ "@midnight", "0 0 * * *" }, { "@weekly", "0 0 * * 0" },
		{ "@monthly", "0 0 1 * *" },  { "@yearly", "0 0 1 1 *" },
		{ "@annually", "0 0 1 1 *" },
	};
	struct weir__schedule w = { 0 };
	int r;

	if (!text)
		return -EINVAL;
	text = skip(text);
	if (!strncmp(text, "TZ=", 3)) {
		size_t n = strcspn(text += 3, " \t");

		if (n >= sizeof w.zone)
			return -EINVAL;
		memcpy(w.zone, text, n);
		if (!weir__zone_name_valid(w.zone))
			return -EINVAL;
		if (!strcmp(w.zone, "UTC"))
			w.zone[0] = 0;
		text = skip(text + n);
	}
	if (!strncmp(text, "@every ", 7)) {
		r = weir__parse_duration(skip(text + 7), &w.every_ns);
		if (r < 0 || w.every_ns < WEIR_SEC(1) || w.every_ns > WEIR_HOUR(24 * 3660))
			return -EINVAL;
		*ret = w;
		return 0;
	}
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(text, known[i].name))
			text = known[i].fields;
	r = parse_fields(text, &w);
	if (r == 0)
		*ret = w;
	return r;
}

static bool day_matches(const struct weir__schedule *w, const struct tm *tm)
{
	bool day = w->days >> tm->tm_mday & 1, weekday = w->weekdays >> tm->tm_wday & 1;

	if (!(w->months >> (tm->tm_mon + 1) & 1))
		return false;
	return w->any_day || w->any_weekday ? day && weekday : day || weekday;
}

/* The first minute of a clock from `from` on that is due, before `until`; both in the clock's own
 * seconds. */
static bool find(const struct weir__schedule *w, int64_t from, int64_t until, int64_t *ret)
{
	int64_t minute = (from + 59) / 60;
	time_t day = (time_t)(minute / 1440 * DAY_S);

	minute %= 1440;
	for (; day < until; day += DAY_S, minute = 0) {
		struct tm tm;

		gmtime_r(&day, &tm);
		if (!day_matches(w, &tm))
			continue;
		for (; minute < 1440; minute++) {
			if (!(w->hours >> minute / 60 & 1) || !(w->minutes >> minute % 60 & 1))
				continue;
			*ret = (int64_t)day + minute * 60;
			return *ret < until;
		}
	}
	return false;
}

/* One stretch in which the clock runs evenly, from second `at` on. */
static bool find_in_span(const struct weir__schedule *w, const struct weir__zone_span *span,
                         int64_t at, int64_t until, int64_t *ret)
{
	int64_t from = at + span->offset, local;

	if (!w->any_hour && span->from != INT64_MIN) {
		int64_t stood =
			span->from + span->before; /* what the clock showed when it jumped */

		/* It was put forward: what was due in between is due now. */
		if (at == span->from && find(w, stood, from, &local)) {
			*ret = at;
			return true;
		}
		/* It was put back: what comes again has been. */
		if (from < stood)
			from = stood;
	}
	if (!find(w, from, until + span->offset, &local))
		return false;
	*ret = local - span->offset;
	return true;
}

int weir__schedule_next(const struct weir__schedule *w, const struct weir__zone *zone,
                        int64_t after, int64_t *ret)
{
	/* 29 February comes every eight years at worst (1896, 1904). */
	const int64_t longest = (int64_t)(8 * 366 + 1) * DAY_S;
	int64_t at = after / WEIR_SEC(1) + 1, end = at + longest, due;

	if (w->every_ns) {
		if (__builtin_add_overflow(after, w->every_ns, ret))
			return -ERANGE;
		return 0;
	}
	while (at < end) {
		struct weir__zone_span span = { INT64_MIN, INT64_MAX, 0, 0 };

		if (zone)
			weir__zone_span_at(zone, at, &span);
		if (find_in_span(w, &span, at, span.until < end ? span.until : end, &due)) {
			*ret = due * WEIR_SEC(1);
			return 0;
		}
		at = span.until;
	}
	return -ERANGE;
}
