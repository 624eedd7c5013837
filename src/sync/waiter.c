/* SPDX-License-Identifier: MIT */
/*
 * Waking all who wait for one thing, of whom there may be a million: each lies on a stack of its
 * own that is in no cache, so each is to be touched once by who wakes it and once by the worker it
 * runs on, and that one should know early who comes later.
 *
 * Those of another worker go to it in runs, each one message. Once claimed a node's link is of no
 * more use to its waiter: the first node's is the message; a later one's `prev` is the node that
 * comes WEIR__CROWD_AHEAD places after it. The order is kept by the waits' `next`, which leads from
 * node to node.
 */
#include "sync/waiter.h"

enum { RUN_MAX = 256 }; /* or the other worker would stand idle for too long */
_Static_assert(sizeof(struct weir__msg) == sizeof(struct weir__list), "a message fits in a link");

struct run {
	struct weir__waiter *last, *recent[WEIR__CROWD_AHEAD];
	unsigned count;
};

static struct weir__waiter *after(const struct weir__waiter *n)
{
	return (struct weir__waiter *)(void *)n->wait->next;
}

static struct weir__waiter *ahead(const struct weir__waiter *n)
{
	return (struct weir__waiter *)(void *)n->link.prev;
}

static void run_add(struct run *r, struct weir__waiter *n, bool early, struct weir__list *won)
{
	struct weir__waiter **place;

	if (early && r->count == RUN_MAX)
		weir__waiter_wake_all(won);
	if (!r->count || r->count == RUN_MAX || r->last->wait->worker != n->wait->worker) {
		weir__list_append(won, &n->link);
		r->count = 0;
	} else {
		r->last->wait->next = (struct weir__msg *)(void *)n;
		n->link.prev = NULL;
	}
	place = &r->recent[r->count % WEIR__CROWD_AHEAD];
	if (r->count > WEIR__CROWD_AHEAD)
		(*place)->link.prev = (struct weir__list *)(void *)n;
	*place = r->last = n;
	n->wait->next = NULL;
	r->count++;
}

void weir__waiter_claim_all(struct weir__list *queue, int add, bool early, struct weir__list *won)
{
	struct weir__worker *self = weir__self();
	struct weir__crowd crowd = { .count = 0 };
	struct weir__waiter *n;
	struct run run = { .count = 0 };

	while ((n = weir__waiter_claim(queue, add))) {
		if (weir__likely(self && n->wait->worker == self->index))
			weir__ready_in_crowd(self, n->wait->task, &crowd);
		else
			run_add(&run, n, early, won);
	}
}

/* A node whose line has come: have that of its task fetched, and that of a node that comes
 * later. */
static void expect(const struct weir__waiter *n)
{
	if (!n)
		return;
	__builtin_prefetch(&n->wait->task->next, 1);
	__builtin_prefetch(ahead(n), 1);
}

/* On the worker of a run's waiters. */
static void arrived(struct weir__msg *m)
{
	struct weir__waiter *first =
		weir__container((struct weir__list *)(void *)m, struct weir__waiter, link);
	struct weir__worker *self = weir__self();
	struct weir__crowd crowd = { .count = 0 };

	first->link.next = NULL; /* It is in no queue. */
	first->link.prev = NULL;
	for (struct weir__waiter *n = first; n; n = after(n)) {
		expect(ahead(n));
		weir__ready_in_crowd(self, n->wait->task, &crowd);
	}
}

void weir__waiter_wake_all(struct weir__list *won)
{
	struct weir__list *link;

	while ((link = weir__list_pop(won))) {
		struct weir__waiter *n = weir__container(link, struct weir__waiter, link);
		struct weir__msg *m = (struct weir__msg *)(void *)link;

		if (!after(n)) {
			weir__wait_wake(n->wait);
			continue;
		}
		m->fn = arrived;
		weir__post(n->wait->worker, m);
	}
}
