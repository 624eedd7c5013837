/* SPDX-License-Identifier: MIT */
/*
 * No limit ends early, whatever its worker believed the time to be: in real time, for a
 * simulation's clock is never old. How late one ends is the machine's business.
 */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include <weir/chan.h>
#include <weir/group.h>

#include "base/list.h"
#include "rt/poll.h"
#include "test.h"

/* One that would never end is another kind of wrong. */
enum { LATEST_S = 60 };

/* Derived now, a limit lasts as long as it says. */
static void lasts(const weir_ctx *ctx, int64_t ns)
{
	int64_t from = weir_now(), took;
	weir_ctx soon = weir_ctx_timeout(ctx, ns);

	CHECK_EQ(weir_sleep(&soon, WEIR_NEVER), -ETIMEDOUT);
	took = weir_now() - from;
	CHECK(took >= ns);
	CHECK(took < WEIR_SEC(LATEST_S));
}

static int64_t computed(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return WEIR_SEC(ts.tv_sec) + ts.tv_nsec;
}

TASK(a_limit_of_a_second_lasts_one_after_computing_for_half_of_one)
{
	int64_t from;

	lasts(ctx, WEIR_MS(1)); /* Now its worker has looked at the clock. */
	from = computed();
	while (computed() - from < WEIR_MS(500))
		;
	lasts(ctx, WEIR_SEC(1));
}

/* Three ways out of a long sleep of the worker, which has nothing else to do. */
struct sleeper {
	weir_chan *chan;
	int pipe[2];
	struct weir__fd f; /* its end to read */
	bool closed;
};

static int is_woken_by_a_message(const weir_ctx *ctx, void *arg)
{
	struct sleeper *s = arg;
	int v;

	CHECK_EQ(weir_chan_recv(ctx, s->chan, &v), 1);
	lasts(ctx, WEIR_MS(200));
	return 0;
}

static void closed(struct weir__fd *f)
{
	weir__container(f, struct sleeper, f)->closed = true;
}

static int is_woken_by_a_descriptor(const weir_ctx *ctx, void *arg)
{
	struct sleeper *s = arg;

	weir__fd_init(&s->f, s->pipe[0]);
	CHECK_EQ(weir__fd_wait(ctx, &s->f, WEIR__IN, "test read"), 0);
	lasts(ctx, WEIR_MS(200));
	weir__fd_close(&s->f, closed);
	while (!s->closed)
		weir_yield(ctx);
	return 0;
}

static int is_woken_by_a_timer(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(300)), 0);
	lasts(ctx, WEIR_MS(200));
	return 0;
}

static void sleeps_long(const weir_ctx *ctx, weir_task_fn *fn)
{
	struct sleeper s = { .chan = weir_chan_new(sizeof(int), 0) };
	weir_group g;
	int v = 1;

	CHECK(s.chan != NULL);
	CHECK_EQ(pipe2(s.pipe, O_NONBLOCK | O_CLOEXEC), 0);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, 1 - weir_worker(), fn, &s), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(300)), 0);
	if (fn == is_woken_by_a_message)
		CHECK_EQ(weir_chan_send(ctx, s.chan, &v), 0);
	CHECK_EQ(write(s.pipe[1], "x", 1), 1);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_chan_free(s.chan);
	if (!s.closed)
		close(s.pipe[0]);
	close(s.pipe[1]);
}

TASK(a_limit_lasts_though_a_message_ended_its_workers_long_sleep)
{
	sleeps_long(ctx, is_woken_by_a_message);
}

TASK(a_limit_lasts_though_a_descriptor_ended_its_workers_long_sleep)
{
	sleeps_long(ctx, is_woken_by_a_descriptor);
}

TASK(a_limit_lasts_though_a_timer_ended_its_workers_long_sleep)
{
	sleeps_long(ctx, is_woken_by_a_timer);
}
