/* SPDX-License-Identifier: MIT */
/*
 * Time zones by name, from the system's tz database (RFC 9636): when the local clock of a place
 * changes, and by how much. A zone never changes once it is read.
 */
#ifndef WEIR_QUEUE_ZONE_H
#define WEIR_QUEUE_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEIR__ZONE_NAME_MAX = 63 };

struct weir__zone;

/* A stretch of time in which the local clock is so many seconds ahead of UTC. */
struct weir__zone_span {
	int64_t from, until; /* seconds since 1970; INT64_MIN, INT64_MAX: without end */
	int offset;
	int before; /* the offset until `from` */
};

/* "Europe/Berlin": letters, digits, _ + - and slashes between. */
bool weir__zone_name_valid(const char *name);

/* Reads a file: offloaded, or before there are tasks. 0, -EINVAL (no such name can be), -ENOENT,
 * -EBADMSG (not a zone's file), -ENOMEM and errors of reading. */
int weir__zone_load(const char *name, struct weir__zone **ret);

/* The same from the file's bytes. */
int weir__zone_parse(const void *data, size_t len, struct weir__zone **ret);

void weir__zone_free(struct weir__zone *z); /* NULL is fine */

/* The span in which that second lies. */
void weir__zone_span_at(const struct weir__zone *z, int64_t at_s, struct weir__zone_span *ret);

#endif
