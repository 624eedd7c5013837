/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/words.h"

void weir__buf_free(struct weir__buf *b)
{
	free(b->data);
	*b = (struct weir__buf)WEIR__BUF_INIT;
}

bool weir__buf_grow(struct weir__buf *b, size_t more)
{
	size_t want, cap = b->cap ? b->cap : 64;
	char *p;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, more, &want) ||
	    __builtin_add_overflow(want, (size_t)1, &want) || want > SIZE_MAX / 2) {
		b->failed = true;
		return false;
	}
	if (want <= b->cap)
		return true;
	while (cap < want)
		cap *= 2;
	p = realloc(b->data, cap);
	if (!p) {
		b->failed = true;
		return false;
	}
	b->data = p;
	b->cap = cap;
	return true;
}

void weir__buf_add(struct weir__buf *b, const void *p, size_t n)
{
	if (!weir__buf_reserve(b, n))
		return;
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = 0;
}

void weir__buf_u64(struct weir__buf *b, uint64_t v)
{
	char text[20];
	size_t at = sizeof text;

	do
		text[--at] = (char)('0' + v % 10);
	while (v /= 10);
	weir__buf_add(b, text + at, sizeof text - at);
}

void weir__buf_vprintf(struct weir__buf *b, const char *fmt, va_list ap)
{
	size_t room = b->cap - b->len; /* with one for the NUL; 0 without memory */
	va_list again;
	int n;

	if (b->failed)
		return;
	va_copy(again, ap);
	n = vsnprintf(room ? b->data + b->len : NULL, room, fmt, again);
	va_end(again);
	if (n < 0)
		b->failed = true;
	if (n < 0 || (size_t)n >= room) {
		if (room)
			b->data[b->len] = 0;
		if (n < 0 || !weir__buf_reserve(b, (size_t)n))
			return;
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	}
	b->len += (size_t)n;
}

void weir__buf_printf(struct weir__buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	weir__buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void weir__buf_consume(struct weir__buf *b, size_t n)
{
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = 0;
}

size_t weir__utf8_len(const unsigned char *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 :
	             p[0] < 0xc2 ? 0 :
	             p[0] < 0xe0 ? 2 :
	             p[0] < 0xf0 ? 3 :
	             p[0] < 0xf5 ? 4 :
	                           0;

	if (len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if (len > 2 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	                (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)))
		return 0;
	return len;
}

bool weir__utf8_valid(const void *data, size_t n)
{
	const unsigned char *p = data;

	for (size_t i = 0, len; i < n; i += len) {
		if (n - i >= 8 && !weir__any_high(weir__word_at(p + i))) {
			len = 8;
			continue;
		}
		len = p[i] < 0x80 ? 1 : weir__utf8_len(p + i, n - i);
		if (!len)
			return false;
	}
	return true;
}

/* What does not stand in a JSON string as it is, for itself. */
static const bool special[256] = {
	[0x00 ... 0x1f] = true, ['"'] = true, ['\\'] = true, [0x7f ... 0xff] = true
};

/* How many bytes from p on are not special. */
static size_t plain_run(const unsigned char *p, size_t n)
{
	size_t len = 0;

	for (; n - len >= 8; len += 8) {
		uint64_t w = weir__word_at(p + len);

		if (weir__any_high(w) || weir__any_below(w, 0x20) || weir__any_is(w, '"') ||
		    weir__any_is(w, '\\') || weir__any_is(w, 0x7f))
			break;
	}
	while (len < n && !special[p[len]])
		len++;
	return len;
}

void weir__buf_json(struct weir__buf *b, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;

	if (!weir__buf_reserve(b, n + 2)) /* What is escaped takes more; hardly anything is. */
		return;
	weir__buf_byte(b, '"');
	for (size_t i = 0, len; i < n; i += len ? len : 1) {
		len = plain_run(p + i, n - i);
		if (len) {
			weir__buf_add(b, p + i, len);
			continue;
		}
		len = weir__utf8_len(p + i, n - i);
		if (!len)
			weir__buf_str(b, "\xef\xbf\xbd");
		else if (p[i] == '"' || p[i] == '\\')
			weir__buf_printf(b, "\\%c", p[i]);
		else if (p[i] == '\n')
			weir__buf_str(b, "\\n");
		else if (p[i] < 0x20 || p[i] == 0x7f)
			weir__buf_printf(b, "\\u%04x", p[i]);
		else
			weir__buf_add(b, p + i, len);
	}
	weir__buf_byte(b, '"');
}
