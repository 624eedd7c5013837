/* SPDX-License-Identifier: MIT */
/* An exchange's wire in HTTP/2: its answer as a head, DATA and trailers, its body as it comes. */
#include <string.h>
#include <strings.h>

#include "http/h2.h"
#include "http/h2_server.h"
#include "http/server.h"

/* What is a constant needs no copy (by nghttp2, which may frame it later). */
enum {
	COPIED = NGHTTP2_NV_FLAG_NONE,
	NAME = NGHTTP2_NV_FLAG_NO_COPY_NAME,
	BOTH = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
};

static nghttp2_nv nv(uint8_t fixed, const char *name, size_t name_len, const char *value,
                     size_t value_len)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, name_len,
		             value_len, fixed };
}

static nghttp2_nv nv_of(const struct weir__out_field *f)
{
	return nv(f->fixed ? BOTH : COPIED, f->name, f->name_len, f->value, f->value_len);
}

/* RFC 9113 §8.2.2. */
static bool is_of_connections(const struct weir__out_field *f)
{
	return (f->name_len == 10 && !memcmp(f->name, "keep-alive", 10)) ||
	       (f->name_len == 16 && !memcmp(f->name, "proxy-connection", 16)) ||
	       (f->name_len == 7 && !memcmp(f->name, "upgrade", 7));
}

/* The room for a head: fields, and numbers as text. */
struct head {
	char status[20], length[20];
	nghttp2_nv field[];
};

static struct head *compose(weir_http *x, int64_t length, size_t *ret_n)
{
	static const char type[] = "text/plain; charset=utf-8";
	bool empty = x->status == 204 || x->status == 304;
	size_t n = 4;
	struct head *h;

	for (struct weir__out_field *f = x->fields; f; f = f->next)
		n++;
	h = weir_http_alloc(x, sizeof *h + n * sizeof h->field[0]);
	if (!h)
		return NULL;
	n = 0;
	weir__put_number(h->status, (uint64_t)x->status);
	h->field[n++] = nv(NAME, ":status", 7, h->status, 3);
	h->field[n++] = nv(NAME, "date", 4, weir__http_date(x->conn->worker), 29);
	if (!x->has_type && length != 0 && !empty)
		h->field[n++] = nv(BOTH, "content-type", 12, type, sizeof type - 1);
	if (length >= 0 && !empty)
		h->field[n++] =
			nv(NAME, "content-length", 14, h->length,
		           (size_t)(weir__put_number(h->length, (uint64_t)length) - h->length));
	for (struct weir__out_field *f = x->fields; f; f = f->next)
		if (!is_of_connections(f))
			h->field[n++] = nv_of(f);
	*ret_n = n;
	return h;
}

/* Claims the first byte. */
static int begin(weir_http *x, bool last, size_t total, struct weir__h2_send *what)
{
	int64_t length = -1;
	struct head *h;

	if (!weir__answer_claim(x))
		return -ETIMEDOUT;
	if (x->sized)
		length = (int64_t)x->length;
	else if (last && !x->trailers && !x->unsized)
		length = (int64_t)(x->no_body ? x->sent : total);
	h = compose(x, length, &what->head_n);
	if (!h) {
		x->broken = true;
		return -ENOMEM;
	}
	what->head = h->field;
	x->head_sent = true;
	weir__stat_add(x->conn->worker, status[x->status / 100], 1);
	return 0;
}

static int end_with(weir_http *x, struct weir__h2_send *what)
{
	size_t n = 0;
	nghttp2_nv *t;

	what->end = true;
	for (struct weir__out_field *f = x->trailers; f; f = f->next)
		n++;
	if (!n)
		return 0;
	t = weir_http_alloc(x, n * sizeof *t);
	if (!t)
		return -ENOMEM;
	n = 0;
	for (struct weir__out_field *f = x->trailers; f; f = f->next)
		t[n++] = nv_of(f);
	what->trailers = t;
	what->trailers_n = n;
	return 0;
}

/* Does whoever lives on this server answer in words of its own? Then the body has no part in it. */
static bool in_other_words(weir_http *x)
{
	const struct weir__http_guest *guest = x->conn->server->guest;

	return x->status >= 400 && guest && guest->refusal && guest->refusal(x, x->detail);
}

static int send_or_wait(const weir_ctx *ctx, weir_http *x, const struct weir__h2_send *what)
{
	int r = weir__h2_send(ctx, x->stream->h2, x->limits->write_ns, what);

	if (r < 0) {
		x->broken = true;
		if (r == -ETIMEDOUT && weir_ctx_left(ctx) > 0)
			weir__stat_add(x->conn->worker, timeouts, 1);
	}
	return r;
}

/* The block's collected bytes up to out_lent are the stream's until this has returned 0. Between a
 * wait's end and this task's turn what was collected behind them may have been lent too, and is not
 * framed when the window that opened was small: then it is waited for again. */
static int take_back(const weir_ctx *ctx, weir_http *x)
{
	struct weir__h2_stream *st = x->stream->h2;

	do {
		int r = send_or_wait(ctx, x, NULL);

		if (r < 0)
			return r;
	} while (st->out_left);
	weir__h2_unlend(st);
	return 0;
}

int weir__h2_push(const weir_ctx *ctx, weir_http *x, const void *data, size_t n, bool last)
{
	struct weir__h2_stream *st = x->stream->h2;
	struct weir__h2_send what = { 0 };
	struct iovec iov[2];
	size_t total;
	int r = 0;

	if (st->lent)
		r = take_back(ctx, x);
	if (r < 0)
		return r;
	total = x->out_len - x->out_lent + n;

	if (!x->head_sent && last && in_other_words(x)) {
		x->sized = false;
		x->out_len = x->out_lent = n = total = 0;
	}
	if (!x->head_sent)
		r = begin(x, last, total, &what);
	if (r == 0 && last)
		r = end_with(x, &what);
	if (r < 0)
		return r;
	what.iov = iov;
	if (!weir__answer_silent(x)) {
		if (x->out_len > x->out_lent)
			iov[what.n++] = (struct iovec){ x->stream->block->out + x->out_lent,
				                        x->out_len - x->out_lent };
		if (n)
			iov[what.n++] = (struct iovec){ (void *)(uintptr_t)data, n };
	}
	x->out_len = x->out_lent = 0;
	if (!what.head_n && !what.n && !last)
		return 0;
	r = send_or_wait(ctx, x, &what);
	if (r < 0)
		return r;
	if (what.n)
		weir__stat_add(x->conn->worker, bytes_out, total);
	return 0;
}

/* In a message of the session: what the handler has collected is lent, and it may go on to collect
 * behind it. */
void weir__h2_push_soon(weir_http *x)
{
	struct weir__h2_stream *st = x->stream->h2;
	struct weir__h2_send what = { 0 };
	struct iovec iov;
	int r = 0;

	if (__atomic_load_n(&x->state, __ATOMIC_RELAXED) != WEIR__X_LIVE || x->broken ||
	    (!x->out_len && x->head_sent) || st->closed || st->writer)
		return;
	st->more = st->out_left > 0;
	if (st->more)
		return;
	/* What was lent is framed, so its place is free. */
	st->lent = false;
	x->out_len -= x->out_lent;
	memmove(x->stream->block->out, x->stream->block->out + x->out_lent, x->out_len);
	x->out_lent = 0;
	if (!x->out_len && x->head_sent)
		return;
	if (!x->head_sent)
		r = begin(x, false, x->out_len, &what);
	if (r < 0)
		return;
	iov = (struct iovec){ x->stream->block->out, x->out_len };
	what.iov = &iov;
	what.n = iov.iov_len && !weir__answer_silent(x);
	if (weir__h2_lend(st, &what) < 0) {
		x->broken = true;
		return;
	}
	weir__stat_add(x->conn->worker, bytes_out, iov.iov_len);
	x->out_lent = x->out_len;
}

static void say_continue(void *arg)
{
	struct weir__h2_stream *st = arg;
	nghttp2_nv status = nv(BOTH, ":status", 7, "100", 3);

	if (st->closed)
		return;
	nghttp2_submit_headers(st->h2->session, NGHTTP2_FLAG_NONE, st->id, NULL, &status, 1, NULL);
	weir__h2_flush(st->h2);
}

int weir__h2_continue(weir_http *x)
{
	struct weir__h2_stream *st = x->stream->h2;

	if (!st->in_len && !st->in_end)
		weir__h2_at_home(st->h2->worker, say_continue, st);
	return 0;
}

ssize_t weir__h2_body(const weir_ctx *ctx, weir_http *x, void *buf, size_t n)
{
	return weir__h2_read(ctx, x->stream->h2, buf, n);
}

/* ---- for src/grpc ---- */

bool weir__http_is_h2(const weir_http *x)
{
	weir__http_live(x, __func__);
	return x->stream->h2 != NULL;
}

int weir__http_trailer(weir_http *x, const char *name, const char *value)
{
	struct weir__out_field *f;

	weir__http_live(x, __func__);
	if (!weir__h1_is_token(name, strlen(name)) || !weir__h1_is_value(value, strlen(value)))
		return -EINVAL;
	f = weir__out_field(x, name, value);
	if (!f)
		return -ENOMEM;
	*x->trailers_last = f;
	x->trailers_last = &f->next;
	return 0;
}

int weir__http_flush_soon(const weir_ctx *ctx, weir_http *x)
{
	struct weir__h2_stream *st = x->stream->h2;

	weir__http_live(x, __func__);
	if (!st || st->h2->worker != weir_worker() || st->closed || x->broken)
		return weir_http_flush(ctx, x);
	weir__h2_owe(st);
	return 0;
}

void weir__http_unsized(weir_http *x)
{
	weir__http_live(x, __func__);
	x->unsized = true;
}

void weir__http_reset(weir_http *x, uint32_t code)
{
	weir__http_live(x, __func__);
	x->broken = true;
	if (x->stream->h2)
		weir__h2_reset(x->stream->h2, code);
}
