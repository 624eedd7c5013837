/* SPDX-License-Identifier: MIT */
/* The beginning and the end of a run: workers, the root task, the supervisor, and what is told at
 * the exit. */
#include <errno.h>
#include <dlfcn.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "rt/fault.h"
#include "rt/leak.h"
#include "rt/offload.h"
#include "rt/super.h"
#include "rt/task.h"

/* glibc's cutoff for alloca follows the thread's stack; with a default thread it would be a whole
 * task's stack. */
enum { WORKER_STACK = 64 * 1024 };

static void *worker_main(void *arg)
{
	struct weir__worker *w = arg;
	struct weir__fault_stack fault;

	weir__self_tls = w;
	w->error = &errno;
	weir__log_patience(WEIR__LOG_WORKER_MS);
	weir__fiber_init_thread(&w->fiber);
	weir__fault_enter(&fault);
	weir__worker_loop(w);
	weir__fault_leave(&fault);
	return NULL;
}

static void root_ended(weir__task *t)
{
	weir__rt.result = t->result;
	weir__super_done();
}

static uint32_t foreign;  /* atomic: threads inside */
static uint32_t shut = 1; /* atomic: there are no workers to come to */

bool weir__foreign_enter(void)
{
	__atomic_add_fetch(&foreign, 1, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&shut, __ATOMIC_SEQ_CST);
}

void weir__foreign_leave(void)
{
	__atomic_sub_fetch(&foreign, 1, __ATOMIC_RELEASE);
}

static void foreign_shut(void)
{
	__atomic_store_n(&shut, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&foreign, __ATOMIC_ACQUIRE))
		sched_yield(); /* They are but a few instructions from leaving. */
}

static int64_t env_seconds(const char *name, int64_t otherwise)
{
	const char *s = getenv(name);
	char *end;
	double v = s ? strtod(s, &end) : 0;

	if (!s || v <= 0 || v > 1e6)
		return otherwise;
	if (!strcmp(end, "ms"))
		v /= 1000;
	else if (!strcmp(end, "m"))
		v *= 60;
	else if (*end && strcmp(end, "s") != 0)
		return otherwise;
	return (int64_t)(v * 1e9);
}

static int worker_count(const weir_options *opt)
{
	const char *s = getenv("WEIR_WORKERS");
	long n = opt->workers;

	if (n <= 0 && s)
		n = strtol(s, NULL, 10);
	if (n <= 0)
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 1024 ? 1024 : (int)n;
}

/*
 * glibc takes thread-local storage out of a thread's stack, and a program may have any amount of
 * it. Its own word for that is not public, but stable, and others look it up as well.
 */
__attribute__((unused)) static size_t worker_stack(const pthread_attr_t *attr)
{
	size_t (*minstack)(const pthread_attr_t *) = NULL;
	size_t min;

	*(void **)&minstack = dlsym(RTLD_DEFAULT, "__pthread_get_minstack");
	if (!minstack)
		return WORKER_STACK;
	min = minstack(attr);
	return WORKER_STACK +
	       (min > (size_t)PTHREAD_STACK_MIN ? min - (size_t)PTHREAD_STACK_MIN : 0);
}

static int start_workers(void)
{
	pthread_attr_t attr;
	int r = 0, n = 0;

	pthread_attr_init(&attr);
#if !defined(WEIR__ASAN) && !defined(WEIR__TSAN)
	pthread_attr_setstacksize(&attr, worker_stack(&attr));
#endif
	for (; n < weir__rt.count && r == 0; n++)
		r = -pthread_create(&weir__rt.workers[n].thread, &attr, worker_main,
		                    &weir__rt.workers[n]);
	pthread_attr_destroy(&attr);
	if (r < 0)
		weir__rt.count = n - 1; /* The rest is joined as usual. */
	return r;
}

static void stop_workers(void)
{
	__atomic_store_n(&weir__rt.stopping, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < weir__rt.count; i++)
		weir__worker_kick(&weir__rt.workers[i]);
	for (int i = 0; i < weir__rt.count; i++)
		pthread_join(weir__rt.workers[i].thread, NULL);
}

int weir_run(const weir_options *opt, weir_task_fn *fn, void *arg)
{
	weir_ctx ctx = { .deadline_ns = WEIR_NEVER };
	size_t align = _Alignof(struct weir__worker);
	int r, total;

	weir__assert(!weir__rt.workers, "weir_run() was called while another run goes on");
	memset(&weir__rt, 0, sizeof weir__rt);
	if (opt)
		weir__rt.opt = *opt;
	weir__rt.grace_ns = weir__rt.opt.grace_ns > 0 ? weir__rt.opt.grace_ns :
	                                                env_seconds("WEIR_GRACE", WEIR_SEC(30));
	weir__bias_probe();
	weir__rt.count = total = worker_count(&weir__rt.opt);
	weir__rt.workers = aligned_alloc(align, (size_t)total * sizeof(struct weir__worker));
	if (!weir__rt.workers)
		return -ENOMEM;
	for (int i = 0; i < total; i++) {
		r = weir__worker_init(&weir__rt.workers[i], i);
		weir__assert(r == 0, "cannot start worker %d: %s", i, strerror(-r));
	}
	if (signal(SIGPIPE, SIG_IGN) != SIG_DFL)
		weir__log(WEIR__DEBUG, "rt",
		          "SIGPIPE was not at its default and is ignored from now on");
	r = weir__super_init();
	weir__assert(r == 0, "cannot start the supervisor: %s", strerror(-r));
	weir__self_tls = &weir__rt.workers[0]; /* The root scope's home. */
	weir__rt.root = ctx.scope = weir__scope_new(NULL, NULL);
	weir__self_tls = NULL;
	weir__assert(ctx.scope != NULL, "no memory to start");
	__atomic_store_n(&shut, 0, __ATOMIC_SEQ_CST);
	r = start_workers();
	if (r == 0)
		r = weir__spawn(&ctx, 0, fn, arg, "root", "weir_run", root_ended, NULL);
	if (r == 0) {
		weir__super_loop();
		r = weir__rt.result;
	}
	weir__offload_stop();
	stop_workers();
	foreign_shut();
	weir__leak_report();
	if (weir_task_count()) {
		weir_dump(STDERR_FILENO);
		weir__die("%zu tasks were leaked", weir_task_count());
	}
	weir__self_tls = &weir__rt.workers[0];
	weir__scope_free(weir__rt.root);
	weir__self_tls = NULL;
	for (int i = 0; i < total; i++)
		weir__worker_fini(&weir__rt.workers[i]);
	weir__super_fini();
	free(weir__rt.workers);
	weir__rt.workers = NULL;
	weir__rt.count = 0;
	return r;
}

int weir_main(weir_task_fn *fn, void *arg)
{
	weir_options opt = { .signals = true, .forced_ok = true };
	int r = weir_run(&opt, fn, arg);

	if ((r == -ESHUTDOWN || r == -ECANCELED) && weir_stop_left() != WEIR_NEVER)
		return 0;
	if (r >= 0)
		return r;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, strerror(-r));
	return 1;
}

bool weir_in_task(void)
{
	return weir__current() != NULL;
}

int weir_worker_count(void)
{
	return weir__rt.count;
}

int weir_worker(void)
{
	struct weir__worker *w = weir__self();
	return w ? w->index : -1;
}

int weir_worker_info_get(int worker, weir_worker_info *ret)
{
	const struct weir__worker *w = &weir__rt.workers[worker];
	const uint64_t *from = (const uint64_t *)&w->counts;

	if (worker < 0 || worker >= weir__rt.count)
		return -EINVAL;
	for (size_t i = 0; i < sizeof *ret / sizeof *from; i++)
		((uint64_t *)ret)[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	ret->switches = __atomic_load_n(&w->turn, __ATOMIC_RELAXED);
	return 0;
}
