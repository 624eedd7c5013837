/* SPDX-License-Identifier: MIT */
/* publish, request, subscribe and reply straight over a NATS cluster, when --server is a nats:// or
 * tls:// URL. The bus connects again by itself and says on standard error what may be lost. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bus_cmds.h"
#include "streams.h"

int nats_publish(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct weir__buf *payload = c->arg;
	int r = weir_bus_publish(&live, c->bus, c->o->args[0], payload->data, payload->len);

	if (r == 0)
		r = weir_bus_flush(&live, c->bus);
	if (r < 0)
		return client_say_error(c, r);
	if (c->o->json)
		weir__buf_str(&c->out, "{\"accepted\":true}\n");
	return EXIT_DONE;
}

int nats_request(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_ctx soon = weir_ctx_timeout(&live, c->o->timeout_ns);
	struct weir__buf *payload = c->arg;
	weir_msg m;
	int r = weir_bus_request(&soon, c->bus, c->o->args[0], payload->data, payload->len, &m);

	if (r == -ENETUNREACH)
		fprintf(stderr, "weir: nobody answers on %s\n", c->o->args[0]);
	else if (r == -ETIMEDOUT)
		fprintf(stderr, "weir: no answer on %s in time\n", c->o->args[0]);
	else if (r < 0)
		return client_say_error(c, r);
	if (r < 0)
		return EXIT_FAILED;
	print_answer(c, m.data, m.len);
	weir_msg_free(&m);
	return EXIT_DONE;
}

/* Until the subscription ends, the function says so, or Ctrl-C. */
static int follow(const weir_ctx *ctx, struct client *c,
                  int (*fn)(const weir_ctx *ctx, struct client *c, const weir_msg *m, void *arg),
                  void *arg)
{
	weir_sub *s;
	weir_msg m;
	int r = weir_bus_follow(ctx, c->bus, c->o->args[0], NULL, &s);

	if (r < 0)
		return client_say_error(c, r);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "weir: waiting for messages on %s; Ctrl-C ends it\n",
		        c->o->args[0]);
	while ((r = weir_sub_next(ctx, s, &m)) > 0) {
		r = fn(ctx, c, &m, arg);
		if (r)
			break;
	}
	(void)weir_sub_close(s);
	if (r >= FOLLOW_END)
		return r - FOLLOW_END;
	if (r == 0)
		fputs("weir: the subscription was ended\n", stderr);
	return weir_ctx_err(ctx) < 0 ? EXIT_DONE : r == 0 ? EXIT_FAILED : client_say_error(c, r);
}

static int print(const weir_ctx *ctx, struct client *c, const weir_msg *m, void *arg)
{
	uint64_t *seen = arg;
	int r;

	if (c->o->json) {
		streams_render(&c->out, m);
		weir__buf_byte(&c->out, '\n');
		r = c->out.failed ? -ENOMEM : 0;
	} else {
		r = print_text(c, m->subject, m->data, m->len);
	}
	if (r < 0)
		return r;
	return print_flush(ctx, c, ++*seen == c->o->count);
}

int nats_subscribe(const weir_ctx *ctx, struct client *c)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	uint64_t seen = 0;

	return follow(&live, c, print, &seen);
}

static int pass_on(const weir_ctx *ctx, struct client *c, const weir_msg *m, void *arg)
{
	(void)c;
	return replier_ask(ctx, arg, m->subject, m->reply, m->data, m->len);
}

int nats_reply(const weir_ctx *ctx, struct client *c, struct replier *p)
{
	return follow(ctx, c, pass_on, p);
}
