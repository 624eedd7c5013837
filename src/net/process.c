/* SPDX-License-Identifier: MIT */
/*
 * Running a command: the task reads its output and waits for its end, with nobody's help.
 *
 * The end is the pidfd's, never the pipe's: a grandchild may hold the pipe for hours. While the
 * pipe is open the task waits on it, and a watch on the pidfd ends that wait (weir__fd_shut() on
 * the pipe's record). After the end the rest of the group is killed; what they wrote is in the pipe
 * then, and read; whoever left the group with the pipe still open is given GRACE_NS.
 *
 * The context's end starts the same wait again, twice at most: after SIGTERM for kill_ns, then
 * after SIGKILL without limit, so that the caller's memory and the child's number are free when the
 * call returns.
 */
#include <weir/offload.h>
#include <weir/process.h>
#include <weir/task.h>

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "net/conn.h"
#include "net/spawn.h"

#define KILL_NS  WEIR_SEC(5)
#define GRACE_NS WEIR_MS(128)

enum { CHUNK = 4096, TURN = 64 << 10 };

struct run;

struct end {
	struct weir__fd fd; /* the pidfd; first, since done() frees by it */
	struct run *run;
};

struct run {
	const weir_process_spec *spec;
	struct weir__child child;
	bool started;
	struct end *end;
	struct weir__fd *pipe; /* NULL: closed, or never there */
	bool told;             /* the watch on `end` was called */
	struct weir__buf out;
	bool truncated;
	size_t total; /* bytes of output */
	size_t turn;  /* bytes since others could run */
};

static int start(void *arg)
{
	struct run *p = arg;
	int r = weir__child_start(p->spec, &p->child);

	p->started = r == 0;
	return r;
}

/* A start takes a millisecond at most and cannot be taken back: its interruption is to wait for
 * it. */
static void let_it(void *arg)
{
	(void)arg;
}

static void fd_done(struct weir__fd *f)
{
	free(f);
}

static void close_pipe(struct run *p)
{
	if (p->pipe)
		weir__fd_close(p->pipe, fd_done);
	p->pipe = NULL;
}

static void keep(struct run *p, const char *bytes, size_t n)
{
	size_t room = p->spec->out_max - p->out.len;

	if (n > room) {
		p->truncated = true;
		n = room;
	}
	if (n > 0)
		weir__buf_add(&p->out, bytes, n);
}

/* Reads once. 1, 0 at the end, -EAGAIN. */
static int read_some(struct run *p)
{
	char chunk[CHUNK];
	ssize_t n;

	weir__fd_clear(p->pipe, WEIR__IN);
	do
		n = read(p->pipe->fd, chunk, sizeof chunk);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : 0;
	if (n > 0)
		keep(p, chunk, (size_t)n);
	p->total += (size_t)n;
	p->turn += (size_t)n;
	return n > 0;
}

static bool too_long(const struct run *p)
{
	return p->spec->limits.output && p->total > p->spec->limits.output;
}

static void on_end(struct weir__fd *f, enum weir__dir dir)
{
	struct run *p = ((struct end *)f)->run;

	(void)dir;
	p->told = true;
	if (p->pipe)
		weir__fd_shut(p->pipe);
}

/* Reads until the command has ended or closed its output. 0, the context's error, or -EFBIG. */
static int read_until_end(const weir_ctx *ctx, struct run *p)
{
	int r;

	for (;;) {
		r = read_some(p);
		if (r == 0) {
			close_pipe(p);
			return 0;
		}
		if (too_long(p))
			return -EFBIG;
		if (r > 0 && p->turn < TURN)
			continue;
		p->turn = 0;
		r = r > 0 ? weir_yield(ctx) :
		            weir__fd_wait(ctx, p->pipe, WEIR__IN, "process output");
		if (r == -EPIPE || p->told)
			return 0;
		if (r < 0)
			return r;
	}
}

/* Until the command has ended: 0, the context's error, or -EFBIG. */
static int wait_for_end(const weir_ctx *ctx, struct run *p)
{
	int r = 0;

	if (p->pipe && !p->told) {
		r = weir__fd_watch(&p->end->fd, WEIR__IN, on_end);
		if (r < 0)
			return r;
		r = read_until_end(ctx, p);
		weir__fd_unwatch(&p->end->fd, WEIR__IN);
	}
	while (r == 0) {
		weir__fd_clear(&p->end->fd, WEIR__IN);
		if (weir__child_ended(&p->child))
			return 0;
		r = weir__fd_wait(ctx, &p->end->fd, WEIR__IN, "process end");
	}
	return r;
}

/* The group is dead. What it wrote is in the pipe; somebody who left it may still hold that
 * open. */
static void read_rest(const weir_ctx *ctx, struct run *p)
{
	weir_ctx grace = weir_ctx_shield(ctx, GRACE_NS);
	int64_t pause = WEIR_MS(1);
	int r = 0;

	while (p->pipe && r == 0) {
		int got = read_some(p);

		if (got == 0)
			break;
		if (got == -EAGAIN) {
			r = weir_sleep(&grace, pause);
			pause *= 2;
		} else if (p->turn >= TURN) {
			p->turn = 0;
			r = weir_yield(&grace);
		}
	}
	close_pipe(p);
}

/* Ends it for good. Without a poller (no memory, no room in epoll) it looks from time to time:
 * nothing survives SIGKILL for long. */
static void kill_hard(const weir_ctx *ctx, struct run *p)
{
	weir_ctx hard = weir_ctx_shield(ctx, WEIR_NEVER);

	weir__child_kill(&p->child, SIGKILL);
	if (p->end && wait_for_end(&hard, p) == 0)
		return;
	while (!weir__child_ended(&p->child))
		weir_sleep(&hard, WEIR_MS(10));
}

static void stop(const weir_ctx *ctx, struct run *p)
{
	weir_ctx grace = weir_ctx_shield(ctx, p->spec->kill_ns > 0 ? p->spec->kill_ns : KILL_NS);

	if (too_long(p))
		close_pipe(p); /* Nobody reads on: what writes on gets EPIPE. */
	weir__child_kill(&p->child, SIGTERM);
	if (wait_for_end(&grace, p) < 0)
		kill_hard(ctx, p);
}

static int open_fds(struct run *p)
{
	bool piped = p->child.out >= 0;

	p->end = calloc(1, sizeof *p->end);
	p->pipe = piped ? calloc(1, sizeof *p->pipe) : NULL;
	if (p->end) {
		weir__fd_init(&p->end->fd, p->child.pidfd);
		p->end->run = p;
	}
	if (p->pipe)
		weir__fd_init(p->pipe, p->child.out);
	else if (piped)
		close(p->child.out);
	return p->end && (p->pipe || !piped) ? 0 : -ENOMEM;
}

int weir_process_run(const weir_ctx *ctx, const weir_process_spec *spec, weir_process_result *ret)
{
	struct run p = { .spec = spec };
	int64_t cpu_ns;
	int r, code;

	weir__assert(!weir__simulating, "weir_process_run() in a simulation");
	r = weir_offload_interruptible(ctx, start, &p, let_it);
	if (!p.started)
		return r;
	r = open_fds(&p);
	if (r < 0) {
		kill_hard(ctx, &p);
	} else {
		r = wait_for_end(ctx, &p);
		if (r < 0)
			stop(ctx, &p);
	}
	code = weir__child_reap(&p.child, &cpu_ns);
	read_rest(ctx, &p);
	if (r == 0 && too_long(&p))
		r = -EFBIG;
	if (p.end)
		weir__fd_close(&p.end->fd, fd_done);
	else
		close(p.child.pidfd);
	weir__buf_byte(&p.out, 0);
	if (p.out.failed) {
		weir__buf_free(&p.out);
		return r < 0 ? r : -ENOMEM;
	}
	*ret = (weir_process_result){ .code = code,
		                      .cpu_ns = cpu_ns,
		                      .truncated = p.truncated,
		                      .out = p.out.data,
		                      .out_len = p.out.len - 1 };
	return r;
}
