/* SPDX-License-Identifier: MIT */
/*
 * Who reads standard error may be slow, or stopped, or not there at all, and then write(2) on its
 * pipe never returns: no worker could get on, and the supervisor's thread could not even stop the
 * program. So a write first waits for room, a second at most; once that was in vain nothing waits
 * until there is room again, and how many lines were lost is said then. A worker waits for some
 * milliseconds only, for thousands of others wait for it: enough for a reader that is there, to
 * whom a burst came that the pipe does not hold. That those were in vain does not say that a second
 * will be: who has more patience than was in vain still waits, or one burst would cost a stop its
 * last words. One thread at a time: room for one is not room for two.
 *
 * Rejected: O_NONBLOCK on standard error, which is shared with whoever else has that file open.
 * (Who writes there too may take the room between our look and our write: that is left.)
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

static _Atomic int least_level = WEIR__INFO;
static _Atomic int log_form = WEIR__LOG_TEXT;

enum { LINE_BYTES = 4096 };
static _Thread_local int patience_ms = WEIR__LOG_LAST_WORDS_MS;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
/* So many milliseconds somebody waited in vain; 0: nobody since it last went well. */
static int taken;   /* atomic: for `writing` */
static int unread;  /* under writing: for room */
static size_t lost; /* atomic; lines nobody was told of */

static const char *const names[] = { "debug", "info", "warn", "error" };

void weir__log_set(enum weir__log_level least, enum weir__log_form form)
{
	least_level = (int)least;
	log_form = (int)form;
}

int weir__log_patience(int ms)
{
	int before = patience_ms;

	patience_ms = ms;
	return before;
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

/* Copies text and escapes what could break a line or a JSON string: of what is no UTF-8 each byte
 * (in JSON as the letter of that number). */
static size_t escape(char *out, size_t cap, const char *text, bool json)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *p = (const unsigned char *)text, *end = p + strlen(text);
	size_t n = 0, len;

	for (; p < end && n + 7 < cap; p += len) {
		len = weir__utf8_len(p, (size_t)(end - p));
		if (!len || *p < 0x20 || *p == 0x7f) {
			memcpy(out + n, json ? "\\u00" : "\\x", json ? 4 : 2);
			n += json ? 4 : 2;
			out[n++] = hex[*p >> 4];
			out[n++] = hex[*p & 15];
			len = 1;
			continue;
		}
		if (json && (*p == '"' || *p == '\\'))
			out[n++] = '\\';
		memcpy(out + n, p, len);
		n += len;
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

/* A terminal that has room may have less than a line of it. Not to wait there is asked of an open
 * file of our own. -1: none. */
static int own_description(int fd)
{
	char path[32];

	if (!isatty(fd))
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int longer(int a, int b)
{
	return a > b ? a : b;
}

/* Under `writing`. A pipe with room has PIPE_BUF bytes of it. */
static int write_piece(int fd, const char *p, size_t n)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };
	ssize_t done;
	int r, own;

	do
		r = poll(&room, 1, patience_ms > unread ? patience_ms : 0);
	while (r < 0 && errno == EINTR);
	unread = r ? 0 : longer(unread, patience_ms);
	if (r <= 0)
		return r ? -errno : -EAGAIN;
	own = own_description(fd);
	do
		done = write(own < 0 ? fd : own, p, n < PIPE_BUF ? n : PIPE_BUF);
	while (done < 0 && errno == EINTR);
	r = done < 0 ? -errno : (int)done;
	unread = r == -EAGAIN ? patience_ms : 0;
	if (own >= 0)
		close(own);
	return r;
}

int weir__log_write(int fd, const char *p, size_t n)
{
	int in_vain = __atomic_load_n(&taken, __ATOMIC_RELAXED), r = 0;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += patience_ms % 1000 * 1000000L;
	until.tv_sec += patience_ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (patience_ms > in_vain ? pthread_mutex_timedlock(&writing, &until) :
	                            pthread_mutex_trylock(&writing)) {
		__atomic_store_n(&taken, longer(in_vain, patience_ms), __ATOMIC_RELAXED);
		return -EAGAIN;
	}
	__atomic_store_n(&taken, 0, __ATOMIC_RELAXED);
	for (; n > 0; p += r, n -= (size_t)r) {
		r = write_piece(fd, p, n);
		if (r < 0)
			break;
	}
	pthread_mutex_unlock(&writing);
	return r < 0 ? r : 0;
}

/* One line, whole. */
static size_t render(char line[LINE_BYTES], enum weir__log_level level, const char *area,
                     const char *text)
{
	int form = log_form;
	bool json = form == WEIR__LOG_JSON;
	size_t n = head(line, level, area, form);

	n += escape(line + n, LINE_BYTES - n - 8, text, json);
	memcpy(line + n, json ? "\"}\n" : "\n", json ? 3 : 1);
	return n + (json ? 3 : 1);
}

void weir__log(enum weir__log_level level, const char *area, const char *fmt, ...)
{
	char text[1024], line[LINE_BYTES];
	size_t missing;
	va_list ap;

	if ((int)level < least_level)
		return;
	missing = __atomic_exchange_n(&lost, 0, __ATOMIC_RELAXED);
	if (missing) {
		snprintf(text, sizeof text, "%zu lines are missing here: nobody read them",
		         missing);
		if (weir__log_write(STDERR_FILENO, line, render(line, WEIR__WARN, "log", text)) ==
		    -EAGAIN)
			__atomic_add_fetch(&lost, missing, __ATOMIC_RELAXED);
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (weir__log_write(STDERR_FILENO, line, render(line, level, area, text)) == -EAGAIN)
		__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
}
