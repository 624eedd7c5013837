/* SPDX-License-Identifier: MIT */
/*
 * The engine "nats://…": JetStream, spoken over a bus of its own (bus/cluster.c), which has the
 * connection, its renewal and nats.c's threads. What is here is tasks that publish and wait for
 * answers.
 *
 *	nats://host:4222,host2:4222?replicas=3     and all that weir_bus_open() takes
 *
 * A queue is a stream with work-queue retention, WEIR-NAME on the subject weir.queue.NAME, that
 * refuses when it is full, with one durable consumer, `workers`, that all weirs pull from and
 * acknowledge one by one. Dead jobs are in the stream WEIR-DEAD-NAME. Both can be looked at with
 * NATS's own tools.
 *
 *	put      each message has its job's id as Nats-Msg-Id, so what was not confirmed in time is
 *	         published again under it; many at a time go out through a lane, a subscription
 *	         that their answers come back to
 *	fetch    a pull request for as many as there are takers (jetstream_take.c)
 *	ack …    requests to the subject a message came with; JetStream answers when it is done
 *
 * JetStream does not know whose acknowledgement it is: one for an earlier delivery ends a later
 * one. So the layer above must not acknowledge what it may have lost (remote.c's fence).
 *
 * Lock: one, js->lock; nothing is called under it.
 *
 * Rejected: nats.c's own JetStream calls. js_Publish and natsSubscription_Fetch block a thread
 * each; what they send is as short as what is here.
 */
#include "queue/jetstream.h"

#include "base/log.h"
#include "base/units.h"
#include "bus/bus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/sim.h>

#define PUT_MAX  WEIR_SEC(4) /* then it is not confirmed */
#define RESEND   WEIR_SEC(1)
#define MEND_MAX WEIR_SEC(1)

enum { AT_ONCE = 64 }; /* answers that a put waits for before it looks at them */

bool weir__js_up(struct weir__js *js)
{
	weir_bus_stats st = { 0 };

	weir_bus_stats_get(js->bus, &st);
	return st.connected;
}

uint64_t weir__js_reconnects(struct weir__js *js)
{
	weir_bus_stats st = { 0 };

	weir_bus_stats_get(js->bus, &st);
	return st.reconnects;
}

void weir__js_name(char to[WEIR__JS_NAME], const char *prefix, const char *queue)
{
	snprintf(to, WEIR__JS_NAME, "%s%s", prefix, queue);
	for (char *c = to + strlen(prefix); *c; c++)
		if (*c == '.')
			*c = '~';
}

int weir__js_ask(const weir_ctx *ctx, struct weir__js *js, const char *subject, const char *text,
                 weir_msg *ret)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR__JS_ANSWER);
	int r;

	if (!weir__js_up(js))
		return -ENOTCONN;
	r = weir_bus_request(&soon, js->bus, subject, text, strlen(text), ret);
	if (r > 0)
		return 0;
	if (r == -ETIMEDOUT && weir_ctx_err(ctx) == 0 && weir_now() < ctx->deadline_ns)
		return -ENOTCONN;
	return r == -ENETUNREACH || r == -ENOBUFS || r == -EPIPE ? -ENOTCONN : r;
}

int weir__js_message(const weir_ctx *ctx, struct weir__js *js, const char *verb, const char *kind,
                     const char *queue, const char *text, weir_msg *ret)
{
	char subject[2 * WEIR__JS_NAME], name[WEIR__JS_NAME];

	weir__js_name(name, kind, queue);
	snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.%s.%s", verb, name);
	return weir__js_ask(ctx, js, subject, text, ret);
}

/* ---- Put ---- */

static int lane_get(const weir_ctx *ctx, struct weir__js *js, struct weir__js_lane **ret)
{
	struct weir__js_lane *l = NULL;
	struct weir__list *got;
	char pattern[WEIR__JS_NAME + 2];
	uint64_t number;
	int r;

	r = weir_sem_take(ctx, &js->lanes_free);
	if (r < 0)
		return r;
	weir__lock_acquire(&js->lock);
	got = weir__list_pop(&js->lanes);
	number = js->last += !got;
	if (got)
		l = weir__container(got, struct weir__js_lane, link);
	weir__lock_release(&js->lock);
	if (!l) {
		l = calloc(1, sizeof *l);
		if (!l)
			goto fail;
		snprintf(l->inbox, sizeof l->inbox, "%s.p%llu.", js->inbox,
		         (unsigned long long)number);
		snprintf(pattern, sizeof pattern, "%s*", l->inbox);
		r = weir_bus_follow(ctx, js->bus, pattern, NULL, &l->sub);
		if (r < 0)
			goto fail;
	}
	*ret = l;
	return 0;
fail:
	free(l);
	weir_sem_give(&js->lanes_free);
	return r < 0 ? r : -ENOMEM;
}

static void lane_put(struct weir__js *js, struct weir__js_lane *l)
{
	weir__lock_acquire(&js->lock);
	weir__list_prepend(&js->lanes, &l->link);
	weir__lock_release(&js->lock);
	weir_sem_give(&js->lanes_free);
}

/* A publish's answer: {"stream":…,"seq":…,"duplicate": true} or {"error":{"err_code":…}}. */
int weir__js_verdict(const weir_msg *m)
{
	enum { FULL_MSGS = 10077, TOO_LARGE = 10054 };

	if (!m->len || strstr(m->data, "\"error\":")) {
		int64_t code = weir__js_number(m, "err_code");

		if (code == TOO_LARGE)
			return -EMSGSIZE;
		if (code == FULL_MSGS || strstr(m->data, "maximum"))
			return -EAGAIN;
		/* Having lost its leader, say: it may come back. */
		weir__log_rare(WEIR__WARN, "queue", "JetStream: a put is refused: %.200s",
		               (const char *)m->data);
		return -ENOTCONN;
	}
	return strstr(m->data, "\"duplicate\"") ? 1 : 0; /* It is not told when it is false. */
}

/* Does the server take it, and once more among the dead, where it has two ids and a number? */
static int room(struct weir__js *js, const struct weir__remote_job *job, size_t headers)
{
	size_t dead = strlen(job->id) + sizeof "Weir-Id: .18446744073709551615\r\n";

	return headers + dead + WEIR__BUS_FRAME + job->len > weir__bus_payload_max(js->bus) ?
	               -EMSGSIZE :
	               0;
}

/* Its headers are written into a buffer that is there. */
static int send(const weir_ctx *ctx, struct weir__js *js, struct weir__js_lane *l,
                const char *subject, const struct weir__remote_job *job, uint64_t no,
                struct weir__buf *headers)
{
	char reply[WEIR__JS_NAME + 24];
	weir_msg m = { .subject = subject, .reply = reply, .data = job->data, .len = job->len };
	int r;

	snprintf(reply, sizeof reply, "%s%llu", l->inbox, (unsigned long long)no);
	weir__buf_clear(headers);
	weir__js_headers(headers, job, NULL, NULL);
	m.headers = headers->data;
	r = headers->failed ? -ENOMEM : room(js, job, headers->len);
	return r < 0 ? r : weir__bus_publish_more(ctx, js->bus, &m);
}

/* Sends what has no answer yet: r[i] is -EINPROGRESS. */
static int send_all(const weir_ctx *ctx, struct weir__js *js, struct weir__js_lane *l,
                    const char *subject, const struct weir__remote_job *jobs, size_t n, int *r)
{
	struct weir__buf headers = WEIR__BUF_INIT;
	int sent = 0;

	for (size_t i = 0; i < n && sent == 0; i++) {
		if (r[i] != -EINPROGRESS)
			continue;
		sent = send(ctx, js, l, subject, &jobs[i], l->last + i, &headers);
		if (sent == -EMSGSIZE || sent == -ENOMEM) {
			r[i] = sent;
			sent = 0;
		}
	}
	weir__bus_kick(js->bus);
	weir__buf_free(&headers);
	return weir__remote_stops(sent) ? sent : 0; /* Not connected: once more later. */
}

/* Answers, as many as there are or as were waited for. What came, or < 0. */
static int take_answers(const weir_ctx *ctx, struct weir__js_lane *l, size_t n, size_t *left,
                        int *r)
{
	struct weir__bus_msg *m[AT_ONCE];
	int got = weir__sub_gather(ctx, l->sub, *left < AT_ONCE ? *left : AT_ONCE, m, AT_ONCE);

	for (int j = 0; j < got; j++) {
		weir_msg view = { .data = m[j]->data, .len = m[j]->len };
		const char *no = strrchr(m[j]->subject, '.');
		uint64_t i = no ? strtoull(no + 1, NULL, 10) - l->last : n;

		if (i < n && r[i] == -EINPROGRESS) {
			r[i] = weir__js_verdict(&view);
			--*left;
		}
		weir__bus_msg_unref(m[j]);
	}
	return got;
}

/* Up to WEIR__JS_BATCH. */
static int put_some(const weir_ctx *ctx, struct weir__js *js, struct weir__js_lane *l,
                    const char *subject, const struct weir__remote_job *jobs, size_t n, int *r)
{
	int64_t end = weir_now() + PUT_MAX, again = 0;
	uint64_t reconnects = weir__js_reconnects(js);
	size_t left = n;
	int err = 0;

	for (size_t i = 0; i < n; i++)
		r[i] = -EINPROGRESS;
	while (err == 0 && left && weir_now() < end) {
		weir_ctx soon;
		int got;

		if (weir_now() >= again) {
			uint64_t now = weir__js_reconnects(js);

			if (again == 0 || now != reconnects || weir__js_up(js))
				err = send_all(ctx, js, l, subject, jobs, n, r);
			reconnects = now;
			again = weir_now() + RESEND;
			for (left = 0, got = 0; (size_t)got < n; got++)
				left += r[got] == -EINPROGRESS;
			continue;
		}
		soon = weir_ctx_deadline(ctx, again < end ? again : end);
		got = take_answers(&soon, l, n, &left, r);
		if (got <= 0 && (got != -ETIMEDOUT || weir_now() >= ctx->deadline_ns))
			err = got == 0 ? -EPIPE : got;
	}
	l->last += n;
	for (size_t i = 0; i < n; i++)
		if (r[i] == -EINPROGRESS)
			r[i] = err < 0 ? err : -ENOTCONN;
	return err == -EPIPE ? 0 : err;
}

static int put(const weir_ctx *ctx, void *engine, const char *queue,
               const struct weir__remote_job *jobs, size_t n, int *ret)
{
	struct weir__js *js = engine;
	struct weir__js_lane *l;
	char subject[WEIR__JS_NAME];
	bool mute = false;
	weir_ctx soon;
	size_t done = 0;
	int r = weir__js_up(js) ? 0 : -ENOTCONN;

	weir__js_name(subject, "weir.queue.", queue);
	if (r == 0)
		r = lane_get(ctx, js, &l);
	if (r == 0) {
		while (done < n && r == 0) {
			size_t some = n - done < WEIR__JS_BATCH ? n - done : WEIR__JS_BATCH;

			r = put_some(ctx, js, l, subject, jobs + done, some, ret + done);
			done += some;
		}
		lane_put(js, l);
	}
	soon = weir_ctx_timeout(ctx, MEND_MAX);
	for (size_t i = 0; i < done && r == 0; i++)
		mute = mute || ret[i] == -ENOTCONN;
	if (mute && weir__js_up(js))
		(void)weir__js_mend(&soon, js, queue);
	for (; done < n; done++)
		ret[done] = r;
	return weir__remote_stops(r) ? r : 0;
}

static int fits(void *engine, const struct weir__remote_job *job)
{
	struct weir__js *js = engine;
	struct weir__buf headers = WEIR__BUF_INIT;
	int r;

	weir__js_headers(&headers, job, NULL, NULL);
	r = headers.failed ? -ENOMEM : room(js, job, headers.len);
	weir__buf_free(&headers);
	return r;
}

/* ---- Life ---- */

/* The URL without what is ours: ?replicas=N. */
static int read_url(const char *url, char *bus_url, unsigned *replicas)
{
	const char *mark = strchr(url, '?');
	size_t n = mark ? (size_t)(mark - url) : strlen(url);
	char sep = '?';

	memcpy(bus_url, url, n);
	for (const char *at = mark ? mark + 1 : ""; *at;) {
		size_t len = strcspn(at, "&");

		if (!strncmp(at, "replicas=", 9)) {
			char *end;

			*replicas = (unsigned)strtoul(at + 9, &end, 10);
			if (end != at + len || *replicas < 1 || *replicas > 5) {
				weir__log(WEIR__ERROR, "queue",
				          "replicas=%.*s: JetStream keeps 1 to 5 copies",
				          (int)(len - 9), at + 9);
				return -EINVAL;
			}
		} else {
			bus_url[n++] = sep;
			memcpy(bus_url + n, at, len);
			n += len;
			sep = '&';
		}
		at += len + (at[len] == '&');
	}
	bus_url[n] = 0;
	return 0;
}

static int check_server(const weir_ctx *ctx, struct weir__js *js)
{
	weir_msg m;
	int r = weir__js_ask(ctx, js, "$JS.API.INFO", "", &m);

	if (r == -ENOTCONN) {
		weir__log(WEIR__ERROR, "queue",
		          "the NATS server has no JetStream: start it with -js");
		return -ECONNREFUSED;
	}
	if (r < 0)
		return r;
	if (strstr(m.data, "\"error\":")) {
		weir__log(WEIR__ERROR, "queue", "JetStream: %.200s", (const char *)m.data);
		r = -EACCES;
	}
	weir_msg_free(&m);
	return r;
}

static void close_js(const weir_ctx *ctx, void *engine)
{
	struct weir__js *js = engine;
	struct weir__list *l;

	(void)ctx;
	while ((l = weir__list_pop(&js->lanes))) {
		struct weir__js_lane *lane = weir__container(l, struct weir__js_lane, link);

		(void)weir_sub_close(lane->sub);
		free(lane);
	}
	while ((l = weir__list_pop(&js->queues))) {
		struct weir__js_queue *q = weir__container(l, struct weir__js_queue, link);

		(void)weir_sub_close(q->sub);
		free(q);
	}
	weir_bus_close(js->bus);
	free(js);
}

static int open_js(const weir_ctx *ctx, const char *url, const weir_store_options *opt, void **ret)
{
	struct weir__js *js = calloc(1, sizeof *js);
	char *bus_url = malloc(strlen(url) + 2);
	int r = -ENOMEM;

	if (!js || !bus_url)
		goto fail;
	weir__list_init(&js->lanes);
	weir__list_init(&js->queues);
	weir_sem_init(&js->lanes_free, WEIR__JS_LANES);
	js->replicas = 1;
	js->duplicates_ns = opt->idempotency_ns;
	snprintf(js->inbox, sizeof js->inbox, "_INBOX.weir-%08x%08x", weir_random(UINT32_MAX),
	         weir_random(UINT32_MAX));
	r = read_url(url, bus_url, &js->replicas);
	if (r == 0)
		r = weir_bus_open(ctx, bus_url, &js->bus);
	if (r < 0)
		goto fail;
	r = check_server(ctx, js);
	if (r < 0) {
		close_js(ctx, js);
		js = NULL;
		goto fail;
	}
	free(bus_url);
	*ret = js;
	return 0;
fail:
	free(bus_url);
	free(js);
	return r;
}

static bool up(void *engine)
{
	return weir__js_up(engine);
}

const struct weir__remote_engine weir__engine_jetstream = {
	.open = open_js,
	.close = close_js,
	.up = up,
	.make = weir__js_make,
	.put = put,
	.fits = fits,
	.fetch = weir__js_fetch,
	.ack = weir__js_ack,
	.acked = weir__js_acked,
	.nack = weir__js_nack,
	.bury = weir__js_bury,
	.extend = weir__js_extend,
	.count = weir__js_count,
	.redrive = weir__js_redrive,
};
