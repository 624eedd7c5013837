/* SPDX-License-Identifier: MIT */
/*
 * A closable accept loop: an echo server that stops at once when it is told to, and loses nobody.
 *
 * In many languages accept() cannot be woken, so loops poll: accept with a limit of 2 s, look
 * whether to stop, again. Here every wait hears its context, so there is nothing to poll:
 *
 *  - SIGTERM (or ^C) begins the drain. Accept waits under `live`, which ends with it: the loop is
 *    left in microseconds.
 *  - Closing the listener then hands out what the kernel had accepted already: those clients think
 *    they are connected, and get an end too.
 *  - Each connection has a task; the group joins them all. A task waits for new lines under its own
 *    `live`, so an idle client is told goodbye, but what was read is answered under the plain
 *    context, drain or not.
 *  - Any task may close the listener, too: here a client who says "close". Accept then returns 0.
 *
 *	$ ./example-accept :7777 &
 *	listening on [::]:7777
 *	$ nc localhost 7777
 *	hello
 *	hello
 *	^C or kill: bye
 */
#include <weir/group.h>
#include <weir/net.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct server {
	const char *addr;
	weir_listener *listener;
	weir_group conns;
	unsigned served; /* by the accept loop only */
};

struct client {
	struct server *server;
	weir_conn *conn;
};

/* One connection, from its first line to its last. */
static int echo(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct client *c = arg;
	char line[1024];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = weir_conn_read(&live, c->conn, line, sizeof line)) > 0) {
		if (n == 6 && !memcmp(line, "close\n", 6))
			weir_listener_close(c->server->listener);
		r = weir_conn_write(ctx, c->conn, line, (size_t)n);
	}
	if (r == 0 && n == -ESHUTDOWN)
		weir_conn_write(ctx, c->conn, "bye\n", 4);
	weir_conn_free(c->conn);
	free(c);
	return 0; /* A client that left in the middle is no error of ours. */
}

static void serve(struct server *s, weir_conn *conn)
{
	struct client *c = malloc(sizeof *c);

	if (c)
		*c = (struct client){ .server = s, .conn = conn };
	/* An accepted task always runs and frees its argument; one that could not start leaves it
	 * to us. */
	if (c && weir_group_go(&s->conns, echo, c) == 0) {
		s->served++;
		return;
	}
	weir_conn_free(conn);
	free(c);
}

static int app(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct server *s = arg;
	weir_conn *conn;
	int r;

	r = weir_listen(s->addr, &s->listener);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", s->addr, strerror(-r));
		return r;
	}
	fprintf(stderr, "listening on %s\n", weir_listener_addr(s->listener));
	weir_group_init(&s->conns, ctx);

	while ((r = weir_accept(&live, s->listener, &conn)) > 0)
		serve(s, conn);

	/* Stopped (-ESHUTDOWN), or closed by a client (0): either way take in who had got
	 * through. */
	weir_listener_close(s->listener);
	while (weir_accept(ctx, s->listener, &conn) > 0)
		serve(s, conn);
	fprintf(stderr, "not listening any more, %zu still connected\n",
	        weir_group_count(&s->conns));

	weir_group_wait(&s->conns);
	weir_listener_free(s->listener);
	fprintf(stderr, "served %u, all gone\n", s->served);
	return r;
}

int main(int argc, char **argv)
{
	struct server s = { .addr = argc > 1 ? argv[1] : "127.0.0.1:7777" };

	return weir_main(app, &s);
}
