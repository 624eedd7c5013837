/* SPDX-License-Identifier: MIT */
/*
 * A zone is what its TZif file says (RFC 9636): a list of moments at which the offset from UTC
 * changes, and for the time behind the last of them a rule ("CET-1CEST,M3.5.0,M10.5.0/3"), from
 * which the two changes of any year can be counted. Only the 64-bit block of version 2 and later is
 * read; names of zones, leap seconds and whether it is summer play no part in when a cron is due.
 *
 * localtime_r(3) will not do: it knows one zone for the whole process.
 */
#include "queue/zone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEADER = 44,
	FILE_MAX_BYTES = 256 << 10,
	CHANGES_MAX = 4096,
	DAY_S = 86400,
	OFFSET_MAX = 26 * 3600, /* RFC 9636 §3.2: −25 to 26 hours */
};

/* When a year's change comes, as the rule has it: at `second` of the local day. */
struct moment {
	enum { BY_WEEKDAY, BY_JULIAN, BY_DAY } kind;
	int month, week, day;
	int second;
};

struct change {
	int64_t at;
	int offset; /* from then on */
};

struct weir__zone {
	int first; /* the offset before the first change */
	bool rule; /* behind the last change the clock goes by: */
	bool dst;  /* … two changes a year; otherwise it stays at std_offset */
	int std_offset, dst_offset;
	struct moment start, end; /* of summer time */
	size_t n;
	struct change changes[];
};

/* ---- Counting years ---- */

/* Days from 1970-01-01 to the first of a month; months count from 1, years may be any. */
static int64_t days_to(int64_t year, int month)
{
	/* A year that begins in March has its odd day at the end. */
	int64_t y = month > 2 ? year : year - 1, era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400, of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool is_leap(int64_t year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int64_t year_of(int64_t at_s)
{
	int64_t year = 1970 + at_s / (int64_t)(365.2425 * DAY_S);

	while (days_to(year, 1) * DAY_S > at_s)
		year--;
	while (days_to(year + 1, 1) * DAY_S <= at_s)
		year++;
	return year;
}

/* In UTC seconds, for a local clock that is `offset` ahead until then. */
static int64_t moment_in(const struct moment *m, int64_t year, int offset)
{
	int64_t day;

	switch (m->kind) {
	case BY_JULIAN: /* 1 to 365; 29 February is never counted. */
		day = days_to(year, 1) + m->day - 1 + (is_leap(year) && m->day >= 60);
		break;
	case BY_DAY:
		day = days_to(year, 1) + m->day;
		break;
	default: {
		int64_t first = days_to(year, m->month);
		int64_t next = m->month == 12 ? days_to(year + 1, 1) : days_to(year, m->month + 1);
		int64_t weekday = ((first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday. */

		day = first + (m->day - weekday + 7) % 7 + (int64_t)(m->week - 1) * 7;
		while (day >= next) /* Week 5 is the last. */
			day -= 7;
	}
	}
	return day * DAY_S + m->second - offset;
}

/* ---- The rule: POSIX.1-2017 §8.3, with the wider hours of RFC 9636 §3.3.2 ---- */

static bool rule_name(const char **p)
{
	const char *from = *p;

	if (*from == '<') {
		*p = strchr(from, '>');
		return *p && (*p)++ - from > 1;
	}
	while ((**p >= 'A' && **p <= 'Z') || (**p >= 'a' && **p <= 'z'))
		++*p;
	return *p - from >= 3;
}

static bool rule_number(const char **p, int least, int most, int *ret)
{
	int n = 0, digits = 0;

	for (; **p >= '0' && **p <= '9' && digits < 4; ++*p, digits++)
		n = n * 10 + (**p - '0');
	*ret = n;
	return digits && n >= least && n <= most;
}

/* [+-]h[h[h]][:mm[:ss]] in seconds. */
static bool rule_time(const char **p, int *ret)
{
	int sign = **p == '-' ? -1 : 1, h, m = 0, s = 0;

	if (**p == '-' || **p == '+')
		++*p;
	if (!rule_number(p, 0, 167, &h))
		return false;
	if (**p == ':' && (++*p, !rule_number(p, 0, 59, &m)))
		return false;
	if (**p == ':' && (++*p, !rule_number(p, 0, 59, &s)))
		return false;
	*ret = sign * (h * 3600 + m * 60 + s);
	return true;
}

static bool rule_moment(const char **p, struct moment *m)
{
	bool good;

	if (*(*p)++ != ',')
		return false;
	if (**p == 'M') {
		++*p;
		m->kind = BY_WEEKDAY;
		good = rule_number(p, 1, 12, &m->month) && *(*p)++ == '.' &&
		       rule_number(p, 1, 5, &m->week) && *(*p)++ == '.' &&
		       rule_number(p, 0, 6, &m->day);
	} else if (**p == 'J') {
		++*p;
		m->kind = BY_JULIAN;
		good = rule_number(p, 1, 365, &m->day);
	} else {
		m->kind = BY_DAY;
		good = rule_number(p, 0, 365, &m->day);
	}
	m->second = 2 * 3600;
	return good && (**p != '/' || (++*p, rule_time(p, &m->second)));
}

/* "" is none: the last change stays in force. */
static bool read_rule(const char *text, struct weir__zone *z)
{
	int west;

	if (!*text)
		return true;
	z->rule = true;
	if (!rule_name(&text) || !rule_time(&text, &west) || abs(west) > OFFSET_MAX)
		return false;
	z->std_offset = -west;
	if (!*text)
		return true;
	z->dst = true;
	z->dst_offset = z->std_offset + 3600;
	if (!rule_name(&text))
		return false;
	if (*text != ',') {
		if (!rule_time(&text, &west) || abs(west) > OFFSET_MAX)
			return false;
		z->dst_offset = -west;
	}
	return rule_moment(&text, &z->start) && rule_moment(&text, &z->end) && !*text;
}

/* ---- The file ---- */

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const unsigned char *p)
{
	return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct head {
	uint32_t utc, standard, leap, times, types, chars;
};

/* How long the block behind a header is; SIZE_MAX if it cannot be. */
static size_t read_header(const unsigned char *p, size_t len, size_t time_size, struct head *h)
{
	if (len < HEADER || memcmp(p, "TZif", 4) != 0)
		return SIZE_MAX;
	*h = (struct head){ be32(p + 20), be32(p + 24), be32(p + 28),
		            be32(p + 32), be32(p + 36), be32(p + 40) };
	if (h->times > CHANGES_MAX || h->types == 0 || h->types > 256 || h->chars > 4096 ||
	    h->leap > 1024 || h->utc > h->types || h->standard > h->types)
		return SIZE_MAX;
	return h->times * (time_size + 1) + h->types * 6 + h->chars + h->leap * (time_size + 4) +
	       h->standard + h->utc;
}

static int read_block(const unsigned char *p, const struct head *h, struct weir__zone *z)
{
	const unsigned char *index = p + h->times * 8, *types = index + h->times;

	for (uint32_t i = 0; i < h->types; i++) {
		int offset = (int)be32(types + i * 6);

		if (offset < -OFFSET_MAX || offset > OFFSET_MAX)
			return -EBADMSG;
	}
	z->first = (int)be32(types); /* Type 0 holds before the first change. */
	for (uint32_t i = 0; i < h->times; i++) {
		struct change c = { .at = be64(p + i * 8) };

		if (index[i] >= h->types || (z->n && c.at <= z->changes[z->n - 1].at))
			return -EBADMSG;
		c.offset = (int)be32(types + index[i] * 6);
		/* Only names may change: that is no change here. */
		if (c.offset != (z->n ? z->changes[z->n - 1].offset : z->first))
			z->changes[z->n++] = c;
	}
	return 0;
}

int weir__zone_parse(const void *data, size_t len, struct weir__zone **ret)
{
	const unsigned char *p = data;
	char rule[128] = "";
	struct weir__zone *z;
	struct head h;
	size_t size, n;
	int r;

	size = read_header(p, len, 4, &h);
	if (size == SIZE_MAX || p[4] < '2' || len - HEADER < size)
		return -EBADMSG;
	p += HEADER + size;
	len -= HEADER + size;
	size = read_header(p, len, 8, &h);
	if (size == SIZE_MAX || len - HEADER < size + 2 || p[HEADER + size] != '\n')
		return -EBADMSG;
	n = len - HEADER - size - 2;
	if (n >= sizeof rule || p[len - 1] != '\n')
		return -EBADMSG;
	memcpy(rule, p + HEADER + size + 1, n);
	z = calloc(1, sizeof *z + h.times * sizeof *z->changes);
	if (!z)
		return -ENOMEM;
	r = read_block(p + HEADER, &h, z);
	if (r == 0 && (strlen(rule) != n || !read_rule(rule, z)))
		r = -EBADMSG;
	if (r < 0) {
		free(z);
		return r;
	}
	*ret = z;
	return 0;
}

bool weir__zone_name_valid(const char *name)
{
	size_t n = strnlen(name, WEIR__ZONE_NAME_MAX + 1);

	return n && n <= WEIR__ZONE_NAME_MAX && name[0] != '/' && name[n - 1] != '/' &&
	       !strstr(name, "//") &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") ==
	               n;
}

int weir__zone_load(const char *name, struct weir__zone **ret)
{
	const char *dir = getenv("TZDIR");
	char path[256], *data;
	FILE *f;
	size_t n;
	int r;

	if (!weir__zone_name_valid(name))
		return -EINVAL;
	if (snprintf(path, sizeof path, "%s/%s", dir && *dir ? dir : "/usr/share/zoneinfo", name) >=
	    (int)sizeof path)
		return -ENAMETOOLONG;
	data = malloc(FILE_MAX_BYTES);
	if (!data)
		return -ENOMEM;
	f = fopen(path, "re"); /* offloaded */
	if (!f) {
		r = -errno;
		goto out;
	}
	n = fread(data, 1, FILE_MAX_BYTES, f); /* offloaded */
	r = ferror(f) ? (errno == EISDIR ? -ENOENT : -EIO) : weir__zone_parse(data, n, ret);
	fclose(f);
out:
	free(data);
	return r;
}

void weir__zone_free(struct weir__zone *z)
{
	free(z);
}

/* ---- Asking ---- */

/* The spans of the rule around a second, not looking at the changes of the file. */
static void span_by_rule(const struct weir__zone *z, int64_t at, struct weir__zone_span *ret)
{
	int64_t year = year_of(at + z->std_offset);
	int offset = 0;

	*ret = (struct weir__zone_span){ INT64_MIN, INT64_MAX, z->std_offset, z->std_offset };
	if (!z->dst)
		return;
	/* The changes of the years around it, in order; in the south summer spans the new year. */
	for (int64_t y = year - 1; y <= year + 1; y++) {
		int64_t start = moment_in(&z->start, y, z->std_offset);
		int64_t end = moment_in(&z->end, y, z->dst_offset);
		struct change c[2] = { { start, z->dst_offset }, { end, z->std_offset } };

		if (end < start)
			memcpy(c, (struct change[2]){ c[1], c[0] }, sizeof c);
		for (int i = 0; i < 2; i++) {
			if (c[i].at > at) {
				ret->until = c[i].at;
				return;
			}
			offset = c[i].offset;
			ret->before =
				ret->from == INT64_MIN ?
					(offset == z->dst_offset ? z->std_offset : z->dst_offset) :
					ret->offset;
			ret->from = c[i].at;
			ret->offset = offset;
		}
	}
}

void weir__zone_span_at(const struct weir__zone *z, int64_t at, struct weir__zone_span *ret)
{
	size_t low = 0, high = z->n; /* changes before `low` have come, those from `high` on not */
	int64_t last;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (z->changes[mid].at <= at)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == z->n && z->rule) {
		span_by_rule(z, at, ret);
		last = z->n ? z->changes[z->n - 1].at : INT64_MIN;
		/* What the rule says of the time before the last change does not count. */
		if (ret->from < last) {
			ret->from = last;
			ret->before = z->n > 1 ? z->changes[z->n - 2].offset : z->first;
		}
		return;
	}
	ret->from = low ? z->changes[low - 1].at : INT64_MIN;
	ret->until = low < z->n ? z->changes[low].at : INT64_MAX;
	ret->offset = low ? z->changes[low - 1].offset : z->first;
	ret->before = low > 1 ? z->changes[low - 2].offset : z->first;
}
