/* SPDX-License-Identifier: MIT */
/*
 * Slabs of address space, NORESERVE and without huge pages, so that an unused stack costs
 * nothing. A stack's guard is installed when it is first carved and survives recycling.
 * MADV_GUARD_INSTALL (Linux 6.13) makes no mapping of its own, so a million guarded stacks need
 * as many mappings as there are slabs; it is probed by calling it. Else mprotect, which splits a
 * mapping per stack and fails near 32,000 of them (vm.max_map_count): then spawn fails and says
 * so. Beyond the first few stacks of a program several are made ready at once, their guards and the
 * pages of their tops by one system call each: so the kernel takes a quarter less time for each.
 *
 * The guard is 36 KiB or more because libraries of Debian have unprobed frames of up to 33 KB
 * that would jump over a single page.
 *
 * A slab is aligned to its size and begins with a page about itself, which names its free stacks:
 * so a stack finds its slab by its address, and a free stack need not remember anything. A stack
 * that went deep gives back all but its top at once. The tops, a page each, stay for the next
 * tasks; when all stacks of a slab have been free for TRIM_NS and others are there to take, the
 * supervisor gives back the slab's pages by one madvise(2). One call for each stack as it becomes
 * free costs as much as the rest of a task's end, and a program that had a million tasks soon
 * wants them again.
 *
 * Lock: `lock` guards the slabs and what is written at their beginnings. Slabs are never
 * unmapped; the fault handler reads their table without the lock, so it only grows.
 */
#include "rt/stack.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef WEIR__ASAN
#include <sanitizer/asan_interface.h>
#endif
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND                    0
#define VALGRIND_STACK_REGISTER(low, high)     0
#define VALGRIND_MAKE_MEM_UNDEFINED(low, size) 0
#endif

#include <weir/time.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "rt/lock.h"
#include "rt/timer.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
/* The calling process, to process_madvise(2) of Linux 6.15 and later. */
#ifndef PIDFD_SELF_PROCESS
#define PIDFD_SELF_PROCESS (-10001)
#endif

enum {
	SLAB = 64 << 20,
	GUARD_MIN = 36 * 1024,
	SLABS_MAX = 1 << 15,
	MOVE = 128,              /* between a cache and the slabs at a time */
	FREE_KEEP = 4096,        /* free stacks whose pages stay */
	ALONE = 64,              /* the first stacks, made ready one at a time; later … */
	TOGETHER = 8,            /* … so many */
	UNIT = WEIR__STACK_UNIT, /* a slab has fewer than 2^16 */
};
#define TRIM_NS WEIR_SEC(5)

struct slab {
	struct weir__list link; /* in free_slabs; unlinked: nothing is free */
	uint32_t first, stride; /* where the first stack begins, and how far it is to the next */
	uint32_t guarded;       /* ready to be carved */
	uint32_t carved, free_count;
	bool kept;          /* free stacks have pages */
	int64_t free_since; /* all of them */
	uint16_t free[];    /* where the free ones begin, in units; the last is taken first */
};

static weir__lock lock;
/* Those with free stacks: taken from the front, put back at the front when the first of their
 * stacks becomes free. */
static struct weir__list free_slabs = { &free_slabs, &free_slabs };
static uint32_t free_count; /* in all slabs */
static uint32_t idle_slabs; /* kept, and all their stacks are free */
static char *slabs[SLABS_MAX];
static uint32_t slab_count;
static bool guard_by_mprotect;
#ifdef WEIR__ASAN
bool weir__stack_watched = true;
#else
bool weir__stack_watched;
#endif

size_t weir__page_size(void)
{
	static size_t cached; /* atomic: whoever comes first finds the same */
	size_t page = __atomic_load_n(&cached, __ATOMIC_RELAXED);

	if (weir__unlikely(!page)) {
		page = (size_t)sysconf(_SC_PAGESIZE);
		__atomic_store_n(&cached, page, __ATOMIC_RELAXED);
	}
	return page;
}

static size_t guard_size(void)
{
	size_t page = weir__page_size();

	return (GUARD_MIN + page - 1) / page * page;
}

/* A page at a slab's beginning for what is known of it. */
static size_t head(void)
{
	return weir__page_size();
}

static size_t stride(void)
{
	return guard_size() + WEIR__STACK_SIZE;
}

static uint32_t per_slab(void)
{
	return (uint32_t)((SLAB - head()) / stride());
}

static struct slab *slab_of(const void *stack)
{
	return (struct slab *)((uintptr_t)stack & ~((uintptr_t)SLAB - 1));
}

static char *numbered(struct slab *s, uint32_t number)
{
	return (char *)s + s->first + (size_t)number * s->stride;
}

static char *top_of(const char *bottom)
{
	return (char *)bottom + WEIR__STACK_SIZE -
	       (uintptr_t)bottom / UNIT % WEIR__STACK_COLORS * WEIR__CACHE_LINE;
}

/* Asked of the kernel, which fails where the program would fault. */
static bool is_writable(char *at)
{
	return syscall(SYS_getrandom, at, 1, 0) == 1;
}

/* The first one is tried: an emulator says yes to advice that it does not know. */
static bool install_guard(char *at, size_t size)
{
	static struct weir__log_limit limit;
	static bool seen;

	if (!guard_by_mprotect) {
		if (madvise(at, size, MADV_GUARD_INSTALL) == 0 && (seen || !is_writable(at)))
			return seen = true;
		guard_by_mprotect = true;
	}
	if (mprotect(at, size, PROT_NONE) == 0)
		return true;
	if (weir__log_allow(&limit))
		weir__log(WEIR__ERROR, "rt",
		          "no mapping left for another stack's guard: raise vm.max_map_count");
	return false;
}

/* Guards of the next `n` stacks from `at` on, by one call: how many are in place. The pages of their
 * tops come with them, since they are wanted soon. */
static uint32_t install_guards(char *at, uint32_t n)
{
	static bool refused;
	struct iovec guards[TOGETHER], tops[TOGETHER];
	size_t page = weir__page_size();
	ssize_t done;

	if (guard_by_mprotect || refused || RUNNING_ON_VALGRIND)
		return 0;
	for (uint32_t i = 0; i < n; i++, at += stride()) {
		guards[i] = (struct iovec){ at - guard_size(), guard_size() };
		tops[i] = (struct iovec){ at + WEIR__STACK_SIZE - page, page };
	}
	done = syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, guards, (size_t)n,
	               MADV_GUARD_INSTALL, 0);
	if (done <= 0) {
		refused = true;
		return 0;
	}
	n = (uint32_t)((size_t)done / guard_size());
	/* If it fails, they come at the first touch. */
	(void)syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, tops, (size_t)n, MADV_POPULATE_WRITE,
	              0);
	return n;
}

/* Under the lock: at least one more stack of this slab has its guard. */
static bool make_ready(struct slab *s)
{
	char *at = numbered(s, s->guarded);
	uint32_t n = per_slab() - s->guarded;

	if (s != (struct slab *)slabs[0] || s->guarded >= ALONE)
		s->guarded += install_guards(at, n < TOGETHER ? n : TOGETHER);
	if (s->carved < s->guarded)
		return true;
	if (!install_guard(at - guard_size(), guard_size()))
		return false;
	s->guarded++;
	return true;
}

/* Address space, aligned to its own size. */
static char *map_slab(void)
{
	char *at = mmap(NULL, 2 * (size_t)SLAB, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (at == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)at & ((uintptr_t)SLAB - 1);
	if (before)
		munmap(at, before);
	if (before != SLAB)
		munmap(at + before + SLAB, SLAB - before);
	madvise(at + before, SLAB, MADV_NOHUGEPAGE);
	return at + before;
}

/* Under the lock: the top of a stack that never was one. */
static char *carve(void)
{
	struct slab *s = slab_count ? (struct slab *)slabs[slab_count - 1] : NULL;
	char *at;

	if (!s || s->carved == per_slab()) {
		if (slab_count == SLABS_MAX)
			return NULL;
		at = map_slab();
		if (!at) {
			weir__log_rare(WEIR__ERROR, "rt",
			               "no address space or mapping left for stacks (see "
			               "vm.max_map_count)");
			return NULL;
		}
		if (RUNNING_ON_VALGRIND)
			weir__stack_watched = true;
		s = (struct slab *)at;
		s->first = (uint32_t)(head() + guard_size());
		s->stride = (uint32_t)stride();
		slabs[slab_count] = at;
		__atomic_store_n(&slab_count, slab_count + 1, __ATOMIC_RELEASE);
	}
	if (s->carved == s->guarded && !make_ready(s))
		return NULL;
	at = numbered(s, s->carved++);
	(void)VALGRIND_STACK_REGISTER(at, at + WEIR__STACK_SIZE); /* Never unmapped. */
	return top_of(at);
}

/* Under the lock. */
static char *take(void)
{
	struct slab *s;

	if (weir__list_empty(&free_slabs))
		return carve();
	s = weir__container(free_slabs.next, struct slab, link);
	if (s->free_count == s->carved && s->kept)
		idle_slabs--;
	if (s->free_count == 1)
		weir__list_remove(&s->link);
	s->kept = true;
	free_count--;
	return top_of((char *)s + (size_t)s->free[--s->free_count] * UNIT);
}

/* Under the lock. */
static void give(char *top)
{
	char *bottom = weir__stack_bottom(top);
	struct slab *s = slab_of(bottom);

	s->free[s->free_count++] = (uint16_t)((size_t)(bottom - (char *)s) / UNIT);
	s->kept = true;
	free_count++;
	if (s->free_count == 1)
		weir__list_prepend(&free_slabs, &s->link);
	if (s->free_count == s->carved) {
		s->free_since = weir__now_coarse();
		idle_slabs++;
	}
}

static __attribute__((noinline)) bool refill(struct weir__stack_cache *cache)
{
	/* How many are free depends on earlier runs; a simulation must not. */
	unsigned most = weir__simulating ? 1 : MOVE;
	char *top;

	weir__lock_acquire(&lock);
	/* Only what is free already: a stack that is carved costs memory. */
	do {
		top = take();
		if (!top)
			break;
		cache->free[cache->count++] = top;
	} while (cache->count < most && !weir__list_empty(&free_slabs));
	weir__lock_release(&lock);
	return cache->count > 0;
}

void weir__stack_cache_flush(struct weir__stack_cache *cache, unsigned left)
{
	weir__lock_acquire(&lock);
	while (cache->count > left)
		give(cache->free[--cache->count]);
	weir__lock_release(&lock);
}

char *weir__stack_get_slow(struct weir__stack_cache *cache)
{
	char *top;

	if (weir__refused())
		return NULL;
	if (!cache) {
		weir__lock_acquire(&lock);
		top = take();
		weir__lock_release(&lock);
		return top;
	}
	if (!cache->count && !refill(cache))
		return NULL;
	return cache->free[--cache->count];
}

void weir__stack_put_slow(struct weir__stack_cache *cache, char *top, void *deepest)
{
	char *bottom = weir__stack_bottom(top);
	size_t below = WEIR__STACK_SIZE - WEIR__STACK_KEEP;

#ifdef WEIR__ASAN
	__asan_unpoison_memory_region(bottom, WEIR__STACK_SIZE);
#endif
	/* What lay below the last stack pointer it takes for no memory. */
	(void)VALGRIND_MAKE_MEM_UNDEFINED(bottom, WEIR__STACK_SIZE);
	if ((char *)deepest < bottom + below)
		madvise(bottom, below, MADV_DONTNEED);
	if (!cache) {
		weir__lock_acquire(&lock);
		give(top);
		weir__lock_release(&lock);
		return;
	}
	if (cache->count == WEIR__STACKS_KEPT)
		weir__stack_cache_flush(cache, WEIR__STACKS_KEPT - MOVE);
	cache->free[cache->count++] = top;
}

/* Under the lock: a slab whose pages may go, out of the list so that nobody takes from it. */
static struct slab *find_idle(int64_t now_ns)
{
	weir__list_each (node, &free_slabs) {
		struct slab *s = weir__container(node, struct slab, link);

		if (!s->kept || s->free_count < s->carved || now_ns - s->free_since < TRIM_NS)
			continue;
		weir__list_remove(&s->link);
		free_count -= s->free_count;
		idle_slabs--;
		return s;
	}
	return NULL;
}

int64_t weir__stacks_trim(int64_t now_ns)
{
	struct slab *s;
	size_t size;
	bool more;

	for (;;) {
		weir__lock_acquire(&lock);
		more = idle_slabs > 0 && free_count > FREE_KEEP;
		s = more ? find_idle(now_ns) : NULL;
		size = s ? s->carved * stride() : 0; /* More may be carved meanwhile. */
		weir__lock_release(&lock);
		if (!s)
			return more ? now_ns + TRIM_NS : WEIR_NEVER;
		/* Without the lock, for it takes a while. The guards stay. */
		madvise((char *)s + head(), size, MADV_DONTNEED);
		weir__lock_acquire(&lock);
		s->kept = false;
		free_count += s->free_count;
		weir__list_append(&free_slabs, &s->link);
		weir__lock_release(&lock);
	}
}

void weir__stacks_each(void (*fn)(char *top, void *arg), void *arg)
{
	uint32_t n = __atomic_load_n(&slab_count, __ATOMIC_ACQUIRE), carved;

	for (uint32_t i = 0; i < n; i++) {
		struct slab *s = (struct slab *)slabs[i];

		weir__lock_acquire(&lock);
		carved = s->carved;
		weir__lock_release(&lock);
		for (uint32_t k = 0; k < carved; k++)
			fn(top_of(numbered(s, k)), arg);
	}
}

void *weir__stack_of_guard(const void *addr)
{
	uint32_t n = __atomic_load_n(&slab_count, __ATOMIC_ACQUIRE);
	const char *s = (const char *)slab_of(addr);
	size_t at = (size_t)((const char *)addr - s);

	for (uint32_t i = 0; i < n; i++)
		if (slabs[i] == s && at >= head() && (at - head()) % stride() < guard_size())
			return numbered((struct slab *)slabs[i],
			                (uint32_t)((at - head()) / stride()));
	return NULL;
}
