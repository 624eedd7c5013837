/* SPDX-License-Identifier: MIT */
/*
 * The engine "amqp://…": RabbitMQ, spoken through rabbitmq-c on two lines (rabbit_line.c): puts and
 * questions on the one, takes and ends on the other. What is here is what tasks call.
 *
 *	amqp://user:password@host:5672,host2:5672/vhost?replicas=3&hold=25m
 *	amqps://host/?ca=/etc/ca.pem
 *
 * A queue is the quorum queue weir.queue.NAME, that refuses when it is full; the dead are in
 * weir.dead.NAME, where the server's dead-letter exchange brings them in one step: a job is in the
 * one or in the other. What rests is in weir.wait.N.NAME until its time is over, and the server
 * brings it back.
 *
 *	put      publisher confirms; nothing is sent twice, since the server drops no doubles
 *	fetch    a consumer whose prefetch is the number of takers (rabbit_take.c)
 *	end      on the connection that the job came over, and on no other: the server gives away at
 *	         once what a broken connection held, so an end after that is -ESTALE
 *	rest     a copy with its attempts and its time goes to weir.wait.N.NAME; when it is confirmed
 *	         the first is acknowledged. Cut off between the two there are both: the job runs
 *	         twice.
 *
 * In weir.wait.N.NAME rests what is to rest 2^N to 2^(N+1) seconds. The server looks at the head of
 * a queue alone, so a job may wait for those before it: never less than it should, at most twice as
 * long.
 *
 * The server closes a channel on which a job was held for longer than its consumer_timeout (30
 * minutes), and takes back all that this channel holds. So Weir gives up a job before (hold=).
 *
 * A queue's arguments cannot be changed: who asks for other bounds than it was made with is refused
 * (-EEXIST).
 */
#include "queue/rabbit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { REDRIVE = 64 };
#define NONE_THERE WEIR_SEC(2) /* a queue of which nothing has come for so long is empty */
#define DELAY_MAX  (24 * WEIR_MIN(60) * 49) /* the server counts milliseconds in 32 bits */

static void name_of(char to[WEIR__RMQ_NAME], const char *kind, const char *queue)
{
	snprintf(to, WEIR__RMQ_NAME, "weir.%s.%s", kind, queue);
}

static void name_of_wait(char to[WEIR__RMQ_NAME], const char *queue, int64_t delay_ns)
{
	unsigned n = 0;

	for (int64_t s = delay_ns / WEIR_SEC(1); s > 1; s /= 2)
		n++;
	snprintf(to, WEIR__RMQ_NAME, "weir.wait.%u.%s", n, queue);
}

/* An order that is nothing but its verb and a queue. *ret_count may be NULL. */
static int ask(const weir_ctx *ctx, struct weir__rmq_line *l, enum weir__rmq_verb verb,
               const char *queue, int64_t *ret_count)
{
	struct weir__rmq_op *op = weir__rmq_op_new(verb, queue, 0);
	int r;

	if (!op)
		return -ENOMEM;
	r = weir__rmq_call(ctx, l, op);
	if (r == 0 && ret_count)
		*ret_count = op->count;
	weir__rmq_op_unref(op);
	return r;
}

/* ---- Queues ---- */

static int declare(const weir_ctx *ctx, struct weir__rmq *rmq, const char *name, const char *to,
                   bool keeps, int64_t bound, int64_t bytes)
{
	struct weir__rmq_op *op = weir__rmq_op_new(WEIR__RMQ_DECLARE, name, 0);
	int r;

	if (!op)
		return -ENOMEM;
	snprintf(op->to, sizeof op->to, "%s", to);
	op->keeps = keeps;
	op->bound = bound;
	op->bytes = bytes;
	r = weir__rmq_call(ctx, &rmq->puts, op);
	weir__rmq_op_unref(op);
	return r;
}

static int declare_all(const weir_ctx *ctx, struct weir__rmq *rmq, const char *queue, int64_t max,
                       int64_t bytes)
{
	char main_name[WEIR__RMQ_NAME], dead[WEIR__RMQ_NAME];
	int r;

	name_of(main_name, "queue", queue);
	name_of(dead, "dead", queue);
	r = declare(ctx, rmq, dead, "", false, WEIR__RMQ_DEAD, 0);
	return r < 0 ? r : declare(ctx, rmq, main_name, dead, true, max, bytes);
}

static int remember(struct weir__rmq *rmq, const char *queue, int64_t max, int64_t bytes)
{
	struct weir__rmq_queue *fresh = calloc(1, sizeof *fresh), *q = fresh;

	if (!fresh)
		return -ENOMEM;
	memcpy(fresh->name, queue, strlen(queue) + 1);
	weir__lock_acquire(&rmq->lock);
	weir__list_each (node, &rmq->queues) {
		struct weir__rmq_queue *old = weir__container(node, struct weir__rmq_queue, link);

		if (!strcmp(old->name, queue))
			q = old;
	}
	q->max = max;
	q->bytes = bytes;
	if (q == fresh)
		weir__list_append(&rmq->queues, &fresh->link);
	weir__lock_release(&rmq->lock);
	if (q != fresh)
		free(fresh);
	return 0;
}

static int make(const weir_ctx *ctx, void *engine, const char *queue,
                const weir_queue_settings *set)
{
	int64_t max = set->max > INT32_MAX ? INT32_MAX : (int64_t)set->max;
	int64_t bytes = set->max_bytes >= (size_t)1 << 40 ? 0 : (int64_t)set->max_bytes;
	int r = declare_all(ctx, engine, queue, max, bytes);

	if (r == -EEXIST)
		weir__log_rare(WEIR__ERROR, "queue",
		               "RabbitMQ has queue %s with other bounds, which it cannot change",
		               queue);
	return r < 0 ? r : remember(engine, queue, max, bytes);
}

/* Somebody has deleted it. */
static void make_again(const weir_ctx *ctx, struct weir__rmq *rmq, const char *queue)
{
	int64_t max = -1, bytes = 0;

	weir__lock_acquire(&rmq->lock);
	weir__list_each (node, &rmq->queues) {
		struct weir__rmq_queue *q = weir__container(node, struct weir__rmq_queue, link);

		if (!strcmp(q->name, queue)) {
			max = q->max;
			bytes = q->bytes;
		}
	}
	weir__lock_release(&rmq->lock);
	if (max >= 0)
		(void)declare_all(ctx, rmq, queue, max, bytes);
}

static int count(const weir_ctx *ctx, void *engine, const char *queue,
                 struct weir__remote_counts *ret)
{
	struct weir__remote_counts c = { .delayed = WEIR__UNKNOWN,
		                         .running = WEIR__UNKNOWN,
		                         .bytes = WEIR__UNKNOWN };
	struct weir__rmq *rmq = engine;
	char name[WEIR__RMQ_NAME];
	int r;

	name_of(name, "queue", queue);
	r = ask(ctx, &rmq->puts, WEIR__RMQ_COUNT, name, &c.queued);
	name_of(name, "dead", queue);
	if (r == 0)
		r = ask(ctx, &rmq->puts, WEIR__RMQ_COUNT, name, &c.dead);
	if (r == 0)
		*ret = c;
	return r;
}

/* ---- Put ---- */

static char *copy_text(char **at, const char *text)
{
	size_t n = text ? strlen(text) + 1 : 0;
	char *to = n ? memcpy(*at, text, n) : NULL;

	*at += n;
	return to;
}

/* With a copy of the jobs, since the thread may be at it when the task has left. */
static struct weir__rmq_op *new_put(const char *name, const struct weir__remote_job *jobs, size_t n)
{
	size_t bytes = n * (sizeof *jobs + sizeof(int));
	struct weir__rmq_op *op;
	char *at;

	for (size_t i = 0; i < n; i++)
		bytes += jobs[i].len + strlen(jobs[i].id) + 1 +
		         (jobs[i].content_type ? strlen(jobs[i].content_type) + 1 : 0) +
		         (jobs[i].key ? strlen(jobs[i].key) + 1 : 0);
	op = weir__rmq_op_new(WEIR__RMQ_PUT, name, bytes);
	if (!op)
		return NULL;
	op->n = n;
	op->jobs = (struct weir__remote_job *)(op + 1);
	op->each = (int *)(op->jobs + n);
	at = (char *)(op->each + n);
	for (size_t i = 0; i < n; i++) {
		struct weir__remote_job *j = &op->jobs[i];

		*j = jobs[i];
		j->id = copy_text(&at, jobs[i].id);
		j->content_type = copy_text(&at, jobs[i].content_type);
		j->key = copy_text(&at, jobs[i].key);
		j->idempotency_key = NULL;
		if (j->len)
			j->data = memcpy(at, jobs[i].data, j->len);
		at += j->len;
	}
	return op;
}

static int put_to(const weir_ctx *ctx, struct weir__rmq *rmq, const char *name,
                  const struct weir__remote_job *jobs, size_t n, unsigned attempts, int64_t ttl_ms,
                  int *ret)
{
	struct weir__rmq_op *op = new_put(name, jobs, n);
	int r;

	if (!op)
		return -ENOMEM;
	op->attempts = attempts;
	op->ttl_ms = ttl_ms;
	r = weir__rmq_call(ctx, &rmq->puts, op);
	for (size_t i = 0; i < n; i++)
		ret[i] = r < 0 ? r : op->each[i];
	weir__rmq_op_unref(op);
	return r;
}

/* What found no queue was not kept, so it may go once more when there is one. */
static int put_later(const weir_ctx *ctx, struct weir__rmq *rmq, const char *queue,
                     const struct weir__remote_job *job, unsigned attempts, int64_t delay_ns)
{
	char name[WEIR__RMQ_NAME], to[WEIR__RMQ_NAME];
	int64_t ms = (delay_ns < DELAY_MAX ? delay_ns + 999999 : DELAY_MAX) / 1000000;
	int r, each;

	name_of_wait(name, queue, delay_ns);
	name_of(to, "queue", queue);
	r = put_to(ctx, rmq, name, job, 1, attempts, ms, &each);
	if (r == 0 && each == -ENOENT) {
		r = declare(ctx, rmq, name, to, true, 0, 0);
		if (r == 0)
			r = put_to(ctx, rmq, name, job, 1, attempts, ms, &each);
	}
	return r < 0 ? r : each;
}

static int put_now(const weir_ctx *ctx, struct weir__rmq *rmq, const char *queue,
                   const struct weir__remote_job *jobs, size_t n, int *ret)
{
	char name[WEIR__RMQ_NAME];
	bool gone = false;
	int r;

	name_of(name, "queue", queue);
	r = put_to(ctx, rmq, name, jobs, n, 0, 0, ret);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (ret[i] == -ENOENT) {
			gone = true;
			ret[i] = -ENOTCONN;
		}
	if (gone)
		make_again(ctx, rmq, queue);
	return r;
}

/* The server closes the channel over a larger one. */
static int fits(void *engine, const struct weir__remote_job *job)
{
	(void)engine;
	return job->len > WEIR__RMQ_MESSAGE ? -EMSGSIZE : 0;
}

static int put(const weir_ctx *ctx, void *engine, const char *queue,
               const struct weir__remote_job *jobs, size_t n, int *ret)
{
	int r = 0;

	for (size_t i = 0, some; i < n; i += some) {
		some = 1;
		if (weir__remote_stops(r)) {
			ret[i] = r;
		} else if (fits(engine, &jobs[i]) < 0) {
			ret[i] = -EMSGSIZE;
		} else if (jobs[i].delay_ns > 0) {
			r = ret[i] = put_later(ctx, engine, queue, &jobs[i], 0, jobs[i].delay_ns);
		} else {
			while (i + some < n && some < WEIR__RMQ_BATCH && !jobs[i + some].delay_ns &&
			       fits(engine, &jobs[i + some]) == 0)
				some++;
			r = put_now(ctx, engine, queue, &jobs[i], some, &ret[i]);
		}
	}
	return weir__remote_stops(r) ? r : 0;
}

/* ---- Take and end ---- */

static int fetch_from(const weir_ctx *ctx, struct weir__rmq *rmq, const char *name, size_t max,
                      struct weir__delivery **ret)
{
	struct weir__rmq_op *op = weir__rmq_op_new(WEIR__RMQ_FETCH, name, 0);
	struct weir__list *node;
	int r, n = 0;

	if (!op)
		return -ENOMEM;
	op->max = max;
	r = weir__rmq_call(ctx, &rmq->takes, op);
	while (r > 0 && (node = weir__list_pop(&op->got)))
		ret[n++] = weir__container(node, struct weir__delivery, link);
	weir__rmq_op_unref(op);
	return r;
}

static int fetch(const weir_ctx *ctx, void *engine, const char *queue, size_t max,
                 struct weir__delivery **ret)
{
	char name[WEIR__RMQ_NAME];
	int r;

	name_of(name, "queue", queue);
	r = fetch_from(ctx, engine, name, max, ret);
	if (r == -ENOENT) {
		make_again(ctx, engine, queue);
		r = -ENOTCONN;
	}
	return r;
}

/* generation.tag.since */
static bool read_token(const struct weir__rmq *rmq, const struct weir__delivery *d,
                       uint64_t *generation, uint64_t *tag, int64_t *since)
{
	char *end;

	*generation = strtoull(d->token, &end, 10);
	*tag = strtoull(end + 1, &end, 10);
	*since = strtoll(end + 1, NULL, 10);
	return *generation == __atomic_load_n(&rmq->takes.generation, __ATOMIC_ACQUIRE);
}

static int finish(const weir_ctx *ctx, struct weir__rmq *rmq, const struct weir__delivery *d,
                  enum weir__rmq_verb verb)
{
	struct weir__rmq_op *op;
	int64_t since;
	int r = -ESTALE;

	op = weir__rmq_op_new(verb, "", 0);
	if (!op)
		return -ENOMEM;
	if (read_token(rmq, d, &op->generation, &op->tag, &since))
		r = weir__rmq_call(ctx, &rmq->takes, op);
	else
		weir__rmq_op_unref(op); /* The thread's. */
	weir__rmq_op_unref(op);
	return r;
}

static int ack(const weir_ctx *ctx, void *engine, const char *queue, const struct weir__delivery *d)
{
	(void)queue;
	return finish(ctx, engine, d, WEIR__RMQ_ACK);
}

static int nack(const weir_ctx *ctx, void *engine, const char *queue,
                const struct weir__delivery *d, int64_t delay_ns, bool counted)
{
	struct weir__rmq *rmq = engine;
	uint64_t generation, tag;
	int64_t since;
	int r;

	if (delay_ns <= 0) /* RabbitMQ counts it. */
		return finish(ctx, rmq, d, WEIR__RMQ_REQUEUE);
	if (!read_token(rmq, d, &generation, &tag, &since))
		return -ESTALE;
	r = put_later(ctx, rmq, queue, &d->job, d->attempt - !counted, delay_ns);
	if (r < 0)
		return r == -EAGAIN || r == -ENOENT ? -ENOTCONN : r;
	/* Its copy is kept; if this one is not acknowledged, it runs as well. */
	(void)finish(ctx, rmq, d, WEIR__RMQ_ACK);
	return 0;
}

static int bury(const weir_ctx *ctx, void *engine, const char *queue,
                const struct weir__delivery *d, const char *why)
{
	(void)queue;
	(void)why;
	return finish(ctx, engine, d, WEIR__RMQ_REJECT);
}

static bool held(void *engine, const struct weir__delivery *d)
{
	uint64_t generation, tag;
	int64_t since;

	return read_token(engine, d, &generation, &tag, &since);
}

/* It is ours while the connection lasts; whether it does is known from what was heard. */
static int extend(const weir_ctx *ctx, void *engine, const char *queue,
                  const struct weir__delivery *d, int64_t *ret_until_ns)
{
	struct weir__rmq *rmq = engine;
	uint64_t generation, tag;
	int64_t since;

	(void)ctx;
	(void)queue;
	if (!read_token(rmq, d, &generation, &tag, &since))
		return -ESTALE;
	if (weir_now() - since > rmq->url.hold_ns) {
		weir__log_rare(WEIR__WARN, "queue",
		               "RabbitMQ: job %s was held for too long (hold=): another gets it",
		               d->job.id);
		return -ESTALE; /* It is given back then, once. */
	}
	*ret_until_ns = __atomic_load_n(&rmq->takes.heard, __ATOMIC_ACQUIRE) +
	                __atomic_load_n(&rmq->takes.silence_ns, __ATOMIC_ACQUIRE);
	return 0;
}

/* ---- Redrive ---- */

/* Some of the dead: put anew, and acknowledged where they were when that was confirmed. 1; 0: none
 * are there; or what stopped it. */
static int redrive_some(const weir_ctx *ctx, struct weir__rmq *rmq, const char *dead,
                        const char *main_name, size_t max, struct weir__redriven *d)
{
	weir_ctx soon = weir_ctx_timeout(ctx, NONE_THERE), late;
	struct weir__remote_job jobs[REDRIVE];
	struct weir__delivery *got[REDRIVE];
	int n = fetch_from(&soon, rmq, dead, max, got), each[REDRIVE], r = n > 0;

	if (n == -ETIMEDOUT && weir_ctx_err(ctx) == 0 && weir_now() < ctx->deadline_ns)
		return 0; /* Somebody else was faster. */
	for (int i = 0; i < n; i++)
		jobs[i] = got[i]->job;
	if (n > 0)
		(void)put_to(ctx, rmq, main_name, jobs, (size_t)n, 0, 0, each);
	late = weir_ctx_shield(ctx, WEIR__RMQ_ANSWER);
	for (int i = 0; i < n; i++) {
		bool put = each[i] == 0;

		(void)finish(&late, rmq, got[i], put ? WEIR__RMQ_ACK : WEIR__RMQ_REQUEUE);
		d->done += put;
		r = put ? r : each[i];
		free(got[i]);
	}
	return n < 0 ? n : r;
}

/* No message is one that cannot be read or put: what it has that is not ours is left out, and what
 * came to the dead was no larger in the queue. */
static int redrive(const weir_ctx *ctx, void *engine, const char *queue, struct weir__redriven *d)
{
	char dead[WEIR__RMQ_NAME], main_name[WEIR__RMQ_NAME];
	struct weir__rmq *rmq = engine;
	int64_t rest;
	int r;

	name_of(dead, "dead", queue);
	name_of(main_name, "queue", queue);
	r = ask(ctx, &rmq->puts, WEIR__RMQ_COUNT, dead, &d->dead);
	if (r == 0)
		r = 1;
	while (r > 0 && (rest = weir__redrive_rest(d)) > 0)
		r = redrive_some(ctx, rmq, dead, main_name, rest < REDRIVE ? (size_t)rest : REDRIVE,
		                 d);
	return r < 0 ? r : 0;
}

/* ---- Life ---- */

static bool up(void *engine)
{
	struct weir__rmq *rmq = engine;

	return __atomic_load_n(&rmq->puts.up, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&rmq->takes.up, __ATOMIC_ACQUIRE);
}

void weir__rmq_unref(struct weir__rmq *rmq)
{
	struct weir__list *node;

	if (__atomic_sub_fetch(&rmq->refs, 1, __ATOMIC_ACQ_REL))
		return;
	weir__rmq_line_fini(&rmq->takes);
	weir__rmq_line_fini(&rmq->puts);
	while ((node = weir__list_pop(&rmq->queues)))
		free(weir__container(node, struct weir__rmq_queue, link));
	free(rmq->url.text);
	free(rmq);
}

static void close_rabbit(const weir_ctx *ctx, void *engine)
{
	struct weir__rmq *rmq = engine;

	weir__rmq_line_end(ctx, &rmq->takes);
	weir__rmq_line_end(ctx, &rmq->puts);
	weir__rmq_unref(rmq);
}

static int open_rabbit(const weir_ctx *ctx, const char *url, const weir_store_options *opt,
                       void **ret)
{
	struct weir__rmq *rmq = calloc(1, sizeof *rmq);
	int r;

	(void)opt;
	if (!rmq)
		return -ENOMEM;
	rmq->refs = 1;
	weir__list_init(&rmq->queues);
	r = weir__rmq_url_read(&rmq->url, url);
	if (r < 0) {
		free(rmq);
		return r;
	}
	r = weir__rmq_line_start(&rmq->puts, rmq, &weir__rmq_puts);
	if (r == 0)
		r = weir__rmq_line_start(&rmq->takes, rmq, &weir__rmq_takes);
	if (r == 0)
		r = ask(ctx, &rmq->puts, WEIR__RMQ_HELLO, "", NULL);
	if (r == 0)
		r = ask(ctx, &rmq->takes, WEIR__RMQ_HELLO, "", NULL);
	if (r < 0) {
		close_rabbit(ctx, rmq);
		return r;
	}
	*ret = rmq;
	return 0;
}

const struct weir__remote_engine weir__engine_rabbitmq = {
	.open = open_rabbit,
	.close = close_rabbit,
	.up = up,
	.make = make,
	.put = put,
	.fits = fits,
	.fetch = fetch,
	.ack = ack,
	.nack = nack,
	.bury = bury,
	.extend = extend,
	.held = held,
	.count = count,
	.redrive = redrive,
};
