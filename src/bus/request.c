/* SPDX-License-Identifier: MIT */
/*
 * Request and reply: an inbox is a subject of its own, followed for one message, so that whatever
 * comes later finds nobody. Delivery is synchronous, so a request that found no subscription knows
 * at once that there are no responders.
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

int weir_bus_request(const weir_ctx *ctx, weir_bus *b, const char *subject, const void *data,
                     size_t len, weir_msg *ret)
{
	weir_sub_options one = { .pending_max = 1, .max = 1 };
	struct weir__bus_msg *answer;
	weir_msg m = { .subject = subject, .data = data, .len = len };
	weir_sub *inbox;
	char name[64];
	size_t found;
	int r;

	inbox_name(b, name, sizeof name);
	m.reply = name;
	r = weir_bus_follow(ctx, b, name, &one, &inbox);
	if (r < 0)
		return r;
	r = weir__bus_send(ctx, b, &m, &found);
	if (r == 0 && !b->remote)
		r = found ? -ENOBUFS : -ENETUNREACH;
	if (r >= 0)
		r = weir__sub_take(ctx, inbox, &answer);
	if (r == 0)
		r = -EPIPE; /* The bus is being drained, and the inbox with it. */
	if (r > 0 && answer->no_responders) {
		weir__bus_msg_unref(answer);
		r = -ENETUNREACH;
	}
	if (r > 0) {
		weir__sub_msg(inbox, answer, ret);
		ret->priv[2] = NULL;
	}
	weir_sub_close(inbox);
	return r;
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
