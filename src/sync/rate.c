/* SPDX-License-Identifier: MIT */
/*
 * The rate limiter: GCRA (ITU-T I.371), a token bucket kept as one point in time. `at_ns` is when
 * the bucket will be full again; one is free when that is at most `slack_ns` = (burst - 1) *
 * every_ns ahead, and taking one moves it `every_ns` further.
 *
 * Waiters stand in line. Only the first of them sleeps for its turn, and it takes its token when it
 * wakes; so one whose context ends has used nothing up. Rejected: letting every waiter reserve its
 * token at once and sleep until then, as Go's x/time/rate does. When callers come faster than the
 * rate and leave at their limits, the reservations run ahead of the clock without bound, and in the
 * end everybody waits for tokens that belong to callers who have left.
 *
 * at_ns is counted from the old at_ns when the first waiter wakes late, so the average is kept.
 */
#include <weir/sync.h>
#include <weir/task.h>

#include "sync/waiter.h"

struct line {
	weir__lock lock; /* guards the rest, and at_ns */
	uint32_t count;  /* who waits, with the first */
	bool served;     /* there is a first: it sleeps and is in no list; only it changes at_ns */
	struct weir__list waiters;
};
_Static_assert(sizeof(struct line) <= sizeof((weir_rate){ 0 }.priv),
               "a line fits in its public struct");

static struct line *line(weir_rate *r)
{
	return (struct line *)(void *)r->priv;
}

void weir_rate_init(weir_rate *r, double per_sec, unsigned burst)
{
	double every = 1e9 / per_sec;

	weir__assert(per_sec > 0, "weir_rate_init: a rate must be above 0");
	weir__assert(burst > 0, "weir_rate_init: a burst must be at least 1");
	*r = (weir_rate){ .every_ns = 1 };
	if (every > (double)WEIR_HOUR(24 * 365))
		every = (double)WEIR_HOUR(24 * 365);
	if (every > 1)
		r->every_ns = (int64_t)every;
	if (__builtin_mul_overflow(r->every_ns, (int64_t)burst - 1, &r->slack_ns) ||
	    r->slack_ns > INT64_MAX / 4)
		r->slack_ns = INT64_MAX / 4;
	weir__list_init(&line(r)->waiters);
}

/* Under the lock or as the first: when the bucket will be full, and how long until one is free. */
static int64_t full_at(const weir_rate *r, int64_t now)
{
	return r->at_ns > now ? r->at_ns : now;
}

static int64_t left(const weir_rate *r, int64_t now)
{
	int64_t ns = full_at(r, now) - r->slack_ns - now;

	return ns > 0 ? ns : 0;
}

/* Under the lock. */
static bool take(weir_rate *r)
{
	int64_t now = weir_now();

	if (line(r)->served || left(r, now) > 0)
		return false;
	r->at_ns = full_at(r, now) + r->every_ns;
	return true;
}

int weir_rate_try(weir_rate *r)
{
	struct line *l = line(r);
	bool got;

	weir__lock_acquire(&l->lock);
	got = take(r);
	weir__lock_release(&l->lock);
	return got ? 0 : -EAGAIN;
}

/* As the first in line: sleeps until its turn, then takes or leaves, and calls the next. */
static int serve(const weir_ctx *ctx, weir_rate *r)
{
	struct line *l = line(r);
	struct weir__waiter *n;
	int64_t now = weir_now(), full = full_at(r, now), ns = left(r, now);
	int ret;

	ret = ns > 0 ? weir_sleep(ctx, ns) : 0;
	weir__lock_acquire(&l->lock);
	if (ret == 0)
		r->at_ns = full + r->every_ns;
	n = weir__waiter_claim(&l->waiters, 0);
	l->served = n;
	l->count--;
	weir__lock_release(&l->lock);
	if (n)
		weir__wait_wake(n->wait);
	return ret;
}

int weir_rate_wait(const weir_ctx *ctx, weir_rate *r)
{
	struct line *l = line(r);
	int ret;

	ret = weir__wait_check(ctx);
	if (ret < 0)
		return ret;
	weir__lock_acquire(&l->lock);
	if (take(r)) {
		weir__lock_release(&l->lock);
		return 0;
	}
	l->count++;
	if (!l->served) {
		l->served = true;
		weir__lock_release(&l->lock);
		return serve(ctx, r);
	}
	ret = weir__waiter_park(ctx, &l->waiters, &l->lock, NULL, "rate", r);
	if (ret == 0)
		return serve(ctx, r);
	weir__lock_acquire(&l->lock);
	l->count--;
	weir__lock_release(&l->lock);
	return ret;
}

int64_t weir_rate_next(const weir_rate *r)
{
	struct line *l = line((weir_rate *)r);
	int64_t now = weir_now(), ns;

	weir__lock_acquire(&l->lock);
	if (__builtin_mul_overflow(r->every_ns, (int64_t)l->count, &ns) ||
	    __builtin_add_overflow(ns, full_at(r, now) - r->slack_ns - now, &ns))
		ns = INT64_MAX;
	weir__lock_release(&l->lock);
	return ns > 0 ? ns : 0;
}
