/* SPDX-License-Identifier: MIT */
/*
 * What a hub sends, encoded once: a chunk; and the ring of the last events, from which a client
 * that comes back is served. A hub's events are numbered 1, 2, 3 …; their ids are "<epoch>-<n>".
 */
#ifndef WEIR_HTTP_REPLAY_H
#define WEIR_HTTP_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"

enum { WEIR__HUB_EPOCH = 17 }; /* 16 hex digits and a NUL */

/* Text of the stream, alone and framed as a chunk of HTTP/1.1. Shared by reference count;
 * immutable once it is out. */
struct weir__hub_chunk {
	uint32_t refs; /* atomic */
	uint64_t n;    /* the event's number; 0: no event */
	char *text, *frame;
	size_t text_len, frame_len;
	char bytes[];
};

/* The text as it stands, after room for an id that comes later. NULL without memory (also if the
 * buffer failed). */
struct weir__hub_chunk *weir__hub_chunk_new(const struct weir__buf *text);
/* Puts the id in front of the text and the frame around it; n 0: only the frame. */
void weir__hub_chunk_seal(struct weir__hub_chunk *k, const char *epoch, uint64_t n);
struct weir__hub_chunk *weir__hub_chunk_ref(struct weir__hub_chunk *k);
void weir__hub_chunk_unref(struct weir__hub_chunk *k); /* NULL is fine */

/* Invariant: holds the events first … first + count - 1, at most max of them and `bytes_max`
 * bytes, but always the last. */
struct weir__replay {
	struct weir__hub_chunk **ring;
	size_t max, count, bytes, bytes_max;
	uint64_t first;
};

int weir__replay_init(struct weir__replay *p, size_t max, size_t bytes_max); /* 0 or -ENOMEM */
void weir__replay_fini(struct weir__replay *p);
void weir__replay_add(struct weir__replay *p,
                      struct weir__hub_chunk *k); /* takes a reference of its own */
struct weir__hub_chunk *weir__replay_get(const struct weir__replay *p,
                                         uint64_t n); /* borrowed; NULL: not held */

/* The number of an id of this epoch; false: another's, or no id. */
bool weir__replay_parse(const char *epoch, const char *id, uint64_t *ret);

#endif
