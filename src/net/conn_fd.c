/* SPDX-License-Identifier: MIT */
/*
 * Connections that are sockets. The waits are those of src/rt/poll.h; here is only the rule that
 * goes with an edge: readiness is forgotten just before the system call that will show it, so an
 * event between the call and the wait is kept.
 */
#include "net/conn.h"

#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rt/fiber.h"

struct fd_conn {
	weir_conn conn;
	struct weir__fd fd;
};

static struct fd_conn *of(weir_conn *c)
{
	return (struct fd_conn *)c;
}

static struct fd_conn *of_fd(struct weir__fd *f)
{
	return (struct fd_conn *)((char *)f - offsetof(struct fd_conn, fd));
}

/*
 * glibc makes each of these calls a point of cancellation, which costs two atomic operations in a
 * process with threads, and nobody cancels a worker. The sanitizers look into glibc's calls only.
 */
#if defined(WEIR__ASAN) || defined(WEIR__TSAN)
#define sys_recv(fd, buf, n) recv((fd), (buf), (n), 0)
#define sys_send(fd, buf, n) send((fd), (buf), (n), MSG_NOSIGNAL)
#define sys_sendmsg(fd, msg) sendmsg((fd), (msg), MSG_NOSIGNAL)
#else
#define sys_recv(fd, buf, n) syscall(SYS_recvfrom, (fd), (buf), (n), 0, NULL, NULL)
#define sys_send(fd, buf, n) syscall(SYS_sendto, (fd), (buf), (n), MSG_NOSIGNAL, NULL, 0)
#define sys_sendmsg(fd, msg) syscall(SYS_sendmsg, (fd), (msg), MSG_NOSIGNAL)
#endif

static ssize_t fd_try_read(weir_conn *c, void *buf, size_t n)
{
	struct weir__fd *f = &of(c)->fd;
	ssize_t got;

	weir__fd_clear(f, WEIR__IN);
	do
		got = sys_recv(f->fd, buf, n);
	while (got < 0 && errno == EINTR);
	return got < 0 ? weir__net_error(errno) : got;
}

static ssize_t fd_try_writev(weir_conn *c, const struct iovec *iov, int n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };
	struct weir__fd *f = &of(c)->fd;
	ssize_t sent;

	weir__fd_clear(f, WEIR__OUT);
	do
		sent = n == 1 ? sys_send(f->fd, iov->iov_base, iov->iov_len) :
		                sys_sendmsg(f->fd, &msg);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? weir__net_error(errno) : sent;
}

static int fd_wait(const weir_ctx *ctx, weir_conn *c, enum weir__dir dir, const char *what)
{
	return weir__fd_wait(ctx, &of(c)->fd, dir, what);
}

static void fd_ready(struct weir__fd *f, enum weir__dir dir)
{
	weir__conn_fire(&of_fd(f)->conn, dir);
}

static int fd_watch(weir_conn *c, enum weir__dir dir)
{
	return weir__fd_watch(&of(c)->fd, dir, fd_ready);
}

static void fd_unwatch(weir_conn *c, enum weir__dir dir)
{
	weir__fd_unwatch(&of(c)->fd, dir);
}

static void fd_gone(struct weir__fd *f)
{
	weir__conn_fire_gone(&of_fd(f)->conn);
}

/* Being registered is all it takes: fd_gone was there from the start. */
static int fd_attach(weir_conn *c)
{
	struct weir__fd *f = &of(c)->fd;
	int r;

	if (f->worker >= 0)
		return 0;
	r = weir__fd_watch(f, WEIR__IN, fd_ready);
	if (r == 0)
		weir__fd_unwatch(f, WEIR__IN);
	return r;
}

static void fd_quiet(weir_conn *c)
{
	for (int dir = WEIR__IN; dir <= WEIR__OUT; dir++)
		if (c->watch[dir].fn)
			weir__fd_unwatch(&of(c)->fd, (enum weir__dir)dir);
}

static void fd_shut_write(weir_conn *c)
{
	shutdown(of(c)->fd.fd, SHUT_WR);
}

/* Our waits are woken first; the peer then reads what is still under way, and its end. */
static void fd_shut(weir_conn *c)
{
	weir__fd_shut(&of(c)->fd);
	shutdown(of(c)->fd.fd, SHUT_RDWR);
}

static int fd_worker(const weir_conn *c)
{
	return ((const struct fd_conn *)c)->fd.worker;
}

static void fd_done(struct weir__fd *f)
{
	free(of_fd(f));
}

static void fd_destroy(weir_conn *c)
{
	weir__fd_close(&of(c)->fd, fd_done);
}

static const struct weir__conn_ops fd_ops = {
	.try_read = fd_try_read,
	.try_writev = fd_try_writev,
	.wait = fd_wait,
	.watch = fd_watch,
	.unwatch = fd_unwatch,
	.attach = fd_attach,
	.quiet = fd_quiet,
	.shut_write = fd_shut_write,
	.shut = fd_shut,
	.worker = fd_worker,
	.destroy = fd_destroy,
};

struct weir__fd *weir__conn_fd(weir_conn *c)
{
	c = weir__conn_below(c);
	weir__assert(c->ops == &fd_ops, "weir__conn_fd: %s is no descriptor", c->peer);
	return &of(c)->fd;
}

int weir__conn_dup(weir_conn *c)
{
	int fd;

	c = weir__conn_below(c);
	if (c->ops != &fd_ops)
		return -EOPNOTSUPP;
	fd = fcntl(of(c)->fd.fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

int weir__conn_from_fd(int fd, const char *peer, weir_conn **ret)
{
	struct fd_conn *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	weir__conn_init(&c->conn, &fd_ops);
	weir__fd_init(&c->fd, fd);
	c->fd.gone = fd_gone;
	snprintf(c->conn.peer, sizeof c->conn.peer, "%s", peer);
	*ret = &c->conn;
	return 0;
}
