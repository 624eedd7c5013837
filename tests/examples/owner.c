/* SPDX-License-Identifier: MIT */
/* The parts of examples/owner.c, each by itself, in simulated time. */
int example_main(int argc, char **argv);
#define main example_main
#include "../../examples/owner.c"
#undef main

#include <weir/group.h>
#include <weir/http_client.h>

#include "test.h"

struct site {
	weir_http_server *http;
	weir_listener *listener;
	weir_group g;
	weir_http_client *client;
};

static int serve(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;

	return weir_http_serve(ctx, s->http, s->listener);
}

static void site_open(const weir_ctx *ctx, struct site *s, const char *pattern, weir_http_fn *fn,
                      void *arg)
{
	s->http = weir_http_server_new(NULL);
	CHECK(s->http);
	CHECK_EQ(weir_http_route(s->http, pattern, fn, arg, NULL), 0);
	CHECK_EQ(weir_listen("mem:site", &s->listener), 0);
	CHECK_EQ(weir_http_client_new("mem:site", &s->client), 0);
	weir_group_init(&s->g, ctx);
	CHECK_EQ(weir_group_go(&s->g, serve, s), 0);
}

static void site_close(struct site *s)
{
	weir_http_client_free(s->client);
	weir_group_drain(&s->g);
	CHECK_EQ(weir_group_wait(&s->g), 0);
	weir_listener_free(s->listener);
	weir_http_server_free(s->http);
}

/* The status; the body, if any, in `body`. */
static int request(const weir_ctx *ctx, struct site *s, const char *method, const char *target,
                   const char *text, char *body, size_t cap)
{
	weir_http_req q = {
		.method = method, .target = target, .body = text, .body_len = strlen(text)
	};
	weir_http_res a;

	CHECK_EQ(weir_http_client_do(ctx, s->client, &q, &a), 0);
	CHECK(weir_http_client_read_all(ctx, s->client, body, cap) >= 0);
	return a.status;
}

SIM(a_stalled_owner_is_504_after_one_second, 20)
{
	const weir_sim_net quick = { .whole = true };
	struct site s;
	weir_group owners;
	weir_port *port;
	int64_t from;
	char body[512];

	weir_sim_net_set(&quick);
	CHECK_EQ(weir_port_new(&port, sizeof(struct order), sizeof(uint64_t), 4), 0);
	weir_group_init(&owners, ctx);
	CHECK_EQ(weir_group_go(&owners, owner, port), 0);
	site_open(ctx, &s, "/accounts/{id}/{n}", ask, port);
	CHECK_EQ(request(ctx, &s, "POST", "/accounts/3/4", "", body, sizeof body), 200);
	CHECK_STR(body, "4\n");
	from = weir_now();
	CHECK_EQ(request(ctx, &s, "POST", "/accounts/3/60000", "", body, sizeof body), 504);
	CHECK(weir_now() - from >= WEIR_SEC(1));
	CHECK(weir_now() - from < WEIR_MS(1050));
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(60)), 0);
	CHECK_EQ(request(ctx, &s, "GET", "/accounts/3/0", "", body, sizeof body), 200);
	CHECK_STR(body, "60004\n");
	site_close(&s);
	weir_port_close(port);
	CHECK_EQ(weir_group_wait(&owners), 0);
	weir_port_free(port);
}

enum { CLIENTS = 50, REQUESTS = 200 };

static int asks_in_vain(const weir_ctx *ctx, void *arg)
{
	struct site s = *(struct site *)arg;
	char body[512];

	CHECK_EQ(weir_http_client_new("mem:site", &s.client), 0);
	for (int n = 0; n < REQUESTS; n++)
		CHECK_EQ(request(ctx, &s, "GET", "/accounts/4/0", "", body, sizeof body), 504);
	weir_http_client_free(s.client);
	return 0;
}

SIM(ten_thousand_calls_that_time_out_leave_no_task_behind, 1)
{
	const weir_sim_net quick = { .whole = true };
	weir_group owners, clients;
	struct site s;
	weir_port *port;
	struct order busy = { .id = 4, .coins = 86400000 };
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(2));
	uint64_t balance;
	size_t before;

	weir_sim_net_set(&quick);
	CHECK_EQ(weir_port_new(&port, sizeof(struct order), sizeof(uint64_t), 4), 0);
	weir_group_init(&owners, ctx);
	CHECK_EQ(weir_group_go(&owners, owner, port), 0);
	site_open(ctx, &s, "/accounts/{id}/{n}", ask, port);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	before = weir_task_count();
	weir_group_init(&clients, ctx);
	/* A call that keeps the owner busy for a day. */
	CHECK_EQ(weir_port_call(&soon, port, &busy, &balance), -ETIMEDOUT);
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(weir_group_go(&clients, asks_in_vain, &s), 0);
	CHECK_EQ(weir_group_wait(&clients), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(weir_task_count(), before);
	site_close(&s);
	weir_port_close(port);
	weir_group_cancel(&owners);
	CHECK_EQ(weir_group_wait(&owners), 0);
	weir_port_free(port);
}

/* A State that remembers what it was asked, and fails on demand. */
struct fake {
	struct state state;
	uint64_t id;
	char saved[TEXT];
	int answer;
};

static int fake_load(const weir_ctx *ctx, struct state *s, uint64_t id, char *text)
{
	struct fake *f = (struct fake *)s;

	(void)ctx;
	f->id = id;
	memcpy(text, "loaded", 7);
	return f->answer;
}

static int fake_save(const weir_ctx *ctx, struct state *s, uint64_t id, const char *text)
{
	struct fake *f = (struct fake *)s;

	(void)ctx;
	f->id = id;
	memcpy(f->saved, text, TEXT);
	return f->answer;
}

SIM(the_handler_of_notes_works_with_any_state, 20)
{
	struct fake f = { .state = { .load = fake_load, .save = fake_save } };
	struct site s;
	char body[512];

	site_open(ctx, &s, "/notes/{id}", note, &f);
	CHECK_EQ(request(ctx, &s, "GET", "/notes/5", "", body, sizeof body), 200);
	CHECK_STR(body, "loaded\n");
	CHECK_EQ(f.id, 5);
	CHECK_EQ(request(ctx, &s, "PUT", "/notes/6", "hello", body, sizeof body), 200);
	CHECK_STR(f.saved, "hello");
	CHECK_EQ(f.id, 6);
	f.answer = -ENOENT;
	CHECK_EQ(request(ctx, &s, "GET", "/notes/5", "", body, sizeof body), 404);
	CHECK_EQ(request(ctx, &s, "GET", "/notes/many", "", body, sizeof body), 404);
	site_close(&s);
}

static int scribble(const weir_ctx *ctx, void *arg)
{
	struct state *s = arg;
	char text[TEXT];

	for (int n = 0; n < 50; n++) {
		memset(text, 'a' + (int)weir_random(26), TEXT);
		CHECK_EQ(s->save(ctx, s, 1, text), 0);
		CHECK_EQ(s->load(ctx, s, 1, text), 0);
		for (int i = 1; i < TEXT; i++)
			CHECK_EQ(text[i], text[0]);
	}
	return 0;
}

TASK(the_state_in_memory_is_never_seen_half_written)
{
	static struct state s = { .load = load, .save = save };
	weir_group g;

	weir_mutex_init(&s.lock);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(weir_group_go_on(&g, i % weir_worker_count(), scribble, &s), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}
