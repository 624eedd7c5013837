/* SPDX-License-Identifier: MIT */
/*
 * One epoll per worker, edge-triggered, one registration for the life of a descriptor. f->lock
 * guards the ready bits and the waiters, since a task of any worker may wait and any may shut;
 * events and watches run on the worker of the registration.
 *
 * Events that were harvested before weir__fd_close() may still name f: so its memory is given
 * back by a message to its worker, which runs when the batch is done.
 */
#include "rt/poll.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "rt/task.h"

enum { BATCH = 128 };

void weir__fd_init(struct weir__fd *f, int fd)
{
	weir__assert(!weir__simulating, "a real descriptor was used in a simulation");
	memset(f, 0, sizeof *f);
	f->fd = fd;
	f->worker = -1;
}

static inline bool is_ready(const struct weir__fd *f, enum weir__dir dir)
{
	return __atomic_load_n(&f->ready[dir], __ATOMIC_RELAXED);
}

static inline void set_ready(struct weir__fd *f, enum weir__dir dir, bool ready)
{
	__atomic_store_n(&f->ready[dir], ready, __ATOMIC_RELAXED);
}

/* On the worker of the registration no event can come between: there it needs no lock, which would
 * cost two atomic operations for each system call. */
void weir__fd_clear(struct weir__fd *f, enum weir__dir dir)
{
	if (weir__likely(__atomic_load_n(&f->worker, __ATOMIC_RELAXED) == weir__here())) {
		set_ready(f, dir, false);
		return;
	}
	weir__lock_acquire(&f->lock);
	set_ready(f, dir, false);
	weir__lock_release(&f->lock);
}

/* Under the lock. */
static int enlist(struct weir__fd *f)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		                  .data.ptr = f };
	struct weir__worker *w = weir__self();

	if (f->worker >= 0)
		return 0;
	__atomic_store_n(&f->worker, (int16_t)w->index, __ATOMIC_RELAXED);
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, f->fd, &ev) == 0) {
		weir__outside(1);
		return 0;
	}
	__atomic_store_n(&f->worker, -1, __ATOMIC_RELAXED);
	return -errno;
}

int weir__fd_wait(const weir_ctx *ctx, struct weir__fd *f, enum weir__dir dir, const char *what)
{
	struct weir__wait w;
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	weir__lock_acquire(&f->lock);
	if (f->shut)
		r = -EPIPE;
	else if (f->waiter[dir] || f->watch[dir])
		r = -EBUSY;
	else
		r = enlist(f);
	if (r < 0 || is_ready(f, dir)) {
		weir__lock_release(&f->lock);
		return r;
	}
	weir__wait_init(&w);
	f->waiter[dir] = &w;
	weir__lock_release(&f->lock);
	r = weir__wait_park(&w, ctx, what, f);
	if (r < 0) {
		weir__lock_acquire(&f->lock);
		if (f->waiter[dir] == &w)
			f->waiter[dir] = NULL;
		weir__lock_release(&f->lock);
	}
	return r;
}

/* Under the lock: the waiter of a direction, claimed, if there is one and it still waits. */
static struct weir__wait *claim_waiter(struct weir__fd *f, enum weir__dir dir, int value)
{
	struct weir__wait *w = f->waiter[dir];

	f->waiter[dir] = NULL;
	return w && weir__wait_claim(w, value) ? w : NULL;
}

typedef void watch_fn(struct weir__fd *f, enum weir__dir dir);

static bool is_due(const struct weir__fd *f, enum weir__dir dir)
{
	return f->watch[dir] && !f->dead && (is_ready(f, dir) || f->shut);
}

/* Under the lock: the first watch from *dir on that is due, which is forgotten, or NULL. */
static watch_fn *take_watch(struct weir__fd *f, enum weir__dir *dir)
{
	for (; *dir <= WEIR__OUT; ++*dir)
		if (is_due(f, *dir)) {
			watch_fn *fn = f->watch[*dir];

			f->watch[*dir] = NULL;
			return fn;
		}
	return NULL;
}

/* After each the lock is taken anew, for it may have closed f; but not for nothing. */
static void run_watches(struct weir__fd *f, watch_fn *fn, enum weir__dir dir, bool more)
{
	while (fn) {
		fn(f, dir++);
		if (!more)
			return;
		weir__lock_acquire(&f->lock);
		fn = take_watch(f, &dir);
		more = false;
		weir__lock_release(&f->lock);
	}
}

/* The message of a descriptor: its watches are due, or it is closed. */
static void fd_message(struct weir__msg *m)
{
	struct weir__fd *f = weir__container(m, struct weir__fd, msg);
	enum weir__dir dir = WEIR__IN;
	bool dead, more;
	watch_fn *fn;

	weir__lock_acquire(&f->lock);
	m->fn = NULL;
	dead = f->dead;
	fn = take_watch(f, &dir);
	more = is_due(f, WEIR__OUT);
	weir__lock_release(&f->lock);
	if (dead)
		f->done(f);
	else
		run_watches(f, fn, dir, more);
}

/* Under the lock: f->msg.fn tells whether it is in flight. */
static void post_once(struct weir__fd *f)
{
	if (f->msg.fn)
		return;
	f->msg.fn = fd_message;
	weir__post(f->worker, &f->msg);
}

int weir__fd_watch(struct weir__fd *f, enum weir__dir dir,
                   void (*fn)(struct weir__fd *f, enum weir__dir dir))
{
	int r = 0;

	weir__lock_acquire(&f->lock);
	if (f->waiter[dir] || f->watch[dir])
		r = -EBUSY;
	else
		r = enlist(f);
	if (r == 0) {
		f->watch[dir] = fn;
		if (is_ready(f, dir) || f->shut)
			post_once(f);
	}
	weir__lock_release(&f->lock);
	return r;
}

bool weir__fd_unwatch(struct weir__fd *f, enum weir__dir dir)
{
	bool was;

	weir__lock_acquire(&f->lock);
	was = f->watch[dir] != NULL;
	f->watch[dir] = NULL;
	weir__lock_release(&f->lock);
	return was;
}

void weir__fd_shut(struct weir__fd *f)
{
	struct weir__wait *w[2];

	/* Both in one hold of the lock: who wakes may close f and free it. */
	weir__lock_acquire(&f->lock);
	f->shut = true;
	if (f->watch[WEIR__IN] || f->watch[WEIR__OUT])
		post_once(f);
	for (enum weir__dir dir = WEIR__IN; dir <= WEIR__OUT; dir++)
		w[dir] = claim_waiter(f, dir, -EPIPE);
	weir__lock_release(&f->lock);
	for (enum weir__dir dir = WEIR__IN; dir <= WEIR__OUT; dir++)
		if (w[dir])
			weir__wait_wake(w[dir]);
}

void weir__fd_close(struct weir__fd *f, void (*done)(struct weir__fd *f))
{
	int worker, fd = f->fd;

	weir__lock_acquire(&f->lock);
	weir__assert(!f->waiter[0] && !f->waiter[1],
	             "a descriptor was closed while a task waits on it");
	f->dead = true;
	f->done = done;
	f->fd = -1;
	f->watch[0] = f->watch[1] = NULL;
	worker = f->worker;
	if (worker >= 0) {
		epoll_ctl(weir__rt.workers[worker].epoll, EPOLL_CTL_DEL, fd, NULL);
		weir__outside(-1);
		post_once(f);
	}
	weir__lock_release(&f->lock);
	close(fd);
	if (worker < 0)
		done(f);
}

static void fd_event(struct weir__fd *f, uint32_t events)
{
	const uint32_t over = EPOLLHUP | EPOLLERR;
	const uint32_t mask[2] = { EPOLLIN | EPOLLRDHUP | over, EPOLLOUT | over };
	struct weir__wait *woken[2] = { NULL, NULL };
	enum weir__dir due = WEIR__IN;
	bool dead, more;
	watch_fn *fn;

	weir__lock_acquire(&f->lock);
	for (enum weir__dir dir = WEIR__IN; dir <= WEIR__OUT; dir++) {
		if (!(events & mask[dir]))
			continue;
		set_ready(f, dir, true);
		woken[dir] = claim_waiter(f, dir, 0);
	}
	fn = take_watch(f, &due);
	more = is_due(f, WEIR__OUT);
	weir__lock_release(&f->lock);
	for (enum weir__dir dir = WEIR__IN; dir <= WEIR__OUT; dir++)
		if (woken[dir])
			weir__wait_wake(woken[dir]);
	run_watches(f, fn, due, more);
	if (!(events & (over | EPOLLRDHUP)) || !f->gone)
		return;
	weir__lock_acquire(&f->lock);
	dead = f->dead;
	weir__lock_release(&f->lock);
	if (!dead)
		f->gone(f);
}

void weir__poll(struct weir__worker *w, int64_t timeout_ns)
{
	struct epoll_event ev[BATCH];
	struct timespec ts = { .tv_sec = timeout_ns / 1000000000,
		               .tv_nsec = timeout_ns % 1000000000 };
	static bool no_pwait2;
	int n = -1;

	if (!no_pwait2) {
		n = epoll_pwait2(w->epoll, ev, BATCH, timeout_ns == WEIR_NEVER ? NULL : &ts, NULL);
		if (n < 0 && errno == ENOSYS)
			no_pwait2 = true;
	}
	if (no_pwait2) {
		int64_t ms = timeout_ns == WEIR_NEVER ?
		                     -1 :
		                     timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
		n = epoll_wait(w->epoll, ev, BATCH, ms > 1000000 ? 1000000 : (int)ms);
	}
	for (int i = 0; i < n; i++)
		if (ev[i].data.ptr)
			fd_event(ev[i].data.ptr, ev[i].events);
}
