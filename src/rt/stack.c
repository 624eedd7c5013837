/* SPDX-License-Identifier: MIT */
/*
 * Slabs of address space, NORESERVE and without huge pages, so that an unused stack costs
 * nothing. A stack's guard is installed when it is first carved and survives recycling.
 * MADV_GUARD_INSTALL (Linux 6.13) makes no mapping of its own, so a million guarded stacks need
 * as many mappings as there are slabs; it is probed by calling it. Else mprotect, which splits a
 * mapping per stack and fails near 32,000 of them (vm.max_map_count): then spawn fails and says
 * so.
 *
 * The guard is 36 KiB or more because libraries of Debian have unprobed frames of up to 33 KB
 * that would jump over a single page.
 *
 * Lock: `lock` guards the slabs and the shared free list. Slabs are never unmapped; the fault
 * handler reads their table without the lock, so it only grows.
 */
#include "rt/stack.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef WEIR__ASAN
#include <sanitizer/asan_interface.h>
#endif

#include "base/log.h"
#include "rt/lock.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
	SLAB = 64 << 20,
	GUARD_MIN = 36 * 1024,
	SLABS_MAX = 1 << 15,
	CACHE_MAX = 256,
	SHARED_KEEP = 16384,
	KEEP = 16 * 1024
};

static weir__lock lock;
static void *shared; /* free stacks given back by the caches */
static uint32_t shared_count;
static char *slabs[SLABS_MAX];
static uint32_t slab_count;
static size_t carved = SLAB; /* bytes of the last slab in use */
static bool guard_by_mprotect;

static size_t guard_size(void)
{
	static size_t cached;

	if (!cached) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		cached = (GUARD_MIN + page - 1) / page * page;
	}
	return cached;
}

static void **link_of(void *stack)
{
	return (void **)((char *)stack + WEIR__STACK_SIZE) - 1;
}

static bool install_guard(char *at, size_t size)
{
	static struct weir__log_limit limit;

	if (!guard_by_mprotect) {
		if (madvise(at, size, MADV_GUARD_INSTALL) == 0)
			return true;
		guard_by_mprotect = true;
	}
	if (mprotect(at, size, PROT_NONE) == 0)
		return true;
	if (weir__log_allow(&limit))
		weir__log(WEIR__ERROR, "rt",
		          "no mapping left for another stack's guard: raise vm.max_map_count");
	return false;
}

/* Under the lock. */
static void *carve(void)
{
	size_t stride = guard_size() + WEIR__STACK_SIZE;
	char *at;

	if (carved + stride > SLAB) {
		if (slab_count == SLABS_MAX)
			return NULL;
		at = mmap(NULL, SLAB, PROT_READ | PROT_WRITE,
		          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at == MAP_FAILED) {
			weir__log_rare(WEIR__ERROR, "rt",
			               "no address space or mapping left for stacks (see "
			               "vm.max_map_count)");
			return NULL;
		}
		madvise(at, SLAB, MADV_NOHUGEPAGE);
		slabs[slab_count] = at;
		__atomic_store_n(&slab_count, slab_count + 1, __ATOMIC_RELEASE);
		carved = 0;
	}
	at = slabs[slab_count - 1] + carved;
	if (!install_guard(at, guard_size()))
		return NULL;
	carved += stride;
	return at + guard_size();
}

void *weir__stack_get(struct weir__stack_cache *cache)
{
	void *stack;

	if (cache && cache->first) {
		stack = cache->first;
		cache->first = *link_of(stack);
		cache->count--;
		return stack;
	}
	weir__lock_acquire(&lock);
	stack = shared;
	if (stack) {
		shared = *link_of(stack);
		shared_count--;
	} else
		stack = carve();
	weir__lock_release(&lock);
	return stack;
}

void weir__stack_put(struct weir__stack_cache *cache, void *stack, void *deepest)
{
	char *top = (char *)stack + WEIR__STACK_SIZE;
	bool full;

#ifdef WEIR__ASAN
	__asan_unpoison_memory_region(stack, WEIR__STACK_SIZE);
#endif
	if ((char *)deepest < top - KEEP)
		madvise(stack, WEIR__STACK_SIZE - KEEP, MADV_DONTNEED);
	if (cache && cache->count < CACHE_MAX) {
		*link_of(stack) = cache->first;
		cache->first = stack;
		cache->count++;
		return;
	}
	weir__lock_acquire(&lock);
	full = shared_count > SHARED_KEEP;
	weir__lock_release(&lock);
	/* Beyond what soon is used again, they keep one page each: the one with the link. */
	if (full)
		madvise(stack, WEIR__STACK_SIZE - 4096, MADV_DONTNEED);
	weir__lock_acquire(&lock);
	*link_of(stack) = shared;
	shared = stack;
	shared_count++;
	weir__lock_release(&lock);
}

void weir__stack_cache_flush(struct weir__stack_cache *cache)
{
	while (cache->first) {
		void *stack = weir__stack_get(cache);
		weir__stack_put(NULL, stack, link_of(stack));
	}
}

void *weir__stack_of_guard(const void *addr)
{
	uint32_t n = __atomic_load_n(&slab_count, __ATOMIC_ACQUIRE);
	size_t stride = guard_size() + WEIR__STACK_SIZE;

	for (uint32_t i = 0; i < n; i++) {
		size_t at = (size_t)((const char *)addr - slabs[i]);
		if ((const char *)addr >= slabs[i] && at < SLAB && at % stride < guard_size())
			return slabs[i] + at / stride * stride + guard_size();
	}
	return NULL;
}
