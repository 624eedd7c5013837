/* SPDX-License-Identifier: MIT */
/* enqueue, publish, request and subscribe over gRPC, when --server is a grpc:// or grpcs:// URL. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weir/grpc_protobuf.h>

#include "bus_cmds.h"
#include "streams.h"
#include "weir.pb-c.h"

#define SERVICE "/weir.v1.Weir/"

int grpc_open(struct client *c)
{
	weir_grpc_channel_options opt = { .tls = c->tls };

	return weir_grpc_channel_new(c->o->server, &opt, &c->grpc);
}

void grpc_close(struct client *c)
{
	weir_grpc_channel_free(c->grpc);
	c->grpc = NULL;
}

/* A call that failed, by its code or an -Exxx. The exit status. */
static int say(const struct client *c, int r, const weir_grpc *call)
{
	if (r < 0)
		return client_say_error(c, r);
	fprintf(stderr, "weir: %s: %s\n", c->o->args[0],
	        call && *weir_grpc_message(call) ? weir_grpc_message(call) :
	                                           weir_grpc_code_name(r));
	return r == WEIR_GRPC_UNAVAILABLE ? EXIT_NO_SERVER : EXIT_FAILED;
}

static weir_grpc_call_options options(const struct client *c, const char *lines[2])
{
	lines[0] = c->auth;
	lines[1] = NULL;
	return (weir_grpc_call_options){ .metadata = lines };
}

static char *text(const char *s)
{
	return (char *)(uintptr_t)(s ? s : "");
}

static ProtobufCBinaryData bytes(const struct weir__buf *b)
{
	return (ProtobufCBinaryData){ b->len, (uint8_t *)b->data };
}

int grpc_enqueue(const weir_ctx *ctx, struct client *c)
{
	Weir__V1__EnqueueRequest in = WEIR__V1__ENQUEUE_REQUEST__INIT;
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_ctx soon = weir_ctx_timeout(&live, WEIR_SEC(30));
	const struct options *o = c->o;
	Weir__V1__EnqueueResponse *out;
	weir_grpc_call_options opt;
	const char *lines[2];
	weir_grpc *call;
	int r;

	opt = options(c, lines);
	in.queue = text(o->args[0]);
	in.payload = bytes(c->arg);
	in.content_type = text(o->content_type);
	in.idempotency_key = text(o->idempotency_key);
	in.key = text(o->key);
	in.delay_ms = (uint64_t)(o->delay_ns / WEIR_MS(1));
	in.timeout_ms = (uint64_t)(o->timeout_ns / WEIR_MS(1));
	in.priority = o->priority;
	in.attempts_max = o->attempts;
	r = weir_grpc_unary_pb(&soon, c->grpc, SERVICE "Enqueue", &opt, &in, &call,
	                       weir__v1__enqueue_response, &out);
	if (r)
		r = say(c, r, call);
	else if (o->json)
		weir__buf_printf(&c->out, "{\"id\":\"%s\",\"duplicate\":%s}\n", out->id,
		                 out->existing ? "true" : "false");
	else
		weir__buf_printf(&c->out, "%s\n", out->id);
	weir_grpc_free(call);
	return r;
}

int grpc_publish(const weir_ctx *ctx, struct client *c)
{
	Weir__V1__PublishRequest in = WEIR__V1__PUBLISH_REQUEST__INIT;
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_ctx soon = weir_ctx_timeout(&live, WEIR_SEC(30));
	Weir__V1__PublishResponse *out;
	weir_grpc_call_options opt;
	const char *lines[2];
	weir_grpc *call;
	int r;

	opt = options(c, lines);
	in.subject = text(c->o->args[0]);
	in.payload = bytes(c->arg);
	r = weir_grpc_unary_pb(&soon, c->grpc, SERVICE "Publish", &opt, &in, &call,
	                       weir__v1__publish_response, &out);
	if (r)
		r = say(c, r, call);
	else
		weir__buf_printf(&c->out, c->o->json ? "{\"delivered\":%llu}\n" : "%llu\n",
		                 (unsigned long long)out->delivered);
	weir_grpc_free(call);
	return r;
}

int grpc_request(const weir_ctx *ctx, struct client *c)
{
	Weir__V1__PublishRequest in = WEIR__V1__PUBLISH_REQUEST__INIT;
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_ctx soon = weir_ctx_timeout(&live, c->o->timeout_ns);
	weir_grpc_call_options opt;
	Weir__V1__Message *out;
	const char *lines[2];
	weir_grpc *call;
	int r;

	opt = options(c, lines);
	in.subject = text(c->o->args[0]);
	in.payload = bytes(c->arg);
	r = weir_grpc_unary_pb(&soon, c->grpc, SERVICE "Request", &opt, &in, &call,
	                       weir__v1__message, &out);
	if (r == -ETIMEDOUT || r == WEIR_GRPC_DEADLINE_EXCEEDED) {
		fprintf(stderr, "weir: no answer on %s in time\n", c->o->args[0]);
		r = EXIT_FAILED;
	} else if (r) {
		r = say(c, r, call);
	} else {
		print_answer(c, out->payload.data, out->payload.len);
	}
	weir_grpc_free(call);
	return r;
}

static int print(const weir_ctx *ctx, struct client *c, const Weir__V1__Message *in, bool last)
{
	weir_msg m = { .subject = in->subject, .data = in->payload.data, .len = in->payload.len };
	int r = 0;

	if (c->o->json) {
		streams_render(&c->out, &m);
		weir__buf_byte(&c->out, '\n');
	} else {
		r = print_text(c, m.subject, m.data, m.len);
	}
	if (r < 0 || c->out.failed)
		return -ENOMEM;
	return print_flush(ctx, c, last);
}

int grpc_subscribe(const weir_ctx *ctx, struct client *c)
{
	Weir__V1__SubscribeRequest in = WEIR__V1__SUBSCRIBE_REQUEST__INIT;
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_grpc_call_options opt;
	Weir__V1__Message *m;
	const char *lines[2];
	weir_grpc *call;
	uint64_t seen = 0;
	int r;

	opt = options(c, lines);
	r = weir_grpc_start(&live, c->grpc, SERVICE "Subscribe", &opt, &call);
	if (r < 0)
		return client_say_error(c, r);
	in.subject = text(c->o->args[0]);
	(void)weir_grpc_send_pb(&live, call, &in);
	(void)weir_grpc_end_send(&live, call);
	r = weir_grpc_head(&live, call);
	if (r == 0 && weir_grpc_status(call) < 0 && isatty(STDERR_FILENO))
		fprintf(stderr, "weir: waiting for messages on %s; Ctrl-C ends it\n",
		        c->o->args[0]);
	while (r == 0 && (r = weir_grpc_recv_pb(&live, call, weir__v1__message, &m)) > 0)
		r = print(&live, c, m, ++seen == c->o->count);
	if (r >= FOLLOW_END)
		r -= FOLLOW_END;
	else if (weir_ctx_err(&live) < 0)
		r = EXIT_DONE;
	else
		r = say(c, r < 0 ? r : weir_grpc_status(call), call);
	weir_grpc_free(call);
	return r;
}
