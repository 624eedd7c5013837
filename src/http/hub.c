/* SPDX-License-Identifier: MIT */
/*
 * A hub: its life, publishing, and how a client joins. What a client gets, and when it is cut, is
 * hub_part.c.
 *
 * Publishing costs the publisher one encoding and, under the hub's lock, a number and a pointer for
 * each worker that has clients; the writing is done by those workers, told by one message each,
 * however many events have come meanwhile. So the lock is taken once per event, round, join and
 * leave, and is never held while something is written.
 *
 * A client that comes back is served from the replay by its handler's own task, which may wait, in
 * turns: take what the ring holds under the lock, write it, look again. Only when nothing is left
 * is it handed over, under the same lock that numbers the events, so nothing falls in between and
 * nothing comes twice. Rejected: handing over first with a private list of what to replay, which
 * costs memory for each of 10,000 clients that come back at once.
 *
 * The end: drain (of the hub's scope or by close) marks the hub; each part sends its clients what
 * they have not got, `retry:` and the end. Cancel cuts. Close waits until clients and messages have
 * gone, `users`.
 */
#include "http/hub.h"

#include <weir/sim.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/sse.h"

enum { EVENT_MAX = 1 << 20, REPLAY_TURN = 32 };

/* ---- life ---- */

static void fill_in(weir_hub_options *o)
{
	if (!o->replay_max)
		o->replay_max = 1000;
	if (!o->replay_bytes)
		o->replay_bytes = 1 << 20;
	if (!o->pending_max)
		o->pending_max = 256;
	if (!o->pending_bytes)
		o->pending_bytes = 8 << 20;
	if (!o->heartbeat_ns)
		o->heartbeat_ns = WEIR_SEC(15);
	if (!o->write_ns)
		o->write_ns = WEIR_SEC(10);
	if (!o->retry_ns)
		o->retry_ns = WEIR__SSE_RETRY_NS;
	if (!o->clients_max)
		o->clients_max = 100000;
}

static void post_all(struct weir__hub_part *p)
{
	for (struct weir__hub_part *next; p; p = next) {
		next = p->post_next; /* Once posted the part may run, and be posted by another. */
		weir__post(p->worker, &p->msg);
	}
}

/* All parts hear of a new state. Drain does not take back a cut. */
static void set_state(weir_hub *h, enum weir__hub_state state)
{
	struct weir__hub_part *to_post = NULL;

	weir__lock_acquire(&h->lock);
	if (h->state < state)
		h->state = state;
	for (int i = 0; i < h->part_count; i++)
		if (h->parts[i] && weir__hub_part_nudge(h->parts[i])) {
			h->parts[i]->post_next = to_post;
			to_post = h->parts[i];
		}
	weir__lock_release(&h->lock);
	post_all(to_post);
}

static void stopped(weir_hook *hook, int step)
{
	set_state(weir__container(hook, weir_hub, hook),
	          step == WEIR_DRAIN ? WEIR__HUB_DRAINING : WEIR__HUB_CUT);
}

static void hub_free(weir_hub *h)
{
	for (int i = 0; i < h->part_count; i++)
		weir__hub_part_free(h->parts[i]);
	weir__replay_fini(&h->replay);
	weir__hub_chunk_unref(h->ping);
	free(h->parts);
	free((char *)h->opt.name);
	h->magic = 0;
	free(h);
}

int weir_hub_new(const weir_ctx *ctx, const weir_hub_options *opt, weir_hub **ret)
{
	weir_hub *h = calloc(1, sizeof *h);
	struct weir__buf ping = WEIR__BUF_INIT;
	int r = -ENOMEM;

	if (!h)
		return -ENOMEM;
	h->magic = WEIR__HUB_MAGIC;
	if (opt)
		h->opt = *opt;
	fill_in(&h->opt);
	h->opt.name = strdup(opt && opt->name ? opt->name : "hub");
	snprintf(h->epoch, sizeof h->epoch, "%08x%08x", weir_random(UINT32_MAX),
	         weir_random(UINT32_MAX));
	weir__buf_str(&ping, ":\n\n");
	h->ping = weir__hub_chunk_new(&ping);
	weir__buf_free(&ping);
	h->parts = calloc((size_t)weir_worker_count(), sizeof(struct weir__hub_part *));
	if (!h->ping || !h->parts || !h->opt.name)
		goto fail;
	weir__hub_chunk_seal(h->ping, h->epoch, 0);
	h->part_count = weir_worker_count();
	r = weir__replay_init(&h->replay, h->opt.replay_max, h->opt.replay_bytes);
	if (r < 0)
		goto fail;
	h->home = weir_worker();
	h->hook.fn = stopped;
	h->hooked = true;
	r = weir_hook_add(ctx->scope, &h->hook);
	if (r < 0)
		goto fail;
	*ret = h;
	return 0;
fail:
	hub_free(h);
	return r;
}

/* With the lock: wakes who closes if all it waits for has come. To be woken after the lock. */
static struct weir__wait *closer_of(weir_hub *h)
{
	struct weir__wait *w = h->closer;

	if (!w || h->users || h->hooked)
		return NULL;
	h->closer = NULL;
	return weir__wait_claim(w, 1) ? w : NULL;
}

void weir__hub_leave(weir_hub *h, size_t users, size_t clients)
{
	struct weir__wait *w;

	weir__lock_acquire(&h->lock);
	h->users -= users;
	h->clients -= clients;
	w = closer_of(h);
	weir__lock_release(&h->lock);
	if (w)
		weir__wait_wake(w);
}

static void unhook(weir_hub *h)
{
	struct weir__wait *w;

	weir_hook_remove(&h->hook);
	weir__lock_acquire(&h->lock);
	h->hooked = false;
	w = closer_of(h);
	weir__lock_release(&h->lock);
	if (w)
		weir__wait_wake(w);
}

static void unhook_msg(struct weir__msg *m)
{
	unhook(weir__container(m, weir_hub, unhook));
}

/* Until nobody uses the hub. NULL: however long it takes. */
static int wait_for_users(const weir_ctx *ctx, weir_hub *h)
{
	struct weir__wait w;
	int r = 0;

	for (;;) {
		weir__lock_acquire(&h->lock);
		if (h->closer)
			h->closer = NULL;
		if (r < 0 || (!h->users && !h->hooked))
			break;
		weir__wait_init(&w);
		h->closer = &w;
		weir__lock_release(&h->lock);
		r = ctx ? weir__wait_park(&w, ctx, "the clients of a hub", h) :
		          weir__wait_park_hard(&w, "the clients of a hub", h);
	}
	weir__lock_release(&h->lock);
	return r < 0 ? r : 0;
}

int weir_hub_close(const weir_ctx *ctx, weir_hub *h)
{
	int r;

	if (!h)
		return 0;
	weir__magic_check(h, WEIR__HUB_MAGIC);
	weir__lock_acquire(&h->lock);
	weir__assert(!h->closed, "hub \"%s\" is closed twice", h->opt.name);
	h->closed = true;
	weir__lock_release(&h->lock);
	if (weir_worker() == h->home) {
		unhook(h);
	} else {
		h->unhook.fn = unhook_msg;
		weir__post(h->home, &h->unhook);
	}
	set_state(h, WEIR__HUB_DRAINING);
	r = wait_for_users(ctx, h);
	if (r < 0) {
		set_state(h, WEIR__HUB_CUT);
		wait_for_users(NULL, h);
	}
	hub_free(h);
	return r;
}

/* ---- publishing ---- */

int64_t weir_hub_publish(weir_hub *h, const char *event, const void *data, size_t len)
{
	struct weir__buf text = WEIR__BUF_INIT;
	struct weir__hub_part *to_post = NULL;
	struct weir__hub_chunk *k;
	int64_t n = -EPIPE;
	int r;

	weir__magic_check(h, WEIR__HUB_MAGIC);
	if (len > EVENT_MAX)
		return -EMSGSIZE;
	r = weir__sse_event(&text, event, data, len);
	weir__buf_byte(&text, '\n');
	k = r == 0 ? weir__hub_chunk_new(&text) : NULL;
	weir__buf_free(&text);
	if (!k)
		return r < 0 ? r : -ENOMEM;
	weir__lock_acquire(&h->lock);
	if (!h->closed) {
		n = (int64_t)++h->last;
		weir__hub_chunk_seal(k, h->epoch, h->last);
		weir__replay_add(&h->replay, k);
		for (int i = 0; i < h->part_count; i++)
			if (h->parts[i] && weir__hub_part_push(h->parts[i], k)) {
				h->parts[i]->post_next = to_post;
				to_post = h->parts[i];
			}
	}
	weir__lock_release(&h->lock);
	post_all(to_post);
	weir__hub_chunk_unref(k);
	return n;
}

/* ---- joining ---- */

static int write_chunk(const weir_ctx *ctx, weir_http *x, struct weir__hub_chunk *k)
{
	int r = k ? weir_http_write(ctx, x, k->text, k->text_len) : -ENOMEM;

	weir__hub_chunk_unref(k);
	return r;
}

static int write_gap(const weir_ctx *ctx, weir_http *x, struct weir__hub_part *p, uint64_t missed)
{
	weir__hub_count(p, gaps, 1);
	return write_chunk(ctx, x, weir__hub_gap(missed));
}

/*
 * Write the events from *next on until none is left, and come back with the lock held and *next the
 * number of the next one. On error without the lock.
 */
static int catch_up(const weir_ctx *ctx, weir_http *x, struct weir__hub_part *p, uint64_t *next)
{
	struct weir__hub_chunk *k[REPLAY_TURN];
	weir_hub *h = p->hub;
	size_t count;
	int r = 0;

	for (;;) {
		uint64_t missed = 0;

		weir__lock_acquire(&h->lock);
		if (*next > h->last)
			return 0;
		if (*next < h->replay.first) {
			missed = h->replay.first - *next;
			*next = h->replay.first;
		}
		for (count = 0; count < REPLAY_TURN && *next <= h->last; count++)
			k[count] = weir__hub_chunk_ref(weir__replay_get(&h->replay, (*next)++));
		weir__lock_release(&h->lock);
		if (missed)
			r = write_gap(ctx, x, p, missed);
		for (size_t i = 0; i < count; i++) {
			if (r == 0) {
				r = write_chunk(ctx, x, k[i]);
				weir__hub_count(p, delivered, r == 0);
			} else {
				weir__hub_chunk_unref(k[i]);
			}
		}
		if (r == 0)
			r = weir_http_flush(ctx, x);
		if (r < 0)
			return r;
	}
}

/* Where the client's events begin, if it names no place with those from `now` on. *ret_gap: it
 * comes from an earlier life, and nobody knows what it missed. */
static uint64_t resume_at(weir_http *x, weir_hub *h, uint64_t now, bool *ret_gap)
{
	const char *id = weir_http_header(x, "last-event-id");
	uint64_t n, last;

	*ret_gap = false;
	if (!id)
		id = weir_http_query(x, "last_event_id");
	if (!id || !*id)
		return now;
	weir__lock_acquire(&h->lock);
	last = h->last;
	weir__lock_release(&h->lock);
	if (weir__replay_parse(h->epoch, id, &n) && n <= last)
		return n + 1;
	*ret_gap = true;
	return 0;
}

/* A place among the clients, kept while the head and the replay are written. *ret_now: the event
 * that is next; who has read the head may count on all from then on. */
static int take_place(weir_hub *h, uint64_t *ret_now)
{
	int r = 0;

	weir__lock_acquire(&h->lock);
	if (h->state != WEIR__HUB_OPEN)
		r = -ESHUTDOWN;
	else if (h->clients >= h->opt.clients_max)
		r = -EAGAIN;
	else {
		h->clients++;
		h->users++;
	}
	*ret_now = h->last + 1;
	weir__lock_release(&h->lock);
	return r;
}

/* Everything after the head. 0: handed over. */
static int hand_over(const weir_ctx *ctx, weir_http *x, struct weir__hub_part *p,
                     struct weir__hub_client *c, uint64_t now)
{
	weir_hub *h = p->hub;
	bool gap;
	uint64_t next = resume_at(x, h, now, &gap);
	int r = 0;

	if (gap) {
		/* All that the ring holds is new to it; what it missed before that is unknown. */
		weir__lock_acquire(&h->lock);
		next = h->replay.first;
		weir__lock_release(&h->lock);
		r = write_gap(ctx, x, p, UINT64_MAX);
		if (r == 0)
			r = weir_http_flush(ctx, x);
		if (r < 0)
			return r;
	}
	r = catch_up(ctx, x, p, &next);
	if (r < 0)
		return r;
	if (h->state != WEIR__HUB_OPEN) {
		weir__lock_release(&h->lock);
		weir_sse_retry(ctx, x, h->opt.retry_ns);
		return -ESHUTDOWN;
	}
	c->from = h->last + 1;
	weir__hub_client_add(p, c);
	weir__lock_release(&h->lock);
	/* From here on nothing waits: what the part does with the client comes later, on this
	 * very worker. */
	r = weir__http_detach(x, weir__hub_client_stop, c, &c->stream);
	if (r < 0)
		weir__hub_client_drop(c);
	return r;
}

int weir_hub_join(const weir_ctx *ctx, weir_http *x, weir_hub *h,
                  const weir_hub_options *per_client)
{
	struct weir__hub_client *c;
	struct weir__hub_part *p;
	uint64_t now;
	int r;

	weir__magic_check(h, WEIR__HUB_MAGIC);
	r = take_place(h, &now);
	if (r < 0)
		return r;
	r = -ENOMEM;
	c = calloc(1, sizeof *c);
	p = weir__hub_part_get(h);
	if (!c || !p)
		goto out;
	c->magic = WEIR__CLIENT_MAGIC;
	c->overflow = per_client ? per_client->overflow : h->opt.overflow;
	c->pending_max = per_client && per_client->pending_max ? per_client->pending_max :
	                                                         h->opt.pending_max;
	if (c->pending_max > h->opt.pending_max)
		c->pending_max = h->opt.pending_max;
	r = weir__sse_begin(ctx, x, h->opt.retry_ns);
	if (r == 0 && !strcmp(weir_http_method(x), "HEAD"))
		goto out;
	if (r == 0)
		r = hand_over(ctx, x, p, c, now);
	if (r == 0)
		return 0;
	if (r == -ESHUTDOWN)
		r = 0; /* Told goodbye already: the answer ends cleanly. */
out:
	free(c);
	weir__hub_leave(h, 1, 1);
	return r;
}

void weir_hub_stats_get(const weir_hub *hub, weir_hub_stats *ret)
{
	weir_hub *h = (weir_hub *)hub;

	weir__magic_check(h, WEIR__HUB_MAGIC);
	weir__lock_acquire(&h->lock);
	*ret = (weir_hub_stats){ .clients = h->clients,
		                 .replay = h->replay.count,
		                 .published = h->last };
	for (int i = 0; i < h->part_count; i++) {
		const struct weir__hub_part *p = h->parts[i];

		if (!p)
			continue;
		ret->delivered += __atomic_load_n(&p->delivered, __ATOMIC_RELAXED);
		ret->dropped += __atomic_load_n(&p->dropped, __ATOMIC_RELAXED);
		ret->closed_slow += __atomic_load_n(&p->closed_slow, __ATOMIC_RELAXED);
		ret->gaps += __atomic_load_n(&p->gaps, __ATOMIC_RELAXED);
	}
	weir__lock_release(&h->lock);
}
