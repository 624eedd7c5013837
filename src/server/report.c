/* SPDX-License-Identifier: MIT */
/*
 * What a stop says about itself: after one that ended by itself, lines in the log; in a forced one,
 * lines written straight to a descriptor by the supervisor's thread while workers may still spin.
 *
 * The forced report takes no memory and waits for no task: a worker that is stuck may hold neither
 * it up. It reads the exchanges under their own short lock into a table, then the tasks into the
 * same table, and only then prints, so that no two locks are held together and none during a write.
 */
#include "server/server.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/units.h"

enum { LINE_BYTES = 512, SERVICE_LINE_BYTES = 256, STATUS_FORCED = 3 };

static void say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n > sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n++] = '\n';
	(void)weir__log_write(fd, line, (size_t)n);
}

static void take_exchange(const weir_http_info *info, void *arg)
{
	weir_server *s = arg;
	struct weir__straggler *g;

	if (s->stragglers_n == WEIR__STRAGGLERS_MAX) {
		s->stragglers_more++;
		return;
	}
	g = &s->stragglers[s->stragglers_n++];
	memset(g, 0, sizeof *g);
	g->task = info->task;
	g->since_ns = info->since_ns;
	g->worker = -1;
	snprintf(g->route, sizeof g->route, "%s", info->route ? info->route : "(no route)");
	snprintf(g->peer, sizeof g->peer, "%s", info->peer ? info->peer : "(unknown)");
}

static void take_task(const weir_task_info *info, void *arg)
{
	weir_server *s = arg;

	for (size_t i = 0; i < s->stragglers_n; i++) {
		struct weir__straggler *g = &s->stragglers[i];

		if (g->task == 0 || g->task != info->id)
			continue;
		snprintf(g->state, sizeof g->state, "%s", info->state ? info->state : "");
		snprintf(g->waits_on, sizeof g->waits_on, "%s",
		         info->waits_on ? info->waits_on : "");
		snprintf(g->place, sizeof g->place, "%s", info->place ? info->place : "");
		g->worker = info->worker;
		g->state_ns = info->since_ns;
	}
}

/* Who is still there, and where. */
static void gather(weir_server *s)
{
	s->stragglers_n = s->stragglers_more = 0;
	weir_http_each(s->http, take_exchange, s);
	weir_each_task(take_task, s);
}

static void describe(const struct weir__straggler *g, char *line, size_t n)
{
	char age[WEIR__UNITS_MAX], here[WEIR__UNITS_MAX], where[160];

	weir__format_about(age, g->since_ns);
	weir__format_about(here, g->state_ns);
	if (g->task == 0)
		snprintf(where, sizeof where, "a stream without a task");
	else if (g->state[0] == '\0')
		snprintf(where, sizeof where, "task %llu, which has just ended",
		         (unsigned long long)g->task);
	else if (g->waits_on[0])
		snprintf(where, sizeof where, "task %llu, %s in %s for %s",
		         (unsigned long long)g->task, g->state, g->waits_on, here);
	else
		snprintf(where, sizeof where, "task %llu, %s on worker %d for %s",
		         (unsigned long long)g->task, g->state, g->worker, here);
	snprintf(line, n, "cut: %s from %s after %s, %s", g->route, g->peer, age, where);
}

static bool service_line(weir_server *s, size_t i, char *buf, size_t n)
{
	struct weir__service *v = &s->services[i];

	buf[0] = '\0';
	return v->is.report && v->is.report(buf, n, v->is.arg) >= 0 && buf[0];
}

void weir_server_report(int fd, void *server)
{
	weir_server *s = server;
	int64_t stop_at;
	char line[LINE_BYTES - 16], took[WEIR__UNITS_MAX];
	weir_http_stats now;

	weir__magic_check(s, WEIR__SERVER_MAGIC);
	weir__lock_acquire(&s->report_lock);
	gather(s);
	weir_http_server_stats(s->http, &now);
	stop_at = __atomic_load_n(&s->stop_at, __ATOMIC_ACQUIRE);
	if (stop_at)
		say(fd, "weir: forced stop after %s",
		    weir__format_about(took, weir_now() - stop_at));
	else
		say(fd, "weir: forced stop before the server began its own: it was still starting, "
		        "or no worker was free");
	for (size_t i = s->services_n; i-- > 0;)
		if (service_line(s, i, line, SERVICE_LINE_BYTES))
			say(fd, "weir: %s: %s", s->services[i].is.name, line);
	say(fd, "weir: http: %llu finished, %llu cut", (unsigned long long)now.finished_in_drain,
	    (unsigned long long)(now.cut + s->stragglers_n + s->stragglers_more));
	for (size_t i = 0; i < s->stragglers_n; i++) {
		describe(&s->stragglers[i], line, sizeof line);
		say(fd, "weir: %s", line);
	}
	if (s->stragglers_more)
		say(fd, "weir: cut: and %zu more", s->stragglers_more);
	weir__lock_release(&s->report_lock);
}

void weir__server_report_cut(weir_server *s)
{
	char line[LINE_BYTES];

	weir__lock_acquire(&s->report_lock);
	gather(s);
	for (size_t i = 0; i < s->stragglers_n; i++) {
		describe(&s->stragglers[i], line, sizeof line);
		weir__log(WEIR__WARN, "report", "%s", line);
	}
	if (s->stragglers_more)
		weir__log(WEIR__WARN, "report", "cut: and %zu more", s->stragglers_more);
	weir__lock_release(&s->report_lock);
}

int weir__server_report_end(weir_server *s, int result)
{
	int64_t stop_at = __atomic_load_n(&s->stop_at, __ATOMIC_ACQUIRE);
	char line[SERVICE_LINE_BYTES], took[WEIR__UNITS_MAX];
	weir_http_stats now;
	int patience;

	if (!stop_at)
		return result;                                  /* It never served. */
	patience = weir__log_patience(WEIR__LOG_LAST_WORDS_MS); /* Nobody is served any more. */
	weir_http_server_stats(s->http, &now);
	for (size_t i = s->services_n; i-- > 0;)
		if (service_line(s, i, line, sizeof line))
			weir__log(WEIR__INFO, "report", "%s: %s", s->services[i].is.name, line);
	weir__log(WEIR__INFO, "report", "http: %llu finished, %llu cut",
	          (unsigned long long)now.finished_in_drain, (unsigned long long)now.cut);
	weir__format_about(took, weir_now() - stop_at);
	if (result < 0)
		weir__log(WEIR__ERROR, "report", "%s stopped after %s: %s", s->opt.name, took,
		          strerror(-result));
	else if (now.cut)
		weir__log(WEIR__WARN, "report", "%s stopped after %s, and had to cut", s->opt.name,
		          took);
	else
		weir__log(WEIR__INFO, "report", "%s stopped cleanly after %s", s->opt.name, took);
	weir__log_patience(patience);
	return result == 0 && now.cut ? STATUS_FORCED : result;
}
