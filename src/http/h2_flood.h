/* SPDX-License-Identifier: MIT */
/*
 * Floods of HTTP/2. All that makes work without being a request (resets from either side, PING,
 * SETTINGS, PRIORITY, empty DATA, window updates beyond what was sent) is paid from an allowance
 * that grows with time and with what is sent. Pings of gRPC clients are counted by gRPC's own rule
 * besides.
 */
#ifndef WEIR_HTTP_H2_FLOOD_H
#define WEIR_HTTP_H2_FLOOD_H

#include "http/h2.h"

struct weir__h2_flood {
	bool counts_pings; /* weir__http_count_pings() */
	unsigned strikes;
	int64_t pinged_ns; /* 0: not since we sent something */
	int32_t allowance;
	int64_t allowance_ns;
};

enum weir__h2_calm { WEIR__H2_FINE, WEIR__H2_FLOODS, WEIR__H2_PINGS };

void weir__h2_flood_init(struct weir__h2_flood *f);
/* Pays a price for what a frame does not show. */
enum weir__h2_calm weir__h2_charge(struct weir__h2_flood *f, int price);
/* A frame came, was refused, or was sent: is that too much? */
enum weir__h2_calm weir__h2_flood_frame(struct weir__h2_flood *f, const nghttp2_frame *frame,
                                        enum weir__h2_way way);

#endif
