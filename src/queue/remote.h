/* SPDX-License-Identifier: MIT */
/*
 * A queue that lives in another system (JetStream, RabbitMQ, SQS): the few verbs that such systems
 * share. What is the same for all is done once, above them: ids, checks and refusals, waiting
 * takers, leases and tokens of this process, time limits, attempts and back-off, statistics. An
 * engine talks its protocol and nothing else.
 *
 * Tasks call the verbs, many at once, from any worker. They wait under their context only; what
 * blocks a thread belongs on a thread of the engine's own or into weir_offload(). While the engine
 * is away they fail with -ENOTCONN soon (a second or two).
 *
 * A job that was fetched is held: the layer above renews it before `until_ns` and ends it by
 * exactly one of ack, nack and bury, in the process that fetched it. An engine that learns that
 * somebody else may have the job (its connection broke, its time is over) says -ESTALE.
 */
#ifndef WEIR_QUEUE_REMOTE_H
#define WEIR_QUEUE_REMOTE_H

#include <errno.h>
#include <weir/queue.h>

#include "base/list.h"

/* ---- The table of engines: engines.c ---- */

/* What queues can do; the bits of weir__engine_row.can, in the order of weir__features[]. */
enum weir__feature {
	WEIR__CAN_SHARE,       /* several processes serve one queue */
	WEIR__CAN_DURABLE,     /* an accepted job survives kill -9 of the process that took it */
	WEIR__CAN_BOUND,       /* a full queue refuses */
	WEIR__CAN_DELAY,       /* a job that becomes ready later */
	WEIR__CAN_PRIORITY,    /* a job that comes before others */
	WEIR__CAN_IDEMPOTENCY, /* a key that makes putting twice put once */
	WEIR__CAN_BACKOFF,     /* a failed job rests before it is tried again */
	WEIR__CAN_ATTEMPTS,    /* attempts are counted, over all processes, and limited */
	WEIR__CAN_UNCOUNTED,   /* a job given back is no attempt */
	WEIR__CAN_DEAD,        /* what failed for good is kept */
	WEIR__CAN_REDRIVE,     /* and comes back by one command */
	WEIR__CAN_LEASE,       /* a lease that is extended, and lost by time */
	WEIR__CAN_COUNT,       /* how many jobs wait */
	WEIR__CAN_LOOK,        /* state, result and history of any job by its id; lists */
	WEIR__CAN_CANCEL,      /* a job that nobody has taken can be called off */
	WEIR__CAN_RETRY,       /* one finished job once more */
	WEIR__CAN_PAUSE,       /* the queue stands still */
	WEIR__CAN_RATE,        /* jobs a second */
	WEIR__CAN_CONCURRENCY, /* jobs at a time, over all workers, or per key */
	WEIR__CAN_CRON,        /* jobs by the clock */
	WEIR__FEATURES
};

struct weir__feature_name {
	const char *name; /* "delay": in errors and as the row of the table */
	const char *text; /* the rest of the sentence "it can …" */
};
extern const struct weir__feature_name weir__features[WEIR__FEATURES];

struct weir__remote_engine;

struct weir__engine_row {
	const char *name;                         /* "JetStream" */
	const char *schemes[4];                   /* "nats", as a URL has it before the ':' */
	const char *option;                       /* of meson, that builds it; NULL: always there */
	const char *durability;                   /* of an accepted job; what the 202 says */
	uint32_t can;                             /* 1u << enum weir__feature */
	int64_t delay_max_ns;                     /* of WEIR__CAN_DELAY; 0: Weir's own bound */
	const char *delay_text, *delay_refused;   /* that, as "15m"; and what is more than it */
	const struct weir__remote_engine *remote; /* NULL: it is no remote one, or not built */
	bool built;
};
/* Ends with a row without a name. */
extern const struct weir__engine_row weir__engine_rows[];

/* The row whose scheme the URL has, or NULL. */
const struct weir__engine_row *weir__engine_row_of(const char *url);

/* ---- What an engine is ---- */

/* A job on its way there, or as it came back: engines carry all of it, in headers or attributes.
 * Texts may be NULL. */
struct weir__remote_job {
	const char *id; /* 26 characters: where an engine drops doubles by id, by this one */
	const char *content_type, *key, *idempotency_key;
	const void *data;
	size_t len;
	int64_t delay_ns, timeout_ns;
	int priority;
	unsigned attempts_max; /* 0: the queue's */
	int64_t created_at;    /* wall clock */
};

/* A job that was fetched, in one piece of memory. */
struct weir__delivery {
	struct weir__list link; /* the layer's above */
	/* Its id may be any text that stays the same over deliveries, of a message that was not put
	 * by Weir: the layer above makes one of it, in own_id. */
	struct weir__remote_job job;
	char own_id[27];
	unsigned attempt;  /* 1: the first */
	const char *token; /* the engine's own: by what it knows this delivery */
	/* weir_now(): from then on somebody else may have it; WEIR_NEVER: it does not end by
	 * time. */
	int64_t until_ns;
};
/* A copy of all of it; free with free(). NULL without memory. */
struct weir__delivery *weir__delivery_new(const struct weir__remote_job *job, unsigned attempt,
                                          const char *token, int64_t until_ns);

enum { WEIR__UNKNOWN = -1 }; /* a count the engine does not tell */
struct weir__remote_counts {
	int64_t queued, delayed, running, dead, bytes;
};

/* What became of the dead. */
struct weir__redriven {
	int64_t dead, done; /* those that were there when it began; those that are back */
	/* An engine that ends it by an error may say why in its own words; also before it knows
	 * how many are dead. */
	weir_redrive_left left;
};
/* This one stays where it is. `id`: what it is known by there. */
void weir__redrive_leave(struct weir__redriven *d, const char *id, const char *why);
/* What dies again meanwhile is not redriven twice. */
static inline int64_t weir__redrive_rest(const struct weir__redriven *d)
{
	return d->dead - d->done - d->left.n;
}

struct weir__remote_engine {
	/* The URL is whole; what it may have after '?' is the engine's. Waits for the first
	 * connection: -ECONNREFUSED, -EACCES, -EINVAL (said why in the log). */
	int (*open)(const weir_ctx *ctx, const char *url, const weir_store_options *opt,
	            void **ret);
	/* Consumes. Nothing is held and no verb is running any more. */
	void (*close)(const weir_ctx *ctx, void *engine);
	/* Connected now, as far as is known. Never waits. */
	bool (*up)(void *engine);

	/* Before the first use of a queue by this process, and when its settings have changed; may
	 * be called twice at once. -EOPNOTSUPP for settings it cannot keep, -EEXIST when it is
	 * there and different. */
	int (*make)(const weir_ctx *ctx, void *engine, const char *queue,
	            const weir_queue_settings *set);

	/* Many at once; waits until the engine has answered for each, in ret[i]: 0; 1 (it has one
	 * of that id already); -EAGAIN (full); -EMSGSIZE; -ENOTCONN (not confirmed: it may be there
	 * or not). 0, or the context's error: then what is not confirmed has that. */
	int (*put)(const weir_ctx *ctx, void *engine, const char *queue,
	           const struct weir__remote_job *jobs, size_t n, int *ret);

	/* 0, or -EMSGSIZE: a job that put would refuse for its size. Never waits; asked of what is
	 * put later, and answered for now. */
	int (*fits)(void *engine, const struct weir__remote_job *job);

	/* Waits for the first, and takes up to max that are there. How many; 0: none yet, ask
	 * again (within some 30 s); -ENOTCONN; or the context's error. It is cancelled when nobody
	 * waits any more; then it may still wait some 2 s for what it cannot call back, and return
	 * that. One task at a time per queue. */
	int (*fetch)(const weir_ctx *ctx, void *engine, const char *queue, size_t max,
	             struct weir__delivery **ret);

	/* 0; -ESTALE; -ENOTCONN: not confirmed. */
	int (*ack)(const weir_ctx *ctx, void *engine, const char *queue,
	           const struct weir__delivery *d);
	/* Whether an ack that was not confirmed was taken, which may be asked when the time is over
	 * too: 1, 0, -ENOTCONN. NULL where one that is not confirmed is none. */
	int (*acked)(const weir_ctx *ctx, void *engine, const char *queue,
	             const struct weir__delivery *d);
	/* counted: it was an attempt (where the engine can tell: WEIR__CAN_UNCOUNTED). */
	int (*nack)(const weir_ctx *ctx, void *engine, const char *queue,
	            const struct weir__delivery *d, int64_t delay_ns, bool counted);
	/* To the dead, kept; `why` may be NULL. */
	int (*bury)(const weir_ctx *ctx, void *engine, const char *queue,
	            const struct weir__delivery *d, const char *why);
	/* Hold it for longer: *ret_until_ns as weir__delivery.until_ns. NULL where until_ns is
	 * always WEIR_NEVER. */
	int (*extend)(const weir_ctx *ctx, void *engine, const char *queue,
	              const struct weir__delivery *d, int64_t *ret_until_ns);

	/* Of an engine that does not take back by time what is held, and where until_ns is only
	 * when it may be another's: whether it is held here yet, so that its end has to be said.
	 * Never waits. NULL: the engine has it back by itself after until_ns. */
	bool (*held)(void *engine, const struct weir__delivery *d);

	/* 0; or any error: they are not known now. */
	int (*count)(const weir_ctx *ctx, void *engine, const char *queue,
	             struct weir__remote_counts *ret);
	/* The jobs that are dead now back to the queue, with fresh attempts; what cannot be read or
	 * put is left where it is. 0, or what stopped it; *d, which comes as zeros, tells how far
	 * it came. Cut off in the middle, some are in both places. NULL: WEIR__CAN_REDRIVE is not
	 * in its row. */
	int (*redrive)(const weir_ctx *ctx, void *engine, const char *queue,
	               struct weir__redriven *d);
};

/* Is it an error that comes from a context? */
static inline bool weir__remote_stops(int r)
{
	return r == -ECANCELED || r == -ETIMEDOUT || r == -ESHUTDOWN;
}

extern const struct weir__remote_engine weir__engine_jetstream, weir__engine_rabbitmq,
	weir__engine_sqs; /* those that are built */

#endif
