/* SPDX-License-Identifier: MIT */
/* How an event is written, for streams by hand and for hubs. */
#ifndef WEIR_HTTP_SSE_H
#define WEIR_HTTP_SSE_H

#include <weir/sse.h>

#include "base/buf.h"

#define WEIR__SSE_RETRY_NS WEIR_SEC(2)

/* "event: …" and a "data: …" for each line. 0, or -EINVAL. Without memory the buffer is marked
 * failed. */
int weir__sse_event(struct weir__buf *b, const char *event, const void *data, size_t len);

/* Can it stand in one line? */
bool weir__sse_line_ok(const char *s);

/* "retry: <ms>" of ns ± 50 %. */
void weir__sse_retry(struct weir__buf *b, int64_t ns);

/* weir_sse_begin() with another retry time. */
int weir__sse_begin(const weir_ctx *ctx, weir_http *x, int64_t retry_ns);

#endif
