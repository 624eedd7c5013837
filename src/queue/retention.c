/* SPDX-License-Identifier: MIT */
/*
 * Finished jobs are kept for a while, so that one can ask for results and look at what died, and
 * within bounds: by number and age per queue, and by the store's memory. Done and cancelled jobs
 * make place for new ones when memory is short; dead ones, which somebody has to look at, only
 * within their own bounds, so that a flood of good jobs does not wash them away.
 */
#include "queue/inner.h"

/* When the oldest finished job of the queue has to go; WEIR_NEVER without one. Wall. */
static int64_t next_end(const struct weir__queue *q)
{
	const struct weir__list *const lists[] = { &q->finished, &q->dead };
	int64_t at = WEIR_NEVER;

	for (int i = 0; i < 2; i++) {
		int64_t end;

		if (weir__list_empty(lists[i]))
			continue;
		end = weir__container(lists[i]->next, struct weir__record, link)->finished_at +
		      q->set.finished_ns;
		if (end < at)
			at = end;
	}
	return at;
}

static void arm(weir_store *s, struct weir__queue *q)
{
	int64_t end = next_end(q), at;

	if (end == WEIR_NEVER) {
		weir__due_stop(s, &q->retain_due);
		return;
	}
	at = weir__store_now(s) + (end - weir__store_wall(s));
	if (!weir__heap_in(&q->retain_due.node) || at < q->retain_due.at_ns)
		weir__due_arm(s, &q->retain_due, at);
}

/* A bounded number of those that are too old or too many; the others later, by the clock. */
void weir__retain_check(weir_store *s, struct weir__queue *q)
{
	struct weir__list *const lists[] = { &q->finished, &q->dead };
	int64_t now = weir__store_wall(s);
	int left = WEIR__BATCH;

	for (int i = 0; i < 2; i++) {
		size_t n = i ? q->count[WEIR_DEAD] : q->count[WEIR_DONE] + q->count[WEIR_CANCELLED];

		for (; n && left; n--, left--) {
			struct weir__record *j =
				weir__container(lists[i]->next, struct weir__record, link);

			if (n <= q->set.finished_max && j->finished_at + q->set.finished_ns > now)
				break;
			weir__job_remove(s, j);
		}
	}
	if (!left)
		weir__due_arm(s, &q->retain_due, weir__store_now(s));
	else
		arm(s, q);
}

void weir__retain_due(weir_store *s, struct weir__due *d)
{
	struct weir__queue *q = weir__container(d, struct weir__queue, retain_due);

	weir__retain_check(s, q);
	weir__queue_idle(s, q);
}

void weir__retain_add(weir_store *s, struct weir__record *j)
{
	struct weir__queue *q = j->queue;

	if (j->state == WEIR_DEAD) {
		weir__list_append(&q->dead, &j->link);
	} else {
		weir__list_append(&q->finished, &j->link);
		weir__list_append(&s->finished, &j->link_store);
	}
	weir__retain_check(s, q);
}

bool weir__retain_evict(weir_store *s, size_t more)
{
	while (s->memory + more > s->opt.memory_max && !weir__list_empty(&s->finished)) {
		struct weir__record *j =
			weir__container(s->finished.next, struct weir__record, link_store);
		struct weir__queue *q = j->queue;

		weir__job_remove(s, j);
		weir__queue_idle(s, q);
	}
	return s->memory + more <= s->opt.memory_max;
}
