/* SPDX-License-Identifier: MIT */
/* A server whose handlers misbehave, for test_shutdown.py: they wait deaf to cancel, spin, block in
 * read(2), or break the server's owner task. Prints its address. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <weir/weir.h>

static int deaf(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int r = 0;

	fprintf(stderr, "deaf runs\n");
	(void)x;
	(void)arg;
	while (r == 0) {
		weir_ctx shield = weir_ctx_shield(ctx, WEIR_HOUR(2));

		r = weir_sleep(&shield, WEIR_HOUR(1));
	}
	return r;
}

static int spin(const weir_ctx *ctx, weir_http *x, void *arg)
{
	volatile unsigned long n = 0;

	(void)ctx;
	(void)x;
	(void)arg;
	while (n != ~0ul) /* For centuries. */
		n++;
	return 0;
}

static int block(const weir_ctx *ctx, weir_http *x, void *arg)
{
	int fds[2];
	char c;

	(void)ctx;
	(void)x;
	(void)arg;
	if (pipe(fds) < 0)
		return 500;
	return read(fds[0], &c, 1) < 0 ? 500 : 200;
}

/* Hears its cancel, and nothing else. */
static int slow(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)x;
	(void)arg;
	return weir_sleep(ctx, WEIR_HOUR(1));
}

static weir_latch broken;

static int owner(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);

	(void)arg;
	return weir_latch_wait(&live, &broken) < 0 ? 0 : -EIO;
}

static int break_owner(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	weir_latch_down(&broken);
	return weir_http_printf(ctx, x, "broken\n");
}

static int hello(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)arg;
	return weir_http_printf(ctx, x, "hello\n");
}

static void on_step(const char *step, void *arg)
{
	weir_server *s = arg;

	fprintf(stderr, "step %s\n", step);
	if (step[0] == 'r')
		fprintf(stderr, "listening on %s\n", weir_server_addr(s, 0));
}

static int app(const weir_ctx *ctx, void *arg)
{
	weir_server *s = weir_server_new(NULL);
	weir_http_limits patient = { .handler_ns = WEIR_NEVER };
	weir_http_server *http;
	int r;

	(void)arg;
	if (!s)
		return -ENOMEM;
	http = weir_server_http(s);
	weir_server_on_step(s, on_step, s);
	r = weir_http_route(http, "GET /deaf", deaf, NULL, &patient);
	r = r ? r : weir_http_route(http, "GET /spin", spin, NULL, &patient);
	r = r ? r : weir_http_route(http, "GET /block", block, NULL, &patient);
	r = r ? r : weir_http_route(http, "GET /slow", slow, NULL, &patient);
	r = r ? r : weir_http_route(http, "GET /hello", hello, NULL, NULL);
	r = r ? r : weir_http_route(http, "GET /break", break_owner, NULL, NULL);
	weir_latch_init(&broken, 1);
	r = r ? r : weir_server_service(s, "owner", owner, NULL, NULL);
	r = r ? r : weir_server_listen(s, "127.0.0.1:0");
	r = r ? r : weir_server_run(ctx, s);
	weir_server_free(s);
	return r;
}

int main(void)
{
	return weir_main(app, NULL);
}
