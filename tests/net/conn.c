/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <weir/group.h>
#include <weir/net.h>

#include <sys/resource.h>
#include <unistd.h>

#include "net/conn.h"
#include "tls_test.h"

enum { BULK = 1 << 20 };

/* "tls+ADDR": a connection of that address that speaks TLS. */
static void connect_tls(const weir_ctx *ctx, weir_conn **a, weir_conn **b)
{
	static struct tls_both both;
	int r;

	if (!both.server)
		both = tls_make_both(NULL);
	CHECK_EQ(tls_shake(ctx, &both, "localhost", a, b, &r), 0);
	CHECK_EQ(r, 0);
}

/* A connected pair of each kind. */
static void connect_over(const weir_ctx *ctx, const char *addr, weir_conn **a, weir_conn **b)
{
	weir_listener *l;

	if (!strncmp(addr, "tls+", 4)) {
		connect_over(ctx, addr + 4, a, b);
		if (tls_built())
			connect_tls(ctx, a, b);
		return;
	}
	if (!strcmp(addr, "pair")) {
		CHECK_EQ(weir_conn_pair(a, b), 0);
		return;
	}
	CHECK_EQ(weir_listen(addr, &l), 0);
	CHECK_EQ(weir_dial(ctx, weir_listener_addr(l), a), 0);
	CHECK_EQ(weir_accept(ctx, l, b), 1);
	weir_listener_free(l);
}

static const char *unix_addr(void)
{
	static char text[64];

	snprintf(text, sizeof text, "unix:/tmp/weir-test-%d.sock", (int)getpid());
	return text;
}

static void each_kind(const weir_ctx *ctx,
                      void (*fn)(const weir_ctx *ctx, weir_conn *a, weir_conn *b))
{
	const char *kinds[] = { "127.0.0.1:0", "[::1]:0",         unix_addr(), "mem:kinds",
		                "pair",        "tls+127.0.0.1:0", "tls+pair" };

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		weir_conn *a, *b;

		connect_over(ctx, kinds[i], &a, &b);
		fn(ctx, a, b);
		weir_conn_free(a);
		weir_conn_free(b);
	}
}

static unsigned char byte_at(uint64_t i)
{
	return (unsigned char)(i * 2654435761u >> 11);
}

static int send_bulk(const weir_ctx *ctx, void *arg)
{
	unsigned char *data = malloc(BULK);
	struct iovec iov[40];
	size_t at = 0;

	for (size_t i = 0; i < BULK; i++)
		data[i] = byte_at(i);
	/* Pieces of odd sizes, some empty, more than go out at once. */
	for (int i = 0; i < 40; i++) {
		size_t n = i == 39 ? BULK - at : i % 7 == 0 ? 0 : (size_t)i * 577;

		iov[i] = (struct iovec){ data + at, n };
		at += n;
	}
	CHECK_EQ(weir_conn_writev(ctx, arg, iov, 40), 0);
	CHECK_EQ(weir_conn_written(arg), BULK);
	weir_conn_shutdown_write(arg);
	free(data);
	return 0;
}

static int receive_bulk(const weir_ctx *ctx, void *arg)
{
	unsigned char buf[4096];
	uint64_t at = 0;
	ssize_t n;

	while ((n = weir_conn_read(ctx, arg, buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n; i++)
			CHECK_EQ(buf[i], byte_at(at++));
	CHECK_EQ(n, 0);
	CHECK_EQ(at, BULK);
	return 0;
}

static void bulk_both_ways(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, send_bulk, a), 0);
	CHECK_EQ(weir_group_go(&g, send_bulk, b), 0);
	CHECK_EQ(weir_group_go(&g, receive_bulk, a), 0);
	CHECK_EQ(weir_group_go(&g, receive_bulk, b), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}

TASK(a_mebibyte_each_way_arrives_as_it_was_sent)
{
	each_kind(ctx, bulk_both_ways);
}

static void ends_of_stream(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	char buf[8];

	CHECK_EQ(weir_conn_write(ctx, a, "hi", 2), 0);
	weir_conn_shutdown_write(a);
	CHECK_EQ(weir_conn_write(ctx, a, "x", 1), -EPIPE);
	CHECK_EQ(weir_conn_read(ctx, b, buf, sizeof buf), 2);
	CHECK_EQ(weir_conn_read(ctx, b, buf, sizeof buf), 0);
	CHECK_EQ(weir_conn_read(ctx, b, buf, sizeof buf), 0);
	CHECK_EQ(weir_conn_write(ctx, b, "yes", 3), 0);
	CHECK_EQ(weir_conn_read(ctx, a, buf, sizeof buf), 3);
}

TASK(ending_to_send_leaves_the_other_direction_open)
{
	each_kind(ctx, ends_of_stream);
}

static int read_until_error(const weir_ctx *ctx, void *arg)
{
	char buf[64];
	ssize_t n;

	while ((n = weir_conn_read(ctx, arg, buf, sizeof buf)) > 0)
		;
	return (int)n;
}

static int write_until_error(const weir_ctx *ctx, void *arg)
{
	static const char zeros[8192];
	int r;

	while ((r = weir_conn_write(ctx, arg, zeros, sizeof zeros)) == 0)
		;
	return r;
}

/* Waits until the connection's reader waits, so that what follows meets it there. */
static void until_waiting(const weir_ctx *ctx, const char *what);

struct seek {
	const char *what;
	int found;
};

static void look(const weir_task_info *info, void *arg)
{
	struct seek *s = arg;

	s->found += info->waits_on && !strcmp(info->waits_on, s->what);
}

static void until_waiting(const weir_ctx *ctx, const char *what)
{
	for (;;) {
		struct seek s = { what, 0 };

		weir_each_task(look, &s);
		if (s.found)
			return;
		CHECK_EQ(weir_yield(ctx), 0);
	}
}

static void second_reader(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	weir_group g;
	char buf[8];

	(void)b;
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, read_until_error, a), 0);
	until_waiting(ctx, "conn read");
	CHECK_EQ(weir_conn_read(ctx, a, buf, sizeof buf), -EBUSY);
	CHECK_EQ(weir__conn_try_read(a, buf, sizeof buf), -EBUSY);
	weir_conn_shutdown(a);
	CHECK_EQ(weir_group_wait(&g), -EPIPE);
	CHECK_EQ(weir_conn_read(ctx, a, buf, sizeof buf), -EPIPE);
	CHECK_EQ(weir_conn_write(ctx, a, buf, 1), -EPIPE);
}

TASK(a_second_reader_is_busy_and_shutdown_wakes_the_first)
{
	each_kind(ctx, second_reader);
}

static void stuck_writer(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	weir_group g;

	(void)b;
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, write_until_error, a), 0);
	until_waiting(ctx, "conn write");
	weir_conn_shutdown(a);
	CHECK_EQ(weir_group_wait(&g), -EPIPE);
}

TASK(shutdown_wakes_a_writer_whose_peer_does_not_read)
{
	each_kind(ctx, stuck_writer);
}

static void contexts(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5)), dead;
	char buf[8];

	CHECK_EQ(weir_conn_read(&soon, a, buf, sizeof buf), -ETIMEDOUT);
	CHECK_EQ(write_until_error(&soon, a), -ETIMEDOUT);

	CHECK_EQ(weir_conn_write(ctx, b, "kept", 4), 0);
	CHECK_EQ(weir_scope_open(ctx, &dead), 0);
	weir_scope_cancel(dead.scope, -ECANCELED, "test");
	CHECK_EQ(weir_conn_read(&dead, a, buf, sizeof buf), -ECANCELED);
	CHECK_EQ(weir_conn_write(&dead, a, buf, 1), -ECANCELED);
	weir_scope_close(dead.scope);
	CHECK_EQ(weir_conn_read(ctx, a, buf, sizeof buf), 4);
}

TASK(waits_end_with_their_context_and_data_stays)
{
	each_kind(ctx, contexts);
}

static void peer_vanishes(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	int r;

	weir_conn_shutdown(b);
	r = write_until_error(ctx, a);
	CHECK(r == -EPIPE || r == -ECONNRESET);
}

TASK(writing_to_a_peer_that_has_gone_fails)
{
	each_kind(ctx, peer_vanishes);
}

TASK(a_connection_freed_under_a_reader_wakes_it)
{
	const char *kinds[] = { "127.0.0.1:0", "pair", "tls+127.0.0.1:0", "tls+pair" };

	for (int i = 0; i < 4; i++) {
		weir_conn *a, *b;
		weir_group g;

		connect_over(ctx, kinds[i], &a, &b);
		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go(&g, read_until_error, a), 0);
		until_waiting(ctx, "conn read");
		weir_conn_free(a);
		CHECK_EQ(weir_group_wait(&g), -EPIPE);
		weir_conn_free(b);
	}
}

/* ---- Watches; an event is heard by yielding until it came. ---- */

static void count(weir_conn *c, void *arg)
{
	CHECK_EQ(weir__conn_worker(c), weir_worker());
	++*(int *)arg;
}

static void until(const weir_ctx *ctx, const int *n, int want)
{
	while (*n < want)
		CHECK_EQ(weir_yield(ctx), 0);
	CHECK_EQ(*n, want);
}

static void watches(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	int readable = 0, writable = 0;
	char buf[8];

	CHECK_EQ(weir__conn_try_read(a, buf, sizeof buf), -EAGAIN);
	CHECK_EQ(weir__conn_watch(a, WEIR__IN, count, &readable), 0);
	CHECK_EQ(weir__conn_watch(a, WEIR__IN, count, &readable), -EBUSY);
	CHECK_EQ(weir__conn_watch(a, WEIR__OUT, count, &writable), 0);
	CHECK_EQ(writable, 0); /* never from inside */
	until(ctx, &writable, 1);
	CHECK_EQ(readable, 0);
	CHECK_EQ(weir_conn_write(ctx, b, "x", 1), 0);
	until(ctx, &readable, 1);
	CHECK_EQ(weir__conn_try_read(a, buf, sizeof buf), 1);
	CHECK_EQ(weir__conn_try_read(a, buf, sizeof buf), -EAGAIN);

	CHECK_EQ(weir__conn_watch(a, WEIR__IN, count, &readable), 0);
	CHECK(weir__conn_unwatch(a, WEIR__IN));
	CHECK(!weir__conn_unwatch(a, WEIR__IN));
	CHECK_EQ(weir__conn_watch(a, WEIR__IN, count, &readable), 0);
	weir_conn_shutdown(a);
	until(ctx, &readable, 2);
}

TASK(a_watch_is_called_once_when_ready_or_shut)
{
	each_kind(ctx, watches);
}

static void on_gone(const weir_ctx *ctx, weir_conn *a, weir_conn *b)
{
	int gone = 0, never = 0;
	char buf[8];

	CHECK_EQ(weir__conn_on_gone(a, count, &never), 0);
	CHECK_EQ(weir__conn_on_gone(a, NULL, NULL), 0);
	CHECK_EQ(weir__conn_on_gone(a, count, &gone), 0);
	CHECK_EQ(weir_conn_write(ctx, b, "bye", 3), 0);
	weir_conn_shutdown(b);
	until(ctx, &gone, 1);
	CHECK_EQ(weir__conn_on_gone(a, count, &never), 1);
	CHECK_EQ(weir_conn_read(ctx, a, buf, sizeof buf), 3);
	CHECK_EQ(never, 0);
}

TASK(a_peer_that_leaves_is_heard_without_reading)
{
	each_kind(ctx, on_gone);
}

static void free_it(weir_conn *c, void *arg)
{
	weir_conn_free(c);
	++*(int *)arg;
}

TASK(a_callback_may_free_its_connection)
{
	const char *kinds[] = { "127.0.0.1:0", "pair", "tls+127.0.0.1:0", "tls+pair" };

	for (int i = 0; i < 8; i++) {
		weir_conn *a, *b;
		int freed = 0, other = 0;

		connect_over(ctx, kinds[i % 4], &a, &b);
		CHECK_EQ(weir__conn_on_gone(a, i < 4 ? count : free_it, i < 4 ? &other : &freed),
		         0);
		if (i < 4)
			CHECK_EQ(weir__conn_watch(a, WEIR__IN, free_it, &freed), 0);
		weir_conn_free(b);
		until(ctx, &freed, 1);
	}
}

/* ---- Races, for ThreadSanitizer: reader, writer and shutdown on workers of their own. ---- */

static int shut(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	weir_conn_shutdown(arg);
	return 0;
}

static void race(const weir_ctx *ctx, const char *kind, int i)
{
	weir_conn *a, *b;
	weir_group g;

	connect_over(ctx, kind, &a, &b);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, 0, read_until_error, a), 0);
	CHECK_EQ(weir_group_go_on(&g, 1, write_until_error, a), 0);
	CHECK_EQ(weir_group_go_on(&g, i & 1, read_until_error, b), 0);
	CHECK_EQ(weir_group_go_on(&g, i >> 1 & 1, shut, a), 0);
	CHECK_EQ(weir_group_go_on(&g, i >> 2 & 1, shut, a), 0);
	if (i & 8)
		CHECK_EQ(weir_group_go(&g, shut, b), 0);
	weir_group_wait(&g);
	weir_conn_free(a);
	weir_conn_free(b);
}

TASK(shutdown_races_read_write_and_free)
{
	for (int i = 0; i < 200; i++) {
		race(ctx, "pair", i);
		race(ctx, "127.0.0.1:0", i);
	}
	for (int i = 0; i < 100; i++) {
		race(ctx, "tls+pair", i);
		race(ctx, "tls+127.0.0.1:0", i);
	}
}

static int read_and_free(const weir_ctx *ctx, void *arg)
{
	read_until_error(ctx, arg);
	weir_conn_free(arg);
	return 0;
}

static void free_race(const weir_ctx *ctx, const char *kind, int i)
{
	weir_conn *a, *b;
	weir_group g;

	connect_over(ctx, kind, &a, &b);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, i & 1, read_and_free, a), 0);
	until_waiting(ctx, "conn read");
	weir_conn_shutdown(a); /* its reader frees it, perhaps before this call is through */
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_conn_free(b);
}

TASK(the_reader_that_shutdown_woke_may_free_at_once)
{
	for (int i = 0; i < 200; i++) {
		free_race(ctx, "pair", i);
		free_race(ctx, "127.0.0.1:0", i);
	}
	for (int i = 0; i < 50; i++) {
		free_race(ctx, "tls+pair", i);
		free_race(ctx, "tls+127.0.0.1:0", i);
	}
}

/* ---- The simulated network ---- */

static int sim_send(const weir_ctx *ctx, void *arg)
{
	unsigned char buf[700];
	uint64_t at = 0;
	int r = 0;

	while (at < 200 * sizeof buf && r == 0) {
		for (size_t i = 0; i < sizeof buf; i++)
			buf[i] = byte_at(at + i);
		r = weir_conn_write(ctx, arg, buf, sizeof buf);
		at += sizeof buf;
	}
	CHECK(r == 0 || r == -ECONNRESET || r == -EPIPE);
	weir_conn_free(arg);
	return 0;
}

static int sim_receive(const weir_ctx *ctx, void *arg)
{
	unsigned char buf[1000];
	uint64_t at = 0;
	ssize_t n;

	while ((n = weir_conn_read(ctx, arg, buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n; i++)
			CHECK_EQ(buf[i], byte_at(at++));
	CHECK(n == -ECONNRESET || (n == 0 && at == 200 * 700));
	weir_conn_free(arg);
	return 0;
}

SIM(what_arrives_over_a_lossy_network_is_a_prefix, 1000)
{
	weir_sim_net net = { .latency_ns = WEIR_MS(20), .loss = weir_random(2) ? 200 : 0 };
	weir_conn *a, *b;
	weir_group g;

	weir_sim_net_set(&net);
	CHECK_EQ(weir_conn_pair(&a, &b), 0);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, sim_send, a), 0);
	CHECK_EQ(weir_group_go(&g, sim_receive, b), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}

static int serve_one(const weir_ctx *ctx, void *arg)
{
	char c;
	ssize_t n = weir_conn_read(ctx, arg, &c, 1);

	if (n == 1)
		weir_conn_write(ctx, arg, &c, 1);
	weir_conn_free(arg);
	return 0;
}

static int serve(const weir_ctx *ctx, void *arg)
{
	weir_group g;
	weir_conn *c;
	int r;

	weir_group_init(&g, ctx);
	while ((r = weir_accept(ctx, arg, &c)) > 0)
		CHECK_EQ(weir_group_go(&g, serve_one, c), 0);
	CHECK_EQ(r, 0);
	return weir_group_wait(&g);
}

static int call(const weir_ctx *ctx, void *arg)
{
	weir_conn *c;
	char x = 'x';
	int r = weir_dial(ctx, "mem:sim", &c);

	(void)arg;
	if (r == -ECONNREFUSED)
		return 0;
	CHECK_EQ(r, 0);
	CHECK_EQ(weir_conn_write(ctx, c, &x, 1), 0);
	/* Whoever got through before the close is served. */
	CHECK_EQ(weir_conn_read(ctx, c, &x, 1), 1);
	weir_conn_free(c);
	return 0;
}

SIM(whoever_connected_before_the_close_is_served, 1000)
{
	weir_sim_net net = { .latency_ns = WEIR_MS(3) };
	weir_group server, clients;
	weir_listener *l;

	weir_sim_net_set(&net);
	CHECK_EQ(weir_listen("mem:sim", &l), 0);
	weir_group_init(&server, ctx);
	weir_group_init(&clients, ctx);
	CHECK_EQ(weir_group_go(&server, serve, l), 0);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(weir_group_go(&clients, call, NULL), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_US(weir_random(4000))), 0);
	weir_listener_close(l);
	CHECK_EQ(weir_group_wait(&clients), 0);
	CHECK_EQ(weir_group_wait(&server), 0);
	weir_listener_free(l);
}

static void set(weir_conn *c, void *arg)
{
	(void)c;
	*(int64_t *)arg = weir_now();
}

/* A watch hears bytes when they are visible, not when they were sent. */
SIM(a_watch_waits_for_latency_too, 200)
{
	weir_sim_net net = { .latency_ns = WEIR_SEC(1) };
	int64_t at = 0;
	weir_conn *a, *b;
	char x;

	weir_sim_net_set(&net);
	CHECK_EQ(weir_conn_pair(&a, &b), 0);
	CHECK_EQ(weir__conn_watch(a, WEIR__IN, set, &at), 0);
	CHECK_EQ(weir_conn_write(ctx, b, "x", 1), 0);
	while (!at)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	CHECK_EQ(weir__conn_try_read(a, &x, 1), 1);
	CHECK_EQ(weir__conn_watch(a, WEIR__IN, set, &at), 0);
	CHECK_EQ(weir_conn_write(ctx, b, "x", 1), 0);
	weir_conn_free(a);
	weir_conn_free(b);
}

/* ---- Watches race with the peer, a shutdown from elsewhere, and the owner's free. ---- */

struct watched {
	weir_conn *c, *peer;
	int heard;
};

static void hear(weir_conn *c, void *arg)
{
	struct watched *w = arg;
	char buf[16];

	CHECK(c == w->c);
	w->heard++;
	if (weir__conn_try_read(c, buf, sizeof buf) == -EAGAIN && weir_random(2))
		weir__conn_watch(c, WEIR__IN, hear,
		                 w); /* busy if it was the peer's leaving that was heard */
}

static void hear_and_free(weir_conn *c, void *arg)
{
	struct watched *w = arg;

	CHECK(c == w->c);
	w->c = NULL;
	weir_conn_free(c);
}

static int own(const weir_ctx *ctx, void *arg)
{
	struct watched *w = arg;
	char buf[16];

	for (int i = 0; i < 4 && w->c; i++) {
		if (weir__conn_try_read(w->c, buf, sizeof buf) == -EAGAIN)
			weir__conn_watch(w->c, WEIR__IN, weir_random(4) ? hear : hear_and_free, w);
		if (w->c && weir_random(2))
			weir__conn_on_gone(w->c, weir_random(2) ? hear : hear_and_free, w);
		for (uint32_t n = weir_random(4); n > 0; n--)
			weir_yield(ctx);
		if (w->c && weir_random(2))
			weir__conn_unwatch(w->c, WEIR__IN);
	}
	weir_conn_free(w->c);
	return 0;
}

static int annoy(const weir_ctx *ctx, void *arg)
{
	struct watched *w = arg;

	for (uint32_t n = weir_random(4); n > 0; n--) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(1));

		weir_conn_write(&soon, w->peer, "12345678", 8);
	}
	if (weir_random(2))
		weir_conn_shutdown_write(w->peer);
	if (weir_random(2))
		weir_conn_shutdown(w->peer);
	weir_conn_free(w->peer);
	return 0;
}

static void watch_race(const weir_ctx *ctx, const char *kind)
{
	struct watched w = { 0 };
	weir_group g;

	connect_over(ctx, kind, &w.c, &w.peer);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, 0, own, &w), 0);
	CHECK_EQ(weir_group_go_on(&g, weir_worker_count() - 1, annoy, &w), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}

SIM(watches_race_the_peer_and_free, 3000)
{
	weir_sim_net net = { .latency_ns = weir_random(2) ? WEIR_MS(2) : 0,
		             .loss = weir_random(2) ? 20 : 0 };

	weir_sim_net_set(&net);
	watch_race(ctx, "pair");
	/* What is in flight for freed connections finds nobody. */
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
}

TASK(watches_race_the_peer_and_free_for_real)
{
	for (int i = 0; i < 500; i++) {
		watch_race(ctx, "pair");
		watch_race(ctx, "127.0.0.1:0");
	}
	for (int i = 0; i < 100; i++) {
		watch_race(ctx, "tls+pair");
		watch_race(ctx, "tls+127.0.0.1:0");
	}
}
