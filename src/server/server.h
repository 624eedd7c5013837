/* SPDX-License-Identifier: MIT */
/* The server's inside, shared by server.c (the order) and report.c (what is said about it). */
#ifndef WEIR_SERVER_SERVER_H
#define WEIR_SERVER_SERVER_H

#include <weir/server.h>
#include <weir/sync.h>

#include "rt/lock.h"
#include "rt/super.h"

enum { WEIR__SERVICES_MAX = 32, WEIR__LISTENERS_MAX = 64, WEIR__STRAGGLERS_MAX = 64 };

struct weir__service {
	weir_service is;
	weir_server *server;
	bool told;        /* that it failed; by `run`'s task, read when that is joined */
	weir_group group; /* of `run` */
	bool opened, running;
};

/* One request that is still there when the budget is used up. */
struct weir__straggler {
	uint64_t task;
	int64_t since_ns;
	char route[96], peer[64];
	char state[16], waits_on[32], place[64];
	int worker;
	int64_t state_ns;
};

#define WEIR__SERVER_MAGIC 0x53525652u

struct weir_server {
	uint32_t magic;
	weir_server_options opt;
	weir_http_server *http;
	weir_nats_server *nats; /* NULL: none */
	weir_listener *listeners[WEIR__LISTENERS_MAX];
	weir_tls *listener_tls[WEIR__LISTENERS_MAX]; /* NULL: none */
	bool of_nats[WEIR__LISTENERS_MAX];
	size_t listeners_n;
	weir_tls *tls; /* for what is added next */
	struct weir__service services[WEIR__SERVICES_MAX];
	size_t services_n;
	void (*on_step)(const char *step, void *arg);
	void *on_step_arg;
	bool ready, running; /* atomic */

	/* Of one run; the run's task writes, reports read. */
	weir_ctx inner;   /* below the program's context, but deaf to its drain */
	weir_hook hold;   /* what makes it so */
	weir_latch ended; /* opened by the first listener or service that fails */
	int ended_by;     /* atomic: its error, or 1 for none; 0: nothing has ended */
	struct weir__last_word last_word;
	int64_t stop_at;        /* atomic; 0: no stop has begun */
	weir_http_stats before; /* when the stop began */

	/* Under the lock: the report of a forced stop must not need memory, and two may be asked
	 * for at once. */
	weir__lock report_lock;
	struct weir__straggler stragglers[WEIR__STRAGGLERS_MAX];
	size_t stragglers_n, stragglers_more;
};

/* A line in the log for each request and stream that is about to be cut. */
void weir__server_report_cut(weir_server *s);

/* The lines of a stop that ended by itself, into the log. `result`, or 3 when requests were cut. */
int weir__server_report_end(weir_server *s, int result);

#endif
