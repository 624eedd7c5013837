/* SPDX-License-Identifier: MIT */
/* White box: what becomes of a message of RabbitMQ that finds no memory here. */
#include "queue/rabbit.h"

static struct weir__delivery *no_memory(const amqp_basic_properties_t *props, const void *body,
                                        size_t len, const char *token, int64_t until_ns)
{
	(void)props;
	(void)body;
	(void)len;
	(void)token;
	(void)until_ns;
	return NULL;
}
#define weir__rmq_delivery no_memory
#include "queue/rabbit_take.c"
#include "queue_test.h"

#include <amqp_tcp_socket.h>
#include <sys/socket.h>
#include <unistd.h>

/* The class and method of the next frame of what was sent; 0 when there is none. */
static uint32_t method(const unsigned char **at, const unsigned char *end)
{
	uint32_t len, id;

	if (end - *at < 12)
		return 0;
	len = (uint32_t)(*at)[3] << 24 | (uint32_t)(*at)[4] << 16 | (uint32_t)(*at)[5] << 8 |
	      (*at)[6];
	id = (uint32_t)(*at)[7] << 24 | (uint32_t)(*at)[8] << 16 | (uint32_t)(*at)[9] << 8 |
	     (*at)[10];
	*at += len + 8;
	return id;
}

TASK(a_good_job_without_memory_goes_back_and_not_to_the_dead)
{
	amqp_basic_deliver_t d = { .consumer_tag = amqp_cstring_bytes("weir-1"),
		                   .delivery_tag = 7 };
	amqp_frame_t f = { .payload.method = { .id = AMQP_BASIC_DELIVER_METHOD, .decoded = &d } };
	struct weir__rmq_op *op = weir__rmq_op_new(WEIR__RMQ_FETCH, "q", 0);
	struct weir__rmq_line l = { .silence_ns = WEIR_SEC(10) };
	bool back = false, closed = false;
	unsigned char sent[1024];
	const unsigned char *at = sent;
	amqp_socket_t *s;
	struct box *b;
	int fd[2];
	ssize_t n;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	l.conn = amqp_new_connection();
	s = amqp_tcp_socket_new(l.conn);
	amqp_tcp_socket_set_sockfd(s, fd[0]);
	CHECK_EQ(begin(&l), 0);
	b = box_of(l.state, "q");
	snprintf(b->tag, sizeof b->tag, "weir-1");
	b->state = OPEN;
	b->fetch = op;
	CHECK_EQ(hear(&l, &f), 0);
	n = read(fd[1], sent, sizeof sent);
	CHECK(n > 0);
	for (uint32_t id; (id = method(&at, sent + n));) {
		CHECK(id != AMQP_BASIC_REJECT_METHOD);
		back = back || id == AMQP_BASIC_NACK_METHOD;
		closed = closed || id == AMQP_BASIC_CANCEL_METHOD;
	}
	CHECK(back && closed); /* so that it does not come again at once */
	CHECK(op->ended);
	CHECK_EQ(op->result, -ENOMEM);
	weir__rmq_op_unref(op);
	fini(&l);
	CHECK_EQ(amqp_destroy_connection(l.conn), AMQP_STATUS_OK);
	close(fd[1]);
}
