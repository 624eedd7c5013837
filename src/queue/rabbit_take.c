/* SPDX-License-Identifier: MIT */
/*
 * The line of takes: jobs that come, and what becomes of them.
 *
 * A fetch opens a consumer whose prefetch is the number of takers that wait, and the first job that
 * comes ends it: the consumer is cancelled, and what was on its way until the server has heard that
 * stays in the queue's box for the next fetch, or goes back when none comes soon. So no more jobs
 * leave the server than there are workers for. Rejected: a consumer that stays, with a prefetch
 * for all the workers there may be: whenever a job is done the server sends the next, whether its
 * worker comes back or not, and to give it back counts as an attempt.
 *
 * AMQP answers neither acknowledgement nor refusal. A question behind it on the same channel
 * (basic.qos) is answered when the server has read both; the barrier that is numbered `due`. A
 * second end of one delivery closes the channel, and all that is held over it runs again: so each
 * is said once. Until somebody has heard the answer to it, it is remembered (`said`), for who asks
 * again: one whose answer is late is waited for as long as the server is not silent, and one whose
 * task had left when the answer came is `unheard`.
 */
#include "queue/rabbit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define LINGER  WEIR_MS(500)
#define REFRESH WEIR_SEC(20) /* a consumer that brought nothing is made anew */

enum { UNHEARD_MAX = 4096 }; /* hardly ever more than a few; the oldest is forgotten */

enum state { NONE, OPEN, CLOSING };

struct box {
	struct weir__list link; /* takes->boxes */
	char queue[WEIR__RMQ_NAME], tag[24];
	enum state state;
	struct weir__rmq_op *fetch;
	struct weir__list in; /* struct weir__delivery: come, and not yet fetched */
	size_t in_n;
	int64_t since; /* there is something in it without a fetch */
};

struct takes {
	struct weir__list boxes, waiting;
	struct weir__hash_table said; /* ends by their tag: of each delivery the last asked for */
	struct weir__list unheard;    /* of these, who were answered when their task had left */
	size_t unheard_n;
	uint64_t asked, answered; /* barriers */
	uint64_t tags;
	bool ask; /* something waits for a barrier that was not yet sent */
};

static int begin(struct weir__rmq_line *l)
{
	struct takes *t = l->state;

	if (!t) {
		t = calloc(1, sizeof *t);
		if (!t)
			return -ENOMEM;
		weir__list_init(&t->boxes);
		weir__list_init(&t->waiting);
		weir__list_init(&t->unheard);
		l->state = t;
	}
	return 0;
}

static struct box *box_of(struct takes *t, const char *queue)
{
	struct box *b;

	weir__list_each (node, &t->boxes) {
		b = weir__container(node, struct box, link);
		if (!strcmp(b->queue, queue))
			return b;
	}
	b = calloc(1, sizeof *b);
	if (!b)
		return NULL;
	memcpy(b->queue, queue, strlen(queue) + 1);
	weir__list_init(&b->in);
	weir__list_append(&t->boxes, &b->link);
	return b;
}

static struct box *box_tagged(struct takes *t, amqp_bytes_t tag)
{
	weir__list_each (node, &t->boxes) {
		struct box *b = weir__container(node, struct box, link);

		if (strlen(b->tag) == tag.len && !memcmp(b->tag, tag.bytes, tag.len))
			return b;
	}
	return NULL;
}

static int limit(struct weir__rmq_line *l, size_t n)
{
	struct takes *t = l->state;
	amqp_basic_qos_t qos = { .prefetch_count = (uint16_t)n };

	t->asked++;
	return weir__rmq_send(l, WEIR__RMQ_WORK, AMQP_BASIC_QOS_METHOD, &qos);
}

static int open_consumer(struct weir__rmq_line *l, struct box *b)
{
	struct takes *t = l->state;
	amqp_basic_consume_t c = { .queue = amqp_cstring_bytes(b->queue), .nowait = true };
	int r;

	snprintf(b->tag, sizeof b->tag, "weir-%llu", (unsigned long long)++t->tags);
	c.consumer_tag = amqp_cstring_bytes(b->tag);
	b->state = OPEN;
	b->fetch->end_ns = weir_now() + REFRESH;
	r = limit(l, b->fetch->max);
	return r < 0 ? r : weir__rmq_send(l, WEIR__RMQ_WORK, AMQP_BASIC_CONSUME_METHOD, &c);
}

static int close_consumer(struct weir__rmq_line *l, struct box *b)
{
	amqp_basic_cancel_t c = { .consumer_tag = amqp_cstring_bytes(b->tag) };

	b->state = CLOSING;
	if (b->fetch)
		b->fetch->end_ns = weir_now() + WEIR__RMQ_ANSWER;
	return weir__rmq_send(l, WEIR__RMQ_WORK, AMQP_BASIC_CANCEL_METHOD, &c);
}

static int requeue(struct weir__rmq_line *l, uint64_t tag)
{
	amqp_basic_nack_t nack = { .delivery_tag = tag, .requeue = true };

	return weir__rmq_send(l, WEIR__RMQ_WORK, AMQP_BASIC_NACK_METHOD, &nack);
}

static int send_back(struct weir__rmq_line *l, struct weir__list *from)
{
	struct weir__list *node;
	int r = 0;

	while ((node = weir__list_pop(from))) {
		struct weir__delivery *d = weir__container(node, struct weir__delivery, link);
		const char *tag = strchr(d->token, '.');

		if (r == 0)
			r = requeue(l, strtoull(tag + 1, NULL, 10));
		free(d);
	}
	return r;
}

/* The fetch has what there is, or nothing. */
static int complete(struct weir__rmq_line *l, struct box *b, int r)
{
	struct weir__rmq_op *op = b->fetch;
	struct weir__list *node;

	b->fetch = NULL;
	while (r >= 0 && op->got_n < op->max && (node = weir__list_pop(&b->in))) {
		weir__list_append(&op->got, node);
		op->got_n++;
		b->in_n--;
	}
	b->since = weir_now();
	r = weir__rmq_done(op, r < 0 ? r : (int)op->got_n) ? 0 : 1;
	if (r == 0)
		return 0;
	r = send_back(l, &op->got);
	weir__rmq_op_unref(op);
	return r;
}

/* What a fetch comes to at the moment. */
static int attend(struct weir__rmq_line *l, struct box *b)
{
	bool over = __atomic_load_n(&b->fetch->cancel, __ATOMIC_ACQUIRE) ||
	            (b->state == OPEN && weir_now() >= b->fetch->end_ns);
	int r = 0;

	if (b->in_n) {
		if (b->state == OPEN)
			r = close_consumer(l, b);
		return r < 0 ? r : complete(l, b, 0);
	}
	switch (b->state) {
	case NONE:
		return over ? complete(l, b, 0) : open_consumer(l, b);
	case OPEN:
		return over ? close_consumer(l, b) : 0;
	case CLOSING: /* Until that is confirmed something may come. */
		if (weir_now() < b->fetch->end_ns)
			return 0;
		b->fetch->end_ns = weir_now() + WEIR__RMQ_ANSWER;
		return weir__rmq_silent(l) ? -EPIPE : 0;
	}
	return 0;
}

static int fetch(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	struct box *b = box_of(l->state, op->queue);
	int r = 0;

	if (!b) {
		weir__rmq_end(op, -ENOMEM);
		return 0;
	}
	if (b->fetch) /* One at a time: that before it was left by its task. */
		r = complete(l, b, -ENOTCONN);
	b->fetch = op;
	op->end_ns = weir_now() + WEIR__RMQ_ANSWER;
	return r < 0 ? r : attend(l, b);
}

static struct weir__rmq_op *said_of(const struct takes *t, uint64_t tag)
{
	weir__hash_each (x, &t->said, tag) /* Tags are numbers in a row. */
		return weir__container(x, struct weir__rmq_op, said);
	return NULL;
}

/* One that nobody heard. */
static void forget(struct takes *t, struct weir__rmq_op *op)
{
	weir__hash_remove(&t->said, &op->said);
	weir__list_remove(&op->link);
	t->unheard_n--;
	weir__rmq_op_unref(op);
}

/* The server has read it. */
static void confirmed(struct takes *t, struct weir__rmq_op *op)
{
	if (said_of(t, op->tag) != op) {
		weir__rmq_end(op, 0); /* Who asked again hears it. */
		return;
	}
	weir__hash_remove(&t->said, &op->said);
	if (weir__rmq_done(op, 0))
		return;
	if (t->unheard_n == UNHEARD_MAX)
		forget(t, weir__container(t->unheard.next, struct weir__rmq_op, link));
	weir__hash_add(&t->said, &op->said, op->tag);
	weir__list_append(&t->unheard, &op->link);
	t->unheard_n++;
}

static int end(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	amqp_basic_ack_t ack = { .delivery_tag = op->tag };
	amqp_basic_reject_t reject = { .delivery_tag = op->tag };
	struct takes *t = l->state;
	struct weir__rmq_op *said = said_of(t, op->tag);
	bool again = said != NULL;
	int r;

	/* What was said first holds, and another end than that comes too late. */
	if (op->generation != __atomic_load_n(&l->generation, __ATOMIC_ACQUIRE) ||
	    (said && said->verb != op->verb)) {
		weir__rmq_end(op, -ESTALE);
		return 0;
	}
	if (said && said->ended)
		forget(t, said);
	else if (said)
		weir__hash_remove(&t->said, &said->said);
	weir__hash_add(&t->said, &op->said, op->tag);
	weir__list_append(&t->waiting, &op->link);
	op->end_ns = weir_now() + WEIR__RMQ_ANSWER;
	op->due = t->asked + 1;
	t->ask = true;
	if (again)
		return 0;
	if (op->verb == WEIR__RMQ_ACK)
		r = weir__rmq_send(l, WEIR__RMQ_WORK, AMQP_BASIC_ACK_METHOD, &ack);
	else if (op->verb == WEIR__RMQ_REJECT)
		r = weir__rmq_send(l, WEIR__RMQ_WORK, AMQP_BASIC_REJECT_METHOD, &reject);
	else
		r = requeue(l, op->tag);
	return r;
}

static int heed(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	return op->verb == WEIR__RMQ_FETCH ? fetch(l, op) : end(l, op);
}

/* It found no place here: it goes back, and nobody is sent for more for now. */
static int no_place(struct weir__rmq_line *l, struct box *b, uint64_t tag)
{
	int r = requeue(l, tag);

	weir__log_rare(WEIR__ERROR, "queue", "RabbitMQ: a job found no memory here, and goes back");
	if (r == 0 && b && b->state == OPEN)
		r = close_consumer(l, b);
	return r == 0 && b && b->fetch ? complete(l, b, -ENOMEM) : r;
}

static int delivered(struct weir__rmq_line *l, const amqp_basic_deliver_t *d)
{
	struct box *b = box_tagged(l->state, d->consumer_tag);
	int64_t now = weir_now();
	struct weir__delivery *job;
	char token[72];

	snprintf(token, sizeof token, "%llu.%llu.%lld",
	         (unsigned long long)__atomic_load_n(&l->generation, __ATOMIC_RELAXED),
	         (unsigned long long)d->delivery_tag, (long long)now);
	job = b ? weir__rmq_delivery(l->props, l->body, l->body_len, token, now + l->silence_ns) :
	          NULL;
	if (!job)
		return no_place(l, b, d->delivery_tag);
	if (!b->in_n)
		b->since = now;
	weir__list_append(&b->in, &job->link);
	b->in_n++;
	return 0;
}

static int hear(struct weir__rmq_line *l, const amqp_frame_t *f)
{
	struct takes *t = l->state;
	struct box *b;

	switch (f->payload.method.id) {
	case AMQP_BASIC_DELIVER_METHOD:
		return delivered(l, f->payload.method.decoded);
	case AMQP_BASIC_QOS_OK_METHOD:
		t->answered++;
		return 0;
	case AMQP_BASIC_CANCEL_OK_METHOD: {
		const amqp_basic_cancel_ok_t *ok = f->payload.method.decoded;

		b = box_tagged(t, ok->consumer_tag);
		if (b)
			b->state = NONE;
		return 0;
	}
	case AMQP_BASIC_CANCEL_METHOD: { /* The queue was deleted. */
		const amqp_basic_cancel_t *c = f->payload.method.decoded;

		b = box_tagged(t, c->consumer_tag);
		if (b)
			b->state = NONE;
		return b && b->fetch ? complete(l, b, -ENOENT) : 0;
	}
	default:
		return 0;
	}
}

static int rest_of(struct weir__rmq_line *l, struct box *b, int64_t *ret_at)
{
	int64_t at = WEIR_NEVER;
	int r = 0;

	if (b->fetch)
		r = attend(l, b);
	if (r == 0 && b->fetch)
		at = b->fetch->end_ns;
	if (r == 0 && !b->fetch && b->in_n) {
		at = b->since + LINGER;
		if (weir_now() >= at) {
			b->in_n = 0;
			r = send_back(l, &b->in);
		}
	}
	if (at < *ret_at)
		*ret_at = at;
	return r;
}

static int rest(struct weir__rmq_line *l, int64_t *ret_at)
{
	struct takes *t = l->state;
	int r = t->ask ? limit(l, 1) : 0;

	t->ask = false;
	weir__list_each_safe (node, &t->waiting) {
		struct weir__rmq_op *op = weir__container(node, struct weir__rmq_op, link);

		if (op->due > t->answered) {
			if (weir_now() >= op->end_ns) {
				if (weir__rmq_silent(l))
					return -EPIPE;
				op->end_ns = weir_now() + WEIR__RMQ_ANSWER;
			}
			*ret_at = op->end_ns;
			break;
		}
		weir__list_remove(&op->link);
		confirmed(t, op);
	}
	weir__list_each (node, &t->boxes)
		if (r == 0)
			r = rest_of(l, weir__container(node, struct box, link), ret_at);
	return r;
}

static void drop(const struct weir__rmq_line *l, struct box *b)
{
	/* It may have been the one of this consumer: then it is to be made again. */
	int why = l->missing && b->state == OPEN ? -ENOENT : -ENOTCONN;
	struct weir__list *node;

	while ((node = weir__list_pop(&b->in)))
		free(weir__container(node, struct weir__delivery, link));
	b->in_n = 0;
	b->state = NONE;
	*b->tag = 0;
	if (b->fetch && !weir__rmq_done(b->fetch, why))
		weir__rmq_op_unref(b->fetch);
	b->fetch = NULL;
}

/* What was held is another's: the server gives it away at once. */
static void lost(struct weir__rmq_line *l)
{
	struct takes *t = l->state;
	struct weir__list *node;

	if (!t)
		return;
	weir__list_each (at, &t->boxes)
		drop(l, weir__container(at, struct box, link));
	while (t->unheard_n)
		forget(t, weir__container(t->unheard.next, struct weir__rmq_op, link));
	while ((node = weir__list_pop(&t->waiting)))
		weir__rmq_end(weir__container(node, struct weir__rmq_op, link), -ESTALE);
	weir__hash_free(&t->said);
	t->asked = t->answered = 0;
	t->ask = false;
}

static void fini(struct weir__rmq_line *l)
{
	struct takes *t = l->state;
	struct weir__list *node;

	while (t && (node = weir__list_pop(&t->boxes)))
		free(weir__container(node, struct box, link));
	free(t);
}

const struct weir__rmq_role weir__rmq_takes = {
	.name = "weir: takes",
	.begin = begin,
	.heed = heed,
	.hear = hear,
	.rest = rest,
	.lost = lost,
	.fini = fini,
};
