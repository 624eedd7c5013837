/* SPDX-License-Identifier: MIT */
/*
 * The engine "sqlite:PATH": its life and its writer.
 *
 * The writer is a thread, since a commit blocks for as long as the disk takes. Group commit needs
 * no timer: while one transaction is synced the next one's changes gather, so an idle store commits
 * at once and a busy one in batches as large as the disk is slow. Changes for which nobody waits
 * (a take, a progress) doze for some milliseconds, for most of them are followed by one that
 * somebody waits for.
 *
 * In a simulation, which knows no threads, the writer is a task that offloads each round.
 */
#include "queue/sqlite.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weir/offload.h>

#include "base/log.h"

enum {
	DOZE_MS = 20,
	AGAIN_MS = 1000,
	SPIN_NS = 100000,
	SPIN_GAP_NS = 10000,
	BRISK_NS = 200000,
	STACK = 512 << 10,
};

/* What the writer does next: 1 a round, 0 it sleeps (DOZING or ASLEEP is set), -1 it ends. Not
 * under the lock. */
static int next(struct weir__sqlite *q, bool rested, bool failed)
{
	weir_store *s = q->store;
	struct weir__journal *jl = &s->journal;
	int r;

	weir__store_enter(s);
	if (jl->reads || weir__journal_urgent(s) ||
	    ((rested || q->quit) && weir__journal_work(s)) || (rested && q->more && !q->quit))
		r = failed && q->tried && !jl->reads && !weir__journal_urgent(s) ? -1 : 1;
	else
		r = q->quit ? -1 : 0;
	q->tried = q->quit;
	q->rested = rested || q->quit;
	jl->news = jl->urgent = false;
	if (r == 0)
		jl->writer = weir__journal_work(s) || q->more ? WEIR__DOZING : WEIR__ASLEEP;
	weir__store_leave(s);
	return r;
}

/* ---- As a thread ---- */

/* One producer asks again as soon as it is answered. To wake a thread that sleeps costs more then
 * than to find it awake, so who slept briefly the last time first looks for as long. Whoever wants
 * the processor has it: a gap says that somebody does, and ends this. */
static bool spin(struct weir__sqlite *q)
{
	int64_t begin = weir_now(), last = begin, now;

	for (;;) {
		if (sem_trywait(&q->woken) == 0)
			return true;
		sched_yield();
		now = weir_now();
		if (now - last > SPIN_GAP_NS || now - begin > SPIN_NS)
			return false;
		last = now;
	}
}

/* Until it is woken; or, while there is something to write, for a moment. True: rested. */
static bool doze(struct weir__sqlite *q, bool failed)
{
	weir_store *s = q->store;
	struct timespec until;
	int64_t begin = weir_now();
	bool dozing;
	int r;

	if (q->brisk && spin(q))
		return false;
	weir__store_enter(s);
	dozing = s->journal.writer == WEIR__DOZING;
	weir__store_leave(s);
	if (!dozing) {
		while (sem_wait(&q->woken) < 0)
			;
		q->brisk = weir_now() - begin < BRISK_NS;
		return false;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (failed ? AGAIN_MS : DOZE_MS) * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	do
		r = sem_timedwait(&q->woken, &until);
	while (r < 0 && errno == EINTR);
	q->brisk = r == 0 && weir_now() - begin < BRISK_NS;
	if (r == 0)
		return false;
	weir__store_enter(s);
	if (s->journal.writer == WEIR__BUSY) /* Somebody is about to post. */
		r = 0;
	s->journal.writer = WEIR__BUSY;
	weir__store_leave(s);
	if (r == 0)
		while (sem_wait(&q->woken) < 0)
			;
	return true;
}

static void *writer(void *arg)
{
	struct weir__sqlite *q = arg;
	bool rested = true, failed = false;
	int r;

	while ((r = next(q, rested, failed)) >= 0) {
		if (r == 0) {
			rested = doze(q, failed);
			continue;
		}
		failed = weir__sqlite_round(q) < 0;
		rested = false;
	}
	return NULL;
}

static int start_thread(struct weir__sqlite *q)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&q->thread, &attr, writer, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

/* ---- As a task ---- */

static int round_offloaded(void *arg)
{
	return weir__sqlite_round(arg);
}

static int writer_task(const weir_ctx *ctx, void *arg)
{
	struct weir__sqlite *q = arg;
	weir_ctx hard = weir_ctx_shield(ctx, WEIR_HOUR(24));
	weir_store *s = q->store;
	bool rested = true, failed = false;
	int r;

	weir_task_name("store writer");
	for (;;) {
		weir__wait_init(&q->sleeper.wait);
		r = next(q, rested, failed);
		if (r < 0)
			return 0;
		if (r == 0) {
			weir_ctx until = s->journal.writer == WEIR__DOZING ?
			                         weir_ctx_timeout(&hard, WEIR_MS(DOZE_MS)) :
			                         hard;

			rested = weir__wait_park(&q->sleeper.wait, &until, "store writer", q) < 0;
			weir__store_enter(s);
			s->journal.writer = WEIR__BUSY;
			weir__store_leave(s);
			continue;
		}
		failed = weir_offload(&hard, round_offloaded, q, NULL) < 0;
		rested = false;
	}
}

/* ---- The engine ---- */

static void wake(weir_store *s)
{
	struct weir__sqlite *q = s->engine_data;

	if (!weir__simulating)
		sem_post(&q->woken);
	else if (weir__wait_claim(&q->sleeper.wait, 0))
		weir__wait_wake(&q->sleeper.wait);
}

/* What a store in memory left behind is taken over, once. */
static int take_over(struct weir__sqlite *q)
{
	weir_store *s = q->store;
	int r = weir__spool_read(s, s->spool, &q->stop);

	if (r == 0)
		r = weir__sqlite_idems(q);
	if (r == 0)
		r = weir__sqlite_round(q);
	return r < 0 ? r : weir__spool_remove(s->spool);
}

static int open_and_load(void *arg)
{
	struct weir__sqlite *q = arg;
	int r = weir__sqlite_open(q);

	if (r == 0)
		r = weir__sqlite_load(q);
	if (r == 0 && q->store->spool && access(q->store->spool, F_OK) == 0)
		r = take_over(q);
	return r;
}

static void interrupt(void *arg)
{
	__atomic_store_n(&((struct weir__sqlite *)arg)->stop, true, __ATOMIC_RELAXED);
}

static int shut(void *arg)
{
	struct weir__sqlite *q = arg;
	int r = 0;

	if (q->running && !weir__simulating)
		pthread_join(q->thread, NULL);
	if (q->store->journal.unwritten)
		r = weir__sqlite_idems(q); /* Also of jobs that were never written. */
	weir__sqlite_shut(q);
	return r;
}

static void no_interrupt(void *arg)
{
	(void)arg;
}

static int finish(const weir_ctx *ctx, struct weir__sqlite *q, size_t *ret_lost)
{
	/* A cancelled program still has to keep what it accepted; a hard stop cuts this as
	 * everything. */
	weir_ctx shield = weir_ctx_shield(ctx, WEIR_HOUR(1));
	weir_store *s = q->store;
	int r, ended;

	weir__store_enter(s);
	q->quit = true;
	s->journal.urgent = true;
	weir__store_leave(s);
	if (weir__simulating && q->running)
		weir_group_wait(&q->group);
	r = weir_offload_interruptible(&shield, shut, q, no_interrupt);
	ended = weir__journal_end(s, ret_lost);
	s->engine_data = NULL;
	weir__batch_free(&q->batch);
	for (size_t i = 0; i < q->segments_n; i++)
		free(q->segments[i]);
	free(q->segments);
	weir__buf_free(&q->text);
	sem_destroy(&q->woken);
	free(q->path);
	free(q);
	return r < 0 ? r : ended;
}

static int load(const weir_ctx *ctx, weir_store *s, const char *where)
{
	struct weir__sqlite *q;
	size_t lost;
	int r;

	if (!*where)
		return -EINVAL;
	q = calloc(1, sizeof *q);
	if (!q)
		return -ENOMEM;
	q->store = s;
	q->lock = -1;
	s->engine_data = q;
	sem_init(&q->woken, 0, 0);
	q->path = strdup(where);
	r = q->path ? weir_offload_interruptible(ctx, open_and_load, q, interrupt) : -ENOMEM;
	if (r == 0) {
		if (weir__simulating) {
			weir_group_init(&q->group, ctx);
			q->running = true;
			r = weir_group_go(&q->group, writer_task, q);
		} else {
			r = start_thread(q);
			q->running = r == 0;
		}
	}
	if (r < 0)
		(void)finish(ctx, q, &lost);
	return r;
}

static int save(const weir_ctx *ctx, weir_store *s, size_t *ret_jobs)
{
	size_t held = s->held, lost;
	int r;

	weir__journal_keep_all(s);
	r = finish(ctx, s->engine_data, &lost);
	*ret_jobs = held - lost;
	return r;
}

const struct weir__engine weir__engine_sqlite = {
	.scheme = "sqlite",
	.durability = WEIR_FSYNC,
	.load = load,
	.save = save,
	.wake = wake,
};
