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

/* The subscriptions of this server that dropped most, the first the worst. */
enum { SLOW_MAX = 20 };
struct slow_sub {
	char subject[WEIR_SUBJECT_MAX + 1], queue[65];
	weir_sub_stats stats;
};
struct slow_subs {
	size_t n;
	struct slow_sub sub[SLOW_MAX];
};
/* NULL without memory; to be freed. */
struct slow_subs *metrics_slow(struct app *app);

void metrics_render(struct weir__buf *b, struct app *app);

#endif
