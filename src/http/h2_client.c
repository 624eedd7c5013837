/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 for clients, on nghttp2, without a task of its own.
 *
 * Bytes in: a watch reads until there is nothing more and feeds nghttp2, whose callbacks put
 * headers and data into the streams and wake the tasks that wait for them. Bytes out: whoever has
 * submitted something posts the flush as a late message, so what the tasks of one turn submit
 * leaves in one write.
 *
 * Bounds: a stream holds at most its window (WINDOW) unread, since windows open only for what was
 * read, 64 KiB unsent, since senders wait, and WEIR__H2_FIELDS_MAX of fields in all its heads
 * (nghttp2 bounds them only as they are packed).
 *
 * Who keeps what: the connection lives while its owner, a stream or a message on its way needs it
 * (`refs`). A stream belongs to its task until weir__h2s_close(); nghttp2 knows it by its user
 * data, which is taken away then, so a late frame meets nobody.
 *
 * A lost connection is closed at once, so that it holds no descriptor until somebody looks; its
 * record stays for those who still have a stream.
 */
#include "http/h2_client.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "http/h2_fields.h"
#include "net/conn.h"
#include "rt/task.h"

enum {
	IN = 16 * 1024,
	OUT_FULL = 64 * 1024, /* gathered bytes of a connection, before it writes */
	UNSENT_MAX = 64 * 1024,
	WINDOW = 1024 * 1024,
	CONN_WINDOW = 4 * 1024 * 1024,
};

int weir__h2c_reads = 32;

#define STREAM_MAGIC 0x68327374u
struct weir__h2s {
	uint32_t magic;
	weir__h2c *conn;
	int32_t id;
	struct weir__list link;
	struct weir__wait *reader, *sender;
	bool head_done, ended, closed; /* closed: nghttp2 has forgotten it */
	bool end_queued, deferred, refused;
	bool endless; /* more fields came than are taken */
	uint32_t error;
	struct weir__buf in, out;
	size_t in_pos, out_pos;
	struct weir__h2_heads heads;
};

#define CONN_MAGIC 0x68326363u
struct weir__h2c {
	uint32_t magic;
	unsigned refs;
	int worker;
	int lost; /* why, or 0 */
	bool goaway, settled, flush_posted, closing;
	bool too_many_pings; /* so the server said */
	bool unread;         /* more may lie in the socket, of which no edge will tell */
	weir_conn *io;       /* NULL once it is lost */
	nghttp2_session *session;
	struct weir__list streams;
	struct weir__msg flush;
	struct weir__buf out;
	size_t out_pos;
	bool watching_out;
	struct weir__h2c_options opt;
	struct weir__timer timer;
	int64_t heard_ns, pinged_ns; /* pinged_ns: 0 while no answer is awaited */
	char peer[64];
	char in[IN];
};

/* ---- who waits, and the end of a connection ---- */

static void wake(struct weir__wait **who)
{
	struct weir__wait *w = *who;

	*who = NULL;
	if (w && weir__wait_claim(w, 1))
		weir__wait_wake(w);
}

static void wake_both(weir__h2s *s)
{
	wake(&s->reader);
	wake(&s->sender);
}

static int await(const weir_ctx *ctx, weir__h2s *s, struct weir__wait **who, const char *what)
{
	struct weir__wait w;
	int r;

	weir__assert(*who == NULL, "%s: two tasks at once", what);
	weir__wait_init(&w);
	*who = &w;
	r = weir__wait_park(&w, ctx, what, s);
	if (*who == &w)
		*who = NULL;
	return r < 0 ? r : 0;
}

static void unref(weir__h2c *c)
{
	if (--c->refs)
		return;
	weir__assert(weir__list_empty(&c->streams), "a connection ends before its streams");
	weir__timer_stop(&c->timer);
	if (c->io)
		weir_conn_free(c->io);
	nghttp2_session_del(c->session);
	weir__buf_free(&c->out);
	c->magic = 0;
	free(c);
}

static void lose(weir__h2c *c, int why)
{
	if (c->lost)
		return;
	c->lost = why;
	weir__timer_stop(&c->timer);
	weir_conn_free(c->io);
	c->io = NULL;
	weir__list_each (link, &c->streams)
		wake_both(weir__container(link, weir__h2s, link));
}

/* ---- out ---- */

static void writable(weir_conn *io, void *arg);

static int write_some(weir__h2c *c)
{
	struct iovec iov = { c->out.data + c->out_pos, c->out.len - c->out_pos };
	ssize_t n = weir__conn_try_writev(c->io, &iov, 1);
	int r;

	if (n == -EAGAIN) {
		r = weir__conn_watch(c->io, WEIR__OUT, writable, c);
		c->watching_out = r == 0;
		return r < 0 ? r : -EAGAIN;
	}
	if (n < 0)
		return (int)n;
	c->out_pos += (size_t)n;
	return 0;
}

/* Nothing can begin on it any more, and nothing goes on. After a goodbye from there nghttp2 answers
 * no ping, for which the server would wait. */
static bool is_over(const weir__h2c *c)
{
	if (!c->closing && !c->goaway)
		return false;
	weir__list_each (link, &c->streams)
		if (!weir__container(link, weir__h2s, link)->closed)
			return false;
	return true;
}

static void flush(weir__h2c *c)
{
	const uint8_t *p;
	ssize_t n = 1;
	int r = 0;

	while (!c->lost && !c->watching_out && r == 0) {
		if (c->out_pos < c->out.len) {
			r = write_some(c);
			continue;
		}
		c->out_pos = 0;
		weir__buf_clear(&c->out);
		while (c->out.len < OUT_FULL && (n = nghttp2_session_mem_send(c->session, &p)) > 0)
			weir__buf_add(&c->out, p, (size_t)n);
		if (c->out.failed || n < 0)
			r = -ENOMEM;
		else if (c->out.len == 0)
			break;
	}
	if (r < 0 && r != -EAGAIN)
		lose(c, r);
	else if (!c->lost && !c->watching_out && is_over(c))
		lose(c, -ESHUTDOWN);
}

static void readable(weir_conn *io, void *arg);

static void flush_message(struct weir__msg *m)
{
	weir__h2c *c = weir__container(m, weir__h2c, flush);

	c->flush_posted = false;
	flush(c);
	if (c->unread && !c->lost)
		readable(c->io, c);
	unref(c);
}

static void flush_late(weir__h2c *c)
{
	if (c->flush_posted || c->lost)
		return;
	c->flush_posted = true;
	c->refs++;
	weir__post_late(&c->flush);
}

static void writable(weir_conn *io, void *arg)
{
	weir__h2c *c = arg;

	(void)io;
	c->watching_out = false;
	c->refs++;
	flush(c);
	unref(c);
}

static ssize_t give_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	weir__h2s *s = nghttp2_session_get_stream_user_data(session, id);
	size_t have;

	(void)source;
	(void)arg;
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	have = s->out.len - s->out_pos;
	if (have == 0 && !s->end_queued) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > have)
		n = have;
	if (n)
		memcpy(buf, s->out.data + s->out_pos, n);
	s->out_pos += n;
	if (s->out_pos == s->out.len) {
		s->out_pos = 0;
		weir__buf_clear(&s->out);
		if (s->end_queued)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	if (s->out.len - s->out_pos < UNSENT_MAX / 2)
		wake(&s->sender);
	return (ssize_t)n;
}

/* ---- in: nghttp2's callbacks ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
	weir__h2s *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	int r;

	(void)flags;
	(void)arg;
	if (!s || frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	r = weir__h2_heads_add(&s->heads, s->head_done, name, name_len, value, value_len);
	s->endless |= r == -EMSGSIZE;
	return r < 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t n, void *arg)
{
	weir__h2s *s = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)arg;
	if (!s) {
		nghttp2_session_consume(session, id, n);
		return 0;
	}
	if (s->in_pos == s->in.len) {
		s->in_pos = 0;
		weir__buf_clear(&s->in);
	} else if (s->in_pos > s->in.len / 2) {
		weir__buf_consume(&s->in, s->in_pos);
		s->in_pos = 0;
	}
	weir__buf_add(&s->in, data, n);
	if (s->in.failed)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	wake(&s->reader);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	weir__h2c *c = arg;
	weir__h2s *s;

	if (frame->hd.type == NGHTTP2_SETTINGS)
		c->settled = true;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		static const char word[] = "too_many_pings";

		c->goaway = true;
		c->too_many_pings |= frame->goaway.error_code == NGHTTP2_ENHANCE_YOUR_CALM &&
		                     frame->goaway.opaque_data_len == sizeof word - 1 &&
		                     !memcmp(frame->goaway.opaque_data, word, sizeof word - 1);
	}
	if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
		c->pinged_ns = 0;
	if (frame->hd.stream_id == 0)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!s)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !s->head_done) {
		const struct weir__h2_field *status = weir__h2s_field(s, false, ":status");

		/* An interim answer (1xx) is no answer. */
		if (status && status->value[0] == '1')
			s->heads.head.n = 0;
		else
			s->head_done = true;
	}
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		s->ended = true;
	if (s->head_done)
		wake(&s->reader);
	return 0;
}

/* After a goodbye, requests that still stand in line are not sent. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	weir__h2s *s;

	(void)error;
	(void)arg;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s)
		s->refused = true;
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	weir__h2s *s = nghttp2_session_get_stream_user_data(session, id);

	(void)arg;
	if (!s)
		return 0;
	s->closed = true;
	s->error = error;
	s->refused |= error == NGHTTP2_REFUSED_STREAM && !s->head_done;
	wake_both(s);
	return 0;
}

static void readable(weir_conn *io, void *arg)
{
	weir__h2c *c = arg;
	ssize_t n = 0;
	int r = 0;

	c->refs++;
	c->unread = true;
	for (int i = 0; r == 0 && i < weir__h2c_reads; i++) {
		n = weir__conn_try_read(io, c->in, sizeof c->in);
		c->unread = n > 0;
		if (n == -EAGAIN)
			break;
		if (n <= 0) {
			r = n < 0 ? (int)n : -ECONNRESET;
			break;
		}
		c->heard_ns = weir__now_coarse();
		if (nghttp2_session_mem_recv(c->session, (uint8_t *)c->in, (size_t)n) < 0)
			r = -EBADMSG;
	}
	if (r == 0) {
		if (c->unread || nghttp2_session_want_write(c->session) || is_over(c))
			flush_late(c);
		if (!c->unread)
			r = weir__conn_watch(io, WEIR__IN, readable, c);
	}
	if (r < 0)
		lose(c, r);
	unref(c);
}

/* ---- keepalive ---- */

static void keepalive(struct weir__timer *timer)
{
	weir__h2c *c = weir__container(timer, weir__h2c, timer);
	int64_t now = weir_now(), at = c->heard_ns + c->opt.keepalive_ns;

	if (c->pinged_ns && now - c->pinged_ns >= c->opt.keepalive_timeout_ns) {
		c->refs++;
		lose(c, -ECONNRESET);
		unref(c);
		return;
	}
	if (c->pinged_ns) {
		at = c->pinged_ns + c->opt.keepalive_timeout_ns;
	} else if (at <= now) {
		/* Without a stream a ping is a strike with many servers. */
		if (!weir__list_empty(&c->streams) &&
		    nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL) == 0) {
			c->pinged_ns = now;
			at = now + c->opt.keepalive_timeout_ns;
			flush_late(c);
		} else {
			at = now + c->opt.keepalive_ns;
		}
	}
	weir__timer_start(&c->timer, at, keepalive);
}

/* ---- a connection ---- */

static int make_session(weir__h2c *c)
{
	nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, WEIR__H2_FIELDS_MAX },
	};
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt;
	int r = -ENOMEM;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		return -ENOMEM;
	if (nghttp2_option_new(&opt) != 0)
		goto out;
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	r = nghttp2_session_client_new2(&c->session, cb, c, opt) == 0 ? 0 : -ENOMEM;
	nghttp2_option_del(opt);
	if (r == 0 && (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 3) != 0 ||
	               nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
	                                                     CONN_WINDOW) != 0)) {
		nghttp2_session_del(c->session);
		r = -ENOMEM;
	}
out:
	nghttp2_session_callbacks_del(cb);
	return r;
}

int weir__h2c_new(weir_conn *io, const struct weir__h2c_options *opt, weir__h2c **ret)
{
	weir__h2c *c = malloc(sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	memset(c, 0, offsetof(weir__h2c, in));
	r = make_session(c);
	if (r < 0) {
		free(c);
		return r;
	}
	c->magic = CONN_MAGIC;
	c->refs = 1;
	c->worker = weir_worker();
	c->io = io;
	c->opt = *opt;
	c->flush.fn = flush_message;
	c->heard_ns = weir_now();
	weir__list_init(&c->streams);
	memcpy(c->peer, weir_conn_peer(io), strlen(weir_conn_peer(io)) + 1);
	if (c->opt.keepalive_ns)
		weir__timer_start(&c->timer, c->heard_ns + c->opt.keepalive_ns, keepalive);
	flush_late(c);
	r = weir__conn_watch(io, WEIR__IN, readable, c);
	if (r < 0)
		lose(c, r);
	*ret = c;
	return 0;
}

void weir__h2c_close(weir__h2c *c)
{
	weir__magic_check(c, CONN_MAGIC);
	c->closing = true;
	if (!c->lost) {
		nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
		flush(c);
	}
	unref(c);
}

int weir__h2c_state(const weir__h2c *c)
{
	return c->lost ? c->lost : c->goaway ? -ESHUTDOWN : 0;
}

int weir__h2s_state(const weir__h2s *s)
{
	return weir__h2c_state(s->conn);
}

bool weir__h2c_settled(const weir__h2c *c)
{
	return c->settled;
}

bool weir__h2c_too_many_pings(const weir__h2c *c)
{
	return c->too_many_pings;
}

const char *weir__h2c_peer(const weir__h2c *c)
{
	return c->peer;
}

/* ---- a stream ---- */

int weir__h2s_dup(const weir__h2s *s)
{
	return s->conn->io ? weir__conn_dup(s->conn->io) : -ENOTCONN;
}

int weir__h2c_open(weir__h2c *c, const struct weir__h2_field *fields, size_t n, weir__h2s **ret)
{
	nghttp2_data_provider data = { .read_callback = give_data };
	nghttp2_nv *nv;
	weir__h2s *s;
	int32_t id;
	int r = weir__h2c_state(c);

	weir__assert(c->worker == weir_worker(), "a connection is used on another worker");
	if (r < 0)
		return r;
	s = calloc(1, sizeof *s);
	nv = calloc(n, sizeof *nv);
	r = -ENOMEM;
	if (!s || !nv)
		goto fail;
	for (size_t i = 0; i < n; i++)
		nv[i] = (nghttp2_nv){ (uint8_t *)fields[i].name, (uint8_t *)fields[i].value,
			              fields[i].name_len, fields[i].value_len,
			              NGHTTP2_NV_FLAG_NONE };
	s->magic = STREAM_MAGIC;
	s->conn = c;
	id = nghttp2_submit_request(c->session, NULL, nv, n, &data, s);
	if (id < 0) {
		/* Its numbers are used up: as good as a goodbye. */
		if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) {
			c->goaway = true;
			r = -ESHUTDOWN;
		}
		goto fail;
	}
	s->id = id;
	c->refs++;
	weir__list_append(&c->streams, &s->link);
	free(nv);
	flush_late(c);
	*ret = s;
	return 0;
fail:
	free(nv);
	free(s);
	return r;
}

static int stream_error(const weir__h2s *s)
{
	return !s->closed ? s->conn->lost : s->endless ? -EBADMSG : -ECONNRESET;
}

static void add_out(weir__h2s *s, const void *data, size_t n)
{
	if (s->out_pos > s->out.len / 2) {
		weir__buf_consume(&s->out, s->out_pos);
		s->out_pos = 0;
	}
	weir__buf_add(&s->out, data, n);
}

static void resume(weir__h2s *s)
{
	if (!s->deferred)
		return;
	s->deferred = false;
	nghttp2_session_resume_data(s->conn->session, s->id);
	flush_late(s->conn);
}

int weir__h2s_send(const weir_ctx *ctx, weir__h2s *s, const struct iovec *iov, int n, bool end)
{
	int r = weir__wait_check(ctx);

	weir__magic_check(s, STREAM_MAGIC);
	if (r < 0)
		return r;
	for (int i = 0; i < n; i++) {
		const char *at = iov[i].iov_base;
		size_t left = iov[i].iov_len;

		while (left) {
			size_t held = s->out.len - s->out_pos, part;

			if (s->closed || s->ended || s->end_queued)
				return -EPIPE; /* It is over, whatever became of the rest. */
			if (s->conn->lost)
				return s->conn->lost;
			if (held >= UNSENT_MAX) {
				r = await(ctx, s, &s->sender, "h2 send");
				if (r < 0)
					return r;
				continue;
			}
			part = left < UNSENT_MAX - held ? left : UNSENT_MAX - held;
			add_out(s, at, part);
			if (s->out.failed)
				return -ENOMEM;
			at += part;
			left -= part;
			resume(s);
		}
	}
	if (end && !s->end_queued && !s->closed) {
		s->end_queued = true;
		resume(s);
	}
	return 0;
}

int weir__h2s_head(const weir_ctx *ctx, weir__h2s *s)
{
	int r = weir__wait_check(ctx);

	weir__magic_check(s, STREAM_MAGIC);
	while (r == 0 && !s->head_done) {
		if (s->closed || s->conn->lost)
			return stream_error(s);
		r = await(ctx, s, &s->reader, "h2 head");
	}
	return r;
}

ssize_t weir__h2s_read(const weir_ctx *ctx, weir__h2s *s, void *buf, size_t n)
{
	int r = weir__wait_check(ctx);

	weir__magic_check(s, STREAM_MAGIC);
	while (r == 0) {
		size_t have = s->in.len - s->in_pos;

		if (have) {
			n = n < have ? n : have;
			memcpy(buf, s->in.data + s->in_pos, n);
			s->in_pos += n;
			if (!s->conn->lost) {
				nghttp2_session_consume(s->conn->session, s->id, n);
				if (nghttp2_session_want_write(s->conn->session))
					flush_late(s->conn);
			}
			return (ssize_t)n;
		}
		if (s->ended)
			return 0;
		if (s->closed || s->conn->lost)
			return stream_error(s);
		r = await(ctx, s, &s->reader, "h2 read");
	}
	return r;
}

const struct weir__h2_field *weir__h2s_field(const weir__h2s *s, bool trailing, const char *name)
{
	return weir__h2_heads_get(&s->heads, trailing, name);
}

uint32_t weir__h2s_error(const weir__h2s *s)
{
	return s->error;
}

bool weir__h2s_refused(const weir__h2s *s)
{
	return s->refused;
}

void weir__h2s_reset(weir__h2s *s, uint32_t code)
{
	weir__h2c *c = s->conn;

	weir__magic_check(s, STREAM_MAGIC);
	if (s->closed || c->lost)
		return;
	nghttp2_session_set_stream_user_data(c->session, s->id, NULL);
	if (!s->ended || !s->end_queued || s->out.len)
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, code);
	s->closed = true;
	s->error = code;
	wake_both(s);
	flush_late(c);
}

void weir__h2s_close(weir__h2s *s, uint32_t code)
{
	weir__h2c *c = s->conn;
	size_t unread = s->in.len - s->in_pos;

	weir__magic_check(s, STREAM_MAGIC);
	weir__assert(!s->reader && !s->sender, "a stream is closed while a task uses it");
	if (unread && !c->lost)
		nghttp2_session_consume(c->session, s->id, unread);
	weir__h2s_reset(s, code);
	weir__list_remove(&s->link);
	weir__h2_heads_free(&s->heads);
	weir__buf_free(&s->in);
	weir__buf_free(&s->out);
	s->magic = 0;
	free(s);
	unref(c);
}
