/* SPDX-License-Identifier: MIT */
/*
 * What the file holds, back into the queues. On an offload thread, before the store is shared.
 *
 * A job's state is its newest change's, or its own row's if it has none. Jobs come in the order
 * of their numbers, which is that of their ids; finished ones are put in the order in which they
 * ended.
 *
 * A lease that ran when the store closed goes on, with its token: its worker may be out there and
 * about to acknowledge. It gets some seconds at least, since nobody could extend it meanwhile.
 * Unless somebody here vouched for it (`renew`): that one is gone, and its run counts, for it may
 * be what brought the program down.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/sqlite.h"

#define LEASE_LEAST WEIR_SEC(5)

static int damaged(struct weir__sqlite *q, const char *what, int64_t n)
{
	weir__log(
		WEIR__ERROR, "queue",
		"the store %s holds a row that makes no sense (%s %lld); it is left as it is: move "
		"it away to start without it",
		q->path, what, (long long)n);
	return -EBADMSG;
}

/* ---- Rows ---- */

static sqlite3_stmt *prepare(struct weir__sqlite *q, const char *text, int *r)
{
	sqlite3_stmt *st = NULL;
	int code = sqlite3_prepare_v2(q->db, text, -1, &st, NULL);

	*r = code == SQLITE_OK ? 0 : weir__sqlite_error(q, code, "reading");
	return st;
}

/* The next row: 1, 0 at the end, or an error. */
static int row(struct weir__sqlite *q, sqlite3_stmt *st)
{
	int code = sqlite3_step(st);

	if (__atomic_load_n(&q->stop, __ATOMIC_RELAXED))
		return -EINTR;
	return code == SQLITE_ROW  ? 1 :
	       code == SQLITE_DONE ? 0 :
	                             weir__sqlite_error(q, code, "reading");
}

static const char *text(sqlite3_stmt *st, int at)
{
	return (const char *)sqlite3_column_text(st, at);
}

/* A time or a distance; far enough from the end of time to be added to. */
static bool time_ok(int64_t v)
{
	return v >= 0 && v <= INT64_MAX / 4;
}

/* ---- Queues ---- */

static int load_queues(struct weir__sqlite *q)
{
	weir_store *s = q->store;
	struct weir__queue *to;
	int r;
	sqlite3_stmt *st = prepare(q,
	                           "SELECT name, paused, max, max_bytes, lease_ns, attempts_max,"
	                           " timeout_ns, backoff_ns, backoff_max_ns, rate, rate_burst,"
	                           " concurrency, key_concurrency, finished_max, finished_ns,"
	                           " durability FROM queue",
	                           &r);

	while (r == 0 && (r = row(q, st)) > 0) {
		const char *name = text(st, 0);
		weir_queue_settings g = {
			.paused = sqlite3_column_int(st, 1) != 0,
			.max = (size_t)sqlite3_column_int64(st, 2),
			.max_bytes = (size_t)sqlite3_column_int64(st, 3),
			.lease_ns = sqlite3_column_int64(st, 4),
			.attempts_max = (unsigned)sqlite3_column_int64(st, 5),
			.timeout_ns = sqlite3_column_int64(st, 6),
			.backoff_ns = sqlite3_column_int64(st, 7),
			.backoff_max_ns = sqlite3_column_int64(st, 8),
			.rate = sqlite3_column_double(st, 9),
			.rate_burst = (unsigned)sqlite3_column_int64(st, 10),
			.concurrency = (unsigned)sqlite3_column_int64(st, 11),
			.key_concurrency = (unsigned)sqlite3_column_int64(st, 12),
			.finished_max = (size_t)sqlite3_column_int64(st, 13),
			.finished_ns = sqlite3_column_int64(st, 14),
			.durability = (enum weir_durability)sqlite3_column_int(st, 15),
		};

		if (!weir_queue_name_valid(name) || !weir__queue_settings_ok(&g)) {
			r = damaged(q, "a queue", 0);
			break;
		}
		weir__store_enter(s);
		r = weir__queue_get(s, name, &to);
		if (r == 0)
			weir__queue_set(s, to, &g);
		weir__store_leave(s);
	}
	sqlite3_finalize(st);
	return r;
}

/* ---- Jobs ---- */

/* A job's newest change, by the job's number; open addressing, as large as twice their number. */
struct newest {
	struct {
		uint64_t job, change;
	} * v;
	size_t cap; /* a power of two */
};

static size_t slot(const struct newest *m, uint64_t job)
{
	size_t i = (job * 0x9e3779b97f4a7c15u >> 20) & (m->cap - 1);

	while (m->v[i].job && m->v[i].job != job)
		i = (i + 1) & (m->cap - 1);
	return i;
}

static int load_changes(struct weir__sqlite *q, struct newest *m)
{
	int r;
	sqlite3_stmt *st = prepare(q, "SELECT count(*) FROM change", &r);
	size_t n = 0;

	if (r == 0)
		r = row(q, st);
	if (r > 0)
		n = (size_t)sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	if (r < 0)
		return r;
	for (m->cap = 16; m->cap < n * 2; m->cap *= 2)
		;
	m->v = calloc(m->cap, sizeof *m->v);
	if (!m->v)
		return -ENOMEM;
	st = prepare(q, "SELECT n, job FROM change ORDER BY n", &r);
	while (r == 0 && (r = row(q, st)) > 0) {
		uint64_t change = (uint64_t)sqlite3_column_int64(st, 0);
		uint64_t job = (uint64_t)sqlite3_column_int64(st, 1);
		size_t i;

		if (!job || !change || job >= INT64_MAX / 2 || change >= INT64_MAX / 2) {
			r = damaged(q, "change", (int64_t)change);
			break;
		}
		if (!q->changes)
			q->changes_from = q->cleared = change - 1;
		i = slot(m, job);
		m->v[i].job = job;
		m->v[i].change = change;
		q->changes = change;
		/* A job whose row is cleared away may have left changes, which must not be taken
		 * for those of a new one with its number. */
		if (job > q->store->journal.last_num)
			q->store->journal.last_num = job;
		r = 0;
	}
	sqlite3_finalize(st);
	return r;
}

struct found { /* a job as it was written */
	struct weir__record *rec;
	enum weir_job_state state;
	int64_t lease_until;
};

struct load {
	struct weir__sqlite *q;
	struct newest newest;
	sqlite3_stmt *change;
	struct weir__record **finished;
	size_t finished_n, finished_cap;
};

/* As sqlite_rows.c writes it. NULL: the file's version did not keep any. */
static int read_history(struct weir__record *j, const char *lines)
{
	int64_t at = 0;
	char *end;

	if (!lines)
		return 0;
	j->changes_total = strtoull(lines, &end, 10) - 1;
	while (*end == '\n' && end[1]) {
		char event[16];
		long long later;
		unsigned attempt;
		int n = 0;
		char note[sizeof(((weir_job_event *)0)->note)];
		size_t len;

		lines = end + 1;
		end = strchrnul(lines, '\n');
		if (sscanf(lines, "%lld %15s %u%n", &later, event, &attempt, &n) != 3 ||
		    __builtin_add_overflow(at, later, &at) || !time_ok(at))
			return -EBADMSG;
		lines += n + (lines[n] == ' ');
		len = (size_t)(end - lines);
		if (len >= sizeof note)
			return -EBADMSG;
		memcpy(note, lines, len);
		note[len] = 0;
		if (!weir__job_recall(j, at, event, attempt, len ? note : NULL))
			return -EBADMSG;
	}
	return 0;
}

static int read_change(struct load *l, uint64_t n, struct found *f)
{
	sqlite3_stmt *st = l->change;
	struct weir__record *j = f->rec;
	const char *token;
	int r;

	sqlite3_bind_int64(st, 1, (int64_t)n);
	r = row(l->q, st);
	if (r <= 0)
		goto out;
	r = -EBADMSG;
	f->state = (enum weir_job_state)sqlite3_column_int(st, 0);
	j->ready.seq = (uint64_t)sqlite3_column_int64(st, 1);
	j->attempt = (uint32_t)sqlite3_column_int64(st, 2);
	j->due_at = sqlite3_column_int64(st, 3);
	j->started_at = sqlite3_column_int64(st, 4);
	j->finished_at = sqlite3_column_int64(st, 5);
	token = text(st, 6);
	j->lease_ns = sqlite3_column_int64(st, 7);
	f->lease_until = sqlite3_column_int64(st, 8);
	j->renew = sqlite3_column_int(st, 9) != 0;
	j->cancel = sqlite3_column_int(st, 10) != 0;
	weir__job_text(&j->worker, text(st, 11), 63);
	j->progress =
		sqlite3_column_type(st, 12) == SQLITE_NULL ? -1 : sqlite3_column_double(st, 12);
	weir__job_text(&j->note, text(st, 13), 95);
	weir__job_text(&j->error, text(st, 14), 159);
	if (f->state == WEIR_RUNNING) {
		if (!token || strlen(token) != WEIR__TOKEN)
			goto out;
		memcpy(j->token, token, sizeof j->token);
	}
	j->change = n;
	r = read_history(j, text(st, 16));
	if (r < 0)
		goto out;
	r = weir__result_new(sqlite3_column_blob(st, 15), (size_t)sqlite3_column_bytes(st, 15),
	                     &j->result);
out:
	sqlite3_reset(st);
	return r;
}

int weir__sqlite_record(sqlite3_stmt *st, struct weir__record **ret, int *ret_state)
{
	weir_job_spec spec = { 0 };
	const char *id = text(st, 1);
	uint64_t num = (uint64_t)sqlite3_column_int64(st, 0);
	struct weir__record *j;

	spec.priority = sqlite3_column_int(st, 4);
	spec.key = text(st, 7);
	spec.attempts_max = (unsigned)sqlite3_column_int64(st, 8);
	spec.timeout_ns = sqlite3_column_int64(st, 9);
	spec.content_type = text(st, 11);
	spec.data = sqlite3_column_blob(st, 12);
	spec.len = (size_t)sqlite3_column_bytes(st, 12);
	if (!num || num >= INT64_MAX / 2 || !id || strlen(id) != WEIR__ID ||
	    spec.priority < -1000 || spec.priority > 1000 ||
	    (spec.key && strlen(spec.key) > WEIR__KEY_MAX) ||
	    (spec.content_type && strlen(spec.content_type) > WEIR__TYPE_MAX) ||
	    !weir_queue_name_valid(text(st, 2)))
		return -EBADMSG;
	j = weir__job_new(&spec);
	if (!j)
		return -ENOMEM;
	*ret_state = sqlite3_column_int(st, 3);
	memcpy(j->id, id, sizeof j->id);
	j->num = num;
	j->saved = true;
	j->ready.seq = (uint64_t)sqlite3_column_int64(st, 5);
	j->due_at = sqlite3_column_int64(st, 6);
	j->created_at = sqlite3_column_int64(st, 10);
	if (!j->ready.seq || j->ready.seq >= UINT64_MAX / 2 || !time_ok(j->due_at) ||
	    !time_ok(j->created_at) || !time_ok(j->timeout_ns)) {
		weir__job_free(j);
		return -EBADMSG;
	}
	*ret = j;
	return 0;
}

static int read_job(struct load *l, sqlite3_stmt *st, struct found *f)
{
	struct weir__record *j;
	int state = 0, r = weir__sqlite_record(st, &f->rec, &state);
	size_t at;

	if (r < 0)
		return r;
	j = f->rec;
	f->state = (enum weir_job_state)state;
	at = slot(&l->newest, j->num);
	if (l->newest.v[at].job == j->num) {
		r = read_change(l, l->newest.v[at].change, f);
		if (r < 0)
			return r;
	}
	return (unsigned)f->state < WEIR__STATES && j->ready.seq && j->ready.seq < UINT64_MAX / 2 &&
	                       time_ok(j->due_at) && time_ok(j->finished_at) &&
	                       time_ok(j->lease_ns) ?
	               0 :
	               -EBADMSG;
}

/* A plain job behind its queue's window stays on disk. 1, 0 if it is not one, or an error. */
static int leave_cold(struct load *l, sqlite3_stmt *st)
{
	weir_store *s = l->q->store;
	uint64_t num = (uint64_t)sqlite3_column_int64(st, 0);
	uint64_t ord = (uint64_t)sqlite3_column_int64(st, 5);
	int priority = sqlite3_column_int(st, 4), r = 0;
	const char *id = text(st, 1), *name = text(st, 2);
	size_t len = (size_t)sqlite3_column_int64(st, 13);
	struct weir__queue *q;

	if (sqlite3_column_int(st, 3) != WEIR_QUEUED || text(st, 7) || !id ||
	    strlen(id) != WEIR__ID || priority < -1000 || priority > 1000 ||
	    ord >= UINT64_MAX / 2 || l->newest.v[slot(&l->newest, num)].job == num ||
	    !weir_queue_name_valid(name))
		return 0;
	weir__store_enter(s);
	q = weir__queue_find(s, name);
	if (q && weir__cold_wanted(q, priority)) {
		r = weir__span_room(s);
		if (r == 0)
			r = weir__cold_load(s, q, priority, num, len);
		if (r == 0) {
			weir__span_note(s, num, id);
			weir__job_id_seen(s, id);
			if (ord >= s->seq)
				s->seq = ord + 1;
			if (num > s->journal.last_num)
				s->journal.last_num = num;
			r = 1;
		}
	}
	weir__store_leave(s);
	return r;
}

static void resume(weir_store *s, const struct found *f)
{
	struct weir__record *j = f->rec;
	struct weir__queue *q = j->queue;
	int64_t left = f->lease_until - weir_wall();
	int64_t least = j->lease_ns && j->lease_ns < LEASE_LEAST ? j->lease_ns : LEASE_LEAST;

	if (j->renew) {
		memset(j->token, 0, sizeof j->token);
		if (j->cancel)
			weir__job_to_finished(s, j, WEIR_CANCELLED,
			                      "its worker went with the server");
		else if (j->attempt >= j->attempts_max)
			weir__job_to_finished(s, j, WEIR_DEAD, "its worker went with the server");
		else
			weir__job_to_queued(s, j, "its worker went with the server", true);
		return;
	}
	q->count[j->state]--;
	q->count[WEIR_RUNNING]++;
	j->state = WEIR_RUNNING;
	weir__list_append(&q->running, &j->link);
	weir__ready_running(q, j, 1);
	j->limit_ns = WEIR_NEVER;
	j->due.fn = weir__lease_due;
	weir__due_arm(s, &j->due, weir_now() + (left > least ? left : least));
}

static int by_end(const void *a, const void *b)
{
	const struct weir__record *x = *(struct weir__record *const *)a;
	const struct weir__record *y = *(struct weir__record *const *)b;

	return x->finished_at != y->finished_at ? (x->finished_at < y->finished_at ? -1 : 1) :
	       x->num != y->num                 ? (x->num < y->num ? -1 : 1) :
	                                          0;
}

static int keep_finished(struct load *l, struct weir__record *j)
{
	if (l->finished_n == l->finished_cap) {
		size_t cap = l->finished_cap ? l->finished_cap * 2 : 256;
		struct weir__record **v = realloc(l->finished, cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		l->finished = v;
		l->finished_cap = cap;
	}
	l->finished[l->finished_n++] = j;
	return 0;
}

/* Into its queue, in the state that was written; jobs whose state depends on the time (a delay
 * that is over, a lease) go on from there, and what comes of that is a change like any other. */
static int adopt(struct load *l, const char *queue, struct found *f)
{
	weir_store *s = l->q->store;
	struct weir__record *j = f->rec;
	struct weir__queue *q;
	int r = weir__queue_get(s, queue, &q);

	if (r == 0)
		r = weir__job_admit(s, q, j);
	if (r < 0)
		return r;
	f->rec = NULL;
	weir__job_id_seen(s, j->id);
	weir__span_note(s, j->num, j->id);
	weir__job_recharge(s, j);
	if (j->ready.seq >= s->seq)
		s->seq = j->ready.seq + 1;
	if (j->num > s->journal.last_num)
		s->journal.last_num = j->num;
	switch (f->state) {
	case WEIR_QUEUED:
	case WEIR_DELAYED:
		s->journal.applying = true;
		weir__job_place(s, j);
		s->journal.applying = false;
		return 0;
	case WEIR_RUNNING:
		f->rec = j;
		resume(s, f);
		f->rec = NULL;
		return 0;
	default:
		q->count[WEIR_QUEUED]--; /* Counted as what it is once it stands in its list. */
		j->state = (uint8_t)f->state;
		weir__job_unhold(s, j);
		return keep_finished(l, j);
	}
}

static void place_finished(struct load *l)
{
	weir_store *s = l->q->store;

	if (l->finished_n)
		qsort(l->finished, l->finished_n, sizeof *l->finished, by_end);
	for (size_t i = 0; i < l->finished_n; i++) {
		weir__store_enter(s);
		l->finished[i]->queue->count[l->finished[i]->state]++;
		weir__retain_add(s, l->finished[i]);
		weir__store_leave(s);
	}
}

static int load_jobs(struct load *l)
{
	struct weir__sqlite *q = l->q;
	weir_store *s = q->store;
	int r;
	sqlite3_stmt *st = prepare(q, WEIR__SQL_JOBS "ORDER BY num", &r);

	while (r == 0 && (r = row(q, st)) > 0) {
		struct found f = { 0 };

		r = leave_cold(l, st);
		if (r != 0) {
			r = r > 0 ? 0 : r;
			continue;
		}
		r = read_job(l, st, &f);
		if (r == 0) {
			weir__store_enter(s);
			r = weir__job_find(s, f.rec->id) ? -EBADMSG : adopt(l, text(st, 2), &f);
			weir__store_leave(s);
		}
		weir__job_free(f.rec);
		if (r == -EBADMSG)
			r = damaged(q, "job", sqlite3_column_int64(st, 0));
	}
	sqlite3_finalize(st);
	return r;
}

/* ---- Keys and crons ---- */

static int load_idems(struct weir__sqlite *q)
{
	weir_store *s = q->store;
	int64_t now = weir_wall();
	int r;
	sqlite3_stmt *st =
		prepare(q, "SELECT until, queue, key, id, n FROM idem ORDER BY until, n", &r);

	while (r == 0 && (r = row(q, st)) > 0) {
		int64_t until = sqlite3_column_int64(st, 0);
		const char *queue = text(st, 1), *key = text(st, 2), *id = text(st, 3);
		struct weir__idem *i;

		r = 0;
		if (!weir_queue_name_valid(queue) || !key || strlen(key) > WEIR__KEY_MAX || !id ||
		    strlen(id) != WEIR__ID || !time_ok(until))
			r = damaged(q, "key", sqlite3_column_int64(st, 4));
		if (r < 0 || until <= now)
			continue;
		i = weir__idem_new(queue, key);
		if (!i) {
			r = -ENOMEM;
			break;
		}
		i->kept = true;
		weir__store_enter(s);
		weir__idem_add(s, i, id, until);
		weir__store_leave(s);
	}
	sqlite3_finalize(st);
	return r;
}

static int load_crons(struct weir__sqlite *q)
{
	int r;
	sqlite3_stmt *st =
		prepare(q, "SELECT name, schedule, queue, next_at, last_at, payload FROM cron", &r);

	while (r == 0 && (r = row(q, st)) > 0) {
		const void *data = sqlite3_column_blob(st, 5);
		size_t len = (size_t)sqlite3_column_bytes(st, 5);
		int64_t next = sqlite3_column_int64(st, 3), last = sqlite3_column_int64(st, 4);

		r = next > 0 && time_ok(next) && time_ok(last) ?
		            weir__cron_adopt(q->store, text(st, 0), text(st, 1), text(st, 2), data,
		                             len, next, last) :
		            -EINVAL;
		if (r == -EINVAL || r == -EMSGSIZE)
			r = damaged(q, "a cron", 0);
	}
	sqlite3_finalize(st);
	return r;
}

int weir__sqlite_load(struct weir__sqlite *q)
{
	weir_store *s = q->store;
	unsigned queues_max = s->opt.queues_max;
	struct load l = { .q = q };
	int r;

	/* What was accepted under other bounds is not refused now. */
	s->opt.queues_max = UINT32_MAX;
	r = load_queues(q);
	if (r == 0)
		r = load_changes(q, &l.newest);
	if (r == 0)
		l.change = prepare(
			q,
			"SELECT state, ord, attempt, due_at, started_at, finished_at, lease,"
			" lease_ns, lease_until, renew, cancel, worker, progress, note, error,"
			" result, history FROM change WHERE n = ?1",
			&r);
	/* From here what is found to be over is a change to be written. */
	s->journal.on = r == 0;
	if (r == 0)
		r = load_jobs(&l);
	if (r == 0)
		place_finished(&l);
	if (r == 0)
		r = load_idems(q);
	if (r == 0)
		r = load_crons(q);
	s->opt.queues_max = queues_max;
	s->journal.on = r == 0;
	sqlite3_finalize(l.change);
	free(l.newest.v);
	free(l.finished);
	return r;
}
