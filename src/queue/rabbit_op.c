/* SPDX-License-Identifier: MIT */
/*
 * Orders: what tasks ask of a line's thread. They wait in the line until the thread heeds them; a
 * put finds no place there when too many do.
 *
 * An order's end and its task's leaving meet under op->lock, the inner one of the two: the one that
 * comes second sees the other. A task that leaves takes its order out of the line when it was not
 * begun, so that nothing is done for nobody; one that was begun stays at work, so an op holds
 * copies of all it needs. The end of a job is not taken back: it is true, whether somebody waits
 * for the answer or not.
 */
#include "queue/rabbit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum { ORDERS_MAX = 16384, ORDERS_BYTES = 64 << 20 }; /* of puts that wait to be begun */

struct weir__rmq_op *weir__rmq_op_new(enum weir__rmq_verb verb, const char *queue, size_t extra)
{
	struct weir__rmq_op *op = calloc(1, sizeof *op + extra);

	if (!op)
		return NULL;
	op->verb = verb;
	op->refs = 2;
	op->size = sizeof *op + extra;
	memcpy(op->queue, queue, strlen(queue) + 1);
	weir__list_init(&op->got);
	return op;
}

void weir__rmq_op_unref(struct weir__rmq_op *op)
{
	if (__atomic_sub_fetch(&op->refs, 1, __ATOMIC_ACQ_REL))
		return;
	free(op);
}

bool weir__rmq_done(struct weir__rmq_op *op, int result)
{
	struct weir__wait *wait;
	bool heard;

	weir__lock_acquire(&op->lock);
	op->ended = true;
	op->result = result;
	heard = !op->left;
	wait = op->wait;
	op->wait = NULL;
	if (wait && !weir__wait_claim(wait, 0))
		wait = NULL; /* It is leaving, and will see that this has ended. */
	weir__lock_release(&op->lock);
	if (wait)
		weir__wait_wake(wait);
	if (heard)
		weir__rmq_op_unref(op);
	return heard;
}

void weir__rmq_end(struct weir__rmq_op *op, int result)
{
	if (!weir__rmq_done(op, result))
		weir__rmq_op_unref(op);
}

void weir__rmq_kick(struct weir__rmq_line *l)
{
	uint64_t one = 1;

	if (__atomic_exchange_n(&l->asleep, false, __ATOMIC_SEQ_CST) &&
	    write(l->event, &one, sizeof one) < 0)
		weir__log_rare(WEIR__ERROR, "queue", "RabbitMQ: a thread cannot be woken");
}

/* ---- In the line ---- */

/* Under the lock. */
static void unlink_order(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	weir__list_remove(&op->link);
	op->queued = false;
	l->orders_n--;
	l->orders_bytes -= op->size;
}

static void link_order(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	op->queued = true;
	l->orders_n++;
	l->orders_bytes += op->size;
}

static int hand_over(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	bool room;

	op->end_ns = weir_now() + WEIR__RMQ_ANSWER;
	weir__lock_acquire(&l->lock);
	room = op->verb != WEIR__RMQ_PUT || !l->orders_n ||
	       (l->orders_n < ORDERS_MAX && l->orders_bytes + op->size <= ORDERS_BYTES);
	if (room) {
		weir__list_append(&l->orders, &op->link);
		link_order(l, op);
		l->fresh = true;
	}
	weir__lock_release(&l->lock);
	if (!room)
		return -EAGAIN;
	weir__rmq_kick(l);
	return 0;
}

struct weir__rmq_op *weir__rmq_next(struct weir__rmq_line *l)
{
	struct weir__rmq_op *op = NULL;

	weir__lock_acquire(&l->lock);
	if (!weir__list_empty(&l->orders)) {
		op = weir__container(l->orders.next, struct weir__rmq_op, link);
		unlink_order(l, op);
	} else {
		l->fresh = false;
	}
	weir__lock_release(&l->lock);
	return op;
}

void weir__rmq_not_yet(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	bool wanted;

	/* Both locks: a task leaves first, and then looks for its order in the line. */
	weir__lock_acquire(&l->lock);
	weir__lock_acquire(&op->lock);
	wanted = !op->left && weir_now() < op->end_ns;
	weir__lock_release(&op->lock);
	if (wanted) {
		weir__list_prepend(&l->orders, &op->link);
		link_order(l, op);
	}
	weir__lock_release(&l->lock);
	if (!wanted)
		weir__rmq_end(op, -EAGAIN);
}

/* True: it was not begun, and is not. */
static bool withdraw(struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	bool queued;

	weir__lock_acquire(&l->lock);
	queued = op->queued;
	if (queued)
		unlink_order(l, op);
	weir__lock_release(&l->lock);
	return queued;
}

/* ---- A task's side ---- */

/* Until it has ended, or the context. */
static int await(const weir_ctx *ctx, struct weir__rmq_op *op, bool last)
{
	struct weir__wait w;
	int r = 0;

	weir__lock_acquire(&op->lock);
	if (!op->ended) {
		weir__wait_init(&w);
		op->wait = &w;
		weir__lock_release(&op->lock);
		r = weir__wait_park(&w, ctx, "an answer of RabbitMQ", op);
		weir__lock_acquire(&op->lock);
	}
	op->wait = NULL;
	if (op->ended)
		r = op->result;
	else
		op->left = last;
	weir__lock_release(&op->lock);
	return r;
}

int weir__rmq_call(const weir_ctx *ctx, struct weir__rmq_line *l, struct weir__rmq_op *op)
{
	weir_ctx late = weir_ctx_shield(ctx, WEIR__RMQ_ANSWER);
	bool fetch = op->verb == WEIR__RMQ_FETCH;
	int r = weir__wait_check(ctx), got;

	if (r == 0 && op->verb != WEIR__RMQ_HELLO && !__atomic_load_n(&l->up, __ATOMIC_ACQUIRE))
		r = -ENOTCONN;
	if (r == 0)
		r = hand_over(l, op);
	if (r < 0) {
		weir__rmq_op_unref(op); /* The thread's. */
		return r;
	}
	r = await(ctx, op, !fetch);
	if (op->left && op->verb < WEIR__RMQ_FETCH && withdraw(l, op))
		weir__rmq_op_unref(op); /* The thread's. */
	if (!fetch || r >= 0 || r == -ENOTCONN)
		return r;
	/* What is on its way to us already is better taken than sent back. */
	__atomic_store_n(&op->cancel, true, __ATOMIC_RELEASE);
	weir__rmq_kick(l);
	got = await(&late, op, true);
	return got > 0 ? got : r;
}
