/* SPDX-License-Identifier: MIT */
/*
 * How deep the stacks of the tasks started at each place went, for who wonders whether 64 KiB are
 * enough. Two sources: the stack pointer at every switch, which costs nothing and misses what lies
 * between two; and samples, a few of the first tasks and one in thousands later, which start on a
 * stack of zeroes that is searched for what was written at their end.
 *
 * Entries are taken by a CAS on `place` and never given back; a place beyond the table's end is not
 * counted. Depths only grow.
 */
#include "rt/census.h"

#include <stdio.h>
#include <sys/mman.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#include "base/buf.h"
#include "rt/fiber.h"
#include "rt/task.h"

enum { SITES = 256, PAGE_MIN = 4096 };

static struct site {
	const char *place; /* atomic; NULL: free */
	const char *name;  /* atomic; of the function that was started */
	uint32_t deepest;  /* atomic; in bytes */
} sites[SITES];

bool weir__census_clean(void *stack)
{
	if (RUNNING_ON_VALGRIND)
		return false; /* To it the search would look like an error. */
	return madvise(stack, WEIR__STACK_SIZE, MADV_DONTNEED) == 0;
}

/* The lowest byte that is not zero. */
__attribute__((no_sanitize("address"))) static const char *lowest_written(const char *stack)
{
	unsigned char there[WEIR__STACK_SIZE / PAGE_MIN];
	size_t page = weir__page_size();

	if (mincore((void *)stack, WEIR__STACK_SIZE, there) < 0)
		return stack + WEIR__STACK_SIZE;
	for (size_t at = 0; at < WEIR__STACK_SIZE; at += page) {
		const uint64_t *word = (const uint64_t *)(stack + at);

		if (!(there[at / page] & 1))
			continue;
		for (size_t i = 0; i < page / sizeof *word; i++)
			if (word[i])
				return (const char *)&word[i];
	}
	return stack + WEIR__STACK_SIZE;
}

static struct site *site_of(const char *place)
{
	size_t at = ((uintptr_t)place * 0x9e3779b97f4a7c15u) >> 56;

	for (size_t i = 0; i < SITES; i++) {
		struct site *s = &sites[(at + i) % SITES];
		const char *is = __atomic_load_n(&s->place, __ATOMIC_RELAXED);

		if (!is && __atomic_compare_exchange_n(&s->place, &is, place, false,
		                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return s;
		if (is == place)
			return s;
	}
	return NULL;
}

void weir__census_note(const weir__task *t)
{
	const char *bottom = weir__stack_bottom(t), *low = t->lowest;
	struct site *s = site_of(t->place);
	uint32_t deepest, depth;

	if (!s)
		return;
	if (t->sampled) {
		const char *written = lowest_written(bottom);
		low = written < low ? written : low;
	}
	depth = (uint32_t)(bottom + WEIR__STACK_SIZE - low);
	deepest = __atomic_load_n(&s->deepest, __ATOMIC_RELAXED);
	while (depth > deepest)
		if (__atomic_compare_exchange_n(&s->deepest, &deepest, depth, true,
		                                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
	if (!__atomic_load_n(&s->name, __ATOMIC_RELAXED))
		__atomic_store_n(&s->name, t->given, __ATOMIC_RELEASE);
}

void weir__census_print(struct weir__buf *out)
{
	bool any = false;

	for (size_t i = 0; i < SITES; i++) {
		const char *name = __atomic_load_n(&sites[i].name, __ATOMIC_ACQUIRE);
		uint32_t deepest = __atomic_load_n(&sites[i].deepest, __ATOMIC_RELAXED);

		if (!name)
			continue;
		if (!any)
			weir__buf_printf(out, "weir: deepest stacks seen, of %d KiB\n",
			                 WEIR__STACK_SIZE / 1024);
		any = true;
		weir__buf_printf(out, "  %.1f KiB %s (%s)\n", deepest / 1024.0, name,
		                 sites[i].place);
	}
}
