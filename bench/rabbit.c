/* SPDX-License-Identifier: MIT */
/*
 * Puts into RabbitMQ by one producer, through Weir and through rabbitmq-c alone: one at a time, and
 * 256 in flight. Both put the same bytes with a message id into the same quorum queue, by publisher
 * confirms, and take turns of half a second in one run, ABBA.
 *
 *	bench-rabbit amqp://127.0.0.1:5672     as bench-engines, "name weir|rabbitmq-c n"
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>

#include "puts.h"

static void ok(int r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "rabbitmq-c: %s\n", amqp_error_string2(r));
	exit(1);
}

static amqp_connection_state_t dial(void)
{
	const char *host = strstr(url, "://"), *port = host ? strchr(host + 3, ':') : NULL;
	amqp_connection_state_t c = amqp_new_connection();
	amqp_socket_t *s = amqp_tcp_socket_new(c);

	ok(amqp_socket_open(s, "127.0.0.1", port ? atoi(port + 1) : 5672));
	if (amqp_login(c, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 10, AMQP_SASL_METHOD_PLAIN, "guest",
	               "guest")
	            .reply_type != AMQP_RESPONSE_NORMAL)
		ok(AMQP_STATUS_CONNECTION_CLOSED);
	amqp_channel_open(c, 1);
	amqp_confirm_select(c, 1);
	return c;
}

struct rabbitmq {
	struct peer peer;
	amqp_connection_state_t c;
	uint64_t done; /* confirmed */
};

static void publish(amqp_connection_state_t c, uint64_t n)
{
	const amqp_bytes_t body = { .len = PAYLOAD, .bytes = payload };
	amqp_basic_properties_t p = { ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG |
		                                AMQP_BASIC_MESSAGE_ID_FLAG,
		                      .delivery_mode = AMQP_DELIVERY_PERSISTENT };
	char id[32];

	snprintf(id, sizeof id, "rabbitmq-c-%llu", (unsigned long long)n);
	p.message_id = amqp_cstring_bytes(id);
	ok(amqp_basic_publish(c, 1, amqp_empty_bytes, amqp_cstring_bytes("weir.queue.bench"), true,
	                      false, &p, body));
}

/* Until all that were published are confirmed. */
static void wait_for_confirms(struct rabbitmq *p)
{
	while (p->done < p->peer.last) {
		amqp_frame_t f;
		const amqp_basic_ack_t *ack;

		ok(amqp_simple_wait_frame(p->c, &f));
		if (f.frame_type != AMQP_FRAME_METHOD ||
		    f.payload.method.id != AMQP_BASIC_ACK_METHOD)
			ok(AMQP_STATUS_WRONG_METHOD);
		ack = f.payload.method.decoded;
		p->done = ack->multiple ? ack->delivery_tag : p->done + 1;
		amqp_maybe_release_buffers(p->c);
	}
}

static int turn_of_rabbitmq_c(void *peer)
{
	struct rabbitmq *p = peer;
	struct start since = begin();
	uint64_t from = p->peer.last;

	while (weir_now() < since.at + TURN) {
		for (size_t i = 0; i < p->peer.batch; i++)
			publish(p->c, ++p->peer.last);
		wait_for_confirms(p);
	}
	tally_add(&p->peer.tally, p->peer.last - from, since);
	return 0;
}

static int peer_open(void *peer)
{
	((struct rabbitmq *)peer)->c = dial();
	return 0;
}

static void peer_close(void *peer)
{
	struct rabbitmq *p = peer;

	amqp_connection_close(p->c, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(p->c);
}

int main(int argc, char **argv)
{
	struct rabbitmq p = { .peer = { .name = "rabbitmq-c",
		                        .open = peer_open,
		                        .turn = turn_of_rabbitmq_c,
		                        .close = peer_close } };

	if (argc != 2) {
		fprintf(stderr, "usage: %s amqp://127.0.0.1:PORT\n", argv[0]);
		return 2;
	}
	url = argv[1];
	return weir_main(side_by_side, &p);
}
