/* SPDX-License-Identifier: MIT */
/*
 * Server-Sent Events (WHATWG HTML §9.2), by a handler's own loop or by a hub that serves all
 * clients.
 *
 * By hand:
 *	r = weir_sse_begin(ctx, x);
 *	while (r == 0 && (r = weir_sleep(&live, WEIR_SEC(1))) == 0)
 *		r = weir_sse_send(ctx, x, "tick", "1", 1);
 *
 * A hub encodes an event once for all its clients, never waits for one, and holds an idle stream as
 * a small record without task or stack:
 *	r = weir_hub_publish(hub, "tick", "1", 1);           // anywhere
 *	return weir_hub_join(ctx, x, hub, NULL);             // a handler's last act
 */
#ifndef WEIR_SSE_H
#define WEIR_SSE_H

#include <weir/http.h>

WEIR_BEGIN

/* Status 200, text/event-stream, no-store; flushed at once, with `retry:` (2 s ± jitter). Waits,
 * as all of these. */
WEIR_API int weir_sse_begin(const weir_ctx *ctx, weir_http *x);

/* Data is split at CR, LF and CRLF. event and id may be NULL; -EINVAL if they hold NUL, CR or
 * LF. */
WEIR_API int weir_sse_send(const weir_ctx *ctx, weir_http *x, const char *event, const void *data,
                           size_t len);
WEIR_API int weir_sse_send_id(const weir_ctx *ctx, weir_http *x, const char *id, const char *event,
                              const void *data, size_t len);

/* A comment line, so that proxies and clients know the stream lives: about every 15 s. */
WEIR_API int weir_sse_ping(const weir_ctx *ctx, weir_http *x);

/* Goodbye: `retry:` with jitter, so that clients do not come back all at once. */
WEIR_API int weir_sse_retry(const weir_ctx *ctx, weir_http *x, int64_t ns);

typedef struct weir_hub weir_hub;

enum weir_overflow { WEIR_DROP_OLDEST = 0, WEIR_CLOSE = 1 };

typedef struct weir_hub_options {
	const char *name;     /* for the dump and metrics; copied */
	size_t replay_max;    /* events kept for Last-Event-ID; default 1000 */
	size_t replay_bytes;  /* … and their bytes; default 1 MiB */
	size_t pending_max;   /* events a client may lag behind; default 256 */
	size_t pending_bytes; /* … and their bytes, but always one event; default 8 MiB */
	/* What then: drop the oldest, and say so with a `gap` event, or close the stream. */
	enum weir_overflow overflow;
	int64_t heartbeat_ns; /* comment when idle; default 15 s, WEIR_NEVER for none */
	int64_t write_ns;     /* a client that takes no byte for so long is cut; default 10 s */
	int64_t retry_ns;     /* told to clients when the hub ends; ± 50 % jitter; default 2 s */
	unsigned clients_max; /* beyond: 503; default 100000 */
} weir_hub_options;

/* The hub belongs to the context's scope: drain ends its streams cleanly (`retry:`), cancel cuts
 * them. 0 or -ENOMEM. */
WEIR_API int weir_hub_new(const weir_ctx *ctx, const weir_hub_options *opt, weir_hub **ret);

/* End all streams cleanly and wait until they have gone (the context's end cuts them); then
 * free. From the task that made it, or one above. Consumes the hub whatever it returns. */
WEIR_API int weir_hub_close(const weir_ctx *ctx, weir_hub *h);

/* Encode once, hand to every client. Never waits; any task. The event's id (> 0), -EINVAL (event
 * holds CR or LF), -EMSGSIZE (> 1 MiB), -EPIPE after close, -ENOMEM. Ids are "<epoch>-<n>": the
 * epoch differs per hub, so that an id of an earlier life is answered with a gap. */
WEIR_API int64_t weir_hub_publish(weir_hub *h, const char *event, const void *data, size_t len);

/*
 * Hand the exchange over: a handler's last act. Sends the head, then the replay after Last-Event-ID
 * (header, or query `last_event_id`), with a `gap` event first when the replay no longer reaches:
 * data {"missed":12}, or {"missed":null} for an id of an earlier life. 0: the hub owns the exchange
 * (or its answer is complete: HEAD, or the hub ended meanwhile), return 0 at once. < 0: the handler
 * still owns it: -EAGAIN (clients_max) and -ESHUTDOWN (the hub ends) make a 503, -ENOMEM, or as
 * weir_http_write(). Of per_client (may be NULL) overflow and pending_max count, the latter up to
 * the hub's. Waits while it writes.
 */
WEIR_API int weir_hub_join(const weir_ctx *ctx, weir_http *x, weir_hub *h,
                           const weir_hub_options *per_client);

typedef struct weir_hub_stats {
	size_t clients, replay;
	uint64_t published, delivered, dropped, closed_slow, gaps;
} weir_hub_stats;
WEIR_API void weir_hub_stats_get(const weir_hub *h, weir_hub_stats *ret);

WEIR_END
#endif
