/* SPDX-License-Identifier: MIT */
/* How long a failed job waits: the base, doubled per failure up to a maximum, ± 20 % so that what
 * failed together does not come back together. */
#include <weir/sim.h>

#include "queue/inner.h"

int64_t weir__retry_backoff(const weir_queue_settings *set, unsigned attempt)
{
	int64_t ns = set->backoff_ns < set->backoff_max_ns ? set->backoff_ns : set->backoff_max_ns;

	for (unsigned i = 1; i < attempt && ns < set->backoff_max_ns; i++)
		ns = ns > set->backoff_max_ns / 2 ? set->backoff_max_ns : ns * 2;
	return ns / 10 * 8 + (int64_t)((double)ns * 0.4 * (double)weir_random(1 << 20) / (1 << 20));
}
