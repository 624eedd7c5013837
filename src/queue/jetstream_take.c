/* SPDX-License-Identifier: MIT */
/*
 * Pulling jobs from JetStream, and ending them.
 *
 * What comes in goes to a subscription that the fetching task alone reads. It asks for what its
 * takers want beyond what is on its way already, and asks anew when the server said that the
 * request is over, when its time has passed, or after a reconnect, which loses requests.
 *
 * A request cannot be called back, and what comes to an inbox that nobody reads any more is out of
 * everybody's reach until ack_wait has passed. So requests are short, and a fetch whose takers have
 * gone stays until its request is over; what comes by then is handed up.
 *
 * A job is ours from a moment that only the server knows until ack_wait later. Counted from when
 * the inbox was last seen empty, which is before that moment, the time is on the safe side.
 */
#include "queue/jetstream.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_VAIN = 3 };        /* requests without a job, then what is the matter? */
#define EXPIRES WEIR_SEC(2)  /* of a pull request */
#define GRACE   WEIR_MS(500) /* then it is over, whether the server said so or not */

static int ask(const weir_ctx *ctx, struct weir__js *js, struct weir__js_queue *q, size_t n)
{
	char subject[2 * WEIR__JS_NAME], name[WEIR__JS_NAME], inbox[WEIR__JS_NAME], text[96];
	weir_msg m = { .subject = subject, .reply = inbox, .data = text };
	int r;

	weir__js_name(name, "WEIR-", q->name);
	snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.workers", name);
	snprintf(inbox, sizeof inbox, "%s.f%llu", js->inbox, (unsigned long long)q->session);
	m.len = (size_t)snprintf(text, sizeof text, "{\"batch\":%zu,\"expires\":%lld}", n,
	                         (long long)EXPIRES);
	r = weir_bus_publish_msg(ctx, js->bus, &m);
	if (r < 0)
		return r;
	q->asked += n;
	q->asked_until = weir_now() + EXPIRES + GRACE;
	q->reconnects = weir__js_reconnects(js);
	return 0;
}

/* Where messages come in, if it is not there yet. */
static int begin(const weir_ctx *ctx, struct weir__js *js, struct weir__js_queue *q)
{
	const weir_sub_options opt = { .pending_max = 4096, .pending_bytes = (size_t)64 << 20 };
	char inbox[WEIR__JS_NAME];
	int r;

	if (q->sub)
		return 0;
	weir__lock_acquire(&js->lock);
	q->session = ++js->last;
	weir__lock_release(&js->lock);
	snprintf(inbox, sizeof inbox, "%s.f%llu", js->inbox, (unsigned long long)q->session);
	r = weir_bus_follow(ctx, js->bus, inbox, &opt, &q->sub);
	if (r < 0)
		q->sub = NULL;
	q->asked = 0;
	return r;
}

/* Word about a pull request: 408 (its time is over), 409 (the consumer has changed, …), 404. */
static void heed(struct weir__js_queue *q, const weir_msg *m)
{
	char left[24];
	size_t n;

	weir__js_header(m, "Nats-Pending-Messages", left, sizeof left);
	n = *left ? strtoul(left, NULL, 10) : q->asked;
	q->asked -= n < q->asked ? n : q->asked;
}

/* One message, waiting no longer than ctx. 1: a job in *ret; 0: something else; or an error. */
static int next(const weir_ctx *ctx, struct weir__js_queue *q, struct weir__delivery **ret)
{
	int64_t since = weir_now();
	weir_msg m;
	int r = weir_sub_next(ctx, q->sub, &m);

	if (r <= 0)
		return r == 0 ? -EPIPE : r;
	if (!m.reply) {
		heed(q, &m);
		return 0;
	}
	q->asked -= q->asked > 0;
	*ret = weir__js_delivery(&m, since + __atomic_load_n(&q->ack_wait_ns, __ATOMIC_RELAXED));
	return *ret ? 1 : 0;
}

/* What is there already. */
static size_t more(const weir_ctx *ctx, struct weir__js_queue *q, struct weir__delivery **ret,
                   size_t n, size_t max)
{
	weir_ctx now = weir_ctx_shield(ctx, 0);

	while (n < max) {
		int r = next(&now, q, &ret[n]);

		if (r < 0)
			break;
		n += r > 0;
	}
	return n;
}

/* Until something comes, or what was asked for is over. How many, or an error. */
static int await(const weir_ctx *ctx, struct weir__js_queue *q, struct weir__delivery **ret,
                 size_t max)
{
	weir_ctx until = weir_ctx_deadline(ctx, q->asked_until);
	int r = 0;

	while (r == 0 && q->asked)
		r = next(&until, q, ret);
	if (r == -ETIMEDOUT && weir_now() >= q->asked_until) {
		q->asked = 0;
		r = 0;
	}
	return r > 0 ? (int)more(ctx, q, ret, 1, max) : r;
}

int weir__js_fetch(const weir_ctx *ctx, void *engine, const char *queue, size_t max,
                   struct weir__delivery **ret)
{
	weir_ctx shield = weir_ctx_shield(ctx, EXPIRES + GRACE);
	struct weir__js *js = engine;
	struct weir__js_queue *q = weir__js_find(js, queue);
	int r = begin(ctx, js, q), late;

	if (r < 0)
		return r;
	if (weir_now() > q->asked_until || weir__js_reconnects(js) != q->reconnects)
		q->asked = 0;
	if (!weir__js_up(js))
		return -ENOTCONN;
	if (q->in_vain >= IN_VAIN)
		r = weir__js_lay_ghosts(ctx, js, q);
	if (r == 0 && q->asked < max)
		r = ask(ctx, js, q, max - q->asked);
	if (r == 0)
		r = await(ctx, q, ret, max);
	q->in_vain = r > 0 ? 0 : q->in_vain + 1;
	/* A request always has an answer, if only that its time is over. */
	if (r == 0 && weir_now() >= q->asked_until && weir__js_up(js))
		return weir__js_mend(ctx, js, queue);
	if (r >= 0 || !q->asked || weir__js_reconnects(js) != q->reconnects)
		return r;
	late = await(&shield, q, ret, max);
	return late > 0 ? late : r;
}

/* ---- Ends ---- */

static int tell(const weir_ctx *ctx, struct weir__js *js, const struct weir__delivery *d,
                const char *what)
{
	weir_msg m;
	int r = weir__js_ask(ctx, js, d->token, what, &m);

	if (r == 0)
		weir_msg_free(&m);
	return r;
}

int weir__js_ack(const weir_ctx *ctx, void *engine, const char *queue,
                 const struct weir__delivery *d)
{
	(void)queue;
	return tell(ctx, engine, d, "+ACK");
}

int weir__js_gone(const weir_ctx *ctx, struct weir__js *js, const char *queue, uint64_t seq)
{
	char text[48];
	int64_t code;
	weir_msg m;
	int r;

	snprintf(text, sizeof text, "{\"seq\":%llu}", (unsigned long long)seq);
	r = weir__js_message(ctx, js, "GET", "WEIR-", queue, text, &m);
	if (r < 0)
		return r;
	code = strstr(m.data, "\"error\":") ? weir__js_number(&m, "err_code") : 0;
	weir_msg_free(&m);
	return code == WEIR__JS_NO_MESSAGE ? 1 : code ? -ENOTCONN : 0;
}

/* In a work queue what was acknowledged is gone. */
int weir__js_acked(const weir_ctx *ctx, void *engine, const char *queue,
                   const struct weir__delivery *d)
{
	return weir__js_gone(ctx, engine, queue, weir__js_sequence(d->token));
}

int weir__js_nack(const weir_ctx *ctx, void *engine, const char *queue,
                  const struct weir__delivery *d, int64_t delay_ns, bool counted)
{
	char text[64];

	(void)queue;
	(void)counted; /* JetStream counts deliveries. */
	if (delay_ns > 0)
		snprintf(text, sizeof text, "-NAK {\"delay\":%lld}", (long long)delay_ns);
	else
		snprintf(text, sizeof text, "-NAK");
	return tell(ctx, engine, d, text);
}

/* First it is among the dead, under its id and its number in the queue, so that a second try makes
 * no second one; then it leaves the queue. */
int weir__js_bury(const weir_ctx *ctx, void *engine, const char *queue,
                  const struct weir__delivery *d, const char *why)
{
	struct weir__js *js = engine;
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR__JS_ANSWER);
	struct weir__buf headers = WEIR__BUF_INIT;
	char subject[WEIR__JS_NAME], again[24];
	weir_msg m = { .subject = subject, .data = d->job.data, .len = d->job.len }, answer;
	int r = -ENOMEM;

	if (!weir__js_up(js))
		return -ENOTCONN;
	weir__js_name(subject, "weir.dead.", queue);
	/* It may have been dead before, within the window of doubles. */
	snprintf(again, sizeof again, "%llu", (unsigned long long)weir__js_sequence(d->token));
	weir__js_headers(&headers, &d->job, again, why);
	m.headers = headers.data;
	if (!headers.failed)
		r = weir_bus_request_many(&soon, js->bus, &m, &answer, 1);
	if (r == -EMSGSIZE) { /* There is room for it, and not for the reason. */
		weir__buf_clear(&headers);
		weir__js_headers(&headers, &d->job, again, NULL);
		m.headers = headers.data;
		r = headers.failed ? -ENOMEM :
		                     weir_bus_request_many(&soon, js->bus, &m, &answer, 1);
	}
	weir__buf_free(&headers);
	if (r <= 0)
		return weir_ctx_err(ctx) < 0 ? weir_ctx_err(ctx) : -ENOTCONN;
	r = strstr(answer.data, "\"error\":") ? -ENOTCONN : 0;
	if (r < 0)
		weir__log_rare(WEIR__WARN, "queue", "JetStream: a dead job is refused: %.200s",
		               (const char *)answer.data);
	weir_msg_free(&answer);
	return r < 0 ? r : tell(ctx, js, d, "+ACK");
}

int weir__js_extend(const weir_ctx *ctx, void *engine, const char *queue,
                    const struct weir__delivery *d, int64_t *ret_until_ns)
{
	struct weir__js *js = engine;
	struct weir__js_queue *q = weir__js_find(js, queue);
	int64_t since = weir_now();
	int r = tell(ctx, js, d, "+WPI");

	if (r == 0)
		*ret_until_ns = since + __atomic_load_n(&q->ack_wait_ns, __ATOMIC_RELAXED);
	return r;
}
