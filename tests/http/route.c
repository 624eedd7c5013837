/* SPDX-License-Identifier: MIT */
/* Paths and patterns. */
#include "http/router.h"

#include "base/log.h"
#include "test.h"

static int none(const weir_ctx *ctx, weir_http *x, void *arg)
{
	(void)ctx;
	(void)x;
	(void)arg;
	return 0;
}

static int add(struct weir__router *r, const char *pattern)
{
	static const weir_http_limits limits;

	return weir__router_add(r, pattern, none, NULL, &limits);
}

/* The pattern that serves a request, "" for none. */
static const char *serves(struct weir__router *r, const char *method, const char *path)
{
	static char allow[WEIR__ALLOW_MAX];
	struct weir__path p;
	struct weir__route *route;
	char out[1024];

	CHECK_EQ(weir__path_parse(&p, path, strlen(path), out), 0);
	route = weir__router_find(r, method, &p, allow);
	return route ? route->pattern : allow;
}

TEST(the_most_specific_pattern_wins_in_whatever_order_they_came)
{
	static const char *const patterns[] = {
		"GET /",
		"GET /users/{id}",
		"GET /users/me",
		"GET /users/{id}/files/{path...}",
		"POST /users/{id}",
		"GET /users/{$}",
		"GET /a/{x}/c",
		"POST /v1/queues/{q}/jobs:batch",
		"POST /v1/queues/{q}/jobs",
	};
	static const char *const wants[][3] = {
		{ "GET", "/", "GET /" },
		{ "GET", "/anything/else", "GET /" },
		{ "GET", "/users/7", "GET /users/{id}" },
		{ "GET", "/users/me", "GET /users/me" },
		{ "HEAD", "/users/me", "GET /users/me" },
		{ "POST", "/users/me", "POST /users/{id}" },
		{ "GET", "/users/", "GET /users/{$}" },
		{ "GET", "/users", "GET /" },
		{ "GET", "/users/7/files/", "GET /users/{id}/files/{path...}" },
		{ "GET", "/users/7/files/a/b", "GET /users/{id}/files/{path...}" },
		{ "GET", "/a/x/c", "GET /a/{x}/c" },
		{ "GET", "/a/x/d", "GET /" },
		{ "POST", "/v1/queues/a/jobs:batch", "POST /v1/queues/{q}/jobs:batch" },
		{ "POST", "/v1/queues/a/jobs", "POST /v1/queues/{q}/jobs" },
	};
	size_t n = sizeof patterns / sizeof patterns[0];

	for (size_t shift = 0; shift < n; shift++) {
		struct weir__router r;

		weir__router_init(&r);
		for (size_t i = 0; i < n; i++)
			CHECK_EQ(add(&r, patterns[(i + shift) % n]), 0);
		for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++)
			CHECK_STR(serves(&r, wants[i][0], wants[i][1]), wants[i][2]);
		weir__router_fini(&r);
	}
}

TEST(a_conflict_fails_when_it_is_added)
{
	static const char *const pairs[][2] = {
		{ "GET /a/{x}", "GET /a/{y}" },
		{ "GET /a/{x}/c", "GET /a/b/{y...}" },
		{ "GET /{x}/b", "GET /a/{y}" },
		{ "GET /", "/a" },
		{ "/a", "/a" },
		{ "GET /a/{x...}", "GET /a/" },
		{ "GET /{x...}", "GET /" },
	};
	static const char *const fine[][2] = {
		{ "GET /a", "POST /a" },          { "/a", "GET /a" },
		{ "GET /a", "HEAD /a" },          { "GET /{x}", "GET /a" },
		{ "GET /a/{x}", "GET /a/{x}/b" }, { "GET /a/{$}", "GET /a/{x}" },
		{ "GET /a/", "GET /a/{x}" },      { "/a/{x...}", "GET /a/b" },
	};

	weir__log_set(WEIR__ERROR + 1, WEIR__LOG_TEXT);
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
		for (int swap = 0; swap < 2; swap++) {
			struct weir__router r;

			weir__router_init(&r);
			CHECK_EQ(add(&r, pairs[i][swap]), 0);
			CHECK_EQ(add(&r, pairs[i][!swap]), -EEXIST);
			weir__router_fini(&r);
		}
	for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
		for (int swap = 0; swap < 2; swap++) {
			struct weir__router r;

			weir__router_init(&r);
			CHECK_EQ(add(&r, fine[i][swap]), 0);
			CHECK_EQ(add(&r, fine[i][!swap]), 0);
			weir__router_fini(&r);
		}
}

TEST(a_bad_pattern_is_refused)
{
	static const char *const bad[] = {
		"",        "GET",   "GET ",    "get /a",   "/a/{}",
		"/a/{x",   "/a/x}", "/a/b{x}", "/{x}/{x}", "/{x...}/b",
		"/a//b",   "/{1x}", "/{$}/a",  "/{a-b}",   "GET example.org/a",
		"GE T /a",
	};
	struct weir__router r;

	weir__router_init(&r);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(add(&r, bad[i]), -EINVAL);
	weir__router_fini(&r);
}

TEST(a_known_path_tells_its_methods)
{
	struct weir__router r;

	weir__router_init(&r);
	CHECK_EQ(add(&r, "GET /a/{x}"), 0);
	CHECK_EQ(add(&r, "PUT /a/{x}"), 0);
	CHECK_EQ(add(&r, "POST /a/b"), 0);
	CHECK_STR(serves(&r, "DELETE", "/a/b"), "POST, PUT, GET, HEAD, OPTIONS");
	CHECK_STR(serves(&r, "DELETE", "/a/c"), "PUT, GET, HEAD, OPTIONS");
	CHECK_STR(serves(&r, "DELETE", "/b"), "");
	weir__router_fini(&r);
}

TEST(paths_are_decoded_after_they_are_cut)
{
	static const struct {
		const char *raw, *text;
		unsigned count;
	} good[] = {
		{ "/", "/", 1 },           { "/a/b", "/a/b", 2 },
		{ "/a/", "/a/", 2 },       { "/a%2Fb", "/a/b", 1 },
		{ "/a%20b", "/a b", 1 },   { "/a/./b", "/a/b", 2 },
		{ "/a/../b", "/b", 1 },    { "/a/..", "/", 1 },
		{ "/a/.", "/a/", 2 },      { "/a/%2e%2E/b", "/b", 1 },
		{ "//a", "//a", 2 },       { "/...", "/...", 1 },
		{ "/a/..b", "/a/..b", 2 }, { "/a/..b%2Fc..", "/a/..b/c..", 2 },
	};
	static const struct {
		const char *raw;
		int result;
	} bad[] = {
		{ "/..", -400 },        { "/a/../..", -400 },      { "/%2e%2e/a", -400 },
		{ "/%", -400 },         { "/%4", -400 },           { "/%4g", -400 },
		{ "/a%00", -400 },      { "/a/..%2Fb", -400 },     { "/a/b%2f..", -400 },
		{ "/a%2F.%2Fb", -400 }, { "/a/%2e%2e%2fb", -400 },
	};
	struct weir__path p;
	char out[64];

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		CHECK_EQ(weir__path_parse(&p, good[i].raw, strlen(good[i].raw), out), 0);
		CHECK_STR(p.text, good[i].text);
		CHECK_EQ(p.count, good[i].count);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(weir__path_parse(&p, bad[i].raw, strlen(bad[i].raw), out), bad[i].result);
}
