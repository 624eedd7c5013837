/* SPDX-License-Identifier: MIT */
#include <sys/mman.h>
#include <weir/time.h>

#include "rt/stack.h"
#include "test.h"

enum { MANY = 6000 };

static void *stacks[MANY];

static size_t resident_pages(void)
{
	size_t total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%zu %zu", &total, &resident) == 2);
	fclose(f);
	return resident;
}

static void use(void *stack)
{
	memset((char *)stack + WEIR__STACK_SIZE - 256, 1, 256);
}

TEST(stacks_free_for_long_give_their_memory_back_and_work_again)
{
	size_t before, with, after;

	for (int i = 0; i < MANY; i++) {
		stacks[i] = weir__stack_get(NULL);
		CHECK(stacks[i] != NULL);
	}
	before = resident_pages();
	for (int i = 0; i < MANY; i++)
		use(stacks[i]);
	with = resident_pages();
	CHECK(with - before > MANY / 2);
	for (int i = 0; i < MANY; i++)
		weir__stack_put(NULL, stacks[i], (char *)stacks[i] + WEIR__STACK_SIZE - 256);
	/* Not yet: they were free for a moment only. */
	CHECK(weir__stacks_trim(weir_now()) != WEIR_NEVER);
	CHECK(resident_pages() + 100 > with);
	/* Some are kept for those who come next, at least 4096. */
	CHECK(weir__stacks_trim(weir_now() + WEIR_SEC(60)) == WEIR_NEVER);
	after = resident_pages();
	CHECK(with - after > (MANY - 4096) / 2);
	for (int i = 0; i < MANY; i++) {
		stacks[i] = weir__stack_get(NULL);
		use(stacks[i]);
		/* Guards survive. */
		CHECK(weir__stack_of_guard((char *)stacks[i] - 1) == stacks[i]);
		CHECK(weir__stack_of_guard(stacks[i]) == NULL);
	}
	for (int i = 1; i < MANY; i++)
		CHECK(stacks[i] != stacks[i - 1]);
	for (int i = 0; i < MANY; i++)
		weir__stack_put(NULL, stacks[i], stacks[i]);
}

TEST(a_stack_that_went_deep_gives_back_all_but_its_top)
{
	char *stack = weir__stack_get(NULL);
	unsigned char in[WEIR__STACK_SIZE / 4096];
	size_t pages = 0;

	CHECK(stack != NULL);
	memset(stack, 1, WEIR__STACK_SIZE);
	weir__stack_put(NULL, stack, stack);
	CHECK(mincore(stack, WEIR__STACK_SIZE, in) == 0);
	for (size_t i = 0; i < sizeof in; i++)
		pages += in[i] & 1;
	CHECK(pages <= 4);
}

static void write_below(void)
{
	volatile char *stack = weir__stack_get(NULL);

	stack[-1] = 1;
}

TEST(below_a_stack_is_a_guard)
{
	CHECK_DIES(write_below, "");
}
