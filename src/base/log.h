/* SPDX-License-Identifier: MIT */
/*
 * The log: one event a line on standard error, as text or JSON. Lines are written whole and never
 * interleave. Text: "2026-01-01T00:00:00.000Z warn http: client too slow peer=…". Control bytes
 * are escaped, and what is no UTF-8. Where nobody reads, a line is given up after a second at most
 * (of a worker after some milliseconds) and counted; the count is logged when there is a reader
 * again.
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum weir__log_level { WEIR__DEBUG, WEIR__INFO, WEIR__WARN, WEIR__ERROR };

/* `area` is a layer or protocol ("http"); the sentence follows. Cut at 1000 bytes. Any thread. */
void weir__log(enum weir__log_level level, const char *area, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Text that is no line of the log, to a descriptor that may be a pipe: all of it, 0, or -errno, and
 * -EAGAIN where nobody reads. Any thread. */
int weir__log_write(int fd, const char *p, size_t n);

/* How long what this thread writes waits for room, from now on: a second where nothing is said. For
 * threads that others wait for. What it was before. */
enum { WEIR__LOG_LAST_WORDS_MS = 1000, WEIR__LOG_WORKER_MS = 10 };
int weir__log_patience(int ms);

/* At most one line a second for the place of the call; the others are left out. */
#define weir__log_rare(level, area, ...)                     \
	do {                                                 \
		static struct weir__log_limit limit_;        \
		if (weir__log_allow(&limit_))                \
			weir__log(level, area, __VA_ARGS__); \
	} while (0)
struct weir__log_limit {
	long long last;
};
bool weir__log_allow(struct weir__log_limit *l);

/* Plain is for programs that somebody waits for: "weir: client too slow peer=…". */
enum weir__log_form { WEIR__LOG_TEXT, WEIR__LOG_JSON, WEIR__LOG_PLAIN };
void weir__log_set(enum weir__log_level least, enum weir__log_form form);

#endif
