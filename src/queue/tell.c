/* SPDX-License-Identifier: MIT */
/*
 * Every change of a job goes into its history and to the listener.
 *
 * The listener must hear changes in the order in which they happened, outside the store's lock (it
 * may look at the store) and before the operation that made them returns. So a change is snapshot
 * under the lock into a list, and each operation, once it has left the lock, empties that list
 * under `tell`: what another worker appended meanwhile is told by whoever comes first, and never
 * more waits than the workers' current operations made.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/inner.h"

enum { KEPT = 8 };

struct weir__told {
	struct weir__told *next;
	const char *event;
	weir_job_info info;
};

static void copy(char *to, size_t cap, const char *from)
{
	size_t n = from ? strnlen(from, cap - 1) : 0;

	if (n)
		memcpy(to, from, n);
	to[n] = 0;
}

void weir__job_snapshot(const struct weir__record *j, weir_job_info *ret)
{
	memset(ret, 0, offsetof(weir_job_info, history));
	memcpy(ret->id, j->id, sizeof ret->id);
	memcpy(ret->queue, j->queue->name, sizeof ret->queue);
	ret->state = j->state;
	ret->attempt = j->attempt;
	ret->attempts_max = j->attempts_max;
	ret->priority = j->ready.priority;
	ret->progress = j->progress;
	copy(ret->note, sizeof ret->note, j->note);
	copy(ret->worker, sizeof ret->worker, j->worker);
	copy(ret->error, sizeof ret->error, j->error);
	ret->created_at = j->created_at;
	ret->due_at = j->due_at;
	ret->started_at = j->started_at;
	ret->finished_at = j->finished_at;
	ret->len = j->len;
	ret->result_len = j->result ? j->result->len : 0;
	ret->cancel = j->cancel;
	copy(ret->content_type, sizeof ret->content_type,
	     j->content_type ? j->content_type : "application/octet-stream");
	ret->histories = weir__job_history(j, ret->history);
	ret->changes = j->changes_total;
}

unsigned weir__job_history(const struct weir__record *j, weir_job_event ret[WEIR__HISTORY])
{
	for (unsigned i = 0; i < j->changes_len; i++) {
		ret[i].at_wall = j->changes[i].at_wall;
		ret[i].state = j->changes[i].event;
		ret[i].attempt = j->changes[i].attempt;
		copy(ret[i].note, sizeof ret[i].note, j->changes[i].note);
	}
	return j->changes_len;
}

static struct weir__change *change_slot(struct weir__record *j)
{
	if (j->changes_len == WEIR__HISTORY) {
		free(j->changes[0].note);
		memmove(j->changes, j->changes + 1, (WEIR__HISTORY - 1) * sizeof *j->changes);
		return &j->changes[WEIR__HISTORY - 1];
	}
	if (j->changes_len == j->changes_cap) {
		bool own = j->changes == j->first_changes;
		unsigned cap = j->changes_cap * 2u;
		struct weir__change *v = realloc(own ? NULL : j->changes, cap * sizeof *v);

		if (!v)
			return NULL;
		if (own)
			memcpy(v, j->changes, sizeof j->first_changes);
		j->changes = v;
		j->changes_cap = (uint8_t)cap;
	}
	return &j->changes[j->changes_len++];
}

static void append(weir_store *s, struct weir__record *j, const char *event)
{
	struct weir__told *t = s->told_free;

	if (!s->listener || (s->wanted && !s->wanted(s->listener_arg)))
		return;
	if (t) {
		s->told_free = t->next;
		s->told_free_n--;
	} else {
		t = malloc(sizeof *t);
	}
	if (!t) {
		weir__log_rare(WEIR__WARN, "queue", "no memory to tell the change of a job");
		return;
	}
	t->event = event;
	t->next = NULL;
	weir__job_snapshot(j, &t->info);
	*s->told_last = t;
	s->told_last = &t->next;
	s->told_new = true;
}

/* Without memory the history has a gap; the job goes on. */
static void remember(struct weir__record *j, int64_t at_wall, const char *event, unsigned attempt,
                     const char *note)
{
	struct weir__change *c = change_slot(j);

	j->changes_total++;
	if (!c)
		return;
	c->at_wall = at_wall;
	c->event = event;
	c->attempt = attempt;
	c->note = note ? strndup(note, sizeof(((weir_job_event *)0)->note) - 1) : NULL;
}

bool weir__job_recall(struct weir__record *j, int64_t at_wall, const char *event, unsigned attempt,
                      const char *note)
{
	for (int s = 0; s <= WEIR__STATES; s++) {
		const char *known =
			s < WEIR__STATES ? weir_job_state_name((enum weir_job_state)s) : "failed";

		if (!strcmp(known, event)) {
			remember(j, at_wall, known, attempt, note);
			return true;
		}
	}
	return false;
}

void weir__job_tell(weir_store *s, struct weir__record *j, const char *event, const char *note)
{
	/* A job that was on disk already is where its history says. */
	if (!s->journal.applying)
		remember(j, weir__store_wall(s), event, j->attempt, note);
	else if (!j->changes_len)
		remember(j, j->created_at, event, j->attempt, note);
	weir__job_recharge(s, j);
	weir__journal_job(s, j);
	append(s, j, event);
}

void weir__job_tell_progress(weir_store *s, struct weir__record *j)
{
	weir__journal_job(s, j);
	weir__job_recharge(s, j);
	append(s, j, "progress");
}

void weir__told_deliver(weir_store *s)
{
	struct weir__told *t, *next, *rest = NULL;
	int self = weir_worker() + 1;

	weir__assert(!self || __atomic_load_n(&s->telling, __ATOMIC_RELAXED) != self,
	             "a job listener changed a job: it would wait for itself");
	weir__lock_acquire(&s->tell);
	__atomic_store_n(&s->telling, self, __ATOMIC_RELAXED);
	weir__lock_acquire(&s->lock);
	t = s->told;
	s->told = NULL;
	s->told_last = &s->told;
	weir__lock_release(&s->lock);
	for (; t; t = next) {
		next = t->next;
		s->listener(&t->info, t->event, s->listener_arg);
		t->next = rest;
		rest = t;
	}
	weir__lock_acquire(&s->lock);
	while (rest && s->told_free_n < KEPT) {
		t = rest;
		rest = t->next;
		t->next = s->told_free;
		s->told_free = t;
		s->told_free_n++;
	}
	weir__lock_release(&s->lock);
	__atomic_store_n(&s->telling, 0, __ATOMIC_RELAXED);
	weir__lock_release(&s->tell);
	for (; rest; rest = next) {
		next = rest->next;
		free(rest);
	}
}

void weir__told_fini(weir_store *s)
{
	while (s->told_free) {
		struct weir__told *t = s->told_free;

		s->told_free = t->next;
		free(t);
	}
}
