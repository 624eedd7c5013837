/* SPDX-License-Identifier: MIT */
/*
 * One request: from its parsed head to the route's handler, what the handler may ask of it, and
 * what its result means.
 *
 * The exchange lives in its connection's block. After the handler has returned it is OVER, and
 * whoever still uses it aborts with the name of the route; blocks are reused, so this is certain
 * only until the next request.
 *
 * The first byte of the answer is claimed with one compare-and-set: by the handler's first send or
 * by the handler limit. Collecting a small answer claims nothing, so that a handler that then gets
 * stuck is still answered for, and one that fails can still say so.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "http/server.h"
#include "rt/task.h"

/* ---- life ---- */

void weir__http_not_live(const weir_http *x, const char *call)
{
	weir__assert(x->magic == WEIR__HTTP_MAGIC, "%s: not an exchange", call);
	weir__die("%s on an exchange whose handler has returned (route \"%s\")", call,
	          x->route ? x->route->pattern : "none");
}

/* For a request whose head was read, or refused. */
void weir__exchange_init(weir_http *x, struct weir__http_stream *s)
{
	x->magic = WEIR__HTTP_MAGIC;
	x->conn = s->conn;
	x->stream = s;
	x->route = NULL;
	x->limits = &s->conn->server->limits;
	x->path.text = NULL;
	x->chunks = (struct weir__h1_chunks){ 0 };
	x->body_left = x->body_read = 0;
	x->body_done = true;
	x->wants_continue = false;
	x->body_error = 0;
	x->body = NULL;
	x->body_lent = false;
	x->charged = 0;
	x->status = 200;
	x->head_sent = x->chunked = x->no_body = x->close = x->broken = x->has_type = x->sized =
		x->unsized = false;
	x->detail = NULL;
	x->length = x->sent = 0;
	x->fields = NULL;
	x->fields_last = &x->fields;
	x->trailers = NULL;
	x->trailers_last = &x->trailers;
	x->out_len = x->out_lent = 0;
	x->arena_used = x->heap_used = 0;
	x->starved = false;
	x->heap = NULL;
	__atomic_store_n(&s->claim,
	                 (__atomic_load_n(&s->claim, __ATOMIC_RELAXED) | WEIR__CLAIM_MASK) + 1,
	                 __ATOMIC_RELEASE);
	__atomic_store_n(&x->state, WEIR__X_LIVE, __ATOMIC_RELAXED);
}

void weir__exchange_fini(weir_http *x)
{
	struct weir__arena_chunk *next;

	__atomic_store_n(&x->state, WEIR__X_OVER, __ATOMIC_RELAXED);
	for (struct weir__arena_chunk *k = x->heap; k; k = next) {
		next = k->next;
		free(k);
	}
	x->heap = NULL;
	if (!x->body_lent)
		free(x->body);
	x->body = NULL;
	if (x->charged)
		__atomic_fetch_sub(&x->conn->server->bodies, x->charged, __ATOMIC_RELAXED);
	x->charged = 0;
}

static void *starve(weir_http *x)
{
	x->starved = true;
	return NULL;
}

bool weir_http_starved(const weir_http *x)
{
	weir__http_live(x, __func__);
	return x->starved;
}

void *weir_http_alloc(weir_http *x, size_t n)
{
	struct weir__block *b = x->stream->block;
	struct weir__arena_chunk *k = x->heap;
	size_t bound, size;
	void *p;

	weir__http_live(x, __func__);
	if (n > PTRDIFF_MAX / 2)
		return starve(x);
	n = (n + 15) & ~(size_t)15;
	if (n <= sizeof b->arena - x->arena_used) {
		p = b->arena + x->arena_used;
		x->arena_used += n;
		return p;
	}
	if (!k || k->size - k->used < n) {
		size = n > 4096 ? n : 4096;
		if (__builtin_add_overflow((size_t)1024 * 1024, x->limits->body_max, &bound))
			bound = SIZE_MAX;
		if (size > bound - x->heap_used)
			return starve(x);
		k = malloc(sizeof *k + size);
		if (!k)
			return starve(x);
		*k = (struct weir__arena_chunk){ .next = x->heap, .size = size };
		x->heap = k;
		x->heap_used += size;
	}
	p = k->bytes + k->used;
	k->used += n;
	return p;
}

/* ---- what was asked ---- */

const char *weir_http_method(const weir_http *x)
{
	weir__http_live(x, __func__);
	return x->head.method;
}

const char *weir_http_target(const weir_http *x)
{
	weir__http_live(x, __func__);
	return x->head.target;
}

const char *weir_http_url_path(const weir_http *x)
{
	weir__http_live(x, __func__);
	return x->path.text;
}

const char *weir_http_peer(const weir_http *x)
{
	weir__http_live(x, __func__);
	return weir_conn_peer(x->conn->io);
}

int weir_http_tls_info(const weir_http *x, weir_tls_info *ret)
{
	weir__http_live(x, __func__);
	return weir_conn_tls_info(x->conn->io, ret);
}

const char *weir_http_pattern(const weir_http *x)
{
	weir__http_live(x, __func__);
	return x->route ? x->route->pattern : NULL;
}

const char *weir_http_header(const weir_http *x, const char *name)
{
	weir__http_live(x, __func__);
	return weir__h1_get(&x->head, name);
}

bool weir__http_field(const weir_http *x, size_t i, const char **ret_name, const char **ret_value,
                      size_t *ret_value_len)
{
	weir__http_live(x, __func__);
	if (i >= x->head.count)
		return false;
	*ret_name = x->head.fields[i].name;
	*ret_value = x->head.fields[i].value;
	*ret_value_len = x->head.fields[i].value_len;
	return true;
}

weir_scope *weir_http_conn_scope(weir_http *x)
{
	weir__http_live(x, __func__);
	return x->conn->scope;
}

weir_http_conn *weir_http_connection(weir_http *x)
{
	weir__http_live(x, __func__);
	return x->conn;
}

bool weir_http_started(const weir_http *x)
{
	weir__http_live(x, __func__);
	return weir__answer_owner(x->stream) != WEIR__NOBODY;
}

const char *weir_http_path(weir_http *x, const char *name)
{
	weir__http_live(x, __func__);
	for (unsigned i = 0; x->route && i < x->route->count; i++) {
		const struct weir__route_segment *s = &x->route->segment[i];

		if (s->kind == WEIR__LITERAL || strcmp(s->name, name) != 0)
			continue;
		if (s->kind == WEIR__ONE)
			return x->segments + x->path.segment[i].at;
		return i < x->path.count ? x->path.text + x->path.segment[i].at : "";
	}
	weir__die("weir_http_path: route \"%s\" has no {%s}", x->route ? x->route->pattern : "none",
	          name);
}

int weir_http_path_u64(weir_http *x, const char *name, uint64_t *ret)
{
	const char *s = weir_http_path(x, name);
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++)
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -EINVAL;
	*ret = v;
	return 0;
}

/* A piece of the query: its name, and what is behind the first '='. */
struct pair {
	const char *name, *value; /* NULL without '=' */
	size_t name_len, value_len;
};

/* The next that is not empty, from *at on. */
static bool next_pair(const weir_http *x, size_t *at, struct pair *p)
{
	while (x->head.query && *at <= x->head.query_len) {
		const char *from = x->head.query + *at, *eq;
		size_t left = x->head.query_len - *at, len;
		const char *stop = memchr(from, '&', left);

		len = stop ? (size_t)(stop - from) : left;
		*at += len + 1;
		if (!len)
			continue;
		eq = memchr(from, '=', len);
		p->name = from;
		p->name_len = eq ? (size_t)(eq - from) : len;
		p->value = eq ? eq + 1 : NULL;
		p->value_len = eq ? len - p->name_len - 1 : 0;
		return true;
	}
	return false;
}

const char *weir_http_query(weir_http *x, const char *name)
{
	size_t at = 0, n = strlen(name);
	struct pair p;
	char *out;

	weir__http_live(x, __func__);
	while (next_pair(x, &at, &p)) {
		bool coded = memchr(p.name, '%', p.name_len) || memchr(p.name, '+', p.name_len);

		if (p.name_len < n || (!coded && (p.name_len != n || memcmp(p.name, name, n) != 0)))
			continue;
		out = weir_http_alloc(x, p.name_len + p.value_len + 1);
		if (!out)
			return NULL;
		if (coded &&
		    (weir__unescape(p.name, p.name_len, out, 1) < 0 || strcmp(out, name) != 0))
			continue;
		if (!p.value)
			return "";
		return weir__unescape(p.value, p.value_len, out, 1) < 0 ? NULL : out;
	}
	return NULL;
}

const char *weir_http_query_name(weir_http *x, size_t *at)
{
	struct pair p;
	char *out;

	weir__http_live(x, __func__);
	if (!next_pair(x, at, &p))
		return NULL;
	out = weir_http_alloc(x, p.name_len + 1);
	if (out && weir__unescape(p.name, p.name_len, out, 1) < 0)
		*out = '\0';
	return out;
}

/* ---- from the head to the handler ---- */

/* What the head says about the body, and whether path and query can be read. 0 or a status. */
static int open_request(weir_http *x)
{
	struct weir__h1_head *h = &x->head;
	char *text;
	int r;

	x->body_done = !h->chunked && (!h->sized || h->length == 0);
	x->body_left = h->sized ? h->length : 0;
	x->wants_continue = h->expect && !x->body_done;
	x->no_body = strcmp(h->method, "HEAD") == 0;
	x->close = !h->keep;
	text = weir_http_alloc(x, 2 * (h->path_len + 3));
	if (!text)
		return 500;
	if (h->star) {
		memcpy(text, "*", 2);
		x->path.text = text;
		x->path.count = 0;
		return 0;
	}
	/* An absolute target may have no path at all. */
	r = h->path_len ? weir__path_parse(&x->path, h->path, h->path_len, text) :
	                  weir__path_parse(&x->path, "/", 1, text);
	if (r < 0) {
		memcpy(text, "", 1);
		x->path.text = text;
		return -r;
	}
	x->segments = text + x->path.len + 1;
	memcpy(x->segments, text, x->path.len + 1);
	for (unsigned i = 0; i < x->path.count; i++)
		x->segments[x->path.segment[i].at - 1] = 0;
	if (!h->query_len)
		return 0;
	for (const char *at = h->query, *end = at + h->query_len;
	     (at = memchr(at, '%', (size_t)(end - at))); at++) {
		char out[4];

		if (weir__unescape(at, end - at < 3 ? (size_t)(end - at) : 3, out, 0) < 0)
			return 400;
	}
	return 0;
}

static int no_route(const weir_ctx *ctx, weir_http *x, const char *allow)
{
	if (!*allow)
		return weir_http_problem(ctx, x, 404, "There is nothing at %s.", x->path.text);
	weir_http_set(x, "allow", allow);
	if (!strcmp(x->head.method, "OPTIONS"))
		return 204;
	return weir_http_problem(ctx, x, 405, "%s serves %s.", x->path.text, allow);
}

static int enter(const weir_ctx *ctx, weir_http *x)
{
	struct weir__route *route = x->route;
	int r;

	if (__atomic_add_fetch(&route->active, 1, __ATOMIC_RELAXED) > x->limits->requests_max) {
		r = -EAGAIN;
		weir__stat_add(x->conn->worker, refused, 1);
	} else {
		r = route->fn(ctx, x, route->arg);
	}
	__atomic_sub_fetch(&route->active, 1, __ATOMIC_RELAXED);
	return r;
}

static int dispatch(const weir_ctx *ctx, weir_http *x)
{
	struct weir__http_conn *c = x->conn;
	weir_http_server *s = c->server;
	char allow[WEIR__ALLOW_MAX] = "";
	int r;

	r = open_request(x);
	if (r) {
		x->close = true;
		return r;
	}
	if (x->head.star)
		memcpy(allow, "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS", 45);
	else
		x->route = weir__router_find(&s->router, x->head.method, &x->path, allow);
	if (x->route)
		x->limits = &x->route->limits;
	if (!x->route && !weir__router_knows(&s->router, x->head.method))
		return 501;
	if (x->limits->handler_ns != WEIR_NEVER) {
		int64_t at;

		if (__builtin_add_overflow(x->stream->since_ns + weir__clock_resolution(),
		                           x->limits->handler_ns, &at))
			at = WEIR_NEVER;
		__atomic_store_n(&x->stream->limit_ns, at, __ATOMIC_RELAXED);
		weir__http_deadline(c, at);
	}
	__atomic_store_n(&x->stream->route, x->route ? x->route->pattern : "(no route)",
	                 __ATOMIC_RELEASE);
	r = s->filter ? s->filter(ctx, x, s->filter_arg) : 0;
	if (r)
		return r;
	if (!x->route && s->unrouted) {
		bool done = false;

		r = s->unrouted(ctx, x, s->unrouted_arg, &done);
		if (done || r)
			return r;
	}
	return x->route ? enter(ctx, x) : no_route(ctx, x, allow);
}

/* ---- what the result means ---- */

static int status_of(const weir_http *x, int r)
{
	switch (r) {
	case -ETIMEDOUT:
		return x->body_error == r ? 408 : 504;
	case -EAGAIN:
	case -ENOBUFS:
	case -ESHUTDOWN:
		return 503;
	case -EMSGSIZE:
		return 413;
	case -EINVAL:
		return 400;
	case -ENOENT:
		return 404;
	case -EACCES:
		return 403;
	case -EBADMSG:
		return x->body_error == r ? 400 : 500;
	default:
		return 500;
	}
}

static int answer(const weir_ctx *ctx, weir_http *x, int r)
{
	const char *detail = NULL;
	int status;

	if (r == 0)
		return weir__answer_finish(ctx, x);
	if (r >= 200 && r < 600) {
		if (!x->head_sent)
			x->status = r;
		return r < 400 || x->head_sent || x->out_len ? weir__answer_finish(ctx, x) :
		                                               weir__answer_error(ctx, x, r, NULL);
	}
	if (r == -ECANCELED || (r == -EPIPE && x->stream->peer_left) || x->broken ||
	    x->body_error == -ECONNRESET || x->body_error == -EPIPE)
		return -ECANCELED;
	status = r < 0 ? status_of(x, r) : 500;
	if (status == 500)
		weir__log_rare(WEIR__ERROR, "http", "route \"%s\" failed: %s",
		               x->route ? x->route->pattern : "none",
		               r < 0 ? strerror(-r) : "not a status");
	if (x->head_sent)
		return -ECANCELED; /* Too late to say so: the answer is cut. */
	if (status == 503)
		detail = "Try again later.";
	weir__answer_forget(x);
	return weir__answer_error(ctx, x, status, detail);
}

static enum weir__verdict conclude(const weir_ctx *ctx, weir_http *x, int r)
{
	struct weir__http_conn *c = x->conn;

	if (__atomic_load_n(&x->state, __ATOMIC_RELAXED) == WEIR__X_HANDED)
		return WEIR__STREAMING;
	if (weir__answer_owner(x->stream) != WEIR__LIMIT)
		r = answer(ctx, x, r);
	if (weir__answer_owner(x->stream) == WEIR__LIMIT)
		return WEIR__LINGER_CLOSE;
	if (r < 0 || x->broken || c->canceled)
		return WEIR__CLOSE;
	if (x->stream->h2)
		return WEIR__KEEP;
	if (!x->body_done && (x->close || !weir__http_discard(ctx, x)))
		return WEIR__LINGER_CLOSE;
	if (x->close)
		return x->head.keep || x->stream->block->in_pos < x->stream->block->in_len ?
		               WEIR__LINGER_CLOSE :
		               WEIR__CLOSE;
	return WEIR__KEEP;
}

enum weir__verdict weir__exchange_run(weir_http *x)
{
	struct weir__http_conn *c = x->conn;
	struct weir__http_worker *w = c->worker;
	weir_ctx ctx = { x->stream->scope, WEIR_NEVER, 0 };
	enum weir__verdict verdict;
	int r;

	weir__stat_add(w, requests, 1);
	weir__stat_add(w, active, 1);
	__atomic_store_n(&x->stream->since_ns, weir__now_coarse(), __ATOMIC_RELAXED);
	__atomic_store_n(&x->stream->task, weir__current()->id, __ATOMIC_RELAXED);
	r = dispatch(&ctx, x);
	verdict = conclude(&ctx, x, r);
	if (verdict != WEIR__STREAMING)
		__atomic_store_n(&x->stream->route, NULL, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&x->stream->task, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&x->stream->limit_ns, WEIR_NEVER, __ATOMIC_RELAXED);
	if (verdict != WEIR__STREAMING)
		weir__stat_add(w, active, (uint64_t)-1);
	if (verdict != WEIR__STREAMING && c->draining && !c->canceled && !x->broken)
		weir__stat_add(w, finished_in_drain, 1);
	if (verdict != WEIR__STREAMING && c->canceled)
		weir__stat_add(w, cut, 1);
	return verdict;
}

enum weir__verdict weir__exchange_refuse(weir_http *x, int status)
{
	weir_ctx ctx = { x->stream->scope, WEIR_NEVER, 0 };

	x->close = true;
	x->head.method = NULL; /* Whatever was read of the head is not to be believed. */
	x->head.minor = 1;
	weir__stat_add(x->conn->worker, refused, 1);
	return weir__answer_error(&ctx, x, status, NULL) < 0 ? WEIR__CLOSE : WEIR__LINGER_CLOSE;
}

int weir__http_detach(weir_http *x, weir__stream_fn *stop, void *arg, weir__stream **ret)
{
	struct weir__http_conn *c = x->conn;

	weir__http_live(x, __func__);
	if (!x->head_sent || x->out_len || x->sized || x->no_body)
		return -EINVAL;
	if (x->broken || x->stream->peer_left)
		return -EPIPE;
	if (c->canceled)
		return -ECANCELED;
	x->stream->stop = stop;
	x->stream->stop_arg = arg;
	x->stream->stop_told = false;
	x->stream->chunked = x->chunked;
	x->stream->keep =
		!x->close && x->body_done && x->stream->block->in_pos == x->stream->block->in_len;
	if (!x->stream->h2)
		c->state = WEIR__STREAM;
	__atomic_store_n(&x->state, WEIR__X_HANDED, __ATOMIC_RELAXED);
	*ret = x->stream;
	return 0;
}
