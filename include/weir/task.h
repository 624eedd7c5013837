/* SPDX-License-Identifier: MIT */
/*
 * Tasks: functions with a stack of their own (64 KiB), run by one worker thread per core.
 *
 * A new task is queued and may be taken over by an idle worker until it first runs; from then on it
 * stays on its worker, so errno, thread-locals and every C library are safe to use. Tasks of one
 * worker switch only in calls that take a context. Every task belongs to a group (weir/group.h).
 *
 *	static int app(const weir_ctx *ctx, void *arg)
 *	{
 *		(void)arg;
 *		return weir_sleep(ctx, WEIR_MS(10));
 *	}
 *	int main(void) { return weir_main(app, NULL); }
 *
 * From the environment: WEIR_WORKERS, the number of workers (default: one per core);
 * WEIR_GRACE, the budget of a shutdown (default 30s).
 */
#ifndef WEIR_TASK_H
#define WEIR_TASK_H

#include <weir/ctx.h>

WEIR_BEGIN

typedef int weir_task_fn(const weir_ctx *ctx, void *arg);

/*
 * Run `fn` as the root task of a program, and end with it. SIGTERM and SIGINT drain the root scope;
 * at two thirds of the budget it is cancelled; at the end of the budget, or at a second signal, the
 * program reports who is still alive and leaves with status 3. SIGUSR1 prints weir_dump(). Returns
 * an exit status: 0 when fn returned 0, or -ESHUTDOWN or -ECANCELED after a stop, 1 for another
 * -Exxx (said on stderr), fn's own result if that is positive. To be called from the main thread,
 * once at a time.
 */
WEIR_API int weir_main(weir_task_fn *fn, void *arg);

typedef struct weir_options {
	int workers;      /* 0: WEIR_WORKERS, else one per core */
	int64_t grace_ns; /* 0: WEIR_GRACE, else 30 s */
	/* as weir_main(); otherwise signals are left alone, but for SIGPIPE: ignored */
	bool signals;
	void (*report)(int fd,
	               void *arg); /* called by a hard stop before the list of tasks; NULL for none.
	                                    * Runs on the supervisor's thread while workers may
	                                    * still run. */
	void *report_arg;
	/* at the end of the budget end the process (3) as weir_main; else abort() */
	bool forced_ok;
} weir_options;

/* The same without taking over: fn's own result, signals only if asked. For tests and embedders. */
WEIR_API int weir_run(const weir_options *opt, weir_task_fn *fn, void *arg);

/* Ask the running program to stop, as SIGTERM would. Any thread; never waits. */
WEIR_API void weir_stop(void);

/* The nanoseconds left of the stop's budget: WEIR_NEVER while no stop has begun. Any thread. */
WEIR_API int64_t weir_stop_left(void);

/* Let the others of this worker run. Returns weir_ctx_err(ctx). */
WEIR_API int weir_yield(const weir_ctx *ctx);

/* 0 after `ns`, or the context's error before. */
WEIR_API int weir_sleep(const weir_ctx *ctx, int64_t ns);

/* Name the calling task; the text is copied, cut at 31 bytes. Shown by weir_dump(). */
WEIR_API void weir_task_name(const char *fmt, ...) WEIR_PRINTF(1, 2);

/* Is the caller in a task? How many workers are there, and which one is this (-1 outside)? */
WEIR_API bool weir_in_task(void);
WEIR_API int weir_worker_count(void);
WEIR_API int weir_worker(void);

/* What a worker has done so far in this run. */
typedef struct weir_worker_info {
	uint64_t switches; /* to a task */
	uint64_t steals;   /* new tasks taken over from others */
	uint64_t messages; /* from other threads: wake-ups, placed tasks, stops */
	uint64_t parks;    /* sleeps, for want of work */
	uint64_t wakes;    /* of other workers that slept */
	uint64_t spins;    /* searches for a message before a sleep */
	uint64_t hogs;     /* tasks that kept it for a second */
} weir_worker_info;
/* 0, or -EINVAL when there is no such worker. From tasks. */
WEIR_API int weir_worker_info_get(int worker, weir_worker_info *ret);

/* Tasks alive now. Any thread. */
WEIR_API size_t weir_task_count(void);

/*
 * Print every task: name, place of its start, state, what it waits on, how long, its deadline;
 * then, for each place where tasks were started, how deep the stacks of those that ended went. Any
 * thread; never waits for a task.
 */
WEIR_API void weir_dump(int fd);

/* The same as a callback per task. The strings live only during the call, made under a lock:
 * copy. */
typedef struct weir_task_info {
	uint64_t id;
	const char *name, *place, *state, *waits_on;
	int worker;
	int64_t since_ns; /* how long in this state */
	int64_t left_ns;  /* until the wait's deadline; WEIR_NEVER */
} weir_task_info;
WEIR_API void weir_each_task(void (*fn)(const weir_task_info *info, void *arg), void *arg);

WEIR_END
#endif
