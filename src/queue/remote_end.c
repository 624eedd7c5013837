/* SPDX-License-Identifier: MIT */
/*
 * How runs of jobs end that live in another system, and what keeps them until then: verdicts, the
 * outbox and the keeper. remote.c tells the whole.
 *
 * A verdict of somebody who waits is said there first, again and again while the connection is
 * away, as long as the job is certain to be held; it becomes true here when it was confirmed. When
 * that time is over, an engine that can tell is asked whether an ack that it did not answer was
 * taken: neither "done" nor "stale" is said of what is not known. A
 * verdict that nobody waits for (a lease that ended by time, a worker that stops) is true here at
 * once and goes to the outbox, from which the keeper says it; when it cannot before the job's time
 * is over there, the engine has it again anyway.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/far.h"

enum { TOLD_MAX = 20 }; /* jobs that a stop names */
#define SETTLE_MAX WEIR_SEC(30)
#define AGAIN      WEIR_MS(250)
#define LATER      WEIR_SEC(1)

/* Under the lock, as everything with a hold. */
void weir__hold_free(struct weir__hold *h)
{
	if (--h->refs)
		return;
	free(h->d);
	free(h);
}

void weir__hold_drop(struct weir__record *j)
{
	struct weir__hold *h = j->hold;

	j->hold = NULL;
	h->rec = NULL;
	weir__list_remove(&h->link);
	weir__hold_free(h);
}

bool weir__far_held(const weir_store *s, const struct weir__hold *h)
{
	return s->far->ops->held && s->far->ops->held(s->far->engine, h->d);
}

void weir__far_wake_keeper(weir_store *s)
{
	struct weir__far *f = s->far;

	if (f->keeper_parked) {
		f->keeper_parked = false;
		weir__store_claim(s, &f->keeper, 0);
	}
}

void weir__far_hand(weir_store *s, struct weir__record *j, enum weir__verdict v, int64_t delay_ns,
                    const char *why)
{
	struct weir__hold *h = j->hold;

	if (!h)
		return;
	j->hold = NULL;
	h->rec = NULL;
	h->verdict = v;
	h->delay_ns = delay_ns;
	h->at_ns = 0;
	snprintf(h->why, sizeof h->why, "%s", why ? why : "");
	weir__list_remove(&h->link);
	weir__list_append(&s->far->outbox, &h->link);
	weir__far_wake_keeper(s);
}

/* Once, without the lock. */
static int say(const weir_ctx *ctx, weir_store *s, const struct weir__hold *h, enum weir__verdict v,
               int64_t delay_ns, const char *why)
{
	const struct weir__remote_engine *ops = s->far->ops;
	void *e = s->far->engine;

	switch (v) {
	case WEIR__ACK:
		return ops->ack(ctx, e, h->queue, h->d);
	case WEIR__NACK:
		return ops->nack(ctx, e, h->queue, h->d, delay_ns, true);
	case WEIR__KILL:
		return ops->bury(ctx, e, h->queue, h->d, why && *why ? why : NULL);
	case WEIR__RETURN:
		return ops->nack(ctx, e, h->queue, h->d, delay_ns, false);
	}
	return -EINVAL;
}

/* Again and again while it is ours and the context lasts; once at least. Then an ack on its way may
 * still have been taken: who is told that it was not would undo what will not be done again. */
static int say_surely(const weir_ctx *ctx, weir_store *s, struct weir__hold *h,
                      enum weir__verdict v, int64_t delay_ns, const char *why)
{
	const struct weir__remote_engine *ops = s->far->ops;
	bool ask = ops->acked && (v == WEIR__ACK || v == WEIR__KILL);
	/* Also for a worker that is being stopped: what was done is done. */
	weir_ctx shield = weir_ctx_shield(ctx, SETTLE_MAX);
	int r = -ENOTCONN, slept = 0, there = 0;

	while (r == -ENOTCONN && slept == 0) {
		if (weir_now() < __atomic_load_n(&h->d->until_ns, __ATOMIC_RELAXED)) {
			r = say(&shield, s, h, v, delay_ns, why);
		} else if (ask) {
			r = ops->acked(&shield, s->far->engine, h->queue, h->d);
			there += r == 0; /* The answer may have overtaken the ack: twice. */
			r = r > 0 ? 0 : there > 1 ? -ESTALE : -ENOTCONN;
		} else {
			break;
		}
		if (r == -ENOTCONN)
			slept = weir_sleep(ctx, AGAIN);
	}
	/* The shield's end, of which whoever says it knows nothing. */
	return r == -ETIMEDOUT && weir_ctx_err(ctx) == 0 ? -ENOTCONN : r;
}

/* Somebody else may have it. */
static void lost(weir_store *s, struct weir__record *j)
{
	if (weir__far_held(s, j->hold)) /* Or nobody, while we do not say that it may. */
		weir__far_hand(s, j, WEIR__RETURN, 0, NULL);
	else
		weir__hold_drop(j);
	j->queue->expired_total++;
	weir__job_tell(s, j, "failed", "its lease was lost: the engine gives it to another");
	weir__job_to_elsewhere(s, j, 0, NULL);
}

/* What a verdict comes to, and the delay that goes with it. */
static enum weir__verdict resolve(struct weir__record *j, enum weir__verdict v, int64_t *delay_ns)
{
	if (v == WEIR__ACK || v == WEIR__KILL)
		return v;
	if (j->cancel)
		return WEIR__ACK; /* It is over; only here it is known why. */
	if (v == WEIR__NACK && j->attempt >= j->attempts_max)
		return WEIR__KILL;
	if (v == WEIR__NACK && *delay_ns < 0)
		*delay_ns = weir__retry_backoff(&j->queue->set, j->attempt);
	return v;
}

int weir__far_finish(const weir_ctx *ctx, weir_store *s, struct weir__record *j, const char *token,
                     enum weir__verdict v, struct weir__result **result, int64_t delay_ns,
                     const char *why, bool last)
{
	struct weir__far *f = s->far;
	struct weir__hold *h = j->hold;
	enum weir__verdict said;
	int r;

	if (!weir__lease_is(j, token) || !h || h->settling || f->stopping)
		return -ESTALE;
	if (weir_now() >= h->d->until_ns) {
		lost(s, j);
		return -ESTALE;
	}
	said = resolve(j, v, &delay_ns);
	h->settling = true;
	h->refs++;
	j->refs++;
	f->users++;
	weir__due_stop(s, &j->due);
	weir__store_leave(s);
	r = say_surely(ctx, s, h, said, delay_ns, why);
	weir__store_enter(s);
	h->settling = false;
	if (!weir__lease_is(j, token) || j->hold != h) {
		r = -ESTALE; /* The keeper has lost it, or it came anew. */
	} else if (r == -ESTALE) {
		lost(s, j);
	} else if (r < 0 && last) {
		weir__far_hand(s, j, said, delay_ns, why);
		weir__job_to_elsewhere(s, j, delay_ns, "its end was not confirmed");
	} else if (r < 0) {
		weir__lease_keep(s, j);
	} else {
		weir__hold_drop(j);
		r = weir__lease_finish(s, j, token, v, result, delay_ns, why);
	}
	weir__hold_free(h);
	weir__job_unref(s, j);
	if (--f->users == 0 && f->leave) {
		weir__store_claim(s, f->leave, 0);
		f->leave = NULL;
	}
	return r;
}

/* ---- The keeper ---- */

/* What is next, under the lock: by time, else NULL and when. */
static struct weir__hold *next_due(struct weir__far *f, int64_t now, int64_t *ret_at)
{
	struct weir__list *lists[] = { &f->outbox, &f->held };

	*ret_at = WEIR_NEVER;
	for (int i = 0; i < 2; i++)
		weir__list_each (l, lists[i]) {
			struct weir__hold *h = weir__container(l, struct weir__hold, link);

			if (h->at_ns <= now)
				return h;
			if (h->at_ns < *ret_at)
				*ret_at = h->at_ns;
		}
	return NULL;
}

/* With a reference on the hold; returns with the lock. */
static void say_later(const weir_ctx *ctx, weir_store *s, struct weir__hold *h)
{
	bool ours;
	int r;

	weir__list_remove(&h->link);
	weir__store_leave(s);
	r = say(ctx, s, h, h->verdict, h->delay_ns, h->why);
	weir__store_enter(s);
	ours = r < 0 && r != -ESTALE &&
	       (weir__far_held(s, h) || (!s->far->ops->held && weir_now() < h->d->until_ns));
	if (ours && r != -ENOTCONN && r != -ENOMEM && weir__wait_check(ctx) == 0) {
		/* It will not have this end, of which nobody can think of another any more. */
		weir__log_rare(WEIR__ERROR, "queue", "%s: the end of job %s is refused: %s",
		               s->far->row->name, h->d->job.id, strerror(-r));
		h->verdict = WEIR__RETURN;
		h->delay_ns = 0;
	}
	if (ours) {
		h->at_ns = weir_now() + LATER;
		h->refs++; /* The list's, instead of the one below. */
		weir__list_append(&s->far->outbox, &h->link);
	}
	weir__hold_free(h);
}

static void renew(const weir_ctx *ctx, weir_store *s, struct weir__hold *h)
{
	int64_t now = weir_now(), until = h->d->until_ns;
	int r;

	if (h->rec->state == WEIR_QUEUED) { /* No taker has come. */
		struct weir__record *j = h->rec;

		weir__far_hand(s, j, WEIR__RETURN, 0, NULL);
		weir__job_remove(s, j);
		return;
	}
	if (now >= until && !h->settling) {
		lost(s, h->rec);
		return;
	}
	weir__list_remove(&h->link);
	weir__list_append(&s->far->held, &h->link);
	weir__store_leave(s);
	r = s->far->ops->extend(ctx, s->far->engine, h->queue, h->d, &until);
	weir__store_enter(s);
	if (!h->rec)
		return;
	now = weir_now();
	if (r == 0) {
		__atomic_store_n(&h->d->until_ns, until, __ATOMIC_RELAXED);
		h->at_ns = until == WEIR_NEVER ? WEIR_NEVER : now + (until - now) / 3;
	} else if (r == -ESTALE && !h->settling) {
		lost(s, h->rec);
	} else {
		h->at_ns = now + LATER < until || now >= until ? now + LATER : until;
	}
}

int weir__far_keeper(const weir_ctx *ctx, void *arg)
{
	weir_store *s = arg;
	struct weir__far *f = s->far;
	int r = 0;

	weir_task_name("store keeper");
	while (r == 0 || r == -ETIMEDOUT) {
		struct weir__hold *h;
		weir_ctx until;
		int64_t at;
		bool closed;

		weir__store_enter(s);
		closed = s->closed;
		h = closed ? NULL : next_due(f, weir_now(), &at);
		if (h) {
			bool out = !h->rec;

			h->refs += !out;
			if (out)
				say_later(ctx, s, h);
			else
				renew(ctx, s, h);
			if (!out)
				weir__hold_free(h);
			r = 0;
		} else if (!closed) {
			weir__wait_init(&f->keeper.wait);
			f->keeper_parked = true;
			until = weir_ctx_deadline(ctx, at);
		}
		weir__store_leave(s);
		if (closed)
			return 0;
		if (h) {
			r = weir__wait_check(ctx);
			continue;
		}
		r = weir__wait_park(&f->keeper.wait, &until, "store keeper", s);
		weir__store_enter(s);
		f->keeper_parked = false;
		weir__store_leave(s);
	}
	return r;
}

/* The store closes, and the engine holds it yet. */
static void tell_left(const weir_store *s, const struct weir__hold *h, int why)
{
	int64_t until = h->d->until_ns, now = weir_now();

	if (until == WEIR_NEVER)
		weir__log(WEIR__WARN, "report", "%s still holds job %s of queue %s: %s",
		          s->far->row->name, h->d->job.id, h->queue, strerror(-why));
	else if (until > now)
		weir__log(WEIR__WARN, "report",
		          "%s still holds job %s of queue %s, for %lld s at most: %s",
		          s->far->row->name, h->d->job.id, h->queue,
		          (long long)((until - now) / WEIR_SEC(1) + 1), strerror(-why));
}

void weir__far_flush(const weir_ctx *ctx, weir_store *s)
{
	struct weir__far *f = s->far;
	struct weir__list *l;
	size_t left = 0;

	weir__store_enter(s);
	while ((l = weir__list_pop(&f->outbox))) {
		struct weir__hold *h = weir__container(l, struct weir__hold, link);
		int r;

		weir__store_leave(s);
		r = say(ctx, s, h, h->verdict, h->delay_ns, h->why);
		if (r < 0 && r != -ESTALE && left++ < TOLD_MAX)
			tell_left(s, h, r);
		weir__store_enter(s);
		weir__hold_free(h);
	}
	weir__store_leave(s);
	if (left > TOLD_MAX)
		weir__log(WEIR__WARN, "report", "%s still holds %zu more jobs", f->row->name,
		          left - TOLD_MAX);
}
