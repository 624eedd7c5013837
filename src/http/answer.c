/* SPDX-License-Identifier: MIT */
/*
 * The answer: collected while it is small, so that most answers are one write with a
 * Content-Length; chunked (or, to HTTP/1.0, ended by the connection's end) once it is flushed or
 * outgrows the block's buffer. HEAD, 204 and 304 run the same way and leave the body out.
 *
 * Who claims the first byte owns the head. After the handler limit has claimed it, every call here
 * returns -ETIMEDOUT.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "http/h2_server.h"
#include "http/server.h"

enum {
	SMALL = 512
}; /* so small a body is copied behind its head, since one piece is cheaper to send than two */

/* ---- bytes ---- */

bool weir__answer_claim(weir_http *x)
{
	uint32_t *word = &x->stream->claim,
		 was = __atomic_load_n(word, __ATOMIC_RELAXED) & ~(uint32_t)WEIR__CLAIM_MASK;

	weir__point();
	return __atomic_compare_exchange_n(word, &was, was | WEIR__HANDLER, false, __ATOMIC_ACQ_REL,
	                                   __ATOMIC_ACQUIRE) ||
	       (was & WEIR__CLAIM_MASK) == WEIR__HANDLER;
}

static bool too_late(const weir_http *x)
{
	return weir__answer_owner(x->stream) == WEIR__LIMIT;
}

/* What ends a call that writes before it does anything. */
static int check(const weir_ctx *ctx, const weir_http *x, const char *call)
{
	int r;

	weir__http_live(x, call);
	r = weir__wait_check(ctx);
	if (too_late(x))
		return -ETIMEDOUT;
	return x->broken ? -EPIPE : r;
}

/* Sends all, some bytes in each write_ns. What can leave at once leaves whatever the context
 * says. */
int weir__http_send(const weir_ctx *ctx, weir_http *x, struct iovec *iov, int n)
{
	weir_conn *io = x->conn->io;
	int64_t limit = x->limits->write_ns;
	ssize_t r = weir__conn_try_writev(io, iov, n);

	for (;;) {
		weir_ctx soon;

		if (r > 0) {
			weir__stat_add(x->conn->worker, bytes_out, (uint64_t)r);
			for (; n && (size_t)r >= iov->iov_len; iov++, n--)
				r -= (ssize_t)iov->iov_len;
			if (!n)
				return 0;
			iov->iov_base = (char *)iov->iov_base + r;
			iov->iov_len -= (size_t)r;
		} else if (r != -EAGAIN) {
			break;
		}
		soon = limit == WEIR_NEVER ? *ctx : weir_ctx_timeout(ctx, limit);
		r = weir__conn_writev_some(&soon, io, iov, n);
	}
	x->broken = true;
	if (r == -ETIMEDOUT && weir_ctx_left(ctx) > 0)
		weir__stat_add(x->conn->worker, timeouts, 1);
	return (int)r;
}

size_t weir__chunk_head(char out[WEIR__CHUNK_HEAD], size_t n)
{
	static const char hex[] = "0123456789abcdef";
	char text[16];
	size_t len = 0, at = 0;

	do
		text[len++] = hex[n & 15];
	while (n >>= 4);
	while (len)
		out[at++] = text[--len];
	out[at++] = '\r';
	out[at++] = '\n';
	return at;
}

/* ---- the head ---- */

bool weir__answer_silent(const weir_http *x)
{
	return x->no_body || x->status == 204 || x->status == 304;
}

static char *put(char *p, const char *s, size_t n)
{
	memcpy(p, s, n);
	return p + n;
}
#define PUT(p, text) put((p), (text), sizeof(text) - 1)

char *weir__put_number(char *p, uint64_t v)
{
	char text[20];
	size_t n = 0;

	do
		text[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*p++ = text[--n];
	return p;
}

/* length < 0: unknown. NULL without memory. Behind the head is room for SMALL bytes. */
static char *compose(weir_http *x, int64_t length, size_t *ret_len)
{
	const char *reason = weir_http_reason(x->status);
	size_t reason_len = strlen(reason), size = 256 + reason_len + SMALL;
	char *head, *p;

	for (struct weir__out_field *f = x->fields; f; f = f->next)
		size += f->name_len + f->value_len + 4;
	head = weir_http_alloc(x, size);
	if (!head)
		return NULL;
	p = PUT(head, "HTTP/1.1 ");
	*p++ = (char)('0' + x->status / 100);
	*p++ = (char)('0' + x->status / 10 % 10);
	*p++ = (char)('0' + x->status % 10);
	*p++ = ' ';
	p = put(p, reason, reason_len);
	p = PUT(p, "\r\nDate: ");
	p = put(p, weir__http_date(x->conn->worker), 29);
	if (!x->has_type && length != 0 && x->status != 204 && x->status != 304)
		p = PUT(p, "\r\nContent-Type: text/plain; charset=utf-8");
	for (struct weir__out_field *f = x->fields; f; f = f->next) {
		p = PUT(p, "\r\n");
		p = put(p, f->name, f->name_len);
		p = PUT(p, ": ");
		p = put(p, f->value, f->value_len);
	}
	if (length >= 0 && x->status != 204 && x->status != 304) {
		p = PUT(p, "\r\nContent-Length: ");
		p = weir__put_number(p, (uint64_t)length);
	}
	if (x->chunked)
		p = PUT(p, "\r\nTransfer-Encoding: chunked");
	if (x->close)
		p = PUT(p, "\r\nConnection: close");
	else if (x->head.minor == 0)
		p = PUT(p, "\r\nConnection: keep-alive");
	p = PUT(p, "\r\n\r\n");
	*ret_len = (size_t)(p - head);
	return head;
}

/* Claims the first byte and decides how the body is framed and whether the connection goes on. */
static int begin(weir_http *x, bool last, size_t total, struct iovec *ret)
{
	struct weir__http_conn *c = x->conn;
	int64_t length = -1;
	char *head;
	size_t len;
	bool more;

	if (!weir__answer_claim(x))
		return -ETIMEDOUT;
	if (x->sized)
		length = (int64_t)x->length;
	else if (last)
		length = (int64_t)(x->no_body ? x->sent : total);
	else if (!weir__answer_silent(x))
		x->chunked = x->head.minor == 1;
	/* Leaving, the last of those requests that are here already tells the client to go. */
	more = x->body_done && x->stream->block->in_pos < x->stream->block->in_len;
	if ((c->draining || __atomic_load_n(&c->server->goodbye, __ATOMIC_RELAXED)) && !more &&
	    !c->kept)
		x->close = true;
	if (length < 0 && !x->chunked && !weir__answer_silent(x))
		x->close = true;
	/* A client that waits for 100 may or may not send its body now; a long one is not worth
	 * reading. */
	if (!x->body_done && (x->wants_continue || x->body_left > WEIR__HTTP_DISCARD))
		x->close = true;
	head = compose(x, length, &len);
	if (!head) {
		x->broken = true;
		return -ENOMEM;
	}
	x->head_sent = true;
	weir__stat_add(c->worker, status[x->status / 100], 1);
	*ret = (struct iovec){ head, len };
	return 0;
}

/* Sends what was collected and n bytes more, and the head before if it has not left; last: the body
 * ends here. */
static int push(const weir_ctx *ctx, weir_http *x, const void *data, size_t n, bool last)
{
	char line[WEIR__CHUNK_HEAD];
	size_t total = x->out_len + n;
	struct iovec iov[5];
	int count = 0, r;

	if (x->stream->h2)
		return weir__h2_push(ctx, x, data, n, last);
	if (!x->head_sent) {
		r = begin(x, last, total, &iov[0]);
		if (r < 0)
			return r;
		count = 1;
	}
	if (count && !x->chunked && !weir__answer_silent(x) && !n && x->out_len <= SMALL) {
		memcpy((char *)iov[0].iov_base + iov[0].iov_len, x->stream->block->out, x->out_len);
		iov[0].iov_len += x->out_len;
	} else if (!weir__answer_silent(x)) {
		if (x->chunked && total)
			iov[count++] = (struct iovec){ line, weir__chunk_head(line, total) };
		if (x->out_len)
			iov[count++] = (struct iovec){ x->stream->block->out, x->out_len };
		if (n)
			iov[count++] = (struct iovec){ (void *)data, n };
		if (x->chunked && last)
			iov[count++] = (struct iovec){ total ? "\r\n0\r\n\r\n" : "0\r\n\r\n",
				                       total ? 7 : 5 };
		else if (x->chunked && total)
			iov[count++] = (struct iovec){ "\r\n", 2 };
	}
	x->out_len = 0;
	return count ? weir__http_send(ctx, x, iov, count) : 0;
}

int weir__answer_finish(const weir_ctx *ctx, weir_http *x)
{
	if (x->sized && !weir__answer_silent(x) && x->sent != x->length) {
		weir__log_rare(WEIR__ERROR, "http",
		               "route \"%s\" set content-length %llu and wrote %llu bytes",
		               x->route ? x->route->pattern : "none", (unsigned long long)x->length,
		               (unsigned long long)x->sent);
		if (x->head_sent)
			return -ECANCELED;
		weir__answer_forget(x);
		return weir__answer_error(ctx, x, 500, NULL);
	}
	return push(ctx, x, NULL, 0, true);
}

/* ---- for handlers ---- */

int weir_http_status(weir_http *x, int status)
{
	weir__http_live(x, __func__);
	if (x->head_sent || too_late(x))
		return -EALREADY;
	if (status < 200 || status > 599)
		return -EINVAL;
	x->status = status;
	return 0;
}

static int set_length(weir_http *x, const char *value)
{
	uint64_t v = 0;

	for (const char *p = value; *p || p == value; p++)
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v) || v > INT64_MAX)
			return -EINVAL;
	/* Else more would leave than was announced, and the client take the rest for the next
	 * answer. */
	if (v < x->sent && !x->no_body)
		return -EINVAL;
	x->sized = true;
	x->length = v;
	return 0;
}

static void unset(weir_http *x, const char *name, size_t n)
{
	struct weir__out_field **at = &x->fields, *f;

	while ((f = *at)) {
		if (f->name_len == n && strncasecmp(f->name, name, n) == 0)
			*at = f->next;
		else
			at = &f->next;
	}
	x->fields_last = at;
}

struct weir__out_field *weir__out_field(weir_http *x, const char *name, const char *value)
{
	size_t name_len = strlen(name), value_len = strlen(value);
	struct weir__out_field *f = weir_http_alloc(x, sizeof *f + name_len + value_len + 2);
	char *text;

	if (!f)
		return NULL;
	text = (char *)(f + 1);
	*f = (struct weir__out_field){ .name = text,
		                       .value = text + name_len + 1,
		                       .name_len = name_len,
		                       .value_len = value_len };
	memcpy(text, name, name_len + 1);
	memcpy(text + name_len + 1, value, value_len + 1);
	for (char *p = text; x->stream->h2 && *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p | 32);
	return f;
}

static int add_field(weir_http *x, const char *name, const char *value, bool replace)
{
	size_t name_len = strlen(name), value_len = strlen(value);
	struct weir__out_field *f;

	if (x->head_sent || too_late(x))
		return -EALREADY;
	if (!weir__h1_is_token(name, name_len) || !weir__h1_is_value(value, value_len))
		return -EINVAL;
	switch (name_len) {
	case 14:
		if (!strcasecmp(name, "content-length"))
			return set_length(x, value);
		break;
	case 10:
		if (strcasecmp(name, "connection") != 0)
			break;
		if (strcasecmp(value, "close") != 0)
			return -EINVAL;
		x->close = true;
		return 0;
	case 4:
	case 17:
		if (!strcasecmp(name, "transfer-encoding") || !strcasecmp(name, "date"))
			return -EINVAL;
		break;
	}
	f = weir__out_field(x, name, value);
	if (!f)
		return -ENOMEM;
	if (replace)
		unset(x, name, name_len);
	if (name_len == 12 && !strcasecmp(name, "content-type"))
		x->has_type = true;
	*x->fields_last = f;
	x->fields_last = &f->next;
	return 0;
}

int weir_http_set(weir_http *x, const char *name, const char *value)
{
	weir__http_live(x, __func__);
	return add_field(x, name, value, true);
}

int weir_http_add(weir_http *x, const char *name, const char *value)
{
	weir__http_live(x, __func__);
	return add_field(x, name, value, false);
}

int weir__http_fixed(weir_http *x, bool trailer, const char *name, const char *value)
{
	size_t name_len = strlen(name);
	struct weir__out_field *f;

	weir__http_live(x, __func__);
	if (!trailer && name_len == 12 && !memcmp(name, "content-type", 12)) {
		if (x->has_type)
			return weir_http_set(x, name, value);
		x->has_type = true;
	}
	if (!trailer && (x->head_sent || too_late(x)))
		return -EALREADY;
	f = weir_http_alloc(x, sizeof *f);
	if (!f)
		return -ENOMEM;
	*f = (struct weir__out_field){ NULL, name, value, name_len, strlen(value), true };
	if (trailer) {
		*x->trailers_last = f;
		x->trailers_last = &f->next;
	} else {
		*x->fields_last = f;
		x->fields_last = &f->next;
	}
	return 0;
}

static int write_body(const weir_ctx *ctx, weir_http *x, const void *data, size_t n)
{
	if (x->sized && !x->no_body && n > x->length - x->sent)
		return -EMSGSIZE;
	x->sent += n;
	if (weir__answer_silent(x))
		return 0;
	if (n <= WEIR__HTTP_OUT - x->out_len) {
		if (n)
			memcpy(x->stream->block->out + x->out_len, data, n);
		x->out_len += n;
		return 0;
	}
	return push(ctx, x, data, n, false);
}

int weir_http_write(const weir_ctx *ctx, weir_http *x, const void *data, size_t n)
{
	int r = check(ctx, x, __func__);

	return r < 0 ? r : write_body(ctx, x, data, n);
}

int weir_http_printf(const weir_ctx *ctx, weir_http *x, const char *fmt, ...)
{
	struct weir__buf b = WEIR__BUF_INIT;
	char small[512];
	va_list ap;
	int n, r;

	weir__http_live(x, __func__);
	va_start(ap, fmt);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	if ((size_t)n < sizeof small)
		return weir_http_write(ctx, x, small, (size_t)n);
	va_start(ap, fmt);
	weir__buf_vprintf(&b, fmt, ap);
	va_end(ap);
	r = b.failed ? -ENOMEM : weir_http_write(ctx, x, b.data, b.len);
	weir__buf_free(&b);
	return r;
}

int weir_http_flush(const weir_ctx *ctx, weir_http *x)
{
	int r = check(ctx, x, __func__);

	if (r < 0 || (x->head_sent && !x->out_len))
		return r;
	return push(ctx, x, NULL, 0, false);
}

int weir_http_reply(const weir_ctx *ctx, weir_http *x, int status, const char *type,
                    const void *data, size_t n)
{
	int r = check(ctx, x, __func__);

	if (r < 0)
		return r;
	r = weir_http_status(x, status);
	if (r == 0 && type)
		r = add_field(x, "content-type", type, true);
	if (r < 0)
		return r;
	x->out_len = 0;
	x->sized = true;
	x->sent = 0;
	x->length = n;
	return write_body(ctx, x, data, n);
}

/* ---- for the server ---- */

static bool has_field(const weir_http *x, const char *name)
{
	for (const struct weir__out_field *f = x->fields; f; f = f->next)
		if (!strcasecmp(f->name, name))
			return true;
	return false;
}

void weir__answer_forget(weir_http *x)
{
	static const char *const of[] = { "content-range", "etag", "last-modified", "cache-control",
		                          "expires" };

	for (size_t i = 0; i < sizeof of / sizeof *of; i++)
		unset(x, of[i], strlen(of[i]));
}

/* The context may have ended: what fits into the socket is still said. */
int weir__answer_error(const weir_ctx *ctx, weir_http *x, int status, const char *detail)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int r;

	x->status = status;
	x->sized = false;
	x->out_len = x->out_lent;
	unset(x, "content-encoding", 16); /* The text of the error has none. */
	if (status == 503 && !x->head_sent && !has_field(x, "retry-after"))
		add_field(x, "retry-after", "1", true);
	r = add_field(x, "content-type", "application/problem+json", true);
	weir__problem(&b, status, detail);
	weir__problem_keep(x, detail);
	if (r == 0)
		r = b.failed ? -ENOMEM : 0;
	if (r == 0) {
		x->sent = b.len;
		r = push(ctx, x, b.data, b.len, true);
	}
	weir__buf_free(&b);
	return r;
}
