/* SPDX-License-Identifier: MIT */
/*
 * The settings of one side of TLS: certificates and keys from files, whom to trust, protocols.
 *
 * All that files hold lies in a set of OpenSSL's contexts, which is replaced whole when the files
 * are read again. A handshake holds the set it began with; after it, nothing of a connection leads
 * back to here but the context that OpenSSL itself counts. So a reload has nobody to wait for, and
 * one that fails changes nothing.
 *
 * One context is that of all connections of a set: options, tickets, ALPN. The others only lend
 * certificate and key, chosen by the name the client asks for, and trust whom it trusts.
 * X509_check_host() is asked of one certificate after the other: that is at most
 * WEIR__TLS_PAIRS_MAX times some microseconds in a handshake that costs a hundred, and the rules
 * about wildcards are OpenSSL's.
 *
 * OpenSSL's own cache of sessions is off: tickets hold them, at the client's.
 */
#include "net/tls.h"

#include <weir/offload.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"

enum { HANDSHAKES_MAX = 1000 };
#define HANDSHAKE_NS WEIR_SEC(10)

/* With forward secrecy and AEAD; those of TLS 1.3 all are. */
static const char ciphers_12[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

const char *weir__tls_reason(char *buf, size_t n)
{
	unsigned long e = ERR_get_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;

	if (text)
		snprintf(buf, n, "%s", text);
	else if (e)
		snprintf(buf, n, "%s", strerror(ERR_GET_REASON(e)));
	else
		snprintf(buf, n, "unknown");
	ERR_clear_error();
	return buf;
}

/* ---- Reading the files ---- */

/* Says what is wrong with a file, by errno for one that could not be opened. */
static int bad_file(const char *path, int otherwise)
{
	unsigned long e = ERR_peek_error();
	int r = otherwise;
	char why[120];

	if (ERR_SYSTEM_ERROR(e))
		r = -ERR_GET_REASON(e);
	weir__log(WEIR__ERROR, "tls", "%s: %s", path, weir__tls_reason(why, sizeof why));
	return r;
}

/* Nobody can be asked for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return 0;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
	struct weir_tls *t = arg;
	unsigned char *chosen;

	(void)ssl;
	if (SSL_select_next_proto(&chosen, out_len, t->alpn, t->alpn_len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* The set is that of the handshake, which keeps it. */
static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
	struct weir__tls_set *set = SSL_get_app_data(ssl);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	(void)arg;
	if (!name)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i < set->n; i++) {
		X509 *cert = SSL_CTX_get0_certificate(set->ctx[i]);

		if (X509_check_host(cert, name, 0, 0, NULL) != 1)
			continue;
		if (i > 0)
			SSL_set_SSL_CTX(ssl, set->ctx[i]);
		break;
	}
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_ctx(struct weir_tls *t)
{
	SSL_CTX *x = SSL_CTX_new(t->server ? TLS_server_method() : TLS_client_method());

	if (!x)
		return NULL;
	SSL_CTX_set_app_data(x, t);
	SSL_CTX_set_min_proto_version(x, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(x, ciphers_12);
	SSL_CTX_set_options(x, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(x, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(x, 1);
	SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(x, no_passphrase);
	if (!t->server)
		return x;
	SSL_CTX_set_num_tickets(x, 1);
	SSL_CTX_set_session_id_context(x, (const unsigned char *)"weir", 4);
	weir__tickets_install(x);
	SSL_CTX_set_tlsext_servername_callback(x, choose_certificate);
	if (t->alpn_len > 0)
		SSL_CTX_set_alpn_select_cb(x, choose_protocol, t);
	return x;
}

static int load_pair(SSL_CTX *x, const char *cert, const char *key)
{
	if (SSL_CTX_use_certificate_chain_file(x, cert) != 1)
		return bad_file(cert, -EBADMSG);
	if (SSL_CTX_use_PrivateKey_file(x, key, SSL_FILETYPE_PEM) != 1) {
		unsigned long e = ERR_peek_error();

		return bad_file(key, ERR_GET_REASON(e) == X509_R_KEY_VALUES_MISMATCH ||
		                                     ERR_GET_REASON(e) == X509_R_KEY_TYPE_MISMATCH ?
		                             -EKEYREJECTED :
		                             -EBADMSG);
	}
	return 0;
}

static int load_trust(SSL_CTX *x, struct weir_tls *t)
{
	if (t->ca && SSL_CTX_load_verify_file(x, t->ca) != 1)
		return bad_file(t->ca, -EBADMSG);
	if (!t->server) {
		if (!t->ca && !t->insecure)
			SSL_CTX_set_default_verify_paths(x);
		SSL_CTX_set_verify(x, t->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	} else if (t->ca) {
		SSL_CTX_set_client_CA_list(x, SSL_load_client_CA_file(t->ca));
		SSL_CTX_set_verify(x, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	return 0;
}

static void set_free(struct weir__tls_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n; i++)
		SSL_CTX_free(set->ctx[i]);
	free(set);
}

/* Blocks on the files. */
static int load(struct weir_tls *t, struct weir__tls_set **ret)
{
	size_t n = t->pairs_n ? t->pairs_n : 1;
	struct weir__tls_set *set = calloc(1, sizeof *set + n * sizeof *set->ctx);
	int r = 0;

	if (!set)
		return -ENOMEM;
	set->refs = 1;
	ERR_clear_error();
	for (size_t i = 0; i < n && r == 0; i++) {
		SSL_CTX *x = new_ctx(t);

		if (!x) {
			ERR_clear_error();
			r = -ENOMEM;
			break;
		}
		set->ctx[set->n++] = x;
		if (t->pairs_n)
			r = load_pair(x, t->cert[i], t->key[i]);
	}
	if (r == 0)
		r = load_trust(set->ctx[0], t);
	/* Clients are told of authorities, and looked up with them, by the context that lent its
	 * certificate. */
	for (size_t i = 1; i < set->n && r == 0; i++) {
		SSL_CTX_set1_cert_store(set->ctx[i], SSL_CTX_get_cert_store(set->ctx[0]));
		SSL_CTX_set_client_CA_list(
			set->ctx[i], SSL_dup_CA_list(SSL_CTX_get_client_CA_list(set->ctx[0])));
	}
	if (r < 0) {
		set_free(set);
		return r;
	}
	*ret = set;
	return 0;
}

/* ---- The set in use ---- */

struct weir__tls_set *weir__tls_get(struct weir_tls *t)
{
	struct weir__tls_set *set;

	weir__lock_acquire(&t->lock);
	set = t->set;
	set->refs++;
	weir__lock_release(&t->lock);
	return set;
}

void weir__tls_put(struct weir_tls *t, struct weir__tls_set *set)
{
	unsigned left;

	weir__lock_acquire(&t->lock);
	left = --set->refs;
	weir__lock_release(&t->lock);
	if (left == 0)
		set_free(set);
}

struct reload {
	struct weir_tls *t;
	struct weir__tls_set *set;
};

static int reload_files(void *arg)
{
	struct reload *l = arg;

	return load(l->t, &l->set);
}

/* Local files do not keep anybody waiting for long, and `t` must not be freed meanwhile. */
static void finish_reload(void *arg)
{
	(void)arg;
}

int weir_tls_reload(const weir_ctx *ctx, weir_tls *t)
{
	struct reload l = { .t = t };
	struct weir__tls_set *old;
	int r;

	weir__magic_check(t, WEIR__TLS_MAGIC);
	r = weir_offload_interruptible(ctx, reload_files, &l, finish_reload);
	if (r < 0)
		return r;
	weir__lock_acquire(&t->lock);
	old = t->set;
	t->set = l.set;
	weir__lock_release(&t->lock);
	weir__tls_put(t, old);
	/* A ticket vouches for a client's certificate that was checked against the authorities of
	 * its day. */
	if (t->ca)
		weir__tickets_forget(&t->tickets);
	return 0;
}

/* ---- Life ---- */

static int take_protocols(struct weir_tls *t, const char *const *alpn)
{
	for (; alpn && *alpn; alpn++) {
		size_t n = strlen(*alpn);

		if (n == 0 || n > 255 || t->alpn_len + 1 + n > sizeof t->alpn)
			return -EINVAL;
		t->alpn[t->alpn_len] = (unsigned char)n;
		memcpy(t->alpn + t->alpn_len + 1, *alpn, n);
		t->alpn_len += (unsigned)n + 1;
	}
	return 0;
}

static int take_files(struct weir_tls *t, const weir_tls_options *opt)
{
	if (opt->pairs_n > WEIR__TLS_PAIRS_MAX || (opt->server && opt->pairs_n == 0))
		return -EINVAL;
	if (opt->ca && !(t->ca = strdup(opt->ca)))
		return -ENOMEM;
	for (size_t i = 0; i < opt->pairs_n; i++) {
		t->cert[i] = strdup(opt->pairs[i].cert);
		t->key[i] = strdup(opt->pairs[i].key);
		t->pairs_n++;
		if (!t->cert[i] || !t->key[i])
			return -ENOMEM;
	}
	return 0;
}

int weir_tls_new(const weir_tls_options *opt, weir_tls **ret)
{
	struct weir_tls *t = calloc(1, sizeof *t);
	int r;

	if (!t)
		return -ENOMEM;
	t->magic = WEIR__TLS_MAGIC;
	t->server = opt->server;
	t->insecure = opt->insecure;
	t->handshake_ns = opt->handshake_ns ? opt->handshake_ns : HANDSHAKE_NS;
	weir_sem_init(&t->slots, opt->handshakes_max ? opt->handshakes_max : HANDSHAKES_MAX);
	r = take_protocols(t, opt->alpn);
	if (r == 0)
		r = take_files(t, opt);
	if (r == 0)
		r = load(t, &t->set);
	if (r < 0) {
		weir_tls_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void weir_tls_free(weir_tls *t)
{
	if (!t)
		return;
	weir__magic_check(t, WEIR__TLS_MAGIC);
	if (t->set)
		weir__tls_put(t, t->set);
	for (size_t i = 0; i < t->pairs_n; i++) {
		free(t->cert[i]);
		free(t->key[i]);
	}
	free(t->ca);
	weir__tickets_forget(&t->tickets);
	t->magic = 0;
	free(t);
}

void weir__tls_say_why(struct weir_tls *t, const char *peer, const char *why)
{
	weir__lock_acquire(&t->lock);
	snprintf(t->why, sizeof t->why, "%s", why);
	weir__lock_release(&t->lock);
	weir__log_rare(WEIR__DEBUG, "tls", "%s: no handshake: %s", peer, why);
}

void weir_tls_why(weir_tls *t, char *buf, size_t n)
{
	weir__magic_check(t, WEIR__TLS_MAGIC);
	weir__lock_acquire(&t->lock);
	snprintf(buf, n, "%s", t->why);
	weir__lock_release(&t->lock);
}
