/* SPDX-License-Identifier: MIT */
/*
 * What the layers above may do with a connection beyond weir/net.h, and what every kind of
 * connection provides.
 *
 * A connection belongs to the worker where it first waits, watches or asks to hear that its peer
 * left; callbacks run there, between tasks, must not wait, and may free the connection. Descriptors
 * are edge-triggered, so: weir__conn_watch() only after a try_ call in that direction said -EAGAIN,
 * or before any. The way of an idle connection, which holds no task:
 *
 *	n = weir__conn_try_read(c, buf, sizeof buf);
 *	if (n == -EAGAIN)
 *		r = weir__conn_watch(c, WEIR__IN, readable, me);      readable(c, me) tries again
 *
 * `state` holds a bit for whoever is in an operation of a direction, so a second one gets -EBUSY,
 * and the last one to leave a freed connection destroys it: close(2) never meets a running
 * operation.
 */
#ifndef WEIR_NET_CONN_H
#define WEIR_NET_CONN_H

#include <weir/net.h>

#include "rt/poll.h"

typedef void weir__conn_fn(weir_conn *c, void *arg);

/* Never wait. Bytes, 0 (reading: the end of the stream), -EAGAIN, -EBUSY, -EPIPE, -ECONNRESET. Any
 * task. */
ssize_t weir__conn_try_read(weir_conn *c, void *buf, size_t n);
ssize_t weir__conn_try_writev(weir_conn *c, const struct iovec *iov, int n);

/* Waits until at least one byte has left: how many did, or as weir_conn_write(). With a timeout
 * that is renewed for each call this is a progress deadline. */
ssize_t weir__conn_writev_some(const weir_ctx *ctx, weir_conn *c, const struct iovec *iov, int n);

/* Call fn once when the direction is ready, shut or broken: as a message of its own on the
 * connection's worker, never from inside this call. On that worker (or before there is one). 0,
 * -EBUSY (watched or waited for already), or an error of epoll_ctl. weir_conn_free() forgets a
 * watch. */
int weir__conn_watch(weir_conn *c, enum weir__dir dir, weir__conn_fn *fn, void *arg);

/* On the connection's worker. True if fn will not be called any more. */
bool weir__conn_unwatch(weir_conn *c, enum weir__dir dir);

/* Call fn once on the connection's worker when the peer has left: it closed, ended its sending, or
 * was lost. What it sent before may still be unread. On that worker (or before there is one); fn
 * NULL forgets. 0; 1 when the peer had left already, fn will not be called; or an error of
 * epoll_ctl. */
int weir__conn_on_gone(weir_conn *c, weir__conn_fn *fn, void *arg);

/* The worker it belongs to, -1 before its first wait. */
int weir__conn_worker(const weir_conn *c);

/* ---- For the kinds of connections (fd, mem) ---- */

#define WEIR__CONN_MAGIC 0x636f6e6eu

enum {
	WEIR__CONN_READING = 1, /* bit 0 + direction: somebody is in an operation */
	WEIR__CONN_WRITING = 2,
	WEIR__CONN_SHUT = 4, /* weir_conn_shutdown() was called */
	WEIR__CONN_FREED = 8,
	WEIR__CONN_MSG = 16,    /* a message of the connection is on its way to its worker */
	WEIR__CONN_ENDING = 32, /* somebody is in weir_conn_shutdown() */
	WEIR__CONN_BUSY =
		WEIR__CONN_READING | WEIR__CONN_WRITING | WEIR__CONN_MSG | WEIR__CONN_ENDING,
};

struct weir__conn_ops {
	ssize_t (*try_read)(weir_conn *c, void *buf, size_t n);
	ssize_t (*try_writev)(weir_conn *c, const struct iovec *iov, int n);
	int (*wait)(const weir_ctx *ctx, weir_conn *c, enum weir__dir dir,
	            const char *what); /* after -EAGAIN */
	int (*watch)(weir_conn *c, enum weir__dir dir);
	void (*unwatch)(weir_conn *c, enum weir__dir dir);
	int (*attach)(weir_conn *c); /* from now on hear that the peer leaves; 1: it has */
	void (*quiet)(weir_conn *c); /* its owner is about to free it: no callback from now on */
	void (*shut_write)(weir_conn *c);
	void (*shut)(weir_conn *c); /* both ways; wakes waits and watches */
	int (*worker)(const weir_conn *c);
	void (*destroy)(weir_conn *c); /* nobody is in an operation any more */
};

struct weir__conn_call {
	weir__conn_fn *fn; /* NULL: nobody asked */
	void *arg;
};

struct weir_conn {
	uint32_t magic;
	uint32_t state;   /* atomic */
	uint64_t written; /* atomic; by the one writer */
	const struct weir__conn_ops *ops;
	struct weir__conn_call watch[2], on_gone; /* touched on the connection's worker only */
	bool gone;                                /* the same */
	char peer[58];
};

void weir__conn_init(weir_conn *c, const struct weir__conn_ops *ops);

/* The kinds call these on the connection's worker. */
void weir__conn_fire(weir_conn *c, enum weir__dir dir);
void weir__conn_fire_gone(weir_conn *c);

/* Drop a bit of BUSY. True: the caller was the last one out of a freed connection and has to
 * destroy it. */
bool weir__conn_leave(weir_conn *c, uint32_t bit);
void weir__conn_destroy(weir_conn *c);

/* Takes over a connected, non-blocking stream descriptor. 0 or -ENOMEM (the descriptor is then
 * still the caller's). */
int weir__conn_from_fd(int fd, const char *peer, weir_conn **ret);

/* Of such a connection, also when it is the one below TLS. */
struct weir__fd *weir__conn_fd(weir_conn *c);
/* A second descriptor for it, closed on exec. -EOPNOTSUPP: it has none; -EMFILE. */
int weir__conn_dup(weir_conn *c);

/* What carries the bytes: of TLS the connection below, else itself. */
weir_conn *weir__conn_below(weir_conn *c);

/* Errors of the kernel without the three stop codes, which come from contexts only. */
int weir__net_error(int err);

#endif
