/* SPDX-License-Identifier: MIT */
/* A library without HTTP/2: no exchange ever has a stream of it. */
#include "base/assert.h"
#include "http/exchange.h"
#include "http/h2_server.h"
#include "http/server.h"

int weir__h2_server_start(struct weir__http_conn *c, const void *bytes, size_t n)
{
	(void)c, (void)bytes, (void)n;
	return -EPROTONOSUPPORT;
}

const char *const *weir_http_protocols(void)
{
	static const char *const names[] = { "http/1.1", NULL };

	return names;
}

_Noreturn static void none(void)
{
	weir__die("a stream of HTTP/2 in a library built without it");
}

void weir__h2_server_deadline(struct weir__http_conn *c, int64_t at_ns)
{
	(void)c, (void)at_ns;
	none();
}

void weir__h2_server_kept(struct weir__http_conn *c)
{
	(void)c;
	none();
}

void weir__h2_server_cancel(struct weir__http_conn *c)
{
	(void)c;
	none();
}

int weir__h2_push(const weir_ctx *ctx, weir_http *x, const void *data, size_t n, bool last)
{
	(void)ctx, (void)x, (void)data, (void)n, (void)last;
	none();
}

int weir__h2_continue(weir_http *x)
{
	(void)x;
	none();
}

ssize_t weir__h2_body(const weir_ctx *ctx, weir_http *x, void *buf, size_t n)
{
	(void)ctx, (void)x, (void)buf, (void)n;
	none();
}

ssize_t weir__h2_try_writev(struct weir__h2_stream *st, const struct iovec *iov, int n)
{
	(void)st, (void)iov, (void)n;
	none();
}

void weir__h2_watch(struct weir__h2_stream *st)
{
	(void)st;
	none();
}

void weir__h2_unwatch(struct weir__h2_stream *st)
{
	(void)st;
	none();
}

void weir__h2_server_end(struct weir__h2_stream *st, bool clean)
{
	(void)st, (void)clean;
	none();
}
