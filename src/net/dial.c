/* SPDX-License-Identifier: MIT */
/*
 * Dialing: one address after the other until one answers. An address that is not the last gets its
 * part of the time that is left, and never more than TURN_NS, since the kernel alone would try a
 * silent one for two minutes before the next had its turn.
 */
#include <weir/net.h>
#include <weir/task.h>

#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/addr.h"
#include "net/conn.h"
#include "net/listener.h"

#define TURN_NS      WEIR_SEC(3)
#define PAUSE_NS     WEIR_MS(5)
#define PAUSE_MAX_NS WEIR_MS(100)

static int dial_error(int err)
{
	return err == ETIMEDOUT ? -EHOSTUNREACH : weir__net_error(err);
}

/* A Unix socket whose queue is full says EAGAIN, and nothing tells when there is room again: a
 * growing pause. */
static int start(const weir_ctx *ctx, int fd, const union weir__sockaddr *to, socklen_t len)
{
	int64_t pause = PAUSE_NS;

	for (;;) {
		int r;

		if (connect(fd, &to->any, len) == 0)
			return 0;
		if (errno != EAGAIN)
			return errno == EINPROGRESS ? -EINPROGRESS : dial_error(errno);
		r = weir_sleep(ctx, pause);
		if (r < 0)
			return r;
		pause = pause < PAUSE_MAX_NS / 2 ? pause * 2 : PAUSE_MAX_NS;
	}
}

/* The socket is a connection from the start, so that there is one way to wait for it and one to
 * close it. */
static int finish(const weir_ctx *ctx, struct weir__fd *f)
{
	for (;;) {
		union weir__sockaddr peer;
		socklen_t peer_len = sizeof peer;
		int r, err = 0;
		socklen_t len = sizeof err;

		weir__fd_clear(f, WEIR__OUT);
		if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
			err = errno;
		if (err)
			return dial_error(err);
		if (getpeername(f->fd, &peer.any, &peer_len) == 0)
			return 0;
		r = weir__fd_wait(ctx, f, WEIR__OUT, "dial");
		if (r < 0)
			return r;
	}
}

static int dial_one(const weir_ctx *ctx, const union weir__sockaddr *to, socklen_t len,
                    weir_conn **ret)
{
	int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char peer[WEIR__ADDR_TEXT_MAX];
	weir_conn *c;
	int on = 1, r;

	if (fd < 0)
		return weir__net_error(errno);
	weir__addr_format(to, len, peer, sizeof peer);
	r = weir__conn_from_fd(fd, to->any.sa_family == AF_UNIX ? "unix" : peer, &c);
	if (r < 0) {
		close(fd);
		return r;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	r = start(ctx, fd, to, len);
	if (r == -EINPROGRESS)
		r = finish(ctx, weir__conn_fd(c));
	if (r < 0) {
		weir_conn_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static weir_ctx turn_of(const weir_ctx *ctx, int left)
{
	int64_t ns = weir_ctx_left(ctx) / left;

	return weir_ctx_timeout(ctx, ns < TURN_NS ? ns : TURN_NS);
}

static int dial_each(const weir_ctx *ctx, const union weir__sockaddr *to, const socklen_t *len,
                     int n, weir_conn **ret)
{
	int r = -EHOSTUNREACH;

	for (int i = 0; i < n; i++) {
		weir_ctx turn = i < n - 1 ? turn_of(ctx, n - i) : *ctx;
		int stop;

		r = dial_one(&turn, &to[i], len[i], ret);
		if (r == 0)
			return 0;
		stop = weir_ctx_err(ctx);
		if (stop < 0)
			return stop;
		if (r == -ETIMEDOUT)
			r = -EHOSTUNREACH; /* the turn's end, not the caller's */
	}
	return r;
}

int weir_dial(const weir_ctx *ctx, const char *addr, weir_conn **ret)
{
	union weir__sockaddr to[WEIR__RESOLVE_MAX];
	socklen_t len[WEIR__RESOLVE_MAX];
	struct weir__addr a;
	int r, n = 1;

	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	r = weir__addr_parse(addr, &a);
	if (r < 0)
		return r;
	if (a.kind == WEIR__ADDR_MEM)
		return weir__mem_dial(ctx, a.name, ret);
	if (a.kind == WEIR__ADDR_NAME) {
		n = weir__resolve(ctx, a.name, a.port, to, len);
		if (n < 0)
			return n;
		return dial_each(ctx, to, len, n, ret);
	}
	to[0] = a.ip;
	len[0] = a.len;
	if (a.localhost) {
		to[1] = (union weir__sockaddr){ .in6 = { .sin6_family = AF_INET6,
			                                 .sin6_addr = in6addr_loopback,
			                                 .sin6_port = a.ip.in.sin_port } };
		len[1] = sizeof to[1].in6;
		n = 2;
	}
	return dial_each(ctx, to, len, n, ret);
}
