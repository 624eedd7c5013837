/* SPDX-License-Identifier: MIT */
/* Connections of HTTP/2 whose clients would hold them for good: each has its end. */
#include "site.h"

enum { END_STREAM = 1, END_HEADERS = 4 };

/* The preface, SETTINGS that leave no room for a body, and the beginning of GET /. */
static void begin(const weir_ctx *ctx, weir_conn *c, unsigned char flags)
{
	char text[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		      "\0\0\6\4\0\0\0\0\0\0\4\0\0\0\0"
		      "\0\0\6\1\0\0\0\0\1\x82\x86\x84\x41\1x";

	text[24 + 15 + 4] = (char)flags;
	CHECK_EQ(weir_conn_write(ctx, c, text, sizeof text - 1), 0);
}

static int nap(const weir_ctx *ctx, weir_http *x, void *arg)
{
	unsigned *begun = arg;
	(void)x;

	__atomic_add_fetch(begun, 1, __ATOMIC_RELAXED);
	return weir_sleep(ctx, WEIR_SEC(60));
}

static void joins_within(struct site *s, int64_t ns)
{
	int64_t from = weir_now();

	site_join(s);
	CHECK(weir_now() - from < ns);
}

/* The client of a server that has answered at the handler's limit. */
static weir_conn *takes_nothing(const weir_ctx *ctx, struct site *s, int64_t write_ns,
                                unsigned *begun)
{
	weir_conn *c;

	site_new(s, &(weir_http_limits){ .handler_ns = WEIR_SEC(1),
	                                 .write_ns = write_ns,
	                                 .keepalive_ns = WEIR_NEVER });
	site_route(s, "GET /", nap, begun);
	site_start(ctx, s);
	c = dial(ctx);
	begin(ctx, c, END_STREAM | END_HEADERS);
	weir_sleep(ctx, WEIR_MS(1500));
	CHECK_EQ(*begun, 1);
	return c;
}

SIM(the_answer_at_the_limit_is_cut_if_nobody_takes_it, 50)
{
	unsigned begun = 0;
	struct site s;
	weir_conn *c = takes_nothing(ctx, &s, WEIR_SEC(2), &begun);

	weir_group_drain(&s.group);
	joins_within(&s, WEIR_SEC(6));
	weir_conn_free(c);
}

SIM(a_cancel_does_not_wait_for_who_takes_no_answer, 50)
{
	unsigned begun = 0;
	struct site s;
	weir_conn *c = takes_nothing(ctx, &s, WEIR_NEVER, &begun);

	weir_group_cancel(&s.group);
	joins_within(&s, WEIR_SEC(2));
	weir_conn_free(c);
}

SIM(a_cancel_does_not_wait_for_the_rest_of_a_head, 50)
{
	unsigned begun = 0;
	struct site s;
	weir_conn *c;

	site_new(&s, &(weir_http_limits){ .header_ns = WEIR_NEVER, .keepalive_ns = WEIR_NEVER });
	site_route(&s, "GET /", nap, &begun);
	site_start(ctx, &s);
	c = dial(ctx);
	begin(ctx, c, 0);
	weir_sleep(ctx, WEIR_MS(100));
	weir_group_cancel(&s.group);
	joins_within(&s, WEIR_SEC(2));
	CHECK_EQ(begun, 0);
	weir_conn_free(c);
}

/* Its 400 lingers, for the client to read it. */
TASK(a_cancel_does_not_wait_for_who_spoke_no_tls)
{
	struct site s;
	weir_conn *c;

	if (!tls_built())
		return;
	if (!site_tls.server)
		site_make_tls();
	site_new(&s, NULL);
	site_start(ctx, &s);
	CHECK_EQ(weir_dial(ctx, site_at, &c), 0);
	say(ctx, c, GET("/"));
	HAS(hear(ctx, c, NULL), "HTTP/1.1 400 ");
	weir_group_cancel(&s.group);
	joins_within(&s, WEIR_MS(1500));
	weir_conn_free(c);
	site_free_tls();
}

SIM(connections_that_begin_while_the_server_is_cancelled_end, 500)
{
	unsigned begun = 0;
	weir_conn *c[8];
	struct site s;

	weir_sim_net_set(&(weir_sim_net){ .latency_ns = 0 });
	site_new(&s, NULL);
	site_route(&s, "GET /", nap, &begun);
	site_start(ctx, &s);
	for (int i = 0; i < 8; i++) {
		c[i] = dial(ctx);
		begin(ctx, c[i], END_STREAM | END_HEADERS);
	}
	weir_group_cancel(&s.group);
	joins_within(&s, WEIR_SEC(2));
	for (int i = 0; i < 8; i++)
		weir_conn_free(c[i]);
}
