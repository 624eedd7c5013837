/* SPDX-License-Identifier: MIT */
/*
 * Bytes are collected into a line, which CR, LF or CRLF ends; a field of a line goes into the event
 * at hand; an empty line gives it out. A line that spans many reads is kept, so both a line and an
 * event's data are bounded.
 */
#include "http/sse_parse.h"

#include <errno.h>
#include <string.h>

static const char bom[3] = { '\xef', '\xbb', '\xbf' };

void weir__sse_init(struct weir__sse_parser *p)
{
	*p = (struct weir__sse_parser){ .line = WEIR__BUF_INIT };
}

void weir__sse_fini(struct weir__sse_parser *p)
{
	weir__buf_free(&p->line);
	weir__buf_free(&p->data);
	weir__buf_free(&p->event);
	weir__buf_free(&p->id);
}

static bool is_field(const char *line, size_t n, const char *name)
{
	return strlen(name) == n && !memcmp(line, name, n);
}

static void set(struct weir__buf *b, const char *value, size_t n)
{
	weir__buf_clear(b);
	weir__buf_add(b, value, n);
}

static void set_retry(struct weir__sse_parser *p, const char *value, size_t n)
{
	const int64_t max_ms =
		INT64_C(86400000); /* A server cannot send its clients away for more than a day. */
	int64_t ms = 0;

	if (n == 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (value[i] < '0' || value[i] > '9')
			return;
		ms = ms * 10 + (value[i] - '0');
		if (ms > max_ms)
			ms = max_ms;
	}
	p->retry_ns = ms * 1000000;
}

static void take_field(struct weir__sse_parser *p, const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n), *value = line + n;
	size_t name_len = n, len = 0;

	if (colon) {
		name_len = (size_t)(colon - line);
		value = colon + 1;
		len = n - name_len - 1;
		if (len > 0 && *value == ' ') {
			value++;
			len--;
		}
	}
	if (is_field(line, name_len, "data")) {
		weir__buf_add(&p->data, value, len);
		weir__buf_byte(&p->data, '\n');
	} else if (is_field(line, name_len, "event")) {
		set(&p->event, value, len);
	} else if (is_field(line, name_len, "id")) {
		if (!memchr(value, 0, len))
			set(&p->id, value, len);
	} else if (is_field(line, name_len, "retry")) {
		set_retry(p, value, len);
	}
}

/* The end of a line: true when it gives out an event. */
static bool end_line(struct weir__sse_parser *p)
{
	bool event = false;

	if (p->line.len > 0) {
		if (p->line.data[0] != ':')
			take_field(p, p->line.data, p->line.len);
	} else if (p->data.len > 0) {
		p->data.data[--p->data.len] = 0;
		p->dispatched = event = true;
	} else {
		weir__buf_clear(&p->event);
	}
	weir__buf_clear(&p->line);
	return event;
}

/* A comment can be as long as it likes without being kept. */
static void add_to_line(struct weir__sse_parser *p, const char *bytes, size_t n)
{
	if (n == 0 || (p->line.len > 0 && p->line.data[0] == ':'))
		return;
	weir__buf_add(&p->line, bytes, bytes[0] == ':' && p->line.len == 0 ? 1 : n);
}

/* One byte order mark at the very start is no part of the stream: how many bytes of it lie here. */
static size_t take_bom(struct weir__sse_parser *p, const char *bytes, size_t n)
{
	size_t i = 0;

	while (i < n && p->bom < sizeof bom) {
		if (bytes[i] != bom[p->bom]) {
			/* What looked like one belongs to the first line. */
			add_to_line(p, bom, p->bom);
			p->bom = sizeof bom;
			break;
		}
		p->bom++;
		i++;
	}
	return i;
}

static size_t until_line_end(const char *bytes, size_t n)
{
	size_t i = 0;

	while (i < n && bytes[i] != '\n' && bytes[i] != '\r')
		i++;
	return i;
}

static int check(const struct weir__sse_parser *p)
{
	if (p->line.failed || p->data.failed || p->event.failed || p->id.failed)
		return -ENOMEM;
	return p->line.len > WEIR__SSE_MAX || p->data.len > WEIR__SSE_MAX ? -EMSGSIZE : 0;
}

ssize_t weir__sse_feed(struct weir__sse_parser *p, const char *bytes, size_t n, bool *ret_event)
{
	size_t i = take_bom(p, bytes, n);
	bool event = false;

	if (p->dispatched) {
		weir__buf_clear(&p->data);
		weir__buf_clear(&p->event);
		p->dispatched = false;
	}
	while (i < n && !event) {
		size_t len;
		int r;

		if (p->skip_lf && bytes[i] == '\n') {
			p->skip_lf = false;
			i++;
			continue;
		}
		p->skip_lf = false;
		len = until_line_end(bytes + i, n - i);
		add_to_line(p, bytes + i, len);
		i += len;
		r = check(p); /* Before half a line is taken for one. */
		if (r < 0)
			return r;
		if (i < n) {
			p->skip_lf = bytes[i++] == '\r';
			event = end_line(p);
		}
	}
	*ret_event = event;
	return (ssize_t)i;
}
