/* SPDX-License-Identifier: MIT */
/*
 * Queues by name: settings, bounds, figures.
 *
 * A queue exists while something holds it: jobs (also finished ones), waiting takers, settings, a
 * cron. So names that peers invent cost nothing: a refused put makes none, and a take that ends
 * leaves none. A queue's figures end with it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/far.h"
#include "queue/inner.h"

bool weir_queue_name_valid(const char *name)
{
	size_t n = 0;

	if (!name || *name == '.')
		return false;
	for (; name[n]; n++) {
		char c = name[n];

		if (n == WEIR__NAME_MAX ||
		    !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      c == '.' || c == '_' || c == '-'))
			return false;
	}
	return n > 0;
}

/* ---- The registry ---- */

/* The place of the name: where it is, or where it would be. */
static size_t place(const weir_store *s, const char *name, bool *ret_found)
{
	size_t low = 0, high = s->queues_n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int c = strcmp(s->queues[mid]->name, name);

		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_found = false;
	return low;
}

struct weir__queue *weir__queue_find(weir_store *s, const char *name)
{
	bool found;
	size_t i;

	if (!name)
		return NULL;
	i = place(s, name, &found);
	return found ? s->queues[i] : NULL;
}

static struct weir__queue *queue_new(weir_store *s, const char *name)
{
	struct weir__queue *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	q->store = s;
	memcpy(q->name, name, strlen(name) + 1);
	weir__list_init(&q->all);
	weir__list_init(&q->waiting);
	weir__list_init(&q->running);
	weir__list_init(&q->finished);
	weir__list_init(&q->dead);
	weir__list_init(&q->keys);
	weir__list_init(&q->takers);
	weir__list_init(&q->cursors);
	q->rate_due.fn = weir__rate_due;
	q->retain_due.fn = weir__retain_due;
	weir__queue_defaults(s, &q->set);
	q->puts.since_second = q->dones.since_second = weir_now() / WEIR_SEC(1);
	return q;
}

int weir__queue_get(weir_store *s, const char *name, struct weir__queue **ret)
{
	struct weir__queue *q, **v;
	bool found;
	size_t i = place(s, name, &found);

	if (found) {
		*ret = s->queues[i];
		return 0;
	}
	if (s->queues_n >= s->opt.queues_max)
		return -ENOSPC;
	if (s->queues_n == s->queues_cap) {
		size_t cap = s->queues_cap ? s->queues_cap * 2 : 16;

		v = realloc(s->queues, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		s->queues = v;
		s->queues_cap = cap;
	}
	if (weir__store_promise(s, 2) < 0)
		return -ENOMEM;
	q = queue_new(s, name);
	if (!q) {
		s->due_more -= 2;
		return -ENOMEM;
	}
	memmove(s->queues + i + 1, s->queues + i, (s->queues_n - i) * sizeof *s->queues);
	s->queues[i] = q;
	s->queues_n++;
	weir__store_charge(s, sizeof *q, 0);
	*ret = q;
	return 0;
}

void weir__queue_free(struct weir__queue *q)
{
	weir__ready_fini(q);
	weir__cold_fini(q->store, q);
	free(q);
}

void weir__queue_idle(weir_store *s, struct weir__queue *q)
{
	bool found;
	size_t i;

	if (q->configured || q->crons || q->kept || q->fetcher || q->pending || q->held ||
	    !weir__list_empty(&q->all) || !weir__list_empty(&q->takers) ||
	    !weir__list_empty(&q->cursors))
		return;
	i = place(s, q->name, &found);
	weir__assert(found && s->queues[i] == q, "queue: %s is not in its store", q->name);
	memmove(s->queues + i, s->queues + i + 1, (s->queues_n - i - 1) * sizeof *s->queues);
	s->queues_n--;
	weir__due_stop(s, &q->rate_due);
	weir__due_stop(s, &q->retain_due);
	s->due_more -= 2;
	weir__store_charge(s, 0, sizeof *q);
	weir__queue_free(q);
}

/* ---- Settings ---- */

void weir__queue_defaults(const weir_store *s, weir_queue_settings *set)
{
	if (!set->durability)
		set->durability = s->engine->durability;
	set->max = set->max ? set->max : s->opt.queue_max;
	set->max_bytes = set->max_bytes ? set->max_bytes : s->opt.queue_bytes;
	set->lease_ns = set->lease_ns ? set->lease_ns : WEIR_SEC(30);
	set->attempts_max = set->attempts_max ? set->attempts_max : 10;
	set->backoff_ns = set->backoff_ns ? set->backoff_ns : WEIR_SEC(1);
	set->backoff_max_ns = set->backoff_max_ns ? set->backoff_max_ns : WEIR_HOUR(1);
	set->rate_burst = set->rate_burst ? set->rate_burst : 1;
	set->finished_max = set->finished_max ? set->finished_max : s->opt.finished_max;
	set->finished_ns = set->finished_ns ? set->finished_ns : s->opt.finished_ns;
}

void weir__queue_set(weir_store *s, struct weir__queue *q, const weir_queue_settings *set)
{
	bool rate = set->rate != q->given.rate || set->rate_burst != q->given.rate_burst;
	bool memory = q->set.durability == WEIR_MEMORY;

	q->configured = true;
	q->given = *set;
	q->set = *set;
	weir__queue_defaults(s, &q->set);
	if (rate) {
		weir__due_stop(s, &q->rate_due);
		if (q->set.rate > 0)
			weir_rate_init(&q->rate, q->set.rate, q->set.rate_burst);
	}
	weir__journal_queue(s, q);
	if (memory && q->set.durability != WEIR_MEMORY) {
		weir__journal_keep(s, q);
		weir__idem_keep(s, q); /* A close writes all keys anew. */
	}
	weir__ready_refresh(q);
	weir__retain_check(s, q);
	weir__ready_dispatch(s, q);
}

bool weir__queue_settings_ok(const weir_queue_settings *set)
{
	const int64_t times[] = { set->lease_ns, set->timeout_ns, set->backoff_ns,
		                  set->backoff_max_ns, set->finished_ns };

	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		if (times[i] < 0 || times[i] > WEIR__DELAY_MAX)
			return false;
	return set->rate >= 0 && set->rate <= 1e9 && (unsigned)set->durability <= WEIR_MEMORY;
}

const char *weir_durability_name(enum weir_durability d)
{
	static const char *const names[] = { "", "fsync", "os", "memory" };

	return (unsigned)d < sizeof names / sizeof *names ? names[d] : "";
}

/* New settings, or (set is NULL) only whether it is paused; pausing makes the queue too. */
static int configure(const weir_ctx *ctx, weir_store *s, const char *name,
                     const weir_queue_settings *set, const bool *paused)
{
	struct weir__settle w = { 0 };
	struct weir__queue *q;
	weir_queue_settings to;
	bool memory;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (!weir_queue_name_valid(name))
		return -EINVAL;
	if (s->far && weir__far_refuses(s, set, paused))
		return -EOPNOTSUPP;
	if (set && set->durability && set->durability < s->engine->durability)
		return -EOPNOTSUPP;
	weir__store_enter(s);
	if (set || *paused) {
		r = weir__queue_get(s, name, &q);
	} else {
		q = weir__queue_find(s, name);
		r = q ? 0 : -ENOENT;
	}
	if (r == 0 && s->journal.on)
		r = weir__span_room(s); /* For jobs that get their numbers late. */
	if (r == 0) {
		to = set ? *set : q->given;
		if (paused)
			to.paused = *paused;
		memory = q->set.durability == WEIR_MEMORY;
		weir__queue_set(s, q, &to);
		q->made = false;
		/* Jobs that are to be kept from now on are new ones to the disk. */
		weir__journal_wait_for(s, &w, memory);
	}
	weir__store_leave(s);
	return w.wait ? weir__journal_wait(ctx, s, &w) : r;
}

int weir_queue_configure(const weir_ctx *ctx, weir_store *s, const char *queue,
                         const weir_queue_settings *set)
{
	return weir__queue_settings_ok(set) ? configure(ctx, s, queue, set, NULL) : -EINVAL;
}

int weir_queue_pause(const weir_ctx *ctx, weir_store *s, const char *queue, bool on)
{
	return configure(ctx, s, queue, NULL, &on);
}

/* ---- Bounds ---- */

int weir__queue_room(const struct weir__queue *q, size_t len)
{
	return q->held < q->set.max && q->bytes + len <= q->set.max_bytes ? 0 : -EAGAIN;
}

/*
 * When will there be a place again? From how often jobs end: over the last seconds if there were
 * some, else from the smoothed gap between ends, which a gap that lasts stretches. Nothing has
 * ended yet: as long again as the first have been running. Nobody works at all: the longest. Time
 * in which the queue was empty does not count.
 */
int64_t weir__queue_retry_after(const struct weir__queue *q, int64_t now)
{
	const struct weir__meter *m = &q->dones;
	double rate = weir__meter_rate(m, now);
	int64_t ns = WEIR_SEC(60), since = now - m->last_ns;

	if (rate * WEIR__RATE_SECONDS >= 2)
		ns = (int64_t)(1e9 / rate);
	else if (m->gap_ns || q->count[WEIR_RUNNING])
		ns = m->gap_ns > since ? m->gap_ns : since;
	return ns < WEIR_SEC(1) ? WEIR_SEC(1) : ns > WEIR_SEC(60) ? WEIR_SEC(60) : ns;
}

/* ---- Rates ---- */

void weir__meter_count(struct weir__meter *m, int64_t now)
{
	int64_t second = now / WEIR_SEC(1);
	int64_t gap = m->last_ns ? now - m->last_ns : 0;

	if (second - m->second >= WEIR__RATE_SECONDS)
		memset(m->count, 0, sizeof m->count);
	else
		for (int64_t i = m->second + 1; i <= second; i++)
			m->count[i % WEIR__RATE_SECONDS] = 0;
	m->second = second;
	m->count[second % WEIR__RATE_SECONDS]++;
	if (gap)
		m->gap_ns = m->gap_ns ? m->gap_ns + (gap - m->gap_ns) / 4 : gap;
	m->last_ns = now;
}

double weir__meter_rate(const struct weir__meter *m, int64_t now)
{
	int64_t second = now / WEIR_SEC(1), age = second - m->since_second;
	uint64_t sum = 0;

	for (int64_t i = 0; i < WEIR__RATE_SECONDS; i++)
		if (second - i <= m->second && second - i > m->second - WEIR__RATE_SECONDS &&
		    second - i >= 0)
			sum += m->count[(second - i) % WEIR__RATE_SECONDS];
	return (double)sum / (double)(age < 1                  ? 1 :
	                              age < WEIR__RATE_SECONDS ? age :
	                                                         WEIR__RATE_SECONDS);
}

/* ---- Looking ---- */

static void fill(struct weir__queue *q, weir_queue_info *ret)
{
	int64_t now = weir_now();

	memset(ret, 0, sizeof *ret);
	memcpy(ret->name, q->name, sizeof ret->name);
	ret->set = q->set;
	ret->queued = q->count[WEIR_QUEUED];
	ret->delayed = q->count[WEIR_DELAYED];
	ret->running = q->count[WEIR_RUNNING];
	ret->done = q->count[WEIR_DONE];
	ret->dead = q->count[WEIR_DEAD];
	ret->cancelled = q->count[WEIR_CANCELLED];
	ret->bytes = q->bytes;
	ret->put_total = q->put_total;
	ret->taken_total = q->taken_total;
	ret->acked_total = q->acked_total;
	ret->failed_total = q->failed_total;
	ret->dead_total = q->dead_total;
	ret->refused_total = q->refused_total;
	ret->expired_total = q->expired_total;
	ret->put_rate = weir__meter_rate(&q->puts, now);
	ret->done_rate = weir__meter_rate(&q->dones, now);
	ret->wait = weir__latency_get(&q->wait, now);
	ret->run = weir__latency_get(&q->run, now);
	if (!weir__list_empty(&q->waiting))
		ret->oldest_ns =
			now -
			weir__container(q->waiting.next, struct weir__record, link)->queued_ns;
	ret->retry_after_ns = weir__queue_retry_after(q, now);
	ret->durability = weir_durability_name(q->set.durability);
	if (q->store->far)
		weir__far_fill(q, ret);
}

int weir_queue_info_get(weir_store *s, const char *queue, weir_queue_info *ret)
{
	struct weir__queue *q;

	weir__magic_check(s, weir__store_magic);
	weir__store_enter(s);
	q = weir__queue_find(s, queue);
	if (q)
		fill(q, ret);
	weir__store_leave(s);
	if (q && s->far)
		weir__far_spilled(s, ret);
	return q ? 0 : -ENOENT;
}

const char *weir_queue_durability(weir_store *s, const char *queue)
{
	const char *durability = NULL;
	weir_queue_info info;
	struct weir__queue *q;

	weir__magic_check(s, weir__store_magic);
	if (s->far)
		return weir_queue_info_get(s, queue, &info) == 0 ? info.durability : NULL;
	weir__store_enter(s);
	q = weir__queue_find(s, queue);
	if (q)
		durability = weir_durability_name(q->set.durability);
	weir__store_leave(s);
	return durability;
}

int weir_queue_each(weir_store *s, int (*fn)(const weir_queue_info *, void *), void *arg)
{
	weir_queue_info info = { .name = "" };
	bool found, more;
	int r = 0;

	weir__magic_check(s, weir__store_magic);
	do {
		size_t i;

		weir__store_enter(s);
		i = place(s, info.name, &found);
		i += found;
		more = i < s->queues_n;
		if (more)
			fill(s->queues[i], &info);
		weir__store_leave(s);
		if (more && s->far)
			weir__far_spilled(s, &info);
		if (more)
			r = fn(&info, arg);
	} while (more && r == 0);
	return r;
}
