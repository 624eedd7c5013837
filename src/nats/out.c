/* SPDX-License-Identifier: MIT */
/*
 * The way out of a connection: a list of chunks that any worker adds to, under the connection's
 * lock, and that its own worker writes.
 *
 * Many messages, one write: a turn of reading (conn.c) collects the connections it put something
 * into and flushes them when it ends, or before it waits; one that belongs to another worker is
 * handed to that by a message. `queued` says that somebody is going to flush, `blocked` that the
 * socket is full and its watch goes on; without either whoever adds has to see to it. Writing goes
 * on in a list of its own (`writing`), so that no lock is held over a system call.
 *
 * Bounds: `pending` counts what is in both lists; beyond max_pending the connection is cut as a
 * slow consumer, and what it did not take is dropped; so is one with more than a little when all
 * together hold max_pending_all. A publisher that is faster than a subscriber would bring every one
 * there, so at half of it the publisher's turn waits, but only for one whose socket took something
 * a moment ago: one that stands still holds nobody up.
 */
#include "nats/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/conn.h"
#include "rt/wait.h"

enum { IOV_MAX_HERE = 16, FAIR_SHARE = 64 * 1024 };

#define STILL_NS WEIR_MS(20) /* no byte for so long: it stands still */
#define STALL_NS WEIR_MS(50) /* a publisher's wait at most */

const char weir__nats_slow[] = "Slow Consumer";

struct stalled {
	struct weir__list link;
	struct weir__wait wait;
};

/* ---- Chunks ---- */

static struct weir__nats_chunk *chunk_get(weir_nats_server *n, struct weir__nats_worker *w,
                                          bool small)
{
	struct weir__nats_chunk *k = w->chunks;
	uint32_t size = small ? WEIR__NATS_CHUNK_SMALL : WEIR__NATS_CHUNK;

	if (!small && k) {
		w->chunks = k->next;
		w->chunk_count--;
	} else {
		k = malloc(size);
		if (!k)
			return NULL;
		k->cap = size - (uint32_t)sizeof *k;
	}
	k->next = NULL;
	k->len = k->off = 0;
	k->sum = small ? NULL : &n->chunk_bytes;
	if (k->sum)
		__atomic_fetch_add(k->sum, size, __ATOMIC_RELAXED);
	return k;
}

static void uncount(struct weir__nats_chunk *k)
{
	if (k->sum)
		__atomic_fetch_sub(k->sum, WEIR__NATS_CHUNK, __ATOMIC_RELAXED);
}

static void chunk_put(struct weir__nats_worker *w, struct weir__nats_chunk *k)
{
	uncount(k);
	if (!k->sum || w->chunk_count == WEIR__NATS_CHUNKS) {
		free(k);
		return;
	}
	k->next = w->chunks;
	w->chunks = k;
	w->chunk_count++;
}

static size_t drop(struct weir__nats_chunk *k)
{
	struct weir__nats_chunk *next;
	size_t n = 0;

	for (; k; k = next) {
		next = k->next;
		n += k->len - k->off;
		uncount(k);
		free(k);
	}
	return n;
}

size_t weir__nats_drop_out(struct weir__nats_conn *c)
{
	size_t n = drop(c->writing) + drop(c->out);

	c->writing = c->writing_last = c->out = c->out_last = NULL;
	c->pending = 0;
	return n;
}

/* ---- In ---- */

static bool has_too_much(const struct weir__nats_conn *c, size_t more)
{
	const weir_nats_options *o = &c->server->opt;

	if (c->pending + more > o->max_pending)
		return c->pending > 0;
	return c->pending > FAIR_SHARE &&
	       __atomic_load_n(&c->server->chunk_bytes, __ATOMIC_RELAXED) > o->max_pending_all;
}

bool weir__nats_room(struct weir__nats_conn *c, struct weir__nats_worker *w, size_t n)
{
	if (c->cut)
		return false;
	if (has_too_much(c, n)) {
		__atomic_fetch_add(&c->server->slow, 1, __ATOMIC_RELAXED);
		weir__nats_cut(c, weir__nats_slow);
		return false;
	}
	if (!c->out_last || c->out_last->cap - c->out_last->len < n) {
		struct weir__nats_chunk *k =
			chunk_get(c->server, w, !c->out_last && n < WEIR__NATS_CHUNK_SMALL / 2);

		if (!k) {
			weir__nats_cut(c, "no memory");
			return false;
		}
		if (c->out_last)
			c->out_last->next = k;
		else
			c->out = k;
		c->out_last = k;
	}
	c->pending += n;
	return true;
}

/* Behind what weir__nats_room() made sure of; more than a chunk holds goes on in the next. False
 * when there is no memory for that: the connection is cut. */
bool weir__nats_put(struct weir__nats_conn *c, struct weir__nats_worker *w, const void *p, size_t n)
{
	const char *from = p;

	for (;;) {
		struct weir__nats_chunk *k = c->out_last;
		size_t fits = k->cap - k->len;

		if (n <= fits) {
			memcpy(k->data + k->len, from, n);
			k->len += (uint32_t)n;
			return true;
		}
		memcpy(k->data + k->len, from, fits);
		k->len += (uint32_t)fits;
		from += fits;
		n -= fits;
		k->next = chunk_get(c->server, w, false);
		if (!k->next) {
			weir__nats_cut(c, "no memory");
			return false;
		}
		c->out_last = k->next;
	}
}

void weir__nats_cut(struct weir__nats_conn *c, const char *why)
{
	if (c->cut)
		return;
	c->cut = true;
	c->why = why;
}

bool weir__nats_wants_flush(struct weir__nats_conn *c)
{
	if (c->queued || (c->blocked && !c->cut))
		return false;
	c->queued = true;
	return true;
}

void weir__nats_say(struct weir__nats_turn *t, const char *text, size_t n)
{
	struct weir__nats_conn *c = t->conn;
	bool flush;

	weir__lock_acquire(&c->lock);
	if (weir__nats_room(c, c->worker, n))
		weir__nats_put(c, c->worker, text, n);
	flush = weir__nats_wants_flush(c);
	weir__lock_release(&c->lock);
	if (flush)
		weir__nats_touch(t, c);
}

void weir__nats_sayf(struct weir__nats_turn *t, const char *fmt, ...)
{
	struct weir__buf b = WEIR__BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	weir__buf_vprintf(&b, fmt, ap);
	va_end(ap);
	if (!b.failed)
		weir__nats_say(t, b.data, b.len);
	weir__buf_free(&b);
}

/* ---- Out ---- */

static void writable(weir_conn *io, void *arg)
{
	struct weir__nats_conn *c = arg;

	(void)io;
	weir__lock_acquire(&c->lock);
	c->blocked = false;
	weir__lock_release(&c->lock);
	weir__nats_flush(c);
}

/* n bytes have left. */
static void written(struct weir__nats_conn *c, size_t n)
{
	while (n) {
		struct weir__nats_chunk *k = c->writing;
		size_t here = k->len - k->off;

		if (n < here) {
			k->off += (uint32_t)n;
			return;
		}
		n -= here;
		c->writing = k->next;
		chunk_put(c->worker, k);
	}
	if (!c->writing)
		c->writing_last = NULL;
}

static ssize_t write_some(struct weir__nats_conn *c)
{
	struct iovec iov[IOV_MAX_HERE];
	ssize_t r;
	int n = 0;

	for (struct weir__nats_chunk *k = c->writing; k && n < IOV_MAX_HERE; k = k->next)
		if (k->len > k->off)
			iov[n++] = (struct iovec){ k->data + k->off, k->len - k->off };
	if (n == 0)
		return 0;
	r = weir__conn_try_writev(c->io, iov, n);
	if (r > 0)
		written(c, (size_t)r);
	return r;
}

void weir__nats_wake_stalled(struct weir__nats_conn *c)
{
	struct weir__list wakes, *l;

	weir__list_init(&wakes);
	weir__lock_acquire(&c->lock);
	while ((l = weir__list_pop(&c->stalled)))
		if (weir__wait_claim(&weir__container(l, struct stalled, link)->wait, 1))
			weir__list_append(&wakes, l);
	weir__lock_release(&c->lock);
	while ((l = weir__list_pop(&wakes)))
		weir__wait_wake(&weir__container(l, struct stalled, link)->wait);
}

/* What was added goes behind what is being written. False: there is nothing to be done. */
static bool take_out(struct weir__nats_conn *c)
{
	bool go;

	weir__lock_acquire(&c->lock);
	go = (!c->blocked || c->cut) && c->state != WEIR__NATS_ENDED;
	if (go && c->out) {
		if (c->writing)
			c->writing_last->next = c->out;
		else
			c->writing = c->out;
		c->writing_last = c->out_last;
		c->out = c->out_last = NULL;
	}
	weir__lock_release(&c->lock);
	return go;
}

void weir__nats_flush(struct weir__nats_conn *c)
{
	bool cut, caught_up;
	size_t sum = 0;
	ssize_t r = 0;

	if (!take_out(c))
		return;
	while (c->writing && (r = write_some(c)) > 0)
		sum += (size_t)r;
	if (r == -EAGAIN && weir__conn_watch(c->io, WEIR__OUT, writable, c) < 0)
		r = -ENOMEM;
	weir__lock_acquire(&c->lock);
	c->pending -= sum;
	if (sum)
		c->progress_ns = weir__now_coarse();
	if (r < 0 && r != -EAGAIN)
		weir__nats_cut(c, "Write Error");
	c->blocked = r == -EAGAIN;
	cut = c->cut;
	caught_up = !weir__list_empty(&c->stalled) &&
	            (cut || c->pending <= c->server->opt.max_pending / 4);
	weir__lock_release(&c->lock);
	if (caught_up)
		weir__nats_wake_stalled(c);
	if (r != -EAGAIN) {
		c->stalled_ns = WEIR_NEVER;
	} else if (sum || c->stalled_ns == WEIR_NEVER) {
		c->stalled_ns = weir_now() + c->server->opt.write_ns;
		weir__nats_deadline(c);
	}
	/* A turn sees to this itself when it ends. */
	if (c->state == WEIR__NATS_TURN)
		return;
	if (cut)
		weir__nats_conn_end(c);
	else if (c->leave && c->state == WEIR__NATS_IDLE && !c->writing)
		weir__nats_conn_half_close(c);
}

static void flush_queued(struct weir__nats_conn *c)
{
	weir__lock_acquire(&c->lock);
	c->queued = false;
	weir__lock_release(&c->lock);
	weir__nats_flush(c);
	weir__nats_conn_unref(c);
}

static void flush_posted(struct weir__msg *m)
{
	flush_queued(weir__container(m, struct weir__nats_conn, flush_msg));
}

static void post(struct weir__nats_conn *c)
{
	c->flush_msg.fn = flush_posted;
	weir__post(c->worker_index, &c->flush_msg);
}

void weir__nats_touch(struct weir__nats_turn *t, struct weir__nats_conn *c)
{
	weir__nats_conn_ref(c);
	if (!t) {
		post(c);
		return;
	}
	c->touched_next = t->touched;
	t->touched = c;
}

void weir__nats_flush_touched(struct weir__nats_turn *t)
{
	struct weir__nats_conn *c;

	while ((c = t->touched)) {
		t->touched = c->touched_next;
		if (c->worker == t->conn->worker)
			flush_queued(c);
		else
			post(c);
	}
}

bool weir__nats_moves(const struct weir__nats_conn *c)
{
	return weir__now_coarse() - c->progress_ns < STILL_NS;
}

int weir__nats_stall(struct weir__nats_turn *t)
{
	struct weir__nats_conn *c = t->stall;
	weir_ctx soon = weir_ctx_timeout(t->ctx, STALL_NS);
	struct stalled me;
	int r = 0;

	t->stall = NULL;
	weir__lock_acquire(&c->lock);
	if (!c->cut && c->pending > c->server->opt.max_pending / 4 && weir__nats_moves(c)) {
		weir__wait_init(&me.wait);
		weir__list_append(&c->stalled, &me.link);
		weir__lock_release(&c->lock);
		r = weir__wait_park(&me.wait, &soon, "nats subscriber to catch up", c);
		weir__lock_acquire(&c->lock);
		if (weir__list_linked(&me.link))
			weir__list_remove(&me.link);
	}
	weir__lock_release(&c->lock);
	weir__nats_conn_unref(c);
	return r == -ECANCELED ? r : 0;
}
