/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 connections of the server: from streams to exchanges, and how such a connection ends.
 *
 * A request's record is made when its head begins and goes when its stream is over on the wire and
 * no handler and no hub has it any more. Its head is gathered in the block that its handler's task
 * will use. So a request costs a task, a block and a scope while it runs, and a record while it is
 * handed over.
 *
 * The end comes in steps, whether for a drain, for age or for idleness: GOAWAY that promises
 * nothing (2³¹−1) with a PING; when its answer shows that the client has read it, or after
 * LAST_CALL_NS, GOAWAY with the last stream; when no stream is left, the end. A drain reaches the
 * handlers when the first GOAWAY has left, so that a client who is told by a handler to go has been
 * told where not to come back to. For this the connection's scope has a hook that holds the drain.
 *
 * Floods. A handler that was reset may still run, so running tasks are bounded apart from open
 * streams. Who has used up the allowance of h2_flood.h gets GOAWAY(ENHANCE_YOUR_CALM). CONTINUATION
 * is bounded by nghttp2 and by the bytes of the head.
 *
 * An answer may be whole before its request is. The stream then stays a moment (LATE_NS), so that
 * what is on its way is judged as ever, and a client that is about to end its request needs no
 * reset. The answer at the handler limit may outlive the handler, since no task waits for it: who
 * does not take it within write_ns is reset.
 */
#include "http/h2_server.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "http/h2_flood.h"
#include "http/server.h"
#include "rt/scope.h"
#include "rt/task.h"

enum { HEAD_FACTOR = 4 };
#define LAST_CALL_NS WEIR_SEC(1)
#define LATE_NS      WEIR_MS(100)
#define ALIVE_NS     WEIR_SEC(20) /* for the answer to a PING of keepalive */

/* Ours, to tell their answers apart. */
static const uint8_t ping_end[8] = "weir end", ping_alive[8] = "weir hi?";

enum stage { SERVING, NOTICED, LAST };

struct weir__h2_server {
	struct weir__h2 h2;
	struct weir__http_conn *c;
	weir_hook hold; /* on the connection's scope: holds its drain */
	unsigned tasks; /* handlers that run */
	enum stage stage;
	bool drains;  /* handlers are to hear the drain when GOAWAY has left */
	bool drained; /* they have */
	bool counted_idle, limited;
	struct weir__h2_flood flood;
	int64_t last_call_ns, idle_ns, age_ns;
	int64_t cut_ns;             /* cancelled: when what is left is not waited for any more */
	int64_t heard_ns, asked_ns; /* keepalive: when bytes last came; when it was asked, or 0 */
	uint64_t heard, counted_in;
};

#define REQUEST_MAGIC 0x48325251u
struct request {
	uint32_t magic;
	struct weir__h2_stream h2;
	struct weir__http_stream stream;
	struct weir__h2_server *server;
	const char *authority;
	size_t head_len; /* of the fields, as RFC 9113 §6.5.2 counts */
	int refused;     /* a status */
	bool running;    /* a task has it */
	bool handed_over;
	int64_t begun_ns;
	/* Answered before its end, or by what has not left yet: when that is not waited for any
	 * more; or 0. */
	int64_t late_ns;
	struct weir__buf said; /* the body of the answer at the handler limit */
	struct iovec said_iov;
};

static struct request *of(struct weir__h2_stream *st)
{
	struct request *q = weir__container(st, struct request, h2);

	weir__magic_check(q, REQUEST_MAGIC);
	return q;
}

static struct weir__h2_server *server_of(struct weir__h2 *h2)
{
	return weir__container(h2, struct weir__h2_server, h2);
}

static int64_t from(int64_t at, int64_t ns)
{
	int64_t sum;

	return __builtin_add_overflow(at, ns, &sum) ? WEIR_NEVER : sum;
}

static void request_free(struct request *q)
{
	struct weir__http_worker *w = q->server->c->worker;

	if (q->stream.block)
		weir__block_put(w, q->stream.block);
	weir__h2_stream_fini(&q->h2);
	weir__buf_free(&q->said);
	q->magic = 0;
	weir__pool_put(&w->pool, q);
}

/* ---- the way out ---- */

/* The first GOAWAY. */
static void notice(struct weir__h2_server *s)
{
	if (s->stage != SERVING || s->h2.dead)
		return;
	s->stage = NOTICED;
	nghttp2_submit_shutdown_notice(s->h2.session);
	s->last_call_ns = from(weir_now(), LAST_CALL_NS);
	weir__h2_deadline(&s->h2, s->last_call_ns);
	weir__h2_flush(&s->h2);
}

static void last_call(struct weir__h2_server *s)
{
	if (s->stage != NOTICED || s->h2.dead)
		return;
	s->stage = LAST;
	s->last_call_ns = WEIR_NEVER;
	nghttp2_submit_goaway(s->h2.session, NGHTTP2_FLAG_NONE,
	                      nghttp2_session_get_last_proc_stream_id(s->h2.session),
	                      NGHTTP2_NO_ERROR, NULL, 0);
	weir__h2_flush(&s->h2);
}

/* The drain goes on to handlers and to what was handed over. */
static void drain_members(struct weir__h2_server *s)
{
	s->drained = true;
	weir_scope_drain_members(s->c->scope);
	weir__list_each_safe (node, &s->h2.streams) {
		struct request *q = of(weir__container(node, struct weir__h2_stream, link));

		if (q->handed_over && !q->stream.stop_told)
			q->stream.stop(&q->stream, -ESHUTDOWN, q->stream.stop_arg);
	}
}

static void begin_drain(struct weir__h2_server *s)
{
	s->drains = true;
	/* What lives as long as the connection needs it to say its last. */
	if (s->c->kept)
		drain_members(s);
	else
		notice(s);
	weir__h2_flush(&s->h2);
}

static void held(weir_hook *hook, int step)
{
	struct weir__h2_server *s = weir__container(hook, struct weir__h2_server, hold);

	if (step == WEIR_DRAIN)
		begin_drain(s);
}

void weir__h2_server_kept(struct weir__http_conn *c)
{
	if (!c->kept && c->draining)
		notice(c->h2);
}

/* Handlers hear it by their scopes. A client that begins what it does not end, or takes nothing,
 * has one more second. */
void weir__h2_server_cancel(struct weir__http_conn *c)
{
	struct weir__h2_server *s = c->h2;

	weir__list_each_safe (node, &s->h2.streams) {
		struct request *q = of(weir__container(node, struct weir__h2_stream, link));

		if (q->handed_over && !q->stream.stop_told) {
			q->stream.stop_told = true;
			q->stream.stop(&q->stream, -ECANCELED, q->stream.stop_arg);
		}
	}
	if (s->stage == SERVING)
		s->stage = NOTICED;
	last_call(s);
	if (s->cut_ns == WEIR_NEVER)
		s->cut_ns = from(weir_now(), LAST_CALL_NS);
	weir__h2_deadline(&s->h2, s->cut_ns);
	weir__h2_flush(&s->h2);
}

/* ---- floods ---- */

static void calm(struct weir__h2_server *s, enum weir__h2_calm why)
{
	if (why == WEIR__H2_FINE || s->limited)
		return;
	s->limited = true;
	weir__stat_add(s->c->worker, refused, 1);
	/* Clients of gRPC know the word. */
	if (why == WEIR__H2_PINGS)
		nghttp2_submit_goaway(s->h2.session, NGHTTP2_FLAG_NONE,
		                      nghttp2_session_get_last_proc_stream_id(s->h2.session),
		                      NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)"too_many_pings",
		                      14);
	nghttp2_session_terminate_session(s->h2.session, NGHTTP2_ENHANCE_YOUR_CALM);
	weir__h2_flush(&s->h2);
}

static void frame(struct weir__h2 *h2, const nghttp2_frame *f, enum weir__h2_way way)
{
	struct weir__h2_server *s = server_of(h2);

	calm(s, weir__h2_flood_frame(&s->flood, f, way));
	/* Submitted with GOAWAY it would overtake that, as nghttp2 sends PING first. */
	if (way == WEIR__H2_SENT && f->hd.type == NGHTTP2_GOAWAY && s->stage == NOTICED)
		nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, ping_end);
}

void weir__http_count_pings(weir_http *x)
{
	x->conn->h2->flood.counts_pings = true;
}

/* ---- a head arrives ---- */

static struct weir__h2_stream *open_stream(struct weir__h2 *h2, int32_t id)
{
	struct weir__h2_server *s = server_of(h2);
	struct weir__http_conn *c = s->c;
	struct request *q;

	/* Streams that were reset leave their handlers behind. */
	if (s->tasks >= 2 * c->server->limits.streams_max || c->canceled) {
		calm(s, weir__h2_charge(&s->flood, 1));
		return NULL;
	}
	q = weir__pool_get(&c->worker->pool, sizeof *q);
	if (!q)
		return NULL;
	memset(q, 0, sizeof *q);
	q->stream.block = weir__block_get(c->server, c->worker);
	if (!q->stream.block) {
		weir__pool_put(&c->worker->pool, q);
		return NULL;
	}
	q->magic = REQUEST_MAGIC;
	q->server = s;
	q->stream.magic = WEIR__HTTP_STREAM_MAGIC;
	q->stream.conn = c;
	q->stream.h2 = &q->h2;
	q->stream.limit_ns = WEIR_NEVER;
	q->begun_ns = weir__now_coarse();
	weir__h1_reset(&q->stream.block->x.head);
	weir__h2_stream_init(&q->h2, h2, id);
	weir__h2_deadline(h2, from(q->begun_ns, c->server->limits.header_ns));
	return &q->h2;
}

static char *copy(struct weir__block *b, const char *text, size_t n)
{
	char *at = b->in + b->in_len;

	memcpy(at, text, n);
	at[n] = 0;
	b->in_len += n + 1;
	return at;
}

static int field(struct weir__h2_stream *st, const char *name, size_t name_len, const char *value,
                 size_t value_len, bool trailer)
{
	struct request *q = of(st);
	struct weir__block *b = q->stream.block;
	struct weir__h1_head *h;
	size_t max = q->server->c->server->limits.header_max;

	if (trailer)
		return 0;
	h = &b->x.head;
	q->head_len += name_len + value_len + 32;
	if (q->head_len > max ||
	    name_len + value_len + 2 > q->server->c->server->in_cap - b->in_len ||
	    (name[0] != ':' && h->count == h->fields_max))
		q->refused = 431;
	if (q->head_len > HEAD_FACTOR * max)
		calm(q->server, WEIR__H2_FLOODS);
	if (q->refused)
		return 0;
	if (name[0] != ':') {
		const char *own = copy(b, name, name_len);

		weir__h1_add(h, (struct weir__h1_field){ own, copy(b, value, value_len),
		                                         (uint32_t)name_len, (uint32_t)value_len });
	} else if (!strcmp(name, ":method")) {
		h->method = copy(b, value, value_len);
		h->method_len = value_len;
	} else if (!strcmp(name, ":path")) {
		h->target = copy(b, value, value_len);
		h->target_len = value_len;
	} else if (!strcmp(name, ":authority")) {
		q->authority = copy(b, value, value_len);
	}
	return 0;
}

static bool is_cookie(const struct weir__h1_field *f)
{
	return f->name_len == 6 && !memcmp(f->name, "cookie", 6);
}

/* RFC 9113 §8.2.3: the crumbs of a cookie become one field again. */
static bool join_cookies(struct request *q)
{
	struct weir__block *b = q->stream.block;
	struct weir__h1_head *h = &b->x.head;
	struct weir__h1_field *first = NULL;
	unsigned kept = 0, crumbs = 0;
	size_t need = 0;
	char *to;

	for (unsigned i = 0; i < h->count; i++)
		if (is_cookie(&h->fields[i])) {
			crumbs++;
			need += h->fields[i].value_len + 2;
		}
	if (crumbs < 2)
		return true;
	if (need > q->server->c->server->in_cap - b->in_len)
		return false;
	to = b->in + b->in_len;
	for (unsigned i = 0; i < h->count; i++) {
		struct weir__h1_field *f = &h->fields[i];

		if (!is_cookie(f)) {
			h->fields[kept++] = *f;
			continue;
		}
		if (first)
			b->in_len--;
		if (first)
			memcpy(b->in + b->in_len, "; ", 2);
		if (first)
			b->in_len += 2;
		copy(b, f->value, f->value_len);
		if (!first)
			h->fields[kept] = *f;
		if (!first)
			first = &h->fields[kept++];
	}
	first->value = to;
	first->value_len = (uint32_t)strlen(to);
	h->count = kept;
	return true;
}

/* Host for handlers, whichever way the client named it. */
static int take_authority(struct request *q)
{
	struct weir__h1_head *h = &q->stream.block->x.head;
	const char *host = weir__h1_get(h, "host");

	if (!q->authority)
		return host ? 0 : 400;
	if (host)
		return strcasecmp(host, q->authority) == 0 ? 0 : 400;
	if (h->count == h->fields_max)
		return 431;
	weir__h1_add(h, (struct weir__h1_field){ "host", q->authority, 4,
	                                         (uint32_t)strlen(q->authority) });
	return 0;
}

static int request_task(const weir_ctx *ctx, void *arg);

static void head(struct weir__h2_stream *st, bool end)
{
	struct request *q = of(st);
	struct weir__h2_server *s = q->server;
	struct weir__http_conn *c = s->c;
	struct weir__block *b = q->stream.block;
	struct weir__h1_head *h = &b->x.head;

	st->head_seen = true;
	b->in_pos = b->head_end = b->in_len;
	if (!q->refused)
		q->refused = take_authority(q);
	if (!q->refused && !join_cookies(q))
		q->refused = 431;
	if (!q->refused)
		q->refused = -weir__h1_assemble(h);
	h->chunked = !end && !h->sized;
	b->in_pos = b->in_len;
	q->running = true;
	s->tasks++;
	if (weir_group_go_on(&c->serving->conns, c->worker_index, request_task, q) < 0) {
		s->tasks--;
		q->running = false;
		weir__h2_reset(st, NGHTTP2_REFUSED_STREAM);
	}
	if (__atomic_load_n(&c->server->goodbye, __ATOMIC_RELAXED) && !c->kept)
		notice(s);
}

/* ---- a request runs ---- */

static int request_begin(struct request *q)
{
	struct weir__http_conn *c = q->server->c;

	q->stream.scope = weir__scope_new(c->scope, weir__current());
	if (!q->stream.scope)
		return -ENOMEM;
	weir__lock_acquire(&c->worker->lock);
	weir__list_append(&c->worker->streams, &q->stream.link);
	weir__lock_release(&c->worker->lock);
	if (q->h2.closed)
		weir_scope_cancel(q->stream.scope, -EPIPE, "the client left");
	return 0;
}

static void unlist(struct request *q)
{
	struct weir__http_worker *w = q->server->c->worker;

	weir__lock_acquire(&w->lock);
	weir__list_remove(&q->stream.link);
	weir__lock_release(&w->lock);
}

static void leave(struct request *q)
{
	struct weir__http_conn *c = q->server->c;

	if (c->canceled || !q->h2.out_end || (q->h2.out_ended && q->h2.in_end)) {
		weir__h2_leave(&q->h2, c->canceled ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
		return;
	}
	weir__h2_discard(&q->h2);
	q->late_ns = from(weir_now(), q->h2.out_ended ? LATE_NS : c->server->limits.write_ns);
	weir__h2_deadline(&q->server->h2, q->late_ns);
}

static int request_task(const weir_ctx *ctx, void *arg)
{
	struct request *q = arg;
	struct weir__h2_server *s = q->server;
	struct weir__http_conn *c = s->c;
	weir_http *x = &q->stream.block->x;
	enum weir__verdict verdict = WEIR__CLOSE;

	(void)ctx;
	if (request_begin(q) == 0) {
		weir__exchange_init(x, &q->stream);
		verdict = q->refused ? weir__exchange_refuse(x, q->refused) : weir__exchange_run(x);
		weir__exchange_fini(x);
		if (verdict != WEIR__STREAMING)
			unlist(q);
		weir_scope_cancel(q->stream.scope, -EPIPE, "the request is over");
		weir__scope_free(q->stream.scope);
		q->stream.scope = NULL;
	}
	weir__h2_unlend(&q->h2);
	weir__block_put(c->worker, q->stream.block);
	q->stream.block = NULL;
	q->running = false;
	s->tasks--;
	weir__h2_flush(&s->h2);
	if (verdict == WEIR__STREAMING) {
		q->handed_over = true;
		weir__h2_discard(&q->h2);
		if (q->h2.closed && !q->stream.stop_told) {
			q->stream.stop_told = q->stream.peer_left = true;
			q->stream.stop(&q->stream, -EPIPE, q->stream.stop_arg);
		} else if (c->canceled && !q->stream.stop_told) {
			q->stream.stop_told = true;
			q->stream.stop(&q->stream, -ECANCELED, q->stream.stop_arg);
		} else if (s->drained) {
			q->stream.stop(&q->stream, -ESHUTDOWN, q->stream.stop_arg);
		}
		return 0;
	}
	if (q->h2.closed)
		request_free(q);
	else
		leave(q);
	return 0;
}

/* The stream is over on the wire. */
static void closed(struct weir__h2_stream *st)
{
	struct request *q = of(st);

	q->stream.peer_left = true;
	if (q->handed_over) {
		if (q->stream.stop_told)
			return;
		q->stream.stop_told = true;
		weir__stat_add(q->server->c->worker, client_gone, 1);
		q->stream.stop(&q->stream, -EPIPE, q->stream.stop_arg);
	} else if (!q->running) {
		request_free(q);
	} else if (q->stream.scope && !st->out_ended) {
		weir__stat_add(q->server->c->worker, client_gone, 1);
		weir_scope_cancel(q->stream.scope, -EPIPE, "the client left");
	}
}

void weir__h2_server_end(struct weir__h2_stream *st, bool clean)
{
	struct request *q = of(st);

	weir__assert(q->handed_over, "weir__stream_end() twice");
	unlist(q);
	q->handed_over = false;
	weir__h2_unwatch(st);
	weir__h2_flush(st->h2);
	if (st->closed) {
		request_free(q);
		return;
	}
	if (clean)
		weir__h2_end(st);
	weir__h2_leave(st, NGHTTP2_CANCEL);
}

static void writable(struct weir__h2_stream *st)
{
	struct request *q = of(st);

	q->stream.ready(&q->stream, q->stream.ready_arg);
}

static void push(struct weir__h2_stream *st)
{
	struct request *q = of(st);

	if (q->running && q->stream.scope)
		weir__h2_push_soon(&q->stream.block->x);
}

/* ---- time ---- */

/* The handler's time is up: the answer is the server's. */
static void limit(struct request *q, int64_t now)
{
	static const char type[] = "application/problem+json";
	struct weir__http_conn *c = q->server->c;
	uint32_t was = __atomic_load_n(&q->stream.claim, __ATOMIC_ACQUIRE);
	nghttp2_nv head[] = {
		{ (uint8_t *)":status", (uint8_t *)"503", 7, 3, NGHTTP2_NV_FLAG_NONE },
		{ (uint8_t *)"date", (uint8_t *)weir__http_date(c->worker), 4, 29,
		  NGHTTP2_NV_FLAG_NONE },
		{ (uint8_t *)"content-type", (uint8_t *)type, 12, sizeof type - 1,
		  NGHTTP2_NV_FLAG_NONE },
		{ (uint8_t *)"retry-after", (uint8_t *)"1", 11, 1, NGHTTP2_NV_FLAG_NONE },
	};
	struct weir__h2_send what = { .head = head, .head_n = 4, .n = 1, .end = true };

	if ((was & WEIR__CLAIM_MASK) != WEIR__NOBODY ||
	    __atomic_load_n(&q->stream.limit_ns, __ATOMIC_ACQUIRE) > now ||
	    !__atomic_compare_exchange_n(&q->stream.claim, &was, was | WEIR__LIMIT, false,
	                                 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	__atomic_add_fetch(&c->server->limited, 1, __ATOMIC_RELAXED);
	weir__problem(&q->said, 503, WEIR__HTTP_TOO_LATE);
	q->said_iov = (struct iovec){ q->said.data, q->said.len };
	what.iov = &q->said_iov;
	what.n = q->stream.block->x.no_body ? 0 : 1;
	weir__h2_send_off(&q->h2, &what);
	weir_scope_cancel(q->stream.scope, -ETIMEDOUT, "the handler's limit passed");
}

static int64_t look_at(struct request *q, int64_t now)
{
	struct weir__h2_server *s = q->server;
	int64_t at;

	if (!q->h2.head_seen) {
		at = from(q->begun_ns, s->c->server->limits.header_ns);
		if (at > now)
			return at;
		weir__stat_add(s->c->worker, timeouts, 1);
		nghttp2_session_terminate_session(s->h2.session, NGHTTP2_ENHANCE_YOUR_CALM);
		return WEIR_NEVER;
	}
	if (q->late_ns) {
		if (q->late_ns > now)
			return q->late_ns;
		q->late_ns = 0;
		if (q->h2.out_ended) {
			weir__h2_leave(&q->h2, NGHTTP2_INTERNAL_ERROR);
		} else {
			weir__stat_add(s->c->worker, timeouts, 1);
			weir__h2_reset(&q->h2, NGHTTP2_CANCEL);
		}
	}
	if (!q->running || !q->stream.scope)
		return WEIR_NEVER;
	at = __atomic_load_n(&q->stream.limit_ns, __ATOMIC_ACQUIRE);
	if (at > now)
		return at;
	limit(q, now);
	return WEIR_NEVER;
}

/* A client that is silent while it waits for us may be gone. */
static int64_t keepalive(struct weir__h2_server *s, int64_t now)
{
	int64_t after = s->c->server->limits.keepalive_ns;

	if (s->h2.came != s->heard) {
		s->heard = s->h2.came;
		s->heard_ns = s->h2.came_ns;
		s->asked_ns = 0;
	}
	if (weir__list_empty(&s->h2.streams) || after == WEIR_NEVER)
		return WEIR_NEVER;
	if (s->asked_ns && from(s->asked_ns, ALIVE_NS) <= now) {
		weir__stat_add(s->c->worker, timeouts, 1);
		weir__h2_die(&s->h2, -ETIMEDOUT);
		return WEIR_NEVER;
	}
	if (!s->asked_ns && from(s->heard_ns, after) <= now) {
		s->asked_ns = now;
		nghttp2_submit_ping(s->h2.session, NGHTTP2_FLAG_NONE, ping_alive);
	}
	return s->asked_ns ? from(s->asked_ns, ALIVE_NS) : from(s->heard_ns, after);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t tick(struct weir__h2 *h2, int64_t now)
{
	struct weir__h2_server *s = server_of(h2);
	int64_t next = keepalive(s, now);

	if (s->cut_ns <= now)
		weir__h2_die(h2, -ECANCELED);
	if (h2->dead)
		return WEIR_NEVER;
	weir__list_each_safe (node, &h2->streams) {
		struct request *q = of(weir__container(node, struct weir__h2_stream, link));

		next = sooner(next, look_at(q, now));
	}
	if (s->age_ns <= now || s->idle_ns <= now) {
		s->age_ns = s->idle_ns = WEIR_NEVER;
		notice(s);
	}
	if (s->last_call_ns <= now)
		last_call(s);
	next = sooner(next, sooner(s->age_ns, s->idle_ns));
	return sooner(next, sooner(s->last_call_ns, s->cut_ns));
}

void weir__h2_server_deadline(struct weir__http_conn *c, int64_t at_ns)
{
	weir__h2_deadline(&c->h2->h2, at_ns);
}

static void ping_ack(struct weir__h2 *h2, const uint8_t opaque[8])
{
	if (!memcmp(opaque, ping_end, sizeof ping_end))
		last_call(server_of(h2));
}

/* ---- the end ---- */

static void end(struct weir__h2_server *s)
{
	struct weir__http_conn *c = s->c;
	bool gone = s->h2.dead && s->h2.dead != -EPROTO;

	if (s->counted_idle)
		weir__stat_add(c->worker, idle, (uint64_t)-1);
	weir_hook_remove(&s->hold);
	weir__h2_fini(&s->h2);
	free(s);
	c->h2 = NULL;
	c->state = WEIR__LINGER;
	if (gone)
		weir__http_conn_end(c);
	else
		weir__http_conn_linger(c);
}

static void settle(struct weir__h2 *h2)
{
	struct weir__h2_server *s = server_of(h2);
	struct weir__http_conn *c = s->c;
	bool empty = weir__list_empty(&h2->streams);

	weir__stat_add(c->worker, bytes_in, h2->came - s->counted_in);
	s->counted_in = h2->came;
	if (s->drains && !s->drained &&
	    (h2->dead || s->stage == LAST || (h2->goaway_at && h2->left >= h2->goaway_at)))
		drain_members(s);
	if (!h2->dead && weir__h2_over(h2))
		weir__h2_die(h2, -EPROTO);
	if (h2->posted)
		return;
	if (empty && s->tasks == 0 && (h2->dead || (s->stage == LAST && weir__h2_flushed(h2)))) {
		end(s);
		return;
	}
	if (empty != s->counted_idle) {
		s->counted_idle = empty;
		weir__stat_add(c->worker, idle, empty ? 1 : (uint64_t)-1);
		s->idle_ns = empty && !c->kept ? from(weir_now(), c->server->limits.idle_ns) :
		                                 WEIR_NEVER;
		weir__h2_deadline(h2, s->idle_ns);
	}
}

/* ---- the beginning ---- */

static const struct weir__h2_role role = {
	.open = open_stream,
	.field = field,
	.head = head,
	.frame = frame,
	.ping_ack = ping_ack,
	.closed = closed,
	.writable = writable,
	.push = push,
	.settle = settle,
	.tick = tick,
};

const char *const *weir_http_protocols(void)
{
	static const char *const names[] = { "h2", "http/1.1", NULL };

	return names;
}

int weir__h2_server_start(struct weir__http_conn *c, const void *bytes, size_t n)
{
	const weir_http_limits *l = &c->server->limits;
	nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->streams_max },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WEIR__H2_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		  l->header_max < UINT32_MAX ? (uint32_t)l->header_max : UINT32_MAX },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};
	struct weir__h2_server *s = calloc(1, sizeof *s);
	int64_t now = weir_now();
	int r = s ? weir__h2_init(&s->h2, &role, c->io, &c->worker->pool, settings, 4) : -ENOMEM;

	if (r < 0) {
		free(s);
		return r;
	}
	s->c = c;
	s->h2.write_ns = l->write_ns;
	weir__h2_flood_init(&s->flood);
	s->heard_ns = now;
	s->last_call_ns = s->cut_ns = WEIR_NEVER;
	s->idle_ns = from(now, l->idle_ns);
	s->age_ns = WEIR_NEVER;
	if (l->age_ns != WEIR_NEVER)
		s->age_ns =
			from(now, l->age_ns - l->age_ns / 10 + l->age_ns / 1000 * weir_random(200));
	c->h2 = s;
	c->state = WEIR__H2;
	weir__conn_on_gone(c->io, NULL, NULL);
	c->deadline_ns = WEIR_NEVER; /* The session has a timer of its own. */
	s->hold.fn = held;
	s->hold.holds_drain = true;
	r = weir_hook_add(c->scope, &s->hold);
	if (r < 0) {
		weir__h2_fini(&s->h2);
		free(s);
		c->h2 = NULL;
		c->state = WEIR__RUNNING;
		return r;
	}
	s->counted_idle = true;
	weir__stat_add(c->worker, idle, 1);
	weir__h2_deadline(&s->h2, sooner(s->idle_ns, s->age_ns));
	weir__h2_start(&s->h2, bytes, n);
	return 0;
}
