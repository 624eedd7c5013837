/* SPDX-License-Identifier: MIT */
/*
 * weir enqueue: one job, or one for each line of a file.
 *
 * A file is sent in batches of at most 500 lines. A queue that is full refuses single lines; those,
 * and only those, are sent again after a pause, in front of what comes next, so that a file of any
 * length goes through a queue of any bound, in about its order and with no line lost or doubled.
 * Other refusals are told with their line's number and make the end a failure.
 */
#include "bus_cmds.h"
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/units.h"

enum { BATCH = 500, BATCH_BYTES = 2 << 20, LINE_MAX_BYTES = 1 << 20 };

static void put_target(struct weir__buf *b, const char *queue, const char *rest)
{
	weir__buf_str(b, "/v1/queues/");
	put_escaped(b, queue);
	weir__buf_str(b, rest);
}

/* ---- Waiting for the end of one job ---- */

static int say_end(struct client *c, const char *state, const json_t *job)
{
	struct weir__buf result = WEIR__BUF_INIT;
	const char *why = get_text(job, "error");

	if (!strcmp(state, "done")) {
		if (c->o->json) {
			char *text = json_dumps(job, JSON_COMPACT);

			weir__buf_printf(&c->out, "%s\n", text ? text : "");
			free(text);
		} else {
			/* Without one nothing is printed. */
			if (get_bytes(job, "result", &result) == 0)
				put_shown(c, result.data, result.len);
			weir__buf_free(&result);
		}
		return EXIT_DONE;
	}
	fprintf(stderr, "weir: the job is %s%s%s\n", state, *why ? ": " : "", why);
	return EXIT_FAILED;
}

/* Reads events until the job has ended: an exit status, or -Exxx when the stream broke. *last_id is
 * where to resume. */
static int read_events(const weir_ctx *ctx, struct client *c, char last_id[64])
{
	bool tty = isatty(STDERR_FILENO);
	weir_sse_event e;
	json_t *job;
	int r;

	while ((r = weir_http_client_event(ctx, c->http, &e)) > 0) {
		if (e.id && strlen(e.id) < 64)
			memcpy(last_id, e.id, strlen(e.id) + 1);
		if (!strcmp(e.event, "done") || !strcmp(e.event, "dead") ||
		    !strcmp(e.event, "cancelled")) {
			job = json_loadb(e.data, e.len, JSON_ALLOW_NUL, NULL);
			r = say_end(c, e.event, job);
			json_decref(job);
			return r;
		}
		if (tty)
			fprintf(stderr, "weir: %s\n", e.event);
	}
	return r < 0 ? r : -ECONNRESET;
}

static int wait_for_job(const weir_ctx *ctx, struct client *c, const char *id)
{
	char target[96], last_id[64] = "";
	unsigned tries = 0;
	int r;

	snprintf(target, sizeof target, "/v1/jobs/%s/events", id);
	for (;;) {
		r = client_stream(ctx, c, target, *last_id ? last_id : NULL, WEIR_SEC(30));
		if (r == 200) {
			tries = 0;
			r = read_events(ctx, c, last_id);
			if (r >= 0)
				return r;
		} else if (r > 0 && r != 503) {
			fprintf(stderr, "weir: job %s cannot be followed (%d)\n", id, r);
			return EXIT_FAILED;
		}
		if (weir_ctx_err(ctx) < 0)
			return client_say_error(c, weir_ctx_err(ctx));
		if (tries == 1)
			fprintf(stderr, "weir: the server is gone; trying again\n");
		r = client_pause(ctx, &tries, 0);
		if (r < 0)
			return client_say_error(c, r);
	}
}

/* ---- One job ---- */

static int enqueue_one(const weir_ctx *ctx, struct client *c)
{
	const struct options *o = c->o;
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf *payload = c->arg, target = WEIR__BUF_INIT;
	struct request q = { .method = "POST", .body = payload->data, .len = payload->len };
	char delay[80], timeout[80], priority[48], attempts[48], time[WEIR__UNITS_MAX];
	char *key = NULL, *idempotency = NULL, *type = NULL;
	struct answer a = { .body = WEIR__BUF_INIT };
	size_t n = 0;
	int r;

	c->subject = o->args[0];
	put_target(&target, o->args[0], "/jobs");
	if (o->delay_ns) {
		snprintf(delay, sizeof delay, "weir-delay: %s",
		         weir__format_duration(time, o->delay_ns));
		q.headers[n++] = delay;
	}
	if (o->timeout_ns) {
		snprintf(timeout, sizeof timeout, "weir-timeout: %s",
		         weir__format_duration(time, o->timeout_ns));
		q.headers[n++] = timeout;
	}
	if (o->priority) {
		snprintf(priority, sizeof priority, "weir-priority: %d", o->priority);
		q.headers[n++] = priority;
	}
	if (o->attempts) {
		snprintf(attempts, sizeof attempts, "weir-max-attempts: %u", o->attempts);
		q.headers[n++] = attempts;
	}
	if (o->key)
		q.headers[n++] = key = client_header("weir-key", o->key);
	if (o->idempotency_key)
		q.headers[n++] = idempotency = client_header("idempotency-key", o->idempotency_key);
	if (o->content_type)
		q.headers[n++] = type = client_header("content-type", o->content_type);
	q.target = target.data;
	if (target.failed || (o->key && !key) || (o->idempotency_key && !idempotency) ||
	    (o->content_type && !type))
		r = client_say_error(c, -ENOMEM);
	else
		r = client_call(&live, c, &q, &a);
	if (r == 0 && !o->wait) {
		if (o->json)
			weir__buf_printf(&c->out, "%s\n", a.body.data);
		else
			weir__buf_printf(&c->out, "%s\n", get_text(a.json, "id"));
	} else if (r == 0) {
		char id[64];

		snprintf(id, sizeof id, "%s", get_text(a.json, "id"));
		r = wait_for_job(&live, c, id);
	}
	answer_free(&a);
	weir__buf_free(&target);
	free(key);
	free(idempotency);
	free(type);
	return r;
}

/* ---- A job a line ---- */

struct feed {
	int fd;
	struct weir__buf in; /* read and not yet taken */
	bool end;
	uint64_t line;         /* of the next one */
	char *pending[BATCH];  /* JSON lines to be sent, the refused ones first */
	uint64_t lines[BATCH]; /* their numbers */
	size_t n;
	size_t bytes;
	uint64_t accepted, refused;
	uint64_t size,
		taken; /* bytes of the file, 0 if nobody knows; those that were read from it */
	bool full_said;
};

/* The next line of the file without its end; NULL at the end. Waits. */
static int next_line(const weir_ctx *ctx, struct feed *f, char **ret, size_t *ret_len,
                     size_t *ret_taken)
{
	for (;;) {
		char *end = f->in.len ? memchr(f->in.data, '\n', f->in.len) : NULL;
		ssize_t n;

		if (end || (f->end && f->in.len)) {
			*ret = f->in.data;
			*ret_len = end ? (size_t)(end - f->in.data) : f->in.len;
			*ret_taken = *ret_len + (end != NULL);
			if (*ret_len && (*ret)[*ret_len - 1] == '\r')
				--*ret_len;
			return 1;
		}
		if (f->end)
			return 0;
		if (f->in.len > LINE_MAX_BYTES)
			return -EMSGSIZE;
		if (!weir__buf_reserve(&f->in, 65536))
			return -ENOMEM;
		n = client_read(ctx, f->fd, f->in.data + f->in.len, 65536);
		if (n < 0)
			return (int)n;
		f->in.len += (size_t)n;
		f->end = n == 0;
	}
}

static char *line_json(const struct options *o, const char *line, size_t len)
{
	struct weir__buf b = WEIR__BUF_INIT;
	char time[WEIR__UNITS_MAX];

	if (weir__utf8_valid(line, len)) {
		weir__buf_str(&b, "{\"payload\":");
		weir__buf_json(&b, line, len);
	} else {
		weir__buf_str(&b, "{\"payload_base64\":\"");
		weir__base64_encode(&b, line, len);
		weir__buf_byte(&b, '"');
	}
	if (o->delay_ns)
		weir__buf_printf(&b, ",\"delay\":\"%s\"", weir__format_duration(time, o->delay_ns));
	if (o->timeout_ns)
		weir__buf_printf(&b, ",\"timeout\":\"%s\"",
		                 weir__format_duration(time, o->timeout_ns));
	if (o->priority)
		weir__buf_printf(&b, ",\"priority\":%d", o->priority);
	if (o->attempts)
		weir__buf_printf(&b, ",\"max_attempts\":%u", o->attempts);
	if (o->key) {
		weir__buf_str(&b, ",\"key\":");
		weir__buf_json(&b, o->key, strlen(o->key));
	}
	if (o->content_type) {
		weir__buf_str(&b, ",\"content_type\":");
		weir__buf_json(&b, o->content_type, strlen(o->content_type));
	}
	weir__buf_str(&b, "}\n");
	if (!b.failed)
		return b.data;
	weir__buf_free(&b);
	return NULL;
}

/* Fills the batch up from the file. 0 or -Exxx. */
static int fill(const weir_ctx *ctx, struct client *c, struct feed *f)
{
	size_t len = 0, taken = 0;
	char *line = NULL;
	int r;

	while (f->n < BATCH && f->bytes < BATCH_BYTES) {
		r = next_line(ctx, f, &line, &len, &taken);
		if (r <= 0)
			return r;
		f->line++;
		if (len) { /* An empty line is no job. */
			f->pending[f->n] = line_json(c->o, line, len);
			if (!f->pending[f->n])
				return -ENOMEM;
			f->lines[f->n] = f->line;
			f->bytes += strlen(f->pending[f->n++]);
		}
		weir__buf_consume(&f->in, taken);
		f->taken += taken;
	}
	return 0;
}

/* Goes through the verdicts; what found the queue full stays in the batch. */
static void judge(struct client *c, struct feed *f, const struct weir__buf *body)
{
	const char *at = body->len ? body->data : "";
	size_t kept = 0;

	f->bytes = 0;
	for (size_t i = 0; i < f->n; i++) {
		size_t len = strcspn(at, "\n");
		json_t *verdict = len ? json_loadb(at, len, 0, NULL) : NULL;
		char *line = f->pending[i];

		f->pending[i] = NULL;
		if (verdict && *get_text(verdict, "id")) {
			f->accepted++;
			if (c->o->json)
				weir__buf_add(&c->out, at, len + 1);
		} else if (verdict && get_int(verdict, "status") == 503) {
			f->lines[kept] = f->lines[i];
			f->bytes += strlen(line);
			f->pending[kept++] = line;
			line = NULL;
		} else {
			f->refused++;
			fprintf(stderr, "weir: line %llu: %s\n", (unsigned long long)f->lines[i],
			        verdict ? get_text(verdict, "detail") :
			                  "the server gave no verdict");
		}
		free(line);
		json_decref(verdict);
		at += len + (at[len] == '\n');
	}
	f->n = kept;
}

static int send_batch(const weir_ctx *ctx, struct client *c, struct feed *f, const char *target)
{
	struct weir__buf body = WEIR__BUF_INIT;
	struct answer a = { .body = WEIR__BUF_INIT };
	struct request q = { .method = "POST",
		             .target = target,
		             .headers = { "content-type: application/x-ndjson" } };
	int r;

	for (size_t i = 0; i < f->n; i++)
		weir__buf_str(&body, f->pending[i]);
	if (body.failed) {
		r = client_say_error(c, -ENOMEM);
	} else {
		q.body = body.data;
		q.len = body.len;
		r = client_call(ctx, c, &q, &a);
	}
	if (r == 0)
		judge(c, f, &a.body);
	answer_free(&a);
	weir__buf_free(&body);
	return r;
}

static void show_progress(const struct feed *f)
{
	fprintf(stderr, "\rweir: %llu jobs", (unsigned long long)f->accepted);
	if (f->size)
		fprintf(stderr, ", %llu %%",
		        (unsigned long long)((f->taken < f->size ? f->taken : f->size) * 100 /
		                             f->size));
	fputs(" ", stderr);
}

static int feed(const weir_ctx *ctx, struct client *c, struct feed *f, const char *target)
{
	bool tty = isatty(STDERR_FILENO);
	unsigned tries = 0;
	uint64_t before;
	int r;

	for (;;) {
		r = fill(ctx, c, f);
		if (r == -EMSGSIZE)
			fprintf(stderr, "weir: line %llu is longer than 1MiB\n",
			        (unsigned long long)f->line + 1);
		if (r < 0)
			return r == -EMSGSIZE ? EXIT_FAILED : client_say_error(c, r);
		if (!f->n)
			return f->refused ? EXIT_FAILED : EXIT_DONE;
		before = f->accepted + f->refused;
		r = send_batch(ctx, c, f, target);
		if (r)
			return r;
		r = client_flush(ctx, c);
		if (r)
			return r;
		if (tty)
			show_progress(f);
		if (f->accepted + f->refused > before) {
			tries = 0;
			continue;
		}
		if (!f->full_said)
			fprintf(stderr, "%sweir: %s is full; going on when there is room\n",
			        tty ? "\n" : "", c->o->args[0]);
		f->full_said = true;
		r = client_pause(ctx, &tries, 0);
		if (r < 0)
			return client_say_error(c, r);
	}
}

static int enqueue_lines(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf target = WEIR__BUF_INIT;
	struct feed *f = c->arg;
	int r;

	c->subject = c->o->args[0];
	put_target(&target, c->o->args[0], "/jobs:batch");
	r = target.failed ? client_say_error(c, -ENOMEM) : feed(&live, c, f, target.data);
	fprintf(stderr, "%sweir: %llu jobs are in %s", isatty(STDERR_FILENO) ? "\r" : "",
	        (unsigned long long)f->accepted, c->o->args[0]);
	if (f->refused || f->n)
		fprintf(stderr, ", %llu lines were not taken",
		        (unsigned long long)(f->refused + f->n));
	fputs("\n", stderr);
	for (size_t i = 0; i < f->n; i++)
		free(f->pending[i]);
	weir__buf_free(&f->in);
	weir__buf_free(&target);
	return r;
}

int cmd_enqueue(const struct options *o)
{
	struct weir__buf payload = WEIR__BUF_INIT;
	struct feed *f;
	struct stat st;
	int r;

	if (need_queue(o->args[0]))
		return EXIT_USAGE;
	if (client_is_grpc(o) && (o->from_file || o->wait)) {
		fputs("weir: --from-file and --wait ask over HTTP: use an http:// URL\n", stderr);
		return EXIT_USAGE;
	}
	if (!o->from_file) {
		r = client_payload(o, 1, &payload);
		if (!r)
			r = client_run(o, client_is_grpc(o) ? grpc_enqueue : enqueue_one, &payload);
		weir__buf_free(&payload);
		return r;
	}
	f = calloc(1, sizeof *f);
	if (!f)
		return EXIT_FAILED;
	f->fd = strcmp(o->from_file, "-") ? open(o->from_file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (f->fd < 0) {
		fprintf(stderr, "weir: --from-file %s: %s\n", o->from_file, strerror(errno));
		r = EXIT_USAGE;
	} else {
		if (fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode))
			f->size = (uint64_t)st.st_size;
		r = client_run(o, enqueue_lines, f);
	}
	if (f->fd > STDIN_FILENO)
		close(f->fd);
	free(f);
	return r;
}
