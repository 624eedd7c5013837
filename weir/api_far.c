/* SPDX-License-Identifier: MIT */
/*
 * Jobs that another weir runs. With queues in an engine each weir knows those that it runs or has
 * run; when they share a bus over a cluster too, any of them is asked for all: it asks the others
 * by weir.jobs.get, which only who knows the job answers, and streams what they publish of it.
 *
 * The weirs count a job's changes each for itself, so the events of such a stream have no ids: who
 * comes back to a stream that was cut gets the job as it is now, and then its changes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"

#define ANSWER    WEIR_SEC(1)
#define HEARTBEAT WEIR_SEC(15)

enum { PENDING = 64, PENDING_BYTES = 256 << 10, STATE_MAX = 16 };

bool shares_jobs(const struct app *app)
{
	weir_bus_stats st;

	if (!strstr(app->opt->store, "://"))
		return false;
	weir_bus_stats_get(app->bus, &st);
	return st.cluster;
}

static bool is_id(const char *id)
{
	return strlen(id) == WEIR_JOB_ID_LEN &&
	       strspn(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == WEIR_JOB_ID_LEN;
}

/* The job as who runs it, or has run it, shows it: 0, and *ret is to be freed; or -ENOENT. */
static int ask(const weir_ctx *ctx, struct app *app, const char *id, weir_msg *ret)
{
	weir_ctx soon = weir_ctx_timeout(ctx, ANSWER);
	char body[48];
	int n, r;

	if (!is_id(id))
		return -ENOENT;
	n = snprintf(body, sizeof body, "{\"id\":\"%s\"}", id);
	r = weir_bus_request(&soon, app->bus, "weir.jobs.get", body, (size_t)n, ret);
	if (r > 0)
		return 0;
	return weir_ctx_err(ctx) < 0 ? weir_ctx_err(ctx) : -ENOENT;
}

/* A job is guarded by its queue; its state into `state` unless that is NULL. */
static bool allowed(struct app *app, weir_http *x, const weir_msg *m, char state[STATE_MAX])
{
	json_t *job = json_loadb(m->data, m->len, 0, NULL);
	const char *queue = json_string_value(json_object_get(job, "queue"));
	const char *is = json_string_value(json_object_get(job, "state"));
	bool may = queue && is && auth_may(app->auth, x, MAY_PUT | MAY_TAKE, queue);

	if (state)
		snprintf(state, STATE_MAX, "%s", is ? is : "");
	json_decref(job);
	return may;
}

static int unknown(const weir_ctx *ctx, weir_http *x)
{
	return weir_http_problem(
		ctx, x, 404,
		"no weir on the bus runs this job or remembers that it has; it may "
		"wait in the engine");
}

int far_job_get(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	weir_msg m;
	int r = ask(ctx, app, weir_http_path(x, "id"), &m);

	if (r == -ENOENT)
		return unknown(ctx, x);
	if (r < 0)
		return r;
	if (allowed(app, x, &m, NULL))
		r = weir_http_reply(ctx, x, 200, "application/json", m.data, m.len);
	else
		r = weir_http_problem(ctx, x, 403, "this token has no right to do that");
	weir_msg_free(&m);
	return r;
}

static bool is_last(const char *state)
{
	return !strcmp(state, "done") || !strcmp(state, "dead") || !strcmp(state, "cancelled");
}

/* The job as it is now, if somebody knows it. 1: it is over. */
static int send_now(const weir_ctx *ctx, weir_http *x, struct app *app, bool only_last)
{
	char state[STATE_MAX];
	weir_msg m;
	int r = ask(ctx, app, weir_http_path(x, "id"), &m);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (allowed(app, x, &m, state) && (!only_last || is_last(state)))
		r = weir_sse_send(ctx, x, state, m.data, m.len);
	weir_msg_free(&m);
	return r < 0 ? r : is_last(state);
}

/* {"event":"running","job":{…}}, as events.c writes it. */
static int send_change(const weir_ctx *ctx, weir_http *x, struct app *app, const weir_msg *m)
{
	static const char before[] = "{\"event\":\"", between[] = "\",\"job\":";
	const char *text = m->data, *name = text + sizeof before - 1, *end;
	char event[STATE_MAX];
	int r;

	end = m->len > sizeof before ? memchr(name, '"', m->len - sizeof before) : NULL;
	if (!end || (size_t)(end - name) >= sizeof event)
		return 0;
	memcpy(event, name, (size_t)(end - name));
	event[end - name] = 0;
	end += sizeof between - 1;
	if (is_last(event)) { /* Only who ran it has the result. */
		r = send_now(ctx, x, app, true);
		if (r != 0)
			return r;
	}
	r = weir_sse_send(ctx, x, event, end, (size_t)(text + m->len - 1 - end));
	return r < 0 ? r : is_last(event);
}

static int follow(const weir_ctx *ctx, weir_http *x, struct app *app, weir_sub *sub)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_msg m;
	int r = send_now(ctx, x, app, false);

	while (r == 0) {
		weir_ctx beat = weir_ctx_timeout(&live, HEARTBEAT);

		r = weir_sub_next(&beat, sub, &m);
		if (r > 0) {
			r = send_change(ctx, x, app, &m);
		} else if (r == -ETIMEDOUT) {
			r = weir_sse_ping(ctx, x);
			if (r == 0) /* A change may have been lost on the way. */
				r = send_now(ctx, x, app, true);
		} else {
			return r == 0 || r == -ESHUTDOWN ? weir_sse_retry(ctx, x, WEIR_SEC(2)) : r;
		}
	}
	return r < 0 ? r : 0;
}

int far_job_events(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const weir_sub_options opt = { .pending_max = PENDING, .pending_bytes = PENDING_BYTES };
	const char *id = weir_http_path(x, "id");
	char subject[JOB_SUBJECT_MAX];
	weir_sub *sub;
	weir_msg m;
	bool may;
	int r;

	if (!is_id(id))
		return unknown(ctx, x);
	if (app->auth) { /* Whose it is has to be known. */
		r = ask(ctx, app, id, &m);
		if (r < 0)
			return r == -ENOENT ? unknown(ctx, x) : r;
		may = allowed(app, x, &m, NULL);
		weir_msg_free(&m);
		if (!may)
			return weir_http_problem(ctx, x, 403, "this token has no right to do that");
	}
	snprintf(subject, sizeof subject, "weir.jobs.*.%s", id);
	r = weir_bus_follow(ctx, app->bus, subject, &opt, &sub);
	if (r < 0)
		return reply_error(ctx, x, app, r, NULL);
	r = weir_sse_begin(ctx, x);
	if (r == 0 && !wants_head(x))
		r = follow(ctx, x, app, sub);
	(void)weir_sub_close(sub);
	return r;
}
