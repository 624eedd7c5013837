/* SPDX-License-Identifier: MIT */
/*
 * Receiving jobs from SQS, and ending them.
 *
 * A poll cannot be called back: a message that the service gives to one whose client has gone is
 * hidden for its whole time, and that was an attempt. So a poll is short (`wait` of the URL, two
 * seconds), and a fetch whose takers have gone stays for the poll's time and LATE; what comes by
 * then is handed up. With a longer wait it is cut off.
 *
 * A message is hidden from a moment that only the service knows. It is asked to hide it for the
 * lease and the poll's own time, and the time is counted from before the poll: so it is on the safe
 * side, and a lease long.
 *
 * SQS tells deliveries of one message apart by receipt handles, but says itself that an old handle
 * may still delete: so the fence is time here too (remote.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/sqs.h"

#define ANSWER WEIR_SEC(5) /* how long it may take beyond the poll's time */
#define LATE   WEIR_MS(500)
#define AGAIN  WEIR_MS(250)
#define SHORT  2 /* seconds: polls that are waited for */

enum { POLLS = WEIR__SQS_ROUND };

static void write_poll(struct weir__sqs_queue *q, bool dead, struct weir__buf *b, size_t max,
                       int64_t wait_s)
{
	weir__sqs_begin(q, dead, b);
	weir__buf_printf(b,
	                 ",\"MaxNumberOfMessages\":%zu,\"WaitTimeSeconds\":%lld,"
	                 "\"VisibilityTimeout\":%lld,\"MessageAttributeNames\":[\"All\"],"
	                 "\"AttributeNames\":[\"ApproximateReceiveCount\",\"SentTimestamp\"]}",
	                 max < WEIR__SQS_BATCH ? max : WEIR__SQS_BATCH, (long long)wait_s,
	                 (long long)(__atomic_load_n(&q->lease_s, __ATOMIC_RELAXED) + wait_s));
}

/* Some polls at once, for up to max. How many came, or an error. */
static int poll_with(const weir_ctx *ctx, struct weir__sqs *s, struct weir__sqs_queue *q, bool dead,
                     size_t polls, size_t max, int64_t wait_s, struct weir__delivery **ret)
{
	int64_t until =
		weir_now() + WEIR_SEC(__atomic_load_n(&q->lease_s, __ATOMIC_RELAXED) + wait_s);
	struct weir__sqs_call c[POLLS] = { 0 };
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < polls; i++) {
		size_t want = max - i * WEIR__SQS_BATCH;

		c[i].action = "ReceiveMessage";
		c[i].timeout_ns = WEIR_SEC(wait_s) + ANSWER;
		c[i].late_ns = wait_s > SHORT ? 0 : WEIR_SEC(wait_s) + LATE;
		/* A character of a message may take six in JSON. */
		c[i].answer_max = 8 * (size_t)WEIR__SQS_MESSAGE;
		write_poll(q, dead, &c[i].body, want, wait_s);
		if (c[i].body.failed)
			r = -ENOMEM;
	}
	if (r == 0)
		r = weir__sqs_call(ctx, s, c, polls);
	for (size_t i = 0; i < polls; i++) {
		if (c[i].result == 0)
			n += weir__sqs_deliveries(&c[i].answer, until, ret + n, max - n);
		else if (r == 0)
			r = c[i].result;
	}
	weir__sqs_call_free(c, POLLS);
	return n ? (int)n : r;
}

int weir__sqs_fetch(const weir_ctx *ctx, void *engine, const char *queue, size_t max,
                    struct weir__delivery **ret)
{
	struct weir__sqs *s = engine;
	struct weir__sqs_queue *q = weir__sqs_find(s, queue);
	size_t more;
	int r, rest;

	r = poll_with(ctx, s, q, false, 1, max, s->wait_s, ret);
	if (r == -ENOENT) {
		r = weir__sqs_remake(ctx, s, q);
		return r < 0 ? r : 0;
	}
	if (r == WEIR__SQS_BATCH && max > WEIR__SQS_BATCH) {
		more = (max - WEIR__SQS_BATCH + WEIR__SQS_BATCH - 1) / WEIR__SQS_BATCH;
		more = more < POLLS ? more : POLLS;
		rest = poll_with(ctx, s, q, false, more, max - WEIR__SQS_BATCH, 0, ret + r);
		r += rest > 0 ? rest : 0;
	}
	return r == -EAGAIN || r == -EACCES || r == -EIO || r == -EMSGSIZE ? -ENOTCONN : r;
}

/* ---- Ends ---- */

/* The members of an entry about a delivery. 0 or -ENOMEM. */
static int write_end(struct weir__buf *b, const char *token, int64_t hide_s)
{
	weir__buf_str(b, ",\"ReceiptHandle\":");
	weir__buf_json(b, token, strlen(token));
	if (hide_s >= 0)
		weir__buf_printf(b, ",\"VisibilityTimeout\":%lld", (long long)hide_s);
	if (!b->failed)
		return 0;
	weir__buf_free(b);
	return -ENOMEM;
}

/* One entry with the delivery's handle. 0; -ESTALE; -ENOTCONN; -EOPNOTSUPP; the context's error. */
static int tell(const weir_ctx *ctx, struct weir__sqs_lane *l, const struct weir__delivery *d,
                int64_t hide_s)
{
	struct weir__sqs_entry e = { .json = WEIR__BUF_INIT };
	int r;

	if (write_end(&e.json, d->token, hide_s) < 0)
		return -ENOMEM;
	/* What was sent has a result, also when the context has ended meanwhile. */
	(void)weir__sqs_send(ctx, l, &e, 1);
	r = e.result;
	/* It is not hidden for more than twelve hours in all, and a handle may be of long ago. */
	return r == -EIO ? -ESTALE : r == -EAGAIN || r == -EACCES || r == -ENOENT ? -ENOTCONN : r;
}

int weir__sqs_ack(const weir_ctx *ctx, void *engine, const char *queue,
                  const struct weir__delivery *d)
{
	return tell(ctx, &weir__sqs_find(engine, queue)->remove, d, -1);
}

int weir__sqs_nack(const weir_ctx *ctx, void *engine, const char *queue,
                   const struct weir__delivery *d, int64_t delay_ns, bool counted)
{
	int64_t delay_s = (delay_ns + WEIR_SEC(1) - 1) / WEIR_SEC(1);

	(void)counted; /* SQS counts what it gave. */
	if (delay_s > WEIR__SQS_HIDDEN)
		return -EOPNOTSUPP;
	return tell(ctx, &weir__sqs_find(engine, queue)->hide, d, delay_s);
}

/* Once it is among the dead, only its leaving the queue is tried again, so that it is there once;
 * unless the first answer got lost. */
int weir__sqs_bury(const weir_ctx *ctx, void *engine, const char *queue,
                   const struct weir__delivery *d, const char *why)
{
	struct weir__sqs_queue *q = weir__sqs_find(engine, queue);
	struct weir__sqs_entry e;
	char plain[256];
	int r;

	snprintf(plain, sizeof plain, "%s", why ? why : "it was given up");
	for (char *c = plain; *c; c++)
		if ((unsigned char)*c < ' ') /* No attribute may have it. */
			*c = ' ';
	r = weir__sqs_entry_of(&d->job, plain, &e);
	if (r == -EMSGSIZE)
		r = weir__sqs_entry_of(&d->job, "", &e);
	if (r < 0)
		return r;
	r = weir__sqs_send(ctx, &q->bury, &e, 1);
	if (e.result < 0)
		return r < 0 ? r : -ENOTCONN;
	do
		r = tell(ctx, &q->remove, d, -1);
	while (r == -ENOTCONN && weir_now() < __atomic_load_n(&d->until_ns, __ATOMIC_RELAXED) &&
	       weir_sleep(ctx, AGAIN) == 0);
	return r;
}

int weir__sqs_extend(const weir_ctx *ctx, void *engine, const char *queue,
                     const struct weir__delivery *d, int64_t *ret_until_ns)
{
	struct weir__sqs_queue *q = weir__sqs_find(engine, queue);
	int64_t lease = __atomic_load_n(&q->lease_s, __ATOMIC_RELAXED), since = weir_now();
	int r = tell(ctx, &q->hide, d, lease);

	if (r == 0)
		*ret_until_ns = since + WEIR_SEC(lease);
	return r;
}

/* ---- Redrive ---- */

enum { STAYED = 100 };

/* What stays among the dead: given back at the end, for at once they would come again and again.
 * Those beyond STAYED are hidden for a lease. */
struct stayed {
	struct weir__delivery *d[STAYED];
	size_t n;
};

/* Takes d over. */
static void keep(struct stayed *k, struct weir__delivery *d)
{
	/* A payload may be a megabyte. */
	struct weir__delivery *small = weir__delivery_new(
		&(struct weir__remote_job){ .id = d->job.id }, d->attempt, d->token, d->until_ns);

	free(d);
	if (small && k->n < STAYED)
		k->d[k->n++] = small;
	else
		free(small);
}

/* Frees them all; `tells` SQS of them first. */
static void give_back(const weir_ctx *ctx, struct weir__sqs_queue *q, struct stayed *k, bool tells)
{
	struct weir__sqs_entry e[WEIR__SQS_BATCH];
	weir_ctx late = weir_ctx_shield(ctx, ANSWER);
	size_t m = 0;

	for (size_t i = 0; i < k->n; i++) {
		e[m] = (struct weir__sqs_entry){ .json = WEIR__BUF_INIT };
		m += tells && write_end(&e[m].json, k->d[i]->token, 0) == 0;
		free(k->d[i]);
		if (m == WEIR__SQS_BATCH || i + 1 == k->n) {
			(void)weir__sqs_send(&late, &q->rebury, e, m);
			m = 0;
		}
	}
}

/* Sent anew, some at once: each[i] as weir__sqs_entry.result. */
static void send_anew(const weir_ctx *ctx, struct weir__sqs_queue *q, struct weir__delivery **got,
                      int n, int *each)
{
	struct weir__sqs_entry e[WEIR__SQS_BATCH];
	int of[WEIR__SQS_BATCH];
	size_t m = 0;

	for (int i = 0; i < n; i++) {
		each[i] = weir__sqs_entry_of(&got[i]->job, NULL, &e[m]);
		of[m] = i;
		m += each[i] == 0;
	}
	if (m)
		(void)weir__sqs_send(ctx, &q->send, e, m);
	for (size_t k = 0; k < m; k++)
		each[of[k]] = e[k].result;
}

/* It is this message that the service does not take, or one that was sent together with it. */
static bool unfit(int r)
{
	return r == -EIO || r == -EMSGSIZE;
}

/* Up to a batch of the dead: sent anew, and deleted where they were when that was answered. 1; 0:
 * none came; or what stopped it. StartMessageMoveTask would do it there, but only for a queue that
 * a RedrivePolicy names. */
static int redrive_some(const weir_ctx *ctx, struct weir__sqs *s, struct weir__sqs_queue *q,
                        size_t max, struct weir__redriven *d, struct stayed *stayed)
{
	struct weir__delivery *got[WEIR__SQS_BATCH];
	int n = poll_with(ctx, s, q, true, 1, max, 1, got), each[WEIR__SQS_BATCH], r = n;
	weir_ctx late;

	send_anew(ctx, q, got, n, each);
	for (int i = 0; n > 1 && i < n; i++) /* A batch may be refused for one of it. */
		if (unfit(each[i]))
			send_anew(ctx, q, &got[i], 1, &each[i]);
	late = weir_ctx_shield(ctx, ANSWER);
	for (int i = 0; i < n; i++) {
		if (each[i] == 0) {
			(void)tell(&late, &q->raise, got[i], -1);
			d->done++;
			free(got[i]);
			continue;
		}
		if (unfit(each[i])) {
			weir__redrive_leave(d, got[i]->job.id,
			                    each[i] == -EIO ? "SQS refuses it, the log says why" :
			                                      "it is larger than SQS takes");
		} else {
			r = each[i];
		}
		keep(stayed, got[i]);
	}
	return r;
}

static void say_why(weir_redrive_left *left, int r)
{
	if (r == -EAGAIN)
		snprintf(left->why, sizeof left->why, "SQS throttles requests; try later");
	else if (r == -EACCES)
		snprintf(left->why, sizeof left->why,
		         "SQS refuses our key, or what it may do; the log says which");
}

int weir__sqs_redrive(const weir_ctx *ctx, void *engine, const char *queue,
                      struct weir__redriven *d)
{
	struct weir__sqs_queue *q = weir__sqs_find(engine, queue);
	struct weir__remote_counts c = { 0 };
	struct stayed stayed = { .n = 0 };
	int r = weir__sqs_count(ctx, engine, queue, &c);
	int64_t rest = 1;

	d->dead = c.dead;
	if (r == 0)
		r = 1;
	while (r > 0 && (rest = weir__redrive_rest(d)) > 0)
		r = redrive_some(ctx, engine, q,
		                 rest < WEIR__SQS_BATCH ? (size_t)rest : WEIR__SQS_BATCH, d,
		                 &stayed);
	give_back(ctx, q, &stayed, r != -ENOTCONN);
	if (r == 0 && rest > 0) {
		d->left.n += rest;
		if (!*d->left.why)
			snprintf(d->left.why, sizeof d->left.why,
			         "SQS counts them and does not give them: what another has taken "
			         "there comes back within its lease");
	}
	say_why(&d->left, r);
	return r >= 0 ? 0 : weir__remote_stops(r) || r == -ENOMEM ? r : -ENOTCONN;
}
