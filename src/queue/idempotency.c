/* SPDX-License-Identifier: MIT */
/*
 * Idempotency keys: for a window of time the same key in the same queue gives the id of the job
 * that came first, whatever became of it. Windows are equally long, so the list of keys is in the
 * order in which they end. Keys may take a quarter of the store's memory; beyond, puts that bring
 * one are refused (-ENOSPC), since forgetting a key early would break the promise made with it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/inner.h"

enum { FRACTION = 4 };

static size_t size(const struct weir__idem *i)
{
	return sizeof *i + i->len;
}

struct weir__idem *weir__idem_new(const char *queue, const char *key)
{
	size_t a = strlen(queue) + 1, b = strlen(key) + 1;
	struct weir__idem *i = calloc(1, sizeof *i + a + b);

	if (!i)
		return NULL;
	i->len = a + b;
	memcpy(i->text, queue, a);
	memcpy(i->text + a, key, b);
	return i;
}

static struct weir__idem *find(weir_store *s, const char *text, size_t len)
{
	weir__hash_each (n, &s->idem, weir__hash(s->idem.seed, text, len)) {
		struct weir__idem *i = weir__container(n, struct weir__idem, node);

		if (i->len == len && !memcmp(i->text, text, len) &&
		    i->until_wall > weir__store_wall(s))
			return i;
	}
	return NULL;
}

const char *weir__idem_find(weir_store *s, const struct weir__idem *like)
{
	const struct weir__idem *i = find(s, like->text, like->len);

	return i ? i->id : NULL;
}

int weir__idem_room(weir_store *s, const struct weir__idem *i)
{
	return s->idem_bytes + size(i) <= s->opt.memory_max / FRACTION &&
	                       weir__store_room(s, size(i)) ?
	               0 :
	               -ENOSPC;
}

void weir__idem_drop(weir_store *s, struct weir__idem *i)
{
	weir__list_remove(&i->link);
	weir__hash_remove(&s->idem, &i->node);
	s->idem_bytes -= size(i);
	weir__store_charge(s, 0, size(i));
	if (i->pending)
		i->pending->fresh = NULL;
	if (i->dirty)
		s->journal.idems_n--;
	free(i);
}

static void arm(weir_store *s)
{
	struct weir__idem *i;

	if (weir__list_empty(&s->idems) || weir__heap_in(&s->idem_due.node))
		return;
	i = weir__container(s->idems.next, struct weir__idem, link);
	weir__due_arm(s, &s->idem_due, weir_now() + (i->until_wall - weir_wall()));
}

void weir__idem_add(weir_store *s, struct weir__idem *i, const char *id, int64_t until_wall)
{
	memcpy(i->id, id, sizeof i->id);
	i->until_wall = until_wall;
	weir__list_append(&s->idems, &i->link);
	weir__hash_add(&s->idem, &i->node, weir__hash(s->idem.seed, i->text, i->len));
	s->idem_bytes += size(i);
	weir__store_charge(s, size(i), 0);
	arm(s);
}

static void to_disk(weir_store *s, struct weir__idem *i)
{
	i->kept = true;
	if (i->dirty)
		return;
	i->dirty = true;
	s->journal.idems_n++;
	s->journal.news = true;
}

void weir__idem_keep(weir_store *s, const struct weir__queue *q)
{
	if (!s->journal.on || !s->journal.unwritten)
		return;
	weir__list_each (n, &s->idems) {
		struct weir__idem *i = weir__container(n, struct weir__idem, link);

		if (!i->kept && !strcmp(i->text, q->name))
			to_disk(s, i);
	}
}

void weir__idem_again(weir_store *s, const char *text, size_t len)
{
	struct weir__idem *i = find(s, text, len);

	if (i)
		to_disk(s, i);
}

void weir__idem_due(weir_store *s, struct weir__due *d)
{
	int64_t now = weir_wall();

	for (int n = 0; n < WEIR__BATCH && !weir__list_empty(&s->idems); n++) {
		struct weir__idem *i = weir__container(s->idems.next, struct weir__idem, link);

		if (i->until_wall > now)
			break;
		weir__idem_drop(s, i);
	}
	(void)d;
	arm(s);
}

void weir__idem_fini(weir_store *s)
{
	weir__due_stop(s, &s->idem_due);
	while (!weir__list_empty(&s->idems))
		weir__idem_drop(s, weir__container(s->idems.next, struct weir__idem, link));
}
