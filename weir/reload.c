/* SPDX-License-Identifier: MIT */
/*
 * SIGHUP: the token file and the certificates are read again. The signal is blocked from before the
 * first thread is made, so that it can only be heard here, by a descriptor on which a task waits;
 * without any of them it is heard and nothing is done, since a terminal that closes should not end
 * a server half-way.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "handlers.h"
#include "rt/poll.h"

static void hup_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGHUP);
}

void reload_block(void)
{
	sigset_t set;

	hup_set(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void closed(struct weir__fd *f)
{
	free(f);
}

static void reload(const weir_ctx *ctx, struct app *app)
{
	if (app->auth && auth_reload(ctx, app->auth) == 0 && app->nats)
		weir_nats_reload(app->nats);
	if (app->tls)
		serve_tls_reload(ctx, app->tls);
}

static int run(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct signalfd_siginfo si;
	struct weir__fd *f;
	sigset_t set;
	int fd, r = 0;

	if (weir__simulating)
		return 0; /* No signals reach a simulation. */
	f = malloc(sizeof *f);
	hup_set(&set);
	fd = f ? signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC) : -1;
	if (fd < 0) {
		r = f ? -errno : -ENOMEM;
		free(f);
		return r;
	}
	weir__fd_init(f, fd);
	while (r == 0) {
		weir__fd_clear(f, WEIR__IN);
		if (read(fd, &si, sizeof si) != (ssize_t)sizeof si)
			r = weir__fd_wait(&live, f, WEIR__IN, "SIGHUP");
		else
			reload(ctx, app);
	}
	weir__fd_close(f, closed);
	return r == -ESHUTDOWN ? 0 : r;
}

const weir_service reload_service = { .name = "reload", .run = run };
