/* SPDX-License-Identifier: MIT */
/* What the tests of the bus share: numbered messages, and a handler that notes them. */
#ifndef TESTS_BUS_NUMBERS_H
#define TESTS_BUS_NUMBERS_H

#include "test.h"

#include <weir/bus.h>

struct seen {
	int n, order[4096];
	int64_t slow_ns;
};

static inline int number(const weir_msg *m)
{
	return atoi(m->data);
}

static inline int note(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	struct seen *s = arg;

	if (s->slow_ns && weir_sleep(ctx, s->slow_ns) < 0)
		return -ECANCELED;
	CHECK(s->n < 4096);
	s->order[s->n++] = number(m);
	return 0;
}

static inline int publish(const weir_ctx *ctx, weir_bus *b, const char *subject, int v)
{
	char text[16];

	return weir_bus_publish(ctx, b, subject, text,
	                        (size_t)snprintf(text, sizeof text, "%d", v));
}

static inline weir_bus *open_bus(const weir_ctx *ctx, const char *url)
{
	weir_bus *b;

	CHECK_EQ(weir_bus_open(ctx, url, &b), 0);
	return b;
}

static inline weir_sub *follow(const weir_ctx *ctx, weir_bus *b, const char *subject,
                               const weir_sub_options *opt)
{
	weir_sub *s;

	CHECK_EQ(weir_bus_follow(ctx, b, subject, opt, &s), 0);
	return s;
}

struct pub {
	weir_bus *b;
	const char *subject;
	int from, n, result;
};

static inline int publisher(const weir_ctx *ctx, void *arg)
{
	struct pub *p = arg;

	for (int i = 0; i < p->n; i++) {
		p->result = publish(ctx, p->b, p->subject, p->from + i);
		if (p->result < 0)
			break;
		weir_yield(ctx);
	}
	return 0;
}

#endif
