/* SPDX-License-Identifier: MIT */
/*
 * Child processes: started in a group of their own, fed and read by the task that waits for them,
 * and ended with it.
 *
 *	weir_process_result res;
 *	r = weir_process_run(ctx, &(weir_process_spec){ .argv = argv, .in = data, .in_len = n }, &res);
 *
 * When the context ends: SIGTERM to the process group, after `kill_ns` SIGKILL, then reap; only
 * then does the call return. When the command ends by itself, what is left of its group is killed:
 * nothing stays behind but what left the group. It starts with no signal blocked or ignored, and
 * with no descriptor but 0, 1 and 2; its stdin is a file in memory.
 *
 * Limits are the kernel's (setrlimit(2)), for each process of the group by itself, but for that of
 * the output, which is the whole group's.
 */
#ifndef WEIR_PROCESS_H
#define WEIR_PROCESS_H

#include <weir/ctx.h>

WEIR_BEGIN

typedef struct weir_process_limits { /* 0: none */
	size_t memory;  /* bytes of data, as RLIMIT_DATA has it: who asks for more gets ENOMEM */
	int64_t cpu_ns; /* up to the next second: then SIGXCPU, and one more later SIGKILL */
	size_t file;    /* bytes of a file that it writes: then SIGXFSZ, or EFBIG */
	size_t output;  /* bytes of stdout that is kept: then it is ended, as by its context */
} weir_process_limits;

typedef struct weir_process_spec {
	char *const *argv;
	char *const *env; /* additions, "NAME=value", NULL at the end; or NULL */
	const void *in;   /* its stdin */
	size_t in_len;
	/* bytes of stdout kept; the rest is read and dropped. 0: stdout is inherited */
	size_t out_max;
	weir_process_limits limits;
	int64_t kill_ns; /* between SIGTERM and SIGKILL; default 5 s */
	/* its whole group is killed when this process dies, however it dies */
	bool die_with_parent;
	/* with that: the peer of this connection sees its end only when the group is dead, should
	 * this process die. Still the caller's, to be closed after the call. 0: none */
	int hold_fd;
} weir_process_spec;

typedef struct weir_process_result {
	int code;       /* exit status, or -signal */
	int64_t cpu_ns; /* that it used, with those of its children for which it waited */
	bool truncated;
	char *out; /* malloc'd, NUL-terminated; the caller frees */
	size_t out_len;
} weir_process_result;

/* Waits until the process and all readers have ended. 0 (see ret->code), -ENOENT and other errors
 * of its start (a limit above our own is lowered to it); or, after it was killed (ret is then
 * filled too), the context's error or -EFBIG: it wrote more than limits.output. */
WEIR_API int weir_process_run(const weir_ctx *ctx, const weir_process_spec *spec,
                              weir_process_result *ret);

/* What it came to, for people: "exit status 3", "signal 9 (Killed)", "used more than its 10s of CPU
 * time"; r is what weir_process_run() gave. What a command makes of a refused byte of memory or of
 * a file is its own: where such a limit may be why, it is named. */
WEIR_API void weir_process_why(const weir_process_spec *spec, const weir_process_result *res, int r,
                               char *text, size_t cap);

WEIR_END
#endif
