/* SPDX-License-Identifier: MIT */
#include "queue/sigv4.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/sha256.h"

enum { HEX = 2 * WEIR__SHA256 + 1, DAY = WEIR__SIGV4_DAY };

static void hex(const unsigned char hash[WEIR__SHA256], char to[HEX])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < WEIR__SHA256; i++) {
		to[2 * i] = digits[hash[i] >> 4];
		to[2 * i + 1] = digits[hash[i] & 15];
	}
	to[HEX - 1] = 0;
}

static void hash_of(const void *data, size_t n, char to[HEX])
{
	unsigned char hash[WEIR__SHA256];
	struct weir__sha256 sha;

	weir__sha256_init(&sha);
	weir__sha256_add(&sha, data, n);
	weir__sha256_end(&sha, hash);
	hex(hash, to);
}

static void signed_headers(const struct weir__sigv4 *s, struct weir__buf *b)
{
	for (size_t i = 0; i < s->headers_n; i++)
		weir__buf_printf(b, "%s%s", i ? ";" : "", s->headers[i].name);
}

/* The hash of the request as both sides write it. */
static bool request_hash(const struct weir__sigv4 *s, char to[HEX])
{
	struct weir__buf b = WEIR__BUF_INIT;
	char body[HEX];
	bool good;

	hash_of(s->body, s->len, body);
	weir__buf_printf(&b, "%s\n%s\n\n", s->method, s->path);
	for (size_t i = 0; i < s->headers_n; i++)
		weir__buf_printf(&b, "%s:%s\n", s->headers[i].name, s->headers[i].value);
	weir__buf_byte(&b, '\n');
	signed_headers(s, &b);
	weir__buf_printf(&b, "\n%s", body);
	good = !b.failed;
	if (good)
		hash_of(b.data, b.len, to);
	weir__buf_free(&b);
	return good;
}

bool weir__sigv4_key(const struct weir__sigv4 *s, unsigned char key[WEIR__SIGV4_KEY])
{
	const char *steps[] = { s->region, s->service, "aws4_request" };
	struct weir__buf first = WEIR__BUF_INIT;
	bool good;

	weir__buf_printf(&first, "AWS4%s", s->secret);
	good = !first.failed;
	weir__hmac_sha256(good ? first.data : "", first.len, s->time, DAY, key);
	if (first.data)
		explicit_bzero(first.data, first.len);
	weir__buf_free(&first);
	for (int i = 0; i < 3; i++)
		weir__hmac_sha256(key, WEIR__SHA256, steps[i], strlen(steps[i]), key);
	return good;
}

void weir__sigv4_time(int64_t at, char ret[WEIR__SIGV4_TIME])
{
	time_t t = (time_t)at;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(ret, WEIR__SIGV4_TIME, "%Y%m%dT%H%M%SZ", &tm);
}

void weir__sigv4_sign(const struct weir__sigv4 *s, struct weir__buf *to)
{
	struct weir__buf text = WEIR__BUF_INIT;
	unsigned char key[WEIR__SHA256], mac[WEIR__SHA256];
	char request[HEX], signature[HEX];

	if (!request_hash(s, request)) {
		to->failed = true;
		return;
	}
	weir__buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%.*s/%s/%s/aws4_request\n%s", s->time, DAY,
	                 s->time, s->region, s->service, request);
	if (s->key)
		memcpy(key, s->key, sizeof key);
	else if (!weir__sigv4_key(s, key))
		to->failed = true;
	if (text.failed)
		to->failed = true;
	else
		weir__hmac_sha256(key, sizeof key, text.data, text.len, mac);
	explicit_bzero(key, sizeof key);
	weir__buf_free(&text);
	if (to->failed)
		return;
	hex(mac, signature);
	weir__buf_printf(to,
	                 "AWS4-HMAC-SHA256 Credential=%s/%.*s/%s/%s/aws4_request, SignedHeaders=",
	                 s->key_id, DAY, s->time, s->region, s->service);
	signed_headers(s, to);
	weir__buf_printf(to, ", Signature=%s", signature);
}
