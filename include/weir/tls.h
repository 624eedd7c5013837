/* SPDX-License-Identifier: MIT */
/*
 * TLS 1.2 and 1.3 over any connection, as server and as client. A weir_tls holds what one side
 * needs: certificates, whom it trusts, which protocols it offers; any number of connections are
 * made with it, also while it is read again.
 *
 *	weir_tls_pair pair = { "cert.pem", "key.pem" };
 *	r = weir_tls_new(&(weir_tls_options){ .server = true, .pairs = &pair, .pairs_n = 1 }, &tls);
 *	while ((r = weir_accept(ctx, l, &c)) > 0)
 *		if (weir_group_go(&conns, serve, c) < 0)
 *			weir_conn_free(c);
 *	r = weir_tls_accept(ctx, tls, &c);      // in the connection's task
 *
 * What became of a handshake is an ordinary connection: reads, writes and ends as in weir/net.h.
 * The end of a stream without TLS's own goodbye is -ECONNRESET, so that nobody takes what was cut
 * off for the whole. weir_conn_shutdown(), _shutdown_write() and _free() say goodbye when that
 * needs no wait.
 *
 * Renegotiation, compression, early data and everything before TLS 1.2 are refused; ciphers of TLS
 * 1.2 are those with forward secrecy and AEAD. Sessions are resumed by tickets whose keys change
 * every hour and are never stored.
 */
#ifndef WEIR_TLS_H
#define WEIR_TLS_H

#include <weir/net.h>

WEIR_BEGIN

typedef struct weir_tls weir_tls;

/* PEM files: a certificate, followed by those between it and the root; its key, without a
 * passphrase. */
typedef struct weir_tls_pair {
	const char *cert, *key;
} weir_tls_pair;

typedef struct weir_tls_options {
	bool server;
	/* A server answers with the first pair whose certificate names what the client asks for
	 * (SNI), else with the first; it needs one at least. A client shows the first. At most
	 * 64. */
	const weir_tls_pair *pairs;
	size_t pairs_n;
	/* PEM file of authorities. A client's default is the system's. A server that is given one
	 * asks clients for a certificate and refuses who has none of these. */
	const char *ca;
	bool insecure; /* client: whoever answers is taken for the right one */
	/* Protocols for ALPN, the best first, NULL at the end; or NULL. A server refuses a client
	 * that offers protocols but none of these. */
	const char *const *alpn;
	int64_t handshake_ns; /* for a whole handshake; default 10 s */
	unsigned
		handshakes_max; /* a server's at a time, others wait for their turn; default 1000 */
} weir_tls_options;

/* Reads the files, so not in a task, but from main() or offloaded. Everything is copied. 0;
 * -EOPNOTSUPP (built without TLS); -ENOENT, -EACCES, … of a file; -EBADMSG (no PEM, or not what was
 * expected); -EKEYREJECTED (the key is not the certificate's); -EINVAL; -ENOMEM. The reason is
 * logged with the file's name. */
WEIR_API int weir_tls_new(const weir_tls_options *opt, weir_tls **ret);

/* When nobody is in weir_tls_accept() or _connect() with it; connections made with it live on. NULL
 * is fine. */
WEIR_API void weir_tls_free(weir_tls *t);

/* Reads the files again, offloaded; handshakes that begin after it use what they held. Nothing
 * changes for connections that are made. On an error, as of weir_tls_new(), what was there stays
 * in use. Waits. */
WEIR_API int weir_tls_reload(const weir_ctx *ctx, weir_tls *t);

/* For trying things out: a certificate for localhost that vouches for itself, and its key, in these
 * files; what is there and good for a month is kept. Blocks as weir_tls_new() does. 0, -ENOMEM,
 * -EOPNOTSUPP, or an error of the files. */
WEIR_API int weir_tls_self_signed(const char *cert_file, const char *key_file);

/*
 * Handshake as server or client over *io, which *io then is replaced by. Nobody else may use *io
 * meanwhile, except to shut it down. `name` is whom the client wants to talk to, a name or an
 * address without port: the certificate has to be for it. Wait. 0; -EKEYREJECTED (the peer's
 * certificate, or the lack of one; weir_tls_why() tells more); -EPROTOTYPE (what came from the
 * client is no TLS); -EPROTO; -ECONNRESET; -EPIPE (*io was shut down); -ENOMEM; the context's
 * error, -ETIMEDOUT after handshake_ns. After an error *io is what it was, still the caller's, and
 * fit only to be freed.
 *
 * While the context drains, a server gives a client that has not said anything yet 100 ms, and one
 * in the middle of its handshake 2 s.
 */
WEIR_API int weir_tls_accept(const weir_ctx *ctx, weir_tls *t, weir_conn **io);
WEIR_API int weir_tls_connect(const weir_ctx *ctx, weir_tls *t, const char *name, weir_conn **io);

/* The sentence about the last handshake that failed, for people; "" before one has. Any task. */
WEIR_API void weir_tls_why(weir_tls *t, char *buf, size_t n);

/* The protocol agreed on by ALPN; NULL when there is none, and for a connection without TLS. Lives
 * as long as the connection. */
WEIR_API const char *weir_conn_alpn(const weir_conn *c);

typedef struct weir_tls_info {
	char version[12], cipher[48]; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
	bool resumed;
	char server_name[256]; /* that the client asked for; "" */
	char peer_name[256];   /* common name of the peer's certificate, which was checked; "" */
} weir_tls_info;

/* 0, or -ENOTCONN for a connection without TLS. */
WEIR_API int weir_conn_tls_info(const weir_conn *c, weir_tls_info *ret);

WEIR_END
#endif
