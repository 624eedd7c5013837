/* SPDX-License-Identifier: MIT */
/* Both ends of a connection, made to speak TLS with a certificate of their own. */
#ifndef WEIR_TESTS_NET_TLS_TEST_H
#define WEIR_TESTS_NET_TLS_TEST_H

#include "test.h"

#include <weir/group.h>
#include <weir/tls.h>

#include <unistd.h>

struct tls_files {
	char cert[64], key[64];
};

/* Is there any in this build? */
static inline bool tls_built(void)
{
	return weir_tls_new(&(weir_tls_options){ .server = true }, &(weir_tls *){ NULL }) !=
	       -EOPNOTSUPP;
}

static inline struct tls_files tls_make_files(void)
{
	struct tls_files f;

	snprintf(f.cert, sizeof f.cert, "/tmp/weir-test-%d.crt", (int)getpid());
	snprintf(f.key, sizeof f.key, "/tmp/weir-test-%d.key", (int)getpid());
	CHECK_EQ(weir_tls_self_signed(f.cert, f.key), 0);
	return f;
}

static inline void tls_remove_files(const struct tls_files *f)
{
	unlink(f->cert);
	unlink(f->key);
}

static inline weir_tls *tls_make_server(const struct tls_files *f, const char *const *alpn)
{
	weir_tls_pair pair = { f->cert, f->key };
	weir_tls *t;

	CHECK_EQ(weir_tls_new(
			 &(weir_tls_options){
				 .server = true, .pairs = &pair, .pairs_n = 1, .alpn = alpn },
			 &t),
	         0);
	return t;
}

static inline weir_tls *tls_make_client(const char *ca, const char *const *alpn)
{
	weir_tls *t;

	CHECK_EQ(weir_tls_new(&(weir_tls_options){ .ca = ca, .alpn = alpn }, &t), 0);
	return t;
}

struct tls_both {
	weir_tls *server, *client, *other; /* other: a second client, if a test has use for it */
};

static inline struct tls_both tls_make_both(const char *const *alpn)
{
	struct tls_files f = tls_make_files();
	struct tls_both b = { .server = tls_make_server(&f, alpn),
		              .client = tls_make_client(f.cert, alpn) };

	tls_remove_files(&f);
	return b;
}

static inline void tls_free_both(struct tls_both *b)
{
	weir_tls_free(b->server);
	weir_tls_free(b->client);
	weir_tls_free(b->other);
}

struct tls_accepting {
	weir_tls *tls;
	weir_conn **conn;
	int result;
};

static inline int tls_accept_task(const weir_ctx *ctx, void *arg)
{
	struct tls_accepting *a = arg;

	a->result = weir_tls_accept(ctx, a->tls, a->conn);
	return 0;
}

/* The client's result; the server's in *ret_server. */
static inline int tls_shake(const weir_ctx *ctx, const struct tls_both *b, const char *name,
                            weir_conn **client, weir_conn **server, int *ret_server)
{
	struct tls_accepting a = { b->server, server, 0 };
	weir_group g;
	int r;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, tls_accept_task, &a), 0);
	r = weir_tls_connect(ctx, b->client, name, client);
	if (r < 0)
		weir_conn_shutdown(*client);
	weir_group_wait(&g);
	*ret_server = a.result;
	return r;
}

#endif
