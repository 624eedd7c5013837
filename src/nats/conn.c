/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection. Its task starts on the worker it was given to, says INFO, and reads and
 * obeys until there is nothing more to read: a turn. Then the task ends, and the connection is a
 * record with a watch, until bytes come. So an idle client costs no stack and no buffer, and a turn
 * may still wait: for a subscription of this process that makes publishers wait, or for a
 * subscriber that lags behind.
 *
 * A turn reads into a block of its worker's; what is left of a frame that is not there as a whole
 * stays behind: a few bytes in a piece of memory of their size, more in a block of twice theirs,
 * which grows as bytes arrive and not as they are announced.
 *
 * The end has three forms. A cut (weir__nats_cut) comes from anywhere and ends the connection at
 * once. A leave, after an error or in a drain, writes what is there, shuts the sending side, and
 * discards what still comes for a moment, so that the client can read the last line. An end of
 * stream from the client ends it. A connection that is in a turn is ended by the turn.
 *
 * The timer is lazy: armed for the earliest of its deadlines, and again when that has moved.
 */
#include "nats/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/conn.h"

enum { CARRY_MAX = 4096, ROUNDS_LAST = 256, DISCARD_READS = 256 };

#define LINGER_NS     WEIR_SEC(1)
#define LAST_WRITE_NS WEIR_SEC(5)

static weir_task_fn conn_task;

/* ---- Blocks ---- */

static struct weir__nats_block *block_new(size_t cap)
{
	struct weir__nats_block *b = malloc(sizeof *b + cap);

	if (!b)
		return NULL;
	b->cap = cap;
	b->len = b->pos = 0;
	return b;
}

static struct weir__nats_block *block_get(struct weir__nats_worker *w)
{
	struct weir__nats_block *b = w->blocks;

	if (!b)
		return block_new(WEIR__NATS_BLOCK);
	w->blocks = b->next;
	w->block_count--;
	b->len = b->pos = 0;
	return b;
}

static void block_put(struct weir__nats_worker *w, struct weir__nats_block *b)
{
	if (!b)
		return;
	if (b->cap != WEIR__NATS_BLOCK || w->block_count == WEIR__NATS_BLOCKS) {
		free(b);
		return;
	}
	b->next = w->blocks;
	w->blocks = b;
	w->block_count++;
}

/* The block for a turn, with what was left by the last one. */
static bool open_block(struct weir__nats_conn *c)
{
	if (c->block)
		return true;
	c->block = block_get(c->worker);
	if (!c->block)
		return false;
	if (c->carry_len) {
		memcpy(c->block->data, c->carry, c->carry_len);
		c->block->len = c->carry_len;
		free(c->carry);
		c->carry = NULL;
		c->carry_len = 0;
	}
	return true;
}

static void close_block(struct weir__nats_conn *c)
{
	struct weir__nats_block *b = c->block, *more;
	size_t left = b->len - b->pos;

	/* Twice what there is, so that the next bytes fit, and little is copied for each. */
	if (left > CARRY_MAX) {
		more = left < b->cap / 4 ? block_new(2 * left) : NULL;
		if (!more)
			return;
		memcpy(more->data, b->data + b->pos, left);
		more->len = left;
		c->block = more;
		block_put(c->worker, b);
		return;
	}
	if (left) {
		c->carry = malloc(left);
		if (!c->carry)
			return;
		memcpy(c->carry, b->data + b->pos, left);
		c->carry_len = (uint32_t)left;
	}
	c->block = NULL;
	block_put(c->worker, b);
}

/* The rest of a frame to the front, and room behind it: at least a little, at most for `need`
 * bytes. */
static bool make_room(struct weir__nats_conn *c, size_t need)
{
	struct weir__nats_block *b = c->block, *more;
	size_t left = b->len - b->pos, cap;

	if (b->pos && left)
		memmove(b->data, b->data + b->pos, left);
	b->len = left;
	b->pos = 0;
	if (need <= b->cap || left < b->cap)
		return true;
	cap = need < 2 * b->cap ? need : 2 * b->cap;
	more = block_new(cap);
	if (!more)
		return false;
	memcpy(more->data, b->data, left);
	more->len = left;
	c->block = more;
	block_put(c->worker, b);
	return true;
}

/* ---- Time ---- */

static void fire(struct weir__timer *t);

void weir__nats_deadline(struct weir__nats_conn *c)
{
	const int64_t at[] = { c->signin_ns, c->ping_ns, c->stalled_ns, c->linger_ns };

	c->deadline_ns = WEIR_NEVER;
	for (size_t i = 0; i < sizeof at / sizeof *at; i++)
		if (at[i] < c->deadline_ns)
			c->deadline_ns = at[i];
	if (c->deadline_ns != WEIR_NEVER &&
	    (!weir__timer_armed(&c->timer) || c->timer.at_ns > c->deadline_ns))
		weir__timer_start(&c->timer, c->deadline_ns, fire);
}

static void begin_leave(struct weir__nats_conn *c)
{
	int64_t last = weir_now() + LAST_WRITE_NS;
	bool pending;

	c->leave = true;
	weir__nats_conn_ref(c);
	weir__conn_unwatch(c->io, WEIR__IN);
	weir__nats_flush(c);
	if (c->state == WEIR__NATS_IDLE) {
		weir__lock_acquire(&c->lock);
		pending = c->pending > 0;
		weir__lock_release(&c->lock);
		if (pending && c->stalled_ns > last)
			c->stalled_ns = last;
		weir__nats_deadline(c);
	}
	weir__nats_conn_unref(c);
}

/* From outside of a turn, by who holds a reference: the last words. */
static void refuse(struct weir__nats_conn *c, const char *why)
{
	struct weir__nats_turn t = { .conn = c };

	weir__lock_acquire(&c->lock);
	if (c->state == WEIR__NATS_TURN)
		weir__nats_cut(c, why);
	weir__lock_release(&c->lock);
	if (c->state != WEIR__NATS_IDLE || c->leave)
		return;
	weir__nats_sayf(&t, "-ERR '%s'\r\n", why);
	weir__nats_flush_touched(&t);
	if (c->state == WEIR__NATS_IDLE)
		begin_leave(c);
}

static void ping(struct weir__nats_conn *c, int64_t now)
{
	const weir_nats_options *o = &c->server->opt;
	int64_t active = __atomic_load_n(&c->active_ns, __ATOMIC_RELAXED);
	struct weir__nats_turn t = { .conn = c };

	if (now - active < o->ping_ns) {
		c->ping_ns = active + o->ping_ns;
		return;
	}
	if (c->pings_out >= o->ping_max) {
		__atomic_fetch_add(&c->server->stale, 1, __ATOMIC_RELAXED);
		c->ping_ns = WEIR_NEVER;
		refuse(c, "Stale Connection");
		return;
	}
	c->pings_out++;
	c->ping_ns = now + o->ping_ns;
	weir__nats_say(&t, "PING\r\n", 6);
	weir__nats_flush_touched(&t);
}

static void fire(struct weir__timer *timer)
{
	struct weir__nats_conn *c = weir__container(timer, struct weir__nats_conn, timer);
	int64_t now = weir_now();

	weir__nats_conn_ref(c);
	if (c->linger_ns <= now) {
		weir__nats_conn_end(c);
	} else if (c->stalled_ns <= now) {
		c->stalled_ns = WEIR_NEVER;
		__atomic_fetch_add(&c->server->slow, 1, __ATOMIC_RELAXED);
		weir__lock_acquire(&c->lock);
		weir__nats_cut(c, weir__nats_slow);
		weir__lock_release(&c->lock);
		weir__nats_conn_end(c);
	} else if (c->signin_ns <= now) {
		c->signin_ns = WEIR_NEVER;
		refuse(c, "Authentication Timeout");
	} else if (c->ping_ns <= now) {
		ping(c, now);
	}
	if (c->state != WEIR__NATS_ENDED)
		weir__nats_deadline(c);
	weir__nats_conn_unref(c);
}

/* ---- A turn ---- */

static const char *wrong(ssize_t r)
{
	switch (r) {
	case WEIR__NATS_ARGS:
		return "Parser Error";
	case WEIR__NATS_LINE:
		return "maximum control line exceeded";
	case WEIR__NATS_PAYLOAD:
		return "Maximum Payload Violation";
	case WEIR__NATS_IMPATIENT:
		return "Authorization Violation";
	default:
		return "Unknown Protocol Operation";
	}
}

/* NULL, or with which -ERR it ends ("": without one). */
static const char *obey(struct weir__nats_turn *t, const struct weir__nats_frame *f)
{
	switch (f->op) {
	case WEIR__NATS_PUB:
		weir__nats_publish(t, f);
		return NULL;
	case WEIR__NATS_SUB:
		weir__nats_sub(t, f);
		return NULL;
	case WEIR__NATS_UNSUB:
		weir__nats_unsub(t, f);
		return NULL;
	case WEIR__NATS_PING:
		weir__nats_say(t, "PONG\r\n", 6);
		return NULL;
	case WEIR__NATS_CONNECT:
		return weir__nats_connect(t, f);
	case WEIR__NATS_PONG:
	case WEIR__NATS_OK:
		return NULL;
	case WEIR__NATS_ERROR:
		return "";
	}
	return "Unknown Protocol Operation";
}

/* All frames that are there. True: goes on, *ret_need bytes are the next frame at least. */
static bool obey_all(struct weir__nats_turn *t, size_t *ret_need)
{
	struct weir__nats_conn *c = t->conn;
	struct weir__nats_block *b = c->block;
	struct weir__nats_limits limits = { .line = c->server->opt.max_control_line,
		                            .payload = c->server->opt.max_payload };
	struct weir__nats_frame f;
	const char *why = NULL;
	ssize_t r = 0;

	while (!why) {
		limits.connect_first = c->must_sign_in;
		r = weir__nats_parse(&limits, b->data + b->pos, b->len - b->pos, &f, ret_need);
		if (r <= 0)
			break;
		b->pos += (size_t)r;
		why = obey(t, &f);
	}
	if (r < 0)
		why = wrong(r);
	if (why && *why)
		weir__nats_sayf(t, "-ERR '%s'\r\n", why);
	return !why;
}

static bool is_cut(struct weir__nats_conn *c)
{
	bool cut;

	weir__lock_acquire(&c->lock);
	cut = c->cut;
	weir__lock_release(&c->lock);
	return cut;
}

enum verdict { KEEP, LEAVE, END };

/* A short read from a socket has emptied it, and more would be a new event; only of an end that was
 * seen already there is none. */
static enum verdict turn(const weir_ctx *ctx, struct weir__nats_conn *c)
{
	struct weir__nats_turn t = { .ctx = ctx, .conn = c };
	enum verdict v = KEEP;
	size_t need = 1;

	if (!open_block(c))
		return END;
	for (int round = 0; v == KEEP; round++) {
		struct weir__nats_block *b;
		size_t room;
		ssize_t got;

		if (!make_room(c, need))
			v = END;
		b = c->block;
		room = b->cap - b->len;
		got = v == KEEP ? weir__conn_try_read(c->io, b->data + b->len, room) : -ENOMEM;
		if (got == -EAGAIN)
			break;
		if (got <= 0) {
			v = END;
			break;
		}
		b->len += (size_t)got;
		c->pings_out = 0;
		__atomic_store_n(&c->active_ns, weir__now_coarse(), __ATOMIC_RELAXED);
		if (!obey_all(&t, &need))
			v = LEAVE;
		weir__nats_flush_touched(&t);
		weir__nats_count(&t);
		if (is_cut(c) || (t.stall && weir__nats_stall(&t) < 0))
			v = END;
		if (v != KEEP || (c->plain && !c->peer_left && (size_t)got < room))
			break;
		if (weir_yield(ctx) < 0 || (c->leave && round > ROUNDS_LAST))
			v = END;
	}
	weir__nats_flush_touched(&t);
	weir__nats_count(&t);
	if (t.stall)
		weir__nats_conn_unref(t.stall);
	if (c->block)
		close_block(c);
	return v == KEEP && c->leave ? LEAVE : v;
}

static void readable(weir_conn *io, void *arg)
{
	struct weir__nats_conn *c = arg;

	(void)io;
	c->state = WEIR__NATS_TURN;
	if (weir_group_go_on(&c->serving->conns, c->worker_index, conn_task, c) < 0) {
		c->state = WEIR__NATS_IDLE;
		weir__nats_conn_end(c);
	}
}

static void go_idle(struct weir__nats_conn *c)
{
	c->state = WEIR__NATS_IDLE;
	if (is_cut(c) || weir__conn_watch(c->io, WEIR__IN, readable, c) < 0)
		weir__nats_conn_end(c);
}

static void peer_left(weir_conn *io, void *arg)
{
	struct weir__nats_conn *c = arg;

	(void)io;
	c->peer_left = true;
}

static int say_info(struct weir__nats_conn *c, bool lame)
{
	struct weir__nats_turn t = { .conn = c };
	struct weir__buf b = WEIR__BUF_INIT;
	int r;

	weir__nats_info(c, lame, &b);
	r = b.failed ? -ENOMEM : 0;
	if (r == 0)
		weir__nats_say(&t, b.data, b.len);
	weir__buf_free(&b);
	weir__nats_flush_touched(&t);
	return r;
}

/* The handshake comes behind INFO, unless it is to come first. */
static int greet(const weir_ctx *ctx, struct weir__nats_conn *c)
{
	static const char no_tls[] = "-ERR 'Secure Connection - TLS Required'\r\n";
	weir_tls *tls = c->serving->tls;
	bool first = tls && c->server->opt.tls_first;
	int r = 0;

	if (!first)
		r = say_info(c, false);
	if (r == 0 && tls) {
		c->plain = false;
		r = weir_tls_accept(ctx, tls, &c->io);
		if (r == -EPROTOTYPE)
			(void)weir_conn_write(ctx, c->io, no_tls, sizeof no_tls - 1);
	}
	if (r == 0 && first)
		r = say_info(c, false);
	return r;
}

/* False: it did not get as far as that. */
static bool begin(const weir_ctx *ctx, struct weir__nats_conn *c)
{
	int64_t now = weir_now();
	int r;

	c->start_ns = now;
	c->active_ns = c->progress_ns = now;
	c->must_sign_in = c->server->opt.sign_in != NULL;
	if (greet(ctx, c) < 0 || is_cut(c))
		return false;
	if (c->must_sign_in)
		c->signin_ns = weir_now() + c->server->opt.auth_ns;
	c->ping_ns = now + c->server->opt.ping_ns;
	weir__nats_deadline(c);
	r = weir__conn_on_gone(c->io, peer_left, c);
	c->peer_left = r > 0;
	weir__lock_acquire(&c->worker->lock);
	weir__list_append(&c->worker->conns, &c->link);
	weir__lock_release(&c->worker->lock);
	/* The order to leave may have come before it was on the list. */
	c->leave = __atomic_load_n(&c->serving->leaving, __ATOMIC_SEQ_CST);
	return r >= 0;
}

static int conn_task(const weir_ctx *ctx, void *arg)
{
	struct weir__nats_conn *c = arg;
	enum verdict v = END;

	if (weir__list_linked(&c->link) || begin(ctx, c))
		v = turn(ctx, c);
	if (v == KEEP) {
		go_idle(c);
		return 0;
	}
	c->state = WEIR__NATS_IDLE;
	if (v == LEAVE)
		begin_leave(c);
	else
		weir__nats_conn_end(c);
	return 0;
}

/* ---- Beginning and end ---- */

void weir__nats_conn_start(struct weir__nats_serving *sv, weir_conn *io)
{
	weir_nats_server *n = sv->server;
	struct weir__nats_conn *c = calloc(1, sizeof *c);
	int best = 0;

	if (!c || weir_group_hold(&sv->conns) < 0) {
		free(c);
		weir_conn_free(io);
		__atomic_sub_fetch(&n->conns, 1, __ATOMIC_RELAXED);
		return;
	}
	for (int i = 1; i < n->worker_count; i++)
		if (__atomic_load_n(&n->workers[i].conn_count, __ATOMIC_RELAXED) <
		    __atomic_load_n(&n->workers[best].conn_count, __ATOMIC_RELAXED))
			best = i;
	c->magic = WEIR__NATS_CONN_MAGIC;
	c->refs = 1;
	c->serving = sv;
	c->server = n;
	c->io = io;
	c->worker_index = (int16_t)best;
	c->worker = &n->workers[best];
	c->id = __atomic_add_fetch(&n->last_id, 1, __ATOMIC_RELAXED);
	c->plain = true;
	c->verbose = c->pedantic = c->echo = true;
	c->signin_ns = c->ping_ns = c->stalled_ns = c->linger_ns = WEIR_NEVER;
	c->rights = n->anybody;
	if (c->rights)
		weir__rights_ref(c->rights);
	memcpy(c->subs.seed, n->seed, sizeof c->subs.seed);
	weir__nats_random_text(c->nonce, WEIR__NATS_NONCE);
	weir__list_init(&c->stalled);
	__atomic_add_fetch(&c->worker->conn_count, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&sv->count, 1, __ATOMIC_RELAXED);
	if (weir_group_go_on(&sv->conns, best, conn_task, c) < 0) {
		c->state = WEIR__NATS_IDLE;
		weir__nats_conn_end(c);
	}
}

void weir__nats_conn_end(struct weir__nats_conn *c)
{
	struct weir__nats_serving *sv = c->serving;
	weir_group *group = &sv->conns;
	weir_nats_server *n = c->server;
	struct weir__rights *rights;
	bool leaving;

	weir__magic_check(c, WEIR__NATS_CONN_MAGIC);
	weir__lock_acquire(&c->lock);
	weir__nats_cut(c, "Client Closed");
	weir__lock_release(&c->lock);
	if (c->state == WEIR__NATS_TURN || c->state == WEIR__NATS_ENDED)
		return;
	if (c->why == weir__nats_slow)
		weir__log_rare(WEIR__WARN, "nats", "%s is cut: it takes too little",
		               weir_conn_peer(c->io));
	c->state = WEIR__NATS_ENDED;
	if (weir__list_linked(&c->link)) {
		weir__lock_acquire(&c->worker->lock);
		weir__list_remove(&c->link);
		weir__lock_release(&c->worker->lock);
	}
	weir__timer_stop(&c->timer);
	weir__nats_unsub_all(c);
	weir_conn_free(c->io);
	c->io = NULL;
	weir__nats_wake_stalled(c);
	weir__lock_acquire(&c->lock);
	__atomic_fetch_add(&n->lost, weir__nats_drop_out(c), __ATOMIC_RELAXED);
	rights = c->rights;
	c->rights = NULL;
	weir__lock_release(&c->lock);
	weir__rights_unref(rights);
	block_put(c->worker, c->block);
	c->block = NULL;
	__atomic_sub_fetch(&c->worker->conn_count, 1, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&n->conns, 1, __ATOMIC_RELAXED);
	leaving = __atomic_load_n(&sv->leaving, __ATOMIC_SEQ_CST);
	if (leaving)
		__atomic_fetch_add(c->leave ? &n->ended_in_drain : &n->left_in_drain, 1,
		                   __ATOMIC_RELAXED);
	weir__nats_conn_unref(c);
	weir__nats_serving_less(sv);
	weir_group_release(group);
}

void weir__nats_conn_unref(struct weir__nats_conn *c)
{
	if (__atomic_fetch_sub(&c->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	weir__nats_drop_out(c);
	weir__hash_free(&c->subs);
	free(c->client);
	free(c->carry);
	c->magic = 0;
	free(c);
}

/* ---- Leaving ---- */

void weir__nats_conn_lame(struct weir__nats_conn *c)
{
	if (c->protocol >= 1 && !c->leave && !c->must_sign_in)
		(void)say_info(c, true);
}

/* One more turn, for what has arrived. */
void weir__nats_conn_leave(struct weir__nats_conn *c)
{
	if (c->leave)
		return;
	c->leave = true;
	if (c->state != WEIR__NATS_IDLE)
		return;
	weir__conn_unwatch(c->io, WEIR__IN);
	readable(c->io, c);
}

static void discard(weir_conn *io, void *arg)
{
	struct weir__nats_conn *c = arg;
	char buf[4096];
	ssize_t r = 1;

	/* Who sends faster than this reads would have the worker to itself, and is not
	 * listening. */
	for (int i = 0; r > 0 && i < DISCARD_READS; i++)
		r = weir__conn_try_read(io, buf, sizeof buf);
	if (r != -EAGAIN || weir__conn_watch(io, WEIR__IN, discard, c) < 0)
		weir__nats_conn_end(c);
}

void weir__nats_conn_half_close(struct weir__nats_conn *c)
{
	c->state = WEIR__NATS_LINGER;
	c->linger_ns = weir_now() + LINGER_NS;
	c->ping_ns = c->signin_ns = WEIR_NEVER;
	weir__nats_unsub_all(c);
	weir_conn_shutdown_write(c->io);
	weir__nats_deadline(c);
	discard(c->io, c);
}

void weir__nats_conn_renew(struct weir__nats_conn *c, struct weir__rights *rights)
{
	struct weir__nats_turn t = { .conn = c };
	struct weir__rights *old;

	if (!rights) {
		refuse(c, "User Authentication Revoked");
		return;
	}
	weir__lock_acquire(&c->lock);
	old = c->rights;
	c->rights = rights;
	weir__lock_release(&c->lock);
	weir__rights_unref(old);
	weir__nats_unsub_denied(&t);
	weir__nats_flush_touched(&t);
}
