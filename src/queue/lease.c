/* SPDX-License-Identifier: MIT */
/*
 * Leases: who may end a run.
 *
 * A take gives the job a new token of 130 random bits; the token in the record is the only valid
 * one, and it is erased when the lease ends, by whatever way. So at most one lease of a job is
 * valid at any time, and who comes with an older one gets -ESTALE. That is the whole of fencing; it
 * needs no clock.
 *
 * A lease ends by ack or nack, by being given back, by time (unless its holder vouches for it
 * otherwise: `renew`), or when the job leaves the store. A run that ended by time counts as an
 * attempt, a lease that was given back does not.
 *
 * A time limit is the worker's to keep: it knows how to stop what it runs. But who extends a lease
 * for ever, or keeps its connection, would hold the job for ever, so every lease ends some seconds
 * after the limit, when a worker that keeps it has long reported.
 *
 * A job that was cancelled while running ends as cancelled when its run ends without an ack; an ack
 * is taken, since the work was done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/far.h"
#include "queue/inner.h"

#define LIMIT_GRACE WEIR_SEC(10)

static const char too_large[] = "its result was too large to keep";

static void make_token(weir_store *s, char token[WEIR__TOKEN + 1])
{
	static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
	unsigned char raw[WEIR__TOKEN];

	weir__store_random(s, raw, sizeof raw);
	for (int i = 0; i < WEIR__TOKEN; i++)
		token[i] = alphabet[raw[i] & 31];
	token[WEIR__TOKEN] = 0;
}

/* In constant time, so that a token cannot be guessed by parts. */
bool weir__lease_is(const struct weir__record *j, const char *token)
{
	unsigned differ = 0;

	if (!token || strnlen(token, WEIR__TOKEN + 1) != WEIR__TOKEN || !*j->token)
		return false;
	for (int i = 0; i < WEIR__TOKEN; i++)
		differ |= (unsigned char)(token[i] ^ j->token[i]);
	return differ == 0;
}

static void keep_until(weir_store *s, struct weir__record *j, int64_t at_ns)
{
	weir__due_arm(s, &j->due, at_ns < j->limit_ns ? at_ns : j->limit_ns);
}

void weir__lease_keep(weir_store *s, struct weir__record *j)
{
	if (!j->renew || j->limit_ns != WEIR_NEVER)
		keep_until(s, j, j->renew ? WEIR_NEVER : weir__store_now(s) + j->lease_ns);
}

void weir__lease_start(weir_store *s, struct weir__record *j, const struct weir__taker *t)
{
	struct weir__queue *q = j->queue;
	int64_t now = weir__store_now(s);

	weir__latency_count(&q->wait, now - j->queued_ns, now);
	weir__job_detach(s, j);
	q->count[j->state]--;
	q->count[WEIR_RUNNING]++;
	j->state = WEIR_RUNNING;
	weir__list_append(&q->running, &j->link);
	j->attempt++;
	make_token(s, j->token);
	j->lease_ns = t->lease_ns ? t->lease_ns : q->set.lease_ns;
	j->renew = t->renew;
	j->cancel = false;
	j->started_at = weir__store_wall(s);
	j->progress = -1;
	weir__job_text(&j->worker, t->worker, 63);
	weir__job_text(&j->note, NULL, 0);
	weir__ready_running(q, j, 1);
	j->due.fn = weir__lease_due;
	t->job->timeout_ns = j->timeout_ns ? j->timeout_ns : q->set.timeout_ns;
	j->limit_ns = t->job->timeout_ns ? weir__store_now(s) + t->job->timeout_ns + LIMIT_GRACE :
	                                   WEIR_NEVER;
	if ((!j->renew || j->limit_ns != WEIR_NEVER) && !WEIR__PLANT(LEAKED_LEASE))
		keep_until(s, j, j->renew ? WEIR_NEVER : now + j->lease_ns);
	q->taken_total++;
	j->refs++;
	t->job->rec = j;
	memcpy(t->job->token, j->token, sizeof j->token);
	memcpy(t->job->queue, q->name, sizeof q->name);
	t->job->attempt = j->attempt;
	weir__job_tell(s, j, "running", t->worker);
}

void weir__lease_wake_guards(weir_store *s, struct weir__record *j)
{
	while (!weir__list_empty(&j->sleepers))
		weir__store_claim(s, weir__container(j->sleepers.next, struct weir__sleeper, node),
		                  0);
}

void weir__lease_end(weir_store *s, struct weir__record *j)
{
	memset(j->token, 0, sizeof j->token);
	weir__due_stop(s, &j->due);
	weir__ready_running(j->queue, j, -1);
	weir__lease_wake_guards(s, j);
}

/* ---- How runs end ---- */

/* By the wall clock, which is what a record keeps. */
static void count_run(weir_store *s, struct weir__record *j)
{
	weir__latency_count(&j->queue->run, weir__store_wall(s) - j->started_at,
	                    weir__store_now(s));
}

/* It waits once more, here or where it came from. */
static void again(weir_store *s, struct weir__record *j, enum weir__verdict v, int64_t delay_ns,
                  const char *note)
{
	if (delay_ns > WEIR__DELAY_MAX)
		delay_ns = WEIR__DELAY_MAX;
	if (s->far) {
		weir__far_hand(s, j, v, delay_ns, note);
		weir__job_to_elsewhere(s, j, delay_ns, note);
	} else if (delay_ns > 0) {
		weir__job_to_delayed(s, j, delay_ns, note);
	} else {
		weir__job_to_queued(s, j, note, v == WEIR__RETURN);
	}
}

static void over(weir_store *s, struct weir__record *j, enum weir__verdict v,
                 enum weir_job_state state, const char *note)
{
	if (s->far)
		weir__far_hand(s, j, v, 0, note);
	weir__job_to_finished(s, j, state, note);
}

static void failed(weir_store *s, struct weir__record *j, enum weir__verdict v, int64_t delay_ns,
                   const char *why)
{
	struct weir__queue *q = j->queue;

	count_run(s, j);
	weir__job_text(&j->error, why, sizeof(((weir_job_info *)0)->error) - 1);
	q->failed_total++;
	if (j->cancel) {
		over(s, j, WEIR__ACK, WEIR_CANCELLED, why);
		return;
	}
	weir__job_tell(s, j, "failed", why);
	if (v == WEIR__KILL || j->attempt >= j->attempts_max) {
		q->dead_total++;
		over(s, j, WEIR__KILL, WEIR_DEAD, v == WEIR__KILL ? why : "no attempts left");
		return;
	}
	if (delay_ns < 0)
		delay_ns = weir__retry_backoff(&q->set, j->attempt);
	again(s, j, WEIR__NACK, delay_ns, NULL);
}

static int acked(weir_store *s, struct weir__record *j, struct weir__result **result,
                 const char *note)
{
	struct weir__queue *q = j->queue;
	bool fits = !*result || weir__store_room(s, (*result)->len);

	weir__result_unref(j->result);
	j->result = fits ? *result : NULL;
	if (fits)
		*result = NULL;
	count_run(s, j);
	q->acked_total++;
	weir__meter_count(&q->dones, weir__store_now(s));
	weir__job_text(&j->error, NULL, 0);
	if (WEIR__PLANT(DOUBLE_DELIVERY)) {
		weir__job_to_queued(s, j, NULL, false);
		return 0;
	}
	over(s, j, WEIR__ACK, WEIR_DONE, fits ? note : too_large);
	return fits ? 0 : -EMSGSIZE;
}

/* *result is taken over if it is kept. */
int weir__lease_finish(weir_store *s, struct weir__record *j, const char *token,
                       enum weir__verdict v, struct weir__result **result, int64_t delay_ns,
                       const char *why)
{
	struct weir__queue *q = j->queue;
	int r = 0;

	if (j->state != WEIR_RUNNING || (!weir__lease_is(j, token) && !WEIR__PLANT(NO_FENCE)))
		return -ESTALE;
	switch (v) {
	case WEIR__ACK:
		r = acked(s, j, result, why);
		break;
	case WEIR__NACK:
	case WEIR__KILL:
		failed(s, j, v, delay_ns, why);
		break;
	case WEIR__RETURN:
		if (j->cancel) {
			over(s, j, WEIR__ACK, WEIR_CANCELLED, why);
			break;
		}
		j->attempt--;
		again(s, j, WEIR__RETURN, delay_ns, why);
		break;
	}
	weir__ready_dispatch(s, q);
	return r;
}

void weir__lease_due(weir_store *s, struct weir__due *d)
{
	struct weir__record *j = weir__container(d, struct weir__record, due);
	struct weir__queue *q = j->queue;

	q->expired_total++;
	failed(s, j, WEIR__NACK, 0,
	       d->at_ns == j->limit_ns ? "ran longer than its limit" : "its lease ran out");
	if (!WEIR__PLANT(LOST_WAKEUP))
		weir__ready_dispatch(s, q);
}

#define SETTLE_MAX WEIR_SEC(30)

int weir__lease_settle(const weir_ctx *ctx, weir_store *s, struct weir__settle *w, int r)
{
	weir_ctx shield;
	int settled;

	if (!w->wait)
		return r;
	if (ctx)
		shield = weir_ctx_shield(ctx, SETTLE_MAX);
	settled = weir__journal_wait(ctx ? &shield : NULL, s, w);
	return settled < 0 ? settled : r;
}

static int finish_by_id(const weir_ctx *ctx, weir_store *s, const char *id, const char *lease,
                        enum weir__verdict v, const void *result, size_t len, int64_t delay_ns,
                        const char *why)
{
	struct weir__settle w = { 0 };
	struct weir__record *j;
	struct weir__result *copy;
	int fits, r;

	weir__magic_check(s, weir__store_magic);
	fits = weir__result_new(result, len, &copy);
	if (fits == -ENOMEM)
		return fits;
	why = fits < 0 ? too_large : why;
	weir__store_enter(s);
	j = weir__job_find(s, id);
	if (!j)
		r = -ENOENT;
	else if (s->far && ctx)
		r = weir__far_finish(ctx, s, j, lease, v, &copy, delay_ns, why, false);
	else
		r = weir__lease_finish(s, j, lease, v, &copy, delay_ns, why);
	if (r >= 0 && ctx)
		weir__journal_wait_for_job(s, &w, j);
	weir__store_leave(s);
	weir__result_unref(copy);
	r = weir__lease_settle(ctx, s, &w, r);
	return r < 0 ? r : fits;
}

int weir_lease_ack(const weir_ctx *ctx, weir_store *s, const char *id, const char *lease,
                   const void *result, size_t len)
{
	return finish_by_id(ctx, s, id, lease, WEIR__ACK, result, len, 0, NULL);
}

int weir_lease_nack(const weir_ctx *ctx, weir_store *s, const char *id, const char *lease,
                    int64_t delay_ns, const char *why)
{
	return finish_by_id(ctx, s, id, lease, WEIR__NACK, NULL, 0, delay_ns, why);
}

int weir_lease_bury(const weir_ctx *ctx, weir_store *s, const char *id, const char *lease,
                    const char *why)
{
	return finish_by_id(ctx, s, id, lease, WEIR__KILL, NULL, 0, 0, why);
}

int weir_lease_return(weir_store *s, const char *id, const char *lease)
{
	return finish_by_id(NULL, s, id, lease, WEIR__RETURN, NULL, 0, 0, "returned");
}

int weir_lease_lost(weir_store *s, const char *id, const char *lease)
{
	return finish_by_id(NULL, s, id, lease, WEIR__NACK, NULL, 0, 0, "its worker vanished");
}

int weir_lease_extend(weir_store *s, const char *id, const char *lease, int64_t lease_ns)
{
	struct weir__record *j;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (lease_ns < 0 || lease_ns > WEIR__DELAY_MAX)
		return -EINVAL;
	weir__store_enter(s);
	j = weir__job_find(s, id);
	r = !j ? -ENOENT : !weir__lease_is(j, lease) ? -ESTALE : j->cancel;
	if (r >= 0 && !j->renew)
		keep_until(s, j, weir__store_now(s) + (lease_ns ? lease_ns : j->lease_ns));
	weir__store_leave(s);
	return r;
}

int weir_lease_progress(weir_store *s, const char *id, const char *lease, double fraction,
                        const char *note)
{
	struct weir__record *j;
	int r;

	weir__magic_check(s, weir__store_magic);
	if (!(fraction >= 0 && fraction <= 1) && fraction != -1)
		return -EINVAL;
	weir__store_enter(s);
	j = weir__job_find(s, id);
	r = !j ? -ENOENT : !weir__lease_is(j, lease) ? -ESTALE : j->cancel;
	if (r >= 0) {
		if (fraction >= 0)
			j->progress = fraction;
		weir__job_text(&j->note, note, sizeof(((weir_job_info *)0)->note) - 1);
		weir__job_tell_progress(s, j);
	}
	weir__store_leave(s);
	return r;
}
