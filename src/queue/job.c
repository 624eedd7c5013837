/* SPDX-License-Identifier: MIT */
/*
 * Records: how a job is made, counted, moved between states, and shown.
 *
 * Ids are 26 characters of Crockford's base32: 48 bits of milliseconds, then 80 random bits (the
 * shape of a ULID). Within a store they rise strictly, also within a millisecond and when the wall
 * clock steps back: then the last id is raised by a random amount. So the order of arrival is the
 * order of ids, and a queue's `all` list needs no sorting.
 *
 * Every move between states goes through detach and one of the to_ functions, which keep the
 * counts, the lists and the history.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/room.h"
#include "queue/far.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
static const char *const names[WEIR__STATES] = { "queued", "delayed", "running",
	                                         "done",   "dead",    "cancelled" };

const char *weir_job_state_name(enum weir_job_state st)
{
	return (unsigned)st < WEIR__STATES ? names[st] : "unknown";
}

/* ---- Ids ---- */

static void write_digits(char *to, int n, uint64_t x)
{
	for (; n > 0; x >>= 5)
		to[--n] = alphabet[x & 31];
}

void weir__job_next_id(weir_store *s, char id[WEIR__ID + 1])
{
	unsigned __int128 last = (unsigned __int128)s->last_id[0] << 64 | s->last_id[1], x;
	uint64_t ms = (uint64_t)(weir__store_wall(s) / 1000000) & 0xffffffffffff, low;
	uint32_t step;
	uint16_t high;

	if (ms > s->last_id[0] >> 16) {
		weir__store_random(s, &low, sizeof low);
		weir__store_random(s, &high, sizeof high);
		x = (unsigned __int128)(ms << 16 | high) << 64 | low;
	} else {
		weir__store_random(s, &step, sizeof step);
		x = last + step + 1;
	}
	s->last_id[0] = (uint64_t)(x >> 64);
	s->last_id[1] = (uint64_t)x;
	/* Twelve at a time, since so many fit into a word. */
	write_digits(id + 14, 12, (uint64_t)x);
	write_digits(id + 2, 12, (uint64_t)(x >> 60));
	write_digits(id, 2, (uint64_t)(x >> 120));
	id[WEIR__ID] = 0;
}

void weir__job_id_seen(weir_store *s, const char *id)
{
	unsigned __int128 x = 0, last = (unsigned __int128)s->last_id[0] << 64 | s->last_id[1];

	for (; *id; id++) {
		const char *at = strchr(alphabet, *id);

		x = x << 5 | (unsigned)(at ? at - alphabet : 0);
	}
	if (x > last) {
		s->last_id[0] = (uint64_t)(x >> 64);
		s->last_id[1] = (uint64_t)x;
	}
}

static uint64_t id_hash(const weir_store *s, const char *id)
{
	return weir__hash(s->jobs.seed, id, WEIR__ID);
}

struct weir__record *weir__job_find(weir_store *s, const char *id)
{
	if (!id || strnlen(id, WEIR__ID + 1) != WEIR__ID)
		return NULL;
	weir__hash_each (n, &s->jobs, id_hash(s, id)) {
		struct weir__record *j = weir__container(n, struct weir__record, by_id);

		if (!memcmp(j->id, id, WEIR__ID))
			return j;
	}
	return NULL;
}

/* ---- Making and unmaking ---- */

struct weir__record *weir__job_new(const weir_job_spec *spec)
{
	size_t type = spec->content_type ? strlen(spec->content_type) + 1 : 0;
	size_t key = spec->key ? strlen(spec->key) + 1 : 0;
	struct weir__record *j;
	size_t n;

	if (__builtin_add_overflow(sizeof *j + type + key + 1, spec->len, &n))
		return NULL;
	weir__room_ahead(n);
	j = malloc(n);
	if (!j)
		return NULL;
	memset(j, 0, sizeof *j);
	j->magic = weir__job_magic;
	j->refs = 1;
	j->len = spec->len;
	if (spec->len)
		memcpy(j->data, spec->data, spec->len);
	j->data[spec->len] = 0;
	if (type)
		j->content_type = memcpy(j->data + spec->len + 1, spec->content_type, type);
	if (key)
		j->key = memcpy(j->data + spec->len + 1 + type, spec->key, key);
	j->ready.priority = spec->priority;
	j->timeout_ns = spec->timeout_ns;
	j->attempts_max = spec->attempts_max;
	j->progress = -1;
	weir__list_init(&j->sleepers);
	j->changes = j->first_changes;
	j->changes_cap = WEIR__CHANGES;
	j->due.fn = NULL;
	return j;
}

void weir__job_free(struct weir__record *j)
{
	if (!j)
		return;
	weir__magic_check(j, weir__job_magic);
	for (unsigned i = 0; i < j->changes_len; i++)
		free(j->changes[i].note);
	if (j->changes != j->first_changes)
		free(j->changes);
	free(j->note);
	free(j->worker);
	free(j->error);
	weir__result_unref(j->result);
	j->magic = 0;
	free(j);
}

void weir__job_unref(weir_store *s, struct weir__record *j)
{
	if (--j->refs)
		return;
	j->trash = s->trash;
	s->trash = j;
}

void weir__job_text(char **field, const char *text, size_t max)
{
	free(*field);
	*field = text && *text ? strndup(text, max) : NULL;
}

static size_t text_size(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

void weir__job_recharge(weir_store *s, struct weir__record *j)
{
	size_t n = sizeof *j + j->len + 1 + text_size(j->content_type) + text_size(j->key) +
	           text_size(j->note) + text_size(j->worker) + text_size(j->error) +
	           (j->result ? sizeof *j->result + j->result->len : 0) +
	           (j->changes == j->first_changes ? 0 : j->changes_cap * sizeof *j->changes);

	for (unsigned i = 0; i < j->changes_len; i++)
		n += text_size(j->changes[i].note);
	weir__store_charge(s, n, j->charge);
	j->charge = n;
}

void weir__job_unhold(weir_store *s, struct weir__record *j)
{
	struct weir__queue *q = j->queue;

	j->held = false;
	q->held--;
	q->bytes -= j->len;
	s->held--;
	weir__ready_unhold(s, q, j);
	weir__heap_trim(&s->due, s->held + s->due_more);
}

int weir__job_hold(weir_store *s, struct weir__record *j)
{
	struct weir__queue *q = j->queue;

	if (!weir__heap_reserve(&s->due, s->held + s->due_more + 1) ||
	    weir__ready_hold(s, q, j) < 0)
		return -ENOMEM;
	if (!q->held)
		/* A new busy time: the gap until its first end counts from here. */
		q->dones.last_ns = weir__store_now(s);
	j->held = true;
	q->held++;
	q->bytes += j->len;
	s->held++;
	return 0;
}

int weir__job_hold_bytes(weir_store *s, struct weir__queue *q, size_t len)
{
	if (!weir__heap_reserve(&s->due, s->held + s->due_more + 1) ||
	    weir__ready_room(q, q->held + 1) < 0)
		return -ENOMEM;
	q->held++;
	q->bytes += len;
	s->held++;
	return 0;
}

void weir__job_forget(weir_store *s, struct weir__record *j)
{
	weir__cursors_pass(j->queue, &j->all);
	weir__list_remove(&j->all);
	weir__hash_remove(&s->jobs, &j->by_id);
	weir__store_charge(s, 0, j->charge);
	j->charge = 0;
	weir__job_unref(s, j);
}

void weir__job_admit_held(weir_store *s, struct weir__queue *q, struct weir__record *j)
{
	struct weir__list *at = q->all.prev;

	/* Nearly always what is in memory is older, or a little of it younger. */
	while (at != &q->all &&
	       memcmp(weir__container(at, struct weir__record, all)->id, j->id, WEIR__ID) > 0)
		at = at->prev;
	j->queue = q;
	j->held = true;
	j->state = WEIR_QUEUED;
	weir__list_insert(at->next, &j->all);
	weir__hash_add(&s->jobs, &j->by_id, id_hash(s, j->id));
	weir__job_recharge(s, j);
	q->away--;
	q->away_bytes -= j->len;
}

void weir__job_come_back(weir_store *s, struct weir__record *j)
{
	/* Since when it waits: the wall clock is the only one that knew. */
	j->queued_ns = weir__store_now(s) - (weir__store_wall(s) - j->created_at);
	weir__ready_add(j->queue, j);
	weir__list_append(&j->queue->waiting, &j->link);
}

void weir__job_lost(weir_store *s, struct weir__queue *q)
{
	/* Nobody knows how large it was: its part of all that is away. The last one's is right. */
	size_t len = q->away_bytes / q->away;

	q->away--;
	q->away_bytes -= len;
	q->bytes -= len;
	q->held--;
	s->held--;
	q->count[WEIR_QUEUED]--;
}

int weir__job_admit(weir_store *s, struct weir__queue *q, struct weir__record *j)
{
	j->queue = q;
	if (!j->ready.seq)
		j->ready.seq = s->seq++;
	if ((s->journal.on && weir__span_room(s) < 0) || weir__job_hold(s, j) < 0)
		return -ENOMEM;
	j->state = WEIR_QUEUED;
	q->count[WEIR_QUEUED]++;
	weir__list_append(&q->all, &j->all);
	weir__hash_add(&s->jobs, &j->by_id, id_hash(s, j->id));
	return 0;
}

void weir__job_remove(weir_store *s, struct weir__record *j)
{
	weir__journal_gone(s, j);
	weir__job_detach(s, j);
	if (j->held)
		weir__job_unhold(s, j);
	j->queue->count[j->state]--;
	weir__cursors_pass(j->queue, &j->all);
	weir__list_remove(&j->all);
	weir__hash_remove(&s->jobs, &j->by_id);
	weir__store_charge(s, 0, j->charge);
	j->charge = 0;
	weir__job_unref(s, j);
}

/* ---- Changes of state ---- */

void weir__job_detach(weir_store *s, struct weir__record *j)
{
	weir__due_stop(s, &j->due);
	if (j->state == WEIR_QUEUED && weir__list_linked(&j->link))
		weir__ready_remove(j->queue, j);
	if (j->state == WEIR_RUNNING)
		weir__lease_end(s, j);
	if (weir__list_linked(&j->link))
		weir__list_remove(&j->link);
	if (weir__list_linked(&j->link_store))
		weir__list_remove(&j->link_store);
}

static void enter_state(struct weir__record *j, enum weir_job_state state)
{
	j->queue->count[j->state]--;
	j->queue->count[state]++;
	j->state = (uint8_t)state;
}

void weir__job_to_queued(weir_store *s, struct weir__record *j, const char *note, bool in_front)
{
	weir__job_detach(s, j);
	if (!in_front)
		j->ready.seq = s->seq++;
	j->queued_ns = weir__store_now(s);
	j->due_at = 0;
	enter_state(j, WEIR_QUEUED);
	weir__ready_add(j->queue, j);
	weir__list_append(&j->queue->waiting, &j->link);
	weir__job_tell(s, j, "queued", note);
}

static void delay_over(weir_store *s, struct weir__due *d)
{
	struct weir__record *j = weir__container(d, struct weir__record, due);

	weir__job_to_queued(s, j, NULL, false);
	weir__ready_dispatch(s, j->queue);
}

void weir__job_to_delayed(weir_store *s, struct weir__record *j, int64_t delay_ns, const char *note)
{
	weir__job_detach(s, j);
	j->due_at = weir__store_wall(s) + delay_ns;
	enter_state(j, WEIR_DELAYED);
	j->due.fn = delay_over;
	weir__due_arm(s, &j->due, weir__store_now(s) + delay_ns);
	weir__job_tell(s, j, "delayed", note);
}

void weir__job_to_finished(weir_store *s, struct weir__record *j, enum weir_job_state state,
                           const char *note)
{
	weir__job_detach(s, j);
	if (j->held)
		weir__job_unhold(s, j);
	j->due_at = 0;
	j->finished_at = weir__store_wall(s);
	enter_state(j, state);
	weir__job_tell(s, j, names[state], note);
	weir__retain_add(s, j);
}

void weir__job_to_elsewhere(weir_store *s, struct weir__record *j, int64_t delay_ns,
                            const char *note)
{
	weir__job_detach(s, j);
	j->due_at = delay_ns > 0 ? weir__store_wall(s) + delay_ns : 0;
	enter_state(j, delay_ns > 0 ? WEIR_DELAYED : WEIR_QUEUED);
	weir__job_tell(s, j, names[j->state], note);
	weir__job_remove(s, j);
}

/* ---- Put ---- */

int weir__job_accept(weir_store *s, const char *queue, int64_t delay_ns, struct weir__record *j,
                     struct weir__idem *idem, char ret_id[WEIR__ID + 1])
{
	struct weir__queue *q = weir__queue_find(s, queue);
	const char *known;
	int r;

	if (s->closed)
		return -EPIPE;
	known = idem ? weir__idem_find(s, idem) : NULL;
	if (known) {
		memcpy(ret_id, known, WEIR__ID + 1);
		return 1;
	}
	if (j->len > (q ? q->set.max_bytes : s->opt.queue_bytes))
		return -EMSGSIZE;
	r = q ? weir__queue_room(q, j->len) : 0;
	if (r == 0 && !weir__store_room(s, sizeof *j + j->len + text_size(j->content_type) +
	                                           text_size(j->key)))
		r = -ENOSPC;
	if (r == 0 && idem)
		r = weir__idem_room(s, idem);
	if (r < 0) {
		/* Making room may have emptied the queue and freed it. */
		q = weir__queue_find(s, queue);
		if (q)
			q->refused_total++;
		return r;
	}
	r = weir__queue_get(s, queue, &q);
	if (r < 0)
		return r;
	weir__job_next_id(s, j->id);
	if (!j->attempts_max)
		j->attempts_max = q->set.attempts_max;
	r = weir__job_admit(s, q, j);
	if (r < 0) {
		weir__queue_idle(s, q);
		return r;
	}
	j->created_at = weir__store_wall(s);
	memcpy(ret_id, j->id, sizeof j->id);
	if (idem)
		weir__idem_add(s, idem, j->id, j->created_at + s->opt.idempotency_ns);
	q->put_total++;
	weir__meter_count(&q->puts, weir__store_now(s));
	j->due_at = delay_ns > 0 ? j->created_at + delay_ns : 0;
	/* Nobody may run it before it is kept. What is in memory only stays behind what is cold. */
	if (s->journal.on && (q->set.durability != WEIR_MEMORY || q->cold_n || q->coming)) {
		j->pending = true;
		q->pending++;
		j->fresh = idem;
		if (idem) {
			idem->pending = j;
			idem->kept = true;
		}
		weir__journal_job(s, j);
	} else {
		s->journal.unwritten |= s->journal.on;
		weir__job_place(s, j);
		weir__ready_dispatch(s, q);
	}
	return 0;
}

void weir__job_place(weir_store *s, struct weir__record *j)
{
	int64_t delay = j->due_at ? j->due_at - weir__store_wall(s) : 0;

	if (delay > 0)
		weir__job_to_delayed(s, j, delay, NULL);
	else
		weir__job_to_queued(s, j, NULL, true);
}

/* ---- Cancel and retry ---- */

int weir_job_cancel(const weir_ctx *ctx, weir_store *s, const char *id)
{
	struct weir__settle w = { 0 };
	struct weir__record *j;
	int r;

	weir__magic_check(s, weir__store_magic);
	r = weir__cold_thaw(ctx, s, id);
	if (r < 0)
		return r;
	weir__store_enter(s);
	j = weir__job_find(s, id);
	if (!j) {
		r = s->far ? -EOPNOTSUPP : -ENOENT;
	} else if (j->state == WEIR_QUEUED || j->state == WEIR_DELAYED) {
		if (s->far) /* It was fetched, and its taker has left. */
			weir__far_hand(s, j, WEIR__ACK, 0, NULL);
		weir__job_to_finished(s, j, WEIR_CANCELLED, NULL);
	} else if (j->state == WEIR_RUNNING) {
		j->cancel = true;
		weir__journal_job(s, j);
		weir__lease_wake_guards(s, j);
	} else {
		r = -EALREADY;
	}
	if (r == 0)
		weir__journal_wait_for_job(s, &w, j);
	weir__store_leave(s);
	return r < 0 ? r : weir__journal_wait(ctx, s, &w);
}

/* A finished record once more, as if it were new. 0, -EAGAIN or -ENOMEM. */
static int revive(weir_store *s, struct weir__record *j, const char *note)
{
	int r = weir__queue_room(j->queue, j->len);

	if (r == 0)
		r = weir__job_hold(s, j);
	if (r < 0)
		return r;
	j->attempt = 0;
	j->cancel = false;
	j->progress = -1;
	j->started_at = j->finished_at = 0;
	weir__job_text(&j->note, NULL, 0);
	weir__job_text(&j->error, NULL, 0);
	weir__result_unref(j->result);
	j->result = NULL;
	weir__job_to_queued(s, j, note, false);
	weir__ready_dispatch(s, j->queue);
	return 0;
}

int weir_job_retry(const weir_ctx *ctx, weir_store *s, const char *id)
{
	struct weir__settle w = { 0 };
	struct weir__record *j;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (s->far)
		return -EOPNOTSUPP;
	r = weir__cold_thaw(ctx, s, id);
	if (r < 0)
		return r;
	weir__store_enter(s);
	j = weir__job_find(s, id);
	r = !j ? -ENOENT : s->closed ? -EPIPE : j->held ? -EBUSY : revive(s, j, "retried");
	if (r == 0)
		weir__journal_wait_for_job(s, &w, j);
	weir__store_leave(s);
	return r < 0 ? r : weir__journal_wait(ctx, s, &w);
}

void weir__redrive_why(weir_redrive_left *l, int error)
{
	snprintf(l->why, sizeof l->why, "%s",
	         error == -EAGAIN   ? "the queue is full" :
	         error == -ENOTCONN ? "the engine is away" :
	                              strerror(-error));
}

int64_t weir_queue_redrive(const weir_ctx *ctx, weir_store *s, const char *queue,
                           weir_redrive_left *ret_left)
{
	weir_redrive_left nobody, *l = ret_left ? ret_left : &nobody;
	struct weir__settle w = { 0 };
	int64_t n = 0;
	int r = 0, stuck = 0;
	bool more = true;
	size_t left = SIZE_MAX; /* What dies again meanwhile is not redriven twice. */

	weir__magic_check(s, weir__store_magic);
	*l = (weir_redrive_left){ 0 };
	if (s->far)
		return weir__far_redrive(ctx, s, queue, l);
	while (more) {
		struct weir__queue *q;

		weir__store_enter(s);
		q = weir__queue_find(s, queue);
		if (!q || s->closed)
			r = n ? 0 : q ? -EPIPE : -ENOENT;
		if (q && left == SIZE_MAX)
			left = q->count[WEIR_DEAD];
		more = q && !s->closed;
		for (int i = 0; more && i < WEIR__BATCH; i++) {
			more = left && !weir__list_empty(&q->dead);
			if (!more)
				break;
			stuck = revive(s, weir__container(q->dead.next, struct weir__record, link),
			               "redriven");
			more = stuck == 0;
			n += more;
			left -= more;
		}
		if (!more && r == 0)
			weir__journal_wait_for(s, &w, false);
		weir__store_leave(s);
	}
	if (r == 0)
		r = weir__journal_wait(ctx, s, &w);
	if (stuck < 0) {
		l->n = (int64_t)left;
		weir__redrive_why(l, stuck);
	}
	return r < 0 ? r : n ? n : stuck;
}
