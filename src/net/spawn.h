/* SPDX-License-Identifier: MIT */
/* Starting a child process; src/net/spawn.c says how. Blocks for up to a millisecond: from an
 * offloaded function only. */
#ifndef WEIR_NET_SPAWN_H
#define WEIR_NET_SPAWN_H

#include <weir/process.h>

/* Its descriptors are the caller's to close. */
struct weir__child {
	pid_t pid; /* of the leader, and of its group */
	int pidfd; /* readable once it has ended */
	int out;   /* its stdout, non-blocking; -1 if inherited */
	bool guarded;
};

/* 0, -ENOENT and other errors of its start. */
int weir__child_start(const weir_process_spec *spec, struct weir__child *ret);

/* Has the leader ended? It stays a zombie, so that its number (and its group's) cannot be taken by
 * others. */
bool weir__child_ended(const struct weir__child *c);

/* A signal to its whole group; before it is reaped. Any thread. */
void weir__child_kill(const struct weir__child *c, int sig);

/* Once ended: kills what is left of its group, gives back its number. Its exit status, or -signal;
 * and the CPU time that it used. Does not wait. */
int weir__child_reap(struct weir__child *c, int64_t *ret_cpu_ns);

#endif
