/* SPDX-License-Identifier: MIT */
/*
 * Listeners: one accept loop over two kinds, the kernel's sockets and names in memory
 * (mem_listen.c).
 *
 * Close. weir_listener_close() only marks and wakes: what the kernel had completed by then is still
 * in its queue, and those clients believe they are connected. So accept goes on until the queue
 * says EAGAIN, then the descriptor closes, then comes the 0. Rejected: shutdown(2) on the socket,
 * which wakes accept too, but resets everything in the queue. While a flood goes on the queue might
 * never be empty, so what is handed out after the close is bounded.
 *
 * Out of descriptors. The connection stays in the kernel's queue and no new edge will come for it,
 * so the wait is bounded and tried again. Rejected: a spare descriptor to accept and drop with; it
 * turns clients away who could be served a moment later.
 *
 * A Unix socket's file outlives a server that was killed. Whether a live one stands behind it is
 * found by connecting; a lock on its directory keeps two servers that start at once from each
 * taking the other's new file for a dead one. The lock is best effort: this call never waits.
 */
#include "net/listener.h"

#include <weir/task.h>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "net/conn.h"

enum { BACKLOG = 4096, AFTER_CLOSE_MAX = 2 * BACKLOG };

#define RETRY_NS WEIR_MS(100)

struct fd_listener {
	weir_listener listener;
	weir__lock
		/* guards `fd` against a close from elsewhere; the poller's own lock comes after
		 * it */
		lock;
	struct weir__fd *
		/* NULL once closed and emptied; only the accepting task and the owner change it */
		fd;
	bool unlinks; /* the file of a Unix socket is ours: */
	dev_t dev;
	ino_t ino;
	struct weir__addr at;
};

static struct fd_listener *of(weir_listener *l)
{
	return (struct fd_listener *)l;
}

/* A peer that left again, or network trouble of its own, is no failure of the listener (accept(2),
 * "Error handling"). */
static bool passing(int err)
{
	switch (err) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

static int fd_try_accept(weir_listener *base, weir_conn **ret)
{
	struct fd_listener *l = of(base);
	char peer[WEIR__ADDR_TEXT_MAX];
	union weir__sockaddr from;
	socklen_t len;
	int fd, r;

	if (!l->fd)
		return -EAGAIN;
	weir__fd_clear(l->fd, WEIR__IN);
	do {
		len = sizeof from;
		fd = accept4(l->fd->fd, &from.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && passing(errno));
	if (fd < 0)
		return weir__net_error(errno);
	if (from.any.sa_family == AF_UNIX)
		len = sizeof from.any
		              .sa_family; /* Who dials from a bound socket is still just "unix". */
	weir__addr_format(&from, len, peer, sizeof peer);
	r = weir__conn_from_fd(fd, peer, ret);
	if (r < 0) {
		close(fd);
		return r;
	}
	return 1;
}

static int fd_accept_wait(const weir_ctx *ctx, weir_listener *base)
{
	return weir__fd_wait(ctx, of(base)->fd, WEIR__IN, "accept");
}

static void remove_file(struct fd_listener *l)
{
	struct stat st;

	/* Another server may have put its own file there meanwhile. */
	if (l->unlinks && stat(l->at.ip.un.sun_path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlink(l->at.ip.un.sun_path);
	l->unlinks = false;
}

static void fd_listener_close(weir_listener *base)
{
	struct fd_listener *l = of(base);

	remove_file(l);
	weir__lock_acquire(&l->lock);
	if (l->fd)
		weir__fd_shut(l->fd);
	weir__lock_release(&l->lock);
}

static void fd_done(struct weir__fd *f)
{
	free(f);
}

/* From now on the kernel refuses. Closing, where shutdown(2) would also end the copy of whoever
 * passed us the socket. */
static void fd_emptied(weir_listener *base)
{
	struct fd_listener *l = of(base);
	struct weir__fd *f;

	weir__lock_acquire(&l->lock);
	f = l->fd;
	l->fd = NULL;
	weir__lock_release(&l->lock);
	if (f)
		weir__fd_close(f, fd_done);
}

static void fd_listener_destroy(weir_listener *base)
{
	fd_emptied(base);
	free(base);
}

static const struct weir__listener_ops fd_listener_ops = {
	.try_accept = fd_try_accept,
	.wait = fd_accept_wait,
	.close = fd_listener_close,
	.emptied = fd_emptied,
	.destroy = fd_listener_destroy,
};

static void note_addr(struct fd_listener *l)
{
	union weir__sockaddr at;
	socklen_t len = sizeof at;

	if (getsockname(l->fd->fd, &at.any, &len) < 0)
		len = 0;
	weir__addr_format(&at, len, l->listener.addr, sizeof l->listener.addr);
}

static int adopt(int fd, struct fd_listener **ret)
{
	struct fd_listener *l = calloc(1, sizeof *l);
	struct weir__fd *f = calloc(1, sizeof *f);
	int on = 1;

	if (!l || !f) {
		free(l);
		free(f);
		return -ENOMEM;
	}
	/* Accepted sockets inherit these on Linux; on a Unix socket they fail or do nothing, and
	 * are not needed. A peer that vanished without a word is noticed, also by who holds an idle
	 * connection open. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 60 }, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){ 15 }, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){ 4 }, sizeof(int));
	l->listener = (weir_listener){ .magic = WEIR__LISTENER_MAGIC, .ops = &fd_listener_ops };
	weir__fd_init(f, fd);
	l->fd = f;
	note_addr(l);
	*ret = l;
	return 0;
}

static int new_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? weir__net_error(errno) : fd;
}

static int listen_ip(const struct weir__addr *a, struct fd_listener **ret)
{
	struct weir__addr at = *a;
	int fd = new_socket(at.ip.any.sa_family);
	int on = 1, off = 0, r;

	/* A kernel without IPv6. */
	if (fd == -EAFNOSUPPORT && a->wildcard) {
		at.ip.in =
			(struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(a->port) };
		at.len = sizeof at.ip.in;
		fd = new_socket(AF_INET);
	}
	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (at.ip.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, at.wildcard ? &off : &on, sizeof on);
	if (bind(fd, &at.ip.any, at.len) < 0 || listen(fd, BACKLOG) < 0)
		r = weir__net_error(errno);
	else
		r = adopt(fd, ret);
	if (r < 0)
		close(fd);
	return r;
}

/* Holds an advisory lock on the directory of the path while open; -1 if somebody else does. */
static int lock_directory(const char *path)
{
	char dir[sizeof((struct sockaddr_un *)0)->sun_path];
	const char *slash = strrchr(path, '/');
	int fd;

	snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Is the file a socket that nobody listens on? */
static bool is_stale(const struct weir__addr *a)
{
	struct stat st;
	bool stale;
	int fd;

	if (lstat(a->ip.un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = new_socket(AF_UNIX);
	if (fd < 0)
		return false;
	stale = connect(fd, &a->ip.any, a->len) < 0 && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int bind_unix(int fd, const struct weir__addr *a)
{
	int r = bind(fd, &a->ip.any, a->len) < 0 ? -errno : 0;

	if (r == -EADDRINUSE && is_stale(a)) {
		unlink(a->ip.un.sun_path);
		r = bind(fd, &a->ip.any, a->len) < 0 ? -errno : 0;
	}
	if (r < 0)
		return r;
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

static int listen_unix(const struct weir__addr *a, struct fd_listener **ret)
{
	int fd = new_socket(AF_UNIX), lock, r;
	struct fd_listener *l;
	struct stat st;

	if (fd < 0)
		return fd;
	lock = lock_directory(a->ip.un.sun_path);
	r = bind_unix(fd, a);
	if (lock >= 0)
		close(lock);
	if (r == 0)
		r = adopt(fd, &l);
	if (r < 0) {
		close(fd);
		return r;
	}
	l->at = *a;
	if (stat(a->ip.un.sun_path, &st) == 0) {
		l->unlinks = true;
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	*ret = l;
	return 0;
}

int weir_listen(const char *addr, weir_listener **ret)
{
	struct fd_listener *l;
	struct weir__addr a;
	int r;

	r = weir__addr_parse(addr, &a);
	if (r < 0)
		return r;
	switch (a.kind) {
	case WEIR__ADDR_MEM:
		return weir__mem_listen(a.name, ret);
	case WEIR__ADDR_UNIX:
		r = listen_unix(&a, &l);
		break;
	case WEIR__ADDR_IP:
		r = listen_ip(&a, &l);
		break;
	default:
		r = -EINVAL; /* A name would have to be asked for, and this call never waits. */
	}
	if (r < 0)
		return r;
	*ret = &l->listener;
	return 0;
}

int weir_listen_fd(int fd, weir_listener **ret)
{
	struct fd_listener *l;
	int listening, flags, r;
	socklen_t len = sizeof listening;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return weir__net_error(errno);
	if (!listening)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return weir__net_error(errno);
	r = adopt(fd, &l);
	if (r < 0)
		return r;
	*ret = &l->listener;
	return 0;
}

const char *weir_listener_addr(const weir_listener *l)
{
	return l->addr;
}

static bool is_closed(const weir_listener *l)
{
	return __atomic_load_n(&l->state, __ATOMIC_ACQUIRE) & WEIR__LISTENER_CLOSED;
}

static bool out_of_descriptors(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM;
}

/* 0, or the context's error. */
static int wait_for_descriptors(const weir_ctx *ctx, weir_listener *l, int why)
{
	weir_ctx soon = weir_ctx_timeout(ctx, RETRY_NS);
	int r;

	weir__log_rare(WEIR__WARN, "net", "%s: cannot accept, and waits: %s", l->addr,
	               strerror(-why));
	if (is_closed(l))
		r = weir_sleep(ctx, RETRY_NS);
	else
		r = l->ops->wait(&soon, l);
	return r == -ETIMEDOUT && ctx->deadline_ns > weir_now() ? 0 : r;
}

static int accept_one(const weir_ctx *ctx, weir_listener *l, weir_conn **ret)
{
	for (;;) {
		bool closed = is_closed(
			/* before the look into the queue, so that an empty one is the last word */
			l);
		int r = closed && l->after_close >= AFTER_CLOSE_MAX ? -EAGAIN :
		                                                      l->ops->try_accept(l, ret);

		if (r == 1 && closed)
			l->after_close++;
		if (r == -EAGAIN && closed) {
			l->ops->emptied(l);
			return 0;
		}
		if (r == -EAGAIN)
			r = l->ops->wait(ctx, l);
		else if (out_of_descriptors(r))
			r = wait_for_descriptors(ctx, l, r);
		else
			return r;
		if (r < 0 && r != -EPIPE)
			return r;
	}
}

int weir_accept(const weir_ctx *ctx, weir_listener *l, weir_conn **ret)
{
	int r;

	weir__magic_check(l, WEIR__LISTENER_MAGIC);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	if (__atomic_fetch_or(&l->state, WEIR__LISTENER_ACCEPTING, __ATOMIC_ACQ_REL) &
	    WEIR__LISTENER_ACCEPTING)
		return -EBUSY;
	r = accept_one(ctx, l, ret);
	__atomic_and_fetch(&l->state, ~WEIR__LISTENER_ACCEPTING, __ATOMIC_ACQ_REL);
	return r;
}

static void destroy(weir_listener *l)
{
	l->magic = 0;
	l->ops->destroy(l);
}

/* The task that it wakes may free the listener before it is through; then the last one here
 * destroys it. */
void weir_listener_close(weir_listener *l)
{
	uint32_t old;

	weir__magic_check(l, WEIR__LISTENER_MAGIC);
	weir__point();
	old = __atomic_load_n(&l->state, __ATOMIC_ACQUIRE);
	do {
		if (old & WEIR__LISTENER_CLOSED)
			return;
	} while (!__atomic_compare_exchange_n(&l->state, &old,
	                                      old | WEIR__LISTENER_CLOSED | WEIR__LISTENER_CLOSING,
	                                      false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	l->ops->close(l);
	weir__point();
	if (__atomic_and_fetch(&l->state, ~WEIR__LISTENER_CLOSING, __ATOMIC_ACQ_REL) &
	    WEIR__LISTENER_FREED)
		destroy(l);
}

void weir_listener_free(weir_listener *l)
{
	uint32_t old;

	if (!l)
		return;
	weir_listener_close(l);
	old = __atomic_fetch_or(&l->state, WEIR__LISTENER_FREED, __ATOMIC_ACQ_REL);
	weir__assert(!(old & WEIR__LISTENER_ACCEPTING),
	             "weir_listener_free() while a task is in weir_accept()");
	if (!(old & WEIR__LISTENER_CLOSING))
		destroy(l);
}
