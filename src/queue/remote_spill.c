/* SPDX-License-Identifier: MIT */
/*
 * The spill: a store of this machine that takes jobs while the engine is away, and a task that
 * forwards them when it is back.
 *
 * A job is spilled with the id it was given and answered with, so that one which did reach the
 * engine, unconfirmed, is dropped there as a double. While a queue has spilled jobs, those that
 * come go behind them: each producer's jobs arrive in the order in which they were accepted. A job
 * leaves the spill when the engine has confirmed it; after a crash the rest is forwarded by the
 * next process that opens the same spill.
 *
 * What a job is carries a head in front of its payload, since its record there is another one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/far.h"

enum { FORWARD = 64, NAMES = 64 };
#define HEAD_MAGIC 0x7370696cu
#define AGAIN      WEIR_MS(250)

struct head {
	uint32_t magic;
	int32_t priority;
	int64_t delay_ns, created_at, timeout_ns;
	uint32_t attempts_max;
	char id[WEIR__ID + 1];
};

size_t weir__spill_count(const weir_store *s, const char *queue)
{
	weir_queue_info info;

	if (!s->far->spill || weir_queue_info_get(s->far->spill, queue, &info) < 0)
		return 0;
	return info.queued + info.delayed + info.running;
}

void weir__spill_put(const weir_ctx *ctx, weir_store *s, const char *queue,
                     const struct weir__remote_job *jobs, size_t n, int *r)
{
	char id[27], *data = NULL;
	size_t cap = 0;

	for (size_t i = 0; i < n; i++) {
		const struct weir__remote_job *j = &jobs[i];
		struct head h = { .magic = HEAD_MAGIC,
			          .priority = j->priority,
			          .delay_ns = j->delay_ns,
			          .created_at = j->created_at,
			          .timeout_ns = j->timeout_ns,
			          .attempts_max = j->attempts_max };
		weir_job_spec spec = { .len = sizeof h + j->len,
			               .content_type = j->content_type,
			               .key = j->key,
			               .idempotency_key = j->idempotency_key };

		if (r[i] != -ENOTCONN)
			continue;
		r[i] = s->far->ops->fits(s->far->engine, j);
		if (r[i] < 0) /* What is accepted now has to be taken there later. */
			continue;
		if (spec.len > cap) {
			free(data);
			cap = spec.len;
			data = malloc(cap);
			if (!data) {
				r[i] = -ENOMEM;
				cap = 0;
				continue;
			}
		}
		memcpy(h.id, j->id, sizeof h.id);
		memcpy(data, &h, sizeof h);
		if (j->len)
			memcpy(data + sizeof h, j->data, j->len);
		spec.data = data;
		r[i] = weir_job_put(ctx, s->far->spill, queue, &spec, id);
	}
	free(data);
	weir_sem_give(&s->far->spilled);
}

/* ---- Forwarding ---- */

static bool read_head(const weir_job *j, struct weir__remote_job *to, struct head *h)
{
	size_t len;
	const char *data = weir_job_data(j, &len);

	if (len < sizeof *h)
		return false;
	memcpy(h, data, sizeof *h);
	h->id[WEIR__ID] = 0;
	*to = (struct weir__remote_job){
		.id = h->id,
		.content_type = j->rec->content_type,
		.key = j->rec->key,
		.data = data + sizeof *h,
		.len = len - sizeof *h,
		.timeout_ns = h->timeout_ns,
		.priority = h->priority,
		.attempts_max = h->attempts_max,
		.created_at = h->created_at,
	};
	if (h->delay_ns > 0 && h->created_at + h->delay_ns > weir_wall())
		to->delay_ns = h->created_at + h->delay_ns - weir_wall();
	return h->magic == HEAD_MAGIC;
}

/* What came of one: it has left, goes back in front, or can never go. */
static void settle(const weir_ctx *ctx, weir_store *s, weir_job *j, int r)
{
	if (r >= 0) {
		(void)weir_job_ack(ctx, j, NULL, 0);
	} else if (r == -EMSGSIZE || r == -EBADMSG) {
		weir__log(WEIR__ERROR, "queue", "%s will not have a spilled job of queue %s: %s",
		          s->far->row->name, weir_job_queue(j), strerror(-r));
		(void)weir__taken_finish(ctx, j, WEIR__KILL, 0, "the engine refuses it");
	} else {
		(void)weir_job_return(j);
	}
}

/* Some of a queue's. What is there may have to be read from the disk first, or be held back: that
 * is waited for, or the forwarder would go round and round. 1: there may be more; 0: none, or none
 * now; or why not. */
static int forward(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	static const weir_take_options opt = { .renew = true, .worker = "forward" };
	struct room {
		weir_job *taken[FORWARD];
		struct weir__remote_job jobs[FORWARD];
		struct head heads[FORWARD];
		int r[FORWARD];
	} *m = calloc(1, sizeof *m);
	weir_ctx soon = weir_ctx_timeout(ctx, AGAIN), now = weir_ctx_timeout(ctx, 0);
	size_t n = 0;
	int r;

	if (!m)
		return -ENOMEM;
	while (n < FORWARD && (r = weir_job_take(n ? &now : &soon, s->far->spill, queue, &opt,
	                                         &m->taken[n])) > 0) {
		if (read_head(m->taken[n], &m->jobs[n], &m->heads[n]))
			m->r[n++] = -ENOTCONN;
		else
			settle(ctx, s, m->taken[n], -EBADMSG);
	}
	if (!n) {
		free(m);
		return r == -ETIMEDOUT ? 0 : r < 0 ? r : -EPIPE;
	}
	r = weir__far_make(ctx, s, queue);
	if (r == 0)
		(void)s->far->ops->put(ctx, s->far->engine, queue, m->jobs, n, m->r);
	for (size_t i = 0; r < 0 && i < n; i++)
		m->r[i] = r == -EMSGSIZE || r == -EBADMSG ? -EIO :
		                                            r; /* The queue's, not the job's. */
	r = n == FORWARD;
	/* Backwards, since each that returns goes in front. */
	while (n-- > 0) {
		if (m->r[n] < 0)
			r = m->r[n];
		settle(ctx, s, m->taken[n], m->r[n]);
	}
	free(m);
	return r;
}

struct names {
	char after[WEIR__NAME_MAX + 1]; /* only those behind it, as names sort */
	size_t n;
	char name[NAMES][WEIR__NAME_MAX + 1];
};

static int note(const weir_queue_info *info, void *arg)
{
	struct names *to = arg;

	if (info->queued + info->delayed + info->running == 0 || strcmp(info->name, to->after) <= 0)
		return 0;
	memcpy(to->name[to->n], info->name, sizeof info->name);
	return ++to->n == NAMES;
}

/* Once through all queues: 1: there was something; 0: nothing is left; or why it is not now. A
 * queue that is full there, or refused, holds up no other. */
static int forward_each(const weir_ctx *ctx, weir_store *s, struct names *names)
{
	int r = 0, why = 0;
	bool some = false;

	*names->after = 0;
	do {
		names->n = 0;
		(void)weir_queue_each(s->far->spill, note, names);
		for (size_t i = 0; i < names->n; i++) {
			do
				r = s->far->ops->up(s->far->engine) ?
				            forward(ctx, s, names->name[i]) :
				            -ENOTCONN;
			while (r > 0 && weir__spill_count(s, names->name[i]));
			if (r == -ENOTCONN || weir__remote_stops(r))
				return r;
			why = r < 0 ? r : why;
			some = true;
			memcpy(names->after, names->name[i], sizeof names->after);
		}
	} while (names->n == NAMES);
	return why < 0 ? why : some;
}

static int forwarder(const weir_ctx *ctx, void *arg)
{
	weir_store *s = arg;
	struct names *names = malloc(sizeof *names);
	int r = names ? 0 : -ENOMEM, left;

	weir_task_name("store forwarder");
	while (r == 0) {
		r = weir_sem_take(ctx, &s->far->spilled);
		while (r == 0 && weir_sem_try_take(&s->far->spilled) == 0)
			;
		while (r == 0 && (left = forward_each(ctx, s, names)) != 0)
			r = left < 0 ? weir_sleep(ctx, AGAIN) : 0;
	}
	free(names);
	return r;
}

int weir__spill_open(const weir_ctx *ctx, weir_store *s, const char *url)
{
	const weir_store_options opt = { .queue_max = s->opt.queue_max,
		                         .queue_bytes = s->opt.queue_bytes,
		                         .queues_max = s->opt.queues_max,
		                         .idempotency_ns = s->opt.idempotency_ns,
		                         .finished_max = 1 };
	int r = weir_store_open(ctx, url, &opt, &s->far->spill);

	if (r < 0) {
		weir__log(WEIR__ERROR, "queue", "the spill %s cannot be opened: %s", url,
		          strerror(-r));
		return r;
	}
	weir_sem_init(&s->far->spilled, 1); /* It may hold some already. */
	return weir_group_go(&s->group, forwarder, s);
}
