/* SPDX-License-Identifier: MIT */
#include "grpc/gzip.h"

#include <errno.h>
#include <limits.h>
#include <zlib.h>

/* 15 bits of window, +16: gzip's framing and no other. Level 1: a call waits for it. */
enum { WINDOW = 15 + 16, LEVEL = 1, STEP = 4096 };

int weir__gzip(struct weir__buf *out, const void *data, size_t n)
{
	z_stream z = { 0 };
	size_t bound;
	int r = -ENOMEM;

	if (n > UINT_MAX / 2)
		return -EMSGSIZE;
	if (deflateInit2(&z, LEVEL, Z_DEFLATED, WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	bound = deflateBound(&z, n);
	if (weir__buf_reserve(out, bound)) {
		z.next_in = (Bytef *)data;
		z.avail_in = (uInt)n;
		z.next_out = (Bytef *)out->data + out->len;
		z.avail_out = (uInt)bound;
		if (deflate(&z, Z_FINISH) == Z_STREAM_END) {
			out->len += z.total_out;
			r = 0;
		}
	}
	deflateEnd(&z);
	return r;
}

int weir__gunzip(struct weir__buf *out, const void *data, size_t n, size_t max)
{
	z_stream z = { 0 };
	size_t start = out->len, room;
	int r, got;

	if (n > UINT_MAX)
		return -EMSGSIZE;
	if (inflateInit2(&z, WINDOW) != Z_OK)
		return -ENOMEM;
	z.next_in = (Bytef *)data;
	z.avail_in = (uInt)n;
	do {
		room = max - (out->len - start);
		/* One byte more than allowed, so that too much shows. */
		room = room < STEP ? room + 1 : STEP;
		r = -ENOMEM;
		if (!weir__buf_reserve(out, room))
			break;
		z.next_out = (Bytef *)out->data + out->len;
		z.avail_out = (uInt)room;
		got = inflate(&z, Z_NO_FLUSH);
		out->len += room - z.avail_out;
		r = -EBADMSG;
		if (got != Z_OK && got != Z_STREAM_END)
			break;
		if (out->len - start > max) {
			r = -EMSGSIZE;
			break;
		}
		if (got == Z_STREAM_END) {
			r = z.avail_in == 0 ? 0 : -EBADMSG;
			break;
		}
	} while (z.avail_in || z.avail_out == 0);
	inflateEnd(&z);
	return r;
}
