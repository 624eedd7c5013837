/* SPDX-License-Identifier: MIT */
/*
 * Strict HTTP/1.1 syntax. Two programs that disagree about where a request ends are how requests
 * get smuggled, so whatever RFC 9112 lets a recipient refuse is refused here, and nothing is
 * repaired:
 *
 *  - a line ends in CRLF; a bare CR, a bare LF or a NUL anywhere in the head is a 400;
 *  - no folded lines, no space before the colon, no empty names;
 *  - one Host, whatever the form of the target, and equal to the authority of an absolute target;
 *  - one Content-Length of digits only, or one Transfer-Encoding of exactly "chunked" (else 501),
 *    never both, the latter not in HTTP/1.0; no tab beside either, which llhttp takes for a part of
 *    the value;
 *  - chunk sizes of at most 16 digits, no white space, chunk extensions and trailers bounded, CRLF
 *    after the data.
 *
 * The head is parsed line by line as it arrives, so that what is refused is refused at the line
 * that shows it.
 *
 * Rejected: llhttp for the head. Debian's 8.1 passes folded lines, two Hosts, RTSP's methods and a
 * bare CR, so every line had to be scanned before it anyhow, and then two parsers have to agree
 * about each byte. This one is compared with llhttp by the tests: what is accepted here is accepted
 * there, with the same fields and the same body.
 */
#include "http/h1.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/words.h"

enum { TOKEN = 1, VALUE = 2, TARGET = 4, HOST = 8, HEX = 16 };

/* RFC 9110 §5.6.2 and §5.5, RFC 3986. A target's bytes are looked at again when its path is
 * decoded. */
static uint8_t class_of(unsigned c)
{
	bool alpha = (c | 32) >= 'a' && (c | 32) <= 'z', digit = c >= '0' && c <= '9';
	uint8_t k = 0;

	if (alpha || digit || (c && c < 128 && strchr("!#$%&'*+-.^_`|~", (int)c)))
		k |= TOKEN;
	if (c == '\t' || (c >= 0x20 && c != 0x7f))
		k |= VALUE;
	if (c > 0x20 && c < 0x7f && c != '#')
		k |= TARGET;
	if (alpha || digit || (c && c < 128 && strchr("-._~%!$&'()*+,;=:[]", (int)c)))
		k |= HOST;
	if (digit || ((c | 32) >= 'a' && (c | 32) <= 'f'))
		k |= HEX;
	return k;
}

static uint8_t classes[256];

__attribute__((constructor)) static void fill_classes(void)
{
	for (unsigned c = 0; c < 256; c++)
		classes[c] = class_of(c);
}

static size_t span(const char *s, size_t n, uint8_t class)
{
	size_t i = 0;

	while (i < n && (classes[(unsigned char)s[i]] & class))
		i++;
	return i;
}

bool weir__h1_is_token(const char *s, size_t n)
{
	return n && span(s, n, TOKEN) == n;
}

bool weir__h1_is_value(const char *s, size_t n)
{
	size_t i = 0;

	/* A tab is looked at again by itself. */
	for (; n - i >= 8; i += 8) {
		uint64_t w = weir__word_at(s + i);

		if (weir__any_below(w, 0x20) || weir__any_is(w, 0x7f))
			break;
	}
	return span(s + i, n - i, VALUE) == n - i;
}

void weir__h1_reset(struct weir__h1_head *h)
{
	size_t max = h->max;
	unsigned fields_max = h->fields_max;
	struct weir__h1_field *fields = h->fields;

	*h = (struct weir__h1_head){ .max = max, .fields_max = fields_max, .fields = fields };
}

static bool is(const char *s, size_t n, const char *lower, size_t lower_len)
{
	return n == lower_len && strncasecmp(s, lower, n) == 0;
}
#define IS(s, n, text) is((s), (n), (text), sizeof(text) - 1)

/* The next element of a comma-separated list, without the white space around it; false at the
 * end. */
static bool next_element(const char **at, const char *end, const char **ret, size_t *ret_len)
{
	const char *p = *at, *stop;

	if (!p)
		return false;
	stop = memchr(p, ',', (size_t)(end - p));
	*at = stop ? stop + 1 : NULL;
	if (!stop)
		stop = end;
	while (p < stop && (*p == ' ' || *p == '\t'))
		p++;
	while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
		stop--;
	*ret = p;
	*ret_len = (size_t)(stop - p);
	return true;
}

static int content_length(struct weir__h1_head *h, const char *v, size_t n)
{
	uint64_t length = 0;

	if (h->sized || n == 0)
		return -400;
	for (size_t i = 0; i < n; i++) {
		if (v[i] < '0' || v[i] > '9')
			return -400;
		if (__builtin_mul_overflow(length, (uint64_t)10, &length) ||
		    __builtin_add_overflow(length, (uint64_t)(v[i] - '0'), &length) ||
		    length > INT64_MAX)
			return -400;
	}
	h->sized = true;
	h->length = length;
	return 0;
}

/* RFC 9112 §6.1: chunked must be the last coding, and once; other codings are not implemented. */
static int transfer_encoding(struct weir__h1_head *h, const char *v, size_t n)
{
	const char *at = v, *e;
	size_t len, chunked = 0, others = 0;
	bool last = false;

	if (h->te_seen)
		return -400;
	h->te_seen = true;
	if (IS(v, n, "chunked")) {
		h->chunked = true;
		return 0;
	}
	while (next_element(&at, v + n, &e, &len)) {
		last = IS(e, len, "chunked");
		if (last)
			chunked++;
		else if (weir__h1_is_token(e, strcspn(e, " \t;,\r") < len ? strcspn(e, " \t;,\r") :
		                                                            len))
			others++;
		else
			return -400;
	}
	if (chunked > 1 || (chunked && !last))
		return -400;
	return others ? -501 : -400;
}

static int connection(struct weir__h1_head *h, const char *v, size_t n)
{
	const char *at = v, *e;
	size_t len;

	while (next_element(&at, v + n, &e, &len)) {
		if (IS(e, len, "close"))
			h->close_seen = true;
		else if (IS(e, len, "keep-alive"))
			h->keep_seen = true;
		else if (len && !weir__h1_is_token(e, len))
			return -400;
	}
	return 0;
}

/* The fields that decide where the request ends and who may read it. `tab`: there is one in or
 * beside the value. */
static int framing(struct weir__h1_head *h, const struct weir__h1_field *f, bool tab)
{
	const char *v = f->value;
	size_t n = f->value_len;

	switch (f->name_len) {
	case 4:
		if (!IS(f->name, 4, "host"))
			return 0;
		if (h->host || span(v, n, HOST) != n)
			return -400;
		h->host = v;
		h->host_len = n;
		return 0;
	case 6:
		if (!IS(f->name, 6, "expect"))
			return 0;
		if (!IS(v, n, "100-continue"))
			return -417;
		h->expect = true;
		return 0;
	case 10:
		return IS(f->name, 10, "connection") ? connection(h, v, n) : 0;
	case 14:
		if (!IS(f->name, 14, "content-length"))
			return 0;
		return tab ? -400 : content_length(h, v, n);
	case 17:
		if (!IS(f->name, 17, "transfer-encoding"))
			return 0;
		return tab ? -400 : transfer_encoding(h, v, n);
	default:
		return 0;
	}
}

/* May this be the length of the name of a field that says how long the body is? */
static bool is_framing(size_t name_len)
{
	return name_len == sizeof "content-length" - 1 ||
	       name_len == sizeof "transfer-encoding" - 1;
}

/* Three words of which none is HTTP's: no form of a target (RFC 9112 §3.2), and no version. */
static bool is_foreign(const char *target, size_t t, const char *version, size_t v)
{
	return target[0] != '/' && target[0] != '*' && !memchr(target, ':', t) &&
	       !memchr(version, '/', v);
}

static int request_line(struct weir__h1_head *h, char *p, size_t n)
{
	size_t m = span(p, n < WEIR__H1_METHOD_MAX + 1 ? n : WEIR__H1_METHOD_MAX + 1, TOKEN), t;
	char *v;

	if (n > WEIR__H1_LINE_MAX)
		return -414;
	if (m == 0 || m > WEIR__H1_METHOD_MAX || m >= n || p[m] != ' ')
		return -400;
	h->method = p;
	h->method_len = m;
	h->target = p + m + 1;
	t = span(h->target, n - m - 1, TARGET);
	if (t == 0 || m + 1 + t >= n || h->target[t] != ' ')
		return -400;
	h->target_len = t;
	v = h->target + t + 1;
	if (is_foreign(h->target, t, v, n - (size_t)(v - p)))
		return -WEIR__H1_FOREIGN;
	if (n - (size_t)(v - p) != 8 || memcmp(v, "HTTP/", 5) != 0 || v[5] < '0' || v[5] > '9' ||
	    v[6] != '.' || v[7] < '0' || v[7] > '9')
		return -400;
	if (v[5] != '1')
		return -505;
	h->minor = v[7] == '0' ? 0 : 1;
	h->method[m] = 0;
	h->target[t] = 0;
	return 0;
}

static int field_line(struct weir__h1_head *h, char *p, size_t n)
{
	size_t name = span(p, n, TOKEN), from, to = n;
	struct weir__h1_field *f;
	bool tab;

	if (name == 0 || name == n || p[name] != ':')
		return -400;
	if (h->count >= h->fields_max)
		return -431;
	for (from = name + 1; from < to && (p[from] == ' ' || p[from] == '\t'); from++)
		;
	while (to > from && (p[to - 1] == ' ' || p[to - 1] == '\t'))
		to--;
	if (!weir__h1_is_value(p + from, to - from))
		return -400;
	tab = is_framing(name) && memchr(p + name, '\t', n - name);
	f = weir__h1_add(
		h, (struct weir__h1_field){ p, p + from, (uint32_t)name, (uint32_t)(to - from) });
	p[name] = 0;
	p[to] = 0; /* At the latest the CR. */
	return framing(h, f, tab);
}

/* RFC 9112 §3.2: which resource is meant. */
static int resolve_target(struct weir__h1_head *h)
{
	char *t = h->target, *end = t + h->target_len, *q;
	size_t scheme = *t == '/'                          ? 0 :
	                strncasecmp(t, "http://", 7) == 0  ? 7 :
	                strncasecmp(t, "https://", 8) == 0 ? 8 :
	                                                     0;

	if ((*h->method == 'C' && !strcmp(h->method, "CONNECT")) ||
	    (*h->method == 'T' && !strcmp(h->method, "TRACE")))
		return -501;
	if (*t == '*' && !t[1]) {
		h->star = true;
		h->path = t;
		return strcmp(h->method, "OPTIONS") == 0 ? 0 : -400;
	}
	if (scheme) {
		size_t authority = span(t + scheme, (size_t)(end - t) - scheme, HOST);

		t += scheme;
		if (authority == 0 || (t[authority] && t[authority] != '/' && t[authority] != '?'))
			return -400;
		if (h->host &&
		    (h->host_len != authority || strncasecmp(h->host, t, authority) != 0))
			return -400;
		t += authority;
	} else if (*t != '/') {
		return -400;
	}
	q = memchr(t, '?', (size_t)(end - t));
	h->path = t;
	h->path_len = (size_t)((q ? q : end) - t);
	if (q) {
		h->query = q + 1;
		h->query_len = (size_t)(end - h->query);
	}
	return 0;
}

static int finish(struct weir__h1_head *h)
{
	if (h->minor == 0 && h->te_seen)
		return -400; /* RFC 9112 §6.1: the framing is to be taken for faulty. */
	if (h->te_seen && h->sized)
		return -400;
	if (h->minor == 1 && !h->host)
		return -400;
	if (h->minor == 0)
		h->expect = false;
	h->keep = !h->close_seen && (h->minor == 1 || h->keep_seen);
	return resolve_target(h);
}

/* No line is complete: may it still become one? */
static ssize_t unfinished(const struct weir__h1_head *h, const char *buf, size_t len)
{
	const char *p = buf + h->line;
	size_t n = len - h->line;

	if (!h->method) {
		size_t m =
			span(p, n < WEIR__H1_METHOD_MAX + 1 ? n : WEIR__H1_METHOD_MAX + 1, TOKEN);

		if (n > WEIR__H1_LINE_MAX + 1 || len > h->max)
			return -414;
		if (m == n || p[0] == '\r')
			return m > WEIR__H1_METHOD_MAX ? -400 : 0;
		return m > 0 && p[m] == ' ' ? 0 : -400; /* So that a TLS hello is not waited for. */
	}
	return len > h->max ? -431 : 0;
}

ssize_t weir__h1_head(struct weir__h1_head *h, char *buf, size_t len)
{
	for (;;) {
		char *nl = memchr(buf + h->seen, '\n', len - h->seen), *p = buf + h->line;
		size_t n;
		int r;

		if (!nl) {
			h->seen = len;
			return unfinished(h, buf, len);
		}
		h->seen = (size_t)(nl - buf) + 1;
		if (nl == p || nl[-1] != '\r')
			return -400;
		n = (size_t)(nl - 1 - p);
		if (h->seen > h->max)
			return h->method ? -431 : -414;
		h->line = h->seen;
		if (n == 0 && h->method) {
			r = finish(h);
			return r < 0 ? r : (ssize_t)h->line;
		}
		if (n == 0) {
			if (h->blank)
				return -400;
			h->blank = true;
			continue;
		}
		r = h->method ? field_line(h, p, n) : request_line(h, p, n);
		if (r < 0)
			return r;
	}
}

int weir__h1_assemble(struct weir__h1_head *h)
{
	int r;

	if (h->method_len > WEIR__H1_METHOD_MAX || !weir__h1_is_token(h->method, h->method_len))
		return -400;
	if (h->target_len > WEIR__H1_LINE_MAX)
		return -414;
	if (!h->target_len || span(h->target, h->target_len, TARGET) != h->target_len)
		return -400;
	for (unsigned i = 0; i < h->count; i++) {
		r = framing(h, &h->fields[i],
		            is_framing(h->fields[i].name_len) &&
		                    memchr(h->fields[i].value, '\t', h->fields[i].value_len));
		if (r < 0)
			return r;
	}
	if (h->te_seen)
		return -400;
	h->minor = 1;
	h->keep = true;
	return resolve_target(h);
}

const char *weir__h1_get(const struct weir__h1_head *h, const char *name)
{
	size_t n = strlen(name);

	/* Most of what is asked for is not there. */
	if (!(h->lengths & weir__h1_length_bit(n)))
		return NULL;
	for (unsigned i = 0; i < h->count; i++)
		if (is(h->fields[i].name, h->fields[i].name_len, name, n))
			return h->fields[i].value;
	return NULL;
}

/* ---- chunks ---- */

enum {
	SIZE,
	EXT,
	EXT_NAME,
	EXT_VALUE,
	EXT_TOKEN,
	QUOTED,
	EXT_END,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	LINE,
	NAME,
	FIELD,
	FIELD_LF,
	LAST_LF
};

static unsigned hex(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10);
}

/* One byte of framing. False when the coding is broken. */
static bool step(struct weir__h1_chunks *d, char c)
{
	uint8_t k = classes[(unsigned char)c];

	if (d->state >= EXT && d->state < SIZE_LF && ++d->ext > WEIR__H1_EXT_MAX)
		return false;
	if (d->state >= LINE && ++d->trailer > WEIR__H1_TRAILER_MAX)
		return false;
	switch (d->state) {
	case SIZE:
		if (k & HEX) {
			d->left = d->left << 4 | hex(c);
			return ++d->digits <= 16 && d->left <= INT64_MAX;
		}
		d->state = c == ';' ? EXT : SIZE_LF;
		return d->digits && (c == ';' || c == '\r');
	case EXT: /* chunk-ext-name ["=" (token | quoted-string)], white space is "bad" by the RFC's own word */
	case EXT_VALUE:
		if (d->state == EXT_VALUE && c == '"')
			d->state = QUOTED;
		else
			d->state = d->state == EXT ? EXT_NAME : EXT_TOKEN;
		return d->state == QUOTED || (k & TOKEN);
	case EXT_NAME:
	case EXT_TOKEN:
	case EXT_END:
		if (d->state != EXT_END && (k & TOKEN))
			return true;
		if (d->state == EXT_NAME && c == '=')
			d->state = EXT_VALUE;
		else
			d->state = c == ';' ? EXT : SIZE_LF;
		return c == ';' || c == '\r' || d->state == EXT_VALUE;
	case QUOTED:
		if (c == '"')
			d->state = EXT_END;
		return (k & VALUE) && c != '\\';
	case SIZE_LF:
		d->digits = 0;
		d->state = d->left ? DATA : LINE;
		return c == '\n';
	case DATA_CR:
		d->state = DATA_LF;
		return c == '\r';
	case DATA_LF:
		d->state = SIZE;
		return c == '\n';
	case LINE:
		d->state = c == '\r' ? LAST_LF : NAME;
		return c == '\r' || (k & TOKEN);
	case NAME:
		if (c == ':')
			d->state = FIELD;
		return c == ':' || (k & TOKEN);
	case FIELD:
		if (c == '\r')
			d->state = FIELD_LF;
		return c == '\r' || (k & VALUE);
	case FIELD_LF:
		d->state = LINE;
		return c == '\n';
	default:
		d->done = true;
		return c == '\n';
	}
}

ssize_t weir__h1_unchunk(struct weir__h1_chunks *d, const char *in, size_t n, size_t *ret_used,
                         char *out, size_t cap)
{
	size_t used = 0, made = 0;

	while (used < n && !d->done) {
		if (d->state == DATA) {
			size_t take = n - used;

			if (take > d->left)
				take = (size_t)d->left;
			if (take > cap - made)
				take = cap - made;
			if (take)
				memcpy(out + made, in + used, take);
			used += take;
			made += take;
			d->left -= take;
			if (d->left && used < n)
				break;
			if (!d->left)
				d->state = DATA_CR;
			continue;
		}
		if (!step(d, in[used++]))
			return -EBADMSG;
	}
	*ret_used = used;
	return (ssize_t)made;
}
