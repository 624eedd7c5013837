/* SPDX-License-Identifier: MIT */
/* The server itself: is it alive, is it ready, what does it do, stop it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handlers.h"
#include "metrics.h"

enum { TASKS_DEFAULT = 1000, TASKS_MAX = 100000 };
#define STOP_SOON  WEIR_SEC(10) /* so long who watches a stop waits for it to begin */
#define STOP_EVERY WEIR_MS(200)

static int healthz(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	(void)app;
	return weir_http_reply(ctx, x, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

static int readyz(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	if (weir_server_ready(app->server) && !weir_store_up(app->store) && !app->opt->spill)
		return weir_http_problem(ctx, x, 503, "the engine of the queues cannot be reached");
	if (weir_server_ready(app->server))
		return weir_http_reply(ctx, x, 200, "text/plain; charset=utf-8", "ready\n", 6);
	return weir_http_problem(ctx, x, 503, "the server is stopping");
}

static void render_jobs_sum(struct weir__buf *b, struct app *app)
{
	struct metrics_jobs sum;

	metrics_jobs_sum(app, &sum);
	put_name(b, "jobs");
	weir__buf_byte(b, '{');
	put_u64(b, "queues", sum.queues);
	put_u64(b, "queued", sum.queued);
	put_u64(b, "delayed", sum.delayed);
	put_u64(b, "running", sum.running);
	put_u64(b, "done", sum.done);
	put_u64(b, "dead", sum.dead);
	put_u64(b, "cancelled", sum.cancelled);
	put_u64(b, "memory_bytes", weir_store_memory(app->store));
	weir__buf_byte(b, '}');
}

static void render_http(struct weir__buf *b, const weir_http_stats *h)
{
	put_name(b, "http");
	weir__buf_byte(b, '{');
	put_u64(b, "requests", h->requests);
	put_u64(b, "connections_total", h->conns_total);
	put_u64(b, "connections", h->conns);
	put_u64(b, "active", h->active);
	put_u64(b, "idle", h->idle);
	put_u64(b, "bytes_in", h->bytes_in);
	put_u64(b, "bytes_out", h->bytes_out);
	put_u64(b, "refused", h->refused);
	put_u64(b, "timeouts", h->timeouts);
	put_u64(b, "client_gone", h->client_gone);
	weir__buf_byte(b, '}');
}

static void render_slow(struct weir__buf *b, struct app *app)
{
	struct slow_subs *all = metrics_slow(app);

	put_name(b, "slow");
	weir__buf_byte(b, '[');
	for (size_t i = 0; all && i < all->n; i++) {
		if (i)
			weir__buf_byte(b, ',');
		weir__buf_byte(b, '{');
		put_str(b, "subject", all->sub[i].subject);
		if (*all->sub[i].queue)
			put_str(b, "group", all->sub[i].queue);
		put_u64(b, "pending", all->sub[i].stats.pending);
		put_u64(b, "dropped", all->sub[i].stats.dropped);
		weir__buf_byte(b, '}');
	}
	weir__buf_byte(b, ']');
	free(all);
}

static int status(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int64_t left = weir_stop_left();
	struct streams_stats streams;
	weir_http_stats http;
	weir_bus_stats bus;
	const char *addr;

	weir_http_server_stats(weir_server_http(app->server), &http);
	weir_bus_stats_get(app->bus, &bus);
	streams_stats_get(app->streams, &streams);
	weir__buf_byte(&b, '{');
	put_str(&b, "version", WEIR_PROGRAM_VERSION);
	put_u64(&b, "pid", (uint64_t)getpid());
	put_bool(&b, "ready", weir_server_ready(app->server));
	put_bool(&b, "auth", app->auth != NULL);
	put_time(&b, "started_at", app->started_at);
	put_u64(&b, "uptime_s", (uint64_t)((weir_wall() - app->started_at) / 1000000000));
	if (left != WEIR_NEVER)
		put_duration(&b, "stop_left", left ? left : 1);
	put_name(&b, "listen");
	weir__buf_byte(&b, '[');
	for (size_t i = 0; (addr = weir_server_addr(app->server, i)) != NULL; i++) {
		if (i)
			weir__buf_byte(&b, ',');
		weir__buf_json(&b, addr, strlen(addr));
	}
	weir__buf_byte(&b, ']');
	put_u64(&b, "workers", (uint64_t)weir_worker_count());
	put_u64(&b, "tasks", weir_task_count());
	put_u64(&b, "connections", http.conns);
	put_u64(&b, "streams", streams.clients);
	put_u64(&b, "subscriptions", bus.subs - DOORS);
	put_u64(&b, "memory_bytes", weir_store_memory(app->store));
	render_http(&b, &http);
	render_jobs_sum(&b, app);
	put_name(&b, "bus");
	weir__buf_byte(&b, '{');
	put_u64(&b, "published", bus.published);
	put_u64(&b, "delivered", bus.delivered);
	put_u64(&b, "dropped", bus.dropped);
	if (bus.cluster) {
		put_bool(&b, "connected", bus.connected);
		put_u64(&b, "reconnects", bus.reconnects);
		put_u64(&b, "maybe_lost", bus.maybe_lost);
		put_u64(&b, "refused", bus.refused);
		put_u64(&b, "unsent", bus.unsent);
	}
	render_slow(&b, app);
	put_u64(&b, "events_lost", __atomic_load_n(&app->events_lost, __ATOMIC_RELAXED));
	weir__buf_str(&b, "}}");
	return reply_json(ctx, x, 200, &b);
}

static int drain(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct weir__buf b = WEIR__BUF_INIT;

	(void)app;
	weir_stop();
	weir__buf_byte(&b, '{');
	put_bool(&b, "draining", true);
	put_u64(&b, "pid", (uint64_t)getpid());
	weir__buf_byte(&b, '}');
	return reply_json(ctx, x, 202, &b);
}

static int send_stop(const weir_ctx *ctx, weir_http *x, struct app *app, size_t conns)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int64_t left = weir_stop_left();
	int r;

	weir__buf_byte(&b, '{');
	put_duration(&b, "stop_left", left > 0 ? left : 1);
	put_u64(&b, "connections", conns);
	render_jobs_sum(&b, app);
	weir__buf_byte(&b, '}');
	r = b.failed ? -ENOMEM : weir_sse_send(ctx, x, "stop", b.data, b.len);
	weir__buf_free(&b);
	return r;
}

/* How a stop goes on, from its begin until those who watch it are alone. Nothing waits for a
 * watcher: it ends by itself then, or with what cuts the others. */
static int drain_events(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	int64_t until = weir_now() + STOP_SOON;
	bool alone = false;
	int r;

	if (wants_head(x))
		return weir_sse_begin(ctx, x);
	__atomic_add_fetch(&app->stop_watchers, 1, __ATOMIC_RELAXED);
	r = weir_sse_begin(ctx, x);
	while (r == 0 && !alone && (weir_stop_left() != WEIR_NEVER || weir_now() < until)) {
		size_t watchers = __atomic_load_n(&app->stop_watchers, __ATOMIC_RELAXED);
		weir_http_stats http;

		weir_http_server_stats(weir_server_http(app->server), &http);
		if (weir_stop_left() != WEIR_NEVER)
			r = send_stop(ctx, x, app,
			              http.conns > watchers ? http.conns - watchers : 0);
		alone = weir_ctx_draining(ctx) && http.conns <= watchers;
		if (r == 0 && !alone)
			r = weir_sleep(ctx, STOP_EVERY);
	}
	__atomic_sub_fetch(&app->stop_watchers, 1, __ATOMIC_RELAXED);
	return r;
}

static int metrics(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int r;

	metrics_render(&b, app);
	if (b.failed)
		r = weir_http_problem(ctx, x, 500, "no memory for the answer");
	else
		r = weir_http_reply(ctx, x, 200, "text/plain; version=0.0.4; charset=utf-8", b.data,
		                    b.len);
	weir__buf_free(&b);
	return r;
}

/* ---- Tasks ---- */
struct tasks {
	struct weir__buf b;
	size_t n, max;
	bool text;
};

static void add_task(const weir_task_info *t, void *arg)
{
	struct tasks *all = arg;
	struct weir__buf *b = &all->b;

	if (all->n++ >= all->max)
		return;
	if (all->text) {
		weir__buf_printf(b, "%llu %s (%s) on worker %d: %s%s%s for %.3g s\n",
		                 (unsigned long long)t->id, t->name, t->place, t->worker, t->state,
		                 t->waits_on ? " in " : "", t->waits_on ? t->waits_on : "",
		                 (double)t->since_ns / 1e9);
		return;
	}
	if (all->n > 1)
		weir__buf_byte(b, ',');
	weir__buf_byte(b, '{');
	put_u64(b, "id", t->id);
	put_str(b, "name", t->name ? t->name : "");
	put_str(b, "place", t->place ? t->place : "");
	put_str(b, "state", t->state ? t->state : "");
	if (t->waits_on)
		put_str(b, "waits_on", t->waits_on);
	put_name(b, "worker");
	weir__buf_printf(b, "%d", t->worker);
	put_u64(b, "since_ms", (uint64_t)(t->since_ns / 1000000));
	if (t->left_ns != WEIR_NEVER)
		put_u64(b, "left_ms", t->left_ns > 0 ? (uint64_t)(t->left_ns / 1000000) : 0);
	weir__buf_byte(b, '}');
}

static int debug_tasks(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *format = weir_http_query(x, "format");
	struct tasks all = { .text = format && !strcmp(format, "text") };
	struct params p = { .x = x };
	int64_t limit = TASKS_DEFAULT;
	int r;

	(void)app;
	read_int(&p, "limit", weir_http_query(x, "limit"), 1, TASKS_MAX, &limit);
	if (format && !all.text && strcmp(format, "json"))
		wrong(&p, "format: %.40s is neither json nor text", format);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	all.max = (size_t)limit;
	if (!all.text)
		weir__buf_str(&all.b, "{\"tasks\":[");
	weir_each_task(add_task, &all);
	if (!all.text) {
		weir__buf_byte(&all.b, ']');
		put_u64(&all.b, "total", all.n);
		weir__buf_byte(&all.b, '}');
		return reply_json(ctx, x, 200, &all.b);
	}
	if (all.n > all.max)
		weir__buf_printf(&all.b, "and %zu more\n", all.n - all.max);
	r = all.b.failed ? -ENOMEM :
	                   weir_http_reply(ctx, x, 200, "text/plain; charset=utf-8", all.b.data,
	                                   all.b.len);
	weir__buf_free(&all.b);
	return r;
}

const struct route admin_routes[] = {
	{ "GET /healthz", healthz, MAY_ANY, OF_SERVER, { 0 }, any_query },
	{ "GET /readyz", readyz, MAY_ANY, OF_SERVER, { 0 }, any_query },
	{ "GET /metrics", metrics, MAY_ANY, OF_SERVER, { 0 }, any_query },
	{ "GET /v1/status", status, MAY_ANY, OF_SERVER, { 0 } },
	{ "POST /v1/drain", drain, MAY_ADMIN, OF_SERVER, { 0 } },
	{ "GET /v1/drain/events", drain_events, MAY_ADMIN, OF_SERVER, { 0 } },
	{ "GET /debug/tasks", debug_tasks, MAY_ADMIN, OF_SERVER, { 0 }, NAMES("format", "limit") },
	{ "POST /v1/login", auth_login, MAY_ANY, OF_SERVER, { .body_max = 4096 } },
	{ "POST /v1/logout", auth_logout, MAY_ANY, OF_SERVER, { .body_max = 4096 } },
	{ "POST /v1/tokens", auth_make_token, MAY_ANY, OF_SERVER, { .body_max = 4096 } },
	{ NULL, NULL, 0, OF_SERVER, { 0 } },
};
