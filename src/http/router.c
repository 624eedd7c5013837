/* SPDX-License-Identifier: MIT */
/*
 * Routing. A pattern is an optional method and a path of segments: literal, "{name}" (one segment,
 * not empty), "{name...}" or a trailing slash (the rest, may be empty), "{$}" (the end after a
 * slash). Two patterns may meet in a path only if one of them is more specific, in path and method
 * together; anything else is a conflict when it is added, so the order of adding never matters.
 *
 * The tree is searched literal first, then "{name}", then the rest, going back where a leaf has not
 * the method. Its depth is that of the patterns, not of the request.
 */
#include "http/router.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct weir__route_node {
	struct weir__route_node *sibling, *children; /* children: literals */
	struct weir__route_node *one;
	struct weir__route *routes, *rest; /* that end here; whose rest begins here */
	const char *name;
	size_t len;
};

static const char *const standard[] = {
	"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"
};

void weir__router_init(struct weir__router *r)
{
	*r = (struct weir__router){ .last = &r->first };
}

static void node_free(struct weir__route_node *n)
{
	while (n) {
		struct weir__route_node *next = n->sibling;

		node_free(n->children);
		node_free(n->one);
		free(n);
		n = next;
	}
}

static void route_free(struct weir__route *route)
{
	free(route->pattern);
	free(route->text);
	free(route);
}

void weir__router_fini(struct weir__router *r)
{
	struct weir__route *next;

	node_free(r->root);
	for (struct weir__route *route = r->first; route; route = next) {
		next = route->next;
		route_free(route);
	}
}

/* ---- patterns ---- */

static bool is_name(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!((s[i] | 32) >= 'a' && (s[i] | 32) <= 'z') && s[i] != '_' &&
		    !(i && s[i] >= '0' && s[i] <= '9'))
			return false;
	return n > 0;
}

/* One segment, which is NUL-terminated; false if it is none. */
static bool parse_segment(struct weir__route_segment *seg, char *s, bool last)
{
	size_t n = strlen(s);

	*seg = (struct weir__route_segment){ WEIR__LITERAL, s, n };
	if (n == 0) {
		seg->kind =
			/* A trailing slash; an empty segment elsewhere cannot be asked for. */
			WEIR__REST;
		return last;
	}
	if (!strchr(s, '{') && !strchr(s, '}'))
		return true;
	if (s[0] != '{' || s[n - 1] != '}')
		return false;
	s[n - 1] = 0;
	seg->name = s + 1;
	seg->len = n - 2;
	if (!strcmp(seg->name, "$")) {
		seg->name = "";
		seg->len = 0;
		return last;
	}
	seg->kind = WEIR__ONE;
	if (seg->len > 3 && !strcmp(s + n - 4, "...")) {
		seg->kind = WEIR__REST;
		seg->len -= 3;
		s[n - 4] = 0;
		if (!last)
			return false;
	}
	return is_name(seg->name, seg->len);
}

static bool parse_pattern(struct weir__route *route)
{
	char *p = route->text, *space = strchr(p, ' ');

	route->method = "";
	if (space) {
		*space = 0;
		route->method = p;
		for (; *p; p++)
			if (*p < 'A' || *p > 'Z')
				return false;
		if (p == route->text)
			return false;
		for (p = space + 1; *p == ' '; p++)
			;
	}
	if (*p != '/')
		return false;
	while (p) {
		char *slash = strchr(p + 1, '/');

		if (slash)
			*slash = 0;
		if (!parse_segment(&route->segment[route->count], p + 1, !slash))
			return false;
		for (unsigned i = 0; i < route->count; i++) {
			struct weir__route_segment *a = &route->segment[i],
						   *b = &route->segment[route->count];
			if (a->kind != WEIR__LITERAL && b->kind != WEIR__LITERAL &&
			    !strcmp(a->name, b->name))
				return false;
		}
		route->count++;
		p = slash;
	}
	return true;
}

/* ---- conflicts ---- */

enum relation { SAME, GENERAL, SPECIFIC, OVERLAP, DISJOINT };

static enum relation both(enum relation a, enum relation b)
{
	if (a == DISJOINT || b == DISJOINT)
		return DISJOINT;
	if (a == b || b == SAME)
		return a;
	return a == SAME ? b : OVERLAP;
}

static enum relation compare_segments(const struct weir__route_segment *a,
                                      const struct weir__route_segment *b)
{
	if (a->kind == b->kind)
		return a->kind == WEIR__LITERAL && strcmp(a->name, b->name) != 0 ? DISJOINT : SAME;
	if (a->kind == WEIR__REST)
		return GENERAL;
	if (b->kind == WEIR__REST)
		return SPECIFIC;
	if ((a->kind == WEIR__LITERAL && a->len == 0) || (b->kind == WEIR__LITERAL && b->len == 0))
		return DISJOINT; /* "{name}" does not take an empty segment. */
	return a->kind == WEIR__ONE ? GENERAL : SPECIFIC;
}

static enum relation compare_paths(const struct weir__route *a, const struct weir__route *b)
{
	enum relation rel = SAME;
	unsigned i;

	for (i = 0; i < a->count && i < b->count && rel != DISJOINT; i++)
		rel = both(rel, compare_segments(&a->segment[i], &b->segment[i]));
	if (rel == DISJOINT || a->count == b->count)
		return rel;
	if (i == a->count)
		return a->segment[i - 1].kind == WEIR__REST ? both(rel, GENERAL) : DISJOINT;
	return b->segment[i - 1].kind == WEIR__REST ? both(rel, SPECIFIC) : DISJOINT;
}

static enum relation compare_methods(const char *a, const char *b)
{
	if (!strcmp(a, b))
		return SAME;
	if (!*a || (!strcmp(a, "GET") && !strcmp(b, "HEAD")))
		return GENERAL;
	if (!*b || (!strcmp(b, "GET") && !strcmp(a, "HEAD")))
		return SPECIFIC;
	return DISJOINT;
}

/* ---- the tree ---- */

static struct weir__route_node *child(struct weir__route_node *n,
                                      const struct weir__route_segment *seg)
{
	struct weir__route_node **at = seg->kind == WEIR__ONE ? &n->one : &n->children;

	while (*at && seg->kind == WEIR__LITERAL && strcmp((*at)->name, seg->name) != 0)
		at = &(*at)->sibling;
	if (!*at) {
		*at = calloc(1, sizeof **at);
		if (!*at)
			return NULL;
		(*at)->name = seg->name;
		(*at)->len = seg->len;
	}
	return *at;
}

static int insert(struct weir__router *r, struct weir__route *route)
{
	struct weir__route_node *n = r->root;
	unsigned count = route->count;
	bool rest = route->segment[count - 1].kind == WEIR__REST;

	if (!n)
		n = r->root = calloc(1, sizeof *n);
	for (unsigned i = 0; n && i < count - rest; i++)
		n = child(n, &route->segment[i]);
	if (!n)
		return -ENOMEM;
	route->next_here = rest ? n->rest : n->routes;
	*(rest ? &n->rest : &n->routes) = route;
	return 0;
}

int weir__router_add(struct weir__router *r, const char *pattern, weir_http_fn *fn, void *arg,
                     const weir_http_limits *limits)
{
	unsigned slashes = 0;
	struct weir__route *route;
	int err = -ENOMEM;

	for (const char *p = pattern; *p; p++)
		slashes += *p == '/';
	if (slashes == 0 || slashes > WEIR__PATH_SEGMENTS)
		return -EINVAL;
	route = calloc(1, sizeof *route + slashes * sizeof route->segment[0]);
	if (!route)
		return -ENOMEM;
	route->pattern = strdup(pattern);
	route->text = strdup(pattern);
	if (!route->pattern || !route->text)
		goto fail;
	err = -EINVAL;
	if (!parse_pattern(route))
		goto fail;
	route->fn = fn;
	route->arg = arg;
	route->limits = *limits;
	err = -EEXIST;
	for (struct weir__route *o = r->first; o; o = o->next) {
		enum relation rel =
			both(compare_methods(route->method, o->method), compare_paths(route, o));

		if (rel != SAME && rel != OVERLAP)
			continue;
		weir__log(WEIR__ERROR, "http", "route \"%s\" conflicts with \"%s\": %s",
		          route->pattern, o->pattern,
		          rel == SAME ? "they match the same requests" :
		                        "neither is more specific");
		goto fail;
	}
	/* A failed insert leaves nodes that name the route's text. */
	*r->last = route;
	r->last = &route->next;
	return insert(r, route);
fail:
	route_free(route);
	return err;
}

/* ---- finding ---- */

struct search {
	const char *method;
	const struct weir__path *path;
	char *allow;
	size_t allow_len;
};

static void allow(struct search *s, const char *method)
{
	size_t n = strlen(method);

	for (const char *p = s->allow; (p = strstr(p, method)); p += n)
		if ((p == s->allow || p[-1] == ' ') && (p[n] == ',' || p[n] == 0))
			return;
	if (s->allow_len + n + 3 > WEIR__ALLOW_MAX)
		return;
	if (s->allow_len) {
		memcpy(s->allow + s->allow_len, ", ", 2);
		s->allow_len += 2;
	}
	memcpy(s->allow + s->allow_len, method, n + 1);
	s->allow_len += n;
}

static struct weir__route *pick(struct search *s, struct weir__route *first)
{
	struct weir__route *get = NULL, *any = NULL;

	for (struct weir__route *route = first; route; route = route->next_here) {
		if (!strcmp(route->method, s->method))
			return route;
		if (!*route->method)
			any = route;
		else if (!strcmp(route->method, "GET"))
			get = route;
	}
	if (get && !strcmp(s->method, "HEAD"))
		return get;
	if (any)
		return any;
	for (struct weir__route *route = first; route; route = route->next_here) {
		allow(s, route->method);
		if (!strcmp(route->method, "GET"))
			allow(s, "HEAD");
	}
	return NULL;
}

static struct weir__route *find(struct search *s, struct weir__route_node *n, unsigned at)
{
	const struct weir__segment *seg = &s->path->segment[at];
	struct weir__route *found = NULL;

	if (at == s->path->count)
		return pick(s, n->routes);
	for (struct weir__route_node *c = n->children; c && !found; c = c->sibling)
		if (c->len == seg->len && memcmp(c->name, s->path->text + seg->at, seg->len) == 0)
			found = find(s, c, at + 1);
	if (!found && n->one && seg->len)
		found = find(s, n->one, at + 1);
	return found ? found : pick(s, n->rest);
}

struct weir__route *weir__router_find(struct weir__router *r, const char *method,
                                      const struct weir__path *p, char ret_allow[WEIR__ALLOW_MAX])
{
	struct search s = { method, p, ret_allow, 0 };
	struct weir__route *found;

	ret_allow[0] = 0;
	if (!r->root)
		return NULL;
	found = find(&s, r->root, 0);
	if (!found && s.allow_len)
		allow(&s, "OPTIONS");
	return found;
}

bool weir__router_knows(const struct weir__router *r, const char *method)
{
	for (size_t i = 0; i < sizeof standard / sizeof standard[0]; i++)
		if (!strcmp(method, standard[i]))
			return true;
	for (struct weir__route *route = r->first; route; route = route->next)
		if (!strcmp(method, route->method))
			return true;
	return false;
}
