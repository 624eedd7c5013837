/* SPDX-License-Identifier: MIT */
#include "../http/site.h"

#include "handlers.h"

const struct command commands[] = { { NULL, NULL, NULL, NULL, 0, 0, false, NULL } };

static size_t want; /* of memory, for each request that comes, until there is none; 0: nothing */

static int asked(const weir_ctx *ctx, weir_http *x, void *arg)
{
	static const char *const known[] = { "delay", NULL };
	struct params p = { .x = x };
	const char *delay;

	(void)arg;
	while (want && weir_http_alloc(x, want))
		;
	refuse_query(&p, known);
	delay = param(&p, "delay");
	return p.error[0] ? reply_wrong(ctx, x, &p) :
	                    weir_http_printf(ctx, x, "%s", delay ? delay : "none");
}

static const char *ask_for(const weir_ctx *ctx, const char *query)
{
	char text[128];

	snprintf(text, sizeof text, GET_CLOSE("/?%s"), query);
	return ask(ctx, text);
}

TASK(a_query_is_refused_by_name_and_nothing_of_it_is_lost_for_want_of_memory)
{
	weir_http_limits small = { .body_max = 1 };
	struct site s;

	site_new(&s, &small);
	site_route(&s, "GET /", asked, NULL);
	site_start(ctx, &s);
	HAS(ask_for(ctx, "delay=5s"), "\r\n\r\n5s");
	HAS(ask_for(ctx, ""), "\r\n\r\nnone");
	HAS(ask_for(ctx, "dely=5s"), "dely is not known here; did you mean delay?");
	HAS(ask_for(ctx, "=5s"), "there is a value without a name");
	HAS(ask_for(ctx, "delay=5s&delay=6s"), "delay is there twice");
	want = (size_t)1 << 30;
	HAS(ask_for(ctx, "delay=5s"), " 507 ");
	HAS(ask_for(ctx, "dely=5s"), " 507 ");
	HAS(ask_for(ctx, ""), " 507 ");
	want = 16; /* There is none for an answer either. */
	LACKS(ask_for(ctx, "delay=5s"), " 200 ");
	LACKS(ask_for(ctx, "dely=5s"), " 200 ");
	want = 0;
	HAS(ask_for(ctx, "delay=5s"), "\r\n\r\n5s");
	site_stop(&s);
}
