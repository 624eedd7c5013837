/* SPDX-License-Identifier: MIT */
#include <weir/bus.h>
#include <weir/group.h>
#include <weir/sync.h>

#include "numbers.h"

SIM(a_handler_has_run_before_the_program_leaves, 200)
{
	struct seen seen = { 0 };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "orders.*", note, &seen, &s), 0);
	CHECK_EQ(weir_bus_publish(ctx, b, "orders.new", "42", 2), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(seen.n, 1);
	CHECK_EQ(seen.order[0], 42);
}

SIM(a_bus_knows_whether_anybody_may_hear, 5)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s;

	CHECK(!weir_bus_heard(b, 0));
	CHECK_EQ(weir_bus_follow(ctx, b, "a", NULL, &s), 0);
	CHECK(weir_bus_heard(b, 0));
	CHECK(!weir_bus_heard(b, 1));
	weir_sub_close(s);
	CHECK(!weir_bus_heard(b, 0));
	weir_bus_close(b);
}

SIM(sub_drain_delivers_what_came_before_and_nothing_after, 200)
{
	struct seen seen = { .slow_ns = WEIR_MS(1) };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", note, &seen, &s), 0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_sub_drain(ctx, s), 0);
	CHECK_EQ(seen.n, 20);
	CHECK_EQ(publish(ctx, b, "a", 99), 0);
	weir_bus_close(b);
	CHECK_EQ(seen.n, 20);
}

SIM(sub_drain_whose_context_ends_cancels_the_handler_and_joins_it, 100)
{
	struct seen seen = { .slow_ns = WEIR_HOUR(1) };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(50));
	int64_t from = weir_now();
	weir_bus_stats st;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", note, &seen, &s), 0);
	publish(ctx, b, "a", 1);
	publish(ctx, b, "a", 2);
	weir_sleep(ctx, WEIR_MS(1));
	weir_sub_drain(&soon, s);
	CHECK(weir_now() - from < WEIR_SEC(1));
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.dropped, 1); /* The second; the first was in the handler's hands. */
	CHECK_EQ(seen.n, 0);
	weir_bus_close(b);
}

SIM(a_drain_that_is_late_already_cancels_a_handler_that_has_not_begun, 100)
{
	struct seen seen = { .slow_ns = WEIR_HOUR(1) };
	weir_bus *b = open_bus(ctx, "mem:");
	int64_t from = weir_now();
	weir_ctx late;
	weir_sub *s;

	CHECK_EQ(weir_scope_open(ctx, &late), 0);
	weir_scope_cancel(late.scope, -ECANCELED, "test");
	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", note, &seen, &s), 0);
	publish(ctx, b, "a", 1);
	CHECK_EQ(weir_sub_drain(&late, s), -ECANCELED);
	weir_scope_close(late.scope);
	CHECK(weir_now() - from < WEIR_SEC(1));
	weir_bus_close(b);
}

static int subscribe_more(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	struct seen *seen = arg;
	weir_sub *s;
	int r = weir_bus_subscribe(ctx, m->priv[1], "b.*", note, seen, &s);

	CHECK(r == 0 || r == -EPIPE || r == -ECANCELED);
	return 0;
}

SIM(a_handler_may_subscribe_while_its_bus_drains, 1000)
{
	struct seen seen = { 0 };
	weir_bus *b = open_bus(ctx, "mem:"), *same = open_bus(ctx, "mem:x");
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, same, "a", subscribe_more, &seen, &s), 0);
	for (int i = 0; i < 3; i++)
		publish(ctx, same, "a", i);
	if (weir_random(2))
		weir_bus_drain(ctx, same);
	else
		weir_bus_close(same);
	weir_bus_close(b);
}

SIM(sub_close_drops_what_waits_and_counts_it, 100)
{
	struct seen seen = { .slow_ns = WEIR_HOUR(1) };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_bus_stats st;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", note, &seen, &s), 0);
	for (int i = 0; i < 10; i++)
		publish(ctx, b, "a", i);
	weir_sleep(ctx, WEIR_MS(1));
	CHECK_EQ(weir_sub_close(s), 0);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.dropped, 9);
	CHECK_EQ(st.subs, 0);
	weir_bus_close(b);
}

static int close_myself(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	weir_sub **me = arg;

	(void)m;
	CHECK_EQ(weir_sub_close(*me), -EDEADLK);
	CHECK_EQ(weir_sub_drain(ctx, *me), -EDEADLK);
	CHECK_EQ(weir_bus_drain(ctx, m->priv[1]), -EDEADLK);
	return 0;
}

TASK(closing_from_inside_is_refused_and_consumes_nothing)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", close_myself, &s, &s), 0);
	publish(ctx, b, "a", 1);
	CHECK_EQ(weir_sub_wait(ctx, s, 1), 0);
	CHECK_EQ(weir_sub_close(s), 0);
	weir_bus_close(b);
}

TASK(next_takes_in_order_and_gives_0_after_the_bus_was_drained)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a.>", NULL);
	weir_msg m;

	publish(ctx, b, "a.b", 1);
	publish(ctx, b, "a.c.d", 2);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_STR(m.subject, "a.b");
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_STR(m.data, "2");
	CHECK_EQ(weir_sub_next(ctx, s, &m), 0);
	CHECK_EQ(weir_sub_close(s), 0);
}

SIM(next_ends_with_its_context_and_loses_nothing, 200)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", NULL);
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5));
	weir_msg m;

	CHECK_EQ(weir_sub_next(&soon, s, &m), -ETIMEDOUT);
	publish(ctx, b, "a", 1);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	weir_sub_close(s);
	weir_bus_close(b);
}

static int next_once(const weir_ctx *ctx, void *arg)
{
	weir_msg m;

	return weir_sub_next(ctx, arg, &m);
}

SIM(close_wakes_who_waits_in_next, 200)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", NULL);
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, next_once, s), 0);
	weir_sleep(ctx, WEIR_MS(1));
	CHECK_EQ(weir_sub_close(s), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_bus_close(b);
}

SIM(a_second_task_in_next_is_told_it_is_busy, 20)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", NULL);
	weir_group g;
	weir_msg m;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, next_once, s), 0);
	weir_sleep(ctx, WEIR_MS(1));
	CHECK_EQ(weir_sub_next(ctx, s, &m), -EBUSY);
	weir_sub_close(s);
	weir_group_wait(&g);
	weir_bus_close(b);
}

TASK(buses_of_one_name_share_a_broker_and_nameless_ones_do_not)
{
	weir_bus *a = open_bus(ctx, "mem:x"), *b = open_bus(ctx, "mem:x"),
		 *c = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", NULL), *t = follow(ctx, c, "a", NULL);
	weir_sub_stats st;

	publish(ctx, a, "a", 1);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.pending, 1);
	weir_sub_stats_get(t, &st);
	CHECK_EQ(st.pending, 0);
	weir_bus_close(a);
	weir_sub_close(s);
	weir_bus_close(b);
	weir_bus_close(c);
	weir_sub_close(t);
	a = open_bus(ctx, "mem:x"); /* The name was free again. */
	weir_bus_close(a);
}

TASK(bad_urls_and_subjects_are_refused)
{
	weir_bus *b;
	weir_sub *s;

	CHECK_EQ(weir_bus_open(ctx, "mem", &b), -EINVAL);
	CHECK_EQ(weir_bus_open(ctx, "kafka://x", &b), -EPROTONOSUPPORT);
	b = open_bus(ctx, "mem:");
	CHECK_EQ(publish(ctx, b, "a.*", 1), -EINVAL);
	CHECK_EQ(publish(ctx, b, "a..b", 1), -EINVAL);
	CHECK_EQ(weir_bus_publish_msg(ctx, b, &(weir_msg){ .subject = "a", .reply = "b c" }),
	         -EINVAL);
	CHECK_EQ(weir_bus_follow(ctx, b, "a.>.b", NULL, &s), -EINVAL);
	CHECK_EQ(weir_bus_follow(ctx, b, "a", &(weir_sub_options){ .queue = "x y" }, &s), -EINVAL);
	weir_bus_close(b);
}

TASK(a_payload_over_1_mib_is_refused)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", NULL);
	size_t max = 1 << 20;
	char *big = calloc(1, max + 1);
	weir_msg m;

	CHECK_EQ(weir_bus_publish(ctx, b, "a", big, max), 0);
	CHECK_EQ(weir_bus_publish(ctx, b, "a", big, max + 1), -EMSGSIZE);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(m.len, max);
	CHECK_EQ(weir_bus_publish_msg(
			 ctx, b,
			 &(weir_msg){
				 .subject = "a", .data = big, .len = max, .headers = "A: b\r\n" }),
	         -EMSGSIZE);
	free(big);
	weir_sub_close(s);
	weir_bus_close(b);
}

TASK(reply_address_and_headers_arrive)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s = follow(ctx, b, "a", NULL);
	weir_msg m = {
		.subject = "a", .reply = "r.s", .headers = "K: v\r\n", .data = "xy", .len = 2
	};

	CHECK_EQ(weir_bus_publish_msg(ctx, b, &m), 1);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_STR(m.reply, "r.s");
	CHECK_STR(m.headers, "K: v\r\n");
	CHECK_EQ(m.len, 2);
	CHECK_STR(m.data, "xy");
	weir_sub_close(s);
	weir_bus_close(b);
}

/* A random pattern or subject of up to three tokens from two letters. */
static void make_subject(char *out, bool wild)
{
	int n = 1 + (int)weir_random(3);

	for (int i = 0; i < n; i++) {
		uint32_t k = weir_random(8);

		if (i)
			*out++ = '.';
		*out++ = wild && k == 0 ? '*' : wild && k == 1 && i == n - 1 ? '>' : "ab"[k % 2];
	}
	*out = 0;
}

/* What subjects found is kept: it must be right after every change. */
SIM(a_message_finds_whom_it_should_while_subscriptions_come_and_go, 30)
{
	enum { SUBS = 12 };
	weir_sub *s[SUBS] = { NULL };
	char pattern[SUBS][8], subject[8];
	weir_bus *b = open_bus(ctx, "mem:");
	int want;

	for (int round = 0; round < 500; round++) {
		uint32_t i = weir_random(SUBS);

		if (weir_random(4) == 0) {
			if (s[i]) {
				weir_sub_close(s[i]);
				s[i] = NULL;
			} else {
				make_subject(pattern[i], true);
				s[i] = follow(ctx, b, pattern[i], NULL);
			}
		}
		make_subject(subject, false);
		want = 0;
		for (int k = 0; k < SUBS; k++)
			want += s[k] && weir_subject_match(pattern[k], subject);
		CHECK_EQ(weir_bus_publish_msg(ctx, b, &(weir_msg){ .subject = subject }), want);
	}
	for (int k = 0; k < SUBS; k++)
		weir_sub_close(s[k]);
	weir_bus_close(b);
}

/* ---- Bounds ---- */

SIM(wait_hears_its_context, 100)
{
	struct seen seen = { 0 };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5));
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", note, &seen, &s), 0);
	publish(ctx, b, "a", 1);
	CHECK_EQ(weir_sub_wait(&soon, s, 2), -ETIMEDOUT);
	CHECK_EQ(weir_sub_wait(ctx, s, 1), 0);
	weir_bus_close(b);
}

static int fail(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)ctx, (void)m, (void)arg;
	return -EIO;
}

TASK(what_a_handler_returns_is_counted)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_stats st;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", fail, NULL, &s), 0);
	publish(ctx, b, "a", 1);
	CHECK_EQ(weir_sub_wait(ctx, s, 1), 0);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.failed, 1);
	CHECK_EQ(st.handled, 1);
	weir_bus_close(b);
}

/* ---- Queue groups ---- */

SIM(one_member_of_a_queue_group_gets_each_message, 500)
{
	struct seen seen[3] = { { 0 } };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_options q = { .queue = "workers" };
	weir_sub *s[3];
	bool got[40] = { false };

	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_bus_subscribe_with(ctx, b, i ? "job.*" : "job.x", &q, note, &seen[i],
		                                 &s[i]),
		         0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(publish(ctx, b, "job.x", i), 0);
	weir_sub_drain(
		ctx,
		s[1]); /* A member leaves: what it has it handles, the rest goes to the others. */
	for (int i = 20; i < 40; i++)
		CHECK_EQ(publish(ctx, b, "job.x", i), 0);
	weir_bus_drain(ctx, b);
	CHECK_EQ(seen[0].n + seen[1].n + seen[2].n, 40);
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < seen[i].n; k++) {
			CHECK(!got[seen[i].order[k]]);
			got[seen[i].order[k]] = true;
		}
}

TASK(a_queue_group_uses_the_member_that_has_room)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_options small = { .queue = "q", .pending_max = 1 }, large = { .queue = "q" };
	weir_sub *s = follow(ctx, b, "a", &small), *l = follow(ctx, b, "a", &large);
	weir_bus_stats st;

	for (int i = 0; i < 50; i++)
		publish(ctx, b, "a", i);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.dropped, 0);
	CHECK_EQ(st.delivered, 50);
	weir_sub_close(s);
	weir_sub_close(l);
	weir_bus_close(b);
}

TASK(groups_and_plain_subscriptions_each_get_theirs)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s[5] = {
		follow(ctx, b, "a", &(weir_sub_options){ .queue = "p" }),
		follow(ctx, b, "a", &(weir_sub_options){ .queue = "q" }),
		follow(ctx, b, "*", &(weir_sub_options){ .queue = "p" }),
		follow(ctx, b, ">", &(weir_sub_options){ .queue = "q" }),
		follow(ctx, b, "a", NULL),
	};

	CHECK_EQ(weir_bus_publish_msg(ctx, b, &(weir_msg){ .subject = "a" }), 3);
	for (int i = 0; i < 5; i++)
		weir_sub_close(s[i]);
	weir_bus_close(b);
}

/* ---- Request and reply ---- */

static int answer(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	return weir_msg_reply(ctx, m, "pong", 4);
}

SIM(a_request_gets_its_answer, 300)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_bus_stats st;
	weir_msg m;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "ping", answer, NULL, &s), 0);
	CHECK_EQ(weir_bus_request(ctx, b, "ping", "x", 1, &m), 1);
	CHECK_STR(m.data, "pong");
	weir_msg_free(&m);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.subs, 1); /* The inbox has gone. */
	weir_bus_drain(ctx, b);
}

TASK(a_request_without_responders_says_so_at_once)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_msg m;

	CHECK_EQ(weir_bus_request(ctx, b, "nobody", "x", 1, &m), -ENETUNREACH);
	weir_bus_close(b);
}

TASK(a_request_that_every_responder_drops_says_so)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s =
		follow(ctx, b, "a",
	               &(weir_sub_options){ .pending_max = 1, .overflow = WEIR_SUB_DROP_NEW });
	weir_msg m;

	publish(ctx, b, "a", 1);
	CHECK_EQ(weir_bus_request(ctx, b, "a", "x", 1, &m), -ENOBUFS);
	weir_sub_close(s);
	weir_bus_close(b);
}

struct asking {
	weir_bus *bus;
	int result;
};

static int ask(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	struct asking *a = arg;
	weir_msg got;

	(void)m;
	a->result = weir_bus_request(ctx, a->bus, "ping", "x", 1, &got);
	return 0;
}

SIM(a_request_that_waits_while_its_bus_is_drained_says_so, 100)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *silent = follow(ctx, b, "ping", NULL), *s;
	struct asking a = { b, 0 };
	weir_msg m;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "go", ask, &a, &s), 0);
	publish(ctx, b, "go", 1);
	CHECK_EQ(weir_sub_next(ctx, silent, &m), 1);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(a.result, -EPIPE);
	weir_sub_close(silent);
}

static int late(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	weir_sleep(ctx, WEIR_SEC(1));
	return weir_msg_reply(ctx, m, "late", 4);
}

SIM(a_late_answer_finds_nobody, 200)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(10));
	weir_msg m;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "ping", late, NULL, &s), 0);
	CHECK_EQ(weir_bus_request(&soon, b, "ping", "x", 1, &m), -ETIMEDOUT);
	CHECK_EQ(weir_sub_drain(ctx, s), 0);
	weir_bus_close(b);
}

SIM(the_first_of_several_answers_wins, 200)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *s[3];
	weir_msg m;

	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_bus_subscribe(ctx, b, "ping", answer, NULL, &s[i]), 0);
	CHECK_EQ(weir_bus_request(ctx, b, "ping", "x", 1, &m), 1);
	weir_msg_free(&m);
	weir_bus_drain(ctx, b);
}

TASK(a_message_without_reply_address_is_answered_on_the_ack_subject_or_not_at_all)
{
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub *plain = follow(ctx, b, "a", NULL);
	weir_sub *with = follow(ctx, b, "a", &(weir_sub_options){ .ack_subject = "done" });
	weir_sub *done = follow(ctx, b, "done", NULL);
	weir_msg m;

	publish(ctx, b, "a", 1);
	CHECK_EQ(weir_sub_next(ctx, plain, &m), 1);
	CHECK_EQ(weir_msg_reply(ctx, &m, "no", 2), -EDESTADDRREQ);
	CHECK_EQ(weir_sub_next(ctx, with, &m), 1);
	CHECK_EQ(weir_msg_reply(ctx, &m, "ok", 2), 0);
	CHECK_EQ(weir_sub_next(ctx, done, &m), 1);
	CHECK_STR(m.data, "ok");
	weir_sub_close(plain);
	weir_sub_close(with);
	weir_sub_close(done);
	weir_bus_close(b);
}

/* ---- Races ---- */

SIM(order_holds_per_publisher, 500)
{
	struct seen seen = { 0 };
	weir_bus *b = open_bus(ctx, "mem:");
	struct pub p[3];
	int next[3] = { 0, 1000, 2000 };
	weir_group g;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a.>", note, &seen, &s), 0);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		p[i] = (struct pub){ b, "a.b", i * 1000, 50, 0 };
		CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(seen.n, 150);
	for (int i = 0; i < seen.n; i++)
		CHECK_EQ(seen.order[i], next[seen.order[i] / 1000]++);
}

struct churn {
	weir_bus *b;
	struct seen seen;
};

static int come_and_go(const weir_ctx *ctx, void *arg)
{
	struct churn *c = arg;
	weir_sub *s;
	weir_msg m;

	for (int i = 0; i < 4; i++) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_US(50));

		CHECK_EQ(weir_bus_subscribe(ctx, c->b, i % 2 ? "a.*" : "a.b", note, &c->seen, &s),
		         0);
		weir_yield(ctx);
		if (weir_random(2))
			weir_sub_close(s);
		else
			weir_sub_drain(&soon, s);
		CHECK_EQ(weir_bus_follow(ctx, c->b, ">",
		                         &(weir_sub_options){ .pending_max = 2,
		                                              .overflow = weir_random(4) },
		                         &s),
		         0);
		weir_sub_next(&soon, s, &m);
		weir_sub_close(s);
	}
	return 0;
}

SIM(coming_publishing_and_going_leave_nothing_behind, 2000)
{
	struct churn c[3] = { { 0 } };
	struct pub p[2];
	weir_bus *b = open_bus(ctx, "mem:"), *other;
	weir_bus_stats st;
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		c[i].b = b;
		CHECK_EQ(weir_group_go(&g, come_and_go, &c[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		p[i] = (struct pub){ b, "a.b", 0, 20, 0 };
		CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(st.subs, 0);
	CHECK_EQ(st.published, 40);
	CHECK_EQ(weir_bus_open(ctx, "mem:y", &other), 0);
	weir_bus_close(other);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}

SIM(what_is_published_is_handled_dropped_or_counted, 1000)
{
	struct seen seen = { 0 };
	weir_bus *b = open_bus(ctx, "mem:");
	weir_sub_options opt = { .pending_max = 3, .overflow = weir_random(2) };
	struct pub p[2];
	weir_bus_stats st;
	weir_group g;
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe_with(ctx, b, "a", &opt, note, &seen, &s), 0);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 2; i++) {
		p[i] = (struct pub){ b, "a", 0, 30, 0 };
		CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(weir_sub_drain(ctx, s), 0);
	weir_bus_stats_get(b, &st);
	CHECK_EQ(seen.n + (int)st.dropped, 60);
	weir_bus_close(b);
}

SIM(cancel_ends_handlers_and_a_close_still_joins, 300)
{
	struct seen seen = { .slow_ns = WEIR_HOUR(1) };
	weir_bus *b;
	weir_ctx mine;
	weir_sub *s;

	CHECK_EQ(weir_scope_open(ctx, &mine), 0);
	b = open_bus(&mine, "mem:");
	CHECK_EQ(weir_bus_subscribe(&mine, b, "a", note, &seen, &s), 0);
	publish(&mine, b, "a", 1);
	weir_scope_cancel(mine.scope, -ECANCELED, "test");
	CHECK_EQ(weir_sub_wait(ctx, s, 5), -EPIPE);
	CHECK_EQ(publish(ctx, b, "a", 2), 0);
	weir_bus_close(b);
	weir_scope_close(mine.scope);
}

TASK(many_workers_at_once)
{
	static struct churn c[4]; /* large: not for a stack of 64 KiB */
	struct pub p[4];
	weir_bus *b = open_bus(ctx, "mem:");
	weir_group g;

	weir_group_init(&g, ctx);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 4; i++) {
			c[i].b = b;
			c[i].seen.n = 0;
			p[i] = (struct pub){ b, "a.b", 0, 50, 0 };
			CHECK_EQ(weir_group_go(&g, come_and_go, &c[i]), 0);
			CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
		}
		CHECK_EQ(weir_group_wait(&g), 0);
		weir_group_init(&g, ctx);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}
