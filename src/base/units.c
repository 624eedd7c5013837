/* SPDX-License-Identifier: MIT */
#include "base/units.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
	char name[4];
	int64_t size;
};

/* Largest first: a duration names its units in this order, and formatting takes them in it. */
static const struct unit time_units[] = {
	{ "d", 86400000000000 }, { "h", 3600000000000 }, { "m", 60000000000 }, { "s", 1000000000 },
	{ "ms", 1000000 },       { "us", 1000 },         { "ns", 1 },
};
static const struct unit byte_units[] = {
	{ "TiB", INT64_C(1) << 40 }, { "GiB", 1 << 30 },      { "MiB", 1 << 20 },
	{ "KiB", 1 << 10 },          { "TB", 1000000000000 }, { "GB", 1000000000 },
	{ "MB", 1000000 },           { "kB", 1000 },          { "B", 1 },
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* Reads digits at *p and moves it behind them. */
static int digits(const char **p, int64_t *ret)
{
	const char *s = *p;
	int64_t n = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *s - '0', &n))
			return -ERANGE;
	*p = s;
	*ret = n;
	return 0;
}

int weir__parse_int(const char *text, int64_t *ret)
{
	bool minus = *text == '-';
	int64_t n;
	int r;

	text += minus;
	r = digits(&text, &n);
	if (r < 0)
		return r;
	if (*text)
		return -EINVAL;
	*ret = minus ? -n : n;
	return 0;
}

int weir__parse_duration(const char *text, int64_t *ret_ns)
{
	int64_t sum = 0, n;
	size_t next = 0, len, i;
	int r;

	if (!strcmp(text, "0")) {
		*ret_ns = 0;
		return 0;
	}
	do {
		r = digits(&text, &n);
		if (r < 0)
			return r;
		len = strspn(text, "dhmsun");
		for (i = next; i < COUNT(time_units); i++)
			if (strlen(time_units[i].name) == len &&
			    !memcmp(time_units[i].name, text, len))
				break;
		if (i == COUNT(time_units))
			return -EINVAL;
		if (__builtin_mul_overflow(n, time_units[i].size, &n) ||
		    __builtin_add_overflow(sum, n, &sum))
			return -ERANGE;
		next = i + 1;
		text += len;
	} while (*text);
	*ret_ns = sum;
	return 0;
}

int weir__parse_bytes(const char *text, uint64_t *ret)
{
	int64_t n;
	size_t i;
	int r;

	r = digits(&text, &n);
	if (r < 0)
		return r;
	if (*text) {
		for (i = 0; i < COUNT(byte_units); i++)
			if (!strcmp(byte_units[i].name, text))
				break;
		if (i == COUNT(byte_units))
			return -EINVAL;
		if (__builtin_mul_overflow(n, byte_units[i].size, &n))
			return -ERANGE;
	}
	*ret = (uint64_t)n;
	return 0;
}

int weir__parse_rate(const char *text, double *ret_per_second)
{
	static const char units[] = "smh";
	static const double seconds[] = { 1, 60, 3600 };
	const char *unit = units;
	char *end;
	double n;

	if (!strchr("0123456789.", *text)) /* strtod() would take "nan", " 1", "-1" too. */
		return -EINVAL;
	n = strtod(text, &end);
	if (end == text || strspn(text, "0123456789.eE+-") < (size_t)(end - text))
		return -EINVAL;
	if (*end == '/') {
		unit = end[1] ? strchr(units, end[1]) : NULL;
		end += 2;
	}
	if (!unit || *end || n < 0)
		return -EINVAL;
	if (n == 0)
		return -EDOM;
	n /= seconds[unit - units];
	if (n > 1e9)
		return -ERANGE;
	*ret_per_second = n;
	return 0;
}

const char *weir__format_duration(char buf[WEIR__UNITS_MAX], int64_t ns)
{
	size_t len = 0;

	if (ns == INT64_MAX)
		return memcpy(buf, "never", sizeof "never");
	/* From the minutes down each unit has at most three digits, so the longest text fits by
	 * far. */
	for (size_t i = 1; i < COUNT(time_units) && ns > 0; i++) { /* A day is rather "24h". */
		if (ns < time_units[i].size)
			continue;
		len += (size_t)snprintf(buf + len, WEIR__UNITS_MAX - len, "%lld%s",
		                        (long long)(ns / time_units[i].size), time_units[i].name);
		ns %= time_units[i].size;
	}
	if (!len)
		memcpy(buf, "0", 2);
	return buf;
}

const char *weir__format_bytes(char buf[WEIR__UNITS_MAX], uint64_t n)
{
	const struct unit *u = byte_units, *last = &byte_units[COUNT(byte_units) - 1];

	while (u < last && (n < (uint64_t)u->size || n % (uint64_t)u->size))
		u = u == &byte_units[3] ?
		            last :
		            u + 1; /* Powers of two only: that is how memory is counted. */
	snprintf(buf, WEIR__UNITS_MAX, "%llu%s", (unsigned long long)(n / (uint64_t)u->size),
	         u->name);
	return buf;
}

const char *weir__format_about(char buf[WEIR__UNITS_MAX], int64_t ns)
{
	const struct unit *u = time_units, *last = &time_units[COUNT(time_units) - 1];

	if (ns == INT64_MAX)
		return memcpy(buf, "never", sizeof "never");
	if (ns <= 0)
		return memcpy(buf, "0s", sizeof "0s");
	while (u < last && ns < u->size)
		u++;
	if (ns / u->size < 10 && ns % u->size >= u->size / 10)
		snprintf(buf, WEIR__UNITS_MAX, "%lld.%lld%s", (long long)(ns / u->size),
		         (long long)(ns % u->size * 10 / u->size), u->name);
	else
		snprintf(buf, WEIR__UNITS_MAX, "%lld%s", (long long)(ns / u->size), u->name);
	return buf;
}
