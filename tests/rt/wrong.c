/* SPDX-License-Identifier: MIT */
/*
 * A wrong program ends with a sentence that names the task and the place where it was started: one
 * that overflows its stack, reads what is gone, closes twice, or leaves a task behind.
 */
#include <weir/chan.h>
#include <weir/group.h>
#include <weir/port.h>

#include "rt/stack.h"
#include "test.h"

static weir_task_fn *fn;

/* The line on which start() starts its task. */
enum { STARTED_AT = __LINE__ + 7 };

static int start(const weir_ctx *ctx, void *arg)
{
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, fn, arg), 0);
	return weir_group_wait(&g);
}

static void run_start(void)
{
	weir_run(NULL, start, NULL);
}

/* What it says, and then of whom. */
static void dies_saying(weir_task_fn *wrong, const char *sentence)
{
	char whom[256];

	snprintf(whom, sizeof whom, " the wrong one, started at %s:%d\n", __FILE__, STARTED_AT);
	fn = wrong;
	CHECK_DIES(run_start, sentence, whom);
}

/* Under the sanitizers these are theirs to tell. */
#if !defined(WEIR__ASAN) && !defined(WEIR__TSAN)
#if WEIR__STACK_SIZE == 64 * 1024
static __attribute__((noinline)) int recurse(volatile char *up, volatile int depth)
{
	volatile char page[1024];

	page[0] = up[0];
	return depth ? recurse(page, depth - 1) + page[1] : 0;
}

static int overflows(const weir_ctx *ctx, void *arg)
{
	char c = 0;

	(void)ctx;
	(void)arg;
	weir_task_name("the wrong one");
	return recurse(&c, 1 << 20);
}

TEST(a_stack_overflow_names_the_task_and_its_place)
{
	dies_saying(overflows, "stack overflow (64 KiB) in task ");
}
#endif

static int receives_from_a_freed_channel(const weir_ctx *ctx, void *arg)
{
	weir_chan *c = weir_chan_new(sizeof(int), 1);
	int v;

	(void)arg;
	weir_task_name("the wrong one");
	weir_chan_free(c);
	return weir_chan_recv(ctx, c, &v);
}

TEST(receiving_from_a_freed_channel_names_the_task_and_its_place)
{
	dies_saying(receives_from_a_freed_channel, "weir_chan_recv: not a live channel");
}

static int receives_from_a_freed_port(const weir_ctx *ctx, void *arg)
{
	weir_port *p;
	weir_call *call;
	int v;

	(void)arg;
	weir_task_name("the wrong one");
	CHECK_EQ(weir_port_new(&p, sizeof(int), sizeof(int), 1), 0);
	weir_port_free(p);
	return weir_port_recv(ctx, p, &call, &v);
}

TEST(receiving_from_a_freed_port_names_the_task_and_its_place)
{
	dies_saying(receives_from_a_freed_port, "weir_port_recv: not a live port");
}
#endif

/* The sentence tells where the channel was made, too. */
enum { MADE_AT = __LINE__ + 4 };

static int closes_twice(const weir_ctx *ctx, void *arg)
{
	weir_chan *c = weir_chan_new(sizeof(int), 1);

	(void)ctx;
	(void)arg;
	weir_task_name("the wrong one");
	weir_chan_close(c);
	weir_chan_close(c);
	return 0;
}

TEST(closing_a_channel_twice_names_the_task_and_both_places)
{
	char sentence[256];

	snprintf(sentence, sizeof sentence,
	         "weir_chan_close: the channel made at %s:%d is closed already\n", __FILE__,
	         MADE_AT);
	dies_saying(closes_twice, sentence);
}

static int joins_twice(const weir_ctx *ctx, void *arg)
{
	weir_group g;

	(void)arg;
	weir_task_name("the wrong one");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_wait(&g), 0);
	return weir_group_wait(&g);
}

TEST(joining_a_group_twice_names_the_task_and_its_place)
{
	dies_saying(joins_twice, "a group was used before its init or after its wait");
}

static int is_left_behind(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	return weir_sleep(ctx, WEIR_HOUR(1));
}

enum { LEFT_AT = __LINE__ + 9 };

static int leaves_a_task(const weir_ctx *ctx, void *arg)
{
	static weir_group g;

	(void)arg;
	weir_task_name("the wrong one");
	weir_group_init(&g, ctx);
	return weir_group_go(&g, is_left_behind, NULL);
}

TEST(a_task_that_is_leaked_is_named_with_its_place_and_so_is_who_left_it)
{
	char left[256], whom[256];

	snprintf(left, sizeof left, " is_left_behind (%s:%d) ", __FILE__, LEFT_AT);
	snprintf(whom, sizeof whom, " the wrong one, started at %s:%d\n", __FILE__, STARTED_AT);
	fn = leaves_a_task;
	CHECK_DIES(run_start, "ended with a group that was not joined", left, whom);
}
