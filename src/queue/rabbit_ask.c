/* SPDX-License-Identifier: MIT */
/*
 * Questions about queues. The server answers one that it refuses by closing the channel, so they
 * have a channel of their own, which is opened again for the next. They are rare, and the thread
 * waits for their answers.
 */
#include "queue/rabbit.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

enum { ARGS = 8, NOT_FOUND = 404, DENIED = 403, DIFFERENT = 406 };

/* What the last answer comes to. *ret_code: of a refusal. */
static int verdict(struct weir__rmq_line *l, const char *queue, bool quiet)
{
	amqp_rpc_reply_t r = amqp_get_rpc_reply(l->conn);
	amqp_channel_close_ok_t ok = { 0 };
	const amqp_channel_close_t *c;

	if (r.reply_type == AMQP_RESPONSE_NORMAL)
		return 0;
	if (r.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION ||
	    r.reply.id != AMQP_CHANNEL_CLOSE_METHOD)
		return -EPIPE;
	c = r.reply.decoded;
	if (!quiet)
		weir__log_rare(WEIR__WARN, "queue", "RabbitMQ: %s: %.*s", queue,
		               (int)c->reply_text.len, (const char *)c->reply_text.bytes);
	l->asking = false;
	if (weir__rmq_send(l, WEIR__RMQ_ASK, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok) < 0)
		return -EPIPE;
	switch (c->reply_code) {
	case NOT_FOUND:
		return -ENOENT;
	case DENIED:
		return -EACCES;
	case DIFFERENT:
		return -EEXIST;
	default:
		return -EIO;
	}
}

static int begin(struct weir__rmq_line *l)
{
	if (l->asking)
		return 0;
	amqp_channel_open(l->conn, WEIR__RMQ_ASK);
	l->asking = amqp_get_rpc_reply(l->conn).reply_type == AMQP_RESPONSE_NORMAL;
	return l->asking ? 0 : -EPIPE;
}

static int end(struct weir__rmq_line *l, struct weir__rmq_op *op, int r)
{
	/* What was answered is kept until then, and perhaps nothing else is heard on this line. */
	amqp_maybe_release_buffers_on_channel(l->conn, WEIR__RMQ_ASK);
	weir__rmq_end(op, r == -EPIPE ? -ENOTCONN : r);
	return r == -EPIPE ? r : 0;
}

static void text(amqp_table_t *t, const char *name, const char *value)
{
	t->entries[t->num_entries++] =
		(amqp_table_entry_t){ .key = amqp_cstring_bytes(name),
		                      .value = { .kind = AMQP_FIELD_KIND_UTF8,
		                                 .value.bytes = amqp_cstring_bytes(value) } };
}

static void number(amqp_table_t *t, const char *name, int64_t n)
{
	t->entries[t->num_entries++] =
		(amqp_table_entry_t){ .key = amqp_cstring_bytes(name),
		                      .value = { .kind = AMQP_FIELD_KIND_I64, .value.i64 = n } };
}

int weir__rmq_declare(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	amqp_table_entry_t entries[ARGS + 1];
	amqp_table_t args = { .entries = entries };
	int r = begin(l);

	text(&args, "x-queue-type", "quorum");
	text(&args, "x-overflow", op->keeps ? "reject-publish" : "drop-head");
	if (op->bound)
		number(&args, "x-max-length", op->bound);
	if (op->bytes)
		number(&args, "x-max-length-bytes", op->bytes);
	if (l->rmq->url.replicas)
		number(&args, "x-quorum-initial-group-size", l->rmq->url.replicas);
	if (*op->to) {
		number(&args, "x-delivery-limit", WEIR__RMQ_DELIVERIES);
		text(&args, "x-dead-letter-exchange", "");
		text(&args, "x-dead-letter-routing-key", op->to);
		text(&args, "x-dead-letter-strategy", "at-least-once");
	}
	if (r == 0) {
		amqp_queue_declare(l->conn, WEIR__RMQ_ASK, amqp_cstring_bytes(op->queue), false,
		                   true, false, false, args);
		r = verdict(l, op->queue, false);
	}
	return end(l, op, r);
}

int weir__rmq_count(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	amqp_queue_declare_ok_t *ok;
	int r = begin(l);

	if (r == 0) {
		ok = amqp_queue_declare(l->conn, WEIR__RMQ_ASK, amqp_cstring_bytes(op->queue), true,
		                        true, false, false, amqp_empty_table);
		r = verdict(l, op->queue, true);
		if (r == 0)
			op->count = ok->message_count;
	}
	return end(l, op, r);
}
