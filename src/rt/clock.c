/* SPDX-License-Identifier: MIT */
/*
 * The one clock. In a simulation it is virtual (sim.c).
 *
 * Asking the kernel costs 25 ns, too much for every timeout. So a worker keeps the time of its
 * last look together with the processor's counter, and takes it for the time now while the
 * counter says that it is less than a millisecond old; who derives a deadline adds that
 * millisecond, and so is never early. (CLOCK_MONOTONIC_COARSE was tried: on a busy virtual
 * machine it lags by more than its resolution.)
 */
#include <time.h>
#include <weir/time.h>

#include "rt/sim.h"
#include "rt/task.h"
#include "rt/wall.h"

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int64_t weir_now(void)
{
	return weir__simulating ? weir__sim_now() : read_clock(CLOCK_MONOTONIC);
}

int64_t weir_wall(void)
{
	/* 2026-01-01T00:00:00Z */
	return weir__simulating ? 1767225600LL * 1000000000 + weir__wall_shift() + weir__sim_now() :
	                          read_clock(CLOCK_REALTIME);
}

/* The processor's counter, and how many of its ticks are at most a millisecond. */
uint64_t weir__cycles(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	uint64_t v;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#endif
}

uint64_t weir__cycles_per_ms(void)
{
#if defined(__x86_64__)
	return 1000000; /* No processor that runs this counts slower than 1 GHz. */
#else
	uint64_t hz;
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz / 1000;
#endif
}

int64_t weir__clock_refresh(struct weir__worker *w)
{
	w->now_cycles = weir__cycles();
	w->now_ns = weir_now();
	return w->now_ns;
}

int64_t weir__now_coarse(void)
{
	struct weir__worker *w = weir__self();

	if (!w || weir__simulating)
		return weir_now();
	if (weir__cycles() - w->now_cycles < weir__cycles_per_ms())
		return w->now_ns;
	return weir__clock_refresh(w);
}

int64_t weir__clock_resolution(void)
{
	return weir__simulating ? 0 : 1000000;
}
