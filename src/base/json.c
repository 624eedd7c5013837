/* SPDX-License-Identifier: MIT */
/* A decoded text is never longer than its source, so it is written over it. */
#include "base/json.h"

#include <errno.h>
#include <string.h>

enum { DEPTH_MAX = 17 };

struct reader {
	char *at, *end;
	weir__json_fn *fn;
	void *arg;
	bool inside; /* what is in inner objects and lists is told too */
};

static void skip_space(struct reader *r)
{
	while (r->at < r->end &&
	       (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n'))
		r->at++;
}

static bool take(struct reader *r, char c)
{
	skip_space(r);
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

static bool take_word(struct reader *r, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n))
		return false;
	r->at += n;
	return true;
}

static int hex4(const char *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int d = c >= '0' && c <= '9' ? c - '0' :
		        c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		        c >= 'A' && c <= 'F' ? c - 'A' + 10 :
		                               -1;

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

static char *put_utf8(char *to, int v)
{
	if (v < 0x80) {
		*to++ = (char)v;
	} else if (v < 0x800) {
		*to++ = (char)(0xc0 | v >> 6);
		*to++ = (char)(0x80 | (v & 63));
	} else if (v < 0x10000) {
		*to++ = (char)(0xe0 | v >> 12);
		*to++ = (char)(0x80 | (v >> 6 & 63));
		*to++ = (char)(0x80 | (v & 63));
	} else {
		*to++ = (char)(0xf0 | v >> 18);
		*to++ = (char)(0x80 | (v >> 12 & 63));
		*to++ = (char)(0x80 | (v >> 6 & 63));
		*to++ = (char)(0x80 | (v & 63));
	}
	return to;
}

/* Behind "\u". A lone half of a pair becomes U+FFFD. */
static char *unescape_unicode(struct reader *r, char *to)
{
	int v = r->end - r->at >= 4 ? hex4(r->at) : -1, low;

	if (v <= 0)
		return NULL;
	r->at += 4;
	if (v >= 0xd800 && v < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' &&
	    r->at[1] == 'u') {
		low = hex4(r->at + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			r->at += 6;
			return put_utf8(to, 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00));
		}
	}
	return put_utf8(to, v >= 0xd800 && v < 0xe000 ? 0xfffd : v);
}

/* Behind the backslash; NULL for what is no escape. */
static char *unescape(struct reader *r, char *to)
{
	static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
	char c = *r->at++;
	const char *known;

	if (c == 'u')
		return unescape_unicode(r, to);
	known = c ? strchr(from, c) : NULL;
	if (!known)
		return NULL;
	*to++ = into[known - from];
	return to;
}

static const char *read_text(struct reader *r)
{
	char *start, *to;

	if (!take(r, '"'))
		return NULL;
	start = to = r->at;
	while (r->at < r->end) {
		char c = *r->at++;

		if (c == '"') {
			*to = 0;
			return start;
		}
		if ((unsigned char)c < 0x20)
			return NULL;
		if (c != '\\') {
			*to++ = c;
			continue;
		}
		if (r->at == r->end)
			return NULL;
		to = unescape(r, to);
		if (!to)
			return NULL;
	}
	return NULL;
}

static bool digits(struct reader *r)
{
	char *start = r->at;

	while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
		r->at++;
	return r->at > start;
}

static bool read_number(struct reader *r, int64_t *ret)
{
	bool minus = r->at < r->end && *r->at == '-';
	char *start;

	r->at += minus;
	start = r->at;
	if (!digits(r) || (*start == '0' && r->at - start > 1))
		return false;
	*ret = 0;
	for (char *p = start; p < r->at; p++)
		if (__builtin_mul_overflow(*ret, (int64_t)10, ret) ||
		    __builtin_sub_overflow(*ret, (int64_t)(*p - '0'), ret)) {
			*ret = INT64_MIN;
			break;
		}
	if (!minus)
		*ret = *ret == INT64_MIN ? INT64_MAX : -*ret;
	if (r->at < r->end && *r->at == '.') {
		r->at++;
		if (!digits(r))
			return false;
	}
	if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
		r->at++;
		if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
			r->at++;
		return digits(r);
	}
	return true;
}

static bool read_plain(struct reader *r, struct weir__json_member *m)
{
	m->text = NULL;
	switch (*r->at) {
	case '"':
		m->kind = WEIR__JSON_TEXT;
		m->text = read_text(r);
		return m->text != NULL;
	case 't':
	case 'f':
		m->kind = WEIR__JSON_BOOL;
		m->yes = *r->at == 't';
		return take_word(r, m->yes ? "true" : "false");
	case 'n':
		m->kind = WEIR__JSON_NULL;
		return take_word(r, "null");
	default:
		m->kind = WEIR__JSON_NUMBER;
		return read_number(r, &m->number);
	}
}

static void tell(struct reader *r, const struct weir__json_member *m)
{
	if (m->depth && (r->inside || m->depth == 1))
		r->fn(m, r->arg);
}

/* A value and all that is in it. */
static bool read_tree(struct reader *r)
{
	char closes[DEPTH_MAX];
	const char *key = NULL;
	unsigned depth = 0;
	bool opened;

	do {
		struct weir__json_member m = { .key = key, .depth = depth };

		skip_space(r);
		if (r->at == r->end)
			return false;
		opened = *r->at == '{' || *r->at == '[';
		if (opened) {
			if (depth == DEPTH_MAX)
				return false;
			m.kind = WEIR__JSON_OTHER;
			closes[depth++] = *r->at++ == '{' ? '}' : ']';
		} else if (!read_plain(r, &m)) {
			return false;
		}
		tell(r, &m);
		while (depth && take(r, closes[depth - 1])) {
			opened = false;
			m = (struct weir__json_member){ .kind = WEIR__JSON_END, .depth = --depth };
			if (r->inside)
				tell(r, &m);
		}
		if (depth && !opened && !take(r, ','))
			return false;
		key = NULL;
		if (depth && closes[depth - 1] == '}') {
			key = read_text(r);
			if (!key || !take(r, ':'))
				return false;
		}
	} while (depth);
	return true;
}

static int walk(struct reader r)
{
	skip_space(&r);
	if (r.at == r.end || *r.at != '{' || !read_tree(&r))
		return -EINVAL;
	skip_space(&r);
	return r.at == r.end ? 0 : -EINVAL;
}

int weir__json_object(char *text, size_t n, weir__json_fn *fn, void *arg)
{
	return walk((struct reader){ text, text + n, fn, arg, false });
}

int weir__json_walk(char *text, size_t n, weir__json_fn *fn, void *arg)
{
	return walk((struct reader){ text, text + n, fn, arg, true });
}
