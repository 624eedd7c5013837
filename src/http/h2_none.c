/* SPDX-License-Identifier: MIT */
/* A library without HTTP/2: no exchange ever has a stream of it. */
#include "base/assert.h"
#include "http/exchange.h"
#include "http/h2_call.h"
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

int weir__h2_shared_new(struct weir__h2_shared **ret)
{
	(void)ret;
	return -EOPNOTSUPP;
}

struct weir__h2_shared *weir__h2_shared_ref(struct weir__h2_shared *h)
{
	(void)h;
	none();
}

void weir__h2_shared_unref(struct weir__h2_shared *h)
{
	if (h)
		none();
}

int weir__h2_request(const weir_ctx *ctx, struct weir__h2_shared *h, weir__h2_dial_fn *dial,
                     void *arg, const char *scheme, const char *host, const weir_http_req *req,
                     bool repeats, weir__h2s **ret)
{
	(void)ctx, (void)h, (void)dial, (void)arg, (void)scheme, (void)host, (void)req;
	(void)repeats, (void)ret;
	none();
}

ssize_t weir__h2s_read(const weir_ctx *ctx, weir__h2s *s, void *buf, size_t n)
{
	(void)ctx, (void)s, (void)buf, (void)n;
	none();
}

const struct weir__h2_field *weir__h2s_field(const weir__h2s *s, bool trailing, const char *name)
{
	(void)s, (void)trailing, (void)name;
	none();
}

void weir__h2s_close(weir__h2s *s, uint32_t code)
{
	(void)s, (void)code;
	none();
}
