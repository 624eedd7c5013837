/* SPDX-License-Identifier: MIT */
/*
 * Streams in memory: what two tasks of one program talk through, and the network of a simulation.
 *
 * A pair has two ends and two directions; a direction is a ring of at most 64 KiB, made at its
 * first byte. One lock guards both directions and what is said about the ends' waits and watches;
 * it is held while at most COPY_MAX bytes are copied.
 *
 * Waking. A change that could make a direction ready claims the waiting task, or sets the end's
 * `fire` bit for a watch and posts the end's one message; both are collected under the lock and
 * sent after it. MSG in the connection's state keeps the end alive while its message flies. After
 * quiet() an end asks for nothing, so nothing is posted to it any more; destroyed, it is forgotten
 * by the pair under the lock.
 *
 * Simulation. Bytes that arrive in an empty ring become visible later (`visible_ns`): a reader that
 * waits for them bounds its wait by that time, a watch arms a timer on its own worker. Reads and
 * writes are cut short by the oracle, and when asked for, an operation loses the connection: then
 * both ends get -ECONNRESET, whatever lay in the rings.
 *
 * Lock order: none of these locks is held while another is taken.
 */
#include "net/conn.h"

#include <weir/sim.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "net/mem.h"
#include "rt/sim.h"
#include "rt/timer.h"

enum { RING = 64 << 10, COPY_MAX = 16 << 10 };
enum { FIRE_IN = 1 << WEIR__IN, FIRE_OUT = 1 << WEIR__OUT, FIRE_GONE = 4 };

struct ring {
	char *data;
	uint32_t head, len;
	bool ended;  /* its writer sends no more */
	bool broken; /* its reader reads no more */
	int64_t visible_ns;
};

struct mem_conn;

struct mem_pair {
	weir__lock lock;
	int ends_alive;
	bool lost;
	struct ring to[2]; /* to[i] is read by end[i] */
	struct mem_conn *end[2];
};

struct mem_conn {
	weir_conn conn;
	struct mem_pair *pair;
	struct weir__timer timer; /* its worker's: a watch waits for bytes to become visible */
	struct weir__msg msg;
	int side;
	/* Guarded by the pair's lock: */
	int worker; /* -1 before the first wait */
	struct weir__wait *waiter[2];
	bool armed[2]; /* a watch waits */
	bool wants_gone, posted;
	uint8_t fire;
};

/* Who is to be woken once the lock is released: each end has at most a reader, a writer and a
 * message. */
struct wakes {
	struct weir__wait *wait[4];
	struct mem_conn *post[2];
	int waits, posts;
};

static weir_sim_net sim_net;
static uint64_t set_in; /* the simulation for which it was set */

void weir_sim_net_set(const weir_sim_net *net)
{
	sim_net = *net;
	set_in = weir__sim_runs;
}

/* A seed must not depend on what the simulation before it set. */
static const weir_sim_net *net_now(void)
{
	if (set_in != weir__sim_runs)
		weir_sim_net_set(&(weir_sim_net){ .latency_ns = WEIR_MS(1) });
	return &sim_net;
}

int64_t weir__mem_delay(void)
{
	if (!weir__simulating || net_now()->latency_ns < 1000)
		return 0;
	return WEIR_US(weir_random((uint32_t)(net_now()->latency_ns / 1000) + 1));
}

static size_t sim_part(size_t n)
{
	if (!weir__simulating || net_now()->whole || n < 2 || weir_random(2))
		return n;
	return 1 + weir_random((uint32_t)n);
}

static struct mem_conn *of(weir_conn *c)
{
	return (struct mem_conn *)c;
}

static struct ring *incoming(struct mem_conn *c)
{
	return &c->pair->to[c->side];
}

static struct ring *outgoing(struct mem_conn *c)
{
	return &c->pair->to[!c->side];
}

static bool shut_by_us(const struct mem_conn *c)
{
	return __atomic_load_n(&c->conn.state, __ATOMIC_ACQUIRE) & WEIR__CONN_SHUT;
}

/* ---- Waking; under the pair's lock until wake(). ---- */

static void fire(struct mem_conn *c, uint8_t bit, struct wakes *ws)
{
	c->fire |= bit;
	if (c->posted)
		return;
	c->posted = true;
	__atomic_fetch_or(&c->conn.state, WEIR__CONN_MSG, __ATOMIC_ACQ_REL);
	ws->post[ws->posts++] = c;
}

static void notify(struct mem_conn *c, enum weir__dir dir, struct wakes *ws)
{
	struct weir__wait *w;

	if (!c)
		return;
	w = c->waiter[dir];
	if (w) {
		c->waiter[dir] = NULL;
		if (weir__wait_claim(w, 1))
			ws->wait[ws->waits++] = w;
	}
	if (c->armed[dir]) {
		c->armed[dir] = false;
		fire(c, (uint8_t)(1 << dir), ws);
	}
}

static void notify_gone(struct mem_conn *c, struct wakes *ws)
{
	if (!c || !c->wants_gone)
		return;
	c->wants_gone = false;
	fire(c, FIRE_GONE, ws);
}

static void wake(const struct wakes *ws)
{
	for (int i = 0; i < ws->waits; i++)
		weir__wait_wake(ws->wait[i]);
	for (int i = 0; i < ws->posts; i++)
		weir__post(ws->post[i]->worker, &ws->post[i]->msg);
}

static bool ready(struct mem_conn *c, enum weir__dir dir)
{
	if (c->pair->lost || shut_by_us(c))
		return true;
	if (dir == WEIR__IN)
		return incoming(c)->len > 0 || incoming(c)->ended;
	return outgoing(c)->len < RING || outgoing(c)->ended || outgoing(c)->broken;
}

/* When what has arrived may be seen; only a simulation has a time later than now. */
static int64_t visible_at(struct mem_conn *c)
{
	return c->pair->lost || shut_by_us(c) ? 0 : incoming(c)->visible_ns;
}

static bool visible(struct mem_conn *c)
{
	int64_t at = visible_at(c);

	return at == 0 || weir_now() >= at;
}

/* The oracle may lose the connection at any operation on it. */
static void maybe_lose(struct mem_conn *c, struct wakes *ws)
{
	struct mem_pair *p = c->pair;

	if (!weir__simulating || !net_now()->loss || p->lost || weir_random(net_now()->loss))
		return;
	p->lost = true;
	for (int i = 0; i < 2; i++) {
		notify(p->end[i], WEIR__IN, ws);
		notify(p->end[i], WEIR__OUT, ws);
		notify_gone(p->end[i], ws);
	}
}

/* ---- Bytes ---- */

static size_t ring_take(struct ring *q, void *buf, size_t n)
{
	size_t first;

	n = n < q->len ? n : q->len;
	first = n < RING - q->head ? n : RING - q->head;
	memcpy(buf, q->data + q->head, first);
	memcpy((char *)buf + first, q->data, n - first);
	q->head = (uint32_t)((q->head + n) % RING);
	q->len -= (uint32_t)n;
	return n;
}

static void ring_put(struct ring *q, const void *buf, size_t n)
{
	size_t tail = (q->head + q->len) % RING;
	size_t first = n < RING - tail ? n : RING - tail;

	memcpy(q->data + tail, buf, first);
	memcpy(q->data, (const char *)buf + first, n - first);
	q->len += (uint32_t)n;
}

static ssize_t mem_try_read(weir_conn *conn, void *buf, size_t n)
{
	struct mem_conn *c = of(conn);
	struct mem_pair *p = c->pair;
	struct wakes ws = { 0 };
	struct ring *q = incoming(c);
	ssize_t got;

	weir__lock_acquire(&p->lock);
	maybe_lose(c, &ws);
	if (p->lost) {
		got = -ECONNRESET;
	} else if (q->len > 0 && visible(c)) {
		got = (ssize_t)ring_take(q, buf, sim_part(n < COPY_MAX ? n : COPY_MAX));
		notify(p->end[!c->side], WEIR__OUT, &ws);
	} else if (q->len == 0 && q->ended && visible(c)) {
		got = 0;
	} else {
		got = -EAGAIN;
	}
	weir__lock_release(&p->lock);
	wake(&ws);
	return got;
}

static ssize_t put_some(struct ring *q, const struct iovec *iov, int n)
{
	size_t room = RING - q->len, sent = 0;

	if (room == 0)
		return -EAGAIN;
	room = sim_part(room < COPY_MAX ? room : COPY_MAX);
	if (q->len == 0) {
		int64_t delay = weir__mem_delay();

		q->visible_ns = delay ? weir_now() + delay : 0;
	}
	for (int i = 0; i < n && sent < room; i++) {
		size_t part = iov[i].iov_len < room - sent ? iov[i].iov_len : room - sent;

		ring_put(q, iov[i].iov_base, part);
		sent += part;
	}
	return (ssize_t)sent;
}

static ssize_t mem_try_writev(weir_conn *conn, const struct iovec *iov, int n)
{
	struct mem_conn *c = of(conn);
	struct mem_pair *p = c->pair;
	struct wakes ws = { 0 };
	struct ring *q = outgoing(c);
	ssize_t sent;

	weir__lock_acquire(&p->lock);
	maybe_lose(c, &ws);
	if (!q->data)
		q->data = malloc(RING);
	if (p->lost) {
		sent = -ECONNRESET;
	} else if (q->broken || q->ended) {
		sent = -EPIPE;
	} else if (!q->data) {
		sent = -ENOMEM;
	} else {
		sent = put_some(q, iov, n);
		if (sent > 0)
			notify(p->end[!c->side], WEIR__IN, &ws);
	}
	weir__lock_release(&p->lock);
	wake(&ws);
	return sent;
}

/* ---- Waits and watches ---- */

static void settle(struct mem_conn *c)
{
	if (c->worker < 0)
		c->worker = weir_worker();
}

static int mem_wait(const weir_ctx *ctx, weir_conn *conn, enum weir__dir dir, const char *what)
{
	struct mem_conn *c = of(conn);
	struct mem_pair *p = c->pair;
	weir_ctx until = *ctx;
	struct weir__wait w;
	int64_t at = 0;
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	weir__wait_init(&w);
	weir__lock_acquire(&p->lock);
	settle(c);
	if (c->armed[dir]) {
		weir__lock_release(&p->lock);
		return -EBUSY;
	}
	if (ready(c, dir)) {
		if (dir == WEIR__OUT || visible(c)) {
			weir__lock_release(&p->lock);
			return 0;
		}
		at = visible_at(c);
		until = weir_ctx_deadline(ctx, at);
	}
	c->waiter[dir] = &w;
	weir__lock_release(&p->lock);

	r = weir__wait_park(&w, &until, what, c);
	if (r >= 0)
		return 0;
	weir__lock_acquire(&p->lock);
	if (c->waiter[dir] == &w)
		c->waiter[dir] = NULL;
	weir__lock_release(&p->lock);
	/* The end of our own bound is no end of the caller's. */
	return r == -ETIMEDOUT && at && ctx->deadline_ns > at ? 0 : r;
}

static void became_visible(struct weir__timer *t)
{
	struct mem_conn *c = weir__container(t, struct mem_conn, timer);
	bool armed;

	weir__lock_acquire(&c->pair->lock);
	armed = c->armed[WEIR__IN];
	c->armed[WEIR__IN] = false;
	weir__lock_release(&c->pair->lock);
	if (armed)
		weir__conn_fire(&c->conn, WEIR__IN);
}

/* Takes one thing to tell from the end, or, when there is none, ends its message. */
static uint8_t next_fire(struct mem_conn *c, bool *ret_last)
{
	uint8_t bit;

	weir__lock_acquire(&c->pair->lock);
	bit = c->fire & (uint8_t)-c->fire;
	c->fire ^= bit;
	if (bit == FIRE_IN && !visible(c)) {
		c->armed[WEIR__IN] = true;
		weir__timer_start(&c->timer, visible_at(c), became_visible);
		bit = 0;
	} else if (bit == FIRE_IN) {
		weir__timer_stop(&c->timer);
	}
	if (bit == 0 && c->fire == 0) {
		c->posted = false;
		*ret_last = weir__conn_leave(&c->conn, WEIR__CONN_MSG);
		bit = UINT8_MAX;
	}
	weir__lock_release(&c->pair->lock);
	return bit;
}

static void deliver(struct weir__msg *m)
{
	struct mem_conn *c = weir__container(m, struct mem_conn, msg);
	bool last = false;
	uint8_t bit;

	/* A callback may free the connection; MSG keeps it here until the loop ends, with nothing
	 * left to tell. */
	while ((bit = next_fire(c, &last)) != UINT8_MAX) {
		if (bit == FIRE_GONE)
			weir__conn_fire_gone(&c->conn);
		else if (bit)
			weir__conn_fire(&c->conn, bit == FIRE_IN ? WEIR__IN : WEIR__OUT);
	}
	if (last)
		weir__conn_destroy(&c->conn);
}

static int mem_watch(weir_conn *conn, enum weir__dir dir)
{
	struct mem_conn *c = of(conn);
	struct wakes ws = { 0 };
	int r = 0;

	weir__lock_acquire(&c->pair->lock);
	settle(c);
	if (c->waiter[dir])
		r = -EBUSY;
	else if (ready(c, dir))
		fire(c, (uint8_t)(1 << dir), &ws);
	else
		c->armed[dir] = true;
	weir__lock_release(&c->pair->lock);
	wake(&ws);
	return r;
}

static void mem_unwatch(weir_conn *conn, enum weir__dir dir)
{
	struct mem_conn *c = of(conn);

	weir__lock_acquire(&c->pair->lock);
	c->armed[dir] = false;
	c->fire = (uint8_t)(c->fire & ~(1u << dir));
	weir__lock_release(&c->pair->lock);
	if (dir == WEIR__IN && weir__timer_armed(&c->timer))
		weir__timer_stop(&c->timer);
}

static int mem_attach(weir_conn *conn)
{
	struct mem_conn *c = of(conn);
	bool left;

	weir__lock_acquire(&c->pair->lock);
	settle(c);
	left = incoming(c)->ended || c->pair->lost;
	c->wants_gone = !left;
	weir__lock_release(&c->pair->lock);
	return left;
}

static void mem_quiet(weir_conn *conn)
{
	struct mem_conn *c = of(conn);

	weir__lock_acquire(&c->pair->lock);
	c->armed[WEIR__IN] = c->armed[WEIR__OUT] = c->wants_gone = false;
	c->fire = 0;
	weir__lock_release(&c->pair->lock);
	if (weir__timer_armed(&c->timer))
		weir__timer_stop(&c->timer);
}

/* ---- The end ---- */

static void end_outgoing(struct mem_conn *c, struct wakes *ws)
{
	struct mem_conn *peer = c->pair->end[!c->side];
	struct ring *q = outgoing(c);

	if (q->ended)
		return;
	q->ended = true;
	if (q->len == 0) {
		int64_t delay = weir__mem_delay();

		q->visible_ns = delay ? weir_now() + delay : 0;
	}
	notify(peer, WEIR__IN, ws);
	notify_gone(peer, ws);
}

static void mem_shut_write(weir_conn *conn)
{
	struct mem_conn *c = of(conn);
	struct wakes ws = { 0 };

	weir__lock_acquire(&c->pair->lock);
	end_outgoing(c, &ws);
	notify(c, WEIR__OUT, &ws);
	weir__lock_release(&c->pair->lock);
	wake(&ws);
}

static void mem_shut(weir_conn *conn)
{
	struct mem_conn *c = of(conn);
	struct wakes ws = { 0 };

	weir__lock_acquire(&c->pair->lock);
	end_outgoing(c, &ws);
	incoming(c)->broken = true;
	notify(c->pair->end[!c->side], WEIR__OUT, &ws);
	notify(c, WEIR__IN, &ws);
	notify(c, WEIR__OUT, &ws);
	weir__lock_release(&c->pair->lock);
	wake(&ws);
}

static int mem_worker(const weir_conn *conn)
{
	struct mem_conn *c = of((weir_conn *)(uintptr_t)conn);
	int worker;

	weir__lock_acquire(&c->pair->lock);
	worker = c->worker;
	weir__lock_release(&c->pair->lock);
	return worker;
}

static void mem_destroy(weir_conn *conn)
{
	struct mem_conn *c = of(conn);
	struct mem_pair *p = c->pair;
	int alive;

	weir__lock_acquire(&p->lock);
	p->end[c->side] = NULL;
	alive = --p->ends_alive;
	weir__lock_release(&p->lock);
	if (alive == 0) {
		free(p->to[0].data);
		free(p->to[1].data);
		free(p);
	}
	free(c);
}

static const struct weir__conn_ops mem_ops = {
	.try_read = mem_try_read,
	.try_writev = mem_try_writev,
	.wait = mem_wait,
	.watch = mem_watch,
	.unwatch = mem_unwatch,
	.attach = mem_attach,
	.quiet = mem_quiet,
	.shut_write = mem_shut_write,
	.shut = mem_shut,
	.worker = mem_worker,
	.destroy = mem_destroy,
};

int weir__mem_pair(const char *name, weir_conn *ret[2])
{
	struct mem_pair *p = calloc(1, sizeof *p);
	struct mem_conn *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);

	if (!p || !a || !b) {
		free(p);
		free(a);
		free(b);
		return -ENOMEM;
	}
	p->ends_alive = 2;
	p->end[0] = a;
	p->end[1] = b;
	for (int i = 0; i < 2; i++) {
		struct mem_conn *c = p->end[i];

		weir__conn_init(&c->conn, &mem_ops);
		snprintf(c->conn.peer, sizeof c->conn.peer, "mem:%s", name);
		c->pair = p;
		c->side = i;
		c->worker = -1;
		c->msg.fn = deliver;
		ret[i] = &c->conn;
	}
	return 0;
}

int weir_conn_pair(weir_conn **ret_a, weir_conn **ret_b)
{
	weir_conn *ends[2];
	int r = weir__mem_pair("pair", ends);

	if (r < 0)
		return r;
	*ret_a = ends[0];
	*ret_b = ends[1];
	return 0;
}
