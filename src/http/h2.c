/* SPDX-License-Identifier: MIT */
/*
 * The session: nghttp2 between a connection and its streams.
 *
 * Reading happens in a watch: what came goes through nghttp2, whose callbacks fill streams, wake
 * their readers and start tasks. Writing is batched: tasks submit frames, which are framed into one
 * buffer at once, and one message writes that buffer when the tasks that were ready have had their
 * turn. So a connection with many streams makes one read and one write for a burst of requests,
 * and an idle one holds neither task nor buffer.
 *
 * Who may call what. nghttp2 must not be entered from inside its callbacks; those only submit. What
 * streams have to be told (closed, writable) waits in `fired` for the message, which then lets the
 * role look whether the connection is to end. So `settle` is the one place where a session goes.
 *
 * Connection window: opened again as bytes come, not as they are read, since one handler that does
 * not read must not stop the uploads of all others; but beyond WEIR__H2_HELD unread bytes it is
 * opened only by reading. So a peer can make a connection hold that much and one window more.
 */
#include "http/h2.h"

#include <stdlib.h>
#include <string.h>

#include "rt/task.h"

enum { READS = 8, SPARES = 64, FRAME_HEAD = 9 };

static void work(struct weir__msg *m);
static void readable(weir_conn *io, void *arg);
static void tick(struct weir__timer *t);

/* ---- buffers ---- */

/* One per worker is kept, however many sessions it has. */
static struct weir__h2_out *spare[SPARES];

static struct weir__h2_out *out_get(int worker)
{
	struct weir__h2_out *o =
		__atomic_exchange_n(&spare[worker % SPARES], NULL, __ATOMIC_ACQUIRE);

	if (!o)
		o = malloc(sizeof *o);
	if (o)
		o->at = o->len = 0;
	return o;
}

static void out_put(int worker, struct weir__h2_out *o)
{
	struct weir__h2_out *none = NULL;

	if (o && !__atomic_compare_exchange_n(&spare[worker % SPARES], &none, o, false,
	                                      __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		free(o);
}

/* ---- streams, as nghttp2 sees them ---- */

static struct weir__h2_stream *stream_of(struct weir__h2 *h2, int32_t id)
{
	struct weir__h2_stream *st = nghttp2_session_get_stream_user_data(h2->session, id);

	if (st)
		weir__magic_check(st, WEIR__H2_STREAM_MAGIC);
	return st;
}

void weir__h2_fire(struct weir__h2_stream *st)
{
	if (!weir__list_linked(&st->fired))
		weir__list_append(&st->h2->fired, &st->fired);
	weir__h2_flush(st->h2);
}

static void stream_over(struct weir__h2_stream *st, uint32_t error)
{
	st->closed = true;
	st->error = error;
	weir__h2_stream_wake(st);
	st->tell_closed = true;
	weir__h2_fire(st);
}

/* Gives the connection's window back as far as it may be. */
static void give_back(struct weir__h2 *h2)
{
	if (!h2->in_owed || h2->in_held >= WEIR__H2_HELD || h2->dead)
		return;
	nghttp2_session_consume_connection(h2->session, h2->in_owed);
	h2->in_owed = 0;
	weir__h2_flush(h2);
}

void weir__h2_unhold(struct weir__h2 *h2, size_t n)
{
	h2->in_held -= n;
	give_back(h2);
}

/*
 * nghttp2 passes over frames of streams that it has forgotten, and letting it remember them would
 * cost an idle connection 20 KB. So the last ends are kept here: what comes on a stream behind its
 * end is an error (RFC 9113 §5.1), unless we reset the stream, since then it may have crossed that;
 * and of an older stream nobody knows.
 */
static void note_end(struct weir__h2 *h2, int32_t id, bool by_us)
{
	/* Its reset is sent just before a stream is closed: one end, and ours. */
	if (h2->ends && h2->ended_id[(h2->ends - 1) % WEIR__H2_ENDS] == -id)
		return;
	h2->ended_id[h2->ends++ % WEIR__H2_ENDS] = by_us ? -id : id;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
	struct weir__h2 *h2 = user;
	uint32_t known = h2->ends < WEIR__H2_ENDS ? h2->ends : WEIR__H2_ENDS;

	/* What nghttp2 passes over without a word. */
	if (hd->type == NGHTTP2_PRIORITY || hd->type > NGHTTP2_CONTINUATION)
		h2->role->frame(h2, &(nghttp2_frame){ .hd = *hd }, WEIR__H2_CAME);
	if (hd->type == NGHTTP2_PRIORITY && hd->stream_id == 0)
		nghttp2_session_terminate_session(session, NGHTTP2_PROTOCOL_ERROR);
	if ((hd->type != NGHTTP2_HEADERS && hd->type != NGHTTP2_DATA) ||
	    hd->stream_id > h2->newest || !(hd->stream_id & 1) ||
	    nghttp2_session_find_stream(session, hd->stream_id))
		return 0;
	for (uint32_t i = 0; i < known; i++) {
		if (h2->ended_id[i] == -hd->stream_id)
			return 0;
		if (h2->ended_id[i] == hd->stream_id)
			nghttp2_session_terminate_session(session, NGHTTP2_STREAM_CLOSED);
	}
	if (h2->ends < WEIR__H2_ENDS) /* It never was. */
		nghttp2_session_terminate_session(session, NGHTTP2_PROTOCOL_ERROR);
	return 0;
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct weir__h2 *h2 = user;
	struct weir__h2_stream *st;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	h2->newest = frame->hd.stream_id;
	st = h2->role->open(h2, frame->hd.stream_id);
	if (!st) {
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
		                          NGHTTP2_REFUSED_STREAM);
		return 0;
	}
	nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, st);
	h2->heads = st;
	return 0;
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                    void *user)
{
	struct weir__h2 *h2 = user;
	struct weir__h2_stream *st = h2->heads;

	(void)session;
	(void)flags;
	/* The fields of a head come one behind the other. */
	if (!st || st->id != frame->hd.stream_id)
		st = stream_of(h2, frame->hd.stream_id);
	if (!st || h2->dead)
		return 0;
	return h2->role->field(st, (const char *)name, name_len, (const char *)value, value_len,
	                       st->head_seen) < 0 ?
	               NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE :
	               0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct weir__h2 *h2 = user;
	struct weir__h2_stream *st;

	(void)session;
	h2->role->frame(h2, frame, WEIR__H2_CAME);
	if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK)
		h2->role->ping_ack(h2, frame->ping.opaque_data);
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	st = stream_of(h2, frame->hd.stream_id);
	if (!st || h2->dead)
		return 0;
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		st->in_end = true;
	if (frame->hd.type == NGHTTP2_HEADERS && !st->head_seen)
		h2->role->head(st, st->in_end);
	if (st->in_end)
		(void)weir__h2_stream_came(st, NULL, 0);
	return 0;
}

static int on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
	struct weir__h2 *h2 = user;

	(void)session;
	(void)error;
	h2->role->frame(h2, frame, WEIR__H2_REFUSED);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t n, void *user)
{
	struct weir__h2 *h2 = user;
	struct weir__h2_stream *st = stream_of(h2, id);
	size_t kept = 0;

	(void)session;
	(void)flags;
	if (st && !st->discards && !h2->dead) {
		ssize_t r = weir__h2_stream_came(st, (const char *)data, n);

		if (r < 0) {
			nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id,
			                          NGHTTP2_INTERNAL_ERROR);
			st->discards = true;
		} else {
			kept = (size_t)r;
		}
	} else {
		/* Bytes that nobody wants cost nobody a window. */
		nghttp2_session_consume_stream(h2->session, id, n);
	}
	h2->in_held += kept;
	h2->in_owed += n;
	give_back(h2);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
	struct weir__h2 *h2 = user;
	struct weir__h2_stream *st = stream_of(h2, id);

	(void)session;
	note_end(h2, id, st && st->reset);
	if (st)
		stream_over(st, error);
	return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct weir__h2 *h2 = user;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		h2->goaway_at = h2->framed;
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		note_end(h2, frame->hd.stream_id, true);
	h2->role->frame(h2, frame, WEIR__H2_SENT);
	return 0;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t n, nghttp2_data_source *source, void *user)
{
	struct weir__h2 *h2 = user;
	struct weir__h2_stream *st = source->ptr;
	struct weir__h2_out *o = h2->out;

	(void)session;
	(void)frame;
	weir__magic_check(st, WEIR__H2_STREAM_MAGIC);
	/* nghttp2 goes from one frame of DATA to the next within one call; it will ask again. */
	if (sizeof o->bytes - o->len < n + 9)
		return NGHTTP2_ERR_WOULDBLOCK;
	memcpy(o->bytes + o->len, head, 9);
	weir__h2_stream_take(st, o->bytes + o->len + 9, n);
	o->len += n + 9;
	h2->framed += n + 9;
	/* It would go on with the next one. */
	return sizeof o->bytes - o->len < WEIR__H2_PIECE ? NGHTTP2_ERR_PAUSE : 0;
}

static nghttp2_session_callbacks *callbacks;

__attribute__((constructor)) static void fill_callbacks(void)
{
	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return;
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
}

__attribute__((destructor)) static void free_callbacks(void)
{
	nghttp2_session_callbacks_del(callbacks);
	for (int i = 0; i < SPARES; i++)
		free(spare[i]);
}

/* ---- writing ---- */

static void frame_all(struct weir__h2 *h2)
{
	const uint8_t *data;
	ssize_t n;

	weir__assert(!h2->busy, "a session was entered from inside");
	while (!h2->dead) {
		if (!h2->out)
			h2->out = out_get(h2->worker);
		if (!h2->out) {
			weir__h2_die(h2, -ENOMEM);
			return;
		}
		if (sizeof h2->out->bytes - h2->out->len < WEIR__H2_PIECE)
			break;
		h2->busy = true;
		n = nghttp2_session_mem_send(h2->session, &data);
		h2->busy = false;
		if (n < 0) {
			weir__h2_die(h2, n == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO);
			return;
		}
		if (n == 0)
			break;
		memcpy(h2->out->bytes + h2->out->len, data, (size_t)n);
		h2->out->len += (size_t)n;
		h2->framed += (size_t)n;
	}
}

void weir__h2_pump(struct weir__h2 *h2)
{
	frame_all(h2);
	weir__h2_flush(h2);
}

static void writable(weir_conn *io, void *arg)
{
	struct weir__h2 *h2 = arg;

	(void)io;
	h2->out_watched = false;
	h2->stalls_at = WEIR_NEVER;
	weir__h2_flush(h2);
}

static int64_t after(int64_t ns)
{
	int64_t at;

	return __builtin_add_overflow(weir_now(), ns, &at) ? WEIR_NEVER : at;
}

static void wait_for_room(struct weir__h2 *h2)
{
	int r = weir__conn_watch(h2->io, WEIR__OUT, writable, h2);

	if (r < 0) {
		weir__h2_die(h2, r);
		return;
	}
	h2->out_watched = true;
	h2->stalls_at = after(h2->write_ns);
	weir__h2_deadline(h2, h2->stalls_at);
}

static void write_out(struct weir__h2 *h2)
{
	while (!h2->dead && !h2->out_watched) {
		struct weir__h2_out *o;
		struct iovec iov;
		ssize_t r;

		frame_all(h2);
		o = h2->out;
		if (h2->dead || o->at == o->len)
			break;
		iov = (struct iovec){ o->bytes + o->at, o->len - o->at };
		r = weir__conn_try_writev(h2->io, &iov, 1);
		if (r == -EAGAIN) {
			wait_for_room(h2);
		} else if (r < 0) {
			weir__h2_die(h2, (int)r);
		} else {
			o->at += (size_t)r;
			h2->left += (uint64_t)r;
			if (o->at == o->len)
				o->at = o->len = 0;
		}
	}
	if (h2->out && h2->out->at == h2->out->len) {
		out_put(h2->worker, h2->out);
		h2->out = NULL;
	}
}

static void tell(struct weir__h2 *h2)
{
	struct weir__list *node;

	while ((node = weir__list_pop(&h2->fired))) {
		struct weir__h2_stream *st = weir__container(node, struct weir__h2_stream, fired);

		if (st->tell_closed) {
			st->tell_closed = st->may_write = false;
			h2->role->closed(st);
		} else if (st->may_write) {
			st->may_write = false;
			if (!st->watched)
				continue;
			st->watched = false;
			h2->role->writable(st);
		}
	}
}

static void work(struct weir__msg *m)
{
	struct weir__h2 *h2 = weir__container(m, struct weir__h2, msg);
	struct weir__list *node;

	weir__magic_check(h2, WEIR__H2_MAGIC);
	h2->posted = false;
	if (h2->unread && !h2->dead)
		readable(h2->io, h2);
	while ((node = weir__list_pop(&h2->owed)))
		h2->role->push(weir__container(node, struct weir__h2_stream, owed));
	write_out(h2);
	tell(h2);
	/* A message that is on its way would find it gone. */
	if (!h2->posted)
		h2->role->settle(h2);
}

void weir__h2_flush(struct weir__h2 *h2)
{
	if (h2->posted)
		return;
	h2->posted = true;
	weir__post_late(&h2->msg);
}

bool weir__h2_flushed(const struct weir__h2 *h2)
{
	return !h2->out && (h2->dead || !nghttp2_session_want_write(h2->session));
}

bool weir__h2_over(const struct weir__h2 *h2)
{
	return h2->dead || (!h2->out && !nghttp2_session_want_read(h2->session) &&
	                    !nghttp2_session_want_write(h2->session));
}

/* ---- reading ---- */

static void feed(struct weir__h2 *h2, const uint8_t *bytes, size_t n)
{
	ssize_t r;

	if (!n || h2->deaf)
		return;
	h2->busy = true;
	r = nghttp2_session_mem_recv(h2->session, bytes, n);
	h2->busy = false;
	if (r >= 0)
		return;
	/* What is wrong is said with GOAWAY, if nghttp2 has not done so. */
	if (r != NGHTTP2_ERR_NOMEM && r != NGHTTP2_ERR_CALLBACK_FAILURE)
		nghttp2_session_terminate_session(h2->session, r == NGHTTP2_ERR_FLOODED ?
		                                                       NGHTTP2_ENHANCE_YOUR_CALM :
		                                                       NGHTTP2_PROTOCOL_ERROR);
	h2->deaf = true;
}

static uint32_t number(const uint8_t *p)
{
	return (uint32_t)(p[0] & 0x7f) << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* How much of the next frame is looked at. PRIORITY of another length is refused by nghttp2. */
static size_t head_wanted(const struct weir__h2 *h2)
{
	return h2->head_len < FRAME_HEAD || h2->head[3] != NGHTTP2_PRIORITY || h2->head[0] ||
	                       h2->head[1] || h2->head[2] != 5 ?
	               FRAME_HEAD :
	               FRAME_HEAD + 4;
}

/* What nghttp2 does not tell or look at: DATA on streams that it has forgotten, and a stream that
 * depends on itself (RFC 7540 §5.3.1). */
static void head_came(struct weir__h2 *h2)
{
	nghttp2_frame_hd hd = { .type = h2->head[3], .stream_id = (int32_t)number(h2->head + 5) };

	if (hd.type == NGHTTP2_DATA)
		on_begin_frame(h2->session, &hd, h2);
	else if (h2->head_len > FRAME_HEAD &&
	         number(h2->head + FRAME_HEAD) == (uint32_t)hd.stream_id)
		nghttp2_session_terminate_session(h2->session, NGHTTP2_PROTOCOL_ERROR);
}

/* Goes along with the frames, and gives nghttp2 what lies before one that is to be looked at. */
static void take(struct weir__h2 *h2, const uint8_t *bytes, size_t n)
{
	size_t fed = 0, at = 0;

	h2->came += n;
	h2->came_ns = weir__now_coarse();
	while (at < n) {
		size_t step = h2->payload < n - at ? h2->payload : n - at, begin;

		at += step;
		h2->payload -= (uint32_t)step;
		while (at < n && !h2->payload && h2->head_len < head_wanted(h2))
			h2->head[h2->head_len++] = bytes[at++];
		if (h2->payload || h2->head_len < head_wanted(h2))
			continue;
		h2->payload = (uint32_t)(h2->head[0] << 16 | h2->head[1] << 8 | h2->head[2]) +
		              FRAME_HEAD - h2->head_len;
		if (h2->head[3] == NGHTTP2_DATA || h2->head_len > FRAME_HEAD) {
			begin = at > h2->head_len ? at - h2->head_len : 0;
			feed(h2, bytes + fed, begin - fed);
			fed = begin;
			head_came(h2);
		}
		h2->head_len = 0;
	}
	feed(h2, bytes + fed, n - fed);
}

static void listen_on(struct weir__h2 *h2)
{
	int r = weir__conn_watch(h2->io, WEIR__IN, readable, h2);

	if (r < 0)
		weir__h2_die(h2, r);
}

static void readable(weir_conn *io, void *arg)
{
	struct weir__h2 *h2 = arg;
	struct weir__h2_out *buf = out_get(h2->worker);
	ssize_t r = buf ? 1 : -ENOMEM;

	h2->unread = false;
	for (int i = 0; buf && i < READS && !h2->deaf && nghttp2_session_want_read(h2->session);
	     i++) {
		r = weir__conn_try_read(io, buf->bytes, sizeof buf->bytes);
		if (r <= 0)
			break;
		take(h2, (const uint8_t *)buf->bytes, (size_t)r);
	}
	out_put(h2->worker, buf);
	if (r == -EAGAIN)
		listen_on(h2);
	else if (r == 0 || r < 0)
		weir__h2_die(h2, r == 0 ? -EPIPE : (int)r);
	else if (!h2->deaf && nghttp2_session_want_read(h2->session))
		h2->unread = true; /* A turn for others; there is no new edge. */
	weir__h2_flush(h2);
}

/* ---- life ---- */

void weir__h2_die(struct weir__h2 *h2, int error)
{
	if (h2->dead)
		return;
	h2->dead = error;
	weir__conn_unwatch(h2->io, WEIR__IN);
	weir__conn_unwatch(h2->io, WEIR__OUT);
	weir__list_each (node, &h2->streams) {
		struct weir__h2_stream *st = weir__container(node, struct weir__h2_stream, link);

		if (!st->closed)
			stream_over(st, NGHTTP2_INTERNAL_ERROR);
	}
	weir__h2_flush(h2);
}

static void tick(struct weir__timer *t)
{
	struct weir__h2 *h2 = weir__container(t, struct weir__h2, timer);
	int64_t now = weir_now(), next;

	if (h2->deadline_ns > now) {
		if (h2->deadline_ns != WEIR_NEVER)
			weir__timer_start(t, h2->deadline_ns, tick);
		return;
	}
	h2->deadline_ns = WEIR_NEVER;
	if (h2->stalls_at <= now)
		weir__h2_die(h2, -ETIMEDOUT);
	next = h2->role->tick(h2, now);
	weir__h2_deadline(h2, next < h2->stalls_at ? next : h2->stalls_at);
	weir__h2_flush(h2);
}

void weir__h2_deadline(struct weir__h2 *h2, int64_t at_ns)
{
	if (at_ns >= h2->deadline_ns)
		return;
	h2->deadline_ns = at_ns;
	if (!weir__timer_armed(&h2->timer) || h2->timer.at_ns > at_ns)
		weir__timer_start(&h2->timer, at_ns, tick);
}

/* ---- nghttp2's memory ---- */

static void *pool_malloc(size_t n, void *pool)
{
	return weir__pool_get(pool, n);
}

static void pool_free(void *p, void *pool)
{
	weir__pool_put(pool, p);
}

static void *pool_calloc(size_t n, size_t size, void *pool)
{
	size_t all;
	void *p = __builtin_mul_overflow(n, size, &all) ? NULL : weir__pool_get(pool, all);

	return p ? memset(p, 0, all) : NULL;
}

static void *pool_realloc(void *p, size_t n, void *pool)
{
	return weir__pool_resize(pool, p, n);
}

static nghttp2_option *options(void)
{
	nghttp2_option *opt;

	if (nghttp2_option_new(&opt) != 0)
		return NULL;
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_option_set_no_closed_streams(opt, 1);
	nghttp2_option_set_max_outbound_ack(opt, 1000);
	return opt;
}

int weir__h2_init(struct weir__h2 *h2, const struct weir__h2_role *role, weir_conn *io,
                  struct weir__pool *pool, const nghttp2_settings_entry *settings,
                  size_t settings_n)
{
	nghttp2_mem memory = { pool, pool_malloc, pool_free, pool_calloc, pool_realloc };
	nghttp2_option *opt = options();
	int r = -1;

	*h2 = (struct weir__h2){ .magic = WEIR__H2_MAGIC,
		                 .worker = weir_worker(),
		                 .role = role,
		                 .io = io,
		                 .pool = pool,
		                 .msg.fn = work,
		                 .payload = NGHTTP2_CLIENT_MAGIC_LEN,
		                 .write_ns = WEIR_NEVER,
		                 .stalls_at = WEIR_NEVER,
		                 .deadline_ns = WEIR_NEVER };
	weir__list_init(&h2->streams);
	weir__list_init(&h2->fired);
	weir__list_init(&h2->owed);
	if (opt && callbacks)
		r = nghttp2_session_server_new3(&h2->session, callbacks, h2, opt, &memory);
	nghttp2_option_del(opt);
	if (r != 0)
		return -ENOMEM;
	if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, settings_n) == 0 &&
	    nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
	                                          WEIR__H2_HELD) == 0)
		return 0;
	nghttp2_session_del(h2->session);
	return -ENOMEM;
}

void weir__h2_start(struct weir__h2 *h2, const void *first, size_t n)
{
	if (n)
		take(h2, first, n);
	readable(h2->io, h2);
}

void weir__h2_fini(struct weir__h2 *h2)
{
	weir__magic_check(h2, WEIR__H2_MAGIC);
	weir__assert(weir__list_empty(&h2->streams), "a session ends before its streams");
	weir__assert(!h2->posted, "a session ends before its message has come");
	weir__timer_stop(&h2->timer);
	weir__conn_unwatch(h2->io, WEIR__IN);
	weir__conn_unwatch(h2->io, WEIR__OUT);
	out_put(h2->worker, h2->out);
	nghttp2_session_del(h2->session);
	h2->magic = 0;
}
