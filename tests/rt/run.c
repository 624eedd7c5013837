/* SPDX-License-Identifier: MIT */
/* The run as a whole: stop, budget, the dump. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/weir.h>

#include "base/list.h"
#include "rt/poll.h"

static int give_five(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	return 5;
}

TEST(run_gives_the_roots_result_and_can_be_repeated)
{
	for (int i = 0; i < 20; i++)
		CHECK_EQ(weir_run(NULL, give_five, NULL), 5);
}

static __thread char large[256 * 1024];

static int touch_large(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	large[weir_random(sizeof large)] = 1;
	return weir_sleep(ctx, WEIR_US(10));
}

TEST(workers_have_room_for_much_thread_local_storage)
{
	CHECK_EQ(weir_run(NULL, touch_large, NULL), 0);
}

static int until_drain(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	(void)arg;
	weir_stop();
	return weir_sleep(&live, WEIR_HOUR(1));
}

TEST(stop_drains_the_root)
{
	CHECK_EQ(weir_run(NULL, until_drain, NULL), -ESHUTDOWN);
	CHECK_EQ(weir_main(until_drain, NULL), 0);
}

static int by_signal(const weir_ctx *ctx, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	(void)arg;
	kill(getpid(), SIGTERM);
	return weir_sleep(&live, WEIR_HOUR(1)) == -ESHUTDOWN ? 9 : 1;
}

TEST(sigterm_drains_the_root)
{
	CHECK_EQ(weir_main(by_signal, NULL), 9);
}

static int deaf(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	weir_stop();
	return weir_sleep(ctx, WEIR_HOUR(1)); /* hears cancel, not drain */
}

static int cancelled_without_a_stop(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	return -ECANCELED;
}

TEST(a_stop_code_without_a_stop_is_a_failure)
{
	CHECK_EQ(weir_main(until_drain, NULL), 0);
	CHECK_EQ(weir_main(cancelled_without_a_stop, NULL), 1);
}

static void blocked_report(int fd, void *arg)
{
	(void)fd;
	(void)arg;
	for (;;)
		pause();
}

static int spin_for_ever(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	weir_stop();
	for (volatile int on = 1; on;)
		;
	return 0;
}

/* Its child ends, and with what status. */
TEST(a_report_that_blocks_does_not_keep_the_process)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		weir_options o = { .workers = 1,
			           .grace_ns = WEIR_MS(100),
			           .report = blocked_report,
			           .forced_ok = true };
		weir_run(&o, spin_for_ever, NULL);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 3);
}

static void *dump_to(void *fd)
{
	weir_dump(*(int *)fd);
	return NULL;
}

static void count_task(const weir_task_info *info, void *arg)
{
	(void)info;
	++*(int *)arg;
}

static int sleep_on(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	return weir_sleep(ctx, WEIR_HOUR(1));
}

/* Nobody reads the other end, yet the lists of tasks stay free for all others. */
TASK(a_dump_into_a_full_pipe_holds_no_lock)
{
	int fd[2], n = 0, filled = 0;
	pthread_t thread;
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 200; i++)
		CHECK_EQ(weir_group_go(&g, sleep_on, NULL), 0);
	CHECK_EQ(pipe2(fd, 0), 0);
	CHECK_EQ(fcntl(fd[1], F_SETPIPE_SZ, 4096), 4096);
	CHECK_EQ(pthread_create(&thread, NULL, dump_to, &fd[1]), 0);
	while (filled < 3900) {
		weir_sleep(ctx, WEIR_MS(1));
		CHECK_EQ(ioctl(fd[0], FIONREAD, &filled), 0);
	}
	weir_each_task(count_task, &n);
	CHECK_EQ(n, 201);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	close(fd[0]); /* Its write fails. */
	pthread_join(thread, NULL);
	close(fd[1]);
}

TEST(stop_cancels_at_two_thirds_of_its_budget)
{
	weir_options o = { .grace_ns = WEIR_MS(150) };
	int64_t from = weir_now();

	CHECK_EQ(weir_run(&o, deaf, NULL), -ECANCELED);
	CHECK(weir_now() - from >= WEIR_MS(100));
}

static int spins(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	weir_task_name("spinner");
	weir_stop();
	for (volatile bool forever = true; forever;)
		;
	return 0;
}

static void run_spins(void)
{
	weir_options o = { .grace_ns = WEIR_MS(100), .workers = 1 };
	weir_run(&o, spins, NULL);
}

TEST(a_stop_ends_even_while_the_only_worker_spins_and_names_it)
{
	CHECK_DIES(run_spins, "spinner (weir_run) worker 0: running");
}

struct lent {
	weir_ctx ctx;
};

static int lend(const weir_ctx *ctx, void *arg)
{
	((struct lent *)arg)->ctx = *ctx;
	return weir_sleep(ctx, WEIR_MS(50));
}

static int borrow(const weir_ctx *ctx, void *arg)
{
	struct lent *l = arg;

	while (!l->ctx.scope)
		weir_yield(ctx);
	return weir_sleep(&l->ctx, WEIR_SEC(1));
}

static int siblings(const weir_ctx *ctx, void *arg)
{
	static struct lent l;
	weir_group a, b;

	(void)arg;
	weir_group_init(&a, ctx);
	weir_group_init(&b, ctx);
	weir_group_go_on(&a, 0, lend, &l);
	weir_group_go_on(&b, 0, borrow, &l);
	weir_group_wait(&b);
	return weir_group_wait(&a);
}

static void run_siblings(void)
{
	weir_run(NULL, siblings, NULL);
}

TEST(a_wait_under_a_siblings_context_aborts)
{
	CHECK_DIES(run_siblings, "neither above nor below");
}

static int joins_forever(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	weir_task_name("waits forever");
	return weir_sleep(ctx, WEIR_NEVER);
}

static int deadlocked(const weir_ctx *ctx, void *arg)
{
	weir_group g;

	(void)arg;
	weir_group_init(&g, ctx);
	weir_group_go(&g, joins_forever, NULL);
	return weir_group_wait(&g);
}

static void run_deadlocked(void)
{
	alarm(2); /* It would wait for ever. */
	weir_run(NULL, deadlocked, NULL);
}

TEST(a_program_in_which_every_task_waits_is_reported)
{
	CHECK_DIES(run_deadlocked, "deadlock: every task waits for another");
}

/* ---- the poller ---- */

struct end {
	struct weir__fd f;
	bool closed;
};

static void closed(struct weir__fd *f)
{
	weir__container(f, struct end, f)->closed = true;
}

static int read_one(const weir_ctx *ctx, struct weir__fd *f, char *c)
{
	for (;;) {
		ssize_t n;
		int r;

		weir__fd_clear(f, WEIR__IN);
		n = read(f->fd, c, 1);
		if (n >= 0)
			return (int)n;
		if (errno != EAGAIN)
			return -errno;
		r = weir__fd_wait(ctx, f, WEIR__IN, "test read");
		if (r < 0)
			return r;
	}
}

static int write_later(const weir_ctx *ctx, void *arg)
{
	weir_sleep(ctx, WEIR_MS(2));
	return write(*(int *)arg, "x", 1) == 1 ? 0 : -EIO;
}

TASK(poller_wakes_a_reader)
{
	struct end e = { 0 };
	weir_group g;
	int p[2];
	char c;

	CHECK_EQ(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
	weir__fd_init(&e.f, p[0]);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(weir_group_go_on(&g, i % 2, write_later, &p[1]), 0);
		CHECK_EQ(read_one(ctx, &e.f, &c), 1);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(2));
	CHECK_EQ(read_one(&soon, &e.f, &c), -ETIMEDOUT);
	weir__fd_close(&e.f, closed);
	close(p[1]);
	while (!e.closed)
		weir_yield(ctx);
}

static int shut_later(const weir_ctx *ctx, void *arg)
{
	weir_sleep(ctx, WEIR_MS(2));
	weir__fd_shut(arg);
	return 0;
}

TASK(poller_shut_wakes_with_epipe_from_any_worker)
{
	weir_group g;
	char c;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 20; i++) {
		struct end e = { 0 };
		int p[2];

		CHECK_EQ(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
		weir__fd_init(&e.f, p[0]);
		CHECK_EQ(weir_group_go_on(&g, i % 2, shut_later, &e.f), 0);
		CHECK_EQ(read_one(ctx, &e.f, &c), -EPIPE);
		while (weir_group_count(&g))
			weir_yield(ctx);
		weir__fd_close(&e.f, closed);
		close(p[1]);
		while (!e.closed)
			weir_yield(ctx);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
}
