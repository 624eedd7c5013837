/* SPDX-License-Identifier: MIT */
#include "http/path.h"

#include <stdbool.h>
#include <string.h>

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (c | 32) - 'a' + 10;
	return -1;
}

/* Does it stand for itself, byte for byte? */
static bool is_plain(const char *raw, size_t n, int plus)
{
	return !memchr(raw, '%', n) && !memchr(raw, 0, n) && !(plus && memchr(raw, '+', n));
}

static size_t take_over(const char *raw, size_t n, char *out)
{
	memcpy(out, raw, n);
	out[n] = 0;
	return n;
}

ssize_t weir__unescape(const char *raw, size_t n, char *out, int plus)
{
	size_t made = 0;

	if (is_plain(raw, n, plus))
		return (ssize_t)take_over(raw, n, out);
	for (size_t i = 0; i < n; i++) {
		int c = (unsigned char)raw[i];

		if (c == '%') {
			int high = n - i > 2 ? hex(raw[i + 1]) : -1,
			    low = n - i > 2 ? hex(raw[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -400;
			c = high << 4 | low;
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c == 0)
			return -400;
		out[made++] = (char)c;
	}
	out[made] = 0;
	return (ssize_t)made;
}

/* In the text the slash of "..%2F" is as any other, and so whoever opens what {path...} names would
 * climb. */
static bool climbs(const char *s)
{
	for (const char *end; (end = strchrnul(s, '/')); s = end + 1) {
		size_t n = (size_t)(end - s);

		if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
			return true;
		if (!*end)
			return false;
	}
	return false;
}

int weir__path_parse(struct weir__path *p, const char *raw, size_t n, char *out)
{
	const char *at = raw, *end = raw + n;
	bool plain = is_plain(raw, n, 0);
	size_t len = 0;

	p->text = out;
	p->count = 0;
	while (at < end) {
		const char *from = at + 1, *stop = memchr(from, '/', (size_t)(end - from));
		ssize_t made;
		size_t dots;

		if (!stop)
			stop = end;
		at = stop;
		if (p->count == WEIR__PATH_SEGMENTS)
			return -414;
		out[len] = '/';
		if (plain)
			made = (ssize_t)take_over(from, (size_t)(stop - from), out + len + 1);
		else
			made = weir__unescape(from, (size_t)(stop - from), out + len + 1, 0);
		if (made < 0)
			return (int)made;
		if (!plain && memchr(out + len + 1, '/', (size_t)made) && climbs(out + len + 1))
			return -400;
		dots = made > 0 && made <= 2 && out[len + 1] == '.' ? strspn(out + len + 1, ".") :
		                                                      0;
		if (dots == 0 || dots != (size_t)made) {
			p->segment[p->count].at = (uint32_t)len + 1;
			p->segment[p->count++].len = (uint32_t)made;
			len += (size_t)made + 1;
			continue;
		}
		if (dots == 2) {
			if (p->count == 0)
				return -400;
			len = p->segment[--p->count].at - 1;
		}
		if (at == end) { /* "/a/." names the directory, as "/a/" does. */
			out[len++] = '/';
			p->segment[p->count].at = (uint32_t)len;
			p->segment[p->count++].len = 0;
		}
	}
	out[len] = 0;
	p->len = len;
	return 0;
}
