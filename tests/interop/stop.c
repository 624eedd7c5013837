/* SPDX-License-Identifier: MIT */
/*
 * A server with streams that hear the drain and some that do not, and its clients, for the tests of
 * stopping:
 *
 *	interop-stop serve [ADDRESS]               or what LISTEN_FDS passes
 *	interop-stop streams TARGET CONNS EACH     opens them, and calls Slow on each connection
 *	interop-stop deaf TARGET                   opens one that ignores the drain
 *	interop-stop calls TARGET                  calls Echo until its input ends
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/grpc.h>
#include <weir/offload.h>
#include <weir/server.h>
#include <weir/sync.h>
#include <weir/task.h>

/* ---- the server ---- */

static int echo(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	const void *msg;
	size_t n;
	int r = weir_grpc_recv(ctx, call, &msg, &n);

	(void)arg;
	return r <= 0 ? r : weir_grpc_send(ctx, call, msg, n);
}

static int slow(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	int r = weir_grpc_send_head(ctx, call);

	if (r == 0)
		r = weir_sleep(ctx, WEIR_SEC(2));
	return r < 0 ? r : echo(ctx, call, arg);
}

static int say_end(int r)
{
	printf("a handler ended: %s\n", r < 0 ? strerror(-r) : "ok");
	fflush(stdout);
	return r;
}

static int stream(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int r;

	(void)arg;
	do {
		r = weir_grpc_send(ctx, call, "tick", 4);
		if (r == 0)
			r = weir_sleep(&live, WEIR_SEC(5));
	} while (r == 0);
	return r;
}

static int deaf(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	int r = weir_grpc_send(ctx, call, "tick", 4);

	(void)arg;
	return say_end(r < 0 ? r : weir_sleep(ctx, WEIR_NEVER));
}

static int serve(const weir_ctx *ctx, char **argv)
{
	weir_server *s = weir_server_new(NULL);
	weir_http_server *http = s ? weir_server_http(s) : NULL;
	int r = s ? 0 : -ENOMEM;

	if (r == 0)
		r = weir_grpc_method(http, "/stop.Stop/Echo", echo, NULL);
	if (r == 0)
		r = weir_grpc_method(http, "/stop.Stop/Slow", slow, NULL);
	if (r == 0)
		r = weir_grpc_method(http, "/stop.Stop/Stream", stream, NULL);
	if (r == 0)
		r = weir_grpc_method(http, "/stop.Stop/Deaf", deaf, NULL);
	if (r == 0)
		r = argv[0] ? weir_server_listen(s, argv[0]) : weir_server_listen_inherited(s);
	if (r >= 0) {
		printf("%s\n", weir_server_addr(s, 0));
		fflush(stdout);
		r = weir_server_run(ctx, s);
	}
	weir_server_free(s);
	return r;
}

/* ---- clients ---- */

static struct {
	weir_latch open;
	unsigned unavailable, finished, other; /* atomic */
} seen;

static void count(unsigned *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

static int follow(const weir_ctx *ctx, void *arg)
{
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r;

	r = weir_grpc_start(ctx, arg, "/stop.Stop/Stream", NULL, &call);
	if (r < 0)
		return r;
	weir_grpc_end_send(ctx, call);
	r = weir_grpc_recv(ctx, call, &msg, &n);
	weir_latch_down(&seen.open);
	while (r > 0)
		r = weir_grpc_recv(ctx, call, &msg, &n);
	/* The status is the server's: in trailers, and not made up for a lost connection. */
	if (r == 0 && weir_grpc_status(call) == WEIR_GRPC_UNAVAILABLE &&
	    !strcmp(weir_grpc_message(call), "the server is stopping"))
		count(&seen.unavailable);
	else
		count(&seen.other);
	weir_grpc_free(call);
	return 0;
}

static int call_slow(const weir_ctx *ctx, void *arg)
{
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r;

	r = weir_grpc_start(ctx, arg, "/stop.Stop/Slow", NULL, &call);
	if (r < 0)
		return r;
	weir_grpc_send(ctx, call, "x", 1);
	weir_grpc_end_send(ctx, call);
	weir_grpc_head(ctx, call);
	weir_latch_down(&seen.open);
	r = weir_grpc_recv(ctx, call, &msg, &n);
	count(r == 1 && weir_grpc_finish(ctx, call) == 0 ? &seen.finished : &seen.other);
	weir_grpc_free(call);
	return 0;
}

static int streams(const weir_ctx *ctx, char **argv)
{
	int conns = atoi(argv[1]), each = atoi(argv[2]), r = 0;
	weir_grpc_channel *ch[64];
	weir_group g;

	if (conns > 64)
		return -EINVAL;
	weir_latch_init(&seen.open, (unsigned)(conns * (each + 1)));
	weir_group_init(&g, ctx);
	for (int i = 0; i < conns && r == 0; i++) {
		r = weir_grpc_channel_new(argv[0], NULL, &ch[i]);
		for (int k = 0; k < each && r == 0; k++)
			r = weir_group_go_on(&g, 0, follow, ch[i]);
	}
	/* What is in flight when the stop comes. */
	for (int i = 0; i < conns && r == 0; i++)
		r = weir_group_go_on(&g, 0, call_slow, ch[i]);
	if (r == 0)
		r = weir_latch_wait(ctx, &seen.open);
	if (r == 0) {
		printf("open\n");
		fflush(stdout);
	}
	weir_group_wait(&g);
	printf("%u unavailable, %u finished, %u other\n", seen.unavailable, seen.finished,
	       seen.other);
	for (int i = 0; i < conns; i++)
		weir_grpc_channel_free(ch[i]);
	return r;
}

static int open_deaf(const weir_ctx *ctx, char **argv)
{
	weir_grpc_channel *ch;
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r;

	r = weir_grpc_channel_new(argv[0], NULL, &ch);
	if (r < 0)
		return r;
	r = weir_grpc_start(ctx, ch, "/stop.Stop/Deaf", NULL, &call);
	if (r == 0)
		r = weir_grpc_recv(ctx, call, &msg, &n);
	if (r != 1)
		return -EIO;
	printf("open\n");
	fflush(stdout);
	printf("%s\n", weir_grpc_code_name(weir_grpc_finish(ctx, call)));
	weir_grpc_free(call);
	weir_grpc_channel_free(ch);
	return 0;
}

static int input_ended;

static int read_input(void *arg)
{
	char c;

	(void)arg;
	while (read(0, &c, 1) > 0)
		;
	return 0;
}

static int wait_for_input(const weir_ctx *ctx, void *arg)
{
	int r = weir_offload(ctx, read_input, arg, NULL);

	__atomic_store_n(&input_ended, 1, __ATOMIC_RELAXED);
	return r;
}

static int call_on(const weir_ctx *ctx, void *arg)
{
	while (!__atomic_load_n(&input_ended, __ATOMIC_RELAXED)) {
		const void *msg;
		weir_grpc *call;
		size_t n;
		int r = weir_grpc_unary(ctx, arg, "/stop.Stop/Echo", NULL, "x", 1, &call, &msg, &n);

		count(r == 0 ? &seen.finished : &seen.other);
		if (r)
			fprintf(stderr, "a call failed: %d %s\n", r,
			        call ? weir_grpc_message(call) : "");
		weir_grpc_free(call);
	}
	return 0;
}

static int calls(const weir_ctx *ctx, char **argv)
{
	weir_grpc_channel *ch;
	weir_group g;
	int r;

	r = weir_grpc_channel_new(argv[0], NULL, &ch);
	if (r < 0)
		return r;
	weir_group_init(&g, ctx);
	for (int i = 0; i < 16 && r == 0; i++)
		r = weir_group_go(&g, call_on, ch);
	if (r == 0)
		r = weir_group_go(&g, wait_for_input, NULL);
	printf("open\n");
	fflush(stdout);
	weir_group_wait(&g);
	printf("%u finished, %u other\n", seen.finished, seen.other);
	weir_grpc_channel_free(ch);
	return r;
}

static int app(const weir_ctx *ctx, void *arg)
{
	char **argv = arg;

	if (!strcmp(argv[1], "serve"))
		return serve(ctx, argv + 2);
	if (!strcmp(argv[1], "streams"))
		return streams(ctx, argv + 2);
	if (!strcmp(argv[1], "deaf"))
		return open_deaf(ctx, argv + 2);
	return calls(ctx, argv + 2);
}

int main(int argc, char **argv)
{
	return argc < 2 ? 2 : weir_main(app, argv);
}
