/* SPDX-License-Identifier: MIT */
/* The simulation itself: what it can choose, refuse and end. */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weir/chan.h>
#include <weir/group.h>
#include <weir/port.h>
#include <weir/select.h>
#include <weir/sync.h>
#include <weir/time.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#include "rt/fiber.h"
#include "rt/lock.h"
#include "rt/sim.h"
#include "test.h"

enum { MUCH = 200 };

static uint32_t steps;
static bool stood_still;

static int stands_still(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	for (int i = 0; i < 50; i++) {
		uint32_t before = steps;

		weir__point();
		stood_still |= steps - before == MUCH;
	}
	return 0;
}

static int takes_many_steps(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	for (int i = 0; i < MUCH; i++, steps++)
		weir__point();
	return 0;
}

static int stand_still(const weir_ctx *ctx, void *arg)
{
	weir_group g;

	steps = 0;
	weir_group_init(&g, ctx);
	if (weir_worker_count() > 1) {
		CHECK_EQ(weir_group_go_on(&g, 0, stands_still, arg), 0);
		CHECK_EQ(weir_group_go_on(&g, 1, takes_many_steps, arg), 0);
	}
	return weir_group_wait(&g);
}

/* A choice at random at each step would take a million seeds for it. */
TEST(one_worker_may_stand_still_between_two_steps_while_another_does_much)
{
	uint64_t seed = 0;

	while (!stood_still && ++seed <= 1000)
		CHECK_EQ(weir_sim(seed, stand_still, NULL), 0);
	CHECK(stood_still);
}

struct work {
	weir_chan *c;
	weir_port *p;
	uint32_t depth;
};

static int answers(const weir_ctx *ctx, void *arg)
{
	struct work *w = arg;
	weir_call *call;
	int v, r;

	while ((r = weir_port_recv(ctx, w->p, &call, &v)) > 0)
		weir_call_reply(call, 0, &v);
	return r;
}

static int sends(const weir_ctx *ctx, void *arg)
{
	struct work *w = arg;

	return weir_chan_send(ctx, w->c, &w->depth);
}

/* Does of everything a little; the first thing that has no memory ends it with -ENOMEM. */
static int works(const weir_ctx *ctx, void *arg)
{
	uint32_t depth = *(uint32_t *)arg, got, less = depth - 1;
	struct work w = { .depth = depth };
	weir_group owners, senders;
	weir_ctx mine;
	int r, v = 7, n = 0;

	r = weir_scope_open(ctx, &mine);
	if (r < 0)
		return r;
	weir_group_init(&owners, &mine);
	weir_group_init(&senders, &mine);
	w.c = weir_chan_new(sizeof w.depth, weir_random(2));
	r = w.c ? weir_port_new(&w.p, sizeof v, sizeof v, 1) : -ENOMEM;
	if (r == 0)
		r = weir_group_go(&owners, answers, &w);
	if (r == 0)
		r = weir_port_call(&mine, w.p, &v, &v);
	for (int i = 0; r == 0 && i < 4; i++) {
		int worker = (int)weir_random((uint32_t)weir_worker_count());

		r = weir_group_go_on(&senders, worker, sends, &w);
		n += r == 0;
	}
	while (n-- > 0) {
		CHECK_EQ(weir_chan_recv(&mine, w.c, &got), 1);
		CHECK_EQ(got, depth);
	}
	if (r == 0 && depth > 1)
		r = weir_group_go(&senders, works, &less);
	CHECK_EQ(r == 0 || r == -ENOMEM, 1);
	if (w.p)
		weir_port_close(w.p);
	v = weir_group_wait(&senders);
	CHECK(v == 0 || v == -ENOMEM);
	CHECK_EQ(weir_group_wait(&owners), 0);
	weir_port_free(w.p);
	weir_chan_free(w.c);
	weir_scope_close(mine.scope);
	return r < 0 ? r : v;
}

SIM(what_has_no_memory_says_so_and_leaves_nothing_behind, 5000)
{
	uint32_t depth = 3;
	int r;

	CHECK_EQ(works(ctx, &depth), 0);
	weir_sim_refuse_memory(1);
	CHECK_EQ(works(ctx, &depth), -ENOMEM);
	weir_sim_refuse_memory(2 + weir_random(100));
	for (int i = 0; i < 5; i++) {
		r = works(ctx, &depth);
		CHECK(r == 0 || r == -ENOMEM);
	}
	weir_sim_refuse_memory(0);
	CHECK_EQ(works(ctx, &depth), 0);
	CHECK_EQ(weir_task_count(), 1);
}

static int crashes(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	weir__sim_crash_point();
	weir_sim_crash(3);
	for (int i = 0; i < 1000; i++)
		weir__sim_crash_point();
	return 0;
}

TEST(a_crash_ends_the_process_where_it_is)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(weir_sim(1, crashes, NULL));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 86);
}

static int sleeps_ten_minutes(const weir_ctx *ctx, void *arg)
{
	weir_ctx soon;

	(void)arg;
	for (int i = 0; i < 600; i++) {
		soon = weir_ctx_timeout(ctx, WEIR_SEC(1));
		CHECK_EQ(weir_sleep(&soon, WEIR_NEVER), -ETIMEDOUT);
	}
	return 0;
}

/* In time of this thread's processor, so that it does not matter who else runs. */
static int64_t computed(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return WEIR_SEC(ts.tv_sec) + ts.tv_nsec;
}

/* Sanitizers and Valgrind make it up to 20 times slower. */
TEST(ten_minutes_of_limits_take_no_time)
{
	int64_t limit = WEIR_MS(50), from = computed();

#if defined(WEIR__ASAN) || defined(WEIR__TSAN)
	limit *= 20;
#endif
	if (RUNNING_ON_VALGRIND)
		limit *= 20;
	CHECK_EQ(weir_sim(1, sleeps_ten_minutes, NULL), 0);
	CHECK(computed() - from < limit);
}
