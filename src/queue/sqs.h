/* SPDX-License-Identifier: MIT */
/* What the files of the SQS engine share; sqs.c says how it works. */
#ifndef WEIR_QUEUE_SQS_H
#define WEIR_QUEUE_SQS_H

#include <weir/group.h>
#include <weir/sync.h>

#include "base/buf.h"
#include "base/list.h"
#include "queue/aws.h"
#include "queue/remote.h"
#include "queue/sigv4.h"
#include "queue/url.h"
#include "rt/lock.h"

enum {
	WEIR__SQS_NAME = 81,          /* of a queue there, and a NUL */
	WEIR__SQS_URL = 512,          /* of a queue */
	WEIR__SQS_BATCH = 10,         /* entries in one request */
	WEIR__SQS_ROUND = 4,          /* requests that one task sends at once */
	WEIR__SQS_LEADERS = 8,        /* tasks that send entries of one queue and kind */
	WEIR__SQS_BYTES = 256 << 10,  /* what a batch of several entries may hold */
	WEIR__SQS_MESSAGE = 1 << 20,  /* the largest message, with its attributes */
	WEIR__SQS_DELAY = 900,        /* seconds: of a new message */
	WEIR__SQS_HIDDEN = 12 * 3600, /* seconds: the longest that one is hidden */
	WEIR__SQS_CODE = 64,
};

#define WEIR__SQS_ANSWER WEIR_SEC(3) /* how long an answer may take before it is none */

struct weir__sqs;

/* Entries of one kind on their way to one queue: sqs_batch.c. */
struct weir__sqs_lane {
	struct weir__sqs *sqs;
	struct weir__sqs_queue *queue;
	const char *action;
	bool dead; /* to the queue of the dead */

	weir__lock lock;           /* guards the rest, and the state of errands and entries */
	struct weir__list waiting; /* entries nobody has sent yet */
	unsigned leaders;
};

struct weir__sqs_queue {
	struct weir__list link; /* sqs->queues */
	char name[65];
	int64_t lease_s; /* atomic */
	struct weir__sqs_lane send, remove, hide, bury;
	struct weir__sqs_lane raise, rebury; /* out of the dead; to be seen there again */

	weir__lock lock; /* guards the URLs, as JSON texts in quotation marks */
	char url[WEIR__SQS_URL], dead_url[WEIR__SQS_URL];
};

struct weir__sqs {
	struct weir__courier *courier;
	struct weir__url at;                                           /* its rest is not used */
	char endpoint[WEIR__HOST_MAX + 32], host[WEIR__HOST_MAX + 16]; /* URL; the header */
	char region[WEIR__AWS_REGION], prefix[33];
	const char *ca_file;
	int64_t wait_s; /* of a fetch */
	weir_group group;
	weir_sem fallen;   /* given when it went away */
	weir_mutex asking; /* who looks up the name or gets a key */

	weir__lock lock; /* guards the rest */
	bool up, falling;
	struct weir__list queues;
	struct weir__aws_key *key;
	int64_t key_retry_at;
	char day[WEIR__SIGV4_DAY + 1]; /* that day_key signs on, by our key; "": none yet */
	unsigned char day_key[WEIR__SIGV4_KEY];
	int64_t skew_s; /* what the service's clock is ahead of ours */
	struct weir__url_addrs addrs;
	int64_t addrs_until; /* weir_now() */
};

/* ---- sqs_call.c ---- */

struct weir__sqs_call {
	const char *action;
	struct weir__buf body; /* the caller's */
	int64_t timeout_ns;    /* 0: WEIR__SQS_ANSWER */
	int64_t late_ns;       /* how long the answer is waited for when the context has ended */
	size_t answer_max;     /* 0: 64 KiB */

	/* 0 with an answer; -ENOTCONN: none, so not confirmed; -EAGAIN: throttled; -EACCES;
	 * -ENOENT: there is no such queue; -EEXIST; -EMSGSIZE; -ESTALE; -EIO: refused otherwise.
	 * Errors that a user should know of were logged. */
	int result;
	struct weir__buf answer;   /* JSON; to be freed */
	char code[WEIR__SQS_CODE]; /* of an error, as "AccessDeniedException" */
	char why[200];
};

/* Sends n at once, signed, and again what may be sent again. 0, or the context's error: then it is
 * the result of those that were not answered. */
int weir__sqs_call(const weir_ctx *ctx, struct weir__sqs *s, struct weir__sqs_call *c, size_t n);
void weir__sqs_call_free(struct weir__sqs_call *c, size_t n);
/* A code of an error, and the sentence with it, as weir__sqs_call.result. */
int weir__sqs_error(const char *code, const char *why);
void weir__sqs_up(struct weir__sqs *s, bool up);
/* Addresses of the endpoint, for p. 0 or -ENOTCONN, or the context's error. */
int weir__sqs_look_up(const weir_ctx *ctx, struct weir__sqs *s, struct weir__url_addrs *addrs,
                      struct weir__parcel *p);

/* ---- sqs_queue.c ---- */
int weir__sqs_make(const weir_ctx *ctx, void *engine, const char *queue,
                   const weir_queue_settings *set);
int weir__sqs_count(const weir_ctx *ctx, void *engine, const char *queue,
                    struct weir__remote_counts *ret);
struct weir__sqs_queue *weir__sqs_find(struct weir__sqs *s, const char *queue);
/* Both queues again, when one was gone. */
int weir__sqs_remake(const weir_ctx *ctx, struct weir__sqs *s, struct weir__sqs_queue *q);
/* Appends {"QueueUrl":… */
void weir__sqs_begin(struct weir__sqs_queue *q, bool dead, struct weir__buf *body);

/* ---- sqs_batch.c ---- */

struct weir__sqs_errand;
struct weir__sqs_entry {
	struct weir__list link; /* lane->waiting */
	struct weir__sqs_errand *of;
	struct weir__buf json; /* its members behind "Id", each after a comma */
	size_t size;           /* what it counts for in a batch */
	int result;            /* as weir__sqs_call.result */
};

void weir__sqs_lane_init(struct weir__sqs_lane *l, struct weir__sqs *s, struct weir__sqs_queue *q,
                         const char *action, bool dead);
/* Sends n entries, with others' in the same requests, and waits until each has its result. Their
 * json is freed. 0; or the context's error, which those that were not sent have as their result. */
int weir__sqs_send(const weir_ctx *ctx, struct weir__sqs_lane *l, struct weir__sqs_entry *e,
                   size_t n);

/* ---- sqs_msg.c ---- */
/* A job as an entry of SendMessageBatch. 0; -EMSGSIZE; -EOPNOTSUPP (its delay); -ENOMEM. `why`: of
 * a dead one, else NULL. */
int weir__sqs_entry_of(const struct weir__remote_job *job, const char *why,
                       struct weir__sqs_entry *e);
/* The jobs in the answer to a ReceiveMessage, which is overwritten: how many, at most max. */
size_t weir__sqs_deliveries(struct weir__buf *answer, int64_t until_ns, struct weir__delivery **ret,
                            size_t max);

/* ---- sqs_take.c ---- */
int weir__sqs_fetch(const weir_ctx *ctx, void *engine, const char *queue, size_t max,
                    struct weir__delivery **ret);
int weir__sqs_ack(const weir_ctx *ctx, void *engine, const char *queue,
                  const struct weir__delivery *d);
int weir__sqs_nack(const weir_ctx *ctx, void *engine, const char *queue,
                   const struct weir__delivery *d, int64_t delay_ns, bool counted);
int weir__sqs_bury(const weir_ctx *ctx, void *engine, const char *queue,
                   const struct weir__delivery *d, const char *why);
int weir__sqs_extend(const weir_ctx *ctx, void *engine, const char *queue,
                     const struct weir__delivery *d, int64_t *ret_until_ns);
int weir__sqs_redrive(const weir_ctx *ctx, void *engine, const char *queue,
                      struct weir__redriven *d);

#endif
