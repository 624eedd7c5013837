/* SPDX-License-Identifier: MIT */
/* The biased lock excludes owner and strangers from each other, whichever way it is used. */
#include "test.h"

#include <pthread.h>
#include <weir/weir.h>

#include "rt/bias.h"
#include "rt/task.h"

enum { ROUNDS = 200000, STRANGERS = 2 };

struct shared {
	struct weir__bias lock;
	volatile uint64_t a, b; /* equal whenever the lock is free */
	uint32_t strangers_left;
};

static void use(struct shared *s)
{
	weir__bias_acquire(&s->lock, weir__here());
	CHECK(s->a == s->b);
	s->a++;
	s->b++;
	weir__bias_release(&s->lock, weir__here());
}

static void *stranger(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < ROUNDS / 100; i++)
		use(s);
	__atomic_sub_fetch(&s->strangers_left, 1, __ATOMIC_RELEASE);
	return NULL;
}

static uint64_t race(struct shared *s)
{
	pthread_t threads[STRANGERS];
	uint64_t own = 0;

	s->strangers_left = STRANGERS;
	for (int i = 0; i < 1000; i++, own++)
		use(s); /* long enough to be biased before anybody comes */
	for (int i = 0; i < STRANGERS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, stranger, s), 0);
	for (; __atomic_load_n(&s->strangers_left, __ATOMIC_ACQUIRE) || own < ROUNDS; own++)
		use(s);
	for (int i = 0; i < STRANGERS; i++)
		pthread_join(threads[i], NULL);
	CHECK(s->a == own + STRANGERS * (ROUNDS / 100));
	return own;
}

TASK(an_owner_that_gets_the_bias_back_and_strangers_exclude_each_other)
{
	struct shared s = { .a = 0 };

	weir__bias_init_owned(&s.lock, weir_worker());
	race(&s);
#if !defined(WEIR__TSAN)
	CHECK_EQ(s.lock.owner, weir_worker());
#endif
}

TASK(a_bias_won_by_use_is_lost_to_the_first_stranger)
{
	struct shared s = { .lock = WEIR__BIAS_INIT };

	race(&s);
#if !defined(WEIR__TSAN)
	CHECK_EQ(s.lock.owner, WEIR__BIAS_NEVER);
#endif
}

static int use_often(const weir_ctx *ctx, void *arg)
{
	for (int i = 0; i < 2000; i++) {
		use(arg);
		if (i % 50 == 0)
			weir_yield(ctx);
	}
	return 0;
}

TASK(workers_that_come_one_after_the_other_exclude_each_other)
{
	for (int i = 0; i < 20; i++) {
		struct shared s = { .lock = WEIR__BIAS_INIT };
		weir_group g;

		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go_on(&g, 0, use_often, &s), 0);
		CHECK_EQ(weir_group_go_on(&g, 1, use_often, &s), 0);
		CHECK_EQ(weir_group_wait(&g), 0);
		CHECK(s.a == 4000);
	}
}
