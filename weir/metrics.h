/* SPDX-License-Identifier: MIT */
/* Counts of all queues together, and /metrics in Prometheus' text format 0.0.4. */
#ifndef WEIR_PROGRAM_METRICS_H
#define WEIR_PROGRAM_METRICS_H

#include "handlers.h"

struct metrics_jobs {
	size_t queues, queued, delayed, running, done, dead, cancelled, bytes;
	uint64_t put, taken, acked, failed, died, refused, expired;
};
void metrics_jobs_sum(struct app *app, struct metrics_jobs *ret);

void metrics_render(struct weir__buf *b, struct app *app);

#endif
