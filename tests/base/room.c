/* SPDX-License-Identifier: MIT */
#include "base/room.h"

#include <pthread.h>
#include <sys/mman.h>

#include "test.h"

enum { N = 4096, SIZE = 720, PAGE = 4096 };

struct backlog {
	bool ahead;
	bool from_top; /* what is freed at the heap's top is what comes next */
	long missing;  /* pieces behind which the next page was not there */
	void *v[N];
};

/* malloc() itself writes behind what it gives, so it is asked of the page after that. */
static bool next_page_is_there(const void *piece)
{
	uintptr_t at = ((uintptr_t)piece + SIZE + PAGE) & ~(uintptr_t)(PAGE - 1);
	unsigned char there = 0;

	return mincore((void *)at, PAGE, &there) == 0 && there & 1;
}

static bool takes_from_top(void)
{
	enum { BLOCK = 16 * PAGE };
	uintptr_t block = (uintptr_t)malloc(BLOCK), piece;

	free((void *)block);
	piece = (uintptr_t)malloc(SIZE);
	free((void *)piece);
	return piece - block < BLOCK;
}

/* On a thread of its own, and so on a heap of its own. */
static void *pile_up(void *arg)
{
	struct backlog *b = arg;

	b->from_top = takes_from_top();
	for (int i = 0; i < N; i++) {
		if (b->ahead)
			weir__room_ahead(SIZE);
		CHECK(b->v[i] = malloc(SIZE));
		b->missing += !next_page_is_there(b->v[i]);
		memset(b->v[i], i, SIZE);
	}
	return NULL;
}

static void run(struct backlog *b)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, pile_up, b) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

static bool can_populate(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	CHECK(p != MAP_FAILED);
	r = madvise(p, PAGE, MADV_POPULATE_WRITE);
	munmap(p, PAGE);
	return r == 0;
}

/* The heaps of sanitizers, and kernels that bring no pages ahead, are only to lose nothing by it. */
TEST(a_backlog_with_room_ahead_has_most_of_its_pages_before_it_needs_them)
{
	static struct backlog plain, ahead = { .ahead = true };

	run(&plain);
	run(&ahead);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < SIZE; k++) {
			CHECK_EQ(((unsigned char *)plain.v[i])[k], i & 255);
			CHECK_EQ(((unsigned char *)ahead.v[i])[k], i & 255);
		}
	/* Not earlier, for the second thread may get the heap of the first. */
	for (int i = 0; i < N; i++) {
		free(plain.v[i]);
		free(ahead.v[i]);
	}
	if (can_populate() && plain.from_top && ahead.from_top)
		CHECK(ahead.missing < N / 4 && ahead.missing < plain.missing);
}
