/* SPDX-License-Identifier: MIT */
/*
 * Crons: jobs that are put by the clock. A cron is due on the wall clock; if the wall clock was set
 * back meanwhile it waits on, if it was set forward the tick comes late by at most what it was
 * going to sleep. Ticks that were missed while the store was closed are made up for by one. A tick
 * that its queue has no room for is left out and logged, since a queue of late ticks helps nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/inner.h"

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
	/* From the time it was due, so that "@every" does not drift; from now, if it was late by
	 * more than one. */
	r = weir__schedule_next(&c->when, c->next_at, &c->next_at);
	if (r == 0 && c->next_at <= now)
		r = weir__schedule_next(&c->when, now, &c->next_at);
	if (r == 0)
		arm(s, c);
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
		if (!strcmp(old->text, c->text)) {
			c->next_at = old->next_at;
			c->last_at = old->last_at;
		}
		weir__due_stop(s, &old->due);
		weir__store_charge(s, 0, size(old));
		old->queue->crons--;
		weir__queue_idle(s, old->queue);
		free(old);
	} else {
		memmove(s->crons + i + 1, s->crons + i, (s->crons_n - i) * sizeof *s->crons);
		s->crons_n++;
	}
	s->crons[i] = c;
	weir__store_charge(s, size(c), 0);
	arm(s, c);
	return 0;
}

int weir__cron_adopt(weir_store *s, const char *name, const char *schedule, const char *queue,
                     const void *data, size_t len, int64_t next_at, int64_t last_at)
{
	struct weir__cron *c;
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
	c->next_at = next_at;
	if (!next_at && weir__schedule_next(&c->when, weir_wall(), &c->next_at) < 0)
		goto fail; /* It would never come. */
	weir__store_enter(s);
	r = install(s, c, queue);
	weir__store_leave(s);
	if (r == 0)
		return 0;
fail:
	free(c);
	return r;
}

int weir_cron_put(weir_store *s, const char *name, const char *schedule, const char *queue,
                  const void *data, size_t len)
{
	weir__magic_check(s, weir__store_magic);
	return weir__cron_adopt(s, name, schedule, queue, data, len, 0, 0);
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
	free(c);
}

int weir_cron_delete(weir_store *s, const char *name)
{
	bool found;
	size_t i;

	weir__magic_check(s, weir__store_magic);
	if (!name)
		return -ENOENT;
	weir__store_enter(s);
	i = place(s, name, &found);
	if (found)
		remove_at(s, i);
	weir__store_leave(s);
	return found ? 0 : -ENOENT;
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

void weir__cron_fini(weir_store *s)
{
	while (s->crons_n)
		remove_at(s, s->crons_n - 1);
}
