/* SPDX-License-Identifier: MIT */
/*
 * The line of puts: messages go out as they come, and each is confirmed or refused by its number.
 * At most WEIR__RMQ_WINDOW wait for that; orders that do not fit wait behind them.
 *
 * RabbitMQ does not drop doubles, so nothing is sent twice: what was not confirmed in time, or when
 * the connection broke, is there or is not, and its task is told so.
 */
#include "queue/rabbit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sent {
	struct weir__rmq_op *op; /* NULL: answered */
	size_t i;
};

struct puts {
	struct weir__list waiting;
	uint64_t first, next; /* numbers of those without an answer: first … next-1 */
	struct sent ring[WEIR__RMQ_WINDOW];
};

static struct sent *at(struct puts *p, uint64_t no)
{
	return &p->ring[no % WEIR__RMQ_WINDOW];
}

static void finish(struct weir__rmq_op *op)
{
	weir__list_remove(&op->link);
	weir__rmq_end(op, 0);
}

static void answer(struct puts *p, uint64_t no, int r)
{
	struct sent *s = at(p, no);
	struct weir__rmq_op *op = s->op;

	s->op = NULL;
	if (op) {
		op->each[s->i] = r;
		if (--op->open == 0)
			finish(op);
	}
}

static void advance(struct puts *p)
{
	while (p->first < p->next && !at(p, p->first)->op)
		p->first++;
}

static int begin(struct weir__rmq_line *l)
{
	struct puts *p = l->state;

	if (!p) {
		p = calloc(1, sizeof *p);
		if (!p)
			return -ENOMEM;
		weir__list_init(&p->waiting);
		l->state = p;
	}
	p->first = p->next = 1;
	amqp_confirm_select(l->conn, WEIR__RMQ_WORK);
	return amqp_get_rpc_reply(l->conn).reply_type == AMQP_RESPONSE_NORMAL ? 0 : -EPIPE;
}

static int publish(struct weir__rmq_line *l, struct weir__rmq_op *op, size_t i)
{
	amqp_table_entry_t headers[WEIR__RMQ_HEADERS];
	const struct weir__remote_job *job = &op->jobs[i];
	amqp_bytes_t body = { .len = job->len, .bytes = (void *)job->data };
	amqp_basic_properties_t props;
	char ttl[24];

	weir__rmq_props(job, op->attempts, op->ttl_ms, &props, headers, ttl);
	return amqp_basic_publish(l->conn, WEIR__RMQ_WORK, amqp_empty_bytes,
	                          amqp_cstring_bytes(op->queue), true, false, &props, body) < 0 ?
	               -EPIPE :
	               0;
}

static int put(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	struct puts *p = l->state;
	int r = 0;

	if (p->next - p->first + op->n > WEIR__RMQ_WINDOW)
		return -EAGAIN;
	weir__list_append(&p->waiting, &op->link);
	op->end_ns = weir_now() + WEIR__RMQ_ANSWER;
	op->open = op->n;
	for (size_t i = 0; i < op->n; i++)
		op->each[i] = -ENOTCONN;
	for (size_t i = 0; i < op->n && r == 0; i++) {
		*at(p, p->next++) = (struct sent){ op, i };
		r = publish(l, op, i);
	}
	return r;
}

static int heed(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	switch (op->verb) {
	case WEIR__RMQ_PUT:
		return put(l, op);
	case WEIR__RMQ_DECLARE:
		return weir__rmq_declare(l, op);
	default:
		return weir__rmq_count(l, op);
	}
}

static void confirmed(struct puts *p, uint64_t no, bool multiple, int r)
{
	/* One that was given up may be answered yet, when another has its place in the ring. */
	if (no < p->first || no >= p->next)
		return;
	for (uint64_t k = multiple ? p->first : no; k <= no; k++)
		answer(p, k, r);
	advance(p);
}

/* It found no queue: somebody has deleted it. Its confirmation comes as well. */
static void returned(struct weir__rmq_line *l)
{
	struct puts *p = l->state;
	amqp_bytes_t id = l->props->message_id;

	for (uint64_t k = p->first; k < p->next; k++) {
		struct sent *s = at(p, k);
		const char *mine = s->op ? s->op->jobs[s->i].id : "";

		if (strlen(mine) == id.len && !memcmp(mine, id.bytes, id.len)) {
			answer(p, k, -ENOENT);
			return;
		}
	}
}

static int hear(struct weir__rmq_line *l, const amqp_frame_t *f)
{
	const amqp_basic_nack_t *no = f->payload.method.decoded;
	const amqp_basic_ack_t *yes = f->payload.method.decoded;

	switch (f->payload.method.id) {
	case AMQP_BASIC_ACK_METHOD:
		confirmed(l->state, yes->delivery_tag, yes->multiple, 0);
		return 0;
	case AMQP_BASIC_NACK_METHOD: /* The queue is full. */
		confirmed(l->state, no->delivery_tag, no->multiple, -EAGAIN);
		return 0;
	case AMQP_BASIC_RETURN_METHOD:
		returned(l);
		return 0;
	default:
		return 0;
	}
}

/* It has waited long enough; what comes yet is nobody's. */
static void give_up(struct puts *p, struct weir__rmq_op *op)
{
	for (uint64_t k = p->first; k < p->next; k++)
		if (at(p, k)->op == op)
			at(p, k)->op = NULL;
	advance(p);
	finish(op);
}

static int rest(struct weir__rmq_line *l, int64_t *ret_at)
{
	struct puts *p = l->state;
	int64_t now = weir_now();

	weir__list_each_safe (node, &p->waiting) {
		struct weir__rmq_op *op = weir__container(node, struct weir__rmq_op, link);

		if (op->end_ns > now) {
			*ret_at = op->end_ns;
			return 0;
		}
		if (weir__rmq_silent(l))
			return -EPIPE;
		give_up(p, op);
	}
	return 0;
}

static void lost(struct weir__rmq_line *l)
{
	struct puts *p = l->state;

	if (!p)
		return;
	while (!weir__list_empty(&p->waiting))
		finish(weir__container(p->waiting.next, struct weir__rmq_op, link));
	memset(p->ring, 0, sizeof p->ring);
	p->first = p->next = 1;
}

static void fini(struct weir__rmq_line *l)
{
	free(l->state);
}

const struct weir__rmq_role weir__rmq_puts = {
	.name = "weir: puts",
	.begin = begin,
	.heed = heed,
	.hear = hear,
	.rest = rest,
	.lost = lost,
	.fini = fini,
};
