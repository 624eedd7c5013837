/* SPDX-License-Identifier: MIT */
/*
 * A block that is made and freed at once leaves its room at the heap's top, where the next
 * allocations are taken from. STEP is below what the C library would map apart (128 KiB) and what
 * it would give back from the top (as much); MARGIN of it counts as used up by what it keeps itself.
 */
#include "base/room.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define OTHER_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OTHER_HEAP 1
#endif
#endif

void weir__room_ahead(size_t n)
{
#ifndef OTHER_HEAP
	enum { STEP = 96 * 1024, MARGIN = 8 * 1024, PAGE = 4096 };
	static __thread size_t since;
	char *block, *page;

	since += n;
	if (since < STEP - MARGIN)
		return;
	since = 0;
	block = (malloc)(STEP);
	if (!block)
		return;
	/* Older kernels do not know this, and with larger pages it is refused: then they come one
	 * by one. */
	page = (char *)(((uintptr_t)block + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
	(void)madvise(page, STEP - PAGE, MADV_POPULATE_WRITE);
	free(block);
#else
	(void)n;
#endif
}
