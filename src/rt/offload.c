/* SPDX-License-Identifier: MIT */
/*
 * A pool of plain threads for what blocks. Two bounded pools, so that interruptible work (which
 * may be long) never keeps short abandonable work waiting.
 *
 * A record is shared by the waiting task and the thread; rec->lock guards its fields. The end of
 * the function and the leaving of the waiter race for the wait's claim: if the end wins, the task
 * is woken with the result; if it loses, the waiter is leaving and the thread drops the argument.
 * Whoever is last frees the record.
 *
 * interrupt() is called only between the function's start and end, under rec->lock, and again
 * every 10 ms until the function has returned, because an early one may be lost
 * (sqlite3_interrupt before the statement began).
 *
 * In a simulation the function runs inline, between two events of their own: its start and its
 * completion.
 */
#include "rt/offload.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <weir/offload.h>
#include <weir/task.h>

#include "base/log.h"
#include "rt/lock.h"
#include "rt/task.h"
#include "rt/wait.h"

enum { THREADS_MAX = 16 };
enum { ABANDON, INTERRUPT, POOLS };

struct record {
	struct record *next;
	weir_offload_fn *fn;
	void *arg;
	void (*drop)(void *arg);
	weir__lock lock;
	struct weir__wait *wait; /* NULL once the waiter has left */
	bool started, ended, left;
	int result, refs;
	struct weir__timer timer; /* in a simulation */
};

static struct pool {
	pthread_mutex_t mutex;
	pthread_cond_t more, gone;
	struct record *first, **last;
	unsigned threads, idle, queued; /* idle: also those that were signalled and still wake */
	pthread_t over[THREADS_MAX];    /* have ended but for what libraries do at a thread's end */
	unsigned overs;
	bool stop;
} pools[POOLS] = {
	{ .mutex = PTHREAD_MUTEX_INITIALIZER,
	  .more = PTHREAD_COND_INITIALIZER,
	  .gone = PTHREAD_COND_INITIALIZER },
	{ .mutex = PTHREAD_MUTEX_INITIALIZER,
	  .more = PTHREAD_COND_INITIALIZER,
	  .gone = PTHREAD_COND_INITIALIZER },
};

static void unref(struct record *rec)
{
	bool last;

	weir__lock_acquire(&rec->lock);
	last = --rec->refs == 0;
	weir__lock_release(&rec->lock);
	if (last)
		free(rec);
}

static bool begin(struct record *rec)
{
	bool left;

	weir__lock_acquire(&rec->lock);
	left = rec->left;
	rec->started = !left;
	weir__lock_release(&rec->lock);
	return !left;
}

/* The function has ended, or never ran because its waiter had left. */
static void finish(struct record *rec)
{
	struct weir__wait *wait;

	weir__lock_acquire(&rec->lock);
	rec->ended = true;
	wait = rec->wait;
	if (wait && !weir__wait_claim(wait, 0))
		wait = NULL;
	rec->wait = NULL;
	weir__lock_release(&rec->lock);
	if (wait)
		weir__wait_wake(wait);
	else if (rec->drop)
		rec->drop(rec->arg);
	weir__outside(-1);
	unref(rec);
}

static void *thread_main(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->mutex);
	for (;;) {
		struct record *rec = p->first;

		if (rec) {
			p->first = rec->next;
			p->queued--;
			if (!p->first)
				p->last = &p->first;
			pthread_mutex_unlock(&p->mutex);
			if (begin(rec))
				rec->result = rec->fn(rec->arg);
			finish(rec);
			pthread_mutex_lock(&p->mutex);
			continue;
		}
		if (p->stop)
			break;
		p->idle++;
		pthread_cond_wait(&p->more, &p->mutex);
		p->idle--;
	}
	p->threads--;
	p->over[p->overs++] = pthread_self();
	pthread_cond_broadcast(&p->gone);
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

/* OpenSSL frees what it has for a thread at that thread's end, and everything at the end of the
 * process: the one has to be over before the other begins. */
static void join(struct pool *p)
{
	while (p->overs)
		pthread_join(p->over[--p->overs], NULL);
}

static int enqueue(struct pool *p, struct record *rec)
{
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	p->stop = false;
	join(p); /* those that a stop had left behind */
	if (!p->last || !p->first)
		p->last = &p->first;
	if (p->queued >= p->idle && p->threads < THREADS_MAX) {
		pthread_attr_t attr;
		pthread_t thread;

		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, WEIR__OFFLOAD_STACK);
		r = -pthread_create(&thread, &attr, thread_main, p);
		pthread_attr_destroy(&attr);
		if (r == 0)
			p->threads++;
	}
	if (p->threads) { /* With one thread at least the record gets its turn. */
		r = 0;
		rec->next = NULL;
		*p->last = rec;
		p->last = &rec->next;
		p->queued++;
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->mutex);
	return r;
}

static void sim_completed(struct weir__timer *t)
{
	finish(weir__container(t, struct record, timer));
}

static void sim_started(struct weir__timer *t)
{
	struct record *rec = weir__container(t, struct record, timer);

	if (!begin(rec)) {
		finish(rec);
		return;
	}
	rec->result = rec->fn(rec->arg);
	weir__timer_start(t, weir_now() + weir_random(1000000), sim_completed);
}

static int submit(struct record *rec, int pool)
{
	weir__outside(1);
	if (weir__simulating) {
		weir__timer_start(&rec->timer, weir_now() + weir_random(1000000), sim_started);
		return 0;
	}
	int r = enqueue(&pools[pool], rec);
	if (r < 0)
		weir__outside(-1);
	return r;
}

static struct record *record_new(weir_offload_fn *fn, void *arg, void (*drop)(void *))
{
	struct record *rec = calloc(1, sizeof *rec);

	if (!rec)
		return NULL;
	rec->fn = fn;
	rec->arg = arg;
	rec->drop = drop;
	rec->refs = 2;
	return rec;
}

int weir_offload(const weir_ctx *ctx, weir_offload_fn *fn, void *arg, void (*drop)(void *arg))
{
	struct weir__wait w;
	struct record *rec;
	int r = weir__wait_check(ctx);

	if (r < 0)
		goto refused;
	rec = record_new(fn, arg, drop);
	r = -ENOMEM;
	if (!rec)
		goto refused;
	weir__wait_init(&w);
	rec->wait = &w;
	r = submit(rec, ABANDON);
	if (r < 0) {
		free(rec);
		goto refused;
	}
	r = weir__wait_park(&w, ctx, "offload", rec);
	weir__lock_acquire(&rec->lock);
	if (r < 0) {
		rec->wait = NULL;
		rec->left = true;
	} else {
		r = rec->result;
	}
	weir__lock_release(&rec->lock);
	unref(rec);
	return r;
refused:
	if (drop)
		drop(arg);
	return r;
}

int weir_offload_interruptible(const weir_ctx *ctx, weir_offload_fn *fn, void *arg,
                               void (*interrupt)(void *arg))
{
	weir_ctx hard = weir_ctx_shield(ctx, WEIR_NEVER);
	struct weir__wait w;
	struct record *rec;
	bool ended, started;
	int r = weir__wait_check(ctx), stop;

	if (r < 0)
		return r;
	rec = record_new(fn, arg, NULL);
	if (!rec)
		return -ENOMEM;
	weir__wait_init(&w);
	rec->wait = &w;
	r = submit(rec, INTERRUPT);
	if (r < 0) {
		free(rec);
		return r;
	}
	r = stop = weir__wait_park(&w, ctx, "offload", rec);
	weir__lock_acquire(&rec->lock);
	if (r < 0 && !rec->started) {
		rec->wait = NULL;
		rec->left = true;
	}
	started = rec->started;
	for (ended = rec->ended; r < 0 && started && !ended; ended = rec->ended) {
		weir_ctx again = weir_ctx_timeout(&hard, WEIR_MS(10));

		weir__wait_init(&w);
		rec->wait = &w;
		interrupt(arg);
		weir__lock_release(&rec->lock);
		weir__wait_park(&w, &again, "offload (interrupted)", rec);
		weir__lock_acquire(&rec->lock);
		rec->wait = NULL;
	}
	r = started ? rec->result : stop;
	weir__lock_release(&rec->lock);
	unref(rec);
	return r;
}

void weir__offload_stop(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	for (int i = 0; i < POOLS; i++) {
		struct pool *p = &pools[i];
		int r = 0;

		pthread_mutex_lock(&p->mutex);
		p->stop = true;
		pthread_cond_broadcast(&p->more);
		while (p->threads && r == 0)
			r = pthread_cond_timedwait(&p->gone, &p->mutex, &until);
		if (p->threads)
			weir__log(WEIR__WARN, "offload",
			          "%u blocking calls have not returned; left behind", p->threads);
		join(p);
		pthread_mutex_unlock(&p->mutex);
	}
}
