/* SPDX-License-Identifier: MIT */
/*
 * Listeners in memory: a list of names, and a bounded queue of connections behind each. One lock
 * guards them all, since they are few and it is held for a few instructions. A full queue refuses,
 * as the kernel's does not: a dial that waits here would wait for an accept that may never come,
 * and tests want to hear of it.
 */
#include "net/listener.h"

#include <weir/task.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "net/mem.h"

enum { MEM_BACKLOG = 1024 };

struct mem_listener {
	weir_listener listener;
	struct weir__list node;        /* among `names` until closed */
	weir_conn *queue[MEM_BACKLOG]; /* a ring */
	unsigned head, queued;
	bool closed;
	struct weir__wait *waiter;
	char name[WEIR__MEM_NAME_MAX + 1];
};

static weir__lock names_lock = WEIR__LOCK_INIT;
static struct weir__list names = { &names, &names };

static struct mem_listener *find(const char *name)
{
	weir__list_each (n, &names) {
		struct mem_listener *l = weir__container(n, struct mem_listener, node);

		if (!strcmp(l->name, name))
			return l;
	}
	return NULL;
}

int weir__mem_dial(const weir_ctx *ctx, const char *name, weir_conn **ret)
{
	struct weir__wait *w = NULL;
	struct mem_listener *l;
	weir_conn *ends[2];
	int64_t delay = weir__mem_delay();
	int r;

	if (delay) {
		r = weir_sleep(ctx, delay);
		if (r < 0)
			return r;
	}
	r = weir__mem_pair(name, ends);
	if (r < 0)
		return r;
	weir__lock_acquire(&names_lock);
	l = find(name);
	if (l && l->queued < MEM_BACKLOG) {
		l->queue[(l->head + l->queued++) % MEM_BACKLOG] = ends[1];
		w = l->waiter;
		l->waiter = NULL;
		if (w && !weir__wait_claim(w, 1))
			w = NULL;
	} else {
		r = -ECONNREFUSED;
	}
	weir__lock_release(&names_lock);
	if (w)
		weir__wait_wake(w);
	if (r < 0) {
		weir_conn_free(ends[0]);
		weir_conn_free(ends[1]);
		return r;
	}
	*ret = ends[0];
	return 0;
}

static int mem_try_accept(weir_listener *base, weir_conn **ret)
{
	struct mem_listener *l = (struct mem_listener *)base;
	int r = -EAGAIN;

	weir__lock_acquire(&names_lock);
	if (l->queued > 0) {
		*ret = l->queue[l->head];
		l->head = (l->head + 1) % MEM_BACKLOG;
		l->queued--;
		r = 1;
	}
	weir__lock_release(&names_lock);
	return r;
}

static int mem_accept_wait(const weir_ctx *ctx, weir_listener *base)
{
	struct mem_listener *l = (struct mem_listener *)base;
	struct weir__wait w;
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	weir__wait_init(&w);
	weir__lock_acquire(&names_lock);
	if (l->queued > 0 || l->closed) {
		weir__lock_release(&names_lock);
		return 0;
	}
	l->waiter = &w;
	weir__lock_release(&names_lock);
	r = weir__wait_park(&w, ctx, "accept", l);
	if (r >= 0)
		return 0;
	weir__lock_acquire(&names_lock);
	if (l->waiter == &w)
		l->waiter = NULL;
	weir__lock_release(&names_lock);
	return r;
}

static void mem_listener_close(weir_listener *base)
{
	struct mem_listener *l = (struct mem_listener *)base;
	struct weir__wait *w;

	weir__lock_acquire(&names_lock);
	l->closed = true;
	weir__list_remove(&l->node);
	w = l->waiter;
	l->waiter = NULL;
	if (w && !weir__wait_claim(w, 1))
		w = NULL;
	weir__lock_release(&names_lock);
	if (w)
		weir__wait_wake(w);
}

static void mem_emptied(weir_listener *base)
{
	(void)base; /* Nothing arrives after the close. */
}

static void mem_listener_destroy(weir_listener *base)
{
	weir_conn *c;

	while (mem_try_accept(base, &c) > 0)
		weir_conn_free(c);
	free(base);
}

static const struct weir__listener_ops mem_listener_ops = {
	.try_accept = mem_try_accept,
	.wait = mem_accept_wait,
	.close = mem_listener_close,
	.emptied = mem_emptied,
	.destroy = mem_listener_destroy,
};

int weir__mem_listen(const char *name, weir_listener **ret)
{
	struct mem_listener *l = calloc(1, sizeof *l);
	bool taken;

	if (!l)
		return -ENOMEM;
	l->listener = (weir_listener){ .magic = WEIR__LISTENER_MAGIC, .ops = &mem_listener_ops };
	snprintf(l->listener.addr, sizeof l->listener.addr, "mem:%s", name);
	snprintf(l->name, sizeof l->name, "%s", name);
	weir__lock_acquire(&names_lock);
	taken = find(name) != NULL;
	if (!taken)
		weir__list_append(&names, &l->node);
	weir__lock_release(&names_lock);
	if (taken) {
		free(l);
		return -EADDRINUSE;
	}
	*ret = &l->listener;
	return 0;
}
