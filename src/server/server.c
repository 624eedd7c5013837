/* SPDX-License-Identifier: MIT */
/*
 * The order in which a server starts, drains and stops.
 *
 * Everything hangs below one scope of this file, the inner one. It holds the program's drain back,
 * so that the drain comes to each part when it is its turn:
 *
 *	start:  services in order (open, then run) → connections → ready
 *	drain:  not ready → drain_wait → listeners close → connections drain and end
 *	        → services in reverse (drain run, join, close) → report
 *
 * Cancel is not held back: it reaches all at once, when the supervisor cancels the root at two
 * thirds of the budget. Owner tasks must outlive the handlers that call them even then, so a guard
 * cancels the connections a little earlier, by a thirtieth of the budget. No step polls: the run's
 * task waits for the drain, then for a group, then for the next group.
 *
 * What outlives the budget is the supervisor's: it prints weir_server_report() and ends the
 * process.
 *
 * Rejected: one group for all with priorities (joining is the only proof that nobody uses a service
 * any more); letting the program's drain reach services directly (an owner would leave while
 * requests that were accepted still need it).
 */
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/units.h"
#include "server/notify.h"

enum {
	GUARD_PART = 30, /* connections are cancelled a thirtieth of the budget before the rest */
};

/* How long one `close` may take at most; it is deaf to cancel, so it has to have an end of its
 * own. */
#define CLOSE_MAX WEIR_SEC(20)

weir_server *weir_server_new(const weir_server_options *opt)
{
	weir_server *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->magic = WEIR__SERVER_MAGIC;
	if (opt)
		s->opt = *opt;
	if (!s->opt.name)
		s->opt.name = "weir";
	s->http = weir_http_server_new(&s->opt.http);
	if (!s->http) {
		free(s);
		return NULL;
	}
	return s;
}

void weir_server_free(weir_server *s)
{
	if (!s)
		return;
	weir__magic_check(s, WEIR__SERVER_MAGIC);
	for (size_t i = 0; i < s->listeners_n; i++)
		weir_listener_free(s->listeners[i]);
	weir_http_server_free(s->http);
	s->magic = 0;
	free(s);
}

weir_http_server *weir_server_http(weir_server *s)
{
	weir__magic_check(s, WEIR__SERVER_MAGIC);
	return s->http;
}

int weir_server_listen(weir_server *s, const char *addr)
{
	weir_listener *l;
	int64_t fd;
	bool nats;
	int r;

	weir__magic_check(s, WEIR__SERVER_MAGIC);
	if (s->listeners_n == WEIR__LISTENERS_MAX)
		return -ENOSPC;
	nats = !strncmp(addr, "nats://", 7);
	if (nats)
		addr += 7;
	if (strncmp(addr, "fd:", 3))
		r = weir_listen(addr, &l);
	else if (weir__parse_int(addr + 3, &fd) < 0 || fd < 0 || fd > INT32_MAX)
		r = -EINVAL;
	else
		r = weir_listen_fd((int)fd, &l);
	if (r < 0)
		return r;
	if (strncmp(weir_listener_addr(l), "unix", 4) && strncmp(weir_listener_addr(l), "mem:", 4))
		s->listener_tls[s->listeners_n] = s->tls;
	s->of_nats[s->listeners_n] = nats;
	s->listeners[s->listeners_n++] = l;
	return 0;
}

void weir_server_tls(weir_server *s, weir_tls *t)
{
	weir__magic_check(s, WEIR__SERVER_MAGIC);
	s->tls = t;
}

void weir_server_nats(weir_server *s, weir_nats_server *n)
{
	weir__magic_check(s, WEIR__SERVER_MAGIC);
	s->nats = n;
}

int weir_server_listen_inherited(weir_server *s)
{
	int n = weir__notify_listen_fds();

	for (int i = 0; i < n; i++) {
		char addr[16];
		int r;

		snprintf(addr, sizeof addr, "fd:%d", WEIR__LISTEN_FD_FIRST + i);
		r = weir_server_listen(s, addr);
		if (r < 0)
			return r;
	}
	return n;
}

const char *weir_server_addr(const weir_server *s, size_t i)
{
	return i < s->listeners_n ? weir_listener_addr(s->listeners[i]) : NULL;
}

const char *weir_server_protocol(const weir_server *s, size_t i)
{
	if (i >= s->listeners_n)
		return NULL;
	return s->of_nats[i] ? "nats" : s->listener_tls[i] ? "https" : "http";
}

int weir_server_add(weir_server *s, const weir_service *service)
{
	weir__magic_check(s, WEIR__SERVER_MAGIC);
	if (s->services_n == WEIR__SERVICES_MAX)
		return -ENOMEM;
	s->services[s->services_n++] = (struct weir__service){ .is = *service, .server = s };
	return 0;
}

int weir_server_service(weir_server *s, const char *name, weir_task_fn *run, void *arg,
                        int (*report)(char *buf, size_t n, void *arg))
{
	return weir_server_add(
		s, &(weir_service){ .name = name, .run = run, .report = report, .arg = arg });
}

void weir_server_on_step(weir_server *s, void (*fn)(const char *step, void *arg), void *arg)
{
	s->on_step = fn;
	s->on_step_arg = arg;
}

bool weir_server_ready(const weir_server *s)
{
	return __atomic_load_n(&s->ready, __ATOMIC_ACQUIRE);
}

static void step(weir_server *s, const char *name)
{
	if (s->on_step)
		s->on_step(name, s->on_step_arg);
}

/* The inner scope's drain is not passed on by anybody: each group below it is drained in its
 * turn. */
static void hold_drain(weir_hook *hook, int what)
{
	(void)hook;
	(void)what;
}

/* Something that the server cannot be without has ended by itself. In a stop this is too late to
 * matter; before one it begins it, and that of the program, since only that has a budget. True: it
 * was told. */
static bool end_by(weir_server *s, const char *what, int r)
{
	int none = 0;

	if (!__atomic_compare_exchange_n(&s->ended_by, &none, r < 0 ? r : 1, false,
	                                 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	if (r < 0 && !__atomic_load_n(&s->stop_at, __ATOMIC_ACQUIRE)) {
		weir__log(WEIR__ERROR, "server", "%s failed: %s; so the server stops", what,
		          strerror(-r));
		weir_stop();
		none = r;
	}
	weir_latch_down(&s->ended);
	return none < 0;
}

static int run_service(const weir_ctx *ctx, void *arg)
{
	struct weir__service *v = arg;
	int r = v->is.run(ctx, v->is.arg);

	if (r < 0 && weir_ctx_err(ctx) == 0)
		v->told = end_by(v->server, v->is.name, r);
	/* Its time is the server's, and when that is over nothing has failed. */
	return r == -ETIMEDOUT && weir_ctx_err(ctx) == r ? 0 : r;
}

static int open_services(weir_server *s)
{
	for (size_t i = 0; i < s->services_n; i++) {
		struct weir__service *v = &s->services[i];
		int r = v->is.open ? v->is.open(&s->inner, v->is.arg) : 0;

		if (r < 0) {
			weir__log(WEIR__ERROR, "server", "%s did not start: %s", v->is.name,
			          strerror(-r));
			return r;
		}
		v->opened = true;
		v->told = false; /* A run that failed before it served may be tried again. */
		if (!v->is.run)
			continue;
		weir_group_init(&v->group, &s->inner);
		v->running = true;
		r = weir_group_go_(&v->group, -1, run_service, v, v->is.name, WEIR_HERE);
		if (r < 0)
			return r;
	}
	return 0;
}

static int note_failure(const struct weir__service *v, const char *what, bool told, int error,
                        int before)
{
	if (error < 0 && !told)
		weir__log(WEIR__ERROR, "server", "%s %s: %s", v->is.name, what, strerror(-error));
	return before < 0 || error >= 0 ? before : error;
}

/* Each is joined before the next hears of the stop. The first error. */
static int close_services(weir_server *s)
{
	int r = 0;

	for (size_t i = s->services_n; i-- > 0;) {
		struct weir__service *v = &s->services[i];

		if (v->running) {
			int e;

			weir_group_drain(&v->group);
			e = weir_group_wait(&v->group);
			r = note_failure(v, "failed", v->told, e, r);
			v->running = false;
		}
		if (v->opened && v->is.close) {
			int64_t left = weir_stop_left();
			weir_ctx deaf =
				weir_ctx_shield(&s->inner, left < CLOSE_MAX ? left : CLOSE_MAX);

			r = note_failure(v, "did not close well", false,
			                 v->is.close(&deaf, v->is.arg), r);
		}
		v->opened = false;
	}
	return r;
}

struct serving {
	weir_server *server;
	weir_listener *listener;
	weir_tls *tls;
	bool nats;
};

static int serve_listener(const weir_ctx *ctx, void *arg)
{
	struct serving *v = arg;
	weir_server *s = v->server;
	int r;

	if (v->nats)
		r = weir_nats_serve(ctx, s->nats, v->listener, v->tls);
	else
		r = weir_http_serve_tls(ctx, s->http, v->listener, v->tls);
	if (r == -ETIMEDOUT && weir_ctx_err(ctx) == r)
		r = 0; /* As with services; the server hears the same. */
	else
		(void)end_by(s, weir_listener_addr(v->listener), r);
	free(v);
	return r;
}

struct guarding {
	weir_server *server;
	weir_group *front;
};

/* The connections get their cancel before the services do. */
static int guard(const weir_ctx *ctx, void *arg)
{
	struct guarding *g = arg;
	int64_t budget = weir_stop_left();
	int r;

	if (budget == WEIR_NEVER)
		return 0;
	r = weir_sleep(ctx, budget - budget / 3 - budget / GUARD_PART);
	if (r < 0)
		return 0;
	weir__server_report_cut(g->server);
	weir_scope_cancel(g->front->ctx.scope, -ESHUTDOWN, "the budget of the stop is used up");
	return 0;
}

static int start_listeners(weir_server *s, weir_group *front)
{
	for (size_t i = 0; i < s->listeners_n; i++) {
		struct serving *v = malloc(sizeof *v);
		int r;

		if (!v)
			return -ENOMEM;
		if (s->of_nats[i] && !s->nats) {
			weir__log(WEIR__ERROR, "server",
			          "nobody serves nats://%s: weir_server_nats() is missing",
			          weir_listener_addr(s->listeners[i]));
			free(v);
			return -EINVAL;
		}
		*v = (struct serving){ s, s->listeners[i], s->listener_tls[i], s->of_nats[i] };
		r = weir_group_go(front, serve_listener, v);
		if (r < 0) {
			free(v);
			return r;
		}
	}
	return 0;
}

static void begin_stop(const weir_ctx *ctx, weir_server *s)
{
	weir_http_server_stats(s->http, &s->before);
	__atomic_store_n(&s->stop_at, weir_now(), __ATOMIC_RELEASE);
	/* First, so that whoever is told that it is not ready is told to go, too. */
	if (s->opt.drain_wait_ns > 0)
		weir_http_server_goodbye(s->http);
	__atomic_store_n(&s->ready, false, __ATOMIC_RELEASE);
	weir__notify("STOPPING=1");
	step(s, "drain");
	weir__log(WEIR__INFO, "server",
	          "stopping: %llu requests and streams run, %llu connections are open",
	          (unsigned long long)s->before.active, (unsigned long long)s->before.conns);
	if (s->opt.drain_wait_ns > 0) {
		int64_t half =
			weir_stop_left() / 2; /* The drain itself needs some of the budget, too. */

		(void)weir_sleep(ctx, s->opt.drain_wait_ns < half ? s->opt.drain_wait_ns : half);
	}
	for (size_t i = 0; i < s->listeners_n; i++)
		weir_listener_close(s->listeners[i]);
	step(s, "listeners-closed");
}

static int serve(const weir_ctx *ctx, weir_server *s)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_group front, watch;
	struct guarding guarding = { s, &front };
	int r, joined;

	r = __atomic_load_n(&s->ended_by, __ATOMIC_ACQUIRE);
	if (r < 0)
		return r; /* A service failed while others started. */
	weir_group_init(&front, &s->inner);
	r = start_listeners(s, &front);
	if (r == 0) {
		__atomic_store_n(&s->ready, true, __ATOMIC_RELEASE);
		step(s, "ready");
		weir__notify("READY=1");
		if (weir_latch_wait(&live, &s->ended) == -ETIMEDOUT)
			weir__log(WEIR__INFO, "server", "the time it was to run for is over");
		r = __atomic_load_n(&s->ended_by, __ATOMIC_ACQUIRE);
	}
	begin_stop(ctx, s);
	weir_group_init(&watch, &s->inner);
	if (weir_group_go(&watch, guard, &guarding) < 0)
		weir__log(WEIR__WARN, "server", "no memory to guard the order of the stop");
	weir_group_drain(&front);
	joined = weir_group_wait(&front);
	weir_group_cancel(&watch);
	(void)weir_group_wait(&watch);
	step(s, weir_ctx_err(ctx) < 0 ? "cancel" : "drained");
	return r < 0 ? r : joined;
}

static void report_forced(int fd, struct weir__last_word *w)
{
	weir_server_report(fd, weir__container(w, weir_server, last_word));
}

static int run(const weir_ctx *ctx, weir_server *s)
{
	int r, closed;

	weir_latch_init(&s->ended, 1);
	s->ended_by = 0;
	s->hold = (weir_hook){ .fn = hold_drain, .holds_drain = true };
	r = weir_hook_add(s->inner.scope, &s->hold);
	if (r < 0)
		return r;
	s->last_word.fn = report_forced;
	weir__last_word_add(&s->last_word);
	r = open_services(s);
	if (r == 0)
		r = serve(ctx, s);
	closed = close_services(s);
	if (r == 0)
		r = closed;
	weir__last_word_remove(&s->last_word);
	r = weir__server_report_end(s, r);
	weir_hook_remove(&s->hold);
	return r;
}

int weir_server_run(const weir_ctx *ctx, weir_server *s)
{
	int r;

	weir__magic_check(s, WEIR__SERVER_MAGIC);
	if (__atomic_exchange_n(&s->running, true, __ATOMIC_ACQ_REL)) {
		weir__log(WEIR__ERROR, "server", "%s runs already", s->opt.name);
		return -EBUSY;
	}
	if (s->stop_at) {
		weir__log(WEIR__ERROR, "server",
		          "%s has stopped and its listeners are closed: a new run needs a new "
		          "server",
		          s->opt.name);
		r = -EINVAL;
	} else {
		r = weir_scope_open(ctx, &s->inner);
		if (r == 0) {
			r = run(ctx, s);
			weir_scope_close(s->inner.scope);
		}
	}
	__atomic_store_n(&s->running, false, __ATOMIC_RELEASE);
	return r;
}
