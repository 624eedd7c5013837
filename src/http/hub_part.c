/* SPDX-License-Identifier: MIT */
/*
 * One worker's clients of a hub. A client is a record of a position: no task, no stack, no queue of
 * its own. All of a worker's clients read one log of chunks, which holds only what the slowest of
 * them still needs and is empty when none lags.
 *
 * A round: take what came into the inbox to the log's end, then visit every client, a slice per
 * message so that the worker's tasks get their turns. A visit writes all that the client has not
 * got with one writev; when the socket is full the client is blocked: watched until it is writable,
 * and passed over by rounds but for the overflow policy. Events which come during a round wait for
 * the next, so bursts are written together. Invariants between rounds: a client that is not blocked
 * has everything; a blocked one lags by at most its pending_max events and the hub's pending_bytes
 * (or by one event); the log begins where the furthest behind may be.
 *
 * If the worker is so busy that its inbox of pending_max events runs over, the oldest are lost to
 * all its clients, who are told by a gap event.
 *
 * One timer serves all clients, whose lists are in order of time: `quiet` by when something last
 * left (heartbeat), `blocked` by when bytes last left (the progress limit). It is armed for the
 * earliest that may be due, looks again when it was too early, and ends or pings a slice of them at
 * a time: after a hold-up thousands may be due at once.
 */
#include "http/hub.h"

#include "http/sse.h"

#include <weir/sim.h>

#include <inttypes.h>
#include <stdlib.h>

enum { SLICE = 32, IOV = 64 }; /* clients a message; writing a short event to them takes 0.2 ms */

/* … and after so long no other one: what is written may be large, and a stream's end takes 30
 * µs. */
#define SLICE_NS WEIR_US(500)

static void run(struct weir__msg *m);
static void tick(struct weir__timer *t);
static bool pump(struct weir__hub_client *c, bool fresh);

/* ---- life ---- */

static struct weir__hub_part *part_new(weir_hub *h)
{
	struct weir__hub_part *p = calloc(1, sizeof *p);
	size_t cap =
		2 * h->opt.pending_max; /* what a blocked client may lag, and an inbox on top */

	if (!p)
		return NULL;
	p->hub = h;
	p->worker = weir_worker();
	p->msg.fn = run;
	weir__list_init(&p->all);
	weir__list_init(&p->quiet);
	weir__list_init(&p->blocked);
	p->log_cap = cap;
	p->inbox = calloc(h->opt.pending_max, sizeof(struct weir__hub_chunk *));
	p->log = calloc(cap, sizeof *p->log);
	if (p->inbox && p->log)
		return p;
	weir__hub_part_free(p);
	return NULL;
}

struct weir__hub_part *weir__hub_part_get(weir_hub *h)
{
	struct weir__hub_part *p, *fresh = NULL;
	int worker = weir_worker();

	weir__lock_acquire(&h->lock);
	p = h->parts[worker];
	weir__lock_release(&h->lock);
	if (p)
		return p;
	fresh = part_new(h);
	weir__lock_acquire(&h->lock);
	p = h->parts[worker];
	if (!p && fresh) {
		fresh->state = h->state;
		p = h->parts[worker] = fresh;
		fresh = NULL;
	}
	weir__lock_release(&h->lock);
	weir__hub_part_free(fresh);
	return p;
}

static void log_drop_first(struct weir__hub_part *p)
{
	weir__hub_chunk_unref(p->log[p->log_first++ % p->log_cap].chunk);
}

void weir__hub_part_free(struct weir__hub_part *p)
{
	if (!p)
		return;
	while (p->log_first < p->log_end)
		log_drop_first(p);
	for (; p->inbox_count; p->inbox_count--)
		weir__hub_chunk_unref(p->inbox[p->inbox_first++ % p->hub->opt.pending_max]);
	free(p->inbox);
	free(p->log);
	free(p);
}

bool weir__hub_part_nudge(struct weir__hub_part *p)
{
	if (p->posted)
		return false;
	p->posted = true;
	p->hub->users++;
	return true;
}

bool weir__hub_part_push(struct weir__hub_part *p, struct weir__hub_chunk *k)
{
	size_t cap = p->hub->opt.pending_max;

	if (!p->wanted)
		return false;
	if (p->inbox_count == cap) {
		weir__hub_chunk_unref(p->inbox[p->inbox_first]);
		p->inbox_first = (p->inbox_first + 1) % cap;
		p->inbox_count--;
	}
	p->inbox[(p->inbox_first + p->inbox_count++) % cap] = weir__hub_chunk_ref(k);
	return weir__hub_part_nudge(p);
}

struct weir__hub_chunk *weir__hub_gap(uint64_t missed)
{
	struct weir__buf b = WEIR__BUF_INIT;
	struct weir__hub_chunk *k;

	if (missed == UINT64_MAX)
		weir__buf_str(&b, "event: gap\ndata: {\"missed\":null}\n\n");
	else
		weir__buf_printf(&b, "event: gap\ndata: {\"missed\":%" PRIu64 "}\n\n", missed);
	k = weir__hub_chunk_new(&b);
	if (k)
		weir__hub_chunk_seal(k, "", 0);
	weir__buf_free(&b);
	return k;
}

static struct weir__hub_chunk *goodbye(const weir_hub *h)
{
	struct weir__buf b = WEIR__BUF_INIT;
	struct weir__hub_chunk *k;

	weir__sse_retry(&b, h->opt.retry_ns);
	k = weir__hub_chunk_new(&b);
	if (k)
		weir__hub_chunk_seal(k, "", 0);
	weir__buf_free(&b);
	return k;
}

/* ---- the timer ---- */

static int64_t after(int64_t at, int64_t ns)
{
	int64_t sum;

	return __builtin_add_overflow(at, ns, &sum) ? WEIR_NEVER : sum;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void want(struct weir__hub_part *p, int64_t at_ns)
{
	if (at_ns != WEIR_NEVER && (!weir__timer_armed(&p->timer) || p->timer.at_ns > at_ns))
		weir__timer_start(&p->timer, at_ns, tick);
}

static struct weir__hub_client *first_of(struct weir__list *timed)
{
	return weir__list_empty(timed) ?
	               NULL :
	               weir__container(timed->next, struct weir__hub_client, timed);
}

static void to_list(struct weir__hub_client *c, struct weir__list *timed)
{
	weir__list_remove(&c->timed);
	weir__list_append(timed, &c->timed);
}

/* ---- clients come and go ---- */

void weir__hub_client_add(struct weir__hub_part *p, struct weir__hub_client *c)
{
	p->wanted = true;
	c->part = p;
	c->next = p->log_end;
	c->since_ns = weir_now();
	weir__list_append(&p->all, &c->all);
	weir__list_append(&p->quiet, &c->timed);
	want(p, after(c->since_ns, p->hub->opt.heartbeat_ns));
}

void weir__hub_client_drop(struct weir__hub_client *c)
{
	struct weir__hub_part *p = c->part;

	if (p->cursor == &c->all)
		p->cursor = c->all.next;
	weir__list_remove(&c->all);
	weir__list_remove(&c->timed);
	if (weir__list_empty(&p->all))
		weir__timer_stop(&p->timer);
}

/* Who holds no user of the hub touches neither it nor its part after this. */
static void client_end(struct weir__hub_client *c, bool clean)
{
	weir_hub *h = c->part->hub;
	weir__stream *stream = c->stream;

	weir__magic_check(c, WEIR__CLIENT_MAGIC);
	weir__hub_client_drop(c);
	if (c->blocked)
		weir__stream_unwatch(stream);
	weir__hub_chunk_unref(c->current);
	c->magic = 0;
	free(c);
	weir__hub_leave(h, 1, 1);
	weir__stream_end(
		stream,
		/* Last: whoever waits for the connections may then see that the client is not
		 * counted. */
		clean);
}

void weir__hub_client_stop(weir__stream *s, int why, void *arg)
{
	struct weir__hub_client *c = arg;
	struct weir__hub_part *p = c->part;
	weir_hub *h = p->hub;
	bool post;

	(void)s;
	weir__magic_check(c, WEIR__CLIENT_MAGIC);
	if (why != -ESHUTDOWN) {
		client_end(c, false);
		return;
	}
	/* What was published before comes first: it is in the log when the next round has begun. */
	if (!c->last_round)
		c->last_round = p->rounds + 1;
	p->more = true;
	weir__lock_acquire(&h->lock);
	post = weir__hub_part_nudge(p);
	weir__lock_release(&h->lock);
	if (post)
		weir__post(p->worker, &p->msg);
}

/* ---- writing ---- */

static void writable(weir__stream *s, void *arg)
{
	struct weir__hub_client *c = arg;

	(void)s;
	weir__magic_check(c, WEIR__CLIENT_MAGIC);
	c->blocked = false;
	pump(c, false);
}

static void iov_add(struct iovec *iov, int *n, const struct weir__hub_client *c,
                    const struct weir__hub_chunk *k, size_t offset)
{
	bool chunked = weir__stream_chunked(c->stream);
	const char *at = chunked ? k->frame : k->text;
	size_t len = chunked ? k->frame_len : k->text_len;

	iov[*n].iov_base = (char *)at + offset;
	iov[(*n)++].iov_len = len - offset;
}

/* What is to be written next, up to the array's end; 0: nothing. < 0: no memory for it. */
static int gather(struct weir__hub_client *c, struct iovec *iov)
{
	struct weir__hub_part *p = c->part;
	uint64_t at;
	int n = 0;

	while (c->next < p->log_end && p->log[c->next % p->log_cap].chunk->n < c->from)
		c->next++;
	if (!c->current && c->missed) {
		c->current = weir__hub_gap(c->missed);
		if (!c->current)
			return -ENOMEM;
		c->missed = 0;
		weir__hub_count(p, gaps, 1);
	}
	if (!c->current && c->last_round && c->last_round <= p->rounds && !c->told &&
	    c->next == p->log_end) {
		c->current = goodbye(p->hub);
		if (!c->current)
			return -ENOMEM;
		c->told = true;
	}
	if (c->current)
		iov_add(iov, &n, c, c->current, c->offset);
	if (c->told || c->missed)
		return n;
	for (at = c->next; at < p->log_end && n < IOV; at++)
		iov_add(iov, &n, c, p->log[at % p->log_cap].chunk, 0);
	return n;
}

/* So many bytes of what was gathered have left. */
static void consume(struct weir__hub_client *c, const struct iovec *iov, int n, size_t bytes)
{
	struct weir__hub_part *p = c->part;

	for (int i = 0; i < n && bytes; i++) {
		size_t part = bytes < iov[i].iov_len ? bytes : iov[i].iov_len;

		bytes -= part;
		if (!c->current) {
			c->current = weir__hub_chunk_ref(p->log[c->next++ % p->log_cap].chunk);
			c->offset = 0;
		}
		c->offset += part;
		if (part < iov[i].iov_len)
			return;
		if (c->current->n)
			weir__hub_count(p, delivered, 1);
		weir__hub_chunk_unref(c->current);
		c->current = NULL;
		c->offset = 0;
	}
}

/* Everything is written: wait for more, or say the end. False: the client is gone. */
static bool rest(struct weir__hub_client *c)
{
	struct weir__hub_part *p = c->part;

	if (c->told) {
		client_end(c, true);
		return false;
	}
	to_list(c, &p->quiet);
	want(p, after(c->since_ns, p->hub->opt.heartbeat_ns));
	return true;
}

/* The socket is full; has it taken anything, or only now been given something? False: the client
 * is gone. */
static bool block(struct weir__hub_client *c, bool moved)
{
	struct weir__hub_part *p = c->part;

	if (weir__stream_watch(c->stream, writable, c) < 0) {
		client_end(c, false);
		return false;
	}
	c->blocked = true;
	if (moved)
		to_list(c, &p->blocked);
	want(p, after(c->since_ns, p->hub->opt.write_ns));
	return true;
}

/* Writes what there is; fresh: it was not blocked, so its time to take bytes begins now. False:
 * the client is gone. */
static bool pump(struct weir__hub_client *c, bool fresh)
{
	struct iovec iov[IOV];
	bool moved = fresh;

	for (;;) {
		int n = gather(c, iov);
		ssize_t r;

		if (n == 0)
			return rest(c);
		r = n < 0 ? n : weir__stream_try_writev(c->stream, iov, n);
		if (moved || r > 0)
			c->since_ns = weir_now();
		if (r == -EAGAIN)
			return block(c, moved);
		if (r < 0) {
			client_end(c, false);
			return false;
		}
		moved = true;
		consume(c, iov, n, (size_t)r);
	}
}

/* ---- rounds ---- */

/* Without its bounds a blocked client would keep the log: drop its oldest, or it. */
static void enforce(struct weir__hub_client *c)
{
	struct weir__hub_part *p = c->part;

	while (p->log_end - c->next > 1) {
		struct weir__hub_log *first = &p->log[c->next % p->log_cap];

		if (p->log_end - c->next <= c->pending_max &&
		    p->log_bytes - first->bytes <= p->hub->opt.pending_bytes)
			return;
		if (c->overflow == WEIR_CLOSE) {
			weir__hub_count(p, closed_slow, 1);
			client_end(c, false);
			return;
		}
		c->next++;
		if (first->chunk->n < c->from)
			continue;
		c->missed++;
		weir__hub_count(p, dropped, 1);
	}
}

/* The events before n did not come, since the inbox ran over (or nobody was here): missed by
 * everyone who was there, with all they had not got yet. */
static void lost(struct weir__hub_part *p, uint64_t n)
{
	weir__list_each (l, &p->all) {
		struct weir__hub_client *c = weir__container(l, struct weir__hub_client, all);
		uint64_t from = p->last + 1 > c->from ? p->last + 1 : c->from,
			 missed = n > from ? n - from : 0;

		for (; missed && c->next < p->log_end; c->next++)
			missed += p->log[c->next % p->log_cap].chunk->n >= c->from;
		c->missed += missed;
		weir__hub_count(p, dropped, missed);
	}
}

/* Take the inbox to the log and begin with the first client. */
static void round_begin(struct weir__hub_part *p)
{
	weir_hub *h = p->hub;
	uint64_t end = p->log_end;

	weir__lock_acquire(&h->lock);
	p->state = h->state;
	for (; p->inbox_count; p->inbox_count--) {
		struct weir__hub_chunk *k = p->inbox[p->inbox_first];

		p->log[end++ % p->log_cap] = (struct weir__hub_log){ k, p->log_bytes };
		p->log_bytes += k->text_len;
		p->inbox_first = (p->inbox_first + 1) % h->opt.pending_max;
	}
	weir__lock_release(&h->lock);
	if (end > p->log_end) {
		uint64_t n = p->log[p->log_end % p->log_cap].chunk->n;

		if (n > p->last + 1)
			lost(p, n);
		p->last = n + (end - p->log_end) - 1;
		p->log_end = end;
	}
	p->cursor = p->all.next;
	p->rounds++;
	p->more = false;
}

static void round_end(struct weir__hub_part *p)
{
	size_t max = p->hub->opt.pending_max;

	p->cursor = NULL;
	if (weir__list_empty(&p->blocked))
		max = 0;
	while (p->log_end - p->log_first > max ||
	       (p->log_end - p->log_first > 1 &&
	        p->log_bytes - p->log[p->log_first % p->log_cap].bytes > p->hub->opt.pending_bytes))
		log_drop_first(p);
}

/* In a simulation rounds are to be interrupted with a handful of clients too. */
static int slice(void)
{
	return weir__simulating ? 1 + (int)weir_random(4) : SLICE;
}

static void visit(struct weir__hub_client *c)
{
	if (c->part->state == WEIR__HUB_CUT) {
		client_end(c, false);
		return;
	}
	if (c->part->state == WEIR__HUB_DRAINING)
		c->last_round = c->part->rounds;
	if (c->blocked || pump(c, true))
		if (c->blocked)
			enforce(c);
}

/* A part's message. */
static void run(struct weir__msg *m)
{
	struct weir__hub_part *p = weir__container(m, struct weir__hub_part, msg);
	weir_hub *h = p->hub;
	int64_t until = weir_now() + SLICE_NS;
	bool again;

	weir__lock_acquire(&h->lock);
	p->posted = false;
	weir__lock_release(&h->lock);
	if (!p->cursor)
		round_begin(p);
	for (int left = slice(); left && p->cursor != &p->all; left--) {
		struct weir__hub_client *c =
			weir__container(p->cursor, struct weir__hub_client, all);

		p->cursor = p->cursor->next;
		visit(c);
		if (weir_now() > until)
			break;
	}
	again = p->cursor != &p->all;
	if (!again)
		round_end(p);
	weir__lock_acquire(&h->lock);
	/* A message that was posted during the round may have been for what the round did not
	 * see. */
	again = again || p->more || p->inbox_count || p->state != h->state;
	p->wanted = again || !weir__list_empty(&p->all);
	again = again && weir__hub_part_nudge(p);
	weir__lock_release(&h->lock);
	if (again)
		weir__post(p->worker, m);
	weir__hub_leave(h, 1, 0);
}

static void tick(struct weir__timer *t)
{
	struct weir__hub_part *p = weir__container(t, struct weir__hub_part, timer);
	const weir_hub_options *o = &p->hub->opt;
	struct weir__hub_client *c;
	int64_t now = weir_now();
	int left = slice();

	weir__lock_acquire(&p->hub->lock);
	p->hub->users++; /* With its last client the hub could go from under us. */
	weir__lock_release(&p->hub->lock);
	while ((c = first_of(&p->blocked)) && after(c->since_ns, o->write_ns) <= now &&
	       left-- > 0 && weir_now() < now + SLICE_NS) {
		weir__hub_count(p, closed_slow, 1);
		client_end(c, false);
	}
	while ((c = first_of(&p->quiet)) && after(c->since_ns, o->heartbeat_ns) <= now &&
	       left-- > 0 && weir_now() < now + SLICE_NS) {
		c->current = weir__hub_chunk_ref(p->hub->ping);
		c->offset = 0;
		pump(c, true);
	}
	/* Those that are due and were not come to have their turn after the worker's tasks: a timer
	 * of the past would be run in this same look at the timers. */
	now = weir_now() + 1;
	if ((c = first_of(&p->blocked)))
		want(p, later(after(c->since_ns, o->write_ns), now));
	if ((c = first_of(&p->quiet)))
		want(p, later(after(c->since_ns, o->heartbeat_ns), now));
	weir__hub_leave(p->hub, 1, 0);
}
