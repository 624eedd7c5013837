/* SPDX-License-Identifier: MIT */
/*
 * Ports: calls with replies, for a task that owns a state.
 *
 * A call is a record held by its caller, and from receipt to answer by its owner too; the last to
 * let go puts it back. The value of the request stays on the caller's stack and is copied to the
 * owner at receipt; the reply is copied straight to the caller's stack. Both copies are made under
 * the port's lock, with the caller's wait open or claimed by the copier, so the caller is still
 * there. A caller who leaves takes its record out of the queue itself: a stalled owner leaves
 * nothing behind, however many callers give up on it.
 *
 * The queue is one list: the first `cap` in it are queued, the others wait for a place. To a
 * caller that is all the same, for it waits on the same record for place, owner and reply, and only
 * try_call needs to know the difference.
 *
 * Invariants, under the lock: an owner waits in `owners` only while no open call is queued; a
 * record in the queue has a caller; call->wait is NULL from when its caller left. The port's memory
 * outlives weir_port_free() until the last record is back, since an owner may still hold calls
 * whose callers have left. At most `cap` records are kept for reuse; one in use costs less than the
 * task that waits with it.
 *
 * Rejected: a reply channel per call (three allocations, and a late reply needs a buffer or blocks
 * the owner); a buffer for the reply in the record (a second copy, and memory that outlives the
 * wait).
 */
#include <weir/port.h>
#include <weir/task.h>

#include <stdlib.h>
#include <string.h>

#include "sync/waiter.h"

enum { PORT_MAGIC = 0x706f7274, CALL_MAGIC = 0x63616c6c };
enum { REPLIED = 0, CLOSED = 1 }; /* what a caller's and an owner's wait is claimed with */

struct weir_port {
	weir__lock lock; /* guards all below that changes, and the calls */
	uint32_t magic;
	size_t req, rep, cap;
	size_t queued; /* calls in `calls` */
	size_t out;    /* records that are not in `spare` */
	size_t spares;
	bool closed, freed;
	struct weir__list calls;
	struct weir__list owners; /* weir__waiters whose data is a struct receipt */
	struct weir__list spare;
};

struct weir_call {
	uint32_t magic;
	int err; /* the owner's answer */
	weir_port *port;
	struct weir__list link;  /* in `calls` until received, in `spare` when not in use */
	struct weir__wait *wait; /* the caller's; NULL when it has left */
	const void *req;         /* both on the caller's stack */
	void *rep;
	int64_t deadline_ns;
	unsigned holders;
	bool received; /* an owner holds it */
};

/* Where an owner wants its call. */
struct receipt {
	weir_call **call;
	void *req;
};

int weir_port_new(weir_port **ret, size_t req, size_t rep, size_t cap)
{
	weir_port *p = malloc(sizeof *p);

	if (!p)
		return -ENOMEM;
	*p = (weir_port){ .magic = PORT_MAGIC, .req = req, .rep = rep, .cap = cap ? cap : 1 };
	weir__list_init(&p->calls);
	weir__list_init(&p->owners);
	weir__list_init(&p->spare);
	*ret = p;
	return 0;
}

static weir_call *call_of(struct weir__list *link)
{
	return weir__container(link, weir_call, link);
}

/* Unlocks, and frees the port if that was waiting for its last record. */
static void unlock(weir_port *p)
{
	bool last = p->freed && p->out == 0;

	weir__lock_release(&p->lock);
	if (last) {
		p->magic = 0;
		free(p);
	}
}

/* Under the lock: lets go of a call. */
static void release(weir_port *p, weir_call *call)
{
	if (--call->holders > 0)
		return;
	p->out--;
	call->magic = 0;
	if (p->freed || p->spares == p->cap) {
		free(call);
		return;
	}
	p->spares++;
	weir__list_prepend(&p->spare, &call->link);
}

/* Under the lock: a record for a new call, or NULL. */
static weir_call *get(weir_port *p)
{
	struct weir__list *link = weir__list_pop(&p->spare);
	weir_call *call;

	if (link) {
		p->spares--;
		call = call_of(link);
	} else {
		call = malloc(sizeof *call);
		if (!call)
			return NULL;
	}
	*call = (weir_call){ .magic = CALL_MAGIC, .port = p, .holders = 1 };
	p->out++;
	return call;
}

/* Under the lock: gives the call to an owner. */
static void deliver(weir_port *p, weir_call *call, weir_call **ret, void *req)
{
	memcpy(req, call->req, p->req);
	call->holders++;
	call->received = true;
	*ret = call;
}

void weir_port_close(weir_port *p)
{
	struct weir__list callers, owners, *link;

	weir__assert(p->magic == PORT_MAGIC, "weir_port_close: not a live port");
	weir__list_init(&callers);
	weir__list_init(&owners);
	weir__lock_acquire(&p->lock);
	p->closed = true;
	while ((link = weir__list_pop(&p->calls))) {
		p->queued--;
		if (weir__wait_claim(call_of(link)->wait, CLOSED))
			weir__list_append(&callers, link);
	}
	weir__waiter_claim_all(&p->owners, CLOSED, false, &owners);
	weir__lock_release(&p->lock);
	while ((link = weir__list_pop(&callers)))
		weir__wait_wake(call_of(link)->wait);
	weir__waiter_wake_all(&owners);
}

void weir_port_free(weir_port *p)
{
	struct weir__list *link;

	if (!p)
		return;
	weir_port_close(p);
	weir__lock_acquire(&p->lock);
	weir__assert(weir__list_empty(&p->owners), "weir_port_free: a task receives from the port");
	p->freed = true;
	while ((link = weir__list_pop(&p->spare)))
		free(call_of(link));
	unlock(p);
}

/* Under the lock: an owner that waits for a call, claimed; or NULL. */
static struct weir__waiter *claim_owner(weir_port *p, weir_call *call)
{
	struct weir__waiter *owner = weir__waiter_claim(&p->owners, REPLIED);
	struct receipt *receipt;

	if (!owner)
		return NULL;
	receipt = owner->data;
	deliver(p, call, receipt->call, receipt->req);
	return owner;
}

static int call_port(const weir_ctx *ctx, weir_port *p, const void *req, size_t n, void *rep,
                     size_t m, bool try)
{
	struct weir__waiter *owner;
	struct weir__wait wait;
	weir_call *call;
	int r;

	weir__assert(p->magic == PORT_MAGIC, "weir_port_call: not a live port");
	weir__assert(n == p->req, "weir_port_call: a request of %zu bytes, not %zu", n, p->req);
	weir__assert(m == p->rep, "weir_port_call: a reply of %zu bytes, not %zu", m, p->rep);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	weir__lock_acquire(&p->lock);
	if (p->closed)
		r = -EPIPE;
	else if (try && p->queued >= p->cap)
		r = -EAGAIN;
	else if (!(call = get(p)))
		r = -ENOMEM;
	if (r < 0) {
		weir__lock_release(&p->lock);
		return r;
	}
	weir__wait_init(&wait);
	call->wait = &wait;
	call->req = req;
	call->rep = rep;
	call->deadline_ns = ctx->deadline_ns;
	owner = claim_owner(p, call);
	if (!owner) {
		weir__list_append(&p->calls, &call->link);
		p->queued++;
	}
	weir__lock_release(&p->lock);
	if (owner)
		weir__wait_wake(owner->wait);

	r = weir__wait_park(&wait, ctx, "port call", p);
	weir__lock_acquire(&p->lock);
	if (r == REPLIED)
		r = call->err;
	else if (r == CLOSED)
		r = -EPIPE;
	if (weir__list_linked(&call->link)) {
		weir__list_remove(&call->link);
		p->queued--;
	}
	call->wait = NULL;
	release(p, call);
	unlock(p);
	return r;
}

int weir_port_call_(const weir_ctx *ctx, weir_port *p, const void *req, size_t n, void *rep,
                    size_t m)
{
	return call_port(ctx, p, req, n, rep, m, false);
}

int weir_port_try_call_(const weir_ctx *ctx, weir_port *p, const void *req, size_t n, void *rep,
                        size_t m)
{
	return call_port(ctx, p, req, n, rep, m, true);
}

/* Is the caller still there, or rather: has nobody ended its wait yet? Under the lock. */
static bool open(const weir_call *call)
{
	return call->wait && __atomic_load_n(&call->wait->claim, __ATOMIC_ACQUIRE) == WEIR__OPEN;
}

int weir_port_recv_(const weir_ctx *ctx, weir_port *p, weir_call **call, void *req, size_t n)
{
	struct receipt receipt = { .call = call, .req = req };
	struct weir__list *link;
	int r;

	weir__assert(p->magic == PORT_MAGIC, "weir_port_recv: not a live port");
	weir__assert(n == p->req, "weir_port_recv: a request of %zu bytes, not %zu", n, p->req);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	weir__lock_acquire(&p->lock);
	while ((link = weir__list_pop(&p->calls))) {
		p->queued--;
		if (!open(call_of(link)))
			continue;
		deliver(p, call_of(link), call, req);
		weir__lock_release(&p->lock);
		return 1;
	}
	if (p->closed) {
		weir__lock_release(&p->lock);
		return 0;
	}
	r = weir__waiter_park(ctx, &p->owners, &p->lock, &receipt, "port recv", p);
	return r < 0 ? r : r != CLOSED;
}

/* Ends a call: wakes its caller, if it still waits, with `err` and the bytes of `rep`, if not
 * NULL. */
static void end(weir_call *call, int err, const void *rep)
{
	weir_port *p = call->port;
	struct weir__wait *wake = NULL;

	weir__lock_acquire(&p->lock);
	weir__assert(call->received, "weir_call_reply: the call was answered or dropped already");
	call->received = false;
	if (call->wait && weir__wait_claim(call->wait, REPLIED)) {
		wake = call->wait;
		call->err = err;
		if (rep)
			memcpy(call->rep, rep, p->rep);
	}
	release(p, call);
	unlock(p);
	if (wake)
		weir__wait_wake(wake);
}

void weir_call_reply_(weir_call *call, int err, const void *rep, size_t m)
{
	weir__assert(call->magic == CALL_MAGIC,
	             "weir_call_reply: not a call that waits for its answer");
	weir__assert(err < 0 || m == call->port->rep,
	             "weir_call_reply: a reply of %zu bytes, not %zu", m, call->port->rep);
	/* A stop code that the owner forwards would look as if the caller's own context had
	 * ended. */
	if (err == -ECANCELED || err == -ETIMEDOUT || err == -ESHUTDOWN)
		err = -EIO;
	end(call, err, err < 0 ? NULL : rep);
}

void weir_call_drop(weir_call *call)
{
	weir__assert(call->magic == CALL_MAGIC,
	             "weir_call_drop: not a call that waits for its answer");
	end(call, -EPIPE, NULL);
}

bool weir_call_gone(const weir_call *call)
{
	bool gone;

	weir__assert(call->magic == CALL_MAGIC,
	             "weir_call_gone: not a call that waits for its answer");
	weir__lock_acquire(&call->port->lock);
	gone = !open(call);
	weir__lock_release(&call->port->lock);
	return gone;
}

int64_t weir_call_deadline(const weir_call *call)
{
	weir__assert(call->magic == CALL_MAGIC,
	             "weir_call_deadline: not a call that waits for its answer");
	return call->deadline_ns;
}
