/* SPDX-License-Identifier: MIT */
/* Calls that are made again: which, how often, and when. */
#include "grpc/server.h"

#include "demo.h"

enum { SEEDS = 20, MADE_MAX = 16 };

/* Fails so often, then answers. */
struct shaky {
	unsigned failures, made;
	int code;
	bool after_head;
	const char *pushback;
	int64_t at[MADE_MAX];
	int told[MADE_MAX]; /* how often it was made before, by its own word */
};

static int shake(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	weir_http *x = weir__grpc_exchange(call);
	const char *before = weir_http_header(x, "grpc-previous-rpc-attempts");
	struct shaky *s = arg;

	CHECK(s->made < MADE_MAX);
	s->at[s->made] = weir_now();
	s->told[s->made] = before ? atoi(before) : 0;
	if (s->made++ >= s->failures)
		return echo(ctx, call, NULL);
	if (s->after_head)
		CHECK_EQ(weir_grpc_send_head(ctx, call), 0);
	else if (s->pushback)
		CHECK_EQ(weir_http_add(x, "grpc-retry-pushback-ms", s->pushback), 0);
	return weir_grpc_fail(call, s->code, "shaky");
}

static int try(const weir_ctx *ctx, struct shaky *s, unsigned retries)
{
	weir_grpc_call_options opt = { .retries = retries };
	weir_grpc *call = NULL;
	const void *msg;
	struct demo d;
	size_t n;
	int r;

	s->made = 0;
	demo_new(&d);
	demo_method(&d, "/t.T/Shake", shake, s);
	demo_start(ctx, &d);
	r = weir_grpc_unary(ctx, d.channel, "/t.T/Shake", &opt, "x", 1, &call, &msg, &n);
	CHECK(r != 0 || (n == 1 && !memcmp(msg, "x", 1)));
	CHECK(r < 0 ? !call : weir_grpc_status(call) == r);
	weir_grpc_free(call);
	demo_stop(&d);
	return r;
}

SIM(a_call_that_may_be_made_again_is_until_it_succeeds, SEEDS)
{
	struct shaky s = { .failures = 4, .code = WEIR_GRPC_UNAVAILABLE };

	CHECK_EQ(try(ctx, &s, 4), 0);
	CHECK_EQ(s.made, 5);
	for (int i = 1; i < 5; i++) {
		int64_t pause = WEIR_MS(200) << (i - 1), was = s.at[i] - s.at[i - 1];

		CHECK_EQ(s.told[i], i);
		CHECK(was >= pause * 8 / 10 && was < pause * 13 / 10);
	}
}

SIM(no_call_is_made_again_more_often_than_was_said, SEEDS)
{
	struct shaky s = { .failures = MADE_MAX, .code = WEIR_GRPC_UNAVAILABLE };

	CHECK_EQ(try(ctx, &s, 0), WEIR_GRPC_UNAVAILABLE);
	CHECK_EQ(s.made, 1);
	CHECK_EQ(try(ctx, &s, 10), WEIR_GRPC_UNAVAILABLE);
	CHECK_EQ(s.made, 11);
	CHECK(s.at[10] - s.at[9] < WEIR_MS(6500));
	CHECK_EQ(try(ctx, &s, 11), -EINVAL);
}

SIM(what_may_have_begun_or_failed_otherwise_is_not_made_again, SEEDS)
{
	struct shaky s = { .failures = 1, .code = WEIR_GRPC_INTERNAL };

	CHECK_EQ(try(ctx, &s, 5), WEIR_GRPC_INTERNAL);
	CHECK_EQ(s.made, 1);
	s.code = WEIR_GRPC_UNAVAILABLE;
	s.after_head = true;
	CHECK_EQ(try(ctx, &s, 5), WEIR_GRPC_UNAVAILABLE);
	CHECK_EQ(s.made, 1);
}

SIM(the_server_says_when_and_whether, SEEDS)
{
	struct shaky s = { .failures = 2, .code = WEIR_GRPC_UNAVAILABLE, .pushback = "7000" };

	CHECK_EQ(try(ctx, &s, 3), 0);
	CHECK_EQ(s.made, 3);
	CHECK(s.at[1] - s.at[0] >= WEIR_SEC(7) && s.at[2] - s.at[1] < WEIR_SEC(8));
	s.pushback = "-1";
	CHECK_EQ(try(ctx, &s, 3), WEIR_GRPC_UNAVAILABLE);
	CHECK_EQ(s.made, 1);
}

SIM(no_call_is_made_again_beyond_its_deadline, SEEDS)
{
	struct shaky s = { .failures = MADE_MAX, .code = WEIR_GRPC_UNAVAILABLE };
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1));
	int64_t from = weir_now();

	/* The status is known, and no pause is waited for that leads nowhere. */
	CHECK_EQ(try(&soon, &s, 10), WEIR_GRPC_UNAVAILABLE);
	CHECK(s.made == 3 || s.made == 4);
	CHECK(weir_now() - from < WEIR_SEC(1));
}

SIM(a_server_that_is_not_there_yet_is_asked_again, SEEDS)
{
	weir_grpc_channel_options channel = { .backoff_ns = WEIR_MS(1) };
	weir_grpc_call_options opt = { .retries = 3 };
	int64_t from = weir_now();
	weir_grpc_channel *ch;
	const void *msg;
	weir_grpc *call;
	size_t n;

	CHECK_EQ(weir_grpc_channel_new("mem:nobody", &channel, &ch), 0);
	CHECK_EQ(weir_grpc_unary(ctx, ch, "/t.T/T", &opt, "x", 1, &call, &msg, &n),
	         WEIR_GRPC_UNAVAILABLE);
	CHECK(weir_now() - from >= WEIR_MS(1100) && weir_now() - from < WEIR_SEC(2));
	weir_grpc_free(call);
	weir_grpc_channel_free(ch);
}
