/* SPDX-License-Identifier: MIT */
#include "tls_test.h"

#include "net/conn.h"

static const char *const h2_first[] = { "h2", "http/1.1", NULL };
static const char *const only_http1[] = { "http/1.1", NULL };

/* ---- Agreements ---- */

TASK(both_ends_know_what_was_agreed_on)
{
	struct tls_both b = tls_make_both(h2_first);
	weir_tls_info info;
	weir_conn *c, *s;
	int r;

	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK(weir_conn_alpn(c) == NULL);
	CHECK_EQ(weir_conn_tls_info(c, &info), -ENOTCONN);
	CHECK_EQ(tls_shake(ctx, &b, "localhost", &c, &s, &r), 0);
	CHECK_EQ(r, 0);
	CHECK_STR(weir_conn_alpn(c), "h2");
	CHECK_STR(weir_conn_alpn(s), "h2");
	CHECK_EQ(weir_conn_tls_info(s, &info), 0);
	CHECK_STR(info.version, "TLSv1.3");
	CHECK_STR(info.server_name, "localhost");
	CHECK_STR(info.peer_name, "");
	CHECK_EQ(weir_conn_tls_info(c, &info), 0);
	CHECK_STR(info.peer_name, "localhost");
	weir_conn_free(c);
	weir_conn_free(s);
	tls_free_both(&b);
}

TASK(a_client_without_a_common_protocol_is_refused)
{
	struct tls_both b = tls_make_both(only_http1), other = tls_make_both(h2_first);
	static const char *const strange[] = { "ftp", NULL };
	weir_conn *c, *s;
	weir_tls *odd;
	int r;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .insecure = true, .alpn = strange }, &odd), 0);
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK(tls_shake(ctx, &(struct tls_both){ b.server, odd }, "localhost", &c, &s, &r) < 0);
	CHECK_EQ(r, -EPROTO);
	weir_conn_free(c);
	weir_conn_free(s);
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	weir_tls_free(odd);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .insecure = true, .alpn = h2_first }, &odd), 0);
	CHECK_EQ(tls_shake(ctx, &(struct tls_both){ b.server, odd }, "localhost", &c, &s, &r), 0);
	CHECK_STR(weir_conn_alpn(s), "http/1.1");
	weir_conn_free(c);
	weir_conn_free(s);
	weir_tls_free(odd);
	tls_free_both(&b);
	tls_free_both(&other);
}

static void is_for(const weir_ctx *ctx, const struct tls_both *b, const char *name, int want)
{
	weir_conn *c, *s;
	int r;

	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(tls_shake(ctx, b, name, &c, &s, &r), want);
	weir_conn_free(c);
	weir_conn_free(s);
}

TASK(a_client_believes_only_the_name_it_asked_for)
{
	struct tls_both b = tls_make_both(NULL);
	char why[100];

	is_for(ctx, &b, "localhost", 0);
	is_for(ctx, &b, "127.0.0.1", 0);
	is_for(ctx, &b, "::1", 0);
	is_for(ctx, &b, "127.0.0.2", -EKEYREJECTED);
	is_for(ctx, &b, "example.org", -EKEYREJECTED);
	weir_tls_why(b.client, why, sizeof why);
	CHECK(strstr(why, "hostname mismatch"));
	tls_free_both(&b);
}

TASK(a_client_trusts_nobody_it_was_not_told_to_trust)
{
	struct tls_both b = tls_make_both(NULL);
	weir_tls *system, *careless;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ 0 }, &system), 0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .insecure = true }, &careless), 0);
	is_for(ctx, &(struct tls_both){ b.server, system }, "localhost", -EKEYREJECTED);
	is_for(ctx, &(struct tls_both){ b.server, careless }, "example.org", 0);
	weir_tls_free(system);
	weir_tls_free(careless);
	tls_free_both(&b);
}

TASK(a_server_with_authorities_wants_a_certificate)
{
	struct tls_files f = tls_make_files();
	weir_tls_pair pair = { f.cert, f.key };
	weir_tls *server, *known, *unknown;
	weir_tls_info info;
	weir_conn *c, *s;
	char byte;
	int r;

	CHECK_EQ(weir_tls_new(
			 &(weir_tls_options){
				 .server = true, .pairs = &pair, .pairs_n = 1, .ca = f.cert },
			 &server),
	         0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .pairs = &pair, .pairs_n = 1, .ca = f.cert },
	                      &known),
	         0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .ca = f.cert }, &unknown), 0);
	tls_remove_files(&f);

	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(tls_shake(ctx, &(struct tls_both){ server, known }, "localhost", &c, &s, &r), 0);
	CHECK_EQ(r, 0);
	CHECK_EQ(weir_conn_tls_info(s, &info), 0);
	CHECK_STR(info.peer_name, "localhost");
	weir_conn_free(c);
	weir_conn_free(s);

	/* In TLS 1.3 the client learns of it with its first read. */
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(tls_shake(ctx, &(struct tls_both){ server, unknown }, "localhost", &c, &s, &r), 0);
	CHECK_EQ(r, -EKEYREJECTED);
	CHECK(weir_conn_read(ctx, c, &byte, 1) < 0);
	weir_conn_free(c);
	weir_conn_free(s);
	weir_tls_free(server);
	weir_tls_free(known);
	weir_tls_free(unknown);
}

/* ---- Ends ---- */

TASK(an_end_without_a_goodbye_is_no_end)
{
	struct tls_both b = tls_make_both(NULL);
	weir_conn *c, *s;
	char buf[8];
	int r;

	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(tls_shake(ctx, &b, "localhost", &c, &s, &r), 0);
	CHECK_EQ(weir_conn_write(ctx, c, "part", 4), 0);
	weir_conn_shutdown(weir__conn_below(c));
	CHECK_EQ(weir_conn_read(ctx, s, buf, sizeof buf), 4);
	CHECK_EQ(weir_conn_read(ctx, s, buf, sizeof buf), -ECONNRESET);
	CHECK_EQ(weir_conn_read(ctx, s, buf, sizeof buf), -ECONNRESET);
	weir_conn_free(c);
	weir_conn_free(s);
	tls_free_both(&b);
}

TASK(what_is_no_tls_is_told_apart)
{
	struct tls_both b = tls_make_both(NULL);
	weir_conn *c, *s;

	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(weir_conn_write(ctx, c, "GET / HTTP/1.1\r\n", 16), 0);
	CHECK_EQ(weir_tls_accept(ctx, b.server, &s), -EPROTOTYPE);
	CHECK_EQ(weir_conn_write(ctx, s, "no", 2), 0);
	weir_conn_free(c);
	weir_conn_free(s);
	tls_free_both(&b);
}

TASK(a_handshake_ends_with_its_limit_its_context_and_its_peer)
{
	struct tls_files f = tls_make_files();
	weir_tls_pair pair = { f.cert, f.key };
	weir_conn *c, *s;
	weir_ctx dead;
	weir_tls *t;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true,
	                                           .pairs = &pair,
	                                           .pairs_n = 1,
	                                           .handshake_ns = WEIR_MS(20) },
	                      &t),
	         0);
	tls_remove_files(&f);
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(weir_tls_accept(ctx, t, &s), -ETIMEDOUT);
	CHECK_EQ(weir_conn_write(ctx, c, "\x16\x03\x01\x02\x00", 5), 0);
	CHECK_EQ(weir_tls_accept(ctx, t, &s), -ETIMEDOUT);
	CHECK_EQ(weir_scope_open(ctx, &dead), 0);
	weir_scope_cancel(dead.scope, -ECANCELED, "test");
	CHECK_EQ(weir_tls_accept(&dead, t, &s), -ECANCELED);
	weir_scope_close(dead.scope);
	weir_conn_free(c);
	CHECK_EQ(weir_tls_accept(ctx, t, &s), -ECONNRESET);
	weir_conn_free(s);
	weir_tls_free(t);
}

TASK(a_drain_does_not_wait_for_who_has_not_said_anything)
{
	struct tls_both b = tls_make_both(NULL);
	weir_ctx draining;
	weir_conn *c, *s;

	CHECK_EQ(weir_scope_open(ctx, &draining), 0);
	weir_scope_drain(draining.scope);
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(weir_tls_accept(&draining, b.server, &s), -ETIMEDOUT);
	weir_conn_free(c);
	weir_conn_free(s);

	/* Who has begun can finish. */
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	int r;
	CHECK_EQ(tls_shake(&draining, &b, "localhost", &c, &s, &r), 0);
	CHECK_EQ(r, 0);
	weir_conn_free(c);
	weir_conn_free(s);
	weir_scope_close(draining.scope);
	tls_free_both(&b);
}

static void is_in_handshake(const weir_task_info *info, void *arg)
{
	*(int *)arg += info->waits_on && !strcmp(info->waits_on, "tls handshake");
}

static void until_handshakes(const weir_ctx *ctx, int want)
{
	int n;

	do {
		n = 0;
		CHECK_EQ(weir_yield(ctx), 0);
		weir_each_task(is_in_handshake, &n);
	} while (n != want);
}

TASK(handshakes_beyond_the_bound_wait_for_their_turn)
{
	struct tls_files f = tls_make_files();
	weir_tls_pair pair = { f.cert, f.key };
	struct tls_accepting a[2];
	weir_conn *c[3], *s[3];
	struct tls_both b = { 0 };
	weir_group g;
	weir_ctx soon;
	int r;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true,
	                                           .pairs = &pair,
	                                           .pairs_n = 1,
	                                           .handshakes_max = 1 },
	                      &b.server),
	         0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .ca = f.cert }, &b.client), 0);
	tls_remove_files(&f);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_conn_pair(&c[i], &s[i]), 0);
	for (int i = 0; i < 2; i++)
		a[i] = (struct tls_accepting){ b.server, &s[i], 0 };
	/* One client is silent and takes no turn; one has begun, and nobody else gets in. */
	CHECK_EQ(weir_group_go(&g, tls_accept_task, &a[0]), 0);
	CHECK_EQ(weir_conn_write(ctx, c[1], "\x16\x03\x01\x02\x00\x01", 6), 0);
	CHECK_EQ(weir_group_go(&g, tls_accept_task, &a[1]), 0);
	until_handshakes(ctx, 2);
	soon = weir_ctx_timeout(ctx, WEIR_MS(20));
	CHECK_EQ(tls_shake(&soon, &b, "localhost", &c[2], &s[2], &r), -ETIMEDOUT);
	CHECK_EQ(r, -ETIMEDOUT);
	weir_conn_free(c[2]);
	weir_conn_free(s[2]);
	CHECK_EQ(weir_conn_pair(&c[2], &s[2]), 0);
	weir_conn_shutdown(c[1]);
	CHECK_EQ(tls_shake(ctx, &b, "localhost", &c[2], &s[2], &r), 0);
	CHECK_EQ(r, 0);
	weir_conn_shutdown(c[0]);
	weir_group_wait(&g);
	CHECK(a[0].result < 0 && a[1].result < 0);
	for (int i = 0; i < 3; i++) {
		weir_conn_free(c[i]);
		weir_conn_free(s[i]);
	}
	tls_free_both(&b);
}

/* ---- Settings ---- */

TEST(files_that_do_not_fit_are_refused)
{
	struct tls_files f = tls_make_files();
	weir_tls_pair swapped = { f.key, f.cert }, absent = { "/nonexistent", f.key };
	weir_tls *t;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true }, &t), -EINVAL);
	CHECK_EQ(
		weir_tls_new(&(weir_tls_options){ .server = true, .pairs = &swapped, .pairs_n = 1 },
	                     &t),
		-EBADMSG);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true, .pairs = &absent, .pairs_n = 1 },
	                      &t),
	         -ENOENT);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .ca = f.key }, &t), -EBADMSG);
	tls_remove_files(&f);
}

TEST(a_key_of_another_certificate_is_refused)
{
	struct tls_files f = tls_make_files(), g;
	weir_tls_pair pair = { f.cert, g.key };
	weir_tls *t;

	snprintf(g.cert, sizeof g.cert, "%.50s.other", f.cert);
	snprintf(g.key, sizeof g.key, "%.50s.other", f.key);
	CHECK_EQ(weir_tls_self_signed(g.cert, g.key), 0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true, .pairs = &pair, .pairs_n = 1 },
	                      &t),
	         -EKEYREJECTED);
	/* The helper sees that too, and makes both again. */
	CHECK_EQ(weir_tls_self_signed(f.cert, g.key), 0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true, .pairs = &pair, .pairs_n = 1 },
	                      &t),
	         0);
	weir_tls_free(t);
	tls_remove_files(&f);
	tls_remove_files(&g);
}

TASK(a_reload_changes_what_comes_after_it_and_a_bad_one_nothing)
{
	struct tls_files f = tls_make_files();
	weir_tls_pair pair = { f.cert, f.key };
	weir_tls *server, *before, *after;
	weir_conn *c, *s;
	char byte;
	int r;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true, .pairs = &pair, .pairs_n = 1 },
	                      &server),
	         0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .ca = f.cert }, &before), 0);
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	CHECK_EQ(tls_shake(ctx, &(struct tls_both){ server, before }, "localhost", &c, &s, &r), 0);

	tls_remove_files(&f);
	CHECK_EQ(weir_tls_reload(ctx, server), -ENOENT);
	is_for(ctx, &(struct tls_both){ server, before }, "localhost", 0);
	tls_make_files();
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .ca = f.cert }, &after), 0);
	is_for(ctx, &(struct tls_both){ server, after }, "localhost", -EKEYREJECTED);
	CHECK_EQ(weir_tls_reload(ctx, server), 0);
	is_for(ctx, &(struct tls_both){ server, after }, "localhost", 0);
	is_for(ctx, &(struct tls_both){ server, before }, "localhost", -EKEYREJECTED);

	CHECK_EQ(weir_conn_write(ctx, c, "x", 1), 0);
	CHECK_EQ(weir_conn_read(ctx, s, &byte, 1), 1);
	weir_conn_free(c);
	weir_conn_free(s);
	tls_remove_files(&f);
	weir_tls_free(server);
	weir_tls_free(before);
	weir_tls_free(after);
}

/* ---- Stacks: OpenSSL's code has to fit onto a task's with room to spare. (A sanitizer lays out
 * frames of its own.) ---- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)

enum { PAINTED = 48 << 10, PAINT = 0xa5 };

static __attribute__((noinline)) void paint(void)
{
	unsigned char below[PAINTED];

	memset(below, PAINT, sizeof below);
	__asm__ volatile("" : : "r"(below) : "memory");
}

/* How many of those bytes were written to since. */
static __attribute__((noinline)) size_t used(void)
{
	unsigned char below[PAINTED];
	size_t clean = 0;

	__asm__ volatile("" : "=m"(below)); /* what lies there is what is asked for */
	while (clean < PAINTED && below[clean] == PAINT)
		clean++;
	return PAINTED - clean;
}

struct deep {
	struct tls_accepting a;
	size_t depth;
};

static int deep_accept(const weir_ctx *ctx, void *arg)
{
	struct deep *d = arg;

	paint();
	d->a.result = weir_tls_accept(ctx, d->a.tls, d->a.conn);
	d->depth = used();
	return 0;
}

TASK(a_handshake_takes_less_than_half_a_stack)
{
	struct tls_files f = tls_make_files();
	weir_tls_pair pair = { f.cert, f.key };
	weir_tls *server, *client;
	struct deep d = { 0 };
	weir_conn *c, *s;
	size_t depth;
	weir_group g;

	/* Both show a certificate, so that each end signs and verifies. */
	CHECK_EQ(weir_tls_new(
			 &(weir_tls_options){
				 .server = true, .pairs = &pair, .pairs_n = 1, .ca = f.cert },
			 &server),
	         0);
	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .pairs = &pair, .pairs_n = 1, .ca = f.cert },
	                      &client),
	         0);
	tls_remove_files(&f);
	CHECK_EQ(weir_conn_pair(&c, &s), 0);
	d.a = (struct tls_accepting){ server, &s, 0 };
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, deep_accept, &d), 0);
	paint();
	CHECK_EQ(weir_tls_connect(ctx, client, "localhost", &c), 0);
	depth = used();
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(d.a.result, 0);
	if (depth >= 32 << 10 || d.depth >= 32 << 10)
		test_fail(__FILE__, __LINE__, "the client took %zu bytes, the server %zu", depth,
		          d.depth);
	weir_conn_free(c);
	weir_conn_free(s);
	weir_tls_free(server);
	weir_tls_free(client);
}

#endif
