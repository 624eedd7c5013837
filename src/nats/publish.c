/* SPDX-License-Identifier: MIT */
/*
 * From a PUB to those who get it.
 *
 * A worker remembers what the last subjects found (256 of them, up to 1024 subscriptions each);
 * that holds as long as the index has not changed, which one number tells. So a message costs no
 * lock of the broker, no hash of its tokens and no memory: its bytes go from the block they were
 * read into straight into the out queues of clients. Only a subscription of this process makes a
 * message of the bus out of it.
 *
 * What is remembered holds references, so a closed subscription's memory, and its connection's
 * record, may stay until the place is used for something else.
 */
#include "nats/server.h"

#include <weir/sim.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt/wait.h"

enum { REMEMBERED_MAX = 1024 };

/* ---- To one ---- */

static unsigned size_text(char *to, size_t n)
{
	char digits[20];
	unsigned len = 0, i = 0;

	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	to[i++] = ' ';
	while (len)
		to[i++] = digits[--len];
	return i;
}

static unsigned end_line(char *to)
{
	to[0] = '\r';
	to[1] = '\n';
	return 2;
}

static void make_full(struct weir__nats_view *v)
{
	if (v->headers)
		v->full_len = size_text(v->full, v->headers);
	v->full_len += size_text(v->full + v->full_len, v->total);
	v->full_len += end_line(v->full + v->full_len);
}

static void make_bare(struct weir__nats_view *v)
{
	v->bare_len = size_text(v->bare, v->total - v->headers);
	v->bare_len += end_line(v->bare + v->bare_len);
}

static char *add(char *at, const void *p, size_t n)
{
	memcpy(at, p, n);
	return at + n;
}

/* The control line and the pieces, in one go where they fit into one chunk. With the lock. */
static void put(struct weir__nats_conn *c, struct weir__nats_worker *w,
                const struct weir__nats_sub *s, const struct weir__nats_view *v, bool headers,
                size_t line, size_t body)
{
	const char *sizes = headers || !v->headers ? v->full : v->bare;
	unsigned sizes_len = headers || !v->headers ? v->full_len : v->bare_len;
	struct weir__nats_chunk *k = c->out_last;
	unsigned first = headers ? 0 : v->first_data;
	char *at;

	if (k->cap - k->len >= line + body && v->tail && headers == (v->headers > 0)) {
		at = k->data + k->len;
		at = headers ? add(at, "HMSG ", 5) : add(at, "MSG ", 4);
		at = add(at, v->subject.at, v->subject.len);
		*at++ = ' ';
		at = add(at, s->sid, s->sid_len);
		*at++ = ' ';
		at = add(at, v->tail, v->tail_len);
		k->len = (uint32_t)(at - k->data);
		return;
	}
	if (k->cap - k->len >= line + body) {
		at = k->data + k->len;
		at = headers ? add(at, "HMSG ", 5) : add(at, "MSG ", 4);
		at = add(at, v->subject.at, v->subject.len);
		*at++ = ' ';
		at = add(at, s->sid, s->sid_len);
		if (v->reply.len) {
			*at++ = ' ';
			at = add(at, v->reply.at, v->reply.len);
		}
		at = add(at, sizes, sizes_len);
		for (unsigned i = first; i < v->pieces_n; i++)
			at = add(at, v->pieces[i].iov_base, v->pieces[i].iov_len);
		k->len = (uint32_t)(at - k->data);
		return;
	}
	if (!weir__nats_put(c, w, headers ? "HMSG " : "MSG ", headers ? 5 : 4) ||
	    !weir__nats_put(c, w, v->subject.at, v->subject.len) || !weir__nats_put(c, w, " ", 1) ||
	    !weir__nats_put(c, w, s->sid, s->sid_len))
		return;
	if (v->reply.len &&
	    (!weir__nats_put(c, w, " ", 1) || !weir__nats_put(c, w, v->reply.at, v->reply.len)))
		return;
	if (!weir__nats_put(c, w, sizes, sizes_len))
		return;
	for (unsigned i = first; i < v->pieces_n; i++)
		if (!weir__nats_put(c, w, v->pieces[i].iov_base, v->pieces[i].iov_len))
			return;
}

int weir__nats_deliver(struct weir__nats_turn *t, struct weir__nats_sub *s,
                       struct weir__nats_view *v)
{
	struct weir__nats_conn *c = s->conn;
	struct weir__nats_worker *w = t ? t->conn->worker : &c->server->workers[weir_worker()];
	bool headers, flush, last = false;
	size_t line, body;
	int r = -EPIPE;

	weir__lock_acquire(&c->lock);
	if (s->closed || (v->from == c && !c->echo)) {
		weir__lock_release(&c->lock);
		return r;
	}
	if (c->rights && weir__rights_hidden(c->rights, v->subject.at)) {
		weir__lock_release(&c->lock);
		return 0;
	}
	headers = v->headers && c->headers;
	if (headers || !v->headers) {
		if (!v->full_len)
			make_full(v);
		line = v->full_len;
		body = v->total;
	} else {
		if (!v->bare_len)
			make_bare(v);
		line = v->bare_len;
		body = v->total - v->headers;
	}
	line += 5 + v->subject.len + 1 + s->sid_len + (v->reply.len ? 1 + v->reply.len : 0);
	if (weir__nats_room(c, w, line + body + 2 - !headers)) {
		put(c, w, s, v, headers, line, body + 2);
		c->out_msgs++;
		c->out_bytes += body;
		s->delivered++;
		last = s->max && s->delivered >= s->max;
		s->closed = last;
		r = 1;
		if (t && !t->stall && c->pending > c->server->opt.max_pending / 2 &&
		    weir__nats_moves(c)) {
			weir__nats_conn_ref(c);
			t->stall = c;
		}
	}
	flush = weir__nats_wants_flush(c);
	weir__lock_release(&c->lock);
	if (flush)
		weir__nats_touch(t, c);
	if (last)
		weir__nats_sub_close(s);
	if (r > 0 && t) {
		t->delivered++;
		t->delivered_bytes += body;
	} else if (r > 0) {
		__atomic_fetch_add(&c->server->out_msgs, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&c->server->out_bytes, body, __ATOMIC_RELAXED);
	}
	return r;
}

/* ---- To all ---- */

struct publishing {
	struct weir__nats_turn *t;
	struct weir__nats_view view;
	struct weir__bus_msg *msg; /* made when somebody needs it */
	const struct weir__nats_frame *frame;
};

/* The lines of the headers without the version before and the empty line behind them. Who
 * subscribes in this process was promised well-formed subjects: NULL for others. */
static struct weir__bus_msg *message_of(const struct weir__nats_frame *f)
{
	weir_msg m = { .subject = f->subject.at,
		       .reply = f->reply.at,
		       .data = f->body + f->headers,
		       .len = f->total - f->headers };
	struct weir__bus_msg *e;
	char *from = f->body, *end = f->body + f->headers, *lines = NULL;

	if (!weir_subject_valid(m.subject, false) ||
	    (m.reply && !weir_subject_valid(m.reply, false)))
		return NULL;
	if (f->headers) {
		char *first = memchr(from, '\n', f->headers);

		from = first ? first + 1 : end;
		if (end - from >= 2 && !memcmp(end - 2, "\r\n", 2))
			end -= 2;
		if (end > from) {
			lines = strndup(from, (size_t)(end - from));
			if (!lines)
				return NULL;
		}
		m.headers = lines;
	}
	e = weir__bus_msg_new(&m);
	free(lines);
	return e;
}

/* 1: got it; 0: dropped; < 0: takes no more, or (only_room) has no room. */
static int give(struct publishing *p, struct weir__target *target, bool only_room)
{
	struct weir__nats_turn *t = p->t;
	weir_ctx soon;
	weir_sub *s;
	int r;

	if (target->ops == &weir__nats_target_ops)
		return weir__nats_deliver(t, weir__container(target, struct weir__nats_sub, target),
		                          &p->view);
	if (!p->msg) {
		char *end = p->frame->reply.at ? p->frame->reply.at + p->frame->reply.len : NULL;
		char was = end ? *end : 0;

		if (end)
			*end = 0;
		p->msg = message_of(p->frame);
		if (end)
			*end = was;
	}
	if (!p->msg)
		return -EPIPE;
	if (target->ops)
		return target->ops->push(target, p->msg, only_room);
	s = weir__container(target, weir_sub, target);
	r = weir__sub_push(t->ctx, s, p->msg, true);
	if (r == -EAGAIN && !only_room) {
		if (s->overflow == WEIR_SUB_BLOCK)
			weir__nats_flush_touched(t);
		soon = weir_ctx_timeout(t->ctx, t->conn->server->opt.write_ns);
		r = weir__sub_push(&soon, s, p->msg, false);
	}
	/* Lets the handlers of this worker run now and then, as weir_bus_publish() does. */
	(void)weir__wait_check(t->ctx);
	return r;
}

static int give_one_of(struct publishing *p, struct weir__target **of, size_t n)
{
	size_t first = weir_random((uint32_t)n);
	int r = -EPIPE;

	for (int only_room = 1; only_room >= 0; only_room--)
		for (size_t i = 0; i < n; i++) {
			r = give(p, of[(first + i) % n], only_room);
			if (r > 0)
				return r;
		}
	return r;
}

/* Field by field: clearing all of it would cost as much as a delivery. */
static void view_of_frame(const struct weir__nats_frame *f, struct weir__nats_view *v)
{
	unsigned n = 0;

	v->subject = f->subject;
	v->reply = f->reply;
	v->tail = f->tail;
	v->tail_len = f->tail ? (size_t)(f->body + f->total + 2 - f->tail) : 0;
	v->headers = f->headers;
	v->total = f->total;
	if (f->headers)
		v->pieces[n++] = (struct iovec){ f->body, f->headers };
	v->first_data = n;
	v->pieces[n++] = (struct iovec){ f->body + f->headers, f->total - f->headers + 2 };
	v->pieces_n = n;
	v->full_len = v->bare_len = 0;
}

static int give_all(struct publishing *p, struct weir__hits *h)
{
	int got = 0;

	if (h->n == 0)
		return 0;
	view_of_frame(p->frame, &p->view);
	p->view.from = p->t->conn;
	for (size_t i = 0, n; i < h->n; i += n) {
		n = h->all[i]->queue ? weir__hits_group(h, i) : 1;
		if ((n == 1 ? give(p, h->all[i], false) : give_one_of(p, h->all + i, n)) > 0)
			got++;
	}
	return got;
}

/* ---- What a subject finds ---- */

static uint32_t place_of(const char *subject, size_t n)
{
	uint64_t h = n, word;

	for (; n >= 8; subject += 8, n -= 8) {
		memcpy(&word, subject, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
	}
	for (; n; n--)
		h = (h ^ (unsigned char)*subject++) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32) % WEIR__NATS_CACHE;
}

static void found_free(struct weir__nats_found *x)
{
	if (x->used)
		weir__hits_free(&x->hits);
	weir__rights_unref(x->allowed);
	x->allowed = NULL;
	x->used = false;
}

void weir__nats_forget(struct weir__nats_worker *w)
{
	for (size_t i = 0; w->found && i < WEIR__NATS_CACHE; i++)
		found_free(&w->found[i]);
	free(w->found);
	w->found = NULL;
}

static void remember(struct weir__nats_found *x, const struct weir__nats_text *subject,
                     uint64_t generation, const struct weir__hits *h)
{
	found_free(x);
	x->hits = *h;
	if (h->all == h->few)
		x->hits.all = x->hits.few;
	memcpy(x->subject, subject->at, subject->len);
	x->len = subject->len;
	x->generation = generation;
	x->used = true;
}

/* Whose place it is, whether or not it is there. NULL: not to be remembered. */
static struct weir__nats_found *place(struct weir__nats_worker *w,
                                      const struct weir__nats_text *subject)
{
	if (!w->found)
		w->found = calloc(WEIR__NATS_CACHE, sizeof *w->found);
	if (!w->found || subject->len >= WEIR__NATS_CACHE_SUBJECT)
		return NULL;
	return &w->found[place_of(subject->at, subject->len)];
}

static bool may_publish(struct weir__nats_turn *t, const struct weir__nats_text *subject)
{
	if (strlen(subject->at) == subject->len &&
	    weir__rights_publish(t->conn->rights, subject->at))
		return true;
	weir__nats_sayf(t, "-ERR 'Permissions Violation for Publish to \"%s\"'\r\n", subject->at);
	return false;
}

static int give_remembered(struct publishing *p, struct weir__nats_found *x)
{
	struct weir__rights *rights = p->t->conn->rights;
	int got;

	if (rights && x->allowed != rights) {
		if (!may_publish(p->t, &p->frame->subject))
			return -EACCES;
		weir__rights_ref(rights);
		weir__rights_unref(x->allowed);
		x->allowed = rights;
	}
	x->pins++;
	got = give_all(p, &x->hits);
	x->pins--;
	return got;
}

/* How many got it, or -EACCES. */
static int deliver(struct publishing *p)
{
	struct weir__nats_turn *t = p->t;
	struct weir__nats_worker *w = t->conn->worker;
	struct weir__broker *k = t->conn->server->broker;
	const struct weir__nats_text *subject = &p->frame->subject;
	uint64_t generation = __atomic_load_n(&k->generation, __ATOMIC_ACQUIRE);
	struct weir__nats_found *x = place(w, subject);
	struct weir__hits h;
	int got = 0;

	if (x && x->used && x->generation == generation && x->len == subject->len &&
	    !memcmp(x->subject, subject->at, subject->len)) {
		__atomic_store_n(&w->hits, w->hits + 1, __ATOMIC_RELAXED);
		return give_remembered(p, x);
	}
	__atomic_store_n(&w->misses, w->misses + 1, __ATOMIC_RELAXED);
	weir__broker_match(k, subject->at, t->published, t->bytes, &h);
	t->in_msgs += t->published;
	t->in_bytes += t->bytes;
	t->published = t->bytes = 0;
	if (x && x->pins == 0 && !h.failed && h.n <= REMEMBERED_MAX &&
	    strlen(subject->at) == subject->len) {
		remember(x, subject, generation, &h);
		return give_remembered(p, x);
	}
	if (t->conn->rights && !may_publish(t, subject))
		got = -EACCES;
	else if (!h.failed)
		got = give_all(p, &h);
	weir__hits_free(&h);
	return got;
}

/* Nobody was there: the asker hears it at once, where it waits for the answer. */
static void no_responders(struct weir__nats_turn *t, const struct weir__nats_frame *f)
{
	static const char status[] = "NATS/1.0 503\r\n\r\n";
	struct weir__nats_view v = {
		.subject = f->reply,
		.headers = 16,
		.total = 16,
		.first_data = 1,
		.pieces_n = 2,
		.pieces = { { (char *)(uintptr_t)status, 16 }, { (char *)(uintptr_t) "\r\n", 2 } },
	};
	struct weir__hits h;

	f->reply.at[f->reply.len] = 0;
	weir__broker_match(t->conn->server->broker, f->reply.at, 0, 0, &h);
	for (size_t i = 0; i < h.n; i++) {
		struct weir__nats_sub *s;

		if (h.all[i]->ops != &weir__nats_target_ops)
			continue;
		s = weir__container(h.all[i], struct weir__nats_sub, target);
		if (s->conn == t->conn && weir__nats_deliver(t, s, &v) > 0)
			break;
	}
	weir__hits_free(&h);
}

void weir__nats_publish(struct weir__nats_turn *t, const struct weir__nats_frame *f)
{
	struct weir__nats_conn *c = t->conn;
	struct publishing p;
	int got;

	p.t = t;
	p.frame = f;
	p.msg = NULL;
	t->published++;
	t->bytes += f->total;
	if (c->pedantic && (strlen(f->subject.at) != f->subject.len ||
	                    !weir_subject_valid(f->subject.at, false))) {
		weir__nats_sayf(t, "-ERR 'Invalid Publish Subject'\r\n");
		return;
	}
	got = deliver(&p);
	weir__bus_msg_unref(p.msg);
	if (got < 0)
		return;
	if (c->verbose)
		weir__nats_say(t, "+OK\r\n", 5);
	if (got == 0 && f->reply.at && c->no_responders)
		no_responders(t, f);
}

void weir__nats_count(struct weir__nats_turn *t)
{
	struct weir__nats_conn *c = t->conn;
	weir_nats_server *n = c->server;

	if (!t->published && !t->in_msgs && !t->delivered)
		return;
	weir__broker_count(n->broker, t->published, t->bytes, t->delivered);
	t->in_msgs += t->published;
	t->in_bytes += t->bytes;
	__atomic_store_n(&c->in_msgs, c->in_msgs + t->in_msgs, __ATOMIC_RELAXED);
	__atomic_store_n(&c->in_bytes, c->in_bytes + t->in_bytes, __ATOMIC_RELAXED);
	__atomic_fetch_add(&n->in_msgs, t->in_msgs, __ATOMIC_RELAXED);
	__atomic_fetch_add(&n->in_bytes, t->in_bytes, __ATOMIC_RELAXED);
	__atomic_fetch_add(&n->out_msgs, t->delivered, __ATOMIC_RELAXED);
	__atomic_fetch_add(&n->out_bytes, t->delivered_bytes, __ATOMIC_RELAXED);
	t->published = t->bytes = t->in_msgs = t->in_bytes = t->delivered = t->delivered_bytes = 0;
}
