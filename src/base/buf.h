/* SPDX-License-Identifier: MIT */
/*
 * A growing byte buffer. Invariants: data is NUL-terminated once anything was added, len < cap or
 * both are 0, and a failed growth marks the buffer `failed` and drops what follows, so that one
 * check at the end is enough.
 */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct weir__buf {
	char *data;
	size_t len, cap;
	bool failed;
};

#define WEIR__BUF_INIT            \
	{                         \
		NULL, 0, 0, false \
	}

void weir__buf_free(struct weir__buf *b); /* and reset to empty */
static inline void weir__buf_clear(struct weir__buf *b)
{
	b->len = 0;
	b->failed = false;
}
bool weir__buf_grow(struct weir__buf *b, size_t more); /* reserve's, when there is no room yet */
/* room for `more` bytes and a NUL */
static inline bool weir__buf_reserve(struct weir__buf *b, size_t more)
{
	return (more < b->cap - b->len && !b->failed) || weir__buf_grow(b, more);
}
void weir__buf_add(struct weir__buf *b, const void *p, size_t n);
static inline void weir__buf_str(struct weir__buf *b, const char *s)
{
	weir__buf_add(b, s, strlen(s));
}
static inline void weir__buf_byte(struct weir__buf *b, char c)
{
	if (!weir__buf_reserve(b, 1))
		return;
	b->data[b->len++] = c;
	b->data[b->len] = 0;
}
void weir__buf_u64(struct weir__buf *b, uint64_t v); /* in decimal */
void weir__buf_printf(struct weir__buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void weir__buf_vprintf(struct weir__buf *b, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
void weir__buf_consume(struct weir__buf *b, size_t n); /* drop the first n bytes */
/* as a quoted JSON string; invalid UTF-8 becomes U+FFFD */
void weir__buf_json(struct weir__buf *b, const char *s, size_t n);
/* the length of the UTF-8 sequence at p, of n > 0 bytes, or 0 if it is none */
size_t weir__utf8_len(const unsigned char *p, size_t n);
/* is it UTF-8 throughout (RFC 3629 §4)? */
bool weir__utf8_valid(const void *p, size_t n);

#endif
