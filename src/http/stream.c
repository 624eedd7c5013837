/* SPDX-License-Identifier: MIT */
/*
 * Streams that were handed over (exchange.h): their bytes go straight to the socket in HTTP/1.1,
 * and through the connection's session in HTTP/2.
 */
#include "http/h2_server.h"
#include "http/server.h"

static weir__stream *checked(weir__stream *s)
{
	weir__magic_check(s, WEIR__HTTP_STREAM_MAGIC);
	return s;
}

ssize_t weir__stream_try_writev(weir__stream *s, const struct iovec *iov, int n)
{
	ssize_t r = checked(s)->h2 ? weir__h2_try_writev(s->h2, iov, n) :
	                             weir__conn_try_writev(s->conn->io, iov, n);

	if (r > 0)
		weir__stat_add(s->conn->worker, bytes_out, (uint64_t)r);
	return r;
}

static void writable(weir_conn *io, void *arg)
{
	weir__stream *s = arg;

	(void)io;
	s->ready(s, s->ready_arg);
}

int weir__stream_watch(weir__stream *s, weir__stream_ready_fn *fn, void *arg)
{
	checked(s)->ready = fn;
	s->ready_arg = arg;
	if (!s->h2)
		return weir__conn_watch(s->conn->io, WEIR__OUT, writable, s);
	weir__h2_watch(s->h2);
	return 0;
}

void weir__stream_unwatch(weir__stream *s)
{
	if (checked(s)->h2)
		weir__h2_unwatch(s->h2);
	else
		weir__conn_unwatch(s->conn->io, WEIR__OUT);
}

bool weir__stream_chunked(const weir__stream *s)
{
	return s->chunked;
}

/* The last chunk, of HTTP/1.1. */
static void end_connection(struct weir__http_conn *c, bool clean)
{
	struct iovec last = { "0\r\n\r\n", 5 };
	ssize_t r;

	weir__assert(c->state == WEIR__STREAM, "weir__stream_end() twice");
	if (c->canceled || c->stream.peer_left || !clean) {
		weir__http_conn_end(c);
		return;
	}
	/* The few bytes that do not fit now are not worth a state: the client sees the stream
	 * cut. */
	while (c->stream.chunked && last.iov_len &&
	       (r = weir__conn_try_writev(c->io, &last, 1)) > 0)
		last = (struct iovec){ (char *)last.iov_base + r, last.iov_len - (size_t)r };
	if (c->stream.chunked && last.iov_len)
		weir__http_conn_end(c);
	else if (c->stream.chunked && c->stream.keep && !c->draining)
		weir__http_conn_idle(c);
	else
		weir__http_conn_linger(c);
}

void weir__stream_end(weir__stream *s, bool clean)
{
	struct weir__http_conn *c = checked(s)->conn;

	__atomic_store_n(&s->route, NULL, __ATOMIC_RELEASE);
	weir__stat_add(c->worker, active, (uint64_t)-1);
	s->stop_told = true;
	if (c->canceled)
		weir__stat_add(c->worker, cut, 1);
	else if (c->draining && clean && !s->peer_left)
		weir__stat_add(c->worker, finished_in_drain, 1);
	if (s->h2)
		weir__h2_server_end(s->h2, clean && !c->canceled);
	else
		end_connection(c, clean);
}
