/* SPDX-License-Identifier: MIT */
/*
 * A parser for text/event-stream (WHATWG HTML §9.2.6): bytes in, one event at a time out. It knows
 * nothing of connections and never waits.
 */
#ifndef WEIR_HTTP_SSE_PARSE_H
#define WEIR_HTTP_SSE_PARSE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

enum { WEIR__SSE_MAX = 4 << 20 }; /* bytes of one line, and of one event's data */

struct weir__sse_parser {
	struct weir__buf line, data, event, id;
	int64_t retry_ns; /* as last told; 0: never */
	unsigned bom;     /* how many bytes of a BOM were seen at the start; 3: past the start */
	bool skip_lf;     /* the last byte was a CR */
	bool dispatched;  /* data and event are the event that was given out */
};

void weir__sse_init(struct weir__sse_parser *p);
void weir__sse_fini(struct weir__sse_parser *p);

/* Takes bytes up to the end of an event: how many. *ret_event tells whether there is one, in
 * p->data, p->event ("" means "message") and p->id (the stream's last id), until the next call.
 * -EMSGSIZE, -ENOMEM. What is unfinished when the stream ends is to be dropped. */
ssize_t weir__sse_feed(struct weir__sse_parser *p, const char *bytes, size_t n, bool *ret_event);

#endif
