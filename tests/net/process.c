/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <weir/group.h>
#include <weir/process.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/conn.h"
#include "net/spawn.h"

static int sh(const weir_ctx *ctx, const char *script, weir_process_spec spec,
              weir_process_result *ret)
{
	char *argv[] = { "sh", "-c", (char *)(uintptr_t)script, NULL };

	spec.argv = argv;
	memset(ret, 0, sizeof *ret);
	return weir_process_run(ctx, &spec, ret);
}

#define SPEC(...) ((weir_process_spec){ __VA_ARGS__ })

/* Waits until a process that is not our child has ended (or is somebody's zombie); fails after ten
 * seconds. */
static void until_dead(pid_t pid)
{
	struct pollfd p = { .events = POLLIN };

	CHECK(pid > 1);
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0)
		return;
	CHECK_EQ(poll(&p, 1, 10000), 1);
	close(p.fd);
}

TASK(bytes_go_in_and_come_out)
{
	enum { N = 1 << 20 };
	char *data = malloc(N);
	weir_process_result res;

	for (int i = 0; i < N; i++)
		data[i] = (char)(i * 31 >> 3);
	CHECK_EQ(sh(ctx, "cat", SPEC(.in = data, .in_len = N, .out_max = 2 * N), &res), 0);
	CHECK_EQ(res.code, 0);
	CHECK_EQ(res.out_len, N);
	CHECK(!res.truncated);
	CHECK(!memcmp(res.out, data, N));
	free(res.out);
	free(data);
}

TASK(nothing_in_is_the_end_of_file)
{
	weir_process_result res;

	CHECK_EQ(sh(ctx, "cat; echo end", SPEC(.out_max = 100), &res), 0);
	CHECK_STR(res.out, "end\n");
	free(res.out);
}

TASK(how_it_ended_is_told)
{
	weir_process_result res;

	CHECK_EQ(sh(ctx, "exit 7", SPEC(.out_max = 1), &res), 0);
	CHECK_EQ(res.code, 7);
	CHECK_STR(res.out, "");
	free(res.out);
	CHECK_EQ(sh(ctx, "kill -9 $$", SPEC(.kill_ns = 1), &res), 0);
	CHECK_EQ(res.code, -SIGKILL);
	free(res.out);
}

TASK(a_command_that_cannot_start_says_why)
{
	char *none[] = { "weir-no-such-command", NULL }, *dir[] = { "/tmp", NULL };
	weir_process_result res;

	for (int guarded = 0; guarded < 2; guarded++) {
		CHECK_EQ(weir_process_run(
				 ctx, &SPEC(.argv = none, .out_max = 1, .die_with_parent = guarded),
				 &res),
		         -ENOENT);
		CHECK_EQ(
			weir_process_run(ctx, &SPEC(.argv = dir, .die_with_parent = guarded), &res),
			-EACCES);
	}
}

TASK(the_environment_is_added_to)
{
	char *env[] = { "WEIR_TEST_A=1", "HOME=/nowhere", NULL };
	weir_process_result res;

	CHECK_EQ(sh(ctx, "echo $WEIR_TEST_A $HOME; env | grep -c ^HOME=; test -n \"$PATH\"",
	            SPEC(.env = env, .out_max = 99), &res),
	         0);
	CHECK_STR(res.out, "1 /nowhere\n1\n");
	CHECK_EQ(res.code, 0);
	free(res.out);
}

TASK(output_is_bounded_and_the_rest_dropped)
{
	weir_process_result res;

	CHECK_EQ(sh(ctx, "head -c 3000000 /dev/zero; exit 3", SPEC(.out_max = 1000), &res), 0);
	CHECK_EQ(res.out_len, 1000);
	CHECK(res.truncated);
	CHECK_EQ(res.code, 3);
	free(res.out);
}

TASK(the_context_ends_the_command)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(30));
	int64_t from = weir_now();
	weir_process_result res;

	CHECK_EQ(sh(&soon, "sleep 100", SPEC(.out_max = 10), &res), -ETIMEDOUT);
	CHECK_EQ(res.code, -SIGTERM);
	free(res.out);
	soon = weir_ctx_timeout(ctx, WEIR_MS(30));
	CHECK_EQ(sh(&soon, "sleep 100", SPEC(0), &res), -ETIMEDOUT);
	CHECK_EQ(res.code, -SIGTERM);
	free(res.out);
	CHECK(weir_now() - from < WEIR_SEC(3));
}

TASK(who_ignores_the_request_is_killed)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(50));
	weir_process_result res;

	CHECK_EQ(sh(&soon, "trap '' TERM; echo up; while :; do sleep 1; done",
	            SPEC(.out_max = 10, .kill_ns = WEIR_MS(50)), &res),
	         -ETIMEDOUT);
	CHECK_EQ(res.code, -SIGKILL);
	free(res.out);
}

TASK(last_words_are_heard)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(100));
	weir_process_result res;

	CHECK_EQ(sh(&soon, "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done",
	            SPEC(.out_max = 10), &res),
	         -ETIMEDOUT);
	CHECK_STR(res.out, "up\nbye\n");
	CHECK_EQ(res.code, 5);
	free(res.out);
}

TASK(the_whole_group_goes)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(100));
	weir_process_result res;

	CHECK_EQ(sh(&soon, "sleep 100 & echo $!; wait", SPEC(.out_max = 20), &res), -ETIMEDOUT);
	until_dead(atoi(res.out));
	free(res.out);
	/* Also what a command leaves behind when it ends by itself, holding its output. */
	CHECK_EQ(sh(ctx, "sleep 100 & echo $!", SPEC(.out_max = 20), &res), 0);
	CHECK_EQ(res.code, 0);
	until_dead(atoi(res.out));
	free(res.out);
}

TASK(an_escaped_writer_is_given_a_short_grace)
{
	int64_t from = weir_now();
	weir_process_result res;

	/* The read makes sure that the other is in its own session before this one ends. */
	CHECK_EQ(sh(ctx, "setsid sh -c 'echo $$; exec sleep 100' & sleep 0.2", SPEC(.out_max = 20),
	            &res),
	         0);
	CHECK(weir_now() - from < WEIR_SEC(2));
	CHECK(atoi(res.out) > 1);
	CHECK_EQ(kill(atoi(res.out), SIGKILL), 0);
	free(res.out);
}

TASK(a_command_starts_with_clean_signals_and_descriptors)
{
	weir_process_result res;
	sigset_t term, old;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, &old);
	CHECK_EQ(sh(ctx,
	            "grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 | sort -u; ls "
	            "/proc/self/fd | wc -l",
	            SPEC(.out_max = 100, .in = "x", .in_len = 1), &res),
	         0);
	/* 0, 1, 2 and the one of ls. */
	CHECK_STR(res.out, "0000000000000000\n4\n");
	free(res.out);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static int run_true(const weir_ctx *ctx, void *arg)
{
	weir_process_result res;
	int r = sh(ctx, "echo $0", SPEC(.out_max = 10, .die_with_parent = *(int *)arg & 1), &res);

	CHECK_EQ(r, 0);
	CHECK_STR(res.out, "sh\n");
	free(res.out);
	return 0;
}

TASK(many_at_once)
{
	int which[40];
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 40; i++) {
		which[i] = i;
		CHECK_EQ(weir_group_go(&g, run_true, &which[i]), 0);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
}

/* ---- die_with_parent: programs of their own that are killed ---- */

struct doomed {
	int to; /* its command's stdout */
	const char *script;
};

static int doomed_task(const weir_ctx *ctx, void *arg)
{
	struct doomed *d = arg;
	weir_process_result res;

	dup2(d->to, 1);
	return sh(ctx, d->script, SPEC(.die_with_parent = true), &res);
}

/* Runs the script in a program that is then killed: until all `n` processes that it named are
 * dead. */
static void dies_with_its_program(const char *script, int n)
{
	weir_options two = { .workers = 2 };
	char line[100] = "", *at = line;
	int ends[2], status;
	size_t len = 0;
	pid_t pid;

	CHECK_EQ(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct doomed d = { ends[1], script };

		close(ends[0]);
		_exit(weir_run(&two, doomed_task, &d) != 0);
	}
	close(ends[1]);
	while (!strchr(line, '\n')) {
		ssize_t r = read(ends[0], line + len, sizeof line - 1 - len);

		CHECK(r > 0);
		len += (size_t)r;
	}
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < n; i++)
		until_dead((pid_t)strtol(at, &at, 10));
	/* The end of this pipe is the end of the last who held it. */
	while (read(ends[0], line, sizeof line) > 0)
		;
	close(ends[0]);
}

struct long_one {
	int fd; /* where it says that it runs */
	int code;
};

static int long_one(const weir_ctx *ctx, void *arg)
{
	struct long_one *l = arg;
	weir_process_result res;
	char script[80];

	snprintf(script, sizeof script, "echo > /proc/%d/fd/%d; exec sleep 600", (int)getpid(),
	         l->fd);
	CHECK_EQ(sh(ctx, script, SPEC(.die_with_parent = true), &res), -ECANCELED);
	l->code = res.code;
	free(res.out);
	return 0;
}

/* A guard that cannot take a notice is no dead guard; and one that is given up kills. */
TASK(a_notice_that_the_guard_cannot_take_costs_no_other_command)
{
	struct long_one other = { 0 };
	weir_process_result res;
	struct pollfd said;
	weir_group g;
	int pipe[2];

	CHECK_EQ(pipe2(pipe, O_CLOEXEC), 0);
	other.fd = pipe[1];
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, long_one, &other), 0);
	said = (struct pollfd){ .fd = pipe[0], .events = POLLIN };
	while (poll(&said, 1, 0) == 0)
		CHECK_EQ(weir_yield(ctx), 0);
	CHECK_EQ(sh(ctx, "exit 3", SPEC(.die_with_parent = true, .hold_fd = 100000), &res), 0);
	CHECK_EQ(res.code, 3);
	free(res.out);
	CHECK_EQ(sh(ctx, "exit 0", SPEC(.die_with_parent = true), &res), 0);
	free(res.out);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(other.code, -SIGTERM);
	close(pipe[0]);
	close(pipe[1]);
}

/* Of a command that could not be watched the guard keeps nothing either. */
TASK(a_start_without_a_descriptor_to_spare_leaves_the_guard_none)
{
	weir_process_result res;
	struct rlimit all, few;
	int ends[2];
	char byte;

	CHECK_EQ(sh(ctx, "exit 3", SPEC(.die_with_parent = true), &res), 0);
	free(res.out);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = all;
	few.rlim_cur = (rlim_t)dup(ends[0]) + 1; /* room for its stdin, and no more */
	close((int)few.rlim_cur - 1);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	CHECK_EQ(sh(ctx, "exit 3", SPEC(.die_with_parent = true, .hold_fd = ends[0]), &res),
	         -EMFILE);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
	close(ends[0]);
	CHECK_EQ(poll(&(struct pollfd){ .fd = ends[1], .events = POLLIN }, 1, 5000), 1);
	CHECK_EQ(read(ends[1], &byte, 1), 0);
	close(ends[1]);
}

TEST(a_killed_program_takes_its_command_along)
{
	dies_with_its_program("echo $$; exec sleep 100", 1);
}

TEST(a_killed_program_takes_the_commands_children_along)
{
	dies_with_its_program("sleep 100 & sleep 101 & echo $$ $! ; wait", 2);
}

TEST(a_killed_program_takes_along_who_ignores_signals)
{
	dies_with_its_program("trap '' TERM HUP INT; sleep 100 & echo $$ $!; wait; wait", 2);
}

struct holder {
	int to;
	char addr[64];
};

static int holder_task(const weir_ctx *ctx, void *arg)
{
	struct holder *h = arg;
	weir_process_result res;
	weir_conn *c;

	dup2(h->to, 1);
	close(h->to);
	CHECK_EQ(weir_dial(ctx, h->addr, &c), 0);
	return sh(ctx, "sleep 100 & echo $!; wait",
	          SPEC(.die_with_parent = true, .hold_fd = weir__conn_fd(c)->fd), &res);
}

/* Whoever sees the end of the connection may rely on the command being dead. */
TEST(a_held_connection_ends_after_the_command)
{
	for (int i = 0; i < 10; i++) {
		struct sockaddr_un un = { .sun_family = AF_UNIX };
		int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2], conn;
		struct pollfd p = { .events = POLLIN };
		char line[32] = "";
		struct holder h;
		pid_t pid;

		snprintf(h.addr, sizeof h.addr, "unix:/tmp/weir-test-%d.sock", (int)getpid());
		snprintf(un.sun_path, sizeof un.sun_path, "%s", h.addr + 5);
		CHECK_EQ(bind(l, (struct sockaddr *)&un, sizeof un), 0);
		CHECK_EQ(listen(l, 1), 0);
		CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			h.to = ends[1];
			close(ends[0]);
			close(l);
			_exit(weir_run(NULL, holder_task, &h) != 0);
		}
		close(ends[1]);
		conn = accept(l, NULL, NULL);
		CHECK(read(ends[0], line, sizeof line - 1) > 0);
		p.fd = (int)syscall(SYS_pidfd_open, atoi(line), 0);
		CHECK(p.fd >= 0);
		CHECK_EQ(kill(pid, SIGKILL), 0);
		CHECK_EQ(read(conn, line, 1), 0);
		CHECK_EQ(poll(&p, 1, 0), 1);
		CHECK_EQ(waitpid(pid, NULL, 0), pid);
		close(p.fd);
		close(conn);
		close(l);
		close(ends[0]);
		unlink(un.sun_path);
	}
}

/* The thread that starts a command may end; the death signal is not tied to it. */
static void *start_and_end(void *arg)
{
	char *argv[] = { "sleep", "100", NULL };

	CHECK_EQ(weir__child_start(&SPEC(.argv = argv, .die_with_parent = true), arg), 0);
	return NULL;
}

TEST(a_command_outlives_the_thread_that_started_it)
{
	struct pollfd p = { .events = POLLIN };
	struct weir__child c;
	int64_t cpu_ns;
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, start_and_end, &c), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	p.fd = c.pidfd;
	/* It would come at once. */
	CHECK_EQ(poll(&p, 1, 100), 0);
	CHECK(!weir__child_ended(&c));
	weir__child_kill(&c, SIGTERM);
	CHECK_EQ(poll(&p, 1, 10000), 1);
	CHECK(weir__child_ended(&c));
	CHECK_EQ(weir__child_reap(&c, &cpu_ns), -SIGTERM);
	close(c.pidfd);
}

/* What a command comes to under limits. */
static void limited(const weir_ctx *ctx, const char *script, weir_process_limits limits, int want,
                    const char *why)
{
	weir_process_spec spec = SPEC(.out_max = 4096, .limits = limits);
	weir_process_result res;
	char text[128];

	spec.argv = (char *const[]){ (char[]){ "sh" }, NULL };
	CHECK_EQ(sh(ctx, script, spec, &res), want);
	weir_process_why(&spec, &res, want, text, sizeof text);
	CHECK_STR(text, why);
	free(res.out);
}

#define LIMITS(...) ((weir_process_limits){ __VA_ARGS__ })

TASK(a_command_over_a_limit_ends_and_it_is_said_which)
{
	char dir[] = "/tmp/weir-limits-XXXXXX", script[128];

	CHECK(mkdtemp(dir) != NULL);
	limited(ctx, "kill -XCPU $$", LIMITS(.cpu_ns = WEIR_MS(500)), 0,
	        "used more than its 500ms of CPU time");
	limited(ctx, "exit 152", LIMITS(.cpu_ns = WEIR_SEC(1)), 0, /* A shell's, of its child. */
	        "used more than its 1s of CPU time");
	limited(ctx, "trap '' XCPU; while :; do :; done", LIMITS(.cpu_ns = WEIR_SEC(1)), 0,
	        "used more than its 1s of CPU time");
	snprintf(script, sizeof script, "head -c 5000 /dev/zero > %s/f; exit $?", dir);
	limited(ctx, script, LIMITS(.file = 4096), 0, "wrote a file of more than its 4KiB");
	limited(ctx, "while :; do echo more; done", LIMITS(.output = 1024), -EFBIG,
	        "wrote more than its 1KiB of output");
	limited(ctx, "head -c 1025 /dev/zero", LIMITS(.output = 1024), -EFBIG,
	        "wrote more than its 1KiB of output");
	limited(ctx, "head -c 1024 /dev/zero", LIMITS(.output = 1024), 0, "exit status 0");
	limited(ctx, "dd bs=64M count=1 if=/dev/zero of=/dev/null 2>&1", LIMITS(.memory = 32 << 20),
	        0, "exit status 1; its memory is limited to 32MiB");
	limited(ctx, "dd bs=4M count=1 if=/dev/zero of=/dev/null 2>&1",
	        LIMITS(.memory = 32 << 20, .file = 1 << 20, .cpu_ns = WEIR_SEC(9), .output = 4096),
	        0, "exit status 0; its memory is limited to 32MiB, its files to 1MiB");
	limited(ctx, "exit 3", LIMITS(0), 0, "exit status 3");
	limited(ctx, "kill -9 $$", LIMITS(0), 0, "signal 9 (Killed)");
	snprintf(script, sizeof script, "rm -r %s", dir);
	CHECK_EQ(system(script), 0);
}
