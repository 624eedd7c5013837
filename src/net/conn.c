/* SPDX-License-Identifier: MIT */
/*
 * Connections, whatever carries their bytes: who may be in an operation, how a wait goes round a
 * call that never waits, and when the last one out closes the door.
 *
 * Invariants:
 *  - `state` has one bit for the reader and one for the writer; they are different tasks or the
 *    same. Whoever sets a bit that was set already is the second one and gets -EBUSY.
 *  - weir_conn_free() shuts and marks; what destroys is the owner itself, or whoever drops the last
 *    of the busy bits afterwards. So a descriptor's number is never reused under a running system
 *    call.
 *  - weir_conn_shutdown() marks SHUT first and wakes after: an operation that found the mark absent
 *    is woken, or finds it when it next comes round.
 *
 * Rejected: a reference count beside the bits (two atomics an operation, and it cannot tell the
 * second reader), and a lock around the system calls (a shutdown would wait behind a slow copy).
 */
#include "net/conn.h"

#include <stdio.h>

enum { IOV_STEP = 16 }; /* pieces handed to the kernel at once; they lie on the stack */

void weir__conn_init(weir_conn *c, const struct weir__conn_ops *ops)
{
	*c = (struct weir_conn){ .magic = WEIR__CONN_MAGIC, .ops = ops };
}

static uint32_t bit_of(enum weir__dir dir)
{
	return dir == WEIR__IN ? WEIR__CONN_READING : WEIR__CONN_WRITING;
}

static bool is_shut(const weir_conn *c)
{
	return __atomic_load_n(&c->state, __ATOMIC_ACQUIRE) & WEIR__CONN_SHUT;
}

void weir__conn_destroy(weir_conn *c)
{
	c->magic = 0;
	c->ops->destroy(c);
}

bool weir__conn_leave(weir_conn *c, uint32_t bit)
{
	uint32_t left = __atomic_and_fetch(&c->state, ~bit, __ATOMIC_ACQ_REL);

	return (left & WEIR__CONN_FREED) && !(left & WEIR__CONN_BUSY);
}

static void leave(weir_conn *c, uint32_t bit)
{
	weir__point();
	if (weir__conn_leave(c, bit))
		weir__conn_destroy(c);
}

static int enter(weir_conn *c, enum weir__dir dir)
{
	uint32_t old;

	weir__magic_check(c, WEIR__CONN_MAGIC);
	weir__point();
	old = __atomic_fetch_or(&c->state, bit_of(dir), __ATOMIC_ACQ_REL);
	weir__assert(!(old & WEIR__CONN_FREED), "use of a connection (%s) after weir_conn_free()",
	             c->peer);
	if (old & bit_of(dir))
		return -EBUSY;
	if (old & WEIR__CONN_SHUT) {
		leave(c, bit_of(dir));
		return -EPIPE;
	}
	return 0;
}

/* A shutdown of our own may look like the peer's end of stream, or like nothing yet; it is
 * neither. */
static ssize_t try_read(weir_conn *c, void *buf, size_t n)
{
	ssize_t got = c->ops->try_read(c, buf, n);

	return got <= 0 && is_shut(c) ? -EPIPE : got;
}

static ssize_t try_writev(weir_conn *c, const struct iovec *iov, int n)
{
	ssize_t sent = c->ops->try_writev(c, iov, n);

	if (sent > 0)
		__atomic_fetch_add(&c->written, (uint64_t)sent, __ATOMIC_RELAXED);
	return sent < 0 && is_shut(c) ? -EPIPE : sent;
}

static ssize_t writev_some(const weir_ctx *ctx, weir_conn *c, const struct iovec *iov, int n)
{
	for (;;) {
		ssize_t sent = try_writev(c, iov, n);
		int r;

		if (sent != -EAGAIN)
			return sent;
		r = c->ops->wait(ctx, c, WEIR__OUT, "conn write");
		if (r < 0)
			return r;
	}
}

ssize_t weir_conn_read(const weir_ctx *ctx, weir_conn *c, void *buf, size_t n)
{
	ssize_t got;
	int r;

	weir__assert(
		n > 0,
		"weir_conn_read: a read of no bytes cannot be told from the end of the stream");
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	r = enter(c, WEIR__IN);
	if (r < 0)
		return r;
	while ((got = try_read(c, buf, n)) == -EAGAIN) {
		r = c->ops->wait(ctx, c, WEIR__IN, "conn read");
		if (r < 0) {
			got = r;
			break;
		}
	}
	leave(c, WEIR__CONN_READING);
	return got;
}

int weir_conn_writev(const weir_ctx *ctx, weir_conn *c, const struct iovec *iov, int n)
{
	size_t skip = 0; /* bytes of iov[i] that have left */
	int i = 0, r;

	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	r = enter(c, WEIR__OUT);
	if (r < 0)
		return r;
	for (;;) {
		struct iovec part[IOV_STEP];
		ssize_t sent;
		int m = 0;

		while (i < n && skip == iov[i].iov_len) {
			i++;
			skip = 0;
		}
		if (i == n)
			break;
		for (int j = i; j < n && m < IOV_STEP; j++)
			part[m++] = iov[j];
		part[0].iov_base = (char *)part[0].iov_base + skip;
		part[0].iov_len -= skip;
		sent = writev_some(ctx, c, part, m);
		if (sent < 0) {
			r = (int)sent;
			break;
		}
		while (sent > 0) {
			size_t here = iov[i].iov_len - skip;

			if ((size_t)sent < here) {
				skip += (size_t)sent;
				break;
			}
			sent -= (ssize_t)here;
			skip = 0;
			i++;
		}
	}
	leave(c, WEIR__CONN_WRITING);
	return r;
}

int weir_conn_write(const weir_ctx *ctx, weir_conn *c, const void *buf, size_t n)
{
	struct iovec one = { .iov_base = (void *)(uintptr_t)buf, .iov_len = n };

	return weir_conn_writev(ctx, c, &one, 1);
}

ssize_t weir__conn_writev_some(const weir_ctx *ctx, weir_conn *c, const struct iovec *iov, int n)
{
	ssize_t sent;
	int r;

	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	r = enter(c, WEIR__OUT);
	if (r < 0)
		return r;
	sent = writev_some(ctx, c, iov, n);
	leave(c, WEIR__CONN_WRITING);
	return sent;
}

ssize_t weir__conn_try_read(weir_conn *c, void *buf, size_t n)
{
	ssize_t got;
	int r;

	r = enter(c, WEIR__IN);
	if (r < 0)
		return r;
	got = try_read(c, buf, n);
	leave(c, WEIR__CONN_READING);
	return got;
}

ssize_t weir__conn_try_writev(weir_conn *c, const struct iovec *iov, int n)
{
	ssize_t sent;
	int r;

	r = enter(c, WEIR__OUT);
	if (r < 0)
		return r;
	sent = try_writev(c, iov, n);
	leave(c, WEIR__CONN_WRITING);
	return sent;
}

uint64_t weir_conn_written(const weir_conn *c)
{
	return __atomic_load_n(&c->written, __ATOMIC_RELAXED);
}

const char *weir_conn_peer(const weir_conn *c)
{
	return c->peer;
}

int weir__conn_worker(const weir_conn *c)
{
	return c->ops->worker(c);
}

void weir_conn_shutdown_write(weir_conn *c)
{
	weir__magic_check(c, WEIR__CONN_MAGIC);
	c->ops->shut_write(c);
}

/* The reader that it wakes may free the connection before it is through; ENDING keeps it. */
void weir_conn_shutdown(weir_conn *c)
{
	uint32_t old;

	weir__magic_check(c, WEIR__CONN_MAGIC);
	weir__point();
	old = __atomic_load_n(&c->state, __ATOMIC_ACQUIRE);
	do {
		if (old & WEIR__CONN_SHUT)
			return;
	} while (!__atomic_compare_exchange_n(&c->state, &old,
	                                      old | WEIR__CONN_SHUT | WEIR__CONN_ENDING, false,
	                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	c->ops->shut(c);
	leave(c, WEIR__CONN_ENDING);
}

/* Stores only what changes: an owner elsewhere that never asked for a callback must not race with
 * the worker's looks. */
static weir__conn_fn *forget(struct weir__conn_call *call)
{
	weir__conn_fn *fn = call->fn;

	if (fn)
		call->fn = NULL;
	return fn;
}

void weir_conn_free(weir_conn *c)
{
	uint32_t old;

	if (!c)
		return;
	weir__magic_check(c, WEIR__CONN_MAGIC);
	c->ops->quiet(c);
	forget(&c->on_gone);
	forget(&c->watch[WEIR__IN]);
	forget(&c->watch[WEIR__OUT]);
	weir_conn_shutdown(c);
	weir__point();
	old = __atomic_fetch_or(&c->state, WEIR__CONN_FREED, __ATOMIC_ACQ_REL);
	weir__assert(!(old & WEIR__CONN_FREED), "weir_conn_free() twice");
	if (!(old & WEIR__CONN_BUSY))
		weir__conn_destroy(c);
}

int weir__conn_watch(weir_conn *c, enum weir__dir dir, weir__conn_fn *fn, void *arg)
{
	int r;

	weir__magic_check(c, WEIR__CONN_MAGIC);
	if (c->watch[dir].fn)
		return -EBUSY;
	c->watch[dir] = (struct weir__conn_call){ .fn = fn, .arg = arg };
	r = c->ops->watch(c, dir);
	if (r < 0)
		forget(&c->watch[dir]);
	return r;
}

bool weir__conn_unwatch(weir_conn *c, enum weir__dir dir)
{
	/* Callbacks come on this worker, so without fn none can. */
	if (!forget(&c->watch[dir]))
		return false;
	c->ops->unwatch(c, dir);
	return true;
}

int weir__conn_on_gone(weir_conn *c, weir__conn_fn *fn, void *arg)
{
	int r;

	weir__magic_check(c, WEIR__CONN_MAGIC);
	forget(&c->on_gone);
	if (!fn)
		return 0;
	if (!c->gone) {
		r = c->ops->attach(c);
		if (r < 0)
			return r;
		c->gone = r > 0;
	}
	if (c->gone)
		return 1;
	c->on_gone = (struct weir__conn_call){ .fn = fn, .arg = arg };
	return 0;
}

void weir__conn_fire(weir_conn *c, enum weir__dir dir)
{
	weir__conn_fn *fn = forget(&c->watch[dir]);

	if (fn)
		fn(c, c->watch[dir].arg);
}

void weir__conn_fire_gone(weir_conn *c)
{
	weir__conn_fn *fn = forget(&c->on_gone);

	c->gone = true;
	if (fn)
		fn(c, c->on_gone.arg);
}

int weir__net_error(int err)
{
	switch (err) {
	case ETIMEDOUT:
	case ECANCELED:
		return -ECONNRESET;
	case ESHUTDOWN:
		return -EPIPE;
	default:
		return -err;
	}
}
