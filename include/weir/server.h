/* SPDX-License-Identifier: MIT */
/*
 * A server joins listeners, protocols and services under one shutdown with one budget and one
 * report.
 *
 *	weir_server *s = weir_server_new(NULL);
 *	r = weir_http_route(weir_server_http(s), "GET /", hello, NULL, NULL);
 *	r = weir_server_listen(s, ":8080");
 *	r = weir_server_run(ctx, s);            // until drain; then doc/design/server.md
 *
 * Services (owner tasks, workers, stores) are started before connections are served and stopped
 * after the last has ended, in reverse order.
 */
#ifndef WEIR_SERVER_H
#define WEIR_SERVER_H

#include <weir/http.h>
#include <weir/nats.h>

WEIR_BEGIN

typedef struct weir_server weir_server;

typedef struct weir_server_options {
	weir_http_limits http;
	int64_t drain_wait_ns; /* go on accepting so long after the stop began; default 0 */
	const char *name;      /* in the report; default "weir" */
} weir_server_options;

WEIR_API weir_server *weir_server_new(const weir_server_options *opt); /* NULL without memory */
WEIR_API void weir_server_free(weir_server *s);
WEIR_API weir_http_server *weir_server_http(weir_server *s);

/* As weir_listen(), and "fd:3" takes over a listening socket; "nats://" before either is for NATS
 * clients, everything else for HTTP. Before running. The real address is in weir_server_addr(s,
 * i). */
WEIR_API int weir_server_listen(weir_server *s, const char *addr);

/* What listens from now on speaks TLS, but Unix sockets and memory, whose peers are on this
 * machine. NULL: no more. Borrowed. */
WEIR_API void weir_server_tls(weir_server *s, weir_tls *t);

/* Who serves the "nats://" listeners. Not taken over. Before running, or in the `open` of a
 * service. */
WEIR_API void weir_server_nats(weir_server *s, weir_nats_server *n);

/* Take over what systemd passed (LISTEN_PID, LISTEN_FDS): how many, 0 for none. */
WEIR_API int weir_server_listen_inherited(weir_server *s);
WEIR_API const char *weir_server_addr(const weir_server *s, size_t i); /* NULL past the end */
/* "http", "https" or "nats". */
WEIR_API const char *weir_server_protocol(const weir_server *s, size_t i);

/*
 * A service: what handlers use and what therefore starts before them and stops after them. In order
 * of adding, `open` runs on the server's task, then `run` in a group of its own. On the stop, after
 * the last connection has ended and in reverse order, the group is drained and joined, then `close`
 * runs, each before the next. Every function may be NULL. A failing `open` ends weir_server_run()
 * with its error. A `run` that returns an error begins the stop of the program (weir_stop()), for
 * handlers would wait for an owner that is gone, and its error is the result; one that returns 0
 * was done, and the rest goes on. An error of `close` is the result, too; the first of several.
 * `run`'s context does not hear the program's drain but its own turn. `close` gets a context that
 * is deaf to cancel, so that it can save what it holds. `report` writes one line about what was
 * done into buf for the report; it may be called on any thread.
 */
typedef struct weir_service {
	const char *name; /* static */
	int (*open)(const weir_ctx *ctx, void *arg);
	weir_task_fn *run;
	int (*close)(const weir_ctx *ctx, void *arg);
	int (*report)(char *buf, size_t n, void *arg);
	void *arg;
} weir_service;

/* Before running. 0 or -ENOMEM. The struct is copied. */
WEIR_API int weir_server_add(weir_server *s, const weir_service *service);

/* The same for one that is just an owner task. */
WEIR_API int weir_server_service(weir_server *s, const char *name, weir_task_fn *run, void *arg,
                                 int (*report)(char *buf, size_t n, void *arg));

/* Hear the steps: "ready", "drain" (not ready any more), "listeners-closed", "drained" or, when
 * that took too long, "cancel". On the server's task; must not wait. */
WEIR_API void weir_server_on_step(weir_server *s, void (*fn)(const char *step, void *arg),
                                  void *arg);

/* 200 while serving, 503 once the stop began: what /readyz answers. Any task. */
WEIR_API bool weir_server_ready(const weir_server *s);

/* Waits until the context drains or is cancelled, or a listener or service fails, and then until
 * all has stopped. 0 for a clean stop; 3, to be used as exit status, when requests had to be cut;
 * the error of a listener or service. A server runs once: -EBUSY while it runs, -EINVAL after it
 * has stopped; several servers may run in one program. Logs the report. What outlives the budget is
 * the supervisor's: it prints weir_server_report() and ends the process with status 3. */
WEIR_API int weir_server_run(const weir_ctx *ctx, weir_server *s);

/* What a forced stop prints: counts, and each request that is cut with its route, its peer, what
 * its task waits for and how long. For weir_options.report; weir_server_run() sets it by itself in
 * a program of weir_main(). Any thread; never waits. */
WEIR_API void weir_server_report(int fd, void *server);

WEIR_END
#endif
