/* SPDX-License-Identifier: MIT */
/*
 * A request's path: cut at its slashes, then each segment decoded, then dot segments resolved. In
 * this order, so that "%2F" stays inside its segment and "%2e%2e" cannot climb; nor can "..%2F",
 * which is refused.
 */
#ifndef WEIR_HTTP_PATH_H
#define WEIR_HTTP_PATH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { WEIR__PATH_SEGMENTS = 64 };

struct weir__path {
	char *text; /* "/a b/c", NUL-terminated */
	size_t len;
	unsigned count; /* of segments: 1 for "/" (an empty one), 2 for "/a/" */
	struct weir__segment {
		uint32_t at, len;
	} segment[WEIR__PATH_SEGMENTS]; /* in text */
};

/* raw starts with '/'. out has room for n + 2 bytes. 0, or minus the status: -400 for a bad escape,
 * a NUL, ".." above the root or beside a "%2F", -414 for too many segments. */
int weir__path_parse(struct weir__path *p, const char *raw, size_t n, char *out);

/* Undo percent-encoding (and, in a query, '+'): the length in out, which has room for n + 1 bytes;
 * -400 for a bad escape or NUL. */
ssize_t weir__unescape(const char *raw, size_t n, char *out, int plus);

#endif
