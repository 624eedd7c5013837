/* SPDX-License-Identifier: MIT */
/* Jobs from the producer's side: put, one or many; look; cancel; run again; list; follow. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "base/units.h"
#include "events.h"

enum {
	BATCH_LINES = 1000,
	BATCH_BYTES = 4 << 20,
	BATCHES_MAX = 64, /* at a time: each holds its body */
	LIST_DEFAULT = 50,
	LIST_MAX = 100,
	PRIORITY_MAX = 1000,
	ATTEMPTS_MAX = 10000,
	FOLLOWS_MAX = 1000, /* streams of one job at a time: each is a task */
	FOLLOW_PENDING = 64,
	FOLLOW_BYTES = 256 << 10,
};

#define HEARTBEAT WEIR_SEC(15)

/* ---- Putting ---- */
/* Where the queue's name and all amounts are right. */
static const char texts_wrong[] = "a key has at most 255 bytes and a content type 95, without "
				  "control characters";

/* With these a webhook comes from another weir; they say nothing here. */
#define BY_A_WEBHOOK "weir-queue", "weir-attempt"

typedef const char *source_fn(struct params *p, const char *header, const char *name);

static const char *from_header(struct params *p, const char *header, const char *name)
{
	(void)name;
	return weir_http_header(p->x, header);
}

static const char *from_member(struct params *p, const char *header, const char *name)
{
	(void)header;
	return member(p, name);
}

static void read_spec(struct params *p, source_fn *from, weir_job_spec *spec)
{
	int64_t priority = 0, attempts = 0;

	spec->idempotency_key = from(p, "idempotency-key", "idempotency_key");
	spec->key = from(p, "weir-key", "key");
	read_duration(p, "delay", from(p, "weir-delay", "delay"), 0, DELAY_MAX, &spec->delay_ns);
	read_duration(p, "timeout", from(p, "weir-timeout", "timeout"), 0, DELAY_MAX,
	              &spec->timeout_ns);
	read_int(p, "priority", from(p, "weir-priority", "priority"), -PRIORITY_MAX, PRIORITY_MAX,
	         &priority);
	read_int(p, "max_attempts", from(p, "weir-max-attempts", "max_attempts"), 1, ATTEMPTS_MAX,
	         &attempts);
	spec->priority = (int)priority;
	spec->attempts_max = (unsigned)attempts;
}

/* {"id","queue","state","durability"}: of a new job the state in which it was accepted, since that
 * may already be another; of an earlier one the state it is in, "done" when it is over and gone. */
static void render_verdict(const weir_ctx *ctx, struct weir__buf *b, struct app *app,
                           const char *id, const char *queue, bool delayed, bool again)
{
	weir_job_info job;
	bool known = again && weir_job_get(ctx, app->store, id, false, &job) == 0;
	const char *durability = weir_queue_durability(app->store, known ? job.queue : queue);

	weir__buf_byte(b, '{');
	put_word(b, "id", id);
	put_word(b, "queue", known ? job.queue : queue);
	put_word(b, "state",
	         known   ? weir_job_state_name(job.state) :
	         again   ? "done" :
	         delayed ? "delayed" :
	                   "queued");
	if (durability)
		put_word(b, "durability", durability);
	if (again)
		put_bool(b, "duplicate", true);
	weir__buf_byte(b, '}');
	if (known)
		weir_job_info_free(&job);
}

static int job_put(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *queue = weir_http_path(x, "queue");
	struct params p = { .x = x };
	weir_job_spec spec = { .content_type = weir_http_header(x, "content-type") };
	struct weir__buf b = WEIR__BUF_INIT;
	char *body, id[WEIR_JOB_ID_LEN + 1], location[48];
	int r;

	refuse_headers(&p, NAMES("weir-delay", "weir-priority", "weir-timeout", "weir-max-attempts",
	                         "weir-key", BY_A_WEBHOOK));
	read_spec(&p, from_header, &spec);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	r = weir_http_body(ctx, x, &body, &spec.len);
	if (r < 0)
		return r;
	spec.data = body;
	r = weir_job_put(ctx, app->store, queue, &spec, id);
	if (r == -EINVAL && weir_queue_name_valid(queue))
		return weir_http_problem(ctx, x, 400, "%s", texts_wrong);
	if (r < 0)
		return reply_refused(ctx, x, app, r, queue, weir_store_lacks(app->store, &spec));
	(void)weir__buf_reserve(&b, 192); /* At once; in pieces it would be several times. */
	render_verdict(ctx, &b, app, id, queue, spec.delay_ns > 0, r == 1);
	memcpy(location, "/v1/jobs/", 9);
	memcpy(location + 9, id, sizeof id);
	r = weir_http_set(x, "location", location);
	if (r < 0) {
		weir__buf_free(&b);
		return r;
	}
	return reply_json(ctx, x, 202, &b);
}

void render_refusal(struct weir__buf *b, int status, const char *detail)
{
	weir__buf_byte(b, '{');
	put_str(b, "type", "about:blank");
	put_str(b, "title", weir_http_reason(status));
	put_u64(b, "status", (uint64_t)status);
	put_str(b, "detail", detail);
	weir__buf_byte(b, '}');
}

/* A line of a batch while it is being put. What spec points to is in the others. */
struct line {
	struct params p;
	json_t *object;
	char *data;
	int r;
};

enum { LINES_AT_ONCE = 256 };

struct lines {
	struct line line[LINES_AT_ONCE];
	weir_job_spec spec[LINES_AT_ONCE];
	char id[LINES_AT_ONCE][WEIR_JOB_ID_LEN + 1];
	int r[LINES_AT_ONCE];
	size_t n;
};

/* Without its spec being put, a line that is wrong gets a spec that is refused. */
static void read_line(weir_http *x, struct app *app, const char *text, size_t len, struct line *l,
                      weir_job_spec *spec)
{
	static const char *const known[] = {
		"payload", "payload_base64", "content_type", "delay",   "idempotency_key",
		"key",     "max_attempts",   "priority",     "timeout", NULL
	};
	const char *type = NULL;

	*l = (struct line){ .p = { .x = x } };
	*spec = (weir_job_spec){ 0 };
	l->object = json_read(&l->p, text, len);
	if (l->object && !json_is_object(l->object))
		wrong(&l->p, "a line has to be a JSON object");
	l->p.body = l->object;
	refuse_unknown(&l->p, known);
	if (!l->p.error[0]) {
		read_spec(&l->p, from_member, spec);
		spec->content_type = member(&l->p, "content_type");
		read_payload(&l->p, l->object, &l->data, &spec->len, &type);
	}
	if (!spec->content_type)
		spec->content_type = type;
	spec->data = l->data;
	l->r = l->p.error[0] ? -EINVAL : spec->len > app->opt->body_max ? -EMSGSIZE : 0;
	if (l->r < 0)
		spec->priority = INT_MAX;
}

/* Those that were gathered, and their verdicts into b. 0, or the context's error. */
static int put_lines(const weir_ctx *ctx, weir_http *x, struct app *app, struct lines *l,
                     struct weir__buf *b)
{
	const char *queue = weir_http_path(x, "queue"), *detail;
	int r = weir_job_put_many(ctx, app->store, queue, l->spec, l->n, l->id, l->r);

	for (size_t i = 0; i < l->n; i++) {
		struct line *line = &l->line[i];
		int each = line->r < 0 ? line->r : r == -ENOMEM ? r : l->r[i];

		if (line->p.error[0]) {
			render_refusal(b, 400, line->p.error);
		} else if (each == -EOPNOTSUPP) {
			char lacks[160];

			lacks_text(lacks, sizeof lacks, app,
			           weir_store_lacks(app->store, &l->spec[i]));
			render_refusal(b, 501, lacks);
		} else if (each < 0) {
			int status = error_status(each, &detail);

			render_refusal(b, status, each == -EINVAL ? texts_wrong : detail);
		} else {
			render_verdict(ctx, b, app, l->id[i], queue, l->spec[i].delay_ns > 0,
			               each == 1);
		}
		weir__buf_byte(b, '\n');
		free(line->data);
		json_decref(line->object);
	}
	l->n = 0;
	return r == -ENOMEM ? 0 : r;
}

static int job_batch(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct weir__buf b = WEIR__BUF_INIT;
	struct params p = { .x = x };
	struct lines *l = NULL;
	char *body, *at, *end;
	size_t len, lines = 0;
	int r;

	if (!weir_queue_name_valid(weir_http_path(x, "queue")))
		return reply_error(ctx, x, app, -EINVAL, weir_http_path(x, "queue"));
	refuse_headers(&p, NAMES(BY_A_WEBHOOK)); /* They stand in the lines. */
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	r = weir_http_body(ctx, x, &body, &len);
	if (r < 0)
		return r;
	for (at = body; at < body + len; at = end + 1) {
		end = memchr(at, '\n', (size_t)(body + len - at));
		end = end ? end : body + len;
		lines += end > at + strspn(at, " \t\r");
	}
	if (lines > BATCH_LINES)
		return weir_http_problem(ctx, x, 413, "a batch holds at most %d lines",
		                         BATCH_LINES);
	l = malloc(sizeof *l);
	if (!l)
		return -ENOMEM;
	l->n = 0;
	for (at = body; r == 0 && at < body + len; at = end + 1) {
		end = memchr(at, '\n', (size_t)(body + len - at));
		end = end ? end : body + len;
		if (end == at + strspn(at, " \t\r"))
			continue;
		read_line(x, app, at, (size_t)(end - at), &l->line[l->n], &l->spec[l->n]);
		if (++l->n == LINES_AT_ONCE)
			r = put_lines(ctx, x, app, l, &b);
	}
	if (l->n) {
		int last = put_lines(ctx, x, app, l, &b);

		r = r < 0 ? r : last;
	}
	if (r == 0 && b.failed)
		r = weir_http_problem(ctx, x, 507,
		                      "no memory for the answer; some of the jobs were put");
	else if (r == 0)
		r = weir_http_reply(ctx, x, 202, "application/x-ndjson", b.data, b.len);
	weir__buf_free(&b);
	free(l);
	return r;
}

/* ---- Looking ---- */
static int reply_job(const weir_ctx *ctx, weir_http *x, struct app *app, int status)
{
	struct params p = { .x = x };
	struct weir__buf b = WEIR__BUF_INIT;
	bool payload = false;
	weir_job_info job;
	int r;

	read_flag(&p, "payload", weir_http_query(x, "payload"), &payload);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	r = weir_job_get(ctx, app->store, weir_http_path(x, "id"), true, &job);
	if (r == -EOPNOTSUPP && !payload && shares_jobs(app))
		return far_job_get(ctx, x, app);
	if (r < 0)
		return reply_refused(ctx, x, app, r, NULL, "look");
	render_job(&b, &job);
	if (payload && !b.failed) {
		b.len--; /* One more member before the closing brace. */
		put_bytes(&b, "payload", job.data, job.len);
		weir__buf_byte(&b, '}');
	}
	weir_job_info_free(&job);
	return reply_json(ctx, x, status, &b);
}

static int job_get(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return reply_job(ctx, x, app, 200);
}

static int job_cancel(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	int r = weir_job_cancel(ctx, app->store, weir_http_path(x, "id"));

	return r < 0 ? reply_refused(ctx, x, app, r, NULL, "cancel") : reply_job(ctx, x, app, 200);
}

static int job_retry(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	int r = weir_job_retry(ctx, app->store, weir_http_path(x, "id"));

	return r < 0 ? reply_refused(ctx, x, app, r, NULL, "retry") : reply_job(ctx, x, app, 202);
}

static int state_of(struct params *p, const char *name)
{
	if (!name)
		return -1;
	for (int s = WEIR_QUEUED; s <= WEIR_CANCELLED; s++)
		if (!strcmp(name, weir_job_state_name((enum weir_job_state)s)))
			return s;
	wrong(p, "state: %.40s is none of queued, delayed, running, done, dead, cancelled", name);
	return -1;
}

static int job_list(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct params p = { .x = x };
	struct weir__buf b = WEIR__BUF_INIT;
	int64_t limit = LIST_DEFAULT;
	weir_job_info *jobs;
	int state, n;

	state = state_of(&p, weir_http_query(x, "state"));
	read_int(&p, "limit", weir_http_query(x, "limit"), 1, LIST_MAX, &limit);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	jobs = calloc((size_t)limit, sizeof *jobs);
	if (!jobs)
		return -ENOMEM;
	n = weir_job_list(app->store, weir_http_path(x, "queue"), state,
	                  weir_http_query(x, "after"), jobs, (size_t)limit);
	if (n < 0) {
		free(jobs);
		return reply_refused(ctx, x, app, n, NULL, "look");
	}
	weir__buf_str(&b, "{\"jobs\":[");
	for (int i = 0; i < n; i++) {
		if (i)
			weir__buf_byte(&b, ',');
		render_job(&b, &jobs[i]);
	}
	weir__buf_str(&b, "],\"next\":");
	if (n == limit)
		weir__buf_printf(&b, "\"%s\"}", jobs[n - 1].id);
	else
		weir__buf_str(&b, "null}");
	for (int i = 0; i < n; i++)
		weir_job_info_free(&jobs[i]);
	free(jobs);
	return reply_json(ctx, x, 200, &b);
}

/* ---- Following ---- */
struct follow {
	weir_http *x;
	struct app *app;
	const char *id;
	uint64_t sent; /* the last change that was sent */
	bool over;
};

static bool is_last(const char *event)
{
	return !strcmp(event, "done") || !strcmp(event, "dead") || !strcmp(event, "cancelled");
}

/* What is known about the job and was not sent yet. An earlier change is told by what history keeps
 * of it, the latest by the whole job. */
static int send_history(const weir_ctx *ctx, struct follow *f)
{
	struct weir__buf b = WEIR__BUF_INIT;
	weir_job_info job;
	int r;

	r = weir_job_get(ctx, f->app->store, f->id, true, &job);
	if (r < 0)
		f->over = true; /* No longer kept: nothing will be told of it any more. */
	for (unsigned i = 0; r == 0 && i < job.histories; i++) {
		const weir_job_event *e = &job.history[i];
		uint64_t number = job.changes - (job.histories - 1 - i);
		char id[24];

		if (number <= f->sent)
			continue;
		weir__buf_clear(&b);
		if (i + 1 == job.histories) {
			render_job(&b, &job);
		} else {
			weir__buf_byte(&b, '{');
			put_str(&b, "id", job.id);
			put_str(&b, "queue", job.queue);
			put_str(&b, "state", strcmp(e->state, "failed") ? e->state : "running");
			put_u64(&b, "attempts", e->attempt);
			put_time(&b, "at", e->at_wall);
			if (e->note[0])
				put_str(&b, "note", e->note);
			weir__buf_byte(&b, '}');
		}
		snprintf(id, sizeof id, "%llu", (unsigned long long)number);
		r = b.failed ? -ENOMEM : weir_sse_send_id(ctx, f->x, id, e->state, b.data, b.len);
		f->sent = number;
	}
	if (r == 0) {
		f->over = job.state == WEIR_DONE || job.state == WEIR_DEAD ||
		          job.state == WEIR_CANCELLED;
		weir_job_info_free(&job);
	} else if (!f->over) {
		weir_job_info_free(&job);
	}
	weir__buf_free(&b);
	return f->over && r == -ENOENT ? 0 : r;
}

/* {"event":"running","job":{…}} was written by events.c: the name and the job are cut out as they
 * stand. */
static int send_change(const weir_ctx *ctx, struct follow *f, const weir_msg *m)
{
	static const char before[] = "{\"event\":\"", between[] = "\",\"job\":";
	const char *text = m->data, *name = text + sizeof before - 1, *end;
	uint64_t number = 0;
	char event[16], id[24];
	int64_t n;

	end = m->len > sizeof before ? memchr(name, '"', m->len - sizeof before) : NULL;
	if (!end || (size_t)(end - name) >= sizeof event)
		return 0;
	memcpy(event, name, (size_t)(end - name));
	event[end - name] = '\0';
	end += sizeof between - 1;
	if (m->headers) {
		char digits[24];

		snprintf(digits, sizeof digits, "%.*s",
		         (int)strcspn(m->headers + sizeof JOB_CHANGE_HEADER + 1, "\r"),
		         m->headers + sizeof JOB_CHANGE_HEADER + 1);
		if (weir__parse_int(digits, &n) == 0)
			number = (uint64_t)n;
	}
	if (!strcmp(event, "progress"))
		return weir_sse_send(ctx, f->x, event, end, (size_t)(text + m->len - 1 - end));
	if (number <= f->sent)
		return 0;
	/* When some were lost on the way the job itself knows; and only it has the result. */
	if (number > f->sent + 1 || is_last(event))
		return send_history(ctx, f);
	snprintf(id, sizeof id, "%llu", (unsigned long long)number);
	f->sent = number;
	return weir_sse_send_id(ctx, f->x, id, event, end, (size_t)(text + m->len - 1 - end));
}

static int follow(const weir_ctx *ctx, struct follow *f, weir_sub *sub)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_msg m;
	int r;

	r = send_history(ctx, f);
	while (r == 0 && !f->over) {
		weir_ctx beat = weir_ctx_timeout(&live, HEARTBEAT);

		r = weir_sub_next(&beat, sub, &m);
		if (r > 0) {
			r = send_change(ctx, f, &m);
		} else if (r == -ETIMEDOUT) {
			r = weir_sse_ping(ctx, f->x);
			if (r == 0)
				r = send_history(ctx, f);
		} else {
			return r == 0 || r == -ESHUTDOWN ? weir_sse_retry(ctx, f->x, WEIR_SEC(2)) :
			                                   r;
		}
	}
	return r;
}

static int job_events(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct follow f = { .x = x, .app = app, .id = weir_http_path(x, "id") };
	weir_sub_options opt = { .pending_max = FOLLOW_PENDING, .pending_bytes = FOLLOW_BYTES };
	const char *last = weir_http_header(x, "last-event-id");
	char subject[JOB_SUBJECT_MAX];
	weir_job_info job;
	weir_sub *sub;
	int64_t n;
	int r;

	last = last ? last : weir_http_query(x, "last_event_id");
	r = weir_job_get(ctx, app->store, f.id, false, &job);
	if (r == -EOPNOTSUPP && shares_jobs(app))
		return far_job_events(ctx, x, app);
	if (r < 0)
		return reply_refused(ctx, x, app, r, NULL, "look");
	if (last && weir__parse_int(last, &n) == 0 && n > 0 && (uint64_t)n <= job.changes)
		f.sent = (uint64_t)n;
	f.over = job.state == WEIR_DONE || job.state == WEIR_DEAD || job.state == WEIR_CANCELLED;
	job_subject(subject, job.queue, job.id);
	r = f.over && f.sent == job.changes;
	weir_job_info_free(&job);
	if (r)
		return 204; /* The client has seen the end; this keeps it from coming back. */
	if (wants_head(x))
		return weir_sse_begin(ctx, x);
	f.over = false;
	/* First subscribe, then look: what happens in between is then told twice, and the second
	 * time left out. */
	r = weir_bus_follow(ctx, app->bus, subject, &opt, &sub);
	if (r < 0)
		return reply_error(ctx, x, app, r, NULL);
	r = weir_sse_begin(ctx, x);
	if (r == 0)
		r = follow(ctx, &f, sub);
	(void)weir_sub_close(sub);
	return r;
}

const struct route jobs_routes[] = {
	{ "POST /v1/queues/{queue}/jobs", job_put, MAY_PUT, OF_QUEUE, { 0 } },
	{ "POST /v1/queues/{queue}/jobs:batch",
	  job_batch,
	  MAY_PUT,
	  OF_QUEUE,
	  { .body_max = BATCH_BYTES, .requests_max = BATCHES_MAX } },
	{ "GET /v1/queues/{queue}/jobs",
	  job_list,
	  MAY_PUT | MAY_TAKE,
	  OF_QUEUE,
	  { 0 },
	  NAMES("state", "limit", "after") },
	{ "GET /v1/jobs/{id}", job_get, MAY_PUT | MAY_TAKE, OF_JOB, { 0 }, NAMES("payload") },
	{ "DELETE /v1/jobs/{id}", job_cancel, MAY_PUT, OF_JOB, { 0 } },
	{ "POST /v1/jobs/{id}/retry", job_retry, MAY_PUT, OF_JOB, { 0 } },
	{ "GET /v1/jobs/{id}/events",
	  job_events,
	  MAY_PUT | MAY_TAKE | MAY_SUBSCRIBE,
	  OF_JOB,
	  { .requests_max = FOLLOWS_MAX },
	  NAMES("last_event_id") },
	{ NULL, NULL, 0, OF_SERVER, { 0 } },
};
