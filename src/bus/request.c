/* SPDX-License-Identifier: MIT */
/*
 * Request and reply: an inbox is a subject of its own, followed for so many messages, so that
 * whatever comes later finds nobody. Delivery is synchronous, so a request that found no
 * subscription knows at once that there are no responders.
 */
#include "bus/bus.h"

#include <weir/sim.h>

#include <stdio.h>

static void inbox_name(weir_bus *b, char *buf, size_t n)
{
	static uint64_t last; /* The number makes it unique, the random part hard to guess. */
	uint64_t number = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);

	if (b->remote)
		snprintf(buf, n, "%s%08x.%llu", b->remote->ops->inbox(b->remote),
		         weir_random(UINT32_MAX), (unsigned long long)number);
	else
		snprintf(buf, n, "_INBOX.%08x%08x.%llu", weir_random(UINT32_MAX),
		         weir_random(UINT32_MAX), (unsigned long long)number);
}

/* Asks, and takes what comes; how many, or < 0. */
static int gather(const weir_ctx *ctx, weir_bus *b, const weir_msg *m, weir_sub *inbox,
                  weir_msg *ret, size_t n)
{
	struct weir__bus_msg *answer;
	weir_bus_receipt receipt;
	int got = 0, r;

	r = weir__bus_send(ctx, b, m, &receipt);
	if (r == 0 && !b->remote)
		r = receipt.found ? -ENOBUFS : -ENETUNREACH;
	while (r >= 0 && (size_t)got < n) {
		r = weir__sub_take(ctx, inbox, &answer);
		if (r == 0)
			r = -EPIPE; /* The bus is being drained, and the inbox with it. */
		if (r > 0 && answer->no_responders) {
			weir__bus_msg_unref(answer);
			r = -ENETUNREACH;
		}
		if (r > 0) {
			weir__sub_msg(inbox, answer, &ret[got]);
			ret[got++].priv[2] = NULL;
		}
	}
	if (got == 0 || r != -ECANCELED)
		return got ? got : r;
	while (got > 0)
		weir_msg_free(&ret[--got]);
	return r;
}

int weir_bus_request_many(const weir_ctx *ctx, weir_bus *b, const weir_msg *m, weir_msg *ret,
                          size_t n)
{
	weir_sub_options opt = { .pending_max = n, .max = n };
	weir_msg ask = *m;
	weir_sub *inbox;
	char name[64];
	int r;

	if (n == 0)
		return -EINVAL;
	inbox_name(b, name, sizeof name);
	ask.reply = name;
	r = weir_bus_follow(ctx, b, name, &opt, &inbox);
	if (r < 0)
		return r;
	r = gather(ctx, b, &ask, inbox, ret, n);
	weir_sub_close(inbox);
	return r;
}

int weir_bus_request(const weir_ctx *ctx, weir_bus *b, const char *subject, const void *data,
                     size_t len, weir_msg *ret)
{
	weir_msg m = { .subject = subject, .data = data, .len = len };

	return weir_bus_request_many(ctx, b, &m, ret, 1);
}

void weir_msg_free(weir_msg *m)
{
	if (!m)
		return;
	weir__bus_msg_unref(m->priv[0]);
	*m = (weir_msg){ .subject = NULL };
}

int weir_msg_reply(const weir_ctx *ctx, const weir_msg *m, const void *data, size_t len)
{
	const weir_sub *s = m->priv[2];
	const char *to = m->reply ? m->reply : s ? s->ack_subject : NULL;

	return to ? weir_bus_publish(ctx, m->priv[1], to, data, len) : -EDESTADDRREQ;
}
