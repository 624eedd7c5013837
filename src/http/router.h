/* SPDX-License-Identifier: MIT */
/* Which handler serves a request: patterns as in Go 1.22, in a tree of segments. */
#ifndef WEIR_HTTP_ROUTER_H
#define WEIR_HTTP_ROUTER_H

#include <weir/http.h>

#include "base/list.h"
#include "http/path.h"

struct weir__route_segment {
	enum { WEIR__LITERAL, WEIR__ONE, WEIR__REST } kind;
	const char *name; /* the literal, or the wildcard's name ("" if it has none) */
	size_t len;
};

struct weir__route {
	struct weir__route *next_here; /* at the same node of the tree, with another method */
	struct weir__route *next;      /* of all, in the order they were added */
	char *pattern;                 /* as given */
	const char *method;            /* "": any */
	weir_http_fn *fn;
	void *arg;
	weir_http_limits limits;
	uint32_t active; /* atomic: requests in it now */
	char *text;      /* the method and the segments' names point into it */
	unsigned count;
	struct weir__route_segment segment[];
};

struct weir__route_node;

struct weir__router {
	struct weir__route_node *root;
	struct weir__route *first, **last;
};

void weir__router_init(struct weir__router *r);
void weir__router_fini(struct weir__router *r);

/* 0, -EINVAL, -EEXIST (logged with both patterns), -ENOMEM. */
int weir__router_add(struct weir__router *r, const char *pattern, weir_http_fn *fn, void *arg,
                     const weir_http_limits *limits);

/* The most specific route; NULL if there is none. Then *ret_allow holds which methods the path
 * would serve ("" if it is unknown), for the Allow field. */
enum { WEIR__ALLOW_MAX = 128 };
struct weir__route *weir__router_find(struct weir__router *r, const char *method,
                                      const struct weir__path *p, char ret_allow[WEIR__ALLOW_MAX]);

/* Does any route name this method, or is it one of RFC 9110's that a route without method
 * serves? */
bool weir__router_knows(const struct weir__router *r, const char *method);

#endif
