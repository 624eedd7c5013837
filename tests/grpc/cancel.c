/* SPDX-License-Identifier: MIT */
/*
 * Calls that are cancelled at random moments: before they leave, while the head is on its way,
 * between messages, with the end, by deadlines, by the end of their task's group, by a lost
 * connection. Nothing may leak (the sanitizers look), no handler may stay, nobody may get another's
 * message, and the channel goes on working.
 */
#include "demo.h"

enum { SEEDS = 1000, CALLERS = 10, CALLS = 10, SOCKET_CALLERS = 40 };

/* ThreadSanitizer is slow, and sees the same with less. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#ifdef SLOW
enum { SOCKET_CALLS = 250 };
#else
enum { SOCKET_CALLS = 2500 };
#endif

struct storm {
	struct demo d;
	int calls;                    /* of each caller */
	unsigned inside;              /* atomic: handlers that run */
	unsigned cancelled, finished; /* atomic */
};

static int chat(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	struct storm *s = arg;
	const void *msg;
	size_t n;
	int r;

	__atomic_add_fetch(&s->inside, 1, __ATOMIC_RELAXED);
	while ((r = weir_grpc_recv(ctx, call, &msg, &n)) > 0) {
		if (weir_random(4) == 0 && (r = weir_sleep(ctx, WEIR_US(weir_random(2000)))) < 0)
			break;
		for (unsigned i = 0; r >= 0 && i < 3; i++)
			r = weir_grpc_send(ctx, call, msg, n);
		if (r < 0)
			break;
	}
	__atomic_sub_fetch(&s->inside, 1, __ATOMIC_RELAXED);
	return r;
}

static void one_call(const weir_ctx *ctx, struct storm *s, uint32_t id)
{
	static const char big[8000];
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_US(weir_random(3000)));
	const weir_ctx *with = weir_random(3) ? ctx : &soon;
	unsigned moment = weir_random(12);
	uint32_t text[2] = { id, id * 7 };
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r = 0;

	if (weir_grpc_start(with, s->d.channel, "/t.T/Chat", NULL, &call) < 0)
		return;
	for (unsigned step = 0; step < 8 && r >= 0; step++) {
		if (step == moment) {
			if (weir_random(2) && weir_sleep(ctx, WEIR_US(weir_random(500))) < 0)
				break;
			weir_grpc_cancel(call);
			__atomic_add_fetch(&s->cancelled, 1, __ATOMIC_RELAXED);
			break;
		}
		if (step == 2 && weir_random(4) == 0)
			r = weir_grpc_send(with, call, big, sizeof big);
		else if (step % 4 == 0)
			r = weir_grpc_send(with, call, text, sizeof text);
		else
			r = weir_grpc_recv(with, call, &msg, &n);
		if (r > 0 && n == sizeof text)
			CHECK(!memcmp(msg, text, n));
		if (r < 0)
			break;
	}
	if (weir_random(2) && weir_grpc_finish(with, call) == 0)
		__atomic_add_fetch(&s->finished, 1, __ATOMIC_RELAXED);
	weir_grpc_free(call);
}

static int caller(const weir_ctx *ctx, void *arg)
{
	struct storm *s = arg;
	uint32_t id = weir_random(1u << 30);

	for (int i = 0; i < s->calls && weir_ctx_err(ctx) == 0; i++)
		one_call(ctx, s, id++);
	return 0;
}

static void blow(const weir_ctx *ctx, struct storm *s, int callers)
{
	weir_group g, cut;
	int64_t until;

	weir_group_init(&g, ctx);
	weir_group_init(&cut, ctx);
	for (int i = 0; i < callers; i++)
		CHECK_EQ(weir_group_go(i % 4 ? &g : &cut, caller, s), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_US(weir_random(20000))), 0);
	weir_group_cancel(&cut);
	CHECK_EQ(weir_group_wait(&cut), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_sim_net_set(&(weir_sim_net){ 0 });
	/* Handlers hear of it a round trip later. */
	until = weir_now() + WEIR_SEC(30);
	while (__atomic_load_n(&s->inside, __ATOMIC_RELAXED) && weir_now() < until)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	CHECK_EQ(__atomic_load_n(&s->inside, __ATOMIC_RELAXED), 0);
}

SIM(no_call_that_is_cancelled_leaves_anything, SEEDS)
{
	struct storm s = { .calls = CALLS };

	demo_new(&s.d);
	demo_method(&s.d, "/t.T/Chat", chat, &s);
	demo_start(ctx, &s.d);
	weir_sim_net_set(&(weir_sim_net){ .latency_ns = WEIR_US(weir_random(1000)),
	                                  .loss = weir_random(4) ? 0 : 2000,
	                                  .whole = weir_random(2) });
	blow(ctx, &s, CALLERS);
	demo_stop(&s.d);
}

static int serve(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;

	return weir_http_serve(ctx, s->server, s->listener);
}

TASK(over_sockets_neither)
{
	struct storm s = { .calls = SOCKET_CALLS };
	char target[80];

	demo_new(&s.d);
	demo_method(&s.d, "/t.T/Chat", chat, &s);
	CHECK_EQ(weir_listen("127.0.0.1:0", &s.d.site.listener), 0);
	weir_group_init(&s.d.site.group, ctx);
	CHECK_EQ(weir_group_go(&s.d.site.group, serve, &s.d.site), 0);
	snprintf(target, sizeof target, "grpc://%s", weir_listener_addr(s.d.site.listener));
	CHECK_EQ(weir_grpc_channel_new(target, NULL, &s.d.channel), 0);
	blow(ctx, &s, SOCKET_CALLERS);
	CHECK(s.cancelled > 100 && s.finished > 100);
	demo_stop(&s.d);
}
