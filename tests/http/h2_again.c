/* SPDX-License-Identifier: MIT */
/* A connection of HTTP/2 that is lost under many requests at once. */
#include "http/server.h"
#include "site.h"

enum { MANY = 8 };

static unsigned calls;

/* The first is answered; when MANY more have come their connection is lost; later ones are
 * answered. */
static int answer(const weir_ctx *ctx, weir_http *x, void *arg)
{
	unsigned n = __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);

	(void)arg;
	if (n == MANY)
		weir_conn_shutdown(x->conn->io);
	return n == 0 || n > MANY ? weir_http_printf(ctx, x, "here\n") :
	                            weir_sleep(ctx, WEIR_SEC(20));
}

static int ask_one(const weir_ctx *ctx, void *arg)
{
	const weir_http_client *first = arg;
	weir_http_client *c;
	weir_http_res res;

	CHECK_EQ(weir_http_client_share(first, &c), 0);
	CHECK_EQ(weir_http_client_do(ctx, c, &(weir_http_req){ .method = "GET", .target = "/" },
	                             &res),
	         0);
	CHECK_EQ(res.status, 200);
	weir_http_client_free(c);
	return 0;
}

SIM(every_request_that_may_be_repeated_is_when_its_connection_is_lost, 200)
{
	weir_http_client *c;
	weir_group g;
	struct site s;

	weir_sim_net_set(&(weir_sim_net){ .latency_ns = 0 });
	calls = 0;
	site_new(&s, NULL);
	site_route(&s, "GET /", answer, NULL);
	site_start(ctx, &s);
	CHECK_EQ(weir_http_client_new("http2://mem:site", &c), 0);
	CHECK_EQ(ask_one(ctx, c), 0);
	weir_group_init(&g, ctx);
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(weir_group_go_on(&g, weir_worker(), ask_one, c), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_http_client_free(c);
	site_stop(&s);
}
