/* SPDX-License-Identifier: MIT */
/*
 * /metrics. The number of series is bounded whatever clients name their queues: the first QUEUES
 * queues have a label of their own, all others share queue="(other)", which is no name a queue can
 * have.
 */
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUES = 100 };

static void add(struct metrics_jobs *to, const weir_queue_info *q)
{
	to->queues++;
	to->queued += q->queued;
	to->delayed += q->delayed;
	to->running += q->running;
	to->done += q->done;
	to->dead += q->dead;
	to->cancelled += q->cancelled;
	to->bytes += q->bytes;
	to->put += q->put_total;
	to->taken += q->taken_total;
	to->acked += q->acked_total;
	to->failed += q->failed_total;
	to->died += q->dead_total;
	to->refused += q->refused_total;
	to->expired += q->expired_total;
}

static int sum_queue(const weir_queue_info *q, void *arg)
{
	add(arg, q);
	return 0;
}

void metrics_jobs_sum(struct app *app, struct metrics_jobs *ret)
{
	memset(ret, 0, sizeof *ret);
	(void)weir_queue_each(app->store, sum_queue, ret);
}

struct row {
	char name[65];
	struct metrics_jobs sum;
	weir_queue_latency wait, run; /* of one queue; percentiles have no sum */
	int64_t oldest_ns;
};

struct rows {
	struct row *row;
	size_t n;
};

static int take_queue(const weir_queue_info *q, void *arg)
{
	struct rows *all = arg;
	struct row *r = &all->row[all->n < QUEUES ? all->n : QUEUES];

	if (all->n < QUEUES)
		memcpy(r->name, q->name, sizeof r->name);
	else
		memcpy(r->name, "(other)", sizeof "(other)");
	if (all->n < QUEUES) {
		r->wait = q->wait;
		r->run = q->run;
		r->oldest_ns = q->oldest_ns;
	}
	if (all->n <= QUEUES)
		all->n++;
	add(&r->sum, q);
	return 0;
}

static void family(struct weir__buf *b, const char *name, const char *kind, const char *help)
{
	weir__buf_printf(b, "# HELP weir_%s %s\n# TYPE weir_%s %s\n", name, help, name, kind);
}

static void one(struct weir__buf *b, const char *name, const char *kind, const char *help,
                uint64_t value)
{
	family(b, name, kind, help);
	weir__buf_printf(b, "weir_%s %llu\n", name, (unsigned long long)value);
}

/* Names of queues need no escaping: their letters are harmless. */
static void per_queue(struct weir__buf *b, const struct rows *all, const char *name,
                      const char *help, size_t at)
{
	family(b, name, "counter", help);
	for (size_t i = 0; i < all->n; i++) {
		uint64_t value;

		memcpy(&value, (const char *)&all->row[i].sum + at, sizeof value);
		weir__buf_printf(b, "weir_%s{queue=\"%s\"} %llu\n", name, all->row[i].name,
		                 (unsigned long long)value);
	}
}

/* Seconds, as Prometheus has them. */
static void latency(struct weir__buf *b, const struct rows *all, const char *name, const char *help,
                    size_t at)
{
	family(b, name, "gauge", help);
	for (size_t i = 0; i < all->n && i < QUEUES; i++) {
		const struct row *row = &all->row[i];
		weir_queue_latency l;

		memcpy(&l, (const char *)row + at, sizeof l);
		if (!l.n)
			continue;
		weir__buf_printf(b,
		                 "weir_%s{queue=\"%s\",quantile=\"0.5\"} %.6g\n"
		                 "weir_%s{queue=\"%s\",quantile=\"0.95\"} %.6g\n"
		                 "weir_%s{queue=\"%s\",quantile=\"0.99\"} %.6g\n",
		                 name, row->name, (double)l.p50_ns / 1e9, name, row->name,
		                 (double)l.p95_ns / 1e9, name, row->name, (double)l.p99_ns / 1e9);
	}
}

static void render_queues(struct weir__buf *b, const struct rows *all)
{
	family(b, "queue_jobs", "gauge", "Jobs held, by state.");
	for (size_t i = 0; i < all->n; i++) {
		const struct metrics_jobs *s = &all->row[i].sum;
		const struct {
			const char *state;
			size_t n;
		} states[] = {
			{ "queued", s->queued },   { "delayed", s->delayed },
			{ "running", s->running }, { "done", s->done },
			{ "dead", s->dead },       { "cancelled", s->cancelled },
		};

		for (size_t k = 0; k < sizeof states / sizeof *states; k++)
			weir__buf_printf(b, "weir_queue_jobs{queue=\"%s\",state=\"%s\"} %zu\n",
			                 all->row[i].name, states[k].state, states[k].n);
	}
	family(b, "queue_bytes", "gauge", "Bytes of payload held.");
	for (size_t i = 0; i < all->n; i++)
		weir__buf_printf(b, "weir_queue_bytes{queue=\"%s\"} %zu\n", all->row[i].name,
		                 all->row[i].sum.bytes);
	family(b, "queue_oldest_seconds", "gauge", "Age of the oldest queued job.");
	for (size_t i = 0; i < all->n && i < QUEUES; i++)
		weir__buf_printf(b, "weir_queue_oldest_seconds{queue=\"%s\"} %.6g\n",
		                 all->row[i].name, (double)all->row[i].oldest_ns / 1e9);
	latency(b, all, "queue_wait_seconds", "How long jobs waited, of the last minutes.",
	        offsetof(struct row, wait));
	latency(b, all, "queue_run_seconds", "How long runs took, of the last minutes.",
	        offsetof(struct row, run));
	per_queue(b, all, "queue_put_total", "Jobs accepted.", offsetof(struct metrics_jobs, put));
	per_queue(b, all, "queue_taken_total", "Jobs given to workers.",
	          offsetof(struct metrics_jobs, taken));
	per_queue(b, all, "queue_acked_total", "Jobs done.", offsetof(struct metrics_jobs, acked));
	per_queue(b, all, "queue_failed_total", "Runs that failed.",
	          offsetof(struct metrics_jobs, failed));
	per_queue(b, all, "queue_dead_total", "Jobs whose attempts are used up.",
	          offsetof(struct metrics_jobs, died));
	per_queue(b, all, "queue_refused_total", "Jobs refused because the queue was full.",
	          offsetof(struct metrics_jobs, refused));
	per_queue(b, all, "queue_expired_total", "Leases that ran out.",
	          offsetof(struct metrics_jobs, expired));
}

static void render_http(struct weir__buf *b, struct app *app)
{
	weir_http_stats h;

	weir_http_server_stats(weir_server_http(app->server), &h);
	one(b, "http_requests_total", "counter", "Requests.", h.requests);
	family(b, "http_responses_total", "counter", "Answers by class of status.");
	for (int i = 1; i < 6; i++)
		weir__buf_printf(b, "weir_http_responses_total{class=\"%dxx\"} %llu\n", i,
		                 (unsigned long long)h.status[i]);
	one(b, "http_connections_total", "counter", "Connections accepted.", h.conns_total);
	one(b, "http_connections", "gauge", "Connections now.", h.conns);
	one(b, "http_active", "gauge", "Requests and streams being served.", h.active);
	one(b, "http_received_bytes_total", "counter", "Bytes read.", h.bytes_in);
	one(b, "http_sent_bytes_total", "counter", "Bytes written.", h.bytes_out);
	one(b, "http_refused_total", "counter", "Requests refused at a limit.", h.refused);
	one(b, "http_timeouts_total", "counter",
	    "Requests and connections ended by a limit of time.", h.timeouts);
	one(b, "http_client_gone_total", "counter", "Requests whose client left first.",
	    h.client_gone);
}

static void render_workers(struct weir__buf *b)
{
	static const struct {
		const char *name, *help;
		size_t at;
	} rows[] = {
		{ "switches", "Switches to a task.", offsetof(weir_worker_info, switches) },
		{ "steals", "New tasks taken over from other workers.",
		  offsetof(weir_worker_info, steals) },
		{ "messages", "Messages from other threads.",
		  offsetof(weir_worker_info, messages) },
		{ "parks", "Sleeps for want of work.", offsetof(weir_worker_info, parks) },
		{ "wakes", "Sleeping workers woken.", offsetof(weir_worker_info, wakes) },
		{ "spins", "Searches for a message before a sleep.",
		  offsetof(weir_worker_info, spins) },
		{ "hogs", "Tasks that kept the worker for a second.",
		  offsetof(weir_worker_info, hogs) },
	};
	weir_worker_info info;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char name[40];

		snprintf(name, sizeof name, "worker_%s_total", rows[i].name);
		family(b, name, "counter", rows[i].help);
		for (int w = 0; weir_worker_info_get(w, &info) == 0; w++) {
			uint64_t value;

			memcpy(&value, (const char *)&info + rows[i].at, sizeof value);
			weir__buf_printf(b, "weir_%s{worker=\"%d\"} %llu\n", name, w,
			                 (unsigned long long)value);
		}
	}
}

/* Those of one subject and group are counted as one. */
static int take_slow(const weir_sub_info *info, void *arg)
{
	struct slow_subs *all = arg;
	struct slow_sub new = { .stats = info->stats };
	size_t at = 0;

	if (info->stats.dropped == 0)
		return 0;
	snprintf(new.subject, sizeof new.subject, "%s", info->subject);
	snprintf(new.queue, sizeof new.queue, "%s", info->queue ? info->queue : "");
	for (size_t i = 0; i < all->n; i++) {
		struct slow_sub *s = &all->sub[i];

		if (strcmp(s->subject, new.subject) || strcmp(s->queue, new.queue))
			continue;
		new.stats.dropped += s->stats.dropped;
		new.stats.pending += s->stats.pending;
		memmove(s, s + 1, (--all->n - i) * sizeof *s);
	}
	while (at < all->n && all->sub[at].stats.dropped >= new.stats.dropped)
		at++;
	if (at == SLOW_MAX)
		return 0;
	all->n -= all->n == SLOW_MAX;
	memmove(&all->sub[at + 1], &all->sub[at], (all->n - at) * sizeof new);
	all->sub[at] = new;
	all->n++;
	return 0;
}

struct slow_subs *metrics_slow(struct app *app)
{
	struct slow_subs *all = calloc(1, sizeof *all);

	if (all)
		(void)weir_bus_each_sub(app->bus, take_slow, all);
	return all;
}

/* Of the worst only, so that the number of series is bounded. In JSON a text is written as a
 * label's value is. */
static void render_slow(struct weir__buf *b, struct app *app)
{
	struct slow_subs *all = metrics_slow(app);

	family(b, "bus_subscription_dropped_total", "counter",
	       "Messages dropped, of the subscriptions that dropped most.");
	for (size_t i = 0; all && i < all->n; i++) {
		const struct slow_sub *s = &all->sub[i];

		weir__buf_str(b, "weir_bus_subscription_dropped_total{subject=");
		weir__buf_json(b, s->subject, strlen(s->subject));
		weir__buf_str(b, ",group=");
		weir__buf_json(b, s->queue, strlen(s->queue));
		weir__buf_printf(b, "} %llu\n", (unsigned long long)s->stats.dropped);
	}
	free(all);
}

static void render_nats(struct weir__buf *b, weir_nats_server *n)
{
	weir_nats_stats s;

	weir_nats_stats_get(n, &s);
	one(b, "nats_connections_total", "counter", "NATS clients accepted.", s.conns_total);
	one(b, "nats_connections", "gauge", "NATS clients now.", s.conns);
	one(b, "nats_subscriptions", "gauge", "Their subscriptions now.", s.subs);
	one(b, "nats_received_total", "counter", "Messages from them.", s.in_msgs);
	one(b, "nats_sent_total", "counter", "Messages to them.", s.out_msgs);
	one(b, "nats_slow_consumers_total", "counter", "Clients cut because they took too little.",
	    s.slow);
	one(b, "nats_stale_total", "counter", "Clients cut because they answered no ping.",
	    s.stale);
	one(b, "nats_refused_total", "counter",
	    "Clients refused: no right to come in, or too many.", s.refused);
	one(b, "nats_lost_bytes_total", "counter", "What clients that were cut had yet to get.",
	    s.lost);
}

static void render_cluster(struct weir__buf *b, const weir_bus_stats *bus)
{
	one(b, "bus_connected", "gauge", "1 while there is a connection to the NATS cluster.",
	    bus->connected);
	one(b, "bus_reconnects_total", "counter", "Connections to the cluster after the first.",
	    bus->reconnects);
	one(b, "bus_maybe_lost_total", "counter",
	    "Messages that were on their way when a connection broke.", bus->maybe_lost);
	one(b, "bus_refused_total", "counter",
	    "Messages refused: no connection, and what may wait for one was full.", bus->refused);
	one(b, "bus_unsent", "gauge", "Messages that wait to be sent.", bus->unsent);
}

void metrics_render(struct weir__buf *b, struct app *app)
{
	struct rows all = { .row = calloc(QUEUES + 1, sizeof *all.row) };
	struct streams_stats streams;
	weir_bus_stats bus;

	if (!all.row) {
		b->failed = true;
		return;
	}
	(void)weir_queue_each(app->store, take_queue, &all);
	render_queues(b, &all);
	free(all.row);
	one(b, "store_memory_bytes", "gauge", "Memory held by all queues.",
	    weir_store_memory(app->store));
	render_http(b, app);
	weir_bus_stats_get(app->bus, &bus);
	one(b, "bus_subscriptions", "gauge", "Subscriptions now.", bus.subs - DOORS);
	one(b, "bus_published_total", "counter", "Messages published.", bus.published);
	one(b, "bus_delivered_total", "counter", "Messages given to subscriptions.", bus.delivered);
	one(b, "bus_dropped_total", "counter", "Messages dropped for slow subscriptions.",
	    bus.dropped);
	render_slow(b, app);
	if (bus.cluster)
		render_cluster(b, &bus);
	if (app->nats)
		render_nats(b, app->nats);
	one(b, "job_events_lost_total", "counter", "Job changes that the bus did not hear of.",
	    __atomic_load_n(&app->events_lost, __ATOMIC_RELAXED));
	streams_stats_get(app->streams, &streams);
	one(b, "stream_patterns", "gauge", "Subject patterns being streamed.", streams.patterns);
	one(b, "stream_clients", "gauge", "Clients of these streams.", streams.clients);
	one(b, "tasks", "gauge", "Tasks alive.", weir_task_count());
	one(b, "workers", "gauge", "Threads that run tasks.", (uint64_t)weir_worker_count());
	render_workers(b);
	one(b, "ready", "gauge", "1 while serving, 0 once a stop has begun.",
	    weir_server_ready(app->server));
	one(b, "start_time_seconds", "gauge", "Start of the server, in seconds since 1970.",
	    (uint64_t)(app->started_at / 1000000000));
}
