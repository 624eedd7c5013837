/* SPDX-License-Identifier: MIT */
/*
 * A fault whose address lies in the guard of a stack is an overflow of the task that owns it;
 * only write(2) is used to say so. Any other fault goes to the handler that was there before. The
 * sanitizers keep their own handlers.
 */
#include "rt/fault.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt/task.h"

#if defined(WEIR__ASAN) || defined(WEIR__TSAN)

void weir__fault_enter(struct weir__fault_stack *f)
{
	f->mem = NULL;
}

void weir__fault_leave(struct weir__fault_stack *f)
{
	(void)f;
}

#else

static struct sigaction before;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void say(const char *s)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	/* Where nobody reads it must not hold the signal up. */
	if (poll(&p, 1, 1000) != 1 || write(STDERR_FILENO, s, strlen(s)) < 0)
		return;
}

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	char *stack = weir__stack_of_guard(si->si_addr);
	struct weir__worker *w = weir__self_tls;
	weir__task *t = w ? w->current : NULL;

	if (stack) {
		say("weir: stack overflow (64 KiB) in task ");
		if (t && (char *)t >= stack && (char *)t < stack + WEIR__STACK_SIZE) {
			say(weir__task_name(t));
			say(", started at ");
			say(t->place);
		} else {
			say("of another worker");
		}
		say("\n");
		signal(sig, SIG_DFL);
		return; /* The fault repeats, now with the default action. */
	}
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(sig, si, uc);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(sig);
	} else {
		signal(sig, SIG_DFL);
	}
}

static void install(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK, .sa_sigaction = on_fault };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGSEGV, &sa, &before);
}

void weir__fault_enter(struct weir__fault_stack *f)
{
	stack_t ss = { .ss_size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 8192 };

	pthread_once(&once, install);
	f->mem = ss.ss_sp = malloc(ss.ss_size);
	if (f->mem)
		sigaltstack(&ss, NULL);
}

void weir__fault_leave(struct weir__fault_stack *f)
{
	stack_t off = { .ss_flags = SS_DISABLE };

	sigaltstack(&off, NULL);
	free(f->mem);
}

#endif
