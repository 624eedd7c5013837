/* SPDX-License-Identifier: MIT */
/* What the files of TLS share; with OpenSSL only. */
#ifndef WEIR_NET_TLS_H
#define WEIR_NET_TLS_H

#include <weir/sync.h>
#include <weir/tls.h>

#include <openssl/ssl.h>

#include "rt/lock.h"

enum {
	WEIR__TLS_PAIRS_MAX = 64,
	WEIR__TLS_ALPN_MAX = 64, /* bytes of all protocols, each behind its length */
};

/* ---- What was read from the files; handshakes under way keep the one they began with. ---- */

struct weir__tls_set {
	unsigned refs; /* guarded by the lock of its weir_tls */
	size_t n;
	SSL_CTX *ctx
		[]; /* the first is that of connections; the others lend them their certificate */
};

/* ---- Keys of session tickets (tls_ticket.c) ---- */

enum { WEIR__TICKET_KEYS = 3 }; /* the one in use and those before it: two to three hours */

struct weir__ticket_key {
	unsigned char name[16], cipher[32], mac[32];
	int64_t since_ns; /* 0: none */
};

struct weir__tickets {
	weir__lock lock; /* guards the keys */
	struct weir__ticket_key key[WEIR__TICKET_KEYS];
};

void weir__tickets_install(SSL_CTX *ctx); /* its app data is its weir_tls */
void weir__tickets_forget(struct weir__tickets *t);

/* ---- One side's settings (tls.c) ---- */

#define WEIR__TLS_MAGIC 0x746c7331u
struct weir_tls {
	uint32_t magic;
	bool server, insecure;
	char *ca;
	char *cert[WEIR__TLS_PAIRS_MAX], *key[WEIR__TLS_PAIRS_MAX];
	size_t pairs_n;
	unsigned char alpn[WEIR__TLS_ALPN_MAX];
	unsigned alpn_len;
	int64_t handshake_ns;
	weir_sem slots;
	struct weir__tickets tickets;
	weir__lock lock; /* guards: */
	struct weir__tls_set *set;
	char why[200];
};

struct weir__tls_set *weir__tls_get(struct weir_tls *t);
void weir__tls_put(struct weir_tls *t, struct weir__tls_set *set);
void weir__tls_say_why(struct weir_tls *t, const char *peer, const char *why);

/* The oldest error that OpenSSL noted on this thread, as words; forgets all. */
const char *weir__tls_reason(char *buf, size_t n);

#endif
