/* SPDX-License-Identifier: MIT */
/*
 * One place a hash: a subject that comes takes the place of the one before, but only when it has
 * come twice without another in between, so that subjects used once (inboxes) push nothing out.
 * Bounded: SLOTS subjects, each with at most FOUND targets.
 *
 * The targets are not referred to: whoever leaves the index makes it forget first.
 */
#include "bus/cache.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 1 << 12, FOUND = 64 };

struct weir__cache_slot {
	uint64_t hash, epoch;
	uint64_t candidate; /* what was looked for last and was not it */
	char *subject;      /* NULL: empty; in one piece with `found` */
	struct weir__target **found;
	size_t n;
};

void weir__cache_init(struct weir__cache *c, const uint64_t seed[2])
{
	*c = (struct weir__cache){ .seed = { seed[0], ~seed[1] } };
}

void weir__cache_fini(struct weir__cache *c)
{
	for (size_t i = 0; c->slots && i < SLOTS; i++)
		free(c->slots[i].found);
	free(c->slots);
}

static struct weir__cache_slot *slot_of(struct weir__cache *c, uint64_t hash)
{
	return &c->slots[hash & (SLOTS - 1)];
}

static bool holds(const struct weir__cache *c, const struct weir__cache_slot *s,
                  const char *subject, uint64_t hash)
{
	return s->subject && s->hash == hash && s->epoch == c->epoch &&
	       !strcmp(s->subject, subject);
}

bool weir__cache_get(struct weir__cache *c, const char *subject, uint64_t *ret_hash,
                     struct weir__target ***ret, size_t *ret_n)
{
	uint64_t hash = weir__hash(c->seed, subject, strlen(subject));
	struct weir__cache_slot *s;

	*ret_hash = hash;
	if (!c->slots)
		return false;
	s = slot_of(c, hash);
	if (!holds(c, s, subject, hash))
		return false;
	*ret = s->found;
	*ret_n = s->n;
	return true;
}

static void empty(struct weir__cache_slot *s)
{
	free(s->found);
	s->found = NULL;
	s->subject = NULL;
}

void weir__cache_put(struct weir__cache *c, const char *subject, uint64_t hash,
                     struct weir__target *const *found, size_t n)
{
	size_t len = strlen(subject) + 1;
	struct weir__cache_slot *s;

	if (!c->slots)
		c->slots = calloc(SLOTS, sizeof *c->slots);
	if (!c->slots || n > FOUND)
		return;
	s = slot_of(c, hash);
	if (s->candidate != hash) {
		s->candidate = hash;
		return;
	}
	empty(s);
	s->found = malloc(n * sizeof(struct weir__target *) + len);
	if (!s->found)
		return;
	if (n)
		memcpy(s->found, found, n * sizeof(struct weir__target *));
	s->subject = memcpy(s->found + n, subject, len);
	s->n = n;
	s->hash = hash;
	s->epoch = c->epoch;
}

void weir__cache_forget(struct weir__cache *c, const char *pattern)
{
	struct weir__cache_slot *s;
	uint64_t hash;

	if (!c->slots)
		return;
	if (strpbrk(pattern, "*>")) {
		c->epoch++;
		return;
	}
	hash = weir__hash(c->seed, pattern, strlen(pattern));
	s = slot_of(c, hash);
	if (holds(c, s, pattern, hash))
		empty(s);
}
