/* SPDX-License-Identifier: MIT */
/*
 * A storm over a store: producers, workers that acknowledge, fail, give back, are late or vanish,
 * someone who cancels, then a drain, a clean stop and a second life from the spool in which
 * everything is worked off. A ledger that hears every change holds it against the rules:
 *  - a job that was accepted ends exactly once, as done, dead or cancelled, or is in the spool
 *  - while a lease is valid no earlier one of the job is, and what was acknowledged does not run
 *    again
 *  - no job runs more often than its attempts
 *  - the counts of the queues and of the spool add up
 */
#ifndef QUEUE_STORM_H
#define QUEUE_STORM_H

#include <unistd.h>

#include "queue/queue_test.h"

enum { STORM_JOBS = 30, STORM_RUNS = 64, STORM_QUEUES = 2 };

struct storm_job {
	char id[27], queue[8];
	const char *last; /* event */
	unsigned attempts_max, changes;
	int ends, acks;
	char tokens[STORM_RUNS][40]; /* of its runs so far */
	int runs;
};

struct storm {
	weir_store *store;
	struct storm_job jobs[STORM_JOBS];
	int n, accepted, ended, workers;
	bool calm; /* second life: workers only acknowledge */
};

#define STORM_CHECK(cond)                                            \
	do {                                                         \
		if (!(cond))                                         \
			test_fail("storm.h", __LINE__, "%s", #cond); \
	} while (0)

static inline struct storm_job *storm_find(struct storm *st, const char *id)
{
	for (int i = 0; i < st->n; i++)
		if (!strcmp(st->jobs[i].id, id))
			return &st->jobs[i];
	return NULL;
}

static inline bool storm_over(const char *state)
{
	return !strcmp(state, "done") || !strcmp(state, "dead") || !strcmp(state, "cancelled");
}

/* Told in order, so the ledger needs no lock of its own; workers look at it under the simulation's
 * single thread. */
static inline void storm_hear(const weir_job_info *i, const char *event, void *arg)
{
	struct storm *st = arg;
	struct storm_job *j = storm_find(st, i->id);

	if (!j) {
		STORM_CHECK(st->n < STORM_JOBS);
		STORM_CHECK(!strcmp(event, "queued") || !strcmp(event, "delayed"));
		j = &st->jobs[st->n++];
		memcpy(j->id, i->id, sizeof j->id);
		snprintf(j->queue, sizeof j->queue, "%.7s", i->queue);
		j->last = "";
		j->attempts_max = i->attempts_max;
	}
	if (!strcmp(event, "progress"))
		return;
	STORM_CHECK(!storm_over(j->last));
	STORM_CHECK(strcmp(event, "running") != 0 || !strcmp(j->last, "queued"));
	STORM_CHECK(strcmp(event, "failed") != 0 || !strcmp(j->last, "running"));
	STORM_CHECK(i->attempt <= j->attempts_max);
	STORM_CHECK(i->changes == ++j->changes);
	j->last = event;
	if (storm_over(event)) {
		j->ends++;
		st->ended++;
	}
}

static inline int storm_produce(const weir_ctx *ctx, void *arg)
{
	struct storm *st = arg;

	for (int i = 0; i < STORM_JOBS / 2; i++) {
		char key[8], queue[8], id[27];
		weir_job_spec spec = { .data = "x",
			               .len = 1,
			               .attempts_max = 1 + weir_random(4),
			               .priority = (int)weir_random(3) - 1 };
		int r;

		snprintf(queue, sizeof queue, "q%u", weir_random(STORM_QUEUES));
		snprintf(key, sizeof key, "k%u", weir_random(3));
		if (weir_random(3) == 0)
			spec.key = key;
		if (weir_random(4) == 0)
			spec.delay_ns = (int64_t)weir_random(20) * WEIR_SEC(1);
		r = weir_job_put(ctx, st->store, queue, &spec, id);
		STORM_CHECK(r == 0 || r == -EAGAIN || r == -ECANCELED);
		st->accepted += r == 0;
		if (weir_random(3) == 0 &&
		    weir_sleep(ctx, (int64_t)weir_random(10) * WEIR_SEC(1)) < 0)
			break;
	}
	return 0;
}

/* No earlier lease of the job may still open anything. */
static inline void storm_fence(struct storm *st, struct storm_job *j, const char *token)
{
	STORM_CHECK(j->acks == 0);
	for (int i = 0; i < j->runs; i++)
		STORM_CHECK(weir_lease_progress(st->store, j->id, j->tokens[i], 0.5, "late") < 0);
	STORM_CHECK(j->runs < STORM_RUNS);
	snprintf(j->tokens[j->runs++], sizeof j->tokens[0], "%s", token);
}

static inline void storm_run(const weir_ctx *ctx, struct storm *st, weir_job *job)
{
	struct storm_job *j = storm_find(st, weir_job_id(job));
	char token[40];
	int r;

	STORM_CHECK(j);
	snprintf(token, sizeof token, "%s", weir_job_lease(job));
	storm_fence(st, j, token);
	if (weir_sleep(ctx, weir_random(2) ? 0 : (int64_t)weir_random(8000) * WEIR_MS(1)) < 0) {
		weir_job_return(job);
		return;
	}
	switch (st->calm ? 0 : weir_random(8)) {
	case 0:
	case 1:
	case 2:
		r = weir_job_ack(ctx, job, "r", 1);
		STORM_CHECK(r == 0 || r == -ESTALE);
		j->acks += r == 0;
		break;
	case 3:
		weir_job_nack(ctx, job, weir_random(2) ? -1 : 0, "failed");
		break;
	case 4:
		weir_job_return(job);
		break;
	case 5: /* Vanishes: only time ends its lease. */
		weir_job_release(job);
		break;
	case 6: /* Comes late, after another may have it. */
		weir_job_release(job);
		if (weir_sleep(ctx, (int64_t)weir_random(30) * WEIR_SEC(1)) < 0)
			return;
		r = weir_lease_ack(ctx, st->store, j->id, token, NULL, 0);
		STORM_CHECK(r == 0 || r == -ESTALE || r == -ENOENT);
		STORM_CHECK(r != 0 || !strcmp(token, j->tokens[j->runs - 1]));
		j->acks += r == 0;
		break;
	case 7: /* Keeps it by extending, then gives up. */
		for (int i = 0; i < 3 && weir_sleep(ctx, WEIR_SEC(3)) == 0; i++)
			if (weir_lease_extend(st->store, j->id, token, 0) != 0)
				break;
		weir_job_nack(ctx, job, (int64_t)weir_random(5) * WEIR_SEC(1), NULL);
		break;
	}
}

static inline int storm_work(const weir_ctx *ctx, void *arg)
{
	struct storm *st = arg;
	uint32_t own = (uint32_t)st->workers++;
	char queue[8];
	int r = 1;

	while (r > 0 || r == -ETIMEDOUT) {
		weir_ctx live = weir_ctx_until_drain(ctx);
		weir_take_options opt = { .lease_ns = WEIR_SEC(5), .renew = false };
		weir_job *job;

		/* Some come back often, some wait for good; in the calm each queue has its own, who
		 * never ask twice. */
		if (!st->calm && weir_random(2))
			live = weir_ctx_timeout(&live, (int64_t)weir_random(20) * WEIR_SEC(1));
		snprintf(queue, sizeof queue, "q%u",
		         st->calm ? own % STORM_QUEUES : weir_random(STORM_QUEUES));
		r = weir_job_take(&live, st->store, queue, &opt, &job);
		if (r > 0)
			storm_run(ctx, st, job);
		else if (r == -ETIMEDOUT && weir_sleep(ctx, WEIR_MS(10)) < 0)
			break;
	}
	return 0;
}

static inline int storm_cancel(const weir_ctx *ctx, void *arg)
{
	struct storm *st = arg;

	for (int i = 0; i < 5; i++) {
		if (weir_sleep(ctx, (int64_t)weir_random(10) * WEIR_SEC(1)) < 0)
			break;
		if (st->n)
			weir_job_cancel(ctx, st->store, st->jobs[weir_random((uint32_t)st->n)].id);
	}
	return 0;
}

static inline void storm_open(const weir_ctx *ctx, struct storm *st, const char *spool)
{
	st->store = store_with(ctx, &(weir_store_options){ .spool = spool, .queue_max = 12 });
	weir_store_listen(st->store, storm_hear, st);
	configure(ctx, st->store, "q0",
	          (weir_queue_settings){ .key_concurrency = weir_random(3),
	                                 .concurrency = weir_random(4),
	                                 .max = 12 });
}

static inline void storm_sums(struct storm *st, bool idle)
{
	size_t held = 0;

	for (int i = 0; i < STORM_QUEUES; i++) {
		char queue[8];
		weir_queue_info q;

		snprintf(queue, sizeof queue, "q%d", i);
		if (weir_queue_info_get(st->store, queue, &q) < 0)
			continue;
		held += q.queued + q.delayed + q.running;
		STORM_CHECK(!idle || q.running == 0);
	}
	STORM_CHECK(held == (size_t)(st->n - st->ended));
}

/* The second life: workers that only acknowledge, until nothing is left. */
static inline int storm_finish(const weir_ctx *ctx, void *arg)
{
	struct storm *st = arg;
	weir_group g;

	st->calm = true;
	weir_group_init(&g, ctx);
	for (int i = 0; i < 2 * STORM_QUEUES; i++)
		STORM_CHECK(weir_group_go(&g, storm_work, st) == 0);
	/* A lease of 5 s, back-offs of up to 8 s and delays of 20 s: a minute would do. */
	for (int i = 0; i < 600 && st->ended < st->n; i++)
		STORM_CHECK(weir_sleep(ctx, WEIR_SEC(1)) == 0);
	weir_group_drain(&g);
	STORM_CHECK(weir_group_wait(&g) == 0);
	return 0;
}

static inline void storm(const weir_ctx *ctx)
{
	struct storm *st = calloc(1, sizeof *st);
	const char *tmp = getenv("TMPDIR");
	char dir[128], spool[160];
	bool expire = weir_random(2);
	size_t spooled;
	weir_group g;

	snprintf(dir, sizeof dir, "%s/weir-storm-XXXXXX",
	         tmp                           ? tmp :
	         access("/dev/shm", W_OK) == 0 ? "/dev/shm" :
	                                         "/tmp");
	STORM_CHECK(st && mkdtemp(dir));
	snprintf(spool, sizeof spool, "%s/s", dir);
	storm_open(ctx, st, spool);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 2; i++)
		STORM_CHECK(weir_group_go(&g, storm_produce, st) == 0);
	for (int i = 0; i < 3; i++)
		STORM_CHECK(weir_group_go(&g, storm_work, st) == 0);
	STORM_CHECK(weir_group_go(&g, storm_cancel, st) == 0);
	STORM_CHECK(weir_sleep(ctx, (int64_t)weir_random(60) * WEIR_SEC(1)) == 0);
	if (weir_random(2))
		weir_store_drain(st->store);
	if (weir_random(2)) {
		weir_group_drain(&g);
		STORM_CHECK(weir_sleep(ctx, WEIR_SEC(1)) == 0);
	}
	weir_group_cancel(&g);
	STORM_CHECK(weir_group_wait(&g) == 0);
	STORM_CHECK(st->n == st->accepted);
	if (expire) /* Nobody holds a job any more, so every lease has to end by itself. */
		STORM_CHECK(weir_sleep(ctx, WEIR_SEC(6)) == 0);
	storm_sums(st, expire);
	STORM_CHECK(weir_store_close(ctx, st->store, &spooled) == 0);
	STORM_CHECK(spooled == (size_t)(st->n - st->ended));

	for (int i = 0; i < st->n; i++)
		st->jobs[i].changes = 0; /* A new life tells anew. */
	storm_open(ctx, st, spool);
	for (int i = 0; i < st->n; i++) {
		struct storm_job *j = &st->jobs[i];
		weir_job_info info;
		int r = weir_job_get(ctx, st->store, j->id, false, &info);

		STORM_CHECK(!storm_over(j->last) || r == -ENOENT || info.state == WEIR_DEAD);
		if (storm_over(j->last))
			continue;
		STORM_CHECK(r == 0);
		j->changes = (unsigned)info.changes;
		j->last = weir_job_state_name(info.state);
		STORM_CHECK(!strcmp(j->last, "queued") || !strcmp(j->last, "delayed"));
	}
	storm_sums(st, true);
	storm_finish(ctx, st);
	for (int i = 0; i < st->n; i++)
		STORM_CHECK(st->jobs[i].ends == 1);
	STORM_CHECK(weir_store_close(ctx, st->store, &spooled) == 0);
	STORM_CHECK(spooled == 0);
	unlink(spool);
	STORM_CHECK(rmdir(dir) == 0);
	free(st);
}

#endif
