/* SPDX-License-Identifier: MIT */
/*
 * The guard: a small process that outlives us by a moment, to take along the groups of our
 * children.
 *
 * The parent-death signal reaches a child only: what a shell has started lives on. The guard holds
 * one end of a socket pair whose other end is ours alone. When we die, however we die, it reads the
 * end of the stream, and kills the groups it was told of.
 *
 * Beside a group it may be given a copy of a connection, which it closes (by ending) only when the
 * group is dead. The kernel closes a killed program's descriptors first and sends death signals
 * later, so without this the other side could see the end of the connection, and act on it, while
 * the command still runs; on a busy machine it was seen to. Rejected: to let the command inherit
 * the connection. It could read and write it, and a daemon that it left behind would keep it open.
 *
 * Dead is who has ended, reaped or not: /proc tells. Rejected: until kill() finds nobody in the
 * group, since the first process of many a container reaps late or never.
 *
 * It is a fork without exec of this process (a library has no program of its own to run), made
 * once, in a session of its own, with all other descriptors closed; it sends no SIGCHLD and
 * wait(-1) does not see it. Other threads may have held any lock of the C library when we were
 * forked, so it makes raw system calls only. Its price: pages that we change after that fork are
 * copied once.
 */
#include "net/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { GROUPS_MAX = 4096, GONE_MS = 1000 };

struct notice {
	int32_t add; /* or forget */
	int32_t group;
};

struct group {
	int32_t id; /* 0: none */
	int hold;   /* -1: none */
};

static struct {
	pid_t owner; /* whose guard it is: a fork of us has none */
	int sock;
} guard = { .sock = -1 };

WEIR__NO_SANITIZE static void close_all_but(int keep)
{
	struct rlimit max;

	if ((keep == 0 || syscall(SYS_close_range, 0, keep - 1, 0) == 0) &&
	    syscall(SYS_close_range, keep + 1, ~0u, 0) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &max) < 0)
		return;
	for (int fd = 0; fd < (int)max.rlim_cur; fd++)
		if (fd != keep)
			syscall(SYS_close, fd);
}

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

/* One notice, and the descriptor that came with it or -1. Its size; 0 at the end. */
WEIR__NO_SANITIZE static long guard_hear(int from, struct notice *n, int *ret_hold)
{
	union control control;
	struct iovec iov = { .iov_base = n, .iov_len = sizeof *n };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = &control,
		              .msg_controllen = sizeof control };
	struct cmsghdr *c;
	long r;

	do
		r = syscall(SYS_recvmsg, from, &msg, 0);
	while (r < 0 && errno == EINTR);
	c = r > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	*ret_hold = c && c->cmsg_type == SCM_RIGHTS ? *(int *)CMSG_DATA(c) : -1;
	return r;
}

WEIR__NO_SANITIZE static void guard_note(struct group *groups, const struct notice *n, int hold)
{
	for (int i = 0; i < GROUPS_MAX; i++) {
		if (groups[i].id != (n->add ? 0 : n->group))
			continue;
		if (!n->add && groups[i].hold >= 0)
			syscall(SYS_close, groups[i].hold);
		groups[i].id = n->add ? n->group : 0;
		groups[i].hold = hold;
		return;
	}
	if (hold >= 0)
		syscall(SYS_close, hold); /* no room: the leader's death signal has to do */
}

WEIR__NO_SANITIZE static bool is_ours(const struct group *groups, long id)
{
	for (int i = 0; i < GROUPS_MAX; i++)
		if (groups[i].id == id && id > 0)
			return true;
	return false;
}

/* The text of /proc/PID/stat: "pid (name) state ppid pgrp …"; the name may hold anything, so the
 * last parenthesis counts. */
WEIR__NO_SANITIZE static bool lives_in(const struct group *groups, const char *text, long n)
{
	long at = n, group = 0;
	char state;

	while (at > 0 && text[at - 1] != ')')
		at--;
	if (at == 0 || at + 3 >= n)
		return false;
	state = text[at + 1];
	for (at += 3; at < n && text[at] != ' '; at++)
		;
	for (at++; at < n && text[at] >= '0' && text[at] <= '9'; at++)
		group = group * 10 + (text[at] - '0');
	return state != 'Z' && state != 'X' && is_ours(groups, group);
}

/* One entry of /proc. */
WEIR__NO_SANITIZE static bool entry_lives(int proc, const char *name, const struct group *groups)
{
	char path[32], text[512];
	bool lives = false;
	int n = 0, fd;
	long r;

	for (; name[n] >= '0' && name[n] <= '9' && n < 16; n++)
		path[n] = name[n];
	if (n == 0)
		return false;
	for (int i = 0; i < 6; i++)
		path[n + i] = "/stat"[i];
	fd = (int)syscall(SYS_openat, proc, path, O_RDONLY);
	if (fd < 0)
		return false;
	r = syscall(SYS_read, fd, text, sizeof text);
	if (r > 0)
		lives = lives_in(groups, text, r);
	syscall(SYS_close, fd);
	return lives;
}

/* Does any process of the groups still live? Who only waits to be reaped does not. */
WEIR__NO_SANITIZE static bool anyone_lives(int proc, const struct group *groups)
{
	struct entry {
		uint64_t inode;
		int64_t next;
		uint16_t size;
		uint8_t type;
		char name[];
	};
	static union {
		char room[4096];
		uint64_t align;
	} buf;
	long n;

	syscall(SYS_lseek, proc, 0, SEEK_SET);
	while ((n = syscall(SYS_getdents64, proc, &buf, sizeof buf)) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(buf.room + at);

			if (entry_lives(proc, e->name, groups))
				return true;
			at += e->size;
		}
	return false;
}

/* Nobody runs another instruction once kill() has returned, but it takes a moment until all can be
 * seen to be gone. */
WEIR__NO_SANITIZE static void guard_kill(const struct group *groups)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	bool any = false;
	int proc;

	for (int i = 0; i < GROUPS_MAX; i++)
		if (groups[i].id && syscall(SYS_kill, -groups[i].id, SIGKILL) == 0)
			any = true;
	proc = any ? (int)syscall(SYS_openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY) : -1;
	for (int i = 0; proc >= 0 && i < GONE_MS && anyone_lives(proc, groups); i++)
		syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL);
}

WEIR__NO_SANITIZE _Noreturn static void guard_run(int from)
{
	static struct group groups[GROUPS_MAX];
	uint64_t all = ~UINT64_C(0);
	struct notice n;
	int hold;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
	syscall(SYS_setsid);
	syscall(SYS_prctl, PR_SET_NAME, "weir-guard", 0, 0, 0);
	close_all_but(from);
	while (guard_hear(from, &n, &hold) == sizeof n)
		guard_note(groups, &n, hold);
	guard_kill(groups);
	for (;;)
		syscall(SYS_exit_group, 0);
}

int weir__guard_start(void)
{
	const struct timeval patience = { .tv_sec = 1 };
	int ends[2];
	long pid;

	if (guard.sock >= 0 && guard.owner == getpid())
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid = syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
	if (pid == 0)
		guard_run(ends[0]);
	close(ends[0]);
	if (pid < 0) {
		close(ends[1]);
		return -EAGAIN;
	}
	setsockopt(ends[1], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	guard.owner = getpid();
	__atomic_store_n(&guard.sock, ends[1], __ATOMIC_RELEASE);
	return 0;
}

WEIR__NO_SANITIZE int weir__guard_tell(bool add, pid_t group, int hold, bool wait)
{
	struct notice n = { .add = add, .group = group };
	union control control = { .head = { .cmsg_level = SOL_SOCKET,
		                            .cmsg_type = SCM_RIGHTS,
		                            .cmsg_len = CMSG_LEN(sizeof hold) } };
	struct iovec iov = { .iov_base = &n, .iov_len = sizeof n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (hold > 0) {
		*(int *)CMSG_DATA(&control.head) = hold;
		msg.msg_control = &control;
		msg.msg_controllen = sizeof control;
	}
	return syscall(SYS_sendmsg, __atomic_load_n(&guard.sock, __ATOMIC_ACQUIRE), &msg,
	               MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) < 0 ?
	               -errno :
	               0;
}

bool weir__guard_is_dead(int told)
{
	return told == -EPIPE || told == -ECONNRESET;
}

void weir__guard_lost(void)
{
	close(guard.sock);
	guard.sock = -1;
}
