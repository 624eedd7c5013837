/* SPDX-License-Identifier: MIT */
#include "http/h2_flood.h"

#include <weir/time.h>

enum { ALLOWANCE = 1000, ALLOWANCE_PER_S = 100, STRIKES_MAX = 2 };
#define PING_MIN_NS WEIR_MIN(5) /* between two pings of a client of gRPC while nothing is sent */

void weir__h2_flood_init(struct weir__h2_flood *f)
{
	*f = (struct weir__h2_flood){ .allowance = ALLOWANCE, .allowance_ns = weir_now() };
}

enum weir__h2_calm weir__h2_charge(struct weir__h2_flood *f, int price)
{
	int64_t now, earned;

	f->allowance -= price;
	if (f->allowance > ALLOWANCE)
		f->allowance = ALLOWANCE;
	if (f->allowance >= 0)
		return WEIR__H2_FINE;
	now = weir_now();
	earned = (now - f->allowance_ns) / (WEIR_SEC(1) / ALLOWANCE_PER_S);
	f->allowance_ns = now;
	f->allowance += earned < ALLOWANCE ? (int32_t)earned : ALLOWANCE;
	return f->allowance < 0 ? WEIR__H2_FLOODS : WEIR__H2_FINE;
}

/* gRPC's rule for keepalive (A8): the third ping that comes too early is one too many. */
static enum weir__h2_calm ping(struct weir__h2_flood *f)
{
	enum weir__h2_calm calm = weir__h2_charge(f, 1);
	int64_t now = weir_now();

	if (!f->counts_pings)
		return calm;
	if (f->pinged_ns && now - f->pinged_ns < PING_MIN_NS && ++f->strikes > STRIKES_MAX)
		calm = WEIR__H2_PINGS;
	f->pinged_ns = now;
	return calm;
}

static enum weir__h2_calm sent(struct weir__h2_flood *f, const nghttp2_frame *frame)
{
	if (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) {
		f->strikes = 0;
		f->pinged_ns = 0;
	}
	/* MadeYouReset: whoever makes us reset pays as if it had. */
	if (frame->hd.type == NGHTTP2_RST_STREAM &&
	    frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
		return weir__h2_charge(f, 1);
	return frame->hd.type == NGHTTP2_DATA ? weir__h2_charge(f, -2) : WEIR__H2_FINE;
}

enum weir__h2_calm weir__h2_flood_frame(struct weir__h2_flood *f, const nghttp2_frame *frame,
                                        enum weir__h2_way way)
{
	bool ack = frame->hd.flags & NGHTTP2_FLAG_ACK;

	if (way == WEIR__H2_REFUSED)
		return weir__h2_charge(f, 2);
	if (way == WEIR__H2_SENT)
		return sent(f, frame);
	switch (frame->hd.type) {
	case NGHTTP2_PING:
		return ack ? WEIR__H2_FINE : ping(f);
	case NGHTTP2_SETTINGS:
		return ack ? WEIR__H2_FINE : weir__h2_charge(f, 1);
	case NGHTTP2_DATA:
		return frame->hd.length || frame->hd.flags & NGHTTP2_FLAG_END_STREAM ?
		               WEIR__H2_FINE :
		               weir__h2_charge(f, 1);
	case NGHTTP2_HEADERS:
	case NGHTTP2_GOAWAY:
		return WEIR__H2_FINE;
	default:
		return weir__h2_charge(f, 1);
	}
}
