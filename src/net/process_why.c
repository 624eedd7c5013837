/* SPDX-License-Identifier: MIT */
/* What a command came to, in words. A limit shows in its exit only as far as the kernel tells: a
 * signal, which a shell in between makes an exit status of 128 and more. */
#include <weir/process.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

enum { BY_SHELL = 128 };

static bool ended_by(const weir_process_result *res, int sig)
{
	return res->code == -sig || res->code == BY_SHELL + sig;
}

static bool over_cpu(const weir_process_limits *l, const weir_process_result *res)
{
	return l->cpu_ns &&
	       (ended_by(res, SIGXCPU) || (ended_by(res, SIGKILL) && res->cpu_ns >= l->cpu_ns));
}

/* What the command may have been refused, without a sign of it. */
static void put_limits(const weir_process_limits *l, char *text, size_t cap)
{
	char memory[WEIR__UNITS_MAX], file[WEIR__UNITS_MAX];
	size_t n = strlen(text);

	if (l->memory)
		snprintf(text + n, cap - n, "; its memory is limited to %s",
		         weir__format_bytes(memory, l->memory));
	n = strlen(text);
	if (l->file)
		snprintf(text + n, cap - n, "%s%s",
		         l->memory ? ", its files to " : "; its files are limited to ",
		         weir__format_bytes(file, l->file));
}

void weir_process_why(const weir_process_spec *spec, const weir_process_result *res, int r,
                      char *text, size_t cap)
{
	const weir_process_limits *l = &spec->limits;
	char amount[WEIR__UNITS_MAX];

	if (r == -EFBIG) {
		snprintf(text, cap, "wrote more than its %s of output",
		         weir__format_bytes(amount, l->output));
	} else if (r < 0) {
		snprintf(text, cap, "%s: %s", spec->argv[0], strerror(-r));
	} else if (over_cpu(l, res)) {
		snprintf(text, cap, "used more than its %s of CPU time",
		         weir__format_duration(amount, l->cpu_ns));
	} else if (l->file && ended_by(res, SIGXFSZ)) {
		snprintf(text, cap, "wrote a file of more than its %s",
		         weir__format_bytes(amount, l->file));
	} else {
		if (res->code < 0)
			snprintf(text, cap, "signal %d (%s)", -res->code, strsignal(-res->code));
		else
			snprintf(text, cap, "exit status %d", res->code);
		put_limits(l, text, cap);
	}
}
