/* SPDX-License-Identifier: MIT */
/* Looking at a server and steering it: jobs, queues, status, tasks, drain. Tables for people,
 * --json for programs. */
#include "client.h"
#include "suggest.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"

enum { PAGE = 100 };

/* One call whose answer is shown by `show`, or as it is with --json. */
static int call_and_show(const weir_ctx *ctx, struct client *c, const char *method,
                         const char *target, void (*show)(struct client *c, const json_t *answer))
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct answer a = { .body = WEIR__BUF_INIT };
	struct request q = { .method = method, .target = target };
	int r = client_call(&live, c, &q, &a);

	if (r == 0 && !a.json)
		r = client_say_error(c, -EBADMSG);
	else if (r == 0 && c->o->json)
		weir__buf_printf(&c->out, "%s\n", a.body.data);
	else if (r == 0 && show)
		show(c, a.json);
	answer_free(&a);
	return r;
}

/* "2026-01-31T12:00:00.000Z" as how long ago that was. */
static const char *age(const json_t *object, const char *name, char buf[WEIR__UNITS_MAX])
{
	const char *text = get_text(object, name), *rest;
	struct tm tm = { 0 };
	int64_t at;

	rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!rest)
		return "";
	at = (int64_t)timegm(&tm) * 1000000000;
	if (*rest == '.')
		at += (int64_t)(strtod(rest, NULL) * 1e9);
	return weir__format_about(buf, weir_wall() > at ? weir_wall() - at : at - weir_wall());
}

/* What the terminal should not obey is shown as a dot. */
static void put_plain(struct weir__buf *b, const char *text)
{
	for (; *text; text++)
		weir__buf_byte(b, (unsigned char)*text < 0x20 || *text == 0x7f ? '.' : *text);
}

static void field(struct client *c, const char *name, const char *fmt, ...) WEIR_PRINTF(3, 4);
static void field(struct client *c, const char *name, const char *fmt, ...)
{
	struct weir__buf text = WEIR__BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	weir__buf_vprintf(&text, fmt, ap);
	va_end(ap);
	if (text.len) {
		weir__buf_printf(&c->out, "%s%-14s%s ", c->color ? "\033[1m" : "", name,
		                 c->color ? "\033[0m" : "");
		put_plain(&c->out, text.data);
		weir__buf_byte(&c->out, '\n');
	}
	weir__buf_free(&text);
}

/* ---- Jobs ---- */

static void show_job(struct client *c, const json_t *j)
{
	struct weir__buf result = WEIR__BUF_INIT;
	char t[WEIR__UNITS_MAX];
	json_t *event;
	size_t i;

	field(c, "id", "%s", get_text(j, "id"));
	field(c, "queue", "%s", get_text(j, "queue"));
	field(c, "state", "%s%s", get_text(j, "state"),
	      json_is_true(json_object_get(j, "cancel")) &&
	                      !strcmp(get_text(j, "state"), "running") ?
	              ", to be cancelled" :
	              "");
	field(c, "attempts", "%lld of %lld", (long long)get_int(j, "attempts"),
	      (long long)get_int(j, "max_attempts"));
	if (get_int(j, "priority"))
		field(c, "priority", "%lld", (long long)get_int(j, "priority"));
	if (json_object_get(j, "progress"))
		field(c, "progress", "%.0f %%",
		      json_number_value(json_object_get(j, "progress")) * 100);
	field(c, "note", "%s", get_text(j, "note"));
	field(c, "worker", "%s", get_text(j, "worker"));
	field(c, "error", "%s", get_text(j, "error"));
	field(c, "size", "%lld bytes, %s", (long long)get_int(j, "size"),
	      get_text(j, "content_type"));
	field(c, "created", "%s ago", age(j, "created_at", t));
	if (!strcmp(get_text(j, "state"), "delayed"))
		field(c, "due", "in %s", age(j, "due_at", t));
	if (*get_text(j, "finished_at"))
		field(c, "finished", "%s ago", age(j, "finished_at", t));
	if (get_bytes(j, "result", &result) == 0 && result.len && strlen(result.data) == result.len)
		field(c, "result", "%.*s%s", 200, result.data, result.len > 200 ? "…" : "");
	else if (result.len)
		field(c, "result", "%zu bytes", result.len);
	json_array_foreach(json_object_get(j, "history"), i, event)
		field(c, i ? "" : "history", "%s  %s%s%s", get_text(event, "at"),
	              get_text(event, "event"), *get_text(event, "note") ? ": " : "",
	              get_text(event, "note"));
	weir__buf_free(&result);
}

static void add_job(struct table *t, const json_t *j)
{
	char ago[WEIR__UNITS_MAX];
	struct weir__buf note = WEIR__BUF_INIT;

	put_plain(&note, *get_text(j, "error") ? get_text(j, "error") : get_text(j, "note"));
	table_cell(t, "%s", get_text(j, "id"));
	table_cell(t, "%s", get_text(j, "state"));
	table_cell(t, "%lld", (long long)get_int(j, "attempts"));
	table_cell(t, "%lld", (long long)get_int(j, "size"));
	table_cell(t, "%s", age(j, "created_at", ago));
	table_cell(t, "%s", note.len ? note.data : "");
	weir__buf_free(&note);
}

/* Page by page: the server gives at most 100 at a time. */
static int list_jobs(const weir_ctx *ctx, struct client *c)
{
	const struct options *o = c->o;
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf target = WEIR__BUF_INIT;
	char after[64] = "";
	unsigned left = o->limit;
	struct table t;
	int r = 0;

	table_init(&t, "llrrrl");
	for (const char *const *h =
	             (const char *const[]){ "ID", "STATE", "TRIES", "BYTES", "AGE", "NOTE", NULL };
	     *h; h++)
		table_cell(&t, "%s", *h);
	do {
		struct request q = { .method = "GET" };
		struct answer a;
		json_t *job;
		size_t i;

		weir__buf_clear(&target);
		weir__buf_str(&target, "/v1/queues/");
		put_escaped(&target, o->args[0]);
		weir__buf_printf(&target, "/jobs?limit=%u", left < PAGE ? left : PAGE);
		if (o->state)
			weir__buf_printf(&target, "&state=%s", o->state);
		if (*after)
			weir__buf_printf(&target, "&after=%s", after);
		q.target = target.data;
		r = client_call(&live, c, &q, &a);
		if (r == 0)
			json_array_foreach(json_object_get(a.json, "jobs"), i, job)
			{
				char *text = o->json ? json_dumps(job, JSON_COMPACT) : NULL;

				if (text)
					weir__buf_printf(&c->out, "%s\n", text);
				else
					add_job(&t, job);
				free(text);
				left -= left > 0;
			}
		snprintf(after, sizeof after, "%s", get_text(a.json, "next"));
		answer_free(&a);
	} while (r == 0 && *after && left);
	if (r == 0 && !o->json && t.n > t.columns)
		table_print(&t, c);
	else if (r == 0 && !o->json)
		fprintf(stderr, "weir: %s holds no %sjobs\n", o->args[0], o->state ? "such " : "");
	weir__buf_free(&t.cells);
	weir__buf_free(&target);
	return r;
}

/* A ULID: 26 letters and digits, which are also a queue's name, but nobody calls a queue so. */
static bool is_id(const char *text)
{
	return strlen(text) == WEIR_JOB_ID_LEN &&
	       strspn(text, "0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz") == 26;
}

static int one_job(const weir_ctx *ctx, struct client *c)
{
	const struct options *o = c->o;
	bool act = o->nargs == 2;
	char target[96];

	c->subject = o->args[act];
	snprintf(target, sizeof target, "/v1/jobs/%s%s", o->args[act],
	         act && o->args[0][0] == 'r' ? "/retry" : "");
	return call_and_show(ctx, c,
	                     !act                 ? "GET" :
	                     o->args[0][0] == 'r' ? "POST" :
	                                            "DELETE",
	                     target, show_job);
}

/* `verb` is one of the words, or its nearest is suggested. */
static int need_word(const char *command, const char *verb, const char *const *words)
{
	struct suggest near = SUGGEST_INIT(verb);

	for (; *words; words++) {
		if (!strcmp(*words, verb))
			return 0;
		suggest_offer(&near, *words);
	}
	fprintf(stderr, "weir: unknown word \"%s\" for weir %s", verb, command);
	if (near.best)
		fprintf(stderr, "; did you mean \"%s\"?\n", near.best);
	else
		fprintf(stderr, "; weir %s --help tells more\n", command);
	return EXIT_USAGE;
}

/* "cancel" and nothing behind it, as an empty variable leaves it: no queue's name. */
static bool lone_word(const struct options *o, const char *const *words, const char *what,
                      const char *arg)
{
	for (; o->nargs == 1 && *words; words++)
		if (!strcmp(o->args[0], *words)) {
			fprintf(stderr, "weir: which %s? usage: weir %ss %s %s\n", what, what,
			        *words, arg);
			return true;
		}
	return false;
}

int cmd_jobs(const struct options *o)
{
	static const char *const words[] = { "cancel", "retry", NULL };

	if (o->nargs == 2) {
		if (need_word("jobs", o->args[0], words))
			return EXIT_USAGE;
		if (!is_id(o->args[1])) {
			fprintf(stderr,
			        "weir: \"%s\" is not a job's id: 26 letters and digits, as weir "
			        "enqueue prints it\n",
			        o->args[1]);
			return EXIT_USAGE;
		}
		return client_run(o, one_job, NULL);
	}
	if (is_id(o->args[0]))
		return client_run(o, one_job, NULL);
	if (lone_word(o, words, "job", "ID"))
		return EXIT_USAGE;
	return need_queue(o->args[0]) ? EXIT_USAGE : client_run(o, list_jobs, NULL);
}

/* ---- Queues ---- */

static const char *about_ms(double ms, char buf[WEIR__UNITS_MAX])
{
	return weir__format_about(buf, (int64_t)(ms * 1e6));
}

static double percentile(const json_t *latency, const char *which)
{
	return json_number_value(json_object_get(latency, which));
}

static void show_latency(struct client *c, const char *name, const json_t *l)
{
	char a[WEIR__UNITS_MAX], b[WEIR__UNITS_MAX], d[WEIR__UNITS_MAX];

	if (l)
		field(c, name, "half up to %s, 95%% %s, 99%% %s", about_ms(percentile(l, "p50"), a),
		      about_ms(percentile(l, "p95"), b), about_ms(percentile(l, "p99"), d));
}

static void show_queue(struct client *c, const json_t *q)
{
	char t[WEIR__UNITS_MAX];
	static const char *const counts[] = { "queued",      "delayed",      "running",
		                              "done",        "dead",         "cancelled",
		                              "bytes",       "put_total",    "taken_total",
		                              "acked_total", "failed_total", "refused_total",
		                              NULL };
	const char *key;
	json_t *value;

	field(c, "queue", "%s%s", get_text(q, "name"),
	      json_is_true(json_object_get(q, "paused")) ? ", paused" : "");
	for (const char *const *name = counts; *name; name++)
		field(c, *name, "%lld", (long long)get_int(q, *name));
	field(c, "rates", "%.1f in, %.1f done a second",
	      json_number_value(json_object_get(q, "put_rate")),
	      json_number_value(json_object_get(q, "done_rate")));
	show_latency(c, "waited", json_object_get(q, "wait_ms"));
	show_latency(c, "ran", json_object_get(q, "run_ms"));
	if (get_int(q, "oldest_ms"))
		field(c, "oldest", "%s", about_ms((double)get_int(q, "oldest_ms"), t));
	field(c, "durability", "%s", get_text(q, "durability"));
	json_object_foreach(json_object_get(q, "settings"), key, value)
	{
		if (!strcmp(key, "durability"))
			continue; /* It was told. */
		if (json_is_string(value))
			field(c, key, "%s", json_string_value(value));
		else if (json_is_number(value))
			field(c, key, "%.12g", json_number_value(value));
	}
}

static void show_queues(struct client *c, const json_t *answer)
{
	static const char *const heads[] = { "QUEUE",  "QUEUED", "DELAYED", "RUNNING",
		                             "DONE",   "DEAD",   "IN/s",    "DONE/s",
		                             "OLDEST", "WAITED", "RAN",     "STATE" };
	static const char *const counts[] = { "queued", "delayed", "running", "done", "dead" };
	char text[WEIR__UNITS_MAX];
	struct table t;
	json_t *q;
	size_t i;

	if (!json_array_size(json_object_get(answer, "queues"))) {
		fputs("weir: there are no queues yet; the first job makes one\n", stderr);
		return;
	}
	table_init(&t, "lrrrrrrrrrrl");
	for (i = 0; i < sizeof heads / sizeof heads[0]; i++)
		table_cell(&t, "%s", heads[i]);
	json_array_foreach(json_object_get(answer, "queues"), i, q)
	{
		table_cell(&t, "%s", get_text(q, "name"));
		for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++)
			table_cell(&t, "%lld", (long long)get_int(q, counts[n]));
		table_cell(&t, "%.1f", json_number_value(json_object_get(q, "put_rate")));
		table_cell(&t, "%.1f", json_number_value(json_object_get(q, "done_rate")));
		table_cell(&t, "%s",
		           get_int(q, "queued") ? about_ms((double)get_int(q, "oldest_ms"), text) :
		                                  "");
		for (size_t n = 0; n < 2; n++) { /* 95 of 100 took no longer */
			const json_t *l = json_object_get(q, n ? "run_ms" : "wait_ms");

			table_cell(&t, "%s", l ? about_ms(percentile(l, "p95"), text) : "");
		}
		table_cell(&t, "%s", json_is_true(json_object_get(q, "paused")) ? "paused" : "");
	}
	table_print(&t, c);
}

static void show_redriven(struct client *c, const json_t *answer)
{
	long long n = get_int(answer, "redriven"), left = get_int(answer, "left");

	weir__buf_printf(&c->out, "%lld job%s back in %s\n", n, n == 1 ? " is" : "s are",
	                 c->o->args[1]);
	if (left)
		weir__buf_printf(&c->out, "%lld job%s left among the dead: %s\n", left,
		                 left == 1 ? " is" : "s are", get_text(answer, "why"));
}

static int queues(const weir_ctx *ctx, struct client *c)
{
	const struct options *o = c->o;
	struct weir__buf target = WEIR__BUF_INIT;
	int r;

	c->subject = o->nargs ? o->args[o->nargs - 1] : NULL;
	weir__buf_str(&target, "/v1/queues");
	if (o->nargs)
		weir__buf_printf(&target, "/%s", o->args[o->nargs - 1]);
	if (o->nargs == 2)
		weir__buf_printf(&target, "/%s", o->args[0]);
	if (target.failed)
		r = client_say_error(c, -ENOMEM);
	else if (o->nargs < 2)
		r = call_and_show(ctx, c, "GET", target.data, o->nargs ? show_queue : show_queues);
	else
		r = call_and_show(ctx, c, "POST", target.data,
		                  !strcmp(o->args[0], "redrive") ? show_redriven : NULL);
	weir__buf_free(&target);
	return r;
}

int cmd_queues(const struct options *o)
{
	static const char *const words[] = { "pause", "resume", "redrive", NULL };

	if (o->engines)
		return show_engines(o);
	if (o->nargs == 2 && need_word("queues", o->args[0], words))
		return EXIT_USAGE;
	if (lone_word(o, words, "queue", "QUEUE"))
		return EXIT_USAGE;
	if (o->nargs && need_queue(o->args[o->nargs - 1]))
		return EXIT_USAGE;
	return client_run(o, queues, NULL);
}

/* ---- Status and tasks ---- */

static void show_status(struct client *c, const json_t *s)
{
	const json_t *jobs = json_object_get(s, "jobs"), *http = json_object_get(s, "http");
	char up[WEIR__UNITS_MAX], memory[WEIR__UNITS_MAX];
	int64_t left;
	json_t *addr;
	size_t i;

	field(c, "server", "weir %s, process %lld, %s", get_text(s, "version"),
	      (long long)get_int(s, "pid"),
	      json_is_true(json_object_get(s, "ready")) ? "ready" : "stopping");
	json_array_foreach(json_object_get(s, "listen"), i, addr)
		field(c, i ? "" : "listens on", "%s", json_string_value(addr));
	field(c, "up", "%s", weir__format_about(up, get_int(s, "uptime_s") * 1000000000));
	if (*get_text(s, "stop_left") && weir__parse_duration(get_text(s, "stop_left"), &left) == 0)
		field(c, "stop ends in", "%s", weir__format_about(up, left));
	field(c, "jobs",
	      "%lld queued, %lld delayed, %lld running, %lld done, %lld dead, in %lld queues",
	      (long long)get_int(jobs, "queued"), (long long)get_int(jobs, "delayed"),
	      (long long)get_int(jobs, "running"), (long long)get_int(jobs, "done"),
	      (long long)get_int(jobs, "dead"), (long long)get_int(jobs, "queues"));
	field(c, "requests", "%lld, %lld at the moment", (long long)get_int(http, "requests"),
	      (long long)get_int(http, "active"));
	field(c, "connections", "%lld, %lld of them streams", (long long)get_int(s, "connections"),
	      (long long)get_int(s, "streams"));
	field(c, "tasks", "%lld on %lld threads", (long long)get_int(s, "tasks"),
	      (long long)get_int(s, "workers"));
	snprintf(memory, sizeof memory, "%.1f MiB", (double)get_int(s, "memory_bytes") / 1048576);
	field(c, "job memory", "%s", memory);
}

static int status(const weir_ctx *ctx, struct client *c)
{
	return call_and_show(ctx, c, "GET", "/v1/status", show_status);
}

int cmd_status(const struct options *o)
{
	return client_run(o, status, NULL);
}

static void show_tasks(struct client *c, const json_t *answer)
{
	static const char *const heads[] = { "ID",       "NAME", "PLACE", "STATE",
		                             "WAITS ON", "FOR",  "LEFT",  "THREAD" };
	char t_for[WEIR__UNITS_MAX], t_left[WEIR__UNITS_MAX];
	struct table t;
	json_t *task;
	size_t i;

	table_init(&t, "rllllrrr");
	for (i = 0; i < sizeof heads / sizeof heads[0]; i++)
		table_cell(&t, "%s", heads[i]);
	json_array_foreach(json_object_get(answer, "tasks"), i, task)
	{
		const json_t *left = json_object_get(task, "left_ms");

		table_cell(&t, "%lld", (long long)get_int(task, "id"));
		table_cell(&t, "%s", get_text(task, "name"));
		table_cell(&t, "%s", get_text(task, "place"));
		table_cell(&t, "%s", get_text(task, "state"));
		table_cell(&t, "%s", get_text(task, "waits_on"));
		table_cell(&t, "%s",
		           weir__format_about(t_for, get_int(task, "since_ms") * 1000000));
		table_cell(&t, "%s",
		           left ? weir__format_about(t_left, json_integer_value(left) * 1000000) :
		                  "");
		table_cell(&t, "%lld", (long long)get_int(task, "worker"));
	}
	table_print(&t, c);
}

static int tasks(const weir_ctx *ctx, struct client *c)
{
	return call_and_show(ctx, c, "GET", "/debug/tasks", show_tasks);
}

int cmd_tasks(const struct options *o)
{
	return client_run(o, tasks, NULL);
}

/* ---- Drain ---- */

/* The end of the server's process, when it is one of this machine and it is what it should be. */
static int open_process(long pid)
{
	char path[64], name[32] = "";
	FILE *f;

	snprintf(path, sizeof path, "/proc/%ld/comm", pid);
	f = fopen(path, "re"); /* nothing else runs */
	if (!f)
		return -1;
	if (!fgets(name, sizeof name, f))
		name[0] = 0;
	fclose(f);
	name[strcspn(name, "\n")] = 0;
	return strcmp(name, "weir") ? -1 : (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
}

static bool is_local(const char *server)
{
	const char *host = strstr(server, "://");

	return !strncmp(server, "unix:", 5) ||
	       (host && (!strncmp(host, "://127.", 7) || !strncmp(host, "://localhost", 12) ||
	                 !strncmp(host, "://[::1]", 8)));
}

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 1; /* does not wait */
}

static void show_progress(const json_t *s, char last[160])
{
	const json_t *jobs = json_object_get(s, "jobs");
	char line[160], left[WEIR__UNITS_MAX];
	int64_t left_ns = 0;

	(void)weir__parse_duration(get_text(s, "stop_left"), &left_ns);
	snprintf(line, sizeof line,
	         "weir: stopping: %lld jobs running, %lld connections, %s left\n",
	         (long long)get_int(jobs, "running"), (long long)get_int(s, "connections"),
	         weir__format_about(left, left_ns));
	if (strcmp(line, last) != 0)
		fputs(line, stderr);
	memcpy(last, line, sizeof line);
}

/* What the server says of its stop, until it ends that. A server that is older, or gone, says
 * nothing. */
static void follow_stop(const weir_ctx *ctx, struct client *stream, char last[160])
{
	weir_sse_event e;
	json_t *now;

	while (weir_http_client_event(ctx, stream->http, &e) > 0) {
		now = json_loadb(e.data, e.len, JSON_ALLOW_NUL, NULL);
		if (now)
			show_progress(now, last);
		json_decref(now);
	}
}

/* Asks until nobody answers; then, if it can be seen, until the process has ended. */
static int watch_drain(const weir_ctx *ctx, struct client *c, int pidfd, char last[160])
{
	/* The server waits for connections to end: ours should not be one of them. */
	struct request q = { .method = "GET",
		             .target = "/v1/status",
		             .headers = { "connection: close" },
		             .timeout_ns = WEIR_SEC(5) };
	bool answers = true;
	int r;

	for (;;) {
		struct answer a = { .body = WEIR__BUF_INIT };

		r = answers ? client_exchange(ctx, c, &q, &a) : -ECONNREFUSED;
		if (r == 0 && a.json)
			show_progress(a.json, last);
		answer_free(&a);
		if (r < 0 && answers)
			fputs(pidfd >= 0 ? "weir: it takes no more connections and finishes what "
			                   "it has\n" :
			                   "",
			      stderr);
		answers = r == 0;
		if (pidfd >= 0 ? has_ended(pidfd) : !answers) {
			fputs("weir: the server has gone\n", stderr);
			return EXIT_DONE;
		}
		r = weir_sleep(ctx, WEIR_MS(200));
		if (r < 0)
			return client_say_error(c, r);
	}
}

static int drain(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct request q = { .method = "POST",
		             .target = "/v1/drain",
		             .headers = { "connection: close" } };
	struct answer a = { .body = WEIR__BUF_INIT };
	char last[160] = "";
	struct client stream;
	bool follows;
	int pidfd = -1, r;

	/* Before, for it takes no new connections then. */
	r = client_copy(&stream, c);
	if (r < 0)
		return client_say_error(c, r);
	follows = client_stream(&live, &stream, "/v1/drain/events", NULL, WEIR_SEC(5)) == 200;
	r = client_call(&live, c, &q, &a);
	if (r == 0) {
		if (is_local(c->o->server))
			pidfd = open_process((long)get_int(a.json, "pid"));
		fputs("weir: the server finishes what it has and stops\n", stderr);
		if (follows)
			follow_stop(&live, &stream, last);
		client_close(&stream); /* The server waits for connections to end. */
		r = watch_drain(&live, c, pidfd, last);
	} else {
		client_close(&stream);
	}
	if (pidfd >= 0)
		close(pidfd);
	answer_free(&a);
	return r;
}

int cmd_drain(const struct options *o)
{
	return client_run(o, drain, NULL);
}
