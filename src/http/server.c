/* SPDX-License-Identifier: MIT */
/*
 * The server: routes and limits, the accept loop, the counts, and what the supervisor does for
 * handlers that never let go of their worker.
 *
 * The end of weir_http_serve(): on drain the listener is closed first and what it had accepted is
 * taken in, so that nobody who got through the handshake is reset; the connections' group hears the
 * drain by itself, being a scope below the caller's. Then the group is joined: every connection
 * holds it until it has ended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "http/server.h"
#include "rt/task.h"

static const weir_http_limits defaults = {
	.header_ns = WEIR_SEC(10),
	.idle_ns = WEIR_SEC(75),
	.read_ns = WEIR_SEC(10),
	.write_ns = WEIR_SEC(10),
	.handler_ns = WEIR_SEC(30),
	.header_max = 32 * 1024,
	.fields_max = 100,
	.body_max = 1024 * 1024,
	.requests_max = 10000,
	.conns_max = 100000,
	.bodies_max = (size_t)256 << 20,
	.streams_max = 100,
	.age_ns = WEIR_NEVER,
	.keepalive_ns = WEIR_SEC(60),
};

static weir_http_limits merge(const weir_http_limits *l, const weir_http_limits *under)
{
	weir_http_limits out = *under;

	if (!l)
		return out;
#define TAKE(field)   \
	if (l->field) \
	out.field = l->field
	TAKE(header_ns);
	TAKE(idle_ns);
	TAKE(read_ns);
	TAKE(write_ns);
	TAKE(handler_ns);
	TAKE(header_max);
	TAKE(fields_max);
	TAKE(body_max);
	TAKE(requests_max);
	TAKE(conns_max);
	TAKE(bodies_max);
	TAKE(streams_max);
	TAKE(age_ns);
	TAKE(keepalive_ns);
#undef TAKE
	return out;
}

weir_http_server *weir_http_server_new(const weir_http_limits *limits)
{
	weir_http_server *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->magic = WEIR__HTTP_SERVER_MAGIC;
	s->limits = merge(limits, &defaults);
	/* Every connection that is served has room for a head of this size; lifting the limit means
	 * 16 MiB. */
	if (s->limits.header_max > 16 * 1024 * 1024)
		s->limits.header_max = 16 * 1024 * 1024;
	if (s->limits.fields_max > 65536)
		s->limits.fields_max = 65536;
	s->in_cap = s->limits.header_max + 4096;
	weir__router_init(&s->router);
	weir__list_init(&s->statics);
	weir_sem_init(&s->slots, s->limits.conns_max);
	return s;
}

void weir_http_server_free(weir_http_server *s)
{
	struct weir__list *node;

	if (!s)
		return;
	weir__magic_check(s, WEIR__HTTP_SERVER_MAGIC);
	weir__assert(s->servings == 0, "weir_http_server_free() while weir_http_serve() runs");
	if (s->guest)
		s->guest->free(s->guest);
	for (int i = 0; i < s->worker_count; i++) {
		struct weir__block *next;

		for (struct weir__block *b = s->workers[i].blocks; b; b = next) {
			next = b->next;
			free(b);
		}
		weir__pool_clear(&s->workers[i].pool);
	}
	while ((node = weir__list_pop(&s->statics)))
		free(node);
	weir__router_fini(&s->router);
	free(s->workers);
	s->magic = 0;
	free(s);
}

int weir_http_route(weir_http_server *s, const char *pattern, weir_http_fn *fn, void *arg,
                    const weir_http_limits *limits)
{
	weir_http_limits own = merge(limits, &s->limits);

	weir__magic_check(s, WEIR__HTTP_SERVER_MAGIC);
	weir__assert(s->servings == 0, "weir_http_route(\"%s\") while the server runs", pattern);
	return weir__router_add(&s->router, pattern, fn, arg, &own);
}

void weir_http_filter(weir_http_server *s, weir_http_fn *fn, void *arg)
{
	weir__magic_check(s, WEIR__HTTP_SERVER_MAGIC);
	s->filter = fn;
	s->filter_arg = arg;
}

void weir__http_unrouted(weir_http_server *s,
                         int (*fn)(const weir_ctx *ctx, weir_http *x, void *arg, bool *ret_done),
                         void *arg)
{
	weir__magic_check(s, WEIR__HTTP_SERVER_MAGIC);
	s->unrouted = fn;
	s->unrouted_arg = arg;
}

void weir_http_server_goodbye(weir_http_server *s)
{
	weir__magic_check(s, WEIR__HTTP_SERVER_MAGIC);
	__atomic_store_n(&s->goodbye, 1, __ATOMIC_RELAXED);
}

/* ---- a look from outside ---- */

void weir_http_server_stats(const weir_http_server *s, weir_http_stats *ret)
{
	uint64_t *sum = (uint64_t *)ret, limited = __atomic_load_n(&s->limited, __ATOMIC_RELAXED);

	_Static_assert(sizeof *ret % sizeof *sum == 0,
	               "weir_http_stats holds numbers of 64 bits only");
	memset(ret, 0, sizeof *ret);
	for (int i = 0; i < __atomic_load_n(&s->worker_count, __ATOMIC_ACQUIRE); i++) {
		const uint64_t *part = (const uint64_t *)&s->workers[i].stats;

		for (size_t k = 0; k < sizeof *ret / sizeof *sum; k++)
			sum[k] += __atomic_load_n(&part[k], __ATOMIC_RELAXED);
		ret->conns += __atomic_load_n(&s->workers[i].conn_count, __ATOMIC_RELAXED);
	}
	ret->timeouts += limited;
	ret->status[5] += limited;
}

void weir_http_each(weir_http_server *s, void (*fn)(const weir_http_info *, void *), void *arg)
{
	int64_t now = weir_now();

	for (int i = 0; i < __atomic_load_n(&s->worker_count, __ATOMIC_ACQUIRE); i++) {
		struct weir__http_worker *w = &s->workers[i];

		weir__lock_acquire(&w->lock);
		weir__list_each (node, &w->streams) {
			struct weir__http_stream *st =
				weir__container(node, struct weir__http_stream, link);
			weir_http_info info = {
				.route = __atomic_load_n(&st->route, __ATOMIC_ACQUIRE),
				.peer = weir_conn_peer(st->conn->io),
				.task = __atomic_load_n(&st->task, __ATOMIC_RELAXED),
				.since_ns = now - __atomic_load_n(&st->since_ns, __ATOMIC_RELAXED),
			};

			if (info.route)
				fn(&info, arg);
		}
		weir__lock_release(&w->lock);
	}
}

/*
 * On the supervisor's thread. A worker whose handler spins or blocks cannot run the timer of its
 * limit; one that has not switched since the last look and does not sleep may be such a worker.
 */
static void look(struct weir__tick *t)
{
	weir_http_server *s = weir__container(t, weir_http_server, tick);
	int64_t now = weir_now();

	for (int i = 0; i < s->worker_count; i++) {
		struct weir__http_worker *w = &s->workers[i];
		struct weir__worker *rt = &weir__rt.workers[i];
		uint64_t turn = __atomic_load_n(&rt->turn, __ATOMIC_RELAXED), before = w->turn;

		w->turn = turn;
		if (turn != before || __atomic_load_n(&rt->sleeping, __ATOMIC_RELAXED))
			continue;
		weir__lock_acquire(&w->lock);
		weir__list_each (node, &w->streams) {
			struct weir__http_stream *st =
				weir__container(node, struct weir__http_stream, link);

			/* A session of HTTP/2 is its worker's alone. */
			if (!st->h2 && __atomic_load_n(&st->limit_ns, __ATOMIC_RELAXED) <= now)
				weir__http_limit(st->conn);
		}
		weir__lock_release(&w->lock);
	}
}

/* RFC 9110 §5.6.7. Not strftime(), which speaks the program's language. */
void weir__http_date_of(char out[32], time_t s)
{
	static const char days[] = "SunMonTueWedThuFriSat",
			  months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;

	gmtime_r(&s, &tm);
	snprintf(out, 32, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * tm.tm_wday,
	         (unsigned)tm.tm_mday % 100, months + 3 * tm.tm_mon,
	         (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
	         (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

const char *weir__http_date(struct weir__http_worker *w)
{
	struct timespec now;

	/* It may be a tick late, and costs a fifth of the exact time. */
	if (weir__simulating)
		now.tv_sec = (time_t)(weir_wall() / WEIR_SEC(1));
	else
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != w->date_s || !w->date[0]) {
		weir__http_date_of(w->date, now.tv_sec);
		w->date_s = now.tv_sec;
	}
	return w->date;
}

/* ---- serving ---- */

static int open_workers(weir_http_server *s)
{
	int r = 0, count = weir_worker_count();

	weir__lock_acquire(&s->lock);
	if (!s->workers) {
		struct weir__http_worker *w = aligned_alloc(64, (size_t)count * sizeof *w);

		if (w) {
			memset(w, 0, (size_t)count * sizeof *w);
			for (int i = 0; i < count; i++)
				weir__list_init(&w[i].streams);
			s->workers = w;
			__atomic_store_n(&s->worker_count, count, __ATOMIC_RELEASE);
		} else {
			r = -ENOMEM;
		}
	}
	weir__assert(!s->workers || s->worker_count == count,
	             "a server was moved to a run with other workers");
	if (r == 0 && s->servings++ == 0 && !weir__simulating) {
		s->tick.fn = look;
		weir__tick_add(&s->tick);
	}
	weir__lock_release(&s->lock);
	return r;
}

static void close_workers(weir_http_server *s)
{
	weir__lock_acquire(&s->lock);
	if (--s->servings == 0 && !weir__simulating)
		weir__tick_remove(&s->tick);
	weir__lock_release(&s->lock);
}

static int accept_all(const weir_ctx *ctx, struct weir__serving *sv, weir_listener *l)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_conn *io;
	int r;

	for (;;) {
		r = weir_sem_take(&live, &sv->server->slots);
		if (r < 0)
			break;
		r = weir_accept(&live, l, &io);
		if (r <= 0) {
			weir_sem_give(&sv->server->slots);
			break;
		}
		weir__http_conn_start(sv, io);
	}
	if (r != -ESHUTDOWN)
		return r;
	weir_listener_close(l);
	for (;;) {
		r = weir_sem_take(ctx, &sv->server->slots);
		if (r < 0)
			return r;
		r = weir_accept(ctx, l, &io);
		if (r <= 0) {
			weir_sem_give(&sv->server->slots);
			return r;
		}
		weir__http_conn_start(sv, io);
	}
}

int weir_http_serve(const weir_ctx *ctx, weir_http_server *s, weir_listener *l)
{
	return weir_http_serve_tls(ctx, s, l, NULL);
}

int weir_http_serve_tls(const weir_ctx *ctx, weir_http_server *s, weir_listener *l, weir_tls *t)
{
	struct weir__serving sv = { .server = s, .tls = t };
	int r;

	weir__magic_check(s, WEIR__HTTP_SERVER_MAGIC);
	r = open_workers(s);
	if (r < 0)
		return r;
	weir_group_init(&sv.conns, ctx);
	r = accept_all(ctx, &sv, l);
	weir_group_drain(&sv.conns);
	weir_group_wait(&sv.conns);
	close_workers(s);
	return r == -ECANCELED || r == -ESHUTDOWN ? 0 : r;
}
