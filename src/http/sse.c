/* SPDX-License-Identifier: MIT */
/*
 * Server-Sent Events by hand. Every call writes whole events and flushes: what is not on the wire
 * is no event to its reader.
 *
 * Data is split where a reader would see the end of a line (CR, LF, CRLF; WHATWG HTML §9.2.6), one
 * `data` field each; the reader joins them with LF. So no data can smuggle in a field, and CR
 * arrives as LF. Empty data makes one empty field, which readers do dispatch.
 */
#include "http/sse.h"

#include <weir/sim.h>

#include <inttypes.h>
#include <string.h>

bool weir__sse_line_ok(const char *s)
{
	return !s || !s[strcspn(s, "\r\n")];
}

int weir__sse_event(struct weir__buf *b, const char *event, const void *data, size_t len)
{
	const char *at = data, *end = at + len;

	if (!weir__sse_line_ok(event))
		return -EINVAL;
	if (event && *event)
		weir__buf_printf(b, "event: %s\n", event);
	for (;;) {
		const char *stop = at;

		while (stop < end && *stop != '\n' && *stop != '\r')
			stop++;
		weir__buf_str(b, "data: ");
		weir__buf_add(b, at, (size_t)(stop - at));
		weir__buf_byte(b, '\n');
		if (stop == end)
			break;
		at = stop + 1;
		if (*stop == '\r' && at < end && *at == '\n')
			at++;
	}
	return 0;
}

void weir__sse_retry(struct weir__buf *b, int64_t ns)
{
	int64_t ms = ns / WEIR_MS(1), most = 24 * 3600 * 1000;

	if (ms > most)
		ms = most;
	weir__buf_printf(b, "retry: %" PRId64 "\n\n", ms / 2 + weir_random((uint32_t)ms + 1));
}

/* Sends the buffer and frees it. */
static int send_off(const weir_ctx *ctx, weir_http *x, struct weir__buf *b)
{
	int r = b->failed ? -ENOMEM : weir_http_write(ctx, x, b->data, b->len);

	weir__buf_free(b);
	return r < 0 ? r : weir_http_flush(ctx, x);
}

int weir__sse_begin(const weir_ctx *ctx, weir_http *x, int64_t retry_ns)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int r = weir_http_status(x, 200);

	if (r == 0)
		r = weir_http_set(x, "content-type", "text/event-stream");
	if (r == 0)
		r = weir_http_set(x, "cache-control", "no-store");
	if (r == 0)
		r = weir_http_set(x, "x-accel-buffering",
		                  "no"); /* nginx in between would hold events back */
	if (r < 0)
		return r;
	weir__sse_retry(&b, retry_ns);
	return send_off(ctx, x, &b);
}

int weir_sse_begin(const weir_ctx *ctx, weir_http *x)
{
	return weir__sse_begin(ctx, x, WEIR__SSE_RETRY_NS);
}

int weir_sse_send_id(const weir_ctx *ctx, weir_http *x, const char *id, const char *event,
                     const void *data, size_t len)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int r;

	if (!weir__sse_line_ok(id))
		return -EINVAL;
	if (id)
		weir__buf_printf(&b, "id: %s\n", id);
	r = weir__sse_event(&b, event, data, len);
	if (r < 0) {
		weir__buf_free(&b);
		return r;
	}
	weir__buf_byte(&b, '\n');
	return send_off(ctx, x, &b);
}

int weir_sse_send(const weir_ctx *ctx, weir_http *x, const char *event, const void *data,
                  size_t len)
{
	return weir_sse_send_id(ctx, x, NULL, event, data, len);
}

int weir_sse_ping(const weir_ctx *ctx, weir_http *x)
{
	struct weir__buf b = WEIR__BUF_INIT;

	weir__buf_str(&b, ":\n\n");
	return send_off(ctx, x, &b);
}

int weir_sse_retry(const weir_ctx *ctx, weir_http *x, int64_t ns)
{
	struct weir__buf b = WEIR__BUF_INIT;

	weir__sse_retry(&b, ns);
	return send_off(ctx, x, &b);
}
