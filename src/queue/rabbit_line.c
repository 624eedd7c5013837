/* SPDX-License-Identifier: MIT */
/*
 * A line to RabbitMQ: one connection and the thread that has it. rabbitmq-c blocks, and its
 * connections belong to one thread; so tasks give orders, and wait for their results under their
 * contexts.
 *
 * The thread sleeps in poll() on the connection and on an eventfd. What it waits for is bounded:
 * an answer that a call of rabbitmq-c waits for by rpc_timeout, a write by TCP_USER_TIMEOUT, a
 * silent server by the heartbeat, and by WEIR__RMQ_ANSWER while an answer is owed. A connection
 * that broke is made anew, with back-off and the next host; meanwhile orders fail at once.
 *
 * An order's end and its task's leaving meet under op->lock: the one that comes second sees the
 * other. A task that left may leave the op at work, so an op holds copies of all it needs.
 */
#include "queue/rabbit.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weir/offload.h>

#include "base/log.h"
#include "rt/task.h"

enum { STACK = 512 * 1024, CONTENT_MAX = 256 << 20, WRITE_MS = 6000, TICK_MS = 1000 };
#define CONNECT ((struct timeval){ .tv_sec = 3 })
#define ANSWER  ((struct timeval){ .tv_sec = 5 })
#define PARTING ((struct timeval){ .tv_sec = 1 })
enum { REST_MIN = 50, REST_MAX = 2000 }; /* ms */

/* ---- Orders ---- */

struct weir__rmq_op *weir__rmq_op_new(enum weir__rmq_verb verb, const char *queue, size_t extra)
{
	struct weir__rmq_op *op = calloc(1, sizeof *op + extra);

	if (!op)
		return NULL;
	op->verb = verb;
	op->refs = 2;
	memcpy(op->queue, queue, strlen(queue) + 1);
	weir__list_init(&op->got);
	return op;
}

void weir__rmq_op_unref(struct weir__rmq_op *op)
{
	if (__atomic_sub_fetch(&op->refs, 1, __ATOMIC_ACQ_REL))
		return;
	free(op);
}

bool weir__rmq_done(struct weir__rmq_op *op, int result)
{
	struct weir__wait *wait;
	bool heard;

	weir__lock_acquire(&op->lock);
	op->ended = true;
	op->result = result;
	heard = !op->left;
	wait = op->wait;
	op->wait = NULL;
	if (wait && !weir__wait_claim(wait, 0))
		wait = NULL; /* It is leaving, and will see that this has ended. */
	weir__lock_release(&op->lock);
	if (wait)
		weir__wait_wake(wait);
	if (heard)
		weir__rmq_op_unref(op);
	return heard;
}

void weir__rmq_kick(struct weir__rmq_line *l)
{
	uint64_t one = 1;

	if (__atomic_exchange_n(&l->asleep, false, __ATOMIC_SEQ_CST) &&
	    write(l->event, &one, sizeof one) < 0)
		weir__log_rare(WEIR__ERROR, "queue", "RabbitMQ: a thread cannot be woken");
}

static void hand_over(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	weir__lock_acquire(&l->lock);
	weir__list_append(&l->inbox, &op->link);
	weir__lock_release(&l->lock);
	weir__rmq_kick(l);
}

/* Until it has ended, or the context. */
static int await(const weir_ctx *ctx, struct weir__rmq_op *op, bool last)
{
	struct weir__wait w;
	int r = 0;

	weir__lock_acquire(&op->lock);
	if (!op->ended) {
		weir__wait_init(&w);
		op->wait = &w;
		weir__lock_release(&op->lock);
		r = weir__wait_park(&w, ctx, "an answer of RabbitMQ", op);
		weir__lock_acquire(&op->lock);
	}
	op->wait = NULL;
	if (op->ended)
		r = op->result;
	else
		op->left = last;
	weir__lock_release(&op->lock);
	return r;
}

int weir__rmq_call(const weir_ctx *ctx, struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	weir_ctx late = weir_ctx_shield(ctx, WEIR__RMQ_ANSWER);
	bool fetch = op->verb == WEIR__RMQ_FETCH;
	int r = weir__wait_check(ctx), got;

	if (r == 0 && op->verb != WEIR__RMQ_HELLO && !__atomic_load_n(&l->up, __ATOMIC_ACQUIRE))
		r = -ENOTCONN;
	if (r < 0) {
		weir__rmq_op_unref(op); /* The thread's. */
		return r;
	}
	hand_over(l, op);
	r = await(ctx, op, !fetch);
	if (!fetch || r >= 0 || r == -ENOTCONN)
		return r;
	/* What is on its way to us already is better taken than sent back. */
	__atomic_store_n(&op->cancel, true, __ATOMIC_RELEASE);
	weir__rmq_kick(l);
	got = await(&late, op, true);
	return got > 0 ? got : r;
}

/* ---- The connection ---- */

int weir__rmq_send(struct weir__rmq_line *l, int channel, amqp_method_number_t id, void *decoded)
{
	return amqp_send_method(l->conn, (amqp_channel_t)channel, id, decoded) < 0 ? -EPIPE : 0;
}

bool weir__rmq_silent(const struct weir__rmq_line *l)
{
	if (weir_now() - l->heard < WEIR__RMQ_ANSWER)
		return false;
	weir__log_rare(WEIR__WARN, "queue", "RabbitMQ: %s:%d does not answer",
	               l->rmq->url.host[l->host], l->rmq->url.port[l->host]);
	return true;
}

static void say_why(const struct weir__rmq_line *l, const char *doing, amqp_rpc_reply_t r)
{
	const char *text = amqp_error_string2(r.library_error);
	int len = (int)strlen(text);

	if (r.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && r.reply.decoded &&
	    (r.reply.id == AMQP_CONNECTION_CLOSE_METHOD ||
	     r.reply.id == AMQP_CHANNEL_CLOSE_METHOD)) {
		const amqp_connection_close_t *c = r.reply.decoded; /* a channel's is alike */

		text = c->reply_text.bytes;
		len = (int)c->reply_text.len;
	}
	weir__log_rare(WEIR__WARN, "queue", "RabbitMQ: %s %s:%d: %.*s", doing,
	               l->rmq->url.host[l->host], l->rmq->url.port[l->host], len, text);
}

static amqp_socket_t *new_socket(struct weir__rmq_line *l)
{
	const struct weir__rmq_url *u = &l->rmq->url;
	amqp_socket_t *s;

	if (!u->tls)
		return amqp_tcp_socket_new(l->conn);
	s = amqp_ssl_socket_new(l->conn);
	if (s && (amqp_ssl_socket_set_cacert(s, u->ca) < 0 ||
	          (u->cert && amqp_ssl_socket_set_key(s, u->cert, u->key) < 0))) {
		weir__log_rare(WEIR__ERROR, "queue", "RabbitMQ: %s cannot be used for TLS",
		               u->cert ? u->cert : u->ca);
		return NULL;
	}
	return s;
}

static int sign_in(struct weir__rmq_line *l)
{
	amqp_table_entry_t can = { .key = amqp_cstring_bytes("consumer_cancel_notify"),
		                   .value = { .kind = AMQP_FIELD_KIND_BOOLEAN,
		                              .value.boolean = 1 } };
	amqp_table_entry_t about[2] = {
		{ .key = amqp_cstring_bytes("capabilities"),
		  .value = { .kind = AMQP_FIELD_KIND_TABLE,
		             .value.table = { .num_entries = 1, .entries = &can } } },
		{ .key = amqp_cstring_bytes("connection_name"),
		  .value = { .kind = AMQP_FIELD_KIND_UTF8,
		             .value.bytes = amqp_cstring_bytes(l->role->name) } },
	};
	const amqp_table_t client = { .num_entries = 2, .entries = about };
	const struct weir__rmq_url *u = &l->rmq->url;
	amqp_rpc_reply_t r;

	r = amqp_login_with_properties(l->conn, u->vhost, 0, AMQP_DEFAULT_FRAME_SIZE,
	                               WEIR__RMQ_HEARTBEAT, &client, AMQP_SASL_METHOD_PLAIN,
	                               u->user, u->password);
	if (r.reply_type != AMQP_RESPONSE_NORMAL) {
		say_why(l, "no entry at", r);
		return r.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION ? -EACCES : -ECONNREFUSED;
	}
	amqp_channel_open(l->conn, WEIR__RMQ_WORK);
	r = amqp_get_rpc_reply(l->conn);
	return r.reply_type == AMQP_RESPONSE_NORMAL ? 0 : -ECONNREFUSED;
}

static int dial(struct weir__rmq_line *l)
{
	const struct weir__rmq_url *u = &l->rmq->url;
	unsigned write_ms = WRITE_MS;
	struct timeval soon = CONNECT, answer = ANSWER;
	amqp_socket_t *s;
	int r;

	l->conn = amqp_new_connection();
	s = l->conn ? new_socket(l) : NULL;
	if (!s)
		return l->conn ? -EINVAL : -ENOMEM;
	amqp_set_handshake_timeout(l->conn, &answer);
	amqp_set_rpc_timeout(l->conn, &answer);
	r = amqp_socket_open_noblock(s, u->host[l->host], u->port[l->host], &soon);
	if (r < 0) {
		weir__log_rare(WEIR__WARN, "queue", "RabbitMQ: %s:%d cannot be reached: %s",
		               u->host[l->host], u->port[l->host], amqp_error_string2(r));
		return -ECONNREFUSED;
	}
	(void)setsockopt(amqp_get_sockfd(l->conn), IPPROTO_TCP, TCP_USER_TIMEOUT, &write_ms,
	                 sizeof write_ms);
	r = sign_in(l);
	return r < 0 ? r : l->role->begin(l) < 0 ? -ECONNREFUSED : 0;
}

/* Lets go of the connection and of what waits for it. */
static void hang_up(struct weir__rmq_line *l)
{
	__atomic_store_n(&l->up, false, __ATOMIC_RELEASE);
	__atomic_add_fetch(&l->generation, 1, __ATOMIC_RELEASE);
	l->role->lost(l);
	if (l->conn)
		amqp_destroy_connection(l->conn);
	l->conn = NULL;
	l->asking = l->missing = l->in_content = false;
	free(l->body);
	l->body = NULL;
}

/* ---- Frames ---- */

static int whole(struct weir__rmq_line *l)
{
	amqp_frame_t f = { .frame_type = AMQP_FRAME_METHOD,
		           .channel = WEIR__RMQ_WORK,
		           .payload.method = l->method };
	int r;

	l->in_content = false;
	r = l->role->hear(l, &f);
	free(l->body);
	l->body = NULL;
	return r;
}

/* A method that content follows: what it points into is kept until that is whole. */
static int begin_content(struct weir__rmq_line *l, const amqp_frame_t *f)
{
	l->method = f->payload.method;
	l->in_content = true;
	l->props = NULL;
	l->body_have = 0;
	return 0;
}

static int on_header(struct weir__rmq_line *l, const amqp_frame_t *f)
{
	if (!l->in_content || l->props || f->payload.properties.body_size > CONTENT_MAX)
		return -EPIPE;
	l->props = f->payload.properties.decoded;
	l->body_len = f->payload.properties.body_size;
	l->body = malloc(l->body_len + 1);
	if (!l->body)
		return -EPIPE;
	return l->body_len ? 0 : whole(l);
}

static int on_body(struct weir__rmq_line *l, const amqp_frame_t *f)
{
	amqp_bytes_t part = f->payload.body_fragment;

	if (!l->in_content || !l->props || part.len > l->body_len - l->body_have)
		return -EPIPE;
	memcpy(l->body + l->body_have, part.bytes, part.len);
	l->body_have += part.len;
	return l->body_have < l->body_len ? 0 : whole(l);
}

static int on_frame(struct weir__rmq_line *l, const amqp_frame_t *f)
{
	amqp_rpc_reply_t why = { .reply_type = AMQP_RESPONSE_SERVER_EXCEPTION };

	switch (f->frame_type) {
	case AMQP_FRAME_HEADER:
		return on_header(l, f);
	case AMQP_FRAME_BODY:
		return on_body(l, f);
	case AMQP_FRAME_METHOD:
		break;
	default:
		return 0;
	}
	why.reply = f->payload.method;
	switch (f->payload.method.id) {
	case AMQP_CHANNEL_CLOSE_METHOD:
		l->missing = ((amqp_channel_close_t *)f->payload.method.decoded)->reply_code ==
		             AMQP_NOT_FOUND;
		__attribute__((fallthrough));
	case AMQP_CONNECTION_CLOSE_METHOD:
		say_why(l, "closed by", why);
		return -EPIPE;
	case AMQP_BASIC_DELIVER_METHOD:
	case AMQP_BASIC_RETURN_METHOD:
		return begin_content(l, f);
	default:
		return l->role->hear(l, f);
	}
}

/* All that is there. */
static int hear(struct weir__rmq_line *l)
{
	struct timeval none = { 0 };
	amqp_frame_t f;
	int r;

	for (;;) {
		r = amqp_simple_wait_frame_noblock(l->conn, &f, &none);
		if (r == AMQP_STATUS_TIMEOUT)
			return 0;
		if (r != AMQP_STATUS_OK) {
			weir__log_rare(WEIR__WARN, "queue", "RabbitMQ: %s:%d is lost: %s",
			               l->rmq->url.host[l->host], l->rmq->url.port[l->host],
			               amqp_error_string2(r));
			return -EPIPE;
		}
		r = on_frame(l, &f);
		if (r < 0)
			return r;
		if (!l->in_content) /* Else what is being read points into it. */
			amqp_maybe_release_buffers(l->conn);
	}
}

/* ---- The thread ---- */

/* Takes what is new; false: it is to end. */
static bool receive(struct weir__rmq_line *l)
{
	struct weir__list *node;
	bool stop;

	weir__lock_acquire(&l->lock);
	while ((node = weir__list_pop(&l->inbox)))
		weir__list_append(&l->todo, node);
	stop = l->stop;
	weir__lock_release(&l->lock);
	return !stop;
}

static void refuse(struct weir__rmq_line *l, int why)
{
	struct weir__list *node;

	while ((node = weir__list_pop(&l->todo))) {
		struct weir__rmq_op *op = weir__container(node, struct weir__rmq_op, link);
		bool hello = op->verb == WEIR__RMQ_HELLO;

		if (!weir__rmq_done(op, hello ? why : -ENOTCONN))
			weir__rmq_op_unref(op);
	}
}

/* The orders, as far as they can be heeded now. */
static int heed(struct weir__rmq_line *l)
{
	while (!weir__list_empty(&l->todo)) {
		struct weir__rmq_op *op = weir__container(l->todo.next, struct weir__rmq_op, link);
		int r = 0;

		weir__list_remove(&op->link);
		if (op->verb == WEIR__RMQ_HELLO) {
			if (!weir__rmq_done(op, 0))
				weir__rmq_op_unref(op);
			continue;
		}
		r = l->role->heed(l, op);
		if (r == -EAGAIN) {
			weir__list_prepend(&l->todo, &op->link);
			return 0;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Until the server says something, or there are orders, or the time. True: the server did. */
static bool sleep_on(struct weir__rmq_line *l, int fd, int64_t ms)
{
	struct pollfd p[2] = { { .fd = l->event, .events = POLLIN },
		               { .fd = fd, .events = POLLIN } };
	uint64_t n;
	bool orders;

	__atomic_store_n(&l->asleep, true, __ATOMIC_SEQ_CST);
	weir__lock_acquire(&l->lock);
	orders = !weir__list_empty(&l->inbox) || l->stop;
	weir__lock_release(&l->lock);
	if (orders)
		ms = 0;
	(void)poll(p, fd < 0 ? 1 : 2, (int)ms); /* does not wait: a thread of its own */
	__atomic_store_n(&l->asleep, false, __ATOMIC_SEQ_CST);
	if (p[0].revents && read(l->event, &n, sizeof n) < 0)
		weir__log_rare(WEIR__ERROR, "queue", "RabbitMQ: an eventfd cannot be read");
	return fd >= 0 && p[1].revents;
}

/* While the connection lasts. 0: it is to end. */
static int converse(struct weir__rmq_line *l)
{
	int r;

	for (;;) {
		int64_t now, at = WEIR_NEVER, ms;

		if (!receive(l))
			return 0;
		r = heed(l);
		if (r == 0)
			r = hear(l);
		if (r == 0)
			r = l->role->rest(l, &at);
		if (r < 0)
			return r;
		now = weir_now();
		ms = at == WEIR_NEVER || at - now > WEIR_MS(TICK_MS) ? TICK_MS :
		     at <= now                                       ? 0 :
		                                                       (at - now) / 1000000 + 1;
		if (sleep_on(l, amqp_get_sockfd(l->conn), ms))
			__atomic_store_n(&l->heard, weir_now(), __ATOMIC_RELEASE);
	}
}

static void part(struct weir__rmq_line *l)
{
	struct timeval parting = PARTING;

	amqp_set_rpc_timeout(l->conn, &parting);
	(void)amqp_connection_close(l->conn, AMQP_REPLY_SUCCESS);
}

static void *line_main(void *arg)
{
	struct weir__rmq_line *l = arg;
	int64_t rest_ms = REST_MIN;
	int r;

	while (receive(l)) {
		r = dial(l);
		if (r == 0) {
			rest_ms = REST_MIN;
			__atomic_store_n(&l->heard, weir_now(), __ATOMIC_RELEASE);
			__atomic_store_n(&l->up, true, __ATOMIC_RELEASE);
			if (converse(l) == 0)
				part(l);
			r = -ENOTCONN;
		}
		hang_up(l);
		(void)receive(l);
		refuse(l, r);
		l->host = (l->host + 1) % l->rmq->url.hosts;
		(void)sleep_on(l, -1, rest_ms);
		rest_ms = rest_ms * 2 < REST_MAX ? rest_ms * 2 : REST_MAX;
	}
	refuse(l, -ENOTCONN);
	return NULL;
}

int weir__rmq_line_start(struct weir__rmq_line *l, struct weir__rmq *rmq,
                         const struct weir__rmq_role *role)
{
	pthread_attr_t attr;
	int r;

	l->rmq = rmq;
	l->role = role;
	weir__list_init(&l->inbox);
	weir__list_init(&l->todo);
	l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->event < 0)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	weir__outside(1);
	r = -pthread_create(&l->thread, &attr, line_main, l);
	pthread_attr_destroy(&attr);
	l->made = r == 0;
	if (r < 0) {
		weir__outside(-1);
		close(l->event);
	}
	return r;
}

static int join(void *arg)
{
	struct weir__rmq_line *l = arg;

	pthread_join(l->thread, NULL);
	return 0;
}

static void no_interrupt(void *arg)
{
	weir__rmq_kick(arg);
}

void weir__rmq_line_end(const weir_ctx *ctx, struct weir__rmq_line *l)
{
	weir_ctx hard = weir_ctx_shield(ctx, WEIR_NEVER);

	if (!l->made)
		return;
	weir__lock_acquire(&l->lock);
	l->stop = true;
	weir__lock_release(&l->lock);
	weir__rmq_kick(l);
	if (weir_offload_interruptible(&hard, join, l, no_interrupt) < 0)
		join(l); /* No memory to wait elsewhere. */
	weir__outside(-1);
	close(l->event);
	l->role->fini(l);
}
