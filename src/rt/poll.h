/* SPDX-License-Identifier: MIT */
/*
 * Descriptors under epoll, edge-triggered. A weir__fd registers at its first wait or watch, with
 * the worker where that happens, and stays there. Per direction a ready bit and one waiter: a
 * task, or a watch (a function) where no task should be held.
 *
 *	for (;;) {
 *		weir__fd_clear(f, WEIR__IN);
 *		n = read(f->fd, …);
 *		if (n >= 0 || errno != EAGAIN) break;
 *		r = weir__fd_wait(ctx, f, WEIR__IN, "conn read");
 *		if (r < 0) break;
 *	}
 *
 * Not in a simulation (it aborts): in-memory streams have waits of their own.
 */
#ifndef WEIR_RT_POLL_H
#define WEIR_RT_POLL_H

#include "rt/msg.h"
#include "rt/wait.h"

enum weir__dir { WEIR__IN = 0, WEIR__OUT = 1 };

struct weir__fd {
	int fd;
	int16_t worker; /* where it is registered; -1: nowhere yet */
	bool ready[2], shut, dead;
	weir__lock lock; /* guards the above and: */
	struct weir__wait *waiter[2];
	void (*watch[2])(struct weir__fd *f,
	                 enum weir__dir dir); /* called once on its worker, then forgotten */
	/* Called on its worker at each EPOLLHUP, EPOLLERR or EPOLLRDHUP. May be NULL; set before
	 * the first wait. */
	void (*gone)(struct weir__fd *f);
	struct weir__msg msg;
	void (*done)(struct weir__fd *f);
};

void weir__fd_init(struct weir__fd *f, int fd);

/* Forget readiness, just before the system call that will show it. */
void weir__fd_clear(struct weir__fd *f, enum weir__dir dir);

/* After EAGAIN. 0: try again; -EPIPE after weir__fd_shut(); -EBUSY: another waits in this
 * direction; errors of epoll_ctl; the context's. */
int weir__fd_wait(const weir_ctx *ctx, struct weir__fd *f, enum weir__dir dir, const char *what);

/* Call fn once when the direction is ready or shut (as a message of its own, never from inside
 * this call). On the fd's worker (or before it has one). 0, -EBUSY or an error of epoll_ctl. A
 * watch with dir OUT and IN may both be there. unwatch: true if fn will not be called any more. */
int weir__fd_watch(struct weir__fd *f, enum weir__dir dir,
                   void (*fn)(struct weir__fd *f, enum weir__dir dir));
bool weir__fd_unwatch(struct weir__fd *f, enum weir__dir dir);

/* Any task: waiters wake with -EPIPE, watches are called. Does not touch the descriptor. Twice is
 * fine. */
void weir__fd_shut(struct weir__fd *f);

/* By the owner, nobody waiting or watching: unregisters, close(2)s, and calls done(f) when no
 * event can reach it any more (perhaps at once, perhaps later on its worker): free the memory
 * there. */
void weir__fd_close(struct weir__fd *f, void (*done)(struct weir__fd *f));

#endif
