/* SPDX-License-Identifier: MIT */
/*
 * A server joins listeners, protocols and services under one shutdown with one budget and one report.
 *
 *	weir_server *s = weir_server_new(NULL);
 *	r = weir_http_route(weir_server_http(s), "GET /", hello, NULL, NULL);
 *	r = weir_server_listen(s, ":8080");
 *	r = weir_server_run(ctx, s);            until drain; then the sequence of doc/design/server.md
 *
 * Services (owner tasks, workers, stores) are started before listening and stopped after, in reverse order.
 */
#ifndef WEIR_SERVER_H
#define WEIR_SERVER_H

#include <weir/http.h>

WEIR_BEGIN

typedef struct weir_server weir_server;

typedef struct weir_server_options {
	weir_http_limits http;
	int64_t drain_wait_ns;  /* stay accepting so long after the stop began, not ready; default 0 */
	const char *name;       /* in the report; default "weir" */
} weir_server_options;

WEIR_API weir_server *weir_server_new(const weir_server_options *opt); /* NULL without memory */
WEIR_API void weir_server_free(weir_server *s);
WEIR_API weir_http_server *weir_server_http(weir_server *s);

/* As weir_listen(); also takes over LISTEN_FDS with "fd:3" . The real address in weir_server_addr(s, i). */
WEIR_API int weir_server_listen(weir_server *s, const char *addr);
WEIR_API const char *weir_server_addr(const weir_server *s, size_t i); /* NULL past the end */

/*
 * A service: `start` runs as a task of a group of its own, in order of adding, before connections are served. On the stop, after the
 * connections have ended, the groups are drained and joined in reverse order, each before the next. `report` (may be NULL) writes one
 * line about what was done into buf for the report.
 */
WEIR_API int weir_server_service(weir_server *s, const char *name, weir_task_fn *start, void *arg,
                                 int (*report)(char *buf, size_t n, void *arg));

/* Hear the steps: "drain" (not ready any more), "listeners-closed", "drained", "cancel". On the server's task; must not wait. */
WEIR_API void weir_server_on_step(weir_server *s, void (*fn)(const char *step, void *arg), void *arg);

/* 200 while serving, 503 once the stop began: what /readyz answers. Any task. */
WEIR_API bool weir_server_ready(const weir_server *s);

/* Waits until the context drains or is cancelled and then until all has stopped. 0 for a clean stop; the error of a listener. Prints the
 * report to stderr. Forced ends (the budget) are the supervisor's: exit status 3. */
WEIR_API int weir_server_run(const weir_ctx *ctx, weir_server *s);

WEIR_END
#endif
