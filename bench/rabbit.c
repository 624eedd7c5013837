/* SPDX-License-Identifier: MIT */
/*
 * Puts into RabbitMQ by one producer, through Weir and through rabbitmq-c alone: one at a time, and
 * 256 in flight. Both put the same bytes with a message id into the same quorum queue, by publisher
 * confirms.
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

/* Until all up to number n are confirmed. */
static uint64_t confirmed(amqp_connection_state_t c, uint64_t done, uint64_t n)
{
	while (done < n) {
		amqp_frame_t f;
		const amqp_basic_ack_t *ack;

		ok(amqp_simple_wait_frame(c, &f));
		if (f.frame_type != AMQP_FRAME_METHOD ||
		    f.payload.method.id != AMQP_BASIC_ACK_METHOD)
			ok(AMQP_STATUS_WRONG_METHOD);
		ack = f.payload.method.decoded;
		done = ack->multiple ? ack->delivery_tag : done + 1;
		amqp_maybe_release_buffers(c);
	}
	return done;
}

static void through_rabbitmq_c(void)
{
	amqp_connection_state_t c = dial();
	uint64_t n = 0, from, done = 0;
	struct start since;

	for (since = begin(); weir_now() < since.at + TIME;) {
		publish(c, ++n);
		done = confirmed(c, done, n);
	}
	report("put-one-at-a-time", "rabbitmq-c", n, since);
	from = n;
	for (since = begin(); weir_now() < since.at + TIME;) {
		for (int i = 0; i < BATCH; i++)
			publish(c, ++n);
		done = confirmed(c, done, n);
	}
	report("put-256-in-flight", "rabbitmq-c", n - from, since);
	amqp_connection_close(c, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(c);
}

int main(int argc, char **argv)
{
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: %s amqp://127.0.0.1:PORT\n", argv[0]);
		return 2;
	}
	url = argv[1];
	r = weir_main(through_weir, NULL);
	if (r == 0)
		through_rabbitmq_c();
	return r;
}
