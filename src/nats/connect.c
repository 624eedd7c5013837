/* SPDX-License-Identifier: MIT */
/* What the two sides say about themselves: the server's INFO, the client's CONNECT, and signing
 * in. */
#include "nats/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "nats/nkey.h"

enum { CLIENT_TEXT_MAX = 128 };

struct connect {
	bool verbose, pedantic, echo, headers, no_responders;
	int64_t protocol;
	const char *user, *pass, *token, *nkey, *sig, *jwt, *name, *lang, *version;
};

static void member(const struct weir__json_member *m, void *arg)
{
	struct connect *o = arg;
	const struct {
		const char *key;
		const char **to;
	} texts[] = {
		{ "user", &o->user }, { "pass", &o->pass }, { "auth_token", &o->token },
		{ "nkey", &o->nkey }, { "sig", &o->sig },   { "jwt", &o->jwt },
		{ "name", &o->name }, { "lang", &o->lang }, { "version", &o->version },
	};
	const struct {
		const char *key;
		bool *to;
	} bools[] = {
		{ "verbose", &o->verbose },
		{ "pedantic", &o->pedantic },
		{ "echo", &o->echo },
		{ "headers", &o->headers },
		{ "no_responders", &o->no_responders },
	};

	for (size_t i = 0; m->kind == WEIR__JSON_TEXT && i < sizeof texts / sizeof *texts; i++)
		if (!strcmp(m->key, texts[i].key))
			*texts[i].to = m->text[0] ? m->text : NULL;
	for (size_t i = 0; m->kind == WEIR__JSON_BOOL && i < sizeof bools / sizeof *bools; i++)
		if (!strcmp(m->key, bools[i].key))
			*bools[i].to = m->yes;
	if (m->kind == WEIR__JSON_NUMBER && !strcmp(m->key, "protocol"))
		o->protocol = m->number;
}

/* Name, language and version in one piece. Without memory monitoring shows none. */
static void keep_texts(struct weir__nats_conn *c, const struct connect *o)
{
	const char *const texts[] = { o->name, o->lang, o->version };
	struct weir__buf b = WEIR__BUF_INIT;
	char *old;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		if (texts[i])
			weir__buf_add(&b, texts[i], strnlen(texts[i], CLIENT_TEXT_MAX));
		weir__buf_byte(&b, 0);
	}
	weir__lock_acquire(&c->lock);
	old = c->client;
	c->client = b.failed ? NULL : b.data;
	weir__lock_release(&c->lock);
	free(old);
	if (b.failed)
		weir__buf_free(&b);
}

static int sign_in(struct weir__nats_conn *c, const struct connect *o)
{
	const weir_nats_options *opt = &c->server->opt;
	weir_nats_login login = {
		.user = o->user, .pass = o->pass, .token = o->token, .peer = weir_conn_peer(c->io)
	};
	weir_nats_user *user;
	int r;

	if (o->jwt)
		return -EACCES;
	if (o->nkey) {
		if (!o->sig || !weir__nkey_verify(o->nkey, c->nonce, o->sig))
			return -EACCES;
		login.nkey = o->nkey;
	}
	r = opt->sign_in(&login, &user, opt->arg);
	if (r < 0)
		return r;
	weir__lock_acquire(&c->lock);
	c->rights = (struct weir__rights *)user;
	weir__lock_release(&c->lock);
	return 0;
}

const char *weir__nats_connect(struct weir__nats_turn *t, const struct weir__nats_frame *f)
{
	struct weir__nats_conn *c = t->conn;
	struct connect o = { .verbose = true, .pedantic = true, .echo = true };

	if (weir__json_object(f->args.at, f->args.len, member, &o) < 0)
		return "Parser Error";
	if (o.protocol < 0 || o.protocol > 1)
		return "invalid client protocol";
	if (o.no_responders && !o.headers)
		return "no responders requires headers support";
	if (c->must_sign_in && sign_in(c, &o) < 0) {
		__atomic_fetch_add(&c->server->refused, 1, __ATOMIC_RELAXED);
		return "Authorization Violation";
	}
	c->must_sign_in = false;
	c->signin_ns = WEIR_NEVER;
	c->verbose = o.verbose;
	c->pedantic = o.pedantic;
	c->no_responders = o.no_responders;
	c->protocol = (uint8_t)o.protocol;
	weir__lock_acquire(&c->lock);
	c->echo = o.echo;
	c->headers = o.headers;
	weir__lock_release(&c->lock);
	keep_texts(c, &o);
	if (c->verbose)
		weir__nats_say(t, "+OK\r\n", 5);
	return NULL;
}

static void text(struct weir__buf *b, const char *key, const char *value)
{
	weir__buf_printf(b, "\"%s\":", key);
	weir__buf_json(b, value, strlen(value));
	weir__buf_byte(b, ',');
}

void weir__nats_info(struct weir__nats_conn *c, bool lame, struct weir__buf *b)
{
	weir_nats_server *n = c->server;
	const char *peer = weir_conn_peer(c->io), *colon = strrchr(peer, ':');
	char ip[64];
	size_t len = colon ? (size_t)(colon - peer) : strlen(peer);

	if (len >= sizeof ip)
		len = sizeof ip - 1;
	memcpy(ip, peer, len);
	ip[len] = 0;
	weir__buf_str(b, "INFO {");
	text(b, "server_id", n->id);
	text(b, "server_name", n->name);
	text(b, "version", WEIR__NATS_VERSION);
	weir__buf_str(b, "\"proto\":1,\"go\":\"\",");
	text(b, "host", c->serving->host);
	weir__buf_printf(b, "\"port\":%d,\"headers\":true,\"max_payload\":%zu,", c->serving->port,
	                 n->opt.max_payload);
	if (c->server->opt.sign_in) {
		weir__buf_str(b, "\"auth_required\":true,");
		if (weir__nkey_built())
			text(b, "nonce", c->nonce);
	}
	if (c->serving->tls)
		weir__buf_str(b, "\"tls_required\":true,");
	if (lame)
		weir__buf_str(b, "\"ldm\":true,");
	text(b, "client_ip", ip);
	weir__buf_printf(b, "\"client_id\":%llu} \r\n", (unsigned long long)c->id);
}
