/* SPDX-License-Identifier: MIT */
/*
 * A client's subscriptions: a table by sid in the connection, and a target each in the bus's index.
 *
 * References: one of the table, one of the index, those of publishers and of what a worker
 * remembers of a subject. Each holds its connection's memory. Whoever takes it out of the table
 * (UNSUB, the last of `max` messages on any worker, the connection's end) drops the table's
 * reference; `closed` makes what was found before that refuse the message.
 */
#include "nats/server.h"

#include <stdlib.h>
#include <string.h>

static struct weir__nats_sub *of(struct weir__target *t)
{
	return weir__container(t, struct weir__nats_sub, target);
}

static void sub_free(struct weir__target *t)
{
	struct weir__nats_sub *s = of(t);

	weir__nats_conn_unref(s->conn);
	free(s);
}

/* With the lock. */
static struct weir__nats_sub *find(struct weir__nats_conn *c, const struct weir__nats_text *sid)
{
	weir__hash_each (x, &c->subs, weir__hash(c->subs.seed, sid->at, sid->len)) {
		struct weir__nats_sub *s = weir__container(x, struct weir__nats_sub, node);

		if (s->sid_len == sid->len && !memcmp(s->sid, sid->at, sid->len))
			return s;
	}
	return NULL;
}

static struct weir__nats_sub *sub_new(struct weir__nats_conn *c, const struct weir__nats_frame *f)
{
	size_t size = f->subject.len + f->sid.len + f->queue.len + 3;
	struct weir__nats_sub *s = calloc(1, sizeof *s + size);
	char *at;

	if (!s)
		return NULL;
	at = s->text;
	s->subject = memcpy(at, f->subject.at, f->subject.len);
	at += f->subject.len + 1;
	s->sid = memcpy(at, f->sid.at, f->sid.len);
	s->sid_len = (uint16_t)f->sid.len;
	at += f->sid.len + 1;
	if (f->queue.at)
		s->target.queue = memcpy(at, f->queue.at, f->queue.len);
	s->target.ops = &weir__nats_target_ops;
	s->target.refs = 1;
	s->conn = c;
	weir__nats_conn_ref(c);
	return s;
}

/* Said once what is wrong. */
static bool may_sub(struct weir__nats_turn *t, const struct weir__nats_frame *f)
{
	struct weir__nats_conn *c = t->conn;
	size_t max = c->server->opt.max_subs;

	if (strlen(f->subject.at) != f->subject.len || !weir_subject_valid(f->subject.at, true) ||
	    (f->queue.at && strlen(f->queue.at) != f->queue.len)) {
		weir__nats_sayf(t, "-ERR 'Invalid Subject'\r\n");
		return false;
	}
	if (!weir__rights_subscribe(c->rights, f->subject.at)) {
		if (f->queue.at)
			weir__nats_sayf(t,
			                "-ERR 'Permissions Violation for Subscription to \"%s\" "
			                "using queue \"%s\"'\r\n",
			                f->subject.at, f->queue.at);
		else
			weir__nats_sayf(
				t, "-ERR 'Permissions Violation for Subscription to \"%s\"'\r\n",
				f->subject.at);
		return false;
	}
	if (c->sub_count >= max) {
		weir__nats_sayf(t, "-ERR 'maximum subscriptions exceeded'\r\n");
		return false;
	}
	return true;
}

void weir__nats_sub(struct weir__nats_turn *t, const struct weir__nats_frame *f)
{
	struct weir__nats_conn *c = t->conn;
	struct weir__nats_sub *s;
	bool known;

	if (!may_sub(t, f))
		return;
	s = sub_new(c, f);
	if (!s) {
		weir__nats_sayf(t, "-ERR 'no memory'\r\n");
		return;
	}
	weir__lock_acquire(&c->lock);
	known = find(c, &f->sid) != NULL;
	if (!known) {
		weir__hash_add(&c->subs, &s->node, weir__hash(c->subs.seed, s->sid, s->sid_len));
		c->sub_count++;
	}
	weir__lock_release(&c->lock);
	if (known) { /* As nats-server: the first one stays. */
		weir__target_unref(&s->target);
	} else {
		__atomic_fetch_add(&c->server->subs, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&c->server->inserts, 1, __ATOMIC_RELAXED);
		if (weir__broker_add(c->server->broker, &s->target, s->subject) < 0) {
			weir__nats_sub_close(s);
			weir__nats_sayf(t, "-ERR 'no memory'\r\n");
			return;
		}
	}
	if (c->verbose)
		weir__nats_say(t, "+OK\r\n", 5);
}

void weir__nats_sub_close(struct weir__nats_sub *s)
{
	struct weir__nats_conn *c = s->conn;
	weir_nats_server *n = c->server;
	bool ours;

	weir__lock_acquire(&c->lock);
	s->closed = true;
	ours = find(c, &(struct weir__nats_text){ (char *)(uintptr_t)s->sid, s->sid_len }) == s;
	if (ours) {
		weir__hash_remove(&c->subs, &s->node);
		c->sub_count--;
	}
	weir__lock_release(&c->lock);
	if (!ours)
		return;
	weir__broker_remove(n->broker, &s->target);
	__atomic_fetch_sub(&n->subs, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&n->removes, 1, __ATOMIC_RELAXED);
	weir__target_unref(&s->target);
}

void weir__nats_unsub(struct weir__nats_turn *t, const struct weir__nats_frame *f)
{
	struct weir__nats_conn *c = t->conn;
	struct weir__nats_sub *s;
	bool over = false;

	weir__lock_acquire(&c->lock);
	s = find(c, &f->sid);
	if (s) {
		s->max = f->max;
		over = s->delivered >= f->max; /* 0: at once */
		weir__target_ref(&s->target);
	}
	weir__lock_release(&c->lock);
	if (s) {
		if (over)
			weir__nats_sub_close(s);
		weir__target_unref(&s->target);
	}
	if (c->verbose)
		weir__nats_say(t, "+OK\r\n", 5);
}

/* One from the table, looked for from chain *at on, with a reference; NULL: it is empty. */
static struct weir__nats_sub *any(struct weir__nats_conn *c, size_t *at)
{
	struct weir__nats_sub *s = NULL;
	struct weir__hash_node *x;

	weir__lock_acquire(&c->lock);
	for (x = c->subs.one; c->subs.n && c->subs.cap; ++*at) {
		*at &= c->subs.cap - 1;
		x = c->subs.v[*at];
		if (x)
			break;
	}
	if (c->subs.n) {
		s = weir__container(x, struct weir__nats_sub, node);
		weir__target_ref(&s->target);
	}
	weir__lock_release(&c->lock);
	return s;
}

void weir__nats_unsub_all(struct weir__nats_conn *c)
{
	struct weir__nats_sub *s;
	size_t at = 0;

	while ((s = any(c, &at))) {
		weir__nats_sub_close(s);
		weir__target_unref(&s->target);
	}
}

struct place {
	size_t chain, cap;
};

/* The next that the connection's rights do not cover any more, with a reference. One at a time,
 * since the table changes meanwhile; from the chain of the last one on, unless the table has
 * shrunk. */
static struct weir__nats_sub *denied(struct weir__nats_conn *c, struct place *at)
{
	struct weir__nats_sub *found = NULL;

	weir__lock_acquire(&c->lock);
	if (at->cap != c->subs.cap)
		*at = (struct place){ 0, c->subs.cap };
	for (size_t chains = at->cap ? at->cap : 1; at->chain < chains; at->chain++) {
		struct weir__hash_node *x = at->cap ? c->subs.v[at->chain] : c->subs.one;

		for (; x && !found; x = x->next) {
			struct weir__nats_sub *s = weir__container(x, struct weir__nats_sub, node);

			if (!weir__rights_subscribe(c->rights, s->subject))
				found = s;
		}
		if (found)
			break;
	}
	if (found)
		weir__target_ref(&found->target);
	weir__lock_release(&c->lock);
	return found;
}

void weir__nats_unsub_denied(struct weir__nats_turn *t)
{
	struct weir__nats_sub *s;
	struct place at = { 0 };

	while ((s = denied(t->conn, &at))) {
		weir__nats_sayf(t, "-ERR 'Permissions Violation for Subscription to \"%s\"'\r\n",
		                s->subject);
		weir__nats_sub_close(s);
		weir__target_unref(&s->target);
	}
}

void weir__nats_subs_json(struct weir__nats_conn *c, struct weir__buf *b)
{
	size_t chains, n = 0;

	weir__lock_acquire(&c->lock);
	chains = c->subs.cap ? c->subs.cap : 1;
	for (size_t i = 0; i < chains && n < WEIR__NATS_SUBS_SHOWN; i++)
		for (struct weir__hash_node *x = c->subs.cap ? c->subs.v[i] : c->subs.one;
		     x && n < WEIR__NATS_SUBS_SHOWN; x = x->next, n++) {
			struct weir__nats_sub *s = weir__container(x, struct weir__nats_sub, node);

			if (n)
				weir__buf_byte(b, ',');
			weir__buf_json(b, s->subject, strlen(s->subject));
		}
	weir__lock_release(&c->lock);
}

/* ---- Messages from elsewhere in this process ---- */

static void piece(struct weir__nats_view *v, const char *p, size_t n)
{
	v->pieces[v->pieces_n++] = (struct iovec){ (char *)(uintptr_t)p, n };
	v->total += n;
}

/* A bus message's headers are lines; on the wire they stand between a version and an empty line. */
static void view_of(const struct weir__bus_msg *m, struct weir__nats_view *v)
{
	size_t headers = m->headers ? strlen(m->headers) : 0;

	*v = (struct weir__nats_view){ .subject = { (char *)(uintptr_t)m->subject,
		                                    strlen(m->subject) } };
	if (m->reply)
		v->reply =
			(struct weir__nats_text){ (char *)(uintptr_t)m->reply, strlen(m->reply) };
	if (headers) {
		piece(v, "NATS/1.0\r\n", 10);
		piece(v, m->headers, headers);
		if (headers < 2 || memcmp(m->headers + headers - 2, "\r\n", 2))
			piece(v, "\r\n\r\n", 4);
		else
			piece(v, "\r\n", 2);
		v->headers = v->total;
		v->first_data = v->pieces_n;
	}
	piece(v, m->data, m->len);
	piece(v, "\r\n", 2);
	v->total -= 2;
}

static int push(struct weir__target *target, struct weir__bus_msg *m, bool only_room)
{
	struct weir__nats_view v;

	(void)only_room; /* There is room, or the client is cut. */
	view_of(m, &v);
	return weir__nats_deliver(NULL, of(target), &v);
}

const struct weir__target_ops weir__nats_target_ops = { .push = push, .free = sub_free };
