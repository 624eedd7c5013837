/* SPDX-License-Identifier: MIT */
/*
 * Messages from the command line: publish, request, subscribe, reply.
 *
 * subscribe and reply read the server's event stream (as JSON, which carries subject and reply
 * address). A stream that breaks is taken up again behind its last event, with growing pauses; what
 * the server no longer remembers is told as a gap.
 */
#include "bus_cmds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/chan.h>
#include <weir/process.h>

#include "base/units.h"

enum { ID_MAX = 128, ANSWER_BYTES = 1 << 20 };

static void put_subject(struct weir__buf *b, const char *subject, const char *rest)
{
	weir__buf_str(b, "/v1/subjects/");
	put_escaped(b, subject);
	weir__buf_str(b, rest);
}

/* ---- Publish, request ---- */

static int publish(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf *payload = c->arg, target = WEIR__BUF_INIT;
	struct answer a = { .body = WEIR__BUF_INIT };
	struct request q = { .method = "POST", .body = payload->data, .len = payload->len };
	int r;

	c->subject = c->o->args[0];
	put_subject(&target, c->o->args[0], "");
	q.target = target.data;
	r = target.failed ? client_say_error(c, -ENOMEM) : client_call(&live, c, &q, &a);
	if (r == 0 && c->o->json)
		weir__buf_printf(&c->out, "%s\n", a.body.data);
	else if (r == 0 && json_object_get(a.json, "delivered"))
		weir__buf_printf(&c->out, "%lld\n", (long long)get_int(a.json, "delivered"));
	answer_free(&a);
	weir__buf_free(&target);
	return r;
}

void print_answer(struct client *c, const void *data, size_t len)
{
	if (!c->o->json) {
		put_shown(c, data, len);
		return;
	}
	weir__buf_str(&c->out, "{\"data\":");
	weir__buf_json(&c->out, data, len);
	weir__buf_str(&c->out, "}\n");
}

static int request(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf *payload = c->arg, target = WEIR__BUF_INIT;
	struct answer a = { .body = WEIR__BUF_INIT };
	struct request q = { .method = "POST",
		             .body = payload->data,
		             .len = payload->len,
		             .timeout_ns = c->o->timeout_ns + WEIR_SEC(10) };
	char time[WEIR__UNITS_MAX];
	int r;

	c->subject = c->o->args[0];
	put_subject(&target, c->o->args[0], "/request");
	weir__buf_printf(&target, "?timeout=%s", weir__format_duration(time, c->o->timeout_ns));
	q.target = target.data;
	r = target.failed ? client_say_error(c, -ENOMEM) : client_call(&live, c, &q, &a);
	if (r == 0)
		print_answer(c, a.body.data, a.body.len);
	answer_free(&a);
	weir__buf_free(&target);
	return r;
}

static int with_payload(const struct options *o, client_fn *fn)
{
	struct weir__buf payload = WEIR__BUF_INIT;
	int r = need_subject(o->args[0], false);

	if (!r)
		r = client_payload(o, 1, &payload);
	if (!r)
		r = client_run(o, fn, &payload);
	weir__buf_free(&payload);
	return r;
}

int cmd_publish(const struct options *o)
{
	return with_payload(o, client_is_grpc(o) ? grpc_publish :
	                       client_is_nats(o) ? nats_publish :
	                                           publish);
}

int cmd_request(const struct options *o)
{
	return with_payload(o, client_is_grpc(o) ? grpc_request :
	                       client_is_nats(o) ? nats_request :
	                                           request);
}

/* ---- Following a subject ---- */

/* 0 goes on; > 0 ends with that, as does -Exxx. e->data is the message as JSON. */
typedef int message_fn(const weir_ctx *ctx, struct client *c, const weir_sse_event *e, void *arg);

struct follower {
	const char *target;
	char last_id[ID_MAX];
	bool ever; /* it was connected once */
	message_fn *fn;
	void *arg;
};

/* One connection's worth: FOLLOW_END + exit status, or -Exxx when it broke. */
static int follow_once(const weir_ctx *ctx, struct client *c, struct follower *f, unsigned *tries)
{
	weir_sse_event e;
	int r;

	r = client_stream(ctx, c, f->target, *f->last_id ? f->last_id : NULL, WEIR_SEC(30));
	if (r < 0)
		return r;
	if (r == 204)
		return FOLLOW_END + EXIT_DONE;
	if (r != 200 && r != 503 && r != 507) {
		struct answer a = { .status = r, .body = WEIR__BUF_INIT };

		r = FOLLOW_END + client_say_refusal(c, &a);
		return r;
	}
	if (r != 200)
		return -EAGAIN;
	if (f->ever && *tries)
		fputs("weir: connected again\n", stderr);
	else if (!f->ever && isatty(STDERR_FILENO))
		fprintf(stderr, "weir: waiting for messages on %s; Ctrl-C ends it\n",
		        c->o->args[0]);
	f->ever = true;
	*tries = 0;
	while ((r = weir_http_client_event(ctx, c->http, &e)) > 0) {
		if (e.id && *e.id && strlen(e.id) < sizeof f->last_id)
			memcpy(f->last_id, e.id, strlen(e.id) + 1);
		if (!strcmp(e.event, "gap")) {
			fputs("weir: some messages were missed\n", stderr);
			continue;
		}
		r = f->fn(ctx, c, &e, f->arg);
		if (r)
			return r > 0 ? r : FOLLOW_END + client_say_error(c, r);
	}
	return r < 0 ? r : -ECONNRESET;
}

static int follow(const weir_ctx *ctx, struct client *c, struct follower *f)
{
	unsigned tries = 0;
	int r;

	for (;;) {
		r = follow_once(ctx, c, f, &tries);
		if (r >= FOLLOW_END)
			return r - FOLLOW_END;
		if (weir_ctx_err(ctx) < 0)
			return EXIT_DONE; /* Ctrl-C is how one ends this. */
		if (!f->ever && r != -EAGAIN)
			return client_say_error(c, r);
		if (!tries)
			fputs("weir: the server is gone; trying again\n", stderr);
		if (client_pause(ctx, &tries, 0) < 0)
			return EXIT_DONE;
	}
}

struct subscription {
	uint64_t seen;
};

int print_text(struct client *c, const char *subject, const void *data, size_t len)
{
	struct weir__buf line = WEIR__BUF_INIT;
	int r;

	/* The subject only where somebody looks: lines in a pipe are the messages. */
	if (c->color && strpbrk(c->o->args[0], "*>"))
		weir__buf_printf(&c->out, "\033[2m%s\033[0m  ", subject);
	weir__buf_add(&line, data, len);
	weir__buf_byte(&line, '\n');
	r = line.failed ? -ENOMEM : 0;
	if (r == 0)
		put_shown(c, line.data, line.len);
	weir__buf_free(&line);
	return r;
}

int print_flush(const weir_ctx *ctx, struct client *c, bool last)
{
	int r = client_flush(ctx, c);

	if (r)
		return FOLLOW_END + (weir_ctx_err(ctx) < 0 ? EXIT_DONE : r);
	return last ? FOLLOW_END + EXIT_DONE : 0;
}

static int print_message(const weir_ctx *ctx, struct client *c, const weir_sse_event *e, void *arg)
{
	struct subscription *s = arg;
	json_t *m = c->o->json ? NULL : json_loadb(e->data, e->len, JSON_ALLOW_NUL, NULL);
	struct weir__buf data = WEIR__BUF_INIT;
	int r = 0;

	if (c->o->json) {
		weir__buf_printf(&c->out, "%s\n", e->data);
	} else {
		(void)get_bytes(m, "data", &data);
		r = print_text(c, get_text(m, "subject"), data.data, data.len);
	}
	json_decref(m);
	weir__buf_free(&data);
	return r < 0 ? r : print_flush(ctx, c, ++s->seen == c->o->count);
}

static int subscribe(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf target = WEIR__BUF_INIT;
	struct subscription s = { 0 };
	struct follower f = { .fn = print_message, .arg = &s };
	int r;

	put_subject(&target, c->o->args[0], "/events?format=json");
	if (c->o->last_id)
		snprintf(f.last_id, sizeof f.last_id, "%s", c->o->last_id);
	f.target = target.data;
	r = target.failed ? client_say_error(c, -ENOMEM) : follow(&live, c, &f);
	weir__buf_free(&target);
	return r;
}

int cmd_subscribe(const struct options *o)
{
	return need_subject(o->args[0], true) ? EXIT_USAGE :
	                                        client_run(o,
	                                                   client_is_grpc(o) ? grpc_subscribe :
	                                                   client_is_nats(o) ? nats_subscribe :
	                                                                       subscribe,
	                                                   NULL);
}

/* ---- Reply ---- */

/* A request on its way from the stream's task to one that runs commands. */
struct asked {
	char *reply;
	char *subject;
	struct weir__buf data;
};

struct replier {
	struct client *c;
	weir_chan *asked; /* of struct asked * */
};

static void asked_free(struct asked *a)
{
	if (!a)
		return;
	free(a->reply);
	free(a->subject);
	weir__buf_free(&a->data);
	free(a);
}

int replier_ask(const weir_ctx *ctx, struct replier *p, const char *subject, const char *reply,
                const void *data, size_t len)
{
	struct asked *a;
	int r = -ENOMEM;

	if (!reply || !*reply) {
		fprintf(stderr, "weir: a message on %s wants no answer\n", subject);
		return 0;
	}
	a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->reply = strdup(reply);
	a->subject = strdup(subject);
	weir__buf_add(&a->data, data, len);
	if (a->reply && a->subject && !a->data.failed)
		r = weir_chan_send(ctx, p->asked, &a);
	if (r < 0)
		asked_free(a);
	return r == -ENOMEM ? r : 0; /* When we are asked to end the stream ends by itself. */
}

/* While all commands are busy the stream is not read on. */
static int hand_over(const weir_ctx *ctx, struct client *c, const weir_sse_event *e, void *arg)
{
	json_t *m = json_loadb(e->data, e->len, JSON_ALLOW_NUL, NULL);
	struct weir__buf data = WEIR__BUF_INIT;
	int r = 0;

	(void)c;
	(void)get_bytes(m, "data", &data);
	if (m)
		r = replier_ask(ctx, arg, get_text(m, "subject"), get_text(m, "reply"), data.data,
		                data.len);
	weir__buf_free(&data);
	json_decref(m);
	return r;
}

static void answer(const weir_ctx *ctx, struct client *c, const struct asked *a,
                   const weir_process_result *res)
{
	struct weir__buf target = WEIR__BUF_INIT;
	struct answer ans = { .body = WEIR__BUF_INIT };
	struct request q = { .method = "POST", .body = res->out, .len = res->out_len };

	if (c->bus) {
		int r = weir_bus_publish(ctx, c->bus, a->reply, res->out, res->out_len);

		if (r < 0)
			fprintf(stderr, "weir: no answer to %s: %s\n", a->reply, strerror(-r));
		return;
	}
	put_subject(&target, a->reply, "");
	q.target = target.data;
	if (!target.failed)
		(void)client_call(
			ctx, c, &q,
			&ans); /* It has said what was wrong; the requester hears a timeout. */
	answer_free(&ans);
	weir__buf_free(&target);
}

static int replier_task(const weir_ctx *ctx, void *arg)
{
	struct replier *p = arg;
	struct client c;
	struct asked *a;
	int r;

	r = client_copy(&c, p->c);
	if (r < 0)
		return r;
	while ((r = weir_chan_recv(ctx, p->asked, &a)) > 0) {
		struct weir__buf env = WEIR__BUF_INIT;
		weir_process_result res = { 0 };

		weir__buf_printf(&env, "WEIR_SUBJECT=%s", a->subject);
		r = weir_process_run(ctx,
		                     &(weir_process_spec){ .argv = c.o->tail,
		                                           .env = (char *const[]){ env.data, NULL },
		                                           .in = a->data.data,
		                                           .in_len = a->data.len,
		                                           .out_max = ANSWER_BYTES,
		                                           .kill_ns = c.o->kill_after_ns,
		                                           .die_with_parent = true },
		                     &res);
		if (r < 0)
			fprintf(stderr, "weir: %s: %s\n", c.o->tail[0], strerror(-r));
		else if (res.code)
			fprintf(stderr, "weir: %s ended with %d: no answer\n", c.o->tail[0],
			        res.code);
		else
			answer(ctx, &c, a, &res);
		free(res.out);
		weir__buf_free(&env);
		asked_free(a);
	}
	client_close(&c);
	return r;
}

static int reply(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf target = WEIR__BUF_INIT;
	struct replier p = { .c = c, .asked = weir_chan_new(sizeof(struct asked *), 0) };
	struct follower f = { .fn = hand_over, .arg = &p };
	struct asked *a;
	weir_group g;
	int r = 0, e;

	put_subject(&target, c->o->args[0], "/events?format=json");
	f.target = target.data;
	weir_group_init(&g, ctx);
	if (!p.asked || target.failed)
		r = -ENOMEM;
	for (unsigned i = 0; i < c->o->jobs && r == 0; i++)
		r = weir_group_go(&g, replier_task, &p);
	if (r < 0)
		r = client_say_error(c, r);
	else
		r = c->bus ? nats_reply(&live, c, &p) : follow(&live, c, &f);
	if (p.asked)
		weir_chan_close(p.asked);
	e = weir_group_wait(&g); /* What runs may finish, within --grace. */
	if (e < 0 && e != -ECANCELED && !r)
		r = client_say_error(c, e);
	while (p.asked && weir_chan_try_recv(p.asked, &a) > 0)
		asked_free(a);
	weir_chan_free(p.asked);
	weir__buf_free(&target);
	return r;
}

int cmd_reply(const struct options *o)
{
	return need_subject(o->args[0], true) ? EXIT_USAGE : client_run(o, reply, NULL);
}
