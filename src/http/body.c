/* SPDX-License-Identifier: MIT */
/*
 * A request's body, by length or in chunks. What came with the head is taken from the connection's
 * buffer first; a body with a length is then read straight into the caller's memory, chunks go
 * through the buffer, behind the head, whose strings must stay.
 *
 * Each read has a progress deadline, and an error stays: body_error is what every later read gives,
 * and the connection closes, since nobody knows where the next request would begin.
 */
#include <stdlib.h>
#include <string.h>

#include "http/h2_server.h"
#include "http/server.h"

static int body_fail(weir_http *x, int r)
{
	x->body_error = r;
	x->close = true;
	return r;
}

static int say_continue(const weir_ctx *ctx, weir_http *x)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct iovec iov = { (char *)text, sizeof text - 1 };

	x->wants_continue = false;
	if (x->head_sent)
		return 0;
	if (x->stream->h2)
		return weir__h2_continue(x);
	return weir__http_send(ctx, x, &iov, 1);
}

/* Bytes from the connection under the progress deadline. 0 is never returned: an end here cuts the
 * body short. */
static ssize_t progress(const weir_ctx *ctx, weir_http *x, char *buf, size_t n)
{
	weir_ctx soon = weir_ctx_timeout(ctx, x->limits->read_ns);
	ssize_t r =
		weir_conn_read(x->limits->read_ns == WEIR_NEVER ? ctx : &soon, x->conn->io, buf, n);

	x->stream->block->dry = r > 0 && (size_t)r < n;
	if (r > 0)
		weir__stat_add(x->conn->worker, bytes_in, (uint64_t)r);
	if (r == 0) {
		x->stream->peer_left = true;
		return body_fail(x, -EBADMSG);
	}
	if (r == -ETIMEDOUT && weir_ctx_left(ctx) > 0) {
		weir__stat_add(x->conn->worker, timeouts, 1);
		return body_fail(x, -ETIMEDOUT);
	}
	if (r < 0 && r != -ETIMEDOUT && r != -ECANCELED && r != -ESHUTDOWN)
		body_fail(x, (int)r);
	return r;
}

/* Refills the buffer, which is used up, behind the head. */
static ssize_t refill(const weir_ctx *ctx, weir_http *x)
{
	struct weir__block *b = x->stream->block;
	ssize_t r;

	b->in_len = b->in_pos = b->head_end;
	r = progress(ctx, x, b->in + b->in_len, x->conn->server->in_cap - b->in_len);
	if (r > 0)
		b->in_len += (size_t)r;
	return r;
}

static ssize_t read_sized(const weir_ctx *ctx, weir_http *x, char *buf, size_t n)
{
	struct weir__block *b = x->stream->block;
	ssize_t r;

	if (n > x->body_left)
		n = (size_t)x->body_left;
	if (b->in_pos < b->in_len) {
		if (n > b->in_len - b->in_pos)
			n = b->in_len - b->in_pos;
		memcpy(buf, b->in + b->in_pos, n);
		b->in_pos += n;
		r = (ssize_t)n;
	} else {
		r = progress(ctx, x, buf, n);
	}
	if (r > 0) {
		x->body_left -= (uint64_t)r;
		x->body_done = x->body_left == 0;
	}
	return r;
}

static ssize_t read_chunked(const weir_ctx *ctx, weir_http *x, char *buf, size_t n)
{
	struct weir__block *b = x->stream->block;

	for (;;) {
		size_t used;
		ssize_t r;

		if (b->in_pos == b->in_len) {
			r = refill(ctx, x);
			if (r < 0)
				return r;
		}
		r = weir__h1_unchunk(&x->chunks, b->in + b->in_pos, b->in_len - b->in_pos, &used,
		                     buf, n);
		if (r < 0)
			return body_fail(x, (int)r);
		b->in_pos += used;
		x->body_done = x->chunks.done;
		if (r > 0 || x->body_done)
			return r;
	}
}

static ssize_t read_h2(const weir_ctx *ctx, weir_http *x, char *buf, size_t n)
{
	weir_ctx soon = weir_ctx_timeout(ctx, x->limits->read_ns);
	ssize_t r = weir__h2_body(x->limits->read_ns == WEIR_NEVER ? ctx : &soon, x, buf, n);

	if (r == 0)
		x->body_done = true;
	if (r == -ETIMEDOUT && weir_ctx_left(ctx) > 0) {
		weir__stat_add(x->conn->worker, timeouts, 1);
		return body_fail(x, -ETIMEDOUT);
	}
	if (r == -EPIPE)
		return body_fail(x, -ECONNRESET);
	return r;
}

static ssize_t body_read(const weir_ctx *ctx, weir_http *x, void *buf, size_t n)
{
	ssize_t r;

	if (x->body_error)
		return x->body_error;
	if (x->body_done || n == 0)
		return 0;
	if (x->stream->h2)
		r = read_h2(ctx, x, buf, n);
	else
		r = x->head.chunked ? read_chunked(ctx, x, buf, n) : read_sized(ctx, x, buf, n);
	if (r > 0)
		x->body_read += (uint64_t)r;
	return r;
}

ssize_t weir_http_read(const weir_ctx *ctx, weir_http *x, void *buf, size_t n)
{
	size_t max = x->limits->body_max;
	ssize_t r;

	weir__http_live(x, __func__);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	if (x->head.sized && x->head.length > max && !x->body_error)
		return body_fail(x, -EMSGSIZE);
	if (x->wants_continue && x->stream->block->in_pos == x->stream->block->in_len) {
		r = say_continue(ctx, x);
		if (r < 0)
			return r;
	}
	r = body_read(ctx, x, buf, n);
	if (r > 0 && x->body_read > max)
		return body_fail(x, -EMSGSIZE);
	return r;
}

ssize_t weir_http_read_all(const weir_ctx *ctx, weir_http *x, void *buf, size_t cap)
{
	size_t len = 0;
	ssize_t r;
	char more;

	while (len < cap) {
		r = weir_http_read(ctx, x, (char *)buf + len, cap - len);
		if (r <= 0)
			return r < 0 ? r : (ssize_t)len;
		len += (size_t)r;
	}
	r = weir_http_read(ctx, x, &more, 1);
	return r > 0 ? -EMSGSIZE : r < 0 ? r : (ssize_t)len;
}

int weir__http_charge(weir_http *x, size_t bytes)
{
	weir_http_server *s = x->conn->server;
	size_t all = __atomic_add_fetch(&s->bodies, bytes, __ATOMIC_RELAXED);

	if (all > s->limits.bodies_max) {
		__atomic_fetch_sub(&s->bodies, bytes, __ATOMIC_RELAXED);
		return body_fail(x, -ENOBUFS);
	}
	x->charged += bytes;
	return 0;
}

/* Twice as much, or the rest of a length that is known, once what there was has been filled: so a
 * length that is only announced costs nothing. */
static int grow(weir_http *x, size_t *cap)
{
	uint64_t left = x->head.sized ? x->head.length - x->body_read : 0;
	size_t more = left && left < *cap ? (size_t)left : *cap;
	char *bigger;
	int r;

	r = weir__http_charge(x, more);
	if (r < 0)
		return r;
	bigger = realloc(x->body, *cap + more);
	if (!bigger)
		return -ENOMEM;
	x->body = bigger;
	*cap += more;
	return 0;
}

int weir_http_body(const weir_ctx *ctx, weir_http *x, char **ret, size_t *ret_len)
{
	size_t len = 0, cap = WEIR__HTTP_BODY_FREE;
	ssize_t r;

	weir__http_live(x, __func__);
	weir__assert(!x->body, "weir_http_body() was called twice (route \"%s\")",
	             x->route ? x->route->pattern : "none");
	if (x->head.sized && x->head.length < cap)
		cap = (size_t)x->head.length + 1;
	/* It will not grow; in HTTP/2 only its end tells. */
	x->body_lent = cap < WEIR__HTTP_BODY_FREE && !x->stream->h2;
	x->body = x->body_lent ? weir_http_alloc(x, cap) : malloc(cap);
	if (!x->body)
		return -ENOMEM;
	for (;;) {
		r = weir_http_read(ctx, x, x->body + len, cap - 1 - len);
		if (r < 0)
			return (int)r;
		len += (size_t)r;
		if (x->body_done)
			break;
		if (len == cap - 1) {
			r = grow(x, &cap);
			if (r < 0)
				return (int)r;
		}
	}
	x->body[len] = 0;
	*ret = x->body;
	*ret_len = len;
	return 0;
}

bool weir__http_discard(const weir_ctx *ctx, weir_http *x)
{
	weir_ctx soon = weir_ctx_timeout(
		ctx, WEIR__HTTP_LINGER_NS); /* Progress alone would let it trickle for weeks. */
	uint64_t before = x->body_read;

	while (!x->body_done) {
		if (body_read(&soon, x, x->stream->block->out, WEIR__HTTP_OUT) < 0 ||
		    x->body_read - before > WEIR__HTTP_DISCARD)
			return false;
	}
	return true;
}
