/* SPDX-License-Identifier: MIT */
/*
 * No web page may use a browser to reach into a developer's machine. Two doors are closed:
 *
 * - A page of another origin sends its requests with `Origin`. It has to be this server's own (the
 *   authority the request was sent to), or one that --allow-origin names.
 * - A page whose own name was made to point at 127.0.0.1 (DNS rebinding) has the "same" origin. Its
 *   `Host` gives it away: what comes over loopback has to name loopback, or the host of an allowed
 *   origin. Elsewhere any name may be the server's.
 *
 * Both hold for every method, also for reading. Programs send no Origin and a proper Host, and
 * notice nothing.
 */
#include <string.h>
#include <strings.h>

#include "handlers.h"

/* "https://app.example:8443" → "app.example:8443"; NULL for "null" and what is no such URL. */
static const char *authority(const char *origin)
{
	const char *sep = strstr(origin, "://");

	return sep && sep[3] ? sep + 3 : NULL;
}

/* The host's length without its port: "[::1]:80" → 5, "a.b:80" → 3. */
static size_t host_length(const char *authority_text)
{
	const char *end = authority_text[0] == '[' ? strchr(authority_text, ']') : NULL;

	if (end)
		return (size_t)(end + 1 - authority_text);
	for (end = authority_text; *end && *end != ':' && *end != '/';)
		end++;
	return (size_t)(end - authority_text);
}

static bool same_host(const char *a, const char *b)
{
	size_t n = host_length(a);

	return n == host_length(b) && !strncasecmp(a, b, n);
}

static bool names_loopback(const char *host)
{
	size_t n = host_length(host);
	static const char suffix[] = ".localhost";

	if (n == sizeof suffix - 2 && !strncasecmp(host, suffix + 1, n))
		return true;
	if (n == 5 && !strncmp(host, "[::1]", n))
		return true;
	if (n > 4 && !strncmp(host, "127.", 4) && strspn(host, "0123456789.") >= n)
		return true;
	return n > sizeof suffix - 1 &&
	       !strncasecmp(host + n - (sizeof suffix - 1), suffix, sizeof suffix - 1);
}

static bool over_loopback(const char *peer)
{
	return !strncmp(peer, "127.", 4) || !strncmp(peer, "[::1]", 5) ||
	       !strncmp(peer, "::1", 3) || !strncmp(peer, "[::ffff:127.", 12);
}

static bool origin_allowed(const struct options *o, const char *origin)
{
	for (size_t i = 0; i < o->allow_origins; i++)
		if (!strcmp(o->allow_origin[i], "*") || !strcasecmp(o->allow_origin[i], origin))
			return true;
	return false;
}

static bool host_allowed(const struct options *o, const char *host)
{
	for (size_t i = 0; i < o->allow_origins; i++) {
		const char *named = authority(o->allow_origin[i]);

		if (!strcmp(o->allow_origin[i], "*") ||
		    same_host(named ? named : o->allow_origin[i], host))
			return true;
	}
	return false;
}

/* The preflight and the header that let an allowed page read the answer. */
static int welcome(weir_http *x, const char *origin)
{
	if (weir_http_set(x, "access-control-allow-origin", origin) < 0 ||
	    weir_http_add(x, "vary", "Origin") < 0)
		return 500;
	if (strcmp(weir_http_method(x), "OPTIONS"))
		return 0;
	if (weir_http_set(x, "access-control-allow-methods", "GET, POST, PUT, DELETE") < 0 ||
	    weir_http_set(x, "access-control-allow-headers",
	                  "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, "
	                  "Weir-Delay, Weir-Key, Weir-Lease, "
	                  "Weir-Max-Attempts, Weir-Priority, Weir-Timeout") < 0 ||
	    weir_http_set(x, "access-control-max-age", "600") < 0)
		return 500;
	return 204;
}

int origin_check(const weir_ctx *ctx, weir_http *x, struct app *app)
{
	const char *origin = weir_http_header(x, "origin"), *host = weir_http_header(x, "host");
	const char *from = origin ? authority(origin) : NULL;
	int r;

	if (host && host[0] && over_loopback(weir_http_peer(x)) && !names_loopback(host) &&
	    !host_allowed(app->opt, host)) {
		r = weir_http_problem(
			ctx, x, 403,
			"the Host is not one of this machine; --allow-origin can name it");
		return r < 0 ? r : 403;
	}
	if (!origin || (from && host && !strcasecmp(from, host)))
		return 0;
	if (origin_allowed(app->opt, origin))
		return welcome(x, origin);
	r = weir_http_problem(ctx, x, 403,
	                      "pages of another origin are not let in; --allow-origin can name it");
	return r < 0 ? r : 403;
}
