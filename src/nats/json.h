/* SPDX-License-Identifier: MIT */
/* Reads the flat JSON object of a CONNECT, in place and without memory. */
#ifndef WEIR_NATS_JSON_H
#define WEIR_NATS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum weir__json_kind {
	WEIR__JSON_TEXT,
	WEIR__JSON_NUMBER,
	WEIR__JSON_BOOL,
	WEIR__JSON_NULL,
	WEIR__JSON_OTHER /* an object or a list, which was skipped */
};

struct weir__json_member {
	const char *key, *text; /* decoded, NUL-terminated, in the caller's buffer */
	enum weir__json_kind kind;
	int64_t number; /* its whole part */
	bool yes;
};

/* Calls fn for each member; n bytes, which are overwritten. 0, or -EINVAL for what is no JSON object
 * (RFC 8259), for a NUL in a text, and for more than 16 levels. */
int weir__json_object(char *text, size_t n,
                      void (*fn)(const struct weir__json_member *m, void *arg), void *arg);

#endif
