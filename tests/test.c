/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 120, LONG_LIMIT_S = 3000, LANES_MAX = 8 };

bool test_long;
const char *const *test_lanes;
static bool test_quick, no_sim;
volatile uint64_t *test_seed;

static struct test *first, **last = &first;
static uint64_t only_seed;

void test_add(struct test *t)
{
	*last = t;
	last = &t->next;
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1); /* A task cannot be unwound, and other workers still run. */
}

static int task_body(const weir_ctx *ctx, void *arg)
{
	const struct test *t = arg;

	t->task(ctx);
	return 0;
}

/* A seed must replay: run twice it makes the same choices. */
static void same_course(struct test *t)
{
	for (*test_seed = 1; *test_seed <= 3; ++*test_seed) {
		uint64_t trace;

		CHECK_EQ(weir_sim(*test_seed, task_body, t), 0);
		trace = weir_sim_trace();
		CHECK_EQ(weir_sim(*test_seed, task_body, t), 0);
		CHECK(weir_sim_trace() == trace);
	}
}

static void run(struct test *t)
{
	weir_options two = { .workers = 2 };
	uint64_t seeds = t->seeds > 1000 && !test_long ? t->seeds / 10 : t->seeds;

	if (test_quick && seeds > 100)
		seeds = 100;
	switch (t->kind) {
	case TEST_PLAIN:
		t->plain();
		break;
	case TEST_TASK:
		CHECK_EQ(weir_run(&two, task_body, t), 0);
		break;
	case TEST_SIM:
		if (!only_seed)
			same_course(t);
		for (*test_seed = only_seed ? only_seed : 1;
		     *test_seed <= (only_seed ? only_seed : seeds); ++*test_seed)
			CHECK_EQ(weir_sim(*test_seed, task_body, t), 0);
		*test_seed = 0;
		break;
	}
}

/* Waits for a child under a time limit: its wait status, or -1 after killing it. */
static int reap(pid_t pid, int limit_s)
{
	struct pollfd p = { .events = POLLIN };
	int status, r;

	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0) { /* Valgrind knows no such descriptors. */
		waitpid(pid, &status, 0);
		return status;
	}
	do
		r = poll(&p, 1, limit_s * 1000);
	while (r < 0 && errno == EINTR);
	close(p.fd);
	if (r == 0)
		kill(pid, SIGABRT);
	waitpid(pid, &status, 0);
	return r == 0 ? -1 : status;
}

void test_dies(const char *file, int line, void (*fn)(void), const char *const *texts)
{
	char out[8192];
	size_t len = 0;
	ssize_t n;
	int pipefd[2], status;
	pid_t pid;

	fflush(NULL);
	if (pipe(pipefd) < 0)
		test_fail(file, line, "pipe: %m");
	pid = fork();
	if (pid == 0) {
		dup2(pipefd[1], STDERR_FILENO);
		close(pipefd[0]);
		close(pipefd[1]);
		fn();
		_exit(0);
	}
	close(pipefd[1]);
	while (len < sizeof out - 1 && (n = read(pipefd[0], out + len, sizeof out - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = 0;
	close(pipefd[0]);
	status = reap(pid, 60);
	if (status == 0)
		test_fail(file, line, "did not die; it was to say \"%s\"", *texts);
	for (; *texts; texts++)
		if (!strstr(out, *texts))
			test_fail(file, line, "died without saying \"%s\":\n%s", *texts, out);
}

static bool wanted(const char *name, char **parts)
{
	if (!*parts)
		return true;
	for (; *parts; parts++)
		if (strstr(name, *parts))
			return true;
	return false;
}

/* What the lanes share. */
struct tally {
	int passed, failed; /* atomic */
};

static void run_one(struct test *t, const char *program, struct tally *tally)
{
	struct timespec from, to;
	int status;
	pid_t pid;
	long ms;

	clock_gettime(CLOCK_MONOTONIC, &from);
	*test_seed = 0;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		run(t);
		fflush(NULL);
		exit(0);
	}
	status = reap(pid, test_long ? LONG_LIMIT_S : LIMIT_S);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
	if (status == 0) {
		__atomic_add_fetch(&tally->passed, 1, __ATOMIC_RELAXED);
		printf("ok %s (%ld ms)\n", t->name, ms);
		return;
	}
	__atomic_add_fetch(&tally->failed, 1, __ATOMIC_RELAXED);
	printf("not ok %s (%ld ms)%s\n", t->name, ms, status == -1 ? ": took too long" : "");
	if (status > 0 && WIFSIGNALED(status))
		printf("  ended by signal %d\n", WTERMSIG(status));
	if (*test_seed)
		printf("  replay: %s %s--seed %llu %s\n", program, test_long ? "--long " : "",
		       (unsigned long long)*test_seed, t->name);
}

static void *shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		test_fail(__FILE__, __LINE__, "mmap: %m");
	return p;
}

/* Those of a lane, "" for all, one after the other. */
static void run_lane(const char *lane, const char *program, char **parts, struct tally *tally)
{
	test_seed = shared(sizeof *test_seed);
	for (struct test *t = first; t; t = t->next)
		if (!strncmp(t->name, lane, strlen(lane)) && wanted(t->name, parts) &&
		    !(no_sim && t->kind == TEST_SIM))
			run_one(t, program, tally);
}

static void run_lanes(const char *program, char **parts, struct tally *tally)
{
	pid_t pids[LANES_MAX];
	int status, n = 0;

	setvbuf(stdout, NULL, _IOLBF, 0); /* whole lines of each */
	for (; test_lanes[n]; n++) {
		CHECK(n < LANES_MAX);
		fflush(NULL);
		pids[n] = fork();
		CHECK(pids[n] >= 0);
		if (pids[n] == 0) {
			run_lane(test_lanes[n], program, parts, tally);
			exit(0);
		}
	}
	while (n-- > 0)
		if (waitpid(pids[n], &status, 0) < 0 || status != 0) {
			tally->failed++;
			printf("not ok lane %s\n", test_lanes[n]);
		}
}

int main(int argc, char **argv)
{
	struct tally *tally;
	int a = 1;

	for (; a < argc && argv[a][0] == '-'; a++) {
		if (!strcmp(argv[a], "--long"))
			test_long = true;
		else if (!strcmp(argv[a], "--quick"))
			test_quick = true;
		else if (!strcmp(argv[a], "--no-sim"))
			no_sim = true;
		else if (!strcmp(argv[a], "--seed") && a + 1 < argc)
			only_seed = strtoull(argv[++a], NULL, 0);
		else {
			fprintf(stderr,
			        "usage: %s [--long | --quick] [--no-sim] [--seed N] [NAME-PART "
			        "…]\n",
			        argv[0]);
			return 2;
		}
	}
	tally = shared(sizeof *tally);
	if (test_lanes)
		run_lanes(argv[0], argv + a, tally);
	else
		run_lane("", argv[0], argv + a, tally);
	printf("%d passed, %d failed\n", tally->passed, tally->failed);
	return tally->failed != 0;
}
