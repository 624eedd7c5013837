/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int least_level = WEIR__INFO;
static _Atomic int log_form = WEIR__LOG_TEXT;

static const char *const names[] = { "debug", "info", "warn", "error" };

void weir__log_set(enum weir__log_level least, enum weir__log_form form)
{
	least_level = (int)least;
	log_form = (int)form;
}

bool weir__log_allow(struct weir__log_limit *l)
{
	struct timespec ts;
	long long now, last = __atomic_load_n(&l->last, __ATOMIC_RELAXED);

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = ts.tv_sec * 1000LL + ts.tv_nsec / 1000000 + 1;
	if (last && now - last < 1000)
		return false;
	return __atomic_compare_exchange_n(&l->last, &last, now, false, __ATOMIC_RELAXED,
	                                   __ATOMIC_RELAXED);
}

/* Copies text and escapes what could break a line or a JSON string. */
static size_t escape(char *out, size_t cap, const char *text, bool json)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p && n + 7 < cap; p++) {
		if (*p < 0x20 || *p == 0x7f) {
			memcpy(out + n, json ? "\\u00" : "\\x", json ? 4 : 2);
			n += json ? 4 : 2;
			out[n++] = hex[*p >> 4];
			out[n++] = hex[*p & 15];
		} else {
			if (json && (*p == '"' || *p == '\\'))
				out[n++] = '\\';
			out[n++] = (char)*p;
		}
	}
	return n;
}

/* All in front of the text. */
static size_t head(char out[128], enum weir__log_level level, const char *area, int form)
{
	struct timespec ts;
	struct tm tm;

	if (form == WEIR__LOG_PLAIN)
		return (size_t)snprintf(out, 128, "weir: ");
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	return (size_t)snprintf(out, 128,
	                        form == WEIR__LOG_JSON ?
	                                "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\","
	                                "\"level\":\"%s\",\"area\":\"%.32s\",\"msg\":\"" :
	                                "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %.32s: ",
	                        tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	                        tm.tm_sec, ts.tv_nsec / 1000000, names[level], area);
}

void weir__log(enum weir__log_level level, const char *area, const char *fmt, ...)
{
	char text[1024], line[4096];
	va_list ap;
	size_t n;
	int form = log_form;
	bool json = form == WEIR__LOG_JSON;

	if ((int)level < least_level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	n = head(line, level, area, form);
	n += escape(line + n, sizeof line - n - 8, text, json);
	memcpy(line + n, json ? "\"}\n" : "\n", json ? 3 : 1);
	n += json ? 3 : 1;
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* Nobody is left to be told. */
}
