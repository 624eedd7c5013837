/* SPDX-License-Identifier: MIT */
/* The NATS listener with time and the network in hand: pings, limits, slow clients, the stop, and
 * both sides of the bus. */
#include <weir/nats.h>

#include "test.h"

struct site {
	weir_bus *bus;
	weir_nats_server *n;
	weir_listener *l;
	weir_group group;
};

static int serve(const weir_ctx *ctx, void *arg)
{
	struct site *s = arg;

	return weir_nats_serve(ctx, s->n, s->l, NULL);
}

static void open_site(const weir_ctx *ctx, struct site *s, const weir_nats_options *opt)
{
	CHECK_EQ(weir_bus_open(ctx, "mem:", &s->bus), 0);
	CHECK_EQ(weir_nats_server_new(s->bus, opt, &s->n), 0);
	CHECK_EQ(weir_listen("mem:nats", &s->l), 0);
	weir_group_init(&s->group, ctx);
	CHECK_EQ(weir_group_go(&s->group, serve, s), 0);
}

static weir_nats_stats close_site(const weir_ctx *ctx, struct site *s)
{
	weir_nats_stats stats;

	weir_group_drain(&s->group);
	CHECK_EQ(weir_group_wait(&s->group), 0);
	weir_nats_stats_get(s->n, &stats);
	CHECK_EQ(stats.conns, 0);
	CHECK_EQ(stats.subs, 0);
	weir_nats_server_free(s->n);
	weir_listener_free(s->l);
	CHECK_EQ(weir_bus_drain(ctx, s->bus), 0);
	return stats;
}

static void send(const weir_ctx *ctx, weir_conn *c, const char *text)
{
	CHECK_EQ(weir_conn_write(ctx, c, text, strlen(text)), 0);
}

enum { LINE_BYTES = 512 };

/* The next line, without its end and what is beyond LINE_BYTES; "" when the stream has ended. */
static const char *read_line(const weir_ctx *ctx, weir_conn *c, char text[LINE_BYTES])
{
	size_t n = 0;
	char byte;

	while (weir_conn_read(ctx, c, &byte, 1) > 0 && byte != '\n')
		if (byte != '\r' && n < LINE_BYTES - 1)
			text[n++] = byte;
	text[n] = 0;
	return text;
}
#define line(ctx, c) read_line((ctx), (c), (char[LINE_BYTES]){ 0 })

static weir_conn *client(const weir_ctx *ctx, const char *said)
{
	weir_conn *c;

	CHECK_EQ(weir_dial(ctx, "mem:nats", &c), 0);
	CHECK(!strncmp(line(ctx, c), "INFO {", 6));
	send(ctx, c,
	     "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n");
	send(ctx, c, said);
	send(ctx, c, "PING\r\n");
	CHECK_STR(line(ctx, c), "PONG");
	return c;
}

SIM(who_answers_no_ping_is_stale_after_three_intervals, 20)
{
	struct site s;
	weir_conn *c;
	int64_t start;

	open_site(ctx, &s, NULL);
	c = client(ctx, "");
	start = weir_now();
	CHECK_STR(line(ctx, c), "PING");
	CHECK_STR(line(ctx, c), "PING");
	CHECK_STR(line(ctx, c), "-ERR 'Stale Connection'");
	CHECK_STR(line(ctx, c), "");
	CHECK(weir_now() - start > WEIR_MIN(5));
	CHECK(weir_now() - start < WEIR_MIN(7));
	weir_conn_free(c);
	CHECK_EQ(close_site(ctx, &s).stale, 1);
}

SIM(who_answers_pings_stays_for_a_day, 5)
{
	struct site s;
	weir_conn *c;
	int64_t end;

	open_site(ctx, &s, NULL);
	c = client(ctx, "");
	end = weir_now() + WEIR_HOUR(24);
	while (weir_now() < end) {
		CHECK_STR(line(ctx, c), "PING");
		send(ctx, c, "PONG\r\n");
	}
	weir_conn_free(c);
	CHECK_EQ(close_site(ctx, &s).stale, 0);
}

static int nobody(const weir_nats_login *login, weir_nats_user **ret, void *arg)
{
	(void)login;
	(void)ret;
	(void)arg;
	return -EACCES;
}

SIM(who_does_not_sign_in_in_time_is_sent_away, 20)
{
	weir_nats_options opt = { .sign_in = nobody };
	struct site s;
	weir_conn *c;

	open_site(ctx, &s, &opt);
	CHECK_EQ(weir_dial(ctx, "mem:nats", &c), 0);
	CHECK(strstr(line(ctx, c), "\"auth_required\":true"));
	CHECK_STR(line(ctx, c), "-ERR 'Authentication Timeout'");
	CHECK_STR(line(ctx, c), "");
	weir_conn_free(c);
	close_site(ctx, &s);
}

/* Reads nothing. The publisher is this task, which never waits for it. */
SIM(who_takes_nothing_is_cut_after_the_write_deadline, 20)
{
	static char body[100000];
	struct site s;
	weir_nats_stats stats;
	weir_conn *c;
	int64_t start;

	open_site(ctx, &s, NULL);
	c = client(ctx, "SUB a 1\r\n");
	start = weir_now();
	for (int i = 0; i < 20; i++)
		CHECK_EQ(weir_bus_publish(ctx, s.bus, "a", body, sizeof body), 0);
	CHECK(weir_now() - start < WEIR_SEC(1));
	do {
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(100)), 0);
		weir_nats_stats_get(s.n, &stats);
	} while (stats.conns);
	CHECK(weir_now() - start >= WEIR_SEC(10));
	CHECK(weir_now() - start < WEIR_SEC(12));
	weir_conn_free(c);
	stats = close_site(ctx, &s);
	CHECK_EQ(stats.slow, 1);
	CHECK(stats.lost > 0);
}

static void cut_soon(const weir_ctx *ctx, const weir_nats_options *opt)
{
	static char body[100000];
	struct site s;
	weir_nats_stats stats;
	weir_conn *c;
	int64_t start;

	open_site(ctx, &s, opt);
	c = client(ctx, "SUB a 1\r\n");
	start = weir_now();
	do {
		CHECK_EQ(weir_bus_publish(ctx, s.bus, "a", body, sizeof body), 0);
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
		weir_nats_stats_get(s.n, &stats);
	} while (stats.conns);
	CHECK(weir_now() - start < WEIR_SEC(5));
	weir_conn_free(c);
	CHECK_EQ(close_site(ctx, &s).slow, 1);
}

SIM(who_has_too_much_to_take_is_cut_at_once, 20)
{
	cut_soon(ctx, &(weir_nats_options){ .max_pending = 300000 });
}

SIM(what_all_clients_have_yet_to_take_has_a_bound, 20)
{
	cut_soon(ctx, &(weir_nats_options){ .max_pending_all = 300000 });
}

SIM(subscriptions_of_a_connection_have_a_bound, 20)
{
	weir_nats_options opt = { .max_subs = 2 };
	struct site s;
	weir_conn *c;

	open_site(ctx, &s, &opt);
	c = client(ctx, "SUB a 1\r\nSUB b 2\r\n");
	send(ctx, c, "SUB c 3\r\nUNSUB 1\r\nSUB c 3\r\nPING\r\n");
	CHECK_STR(line(ctx, c), "-ERR 'maximum subscriptions exceeded'");
	CHECK_STR(line(ctx, c), "PONG");
	weir_conn_free(c);
	close_site(ctx, &s);
}

static int answer(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	CHECK_STR(m->headers, "Kind: one\r\n");
	return weir_msg_reply(ctx, m, "yes", 3);
}

SIM(both_sides_of_the_bus_ask_and_answer, 100)
{
	struct site s;
	weir_sub *sub;
	weir_msg m = {
		.subject = "b", .reply = "r", .headers = "Kind: two\r\n", .data = "hi", .len = 2
	};
	weir_conn *c;

	open_site(ctx, &s, NULL);
	CHECK_EQ(weir_bus_subscribe(ctx, s.bus, "a", answer, NULL, &sub), 0);
	c = client(ctx, "SUB in 1\r\nSUB b 2\r\n");
	send(ctx, c, "HPUB a in 23 25\r\nNATS/1.0\r\nKind: one\r\n\r\nhi\r\n");
	CHECK_STR(line(ctx, c), "MSG in 1 3");
	CHECK_STR(line(ctx, c), "yes");
	CHECK_EQ(weir_bus_publish_msg(ctx, s.bus, &m), 1);
	CHECK_STR(line(ctx, c), "HMSG b 2 r 23 25");
	CHECK_STR(line(ctx, c), "NATS/1.0");
	CHECK_STR(line(ctx, c), "Kind: two");
	CHECK_STR(line(ctx, c), "");
	CHECK_STR(line(ctx, c), "hi");
	CHECK_EQ(weir_bus_request(ctx, s.bus, "nobody", "", 0, &m), -ENETUNREACH);
	weir_conn_free(c);
	close_site(ctx, &s);
}

static int slowly(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	unsigned *next = arg;

	CHECK_EQ(weir_sleep(ctx, WEIR_MS(10)), 0);
	CHECK_EQ((unsigned)atoi(m->data), *next);
	++*next;
	return 0;
}

SIM(a_subscription_that_makes_publishers_wait_makes_clients_wait, 50)
{
	weir_sub_options opt = { .pending_max = 2, .overflow = WEIR_SUB_BLOCK };
	struct site s;
	unsigned next = 0;
	weir_sub *sub;
	weir_sub_stats stats;
	weir_conn *c;

	open_site(ctx, &s, NULL);
	CHECK_EQ(weir_bus_subscribe_with(ctx, s.bus, "a", &opt, slowly, &next, &sub), 0);
	c = client(ctx, "");
	for (int i = 0; i < 50; i++) {
		char text[32];

		snprintf(text, sizeof text, "PUB a %d\r\n%d\r\n", i < 10 ? 1 : 2, i);
		send(ctx, c, text);
	}
	send(ctx, c, "PING\r\n");
	CHECK_STR(line(ctx, c), "PONG");
	CHECK_EQ(weir_sub_wait(ctx, sub, 50), 0);
	weir_sub_stats_get(sub, &stats);
	CHECK_EQ(stats.dropped, 0);
	weir_conn_free(c);
	close_site(ctx, &s);
}

static int leave_when_told(const weir_ctx *ctx, void *arg)
{
	weir_conn *c = arg;

	CHECK(strstr(line(ctx, c), "\"ldm\":true"));
	weir_conn_free(c);
	return 0;
}

static int stay(const weir_ctx *ctx, void *arg)
{
	weir_conn *c = arg;

	CHECK(strstr(line(ctx, c), "\"ldm\":true"));
	send(ctx, c, "PUB a 4\r\nlate\r\n");
	CHECK_STR(line(ctx, c), "MSG a 1 4");
	CHECK_STR(line(ctx, c), "late");
	CHECK_STR(line(ctx, c), "");
	weir_conn_free(c);
	return 0;
}

SIM(clients_are_told_to_leave_and_the_rest_is_closed, 100)
{
	struct site s;
	weir_group clients;
	weir_nats_stats stats;

	open_site(ctx, &s, NULL);
	weir_group_init(&clients, ctx);
	CHECK_EQ(weir_group_go(&clients, leave_when_told, client(ctx, "")), 0);
	CHECK_EQ(weir_group_go(&clients, stay, client(ctx, "SUB a 1\r\n")), 0);
	stats = close_site(ctx, &s);
	CHECK_EQ(stats.left_in_drain, 1);
	CHECK_EQ(stats.ended_in_drain, 1);
	CHECK_EQ(stats.lost, 0);
	CHECK_EQ(weir_group_wait(&clients), 0);
}

SIM(a_stop_takes_no_longer_than_the_clients_that_leave, 100)
{
	struct site s;
	weir_group clients;
	int64_t start;

	open_site(ctx, &s, NULL);
	weir_group_init(&clients, ctx);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_group_go(&clients, leave_when_told, client(ctx, "")), 0);
	start = weir_now();
	CHECK_EQ(close_site(ctx, &s).left_in_drain, 5);
	CHECK(weir_now() - start < WEIR_SEC(1));
	CHECK_EQ(weir_group_wait(&clients), 0);
}

/* Connections come, talk and break off at any byte while others publish and the server stops. */
static int wild(const weir_ctx *ctx, void *arg)
{
	static const char *const says[] = {
		"SUB a 1\r\n",   "SUB > q 2\r\n",
		"UNSUB 1 3\r\n", "PUB a 2\r\nhi\r\n",
		"UNSUB 2\r\n",   "PUB b a 1\r\nx\r\n",
		"PING\r\n",      "HPUB a 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
		"SUB a q 3\r\n", "CONNECT {\"verbose\":true}\r\n",
		"PUB a ",        "bad",
	};
	char sink[512];
	weir_conn *c;

	(void)arg;
	if (weir_dial(ctx, "mem:nats", &c) < 0)
		return 0;
	for (unsigned i = weir_random(20); i; i--) {
		const char *text = says[weir_random(sizeof says / sizeof *says)];
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(2));

		if (weir_conn_write(ctx, c, text, strlen(text)) < 0)
			break;
		if (weir_random(3) == 0 && weir_conn_read(&soon, c, sink, sizeof sink) == 0)
			break;
	}
	weir_conn_free(c);
	return 0;
}

SIM(nothing_is_left_when_clients_come_and_go, 3000)
{
	weir_nats_options opt = { .max_pending = 2000 };
	bool first = weir_random(2);
	weir_group clients;
	struct site s;

	if (weir_random(2))
		weir_sim_net_set(&(weir_sim_net){ .latency_ns = WEIR_MS(1), .loss = 50 });
	open_site(ctx, &s, &opt);
	weir_group_init(&clients, ctx);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(weir_group_go(&clients, wild, NULL), 0);
	for (unsigned i = weir_random(50); i; i--)
		CHECK_EQ(weir_bus_publish(ctx, s.bus, "a", "from inside", 11), 0);
	if (first)
		CHECK_EQ(weir_group_wait(&clients), 0);
	close_site(ctx, &s);
	if (!first)
		CHECK_EQ(weir_group_wait(&clients), 0);
}

static int crowd(const weir_ctx *ctx, void *arg)
{
	char text[64], sink[4096];
	weir_conn *c = client(ctx, "");

	(void)arg;
	send(ctx, c, "SUB a 1\r\n");
	for (int i = 0; i < 200; i++) {
		weir_ctx now = weir_ctx_timeout(ctx, WEIR_US(10));

		snprintf(text, sizeof text, "PUB %c 2\r\nhi\r\nSUB b.%d x%d\r\n", 'a' + i % 2, i,
		         i);
		send(ctx, c, text);
		while (weir_conn_read(&now, c, sink, sizeof sink) > 0)
			;
	}
	weir_conn_free(c);
	return 0;
}

TASK(connections_of_many_workers_deliver_to_each_other)
{
	weir_group clients;
	struct site s;

	open_site(ctx, &s, NULL);
	weir_group_init(&clients, ctx);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(weir_group_go(&clients, crowd, NULL), 0);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(weir_bus_publish(ctx, s.bus, "a", "from inside", 11), 0);
	CHECK_EQ(weir_group_wait(&clients), 0);
	/* Who leaves with unread bytes takes back what has not been read of it, too. */
	CHECK(close_site(ctx, &s).in_msgs > 20 * 100);
}
