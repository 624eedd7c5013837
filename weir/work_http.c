/* SPDX-License-Identifier: MIT */
/*
 * weir work over HTTP: jobs are taken with lease=connection. While a command runs, its slot asks
 * over the same connection whether the lease is still good.
 */
#include <errno.h>
#include <string.h>

#include "base/units.h"
#include "work.h"

#define WAIT_SECONDS 30

static enum verdict ask(const weir_ctx *ctx, struct slot *s, const struct taken *j)
{
	char target[256];
	struct request q = { .method = "POST", .target = target, .timeout_ns = WEIR_SEC(10) };
	struct answer a = { .body = WEIR__BUF_INIT };
	/* Cut in the middle the connection would be lost, and with it the lease. */
	weir_ctx shielded = weir_ctx_shield(ctx, WORK_ASK_EVERY);
	enum verdict v = KEEP;
	int r;

	snprintf(target, sizeof target, "/v1/jobs/%s/extend?lease=%s", j->id, j->lease);
	r = client_exchange(&shielded, &s->c, &q, &a);
	if (r < 0)
		v = weir_ctx_err(ctx) < 0 ?
		            KEEP :
		            LOST; /* A stop is told to the command by its own context. */
	else if (a.status == 409 || a.status == 404)
		v = LOST;
	else if (a.status == 200 && json_is_true(json_object_get(a.json, "cancel")))
		v = CANCEL;
	answer_free(&a);
	return v;
}

static int tell(const weir_ctx *ctx, struct slot *s, const struct taken *j, const char *verb,
                const char *query, const void *result, size_t len)
{
	/* A stop that comes now should not undo what is done. */
	weir_ctx shielded = weir_ctx_shield(ctx, WORK_TELL_NS);
	struct weir__buf target = WEIR__BUF_INIT;
	struct answer a = { .body = WEIR__BUF_INIT };
	struct request q = { .method = "POST",
		             .body = result,
		             .len = len,
		             .headers = { "content-type: application/octet-stream" } };
	int r;

	weir__buf_printf(&target, "/v1/jobs/%s/%s?lease=%s%s", j->id, verb, j->lease, query);
	q.target = target.data;
	r = target.failed ? -ENOMEM : client_exchange(&shielded, &s->c, &q, &a);
	if (r < 0) {
		r = work_untold(j, r);
	} else if (a.status / 100 != 2) {
		r = a.status == 409 ? -ESTALE : a.status == 413 ? -EMSGSIZE : -EIO;
		if (r == -EIO)
			(void)client_say_refusal(&s->c, &a);
	}
	answer_free(&a);
	weir__buf_free(&target);
	return r;
}

/* The job is done even when its result does not fit: some servers have then counted it as done
 * already (409 to the second ack). */
static int done(const weir_ctx *ctx, struct slot *s, const struct taken *j, const void *result,
                size_t len)
{
	int r = tell(ctx, s, j, "ack", "", result, len);

	if (r != -EMSGSIZE)
		return r;
	r = tell(ctx, s, j, "ack", "", NULL, 0);
	return r == 0 || r == -ESTALE ? -EMSGSIZE : r;
}

static int failed(const weir_ctx *ctx, struct slot *s, const struct taken *j, bool dead,
                  const char *why)
{
	struct weir__buf query = WEIR__BUF_INIT;
	int r;

	weir__buf_str(&query, dead ? "&dead=true&error=" : "&error=");
	put_escaped(&query, why);
	r = query.failed ? -ENOMEM : tell(ctx, s, j, "nack", query.data, NULL, 0);
	weir__buf_free(&query);
	return r;
}

static int give_back(const weir_ctx *ctx, struct slot *s, const struct taken *j)
{
	return tell(ctx, s, j, "return", "", NULL, 0);
}

/* ---- Taking ---- */

static int read_job(const json_t *o, struct taken *j)
{
	const char *id = get_text(o, "id"), *lease = get_text(o, "lease"),
		   *timeout = get_text(o, "timeout");

	if (!*id || strlen(id) >= sizeof j->id || !*lease || strlen(lease) >= sizeof j->lease)
		return -EBADMSG;
	memcpy(j->id, id, strlen(id) + 1);
	memcpy(j->lease, lease, strlen(lease) + 1);
	j->attempt = (unsigned)get_int(o, "attempt");
	if (*timeout && weir__parse_duration(timeout, &j->timeout_ns) < 0)
		return -EBADMSG;
	return get_bytes(o, "payload", &j->payload);
}

/* Made by the first slot, for all. */
static void make_target(struct crew *crew)
{
	struct weir__buf b = WEIR__BUF_INIT;

	put_escaped(&b, crew->name);
	snprintf(crew->target, sizeof crew->target,
	         "/v1/queues/%s/take?lease=connection&wait=%ds&worker=%s", crew->o->args[0],
	         crew->o->until_empty ? 0 : WAIT_SECONDS, b.data ? b.data : "");
	weir__buf_free(&b);
}

static int take(const weir_ctx *ctx, struct slot *s, struct taken *j)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct crew *crew = s->crew;
	struct request q = { .method = "POST",
		             .target = crew->target,
		             .timeout_ns = WEIR_SEC(WAIT_SECONDS + 30) };
	struct answer a = { .body = WEIR__BUF_INIT };
	int r;

	if (!crew->target[0])
		make_target(crew);
	r = client_exchange(&live, &s->c, &q, &a);
	if (r < 0)
		goto out;
	crew->ever = true;
	if (a.status == 204) {
		r = 0;
	} else if (a.status == 200) {
		r = json_array_size(a.json) == 1 ? read_job(json_array_get(a.json, 0), j) :
		                                   -EBADMSG;
		r = r < 0 ? r : 1;
	} else if (a.status == 503 || a.status == 507 || a.status == 429) {
		r = -EAGAIN;
	} else {
		crew->fatal = client_say_refusal(&s->c, &a);
		r = -EINVAL;
	}
out:
	answer_free(&a);
	return r;
}

static int dup_connection(struct slot *s)
{
	return weir_http_client_dup(s->c.http);
}

static void end(const weir_ctx *ctx, struct slot *s)
{
	(void)ctx;
	(void)s;
}

const struct work_way work_over_http = { take, ask, done, failed, give_back, dup_connection, end };
