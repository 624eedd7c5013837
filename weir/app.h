/* SPDX-License-Identifier: MIT */
/*
 * A running `weir serve`: what its handlers share. Everything here is set before the first
 * connection is served and stays until the last has ended (the order is serve.c's), so handlers
 * read it without a lock; what changes says how.
 */
#ifndef WEIR_PROGRAM_APP_H
#define WEIR_PROGRAM_APP_H

#include "weir.h"

struct auth;
struct streams;
struct leases;
struct runners;

enum { DOORS = 2 };

struct app {
	const struct options *opt;
	weir_server *server;
	weir_store *store;
	weir_bus *bus;
	weir_bus_report bus_last;  /* what closing it did */
	weir_nats_server *nats;    /* NULL: none; atomic at the end */
	weir_nats_stats nats_last; /* what the report says of it when it is gone */
	weir_sub *doors[DOORS];    /* of bus_work.c; not counted where subscriptions are shown */
	weir_chan *events; /* of struct job_message *: job changes on their way to the bus */
	struct streams *streams;
	struct leases *leases;
	struct runners *runners;
	struct auth *auth;  /* NULL: no tokens are asked for */
	weir_tls *tls;      /* NULL: none is spoken */
	int64_t started_at; /* wall clock */

	size_t stop_watchers; /* atomic; who looks on while it stops */
	bool stopping;        /* atomic; a stop has begun: from then on the three below count */
	uint64_t finished, failed, returned; /* atomic; runs of jobs */
	size_t spooled;                      /* jobs that a clean close kept for the next start */
	size_t unkept;                       /* and that it could not */
	uint64_t events_lost; /* atomic; changes that the bus did not hear of: too many at once */
};

/* serve.c: the root task of `weir serve`, with a struct app of which opt (and auth) is set. The
 * exit status. */
weir_task_fn serve;

/* events.c: every change of a job becomes a message on weir.jobs.{queue}.{id}, with the queue's
 * name as one token that no other queue has. */
enum { JOB_SUBJECT_MAX = 11 + 1 + 64 + 1 + WEIR_JOB_ID_LEN + 1 };
void job_subject(char buf[JOB_SUBJECT_MAX], const char *queue, const char *id);
weir_job_listener events_listen;
weir_job_wanted events_wanted;
extern const weir_service events_channel_service,
	events_service; /* the channel below the store, the task above it */

/* streams.c: one hub per subject pattern that somebody streams. */
struct streams_stats {
	size_t patterns, clients;
	uint64_t published, delivered, dropped, gaps;
};
extern const weir_service streams_service;
/* Hand the exchange over to the pattern's hub, as weir_hub_join(). -ENOSPC: too many patterns. */
int streams_join(const weir_ctx *ctx, weir_http *x, struct app *app, const char *pattern,
                 bool json);
void streams_stats_get(struct streams *s, struct streams_stats *ret);

/* serve_tls.c: what --tls-… ask for; *ret NULL when nothing does. 0 or an error, after it said what
 * is wrong. Before tasks run. */
int serve_tls_open(const struct options *o, weir_tls **ret);
/* The files once more; one that is wrong changes nothing. Waits. */
void serve_tls_reload(const weir_ctx *ctx, weir_tls *t);
/* nats.c: the bus for NATS clients. */
extern const weir_service nats_service;

/* bus_work.c: workers that ask over the bus. */
extern const weir_service bus_work_service;

/* reload.c: SIGHUP. Blocked by reload_block() before there are threads. */
void reload_block(void);
extern const weir_service reload_service;

/* runners.c: the server's own workers. Made before there are tasks: 0 or -Exxx after it said
 * why. */
int runners_new(struct app *app);
void runners_free(struct app *app);
extern const weir_service runners_service;

/* leases.c: leases that end with a connection. */
struct leases *leases_new(struct app *app);
void leases_free(struct leases *l);
/* From the handler's task: when the exchange's connection ends, the leases go back. 0, -ENOMEM,
 * -ENOSPC when the connection holds too many, -ECANCELED when it has ended. */
int leases_hold(struct leases *l, weir_http *x, weir_job *const *jobs, size_t n);
/* A lease has ended, well or not: its connection may close once it holds none. Another lease of the
 * same job stays. */
void leases_settled(const weir_ctx *ctx, struct leases *l, weir_http *x, const char *id,
                    const char *lease);

/* datadir.c: made if missing, and locked against a second weir. 0 or -Exxx after it said why; the
 * lock lives as long as the process. */
int datadir_open(const char *path);
/* A file's place in it, malloc'd. */
char *datadir_file(const char *path, const char *name);
/* Thirty-two bytes that stay the same over restarts, known only to who may read the directory. */
int datadir_secret(const char *path, unsigned char ret[32]);

#endif
