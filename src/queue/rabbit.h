/* SPDX-License-Identifier: MIT */
/* What the files of the RabbitMQ engine share; rabbit.c says how it works. */
#ifndef WEIR_QUEUE_RABBIT_H
#define WEIR_QUEUE_RABBIT_H

#include <amqp.h>

#include "base/hash.h"
#include "queue/inner.h"
#include "queue/remote.h"
#include "rt/lock.h"
#include "rt/wait.h"

enum {
	WEIR__RMQ_NAME = 88,           /* of a queue there */
	WEIR__RMQ_BATCH = 256,         /* messages of one order */
	WEIR__RMQ_WINDOW = 8192,       /* messages that wait for their confirmation */
	WEIR__RMQ_MESSAGE = 128 << 20, /* the largest: the server's max_message_size */
	WEIR__RMQ_DEAD = 100000,       /* dead jobs kept per queue; the oldest go first */
	WEIR__RMQ_HEARTBEAT = 10,      /* seconds */
	WEIR__RMQ_HOSTS = 8,
	WEIR__RMQ_DELIVERIES = 1000, /* Weir itself buries a job long before */
	WEIR__RMQ_WORK = 1,          /* the channel of messages */
	WEIR__RMQ_ASK = 2, /* the channel of questions that the server may close for an answer */
};

#define WEIR__RMQ_ANSWER WEIR_SEC(5) /* how long an answer may take before it is none */

/* Who is there, and how to get in; from the URL. Texts are in one piece of memory. */
struct weir__rmq_url {
	char *text;
	bool tls;
	const char *user, *password, *vhost, *ca, *cert, *key;
	const char *host[WEIR__RMQ_HOSTS];
	int port[WEIR__RMQ_HOSTS];
	unsigned hosts, replicas; /* 0: as the server has it */
	int64_t hold_ns;
};

enum weir__rmq_verb {
	/* Those before FETCH are done for nobody when their task has left before they are begun. */
	WEIR__RMQ_HELLO,   /* tells when there is a connection */
	WEIR__RMQ_PUT,     /* messages, each to be confirmed */
	WEIR__RMQ_DECLARE, /* a queue */
	WEIR__RMQ_COUNT,   /* of the jobs in a queue */
	WEIR__RMQ_FETCH,
	WEIR__RMQ_ACK,
	WEIR__RMQ_REQUEUE, /* to where it was */
	WEIR__RMQ_REJECT,  /* to the dead */
};

/* What a task asks of a line's thread. Two references: the task's and the thread's. */
struct weir__rmq_op {
	struct weir__list link; /* l->orders; then in one of the thread's lists */
	bool queued;            /* it is in l->orders, and guarded as they are */
	enum weir__rmq_verb verb;
	uint32_t refs; /* atomic */
	char queue[WEIR__RMQ_NAME];
	size_t size;    /* its bytes, with what it carries */
	int64_t end_ns; /* then there is no answer, or it was not begun; the thread's */
	uint64_t due;   /* answered with the barrier of this number; the thread's */

	weir__lock lock;
	struct weir__wait *wait; /* NULL: it does not wait now */
	bool ended, left;
	int result;

	/* PUT: a copy of the jobs behind it. */
	struct weir__remote_job *jobs;
	unsigned attempts; /* that they had before */
	int64_t ttl_ms;    /* it expires then; 0: never */
	int *each;
	size_t n, open; /* without an answer */

	/* DECLARE; and of COUNT the answer. */
	char to[WEIR__RMQ_NAME]; /* where what leaves it goes to; "": nowhere */
	bool keeps;              /* it refuses when it is full, rather than to forget */
	int64_t bound, bytes, count;

	/* FETCH. */
	size_t max;
	bool cancel; /* atomic: nobody waits any more */
	struct weir__list got;
	size_t got_n;

	/* ACK, REQUEUE, REJECT. */
	uint64_t generation, tag;
	struct weir__hash_node said; /* the thread's */
};

struct weir__rmq_line;

/* What a line is for: how its thread heeds orders and frames. */
struct weir__rmq_role {
	const char *name;
	/* Its channel is open. 0, or it is broken again. */
	int (*begin)(struct weir__rmq_line *l);
	/* -EAGAIN: not now, nor what comes after it; -EPIPE: broken. */
	int (*heed)(struct weir__rmq_line *l, struct weir__rmq_op *op);
	/* A whole method, with content where it has some. 0 or -EPIPE. */
	int (*hear)(struct weir__rmq_line *l, const amqp_frame_t *method);
	/* All that is there was heeded and heard. 0 or -EPIPE. When to be called at the latest. */
	int (*rest)(struct weir__rmq_line *l, int64_t *ret_at);
	/* The connection is gone: what waits has no answer. */
	void (*lost)(struct weir__rmq_line *l);
	/* Frees l->state, when the thread has ended. */
	void (*fini)(struct weir__rmq_line *l);
};

/* A connection with a thread of its own, which alone calls rabbitmq-c for it. The thread holds a
 * reference on the engine, since one that is looking for its server may outlive the close: neither
 * the name service nor a handshake can be called back. */
struct weir__rmq_line {
	struct weir__rmq *rmq;
	const struct weir__rmq_role *role;
	bool made;
	int event; /* eventfd: there are orders */

	bool up;             /* atomic */
	uint64_t generation; /* atomic; of the connection */
	int64_t heard;       /* atomic; when something came from the server last */
	int64_t silence_ns; /* atomic; what is silent for longer is gone: the heartbeat agreed on */
	bool asleep;        /* atomic */

	weir__lock lock;          /* guards: */
	struct weir__list orders; /* not yet begun */
	size_t orders_n, orders_bytes;
	bool fresh; /* some came since the thread began to heed them */
	bool stop, dialling, gone;
	struct weir__wait *leaver; /* who waits for the thread's end; NULL: nobody */

	/* The thread's alone. */
	amqp_connection_state_t conn;
	unsigned host;
	bool asking;  /* channel 2 is open */
	bool missing; /* it was closed over a queue that is not there */
	/* The content that is being read. */
	amqp_method_t method;
	bool in_content;
	amqp_basic_properties_t *props;
	char *body;
	size_t body_len, body_have;
	void *state; /* the role's */
};

/* As it was made, to make it again when somebody has deleted it there. */
struct weir__rmq_queue {
	struct weir__list link;
	char name[WEIR__NAME_MAX + 1];
	int64_t max, bytes;
};

struct weir__rmq {
	uint32_t refs; /* atomic: the engine's, and its lines' threads */
	struct weir__rmq_url url;
	struct weir__rmq_line puts, takes;
	weir__lock lock;
	struct weir__list queues;
};

/* ---- rabbit_url.c ---- */
/* 0; -EINVAL (said why); -ENOMEM. */
int weir__rmq_url_read(struct weir__rmq_url *u, const char *url);

/* ---- rabbit.c ---- */
void weir__rmq_unref(struct weir__rmq *rmq);

/* ---- rabbit_op.c ---- */
struct weir__rmq_op *weir__rmq_op_new(enum weir__rmq_verb verb, const char *queue, size_t extra);
void weir__rmq_op_unref(struct weir__rmq_op *op);
/* An order to a line: what its result is, or the context's error, after which one that was begun
 * may still be at work. -ENOTCONN when there is no connection; -EAGAIN for a put that found no
 * place in the line, or was not begun in time. The op stays the caller's, to unref. */
int weir__rmq_call(const weir_ctx *ctx, struct weir__rmq_line *l, struct weir__rmq_op *op);
/* Wakes the thread. */
void weir__rmq_kick(struct weir__rmq_line *l);
/* By the thread: the next order, or NULL. */
struct weir__rmq_op *weir__rmq_next(struct weir__rmq_line *l);
/* By the thread: it cannot be begun now. It is the next one again, unless its time is over or
 * nobody waits for it. */
void weir__rmq_not_yet(struct weir__rmq_line *l, struct weir__rmq_op *op);
/* By the thread; false: nobody is there to hear it, and the thread's reference is still there. */
bool weir__rmq_done(struct weir__rmq_op *op, int result);
/* The same for what nobody needs to hear. */
void weir__rmq_end(struct weir__rmq_op *op, int result);

/* ---- rabbit_line.c ---- */
int weir__rmq_line_start(struct weir__rmq_line *l, struct weir__rmq *rmq,
                         const struct weir__rmq_role *role);
/* Waits for the thread's end under the context, unless it is looking for its server without TLS:
 * then it ends by itself. */
void weir__rmq_line_end(const weir_ctx *ctx, struct weir__rmq_line *l);
/* When nobody uses it any more. */
void weir__rmq_line_fini(struct weir__rmq_line *l);
/* An order's time is over: is the server silent, too? */
bool weir__rmq_silent(struct weir__rmq_line *l);
/* Sends a method on a channel; 0 or -EPIPE. */
int weir__rmq_send(struct weir__rmq_line *l, int channel, amqp_method_number_t id, void *decoded);

/* ---- rabbit_msg.c ---- */
/* `headers` has room for all of them. */
enum { WEIR__RMQ_HEADERS = 5 };
void weir__rmq_props(const struct weir__remote_job *job, unsigned attempts, int64_t ttl_ms,
                     amqp_basic_properties_t *props, amqp_table_entry_t headers[], char ttl[24]);
/* Any message is a job. NULL without memory. */
struct weir__delivery *weir__rmq_delivery(const amqp_basic_properties_t *props, const void *body,
                                          size_t len, const char *token, int64_t until_ns);

/* ---- rabbit_ask.c: on the thread of the puts ---- */
int weir__rmq_declare(struct weir__rmq_line *l, struct weir__rmq_op *op);
int weir__rmq_count(struct weir__rmq_line *l, struct weir__rmq_op *op);

/* ---- rabbit_put.c, rabbit_take.c ---- */
extern const struct weir__rmq_role weir__rmq_puts, weir__rmq_takes;

#endif
