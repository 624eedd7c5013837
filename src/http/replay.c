/* SPDX-License-Identifier: MIT */
/*
 * An event's number is known only under the hub's lock, its text before. So a chunk is encoded
 * outside of the lock with room in front, and sealed under it: the id's line and the chunk's length
 * are written right to left before the text, a few dozen bytes.
 */
#include "http/replay.h"

#include "http/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_LINE = 48 /* "id: <16>-<20>\n" */, ROOM = WEIR__CHUNK_HEAD + ID_LINE };

struct weir__hub_chunk *weir__hub_chunk_new(const struct weir__buf *text)
{
	struct weir__hub_chunk *k = text->failed ? NULL : malloc(sizeof *k + ROOM + text->len + 2);

	if (!k)
		return NULL;
	k->refs = 1;
	k->n = 0;
	k->text = k->bytes + ROOM;
	k->text_len = text->len;
	k->frame = NULL;
	k->frame_len = 0;
	if (text->len)
		memcpy(k->text, text->data, text->len);
	memcpy(k->text + text->len, "\r\n", 2);
	return k;
}

void weir__hub_chunk_seal(struct weir__hub_chunk *k, const char *epoch, uint64_t n)
{
	char line[ID_LINE], head[WEIR__CHUNK_HEAD];
	size_t len;

	k->n = n;
	if (n) {
		len = (size_t)snprintf(line, sizeof line, "id: %s-%" PRIu64 "\n", epoch, n);
		k->text -= len;
		k->text_len += len;
		memcpy(k->text, line, len);
	}
	len = weir__chunk_head(head, k->text_len);
	k->frame = k->text - len;
	k->frame_len = len + k->text_len + 2;
	memcpy(k->frame, head, len);
}

struct weir__hub_chunk *weir__hub_chunk_ref(struct weir__hub_chunk *k)
{
	__atomic_fetch_add(&k->refs, 1, __ATOMIC_RELAXED);
	return k;
}

void weir__hub_chunk_unref(struct weir__hub_chunk *k)
{
	if (k && __atomic_fetch_sub(&k->refs, 1, __ATOMIC_ACQ_REL) == 1)
		free(k);
}

int weir__replay_init(struct weir__replay *p, size_t max, size_t bytes_max)
{
	*p = (struct weir__replay){ .max = max, .bytes_max = bytes_max, .first = 1 };
	p->ring = calloc(max, sizeof(struct weir__hub_chunk *));
	return p->ring ? 0 : -ENOMEM;
}

static void drop_first(struct weir__replay *p)
{
	struct weir__hub_chunk **at = &p->ring[p->first++ % p->max];

	p->bytes -= (*at)->text_len;
	p->count--;
	weir__hub_chunk_unref(*at);
	*at = NULL;
}

void weir__replay_fini(struct weir__replay *p)
{
	while (p->count)
		drop_first(p);
	free(p->ring);
	p->ring = NULL;
}

void weir__replay_add(struct weir__replay *p, struct weir__hub_chunk *k)
{
	while (p->count && (p->count == p->max || p->bytes + k->text_len > p->bytes_max))
		drop_first(p);
	p->ring[k->n % p->max] = weir__hub_chunk_ref(k);
	p->count++;
	p->bytes += k->text_len;
}

struct weir__hub_chunk *weir__replay_get(const struct weir__replay *p, uint64_t n)
{
	return n >= p->first && n < p->first + p->count ? p->ring[n % p->max] : NULL;
}

bool weir__replay_parse(const char *epoch, const char *id, uint64_t *ret)
{
	size_t len = strlen(epoch);
	uint64_t n = 0;

	if (strncmp(id, epoch, len) || id[len] != '-' || !id[len + 1])
		return false;
	for (const char *p = id + len + 1; *p; p++)
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(n, (uint64_t)10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return false;
	*ret = n;
	return true;
}
