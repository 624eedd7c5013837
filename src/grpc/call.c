/* SPDX-License-Identifier: MIT */
/*
 * Messages, metadata and memory of a call.
 *
 * Messages are cut out of the bytes as they arrive: one read may bring many, and a message is
 * handed out where it lies. A small call allocates nothing: its first kilobyte is in the call, and
 * a server's call is on the stack of its task. The buffer grows with the bytes that have arrived,
 * not with the length that a prefix promises.
 */
#include "grpc/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "grpc/gzip.h"

/* ---- life and memory ---- */

void weir__grpc_init(weir_grpc *call, const struct weir__grpc_io *io, const char *path,
                     size_t recv_max)
{
	/* Not the arrays at the end. */
	memset(call, 0, offsetof(weir_grpc, arena));
	call->magic = WEIR__GRPC_MAGIC;
	call->io = io;
	call->path = path;
	call->worker = weir_worker();
	call->recv_max = recv_max;
	call->in = call->in_here;
	call->in_cap = sizeof call->in_here;
	call->initial.last = &call->initial.first;
	call->trailing.last = &call->trailing.first;
	call->status = -1;
	call->message = call->peer = "";
}

size_t weir__grpc_recv_max(size_t max)
{
	return max == 0 ? WEIR__GRPC_RECV_MAX : max < UINT32_MAX ? max : UINT32_MAX;
}

static void free_chunks(struct weir__grpc_chunk **first)
{
	struct weir__grpc_chunk *k;

	while ((k = *first)) {
		*first = k->next;
		free(k);
	}
}

void weir__grpc_unpacked_free(weir_grpc *call)
{
	free_chunks(&call->unpacked);
	call->unpack_used = call->unpack_size = 0;
	call->unpack_full = false;
}

void weir__grpc_fini(weir_grpc *call)
{
	call->magic = 0;
	if (call->in != call->in_here)
		free(call->in);
	weir__buf_free(&call->unzipped);
	weir__buf_free(&call->zipped);
	weir__grpc_unpacked_free(call);
	free_chunks(&call->heap);
}

void weir__grpc_live(const weir_grpc *call, const char *what)
{
	weir__assert(call->magic == WEIR__GRPC_MAGIC, "%s: the call is over", what);
	weir__assert(call->worker == weir_worker(),
	             "%s: the call of \"%s\" belongs to another worker", what, call->path);
}

void *weir_grpc_alloc(weir_grpc *call, size_t n)
{
	struct weir__grpc_chunk *k = call->heap;
	size_t size;
	void *p;

	weir__grpc_live(call, __func__);
	if (n > PTRDIFF_MAX / 2)
		return NULL;
	n = (n + 15) & ~(size_t)15;
	if (n <= sizeof call->arena - call->arena_used) {
		p = call->arena + call->arena_used;
		call->arena_used += n;
		return p;
	}
	if (!k || k->size - k->used < n) {
		size = n > 4096 ? n : 4096;
		if (call->heap_used + size > 4 * call->recv_max + WEIR__GRPC_METADATA)
			return NULL;
		k = malloc(sizeof *k + size);
		if (!k)
			return NULL;
		*k = (struct weir__grpc_chunk){ .next = call->heap, .size = size };
		call->heap = k;
		call->heap_used += size;
	}
	p = k->bytes + k->used;
	k->used += n;
	return p;
}

static char *vprintf_(weir_grpc *call, const char *fmt, va_list ap)
{
	va_list again;
	char *text;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	text = n < 0 ? NULL : weir_grpc_alloc(call, (size_t)n + 1);
	if (text)
		vsnprintf(text, (size_t)n + 1, fmt, ap);
	return text;
}

char *weir_grpc_printf(weir_grpc *call, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = vprintf_(call, fmt, ap);
	va_end(ap);
	return text;
}

const char *weir_grpc_path(const weir_grpc *call)
{
	weir__grpc_live(call, __func__);
	return call->path;
}

const char *weir_grpc_peer(const weir_grpc *call)
{
	weir__grpc_live(call, __func__);
	return call->peer;
}

/* ---- receiving ---- */

enum { FREE_BYTES = 16 * 1024 }; /* of each call, which nobody counts */

static int charge_growth(weir_grpc *call, size_t from, size_t to)
{
	if (from < FREE_BYTES)
		from = FREE_BYTES;
	return to > from && call->io->charge ? call->io->charge(call, to - from) : 0;
}

/* Makes room for a message of `need` bytes, prefix included: all of it if it is small, else twice
 * what has arrived. */
static int make_room(weir_grpc *call, size_t need)
{
	size_t have = call->in_len - call->in_pos, cap;
	char *in;
	int r;

	if (call->in_pos) {
		memmove(call->in, call->in + call->in_pos, have);
		call->in_pos = 0;
		call->in_len = have;
	}
	if (call->in_cap >= need || call->in_len < call->in_cap)
		return 0;
	cap = 2 * call->in_cap < FREE_BYTES ? FREE_BYTES : 2 * call->in_cap;
	if (cap > need && need > FREE_BYTES)
		cap = need;
	r = charge_growth(call, call->in_cap, cap);
	if (r < 0)
		return r;
	in = call->in == call->in_here ? malloc(cap) : realloc(call->in, cap);
	if (!in)
		return -ENOMEM;
	if (call->in == call->in_here)
		memcpy(in, call->in_here, have);
	call->in = in;
	call->in_cap = cap;
	return 0;
}

/* Until `need` bytes lie at in_pos: 1, 0 when the messages end right here, or an error. */
static int fill(const weir_ctx *ctx, weir_grpc *call, size_t need)
{
	ssize_t n;
	int r;

	while (call->in_len - call->in_pos < need) {
		if (call->in_pos == call->in_len)
			call->in_pos = call->in_len = 0;
		if (call->in_pos + need > call->in_cap) {
			r = make_room(call, need);
			if (r < 0)
				return r;
		}
		n = call->io->read(ctx, call, call->in + call->in_len, call->in_cap - call->in_len);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return call->in_pos == call->in_len ? 0 : -EBADMSG;
		call->in_len += (size_t)n;
	}
	return 1;
}

static int unzip(weir_grpc *call, const void **ret, size_t *ret_len)
{
	size_t had = call->unzipped.cap;
	int r;

	if (!call->in_gzip)
		return -EBADMSG;
	weir__buf_clear(&call->unzipped);
	r = weir__gunzip(&call->unzipped, *ret, *ret_len, call->recv_max);
	/* The buffer stays with the call, and a thousandth of its size was enough to fill it. */
	if (r == 0)
		r = charge_growth(call, had, call->unzipped.cap);
	if (r < 0) {
		weir__buf_free(&call->unzipped);
		return r;
	}
	*ret = call->unzipped.data;
	*ret_len = call->unzipped.len;
	return 0;
}

static int next_message(const weir_ctx *ctx, weir_grpc *call, const void **ret, size_t *ret_len)
{
	const unsigned char *prefix;
	size_t n;
	int r;

	call->in_pos += call->taken;
	call->taken = 0;
	r = fill(ctx, call, WEIR__GRPC_PREFIX);
	if (r <= 0)
		return r;
	prefix = (const unsigned char *)call->in + call->in_pos;
	n = weir__grpc_prefix_len(prefix);
	if (prefix[0] > 1)
		return -EBADMSG;
	if (n > call->recv_max)
		return -EMSGSIZE;
	r = fill(ctx, call, WEIR__GRPC_PREFIX + n);
	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	prefix = (const unsigned char *)call->in + call->in_pos;
	call->was_compressed = prefix[0];
	call->taken = WEIR__GRPC_PREFIX + n;
	*ret = prefix + WEIR__GRPC_PREFIX;
	*ret_len = n;
	if (call->was_compressed)
		r = unzip(call, ret, ret_len);
	return r < 0 ? r : 1;
}

int weir_grpc_recv(const weir_ctx *ctx, weir_grpc *call, const void **ret, size_t *ret_len)
{
	int r;

	weir__grpc_live(call, __func__);
	if (call->in_over)
		return call->in_error;
	r = next_message(ctx, call, ret, ret_len);
	if (r > 0)
		return r;
	/* The context's end is no end of the call: who asks again goes on where this stopped. */
	if (r == -ECANCELED || r == -ETIMEDOUT || r == -ESHUTDOWN)
		return call->io->ended(ctx, call, r);
	call->in_over = true;
	call->in_error = call->io->ended(ctx, call, r);
	return call->in_error;
}

int weir__grpc_at_end(const weir_ctx *ctx, weir_grpc *call)
{
	ssize_t n;
	char c;

	if (call->in_over)
		return call->in_error < 0 ? call->in_error : 1;
	if (call->in_len > call->in_pos + call->taken)
		return 0;
	n = call->io->read(ctx, call, &c, 1);
	if (n > 0)
		return 0;
	if (n == -ECANCELED || n == -ETIMEDOUT || n == -ESHUTDOWN)
		return call->io->ended(ctx, call, (int)n);
	call->in_over = true;
	call->in_error = call->io->ended(ctx, call, (int)n);
	return call->in_error < 0 ? call->in_error : 1;
}

bool weir_grpc_was_compressed(const weir_grpc *call)
{
	weir__grpc_live(call, __func__);
	return call->was_compressed;
}

/* ---- sending ---- */

void weir_grpc_compress(weir_grpc *call, bool on)
{
	weir__grpc_live(call, __func__);
	if (!call->head_sent)
		call->announce = true;
	call->compress = on;
}

static int send_zipped(const weir_ctx *ctx, weir_grpc *call, const void *msg, size_t n)
{
	unsigned char prefix[WEIR__GRPC_PREFIX];
	struct iovec iov[2] = { { prefix, sizeof prefix }, { 0 } };
	int r;

	weir__buf_clear(&call->zipped);
	r = weir__gzip(&call->zipped, msg, n);
	if (r < 0)
		return r;
	weir__grpc_prefix(prefix, true, call->zipped.len);
	iov[1] = (struct iovec){ call->zipped.data, call->zipped.len };
	return call->io->write(ctx, call, iov, 2);
}

static int may_send(const weir_grpc *call, size_t n)
{
	if (call->end_sent || call->status >= 0)
		return -EPIPE;
	return n > UINT32_MAX ? -EMSGSIZE : 0;
}

static bool zips(const weir_grpc *call)
{
	return call->compress && call->announce && call->out_gzip;
}

int weir_grpc_send(const weir_ctx *ctx, weir_grpc *call, const void *msg, size_t n)
{
	unsigned char prefix[WEIR__GRPC_PREFIX];
	struct iovec iov[2] = { { prefix, sizeof prefix }, { (void *)msg, n } };
	int r;

	weir__grpc_live(call, __func__);
	r = may_send(call, n);
	if (r < 0)
		return r;
	if (zips(call))
		return send_zipped(ctx, call, msg, n);
	weir__grpc_prefix(prefix, false, n);
	return call->io->write(ctx, call, iov, n ? 2 : 1);
}

int weir__grpc_send_framed(const weir_ctx *ctx, weir_grpc *call, char *msg, size_t n)
{
	struct iovec iov = { msg, n + WEIR__GRPC_PREFIX };
	int r;

	r = may_send(call, n);
	if (r < 0)
		return r;
	if (zips(call))
		return send_zipped(ctx, call, msg + WEIR__GRPC_PREFIX, n);
	weir__grpc_prefix((unsigned char *)msg, false, n);
	return call->io->write(ctx, call, &iov, 1);
}

/* ---- metadata ---- */

static int add_field(weir_grpc *call, struct weir__grpc_fields *to, const char *name,
                     const void *value, size_t n)
{
	struct weir__buf bin = WEIR__BUF_INIT;
	size_t name_len = strlen(name);
	struct weir__grpc_field *f;
	char *text;

	if (weir__grpc_is_bin(name, name_len)) {
		weir__grpc_bin_encode(&bin, value, n);
		if (bin.failed)
			goto no_memory;
		value = bin.data ? bin.data : "";
		n = bin.len;
	} else {
		const char *text_value = value;

		/* HTTP/2 refuses a head for space around a value (RFC 9113 §8.2.1). */
		while (n && text_value[n - 1] == ' ')
			n--;
		while (n && *text_value == ' ')
			text_value++, n--;
		value = text_value;
		for (size_t i = 0; i < n; i++)
			if (((const char *)value)[i] < 0x20 || ((const char *)value)[i] > 0x7e)
				return -EINVAL;
	}
	/* 32 more as HTTP/2 counts a field (RFC 9113 §6.5.2). */
	if (n > WEIR__GRPC_METADATA || call->metadata + name_len + n + 32 > WEIR__GRPC_METADATA) {
		weir__buf_free(&bin);
		return -ENOSPC;
	}
	f = weir_grpc_alloc(call, sizeof *f + name_len + n + 2);
	if (!f)
		goto no_memory;
	text = (char *)(f + 1);
	*f = (struct weir__grpc_field){ .name = text, .value = text + name_len + 1, .len = n };
	memcpy(text, name, name_len + 1);
	memcpy(text + name_len + 1, value, n);
	text[name_len + 1 + n] = 0;
	*to->last = f;
	to->last = &f->next;
	call->metadata += name_len + n + 32;
	weir__buf_free(&bin);
	return 0;
no_memory:
	weir__buf_free(&bin);
	return -ENOMEM;
}

int weir_grpc_set(weir_grpc *call, const char *name, const void *value, size_t n)
{
	weir__grpc_live(call, __func__);
	if (!weir__grpc_name_ok(name))
		return -EINVAL;
	if (call->head_sent)
		return -EALREADY;
	return add_field(call, &call->initial, name, value, n);
}

int weir_grpc_set_trailer(weir_grpc *call, const char *name, const void *value, size_t n)
{
	weir__grpc_live(call, __func__);
	if (!weir__grpc_name_ok(name))
		return -EINVAL;
	return add_field(call, &call->trailing, name, value, n);
}

static const char *get(weir_grpc *call, bool trailing, const char *name, size_t *ret_len)
{
	struct weir__buf bin = WEIR__BUF_INIT;
	const char *value, *comma;
	char *copy = NULL;
	size_t n;

	value = call->io->field(call, trailing, name, &n);
	if (value && weir__grpc_is_bin(name, strlen(name))) {
		/* Several values may have been joined. */
		comma = memchr(value, ',', n);
		if (comma)
			n = (size_t)(comma - value);
		if (weir__grpc_bin_decode(&bin, value, n) == 0 && !bin.failed)
			copy = weir_grpc_alloc(call, bin.len + 1);
		if (copy) {
			n = bin.len;
			memcpy(copy, n ? bin.data : "", n);
			copy[n] = 0;
		}
		weir__buf_free(&bin);
		value = copy;
	}
	if (value && ret_len)
		*ret_len = n;
	return value;
}

const char *weir_grpc_get(weir_grpc *call, const char *name, size_t *ret_len)
{
	weir__grpc_live(call, __func__);
	return get(call, false, name, ret_len);
}

const char *weir_grpc_get_trailer(weir_grpc *call, const char *name, size_t *ret_len)
{
	weir__grpc_live(call, __func__);
	return get(call, true, name, ret_len);
}

bool weir__grpc_type_ok(const char *type)
{
	static const char grpc[] = "application/grpc";

	return type && !strncmp(type, grpc, sizeof grpc - 1) &&
	       (!type[sizeof grpc - 1] || strchr("+;", type[sizeof grpc - 1]));
}

/* ---- status ---- */

int weir_grpc_fail(weir_grpc *call, int code, const char *fmt, ...)
{
	const char *text;
	va_list ap;

	weir__grpc_live(call, __func__);
	va_start(ap, fmt);
	text = vprintf_(call, fmt, ap);
	va_end(ap);
	call->message = text ? text : "";
	return code;
}

int weir_grpc_set_details(weir_grpc *call, const void *status, size_t n)
{
	weir__grpc_live(call, __func__);
	return add_field(call, &call->trailing, "grpc-status-details-bin", status, n);
}

int weir_grpc_status(const weir_grpc *call)
{
	weir__grpc_live(call, __func__);
	return call->status;
}

const char *weir_grpc_message(const weir_grpc *call)
{
	weir__grpc_live(call, __func__);
	return call->message;
}

const void *weir_grpc_details(weir_grpc *call, size_t *ret_len)
{
	weir__grpc_live(call, __func__);
	return get(call, true, "grpc-status-details-bin", ret_len);
}

int weir_grpc_proceed(const weir_ctx *ctx, weir_grpc *call)
{
	unsigned step = call->step++;

	weir__grpc_live(call, __func__);
	weir__assert(call->interceptors && step <= call->interceptors->n,
	             "weir_grpc_proceed: the handler has run already");
	if (step == call->interceptors->n)
		return call->handler(ctx, call, call->handler_arg);
	return call->interceptors->v[step].fn(ctx, call, call->interceptors->v[step].arg);
}
