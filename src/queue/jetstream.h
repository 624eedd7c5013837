/* SPDX-License-Identifier: MIT */
/* What the files of the JetStream engine share; jetstream.c says how it works. */
#ifndef WEIR_QUEUE_JETSTREAM_H
#define WEIR_QUEUE_JETSTREAM_H

#include <weir/bus.h>
#include <weir/sync.h>

#include "base/buf.h"
#include "base/list.h"
#include "queue/remote.h"
#include "rt/lock.h"

enum {
	WEIR__JS_NAME = 72,     /* of a stream, a subject, an inbox */
	WEIR__JS_LANES = 256,   /* puts at a time */
	WEIR__JS_BATCH = 256,   /* messages on their way in one lane */
	WEIR__JS_DEAD = 100000, /* dead jobs kept per queue; the oldest go first */
	/* error codes of its API */
	WEIR__JS_NO_MESSAGE = 10037,
	WEIR__JS_NO_STREAM = 10059,
};

#define WEIR__JS_ANSWER WEIR_SEC(2) /* how long an answer may take before it is none */

/* Where the answers to one put come back. Used by one task at a time. */
struct weir__js_lane {
	struct weir__list link; /* js->lanes, while nobody uses it */
	weir_sub *sub;
	uint64_t last; /* number of its last message */
	char inbox[WEIR__JS_NAME];
};

struct weir__js_queue {
	struct weir__list link; /* js->queues */
	char name[65];
	int64_t ack_wait_ns;      /* atomic */
	weir_queue_settings made; /* js->lock; as it was made, to make it again */

	/* The fetching task's alone. */
	weir_sub *sub; /* where messages come in; NULL: nobody waits for any */
	size_t asked;  /* for so many, and they have not come */
	int64_t asked_until;
	uint64_t reconnects; /* when it asked */
	uint64_t session;
	unsigned in_vain; /* requests in a row that brought nothing */
	uint64_t ghosts;  /* looked for up to this message */
	uint64_t looked;  /* for all of them in this connection: 1 + its number; or 0 */
};

struct weir__js {
	weir_bus *bus;
	unsigned replicas;
	int64_t duplicates_ns;
	char inbox[40]; /* what all our inboxes begin with */
	weir_sem lanes_free;

	weir__lock lock; /* guards the rest */
	struct weir__list lanes, queues;
	uint64_t last; /* number of the last inbox */
};

/* ---- jetstream.c ---- */
bool weir__js_up(struct weir__js *js);
uint64_t weir__js_reconnects(struct weir__js *js);
/* "weir.queue.NAME" and the like: a dot in NAME is a '~'. */
void weir__js_name(char to[WEIR__JS_NAME], const char *prefix, const char *queue);
/* Ask and wait for the answer, which is to be freed: 0; -ENOTCONN: none came; the context's
 * error. */
int weir__js_ask(const weir_ctx *ctx, struct weir__js *js, const char *subject, const char *text,
                 weir_msg *ret);

/* The answer to $JS.API.STREAM.MSG.<verb> of the stream that <kind> and the queue name. */
int weir__js_message(const weir_ctx *ctx, struct weir__js *js, const char *verb, const char *kind,
                     const char *queue, const char *text, weir_msg *ret);

/* The answer to a publish: 0; 1 (it was there); -EAGAIN (full); -EMSGSIZE; -ENOTCONN. */
int weir__js_verdict(const weir_msg *m);

/* ---- jetstream_msg.c ---- */
/* A job's headers, into an empty buffer. `again`: what makes the message another one than the first
 * of this job, or NULL. `why`: of a dead one, else NULL. */
void weir__js_headers(struct weir__buf *b, const struct weir__remote_job *job, const char *again,
                      const char *why);
/* A header's value into buf; "" when it is not there. */
const char *weir__js_header(const weir_msg *m, const char *name, char *buf, size_t n);
/* A job out of a message's headers and data. `id`: when they name none. NULL without memory. */
struct weir__delivery *weir__js_read(const weir_msg *m, const char *id, unsigned attempt,
                                     const char *token, int64_t until_ns);
/* A job out of a message that JetStream delivered; NULL for what is none, or without memory. */
struct weir__delivery *weir__js_delivery(const weir_msg *m, int64_t until_ns);
/* The number of the message in its stream, from the subject it is acknowledged to. */
uint64_t weir__js_sequence(const char *token);
/* "name": number, the first in the text; or -1. */
int64_t weir__js_number(const weir_msg *m, const char *name);

/* ---- jetstream_queue.c ---- */
int weir__js_make(const weir_ctx *ctx, void *engine, const char *queue,
                  const weir_queue_settings *set);
int weir__js_count(const weir_ctx *ctx, void *engine, const char *queue,
                   struct weir__remote_counts *ret);
/* It does not answer: is it made again, when somebody has deleted it there. 0 or an error. */
int weir__js_mend(const weir_ctx *ctx, struct weir__js *js, const char *queue);
struct weir__js_queue *weir__js_find(struct weir__js *js, const char *queue);

/* The answer to $JS.API.<verb>.INFO.<name>: 0, -ENOENT, -EIO or weir__js_ask()'s. */
int weir__js_info(const weir_ctx *ctx, struct weir__js *js, const char *verb, const char *name,
                  weir_msg *ret);

/* ---- jetstream_ghosts.c ---- */
/* Nothing has come for some requests: a consumer that cannot give out what is there is set going
 * again. 0 or an error. The fetching task's. */
int weir__js_lay_ghosts(const weir_ctx *ctx, struct weir__js *js, struct weir__js_queue *q);

/* ---- jetstream_redrive.c ---- */
int weir__js_redrive(const weir_ctx *ctx, void *engine, const char *queue,
                     struct weir__redriven *d);

/* ---- jetstream_take.c ---- */
int weir__js_fetch(const weir_ctx *ctx, void *engine, const char *queue, size_t max,
                   struct weir__delivery **ret);
int weir__js_ack(const weir_ctx *ctx, void *engine, const char *queue,
                 const struct weir__delivery *d);
int weir__js_acked(const weir_ctx *ctx, void *engine, const char *queue,
                   const struct weir__delivery *d);
/* Is this message of the queue's stream gone? 1, 0 or an error. */
int weir__js_gone(const weir_ctx *ctx, struct weir__js *js, const char *queue, uint64_t seq);
int weir__js_nack(const weir_ctx *ctx, void *engine, const char *queue,
                  const struct weir__delivery *d, int64_t delay_ns, bool counted);
int weir__js_bury(const weir_ctx *ctx, void *engine, const char *queue,
                  const struct weir__delivery *d, const char *why);
int weir__js_extend(const weir_ctx *ctx, void *engine, const char *queue,
                    const struct weir__delivery *d, int64_t *ret_until_ns);

#endif
