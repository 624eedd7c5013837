/* SPDX-License-Identifier: MIT */
/*
 * Crons: jobs that are put by the clock. A cron is due on the wall clock: `next_at` is the only
 * truth, kept over restarts, and counted on from itself, so that each tick comes once. Ticks that
 * were missed while the store was closed are made up for by one. A tick that its queue has no room
 * for is left out and logged, since a queue of late ticks helps nobody.
 *
 * Waits go by the monotonic clock, so a task hears when somebody sets the wall clock (rt/wall.h)
 * and lets all crons count their waits anew. Put back by a little, ticks that have been are not
 * due again: the cron waits until its next. Put back by more than CORRECTION the clock was wrong
 * before, and waiting for that wrong time would mean silence for perhaps years: then the next tick
 * is counted from now. (cron(8) draws the same line at three hours.)
 *
 * A zone is read when its cron is put, never under the lock. One that was kept over a restart and
 * whose zone has since gone from the system stays, asleep: its owner can see and replace it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <weir/offload.h>

#include "base/log.h"
#include "queue/journal.h"
#include "rt/wall.h"

#define CORRECTION WEIR_HOUR(3)

static size_t place(const weir_store *s, const char *name, bool *ret_found)
{
	size_t i = 0;
	int c = 1;

	while (i < s->crons_n && (c = strcmp(s->crons[i]->name, name)) < 0)
		i++;
	*ret_found = i < s->crons_n && c == 0;
	return i;
}

static size_t size(const struct weir__cron *c)
{
	return sizeof *c + c->len;
}

static void arm(weir_store *s, struct weir__cron *c)
{
	int64_t wall = weir_wall();

	if (c->asleep)
		return;
	weir__due_arm(s, &c->due, weir_now() + (c->next_at > wall ? c->next_at - wall : 0));
}

static void tick(weir_store *s, struct weir__due *d)
{
	struct weir__cron *c = weir__container(d, struct weir__cron, due);
	weir_job_spec spec = { .data = c->data, .len = c->len };
	struct weir__record *j;
	char id[WEIR__ID + 1];
	int64_t now = weir_wall();
	int r = -ENOMEM;

	if (now < c->next_at) {
		arm(s, c);
		return;
	}
	j = weir__job_new(&spec);
	if (j)
		r = weir__job_accept(s, c->queue->name, 0, j, NULL, id);
	if (r < 0) {
		weir__job_free(j);
		weir__log_rare(WEIR__WARN, "queue", "cron %s: a tick is left out: %s", c->name,
		               r == -EAGAIN ? "its queue is full" : strerrordesc_np(-r));
	}
	c->last_at = now;
	weir__journal_cron(s, c); /* With its job or not at all. */
	/* From the time it was due, so that "@every" does not drift; from now, if it was late by
	 * more than one. */
	c->since_at = now;
	r = weir__schedule_next(&c->when, c->zone, c->next_at, &c->next_at);
	if (r == 0 && c->next_at <= now)
		r = weir__schedule_next(&c->when, c->zone, now, &c->next_at);
	if (r == 0)
		arm(s, c);
}

/* The wall clock may show something else than when next_at was counted. True: that was changed. */
static bool recount(struct weir__cron *c)
{
	int64_t now = weir_wall(), next;

	if (c->asleep || now > c->since_at - CORRECTION)
		return false;
	c->since_at = now;
	if (weir__schedule_next(&c->when, c->zone, now, &next) == 0)
		c->next_at = next;
	return true;
}

static void recount_all(weir_store *s)
{
	weir__store_enter(s);
	for (size_t i = 0; i < s->crons_n; i++) {
		if (recount(s->crons[i]))
			weir__journal_cron(s, s->crons[i]);
		arm(s, s->crons[i]);
	}
	weir__store_leave(s);
}

int weir__cron_watch(const weir_ctx *ctx, void *arg)
{
	weir_store *s = arg;
	struct weir__wall *w;
	int r;

	weir_task_name("store wall clock");
	/* Without crons nothing of the outside is waited for, and a deadlock is seen as one. */
	r = weir_latch_wait(ctx, &s->any_cron);
	if (r < 0)
		return r;
	r = weir__wall_open(&w);
	if (r < 0) {
		weir__log(WEIR__WARN, "queue", "crons will not hear of a clock that is set: %s",
		          strerrordesc_np(-r));
		return r;
	}
	/* Once before the first wait: it may have been set after a cron was counted and before the
	 * watch was open. */
	recount_all(s);
	while ((r = weir__wall_wait(ctx, w)) == 0) {
		weir__log(WEIR__INFO, "queue", "the clock was set: crons are counted anew");
		recount_all(s);
	}
	weir__wall_close(w);
	return r;
}

static void cron_free(struct weir__cron *c)
{
	weir__zone_free(c->zone);
	free(c);
}

/* Takes the cron's place in the list and in the heap; a cron of that name is replaced. */
static int install(weir_store *s, struct weir__cron *c, const char *queue)
{
	bool found;
	size_t i;
	struct weir__queue *q;
	int r;

	i = place(s, c->name, &found);
	if (s->closed)
		return -EPIPE;
	if (!found && s->crons_n == WEIR__CRONS_MAX)
		return -ENOSPC;
	if (!weir__store_room(s, size(c)))
		return -ENOSPC;
	if (!found) {
		r = weir__store_promise(s, 1);
		if (r < 0)
			return r;
	}
	r = weir__queue_get(s, queue, &q);
	if (r < 0) {
		s->due_more -= !found;
		return r;
	}
	q->crons++;
	c->queue = q;
	if (found) {
		struct weir__cron *old = s->crons[i];

		/* A server puts its crons at each start: one that has not changed is not late for
		 * that. */
		if (!strcmp(old->text, c->text) && !old->asleep) {
			c->next_at = old->next_at;
			c->last_at = old->last_at;
			c->since_at = old->since_at;
		}
		weir__due_stop(s, &old->due);
		weir__store_charge(s, 0, size(old));
		old->queue->crons--;
		weir__queue_idle(s, old->queue);
		cron_free(old);
	} else {
		memmove(s->crons + i + 1, s->crons + i, (s->crons_n - i) * sizeof *s->crons);
		s->crons_n++;
	}
	s->crons[i] = c;
	weir__store_charge(s, size(c), 0);
	weir__journal_cron(s, c);
	arm(s, c);
	return 0;
}

/* Only a cron that was kept may go without. */
static int zone_of(struct weir__cron *c, bool kept)
{
	int r = c->when.zone[0] ? weir__zone_load(c->when.zone, &c->zone) : 0;

	if (r == 0 || r == -ENOMEM || !kept)
		return r;
	c->asleep = true;
	weir__log(WEIR__ERROR, "queue",
	          "cron %s: the time zone %s cannot be read (%s): it stays, but does not tick",
	          c->name, c->when.zone, strerrordesc_np(-r));
	return 0;
}

int weir__cron_adopt(weir_store *s, const char *name, const char *schedule, const char *queue,
                     const void *data, size_t len, int64_t next_at, int64_t last_at)
{
	struct weir__cron *c;
	bool first;
	int r;

	if (!weir_queue_name_valid(name) || !weir_queue_name_valid(queue) || !schedule ||
	    (len && !data))
		return -EINVAL;
	if (len > WEIR__CRON_DATA_MAX)
		return -EMSGSIZE;
	c = calloc(1, sizeof *c + len);
	if (!c)
		return -ENOMEM;
	c->store = s;
	c->due.fn = tick;
	c->len = len;
	c->last_at = last_at;
	r = -EINVAL;
	if (strlen(schedule) >= sizeof c->text || weir__schedule_parse(schedule, &c->when) < 0)
		goto fail;
	memcpy(c->text, schedule, strlen(schedule) + 1);
	memcpy(c->name, name, strlen(name) + 1);
	if (len)
		memcpy(c->data, data, len);
	r = zone_of(c, next_at != 0);
	if (r < 0)
		goto fail;
	c->next_at = next_at;
	c->since_at = next_at ? last_at : weir_wall();
	r = -EINVAL;
	if (!next_at && weir__schedule_next(&c->when, c->zone, c->since_at, &c->next_at) < 0)
		goto fail; /* It would never come. */
	recount(c);
	weir__store_enter(s);
	r = install(s, c, queue);
	first = r == 0 && !s->had_cron;
	s->had_cron |= first;
	weir__store_leave(s);
	if (r < 0)
		goto fail;
	if (first)
		weir_latch_down(&s->any_cron);
	return 0;
fail:
	cron_free(c);
	return r;
}

struct put {
	weir_store *store;
	const char *name, *schedule, *queue;
	const void *data;
	size_t len;
};

static int put(void *arg)
{
	const struct put *p = arg;

	return weir__cron_adopt(p->store, p->name, p->schedule, p->queue, p->data, p->len, 0, 0);
}

static void let_it(void *arg)
{
	(void)arg; /* A file of some kilobytes is read to its end. */
}

int weir_cron_put(const weir_ctx *ctx, weir_store *s, const char *name, const char *schedule,
                  const char *queue, const void *data, size_t len)
{
	struct put p = { s, name, schedule, queue, data, len };
	struct weir__schedule when;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (s->far)
		return -EOPNOTSUPP;
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	if (weir__schedule_parse(schedule, &when) < 0)
		return -EINVAL;
	r = when.zone[0] ? weir_offload_interruptible(ctx, put, &p, let_it) : put(&p);
	return r < 0 ? r : weir__journal_sync(ctx, s);
}

static void fill(const struct weir__cron *c, weir_cron_info *ret)
{
	memset(ret, 0, sizeof *ret);
	memcpy(ret->name, c->name, sizeof ret->name);
	memcpy(ret->queue, c->queue->name, sizeof ret->queue);
	memcpy(ret->schedule, c->text, sizeof ret->schedule);
	ret->next_at = c->next_at;
	ret->last_at = c->last_at;
	ret->len = c->len;
}

int weir_cron_get(weir_store *s, const char *name, weir_cron_info *ret)
{
	bool found;
	size_t i;

	weir__magic_check(s, weir__store_magic);
	if (!name)
		return -ENOENT;
	weir__store_enter(s);
	i = place(s, name, &found);
	if (found)
		fill(s->crons[i], ret);
	weir__store_leave(s);
	return found ? 0 : -ENOENT;
}

static void remove_at(weir_store *s, size_t i)
{
	struct weir__cron *c = s->crons[i];

	memmove(s->crons + i, s->crons + i + 1, (s->crons_n - i - 1) * sizeof *s->crons);
	s->crons_n--;
	weir__due_stop(s, &c->due);
	s->due_more--;
	weir__store_charge(s, 0, size(c));
	c->queue->crons--;
	weir__queue_idle(s, c->queue);
	cron_free(c);
}

int weir_cron_delete(const weir_ctx *ctx, weir_store *s, const char *name)
{
	bool found;
	size_t i;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (!name)
		return -ENOENT;
	weir__store_enter(s);
	i = place(s, name, &found);
	r = found ? weir__journal_cron_gone(s, name) : -ENOENT;
	if (r == 0)
		remove_at(s, i);
	weir__store_leave(s);
	return r < 0 ? r : weir__journal_sync(ctx, s);
}

int weir_cron_each(weir_store *s, int (*fn)(const weir_cron_info *, void *), void *arg)
{
	weir_cron_info info = { .name = "" };
	bool found, more;
	int r = 0;

	weir__magic_check(s, weir__store_magic);
	do {
		size_t i;

		weir__store_enter(s);
		i = place(s, info.name, &found);
		i += found;
		more = i < s->crons_n;
		if (more)
			fill(s->crons[i], &info);
		weir__store_leave(s);
		if (more)
			r = fn(&info, arg);
	} while (more && r == 0);
	return r;
}

void weir__cron_row(const struct weir__cron *c, struct weir__cron_row *row)
{
	memcpy(row->name, c->name, sizeof row->name);
	memcpy(row->queue, c->queue->name, sizeof row->queue);
	memcpy(row->schedule, c->text, sizeof row->schedule);
	row->next_at = c->next_at;
	row->last_at = c->last_at;
	row->len = c->len;
	memcpy(row->data, c->data, c->len);
}

void weir__cron_fini(weir_store *s)
{
	while (s->crons_n)
		remove_at(s, s->crons_n - 1);
}
