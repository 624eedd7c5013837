/* SPDX-License-Identifier: MIT */
/*
 * A control line ends with a line feed, with or without a carriage return before it; operations are
 * read without regard to case, arguments are separated by blanks and tabs. A payload must be
 * followed by CR LF. That is what nats-server accepts.
 *
 * The line is looked at again when more of its payload has come: it is short, and *ret_need keeps
 * that from happening before all of it can be there. Rejected: a state machine a byte at a time as
 * in nats-server; memchr() and whole words are several times faster, and there is no state to get
 * wrong.
 */
#include "nats/parse.h"

#include <string.h>

enum { ARGS_MAX = 4, DIGITS_MAX = 9 };

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Does the line begin with this word (upper case)? */
static bool begins(const char *line, size_t n, const char *word, size_t len)
{
	if (n < len)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((line[i] & ~0x20) != word[i])
			return false;
	return true;
}

/* The words of a line. How many, or ARGS_MAX + 1 when they are too many. */
static size_t split(char *at, const char *end, struct weir__nats_text *args)
{
	size_t n = 0;

	for (;;) {
		char *from;

		while (at < end && blank(*at))
			at++;
		if (at == end)
			return n;
		if (n == ARGS_MAX)
			return n + 1;
		from = at;
		while (at < end && !blank(*at))
			at++;
		args[n++] = (struct weir__nats_text){ from, (size_t)(at - from) };
	}
}

/* A number without sign; false for everything else, and for what is beyond all sizes. */
static bool number(const struct weir__nats_text *t, size_t *ret)
{
	size_t v = 0;

	if (t->len == 0 || t->len > DIGITS_MAX)
		return false;
	for (size_t i = 0; i < t->len; i++) {
		if (t->at[i] < '0' || t->at[i] > '9')
			return false;
		v = v * 10 + (size_t)(t->at[i] - '0');
	}
	*ret = v;
	return true;
}

static void close_text(struct weir__nats_text *t)
{
	if (t->at)
		t->at[t->len] = 0;
}

/* One blank between the words, no zeros before a number, "\r\n" behind the last? */
static bool plainly_written(const struct weir__nats_text *words, size_t n, const char *end)
{
	for (size_t i = 0; i + 1 < n; i++)
		if (words[i].at + words[i].len + 1 != words[i + 1].at ||
		    words[i].at[words[i].len] != ' ')
			return false;
	for (size_t i = 0; i < n; i++)
		if (words[i].at[0] == '0' && words[i].len > 1)
			return false;
	return words[n - 1].at + words[n - 1].len + 2 == end;
}

/* What follows the line's `used` bytes is the payload. */
static ssize_t publish(const struct weir__nats_limits *limits, char *buf, size_t n, size_t used,
                       struct weir__nats_text *args, size_t count, bool headers,
                       struct weir__nats_frame *f, size_t *ret_need)
{
	size_t sizes = headers ? 2 : 1;

	if (count < sizes + 1 || count > sizes + 2)
		return WEIR__NATS_ARGS;
	f->op = WEIR__NATS_PUB;
	f->subject = args[0];
	if (count == sizes + 2)
		f->reply = args[1];
	if (!number(&args[count - 1], &f->total))
		return WEIR__NATS_ARGS;
	if (headers && (!number(&args[count - 2], &f->headers) || f->headers > f->total))
		return WEIR__NATS_ARGS;
	if (f->total > limits->payload)
		return WEIR__NATS_PAYLOAD;
	*ret_need = used + f->total + 2;
	if (n < *ret_need)
		return 0;
	f->body = buf + used;
	if (f->body[f->total] != '\r' || f->body[f->total + 1] != '\n')
		return WEIR__NATS_UNKNOWN;
	if (plainly_written(args + 1, count - 1, f->body))
		f->tail = args[1].at;
	close_text(&f->subject);
	return (ssize_t)*ret_need;
}

static ssize_t subscribe(struct weir__nats_text *args, size_t count, size_t used,
                         struct weir__nats_frame *f)
{
	if (count < 2 || count > 3)
		return WEIR__NATS_ARGS;
	f->op = WEIR__NATS_SUB;
	f->subject = args[0];
	if (count == 3)
		f->queue = args[1];
	f->sid = args[count - 1];
	close_text(&f->subject);
	close_text(&f->queue);
	close_text(&f->sid);
	return (ssize_t)used;
}

static ssize_t unsubscribe(struct weir__nats_text *args, size_t count, size_t used,
                           struct weir__nats_frame *f)
{
	size_t max = 0;

	if (count < 1 || count > 2 || (count == 2 && !number(&args[1], &max)))
		return WEIR__NATS_ARGS;
	f->op = WEIR__NATS_UNSUB;
	f->sid = args[0];
	f->max = max;
	close_text(&f->sid);
	return (ssize_t)used;
}

/* What has no arguments, or none that matter. */
static enum weir__nats_op plain(const char *line, size_t n)
{
	while (n && blank(line[n - 1]))
		n--;
	if (n == 4 && begins(line, n, "PING", 4))
		return WEIR__NATS_PING;
	if (n == 4 && begins(line, n, "PONG", 4))
		return WEIR__NATS_PONG;
	if (n == 3 && line[0] == '+' && begins(line + 1, 2, "OK", 2))
		return WEIR__NATS_OK;
	if (n > 4 && begins(line, n, "INFO", 4) && blank(line[4]))
		return WEIR__NATS_OK;
	if (n > 4 && line[0] == '-' && begins(line + 1, 3, "ERR", 3) && blank(line[4]))
		return WEIR__NATS_ERROR;
	return 0;
}

/* Can a line that is not there as a whole still become an operation? */
static bool hopeless(const char *line, size_t n)
{
	static const char *const words[] = { "PUB ",    "HPUB ", "SUB ",  "UNSUB ", "PING",
		                             "CONNECT", "PONG",  "INFO ", "+OK",    "-ERR " };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		size_t len = strlen(words[i]), m = 0;

		while (m < n && m < len) {
			char c = line[m], w = words[i][m];

			if (!(w == ' ' ? blank(c) : c == w || (c ^ 0x20) == w))
				break;
			m++;
		}
		if (m == n || m == len)
			return false;
	}
	return true;
}

ssize_t weir__nats_parse(const struct weir__nats_limits *limits, char *buf, size_t n,
                         struct weir__nats_frame *f, size_t *ret_need)
{
	struct weir__nats_text args[ARGS_MAX + 1];
	size_t look = n < limits->line + 2 ? n : limits->line + 2, used, len, count;
	char *end;

	if (n == 0) {
		*ret_need = 1;
		return 0;
	}
	if (limits->connect_first && (buf[0] & ~0x20) != 'C')
		return WEIR__NATS_IMPATIENT;
	end = memchr(buf, '\n', look);
	if (!end) {
		if (hopeless(buf, n < 8 ? n : 8))
			return WEIR__NATS_UNKNOWN;
		*ret_need = n + 1;
		return n >= limits->line + 2 ? WEIR__NATS_LINE : 0;
	}
	used = (size_t)(end - buf) + 1;
	len = used - 1;
	if (len && buf[len - 1] == '\r')
		len--;
	if (len > limits->line)
		return hopeless(buf, 8) ? WEIR__NATS_UNKNOWN : WEIR__NATS_LINE;
	/* Field by field: this is where a small message spends its time. */
	f->reply = f->queue = (struct weir__nats_text){ NULL, 0 };
	f->headers = f->total = 0;
	f->max = 0;
	f->body = f->tail = NULL;
	/* The commonest first. */
	if (len > 3 && begins(buf, len, "PUB", 3) && blank(buf[3])) {
		count = split(buf + 4, buf + len, args);
		return publish(limits, buf, n, used, args, count, false, f, ret_need);
	}
	if (len > 4 && begins(buf, len, "HPUB", 4) && blank(buf[4])) {
		count = split(buf + 5, buf + len, args);
		return publish(limits, buf, n, used, args, count, true, f, ret_need);
	}
	if (len > 3 && begins(buf, len, "SUB", 3) && blank(buf[3]))
		return subscribe(args, split(buf + 4, buf + len, args), used, f);
	if (len > 5 && begins(buf, len, "UNSUB", 5) && blank(buf[5]))
		return unsubscribe(args, split(buf + 6, buf + len, args), used, f);
	if (len > 7 && begins(buf, len, "CONNECT", 7) && (blank(buf[7]) || buf[7] == '{')) {
		f->op = WEIR__NATS_CONNECT;
		f->args = (struct weir__nats_text){ buf + 7, len - 7 };
		buf[len] = 0;
		return (ssize_t)used;
	}
	f->op = plain(buf, len);
	return f->op ? (ssize_t)used : WEIR__NATS_UNKNOWN;
}
