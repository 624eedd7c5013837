/* SPDX-License-Identifier: MIT */
/*
 * Names a task that has kept its worker for long, and where it is. Where it is only its own thread
 * can tell: it is sent SIGURG, which does nothing to a program that does not use it, and notes the
 * program counter and, as far as the frame pointers reach within the task's stack, its callers.
 *
 * Only where the program gave us its signals (weir_main()) and does not use SIGURG itself. The
 * supervisor asks one worker at a time and does not wait for long: a thread in the kernel answers
 * late, and then nobody listens.
 */
#include "rt/hog.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "base/log.h"
#include "rt/task.h"

enum { FRAMES = 6, PATIENCE_MS = 100, IDLE = 0, ASKED, ANSWERED };

static struct {
	uint32_t state; /* atomic: who may write the rest: ASKED the worker, else the supervisor */
	uint64_t task;
	unsigned n;
	uintptr_t at[FRAMES];
} answer;
static bool works;

/* The callers lie between the frame and the top of the task's stack, each above the one it
 * called. */
static void walk(const weir__task *t, uintptr_t frame)
{
	uintptr_t low = (uintptr_t)weir__stack_bottom(t), high = (uintptr_t)t - 2 * sizeof frame;

	while (answer.n < FRAMES && frame >= low && frame <= high && frame % sizeof frame == 0) {
		const uintptr_t *f = (const uintptr_t *)frame;

		if (!f[1] || f[0] <= frame)
			break;
		answer.at[answer.n++] = f[1];
		frame = f[0];
	}
}

static void on_signal(int sig, siginfo_t *si, void *context)
{
	const struct weir__worker *w = weir__self();
	const weir__task *t = w ? w->current : NULL;
	const ucontext_t *uc = context;
	uint32_t asked = ASKED;

	(void)sig;
	(void)si;
	if (!t || __atomic_load_n(&answer.state, __ATOMIC_ACQUIRE) != ASKED || answer.task != t->id)
		return;
	answer.n = 0;
#if defined(__x86_64__)
	answer.at[answer.n++] = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
	walk(t, (uintptr_t)uc->uc_mcontext.gregs[REG_RBP]);
#else
	answer.at[answer.n++] = (uintptr_t)uc->uc_mcontext.pc;
	walk(t, (uintptr_t)uc->uc_mcontext.regs[29]);
#endif
	__atomic_compare_exchange_n(&answer.state, &asked, ANSWERED, false, __ATOMIC_RELEASE,
	                            __ATOMIC_RELAXED);
}

void weir__hog_init(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
		                .sa_sigaction = on_signal },
			 before;

	sigemptyset(&sa.sa_mask);
	works = sigaction(SIGURG, NULL, &before) == 0 &&
	        (before.sa_sigaction == on_signal ||
	         (!(before.sa_flags & SA_SIGINFO) && before.sa_handler == SIG_DFL)) &&
	        sigaction(SIGURG, &sa, NULL) == 0;
}

static bool ask(struct weir__worker *w, uint64_t task)
{
	struct timespec ms = { .tv_nsec = 1000000 };

	answer.task = task;
	__atomic_store_n(&answer.state, ASKED, __ATOMIC_RELEASE);
	if (pthread_kill(w->thread, SIGURG) != 0)
		return false;
	for (int i = 0; i < PATIENCE_MS; i++) {
		if (__atomic_load_n(&answer.state, __ATOMIC_ACQUIRE) == ANSWERED)
			return true;
		nanosleep(&ms, NULL);
	}
	return false;
}

/* "work+0x12 < main+0x40"; a function without a public name is told by its file and offset, which
 * addr2line(1) knows. */
static void describe(char *out, size_t size)
{
	size_t len = 0;

	for (unsigned i = 0; i < answer.n && len < size; i++) {
		Dl_info d = { 0 };
		const char *file;
		int n;

		if (!dladdr((void *)answer.at[i], &d) || !d.dli_fname)
			break;
		file = strrchr(d.dli_fname, '/');
		if (d.dli_sname)
			n = snprintf(out + len, size - len, "%s%s+0x%zx", i ? " < " : "",
			             d.dli_sname, (size_t)(answer.at[i] - (uintptr_t)d.dli_saddr));
		else
			n = snprintf(out + len, size - len, "%s%s+0x%zx", i ? " < " : "",
			             file ? file + 1 : d.dli_fname,
			             (size_t)(answer.at[i] - (uintptr_t)d.dli_fbase));
		len += n > 0 ? (size_t)n : 0;
	}
}

void weir__hog_report(struct weir__worker *w)
{
	weir__task *t = __atomic_load_n(&w->current, __ATOMIC_RELAXED);
	struct weir__task_view is;
	char at[512] = "";

	if (!t || !weir__task_look(t, &is))
		return; /* It has waited meanwhile. */
	if (works && ask(w, is.id))
		describe(at, sizeof at);
	__atomic_store_n(&answer.state, IDLE, __ATOMIC_RELEASE);
	weir__log(WEIR__WARN, "rt",
	          "task %s (%s) has kept worker %d for a second without waiting%s%s", is.name,
	          is.place, w->index, at[0] ? ", in " : "", at);
	weir__count(&w->counts.hogs, 1);
}
