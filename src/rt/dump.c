/* SPDX-License-Identifier: MIT */
/*
 * The list of tasks, and the last words of a wrong program.
 *
 * No list is kept: a task lies at the top of its stack, and stacks are never unmapped. So any
 * thread may look at all of them, whether a task lives there or not; its number, which is 0 between
 * two lives, tells whether what was read between two looks at it is of one task.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "rt/census.h"
#include "rt/task.h"

static weir__lock names; /* guards tasks' own names */

void weir_task_name(const char *fmt, ...)
{
	weir__task *t = weir__current();
	char name[WEIR__TASK_NAME];
	va_list ap;

	if (!t)
		return;
	va_start(ap, fmt);
	vsnprintf(name, sizeof name, fmt, ap);
	va_end(ap);
	weir__lock_acquire(&names);
	memcpy(t->name, name, sizeof name);
	__atomic_store_n(&t->named, true, __ATOMIC_RELAXED);
	weir__lock_release(&names);
}

/* Every load is an acquire, so that the last comes after all others: what was seen of a later task
 * was written after the end of the first. */
bool weir__task_look(const weir__task *t, struct weir__task_view *ret)
{
	struct weir__worker *w;

	ret->id = __atomic_load_n(&t->id, __ATOMIC_ACQUIRE);
	if (!ret->id)
		return false;
	ret->place = __atomic_load_n(&t->place, __ATOMIC_ACQUIRE);
	ret->what = __atomic_load_n(&t->what, __ATOMIC_ACQUIRE);
	ret->wait_flags = __atomic_load_n(&t->wait_flags, __ATOMIC_ACQUIRE);
	ret->since_ns = __atomic_load_n(&t->since_ns, __ATOMIC_ACQUIRE);
	ret->until_ns = ret->what ? __atomic_load_n(&t->until_ns, __ATOMIC_ACQUIRE) : WEIR_NEVER;
	w = __atomic_load_n(&t->worker, __ATOMIC_ACQUIRE);
	if (w < weir__rt.workers || w >= weir__rt.workers + weir__rt.count)
		return false; /* Left over from a simulation that was given up. */
	ret->worker = w->index;
	ret->runs = __atomic_load_n(&w->current, __ATOMIC_ACQUIRE) == t;
	ret->name = __atomic_load_n(&t->given, __ATOMIC_ACQUIRE);
	weir__lock_acquire(&names);
	if (__atomic_load_n(&t->named, __ATOMIC_RELAXED))
		ret->name = memcpy(ret->own_name, t->name, sizeof t->name);
	weir__lock_release(&names);
	return __atomic_load_n(&t->id, __ATOMIC_RELAXED) == ret->id;
}

struct each {
	void (*fn)(const struct weir__task_view *t, void *arg);
	void *arg;
};

static void look_at(char *top, void *arg)
{
	const struct each *e = arg;
	struct weir__task_view view;

	if (weir__task_look(weir__task_at(top), &view))
		e->fn(&view, e->arg);
}

void weir__tasks_each(void (*fn)(const struct weir__task_view *t, void *arg), void *arg)
{
	struct each e = { fn, arg };

	weir__stacks_each(look_at, &e);
}

struct each_info {
	void (*fn)(const weir_task_info *info, void *arg);
	void *arg;
	int64_t now;
};

static void tell_info(const struct weir__task_view *t, void *arg)
{
	const struct each_info *e = arg;
	weir_task_info info = {
		.id = t->id,
		.name = t->name,
		.place = t->place,
		.state = t->what ? "waiting" :
		         t->runs ? "running" :
		                   "ready",
		.waits_on = t->what,
		.worker = t->worker,
		.since_ns = e->now - t->since_ns,
		.left_ns = t->until_ns != WEIR_NEVER ? t->until_ns - e->now : WEIR_NEVER,
	};

	e->fn(&info, e->arg);
}

void weir_each_task(void (*fn)(const weir_task_info *info, void *arg), void *arg)
{
	struct each_info e = { fn, arg, weir_now() };

	weir__tasks_each(tell_info, &e);
}

static void print(const weir_task_info *i, void *arg)
{
	char left[48] = "";

	if (i->left_ns != WEIR_NEVER)
		snprintf(left, sizeof left, ", %.3f s left", (double)i->left_ns / 1e9);
	weir__buf_printf(arg, "  #%llu %s (%s) worker %d: %s%s%s for %.3f s%s\n",
	                 (unsigned long long)i->id, i->name, i->place, i->worker, i->state,
	                 i->waits_on ? " on " : "", i->waits_on ? i->waits_on : "",
	                 (double)i->since_ns / 1e9, left);
}

void weir_dump(int fd)
{
	struct weir__buf text = WEIR__BUF_INIT;

	/* Written after the locks: who reads the other end may be slow, or stuck. */
	weir__buf_printf(&text, "weir: %zu tasks on %d workers\n", weir_task_count(),
	                 weir__rt.count);
	weir_each_task(print, &text);
	weir__census_print(&text);
	(void)weir__log_write(fd, text.data, text.len);
	weir__buf_free(&text);
}

void weir__die(const char *fmt, ...)
{
	weir__task *t = weir__current();
	char what[512], text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	if (t)
		snprintf(text, sizeof text, "weir: %s\n  in task #%llu %s, started at %s\n", what,
		         (unsigned long long)t->id, weir__task_name(t), t->place);
	else
		snprintf(text, sizeof text, "weir: %s\n", what);
	(void)weir__log_write(STDERR_FILENO, text, strlen(text));
	abort();
}
