/* SPDX-License-Identifier: MIT */
/* Reads JSON in place and without memory: what others send as one object, value by value. */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum weir__json_kind {
	WEIR__JSON_TEXT,
	WEIR__JSON_NUMBER,
	WEIR__JSON_BOOL,
	WEIR__JSON_NULL,
	WEIR__JSON_OTHER, /* an object or a list begins */
	WEIR__JSON_END    /* and ends; of walks only */
};

struct weir__json_member {
	const char *key, *text; /* decoded, NUL-terminated, in the caller's buffer; key: or NULL */
	enum weir__json_kind kind;
	int64_t number; /* its whole part, without an exponent; beyond int64_t the end of that */
	bool yes;
	unsigned depth; /* 1: a member of the outermost object */
};
typedef void weir__json_fn(const struct weir__json_member *m, void *arg);

/* Calls fn for each member of the object; n bytes, which are overwritten. What is in objects and
 * lists inside is skipped. 0, or -EINVAL for what is no JSON object (RFC 8259), for a NUL in a
 * text, and for more than 16 levels inside it. */
int weir__json_object(char *text, size_t n, weir__json_fn *fn, void *arg);

/* The same for what is in objects and lists inside too, in its order. Keys and texts stay valid. */
int weir__json_walk(char *text, size_t n, weir__json_fn *fn, void *arg);

#endif
