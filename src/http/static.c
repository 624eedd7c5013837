/* SPDX-License-Identifier: MIT */
/* Static files from memory, each a route of its own. Revalidated at every use (ETag, 304), so a new
 * build shows at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "http/server.h"

struct file {
	struct weir__list link;
	const void *data;
	size_t len;
	const char *type, *csp;
	char etag[32];
};

static const char *type_of(const char *path)
{
	static const char *const types[][2] = {
		{ ".html", "text/html; charset=utf-8" },
		{ ".css", "text/css; charset=utf-8" },
		{ ".js", "text/javascript; charset=utf-8" },
		{ ".json", "application/json" },
		{ ".svg", "image/svg+xml" },
		{ ".png", "image/png" },
		{ ".ico", "image/x-icon" },
		{ ".txt", "text/plain; charset=utf-8" },
		{ ".woff2", "font/woff2" },
	};
	size_t n = strlen(path);

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		size_t m = strlen(types[i][0]);

		if (n >= m && strcmp(path + n - m, types[i][0]) == 0)
			return types[i][1];
	}
	return path[n - 1] == '/' ? types[0][1] : "application/octet-stream";
}

static int serve_file(const weir_ctx *ctx, weir_http *x, void *arg)
{
	const struct file *f = arg;
	const char *match = weir_http_header(x, "if-none-match");
	int r;

	r = weir_http_set(x, "etag", f->etag);
	if (r == 0)
		r = weir_http_set(x, "cache-control", "no-cache");
	if (r == 0)
		r = weir_http_set(x, "x-content-type-options", "nosniff");
	if (r == 0 && f->csp)
		r = weir_http_set(x, "content-security-policy", f->csp);
	if (r < 0)
		return r;
	if (match && (!strcmp(match, "*") || strstr(match, f->etag)))
		return 304;
	return weir_http_reply(ctx, x, 200, f->type, f->data, f->len);
}

int weir_http_static(weir_http_server *s, const char *path, const void *data, size_t n,
                     const char *csp)
{
	size_t len = strlen(path);
	char pattern[256];
	struct file *f;
	int r;

	if (path[0] != '/' || len > sizeof pattern - 16 || strchr(path, '{'))
		return -EINVAL;
	f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->data = data;
	f->len = n;
	f->type = type_of(path);
	f->csp = csp;
	snprintf(f->etag, sizeof f->etag, "\"%08x-%zx\"", weir__crc32c(0, data, n), n);
	snprintf(pattern, sizeof pattern, "GET %s%s", path, path[len - 1] == '/' ? "{$}" : "");
	r = weir_http_route(s, pattern, serve_file, f, NULL);
	if (r < 0) {
		free(f);
		return r;
	}
	weir__list_append(&s->statics, &f->link);
	return 0;
}
