/* SPDX-License-Identifier: MIT */
/* TLS with a client that does what ours never would: OpenSSL by hand, over memory. */
#include "tls_test.h"

#include <openssl/ssl.h>

#include "net/conn.h"

enum { SEEDS = 10, RING = 64 << 10, OVERHEAD = 22 /* of a record of TLS 1.3 */ };

struct peer {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;
	weir_conn *io;
};

static void peer_new(struct peer *p, weir_conn *io)
{
	p->ctx = SSL_CTX_new(TLS_client_method());
	p->ssl = SSL_new(p->ctx);
	p->in = BIO_new(BIO_s_mem());
	p->out = BIO_new(BIO_s_mem());
	SSL_set_bio(p->ssl, p->in, p->out);
	SSL_set_connect_state(p->ssl);
	p->io = io;
}

static void peer_free(struct peer *p)
{
	SSL_set_shutdown(p->ssl, SSL_SENT_SHUTDOWN); /* else its session is thought to be spoilt */
	SSL_free(p->ssl);
	SSL_CTX_free(p->ctx);
	weir_conn_free(p->io);
}

static void peer_flush(const weir_ctx *ctx, struct peer *p)
{
	char buf[4096];
	int n;

	while ((n = BIO_read(p->out, buf, sizeof buf)) > 0)
		CHECK_EQ(weir_conn_write(ctx, p->io, buf, (size_t)n), 0);
}

static void peer_hear(const weir_ctx *ctx, struct peer *p)
{
	char buf[4096];
	ssize_t n = weir_conn_read(ctx, p->io, buf, sizeof buf);

	CHECK(n > 0);
	CHECK_EQ(BIO_write(p->in, buf, (int)n), n);
}

static void peer_read(const weir_ctx *ctx, struct peer *p, void *buf, size_t n)
{
	char *at = buf;
	size_t one;

	while (n > 0) {
		if (SSL_read_ex(p->ssl, at, n, &one) == 1) {
			at += one;
			n -= one;
			continue;
		}
		peer_hear(ctx, p);
	}
}

/* Both ends shake hands, and what the server sent behind that is read. */
static void peer_shake(const weir_ctx *ctx, struct peer *p, struct weir_tls *server, weir_conn **s)
{
	struct tls_accepting a = { server, s, 0 };
	weir_group g;
	char word;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, tls_accept_task, &a), 0);
	while (SSL_do_handshake(p->ssl) != 1) {
		peer_flush(ctx, p);
		peer_hear(ctx, p);
	}
	peer_flush(ctx, p);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(a.result, 0);
	CHECK_EQ(weir_conn_write(ctx, *s, "!", 1), 0);
	peer_read(ctx, p, &word, 1);
}

static void fill(char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		text[i] = (char)('a' + i % 23);
}

/* RFC 6066 §4. */
TASK(a_client_of_short_records_gets_every_byte)
{
	static const unsigned char lengths[] = { TLSEXT_max_fragment_length_512,
		                                 TLSEXT_max_fragment_length_1024,
		                                 TLSEXT_max_fragment_length_2048,
		                                 TLSEXT_max_fragment_length_4096 };
	struct tls_both b = tls_make_both(NULL);
	char out[20000], in[20000];

	fill(out, sizeof out);
	for (size_t i = 0; i < sizeof lengths; i++) {
		struct iovec parts[] = { { out, 100 }, { out + 100, 700 }, { out + 800, 19200 } };
		struct peer p;
		weir_conn *s;

		CHECK_EQ(weir_conn_pair(&p.io, &s), 0);
		peer_new(&p, p.io);
		SSL_set_tlsext_max_fragment_length(p.ssl, lengths[i]);
		peer_shake(ctx, &p, b.server, &s);
		memset(in, 0, sizeof in);
		CHECK_EQ(weir_conn_writev(ctx, s, parts, 3), 0);
		peer_read(ctx, &p, in, sizeof in);
		CHECK(!memcmp(in, out, sizeof in));
		weir_conn_free(s);
		peer_free(&p);
	}
	tls_free_both(&b);
}

static void ask_for_new_keys(struct peer *p, int how)
{
	CHECK_EQ(SSL_key_update(p->ssl, how), 1);
	CHECK_EQ(SSL_do_handshake(p->ssl), 1);
}

static int write_word(const weir_ctx *ctx, void *arg)
{
	CHECK_EQ(weir_conn_write(ctx, arg, "0123456789", 10), 0);
	return 0;
}

static void is_writing(const weir_task_info *info, void *arg)
{
	*(bool *)arg |= info->waits_on && !strcmp(info->waits_on, "conn write");
}

/* The answer to a change of keys leaves before the next record, and may find no room itself. */
TASK(new_keys_that_find_no_room_cost_no_byte)
{
	enum { WHOLE = 16 << 10, REST = RING - 3 * (WHOLE + OVERHEAD) - OVERHEAD };
	struct tls_both b = tls_make_both(NULL);
	char *out = malloc(RING), *in = malloc(RING), byte;
	size_t all = 3 * WHOLE + REST;
	bool writing = false;
	weir_group g;
	struct peer p;
	weir_conn *s;

	CHECK_EQ(weir_conn_pair(&p.io, &s), 0);
	peer_new(&p, p.io);
	peer_shake(ctx, &p, b.server, &s);
	fill(out, all);
	CHECK_EQ(weir_conn_write(ctx, s, out, all), 0);
	ask_for_new_keys(&p, SSL_KEY_UPDATE_REQUESTED);
	peer_flush(ctx, &p);
	CHECK_EQ(weir__conn_try_read(s, &byte, 1), -EAGAIN);

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, write_word, s), 0);
	while (!writing) {
		CHECK_EQ(weir_yield(ctx), 0);
		weir_each_task(is_writing, &writing);
	}
	peer_read(ctx, &p, in, all);
	CHECK(!memcmp(in, out, all));
	peer_read(ctx, &p, in, 10);
	CHECK(!memcmp(in, "0123456789", 10));
	CHECK_EQ(weir_group_wait(&g), 0);
	free(out);
	free(in);
	weir_conn_free(s);
	peer_free(&p);
	tls_free_both(&b);
}

/* Each costs us more than it costs the peer, and a read must not go on for as long as they come. */
TASK(who_sends_nothing_but_new_keys_is_cut_off)
{
	struct tls_both b = tls_make_both(NULL);
	char byte;
	struct peer p;
	weir_conn *s;

	CHECK_EQ(weir_conn_pair(&p.io, &s), 0);
	peer_new(&p, p.io);
	peer_shake(ctx, &p, b.server, &s);
	for (int i = 0; i < 20; i++)
		ask_for_new_keys(&p, SSL_KEY_UPDATE_NOT_REQUESTED);
	CHECK_EQ(SSL_write(p.ssl, "x", 1), 1);
	peer_flush(ctx, &p);
	CHECK_EQ(weir_conn_read(ctx, s, &byte, 1), 1);
	while (BIO_pending(p.out) < RING - 100)
		ask_for_new_keys(&p, SSL_KEY_UPDATE_NOT_REQUESTED);
	peer_flush(ctx, &p);
	CHECK_EQ(weir__conn_try_read(s, &byte, 1), -ECONNRESET);
	weir_conn_free(s);
	peer_free(&p);
	tls_free_both(&b);
}

static void is_in_handshake(const weir_task_info *info, void *arg)
{
	*(bool *)arg |= info->waits_on && !strcmp(info->waits_on, "tls handshake");
}

TASK(a_handshake_ends_when_its_connection_is_shut_down)
{
	struct tls_both b = tls_make_both(NULL);
	weir_conn *c, *s;

	for (int begun = 0; begun < 2; begun++) {
		struct tls_accepting a = { b.server, &s, 0 };
		bool waits = false;
		weir_group g;

		CHECK_EQ(weir_conn_pair(&c, &s), 0);
		if (begun)
			CHECK_EQ(weir_conn_write(ctx, c, "\x16\x03\x01\x02\x00\x01", 6), 0);
		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go(&g, tls_accept_task, &a), 0);
		while (!waits) {
			CHECK_EQ(weir_yield(ctx), 0);
			weir_each_task(is_in_handshake, &waits);
		}
		weir_conn_shutdown(s);
		CHECK_EQ(weir_group_wait(&g), 0);
		CHECK_EQ(a.result, -EPIPE);
		weir_conn_free(c);
		weir_conn_free(s);
	}
	tls_free_both(&b);
}

static bool comes_back(const weir_ctx *ctx, weir_tls *server, SSL_SESSION **session)
{
	weir_tls_info info;
	struct peer p;
	weir_conn *s;

	CHECK_EQ(weir_conn_pair(&p.io, &s), 0);
	peer_new(&p, p.io);
	if (*session)
		CHECK_EQ(SSL_set_session(p.ssl, *session), 1);
	SSL_SESSION_free(*session);
	peer_shake(ctx, &p, server, &s);
	CHECK_EQ(weir_conn_tls_info(s, &info), 0);
	*session = SSL_get1_session(p.ssl);
	weir_conn_free(s);
	peer_free(&p);
	return info.resumed;
}

SIM(a_ticket_is_good_for_two_hours_and_for_no_more_than_three, SEEDS)
{
	struct tls_both b = tls_make_both(NULL);
	SSL_SESSION *session = NULL;

	CHECK(!comes_back(ctx, b.server, &session));
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(2 * 3600 - 60)), 0);
	CHECK(comes_back(ctx, b.server, &session));
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(3 * 3600 + 60)), 0);
	CHECK(!comes_back(ctx, b.server, &session));
	SSL_SESSION_free(session);
	tls_free_both(&b);
}

/* Who waits for its turn has had its time too. */
SIM(a_drain_waits_no_longer_for_handshakes_that_have_no_turn_yet, SEEDS)
{
	struct tls_files f = tls_make_files();
	weir_tls_pair pair = { f.cert, f.key };
	struct tls_accepting a[3];
	weir_conn *c[3], *s[3];
	int64_t began;
	weir_group g;
	weir_tls *t;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .server = true,
	                                           .pairs = &pair,
	                                           .pairs_n = 1,
	                                           .handshakes_max = 1 },
	                      &t),
	         0);
	tls_remove_files(&f);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(weir_conn_pair(&c[i], &s[i]), 0);
		CHECK_EQ(weir_conn_write(ctx, c[i], "\x16\x03\x01\x02\x00\x01", 6), 0);
		a[i] = (struct tls_accepting){ t, &s[i], 0 };
		CHECK_EQ(weir_group_go(&g, tls_accept_task, &a[i]), 0);
	}
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	began = weir_now();
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK(weir_now() - began < WEIR_MS(2100));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(a[i].result, -ETIMEDOUT);
		weir_conn_free(c[i]);
		weir_conn_free(s[i]);
	}
	weir_tls_free(t);
}
