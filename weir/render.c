/* SPDX-License-Identifier: MIT */
/* Writing JSON: members one after the other into a buffer whose one check at the end is enough. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "handlers.h"
#include "base/base64.h"
#include "base/units.h"

void put_member(struct weir__buf *b, const char *name, size_t n)
{
	char *p;

	if (!weir__buf_reserve(b, n + 4))
		return;
	p = b->data + b->len;
	if (b->len && p[-1] != '{' && p[-1] != '[')
		*p++ = ',';
	*p++ = '"';
	memcpy(p, name, n);
	memcpy(p + n, "\":", 3);
	b->len = (size_t)(p + n + 2 - b->data);
}

void put_str(struct weir__buf *b, const char *name, const char *value)
{
	put_name(b, name);
	weir__buf_json(b, value, strlen(value));
}

void put_word(struct weir__buf *b, const char *name, const char *value)
{
	size_t n = strlen(value);
	char *p;

	put_name(b, name);
	if (!weir__buf_reserve(b, n + 2))
		return;
	p = b->data + b->len;
	*p++ = '"';
	memcpy(p, value, n);
	memcpy(p + n, "\"", 2);
	b->len += n + 2;
}

void put_u64(struct weir__buf *b, const char *name, uint64_t value)
{
	put_name(b, name);
	weir__buf_u64(b, value);
}

void put_real(struct weir__buf *b, const char *name, double value)
{
	put_name(b, name);
	weir__buf_printf(b, "%.6g", isfinite(value) ? value : 0);
}

void put_bool(struct weir__buf *b, const char *name, bool value)
{
	put_name(b, name);
	weir__buf_str(b, value ? "true" : "false");
}

void put_time(struct weir__buf *b, const char *name, int64_t wall_ns)
{
	time_t s = (time_t)(wall_ns / 1000000000);
	struct tm tm;

	if (wall_ns <= 0 || !gmtime_r(&s, &tm))
		return;
	put_name(b, name);
	weir__buf_printf(b, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"", tm.tm_year + 1900,
	                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	                 (int)(wall_ns / 1000000 % 1000));
}

void put_duration(struct weir__buf *b, const char *name, int64_t ns)
{
	char text[WEIR__UNITS_MAX];

	if (ns > 0)
		put_str(b, name, weir__format_duration(text, ns));
}

void put_bytes(struct weir__buf *b, const char *name, const void *data, size_t n)
{
	char coded[48];

	if (weir__utf8_valid(data, n)) {
		put_name(b, name);
		weir__buf_json(b, data, n);
		return;
	}
	snprintf(coded, sizeof coded, "%s_base64", name);
	put_name(b, coded);
	weir__buf_byte(b, '"');
	weir__base64_encode(b, data, n);
	weir__buf_byte(b, '"');
}

static void render_history(struct weir__buf *b, const weir_job_info *job)
{
	put_name(b, "history");
	weir__buf_byte(b, '[');
	for (unsigned i = 0; i < job->histories; i++) {
		const weir_job_event *e = &job->history[i];

		if (i)
			weir__buf_byte(b, ',');
		weir__buf_byte(b, '{');
		put_time(b, "at", e->at_wall);
		put_str(b, "event", e->state);
		put_u64(b, "attempt", e->attempt);
		if (e->note[0])
			put_str(b, "note", e->note);
		weir__buf_byte(b, '}');
	}
	weir__buf_byte(b, ']');
}

void render_job(struct weir__buf *b, const weir_job_info *job)
{
	weir__buf_byte(b, '{');
	put_str(b, "id", job->id);
	put_str(b, "queue", job->queue);
	put_str(b, "state", weir_job_state_name(job->state));
	put_u64(b, "attempts", job->attempt);
	put_u64(b, "max_attempts", job->attempts_max);
	put_name(b, "priority");
	weir__buf_printf(b, "%d", job->priority);
	if (job->progress >= 0)
		put_real(b, "progress", job->progress);
	if (job->note[0])
		put_str(b, "note", job->note);
	if (job->worker[0])
		put_str(b, "worker", job->worker);
	if (job->error[0])
		put_str(b, "error", job->error);
	if (job->cancel)
		put_bool(b, "cancel", true);
	put_u64(b, "size", job->len);
	if (job->content_type[0])
		put_str(b, "content_type", job->content_type);
	put_time(b, "created_at", job->created_at);
	put_time(b, "due_at", job->due_at);
	put_time(b, "started_at", job->started_at);
	put_time(b, "finished_at", job->finished_at);
	if (job->result)
		put_bytes(b, "result", job->result, job->result_len);
	render_history(b, job);
	weir__buf_byte(b, '}');
}

static void render_settings(struct weir__buf *b, const weir_queue_settings *s)
{
	put_name(b, "settings");
	weir__buf_byte(b, '{');
	put_u64(b, "max", s->max);
	put_u64(b, "max_bytes", s->max_bytes);
	if (s->durability)
		put_str(b, "durability", weir_durability_name(s->durability));
	put_duration(b, "lease", s->lease_ns);
	put_u64(b, "max_attempts", s->attempts_max);
	put_duration(b, "timeout", s->timeout_ns);
	put_duration(b, "backoff", s->backoff_ns);
	put_duration(b, "backoff_max", s->backoff_max_ns);
	if (s->rate > 0) {
		put_real(b, "rate", s->rate);
		put_u64(b, "rate_burst", s->rate_burst);
	}
	if (s->concurrency)
		put_u64(b, "concurrency", s->concurrency);
	if (s->key_concurrency)
		put_u64(b, "key_concurrency", s->key_concurrency);
	put_u64(b, "finished_max", s->finished_max);
	put_duration(b, "finished_for", s->finished_ns);
	put_bool(b, "paused", s->paused);
	weir__buf_byte(b, '}');
}

static void render_latency(struct weir__buf *b, const char *name, const weir_queue_latency *l)
{
	if (!l->n)
		return;
	put_name(b, name);
	weir__buf_byte(b, '{');
	put_u64(b, "n", l->n);
	put_real(b, "p50", (double)l->p50_ns / 1e6);
	put_real(b, "p95", (double)l->p95_ns / 1e6);
	put_real(b, "p99", (double)l->p99_ns / 1e6);
	weir__buf_byte(b, '}');
}

void render_queue(struct weir__buf *b, const weir_queue_info *q)
{
	weir__buf_byte(b, '{');
	put_str(b, "name", q->name);
	put_u64(b, "queued", q->queued);
	put_u64(b, "delayed", q->delayed);
	put_u64(b, "running", q->running);
	put_u64(b, "done", q->done);
	put_u64(b, "dead", q->dead);
	put_u64(b, "cancelled", q->cancelled);
	put_u64(b, "bytes", q->bytes);
	put_bool(b, "paused", q->set.paused);
	put_real(b, "put_rate", q->put_rate);
	put_real(b, "done_rate", q->done_rate);
	put_u64(b, "oldest_ms", q->oldest_ns > 0 ? (uint64_t)q->oldest_ns / 1000000 : 0);
	render_latency(b, "wait_ms", &q->wait);
	render_latency(b, "run_ms", &q->run);
	put_u64(b, "put_total", q->put_total);
	put_u64(b, "taken_total", q->taken_total);
	put_u64(b, "acked_total", q->acked_total);
	put_u64(b, "failed_total", q->failed_total);
	put_u64(b, "dead_total", q->dead_total);
	put_u64(b, "refused_total", q->refused_total);
	put_u64(b, "expired_total", q->expired_total);
	put_duration(b, "retry_after", q->retry_after_ns);
	put_str(b, "durability", q->durability);
	render_settings(b, &q->set);
	weir__buf_byte(b, '}');
}
