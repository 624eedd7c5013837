/* SPDX-License-Identifier: MIT */
/*
 * Files are read offloaded, whole and anew each time: a tool may have written another key. So a key
 * from a file is asked for again every five minutes, one of the container's endpoint five minutes
 * before it ends (or halfway, when it is short-lived).
 *
 * The container's endpoint is asked over HTTP only at the addresses that AWS gives it and at
 * loopback, since whatever the variable names gets the token.
 */
#include "queue/aws.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weir/offload.h>
#include <weir/time.h>

#include "base/json.h"
#include "base/log.h"
#include "queue/url.h"

enum {
	VALUE = 4096, /* of a setting, and of a token */
	EARLY = 300,  /* seconds */
};

#define CONTAINER_HOST    "169.254.170.2"
#define CONTAINER_TIMEOUT WEIR_SEC(2)

/* ---- Keys ---- */

struct weir__aws_key *weir__aws_key_new(const char *id, const char *secret, const char *token,
                                        int64_t refresh_at, int64_t expires_at)
{
	size_t a = strlen(id) + 1, b = strlen(secret) + 1, c = token ? strlen(token) + 1 : 0;
	struct weir__aws_key *k = malloc(sizeof *k + a + b + c);
	char *at = (char *)(k + 1);

	if (!k)
		return NULL;
	*k = (struct weir__aws_key){ .refresh_at = refresh_at, .expires_at = expires_at };
	k->id = memcpy(at, id, a);
	k->secret = memcpy(at + a, secret, b);
	k->token = c ? memcpy(at + a + b, token, c) : NULL;
	return k;
}

void weir__aws_key_free(struct weir__aws_key *k)
{
	if (!k)
		return;
	explicit_bzero((char *)k->secret, strlen(k->secret));
	free(k);
}

int64_t weir__aws_time(const char *text)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!end)
		return -1;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	return strcmp(end, "Z") ? -1 : (int64_t)timegm(&tm);
}

struct answer {
	const char *id, *secret, *token, *expiration;
};

static void member(const struct weir__json_member *m, void *arg)
{
	struct answer *a = arg;

	if (m->kind != WEIR__JSON_TEXT)
		return;
	if (!strcmp(m->key, "AccessKeyId"))
		a->id = m->text;
	else if (!strcmp(m->key, "SecretAccessKey"))
		a->secret = m->text;
	else if (!strcmp(m->key, "Token"))
		a->token = m->text;
	else if (!strcmp(m->key, "Expiration"))
		a->expiration = m->text;
}

int weir__aws_key_parse(char *json, size_t n, int64_t now, struct weir__aws_key **ret)
{
	struct answer a = { 0 };
	int64_t end = INT64_MAX, again = INT64_MAX;

	if (weir__json_object(json, n, member, &a) < 0 || !a.id || !*a.id || !a.secret)
		return -EINVAL;
	if (a.expiration) {
		end = weir__aws_time(a.expiration);
		if (end < 0)
			return -EINVAL;
		again = end - now < 2 * EARLY ? now + (end - now) / 2 : end - EARLY;
	}
	*ret = weir__aws_key_new(a.id, a.secret, a.token, again, end);
	return *ret ? 0 : -ENOMEM;
}

/* ---- Files ---- */

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

/* A file to read, offloaded. */
struct reading {
	char path[4096];
	char *text; /* NUL-terminated; NULL with an error */
	int error;  /* as errno */
};

static void reading_free(void *arg)
{
	struct reading *f = arg;

	if (f->text)
		explicit_bzero(f->text, strlen(f->text));
	free(f->text);
	free(f);
}

static int reading_run(void *arg)
{
	struct reading *f = arg;
	ssize_t got;
	size_t n = 0;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	f->error = fd < 0 ? errno : 0;
	if (fd < 0)
		return 0;
	f->text = malloc(WEIR__AWS_FILE_MAX);
	while (f->text && n < WEIR__AWS_FILE_MAX - 1) {
		got = read(fd, f->text + n, WEIR__AWS_FILE_MAX - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(fd);
	if (f->text)
		f->text[n] = 0;
	else
		f->error = ENOMEM;
	return 0;
}

/* The file's text; NULL in *ret if there is none. 0, -ENOMEM or the context's error. */
static int read_file(const weir_ctx *ctx, const char *variable, const char *in_home,
                     struct reading **ret)
{
	const char *set = env(variable), *home = env("HOME");
	struct reading *f;
	int r;

	*ret = NULL;
	if (!set && (!in_home || !home))
		return 0;
	f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	snprintf(f->path, sizeof f->path, "%s%s", set ? set : home, set ? "" : in_home);
	r = weir_offload(ctx, reading_run, f, reading_free);
	if (r < 0)
		return r; /* It was dropped, whether it had begun or not. */
	if (!f->error) {
		*ret = f;
		return 0;
	}
	if (set || f->error != ENOENT)
		weir__log_rare(WEIR__WARN, "queue", "%s: %s", f->path, strerror(f->error));
	reading_free(f);
	return 0;
}

static size_t trimmed(const char *at, size_t n)
{
	while (n && (at[n - 1] == ' ' || at[n - 1] == '\t' || at[n - 1] == '\r'))
		n--;
	return n;
}

bool weir__aws_setting(const char *text, const char *section, const char *name, char *ret, size_t n)
{
	size_t section_n = strlen(section), name_n = strlen(name);
	bool inside = false;

	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n"), used = trimmed(line, len);

		if (*line == '[') {
			inside = used == section_n + 2 && line[used - 1] == ']' &&
			         !memcmp(line + 1, section, section_n);
		} else if (inside && used > name_n && !memcmp(line, name, name_n)) {
			const char *at = line + name_n;

			at += strspn(at, " \t");
			if (*at == '=') {
				at++;
				at += strspn(at, " \t");
				len = at < line + used ? (size_t)(line + used - at) : 0;
				len = len < n ? len : n - 1;
				memcpy(ret, at, len);
				ret[len] = 0;
				return true;
			}
			len = strcspn(line, "\n");
		}
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	return false;
}

/* What the shared files say about the profile. */
struct files {
	struct reading *credentials, *config;
	const char *profile;
	char section[256]; /* of the config file */
};

static const char *env_or(const char *name, const char *other)
{
	const char *v = env(name);

	return v ? v : other;
}

static const char *profile_name(void)
{
	return env_or("AWS_PROFILE", env_or("AWS_DEFAULT_PROFILE", "default"));
}

static int files_open(const weir_ctx *ctx, struct files *f)
{
	int r;

	*f = (struct files){ .profile = profile_name() };
	snprintf(f->section, sizeof f->section, "%s%s",
	         strcmp(f->profile, "default") ? "profile " : "", f->profile);
	r = read_file(ctx, "AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials", &f->credentials);
	if (r == 0)
		r = read_file(ctx, "AWS_CONFIG_FILE", "/.aws/config", &f->config);
	return r;
}

static void files_close(struct files *f)
{
	if (f->credentials)
		reading_free(f->credentials);
	if (f->config)
		reading_free(f->config);
}

static bool files_get(const struct files *f, const char *name, char *ret, size_t n)
{
	return (f->credentials &&
	        weir__aws_setting(f->credentials->text, f->profile, name, ret, n)) ||
	       (f->config && weir__aws_setting(f->config->text, f->section, name, ret, n));
}

/* 1 with a key; 0: they have none. */
static int from_files(const weir_ctx *ctx, struct weir__aws_key **ret)
{
	static const char *const others[] = { "credential_process", "role_arn", "sso_session",
		                              "sso_start_url", "web_identity_token_file" };
	struct text {
		char id[256], secret[256], token[VALUE];
	} *t = calloc(1, sizeof *t);
	struct files f;
	int r = t ? files_open(ctx, &f) : -ENOMEM;

	if (!t)
		return r;
	if (r == 0 && files_get(&f, "aws_access_key_id", t->id, sizeof t->id) &&
	    files_get(&f, "aws_secret_access_key", t->secret, sizeof t->secret)) {
		bool token = files_get(&f, "aws_session_token", t->token, sizeof t->token);

		*ret = weir__aws_key_new(t->id, t->secret, token ? t->token : NULL,
		                         weir_wall() / WEIR_SEC(1) + EARLY, INT64_MAX);
		r = *ret ? 1 : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < sizeof others / sizeof *others; i++)
		if (files_get(&f, others[i], t->token, sizeof t->token))
			weir__log(WEIR__WARN, "queue",
			          "AWS profile %s asks for %s, which weir does not do", f.profile,
			          others[i]);
	files_close(&f);
	explicit_bzero(t, sizeof *t);
	free(t);
	return r;
}

int weir__aws_region(const weir_ctx *ctx, char ret[WEIR__AWS_REGION])
{
	const char *set = env("AWS_REGION");
	struct files f;
	int r;

	set = set ? set : env("AWS_DEFAULT_REGION");
	snprintf(ret, WEIR__AWS_REGION, "%s", set ? set : "");
	if (set)
		return 0;
	r = files_open(ctx, &f);
	if (r == 0)
		(void)files_get(&f, "region", ret, WEIR__AWS_REGION);
	files_close(&f);
	return r;
}

/* ---- The container's endpoint ---- */

/* Who may be asked without TLS. */
static bool may_ask(const struct weir__parcel *p)
{
	for (size_t i = 0; i < WEIR__COURIER_ADDRS && p->addrs[i]; i++) {
		const char *a = p->addrs[i];

		if (strncmp(a, "127.", 4) && strcmp(a, "::1") && strcmp(a, CONTAINER_HOST) &&
		    strcmp(a, "169.254.170.23") && strcmp(a, "fd00:ec2::23"))
			return false;
	}
	return p->addrs[0] != NULL;
}

/* "Authorization: …" into header, which stays empty without one. */
static int token_header(const weir_ctx *ctx, char *header, size_t n)
{
	const char *token = env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	struct reading *f = NULL;
	size_t len;
	int r = 0;

	if (env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
		r = read_file(ctx, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", NULL, &f);
	token = f ? f->text : token;
	len = token ? strcspn(token, "\r\n") : 0;
	if (r == 0 && len)
		snprintf(header, n, "Authorization: %.*s", (int)len, token);
	if (f)
		reading_free(f);
	return r;
}

static int ask(const weir_ctx *ctx, struct weir__courier *c, const char *text,
               struct weir__aws_key **ret)
{
	struct asking {
		struct weir__url url;
		struct weir__url_addrs addrs;
		char header[VALUE + 16];
	} *a = calloc(1, sizeof *a);
	struct weir__parcel p = { .url = text,
		                  .get = true,
		                  .timeout_ns = CONTAINER_TIMEOUT,
		                  .answer_max = 64 << 10,
		                  .allow_private = true };
	int r = -ENOMEM;

	if (!a)
		return r;
	r = -EACCES;
	if (!weir__url_parse(text, &a->url)) {
		weir__log(WEIR__ERROR, "queue", "the container's endpoint for AWS keys is no URL");
		goto out;
	}
	p.host = a->url.host;
	p.port = a->url.port;
	p.headers[0] = a->header;
	r = token_header(ctx, a->header, sizeof a->header);
	if (!*a->header)
		p.headers[0] = NULL;
	if (r == 0)
		r = weir__url_look_up(ctx, p.host, p.port, &a->addrs, &p);
	if (r == 0 && !a->url.tls && !may_ask(&p)) {
		weir__log(WEIR__ERROR, "queue",
		          "the container's endpoint for AWS keys, %s, is asked over HTTPS or on "
		          "this machine only",
		          p.host);
		r = -EACCES;
	}
	if (r == 0)
		r = weir__courier_carry(ctx, c, &p, 1);
	if (r == 0 && (p.result < 0 || p.status / 100 == 5 || p.status == 429)) {
		weir__log_rare(WEIR__WARN, "queue",
		               "the container's endpoint for AWS keys: %s (status %ld)",
		               p.result < 0 ? p.error : "no key", p.status);
		r = -ENOTCONN;
	} else if (r == 0) {
		r = p.status == 200 ? weir__aws_key_parse(p.answer.data, p.answer.len,
		                                          weir_wall() / WEIR_SEC(1), ret) :
		                      -EINVAL;
		if (r == -EINVAL) {
			weir__log_rare(WEIR__ERROR, "queue",
			               "the container's endpoint for AWS keys gives none: "
			               "status %ld",
			               p.status);
			r = -EACCES;
		}
	}
	if (p.answer.data)
		explicit_bzero(p.answer.data, p.answer.len);
	weir__buf_free(&p.answer);
out:
	explicit_bzero(a->header, sizeof a->header);
	free(a);
	return r == -EHOSTUNREACH ? -ENOTCONN : r;
}

int weir__aws_key_get(const weir_ctx *ctx, struct weir__courier *c, struct weir__aws_key **ret)
{
	const char *id = env("AWS_ACCESS_KEY_ID"), *secret = env("AWS_SECRET_ACCESS_KEY");
	const char *relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	char url[WEIR__URL_MAX];
	int r;

	if (id && secret) {
		*ret = weir__aws_key_new(id, secret, env("AWS_SESSION_TOKEN"), INT64_MAX,
		                         INT64_MAX);
		return *ret ? 0 : -ENOMEM;
	}
	r = from_files(ctx, ret);
	if (r)
		return r < 0 ? r : 0;
	if (relative || full) {
		snprintf(url, sizeof url, "%s%s", relative ? "http://" CONTAINER_HOST : "",
		         relative ? relative : full);
		return ask(ctx, c, url, ret);
	}
	weir__log_rare(WEIR__ERROR, "queue",
	               "no AWS key: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set, "
	               "the profile %s has none in %s or %s, and neither "
	               "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor …_FULL_URI is set",
	               profile_name(), env_or("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
	               env_or("AWS_CONFIG_FILE", "~/.aws/config"));
	return -EACCES;
}
