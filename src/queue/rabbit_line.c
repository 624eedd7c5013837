/* SPDX-License-Identifier: MIT */
/*
 * A line to RabbitMQ: one connection and the thread that has it. rabbitmq-c blocks, and its
 * connections belong to one thread; so tasks give orders (rabbit_op.c), and wait for their results
 * under their contexts.
 *
 * The thread sleeps in poll() on the connection and on an eventfd. What it waits for is bounded:
 * an answer that a call of rabbitmq-c waits for by rpc_timeout, a write by TCP_USER_TIMEOUT, a
 * silent server by the heartbeat. A connection that broke is made anew, with back-off and the next
 * host; meanwhile orders fail at once. Nobody waits for a thread that is looking for its server: it
 * finds by itself that it is to end, and frees what it is the last to use.
 *
 * A server is silent when nothing came from it for as long as the heartbeat that was agreed on;
 * RabbitMQ sends one every half of that. When something came last is the kernel's to say
 * (TCP_INFO), since rabbitmq-c reads in most of its calls, and tells of few. An answer that is late
 * alone (WEIR__RMQ_ANSWER) is no reason to give up the connection, and what is held over it.
 */
#include "queue/rabbit.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "rt/task.h"

enum { STACK = 512 * 1024, CONTENT_MAX = 256 << 20, WRITE_MS = 6000 };
#define CONNECT ((struct timeval){ .tv_sec = 3 })
#define ANSWER  ((struct timeval){ .tv_sec = 5 })
#define PARTING ((struct timeval){ .tv_sec = 1 })
enum { REST_MIN = 50, REST_MAX = 2000 }; /* ms */

/* ---- The connection ---- */

int weir__rmq_send(struct weir__rmq_line *l, int channel, amqp_method_number_t id, void *decoded)
{
	return amqp_send_method(l->conn, (amqp_channel_t)channel, id, decoded) < 0 ? -EPIPE : 0;
}

static void hear_kernel(struct weir__rmq_line *l)
{
	struct tcp_info info;
	socklen_t n = sizeof info;

	if (getsockopt(amqp_get_sockfd(l->conn), IPPROTO_TCP, TCP_INFO, &info, &n) == 0)
		__atomic_store_n(&l->heard, weir_now() - WEIR_MS((int64_t)info.tcpi_last_data_recv),
		                 __ATOMIC_RELEASE);
}

bool weir__rmq_silent(struct weir__rmq_line *l)
{
	hear_kernel(l);
	if (weir_now() - l->heard < l->silence_ns)
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
	int agreed;

	r = amqp_login_with_properties(l->conn, u->vhost, 0, AMQP_DEFAULT_FRAME_SIZE,
	                               WEIR__RMQ_HEARTBEAT, &client, AMQP_SASL_METHOD_PLAIN,
	                               u->user, u->password);
	if (r.reply_type != AMQP_RESPONSE_NORMAL) {
		say_why(l, "no entry at", r);
		return r.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION ? -EACCES : -ECONNREFUSED;
	}
	agreed = amqp_get_heartbeat(l->conn);
	if (agreed < 1 || agreed > WEIR__RMQ_HEARTBEAT)
		agreed = WEIR__RMQ_HEARTBEAT;
	__atomic_store_n(&l->silence_ns, WEIR_SEC((int64_t)agreed), __ATOMIC_RELEASE);
	amqp_channel_open(l->conn, WEIR__RMQ_WORK);
	r = amqp_get_rpc_reply(l->conn);
	return r.reply_type == AMQP_RESPONSE_NORMAL ? 0 : -ECONNREFUSED;
}

static bool stopping(struct weir__rmq_line *l)
{
	bool stop;

	weir__lock_acquire(&l->lock);
	stop = l->stop;
	weir__lock_release(&l->lock);
	return stop;
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
	r = stopping(l) ? -ECONNREFUSED : sign_in(l);
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

static void refuse(struct weir__rmq_line *l, int why)
{
	struct weir__rmq_op *op;

	while ((op = weir__rmq_next(l)))
		weir__rmq_end(op, op->verb == WEIR__RMQ_HELLO ? why : -ENOTCONN);
}

/* The orders, as far as they can be heeded now. */
static int heed(struct weir__rmq_line *l)
{
	struct weir__rmq_op *op;
	int r = 0;

	weir__lock_acquire(&l->lock);
	l->fresh = false;
	weir__lock_release(&l->lock);
	while (r == 0 && (op = weir__rmq_next(l))) {
		if (op->verb == WEIR__RMQ_HELLO)
			weir__rmq_end(op, 0);
		else
			r = l->role->heed(l, op);
		if (r == -EAGAIN)
			weir__rmq_not_yet(l, op);
	}
	return r == -EAGAIN ? 0 : r;
}

/* Until the server says something, or there are orders, or the time. */
static void sleep_on(struct weir__rmq_line *l, int fd, int64_t ms)
{
	struct pollfd p[2] = { { .fd = l->event, .events = POLLIN },
		               { .fd = fd, .events = POLLIN } };
	bool orders;
	uint64_t n;

	__atomic_store_n(&l->asleep, true, __ATOMIC_SEQ_CST);
	weir__lock_acquire(&l->lock);
	orders = l->fresh || l->stop;
	weir__lock_release(&l->lock);
	if (orders)
		ms = 0;
	(void)poll(p, fd < 0 ? 1 : 2, (int)ms); /* does not wait: a thread of its own */
	__atomic_store_n(&l->asleep, false, __ATOMIC_SEQ_CST);
	if (p[0].revents && read(l->event, &n, sizeof n) < 0)
		weir__log_rare(WEIR__ERROR, "queue", "RabbitMQ: an eventfd cannot be read");
}

/* While the connection lasts. 0: it is to end. */
static int converse(struct weir__rmq_line *l)
{
	/* What was heard of last is looked at as often as others need to know it. */
	const int64_t tick = l->silence_ns / 8;
	int r;

	while (!stopping(l)) {
		int64_t now, at = WEIR_NEVER;

		r = heed(l);
		if (r == 0)
			r = hear(l);
		if (r == 0)
			r = l->role->rest(l, &at);
		if (r < 0)
			return r;
		hear_kernel(l);
		now = weir_now();
		at = at < now + tick ? at : now + tick;
		sleep_on(l, amqp_get_sockfd(l->conn), at <= now ? 0 : (at - now) / 1000000 + 1);
	}
	return 0;
}

static void part(struct weir__rmq_line *l)
{
	struct timeval parting = PARTING;

	amqp_set_rpc_timeout(l->conn, &parting);
	(void)amqp_connection_close(l->conn, AMQP_REPLY_SUCCESS);
}

/* False: it is to end. */
static bool set_dialling(struct weir__rmq_line *l, bool on)
{
	bool stop;

	weir__lock_acquire(&l->lock);
	stop = l->stop;
	if (!stop)
		l->dialling = on;
	weir__lock_release(&l->lock);
	return !stop;
}

/* The last that the thread does. */
static void leave(struct weir__rmq_line *l)
{
	struct weir__wait *leaver;

	weir__lock_acquire(&l->lock);
	l->gone = true;
	leaver = l->leaver;
	if (leaver && !weir__wait_claim(leaver, 0))
		leaver = NULL; /* It has waited for long enough. */
	weir__lock_release(&l->lock);
	if (leaver)
		weir__wait_wake(leaver);
	weir__rmq_unref(l->rmq);
}

static void *line_main(void *arg)
{
	struct weir__rmq_line *l = arg;
	int64_t rest_ms = REST_MIN;
	int r;

	while (set_dialling(l, true)) {
		r = dial(l);
		if (r == 0 && set_dialling(l, false)) {
			rest_ms = REST_MIN;
			hear_kernel(l);
			__atomic_store_n(&l->up, true, __ATOMIC_RELEASE);
			if (converse(l) == 0)
				part(l);
			r = -ENOTCONN;
		}
		hang_up(l);
		refuse(l, r < 0 ? r : -ENOTCONN);
		l->host = (l->host + 1) % l->rmq->url.hosts;
		sleep_on(l, -1, rest_ms);
		rest_ms = rest_ms * 2 < REST_MAX ? rest_ms * 2 : REST_MAX;
	}
	refuse(l, -ENOTCONN);
	leave(l);
	return NULL;
}

int weir__rmq_line_start(struct weir__rmq_line *l, struct weir__rmq *rmq,
                         const struct weir__rmq_role *role)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	l->rmq = rmq;
	l->role = role;
	weir__list_init(&l->orders);
	l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->event < 0)
		return -errno;
	l->made = true;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	weir__outside(1);
	__atomic_add_fetch(&rmq->refs, 1, __ATOMIC_RELAXED);
	sigfillset(&all); /* Signals are for the program's other threads. */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&thread, &attr, line_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r < 0) {
		l->gone = true;
		weir__rmq_unref(rmq);
	}
	return r;
}

void weir__rmq_line_end(const weir_ctx *ctx, struct weir__rmq_line *l)
{
	struct weir__wait w;
	bool wait;

	if (!l->made)
		return;
	weir__lock_acquire(&l->lock);
	l->stop = true;
	/* A thread that is inside of OpenSSL when the process ends meets OpenSSL's own end. */
	wait = !l->gone && (!l->dialling || l->rmq->url.tls);
	if (wait) {
		weir__wait_init(&w);
		l->leaver = &w;
	}
	weir__lock_release(&l->lock);
	weir__rmq_kick(l);
	if (wait)
		(void)weir__wait_park(&w, ctx, "a connection to RabbitMQ to end", l);
	weir__lock_acquire(&l->lock);
	l->leaver = NULL;
	weir__lock_release(&l->lock);
	weir__outside(-1);
}

void weir__rmq_line_fini(struct weir__rmq_line *l)
{
	if (!l->made)
		return;
	close(l->event);
	l->role->fini(l);
}
