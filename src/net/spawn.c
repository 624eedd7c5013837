/* SPDX-License-Identifier: MIT */
/*
 * Child processes: a group of their own, no signal blocked or ignored, no descriptor but 0, 1 and
 * 2, and, when asked, no life after ours.
 *
 * Start. clone(CLONE_VM | CLONE_VFORK) on a stack of its own, as posix_spawn() does it; that itself
 * will not do, since it has no way to ask for a parent-death signal or to announce the child before
 * its program runs. Between clone and exec the child shares our memory and the thread-local storage
 * of a thread that sleeps: it makes system calls only, and raw ones, since the C library and the
 * sanitizers keep books of signals and descriptors.
 *
 * die_with_parent has two parts, each for what the other cannot do. PR_SET_PDEATHSIG kills the
 * leader; it fires when the *thread* that created the child ends, and threads of the offload pool
 * come and go, so such children are created by one thread, the spawner, which ends with the process
 * only. And the guard (guard.c) kills the rest of the group; the child announces itself to it
 * before exec, so no moment is left uncovered.
 *
 * The number of a group is safe to kill as long as its leader is not reaped; so the end is seen
 * with WNOWAIT, the rest of the group is killed, the guard is told, and only then is the leader
 * reaped.
 */
#include "net/spawn.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/guard.h"

enum { CHILD_STACK = 64 << 10, CPU_GRACE_S = 1 };

/* The C library's clone() under the name that ThreadSanitizer leaves alone: its own takes every
 * child for a fork with memory of its own, and trips over the state they share. */
int __clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...);

/* ---- The child, between clone and exec ---- */

struct start {
	const weir_process_spec *spec;
	char **env;
	int in, out; /* out -1: inherited */
	pid_t parent;
	pid_t pid;
	int error; /* written by the child … */
	int told;  /* … and what came of telling the guard */
};

/* A raw one: the C library and sanitizers write down what handlers a process has, and their notes
 * are shared here. */
WEIR__NO_SANITIZE static void default_signals(void)
{
	uint64_t dfl[8] = { 0 }, none = 0;

	for (int sig = 1; sig <= 64; sig++)
		syscall(SYS_rt_sigaction, sig, dfl, NULL, sizeof none);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

/* Raw again; a limit of ours that is lower stays. 0 or -1 with errno. */
WEIR__NO_SANITIZE static long limit(int what, uint64_t soft, uint64_t hard)
{
	struct {
		uint64_t soft, hard;
	} now, to;

	if (syscall(SYS_prlimit64, 0, what, NULL, &now) < 0)
		return -1;
	to.hard = hard < now.hard ? hard : now.hard;
	to.soft = soft < to.hard ? soft : to.hard;
	return syscall(SYS_prlimit64, 0, what, &to, NULL);
}

WEIR__NO_SANITIZE static bool limit_all(const weir_process_limits *l)
{
	uint64_t s = (uint64_t)(l->cpu_ns / 1000000000) + (l->cpu_ns % 1000000000 > 0);

	return (!l->memory || limit(RLIMIT_DATA, l->memory, l->memory) == 0) &&
	       (!l->cpu_ns || limit(RLIMIT_CPU, s, s + CPU_GRACE_S) == 0) &&
	       (!l->file || limit(RLIMIT_FSIZE, l->file, l->file) == 0);
}

WEIR__NO_SANITIZE static int child_run(void *arg)
{
	struct start *s = arg;

	syscall(SYS_setpgid, 0, 0);
	if (s->spec->die_with_parent) {
		syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		/* Had it died before, nothing would tell. */
		if (syscall(SYS_getppid) != s->parent)
			syscall(SYS_exit_group, 127);
		s->told = weir__guard_tell(1, (pid_t)syscall(SYS_getpid), s->spec->hold_fd, false);
	}
	if (syscall(SYS_dup3, s->in, 0, 0) < 0 ||
	    (s->out >= 0 && syscall(SYS_dup3, s->out, 1, 0) < 0))
		goto fail;
	syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	default_signals();
	if (!limit_all(&s->spec->limits))
		goto fail;
	execvpe(s->spec->argv[0], s->spec->argv, s->env);
fail:
	s->error = errno;
	syscall(SYS_exit_group, 127);
	return 0;
}

static int do_clone(struct start *s)
{
	sigset_t all, old;
	char *stack;
	int status;

	stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
	             MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -ENOMEM;
	s->parent = getpid();
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	s->pid = __clone(child_run, stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
	if (s->pid < 0)
		s->error = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	munmap(stack, CHILD_STACK);
	if (s->pid > 0 && s->error) {
		if (s->spec->die_with_parent)
			weir__guard_tell(0, s->pid, 0, true);
		while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR) /* offloaded */
			;
	}
	return -s->error;
}

/* ---- The spawner: the one thread whose end is the process's ---- */

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t more, done;
	pid_t owner; /* in which process it runs; a fork of us has to start its own */
	struct start *job;
	bool busy;
	int result;
} spawner = { .mutex = PTHREAD_MUTEX_INITIALIZER,
	      .more = PTHREAD_COND_INITIALIZER,
	      .done = PTHREAD_COND_INITIALIZER };

static int guarded_clone(struct start *s)
{
	int r = weir__guard_start(), told;

	if (r < 0)
		return r;
	r = do_clone(s);
	if (r < 0 || s->told == 0)
		return r;
	/* Somebody killed the guard, or it has fallen behind: it hears of this child a little
	 * late. */
	told = s->told;
	if (weir__guard_is_dead(told)) {
		weir__guard_lost();
		told = weir__guard_start();
	}
	if (told == 0 || !weir__guard_is_dead(s->told))
		told = weir__guard_tell(1, s->pid, s->spec->hold_fd, true);
	if (told < 0)
		weir__log(WEIR__WARN, "process",
		          "no guard (%s): if this process is killed, only the leader of group %d "
		          "goes with it",
		          strerror(-told), (int)s->pid);
	return 0;
}

static void *spawner_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&spawner.mutex); /* offloaded */
	for (;;) {
		while (!spawner.job)
			pthread_cond_wait(&spawner.more, &spawner.mutex); /* offloaded */
		spawner.result = guarded_clone(spawner.job);
		spawner.job = NULL;
		pthread_cond_broadcast(&spawner.done);
	}
	return NULL;
}

/* Under the mutex. */
static int spawner_start(void)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	if (spawner.owner == getpid())
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, spawner_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	pthread_detach(thread);
	spawner.owner = getpid();
	return 0;
}

static int clone_on_spawner(struct start *s)
{
	int r;

	pthread_mutex_lock(&spawner.mutex); /* offloaded */
	r = spawner_start();
	while (r == 0 && spawner.busy)
		pthread_cond_wait(&spawner.done, &spawner.mutex); /* offloaded */
	if (r == 0) {
		spawner.busy = true;
		spawner.job = s;
		pthread_cond_signal(&spawner.more);
		while (spawner.job)
			pthread_cond_wait(&spawner.done, &spawner.mutex); /* offloaded */
		r = spawner.result;
		spawner.busy = false;
		pthread_cond_broadcast(&spawner.done);
	}
	pthread_mutex_unlock(&spawner.mutex);
	return r;
}

/* ---- What the child gets ---- */

/* Above 2, so that moving it to its place never meets another. Takes over fd. */
static int lift(int fd)
{
	int high;

	if (fd < 0 || fd > 2)
		return fd < 0 ? -errno : fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (high < 0)
		high = -errno;
	close(fd);
	return high;
}

/* A file in memory: unlike a pipe nobody has to keep filling it, and no reader that stops early
 * matters. */
static int open_stdin(const void *data, size_t n)
{
	const char *at = data;
	int fd;

	if (n == 0)
		return lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
	fd = lift(memfd_create("stdin", MFD_CLOEXEC));
	while (fd >= 0 && n > 0) {
		ssize_t w = write(fd, at, n);

		if (w < 0 && errno != EINTR) {
			w = -errno;
			close(fd);
			return (int)w;
		}
		if (w > 0) {
			at += w;
			n -= (size_t)w;
		}
	}
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return !strncmp(a, b, n) && b[n] == '=';
}

/* The environment with additions, which replace what has their name. To be freed, the texts are
 * borrowed. */
static char **make_env(char *const *more)
{
	size_t n = 0, m = 0, k = 0;
	char **env;

	while (environ && environ[n])
		n++;
	while (more && more[m])
		m++;
	env = calloc(n + m + 1, sizeof *env);
	if (!env)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bool replaced = false;

		for (size_t j = 0; j < m; j++)
			replaced = replaced || same_name(more[j], environ[i]);
		if (!replaced)
			env[k++] = environ[i];
	}
	for (size_t j = 0; j < m; j++)
		env[k++] = more[j];
	return env;
}

int weir__child_start(const weir_process_spec *spec, struct weir__child *ret)
{
	struct start s = { .spec = spec, .in = -1, .out = -1 };
	int ends[2] = { -1, -1 }, r;

	s.env = make_env(spec->env);
	if (!s.env)
		return -ENOMEM;
	r = s.in = open_stdin(spec->in, spec->in_len);
	if (r < 0)
		goto out;
	if (spec->out_max > 0) {
		if (pipe2(ends, O_CLOEXEC) < 0) {
			r = -errno;
			goto out;
		}
		r = s.out = ends[1] = lift(ends[1]);
		if (r < 0)
			goto out;
		fcntl(ends[0], F_SETFL, O_NONBLOCK);
	}
	r = spec->die_with_parent ? clone_on_spawner(&s) : do_clone(&s);
	if (r < 0)
		goto out;
	*ret = (struct weir__child){ .pid = s.pid,
		                     .out = ends[0],
		                     .guarded = spec->die_with_parent };
	ret->pidfd = (int)syscall(SYS_pidfd_open, s.pid, 0);
	if (ret->pidfd >= 0) {
		ends[0] = -1;
	} else {
		r = -errno;
		weir__child_kill(ret, SIGKILL);
		if (ret->guarded)
			weir__guard_tell(0, s.pid, 0, true);
		while (waitpid(s.pid, NULL, 0) < 0 && errno == EINTR) /* offloaded */
			;
	}
out:
	if (s.in >= 0)
		close(s.in);
	if (ends[0] >= 0)
		close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	free(s.env);
	return r < 0 ? r : 0;
}

bool weir__child_ended(const struct weir__child *c)
{
	siginfo_t info = { 0 };

	/* Gone without a trace: the program ignores SIGCHLD. */
	if (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return errno == ECHILD;
	return info.si_pid != 0;
}

void weir__child_kill(const struct weir__child *c, int sig)
{
	kill(-c->pid, sig);
}

static int64_t cpu_of(const struct rusage *u)
{
	return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * INT64_C(1000000000) +
	       (u->ru_utime.tv_usec + u->ru_stime.tv_usec) * INT64_C(1000);
}

int weir__child_reap(struct weir__child *c, int64_t *ret_cpu_ns)
{
	struct rusage usage = { 0 };
	int status;

	weir__child_kill(c, SIGKILL);
	if (c->guarded && weir__guard_tell(0, c->pid, 0, false) < 0)
		weir__log_rare(WEIR__WARN, "process", "the guard does not listen");
	if (wait4(c->pid, &status, WNOHANG, &usage) != c->pid)
		status = SIGKILL; /* Gone without a trace. */
	*ret_cpu_ns = cpu_of(&usage);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
