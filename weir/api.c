/* SPDX-License-Identifier: MIT */
/*
 * The table of routes becomes a server. Each request passes the filter (does a foreign page send
 * it? is there a token?), then the guard of its route (may this token do that to this queue, job or
 * subject?), then its handler, which need not think of either.
 */
#include <stdlib.h>
#include <string.h>

#include "http/exchange.h"
#include "grpc_api.h"
#include "handlers.h"
#include "assets.h"

enum { ROUTES_MAX = 64 };

struct bound {
	struct app *app;
	const struct route *route;
};
static struct bound bound[ROUTES_MAX];
static size_t bound_n;

static const char login_policy[] =
	"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

static const char dashboard_policy[] =
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
	"connect-src 'self'; "
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

static const struct asset *asset(const char *path)
{
	for (size_t i = 0; i < assets_n; i++)
		if (!strcmp(assets[i].path, path))
			return &assets[i];
	return NULL;
}

int api_unauthorized(const weir_ctx *ctx, weir_http *x, bool wrong)
{
	/* The page hides its word about a wrong token; it is shown by leaving this out, but for the
	 * >. */
	static const char mark[] = " hidden>";
	const char *accept = weir_http_header(x, "accept");
	const struct asset *login = asset("/login.html");
	bool page = login && accept && strstr(accept, "text/html");
	const unsigned char *cut;
	size_t n;
	int r;

	r = weir_http_set(x, "www-authenticate", "Bearer realm=\"weir\"");
	if (r < 0)
		return r;
	if (!page) {
		r = weir_http_problem(ctx, x, 401,
		                      wrong ? "this token is not known" :
		                              "a token is needed: Authorization: Bearer TOKEN");
		return r < 0 ? r : 401;
	}
	r = weir_http_set(x, "content-security-policy", login_policy);
	if (r == 0)
		r = weir_http_set(x, "content-type", "text/html; charset=utf-8");
	if (r == 0)
		r = weir_http_status(x, 401);
	cut = wrong ? memmem(login->data, login->len, mark, sizeof mark - 1) : NULL;
	n = cut ? (size_t)(cut - login->data) : login->len;
	if (r == 0)
		r = weir_http_write(ctx, x, login->data, n);
	if (r == 0 && cut)
		r = weir_http_write(ctx, x, cut + sizeof mark - 2,
		                    login->len - n - (sizeof mark - 2));
	return r < 0 ? r : 401;
}

/* With tokens, what answers also without one. */
static bool open_to_all(const weir_http *x)
{
	const char *path = weir_http_url_path(x);

	return !strcmp(path, "/healthz") ||
	       (!strcmp(path, "/v1/login") && !strcmp(weir_http_method(x), "POST"));
}

static int filter(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct app *app = arg;
	int r;

	r = weir__http_fixed(x, false, "x-content-type-options", "nosniff");
	if (r < 0)
		return r;
	r = origin_check(ctx, x, app);
	if (r)
		return r;
	if (!app->auth || open_to_all(x))
		return 0;
	return auth_check(app->auth, x) == 0 ? 0 : api_unauthorized(ctx, x, false);
}

/* A job is guarded by its queue. One that is not known may be asked for by everybody who might own
 * it; the answer is 404. */
static bool may_job(const weir_ctx *ctx, struct app *app, weir_http *x, unsigned rights)
{
	char subject[JOB_SUBJECT_MAX];
	weir_job_info job;
	bool may;

	/* Who has no such right on anything does not send us to the disk. A signed token says only
	 * with the job's subject what it is for. */
	if (!(rights & MAY_SUBSCRIBE) && !auth_may(app->auth, x, rights, NULL))
		return false;
	if (weir_job_get(ctx, app->store, weir_http_path(x, "id"), false, &job) < 0)
		return auth_may(app->auth, x, rights, NULL);
	job_subject(subject, job.queue, job.id);
	may = auth_may(app->auth, x, rights & ~(unsigned)MAY_SUBSCRIBE, job.queue) ||
	      (rights & MAY_SUBSCRIBE && auth_may(app->auth, x, MAY_SUBSCRIBE, subject));
	weir_job_info_free(&job);
	return may;
}

static bool may(const weir_ctx *ctx, struct app *app, weir_http *x, const struct route *route)
{
	if (!app->auth || open_to_all(x))
		return true;
	switch (route->of) {
	case OF_QUEUE:
		return auth_may(app->auth, x, route->rights, weir_http_path(x, "queue"));
	case OF_SUBJECT:
		return auth_may(app->auth, x, route->rights, weir_http_path(x, "subject"));
	case OF_JOB:
		return may_job(ctx, app, x, route->rights);
	case OF_SERVER:
		break;
	}
	return auth_may(app->auth, x, route->rights, NULL);
}

const char *const any_query[] = { NULL };

/* What is not known would be lost without a word. */
static int asked(const weir_ctx *ctx, weir_http *x, const struct bound *b)
{
	struct params p = { .x = x };

	refuse_query(&p, b->route->query);
	return p.error[0] ? reply_wrong(ctx, x, &p) : b->route->fn(ctx, x, b->app);
}

static int guarded(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct bound *b = arg;
	size_t at = 0;

	if (!may(ctx, b->app, x, b->route))
		return weir_http_problem(ctx, x, 403, "this token has no right to do that");
	if (b->route->query != any_query && (weir_http_query_name(x, &at) || weir_http_starved(x)))
		return asked(ctx, x, b);
	return b->route->fn(ctx, x, b->app);
}

static int add_routes(struct app *app, const struct route *routes)
{
	for (const struct route *route = routes; route->pattern; route++) {
		int r;

		if (bound_n == ROUTES_MAX)
			return -ENOSPC;
		bound[bound_n] = (struct bound){ app, route };
		r = weir_http_route(weir_server_http(app->server), route->pattern, guarded,
		                    &bound[bound_n], &route->limits);
		if (r < 0)
			return r;
		bound_n++;
	}
	return 0;
}

int api_install(struct app *app)
{
	static const struct route *const all[] = { jobs_routes,     work_routes,  queues_routes,
		                                   subjects_routes, admin_routes, nats_routes };
	weir_http_server *http = weir_server_http(app->server);
	int r = 0;

	bound_n = 0;
	weir_http_filter(http, filter, app);
	for (size_t i = 0; r == 0 && i < sizeof all / sizeof *all; i++)
		r = add_routes(app, all[i]);
	for (size_t i = 0; r == 0 && i < assets_n; i++)
		if (strcmp(assets[i].path,
		           "/login.html")) /* It is shown in the place of what needs a login. */
			r = weir_http_static(http, assets[i].path, assets[i].data, assets[i].len,
			                     dashboard_policy);
	return r == 0 ? grpc_install(app) : r;
}
