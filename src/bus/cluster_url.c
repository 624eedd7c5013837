/* SPDX-License-Identifier: MIT */
/*
 * A cluster's URL as options for nats.c:
 *
 *	nats://a:4222,b:4222             servers of one cluster; it tells of the others
 *	nats://user:password@a, nats://token@a      with %XX for what a URL takes amiss
 *	tls://a                          TLS, the certificate checked against the host's name
 *	?creds=FILE                      a user's JWT and seed
 *	?nkey=PUBLIC&seed=FILE           a user's key
 *	?ca=FILE &cert=FILE&key=FILE     whom to believe, and who we are (TLS)
 *	?name=TEXT                       what the server's monitoring shows
 *	?buffer=8MiB                     what may wait for a connection
 *
 * Reads files, so it runs on the adapter's own thread. A password is never logged.
 */
#include "bus/cluster.h"

#include "base/log.h"
#include "base/units.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	SERVERS_MAX = 32,
	BUFFER_DEFAULT = 8 << 20,
	BUFFER_MIN = 4 << 10,
	CONNECT_MS = 2000,
	AGAIN_MS = 250,
	JITTER_MS = 100,
	JITTER_TLS_MS = 500,
	PING_MS = 20000,
	WRITE_MS = 10000,
};

static const char *const known[] = { "creds", "nkey", "seed",   "ca", "cert",
	                             "key",   "name", "buffer", NULL };

struct query {
	char *value[8]; /* as in `known` */
};

static char **of(struct query *q, const char *name, size_t n)
{
	for (size_t i = 0; known[i]; i++)
		if (strlen(known[i]) == n && !strncmp(known[i], name, n))
			return &q->value[i];
	return NULL;
}

static const char *get(struct query *q, const char *name)
{
	return *of(q, name, strlen(name));
}

static void query_free(struct query *q)
{
	for (size_t i = 0; known[i]; i++)
		free(q->value[i]);
}

static int query_read(const char *text, struct query *q)
{
	while (*text) {
		size_t n = strcspn(text, "&"), name = strcspn(text, "=&");
		char **place = of(q, text, name);
		/* Else it may be a piece of a password that has a '?' in it. */
		bool plain = strspn(text, "abcdefghijklmnopqrstuvwxyz_-") >= name;

		if (!place || *place || name == n || name + 1 == n) {
			weir__log(
				WEIR__ERROR, "bus",
				"a NATS URL takes creds, nkey and seed, ca, cert and key, name and "
				"buffer after '?' (a store's also replicas), each once and with a "
				"value, not \"%.*s\"",
				plain ? (int)name : 3, plain ? text : "...");
			return -EINVAL;
		}
		*place = strndup(text + name + 1, n - name - 1);
		if (!*place)
			return -ENOMEM;
		text += n + (text[n] == '&');
	}
	return 0;
}

static int told(natsStatus st, const char *what)
{
	if (st == NATS_OK)
		return 0;
	weir__log(WEIR__ERROR, "bus", "NATS: %s: %s", what, natsStatus_GetText(st));
	return st == NATS_NO_MEMORY ? -ENOMEM : -EINVAL;
}

static int hex(char c)
{
	return c >= '0' && c <= '9'               ? c - '0' :
	       (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 :
	                                            -1;
}

/* Undoes %XX (RFC 3986 §2.1) in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++)
		if (*s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
			*to++ = (char)(hex(s[1]) << 4 | hex(s[2]));
			s += 2;
		} else {
			*to++ = *s;
		}
	*to = 0;
}

/* Who signs in by name or token in the first server's place does so everywhere. */
static int set_user(natsOptions *o, const char *server)
{
	const char *at = strrchr(server, '@'), *colon;
	char *user, *password;
	int r = -ENOMEM;

	if (!at)
		return 0;
	user = strndup(server, (size_t)(at - server));
	if (!user)
		return -ENOMEM;
	colon = strchr(user, ':');
	if (!colon) {
		unescape(user);
		r = told(natsOptions_SetToken(o, user), "the token");
	} else {
		password = strdup(colon + 1);
		if (password) {
			user[colon - user] = 0;
			unescape(user);
			unescape(password);
			r = told(natsOptions_SetUserInfo(o, user, password), "user and password");
		}
		free(password);
	}
	free(user);
	return r;
}

/* hosts: "[user:pass@]a:1,b:2". */
static int set_servers(natsOptions *o, const char *scheme, const char *hosts, size_t len)
{
	char *url[SERVERS_MAX] = { NULL };
	char *text = strndup(hosts, len), *save = NULL;
	int n = 0, r = text ? 0 : -ENOMEM;

	for (char *h = text ? strtok_r(text, ",", &save) : NULL; h && r == 0;
	     h = strtok_r(NULL, ",", &save)) {
		if (n == 0)
			r = set_user(o, h);
		if (n == SERVERS_MAX) {
			weir__log(WEIR__ERROR, "bus", "a NATS URL names at most %d servers",
			          SERVERS_MAX);
			r = -EINVAL;
		} else if (asprintf(&url[n], "%s://%s", scheme,
		                    strchr(h, '@') ? strrchr(h, '@') + 1 : h) < 0) {
			url[n] = NULL;
			r = -ENOMEM;
		} else {
			n++;
		}
	}
	if (r == 0 && n == 0) {
		weir__log(WEIR__ERROR, "bus", "a NATS URL names a server: nats://HOST:4222");
		r = -EINVAL;
	}
	if (r == 0)
		r = told(natsOptions_SetServers(o, (const char **)url, n), "the servers");
	for (int i = 0; i < n; i++)
		free(url[i]);
	free(text);
	return r;
}

static int set_rights(natsOptions *o, struct query *q, bool tls)
{
	int r = 0;

	if (tls || get(q, "ca") || get(q, "cert"))
		r = told(natsOptions_SetSecure(o, true), "TLS");
	if (r == 0 && get(q, "ca"))
		r = told(natsOptions_LoadCATrustedCertificates(o, get(q, "ca")), get(q, "ca"));
	if (r == 0 && get(q, "cert"))
		r = told(natsOptions_LoadCertificatesChain(
				 o, get(q, "cert"), get(q, "key") ? get(q, "key") : get(q, "cert")),
		         get(q, "cert"));
	if (r == 0 && get(q, "creds") && access(get(q, "creds"), R_OK) < 0)
		r = told(NATS_INVALID_ARG, get(q, "creds"));
	if (r == 0 && get(q, "creds"))
		r = told(natsOptions_SetUserCredentialsFromFiles(o, get(q, "creds"), NULL),
		         get(q, "creds"));
	if (r == 0 && get(q, "nkey"))
		r = told(natsOptions_SetNKeyFromSeed(o, get(q, "nkey"), get(q, "seed")),
		         "nkey and seed");
	return r;
}

/* What never fails but for memory. */
static natsStatus set_habits(natsOptions *o, const char *name)
{
	natsStatus st = natsOptions_SetName(o, name ? name : "weir");

	if (st == NATS_OK)
		st = natsOptions_SetTimeout(o, CONNECT_MS);
	if (st == NATS_OK)
		st = natsOptions_SetMaxReconnect(o, -1);
	if (st == NATS_OK)
		st = natsOptions_SetReconnectWait(o, AGAIN_MS);
	if (st == NATS_OK)
		st = natsOptions_SetReconnectJitter(o, JITTER_MS, JITTER_TLS_MS);
	/* What waits for a connection waits in our queue, whose bound we know. */
	if (st == NATS_OK)
		st = natsOptions_SetReconnectBufSize(o, 1);
	if (st == NATS_OK)
		st = natsOptions_SetPingInterval(o, PING_MS);
	if (st == NATS_OK)
		st = natsOptions_SetMaxPingsOut(o, 2);
	if (st == NATS_OK)
		st = natsOptions_SetWriteDeadline(o, WRITE_MS);
	/* One thread, one order: a round trip's message comes behind all that came before it. */
	if (st == NATS_OK)
		st = natsOptions_UseGlobalMessageDelivery(o, true);
	return st;
}

int weir__cluster_options(const char *url, natsOptions **ret, size_t *ret_bytes)
{
	bool tls = !strncmp(url, "tls://", 6);
	const char *hosts = strstr(url, "://") + 3;
	size_t len = strcspn(hosts, "?/");
	const char *mark = strchr(hosts, '?');
	uint64_t bytes = BUFFER_DEFAULT;
	struct query q = { { NULL } };
	natsOptions *o = NULL;
	int r;

	r = query_read(mark ? mark + 1 : "", &q);
	if (r == 0 && get(&q, "buffer") &&
	    (weir__parse_bytes(get(&q, "buffer"), &bytes) < 0 || bytes < BUFFER_MIN)) {
		weir__log(WEIR__ERROR, "bus", "buffer=%s is no number of bytes from 4KiB up",
		          get(&q, "buffer"));
		r = -EINVAL;
	}
	if (r == 0)
		r = told(natsOptions_Create(&o), "options");
	if (r == 0)
		r = told(set_habits(o, get(&q, "name")), "options");
	if (r == 0)
		r = set_servers(o, tls ? "tls" : "nats", hosts, len);
	if (r == 0)
		r = set_rights(o, &q, tls);
	query_free(&q);
	if (r < 0) {
		natsOptions_Destroy(o);
		return r;
	}
	*ret = o;
	*ret_bytes = (size_t)bytes;
	return 0;
}
