/* SPDX-License-Identifier: MIT */
#include <weir/group.h>
#include <weir/sync.h>

#include "test.h"

TASK(a_semaphore_has_as_many_units_as_it_was_given)
{
	weir_ctx late = weir_ctx_deadline(ctx, weir_now());
	weir_sem s;

	weir_sem_init(&s, 2);
	CHECK_EQ(weir_sem_take(ctx, &s), 0);
	CHECK_EQ(weir_sem_try_take(&s), 0);
	CHECK_EQ(weir_sem_try_take(&s), -EAGAIN);
	CHECK_EQ(weir_sem_take(&late, &s), -ETIMEDOUT);
	weir_sem_give(&s);
	CHECK_EQ(weir_sem_take(&late, &s), 0);
}

struct turn {
	weir_sem *s;
	int *next, got;
};

static int take(const weir_ctx *ctx, void *arg)
{
	struct turn *t = arg;

	CHECK_EQ(weir_sem_take(ctx, t->s), 0);
	t->got = __atomic_fetch_add(t->next, 1, __ATOMIC_RELAXED);
	weir_sem_give(t->s);
	return 0;
}

SIM(waiters_are_served_first_come_first_served, 50)
{
	struct turn t[4];
	weir_group g;
	int next = 0;
	weir_sem s;

	weir_sem_init(&s, 0);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 4; i++) {
		t[i] = (struct turn){ .s = &s, .next = &next };
		CHECK_EQ(weir_group_go(&g, take, &t[i]), 0);
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	}
	weir_sem_give(&s);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(t[i].got, i);
}

struct pool {
	weir_sem s;
	int inside, turns;
};

enum { UNITS = 2 };

static int visitor(const weir_ctx *ctx, void *arg)
{
	struct pool *p = arg;

	for (int n = 0; n < p->turns; n++) {
		weir_ctx soon = *ctx;
		int r;

		if (weir_random(2))
			soon = weir_ctx_deadline(ctx, weir_now() + WEIR_US(weir_random(5)));
		r = weir_random(4) ? weir_sem_take(&soon, &p->s) : weir_sem_try_take(&p->s);
		if (r < 0) {
			CHECK(r == -ETIMEDOUT || r == -EAGAIN || r == -ECANCELED);
			continue;
		}
		CHECK(__atomic_add_fetch(&p->inside, 1, __ATOMIC_RELAXED) <= UNITS);
		if (weir_random(2))
			(void)weir_sleep(ctx, WEIR_US(weir_random(4)));
		__atomic_sub_fetch(&p->inside, 1, __ATOMIC_RELAXED);
		weir_sem_give(&p->s);
	}
	return 0;
}

static void crowd(const weir_ctx *ctx, int turns)
{
	struct pool p = { .turns = turns };
	weir_group g;

	weir_sem_init(&p.s, UNITS);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_group_go_on(&g, (int)weir_random((uint32_t)weir_worker_count()),
		                          visitor, &p),
		         0);
	if (weir_random(4) == 0) {
		(void)weir_sleep(ctx, WEIR_US(weir_random(6)));
		weir_group_cancel(&g);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < UNITS; i++)
		CHECK_EQ(weir_sem_try_take(&p.s), 0);
	CHECK_EQ(weir_sem_try_take(&p.s), -EAGAIN);
}

SIM(no_unit_is_lost_or_doubled_over_seeds, 10000)
{
	crowd(ctx, 4);
}

TASK(no_unit_is_lost_or_doubled_on_workers)
{
	for (int n = 0; n < 50; n++)
		crowd(ctx, 50);
}
