/* SPDX-License-Identifier: MIT */
/*
 * Who asks, and what may they do.
 *
 * The token file holds a token a line: name, token, rights; doc/api.md shows it. In memory only the
 * tokens' hashes are kept. A request shows one of
 *
 * - "Authorization: Bearer TOKEN",
 * - the cookie of a login, a signed text that names the token's line,
 * - "?token=" with a signed subscribe token, because a browser's EventSource cannot send headers:
 *   good for GET only, for one subject pattern, for a short time,
 * - or none of these, over TLS with a client's certificate that was checked (--tls-client-ca): its
 *   common name NAME is worth the line with cert:NAME in the place of the token.
 *
 * Signed texts are "<kind>_<hex of 'expiry name pattern'>.<hex of HMAC>". The HMAC's key is the
 * data directory's secret, so they outlive a restart; the token's hash is signed too, so they die
 * with the token. Nothing is stored for them, so nobody can make the server store anything.
 *
 * A signed subscribe token is worth what its token's line is worth now: when that may no longer
 * subscribe to the pattern, neither may the signed one.
 *
 * SIGHUP reads the file again. What was read is a table that never changes; requests hold the one
 * they found by count, and a file that is wrong leaves the one in force.
 *
 * Every comparison with a secret takes the same time for all tokens and all bytes.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <weir/offload.h>

#include "auth.h"
#include "base/glob.h"
#include "base/log.h"
#include "base/sha256.h"
#include "nats/nkey.h"
#include "rt/lock.h"

enum {
	TOKENS_MAX = 1000,
	LINE_BYTES = 4096,
	SIGNED_MAX = 1024, /* a signed text */
	SESSION_S = 12 * 3600,
	SHORT_TOKEN = 16, /* characters; a shorter one gets a warning */
};

#define TTL_MIN     WEIR_SEC(1)
#define TTL_MAX     WEIR_HOUR(1)
#define TTL_DEFAULT WEIR_MIN(10)
#define COOKIE      "weir_session"

/* Who sent a request: a token, and with a subscribe token only its pattern counts. Holds the
 * table. */
struct principal {
	struct table *table;
	const struct token *token;
	const char *subscribe;
};

/* ---- Patterns ---- */
static bool grant_covers(const struct grant *g, const char *what)
{
	if (!what || !g->pattern)
		return true;
	return g->right & (MAY_PUT | MAY_TAKE) ? weir__glob_match(g->pattern, what) :
	                                         weir__subject_covers(g->pattern, what);
}

/* ---- The file ---- */
static void hash_of(const char *text, unsigned char out[WEIR__SHA256])
{
	struct weir__sha256 s;

	weir__sha256_init(&s);
	weir__sha256_add(&s, text, strlen(text));
	weir__sha256_end(&s, out);
}

static unsigned right_of(const char *name, size_t n)
{
	static const struct {
		const char *name;
		unsigned right;
	} rights[] = {
		{ "admin", MAY_ADMIN },         { "put", MAY_PUT },
		{ "take", MAY_TAKE },           { "publish", MAY_PUBLISH },
		{ "subscribe", MAY_SUBSCRIBE },
	};

	for (size_t i = 0; i < sizeof rights / sizeof *rights; i++)
		if (strlen(rights[i].name) == n && !strncmp(rights[i].name, name, n))
			return rights[i].right;
	return 0;
}

static int add_grant(struct token *t, unsigned right, const char *pattern, size_t n)
{
	struct grant *g = &t->grants[t->grants_n];

	if (t->grants_n == GRANTS_MAX)
		return -ENOSPC;
	g->right = right;
	if (pattern) {
		g->pattern = strndup(pattern, n);
		if (!g->pattern)
			return -ENOMEM;
		if (n == 0 || (right & (MAY_PUBLISH | MAY_SUBSCRIBE) &&
		               !weir_subject_valid(g->pattern, true))) {
			free(g->pattern);
			g->pattern = NULL;
			return -EINVAL;
		}
	}
	t->grants_n++;
	return 0;
}

/* "put:mail,orders-*" */
static int read_right(struct token *t, const char *word)
{
	size_t n = strcspn(word, ":");
	unsigned right = right_of(word, n);
	int r = 0;

	if (!right || (word[n] && right == MAY_ADMIN))
		return -EINVAL;
	if (!word[n])
		return add_grant(t, right, NULL, 0);
	for (const char *p = word + n + 1; r == 0; p += n + 1) {
		n = strcspn(p, ",");
		r = add_grant(t, right, p, n);
		if (!p[n])
			break;
	}
	return r;
}

/* A public key is no secret, so it is no token; who has its private half shows that by signing. */
static bool is_nkey(const char *text)
{
	return !strncmp(text, NKEY, sizeof NKEY - 1);
}

/* Nor is the name in a certificate. */
static bool is_cert(const char *text)
{
	return !strncmp(text, CERT, sizeof CERT - 1);
}

/* 0, 1 for a line without a token, or -EINVAL with a sentence. */
static int read_line(struct table *a, char *line, char *why, size_t why_n)
{
	struct token *t = &a->tokens[a->n];
	char *save, *name, *secret, *word;
	int r;

	line[strcspn(line, "\r\n")] = '\0';
	name = strtok_r(line, " \t", &save);
	if (!name || name[0] == '#')
		return 1;
	secret = strtok_r(NULL, " \t", &save);
	memset(t, 0, sizeof *t);
	if (!secret || strlen(name) >= sizeof t->name) {
		snprintf(why, why_n,
		         secret ? "the name is longer than 64 bytes" :
		                  "a line is NAME TOKEN RIGHT…");
		return -EINVAL;
	}
	for (size_t i = 0; i < a->n; i++)
		if (!strcmp(a->tokens[i].name, name)) {
			snprintf(why, why_n, "the name %s stands there twice", name);
			return -EINVAL;
		}
	if (is_nkey(secret) && !weir__nkey_valid(secret + sizeof NKEY - 1)) {
		snprintf(why, why_n, "%s",
		         weir__nkey_built() ? "behind nkey: stands no public key of a user" :
		                              "this weir was built without nkeys");
		return -EINVAL;
	}
	if (strlen(secret) < SHORT_TOKEN && !is_cert(secret))
		weir__log(WEIR__WARN, "auth",
		          "the token of %s is shorter than %d characters and can be guessed", name,
		          SHORT_TOKEN);
	snprintf(t->name, sizeof t->name, "%s", name);
	hash_of(secret, t->hash);
	while ((word = strtok_r(NULL, " \t", &save)) && word[0] != '#') {
		r = read_right(t, word);
		if (r < 0) {
			snprintf(why, why_n,
			         "\"%.60s\" is no right; rights are admin, put, take, publish, "
			         "subscribe, each with :PATTERN,… but admin",
			         word);
			return -EINVAL;
		}
	}
	if (t->grants_n == 0) {
		snprintf(why, why_n, "%s has no right", name);
		return -EINVAL;
	}
	a->n++;
	return 0;
}

void auth_table_unref(struct table *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (size_t i = 0; t->tokens && i < TOKENS_MAX; i++)
		for (size_t j = 0; j < t->tokens[i].grants_n; j++)
			free(t->tokens[i].grants[j].pattern);
	free(t->tokens);
	free(t);
}

struct table *auth_table(struct auth *a)
{
	struct table *t;

	weir__lock_acquire(&a->lock);
	t = a->table;
	__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
	weir__lock_release(&a->lock);
	return t;
}

/* At the start, and then offloaded. 0 or an error, of which it said what is wrong in the file. */
static int read_table(const char *file, struct table **ret)
{
	struct table *a = calloc(1, sizeof *a);
	char *line = malloc(LINE_BYTES), why[160];
	FILE *f = fopen(file, "re"); /* offloaded */
	struct stat st;
	int r = 0, n = 0;

	if (!f) {
		r = -errno;
		weir__log(WEIR__ERROR, "auth", "%s: %s", file, strerror(-r));
		goto out;
	}
	if (!a || !line || !(a->tokens = calloc(TOKENS_MAX, sizeof *a->tokens))) {
		r = -ENOMEM;
		goto out;
	}
	a->refs = 1;
	if (fstat(fileno(f), &st) == 0 && st.st_mode & 0004)
		weir__log(WEIR__WARN, "auth",
		          "%s can be read by everybody on this machine; chmod 600 it", file);
	while (r >= 0 && fgets(line, LINE_BYTES, f)) {
		n++;
		if (a->n == TOKENS_MAX || (!strchr(line, '\n') && !feof(f))) {
			snprintf(why, sizeof why,
			         a->n == TOKENS_MAX ? "more than 1000 tokens" :
			                              "the line is too long");
			r = -EINVAL;
		} else {
			r = read_line(a, line, why, sizeof why);
		}
		if (r < 0)
			weir__log(WEIR__ERROR, "auth", "%s:%d: %s", file, n, why);
	}
	if (r >= 0 && a->n == 0) {
		weir__log(WEIR__ERROR, "auth", "%s holds no token, so nobody could do anything",
		          file);
		r = -EINVAL;
	}
out:
	if (f)
		fclose(f);
	if (line)
		explicit_bzero(line, LINE_BYTES);
	free(line);
	if (r < 0) {
		if (a)
			a->refs = 1;
		auth_table_unref(a);
		return r;
	}
	*ret = a;
	return 0;
}

struct auth *auth_load(const char *file, const unsigned char secret[32], int *ret_error)
{
	struct auth *a = calloc(1, sizeof *a);

	*ret_error = a ? read_table(file, &a->table) : -ENOMEM;
	if (*ret_error < 0) {
		free(a);
		return NULL;
	}
	memcpy(a->secret, secret, sizeof a->secret);
	a->file = file;
	return a;
}

static int reread(void *arg)
{
	struct auth *a = arg;
	struct table *t, *old;
	int r = read_table(a->file, &t);

	if (r < 0) {
		weir__log(WEIR__WARN, "auth", "%s is wrong: what was read before stays in force",
		          a->file);
		return r;
	}
	weir__lock_acquire(&a->lock);
	old = a->table;
	a->table = t;
	weir__lock_release(&a->lock);
	weir__log(WEIR__INFO, "auth", "%s was read again: %zu tokens", a->file, t->n);
	auth_table_unref(old);
	return 0;
}

static void nothing(void *arg)
{
	(void)arg; /* A file of some kilobytes is not worth an interruption. */
}

int auth_reload(const weir_ctx *ctx, struct auth *a)
{
	return weir_offload_interruptible(ctx, reread, a, nothing);
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	auth_table_unref(a->table);
	explicit_bzero(a, sizeof *a);
	free(a);
}

/* ---- Signed texts ---- */
static void put_hex(char *out, const void *data, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = data;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_hex(const char *text, size_t n, unsigned char *out)
{
	for (size_t i = 0; i < n; i++) {
		int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		out[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

static void seal(const struct auth *a, const char *kind, const char *body, const struct token *t,
                 unsigned char out[WEIR__SHA256])
{
	char text[SIGNED_MAX];
	int n = snprintf(text, sizeof text - WEIR__SHA256, "%s %s ", kind, body);

	memcpy(text + n, t->hash, WEIR__SHA256);
	weir__hmac_sha256(a->secret, sizeof a->secret, text, (size_t)n + WEIR__SHA256, out);
}

/* 0 or -EMSGSIZE. */
static int sign(const struct auth *a, const char *kind, int64_t expiry_s, const struct token *t,
                const char *pattern, char out[SIGNED_MAX])
{
	char body[SIGNED_MAX / 2 - 64];
	unsigned char mac[WEIR__SHA256];
	int n = snprintf(body, sizeof body, "%lld %s %s", (long long)expiry_s, t->name, pattern);

	if ((size_t)n >= sizeof body - 16)
		return -EMSGSIZE;
	seal(a, kind, body, t, mac);
	n = snprintf(out, SIGNED_MAX, "%s_", kind);
	put_hex(out + n, body, strlen(body));
	n += (int)(2 * strlen(body));
	out[n++] = '.';
	put_hex(out + n, mac, sizeof mac);
	return 0;
}

/* The token's line that a signed text speaks for, and its pattern, in the exchange's memory. */
static bool verify(const struct auth *a, weir_http *x, const char *kind, const char *text,
                   struct principal *ret)
{
	size_t k = strlen(kind), n;
	unsigned char mac[WEIR__SHA256], own[WEIR__SHA256];
	const struct token *t = NULL;
	const char *dot;
	char *body, *name, *pattern;
	long long expiry;

	if (strlen(text) >= SIGNED_MAX || strncmp(text, kind, k) || text[k] != '_')
		return false;
	text += k + 1;
	dot = strchr(text, '.');
	if (!dot || (dot - text) % 2 || strlen(dot + 1) != 2 * sizeof mac)
		return false;
	n = (size_t)(dot - text) / 2;
	body = weir_http_alloc(x, n + 1);
	if (!body || !get_hex(text, n, (unsigned char *)body) || !get_hex(dot + 1, sizeof mac, mac))
		return false;
	body[n] = '\0';
	expiry = strtoll(body, &name, 10);
	if (*name++ != ' ' || !(pattern = strchr(name, ' ')))
		return false;
	for (size_t i = 0; i < ret->table->n; i++) {
		const struct token *one = &ret->table->tokens[i];

		if (strlen(one->name) == (size_t)(pattern - name) &&
		    !strncmp(one->name, name, (size_t)(pattern - name)))
			t = one;
	}
	if (!t)
		return false;
	seal(a, kind, body, t, own);
	if (!weir__equal_secret(mac, own, sizeof mac) || expiry < weir_wall() / 1000000000)
		return false;
	ret->token = t;
	ret->subscribe = pattern + 1;
	return true;
}

/* ---- Requests ---- */
const struct token *auth_find_line(const struct table *a, const char *text)
{
	unsigned char hash[WEIR__SHA256];
	const struct token *found = NULL;

	hash_of(text, hash);
	for (size_t i = 0; i < a->n; i++)
		if (weir__equal_secret(a->tokens[i].hash, hash, sizeof hash))
			found = &a->tokens[i];
	return found;
}

const struct token *auth_find_token(const struct table *a, const char *text)
{
	return is_nkey(text) || is_cert(text) ? NULL : auth_find_line(a, text);
}

/* The cookie's value in the exchange's memory, or NULL. */
static const char *cookie(weir_http *x)
{
	const char *all = weir_http_header(x, "cookie"), *at = all ? strstr(all, COOKIE "=") : NULL;
	char *value;
	size_t n;

	if (!at || (at != all && at[-1] != ' ' && at[-1] != ';'))
		return NULL;
	at += sizeof COOKIE;
	n = strcspn(at, "; ");
	value = weir_http_alloc(x, n + 1);
	if (value) {
		memcpy(value, at, n);
		value[n] = '\0';
	}
	return value;
}

/* By the certificate that the client has shown. */
static const struct token *find_cert(const struct table *a, weir_http *x)
{
	weir_tls_info info;
	char line[sizeof CERT + sizeof info.peer_name];

	if (weir_http_tls_info(x, &info) < 0 || !info.peer_name[0])
		return NULL;
	snprintf(line, sizeof line, CERT "%s", info.peer_name);
	return auth_find_line(a, line);
}

static bool known(const struct auth *a, weir_http *x, struct principal *ret)
{
	const char *given = weir_http_header(x, "authorization"), *text;

	if (given) {
		if (strncasecmp(given, "bearer ", 7))
			return false;
		given += 7;
		given += strspn(given, " ");
		if (verify(a, x, "wt", given, ret))
			return true;
		ret->token = auth_find_token(ret->table, given);
		return ret->token != NULL;
	}
	text = weir_http_query(x, "token");
	if (text && (!strcmp(weir_http_method(x), "GET") || !strcmp(weir_http_method(x), "HEAD")))
		return verify(a, x, "wt", text, ret);
	text = cookie(x);
	if (text && verify(a, x, "ws", text, ret)) {
		ret->subscribe = NULL;
		return true;
	}
	ret->token = find_cert(ret->table, x);
	return ret->token != NULL;
}

/* True: let go of the table when done with *ret. */
static bool find(struct auth *a, weir_http *x, struct principal *ret)
{
	*ret = (struct principal){ .table = auth_table(a) };
	if (known(a, x, ret))
		return true;
	auth_table_unref(ret->table);
	return false;
}

int auth_check(struct auth *a, weir_http *x)
{
	struct principal who;

	if (!find(a, x, &who))
		return 401;
	auth_table_unref(who.table);
	return 0;
}

static bool token_may(const struct token *t, unsigned rights, const char *what)
{
	if (rights == MAY_ANY)
		return true;
	for (size_t i = 0; i < t->grants_n; i++) {
		const struct grant *g = &t->grants[i];

		if (g->right == MAY_ADMIN || (g->right & rights && grant_covers(g, what)))
			return true;
	}
	return false;
}

bool auth_may(struct auth *a, weir_http *x, unsigned rights, const char *what)
{
	struct principal who;
	bool may;

	if (!a)
		return true;
	if (!find(a, x, &who))
		return false;
	if (who.subscribe)
		may = rights & MAY_SUBSCRIBE && what && weir__subject_covers(who.subscribe, what) &&
		      token_may(who.token, MAY_SUBSCRIBE, who.subscribe);
	else
		may = token_may(who.token, rights, what);
	auth_table_unref(who.table);
	return may;
}

/* ---- Login ---- */
/* The "token" of a form, decoded in place; NULL if there is none. */
static char *form_token(char *body)
{
	char *at = strncmp(body, "token=", 6) ? strstr(body, "&token=") : body, *out, *in;
	unsigned char byte;

	if (!at)
		return NULL;
	at = strchr(at, '=') + 1;
	at[strcspn(at, "&")] = '\0';
	for (in = out = at; *in; in++, out++) {
		*out = *in == '+' ? ' ' : *in;
		if (*in == '%' && in[1] && in[2]) {
			char pair[2] = { (char)tolower((unsigned char)in[1]),
				         (char)tolower((unsigned char)in[2]) };

			if (!get_hex(pair, 1, &byte))
				return NULL;
			*out = (char)byte;
			in += 2;
		}
	}
	*out = '\0';
	return at;
}

int auth_login(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *type = weir_http_header(x, "content-type"), *given;
	bool form = type && !strncasecmp(type, "application/x-www-form-urlencoded", 33);
	struct params p = { .x = x };
	const struct token *t = NULL;
	struct table *table;
	char *body, text[SIGNED_MAX], line[SIGNED_MAX + 160];
	size_t len;
	int r;

	if (!app->auth)
		return weir_http_problem(ctx, x, 409, "this server asks for no tokens");
	r = weir_http_body(ctx, x, &body, &len);
	if (r < 0)
		return r;
	if (!form)
		p.body = json_read(&p, body, len);
	refuse_unknown(&p, NAMES("token"));
	given = form ? form_token(body) : member(&p, "token");
	table = auth_table(app->auth);
	t = given ? auth_find_token(table, given) : NULL;
	r = t ? sign(app->auth, "ws", weir_wall() / 1000000000 + SESSION_S, t, "-", text) : 0;
	auth_table_unref(table);
	json_decref(p.body);
	if (p.error[0])
		return reply_wrong(ctx, x, &p);
	if (!t)
		return api_unauthorized(ctx, x, true);
	if (r < 0)
		return r;
	snprintf(line, sizeof line, COOKIE "=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s",
	         text, SESSION_S, app->tls ? "; Secure" : "");
	r = weir_http_add(x, "set-cookie", line);
	if (r == 0 && form)
		r = weir_http_set(x, "location", "/");
	return r < 0 ? r : form ? 303 : 204;
}

int auth_logout(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *type = weir_http_header(x, "content-type");
	bool form = type && !strncasecmp(type, "application/x-www-form-urlencoded", 33);
	int r = weir_http_add(x, "set-cookie",
	                      COOKIE "=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");

	(void)ctx;
	(void)app;
	if (r == 0 && form)
		r = weir_http_set(x, "location", "/");
	return r < 0 ? r : form ? 303 : 204;
}

int auth_make_token(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	struct params p = { .x = x };
	struct weir__buf b = WEIR__BUF_INIT;
	int64_t ttl = TTL_DEFAULT, expiry;
	struct principal who;
	char *body, text[SIGNED_MAX];
	const char *pattern;
	size_t len;
	int r;

	if (!app->auth)
		return weir_http_problem(ctx, x, 409, "this server asks for no tokens");
	r = weir_http_body(ctx, x, &body, &len);
	if (r < 0)
		return r;
	p.body = json_read(&p, body, len);
	refuse_unknown(&p, NAMES("subscribe", "ttl"));
	pattern = member(&p, "subscribe");
	read_duration(&p, "ttl", member(&p, "ttl"), TTL_MIN, TTL_MAX, &ttl);
	if (!pattern || !weir_subject_valid(pattern, true))
		wrong(&p, "subscribe has to be a subject or a pattern of subjects");
	if (p.error[0]) {
		r = reply_wrong(ctx, x, &p);
		goto out;
	}
	expiry = weir_wall() / 1000000000 + ttl / 1000000000;
	r = -EACCES;
	if (find(app->auth, x, &who)) {
		if (!who.subscribe && token_may(who.token, MAY_SUBSCRIBE, pattern))
			r = sign(app->auth, "wt", expiry, who.token, pattern, text);
		auth_table_unref(who.table);
	}
	if (r == -EACCES) {
		r = weir_http_problem(ctx, x, 403,
		                      "your own token may not subscribe to all of that");
		goto out;
	}
	if (r < 0)
		goto out;
	weir__buf_byte(&b, '{');
	put_str(&b, "token", text);
	put_time(&b, "expires_at", expiry * 1000000000);
	weir__buf_byte(&b, '}');
	r = reply_json(ctx, x, 201, &b);
out:
	json_decref(p.body);
	return r;
}
