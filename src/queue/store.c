/* SPDX-License-Identifier: MIT */
/*
 * The store: its life, its lock, its clock.
 *
 * The clock is one task that sleeps until the first thing in the due heap (a delay's end, a lease's
 * end, a rate's next token, a cron's tick, the age of a finished job) and is woken when something
 * earlier comes. An idle store makes no wake-ups. It hears cancel but not drain: while workers
 * finish what they run, leases and delays go on.
 *
 * Handles hold the store's memory, so that an ack that comes after the close finds a store that
 * says -ESTALE.
 *
 * Rejected: timers of the runtime. They belong to a worker, and any worker may end a lease.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <weir/sim.h>

#include "queue/far.h"
#include "queue/inner.h"

static bool due_less(const struct weir__heap_node *x, const struct weir__heap_node *y)
{
	const struct weir__due *a = weir__container(x, struct weir__due, node);
	const struct weir__due *b = weir__container(y, struct weir__due, node);

	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

void weir__store_enter(weir_store *s)
{
	weir__lock_acquire(&s->lock);
	s->now_ns = s->wall_ns = 0;
}

int64_t weir__store_now(weir_store *s)
{
	if (!s->now_ns)
		s->now_ns = weir_now();
	return s->now_ns;
}

int64_t weir__store_wall(weir_store *s)
{
	if (!s->wall_ns)
		s->wall_ns = weir_wall();
	return s->wall_ns;
}

void weir__store_leave(weir_store *s)
{
	struct weir__sleeper *w = s->wakes, *next;
	struct weir__record *trash = s->trash;
	/* Only by who made a change: the listener itself may look at the store. */
	bool told = s->told_new, writer = weir__journal_wakes(s);

	s->wakes = NULL;
	s->trash = NULL;
	s->told_new = false;
	weir__lock_release(&s->lock);
	if (writer)
		s->engine->wake(s);
	if (told) /* First, so that who gets a job finds that told. */
		weir__told_deliver(s);
	for (; w; w = next) {
		next = w->wake; /* Once woken the sleeper is gone. */
		weir__wait_wake(&w->wait);
	}
	while (trash) {
		struct weir__record *j = trash;

		trash = j->trash;
		weir__job_free(j);
	}
}

bool weir__store_claim(weir_store *s, struct weir__sleeper *w, int value)
{
	if (weir__list_linked(&w->node))
		weir__list_remove(&w->node);
	if (!weir__wait_claim(&w->wait, value))
		return false;
	w->wake = s->wakes;
	s->wakes = w;
	return true;
}

void weir__store_ref(weir_store *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

static void store_free(weir_store *s)
{
	for (size_t i = 0; i < s->queues_n; i++)
		weir__queue_free(s->queues[i]);
	free(s->queues);
	free(s->crons);
	weir__told_fini(s);
	weir__heap_free(&s->due);
	weir__hash_free(&s->jobs);
	weir__hash_free(&s->idem);
	weir__hash_free(&s->keys);
	free(s->spool);
	free(s->far);
	s->magic = 0;
	free(s);
}

void weir__store_unref(weir_store *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0)
		store_free(s);
}

void weir__store_random(weir_store *s, void *buf, size_t n)
{
	if (s->random_left < n) {
		if (weir__simulating) { /* A seed has to give the same names again. */
			for (size_t i = 0; i < sizeof s->random; i++)
				s->random[i] = (unsigned char)weir_random(256);
		} else {
			for (size_t got = 0; got < sizeof s->random;) {
				ssize_t r = getrandom(s->random + got, sizeof s->random - got, 0);

				if (r < 0 && errno != EINTR)
					weir__die("queue: getrandom: %s", strerror(errno));
				got += r > 0 ? (size_t)r : 0;
			}
		}
		s->random_left = sizeof s->random;
	}
	s->random_left -= n;
	memcpy(buf, s->random + s->random_left, n);
	memset(s->random + s->random_left, 0, n);
}

/* ---- Memory ---- */

void weir__store_charge(weir_store *s, size_t more, size_t less)
{
	weir__assert(s->memory + more >= less, "queue: more memory given back than was taken");
	__atomic_store_n(&s->memory, s->memory + more - less, __ATOMIC_RELAXED);
}

bool weir__store_room(weir_store *s, size_t more)
{
	if (s->memory + more <= s->opt.memory_max)
		return true;
	return more <= s->opt.memory_max && weir__retain_evict(s, more);
}

size_t weir_store_memory(const weir_store *s)
{
	weir__magic_check(s, weir__store_magic);
	return __atomic_load_n(&s->memory, __ATOMIC_RELAXED);
}

/* ---- Time ---- */

int weir__store_promise(weir_store *s, size_t n)
{
	if (!weir__heap_reserve(&s->due, s->held + s->due_more + n))
		return -ENOMEM;
	s->due_more += n;
	return 0;
}

void weir__due_arm(weir_store *s, struct weir__due *d, int64_t at_ns)
{
	d->at_ns = at_ns;
	d->seq = s->seq++;
	if (weir__heap_in(&d->node))
		weir__heap_moved(&s->due, &d->node);
	else
		weir__assert(weir__heap_push(&s->due, &d->node),
		             "queue: a promised place in the due heap is not there");
	if (s->clock_parked && at_ns < s->clock_until) {
		s->clock_parked = false;
		weir__store_claim(s, &s->clock, 0);
	}
}

void weir__due_stop(weir_store *s, struct weir__due *d)
{
	if (weir__heap_in(&d->node))
		weir__heap_remove(&s->due, &d->node);
}

/* Runs what is due, a bounded number. True: there is more. */
static bool run_due(weir_store *s)
{
	int64_t now = weir_now();

	for (int i = 0; i < WEIR__BATCH; i++) {
		struct weir__heap_node *n = weir__heap_first(&s->due);
		struct weir__due *d;

		if (!n)
			return false;
		d = weir__container(n, struct weir__due, node);
		if (d->at_ns > now)
			return false;
		weir__heap_remove(&s->due, n);
		d->fn(s, d);
	}
	return true;
}

static int clock_task(const weir_ctx *ctx, void *arg)
{
	weir_store *s = arg;
	int r;

	weir_task_name("store clock");
	for (;;) {
		struct weir__heap_node *n;
		weir_ctx until = *ctx;
		bool more, closed;

		weir__store_enter(s);
		more = run_due(s);
		closed = s->closed;
		n = weir__heap_first(&s->due);
		s->clock_until = n ? weir__container(n, struct weir__due, node)->at_ns : WEIR_NEVER;
		s->clock_parked = !more && !closed;
		if (s->clock_parked)
			weir__wait_init(&s->clock.wait);
		until = weir_ctx_deadline(ctx, s->clock_until);
		weir__store_leave(s);
		if (closed)
			return 0;
		if (more) {
			r = weir_yield(ctx);
			if (r < 0)
				return r;
			continue;
		}
		r = weir__wait_park(&s->clock.wait, &until, "store clock", s);
		weir__store_enter(s);
		s->clock_parked = false;
		weir__store_leave(s);
		if (r < 0 && r != -ETIMEDOUT)
			return r;
	}
}

/* ---- Life ---- */

static const struct weir__engine *const engines[] = {
	&weir__engine_memory,
#ifdef WEIR__SQLITE
	&weir__engine_sqlite,
#endif
};

static const struct weir__engine *engine_of(const char *url)
{
	const struct weir__engine_row *row = weir__engine_row_of(url);

	if (row && row->remote)
		return &weir__engine_remote;
	for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
		size_t n = strlen(engines[i]->scheme);

		if (!strncmp(url, engines[i]->scheme, n) && url[n] == ':')
			return engines[i];
	}
	return NULL;
}

static weir_store_options in_force(const weir_store_options *opt)
{
	weir_store_options o = opt ? *opt : (weir_store_options){ 0 };

	o.queue_max = o.queue_max ? o.queue_max : 100000;
	o.queue_bytes = o.queue_bytes ? o.queue_bytes : (size_t)256 << 20;
	o.memory_max = o.memory_max ? o.memory_max : (size_t)1 << 30;
	o.queues_max = o.queues_max ? o.queues_max : 1000;
	o.finished_max = o.finished_max ? o.finished_max : 10000;
	o.finished_ns = o.finished_ns ? o.finished_ns : WEIR_HOUR(24);
	o.idempotency_ns = o.idempotency_ns ? o.idempotency_ns : WEIR_HOUR(24);
	return o;
}

static weir_store *store_new(const weir_store_options *opt, const struct weir__engine *engine)
{
	weir_store *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->magic = weir__store_magic;
	s->refs = 1;
	s->engine = engine;
	s->opt = in_force(opt);
	s->seq = 1;
	s->due.less = due_less;
	s->told_last = &s->told;
	s->idem_due.fn = weir__idem_due;
	weir_latch_init(&s->any_cron, 1);
	weir__list_init(&s->finished);
	weir__list_init(&s->idems);
	weir__list_init(&s->journal.jobs);
	weir__list_init(&s->journal.later[0]);
	weir__list_init(&s->journal.later[1]);
	weir__list_init(&s->journal.waits);
	weir__list_init(&s->journal.thaws);
	weir__store_random(s, s->jobs.seed, sizeof s->jobs.seed);
	weir__store_random(s, s->idem.seed, sizeof s->idem.seed);
	weir__store_random(s, s->keys.seed, sizeof s->keys.seed);
	s->crons = calloc(WEIR__CRONS_MAX, sizeof *s->crons);
	if (!s->crons || weir__store_promise(s, 1) < 0)
		goto fail;
	if (s->opt.spool) {
		s->spool = strdup(s->opt.spool);
		if (!s->spool)
			goto fail;
		s->opt.spool = s->spool;
	}
	return s;
fail:
	store_free(s);
	return NULL;
}

/* Everything goes, by whatever way the store ended. */
static void empty(weir_store *s)
{
	weir__store_enter(s);
	weir__cron_fini(s);
	weir__idem_fini(s);
	weir__span_fini(s);
	for (size_t i = 0; i < s->queues_n; i++)
		while (!weir__list_empty(&s->queues[i]->all))
			weir__job_remove(s, weir__container(s->queues[i]->all.next,
			                                    struct weir__record, all));
	weir__store_leave(s);
}

static void turn_takers_away(weir_store *s)
{
	for (size_t i = s->queues_n; i-- > 0;) {
		struct weir__queue *q = s->queues[i];

		while (!weir__list_empty(&q->takers))
			weir__store_claim(
				s, weir__container(q->takers.next, struct weir__sleeper, node), 0);
		weir__queue_idle(s, q);
	}
}

/* Nothing changes any more, and the clock ends. */
static void shut(weir_store *s)
{
	weir__store_enter(s);
	s->draining = s->closed = true;
	turn_takers_away(s);
	if (s->clock_parked) {
		s->clock_parked = false;
		weir__store_claim(s, &s->clock, 0);
	}
	weir__store_leave(s);
}

int weir_store_open(const weir_ctx *ctx, const char *url, const weir_store_options *opt,
                    weir_store **ret)
{
	const struct weir__engine *engine;
	weir_store *s;
	int r;

	if (!url || !*url || (opt && (opt->finished_ns < 0 || opt->idempotency_ns < 0)))
		return -EINVAL;
	engine = engine_of(url);
	if (!engine)
		return -EPROTONOSUPPORT;
	s = store_new(opt, engine);
	if (!s)
		return -ENOMEM;
	weir_group_init(&s->group, ctx);
	r = weir_group_go(&s->group, clock_task, s);
	if (r == 0)
		r = weir_group_go(&s->group, weir__cron_watch, s);
	if (r == 0) /* Last, for once it has loaded the spool is gone. */
		r = engine->load(ctx, s,
		                 engine == &weir__engine_remote ? url : strchr(url, ':') + 1);
	if (r == 0) {
		*ret = s;
		return 0;
	}
	shut(s);
	weir_group_cancel(&s->group);
	weir_group_wait(&s->group);
	if (s->far)
		weir__far_end(ctx, s);
	empty(s);
	weir__store_unref(s);
	return r;
}

void weir_store_listen(weir_store *s, weir_job_listener *fn, void *arg)
{
	weir__magic_check(s, weir__store_magic);
	s->listener_arg = arg;
	s->listener = fn;
}

void weir_store_listen_when(weir_store *s, weir_job_wanted *wanted)
{
	weir__magic_check(s, weir__store_magic);
	s->wanted = wanted;
}

void weir_store_drain(weir_store *s)
{
	weir__magic_check(s, weir__store_magic);
	weir__store_enter(s);
	s->draining = true;
	turn_takers_away(s);
	weir__store_leave(s);
	if (s->far)
		weir__far_drain(s);
}

/* Takes running jobs back, a bounded number at a time. True: there is more. A durable store keeps
 * leases that run by time: their workers are elsewhere, and may acknowledge to the next server. */
static bool take_back(weir_store *s)
{
	unsigned left = WEIR__BATCH;

	for (size_t i = 0; i < s->queues_n; i++) {
		struct weir__list *at = s->queues[i]->running.next, *next;

		for (; at != &s->queues[i]->running; at = next) {
			struct weir__record *j = weir__container(at, struct weir__record, link);

			next = at->next;
			if (s->journal.on && !j->renew)
				continue;
			if (left-- == 0)
				return true;
			weir__lease_finish(s, j, j->token, WEIR__RETURN, NULL, 0,
			                   "the store closed");
		}
	}
	return false;
}

int weir_store_close(const weir_ctx *ctx, weir_store *s, size_t *ret_spooled)
{
	size_t jobs = 0;
	bool more;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (s->far)
		weir__far_stop(s);
	do {
		weir__store_enter(s);
		s->draining = true;
		more = take_back(s);
		weir__store_leave(s);
	} while (more);
	shut(s);
	weir_group_cancel(&s->group);
	weir_group_wait(&s->group);
	r = s->engine->save(ctx, s, &jobs);
	empty(s);
	weir__store_unref(s);
	if (ret_spooled)
		*ret_spooled = jobs;
	return r;
}
