/* SPDX-License-Identifier: MIT */
/*
 * What a bus promises, as a table that is run against three brokers: the one in process, a real
 * nats-server, and the NATS listener of `weir serve`, the last two through the cluster adapter.
 * doc/design/bus.md says where they differ.
 */
#include <weir/bus.h>
#include <weir/group.h>
#include <weir/sync.h>

#include "numbers.h"
#include "servers.h"

typedef void contract_fn(const weir_ctx *ctx, const char *url);

/* Is the library built with the adapter? It finds fault with this URL in another way. */
static bool have_adapter(const weir_ctx *ctx)
{
	weir_bus *b;

	if (weir_bus_open(ctx, "nats://", &b) != -EPROTONOSUPPORT)
		return true;
	skip("built without nats.c");
	return false;
}

static void on_nats_server(const weir_ctx *ctx, contract_fn *fn)
{
	struct bus_server s;

	if (!have_adapter(ctx))
		return;
	if (!nats_server_start(&s, free_port())) {
		skip("nats-server is not installed");
		return;
	}
	fn(ctx, s.url);
	server_kill(&s, SIGKILL);
}

static void on_listener(const weir_ctx *ctx, contract_fn *fn)
{
	char dir[] = "/tmp/weir-bus-XXXXXX", addr[32];
	struct bus_server s = { .port = free_port() };
	bool there;

	if (!have_adapter(ctx))
		return;
	CHECK(mkdtemp(dir));
	snprintf(addr, sizeof addr, "127.0.0.1:%d", s.port);
	snprintf(s.url, sizeof s.url, "nats://%s", addr);
	there = access(weir_program(), X_OK) == 0 &&
	        server_start(&s,
	                     (char *[]){ (char *)(uintptr_t)weir_program(), "serve", "--listen",
	                                 "127.0.0.1:0", "--nats", addr, "--data", dir, NULL },
	                     "listening on nats://");
	if (there)
		fn(ctx, s.url);
	else
		skip("weir is not built");
	server_kill(&s, SIGKILL);
	CHECK(run((char *[]){ "rm", "-rf", dir, NULL }));
}

#define CONTRACT(name)                                          \
	static void name(const weir_ctx *ctx, const char *url); \
	TASK(in_process_##name)                                 \
	{                                                       \
		name(ctx, "mem:contract");                      \
	}                                                       \
	TASK(over_nats_server_##name)                           \
	{                                                       \
		on_nats_server(ctx, name);                      \
	}                                                       \
	TASK(over_weirs_listener_##name)                        \
	{                                                       \
		on_listener(ctx, name);                         \
	}                                                       \
	static void name(const weir_ctx *ctx, const char *url)

static weir_sub *subscribe(const weir_ctx *ctx, weir_bus *b, const char *subject, weir_msg_fn *fn,
                           void *arg)
{
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, subject, fn, arg, &s), 0);
	return s;
}

CONTRACT(a_handler_has_run_before_the_program_leaves)
{
	weir_bus *b = open_bus(ctx, url);
	struct seen seen = { 0 };

	subscribe(ctx, b, "orders.*", note, &seen);
	CHECK_EQ(weir_bus_publish(ctx, b, "orders.new", "42", 2), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(seen.n, 1);
	CHECK_EQ(seen.order[0], 42);
}

CONTRACT(messages_come_in_the_order_they_were_published_in)
{
	weir_bus *b = open_bus(ctx, url);
	struct seen seen = { 0 };

	subscribe(ctx, b, "a.>", note, &seen);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(publish(ctx, b, i % 2 ? "a.b" : "a.c.d", i), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(seen.n, 1000);
	for (int i = 0; i < seen.n; i++)
		CHECK_EQ(seen.order[i], i);
}

CONTRACT(wildcards_match_tokens)
{
	static const char *const patterns[] = { "a.b", "a.*", "*.b", "a.>", ">", "a.*.c", "*" };
	static const char *const subjects[] = { "a", "a.b", "a.c", "x.b", "a.b.c", "a.b.c.d" };
	enum { PATTERNS = 7, SUBJECTS = 6 };
	weir_bus *b = open_bus(ctx, url);
	static struct seen seen[PATTERNS]; /* too large for a stack, as below */
	int want;

	for (int i = 0; i < PATTERNS; i++)
		subscribe(ctx, b, patterns[i], note, &seen[i]);
	for (int i = 0; i < SUBJECTS; i++)
		CHECK_EQ(publish(ctx, b, subjects[i], i), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	for (int i = 0; i < PATTERNS; i++) {
		want = 0;
		for (int k = 0; k < SUBJECTS; k++)
			want += weir_subject_match(patterns[i], subjects[k]);
		CHECK_EQ(seen[i].n, want);
	}
}

CONTRACT(subscriptions_of_one_pattern_each_get_every_message)
{
	weir_bus *b = open_bus(ctx, url);
	static struct seen seen[3];
	weir_sub *s[3];

	for (int i = 0; i < 3; i++)
		s[i] = subscribe(ctx, b, "a", note, &seen[i]);
	CHECK_EQ(publish(ctx, b, "a", 1), 0);
	CHECK_EQ(weir_sub_drain(ctx, s[0]), 0);
	CHECK_EQ(publish(ctx, b, "a", 2), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(seen[0].n, 1);
	CHECK_EQ(seen[1].n, 2);
	CHECK_EQ(seen[2].n, 2);
}

CONTRACT(one_member_of_a_queue_group_gets_each_message)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub_options q = { .queue = "workers" };
	static struct seen seen[3], plain;
	bool got[200] = { false };
	weir_sub *s;

	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_bus_subscribe_with(ctx, b, "job", &q, note, &seen[i], &s), 0);
	subscribe(ctx, b, "job", note, &plain);
	for (int i = 0; i < 200; i++)
		CHECK_EQ(publish(ctx, b, "job", i), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(seen[0].n + seen[1].n + seen[2].n, 200);
	CHECK_EQ(plain.n, 200);
	for (int i = 0; i < 3; i++) {
		CHECK(seen[i].n > 20); /* By lot, so each gets a share. */
		for (int k = 0; k < seen[i].n; k++) {
			CHECK(!got[seen[i].order[k]]);
			got[seen[i].order[k]] = true;
		}
	}
}

CONTRACT(headers_reply_address_and_bytes_arrive_as_they_were)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub *s = follow(ctx, b, "größe", NULL);
	weir_msg m = { .subject = "größe",
		       .reply = "r.s",
		       .headers = "K: v\r\nk: w x\r\nK: second\r\n",
		       .data = "x\0y\r\nz",
		       .len = 6 };

	CHECK(weir_bus_publish_msg(ctx, b, &m) >= 0);
	m = (weir_msg){ .subject = "größe" };
	CHECK(weir_bus_publish_msg(ctx, b, &m) >= 0);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_STR(m.subject, "größe");
	CHECK_STR(m.reply, "r.s");
	CHECK(strstr(m.headers, "K: v\r\n") && strstr(m.headers, "k: w x\r\n"));
	CHECK(strstr(m.headers, "K: second\r\n") > strstr(m.headers, "K: v\r\n"));
	CHECK_EQ(m.len, 6);
	CHECK(!memcmp(m.data, "x\0y\r\nz", 7));
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK(!m.reply && !m.headers);
	CHECK_EQ(m.len, 0);
	weir_sub_close(s);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}

static int answer(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	return weir_msg_reply(ctx, m, "pong", 4);
}

CONTRACT(a_request_gets_its_answer)
{
	weir_bus *b = open_bus(ctx, url);
	weir_msg m;

	subscribe(ctx, b, "ping", answer, NULL);
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(weir_bus_request(ctx, b, "ping", "x", 1, &m), 1);
		CHECK_STR(m.data, "pong");
		weir_msg_free(&m);
	}
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}

CONTRACT(a_request_that_nobody_listens_to_says_so_at_once)
{
	weir_bus *b = open_bus(ctx, url);
	weir_msg m;

	CHECK_EQ(weir_bus_request(ctx, b, "nobody", "x", 1, &m), -ENETUNREACH);
	weir_bus_close(b);
}

CONTRACT(a_request_that_nobody_answers_ends_with_its_context)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub *silent = follow(ctx, b, "ping", NULL);
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(100));
	weir_msg m;

	CHECK_EQ(weir_bus_request(&soon, b, "ping", "x", 1, &m), -ETIMEDOUT);
	CHECK_EQ(weir_sub_next(ctx, silent, &m), 1);
	CHECK_EQ(weir_msg_reply(ctx, &m, "late", 4), 0); /* It finds nobody. */
	weir_sub_close(silent);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}

static int answer_with_my_name(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	CHECK(m->headers && strstr(m->headers, "Who: all\r\n"));
	return weir_msg_reply(ctx, m, arg, 1);
}

CONTRACT(a_request_to_many_gathers_so_many_answers_or_until_its_time)
{
	weir_bus *b = open_bus(ctx, url);
	weir_msg m = { .subject = "who", .headers = "Who: all\r\n" }, got[5];
	int r, seen = 0;
	weir_ctx soon;

	for (int i = 0; i < 3; i++)
		subscribe(ctx, b, i ? "who" : "*", answer_with_my_name,
		          (char *[]){ "a", "b", "c" }[i]);
	CHECK_EQ(weir_bus_request_many(ctx, b, &m, got, 3), 3);
	for (int i = 0; i < 3; i++) {
		seen |= 1 << (((const char *)got[i].data)[0] - 'a');
		weir_msg_free(&got[i]);
	}
	CHECK_EQ(seen, 7);
	CHECK_EQ(weir_bus_request_many(ctx, b, &m, got, 2), 2);
	weir_msg_free(&got[0]);
	weir_msg_free(&got[1]);
	soon = weir_ctx_timeout(ctx, WEIR_MS(1500));
	r = weir_bus_request_many(&soon, b, &m, got, 5);
	CHECK_EQ(r, 3);
	for (int i = 0; i < r; i++)
		weir_msg_free(&got[i]);
	m.subject = "no.body";
	CHECK_EQ(weir_bus_request_many(ctx, b, &m, got, 5), -ENETUNREACH);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}

CONTRACT(a_message_without_reply_address_is_answered_on_the_ack_subject_or_not_at_all)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub *plain = follow(ctx, b, "a", NULL);
	weir_sub *with = follow(ctx, b, "a", &(weir_sub_options){ .ack_subject = "done" });
	weir_sub *done = follow(ctx, b, "done", NULL);
	weir_msg m;

	CHECK_EQ(publish(ctx, b, "a", 1), 0);
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

CONTRACT(drain_of_a_subscription_delivers_what_came_before_and_nothing_after)
{
	weir_bus *b = open_bus(ctx, url);
	struct seen seen = { .slow_ns = WEIR_MS(1) };
	weir_sub *s = subscribe(ctx, b, "a", note, &seen);

	for (int i = 0; i < 20; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_sub_drain(ctx, s), 0);
	CHECK_EQ(seen.n, 20);
	CHECK_EQ(publish(ctx, b, "a", 99), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(seen.n, 20);
}

CONTRACT(a_drain_reports_what_it_did)
{
	weir_bus *b = open_bus(ctx, url);
	struct seen quick = { 0 }, stuck = { .slow_ns = WEIR_HOUR(1) };
	weir_sub *s = subscribe(ctx, b, "a", note, &quick);
	weir_bus_report report;
	weir_ctx soon;

	subscribe(ctx, b, "b", note, &stuck);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(publish(ctx, b, "b", i), 0);
	CHECK_EQ(weir_bus_flush(ctx, b), 0);
	CHECK_EQ(weir_sub_wait(ctx, s, 10), 0);
	soon = weir_ctx_timeout(ctx, WEIR_MS(200));
	CHECK_EQ(weir_bus_drain_report(&soon, b, &report), -ETIMEDOUT);
	CHECK_EQ(report.subs, 2);
	CHECK_EQ(report.cut, 1);
	CHECK_EQ(report.unsent, 0);
	/* One may have been in the hands of the handler that was cut. */
	CHECK(report.pending == 2 || report.pending == 3);
	CHECK_EQ(report.handled + report.dropped, 3);
	CHECK(report.dropped >= 2);
}

CONTRACT(what_is_followed_survives_the_drain_of_its_bus)
{
	weir_bus *b = open_bus(ctx, url);
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

CONTRACT(flush_means_queued_at_those_who_subscribed)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub *s = follow(ctx, b, "a", NULL);
	weir_sub_stats st;

	for (int i = 0; i < 100; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_bus_flush(ctx, b), 0);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.delivered, 100);
	CHECK_EQ(st.pending, 100);
	weir_sub_close(s);
	weir_bus_close(b);
}

CONTRACT(wait_ends_when_so_many_were_handled_or_with_its_context)
{
	weir_bus *b = open_bus(ctx, url);
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(20));
	struct seen seen = { 0 };
	weir_sub *s = subscribe(ctx, b, "a", note, &seen);

	for (int i = 0; i < 10; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_sub_wait(ctx, s, 10), 0);
	CHECK_EQ(seen.n, 10);
	CHECK_EQ(weir_sub_wait(&soon, s, 11), -ETIMEDOUT);
	weir_bus_close(b);
}

CONTRACT(a_subscription_with_a_maximum_takes_so_many)
{
	weir_bus *b = open_bus(ctx, url);
	struct seen seen = { 0 };
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe_with(ctx, b, "a", &(weir_sub_options){ .max = 3 }, note, &seen,
	                                 &s),
	         0);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_sub_wait(ctx, s, 3), 0);
	CHECK_EQ(weir_sub_wait(ctx, s, 4), -EPIPE);
	CHECK_EQ(weir_sub_drain(ctx, s), 0);
	CHECK_EQ(seen.n, 3);
	weir_bus_close(b);
}

/* Ten messages into a queue of four. */
static void overflow(const weir_ctx *ctx, const char *url, enum weir_sub_overflow policy, int first,
                     int dropped)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub_options small = { .pending_max = 4, .overflow = policy };
	weir_sub *s = follow(ctx, b, "a", &small);
	weir_sub_stats st;
	weir_bus_stats all;
	weir_msg m;

	for (int i = 0; i < 10; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_bus_flush(ctx, b), 0);
	weir_sub_stats_get(s, &st);
	CHECK_EQ(st.dropped, dropped);
	CHECK_EQ(st.pending, 4);
	weir_bus_stats_get(b, &all);
	CHECK_EQ(all.dropped, dropped);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
		CHECK_EQ(number(&m), first + i);
	}
	if (policy == WEIR_SUB_CLOSE)
		CHECK_EQ(weir_sub_next(ctx, s, &m), 0);
	weir_sub_close(s);
	weir_bus_close(b);
}

CONTRACT(a_full_subscription_drops_its_oldest)
{
	overflow(ctx, url, WEIR_SUB_DROP_OLDEST, 6, 6);
}

CONTRACT(a_full_subscription_drops_what_is_new)
{
	overflow(ctx, url, WEIR_SUB_DROP_NEW, 0, 6);
}

CONTRACT(a_full_subscription_closes)
{
	overflow(ctx, url, WEIR_SUB_CLOSE, 0, 1);
}

CONTRACT(two_programs_on_one_broker_hear_each_other)
{
	weir_bus *a = open_bus(ctx, url), *b = open_bus(ctx, url);
	weir_sub *s = follow(ctx, b, "a.*", NULL);
	weir_msg m;

	subscribe(ctx, b, "ping", answer, NULL);
	CHECK_EQ(publish(ctx, a, "a.b", 7), 0);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(number(&m), 7);
	CHECK_EQ(weir_bus_request(ctx, a, "ping", NULL, 0, &m), 1);
	CHECK_STR(m.data, "pong");
	weir_msg_free(&m);
	weir_sub_close(s);
	CHECK_EQ(weir_bus_drain(ctx, a), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}

static int pass_on(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	if (weir_sleep(ctx, WEIR_MS(1)) < 0)
		return -ECANCELED;
	return weir_bus_publish(ctx, m->priv[1], "second", m->data, m->len);
}

CONTRACT(handlers_may_publish_while_their_bus_drains)
{
	weir_bus *a = open_bus(ctx, url), *b = open_bus(ctx, url);
	weir_sub *s = follow(ctx, b, "second", NULL);
	weir_msg m;

	subscribe(ctx, a, "first", pass_on, NULL);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(publish(ctx, a, "first", i), 0);
	CHECK_EQ(weir_bus_drain(ctx, a), 0);
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
		CHECK_EQ(number(&m), i);
	}
	weir_sub_close(s);
	weir_bus_close(b);
}

CONTRACT(what_is_too_large_or_misnamed_is_refused)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub *s = follow(ctx, b, "a", NULL);
	size_t max = 1 << 20;
	char *big = calloc(1, max + 1);
	weir_msg m;

	CHECK_EQ(weir_bus_publish(ctx, b, "a", big, max), 0);
	CHECK_EQ(weir_bus_publish(ctx, b, "a", big, max + 1), -EMSGSIZE);
	CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	CHECK_EQ(m.len, max);
	CHECK_EQ(publish(ctx, b, "a.*", 1), -EINVAL);
	CHECK_EQ(publish(ctx, b, "a..b", 1), -EINVAL);
	CHECK_EQ(publish(ctx, b, "a b", 1), -EINVAL);
	free(big);
	weir_sub_close(s);
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

CONTRACT(closing_from_inside_is_refused)
{
	weir_bus *b = open_bus(ctx, url);
	weir_sub *s;

	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", close_myself, &s, &s), 0);
	CHECK_EQ(publish(ctx, b, "a", 1), 0);
	CHECK_EQ(weir_sub_wait(ctx, s, 1), 0);
	CHECK_EQ(weir_sub_close(s), 0);
	weir_bus_close(b);
}

CONTRACT(tasks_come_and_go_while_others_publish)
{
	weir_bus *b = open_bus(ctx, url);
	struct pub p[3];
	weir_group g;
	weir_msg m;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		p[i] = (struct pub){ b, "a.b", i * 1000, 300, 0 };
		CHECK_EQ(weir_group_go(&g, publisher, &p[i]), 0);
	}
	for (int i = 0; i < 20; i++) {
		weir_sub *s = follow(ctx, b, i % 2 ? "a.*" : "a.b", NULL);

		if (i % 3 == 0 && weir_bus_publish(ctx, b, "a.b", "1", 1) == 0)
			CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
		weir_sub_close(s);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(p[i].result, 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}
