/* SPDX-License-Identifier: MIT */
/*
 * Moving a queue: some jobs are taken here, put there, and acknowledged here when they are kept
 * there. Whatever cuts that off, a job is in one of the two, or in both; the next move puts it once
 * more, and it is dropped there as a double: by an engine by its id, by a store of this machine by
 * an idempotency key made of it. Both forget after their window.
 *
 * An acknowledgement here is not waited for, since all it can lose is a second put that is dropped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/far.h"
#include "queue/move.h"

enum { SOME = 256, KEY = sizeof "weir-move-" + WEIR__ID };

struct room {
	weir_job *taken[SOME];
	struct weir__remote_job jobs[SOME];
	weir_job_spec specs[SOME];
	char keys[SOME][KEY], ids[SOME][27];
	int r[SOME];
	size_t n;
};

/* A paused or limited queue gives out what it has; what is on disk about it stays as it is. */
static void open_wide(weir_store *s, const char *queue)
{
	struct weir__queue *q;

	weir__store_enter(s);
	q = weir__queue_find(s, queue);
	if (q && !s->far) {
		q->set.paused = false;
		q->set.rate = 0;
		q->set.concurrency = q->set.key_concurrency = 0;
		weir__ready_refresh(q);
	}
	weir__store_leave(s);
}

static const char *lacks(const weir_store *to, const struct weir__record *j)
{
	if (to->far && j->ready.priority && !weir__far_can(to, WEIR__CAN_PRIORITY))
		return weir__features[WEIR__CAN_PRIORITY].name;
	return NULL;
}

/* One more into the room. False: `to` cannot have it. */
static bool add(struct weir__move *m, struct room *room, weir_job *j)
{
	const struct weir__record *rec = j->rec;
	size_t i = room->n;

	m->lacks = lacks(m->to, rec);
	if (m->lacks) {
		memcpy(m->refused, rec->id, sizeof m->refused);
		(void)weir_job_return(j);
		return false;
	}
	snprintf(room->keys[i], KEY, "weir-move-%s", rec->id);
	room->taken[i] = j;
	room->r[i] = -ENOTCONN;
	room->jobs[i] = (struct weir__remote_job){ .id = rec->id,
		                                   .content_type = rec->content_type,
		                                   .key = rec->key,
		                                   .data = rec->data,
		                                   .len = rec->len,
		                                   .timeout_ns = rec->timeout_ns,
		                                   .priority = rec->ready.priority,
		                                   .attempts_max = rec->attempts_max,
		                                   .created_at = rec->created_at };
	room->specs[i] = (weir_job_spec){ .data = rec->data,
		                          .len = rec->len,
		                          .content_type = rec->content_type,
		                          .idempotency_key = room->keys[i],
		                          .key = rec->key,
		                          .priority = rec->ready.priority,
		                          .timeout_ns = rec->timeout_ns,
		                          .attempts_max = rec->attempts_max };
	room->n++;
	return true;
}

/* How long to wait for the first: an engine brings it, and how long that takes says that there is
 * none; here it may have to be read from the disk. */
static int64_t patience(struct weir__move *m, const char *queue)
{
	weir_queue_info info;

	if (m->from->far)
		return WEIR_SEC(3);
	return weir_queue_info_get(m->from, queue, &info) == 0 && info.queued ? WEIR_SEC(30) : 0;
}

/* As many as are ready. */
static int take_some(const weir_ctx *ctx, struct weir__move *m, const char *queue,
                     struct room *room)
{
	static const weir_take_options opt = { .renew = true, .worker = "move" };
	int r = 1;

	room->n = 0;
	while (room->n < SOME && r > 0) {
		weir_ctx soon = weir_ctx_timeout(ctx, room->n ? 0 : patience(m, queue));
		weir_job *j;

		r = weir_job_take(&soon, m->from, queue, &opt, &j);
		if (r > 0 && !add(m, room, j))
			return -EOPNOTSUPP;
		if (m->from->far) /* They come one by one. */
			break;
	}
	if (r == -ETIMEDOUT && weir_now() < ctx->deadline_ns)
		r = 0;
	return r;
}

static int put_some(const weir_ctx *ctx, struct weir__move *m, const char *queue, struct room *room)
{
	weir_store *to = m->to;
	int r;

	if (!to->far)
		return weir_job_put_many(ctx, to, queue, room->specs, room->n, room->ids, room->r);
	if (!weir__far_enter(to))
		return -EPIPE;
	r = weir__far_make(ctx, to, queue);
	if (r == 0 || r == -EEXIST) /* With bounds of its own. */
		r = to->far->ops->put(ctx, to->far->engine, queue, room->jobs, room->n, room->r);
	weir__far_leave(to);
	return r;
}

/* What is kept there leaves here; the rest goes back, backwards, since each goes in front. It waits
 * until that is on disk: no more than these may be doubled by a cut. */
static int settle(const weir_ctx *ctx, struct weir__move *m, struct room *room, int r)
{
	for (size_t i = room->n; i-- > 0;) {
		weir_job *j = room->taken[i];

		if (room->r[i] < 0) {
			r = room->r[i];
			(void)weir_job_return(j);
			continue;
		}
		m->known += room->r[i] == 1;
		__atomic_add_fetch(&m->moved, 1, __ATOMIC_RELAXED);
		if (m->from->far)
			(void)weir_job_ack(ctx, j, NULL, 0);
		else
			(void)weir__taken_finish(NULL, j, WEIR__ACK, 0, "moved");
	}
	if (r == 0)
		r = weir__journal_sync(ctx, m->from);
	return r;
}

int weir__move_queue(const weir_ctx *ctx, struct weir__move *m, const char *queue)
{
	struct room *room = malloc(sizeof *room);
	int got, r = 0;

	if (!room)
		return -ENOMEM;
	m->refused[0] = 0;
	open_wide(m->from, queue);
	do {
		got = take_some(ctx, m, queue, room);
		if (room->n)
			r = settle(ctx, m, room, put_some(ctx, m, queue, room));
		if (r == -ENOTCONN) /* It comes back, or whoever waits loses patience. */
			r = weir_sleep(ctx, WEIR_MS(250));
		else if (r == 0 && got < 0)
			r = got;
	} while (r == 0 && room->n);
	free(room);
	return r;
}
