/* SPDX-License-Identifier: MIT */
/*
 * The cluster adapter where it differs from the bus in process: connections that break, outages,
 * signing in, and what many subscriptions of one subject cost the cluster. Against a real
 * nats-server; without one every test here is skipped.
 */
#include <weir/bus.h>
#include <weir/group.h>
#include <weir/net.h>
#include <weir/sync.h>

#include <arpa/inet.h>

#include "bus/bus.h"
#include "numbers.h"
#include "servers.h"

static bool start(struct bus_server *s)
{
	if (nats_server_start(s, free_port()))
		return true;
	skip("nats-server is not installed");
	return false;
}

/* The same server, at its port, once more. */
static void restart(struct bus_server *s)
{
	CHECK(nats_server_start(s, s->port));
}

static weir_bus_stats stats_of(weir_bus *b)
{
	weir_bus_stats st;

	weir_bus_stats_get(b, &st);
	return st;
}

/* Looks again after each turn; the test's own limit ends it. */
static void until_connected(const weir_ctx *ctx, weir_bus *b, bool connected)
{
	while (stats_of(b).connected != connected)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
}

struct numbers {
	int n, last;
};

static int rising(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	struct numbers *s = arg;

	(void)ctx;
	CHECK(number(m) > s->last); /* In order, and none twice. */
	s->last = number(m);
	s->n++;
	return 0;
}

TASK(a_server_that_is_killed_and_comes_back_loses_no_subscription_and_nothing_unsaid)
{
	struct numbers got = { 0, -1 };
	struct bus_server s;
	int accepted = 0, v = 0, r;
	weir_bus_stats st;
	weir_sub *sub;
	weir_bus *b;

	if (!start(&s))
		return;
	b = open_bus(ctx, s.url);
	CHECK_EQ(weir_bus_subscribe_with(ctx, b, "a.*", &(weir_sub_options){ .pending_max = 20000 },
	                                 rising, &got, &sub),
	         0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5000; i++, v++) {
			if (i == 2500)
				server_kill(&s, SIGKILL);
			r = publish(ctx, b, "a.b", v);
			CHECK(r == 0 || r == -ENOBUFS);
			accepted += r == 0;
		}
		until_connected(ctx, b, false);
		restart(&s);
		until_connected(ctx, b, true);
	}
	r = weir_bus_flush(ctx, b);
	st = stats_of(b);
	CHECK_EQ(st.reconnects, 3);
	CHECK_EQ(r, st.maybe_lost ? -ECONNRESET : 0); /* Told once … */
	CHECK_EQ(weir_bus_flush(ctx, b), 0);          /* … and no more. */
	CHECK_EQ(publish(ctx, b, "a.b", v), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(got.last, v);
	CHECK(got.n <= accepted + 1);
	CHECK((uint64_t)(accepted + 1 - got.n) <= st.maybe_lost);
	server_kill(&s, SIGKILL);
}

TASK(an_outage_longer_than_the_buffer_gives_the_publisher_an_error)
{
	struct numbers got = { 0, -1 };
	int accepted = 0, refused = 0, r;
	struct bus_server s;
	weir_bus_stats st;
	weir_sub *sub;
	char url[96];
	weir_bus *b;

	if (!start(&s))
		return;
	snprintf(url, sizeof url, "%s?buffer=16KiB", s.url);
	b = open_bus(ctx, url);
	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", rising, &got, &sub), 0);
	CHECK_EQ(weir_bus_flush(ctx, b), 0);
	server_kill(&s, SIGKILL);
	until_connected(ctx, b, false);
	for (int i = 0; i < 1000; i++) {
		r = publish(ctx, b, "a", i);
		CHECK(r == 0 || r == -ENOBUFS);
		CHECK(r == 0 || accepted > 0);
		accepted += r == 0;
		refused += r != 0;
	}
	CHECK(refused > 0);
	st = stats_of(b);
	CHECK_EQ(st.refused, refused);
	CHECK_EQ(st.unsent, accepted);
	restart(&s);
	CHECK_EQ(weir_bus_flush(ctx, b), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(got.n, accepted);
	server_kill(&s, SIGKILL);
}

TASK(a_drain_in_an_outage_ends_with_its_context_and_says_that_something_stayed)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(50));
	struct bus_server s;
	weir_bus *b;

	if (!start(&s))
		return;
	b = open_bus(ctx, s.url);
	server_kill(&s, SIGKILL);
	until_connected(ctx, b, false);
	CHECK_EQ(publish(ctx, b, "a", 1), 0);
	CHECK_EQ(weir_bus_drain(&soon, b), -ETIMEDOUT);
	/* With time left it is the message that matters. */
	CHECK(nats_server_start(&s, s.port));
	b = open_bus(ctx, s.url);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	server_kill(&s, SIGKILL);
}

TASK(subscribing_in_an_outage_waits_until_it_is_live_or_its_context_ends)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(50));
	struct bus_server s;
	weir_sub *sub;
	weir_bus *b;
	weir_msg m;

	if (!start(&s))
		return;
	b = open_bus(ctx, s.url);
	server_kill(&s, SIGKILL);
	until_connected(ctx, b, false);
	CHECK_EQ(weir_bus_follow(&soon, b, "a", NULL, &sub), -ETIMEDOUT);
	restart(&s);
	CHECK_EQ(weir_bus_follow(ctx, b, "a", NULL, &sub), 0);
	CHECK_EQ(publish(ctx, b, "a", 1), 0);
	CHECK_EQ(weir_sub_next(ctx, sub, &m), 1);
	weir_sub_close(sub);
	weir_bus_close(b);
	server_kill(&s, SIGKILL);
}

TASK(a_server_that_is_not_there_is_named_at_once)
{
	struct bus_server s;
	char url[64];
	weir_bus *b;

	if (!start(&s)) /* Only to know that the adapter is worth testing. */
		return;
	server_kill(&s, SIGKILL);
	snprintf(url, sizeof url, "nats://127.0.0.1:%d", free_port());
	CHECK_EQ(weir_bus_open(ctx, url, &b), -ECONNREFUSED);
	CHECK_EQ(weir_bus_open(ctx, "nats://", &b), -EINVAL);
	CHECK_EQ(weir_bus_open(ctx, "nats://a?what=1", &b), -EINVAL);
	CHECK_EQ(weir_bus_open(ctx, "nats://a?creds=/nowhere", &b), -EINVAL);
	CHECK_EQ(weir_bus_open(ctx, "nats://a?buffer=1", &b), -EINVAL);
}

TASK(users_and_tokens_sign_in_and_strangers_do_not)
{
	struct bus_server s = { .port = free_port() };
	char port[8], url[96];
	weir_bus *b;

	snprintf(port, sizeof port, "%d", s.port);
	if (!server_start(&s,
	                  (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "--user", "ann",
	                              "--pass", "p@:s/s?", NULL },
	                  "Server is ready")) {
		skip("nats-server is not installed");
		return;
	}
	snprintf(url, sizeof url, "nats://ann:p%%40:s%%2Fs%%3f@127.0.0.1:%d", s.port);
	b = open_bus(ctx, url);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	snprintf(url, sizeof url, "nats://ann:wrong@127.0.0.1:%d", s.port);
	CHECK_EQ(weir_bus_open(ctx, url, &b), -EACCES);
	snprintf(url, sizeof url, "nats://127.0.0.1:%d", s.port);
	CHECK_EQ(weir_bus_open(ctx, url, &b), -EACCES);
	server_kill(&s, SIGKILL);
	CHECK(server_start(&s,
	                   (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "--auth",
	                               "s3cret", NULL },
	                   "Server is ready"));
	snprintf(url, sizeof url, "nats://s3cret@127.0.0.1:%d", s.port);
	b = open_bus(ctx, url);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	server_kill(&s, SIGKILL);
}

static void start_with_password(struct bus_server *s, const char *password)
{
	char port[8];

	snprintf(port, sizeof port, "%d", s->port);
	CHECK(server_start(s,
	                   (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "--user",
	                               "ann", "--pass", (char *)(uintptr_t)password, NULL },
	                   "Server is ready"));
}

/* Two refusals in a row and nats.c closes its connection for good. */
TASK(a_connection_that_nats_c_gives_up_is_replaced_with_its_subscriptions)
{
	struct numbers got = { 0, -1 };
	struct bus_server s;
	weir_sub *sub, *follows;
	char url[64];
	weir_bus *b;
	weir_msg m;

	if (!start(&s))
		return;
	server_kill(&s, SIGKILL);
	start_with_password(&s, "x");
	snprintf(url, sizeof url, "nats://ann:x@127.0.0.1:%d", s.port);
	b = open_bus(ctx, url);
	CHECK_EQ(weir_bus_subscribe(ctx, b, "a.*", rising, &got, &sub), 0);
	follows = follow(ctx, b, "a.>", &(weir_sub_options){ .queue = "q" });
	CHECK_EQ(publish(ctx, b, "a.b", 1), 0);
	CHECK_EQ(weir_sub_wait(ctx, sub, 1), 0);
	server_kill(&s, SIGKILL);
	start_with_password(&s, "y");
	server_says(&s, "authentication error", 3);
	server_kill(&s, SIGKILL);
	start_with_password(&s, "x");
	until_connected(ctx, b, true);
	CHECK_EQ(publish(ctx, b, "a.b", 2), 0);
	CHECK_EQ(weir_sub_wait(ctx, sub, 2), 0);
	CHECK_EQ(weir_sub_next(ctx, follows, &m), 1);
	CHECK_EQ(weir_sub_next(ctx, follows, &m), 1);
	weir_sub_close(follows);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(got.n, 2);
	server_kill(&s, SIGKILL);
}

/* Writes text to a file of its own in dir; its path. */
static char *file_in(const char *dir, const char *name, const char *text)
{
	char *path = NULL;
	FILE *f;

	CHECK(asprintf(&path, "%s/%s", dir, name) > 0);
	f = fopen(path, "w");
	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
	return path;
}

TASK(what_rights_forbid_is_said)
{
	char dir[] = "/tmp/weir-bus-XXXXXX", url[96], port[8], *config;
	struct bus_server s = { .port = free_port() };
	weir_sub *sub;
	weir_bus *b;
	weir_msg m;
	int r;

	CHECK(mkdtemp(dir));
	config = file_in(
		dir, "nats.conf",
		"authorization { users = [ { user: ann, password: x, permissions: {\n"
		"  publish: [\"ok.>\", \"_INBOX.>\"], subscribe: [\"ok.>\", \"_INBOX.>\"] } },\n"
		"  { user: bob, password: x, permissions: { publish: \"a\" } } ] }\n");
	snprintf(port, sizeof port, "%d", s.port);
	if (!server_start(
		    &s,
		    (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "-c", config, NULL },
		    "Server is ready")) {
		skip("nats-server is not installed");
		goto out;
	}
	snprintf(url, sizeof url, "nats://ann:x@127.0.0.1:%d", s.port);
	b = open_bus(ctx, url);
	/* The server's word may come before or after the subscription counts as live. */
	r = weir_bus_follow(ctx, b, "secret", NULL, &sub);
	CHECK(r == 0 || r == -EACCES);
	if (r == 0) {
		CHECK_EQ(weir_sub_next(ctx, sub, &m), 0);
		weir_sub_close(sub);
	}
	CHECK_EQ(weir_bus_follow(ctx, b, "ok.a", NULL, &sub), 0);
	CHECK_EQ(publish(ctx, b, "ok.a", 1), 0);
	CHECK_EQ(weir_sub_next(ctx, sub, &m), 1);
	weir_sub_close(sub);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	snprintf(url, sizeof url, "nats://bob:x@127.0.0.1:%d", s.port);
	CHECK_EQ(weir_bus_open(ctx, url, &b), -EACCES); /* No rights to its inboxes. */
	server_kill(&s, SIGKILL);
out:
	unlink(config);
	free(config);
	rmdir(dir);
}

/* The key pair of NATS's own documentation. */
TASK(a_key_signs_in)
{
	char dir[] = "/tmp/weir-bus-XXXXXX", url[200], port[8], *config, *seed;
	struct bus_server s = { .port = free_port() };
	weir_bus *b;

	CHECK(mkdtemp(dir));
	config = file_in(dir, "nats.conf",
	                 "authorization { users = [ { nkey: "
	                 "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 } ] }\n");
	seed = file_in(dir, "seed", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n");
	snprintf(port, sizeof port, "%d", s.port);
	if (!server_start(
		    &s,
		    (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "-c", config, NULL },
		    "Server is ready")) {
		skip("nats-server is not installed");
		goto out;
	}
	snprintf(url, sizeof url,
	         "nats://127.0.0.1:%d?nkey="
	         "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4&seed=%s",
	         s.port, seed);
	b = open_bus(ctx, url);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	snprintf(url, sizeof url, "nats://127.0.0.1:%d", s.port);
	CHECK_EQ(weir_bus_open(ctx, url, &b), -EACCES);
	server_kill(&s, SIGKILL);
out:
	unlink(config);
	unlink(seed);
	free(config);
	free(seed);
	rmdir(dir);
}

TASK(a_server_that_takes_no_more_subscriptions_costs_only_those)
{
	char dir[] = "/tmp/weir-bus-XXXXXX", port[8], *config;
	struct bus_server s = { .port = free_port() };
	weir_sub *sub, *more;
	weir_bus *b;
	weir_msg m;
	int r;

	CHECK(mkdtemp(dir));
	config = file_in(dir, "nats.conf", "max_subscriptions: 2\n");
	snprintf(port, sizeof port, "%d", s.port);
	snprintf(s.url, sizeof s.url, "nats://127.0.0.1:%d", s.port);
	if (!server_start(
		    &s,
		    (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "-c", config, NULL },
		    "Server is ready")) {
		skip("nats-server is not installed");
		goto out;
	}
	b = open_bus(ctx, s.url);
	sub = follow(ctx, b, "a", NULL); /* With that of the inboxes there are two. */
	r = weir_bus_follow(ctx, b, "b", NULL, &more);
	CHECK(r == -ENOSPC);
	until_connected(ctx, b, true);
	CHECK_EQ(publish(ctx, b, "a", 1), 0);
	CHECK_EQ(weir_sub_next(ctx, sub, &m), 1);
	weir_sub_close(sub);
	weir_bus_close(b);
	server_kill(&s, SIGKILL);
out:
	unlink(config);
	free(config);
	rmdir(dir);
}

TASK(tls_is_spoken_to_whom_the_ca_vouches_for)
{
	char dir[] = "/tmp/weir-bus-XXXXXX", cert[64], key[64], url[160], port[8];
	struct bus_server s = { .port = free_port() };
	struct numbers got = { 0, -1 };
	weir_sub *sub;
	weir_bus *b;

	CHECK(mkdtemp(dir));
	snprintf(cert, sizeof cert, "%s/cert.pem", dir);
	snprintf(key, sizeof key, "%s/key.pem", dir);
	snprintf(port, sizeof port, "%d", s.port);
	if (!run((char *[]){ "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
	                     "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
	                     "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
	                     key, "-out", cert, NULL })) {
		skip("openssl is not installed");
		goto out;
	}
	if (!server_start(&s,
	                  (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "--tls",
	                              "--tlscert", cert, "--tlskey", key, NULL },
	                  "Server is ready")) {
		skip("nats-server is not installed");
		goto out;
	}
	snprintf(url, sizeof url, "tls://localhost:%d?ca=%s", s.port, cert);
	b = open_bus(ctx, url);
	CHECK_EQ(weir_bus_subscribe(ctx, b, "a", rising, &got, &sub), 0);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	CHECK_EQ(got.n, 100);
	snprintf(url, sizeof url, "tls://localhost:%d", s.port); /* Nobody vouches. */
	CHECK(weir_bus_open(ctx, url, &b) < 0);
	snprintf(url, sizeof url, "tls://127.0.0.1:%d?ca=%s", s.port, cert); /* Another name. */
	CHECK(weir_bus_open(ctx, url, &b) < 0);
	server_kill(&s, SIGKILL);
out:
	unlink(cert);
	unlink(key);
	rmdir(dir);
}

/* "subscriptions" of nats-server's /varz. */
static int subscriptions(int port)
{
	static const char ask[] = "GET /varz HTTP/1.0\r\n\r\n";
	struct sockaddr_in a = { .sin_family = AF_INET,
		                 .sin_port = htons((uint16_t)port),
		                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char text[1 << 16];
	const char *at;
	size_t n = 0;
	ssize_t got;

	CHECK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
	CHECK(write(fd, ask, sizeof ask - 1) == (ssize_t)sizeof ask - 1);
	while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = 0;
	close(fd);
	at = strstr(text, "\"subscriptions\": ");
	CHECK(at);
	return atoi(at + strlen("\"subscriptions\": "));
}

TASK(many_subscriptions_of_one_subject_cost_the_cluster_one)
{
	struct bus_server s = { .port = free_port() };
	int monitor = free_port(), before;
	char port[8], http[8], url[64];
	weir_sub *sub[100];
	weir_bus *b;
	weir_msg m;

	snprintf(port, sizeof port, "%d", s.port);
	snprintf(http, sizeof http, "%d", monitor);
	if (!server_start(
		    &s,
		    (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "-m", http, NULL },
		    "Server is ready")) {
		skip("nats-server is not installed");
		return;
	}
	snprintf(url, sizeof url, "nats://127.0.0.1:%d", s.port);
	b = open_bus(ctx, url);
	before = subscriptions(monitor);
	for (int i = 0; i < 100; i++)
		sub[i] = follow(ctx, b, "prices.*", NULL);
	CHECK_EQ(subscriptions(monitor), before + 1);
	CHECK_EQ(publish(ctx, b, "prices.pen", 3), 0);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(weir_sub_next(ctx, sub[i], &m), 1);
		CHECK_EQ(weir_sub_close(sub[i]), 0);
	}
	CHECK_EQ(weir_bus_flush(ctx, b), 0);
	CHECK_EQ(subscriptions(monitor), before);
	weir_bus_close(b);
	server_kill(&s, SIGKILL);
}

TASK(a_stalled_subscription_slows_nobody_and_holds_no_more_than_it_may)
{
	struct bus_server s;
	weir_sub *stalled, *live;
	struct numbers got = { 0, -1 };
	weir_sub_stats st;
	weir_bus *b;

	if (!start(&s))
		return;
	b = open_bus(ctx, s.url);
	stalled = follow(ctx, b, "a", &(weir_sub_options){ .pending_max = 16 });
	CHECK_EQ(weir_bus_subscribe_with(ctx, b, "a", &(weir_sub_options){ .pending_max = 100000 },
	                                 rising, &got, &live),
	         0);
	for (int i = 0; i < 20000; i++)
		CHECK_EQ(publish(ctx, b, "a", i), 0);
	CHECK_EQ(weir_sub_wait(ctx, live, 20000), 0);
	weir_sub_stats_get(stalled, &st);
	CHECK_EQ(st.pending, 16);
	CHECK_EQ(st.dropped, 20000 - 16);
	weir_sub_close(stalled);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	server_kill(&s, SIGKILL);
}

static void publish_more(const weir_ctx *ctx, weir_bus *b, const void *data, size_t len)
{
	CHECK_EQ(weir__bus_publish_more(ctx, b,
	                                &(weir_msg){ .subject = "a", .data = data, .len = len }),
	         0);
}

TASK(what_is_published_together_arrives_with_the_kick)
{
	struct bus_server s;
	weir_sub *sub;
	weir_bus *b;
	weir_msg m;

	if (!start(&s))
		return;
	b = open_bus(ctx, s.url);
	sub = follow(ctx, b, "a", NULL);
	for (int n = 1; n < 100; n += 7) {
		char text[16];

		for (int i = 0; i < n; i++)
			publish_more(ctx, b, text, (size_t)snprintf(text, sizeof text, "%d", i));
		weir__bus_kick(b);
		for (int i = 0; i < n; i++) {
			CHECK_EQ(weir_sub_next(ctx, sub, &m), 1);
			CHECK_EQ(number(&m), i);
		}
	}
	weir_sub_close(sub);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	server_kill(&s, SIGKILL);
}

TASK(whoever_publishes_many_that_do_not_fit_at_a_time_waits_for_room_and_gets_it)
{
	static const char large[3000];
	struct bus_server s;
	char url[128];
	weir_sub *sub;
	weir_bus *b;
	weir_msg m;

	if (!start(&s))
		return;
	snprintf(url, sizeof url, "%s?buffer=4KiB", s.url);
	b = open_bus(ctx, url);
	sub = follow(ctx, b, "a", NULL);
	for (int i = 0; i < 16; i++)
		publish_more(ctx, b, large, sizeof large);
	weir__bus_kick(b);
	for (int i = 0; i < 16; i++)
		CHECK_EQ(weir_sub_next(ctx, sub, &m), 1);
	weir_sub_close(sub);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	server_kill(&s, SIGKILL);
}
