/* SPDX-License-Identifier: MIT */
/*
 * Connections that speak TLS over another connection, the one below, which they own.
 *
 * OpenSSL reads and writes through a BIO of ours that calls the try_ operations of the one below:
 * nothing is copied on the way, and an idle connection holds no buffer (OpenSSL releases its own).
 * Waits, watches and the news that the peer left are those of the one below.
 *
 * Invariants:
 *  - `lock` guards `ssl` and what is marked so: a reader, a writer and a shutdown may come from
 *    different workers. It is held over the cryptography of a few records, never over a wait.
 *  - OpenSSL's queue of errors is the thread's: whoever finds an error in it empties it before the
 *    lock is released.
 *  - A short read means that the one below has no more: it said -EAGAIN, or gave less than it was
 *    asked for. So `more` tells, for a watch, whether bytes may lie in OpenSSL of which no event will
 *    ever tell.
 *  - A record that was encrypted has to leave whole. What of it the socket does not take stays in
 *    OpenSSL, and `held` is its length; all its bytes but the last are told to the caller as sent.
 *    So the caller knows that not all is sent, comes back when the socket is writable, and that last
 *    byte is told when the record has left. Who gives up after a partial write has cut the stream in
 *    any case. (A record of one byte that the socket does not take is told as -EAGAIN.)
 *  - After a fatal error OpenSSL is not asked again: `error` answers.
 *
 * Rejected: memory BIOs (a copy each way, and 34 KiB more a connection while it reads and writes);
 * taking all bytes and flushing by a watch of our own (an end of the stream, or its owner's
 * progress limit, would have to know of it); a handshake hidden in the first read (its limit, its
 * errors and its protocol belong to whoever accepts).
 *
 * A handshake begins with the five bytes every record begins with: until they are there, nothing is
 * allocated for it, and it takes none of the slots that bound how many are under way. What is no
 * TLS at all is told apart by them.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/task.h>

#include "net/conn.h"
#include "net/tls.h"
#include "rt/msg.h"
#include "rt/wait.h"

enum {
	/* bytes of plaintext in a record at most (RFC 8446 §5.1), if the client wants no less */
	RECORD = 16 << 10,
	GATHER = 4 << 10,  /* small pieces of a write share a record up to this */
	FIRST = 5,         /* a record's head */
	HANDSHAKE = 22,    /* its type */
	BARREN = 48 << 10, /* bytes that may come in a read without one for its caller */
};

/* How long a client has once the server drains: without a word from it, and in mid-handshake. */
#define SILENT_NS  WEIR_MS(100)
#define STARTED_NS WEIR_SEC(2)

struct tls_conn {
	weir_conn conn;
	weir_conn *io;
	weir__lock lock;
	/* Guarded by it: */
	SSL *ssl;
	size_t held;
	size_t record; /* bytes of plaintext in one */
	size_t barren; /* bytes that came in this read, and nothing of them for its caller yet */
	int error, out_error;       /* fatal; only for writing */
	int io_error[2];            /* what the one below said, by direction */
	bool more, eof, dry, ended; /* ended: we said goodbye */
	unsigned char first[FIRST];
	uint8_t first_len, first_at;
	/* Its worker's: */
	bool due, posted; /* a watch for reading is to be called by the message */
	struct weir__msg msg;
	bool open; /* atomic: the handshake is done */
	char alpn[32];
};

static struct tls_conn *of(weir_conn *c)
{
	return (struct tls_conn *)c;
}

/* ---- The BIO ---- */

static int bio_read(BIO *b, char *buf, size_t n, size_t *ret)
{
	struct tls_conn *t = BIO_get_data(b);
	ssize_t got;

	BIO_clear_retry_flags(b);
	if (t->first_at < t->first_len) {
		*ret = (size_t)(t->first_len - t->first_at);
		if (*ret > n)
			*ret = n;
		memcpy(buf, t->first + t->first_at, *ret);
		t->first_at = (uint8_t)(t->first_at + *ret);
		return 1;
	}
	/* Keys can be changed again and again, at the peer's pleasure and our cost. */
	if (t->barren > BARREN && __atomic_load_n(&t->open, __ATOMIC_ACQUIRE)) {
		t->io_error[WEIR__IN] = -ECONNRESET;
		return 0;
	}
	got = t->io->ops->try_read(t->io, buf, n);
	t->dry = got > 0 && (size_t)got < n;
	if (got > 0) {
		t->barren += (size_t)got;
		*ret = (size_t)got;
		return 1;
	}
	t->eof = got == 0;
	if (got == -EAGAIN)
		BIO_set_retry_read(b);
	else if (got < 0)
		t->io_error[WEIR__IN] = (int)got;
	return 0;
}

static int bio_write(BIO *b, const char *buf, size_t n, size_t *ret)
{
	struct tls_conn *t = BIO_get_data(b);
	struct iovec iov = { (void *)(uintptr_t)buf, n };
	ssize_t sent;

	BIO_clear_retry_flags(b);
	sent = t->io->ops->try_writev(t->io, &iov, 1);
	if (sent > 0) {
		*ret = (size_t)sent;
		return 1;
	}
	if (sent == -EAGAIN)
		BIO_set_retry_write(b);
	else
		t->io_error[WEIR__OUT] = (int)sent;
	return 0;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *arg)
{
	struct tls_conn *t = BIO_get_data(b);

	(void)num;
	(void)arg;
	switch (cmd) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return t->eof;
	default:
		return 0;
	}
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir connection");
	if (!method)
		return;
	BIO_meth_set_read_ex(method, bio_read);
	BIO_meth_set_write_ex(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
}

/* ---- Bytes ---- */

/* What a call into OpenSSL that failed means to the caller; under the lock. */
static ssize_t verdict(struct tls_conn *t, enum weir__dir dir, int r)
{
	int e = SSL_get_error(t->ssl, r);

	ERR_clear_error();
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (dir == WEIR__IN && e == SSL_ERROR_ZERO_RETURN)
		return 0;
	/* What the peer sent before it took no more can still be read. */
	if (dir == WEIR__OUT && e != SSL_ERROR_SSL)
		return t->out_error = t->io_error[dir] < 0 ? t->io_error[dir] : -EPIPE;
	return t->error = t->io_error[dir] < 0 ? t->io_error[dir] : -ECONNRESET;
}

static ssize_t tls_try_read(weir_conn *c, void *buf, size_t n)
{
	struct tls_conn *t = of(c);
	size_t sum = 0, one;
	ssize_t got = 0;
	int r;

	weir__lock_acquire(&t->lock);
	if (t->error) {
		got = t->error;
	} else {
		while (sum < n && got == 0) {
			t->barren = 0;
			r = SSL_read_ex(t->ssl, (char *)buf + sum, n - sum, &one);
			if (r != 1) {
				got = verdict(t, WEIR__IN, r);
				break;
			}
			sum += one;
			if (t->dry && !SSL_has_pending(t->ssl))
				got = -EAGAIN;
		}
		t->more = got != -EAGAIN;
	}
	weir__lock_release(&t->lock);
	return sum ? (ssize_t)sum : got;
}

/* Takes the next piece of a write, at most a record: of one part, or small parts gathered in
 * buf. */
static size_t next_piece(const struct iovec **iov, int *n, size_t *skip, size_t record, char *buf,
                         const char **ret)
{
	const size_t gather = record < GATHER ? record : GATHER;
	size_t sum = 0;

	while (*n > 0) {
		const char *at = (const char *)(*iov)->iov_base + *skip;
		size_t left = (*iov)->iov_len - *skip;

		if (sum == 0 && (left >= gather || *n == 1)) {
			sum = left < record ? left : record;
			*ret = at;
			*skip += sum;
			if (*skip == (*iov)->iov_len)
				(*iov)++, (*n)--, *skip = 0;
			return sum;
		}
		if (left > gather - sum)
			left = gather - sum;
		memcpy(buf + sum, at, left);
		sum += left;
		*skip += left;
		if (*skip < (*iov)->iov_len)
			break;
		(*iov)++, (*n)--, *skip = 0;
	}
	*ret = buf;
	return sum;
}

/* Sends the rest of a record that was encrypted before; under the lock. 0: nothing was held; 1: its
 * last byte can be told. */
static ssize_t send_held(struct tls_conn *t)
{
	static const char any[RECORD]; /* OpenSSL asks for the same length, but reads nothing. */
	size_t one;
	int r;

	if (!t->held)
		return 0;
	r = SSL_write_ex(t->ssl, any, t->held, &one);
	if (r != 1)
		return verdict(t, WEIR__OUT, r);
	t->held = 0;
	return 1;
}

static ssize_t write_all(struct tls_conn *t, const struct iovec *iov, int n)
{
	char buf[GATHER];
	size_t skip, len, one;
	const char *piece;
	ssize_t sent, r;

	sent = send_held(t);
	if (sent < 0)
		return sent;
	for (skip = (size_t)sent; n > 0 && skip >= iov->iov_len; iov++, n--)
		skip -= iov->iov_len;
	while ((len = next_piece(&iov, &n, &skip, t->record, buf, &piece)) > 0) {
		r = SSL_write_ex(t->ssl, piece, len, &one);
		if (r == 1) {
			sent += (ssize_t)len;
			continue;
		}
		r = verdict(t, WEIR__OUT, (int)r);
		/* Else it is the answer to a change of keys that found no room, and nothing of the
		 * piece was encrypted. */
		if (r == -EAGAIN && !SSL_in_init(t->ssl)) {
			t->held = len;
			sent += (ssize_t)len - 1;
		}
		return sent ? sent : r;
	}
	return sent;
}

static ssize_t tls_try_writev(weir_conn *c, const struct iovec *iov, int n)
{
	struct tls_conn *t = of(c);
	ssize_t sent;

	weir__lock_acquire(&t->lock);
	if (t->error || t->out_error)
		sent = t->error ? t->error : t->out_error;
	else
		sent = t->ended ? -EPIPE : write_all(t, iov, n);
	weir__lock_release(&t->lock);
	return sent;
}

/* ---- Waits, watches ---- */

static int tls_wait(const weir_ctx *ctx, weir_conn *c, enum weir__dir dir, const char *what)
{
	weir_conn *io = of(c)->io;

	return io->ops->wait(ctx, io, dir, what);
}

static void in_ready(weir_conn *io, void *arg)
{
	struct tls_conn *t = arg;

	(void)io;
	weir__conn_fire(&t->conn, WEIR__IN);
}

static void out_ready(weir_conn *io, void *arg)
{
	struct tls_conn *t = arg;

	(void)io;
	weir__conn_fire(&t->conn, WEIR__OUT);
}

static void deliver(struct weir__msg *m);

static void post(struct tls_conn *t)
{
	t->due = true;
	if (t->posted)
		return;
	t->posted = true;
	t->msg.fn = deliver;
	__atomic_fetch_or(&t->conn.state, WEIR__CONN_MSG, __ATOMIC_ACQ_REL);
	weir__post(weir_worker(), &t->msg);
}

/* The callback may free the connection, or watch again; MSG keeps it until the end here. */
static void deliver(struct weir__msg *m)
{
	struct tls_conn *t = (struct tls_conn *)((char *)m - offsetof(struct tls_conn, msg));
	bool due = t->due;

	t->due = t->posted = false;
	/* Posting again sets MSG, which is set: the message is then in flight once more. */
	if (due)
		weir__conn_fire(&t->conn, WEIR__IN);
	if (!t->posted && weir__conn_leave(&t->conn, WEIR__CONN_MSG))
		weir__conn_destroy(&t->conn);
}

static int tls_watch(weir_conn *c, enum weir__dir dir)
{
	struct tls_conn *t = of(c);
	bool more;

	if (dir == WEIR__OUT)
		return weir__conn_watch(t->io, dir, out_ready, t);
	weir__lock_acquire(&t->lock);
	more = t->more;
	weir__lock_release(&t->lock);
	if (!more)
		return weir__conn_watch(t->io, dir, in_ready, t);
	post(t);
	return 0;
}

static void tls_unwatch(weir_conn *c, enum weir__dir dir)
{
	if (dir == WEIR__IN)
		of(c)->due = false;
	weir__conn_unwatch(of(c)->io, dir);
}

static void gone(weir_conn *io, void *arg)
{
	struct tls_conn *t = arg;

	(void)io;
	weir__conn_fire_gone(&t->conn);
}

static int tls_attach(weir_conn *c)
{
	return weir__conn_on_gone(of(c)->io, gone, of(c));
}

static void tls_quiet(weir_conn *c)
{
	struct tls_conn *t = of(c);

	if (t->due)
		t->due = false;
	weir__conn_unwatch(t->io, WEIR__IN);
	weir__conn_unwatch(t->io, WEIR__OUT);
	weir__conn_on_gone(t->io, NULL, NULL);
}

/* ---- The end ---- */

/* Says goodbye, unless a record that has to leave first is in the way. */
static void say_goodbye(struct tls_conn *t)
{
	if (!__atomic_load_n(&t->open, __ATOMIC_ACQUIRE))
		return;
	weir__lock_acquire(&t->lock);
	if (!t->error && !t->out_error && !t->held && !t->ended) {
		SSL_shutdown(t->ssl);
		ERR_clear_error();
	}
	t->ended = true;
	weir__lock_release(&t->lock);
}

static void tls_shut_write(weir_conn *c)
{
	say_goodbye(of(c));
	weir_conn_shutdown_write(of(c)->io);
}

static void tls_shut(weir_conn *c)
{
	say_goodbye(of(c));
	weir_conn_shutdown(of(c)->io);
}

static int tls_worker(const weir_conn *c)
{
	return weir__conn_worker(((const struct tls_conn *)c)->io);
}

static void tls_destroy(weir_conn *c)
{
	struct tls_conn *t = of(c);

	SSL_free(t->ssl);
	weir_conn_free(t->io);
	free(t);
}

static const struct weir__conn_ops tls_ops = {
	.try_read = tls_try_read,
	.try_writev = tls_try_writev,
	.wait = tls_wait,
	.watch = tls_watch,
	.unwatch = tls_unwatch,
	.attach = tls_attach,
	.quiet = tls_quiet,
	.shut_write = tls_shut_write,
	.shut = tls_shut,
	.worker = tls_worker,
	.destroy = tls_destroy,
};

weir_conn *weir__conn_below(weir_conn *c)
{
	return c->ops == &tls_ops ? of(c)->io : c;
}

/* ---- The handshake ---- */

static bool is_shut(const weir_conn *io)
{
	return __atomic_load_n(&io->state, __ATOMIC_ACQUIRE) & WEIR__CONN_SHUT;
}

/* What a wait of it goes by: once the server drains, a shorter time. */
struct patience {
	weir_ctx ctx;
	bool server, draining, begun;
};

static void lose_patience(struct patience *p)
{
	p->draining = true;
	p->ctx = weir_ctx_timeout(&p->ctx, p->begun ? STARTED_NS : SILENT_NS);
}

static int wait_for(struct patience *p, weir_conn *io, enum weir__dir dir)
{
	weir_ctx live = weir_ctx_until_drain(&p->ctx);
	int r;

	/* One in memory is ready then, and says -EAGAIN all the same. */
	if (is_shut(io))
		return -EPIPE;
	if (!p->server || p->draining)
		return io->ops->wait(&p->ctx, io, dir, "tls handshake");
	r = io->ops->wait(&live, io, dir, "tls handshake");
	if (r != -ESHUTDOWN)
		return r;
	lose_patience(p);
	return 0; /* Not ready perhaps: the try that follows will say so. */
}

static int take_slot(struct patience *p, weir_sem *slots)
{
	weir_ctx live = weir_ctx_until_drain(&p->ctx);
	int r = p->draining ? -ESHUTDOWN : weir_sem_take(&live, slots);

	if (r == -ESHUTDOWN) {
		if (!p->draining)
			lose_patience(p);
		r = weir_sem_take(&p->ctx, slots);
	}
	return r;
}

static int read_first(struct patience *p, struct tls_conn *t)
{
	while (t->first_len < FIRST) {
		ssize_t got = t->io->ops->try_read(t->io, t->first + t->first_len,
		                                   (size_t)(FIRST - t->first_len));
		int r;

		if (got == 0)
			return -ECONNRESET;
		if (got > 0) {
			t->first_len = (uint8_t)(t->first_len + got);
			p->begun = true;
			if (t->first[0] != HANDSHAKE)
				return -EPROTOTYPE;
			continue;
		}
		if (got != -EAGAIN)
			return (int)got;
		r = wait_for(p, t->io, WEIR__IN);
		if (r < 0)
			return r;
	}
	return 0;
}

static int say_failure(struct weir_tls *tls, struct tls_conn *t)
{
	long verify = SSL_get_verify_result(t->ssl);
	unsigned long e = ERR_peek_error();
	int io = t->io_error[WEIR__IN] ? t->io_error[WEIR__IN] : t->io_error[WEIR__OUT];
	int r = io < 0 ? io : e ? -EPROTO : -ECONNRESET;
	char why[120];

	if (verify != X509_V_OK && !tls->insecure) {
		snprintf(why, sizeof why, "%s", X509_verify_cert_error_string(verify));
		ERR_clear_error();
		r = -EKEYREJECTED;
	} else {
		int reason = ERR_GET_REASON(e);

		if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE ||
		    reason == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED ||
		    reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA)
			r = -EKEYREJECTED;
		else if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			r = -ECONNRESET;
		if (e)
			weir__tls_reason(why, sizeof why);
		else
			snprintf(why, sizeof why, "the peer left");
	}
	weir__tls_say_why(tls, t->io->peer, why);
	return r;
}

static int shake_hands(struct patience *p, struct weir_tls *tls, struct tls_conn *t)
{
	for (;;) {
		int r, want;

		weir__lock_acquire(&t->lock);
		ERR_clear_error();
		r = SSL_do_handshake(t->ssl);
		want = r == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, r);
		if (r != 1 && want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE) {
			r = say_failure(tls, t);
			weir__lock_release(&t->lock);
			return r;
		}
		weir__lock_release(&t->lock);
		if (r == 1)
			return 0;
		r = wait_for(p, t->io, want == SSL_ERROR_WANT_READ ? WEIR__IN : WEIR__OUT);
		if (r < 0)
			return r;
	}
}

/* The name or address for which the peer's certificate has to be. */
static int expect_name(SSL *ssl, const char *name)
{
	unsigned char binary[sizeof(struct in6_addr)];

	if (inet_pton(AF_INET, name, binary) == 1 || inet_pton(AF_INET6, name, binary) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1 ? 0 : -ENOMEM;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1 ? 0 :
	                                                                                   -EINVAL;
}

static int make_ssl(struct tls_conn *t, struct weir_tls *tls, struct weir__tls_set *set,
                    const char *name)
{
	BIO *b;

	pthread_once(&method_once, make_method);
	ERR_clear_error();
	t->ssl = SSL_new(set->ctx[0]);
	b = method ? BIO_new(method) : NULL;
	if (!t->ssl || !b) {
		BIO_free(b);
		return -ENOMEM;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	SSL_set_app_data(t->ssl, set);
	if (tls->server) {
		SSL_set_accept_state(t->ssl);
		return 0;
	}
	SSL_set_connect_state(t->ssl);
	if (tls->alpn_len > 0 && SSL_set_alpn_protos(t->ssl, tls->alpn, tls->alpn_len) != 0)
		return -ENOMEM;
	return expect_name(t->ssl, name);
}

static void opened(struct tls_conn *t)
{
	unsigned n = SSL_SESSION_get_max_fragment_length(SSL_get_session(t->ssl));
	const unsigned char *alpn;

	t->record = n ? (size_t)256 << n : RECORD; /* RFC 6066 §4 */
	SSL_get0_alpn_selected(t->ssl, &alpn, &n);
	if (n > 0 && n < sizeof t->alpn)
		memcpy(t->alpn, alpn, n);
	SSL_set_app_data(t->ssl, NULL);
	t->more = true;
	__atomic_store_n(&t->open, true, __ATOMIC_RELEASE);
}

static int handshake(const weir_ctx *ctx, struct weir_tls *tls, const char *name, weir_conn **io)
{
	struct patience p = { .ctx = weir_ctx_timeout(ctx, tls->handshake_ns),
		              .server = tls->server };
	struct tls_conn *t = calloc(1, sizeof *t);
	struct weir__tls_set *set;
	int r;

	if (!t)
		return -ENOMEM;
	weir__conn_init(&t->conn, &tls_ops);
	memcpy(t->conn.peer, (*io)->peer, sizeof t->conn.peer);
	t->io = *io;
	r = tls->server ? read_first(&p, t) : 0;
	if (r < 0)
		goto fail;
	if (tls->server && (r = take_slot(&p, &tls->slots)) < 0)
		goto fail;
	set = weir__tls_get(tls);
	r = make_ssl(t, tls, set, name);
	if (r == 0)
		r = shake_hands(&p, tls, t);
	if (r == 0)
		opened(t);
	else
		SSL_free(t->ssl);
	weir__tls_put(tls, set);
	if (tls->server)
		weir_sem_give(&tls->slots);
	if (r < 0)
		goto fail;
	*io = &t->conn;
	return 0;
fail:
	free(t);
	return is_shut(*io) ? -EPIPE : r;
}

int weir_tls_accept(const weir_ctx *ctx, weir_tls *t, weir_conn **io)
{
	weir__magic_check(t, WEIR__TLS_MAGIC);
	weir__assert(t->server, "weir_tls_accept() with a client's settings");
	return handshake(ctx, t, NULL, io);
}

int weir_tls_connect(const weir_ctx *ctx, weir_tls *t, const char *name, weir_conn **io)
{
	weir__magic_check(t, WEIR__TLS_MAGIC);
	weir__assert(!t->server, "weir_tls_connect() with a server's settings");
	return handshake(ctx, t, name, io);
}

/* ---- A look at it ---- */

const char *weir_conn_alpn(const weir_conn *c)
{
	const struct tls_conn *t = (const struct tls_conn *)c;

	return c->ops == &tls_ops && t->alpn[0] ? t->alpn : NULL;
}

static void peer_name(SSL *ssl, char *buf, size_t n)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	int len;

	if (!cert || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE ||
	    SSL_get_verify_result(ssl) != X509_V_OK)
		return;
	len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, buf, (int)n);
	/* A name that goes on behind a NUL, or that was cut, is another's. */
	if (len < 0 || (size_t)len != strlen(buf) || (size_t)len == n - 1)
		buf[0] = 0;
}

int weir_conn_tls_info(const weir_conn *c, weir_tls_info *ret)
{
	struct tls_conn *t = of((weir_conn *)(uintptr_t)c);
	const char *name;

	if (c->ops != &tls_ops)
		return -ENOTCONN;
	memset(ret, 0, sizeof *ret);
	weir__lock_acquire(&t->lock);
	snprintf(ret->version, sizeof ret->version, "%s", SSL_get_version(t->ssl));
	snprintf(ret->cipher, sizeof ret->cipher, "%s", SSL_get_cipher_name(t->ssl));
	ret->resumed = SSL_session_reused(t->ssl);
	name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	snprintf(ret->server_name, sizeof ret->server_name, "%s", name ? name : "");
	peer_name(t->ssl, ret->peer_name, sizeof ret->peer_name);
	ERR_clear_error();
	weir__lock_release(&t->lock);
	return 0;
}
