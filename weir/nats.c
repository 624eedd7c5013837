/* SPDX-License-Identifier: MIT */
/*
 * The bus for NATS clients (--nats), with the users of the token file, and what there is to see of
 * it: /varz, /connz and /subsz, as nats-server has them on its monitoring port. Subjects under
 * weir. are the server's own: clients may hear them, and not pretend to be it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"

static int open_nats(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	weir_nats_options opt = { .max_payload = app->opt->body_max,
		                  .max_conns = app->opt->conns_max };
	int r;

	(void)ctx;
	if (!app->opt->nats)
		return 0;
	if (app->auth) {
		opt.sign_in = auth_nats_sign_in;
		opt.renew = auth_nats_renew;
		opt.arg = app->auth;
	} else {
		r = auth_nats_anybody(&opt.anybody);
		if (r < 0)
			return r;
	}
	r = weir_nats_server_new(app->bus, &opt, &app->nats);
	if (r < 0)
		weir_nats_user_free(opt.anybody);
	else
		weir_server_nats(app->server, app->nats);
	return r;
}

static int close_nats(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;

	(void)ctx;
	if (app->nats)
		weir_nats_stats_get(app->nats, &app->nats_last);
	weir_nats_server_free(__atomic_exchange_n(&app->nats, NULL, __ATOMIC_ACQ_REL));
	return 0;
}

static int report_nats(char *buf, size_t n, void *arg)
{
	struct app *app = arg;
	weir_nats_stats s;

	buf[0] = 0;
	if (!app->opt->nats)
		return 0;
	s = app->nats_last;
	if (__atomic_load_n(&app->nats, __ATOMIC_ACQUIRE))
		weir_nats_stats_get(app->nats, &s);
	return snprintf(buf, n,
	                "%llu clients left when asked, %llu were closed, %llu are still there, "
	                "%llu bytes were not taken",
	                (unsigned long long)s.left_in_drain, (unsigned long long)s.ended_in_drain,
	                (unsigned long long)s.conns, (unsigned long long)s.lost);
}

const weir_service nats_service = {
	.name = "nats", .open = open_nats, .close = close_nats, .report = report_nats
};

static int monitor(const weir_ctx *ctx, weir_http *x, struct app *app, const char *what)
{
	static const char *const keys[] = { "limit", "offset", "cid", "subs" };
	struct weir__buf query = WEIR__BUF_INIT;
	char *text;
	int r;

	if (!app->nats)
		return weir_http_problem(ctx, x, 404,
		                         "this server does not serve NATS clients: --nats");
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const char *value = weir_http_query(x, keys[i]);

		if (value)
			weir__buf_printf(&query, "&%s=%s", keys[i], value);
	}
	r = query.failed ?
	            -ENOMEM :
	            weir_nats_monitor(app->nats, what, query.data ? query.data + 1 : NULL, &text);
	weir__buf_free(&query);
	if (r < 0)
		return r;
	r = weir_http_reply(ctx, x, 200, "application/json", text, strlen(text));
	free(text);
	return r;
}

static int varz(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return monitor(ctx, x, app, "varz");
}

static int connz(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return monitor(ctx, x, app, "connz");
}

static int subsz(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	return monitor(ctx, x, app, "subsz");
}

const struct route nats_routes[] = {
	{ "GET /varz", varz, MAY_ADMIN, OF_SERVER, { 0 }, any_query },
	{ "GET /connz", connz, MAY_ADMIN, OF_SERVER, { 0 }, any_query },
	{ "GET /subsz", subsz, MAY_ADMIN, OF_SERVER, { 0 }, any_query },
	{ NULL, NULL, 0, OF_SERVER, { 0 } },
};
