/* SPDX-License-Identifier: MIT */
/*
 * A stream's bytes and the tasks that wait for them.
 *
 * What is sent stays in its task's memory: nghttp2 asks `provide` how much there is, and `take`
 * copies it into the frame. What arrives goes straight to a waiting reader, and only the rest into
 * chunks of at least CHUNK_MIN bytes (behind a first small one), so that a peer that sends single
 * bytes costs no more than their number.
 *
 * A wait is an operation on the waiting task's stack, registered and withdrawn on the session's
 * worker, so whoever completes it there finds it alive.
 */
#include <string.h>

#include "http/h2.h"
#include "rt/task.h"

struct weir__h2_chunk {
	struct weir__h2_chunk *next;
	size_t at, len, cap;
	char bytes[];
};

/* Of a chunk: the first of a stream is from the pool, as most bodies are small. */
enum { CHUNK_MIN = 4096, FIRST_MIN = WEIR__POOL_MAX - sizeof(struct weir__h2_chunk) };

struct weir__h2_op {
	struct weir__wait *wait;
	ssize_t r; /* -EINPROGRESS: it waits */
	void *buf;
	size_t n;
	struct weir__msg msg; /* for being begun elsewhere */
	void (*begin)(struct weir__h2_op *op);
};

/* ---- carried over to the session's worker ---- */

struct visit {
	struct weir__msg msg;
	struct weir__wait wait;
	void (*fn)(void *arg);
	void *arg;
};

static void visited(struct weir__msg *m)
{
	struct visit *v = weir__container(m, struct visit, msg);

	v->fn(v->arg);
	if (weir__wait_claim(&v->wait, 0))
		weir__wait_wake(&v->wait);
}

void weir__h2_at_home(int worker, void (*fn)(void *arg), void *arg)
{
	struct visit v = { .msg.fn = visited, .fn = fn, .arg = arg };

	if (weir_worker() == worker) {
		fn(arg);
		return;
	}
	weir__wait_init(&v.wait);
	weir__post(worker, &v.msg);
	weir__wait_park_hard(&v.wait, "h2 worker", NULL);
}

static void begun_elsewhere(struct weir__msg *m)
{
	struct weir__h2_op *op = weir__container(m, struct weir__h2_op, msg);

	op->begin(op);
	if (op->r != -EINPROGRESS && weir__wait_claim(op->wait, 1))
		weir__wait_wake(op->wait);
}

/*
 * Begins an operation where it belongs: the result, or -EINPROGRESS, when the caller has to park on
 * op->wait. A task that waited for this first, as by weir__h2_at_home(), could be woken twice,
 * since the operation may end before it parks.
 */
static ssize_t op_begin(int worker, struct weir__h2_op *op, void (*begin)(struct weir__h2_op *op))
{
	op->r = -EINPROGRESS;
	if (weir_worker() == worker) {
		begin(op);
		return op->r;
	}
	op->begin = begin;
	op->msg.fn = begun_elsewhere;
	weir__post(worker, &op->msg);
	return -EINPROGRESS;
}

/* Until it has withdrawn its operation, here, the waiter is there. It takes the result also when
 * its context's end was faster. */
static void complete(struct weir__h2_op **op, ssize_t r)
{
	struct weir__h2_op *o = *op;

	*op = NULL;
	o->r = r;
	if (weir__wait_claim(o->wait, 1))
		weir__wait_wake(o->wait);
}

void weir__h2_stream_wake(struct weir__h2_stream *st)
{
	if (st->reader)
		complete(&st->reader, st->in_end ? 0 : -EPIPE);
	if (st->writer)
		complete(&st->writer, -EPIPE);
	st->out_left = 0;
}

/* ---- sending ---- */

static bool all_framed(const struct weir__h2_stream *st)
{
	return !st->out_left && (!st->out_end || st->out_ended);
}

static ssize_t provide(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct weir__h2_stream *st = source->ptr;

	(void)buf;
	(void)user;
	weir__magic_check(st, WEIR__H2_STREAM_MAGIC);
	if (!st->out_left && !st->out_end) {
		st->deferred = true;
		if (st->watched) {
			st->may_write = true;
			weir__h2_fire(st);
		}
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n > st->out_left)
		n = st->out_left;
	if (n == st->out_left && st->out_end) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		st->out_ended = true;
		if (st->trailers_n) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			if (nghttp2_submit_trailer(session, id, st->trailers, st->trailers_n) != 0)
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
		if (n == 0 && st->writer) /* No frame may come of this. */
			complete(&st->writer, 0);
	}
	return (ssize_t)n;
}

nghttp2_data_provider weir__h2_provider(struct weir__h2_stream *st)
{
	return (nghttp2_data_provider){ .source.ptr = st, .read_callback = provide };
}

void weir__h2_stream_take(struct weir__h2_stream *st, char *to, size_t n)
{
	weir__assert(n <= st->out_left, "a frame of more bytes than there are");
	st->out_left -= n;
	st->moved += n;
	while (n) {
		size_t here = st->out->iov_len - st->out_skip;

		if (here > n)
			here = n;
		memcpy(to, (const char *)st->out->iov_base + st->out_skip, here);
		to += here;
		n -= here;
		st->out_skip += here;
		if (st->out_skip == st->out->iov_len) {
			st->out++;
			st->out_skip = 0;
		}
	}
	if (st->writer && all_framed(st))
		complete(&st->writer, 0);
	if (st->more && !st->out_left) {
		st->more = false;
		weir__h2_owe(st);
	}
	/* RFC 9113 §8.1: who answers early asks the client to stop sending. */
	if (st->out_ended && st->left_alone && !st->in_end)
		nghttp2_submit_rst_stream(st->h2->session, NGHTTP2_FLAG_NONE, st->id,
		                          NGHTTP2_NO_ERROR);
}

static void offer(struct weir__h2_stream *st, const struct iovec *iov, int n)
{
	st->out = iov;
	st->out_skip = st->out_left = 0;
	for (int i = 0; i < n; i++)
		st->out_left += iov[i].iov_len;
}

/* nghttp2 asks for data again; or it will, since it has not yet. */
static int resume(struct weir__h2_stream *st)
{
	if (!st->deferred)
		return 0;
	st->deferred = false;
	return nghttp2_session_resume_data(st->h2->session, st->id) == NGHTTP2_ERR_NOMEM ? -ENOMEM :
	                                                                                   0;
}

struct send_call {
	struct weir__h2_stream *st;
	const struct weir__h2_send *what;
	struct weir__h2_op op;
	uint64_t moved;
	bool progress;
};

static int submit(struct weir__h2_stream *st, const struct weir__h2_send *what)
{
	nghttp2_data_provider source = weir__h2_provider(st);
	int r = 0;

	offer(st, what->iov, what->n);
	st->trailers = what->trailers;
	st->trailers_n = what->trailers_n;
	st->out_end = what->end;
	if (!what->head_n)
		return resume(st);
	st->has_data = st->out_left || !what->end || what->trailers_n;
	if (!st->has_data)
		st->out_ended = true;
	r = nghttp2_submit_response(st->h2->session, st->id, what->head, what->head_n,
	                            st->has_data ? &source : NULL);
	return r == 0 ? 0 : r == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
}

static void send_begin(struct weir__h2_op *op)
{
	struct send_call *call = weir__container(op, struct send_call, op);
	struct weir__h2_stream *st = call->st;

	if (st->writer || st->out_left) {
		call->op.r = -EBUSY;
		return;
	}
	if (st->closed || st->out_ended) {
		call->op.r = -EPIPE;
		return;
	}
	call->op.r = submit(st, call->what);
	if (call->op.r < 0)
		return;
	weir__h2_pump(st->h2);
	if (st->closed && !all_framed(st)) {
		call->op.r = -EPIPE;
	} else if (!all_framed(st)) {
		call->op.r = -EINPROGRESS;
		st->writer = &call->op;
	}
}

static void send_withdraw(void *arg)
{
	struct send_call *call = arg;
	struct weir__h2_stream *st = call->st;

	if (call->op.r != -EINPROGRESS)
		return;
	st->writer = NULL;
	st->out_left = 0;
	st->out_end = false; /* What is missing must not look like an end. */
	st->trailers_n = 0;
}

/* The time for progress is up: nobody is woken until send_again(), if that is to follow. */
static void send_look(void *arg)
{
	struct send_call *call = arg;
	struct weir__h2_stream *st = call->st;

	if (st->writer != &call->op)
		return; /* It was completed just then. */
	st->writer = NULL;
	call->progress = st->moved != call->moved;
	call->moved = st->moved;
}

static void send_again(struct weir__h2_op *op)
{
	struct weir__h2_stream *st = weir__container(op, struct send_call, op)->st;

	if (all_framed(st))
		op->r = 0;
	else if (st->closed)
		op->r = -EPIPE;
	else
		st->writer = op;
}

int weir__h2_send(const weir_ctx *ctx, struct weir__h2_stream *st, int64_t progress_ns,
                  const struct weir__h2_send *what)
{
	struct weir__wait wait;
	struct send_call call = { .st = st, .what = what, .op.wait = &wait, .moved = UINT64_MAX };
	int worker = st->h2->worker, r;

	weir__magic_check(st, WEIR__H2_STREAM_MAGIC);
	weir__wait_init(&wait);
	if (op_begin(worker, &call.op, what ? send_begin : send_again) != -EINPROGRESS)
		return (int)call.op.r;
	for (;;) {
		weir_ctx soon =
			progress_ns == WEIR_NEVER ? *ctx : weir_ctx_timeout(ctx, progress_ns);

		r = weir__wait_park(&wait, &soon, "h2 write", st);
		if (r >= 0)
			return (int)call.op.r;
		call.progress = false;
		if (r == -ETIMEDOUT && weir_ctx_left(ctx) > 0)
			weir__h2_at_home(worker, send_look, &call);
		if (!call.progress)
			break;
		weir__wait_init(&wait);
		if (op_begin(worker, &call.op, send_again) != -EINPROGRESS)
			return (int)call.op.r;
	}
	weir__h2_at_home(worker, send_withdraw, &call);
	return call.op.r == -EINPROGRESS ? r : (int)call.op.r;
}

/* ---- receiving ---- */

static size_t read_chunks(struct weir__h2_stream *st, char *to, size_t n)
{
	size_t done = 0;

	while (done < n && st->in_first) {
		struct weir__h2_chunk *k = st->in_first;
		size_t here = k->len - k->at;

		if (here > n - done)
			here = n - done;
		memcpy(to + done, k->bytes + k->at, here);
		k->at += here;
		done += here;
		if (k->at < k->len)
			break;
		st->in_first = k->next;
		weir__pool_put(st->h2->pool, k);
	}
	st->in_len -= done;
	if (!st->in_first)
		st->in_last = NULL;
	return done;
}

static void consumed(struct weir__h2_stream *st, size_t n)
{
	if (st->h2->dead)
		return;
	if (!st->closed && !st->in_end)
		nghttp2_session_consume_stream(st->h2->session, st->id, n);
	if (nghttp2_session_want_write(st->h2->session))
		weir__h2_flush(st->h2);
}

static int keep(struct weir__h2_stream *st, const char *data, size_t n)
{
	struct weir__h2_chunk *k = st->in_last;
	size_t room = k ? k->cap - k->len : 0, cap;

	if (room > n)
		room = n;
	if (room)
		memcpy(k->bytes + k->len, data, room);
	if (k)
		k->len += room;
	st->in_len += room;
	data += room;
	n -= room;
	if (!n)
		return 0;
	cap = st->in_last ? CHUNK_MIN : FIRST_MIN;
	if (cap < n)
		cap = n;
	k = weir__pool_get(st->h2->pool, sizeof *k + cap);
	if (!k)
		return -ENOMEM;
	*k = (struct weir__h2_chunk){ .cap = cap, .len = n };
	memcpy(k->bytes, data, n);
	if (st->in_last)
		st->in_last->next = k;
	else
		st->in_first = k;
	st->in_last = k;
	st->in_len += n;
	return 0;
}

ssize_t weir__h2_stream_came(struct weir__h2_stream *st, const char *data, size_t n)
{
	size_t given = 0, before;
	int r;

	if (st->reader && (n || st->in_end)) {
		/* It waits, so nothing is kept. */
		given = n < st->reader->n ? n : st->reader->n;
		if (given)
			memcpy(st->reader->buf, data, given);
		complete(&st->reader, (ssize_t)given);
		if (given)
			consumed(st, given);
	}
	if (given == n)
		return 0;
	before = st->in_len;
	r = keep(st, data + given, n - given);
	return r < 0 ? r : (ssize_t)(st->in_len - before);
}

struct read_call {
	struct weir__h2_stream *st;
	struct weir__h2_op op;
};

static void read_begin(struct weir__h2_op *op)
{
	struct read_call *call = weir__container(op, struct read_call, op);
	struct weir__h2_stream *st = call->st;

	if (st->reader) {
		call->op.r = -EBUSY;
	} else if (st->in_len) {
		call->op.r = (ssize_t)read_chunks(st, call->op.buf, call->op.n);
		consumed(st, (size_t)call->op.r);
		weir__h2_unhold(st->h2, (size_t)call->op.r);
	} else if (st->in_end) {
		call->op.r = 0;
	} else if (st->closed) {
		call->op.r = -EPIPE;
	} else {
		call->op.r = -EINPROGRESS;
		st->reader = &call->op;
	}
}

static void read_withdraw(void *arg)
{
	struct read_call *call = arg;

	if (call->st->reader == &call->op)
		call->st->reader = NULL;
}

ssize_t weir__h2_read(const weir_ctx *ctx, struct weir__h2_stream *st, void *buf, size_t n)
{
	struct weir__wait wait;
	struct read_call call = { .st = st, .op = { .wait = &wait, .buf = buf, .n = n } };
	int worker = st->h2->worker, r;

	weir__magic_check(st, WEIR__H2_STREAM_MAGIC);
	weir__assert(n > 0, "a read of no bytes cannot be told from the end of the stream");
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	weir__wait_init(&wait);
	if (op_begin(worker, &call.op, read_begin) != -EINPROGRESS)
		return call.op.r;
	r = weir__wait_park(&wait, ctx, "h2 read", st);
	if (r < 0) {
		weir__h2_at_home(worker, read_withdraw, &call);
		if (call.op.r == -EINPROGRESS)
			call.op.r = r;
	}
	return call.op.r;
}

/* ---- ending ---- */

struct reset_call {
	struct weir__h2_stream *st;
	uint32_t code;
};

static void reset_now(void *arg)
{
	struct reset_call *call = arg;
	struct weir__h2_stream *st = call->st;

	if (st->closed || st->h2->dead || st->reset)
		return;
	st->reset = true;
	st->discards = true;
	nghttp2_submit_rst_stream(st->h2->session, NGHTTP2_FLAG_NONE, st->id, call->code);
	weir__h2_flush(st->h2);
}

void weir__h2_reset(struct weir__h2_stream *st, uint32_t code)
{
	struct reset_call call = { st, code };

	weir__magic_check(st, WEIR__H2_STREAM_MAGIC);
	weir__h2_at_home(st->h2->worker, reset_now, &call);
}

uint32_t weir__h2_error(const struct weir__h2_stream *st)
{
	return st->error;
}

void weir__h2_leave(struct weir__h2_stream *st, uint32_t code)
{
	weir__h2_discard(st);
	st->left_alone = true;
	if (st->out_ended && !st->in_end)
		weir__h2_reset(st, NGHTTP2_NO_ERROR);
	else if (!st->out_end)
		weir__h2_reset(st, code);
}

/* ---- for callbacks ---- */

void weir__h2_owe(struct weir__h2_stream *st)
{
	if (!weir__list_linked(&st->owed))
		weir__list_append(&st->h2->owed, &st->owed);
	weir__h2_flush(st->h2);
}

int weir__h2_lend(struct weir__h2_stream *st, const struct weir__h2_send *what)
{
	struct weir__h2_send copy = *what;

	weir__assert(what->n <= 1, "more pieces than can be lent");
	if (st->closed || st->out_end || st->writer || st->out_left)
		return -EPIPE;
	if (what->n)
		st->lent_iov = what->iov[0];
	copy.iov = &st->lent_iov;
	st->lent = true;
	return submit(st, &copy);
}

void weir__h2_unlend(struct weir__h2_stream *st)
{
	if (st->lent && !st->writer)
		st->out_left = 0;
	st->lent = false;
}

int weir__h2_send_off(struct weir__h2_stream *st, const struct weir__h2_send *what)
{
	int r;

	if (st->closed || st->out_end || st->writer || st->out_left)
		return -EPIPE;
	r = submit(st, what);
	weir__h2_pump(st->h2);
	return r;
}

ssize_t weir__h2_try_writev(struct weir__h2_stream *st, const struct iovec *iov, int n)
{
	size_t all;
	int r;

	if (st->closed)
		return -EPIPE;
	if (st->out_left || st->out_end)
		return -EBUSY;
	offer(st, iov, n);
	all = st->out_left;
	r = resume(st);
	if (r < 0)
		return r;
	weir__h2_pump(st->h2);
	all -= st->out_left;
	st->out_left = 0;
	if (st->closed)
		return -EPIPE;
	return all ? (ssize_t)all : -EAGAIN;
}

void weir__h2_watch(struct weir__h2_stream *st)
{
	st->watched = true;
	st->may_write = false;
	if (resume(st) < 0)
		weir__h2_die(st->h2, -ENOMEM);
	weir__h2_flush(st->h2);
}

void weir__h2_unwatch(struct weir__h2_stream *st)
{
	st->watched = st->may_write = false;
}

void weir__h2_end(struct weir__h2_stream *st)
{
	if (st->closed || st->out_end)
		return;
	st->out_end = true;
	if (resume(st) < 0)
		weir__h2_die(st->h2, -ENOMEM);
	weir__h2_flush(st->h2);
}

/* ---- life ---- */

void weir__h2_stream_init(struct weir__h2_stream *st, struct weir__h2 *h2, int32_t id)
{
	*st = (struct weir__h2_stream){ .magic = WEIR__H2_STREAM_MAGIC, .h2 = h2, .id = id };
	weir__list_append(&h2->streams, &st->link);
}

/* What nobody will read is forgotten at once. */
void weir__h2_discard(struct weir__h2_stream *st)
{
	size_t n = st->in_len;
	struct weir__h2_chunk *next;

	st->discards = true;
	for (struct weir__h2_chunk *k = st->in_first; k; k = next) {
		next = k->next;
		weir__pool_put(st->h2->pool, k);
	}
	st->in_first = st->in_last = NULL;
	st->in_len = 0;
	if (!n)
		return;
	consumed(st, n);
	weir__h2_unhold(st->h2, n);
}

void weir__h2_stream_fini(struct weir__h2_stream *st)
{
	weir__magic_check(st, WEIR__H2_STREAM_MAGIC);
	weir__assert(st->closed, "a stream goes that is open");
	weir__assert(!st->reader && !st->writer, "a stream goes that a task waits for");
	weir__h2_discard(st);
	weir__list_remove(&st->link);
	if (weir__list_linked(&st->owed))
		weir__list_remove(&st->owed);
	if (st->h2->heads == st)
		st->h2->heads = NULL;
	if (weir__list_linked(&st->fired))
		weir__list_remove(&st->fired);
	st->magic = 0;
}
