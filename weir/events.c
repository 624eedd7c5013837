/* SPDX-License-Identifier: MIT */
/*
 * Every change of a job becomes a message on the bus, so that streams, the dashboard and programs
 * follow jobs as they follow anything.
 *
 * The store tells its listener from wherever the change happened, perhaps between tasks or on the
 * store's own thread, where nothing may wait; so the listener only writes the message down and
 * hands it to a task over a channel. When more comes at once than the channel holds, changes are
 * lost to the bus and counted; a stream of one job looks at the job itself from time to time and so
 * never misses its end.
 *
 * While nobody subscribes to anything nothing is written at all; over a cluster others may.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "events.h"

enum { PENDING = 8192 };

void job_subject(char buf[JOB_SUBJECT_MAX], const char *queue, const char *id)
{
	/* What workers ask for stands under "take", so a queue of that name stands under
	 * ":take". */
	int n = snprintf(buf, JOB_SUBJECT_MAX, "weir.jobs.%s%s", strcmp(queue, "take") ? "" : ":",
	                 queue);

	/* No name holds a colon, so no two queues meet in one token. */
	for (char *c = buf + sizeof "weir.jobs." - 1; *c; c++)
		if (*c == '.')
			*c = ':';
	snprintf(buf + n, JOB_SUBJECT_MAX - (size_t)n, ".%s", id);
}

/* What a stop has to tell about runs of jobs. A job that was running and is queued again was
 * returned. */
static void count(struct app *app, const weir_job_info *job, const char *event)
{
	unsigned n = job->histories;

	if (!__atomic_load_n(&app->stopping, __ATOMIC_ACQUIRE))
		return;
	if (!strcmp(event, "done"))
		__atomic_add_fetch(&app->finished, 1, __ATOMIC_RELAXED);
	else if (!strcmp(event, "failed"))
		__atomic_add_fetch(&app->failed, 1, __ATOMIC_RELAXED);
	else if (!strcmp(event, "queued") && n > 1 && !strcmp(job->history[n - 2].state, "running"))
		__atomic_add_fetch(&app->returned, 1, __ATOMIC_RELAXED);
}

static struct job_message *write_down(const weir_job_info *job, const char *event)
{
	struct weir__buf b = WEIR__BUF_INIT;
	struct job_message *m;

	weir__buf_byte(&b, '{');
	put_str(&b, "event", event);
	put_name(&b, "job");
	render_job(&b, job);
	weir__buf_byte(&b, '}');
	m = b.failed ? NULL : malloc(sizeof *m + b.len);
	if (m) {
		m->len = b.len;
		memcpy(m->data, b.data, b.len);
		job_subject(m->subject, job->queue, job->id);
		snprintf(m->headers, sizeof m->headers, JOB_CHANGE_HEADER ": %llu\r\n",
		         (unsigned long long)job->changes);
	}
	weir__buf_free(&b);
	return m;
}

bool events_wanted(void *arg)
{
	struct app *app = arg;

	return weir_bus_heard(app->bus, DOORS) || __atomic_load_n(&app->stopping, __ATOMIC_ACQUIRE);
}

void events_listen(const weir_job_info *job, const char *event, void *arg)
{
	struct app *app = arg;
	struct job_message *m;

	count(app, job, event);
	if (!weir_bus_heard(app->bus, DOORS))
		return;
	m = write_down(job, event);
	if (m && weir_chan_try_send(app->events, &m) == 0)
		return;
	free(m);
	__atomic_add_fetch(&app->events_lost, 1, __ATOMIC_RELAXED);
}

static int run_events(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct job_message *m;
	int r;

	while ((r = weir_chan_recv(&live, app->events, &m)) > 0) {
		weir_msg msg = {
			.subject = m->subject, .headers = m->headers, .data = m->data, .len = m->len
		};

		r = weir_bus_publish_msg(ctx, app->bus, &msg);
		if (r < 0)
			__atomic_add_fetch(&app->events_lost, 1, __ATOMIC_RELAXED);
		free(m);
	}
	return 0;
}

/* The channel is there before the store and after it, since the store tells of changes while it
 * opens and closes. */
static int open_events(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;

	(void)ctx;
	app->events = weir_chan_new_foreign(sizeof(struct job_message *), PENDING);
	return app->events ? 0 : -ENOMEM;
}

static int close_events(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	struct job_message *m;

	(void)ctx;
	while (weir_chan_try_recv(app->events, &m) > 0)
		free(m);
	weir_chan_free(app->events);
	return 0;
}

const weir_service events_channel_service = { .name = "changes",
	                                      .open = open_events,
	                                      .close = close_events };
const weir_service events_service = { .name = "events", .run = run_events };
