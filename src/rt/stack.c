/* SPDX-License-Identifier: MIT */
/*
 * Slabs of address space, NORESERVE and without huge pages, so that an unused stack costs
 * nothing. A stack's guard is installed when it is first carved and survives recycling.
 * MADV_GUARD_INSTALL (Linux 6.13) makes no mapping of its own, so a million guarded stacks need
 * as many mappings as there are slabs; it is probed by calling it. Else mprotect, which splits a
 * mapping per stack and fails near 32,000 of them (vm.max_map_count): then spawn fails and says
 * so. Beyond the first few stacks of a program several are made ready at once, their guards and the
 * pages of their tops by one system call each: so the kernel takes a quarter less time for each.
 * And without the lock: two threads that make stacks ready, each in a slab of its own, are nearly
 * twice as fast as one. So for each run of them a worker that is out of work makes another.
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
 * Lock: `lock` guards the slabs and what is written at their beginnings. Who makes stacks of a slab
 * ready, or gives back its pages, takes it out of its lists meanwhile. Slabs are never
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
	MOVE = 128,       /* between a cache and the slabs at a time */
	FREE_KEEP = 4096, /* free stacks whose pages stay */
	ALONE = 64,       /* the first stacks, made ready one at a time; later … */
	TOGETHER = 8,     /* … so many */
	AHEAD = 8,        /* runs of as many that idle workers may make before they are wanted */
	UNIT = WEIR__STACK_UNIT, /* a slab has fewer than 2^16 */
};
#define TRIM_NS WEIR_SEC(5)

struct slab {
	struct weir__list link; /* in free_slabs; unlinked: nothing is free */
	struct weir__list open; /* in open_slabs; unlinked: it is full, or somebody is at it */
	uint32_t first, stride; /* where the first stack begins, and how far it is to the next */
	uint32_t carved;        /* stacks that were made ready */
	uint32_t free_count;
	bool kept;          /* free stacks have pages */
	int64_t free_since; /* all of them */
	uint16_t free[];    /* where the free ones begin, in units; the last is taken first */
};

static weir__lock lock;
/* Those with free stacks: taken from the front, put back at the front when the first of their
 * stacks becomes free. */
static struct weir__list free_slabs = { &free_slabs, &free_slabs };
/* Those of which more stacks can be made. */
static struct weir__list open_slabs = { &open_slabs, &open_slabs };
static uint32_t wanted;     /* atomic: runs of stacks that idle workers should make */
static uint32_t free_count; /* in all slabs */
static uint32_t idle_slabs; /* kept, and all their stacks are free */
static char *slabs[SLABS_MAX];
static uint32_t slab_count;
/* Atomic, relaxed: what the kernel was seen not to do. */
static bool guard_by_mprotect, one_by_one;
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
	static bool seen; /* atomic, relaxed */

	if (!__atomic_load_n(&guard_by_mprotect, __ATOMIC_RELAXED)) {
		if (madvise(at, size, MADV_GUARD_INSTALL) == 0 &&
		    (__atomic_load_n(&seen, __ATOMIC_RELAXED) || !is_writable(at))) {
			__atomic_store_n(&seen, true, __ATOMIC_RELAXED);
			return true;
		}
		__atomic_store_n(&guard_by_mprotect, true, __ATOMIC_RELAXED);
	}
	if (mprotect(at, size, PROT_NONE) == 0)
		return true;
	if (weir__log_allow(&limit))
		weir__log(WEIR__ERROR, "rt",
		          "no mapping left for another stack's guard: raise vm.max_map_count");
	return false;
}

/* Guards of `n` stacks from `at` on, by one call: how many are in place. The pages of their tops
 * come with them, since they are wanted soon. */
static uint32_t install_together(char *at, uint32_t n)
{
	struct iovec guards[TOGETHER], tops[TOGETHER];
	size_t page = weir__page_size();
	ssize_t done;

	for (uint32_t i = 0; i < n; i++, at += stride()) {
		guards[i] = (struct iovec){ at - guard_size(), guard_size() };
		tops[i] = (struct iovec){ at + WEIR__STACK_SIZE - page, page };
	}
	done = syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, guards, (size_t)n,
	               MADV_GUARD_INSTALL, 0);
	if (done <= 0) {
		__atomic_store_n(&one_by_one, true, __ATOMIC_RELAXED);
		return 0;
	}
	n = (uint32_t)((size_t)done / guard_size());
	/* If it fails, they come at the first touch. */
	(void)syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, tops, (size_t)n, MADV_POPULATE_WRITE,
	              0);
	return n;
}

static uint32_t install_guards(char *at, uint32_t n)
{
	uint32_t done = n > 1 ? install_together(at, n) : 0;

	while (done < n && install_guard(at + done * stride() - guard_size(), guard_size()))
		done++;
	return done;
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

/* Under the lock: an open slab, taken out of the list. */
static struct slab *open_slab(void)
{
	struct slab *s;

	if (!weir__list_empty(&open_slabs))
		return weir__container(weir__list_pop(&open_slabs), struct slab, open);
	s = slab_count < SLABS_MAX ? (struct slab *)map_slab() : NULL;
	if (!s) {
		weir__log_rare(WEIR__ERROR, "rt",
		               "no address space or mapping left for stacks (see "
		               "vm.max_map_count)");
		return NULL;
	}
	if (RUNNING_ON_VALGRIND)
		weir__stack_watched = true;
	s->first = (uint32_t)(head() + guard_size());
	s->stride = (uint32_t)stride();
	slabs[slab_count] = (char *)s;
	__atomic_store_n(&slab_count, slab_count + 1, __ATOMIC_RELEASE);
	return s;
}

/* Of this slab's next stacks, how many are to be made ready at a time? */
static uint32_t run_of(const struct slab *s)
{
	uint32_t left = per_slab() - s->carved;

	if ((s == (struct slab *)slabs[0] && s->carved < ALONE) || RUNNING_ON_VALGRIND ||
	    __atomic_load_n(&guard_by_mprotect, __ATOMIC_RELAXED) ||
	    __atomic_load_n(&one_by_one, __ATOMIC_RELAXED))
		return 1;
	return left < TOGETHER ? left : TOGETHER;
}

/* Under the lock: the next `n` stacks of a slab are ready, and free. */
static void add_free(struct slab *s, uint32_t n)
{
	if (s->kept && s->free_count == s->carved)
		idle_slabs--;
	if (!s->free_count && n)
		weir__list_prepend(&free_slabs, &s->link);
	for (uint32_t i = 0; i < n; i++)
		s->free[s->free_count++] =
			(uint16_t)((size_t)(numbered(s, s->carved + i) - (char *)s) / UNIT);
	s->carved += n;
	free_count += n;
	s->kept = s->carved > 0;
	if (s->kept && s->free_count == s->carved) {
		s->free_since = weir__now_coarse();
		idle_slabs++;
	}
}

/* Under the lock, which is left meanwhile: how many stacks more are free. */
static uint32_t make_stacks(void)
{
	struct slab *s = open_slab();
	uint32_t n;
	char *at;

	if (!s)
		return 0;
	at = numbered(s, s->carved);
	n = run_of(s);
	/* In a simulation that would be a point where others may run, and which stacks are made
	 * ready depends on earlier runs. */
	if (!weir__simulating)
		weir__lock_release(&lock);
	n = install_guards(at, n);
	for (uint32_t i = 0; i < n; i++, at += stride())
		(void)VALGRIND_STACK_REGISTER(at, at + WEIR__STACK_SIZE); /* Never unmapped. */
	if (!weir__simulating)
		weir__lock_acquire(&lock);
	add_free(s, n);
	if (s->carved < per_slab())
		weir__list_prepend(&open_slabs, &s->open);
	return n;
}

/* Under the lock, which may be left meanwhile: is there a free one? */
static bool some_free(void)
{
	uint32_t n;

	while (weir__list_empty(&free_slabs)) {
		n = make_stacks();
		if (n == TOGETHER && wanted < AHEAD)
			__atomic_store_n(&wanted, wanted + 1, __ATOMIC_RELAXED);
		if (!n)
			return !weir__list_empty(&free_slabs);
	}
	return true;
}

bool weir__stacks_ahead(void)
{
	uint32_t n = 0;

	if (!__atomic_load_n(&wanted, __ATOMIC_RELAXED))
		return false;
	weir__lock_acquire(&lock);
	if (wanted) {
		__atomic_store_n(&wanted, wanted - 1, __ATOMIC_RELAXED);
		n = make_stacks();
	}
	weir__lock_release(&lock);
	return n > 0;
}

/* Under the lock; some are free. */
static char *take(void)
{
	struct slab *s = weir__container(free_slabs.next, struct slab, link);

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

	weir__lock_acquire(&lock);
	if (some_free())
		do
			cache->free[cache->count++] = take();
		while (cache->count < most && !weir__list_empty(&free_slabs));
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
		top = some_free() ? take() : NULL;
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

/* Under the lock: a slab whose pages may go, out of the lists so that nobody is at it meanwhile. */
static struct slab *find_idle(int64_t now_ns)
{
	weir__list_each (node, &free_slabs) {
		struct slab *s = weir__container(node, struct slab, link);

		if (!s->kept || s->free_count < s->carved || now_ns - s->free_since < TRIM_NS)
			continue;
		if (weir__list_linked(&s->open))
			weir__list_remove(&s->open);
		else if (s->carved < per_slab())
			continue; /* Somebody makes more of it. */
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
		size = s ? s->carved * stride() : 0;
		weir__lock_release(&lock);
		if (!s)
			return more ? now_ns + TRIM_NS : WEIR_NEVER;
		/* Without the lock, for it takes a while. The guards stay. */
		madvise((char *)s + head(), size, MADV_DONTNEED);
		weir__lock_acquire(&lock);
		s->kept = false;
		free_count += s->free_count;
		weir__list_append(&free_slabs, &s->link);
		if (s->carved < per_slab())
			weir__list_append(&open_slabs, &s->open);
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
