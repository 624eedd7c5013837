/* SPDX-License-Identifier: MIT */
/*
 * The shared connections' slots are each touched on their worker only. The last reference may go on
 * any worker: each slot is then emptied by a message to its own, and the last of these frees all.
 */
#include "http/h2_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "rt/msg.h"
#include "rt/wait.h"
#include "sync/waiter.h"

enum { FIELDS_MAX = 256 };

struct slot {
	struct weir__msg msg;
	struct weir__h2_shared *all;
	weir__h2c *conn;
	struct weir__h2_turn turn;
	int error; /* of who had the turn last; 0: it was called away */
};

/* ---- one dials ---- */

int weir__h2_turn_wait(const weir_ctx *ctx, struct weir__h2_turn *t)
{
	struct weir__wait wait;
	struct weir__waiter me = { .wait = &wait };
	int r;

	weir__wait_init(&wait);
	weir__list_append(&t->waiting, &me.link);
	r = weir__wait_park(&wait, ctx, "h2 connect", t);
	if (weir__list_linked(&me.link))
		weir__list_remove(&me.link);
	return r < 0 ? r : 0;
}

void weir__h2_turn_give(struct weir__h2_turn *t)
{
	struct weir__list won;

	t->taken = false;
	weir__list_init(&won);
	weir__waiter_claim_all(&t->waiting, 0, false, &won);
	weir__waiter_wake_all(&won);
}

/* ---- shared connections ---- */

#define SHARED_MAGIC 0x68327368u
struct weir__h2_shared {
	uint32_t magic;
	uint32_t refs; /* atomic: clients, then messages on their way */
	int count;     /* of slots */
	struct slot *slots;
};

int weir__h2_shared_new(struct weir__h2_shared **ret)
{
	struct weir__h2_shared *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	h->magic = SHARED_MAGIC;
	h->refs = 1;
	h->count = weir_worker_count();
	h->slots = calloc((size_t)h->count, sizeof *h->slots);
	if (!h->slots) {
		free(h);
		return -ENOMEM;
	}
	for (int i = 0; i < h->count; i++) {
		h->slots[i].all = h;
		weir__list_init(&h->slots[i].turn.waiting);
	}
	*ret = h;
	return 0;
}

struct weir__h2_shared *weir__h2_shared_ref(struct weir__h2_shared *h)
{
	weir__magic_check(h, SHARED_MAGIC);
	__atomic_add_fetch(&h->refs, 1, __ATOMIC_RELAXED);
	return h;
}

static void put(struct weir__h2_shared *h)
{
	if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL))
		return;
	h->magic = 0;
	free(h->slots);
	free(h);
}

static void empty(struct weir__msg *m)
{
	struct slot *slot = weir__container(m, struct slot, msg);

	weir__h2c_close(slot->conn);
	put(slot->all);
}

void weir__h2_shared_unref(struct weir__h2_shared *h)
{
	if (!h)
		return;
	weir__magic_check(h, SHARED_MAGIC);
	if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL))
		return;
	__atomic_store_n(&h->refs, (uint32_t)h->count + 1, __ATOMIC_RELAXED);
	for (int i = 0; i < h->count; i++) {
		struct slot *slot = &h->slots[i];

		slot->msg.fn = empty;
		if (slot->conn && i != weir_worker()) {
			weir__post(i, &slot->msg);
			continue;
		}
		if (slot->conn)
			weir__h2c_close(slot->conn);
		put(h);
	}
	put(h);
}

/* ---- the head ---- */

/* RFC 9113 §8.2.2, and what is said by a pseudo-field. */
static bool is_left_out(const char *name, size_t n)
{
	static const char *const out[] = { "connection",        "keep-alive", "proxy-connection",
		                           "transfer-encoding", "upgrade",    "host" };

	for (size_t i = 0; i < sizeof out / sizeof *out; i++)
		if (strlen(out[i]) == n && !strncasecmp(out[i], name, n))
			return true;
	return false;
}

static struct weir__h2_field field(const char *name, const char *value)
{
	return (struct weir__h2_field){ name, value, strlen(name), strlen(value) };
}

/* The user's lines, checked already, in lower case; texts into `text`, which has room. */
static size_t add_lines(struct weir__h2_field *f, char *text, const char *const *lines)
{
	size_t n = 0;

	for (; lines && *lines; lines++) {
		const char *colon = strchr(*lines, ':'), *value = colon + 1;
		size_t len = (size_t)(colon - *lines), value_len;

		if (is_left_out(*lines, len))
			continue;
		value += strspn(value, " \t");
		for (value_len = strlen(value); value_len && strchr(" \t", value[value_len - 1]);
		     value_len--)
			;
		f[n] = (struct weir__h2_field){ text, value, len, value_len };
		for (size_t i = 0; i < len; i++)
			*text++ = (*lines)[i] >= 'A' && (*lines)[i] <= 'Z' ?
			                  (char)((*lines)[i] | 32) :
			                  (*lines)[i];
		n++;
	}
	return n;
}

static int open_stream(weir__h2c *c, const char *scheme, const char *host, const weir_http_req *req,
                       weir__h2s **ret)
{
	size_t lines = 0, bytes = 0, n = 4;
	struct weir__h2_field *f;
	char length[24];
	int r;

	for (const char *const *h = req->headers; h && *h; h++, lines++)
		bytes += strlen(*h);
	if (lines > FIELDS_MAX)
		return -EINVAL;
	f = malloc((lines + 5) * sizeof *f + bytes);
	if (!f)
		return -ENOMEM;
	f[0] = field(":method", req->method);
	f[1] = field(":scheme", scheme);
	f[2] = field(":path", req->target);
	f[3] = field(":authority", host);
	if (req->body_len) {
		snprintf(length, sizeof length, "%zu", req->body_len);
		f[n++] = field("content-length", length);
	}
	n += add_lines(f + n, (char *)(f + lines + 5), req->headers);
	r = weir__h2c_open(c, f, n, ret);
	free(f);
	return r;
}

/* ---- the request ---- */

static int connect_slot(const weir_ctx *ctx, struct slot *slot, weir__h2_dial_fn *dial, void *arg)
{
	static const struct weir__h2c_options options;
	weir__h2c *conn;
	weir_conn *io;
	int r = dial(ctx, arg, &io);

	if (r < 0)
		return r;
	r = weir__h2c_new(io, &options, &conn);
	if (r < 0) {
		weir_conn_free(io);
		return r;
	}
	if (slot->conn)
		weir__h2c_close(slot->conn);
	slot->conn = conn;
	return 0;
}

/* Until the slot has a connection: 1 if it had, 0 if it is new, or an error. What went wrong for
 * who dialled, and not by its own context's end, goes wrong for all who waited. */
static int have_connection(const weir_ctx *ctx, struct slot *slot, weir__h2_dial_fn *dial,
                           void *arg)
{
	int r;

	if (slot->conn && weir__h2c_state(slot->conn) == 0)
		return 1;
	while (slot->turn.taken) {
		r = weir__h2_turn_wait(ctx, &slot->turn);
		if (r < 0)
			return r;
		if (slot->conn && weir__h2c_state(slot->conn) == 0)
			return 0;
		if (!slot->turn.taken && slot->error)
			return slot->error;
	}
	slot->turn.taken = true;
	r = connect_slot(ctx, slot, dial, arg);
	slot->error = r < 0 && weir_ctx_err(ctx) == 0 ? r : 0;
	weir__h2_turn_give(&slot->turn);
	return r;
}

/* Sends it and waits for the head; *ret is there whenever the result is not that of opening it. */
static int ask(const weir_ctx *ctx, weir__h2c *conn, const char *scheme, const char *host,
               const weir_http_req *req, weir__h2s **ret)
{
	struct iovec iov = { (void *)(uintptr_t)req->body, req->body_len };
	int r = open_stream(conn, scheme, host, req, ret);

	if (r < 0)
		return r;
	r = weir__h2s_send(ctx, *ret, &iov, req->body_len ? 1 : 0, true);
	/* -EPIPE: it has answered before it read all. */
	return r < 0 && r != -EPIPE ? r : weir__h2s_head(ctx, *ret);
}

int weir__h2_request(const weir_ctx *ctx, struct weir__h2_shared *h, weir__h2_dial_fn *dial,
                     void *arg, const char *scheme, const char *host, const weir_http_req *req,
                     bool repeats, weir__h2s **ret)
{
	struct slot *slot;
	int r = 0;

	weir__magic_check(h, SHARED_MAGIC);
	weir__assert(weir_worker() >= 0 && weir_worker() < h->count,
	             "an HTTP/2 client is used in a run with other workers");
	slot = &h->slots[weir_worker()];
	for (int try = 0; try < 2; try++) {
		weir__h2s *s = NULL;
		bool kept, again;

		r = have_connection(ctx, slot, dial, arg);
		if (r < 0)
			return r;
		kept = r > 0;
		r = ask(ctx, slot->conn, scheme, host, req, &s);
		if (r == 0) {
			*ret = s;
			return 0;
		}
		/* Of its own connection: the slot may have the next one by now. */
		again = r == -ESHUTDOWN || (s && weir__h2s_refused(s)) ||
		        (kept && repeats && (r == -ECONNRESET || r == -EPIPE) &&
		         (s ? weir__h2s_state(s) : weir__h2c_state(slot->conn)) < 0);
		if (s)
			weir__h2s_close(s, WEIR__H2_CANCEL);
		if (!again || weir_ctx_err(ctx) < 0)
			break;
	}
	return r == -ESHUTDOWN && weir_ctx_err(ctx) == 0 ? -ECONNRESET : r;
}
