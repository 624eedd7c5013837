/* SPDX-License-Identifier: MIT */
/*
 * Subjects: publish, ask, stream.
 *
 * A plain stream is handed over to its pattern's hub (streams.c) and costs no task. A stream that
 * is a member of a group gets only its share of the messages, so it has a subscription and a task
 * of its own, and cannot be resumed.
 */
#include <stdio.h>
#include <string.h>

#include "handlers.h"
#include "streams.h"

enum {
	GROUPS_MAX = 1000, /* streams in groups at a time */
	GROUP_PENDING = 256,
	GROUP_BYTES = 1 << 20,
	GROUP_NAME_MAX = 64,
};

#define REQUEST_DEFAULT WEIR_SEC(1)
#define REQUEST_MAX     WEIR_MIN(5)
#define HEARTBEAT       WEIR_SEC(15)

/* What the server itself tells nobody else may pretend to tell. */
bool subject_reserved(const char *subject)
{
	return !strncmp(subject, "weir.", 5) || !strcmp(subject, "weir");
}

/* The body as a message on the path's subject; 0, < 0, or 1 when the answer has been given. */
static int read_message(const weir_ctx *ctx, weir_http *x, weir_msg *m)
{
	const char *subject = weir_http_path(x, "subject");
	char *body;
	int r;

	*m = (weir_msg){ .subject = subject };
	if (!weir_subject_valid(subject, false))
		r = weir_http_problem(
			ctx, x, 400,
			"not a subject: tokens of letters, separated by dots, no wildcards");
	else if (subject_reserved(subject))
		r = weir_http_problem(ctx, x, 403, "subjects under weir. are the server's own");
	else {
		r = weir_http_body(ctx, x, &body, &m->len);
		m->data = body;
		return r;
	}
	return r < 0 ? r : 1;
}

static int subject_publish(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct weir__buf b = WEIR__BUF_INIT;
	weir_bus_receipt receipt;
	weir_bus_stats bus;
	weir_msg m;
	int r;

	r = read_message(ctx, x, &m);
	if (r != 0)
		return r < 0 ? r : 0;
	r = weir_bus_publish_told(ctx, app->bus, &m, &receipt);
	if (r < 0)
		return reply_error(ctx, x, app, r, NULL);
	weir_bus_stats_get(app->bus, &bus);
	weir__buf_byte(&b, '{');
	if (bus.cluster)
		put_bool(&b, "accepted", true); /* By how many, it does not tell. */
	else
		put_u64(&b, "delivered", receipt.delivered);
	if (receipt.dropped)
		put_u64(&b, "dropped", receipt.dropped);
	weir__buf_byte(&b, '}');
	return reply_json(ctx, x, 202, &b);
}

static int subject_request(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct params p = { .x = x };
	int64_t timeout = REQUEST_DEFAULT;
	weir_msg m, answer;
	weir_ctx soon;
	int r;

	read_duration(&p, "timeout", weir_http_query(x, "timeout"), WEIR_MS(1), REQUEST_MAX,
	              &timeout);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	r = read_message(ctx, x, &m);
	if (r != 0)
		return r < 0 ? r : 0;
	soon = weir_ctx_timeout(ctx, timeout);
	r = weir_bus_request(&soon, app->bus, m.subject, m.data, m.len, &answer);
	if (r < 0)
		return reply_error(ctx, x, app, r, NULL);
	r = weir_http_reply(ctx, x, 200, "application/octet-stream", answer.data, answer.len);
	weir_msg_free(&answer);
	return r;
}

static int send_message(const weir_ctx *ctx, weir_http *x, const weir_msg *m, bool json)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int r;

	if (!json)
		return weir_sse_send(ctx, x, NULL, m->data, m->len);
	streams_render(&b, m);
	r = b.failed ? -ENOMEM : weir_sse_send(ctx, x, NULL, b.data, b.len);
	weir__buf_free(&b);
	return r;
}

static int stream_group(const weir_ctx *ctx, weir_http *x, struct app *app, const char *pattern,
                        const char *group, bool json)
{
	weir_sub_options opt = { .queue = group,
		                 .pending_max = GROUP_PENDING,
		                 .pending_bytes = GROUP_BYTES };
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_sub *sub;
	weir_msg m;
	int r;

	if (wants_head(x))
		return weir_sse_begin(ctx, x);
	r = weir_bus_follow(ctx, app->bus, pattern, &opt, &sub);
	if (r < 0)
		return reply_error(ctx, x, app, r, NULL);
	r = weir_sse_begin(ctx, x);
	while (r == 0) {
		weir_ctx beat = weir_ctx_timeout(&live, HEARTBEAT);

		r = weir_sub_next(&beat, sub, &m);
		if (r > 0) {
			r = send_message(ctx, x, &m, json);
		} else if (r == -ETIMEDOUT) {
			r = weir_sse_ping(ctx, x);
		} else if (r == 0 || r == -ESHUTDOWN) {
			r = weir_sse_retry(ctx, x, WEIR_SEC(2));
			break;
		}
	}
	(void)weir_sub_close(sub);
	return r;
}

static int subject_events(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *pattern = weir_http_path(x, "subject"), *format = weir_http_query(x, "format");
	const char *group = weir_http_query(x, "group");
	bool json = format && !strcmp(format, "json");
	struct params p = { .x = x };
	int r;

	if (!weir_subject_valid(pattern, true))
		wrong(&p, "not a subject or pattern: tokens separated by dots, * for one, > for "
		          "the rest");
	if (format && !json && strcmp(format, "text"))
		wrong(&p, "format: %.40s is neither json nor text", format);
	if (group && (group[0] == '\0' || strlen(group) > GROUP_NAME_MAX ||
	              !weir_subject_valid(group, false)))
		wrong(&p, "group: not a name of at most %d bytes", GROUP_NAME_MAX);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	if (group)
		return stream_group(ctx, x, app, pattern, group, json);
	r = streams_join(ctx, x, app, pattern, json);
	return r < 0 && !weir_http_started(x) ? reply_error(ctx, x, app, r, NULL) : r;
}

const struct route subjects_routes[] = {
	{ "POST /v1/subjects/{subject}", subject_publish, MAY_PUBLISH, OF_SUBJECT, { 0 } },
	{ "POST /v1/subjects/{subject}/request",
	  subject_request,
	  MAY_PUBLISH,
	  OF_SUBJECT,
	  { .handler_ns = WEIR_NEVER },
	  NAMES("timeout") },
	{ "GET /v1/subjects/{subject}/events",
	  subject_events,
	  MAY_SUBSCRIBE,
	  OF_SUBJECT,
	  { .requests_max = 100000 },
	  NAMES("format", "group", "last_event_id") },
	{ NULL, NULL, 0, OF_SERVER, { 0 } },
};
