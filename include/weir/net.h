/* SPDX-License-Identifier: MIT */
/*
 * Byte streams: TCP, Unix sockets, and pairs in memory (which also work in a simulation).
 *
 * Addresses: "127.0.0.1:8080", "[::1]:8080", ":8080" (all interfaces), "localhost:8080",
 * "unix:/run/x.sock", "mem:name". Port 0 takes a free one; weir_listener_addr() tells.
 *
 *	r = weir_listen(":0", &l);
 *	while ((r = weir_accept(ctx, l, &c)) > 0)
 *		if (weir_group_go(&conns, serve, c) < 0)
 *			weir_conn_free(c);
 */
#ifndef WEIR_NET_H
#define WEIR_NET_H

#include <weir/ctx.h>
#include <sys/uio.h>

WEIR_BEGIN

typedef struct weir_listener weir_listener;
typedef struct weir_conn weir_conn;

/* Never waits: hosts must be numeric, empty or "localhost". 0, -EINVAL (not an address),
 * -EADDRINUSE, … */
WEIR_API int weir_listen(const char *addr, weir_listener **ret);

/* Take over a listening socket (LISTEN_FDS). It is made non-blocking. */
WEIR_API int weir_listen_fd(int fd, weir_listener **ret);

/* The bound address with its real port; lives as long as the listener. */
WEIR_API const char *weir_listener_addr(const weir_listener *l);

/* Any task. Wakes accept at once; its waiters get 0. What the kernel had accepted already is handed
 * out first with weir_listener_close(), in accept order, before the 0. Twice is fine. */
WEIR_API void weir_listener_close(weir_listener *l);

/* By the owner, when no task is in accept. Closes if needed. NULL is fine. */
WEIR_API void weir_listener_free(weir_listener *l);

/* Waits for a connection. 1, 0 when closed, or the context's error. Running out of descriptors
 * waits and retries; it is logged once. One task at a time (-EBUSY). */
WEIR_API int weir_accept(const weir_ctx *ctx, weir_listener *l, weir_conn **ret);

/* Waits for the name service and the peer. 0, the context's error, -ECONNREFUSED, -EHOSTUNREACH
 * (also: unknown name), … */
WEIR_API int weir_dial(const weir_ctx *ctx, const char *addr, weir_conn **ret);

/* Two connected ends in memory. */
WEIR_API int weir_conn_pair(weir_conn **ret_a, weir_conn **ret_b);

/* Bytes read (at least 1), 0 at the end of the stream, -EPIPE after weir_conn_shutdown(), -EBUSY
 * (another task reads), -ECONNRESET, or the context's error. One reader and one writer at a time;
 * they may be different tasks. */
WEIR_API ssize_t weir_conn_read(const weir_ctx *ctx, weir_conn *c, void *buf, size_t n);

/* Writes all. 0, -EPIPE, -ECONNRESET, or the context's error; after an error how much was written
 * is told by weir_conn_written() only. */
WEIR_API int weir_conn_write(const weir_ctx *ctx, weir_conn *c, const void *buf, size_t n);
WEIR_API int weir_conn_writev(const weir_ctx *ctx, weir_conn *c, const struct iovec *iov, int n);
WEIR_API uint64_t weir_conn_written(const weir_conn *c);

/* Send the end of the stream; reading goes on. */
WEIR_API void weir_conn_shutdown_write(weir_conn *c);

/* Any task: both directions end, waiters wake with -EPIPE. Twice is fine. */
WEIR_API void weir_conn_shutdown(weir_conn *c);

/* By the owner. The descriptor closes when the last operation has left. NULL is fine. */
WEIR_API void weir_conn_free(weir_conn *c);

/* "127.0.0.1:51234", "unix", "mem:name"; lives as long as the connection. */
WEIR_API const char *weir_conn_peer(const weir_conn *c);

/*
 * In a simulation: how "mem:" streams behave from now on, for all of them. At first bytes take up
 * to 1 ms, reads and writes are often partial, and no connection is lost.
 */
typedef struct weir_sim_net {
	int64_t latency_ns; /* at most; 0: none */
	/* one read or write in so many loses its connection, both ends see -ECONNRESET; 0: none */
	uint32_t loss;
	bool whole; /* no partial reads and writes */
} weir_sim_net;
WEIR_API void weir_sim_net_set(const weir_sim_net *net);

WEIR_END
#endif
