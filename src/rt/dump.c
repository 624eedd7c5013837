/* SPDX-License-Identifier: MIT */
/* The list of tasks, and the last words of a wrong program. Any thread: the lists are read under
 * their workers' short locks. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "rt/census.h"
#include "rt/task.h"

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
	weir__bias_acquire(&t->worker->all_lock, weir__here());
	memcpy(t->name, name, sizeof name);
	weir__bias_release(&t->worker->all_lock, weir__here());
}

void weir_each_task(void (*fn)(const weir_task_info *info, void *arg), void *arg)
{
	int64_t now = weir_now();

	for (int i = 0; i < weir__rt.count; i++) {
		struct weir__worker *w = &weir__rt.workers[i];

		weir__bias_acquire(&w->all_lock, weir__here());
		weir__list_each (node, &w->all) {
			weir__task *t = weir__container(node, weir__task, all);
			const char *what = __atomic_load_n(&t->what, __ATOMIC_ACQUIRE);
			int64_t until = __atomic_load_n(&t->until_ns, __ATOMIC_RELAXED);
			bool running = __atomic_load_n(&w->current, __ATOMIC_RELAXED) == t;
			weir_task_info info = {
				.id = t->id,
				.name = weir__task_name(t),
				.place = t->place,
				.state = what    ? "waiting" :
				         running ? "running" :
				                   "ready",
				.waits_on = what,
				.worker = i,
				.since_ns = now - __atomic_load_n(&t->since_ns, __ATOMIC_RELAXED),
				.left_ns = what && until != WEIR_NEVER ? until - now : WEIR_NEVER,
			};
			fn(&info, arg);
		}
		weir__bias_release(&w->all_lock, weir__here());
	}
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
	size_t at = 0;
	ssize_t n;

	/* Written after the locks: who reads the other end may be slow, or stuck. */
	weir__buf_printf(&text, "weir: %zu tasks on %d workers\n", weir_task_count(),
	                 weir__rt.count);
	weir_each_task(print, &text);
	weir__census_print(&text);
	for (; at < text.len; at += (size_t)n) {
		n = write(fd, text.data + at, text.len - at);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			break;
	}
	weir__buf_free(&text);
}

void weir__die(const char *fmt, ...)
{
	weir__task *t = weir__current();
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (t)
		dprintf(STDERR_FILENO, "weir: %s\n  in task #%llu %s, started at %s\n", text,
		        (unsigned long long)t->id, weir__task_name(t), t->place);
	else
		dprintf(STDERR_FILENO, "weir: %s\n", text);
	abort();
}
