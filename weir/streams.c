/* SPDX-License-Identifier: MIT */
/*
 * Streams of subjects: all clients of one pattern share a hub, so that a message is encoded once
 * and an idle stream is a small record.
 *
 * One task opens and closes hubs; handlers ask it over a port for the pattern they miss. A hub that
 * is open is found in the table under its short lock, and used from then on: a hub with users or
 * clients is never closed. One that nobody has listened to for IDLE is closed, so that what is kept
 * for Last-Event-ID does not pile up and so that requests on its subject find out that nobody is
 * there. While the table is empty the task waits without end.
 *
 * Bounded: --patterns-max hubs, each with a replay of REPLAY messages and REPLAY_BYTES, and at most
 * --streams-max clients. When the table is full the longest unused hub goes; if all are
 * in use the client gets 507.
 *
 * Rejected: a hub made by the handler that needs it first (it would belong to that request's scope
 * and end with it); a hub handed out in the owner's answer (a caller that has left meanwhile would
 * be counted as a user for ever).
 */
#include "streams.h"

#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "rt/lock.h"

enum {
	CALLS = 64,
	PATTERN_BYTES = 256,
	REPLAY = 256,
	REPLAY_BYTES = 256 << 10,
	PENDING = 256, /* events a client may lag behind */
	SUB_PENDING = 1024,
	SUB_BYTES = 1 << 20,
};

#define IDLE WEIR_SEC(60)
/* To be live in a cluster; the owner serves others meanwhile not. */
#define LIVE WEIR_SEC(5)

/* The owner writes all of it, and `open` under the lock; others read it under the lock while it is
 * open, or while they are users. */
struct stream {
	bool open;
	char pattern[PATTERN_BYTES];
	bool json, cluster;
	weir_hub *hub;
	weir_sub *sub;
	weir_bus *bus;
	uint64_t reconnects; /* of the cluster, as of the last message; its handler's */
	unsigned users;      /* under the lock; handlers about to join */
	int64_t used_at;     /* when it last had users or clients, as far as the owner saw */
};

struct ask {
	const char *pattern; /* the handler waits for the answer, so its memory is there */
	bool json;
};

struct streams {
	struct app *app;
	weir_port *port;
	weir__lock lock;
	struct stream *table;
	size_t n;
};

void streams_render(struct weir__buf *b, const weir_msg *m)
{
	weir__buf_byte(b, '{');
	put_str(b, "subject", m->subject);
	if (m->reply)
		put_str(b, "reply", m->reply);
	put_bytes(b, "data", m->data, m->len);
	weir__buf_byte(b, '}');
}

static int on_message(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	struct stream *s = arg;
	struct weir__buf b = WEIR__BUF_INIT;
	weir_bus_stats bus;
	int64_t id;

	(void)ctx;
	if (s->cluster) {
		weir_bus_stats_get(s->bus, &bus);
		if (bus.reconnects != s->reconnects)
			(void)weir_hub_publish(s->hub, "gap", "", 0);
		s->reconnects = bus.reconnects;
	}
	if (!s->json) {
		id = weir_hub_publish(s->hub, NULL, m->data, m->len);
		return id < 0 ? (int)id : 0;
	}
	streams_render(&b, m);
	id = b.failed ? -ENOMEM : weir_hub_publish(s->hub, NULL, b.data, b.len);
	weir__buf_free(&b);
	return id < 0 ? (int)id : 0;
}

static int open_stream(const weir_ctx *ctx, struct streams *all, struct stream *s,
                       const struct ask *ask)
{
	const struct options *o = all->app->opt;
	weir_hub_options hub = { .name = ask->pattern,
		                 .replay_max = REPLAY,
		                 .replay_bytes = REPLAY_BYTES,
		                 .pending_max = PENDING,
		                 .write_ns = o->write_ns,
		                 .clients_max = o->streams_max };
	weir_sub_options sub = { .pending_max = SUB_PENDING, .pending_bytes = SUB_BYTES };
	size_t n = strlen(ask->pattern);
	weir_ctx soon = weir_ctx_timeout(ctx, LIVE);
	weir_bus_stats bus;
	int r;

	if (n >= sizeof s->pattern)
		return -EINVAL;
	weir_bus_stats_get(all->app->bus, &bus);
	s->bus = all->app->bus;
	s->cluster = bus.cluster;
	s->reconnects = bus.reconnects;
	memcpy(s->pattern, ask->pattern, n + 1);
	s->json = ask->json;
	s->used_at = weir_now();
	r = weir_hub_new(ctx, &hub, &s->hub);
	if (r < 0)
		return r;
	r = weir_bus_subscribe_with(&soon, all->app->bus, s->pattern, &sub, on_message, s, &s->sub);
	if (r < 0) {
		(void)weir_hub_close(ctx, s->hub);
		return r;
	}
	weir__lock_acquire(&all->lock);
	s->open = true;
	weir__lock_release(&all->lock);
	return 0;
}

/* False when somebody uses it after all. */
static bool close_stream(const weir_ctx *ctx, struct streams *all, struct stream *s, bool anyway)
{
	weir_hub_stats stats;
	bool used;

	weir__lock_acquire(&all->lock);
	weir_hub_stats_get(s->hub, &stats);
	used = s->users > 0 || stats.clients > 0;
	if (!used || anyway)
		s->open = false;
	weir__lock_release(&all->lock);
	if (used && !anyway)
		return false;
	(void)weir_sub_close(s->sub);
	(void)weir_hub_close(ctx, s->hub);
	return true;
}

static bool in_use(struct streams *all, struct stream *s)
{
	weir_hub_stats stats;
	bool used;

	weir__lock_acquire(&all->lock);
	used = s->users > 0;
	weir__lock_release(&all->lock);
	weir_hub_stats_get(s->hub, &stats);
	return used || stats.clients > 0;
}

/* Closes what was idle for long; the longest unused one in any case when `must`. When to look
 * again, WEIR_NEVER if there is nothing to look at. */
static int64_t sweep(const weir_ctx *ctx, struct streams *all, bool must)
{
	struct stream *oldest = NULL;
	int64_t now = weir_now();
	bool any = false;

	for (size_t i = 0; i < all->n; i++) {
		struct stream *s = &all->table[i];

		if (!s->open)
			continue;
		if (in_use(all, s))
			s->used_at = now;
		else if (now - s->used_at >= IDLE && close_stream(ctx, all, s, false))
			continue;
		else if (!oldest || s->used_at < oldest->used_at)
			oldest = s;
		any = true;
	}
	if (must && oldest)
		(void)close_stream(ctx, all, oldest, false);
	return any ? now + IDLE / 2 : WEIR_NEVER;
}

/* By the owner, who alone changes what it looks at. */
static int make_open(const weir_ctx *ctx, struct streams *all, const struct ask *ask)
{
	struct stream *place = NULL;

	for (int round = 0; round < 2 && !place; round++) {
		if (round)
			(void)sweep(ctx, all, true);
		for (size_t i = 0; i < all->n; i++) {
			struct stream *s = &all->table[i];

			if (!s->open)
				place = s;
			else if (s->json == ask->json && !strcmp(s->pattern, ask->pattern))
				return 0; /* Two asked for it at once. */
		}
	}
	return place ? open_stream(ctx, all, place, ask) : -ENOSPC;
}

static int run_streams(const weir_ctx *ctx, void *arg)
{
	struct streams *all = ((struct app *)arg)->streams;
	weir_ctx live = weir_ctx_until_drain(ctx);
	int64_t look_at = WEIR_NEVER;
	weir_call *call;
	struct ask ask;
	int r;

	for (;;) {
		weir_ctx until = weir_ctx_deadline(&live, look_at);

		r = weir_port_recv(&until, all->port, &call, &ask);
		if (r > 0) {
			r = make_open(ctx, all, &ask);
			weir_call_reply(call, r, &r);
		} else if (r != -ETIMEDOUT) {
			break;
		}
		if (look_at == WEIR_NEVER || weir_now() >= look_at)
			look_at = sweep(ctx, all, false);
	}
	weir_port_close(all->port);
	for (size_t i = 0; i < all->n; i++)
		if (all->table[i].open)
			(void)close_stream(ctx, all, &all->table[i], true);
	return 0;
}

static int open_streams(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	struct streams *all = calloc(1, sizeof *all);
	int r;

	(void)ctx;
	if (!all)
		return -ENOMEM;
	all->app = app;
	all->n = app->opt->patterns_max;
	all->table = calloc(all->n, sizeof *all->table);
	r = all->table ? weir_port_new(&all->port, sizeof(struct ask), sizeof(int), CALLS) :
	                 -ENOMEM;
	if (r < 0) {
		free(all->table);
		free(all);
		return r;
	}
	app->streams = all;
	return 0;
}

static int close_streams(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;

	(void)ctx;
	weir_port_free(app->streams->port);
	free(app->streams->table);
	free(app->streams);
	app->streams = NULL;
	return 0;
}

const weir_service streams_service = {
	.name = "streams", .open = open_streams, .run = run_streams, .close = close_streams
};

/* The open stream of a pattern, with a user more; or NULL. */
static struct stream *use(struct streams *all, const struct ask *ask)
{
	struct stream *found = NULL;

	weir__lock_acquire(&all->lock);
	for (size_t i = 0; i < all->n && !found; i++) {
		struct stream *s = &all->table[i];

		if (s->open && s->json == ask->json && !strcmp(s->pattern, ask->pattern))
			found = s;
	}
	if (found)
		found->users++;
	weir__lock_release(&all->lock);
	return found;
}

static void unuse(struct streams *all, struct stream *s)
{
	weir__lock_acquire(&all->lock);
	s->users--;
	weir__lock_release(&all->lock);
}

int streams_join(const weir_ctx *ctx, weir_http *x, struct app *app, const char *pattern, bool json)
{
	struct ask ask = { pattern, json };
	struct stream *s;
	int r, answer;

	/* It may be evicted between being opened and being used, by others who want its place:
	 * bounded tries. */
	for (int tries = 0; tries < 3; tries++) {
		s = use(app->streams, &ask);
		if (s) {
			r = weir_hub_join(ctx, x, s->hub, NULL);
			unuse(app->streams, s);
			return r;
		}
		r = weir_port_call(ctx, app->streams->port, &ask, &answer);
		if (r < 0)
			return r;
	}
	return -ENOSPC;
}

void streams_stats_get(struct streams *all, struct streams_stats *ret)
{
	memset(ret, 0, sizeof *ret);
	weir__lock_acquire(&all->lock);
	for (size_t i = 0; i < all->n; i++) {
		struct stream *s = &all->table[i];
		weir_hub_stats stats;

		if (!s->open)
			continue;
		weir_hub_stats_get(s->hub, &stats);
		ret->patterns++;
		ret->clients += stats.clients;
		ret->published += stats.published;
		ret->delivered += stats.delivered;
		ret->dropped += stats.dropped;
		ret->gaps += stats.gaps;
	}
	weir__lock_release(&all->lock);
}
