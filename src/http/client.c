/* SPDX-License-Identifier: MIT */
/*
 * The HTTP/1.1 client: one request, then its answer, over one connection.
 *
 * llhttp is driven from a buffer of IN_MAX bytes. What it calls body is moved to the front of that
 * same buffer (it is never longer than what was parsed, so it fits), and is handed out from there
 * before the buffer is filled again. So a client holds one buffer however long the answer is, and
 * the head is bounded by HEAD_MAX and FIELDS_MAX.
 *
 * A kept connection may have been closed by the server at any time. Before it is used again a read
 * that does not wait looks whether it was; and when it turns out only after sending, a request that
 * may be repeated is sent once more on a new one.
 *
 * Writing a body may fail because the server has answered early and closed (413): then the answer
 * is still read.
 */
#include <weir/http_client.h>
#include <weir/offload.h>

#include <ctype.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "http/h1.h"
#include "http/h2_call.h"
#include "http/sse_parse.h"
#include "net/conn.h"

#define CLIENT_MAGIC 0x68637431u

enum {
	IN_MAX = 16 << 10,
	HEAD_MAX = 64 << 10, /* of an answer, and of the lines of a request */
	FIELDS_MAX = 256,
	INTERIM_MAX = 16, /* 1xx answers before the one that counts */
	ADDR_MAX = 280,
};

struct weir_http_client {
	uint32_t magic;
	char addr[ADDR_MAX];     /* for weir_dial() */
	char host[ADDR_MAX - 4]; /* the Host field; with a port it fits into addr */
	char name[ADDR_MAX - 4]; /* of that, what the server's certificate has to be for */
	bool https;
	weir_tls *tls, *own_tls; /* https only; own_tls unless the user gave one */
	weir_conn *conn;
	struct weir__h2_shared *h2; /* speaks HTTP/2; then conn is NULL between calls */
	weir__h2s *stream;          /* … and this has the answer */

	/* The answer at hand. */
	llhttp_t parser;
	struct weir__buf fields; /* name NUL value NUL … */
	unsigned fields_n, interim;
	bool head_request;
	bool any;       /* a byte of it has come */
	bool head_done; /* the head of the answer that counts, not of a 1xx */
	bool done;      /* the whole message */
	bool keep;
	bool eof;
	int status;
	int64_t length;
	const char *body; /* not yet handed out; in `in` */
	size_t body_len, body_at;

	struct weir__sse_parser sse;
	bool streaming; /* sse is in use */
	char in[IN_MAX];
};

/* ---- The parser's callbacks; a negative result ends the parse with HPE_USER. ---- */

static int add_to_head(struct weir_http_client *c, const char *at, size_t n)
{
	if (c->head_done)
		return 0; /* trailers */
	weir__buf_add(&c->fields, at, n);
	return c->fields.failed || c->fields.len > HEAD_MAX ? HPE_USER : 0;
}

static int on_text(llhttp_t *p, const char *at, size_t n)
{
	return add_to_head(p->data, at, n);
}

static int on_text_end(llhttp_t *p)
{
	return add_to_head(p->data, "", 1);
}

static int on_value_end(llhttp_t *p)
{
	struct weir_http_client *c = p->data;

	if (c->head_done)
		return 0;
	if (++c->fields_n > FIELDS_MAX)
		return HPE_USER;
	/* The space after a value is no part of it; the NUL after the name stops the loop. */
	while (c->fields.data[c->fields.len - 1] == ' ' ||
	       c->fields.data[c->fields.len - 1] == '\t')
		c->fields.len--;
	return add_to_head(c, "", 1);
}

static int on_head(llhttp_t *p)
{
	struct weir_http_client *c = p->data;

	if (p->status_code < 200) {
		weir__buf_clear(&c->fields);
		/* 101 was not asked for. */
		return p->status_code == 101 || ++c->interim > INTERIM_MAX ? HPE_USER : 0;
	}
	c->head_done = true;
	c->status = p->status_code;
	c->keep = llhttp_should_keep_alive(p);
	c->length = p->flags & F_CONTENT_LENGTH ? (int64_t)p->content_length : -1;
	/* These have no body, whatever their length says (RFC 9112 §6.3). */
	if (c->head_request || p->status_code == 204 || p->status_code == 304) {
		c->keep = p->http_minor > 0 && !(p->flags & F_CONNECTION_CLOSE);
		return 1;
	}
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
	struct weir_http_client *c = p->data;

	memmove(c->in + c->body_len, at, n);
	c->body_len += n;
	return 0;
}

static int on_end(llhttp_t *p)
{
	struct weir_http_client *c = p->data;

	if (!c->head_done)
		return 0;
	c->done = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_header_field = on_text,
	.on_header_field_complete = on_text_end,
	.on_header_value = on_text,
	.on_header_value_complete = on_value_end,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_end,
};

/* ---- Life ---- */

/* "host:port", with the scheme's port added if there is none. 0 or -EINVAL. */
static int take_authority(struct weir_http_client *c, const char *text)
{
	size_t n = strcspn(text, "/?#");
	const char *colon, *bracket;

	if (n == 0 || n >= sizeof c->host || (text[n] && strcmp(text + n, "/") != 0) ||
	    memchr(text, '@', n) || !weir__h1_is_value(text, n) || strcspn(text, " \t") < n)
		return -EINVAL;
	memcpy(c->host, text, n);
	c->host[n] = 0;
	colon = strrchr(c->host, ':');
	bracket = strrchr(c->host, ']');
	if (bracket && colon && bracket > colon)
		colon = NULL;
	snprintf(c->addr, sizeof c->addr, "%s%s", c->host, colon ? "" : c->https ? ":443" : ":80");
	n = colon ? (size_t)(colon - c->host) : n;
	if (bracket && c->host[0] == '[')
		snprintf(c->name, sizeof c->name, "%.*s", (int)(bracket - c->host - 1),
		         c->host + 1);
	else
		snprintf(c->name, sizeof c->name, "%.*s", (int)n, c->host);
	return 0;
}

/* "unix:PATH" or "mem:NAME". */
static int take_local(struct weir_http_client *c, const char *text)
{
	snprintf(c->host, sizeof c->host, "localhost");
	return (size_t)snprintf(c->addr, sizeof c->addr, "%s", text) < sizeof c->addr ? 0 : -EINVAL;
}

static bool is_local(const char *text)
{
	return !strncmp(text, "unix:", 5) || !strncmp(text, "mem:", 4);
}

int weir_http_client_new(const char *base, weir_http_client **ret)
{
	struct weir_http_client *c;
	int r = 0;

	c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->magic = CLIENT_MAGIC;
	c->done = true;
	weir__sse_init(&c->sse);
	if (!strncasecmp(base, "http2://", 8) || !strncasecmp(base, "https2://", 9)) {
		c->https = base[4] == 's' || base[4] == 'S';
		base = strstr(base, "://") + 3;
		r = is_local(base) ? take_local(c, base) : take_authority(c, base);
		if (r == 0)
			r = weir__h2_shared_new(&c->h2);
	} else if (!strncasecmp(base, "http://", 7)) {
		r = take_authority(c, base + 7);
	} else if (!strncasecmp(base, "https://", 8)) {
		c->https = true;
		r = take_authority(c, base + 8);
	} else if (is_local(base)) {
		r = take_local(c, base);
	} else {
		r = -EINVAL;
	}
	if (r < 0) {
		weir_http_client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int weir_http_client_share(const weir_http_client *c, weir_http_client **ret)
{
	struct weir_http_client *other;

	weir__magic_check(c, CLIENT_MAGIC);
	if (!c->h2)
		return -EINVAL;
	other = calloc(1, sizeof *other);
	if (!other)
		return -ENOMEM;
	other->magic = CLIENT_MAGIC;
	other->done = true;
	weir__sse_init(&other->sse);
	memcpy(other->addr, c->addr, sizeof other->addr);
	memcpy(other->host, c->host, sizeof other->host);
	memcpy(other->name, c->name, sizeof other->name);
	other->https = c->https;
	if (c->tls != c->own_tls)
		other->tls = c->tls;
	other->h2 = weir__h2_shared_ref(c->h2);
	*ret = other;
	return 0;
}

static void hang_up(struct weir_http_client *c)
{
	if (c->stream)
		weir__h2s_close(c->stream, WEIR__H2_CANCEL);
	c->stream = NULL;
	/* A command's guard may hold the connection too (weir_process_spec.hold_fd): the server has
	 * to hear now, not when that ends. */
	if (c->conn)
		weir_conn_shutdown(c->conn);
	weir_conn_free(c->conn);
	c->conn = NULL;
}

void weir_http_client_tls(struct weir_http_client *c, weir_tls *t)
{
	weir__magic_check(c, CLIENT_MAGIC);
	c->tls = t;
}

/* The system's authorities are some 140 certificates in a file. */
static int make_tls(void *arg)
{
	struct weir_http_client *c = arg;

	static const char *const only_h2[] = { "h2", NULL };

	return weir_tls_new(&(weir_tls_options){ .alpn = c->h2 ? only_h2 : NULL }, &c->own_tls);
}

/* Does not wait for anybody, so there is nothing to interrupt. */
static void go_on(void *arg)
{
	(void)arg;
}

static int connect_to(const weir_ctx *ctx, struct weir_http_client *c)
{
	int r = 0;

	if (c->https && !c->tls) {
		r = weir_offload_interruptible(ctx, make_tls, c, go_on);
		c->tls = c->own_tls;
	}
	if (r == 0)
		r = weir_dial(ctx, c->addr, &c->conn);
	if (r < 0 || !c->https)
		return r;
	r = weir_tls_connect(ctx, c->tls, c->name, &c->conn);
	if (r < 0) {
		weir_conn_free(c->conn);
		c->conn = NULL;
	}
	return r;
}

int weir_http_client_dup(struct weir_http_client *c)
{
	weir__magic_check(c, CLIENT_MAGIC);
	if (!c->conn && !c->stream)
		return -ENOTCONN;
	return c->h2 ? -EOPNOTSUPP : weir__conn_dup(c->conn);
}

void weir_http_client_free(struct weir_http_client *c)
{
	if (!c)
		return;
	hang_up(c);
	weir__h2_shared_unref(c->h2);
	weir_tls_free(c->own_tls);
	weir__sse_fini(&c->sse);
	weir__buf_free(&c->fields);
	c->magic = 0;
	free(c);
}

/* ---- The request ---- */

static bool is_target(const char *s)
{
	if (*s != '/' && strcmp(s, "*") != 0)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || *s == 0x7f)
			return false;
	return true;
}

static bool has_body(const weir_http_req *req)
{
	return req->body_len > 0 || !strcmp(req->method, "POST") || !strcmp(req->method, "PUT") ||
	       !strcmp(req->method, "PATCH");
}

/* 0, -EINVAL for what a head cannot hold, -ENOMEM. */
static int make_head(const struct weir_http_client *c, const weir_http_req *req,
                     struct weir__buf *b)
{
	if (!weir__h1_is_token(req->method, strlen(req->method)) || !is_target(req->target))
		return -EINVAL;
	weir__buf_printf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", req->method, req->target, c->host);
	if (has_body(req))
		weir__buf_printf(b, "Content-Length: %zu\r\n", req->body_len);
	for (const char *const *h = req->headers; h && *h; h++) {
		const char *colon = strchr(*h, ':');

		if (!colon || !weir__h1_is_token(*h, (size_t)(colon - *h)) ||
		    !weir__h1_is_value(*h, strlen(*h)))
			return -EINVAL;
		weir__buf_str(b, *h);
		weir__buf_str(b, "\r\n");
	}
	weir__buf_str(b, "\r\n");
	if (b->len > HEAD_MAX)
		return -EINVAL;
	return b->failed ? -ENOMEM : 0;
}

static bool may_repeat(const char *method)
{
	return !strcmp(method, "GET") || !strcmp(method, "HEAD") || !strcmp(method, "PUT") ||
	       !strcmp(method, "DELETE");
}

/* ---- The answer ---- */

static void expect_answer(struct weir_http_client *c, const weir_http_req *req)
{
	llhttp_init(&c->parser, HTTP_RESPONSE, &settings);
	c->parser.data = c;
	weir__buf_clear(&c->fields);
	c->fields_n = c->interim = 0;
	c->head_request = !strcmp(req->method, "HEAD");
	c->any = c->head_done = c->done = c->keep = c->eof = false;
	c->status = 0;
	c->length = -1;
	c->body_len = c->body_at = 0;
	if (c->streaming) {
		weir__sse_fini(&c->sse);
		weir__sse_init(&c->sse);
		c->streaming = false;
	}
}

/* After the last byte of the connection. */
static int finish(struct weir_http_client *c)
{
	c->eof = true;
	c->keep = false;
	if (llhttp_finish(&c->parser) == HPE_OK)
		c->done = c->head_done;
	return c->done ? 0 : -ECONNRESET;
}

/* Reads once and parses that. 0; -ECONNRESET for an answer cut short; -EBADMSG; the connection's or
 * context's error. */
static int pull(const weir_ctx *ctx, struct weir_http_client *c)
{
	llhttp_errno_t e;
	ssize_t n;

	weir__assert(c->body_at == c->body_len, "a read over an unread body");
	c->body_at = c->body_len = 0;
	n = weir_conn_read(ctx, c->conn, c->in, sizeof c->in);
	if (n == 0)
		return finish(c);
	if (n < 0)
		return (int)n;
	c->any = true;
	e = llhttp_execute(&c->parser, c->in, (size_t)n);
	if (e == HPE_PAUSED && c->done) {
		/* What follows the answer was not asked for: such a connection is out of step. */
		if (llhttp_get_error_pos(&c->parser) != c->in + n)
			c->keep = false;
		return 0;
	}
	return e == HPE_OK ? 0 : c->fields.failed ? -ENOMEM : -EBADMSG;
}

static int read_head(const weir_ctx *ctx, struct weir_http_client *c)
{
	int r = 0;

	while (r == 0 && !c->head_done)
		r = pull(ctx, c);
	return r;
}

/* Sends and waits for the head of the answer. */
static int exchange(const weir_ctx *ctx, struct weir_http_client *c, const weir_http_req *req,
                    const struct weir__buf *head)
{
	struct iovec iov[2] = {
		{ .iov_base = head->data, .iov_len = head->len },
		{ .iov_base = (void *)(uintptr_t)req->body, .iov_len = req->body_len },
	};
	int sent, r;

	expect_answer(c, req);
	sent = weir_conn_writev(ctx, c->conn, iov, req->body_len > 0 ? 2 : 1);
	if (sent < 0 && sent != -EPIPE && sent != -ECONNRESET)
		return sent;
	r = read_head(ctx, c);
	if (sent < 0)
		c->keep = false;
	return r;
}

/* A kept connection on which the server has said something (its end, most likely) is of no use. */
static bool is_stale(struct weir_http_client *c)
{
	char byte;

	return weir__conn_try_read(c->conn, &byte, 1) != -EAGAIN;
}

static int dial_h2(const weir_ctx *ctx, void *arg, weir_conn **ret)
{
	struct weir_http_client *c = arg;
	const char *protocol;
	int r = connect_to(ctx, c);

	if (r < 0)
		return r;
	protocol = weir_conn_alpn(c->conn);
	if (c->https && (!protocol || strcmp(protocol, "h2") != 0)) {
		hang_up(c);
		return -EPROTONOSUPPORT;
	}
	*ret = c->conn;
	c->conn = NULL;
	return 0;
}

static int do_h2(const weir_ctx *ctx, struct weir_http_client *c, const weir_http_req *req)
{
	const struct weir__h2_field *f;
	int r;

	hang_up(c);
	expect_answer(c, req);
	r = weir__h2_request(ctx, c->h2, dial_h2, c, c->https ? "https" : "http", c->host, req,
	                     may_repeat(req->method), &c->stream);
	c->done = r < 0;
	if (r < 0)
		return r;
	c->head_done = c->keep = true;
	f = weir__h2s_field(c->stream, false, ":status");
	c->status = f ? (int)strtol(f->value, NULL, 10) : 0;
	f = weir__h2s_field(c->stream, false, "content-length");
	if (f)
		c->length = strtoll(f->value, NULL, 10);
	return 0;
}

int weir_http_client_do(const weir_ctx *ctx, struct weir_http_client *c, const weir_http_req *req,
                        weir_http_res *ret)
{
	struct weir__buf head = WEIR__BUF_INIT;
	bool kept;
	int r;

	weir__magic_check(c, CLIENT_MAGIC);
	if (c->conn && (!c->done || !c->keep || is_stale(c)))
		hang_up(c);
	r = make_head(c, req, &head);
	if (r < 0)
		goto out;
	if (c->h2)
		r = do_h2(ctx, c, req);
	while (!c->h2) {
		kept = c->conn != NULL;
		if (!kept)
			r = connect_to(ctx, c);
		if (r < 0)
			break;
		r = exchange(ctx, c, req, &head);
		if (r == 0)
			break;
		hang_up(c);
		c->done = true;
		if (!kept || c->any || (r != -ECONNRESET && r != -EPIPE) ||
		    !may_repeat(req->method))
			break;
		r = 0;
	}
	if (r == 0)
		*ret = (weir_http_res){ .status = c->status, .keep = c->keep, .length = c->length };
out:
	weir__buf_free(&head);
	return r;
}

const char *weir_http_client_header(const struct weir_http_client *c, const char *name)
{
	const char *at = c->fields.data, *end = at + c->fields.len;

	if (c->stream) {
		const struct weir__h2_field *f;
		char lower[128];
		size_t n = strlen(name);

		if (n >= sizeof lower)
			return NULL;
		for (size_t i = 0; i <= n; i++)
			lower[i] = (char)tolower((unsigned char)name[i]);
		f = weir__h2s_field(c->stream, false, lower);
		return f ? f->value : NULL;
	}
	while (at && at < end) {
		const char *value = at + strlen(at) + 1;

		if (!strcasecmp(at, name))
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

static int pull_h2(const weir_ctx *ctx, struct weir_http_client *c)
{
	ssize_t n = weir__h2s_read(ctx, c->stream, c->in, sizeof c->in);

	if (n < 0)
		return (int)n;
	c->body = c->in;
	c->body_at = 0;
	c->body_len = (size_t)n;
	c->done = n == 0;
	return 0;
}

/* Waits until there is some body. 1, 0 at its end. */
static int fill(const weir_ctx *ctx, struct weir_http_client *c)
{
	int r;

	weir__magic_check(c, CLIENT_MAGIC);
	while (c->body_at == c->body_len) {
		if (c->done)
			return 0;
		if (!c->conn && !c->stream)
			return -ECONNRESET;
		r = c->stream ? pull_h2(ctx, c) : pull(ctx, c);
		if (r == -EBADMSG || r == -ECONNRESET || r == -EPIPE || r == -ENOMEM)
			hang_up(c);
		if (r < 0)
			return r;
	}
	return 1;
}

ssize_t weir_http_client_read(const weir_ctx *ctx, struct weir_http_client *c, void *buf, size_t n)
{
	int r = fill(ctx, c);

	if (r <= 0)
		return r;
	if (n > c->body_len - c->body_at)
		n = c->body_len - c->body_at;
	memcpy(buf, c->in + c->body_at, n);
	c->body_at += n;
	return (ssize_t)n;
}

ssize_t weir_http_client_read_all(const weir_ctx *ctx, struct weir_http_client *c, char *buf,
                                  size_t cap)
{
	size_t len = 0;
	ssize_t n;

	if (cap == 0)
		return -EMSGSIZE;
	while (len < cap - 1) {
		n = weir_http_client_read(ctx, c, buf + len, cap - 1 - len);
		if (n <= 0) {
			buf[len] = 0;
			return n < 0 ? n : (ssize_t)len;
		}
		len += (size_t)n;
	}
	buf[len] = 0;
	n = fill(ctx, c);
	return n < 0 ? n : n == 0 ? (ssize_t)len : -EMSGSIZE;
}

static const char *text_of(const struct weir__buf *b, const char *otherwise)
{
	return b->len > 0 ? b->data : otherwise;
}

int weir_http_client_event(const weir_ctx *ctx, struct weir_http_client *c, weir_sse_event *ret)
{
	const char *type = weir_http_client_header(c, "content-type");
	bool event = false;
	ssize_t n;
	int r;

	if (!type || strncasecmp(type, "text/event-stream", 17) != 0)
		return -EBADMSG;
	c->streaming = true;
	while (!event) {
		r = fill(ctx, c);
		if (r <= 0)
			return r;
		n = weir__sse_feed(&c->sse, c->in + c->body_at, c->body_len - c->body_at, &event);
		if (n < 0) {
			hang_up(c);
			c->body_at = c->body_len;
			return (int)n;
		}
		c->body_at += (size_t)n;
	}
	*ret = (weir_sse_event){
		.id = text_of(&c->sse.id, ""),
		.event = text_of(&c->sse.event, "message"),
		.data = text_of(&c->sse.data, ""),
		.len = c->sse.data.len,
		.retry_ns = c->sse.retry_ns,
	};
	return 1;
}
