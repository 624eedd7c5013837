/* SPDX-License-Identifier: MIT */
/*
 * Timeouts and endless streams on one server. A limit on whole answers kills streams; none lets
 * handlers and stalled clients stay forever. So there are two others: `handler_ns`, until the first
 * byte of the answer, and `write_ns`, progress: a client that takes no byte for so long is cut.
 *
 *	$ ./example-sse :8080 &
 *	$ curl -i 'localhost:8080/report?ms=5000'    503 after one second
 *	$ curl -N localhost:8080/clock               a stream of its own, one event a second
 *	$ curl -N localhost:8080/news &              one of many; `curl -d hi localhost:8080/news` reaches all
 *	$ curl -N -H 'Last-Event-ID: <id>' localhost:8080/news    what came after <id>, then what comes
 *	$ kill %1                                    each stream gets `retry:` and a clean end
 */
#include <weir/server.h>
#include <weir/sse.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct site {
	const char *addr;
	int64_t tick_ns, write_ns; /* arguments, since tests wait less than people */
	weir_hub *news;
};

/* An ordinary handler. At its limit the server answers, and this wait ends too. */
static int report(const weir_ctx *ctx, weir_http *x, __attribute__((unused)) void *arg)
{
	const char *ms = weir_http_query(x, "ms");
	int r = weir_sleep(ctx, WEIR_MS(ms ? strtol(ms, NULL, 10) : 0));

	return r < 0 ? r : weir_http_printf(ctx, x, "done\n");
}

/* A stream by hand: waits under `live`, which a stop ends, and says goodbye under `ctx`. */
static int stream_clock(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int r = weir_sse_begin(ctx, x);

	while (r == 0 && (r = weir_sleep(&live, ((struct site *)arg)->tick_ns)) == 0)
		r = weir_sse_send(ctx, x, "tick", "1", 1);
	return r == -ESHUTDOWN ? weir_sse_retry(ctx, x, WEIR_SEC(2)) : r;
}

/* The same news for everyone: the handler hands its client over; a small record stays, no task. */
static int read_news(const weir_ctx *ctx, weir_http *x, void *arg)
{
	return weir_hub_join(ctx, x, ((struct site *)arg)->news, NULL);
}

static int post_news(const weir_ctx *ctx, weir_http *x, void *arg)
{
	size_t len;
	char *body;
	int64_t r = weir_http_body(ctx, x, &body, &len);

	if (r == 0)
		r = weir_hub_publish(((struct site *)arg)->news, "news", body, len);
	return r < 0 ? (int)r : weir_http_printf(ctx, x, "%lld\n", (long long)r);
}

static int count(const weir_ctx *ctx, weir_http *x, void *arg)
{
	weir_hub_stats h;

	weir_hub_stats_get(((struct site *)arg)->news, &h);
	return weir_http_printf(ctx, x, "%zu clients, %d cut, %zu tasks\n", h.clients,
	                        (int)h.closed_slow, weir_task_count());
}

/* A service opens before the first request comes and closes when the last connection has ended. */
static int open_news(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;
	weir_hub_options opt = { .heartbeat_ns = 15 * s->tick_ns, .write_ns = s->write_ns };

	return weir_hub_new(ctx, &opt, &s->news);
}

static int close_news(const weir_ctx *ctx, void *arg)
{
	return weir_hub_close(ctx, ((struct site *)arg)->news);
}

static int app(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;
	weir_server_options opt = { .http.write_ns = s->write_ns };
	weir_server *server = weir_server_new(&opt);
	weir_http_limits a_second = { .handler_ns = WEIR_SEC(1) };
	weir_service news = { .name = "news", .open = open_news, .close = close_news, .arg = s };
	int r = server ? weir_server_add(server, &news) : -ENOMEM;
	weir_http_server *http = r < 0 ? NULL : weir_server_http(server);

	if (r == 0 && (r = weir_http_route(http, "GET /report", report, s, &a_second)) == 0 &&
	    (r = weir_http_route(http, "GET /clock", stream_clock, s, NULL)) == 0 &&
	    (r = weir_http_route(http, "GET /news", read_news, s, NULL)) == 0 &&
	    (r = weir_http_route(http, "POST /news", post_news, s, NULL)) == 0 &&
	    (r = weir_http_route(http, "GET /count", count, s, NULL)) == 0 &&
	    (r = weir_server_listen(server, s->addr)) == 0 &&
	    fprintf(stderr, "listening on %s\n", weir_server_addr(server, 0)) > 0)
		r = weir_server_run(ctx, server);
	weir_server_free(server);
	return r;
}

/* ADDRESS [MILLISECONDS BETWEEN TICKS [MILLISECONDS WITHOUT PROGRESS]] */
int main(int argc, char **argv)
{
	long tick_ms = argc > 2 ? strtol(argv[2], NULL, 10) : 1000;
	long write_ms = argc > 3 ? strtol(argv[3], NULL, 10) : 10000;
	struct site s = { argc > 1 ? argv[1] : ":8080", WEIR_MS(tick_ms), WEIR_MS(write_ms), NULL };
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max; /* A stream is a descriptor: take what we may. */
	setrlimit(RLIMIT_NOFILE, &files);
	return weir_main(app, &s);
}
