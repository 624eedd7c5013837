/* SPDX-License-Identifier: MIT */
/*
 * Leases that end with a connection (take?lease=connection): a hook on the connection's scope
 * returns what is still held when it closes, so a worker that is killed gives its jobs back at once
 * and no clock is needed. Its attempts have ended then, for the job may be what killed it; only
 * when this server itself ends the connection they have not.
 *
 * While a lease is held its connection is kept (weir_http_conn_keep), also through a drain, so
 * that a stop lets a remote worker finish what it runs and tell it; at the budget's last third
 * the cancel ends the connection, and the job is returned.
 *
 * One record a connection, found by its scope in a small table under a short lock. A record and its
 * hook are touched only on the connection's worker: by the handlers of that connection and by the
 * hook. What was acked meanwhile stays in the record until it is pruned, before it grows; returning
 * an ended lease is refused by its token and does nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "base/list.h"
#include "rt/lock.h"

enum {
	BUCKETS = 256,
	HELD_MAX = 1000, /* jobs a connection may hold */
	LEASE_BYTES = 48,
};

struct held_lease {
	char id[WEIR_JOB_ID_LEN + 1];
	unsigned attempt;
	char lease[LEASE_BYTES];
};

struct record {
	weir_hook hook;
	struct weir__list link;
	struct leases *all;
	weir_scope *scope;
	weir_http_conn *conn;
	bool *ended; /* set when the hook has run; NULL but while it is being added */
	struct held_lease *held;
	size_t n, cap;
};

struct leases {
	struct app *app;
	weir__lock lock; /* of the lists */
	struct weir__list buckets[BUCKETS];
};

static struct weir__list *bucket(struct leases *l, const weir_scope *scope)
{
	return &l->buckets[(uintptr_t)scope / 64 % BUCKETS];
}

struct leases *leases_new(struct app *app)
{
	struct leases *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->app = app;
	for (size_t i = 0; i < BUCKETS; i++)
		weir__list_init(&l->buckets[i]);
	return l;
}

void leases_free(struct leases *l)
{
	free(l);
}

/* Forget what has been acked or lost since. */
static void prune(struct record *rec)
{
	size_t kept = 0;

	for (size_t i = 0; i < rec->n; i++) {
		weir_job_info job;
		bool running = false;

		if (weir_job_get(NULL, rec->all->app->store, rec->held[i].id, false, &job) == 0) {
			running = job.state == WEIR_RUNNING && job.attempt == rec->held[i].attempt;
			weir_job_info_free(&job);
		}
		if (running)
			rec->held[kept++] = rec->held[i];
	}
	rec->n = kept;
}

static void keep_while_held(struct record *rec)
{
	weir_http_conn_keep(rec->conn, rec->n > 0);
}

/* A drain: what was acked over another connection keeps this one no longer. A cancel: it is gone.
 */
static void connection_stopped(weir_hook *hook, int step)
{
	struct record *rec = weir__container(hook, struct record, hook);
	weir_store *store = rec->all->app->store;
	bool ours = __atomic_load_n(&rec->all->app->stopping, __ATOMIC_ACQUIRE);

	if (step != WEIR_CANCEL) {
		prune(rec);
		keep_while_held(rec);
		return;
	}
	weir__lock_acquire(&rec->all->lock);
	weir__list_remove(&rec->link);
	weir__lock_release(&rec->all->lock);
	weir_hook_remove(&rec->hook);
	for (size_t i = 0; i < rec->n; i++) {
		const struct held_lease *h = &rec->held[i];

		(void)(ours ? weir_lease_return : weir_lease_lost)(store, h->id, h->lease);
	}
	if (rec->ended)
		*rec->ended = true;
	free(rec->held);
	free(rec);
}

static struct record *find(struct leases *l, weir_scope *scope)
{
	struct record *found = NULL;

	weir__lock_acquire(&l->lock);
	weir__list_each (node, bucket(l, scope)) {
		struct record *rec = weir__container(node, struct record, link);

		if (rec->scope == scope) {
			found = rec;
			break;
		}
	}
	weir__lock_release(&l->lock);
	return found;
}

/* 0, -ENOMEM, or -ECANCELED when the connection has ended already. */
static int record_new(struct leases *l, weir_http *x, struct record **ret)
{
	struct record *rec = calloc(1, sizeof *rec);
	weir_scope *scope = weir_http_conn_scope(x);
	bool ended = false;
	int r;

	if (!rec)
		return -ENOMEM;
	rec->all = l;
	rec->scope = scope;
	rec->conn = weir_http_connection(x);
	rec->ended = &ended;
	rec->hook.fn = connection_stopped;
	weir__lock_acquire(&l->lock);
	weir__list_append(bucket(l, scope), &rec->link);
	weir__lock_release(&l->lock);
	/* It hears at once of an end that came before it, and frees the record. */
	r = weir_hook_add(scope, &rec->hook);
	if (ended)
		return -ECANCELED;
	rec->ended = NULL;
	if (r == 0) {
		*ret = rec;
		return 0;
	}
	weir__lock_acquire(&l->lock);
	weir__list_remove(&rec->link);
	weir__lock_release(&l->lock);
	free(rec);
	return r;
}

static int make_room(struct record *rec, size_t n)
{
	struct held_lease *more;
	size_t cap;

	if (rec->n + n <= rec->cap)
		return 0;
	prune(rec);
	if (rec->n + n <= rec->cap)
		return 0;
	if (rec->n + n > HELD_MAX)
		return -ENOSPC;
	cap = (rec->n + n) * 2 < HELD_MAX ? (rec->n + n) * 2 : HELD_MAX;
	more = realloc(rec->held, cap * sizeof *more);
	if (!more)
		return -ENOMEM;
	rec->held = more;
	rec->cap = cap;
	return 0;
}

int leases_hold(struct leases *l, weir_http *x, weir_job *const *jobs, size_t n)
{
	weir_scope *scope = weir_http_conn_scope(x);
	struct record *rec = find(l, scope);
	int r = 0;

	if (!rec)
		r = record_new(l, x, &rec);
	if (r == 0)
		r = make_room(rec, n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct held_lease *h = &rec->held[rec->n++];

		snprintf(h->id, sizeof h->id, "%s", weir_job_id(jobs[i]));
		snprintf(h->lease, sizeof h->lease, "%s", weir_job_lease(jobs[i]));
		h->attempt = weir_job_attempt(jobs[i]);
	}
	keep_while_held(rec);
	return 0;
}

void leases_settled(const weir_ctx *ctx, struct leases *l, weir_http *x, const char *id,
                    const char *lease)
{
	struct record *rec = find(l, weir_http_conn_scope(x));

	if (!rec)
		return;
	for (size_t i = 0; i < rec->n; i++)
		if (!strcmp(rec->held[i].id, id) && !strcmp(rec->held[i].lease, lease)) {
			rec->held[i] = rec->held[--rec->n];
			break;
		}
	if (weir_ctx_draining(ctx))
		prune(rec);
	keep_while_held(rec);
}
