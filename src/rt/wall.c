/* SPDX-License-Identifier: MIT */
/*
 * Linux tells of a clock that is set by ending a timer on it (TFD_TIMER_CANCEL_ON_SET); a timer
 * that is never due costs nothing meanwhile. In a simulation weir_sim_wall_step() does it: a count
 * of the steps, and a list of who waits for the next.
 */
#include "rt/wall.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <weir/sim.h>

#include "base/assert.h"
#include "base/list.h"
#include "rt/poll.h"
#include "rt/task.h"

struct weir__wall {
	struct weir__fd fd;
	uint64_t seen; /* simulated: of the steps */
};

struct waiter {
	struct weir__list link;
	struct weir__wait wait;
};

static struct {
	weir__lock lock; /* of: */
	struct weir__list waiters;
	uint64_t steps;
	int64_t shift;
} sim = { .waiters = { &sim.waiters, &sim.waiters } };

int64_t weir__wall_shift(void)
{
	return sim.shift;
}

void weir__wall_sim_reset(void)
{
	sim.shift = 0;
	sim.steps = 0;
	weir__list_init(&sim.waiters);
}

void weir_sim_wall_step(int64_t ns)
{
	struct weir__list woken;

	weir__assert(weir__simulating, "weir_sim_wall_step: not in a simulation");
	weir__list_init(&woken);
	weir__lock_acquire(&sim.lock);
	sim.shift += ns;
	sim.steps++;
	while (!weir__list_empty(&sim.waiters)) {
		struct waiter *w = weir__container(sim.waiters.next, struct waiter, link);

		weir__list_remove(&w->link);
		if (weir__wait_claim(&w->wait, 0))
			weir__list_append(&woken, &w->link);
	}
	weir__lock_release(&sim.lock);
	while (!weir__list_empty(&woken)) {
		struct waiter *w = weir__container(woken.next, struct waiter, link);

		weir__list_remove(&w->link); /* Once woken it is gone. */
		weir__wait_wake(&w->wait);
	}
}

static int sim_wait(const weir_ctx *ctx, struct weir__wall *w)
{
	struct waiter me = { 0 };
	bool stepped;
	int r;

	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	weir__lock_acquire(&sim.lock);
	stepped = w->seen != sim.steps;
	if (!stepped) {
		weir__wait_init(&me.wait);
		weir__list_append(&sim.waiters, &me.link);
	}
	w->seen = sim.steps;
	weir__lock_release(&sim.lock);
	if (stepped)
		return 0;
	r = weir__wait_park(&me.wait, ctx, "clock set", w);
	weir__lock_acquire(&sim.lock);
	if (weir__list_linked(&me.link))
		weir__list_remove(&me.link);
	w->seen = sim.steps;
	weir__lock_release(&sim.lock);
	return r;
}

int weir__wall_open(struct weir__wall **ret)
{
	/* The last second that a timer takes; TFD_TIMER_CANCEL_ON_SET wants a real one. */
	const struct itimerspec never = { .it_value = { .tv_sec = INT64_MAX / 1000000000 } };
	struct weir__wall *w = calloc(1, sizeof *w);
	int fd, r;

	if (!w)
		return -ENOMEM;
	if (weir__simulating) {
		w->seen = sim.steps;
		*ret = w;
		return 0;
	}
	fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0 ||
	    timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		free(w);
		return r;
	}
	weir__fd_init(&w->fd, fd);
	*ret = w;
	return 0;
}

int weir__wall_wait(const weir_ctx *ctx, struct weir__wall *w)
{
	uint64_t n;
	int r;

	if (weir__simulating)
		return sim_wait(ctx, w);
	for (;;) {
		weir__fd_clear(&w->fd, WEIR__IN);
		if (read(w->fd.fd, &n, sizeof n) < 0 && errno == ECANCELED)
			return 0;
		r = weir__fd_wait(ctx, &w->fd, WEIR__IN, "clock set");
		if (r < 0)
			return r;
	}
}

static void closed(struct weir__fd *f)
{
	free(weir__container(f, struct weir__wall, fd));
}

void weir__wall_close(struct weir__wall *w)
{
	if (weir__simulating)
		free(w);
	else
		weir__fd_close(&w->fd, closed);
}
