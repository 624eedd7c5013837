/* SPDX-License-Identifier: MIT */
/*
 * The dead of a queue, back into it: each is read from the stream of the dead, published to the
 * queue, and deleted where it was when that was answered.
 *
 * JetStream drops doubles by a message's id, and the job's own has been there; so what comes back
 * has one made of it and of its number among the dead. Cut off between the two steps, the next
 * redrive publishes the same id, and it is dropped as the double that it is, within the window.
 */
#include "queue/jetstream.h"

#include "base/base64.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A message as $JS.API.STREAM.MSG.GET gives it. */
struct found {
	struct weir__buf head, data;
	uint64_t seq; /* 0: there is none */
	bool wrong;
};

static void member(const struct weir__json_member *m, void *arg)
{
	struct found *f = arg;

	if (m->depth != 2 || !m->key)
		return;
	if (m->kind == WEIR__JSON_NUMBER && !strcmp(m->key, "seq"))
		f->seq = (uint64_t)m->number;
	else if (m->kind == WEIR__JSON_TEXT && !strcmp(m->key, "hdrs"))
		f->wrong |= weir__base64_decode(&f->head, m->text, strlen(m->text)) < 0;
	else if (m->kind == WEIR__JSON_TEXT && !strcmp(m->key, "data"))
		f->wrong |= weir__base64_decode(&f->data, m->text, strlen(m->text)) < 0;
}

/* The first that is dead, from a number on. 0, also when there is none; or an error: -EIO with a
 * number is of this message alone. */
static int find(const weir_ctx *ctx, struct weir__js *js, const char *queue, uint64_t from,
                struct found *f)
{
	char subject[WEIR__JS_NAME], text[WEIR__JS_NAME + 64];
	struct weir__buf json = WEIR__BUF_INIT;
	int64_t code;
	bool none;
	weir_msg m;
	int r;

	weir__js_name(subject, "weir.dead.", queue);
	snprintf(text, sizeof text, "{\"seq\":%llu,\"next_by_subj\":\"%s\"}",
	         (unsigned long long)from, subject);
	r = weir__js_message(ctx, js, "GET", "WEIR-DEAD-", queue, text, &m);
	if (r < 0)
		return r;
	none = strstr(m.data, "\"error\":") != NULL;
	code = none ? weir__js_number(&m, "err_code") : 0;
	if (none && code != WEIR__JS_NO_MESSAGE && code != WEIR__JS_NO_STREAM)
		r = -ENOTCONN;
	weir__buf_add(&json, m.data, m.len); /* It is read in place. */
	weir_msg_free(&m);
	if (!json.failed && !none)
		r = weir__json_walk(json.data, json.len, member, f);
	if (json.failed || f->head.failed || f->data.failed)
		r = -ENOMEM;
	else if (!none && (r < 0 || f->wrong))
		r = -EIO;
	weir__buf_free(&json);
	return r;
}

static int put_again(const weir_ctx *ctx, struct weir__js *js, const char *queue, struct found *f)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR__JS_ANSWER);
	weir_msg old = { .data = f->data.data, .len = f->data.len }, answer;
	char subject[WEIR__JS_NAME], again[32];
	struct weir__buf headers = WEIR__BUF_INIT;
	struct weir__delivery *d;
	int r = -ENOMEM;

	/* Behind the line that says which version of NATS's headers they are. */
	old.headers = f->head.len ? strstr(f->head.data, "\r\n") : NULL;
	snprintf(again, sizeof again, "dead-%llu", (unsigned long long)f->seq);
	d = weir__js_read(&old, again, 1, "", WEIR_NEVER);
	if (!d)
		return -ENOMEM;
	weir__js_name(subject, "weir.queue.", queue);
	weir__js_headers(&headers, &d->job, again, NULL);
	if (!headers.failed)
		r = weir_bus_request_many(&soon, js->bus,
		                          &(weir_msg){ .subject = subject,
		                                       .headers = headers.data,
		                                       .data = d->job.data,
		                                       .len = d->job.len },
		                          &answer, 1);
	weir__buf_free(&headers);
	free(d);
	if (r <= 0)
		return weir_ctx_err(ctx) < 0          ? weir_ctx_err(ctx) :
		       r == -ENOMEM || r == -EMSGSIZE ? r :
		                                        -ENOTCONN;
	r = weir__js_verdict(&answer);
	weir_msg_free(&answer);
	return r;
}

static int forget(const weir_ctx *ctx, struct weir__js *js, const char *queue, uint64_t seq)
{
	char text[64];
	weir_msg m;
	int r;

	snprintf(text, sizeof text, "{\"seq\":%llu,\"no_erase\":true}", (unsigned long long)seq);
	r = weir__js_message(ctx, js, "DELETE", "WEIR-DEAD-", queue, text, &m);
	if (r == 0)
		weir_msg_free(&m);
	return r;
}

/* The first of them. 1: on with what is behind it; 0: there is none; or an error. */
static int redrive_one(const weir_ctx *ctx, struct weir__js *js, const char *queue, uint64_t *from,
                       struct weir__redriven *d)
{
	struct found f = { .head = WEIR__BUF_INIT, .data = WEIR__BUF_INIT };
	int r = find(ctx, js, queue, *from, &f);
	char id[32];

	if (r == 0 && f.seq)
		r = put_again(ctx, js, queue, &f);
	weir__buf_free(&f.head);
	weir__buf_free(&f.data);
	if (f.seq && (r == -EIO || r == -EMSGSIZE)) {
		snprintf(id, sizeof id, "message %llu", (unsigned long long)f.seq);
		weir__redrive_leave(d, id,
		                    r == -EIO ? "it cannot be read" :
		                                "it is larger than the server takes");
	} else if (r >= 0 && f.seq) {
		r = forget(ctx, js, queue, f.seq);
		if (r < 0)
			return r;
		d->done++;
	} else {
		return r;
	}
	*from = f.seq + 1;
	return 1;
}

int weir__js_redrive(const weir_ctx *ctx, void *engine, const char *queue, struct weir__redriven *d)
{
	struct weir__remote_counts c = { 0 };
	uint64_t from = 1;
	int r = weir__js_count(ctx, engine, queue, &c);

	d->dead = c.dead;
	if (r == 0)
		r = 1;
	while (r > 0 && weir__redrive_rest(d) > 0)
		r = redrive_one(ctx, engine, queue, &from, d);
	return r < 0 ? r : 0;
}
