/* SPDX-License-Identifier: MIT */
/*
 * Session tickets: the state of a session, encrypted with a key of ours and kept by the client (RFC
 * 5077, RFC 8446 §4.6.1). A key is used for an hour and understood for two more, then forgotten:
 * who breaks in later cannot read what was recorded before. Keys change when a ticket is made or
 * read, so no timer is needed, and an unused server changes nothing.
 *
 * The keys are the weir_tls's and not those of its OpenSSL contexts, so that sessions outlive a
 * reload of certificates.
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "net/tls.h"

#define HOUR_NS WEIR_SEC(3600)

/* Under the lock. False without random numbers. */
static bool refresh(struct weir__tickets *t)
{
	struct weir__ticket_key *k = t->key;
	int64_t now = weir_now();

	/* The one in use too, if nobody asked for it in all that time. */
	for (int i = 0; i < WEIR__TICKET_KEYS; i++)
		if (k[i].since_ns && now - k[i].since_ns > WEIR__TICKET_KEYS * HOUR_NS)
			OPENSSL_cleanse(&k[i], sizeof k[i]);
	if (k->since_ns && now - k->since_ns < HOUR_NS)
		return true;
	memmove(k + 1, k, (WEIR__TICKET_KEYS - 1) * sizeof *k);
	k->since_ns = 0;
	if (RAND_bytes(k->name, sizeof k->name) != 1 ||
	    RAND_priv_bytes(k->cipher, sizeof k->cipher) != 1 ||
	    RAND_priv_bytes(k->mac, sizeof k->mac) != 1)
		return false;
	k->since_ns = now;
	return true;
}

/* Copies the key to encrypt with, or the one of that name: its place, or -1. */
static int find(struct weir__tickets *t, const unsigned char *name, struct weir__ticket_key *ret)
{
	int found = -1;

	weir__lock_acquire(&t->lock);
	if (refresh(t)) {
		for (int i = 0; i < WEIR__TICKET_KEYS && found < 0; i++)
			if (t->key[i].since_ns &&
			    (!name || !memcmp(t->key[i].name, name, sizeof t->key[i].name)))
				found = i;
		if (found >= 0)
			*ret = t->key[found];
	}
	weir__lock_release(&t->lock);
	return found;
}

static bool set_mac(EVP_MAC_CTX *mac, struct weir__ticket_key *k)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof k->mac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* OpenSSL's: 1 done, 2 done but give the client a new one, 0 not ours, -1 cannot. */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int encrypt)
{
	struct weir_tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct weir__ticket_key k;
	int at = find(&t->tickets, encrypt ? NULL : name, &k);
	bool ok;

	if (at < 0)
		return encrypt ? -1 : 0;
	if (encrypt) {
		memcpy(name, k.name, sizeof k.name);
		ok = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
		     EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) == 1;
	} else {
		ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) == 1;
	}
	ok = ok && set_mac(mac, &k);
	OPENSSL_cleanse(&k, sizeof k);
	return !ok ? -1 : at > 0 ? 2 : 1;
}

void weir__tickets_install(SSL_CTX *ctx)
{
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
}

void weir__tickets_forget(struct weir__tickets *t)
{
	weir__lock_acquire(&t->lock);
	OPENSSL_cleanse(t->key, sizeof t->key);
	weir__lock_release(&t->lock);
}
