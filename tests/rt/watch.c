/* SPDX-License-Identifier: MIT */
/* What the runtime counts and notices about its workers. */
#include <unistd.h>
#include <weir/chan.h>
#include <weir/group.h>

#include "rt/fiber.h"
#include "test.h"

static int nothing(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	return 0;
}

TASK(a_worker_counts_what_it_does)
{
	weir_worker_info before, after;
	int other = 1 - weir_worker();
	weir_group g;

	CHECK_EQ(weir_worker_info_get(other, &before), 0);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(weir_group_go_on(&g, other, nothing, NULL), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(weir_worker_info_get(other, &after), 0);
	CHECK(after.switches >= before.switches + 10);
	CHECK(after.messages >= before.messages + 10);
	CHECK(after.parks >= before.parks);
	CHECK_EQ(after.hogs, 0);
	CHECK_EQ(weir_worker_info_get(2, &after), -EINVAL);
	CHECK_EQ(weir_worker_info_get(-1, &after), -EINVAL);
}

static int counts(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
	return 0;
}

TASK(tasks_behind_one_that_computes_are_taken_also_when_the_last_theft_did_not_pay)
{
	enum { ROUNDS = 9, SMALL = 400, BEHIND = 10 };
	int slow = 0;

	for (int i = 0; i < ROUNDS; i++) {
		int ran = 0;
		int64_t from;
		weir_group g;

		weir_group_init(&g, ctx);
		for (int k = 0; k < SMALL; k++)
			CHECK_EQ(weir_group_go(&g, nothing, NULL), 0);
		CHECK_EQ(weir_group_wait(&g), 0);
		weir_group_init(&g, ctx);
		for (int k = 0; k < BEHIND; k++)
			CHECK_EQ(weir_group_go(&g, counts, &ran), 0);
		from = weir_now();
		/* The last of them is its worker's. */
		while (__atomic_load_n(&ran, __ATOMIC_RELAXED) < BEHIND - 1)
			;
		slow += weir_now() - from > WEIR_MS(100);
		CHECK_EQ(weir_group_wait(&g), 0);
	}
	CHECK(slow <= ROUNDS / 2); /* The machine may be busy now and then. */
}

static int keeps_its_worker(const weir_ctx *ctx, void *arg)
{
	weir_worker_info info;

	(void)ctx;
	(void)arg;
	weir_task_name("the busy one");
	do
		CHECK_EQ(weir_worker_info_get(weir_worker(), &info), 0);
	while (info.hogs == 0); /* It is counted once it is told. */
	return 0;
}

TEST(a_task_that_keeps_its_worker_for_a_second_is_named_with_its_place)
{
	weir_options o = { .workers = 1, .signals = true };
	char said[4096];
	int out[2];
	ssize_t n;

	CHECK(pipe(out) == 0);
	dup2(out[1], STDERR_FILENO);
	/* The place is left out when its thread gets no processor for a tenth of a second. */
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(weir_run(&o, keeps_its_worker, NULL), 0);
		n = read(out[0], said, sizeof said - 1);
		said[n > 0 ? n : 0] = 0;
		CHECK(strstr(said, "task the busy one (weir_run) has kept worker 0"));
		if (strstr(said, "without waiting, in "))
			return;
	}
#ifndef WEIR__TSAN /* It delivers signals when it likes. */
	CHECK(!"the place was never told");
#endif
}

static int goes_deep(const weir_ctx *ctx, void *arg)
{
	volatile char frame[20 * 1024];

	(void)ctx;
	for (size_t i = 0; i < sizeof frame; i++)
		frame[i] = 1;
	*(char *)arg = frame[7];
	return 0;
}

/* Although it never switched while it was there. */
TASK(the_dump_tells_how_deep_the_stacks_of_each_place_went)
{
	char said[8192], *line, ignored;
	double kib = 0;
	weir_group g;
	int out[2];
	ssize_t n;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), goes_deep, &ignored), 0);
	/* A worker looks at a stack when the next task of it has ended. */
	CHECK_EQ(weir_group_go_on(&g, weir_worker(), nothing, NULL), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK(pipe(out) == 0);
	weir_dump(out[1]);
	n = read(out[0], said, sizeof said - 1);
	said[n > 0 ? n : 0] = 0;
	line = strstr(said, " KiB goes_deep (");
	CHECK(line != NULL);
	while (line > said && line[-1] != ' ')
		line--;
	CHECK(sscanf(line, "%lf", &kib) == 1);
	CHECK(kib > 20);
}
