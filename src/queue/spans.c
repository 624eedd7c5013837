/* SPDX-License-Identifier: MIT */
/*
 * Spans: which numbers the job of an id may have.
 *
 * The engine finds a job by its number, and those who ask know its id. Both rise with every job
 * that is put, so a search among the numbers finds an id. Except that a job of a queue "in memory"
 * gets its number late, when the queue is to be durable after all or the store closes, and one from
 * a spool when that is taken over: then ids begin anew, far back. So numbers are kept as spans over
 * which ids rise, each with its first and last id; only those in whose range an id lies are
 * searched, and an id that lies in none is known to be none without a look at the disk.
 *
 * Nearly always there is one. Only cold jobs are searched for: when there is no room for one more,
 * spans without such make room.
 *
 * Rejected: an index by id (it doubles what a put writes), numbers for jobs in memory too (rows
 * are cleared by the thousand, by the number of those that were there).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/inner.h"

static bool has_cold(const weir_store *s, const struct weir__span *span)
{
	for (size_t i = 0; i < s->queues_n; i++)
		if (weir__cold_within(s->queues[i], span->from, span->to))
			return true;
	return false;
}

static void prune(weir_store *s)
{
	struct weir__journal *jl = &s->journal;
	size_t n = 0;

	for (size_t i = 0; i < jl->spans_n; i++)
		/* What is being read may be in any; the last goes on. */
		if (s->coming || i == jl->spans_n - 1 || has_cold(s, &jl->spans[i]))
			jl->spans[n++] = jl->spans[i];
	jl->spans_n = n;
}

int weir__span_room(weir_store *s)
{
	struct weir__journal *jl = &s->journal;
	struct weir__span *v;
	size_t cap;

	if (jl->spans_n < jl->spans_cap)
		return 0;
	prune(s);
	if (jl->spans_n && jl->spans_n <= jl->spans_cap / 2)
		return 0;
	cap = jl->spans_cap ? jl->spans_cap * 2 : 8;
	v = realloc(jl->spans, cap * sizeof *v);
	if (!v)
		return -ENOMEM;
	weir__store_charge(s, (cap - jl->spans_cap) * sizeof *v, 0);
	jl->spans = v;
	jl->spans_cap = cap;
	return 0;
}

void weir__span_note(weir_store *s, uint64_t num, const char *id)
{
	struct weir__journal *jl = &s->journal;
	struct weir__span *last = jl->spans_n ? &jl->spans[jl->spans_n - 1] : NULL;

	if (!last || memcmp(last->last, id, WEIR__ID) > 0) {
		if (jl->keeps) /* The store closes: nobody searches any more. */
			return;
		weir__assert(jl->spans_n < jl->spans_cap, "queue: no room for a span");
		last = &jl->spans[jl->spans_n++];
		last->from = num;
		memcpy(last->first, id, sizeof last->first);
	}
	last->to = num;
	memcpy(last->last, id, sizeof last->last);
}

bool weir__span_find(const weir_store *s, const char *id, uint64_t from, struct weir__span *ret)
{
	const struct weir__journal *jl = &s->journal;

	for (size_t i = 0; i < jl->spans_n; i++) {
		const struct weir__span *span = &jl->spans[i];

		if (span->from < from || memcmp(id, span->first, WEIR__ID) < 0 ||
		    memcmp(id, span->last, WEIR__ID) > 0)
			continue;
		*ret = *span;
		return true;
	}
	return false;
}

bool weir__span_holds(const weir_store *s, uint64_t num)
{
	for (size_t i = s->journal.spans_n; i-- > 0 && s->journal.spans[i].to >= num;)
		if (s->journal.spans[i].from <= num)
			return true;
	return false;
}

void weir__span_fini(weir_store *s)
{
	struct weir__journal *jl = &s->journal;

	weir__store_charge(s, 0, jl->spans_cap * sizeof *jl->spans);
	free(jl->spans);
	jl->spans = NULL;
	jl->spans_n = jl->spans_cap = 0;
}
