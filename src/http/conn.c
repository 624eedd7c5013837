/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection. It starts as a task on the worker it was given to; the task serves
 * requests as long as they come, and ends when the connection is idle, when its exchange was handed
 * over, or when nothing but lingering is left: those states hold only the record, and run in
 * watches, the timer and the hook, between tasks.
 *
 * The client leaves. Its end of stream cancels the scope under which the handler runs, unless the
 * client has sent more requests behind this one: then it has only ended its sending. What it sent
 * is read on to tell the two apart. An end that was there before the handler began is no leaving
 * either: who sends a request and closes its side at once waits for the answer.
 *
 * The timer is lazy: it is armed for the earliest deadline ever asked for and, when it fires too
 * early, armed again. So a request that is answered in time costs no work on the timer heap.
 *
 * The end of a connection: out of the list (after which no other thread sees it), its scope
 * cancelled and closed, its descriptor freed, and last the hold on the group, which lets
 * weir_http_serve() return.
 */
#include <stdlib.h>
#include <string.h>

#include "http/h2_server.h"
#include "http/server.h"
#include "rt/task.h"

static int conn_task(const weir_ctx *ctx, void *arg);

/* ---- blocks ---- */

struct weir__block *weir__block_get(weir_http_server *s, struct weir__http_worker *w)
{
	size_t fields = s->limits.fields_max * sizeof(struct weir__h1_field);
	struct weir__block *b = w->blocks;

	if (b) {
		w->blocks = b->next;
		w->block_count--;
	} else {
		b = malloc(sizeof *b + fields + s->in_cap);
		if (!b)
			return NULL;
		b->in = (char *)b->fields + fields;
		b->x.state = WEIR__X_UNUSED;
		b->x.head = (struct weir__h1_head){ .max = s->limits.header_max,
			                            .fields_max = s->limits.fields_max,
			                            .fields = b->fields };
	}
	b->in_len = b->in_pos = b->head_end = 0;
	b->dry = false;
	return b;
}

void weir__block_put(struct weir__http_worker *w, struct weir__block *b)
{
	if (w->block_count == WEIR__HTTP_BLOCKS) {
		free(b);
		return;
	}
	b->next = w->blocks;
	w->blocks = b;
	w->block_count++;
}

static void block_return(struct weir__http_conn *c)
{
	weir__block_put(c->worker, c->stream.block);
	c->stream.block = NULL;
}

/* ---- time ---- */

/* What has arrived by now is served; else this side ends. */
static void idle_no_more(struct weir__http_conn *c)
{
	ssize_t r = -ENOMEM;

	weir__conn_unwatch(c->io, WEIR__IN);
	weir__stat_add(c->worker, idle, (uint64_t)-1);
	c->state = WEIR__RUNNING;
	c->stream.block = weir__block_get(c->server, c->worker);
	if (c->stream.block)
		r = weir__conn_try_read(c->io, c->stream.block->in, c->server->in_cap);
	if (r > 0) {
		c->stream.block->in_len = (size_t)r;
		weir__stat_add(c->worker, bytes_in, (uint64_t)r);
		if (weir_group_go_on(&c->serving->conns, c->worker_index, conn_task, c) == 0)
			return;
		r = -ENOMEM;
	}
	if (c->stream.block)
		block_return(c);
	if (r == -EAGAIN)
		weir__http_conn_linger(c);
	else
		weir__http_conn_end(c);
}

static void timer_fired(struct weir__timer *t)
{
	struct weir__http_conn *c = weir__container(t, struct weir__http_conn, timer);
	int64_t now = weir_now();

	if (c->deadline_ns > now) {
		if (c->deadline_ns != WEIR_NEVER)
			weir__timer_start(t, c->deadline_ns, timer_fired);
		return;
	}
	c->deadline_ns = WEIR_NEVER;
	switch (c->state) {
	case WEIR__RUNNING:
		weir__http_limit(c);
		break;
	case WEIR__IDLE:
		idle_no_more(c);
		break;
	case WEIR__LINGER:
		weir__http_conn_end(c);
		break;
	case WEIR__STREAM:
	case WEIR__H2:
		break;
	}
}

void weir__http_deadline(struct weir__http_conn *c, int64_t at_ns)
{
	if (c->state == WEIR__H2) {
		weir__h2_server_deadline(c, at_ns);
		return;
	}
	c->deadline_ns = at_ns;
	if (at_ns != WEIR_NEVER && (!weir__timer_armed(&c->timer) || c->timer.at_ns > at_ns))
		weir__timer_start(&c->timer, at_ns, timer_fired);
}

static int64_t from_now(int64_t ns)
{
	int64_t at;

	return __builtin_add_overflow(weir__now_coarse() + weir__clock_resolution(), ns, &at) ?
	               WEIR_NEVER :
	               at;
}

void weir__http_limit(struct weir__http_conn *c)
{
	uint32_t was = __atomic_load_n(&c->stream.claim, __ATOMIC_ACQUIRE);
	char text[512];
	struct iovec iov;
	ssize_t r;

	if ((was & WEIR__CLAIM_MASK) != WEIR__NOBODY ||
	    __atomic_load_n(&c->stream.limit_ns, __ATOMIC_ACQUIRE) > weir_now())
		return;
	weir__point();
	if (!__atomic_compare_exchange_n(&c->stream.claim, &was, was | WEIR__LIMIT, false,
	                                 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	__atomic_add_fetch(&c->server->limited, 1, __ATOMIC_RELAXED);
	iov = (struct iovec){ text, weir__answer_limit(text, sizeof text) };
	/* What does not fit into the socket now is not waited for: the end of the stream says
	 * enough. */
	while (iov.iov_len && (r = weir__conn_try_writev(c->io, &iov, 1)) > 0)
		iov = (struct iovec){ (char *)iov.iov_base + r, iov.iov_len - (size_t)r };
	weir_conn_shutdown_write(c->io);
	weir_scope_cancel(c->scope, -ETIMEDOUT, "the handler's limit passed");
}

/* ---- the client leaves ---- */

/* Are these bytes of the body, with no other request behind it? A chunked body that nobody has read
 * yet has to be looked through for its end. */
static bool all_of_body(const weir_http *x, const char *bytes, size_t n)
{
	struct weir__h1_chunks chunks = x->chunks;
	char sink[512];
	size_t used;

	if (!x->head.chunked)
		return n <= x->body_left;
	for (; n && !chunks.done; bytes += used, n -= used)
		if (weir__h1_unchunk(&chunks, bytes, n, &used, sink, sizeof sink) < 0)
			return false;
	return n == 0;
}

/* Reads what has come behind the request. True if the end follows and no other request does. */
static bool nothing_follows(struct weir__http_conn *c)
{
	struct weir__block *b = c->stream.block;
	ssize_t r = -EAGAIN;

	b->dry = false;
	while (b->in_len < c->server->in_cap) {
		r = weir__conn_try_read(c->io, b->in + b->in_len, c->server->in_cap - b->in_len);
		if (r <= 0)
			break;
		b->in_len += (size_t)r;
		weir__stat_add(c->worker, bytes_in, (uint64_t)r);
	}
	if (r > 0 || r == -EBUSY)
		/* There is more; or the handler is reading, and will see the end itself. */
		return false;
	return all_of_body(&b->x, b->in + b->in_pos, b->in_len - b->in_pos);
}

static void client_gone(weir_conn *io, void *arg)
{
	struct weir__http_conn *c = arg;

	(void)io;
	c->stream.peer_left = true;
	if (c->state == WEIR__STREAM && !c->stream.stop_told) {
		c->stream.stop_told = true;
		weir__stat_add(c->worker, client_gone, 1);
		c->stream.stop(&c->stream, -EPIPE, c->stream.stop_arg);
		return;
	}
	/* Without a route its head is being read, or it has not begun. */
	if (c->state != WEIR__RUNNING || !c->stream.block || !c->stream.route ||
	    !nothing_follows(c))
		return;
	weir__stat_add(c->worker, client_gone, 1);
	weir_scope_cancel(c->scope, -EPIPE, "the client left");
}

/* ---- drain and cancel ---- */

static int64_t idle_until(const struct weir__http_conn *c)
{
	if (c->kept)
		return WEIR_NEVER;
	return from_now(c->draining ? WEIR__HTTP_ON_ITS_WAY_NS : c->server->limits.idle_ns);
}

void weir_http_conn_keep(weir_http_conn *c, bool keep)
{
	weir__magic_check(c, WEIR__HTTP_CONN_MAGIC);
	c->kept = keep;
	if (c->state == WEIR__IDLE)
		weir__http_deadline(c, idle_until(c));
	else if (c->state == WEIR__H2)
		weir__h2_server_kept(c);
}

static void stopped(weir_hook *hook, int step)
{
	struct weir__http_conn *c = weir__container(hook, struct weir__http_conn, hook);

	if (step == WEIR_DRAIN) {
		c->draining = true;
		if (c->state == WEIR__IDLE)
			weir__http_deadline(c, idle_until(c));
		else if (c->state == WEIR__STREAM)
			c->stream.stop(&c->stream, -ESHUTDOWN, c->stream.stop_arg);
		return;
	}
	c->draining = c->canceled = true;
	if (c->state == WEIR__IDLE)
		weir__stat_add(c->worker, idle, (uint64_t)-1);
	if (c->state == WEIR__IDLE || c->state == WEIR__LINGER) {
		weir__http_conn_end(c);
	} else if (c->state == WEIR__H2) {
		weir__h2_server_cancel(c);
	} else if (c->state == WEIR__STREAM && !c->stream.stop_told) {
		c->stream.stop_told = true;
		c->stream.stop(&c->stream, -ECANCELED, c->stream.stop_arg);
	}
}

/* ---- requests ---- */

/* 1: the block's exchange holds a request; 0: none is there or on its way; < 0: minus the status to
 * refuse it with, or for an end without an answer, or for HTTP/2. */
enum { QUIET_END = -WEIR__H1_FOREIGN, OTHER_PROTOCOL = QUIET_END - 1 };

/* The beginning of HTTP/2 (RFC 9113 §3.4), or of that; at the beginning of a connection only. */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static bool is_preface(const struct weir__http_conn *c)
{
	const struct weir__block *b = c->stream.block;
	size_t n = b->in_len < sizeof preface - 1 ? b->in_len : sizeof preface - 1;

	/* The claim counts exchanges. */
	return (n > 3 || c->only_h2) && !c->stream.claim && memcmp(b->in, preface, n) == 0;
}

static int next_request(struct weir__http_conn *c)
{
	struct weir__block *b = c->stream.block;
	weir_http *x = &b->x;
	weir_ctx ctx = { c->scope, WEIR_NEVER, 0 };
	size_t left = b->in_len - b->in_pos;
	ssize_t r;

	if (left && b->in_pos)
		memmove(b->in, b->in + b->in_pos, left);
	b->in_len = left;
	b->in_pos = b->head_end = 0;
	/* After a short read, what comes next makes a new event, and a request costs one read. Only
	 * of an end that was seen already there is no second event. */
	if (!left && b->dry && !c->stream.peer_left)
		return 0;
	weir__h1_reset(&x->head);
	x->head.blank = c->blank;
	for (;;) {
		if (b->in_len && is_preface(c)) {
			if (b->in_len >= sizeof preface - 1)
				return OTHER_PROTOCOL;
		} else if (b->in_len && c->only_h2) {
			return QUIET_END; /* RFC 9113 §3.4: GOAWAY would not be understood. */
		} else if (b->in_len) {
			r = weir__h1_head(&x->head, b->in, b->in_len);
			if (r < 0)
				return (int)r;
			if (r > 0) {
				c->blank = false;
				b->in_pos = b->head_end = (size_t)r;
				return 1;
			}
			if (!x->head.method && x->head.line == b->in_len) {
				/* Only an empty line, as some clients add behind a body. */
				b->in_len = x->head.line = x->head.seen = 0;
				c->blank = true;
			}
		}
		if (ctx.deadline_ns == WEIR_NEVER)
			r = weir__conn_try_read(c->io, b->in + b->in_len,
			                        c->server->in_cap - b->in_len);
		if (ctx.deadline_ns != WEIR_NEVER || r == -EAGAIN) {
			if (!b->in_len)
				return 0;
			if (ctx.deadline_ns == WEIR_NEVER)
				ctx.deadline_ns = from_now(c->server->limits.header_ns);
			r = weir_conn_read(&ctx, c->io, b->in + b->in_len,
			                   c->server->in_cap - b->in_len);
		}
		if (r == -ETIMEDOUT) {
			weir__stat_add(c->worker, timeouts, 1);
			return c->only_h2 ? QUIET_END : -408;
		}
		if (r == 0)
			c->stream.peer_left = true;
		if (r == 0 && b->in_len)
			return -400;
		if (r <= 0)
			return QUIET_END;
		weir__stat_add(c->worker, bytes_in, (uint64_t)r);
		b->dry = (size_t)r < c->server->in_cap - b->in_len;
		b->in_len += (size_t)r;
	}
}

static enum weir__verdict serve(struct weir__http_conn *c)
{
	weir_http *x = &c->stream.block->x;
	enum weir__verdict verdict;
	int r;

	for (;;) {
		r = next_request(c);
		if (r == OTHER_PROTOCOL)
			return WEIR__UPGRADE;
		if (r == 0 || r == QUIET_END)
			return r == 0 ? WEIR__KEEP : WEIR__CLOSE;
		weir__exchange_init(x, &c->stream);
		verdict = r > 0 ? weir__exchange_run(x) : weir__exchange_refuse(x, -r);
		weir__exchange_fini(x);
		if (verdict != WEIR__KEEP)
			return verdict;
		if (c->stream.block->in_pos < c->stream.block->in_len &&
		    weir_yield(&(weir_ctx){ c->scope, WEIR_NEVER, 0 }) < 0)
			return WEIR__CLOSE;
	}
}

/* The handshake, before anybody else knows of the connection. */
static int secure(const weir_ctx *ctx, struct weir__http_conn *c)
{
	static const char plain[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
				    "Content-Type: text/plain\r\nContent-Length: 39\r\n\r\n"
				    "This port speaks TLS: write https://...";
	struct iovec iov = { (void *)(uintptr_t)plain, sizeof plain - 1 };
	int r = weir_tls_accept(ctx, c->serving->tls, &c->io);
	const char *alpn;

	if (r == -EPROTOTYPE)
		(void)weir__conn_try_writev(c->io, &iov, 1);
	alpn = r == 0 ? weir_conn_alpn(c->io) : NULL;
	c->only_h2 = alpn && !strcmp(alpn, "h2");
	return r;
}

static int begin(const weir_ctx *ctx, struct weir__http_conn *c)
{
	int r;

	/* Not on its own scope: the limit and the client's leaving cancel that, and a hook hears
	 * one cancel only; the stop's would not be heard after them. */
	c->hook.fn = stopped;
	r = weir_hook_add(c->serving->conns.ctx.scope, &c->hook);
	if (r == 0 && c->serving->tls)
		r = secure(ctx, c);
	if (r < 0)
		return r;
	c->scope = weir__scope_new(c->serving->conns.ctx.scope, weir__current());
	if (!c->scope)
		return -ENOMEM;
	c->stream.scope = c->scope;
	weir__lock_acquire(&c->worker->lock);
	weir__list_append(&c->worker->streams, &c->stream.link);
	weir__lock_release(&c->worker->lock);
	weir__stat_add(c->worker, conns_total, 1);
	r = weir__conn_on_gone(c->io, client_gone, c);
	c->stream.peer_left = r > 0;
	return r;
}

static int conn_task(const weir_ctx *ctx, void *arg)
{
	struct weir__http_conn *c = arg;
	enum weir__verdict verdict = WEIR__CLOSE;
	int r;

	r = c->scope ? 0 : begin(ctx, c);
	if (r < 0) {
		if (r == -EPROTOTYPE)
			weir__http_conn_linger(c);
		else
			weir__http_conn_end(c);
		return 0;
	}
	if (!c->stream.block)
		c->stream.block = weir__block_get(c->server, c->worker);
	if (c->stream.block) {
		weir__scope_adopt(c->scope, weir__current());
		verdict = serve(c);
		weir__scope_adopt(c->scope, NULL);
		/* A session that begins behind a cancel would not hear of it. */
		if (verdict == WEIR__UPGRADE &&
		    (c->canceled ||
		     weir__h2_server_start(c, c->stream.block->in, c->stream.block->in_len) < 0))
			verdict = WEIR__CLOSE;
		block_return(c);
	}
	switch (verdict) {
	case WEIR__KEEP:
		weir__http_conn_idle(c);
		break;
	case WEIR__LINGER_CLOSE:
		weir__http_conn_linger(c);
		break;
	case WEIR__CLOSE:
		weir__http_conn_end(c);
		break;
	case WEIR__UPGRADE:
		break;
	case WEIR__STREAMING:
		if (c->draining)
			c->stream.stop(&c->stream, -ESHUTDOWN, c->stream.stop_arg);
		break;
	}
	return 0;
}

static void readable(weir_conn *io, void *arg)
{
	struct weir__http_conn *c = arg;

	(void)io;
	weir__stat_add(c->worker, idle, (uint64_t)-1);
	c->state = WEIR__RUNNING;
	if (weir_group_go_on(&c->serving->conns, c->worker_index, conn_task, c) < 0)
		weir__http_conn_end(c);
}

void weir__http_conn_idle(struct weir__http_conn *c)
{
	if (c->canceled || weir__conn_watch(c->io, WEIR__IN, readable, c) < 0) {
		weir__http_conn_end(c);
		return;
	}
	c->state = WEIR__IDLE;
	weir__stat_add(c->worker, idle, 1);
	weir__http_deadline(c, idle_until(c));
}

/* ---- lingering ---- */

static void discard(weir_conn *io, void *arg)
{
	struct weir__http_conn *c = arg;
	char buf[4096];
	ssize_t r;

	for (;;) {
		r = weir__conn_try_read(io, buf, sizeof buf);
		if (r <= 0)
			break;
		c->discarded += (size_t)r;
		if (c->discarded > WEIR__HTTP_DISCARD)
			break;
	}
	if (r != -EAGAIN || weir__conn_watch(io, WEIR__IN, discard, c) < 0)
		weir__http_conn_end(c);
}

void weir__http_conn_linger(struct weir__http_conn *c)
{
	c->state = WEIR__LINGER;
	if (c->canceled) {
		weir__http_conn_end(c);
		return;
	}
	weir_conn_shutdown_write(c->io);
	weir__http_deadline(c, from_now(WEIR__HTTP_LINGER_NS));
	discard(c->io, c);
}

/* ---- beginning and end ---- */

void weir__http_conn_start(struct weir__serving *sv, weir_conn *io)
{
	weir_http_server *s = sv->server;
	struct weir__http_conn *c = calloc(1, sizeof *c);
	int best = 0;

	if (!c || weir_group_hold(&sv->conns) < 0) {
		free(c);
		weir_conn_free(io);
		weir_sem_give(&s->slots);
		return;
	}
	for (int i = 1; i < s->worker_count; i++)
		if (__atomic_load_n(&s->workers[i].conn_count, __ATOMIC_RELAXED) <
		    __atomic_load_n(&s->workers[best].conn_count, __ATOMIC_RELAXED))
			best = i;
	c->magic = WEIR__HTTP_CONN_MAGIC;
	c->serving = sv;
	c->server = s;
	c->io = io;
	c->worker_index = best;
	c->worker = &s->workers[best];
	c->deadline_ns = c->stream.limit_ns = WEIR_NEVER;
	c->stream.magic = WEIR__HTTP_STREAM_MAGIC;
	c->stream.conn = c;
	__atomic_add_fetch(&c->worker->conn_count, 1, __ATOMIC_RELAXED);
	if (weir_group_go_on(&sv->conns, best, conn_task, c) < 0)
		weir__http_conn_end(c);
}

void weir__http_conn_end(struct weir__http_conn *c)
{
	weir_group *group = &c->serving->conns;
	weir_http_server *s = c->server;

	weir__magic_check(c, WEIR__HTTP_CONN_MAGIC);
	if (c->scope) {
		weir__lock_acquire(&c->worker->lock);
		weir__list_remove(&c->stream.link);
		weir__lock_release(&c->worker->lock);
		weir_scope_cancel(c->scope, -EPIPE, "the connection ended");
		weir__scope_free(c->scope);
	}
	weir_hook_remove(&c->hook);
	weir__timer_stop(&c->timer);
	weir_conn_free(c->io);
	__atomic_sub_fetch(&c->worker->conn_count, 1, __ATOMIC_RELAXED);
	c->magic = 0;
	free(c);
	weir_sem_give(&s->slots);
	weir_group_release(group);
}
