/* SPDX-License-Identifier: MIT */
/* Queues and crons: look, set, pause, bring the dead back. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "settings.h"
#include "suggest.h"
#include "base/units.h"

enum { REFRESH_MAX = 50 };

static int reply_queue(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct weir__buf b = WEIR__BUF_INIT;
	const char *queue = weir_http_path(x, "queue");
	weir_queue_info info;
	int r = weir_queue_info_get(app->store, queue, &info);

	if (r == 0) /* While its engine is away: what was known last. */
		(void)weir_queue_refresh(ctx, app->store, queue);
	if (r == 0)
		r = weir_queue_info_get(app->store, queue, &info);
	if (r < 0)
		return reply_error(ctx, x, app, r, queue);
	render_queue(&b, &info);
	return reply_json(ctx, x, 200, &b);
}

/* What is gathered while the store is walked: under its lock nothing may be asked of it, so rights
 * are looked at here only. */
struct listing {
	struct app *app;
	weir_http *x;
	struct weir__buf b;
};

static int list_queue(const weir_queue_info *info, void *arg)
{
	struct listing *l = arg;

	if (!auth_may(l->app->auth, l->x, MAY_PUT | MAY_TAKE, info->name))
		return 0;
	if (l->b.data[l->b.len - 1] == '}')
		weir__buf_byte(&l->b, ',');
	render_queue(&l->b, info);
	return 0;
}

/* The names of the first queues whose counts are asked for when they are listed. */
struct names {
	size_t n;
	char name[REFRESH_MAX][65];
};

static int note_name(const weir_queue_info *info, void *arg)
{
	struct names *to = arg;

	memcpy(to->name[to->n], info->name, sizeof info->name);
	return ++to->n == REFRESH_MAX;
}

static void refresh(const weir_ctx *ctx, struct app *app)
{
	struct names *names = malloc(sizeof *names);

	if (!names)
		return;
	names->n = 0;
	(void)weir_queue_each(app->store, note_name, names);
	for (size_t i = 0; i < names->n; i++)
		if (weir_queue_refresh(ctx, app->store, names->name[i]) < 0)
			break;
	free(names);
}

static int queue_list(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct listing l = { .app = app, .x = x };

	if (strstr(app->opt->store, "://"))
		refresh(ctx, app);
	weir__buf_str(&l.b, "{\"queues\":[");
	if (!l.b.failed)
		(void)weir_queue_each(app->store, list_queue, &l);
	weir__buf_str(&l.b, "]}");
	return reply_json(ctx, x, 200, &l.b);
}

static int queue_get(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return reply_queue(ctx, x, app);
}

/* The body as an object in p; 0, < 0, or the complaint is in p->error. */
static int read_object(const weir_ctx *ctx, weir_http *x, struct params *p)
{
	char *body;
	size_t len;
	int r;

	*p = (struct params){ .x = x };
	r = weir_http_body(ctx, x, &body, &len);
	if (r < 0)
		return r;
	p->body = json_read(p, body, len);
	if (p->body && !json_is_object(p->body))
		wrong(p, "the body has to be a JSON object");
	return 0;
}

/* A queue's setting by its name here: that of the file with _ for -, unless it has another. */
static const char *member_name(const struct setting *s, char out[32])
{
	snprintf(out, 32, "%s", s->member ? s->member : s->name);
	for (char *c = out; (c = strchr(c, '-')) != NULL; c++)
		*c = '_';
	return out;
}

/* What runs jobs is not among them: whoever may set it may run commands. */
static bool of_store(const struct setting *s)
{
	return s->at >= offsetof(struct queue_config, set) &&
	       s->at < offsetof(struct queue_config, set) + sizeof(weir_queue_settings);
}

static const struct setting *find_setting(struct params *p, const char *name)
{
	const struct setting *end = queue_settings + queue_settings_n, *s;
	struct suggest near = SUGGEST_INIT(name);
	char member[32], best[32] = "";

	for (s = queue_settings; s < end; s++) {
		if (!of_store(s))
			continue;
		if (!strcmp(name, member_name(s, member)))
			return s;
		suggest_offer(&near, member);
		if (near.best == member || !strcmp(name, s->name)) {
			memcpy(best, member, sizeof best);
			near.best = best;
			near.distance = !strcmp(name, s->name) ? 0 : near.distance;
		}
	}
	wrong(p, best[0] ? "%.40s is not known here; did you mean %s?" : "%.40s is not known here",
	      name, best);
	return NULL;
}

/* 0 is what leaving it out is, whatever its unit. */
static bool is_zero(const struct setting *s, const char *text)
{
	uint64_t bytes = 1;
	int64_t n = 1;

	if (s->type == SET_DURATION)
		return weir__parse_duration(text, &n) == 0 && n == 0;
	if (s->type == SET_BYTES)
		return weir__parse_bytes(text, &bytes) == 0 && bytes == 0;
	return s->type != SET_SWITCH && !strcmp(text, "0");
}

/* As weir.yaml has them: the same table judges them. */
static void read_settings(struct params *p, weir_queue_settings *set)
{
	struct queue_config q = { .set = *set };
	struct weir__buf why = WEIR__BUF_INIT;
	const struct setting *s;
	const char *name, *text;
	json_t *value;

	if (p->error[0])
		return;
	json_object_foreach(p->body, name, value)
	{
		s = find_setting(p, name);
		text = s ? member(p, name) : NULL;
		if (!text || is_zero(s, text))
			continue;
		if (setting_store(s, &q, NULL, text, true, &why) < 0)
			wrong(p, "%s: %s", name, why.failed ? "no memory" : why.data);
		weir__buf_free(&why);
	}
	*set = q.set;
}

/* Which of them the store does not have: engines have none of the first two, and no store more
 * durability than it has. */
static const char *lacked(const struct app *app, const weir_queue_settings *set)
{
	bool remote = strstr(app->opt->store, "://") != NULL;

	return remote && set->rate > 0                              ? "rate" :
	       remote && (set->concurrency || set->key_concurrency) ? "concurrency" :
	       remote && set->paused                                ? "pause" :
	                                                              "durability";
}

static int queue_set(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *queue = weir_http_path(x, "queue");
	weir_queue_settings set = { 0 };
	weir_queue_info now;
	struct params p;
	int r;

	r = read_object(ctx, x, &p);
	if (r < 0)
		return r;
	/* Who sets a limit does not mean to let a paused queue go. */
	if (weir_queue_info_get(app->store, queue, &now) == 0)
		set.paused = now.set.paused;
	read_settings(&p, &set);
	json_decref(p.body);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	r = weir_queue_configure(ctx, app->store, queue, &set);
	return r < 0 ? reply_refused(ctx, x, app, r, queue, lacked(app, &set)) :
	               reply_queue(ctx, x, app);
}

static int pause_queue(const weir_ctx *ctx, weir_http *x, struct app *app, bool on)
{
	const char *queue = weir_http_path(x, "queue");
	int r = weir_queue_pause(ctx, app->store, queue, on);

	return r < 0 ? reply_refused(ctx, x, app, r, queue, "pause") : reply_queue(ctx, x, app);
}

static int queue_pause(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return pause_queue(ctx, x, app, true);
}

static int queue_resume(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return pause_queue(ctx, x, app, false);
}

static int queue_redrive(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *queue = weir_http_path(x, "queue");
	struct weir__buf b = WEIR__BUF_INIT;
	weir_redrive_left left = { 0 };
	int64_t n = weir_queue_redrive(ctx, app->store, queue, &left);
	char none[256];

	if (n < 0 && *left.why) {
		snprintf(none, sizeof none, "none came back: %s", left.why);
		if (left.n)
			snprintf(none, sizeof none, "none came back, %lld stay%s dead: %s",
			         (long long)left.n, left.n == 1 ? "s" : "", left.why);
		return reply_error_saying(ctx, x, app, (int)n, queue, none);
	}
	if (n < 0)
		return reply_refused(ctx, x, app, (int)n, NULL, "redrive");
	weir__buf_byte(&b, '{');
	put_u64(&b, "redriven", (uint64_t)n);
	if (left.n) {
		put_u64(&b, "left", (uint64_t)left.n);
		put_str(&b, "why", left.why);
	}
	weir__buf_byte(&b, '}');
	return reply_json(ctx, x, 200, &b);
}

/* ---- Crons ---- */
static void render_cron(struct weir__buf *b, const weir_cron_info *c)
{
	weir__buf_byte(b, '{');
	put_str(b, "name", c->name);
	put_str(b, "schedule", c->schedule);
	put_str(b, "queue", c->queue);
	put_u64(b, "size", c->len);
	put_time(b, "next_at", c->next_at);
	put_time(b, "last_at", c->last_at);
	weir__buf_byte(b, '}');
}

static int list_cron(const weir_cron_info *info, void *arg)
{
	struct listing *l = arg;

	if (l->b.data[l->b.len - 1] == '}')
		weir__buf_byte(&l->b, ',');
	render_cron(&l->b, info);
	return 0;
}

static int cron_list(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct listing l = { .app = app, .x = x };

	weir__buf_str(&l.b, "{\"crons\":[");
	if (!l.b.failed)
		(void)weir_cron_each(app->store, list_cron, &l);
	weir__buf_str(&l.b, "]}");
	return reply_json(ctx, x, 200, &l.b);
}

static int reply_cron(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct weir__buf b = WEIR__BUF_INIT;
	weir_cron_info info;
	int r = weir_cron_get(app->store, weir_http_path(x, "name"), &info);

	if (r < 0)
		return reply_error(ctx, x, app, r, NULL);
	render_cron(&b, &info);
	return reply_json(ctx, x, 200, &b);
}

static int cron_get(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return reply_cron(ctx, x, app);
}

static int cron_put(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	static const char *const known[] = { "schedule", "queue", "payload", "payload_base64",
		                             NULL };
	const char *name = weir_http_path(x, "name"), *schedule, *queue, *type = NULL;
	char *data = NULL;
	struct params p;
	size_t len = 0;
	int r;

	r = read_object(ctx, x, &p);
	if (r < 0)
		return r;
	refuse_unknown(&p, known);
	schedule = member(&p, "schedule");
	queue = member(&p, "queue");
	if (!schedule || !queue)
		wrong(&p, "schedule and queue are needed");
	else if (!weir_queue_name_valid(name) || !weir_queue_name_valid(queue))
		wrong(&p, "%s is 1 to 64 of A-Z a-z 0-9 . _ -, and no dot first",
		      weir_queue_name_valid(name) ? "queue" : "a cron's name");
	if (!p.error[0])
		read_payload(&p, p.body, &data, &len, &type);
	if (p.error[0]) {
		r = reply_wrong(ctx, x, &p);
	} else {
		r = weir_cron_put(ctx, app->store, name, schedule, queue, data, len);
		if (r == -EINVAL)
			r = weir_http_problem(
				ctx, x, 400,
				"schedule: \"%.100s\" is none, or never comes; write "
				"five fields like \"0 3 * * *\", @daily, or @every 5m",
				schedule);
		else if (r == -ENOENT)
			r = weir_http_problem(ctx, x, 400,
			                      "the system's tz database has no such time zone");
		else
			r = r < 0 ? reply_refused(ctx, x, app, r, NULL, "cron") :
			            reply_cron(ctx, x, app);
	}
	free(data);
	json_decref(p.body);
	return r;
}

static int cron_delete(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	int r = weir_cron_delete(ctx, app->store, weir_http_path(x, "name"));

	return r < 0 ? reply_error(ctx, x, app, r, NULL) : 204;
}

const struct route queues_routes[] = {
	{ "GET /v1/queues", queue_list, MAY_PUT | MAY_TAKE, OF_SERVER, { 0 } },
	{ "GET /v1/queues/{queue}", queue_get, MAY_PUT | MAY_TAKE, OF_QUEUE, { 0 } },
	{ "PUT /v1/queues/{queue}", queue_set, MAY_ADMIN, OF_QUEUE, { 0 } },
	{ "POST /v1/queues/{queue}/pause", queue_pause, MAY_ADMIN, OF_QUEUE, { 0 } },
	{ "POST /v1/queues/{queue}/resume", queue_resume, MAY_ADMIN, OF_QUEUE, { 0 } },
	{ "POST /v1/queues/{queue}/redrive", queue_redrive, MAY_ADMIN, OF_QUEUE, { 0 } },
	{ "GET /v1/crons", cron_list, MAY_ADMIN, OF_SERVER, { 0 } },
	{ "GET /v1/crons/{name}", cron_get, MAY_ADMIN, OF_SERVER, { 0 } },
	{ "PUT /v1/crons/{name}", cron_put, MAY_ADMIN, OF_SERVER, { 0 } },
	{ "DELETE /v1/crons/{name}", cron_delete, MAY_ADMIN, OF_SERVER, { 0 } },
	{ NULL, NULL, 0, OF_SERVER, { 0 } },
};
