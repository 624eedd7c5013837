/* SPDX-License-Identifier: MIT */
/*
 * Ghosts of a JetStream consumer.
 *
 * A server that is killed between two of its writes may come back with a consumer that waits for
 * the end of a message whose stream has forgotten it: the ack was written in one file and not in
 * the other. Seen of nats-server 2.9.10: with three to five of them nothing was given out any more,
 * with hundreds of jobs there and a request open, and it said that all unended ones were to be
 * given out again. So it seems to stumble over them at every turn; its source was not read.
 *
 * So when requests have brought nothing although something is there, whatever between the
 * consumer's floor and its last delivery is gone from the stream is acknowledged, once more. For
 * what is no ghost that changes nothing, whoever else does the same at the same time.
 *
 * What is there may also be nothing but what the consumer gave out before and nobody holds any
 * more. That looks like jobs which run elsewhere, the usual thing, so then it is done once a
 * connection only: ghosts come of a server that was killed, which is a new one.
 */
#include "queue/jetstream.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

enum { AT_ONCE = 1024 }; /* messages looked at */

static int lay(const weir_ctx *ctx, struct weir__js *js, const char *queue, uint64_t seq)
{
	char subject[2 * WEIR__JS_NAME], name[WEIR__JS_NAME];

	/* Which delivery it was does not count for an explicit ack, and the consumer knows. */
	weir__js_name(name, "WEIR-", queue);
	snprintf(subject, sizeof subject, "$JS.ACK.%s.workers.1.%llu.0.0.0", name,
	         (unsigned long long)seq);
	return weir_bus_publish(ctx, js->bus, subject, "+ACK", 4);
}

/* The number of a message behind the name of one of the consumer's two ends. */
static uint64_t end_of(const weir_msg *m, const char *end)
{
	const char *at = strstr(m->data, end);
	weir_msg rest = { .data = at, .len = at ? strlen(at) : 0 };
	int64_t n = weir__js_number(&rest, "stream_seq");

	return n > 0 ? (uint64_t)n : 0;
}

int weir__js_lay_ghosts(const weir_ctx *ctx, struct weir__js *js, struct weir__js_queue *q)
{
	char name[WEIR__JS_NAME], at[WEIR__JS_NAME + 16];
	uint64_t floor, last, end, from, laid = 0, connection = 1 + weir__js_reconnects(js);
	bool stuck;
	weir_msg m;
	int r;

	q->in_vain = 0;
	weir__js_name(name, "WEIR-", q->name);
	snprintf(at, sizeof at, "%s.workers", name);
	r = weir__js_info(ctx, js, "CONSUMER", at, &m);
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* weir__js_mend() makes it again. */
	stuck = weir__js_number(&m, "num_ack_pending") > 0 &&
	        (weir__js_number(&m, "num_pending") > 0 || q->looked != connection);
	floor = end_of(&m, "\"ack_floor\":");
	last = end = end_of(&m, "\"delivered\":");
	weir_msg_free(&m);
	if (!stuck)
		return 0;
	from = q->ghosts > floor && q->ghosts < last ? q->ghosts : floor;
	if (last > from + AT_ONCE)
		last = from + AT_ONCE;
	for (q->ghosts = from; r >= 0 && q->ghosts < last; q->ghosts += r >= 0) {
		r = weir__js_gone(ctx, js, q->name, q->ghosts + 1);
		if (r > 0) {
			r = lay(ctx, js, q->name, q->ghosts + 1);
			laid += r == 0;
		}
	}
	if (r >= 0 && q->ghosts == end)
		q->looked = connection;
	if (laid)
		weir__log(WEIR__WARN, "queue",
		          "JetStream gave out nothing of queue %s although jobs are there or held: "
		          "%llu messages that are gone were acknowledged once more",
		          q->name, (unsigned long long)laid);
	return r < 0 ? r : 0;
}
