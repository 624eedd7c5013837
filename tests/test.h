/* SPDX-License-Identifier: MIT */
/*
 * Tests read as sentences. Each runs in a process of its own, so a crash, a leak or a hang is one
 * failure, named.
 *
 *	TEST(list_pops_in_order) { … CHECK(x == 1); }
 *	TASK(channel_close_gives_zero) { … weir_chan_recv(ctx, c, &v) … }       in weir_run(), two workers
 *	SIM(send_races_close, 1000) { … }                                      in weir_sim(), seeds 1 … 1000
 *
 * TASK and SIM bodies get `ctx` and return when done. Counts over 1000 run a tenth without --long,
 * at most 100 with --quick, none with --no-sim (they have one thread: nothing for ThreadSanitizer).
 * PROGRAM [--long | --quick] [--no-sim] [--seed N] [NAME-PART …]; ends with "N passed, N failed".
 */
#ifndef WEIR_TEST_H
#define WEIR_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/sim.h>
#include <weir/task.h>

enum test_kind { TEST_PLAIN, TEST_TASK, TEST_SIM };

struct test {
	const char *name;
	enum test_kind kind;
	uint64_t seeds;
	void (*plain)(void);
	void (*task)(const weir_ctx *ctx);
	struct test *next;
};

void test_add(struct test *t);
_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* For tests that expect the process to abort with some texts on stderr, the last of which is NULL:
 * runs fn in a child of its own. */
void test_dies(const char *file, int line, void (*fn)(void), const char *const *texts);
/* A constructor may set this to beginnings of names, ended by NULL: tests whose names begin so run
 * one after the other, beside those of the other lanes. For tests that mostly wait. */
extern const char *const *test_lanes;
/* Is this a --long run? Shrink what takes over 30 s otherwise. */
extern bool test_long;
/* The seed of the running simulation. */
extern volatile uint64_t *test_seed;

#define CHECK(cond)                                                 \
	do {                                                        \
		if (!(cond))                                        \
			test_fail(__FILE__, __LINE__, "%s", #cond); \
	} while (0)
#define CHECK_EQ(a, b)                                                                         \
	do {                                                                                   \
		long long a_ = (long long)(a), b_ = (long long)(b);                            \
		if (a_ != b_)                                                                  \
			test_fail(__FILE__, __LINE__, "%s is %lld, not %s = %lld", #a, a_, #b, \
			          b_);                                                         \
	} while (0)
#define CHECK_STR(a, b)                                                               \
	do {                                                                          \
		const char *a_ = (a), *b_ = (b);                                      \
		if (!a_ || !b_ || strcmp(a_, b_))                                     \
			test_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #a, \
			          a_ ? a_ : "(null)", b_ ? b_ : "(null)");            \
	} while (0)
#define CHECK_DIES(fn, ...) \
	test_dies(__FILE__, __LINE__, (fn), (const char *const[]){ __VA_ARGS__, NULL })

#define TEST_REGISTER_(n, ...)                                      \
	__attribute__((constructor)) static void n##_add_(void)     \
	{                                                           \
		static struct test t = { .name = #n, __VA_ARGS__ }; \
		test_add(&t);                                       \
	}
#define TEST(n)                                           \
	static void n(void);                              \
	TEST_REGISTER_(n, .kind = TEST_PLAIN, .plain = n) \
	static void n(void)
#define TASK(n)                                         \
	static void n(const weir_ctx *ctx);             \
	TEST_REGISTER_(n, .kind = TEST_TASK, .task = n) \
	static void n(__attribute__((unused)) const weir_ctx *ctx)
#define SIM(n, count)                                                    \
	static void n(const weir_ctx *ctx);                              \
	TEST_REGISTER_(n, .kind = TEST_SIM, .seeds = (count), .task = n) \
	static void n(__attribute__((unused)) const weir_ctx *ctx)

#endif
