/* SPDX-License-Identifier: MIT */
#include <sys/mman.h>
#include <weir/time.h>

#include "rt/stack.h"
#include "test.h"

enum { MANY = 6000 };

static char *stacks[MANY]; /* tops */

static size_t resident_pages(void)
{
	size_t total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%zu %zu", &total, &resident) == 2);
	fclose(f);
	return resident;
}

static void use(char *top)
{
	memset(top - 256, 1, 256);
}

TEST(stacks_free_for_long_give_their_memory_back_and_work_again)
{
	size_t before = resident_pages(), with, after;

	for (int i = 0; i < MANY; i++) {
		stacks[i] = weir__stack_get(NULL);
		CHECK(stacks[i] != NULL);
	}
	for (int i = 0; i < MANY; i++)
		use(stacks[i]);
	with = resident_pages();
	CHECK(with - before > MANY / 2);
	for (int i = 0; i < MANY; i++)
		weir__stack_put(NULL, stacks[i], stacks[i] - 256);
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
		CHECK(weir__stack_of_guard(weir__stack_bottom(stacks[i]) - 1) ==
		      weir__stack_bottom(stacks[i]));
		CHECK(weir__stack_of_guard(weir__stack_bottom(stacks[i])) == NULL);
	}
	for (int i = 1; i < MANY; i++)
		CHECK(stacks[i] != stacks[i - 1]);
	for (int i = 0; i < MANY; i++)
		weir__stack_put(NULL, stacks[i], stacks[i]);
}

/* Of a program that makes many, when the kernel makes several ready at a time: where it does not,
 * there is nothing to make ahead. */
TEST(who_is_out_of_work_makes_a_bounded_number_of_stacks_ahead)
{
	static char *more[MANY];
	int runs = 0;

	for (int i = 0; i < MANY; i++) {
		stacks[i] = weir__stack_get(NULL);
		more[i] = weir__stack_get(NULL);
		CHECK(stacks[i] && more[i]);
	}
	while (weir__stacks_ahead())
		CHECK(++runs <= 8);
	for (int i = 0; i < MANY; i++) {
		CHECK(more[i] != stacks[i]);
		use(more[i]);
		weir__stack_put(NULL, stacks[i], stacks[i]);
		weir__stack_put(NULL, more[i], more[i]);
	}
	CHECK(!weir__stacks_ahead());
}

TEST(a_stack_that_went_deep_gives_back_all_but_its_top)
{
	char *top = weir__stack_get(NULL), *bottom = weir__stack_bottom(top);
	unsigned char in[WEIR__STACK_SIZE / 4096];
	size_t pages = 0;

	CHECK(top != NULL);
	memset(bottom, 1, WEIR__STACK_SIZE);
	weir__stack_put(NULL, top, bottom);
	CHECK(mincore(bottom, WEIR__STACK_SIZE, in) == 0);
	for (size_t i = 0; i < sizeof in; i++)
		pages += in[i] & 1;
	CHECK(pages <= 4);
}

static void write_below(void)
{
	volatile char *bottom = weir__stack_bottom(weir__stack_get(NULL));

	bottom[-1] = 1;
}

TEST(below_a_stack_is_a_guard)
{
	CHECK_DIES(write_below, "");
}
