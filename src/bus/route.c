/* SPDX-License-Identifier: MIT */
/*
 * The way of one message: whom its subject finds, and who of them gets it. Of a queue group one
 * member is drawn by lot; if it is closing or full the next is tried, and only if all are full does
 * the first one's overflow policy decide.
 */
#include "bus/bus.h"

#include <weir/sim.h>

#include <stdlib.h>
#include <string.h>

void weir__hits_init(struct weir__hits *h)
{
	h->all = h->few;
	h->n = 0;
	h->cap = sizeof h->few / sizeof h->few[0];
	h->dropped = 0;
	h->failed = false;
}

void weir__hits_add(struct weir__hits *h, struct weir__target *t)
{
	if (h->n == h->cap) {
		struct weir__target **more = malloc(2 * h->cap * sizeof(struct weir__target *));

		if (!more) {
			h->failed = true;
			return;
		}
		memcpy(more, h->all, h->n * sizeof(struct weir__target *));
		if (h->all != h->few)
			free(h->all);
		h->all = more;
		h->cap *= 2;
	}
	weir__target_ref(t);
	h->all[h->n++] = t;
}

static void collect(struct weir__trie_entry *e, void *arg)
{
	weir__hits_add(arg, weir__container(e, struct weir__target, entry));
}

void weir__broker_match(struct weir__broker *k, const char *subject, uint64_t published,
                        uint64_t bytes, struct weir__hits *h)
{
	struct weir__target **known;
	uint64_t hash;
	size_t n;

	weir__hits_init(h);
	weir__lock_acquire(&k->lock);
	k->published += published;
	k->bytes += bytes;
	if (weir__cache_get(&k->cache, subject, &hash, &known, &n)) {
		for (size_t i = 0; i < n; i++)
			weir__hits_add(h, known[i]);
	} else {
		weir__trie_match(&k->trie, subject, collect, h);
		if (!h->failed)
			weir__cache_put(&k->cache, subject, hash, h->all, h->n);
	}
	weir__lock_release(&k->lock);
}

void weir__hits_free(struct weir__hits *h)
{
	for (size_t i = 0; i < h->n; i++)
		weir__target_unref(h->all[i]);
	if (h->all != h->few)
		free(h->all);
	h->n = 0;
}

size_t weir__hits_group(struct weir__hits *h, size_t i)
{
	struct weir__target **t = h->all + i;
	size_t n = h->n - i, members = 1;

	if (!t[0]->queue)
		return 1;
	for (size_t j = 1; j < n; j++)
		if (t[j]->queue && !strcmp(t[j]->queue, t[0]->queue)) {
			struct weir__target *other = t[members];

			t[members++] = t[j];
			t[j] = other;
		}
	return members;
}

void weir__broker_count(struct weir__broker *k, uint64_t published, uint64_t bytes,
                        uint64_t delivered)
{
	weir__lock_acquire(&k->lock);
	k->published += published;
	k->bytes += bytes;
	weir__lock_release(&k->lock);
	__atomic_fetch_add(&k->delivered, delivered, __ATOMIC_RELAXED);
}

void weir__broker_drop(struct weir__broker *k, uint64_t n)
{
	__atomic_fetch_add(&k->dropped, n, __ATOMIC_RELAXED);
}

static int push(const weir_ctx *ctx, struct weir__target *t, struct weir__bus_msg *m,
                bool only_room)
{
	if (t->ops)
		return t->ops->push(t, m, only_room);
	return weir__sub_push(ctx, weir__container(t, weir_sub, target), m, only_room);
}

/* To one of them: by lot the first, then whoever has room, then as the first one's policy says. */
static int push_one_of(const weir_ctx *ctx, struct weir__target **t, size_t n,
                       struct weir__bus_msg *m)
{
	size_t first = n > 1 ? weir_random((uint32_t)n) : 0;
	int r = -EPIPE;

	for (size_t i = 0; n > 1 && i < n; i++) {
		r = push(ctx, t[(first + i) % n], m, true);
		if (r > 0)
			return r;
	}
	for (size_t i = 0; i < n; i++) {
		r = push(ctx, t[(first + i) % n], m, false);
		if (r != -EPIPE)
			return r;
	}
	return r;
}

int weir__hits_push(const weir_ctx *ctx, struct weir__hits *h, struct weir__bus_msg *m)
{
	int got = 0, failed = 0;

	for (size_t i = 0, n; i < h->n; i += n) {
		int r;

		n = weir__hits_group(h, i);
		r = push_one_of(ctx, h->all + i, n, m);
		if (r > 0)
			got++;
		h->dropped += r > 0 ? (size_t)r - 1 : r != -EPIPE;
		if (r < 0 && r != -EPIPE)
			failed = r;
	}
	return failed ? failed : got;
}
