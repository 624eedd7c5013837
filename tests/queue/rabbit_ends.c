/* SPDX-License-Identifier: MIT */
/* White box: the end of a delivery of RabbitMQ is said once over its channel, however late the
 * answer is and whoever asks again. */
#include "queue/rabbit_take.c"
#include "queue_test.h"

#include <amqp_tcp_socket.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

struct channel {
	struct weir__rmq_line l;
	int peer;
};

static void open_channel(struct channel *c)
{
	amqp_socket_t *s;
	int fd[2];

	*c = (struct channel){ .l = { .silence_ns = WEIR_SEC(1000), .heard = weir_now() } };
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	CHECK(fcntl(fd[1], F_SETFL, O_NONBLOCK) == 0);
	c->peer = fd[1];
	c->l.conn = amqp_new_connection();
	s = amqp_tcp_socket_new(c->l.conn);
	amqp_tcp_socket_set_sockfd(s, fd[0]);
	CHECK_EQ(begin(&c->l), 0);
}

static void close_channel(struct channel *c)
{
	lost(&c->l);
	fini(&c->l);
	CHECK_EQ(amqp_destroy_connection(c->l.conn), AMQP_STATUS_OK);
	close(c->peer);
}

/* How many acknowledgements and refusals were sent since it was asked last. */
static int ends_sent(struct channel *c)
{
	unsigned char sent[4096];
	ssize_t n = read(c->peer, sent, sizeof sent);
	int ends = 0;

	for (ssize_t at = 0; at + 12 <= n;) {
		uint32_t len = (uint32_t)sent[at + 3] << 24 | (uint32_t)sent[at + 4] << 16 |
		               (uint32_t)sent[at + 5] << 8 | sent[at + 6];
		uint32_t id = (uint32_t)sent[at + 7] << 24 | (uint32_t)sent[at + 8] << 16 |
		              (uint32_t)sent[at + 9] << 8 | sent[at + 10];

		ends += id == AMQP_BASIC_ACK_METHOD || id == AMQP_BASIC_NACK_METHOD ||
		        id == AMQP_BASIC_REJECT_METHOD;
		at += len + 8;
	}
	return ends;
}

static struct weir__rmq_op *say(struct channel *c, enum weir__rmq_verb verb, uint64_t tag)
{
	struct weir__rmq_op *op = weir__rmq_op_new(verb, "", 0);
	int64_t at = WEIR_NEVER;

	op->tag = tag;
	CHECK_EQ(heed(&c->l, op), 0);
	CHECK_EQ(rest(&c->l, &at), 0);
	return op;
}

/* The server answers all that it was asked. */
static void answer(struct channel *c)
{
	amqp_frame_t f = { .payload.method.id = AMQP_BASIC_QOS_OK_METHOD };
	struct takes *t = c->l.state;
	int64_t at = WEIR_NEVER;

	while (t->answered < t->asked)
		CHECK_EQ(hear(&c->l, &f), 0);
	CHECK_EQ(rest(&c->l, &at), 0);
}

static void heard(struct weir__rmq_op *op)
{
	CHECK(op->ended);
	CHECK_EQ(op->result, 0);
	weir__rmq_op_unref(op);
}

TASK(an_end_whose_answer_is_late_is_waited_for_and_not_given_up)
{
	struct weir__rmq_op *op;
	int64_t at = WEIR_NEVER;
	struct channel c;

	(void)ctx;
	open_channel(&c);
	op = say(&c, WEIR__RMQ_ACK, 7);
	op->end_ns = weir_now(); /* its time is over, and the server is not silent */
	CHECK_EQ(rest(&c.l, &at), 0);
	CHECK(!op->ended);
	CHECK(at > weir_now());
	c.l.silence_ns = 0; /* it is now */
	c.l.rmq = calloc(1, sizeof *c.l.rmq);
	op->end_ns = weir_now();
	CHECK_EQ(rest(&c.l, &at), -EPIPE);
	free(c.l.rmq);
	close_channel(&c);
	CHECK_EQ(op->result, -ESTALE); /* with the connection */
	weir__rmq_op_unref(op);
}

TASK(an_end_that_is_asked_for_again_before_its_answer_is_not_said_again)
{
	struct weir__rmq_op *first, *second;
	struct channel c;

	(void)ctx;
	open_channel(&c);
	first = say(&c, WEIR__RMQ_ACK, 7);
	first->left = true; /* its task has gone */
	second = say(&c, WEIR__RMQ_ACK, 7);
	CHECK(!second->ended);
	CHECK_EQ(ends_sent(&c), 1);
	answer(&c);
	heard(second);
	weir__rmq_op_unref(first);
	CHECK_EQ(((struct takes *)c.l.state)->unheard_n, 0);
	heard((answer(&c), first = say(&c, WEIR__RMQ_ACK, 8), answer(&c), first)); /* others are */
	CHECK_EQ(ends_sent(&c), 1);
	close_channel(&c);
}

TASK(an_end_that_was_answered_when_its_task_had_left_is_not_said_again)
{
	struct weir__rmq_op *first, *second;
	struct channel c;

	(void)ctx;
	open_channel(&c);
	first = say(&c, WEIR__RMQ_ACK, 7);
	first->left = true;
	answer(&c);
	weir__rmq_op_unref(first);
	second = say(&c, WEIR__RMQ_ACK, 7);
	second->left = true; /* and so does who asks again */
	answer(&c);
	weir__rmq_op_unref(second);
	second = say(&c, WEIR__RMQ_ACK, 7);
	answer(&c);
	heard(second);
	CHECK_EQ(ends_sent(&c), 1);
	CHECK_EQ(((struct takes *)c.l.state)->unheard_n, 0);
	close_channel(&c);
}

/* Else an ack that comes after the job was given back would be taken for done. */
TASK(another_end_than_was_said_first_is_refused)
{
	struct weir__rmq_op *first, *second;
	struct channel c;

	(void)ctx;
	open_channel(&c);
	first = say(&c, WEIR__RMQ_REQUEUE, 7);
	first->left = true;
	for (int answered = 0; answered < 2; answered++) {
		second = say(&c, WEIR__RMQ_ACK, 7);
		CHECK(second->ended);
		CHECK_EQ(second->result, -ESTALE);
		weir__rmq_op_unref(second);
		if (!answered)
			answer(&c);
	}
	weir__rmq_op_unref(first);
	CHECK_EQ(ends_sent(&c), 1);
	close_channel(&c);
}

TASK(ends_that_nobody_heard_are_bounded)
{
	struct channel c;

	(void)ctx;
	open_channel(&c);
	for (uint64_t tag = 1; tag <= UNHEARD_MAX + 2; tag++) {
		struct weir__rmq_op *op = say(&c, WEIR__RMQ_ACK, tag);

		op->left = true;
		answer(&c);
		weir__rmq_op_unref(op);
		CHECK_EQ(ends_sent(&c), 1);
	}
	CHECK_EQ(((struct takes *)c.l.state)->unheard_n, UNHEARD_MAX);
	close_channel(&c);
}
