/* SPDX-License-Identifier: MIT */
/*
 * The biased lock: free of atomic read-modify-writes for the worker that owns it, a few
 * microseconds for anybody else.
 *
 * The owner says `in`, then looks at `revoked`; a stranger takes the inner lock, sets `revoked`,
 * makes every processor that runs a thread of ours pass a barrier (membarrier(2), so that the
 * owner needs none), and waits until the owner is out. So either the owner sees `revoked` and
 * goes through the inner lock as well, or the stranger sees `in` and waits the few instructions
 * of its stay. The owner's tasks cannot interfere with each other, for none of them waits inside.
 *
 * Two ways to use it: with an owner from the start (weir__bias_init_owned), whom strangers seldom
 * disturb and who gets the bias back at once; or without (WEIR__BIAS_INIT), where a worker
 * becomes the owner by WEIR__BIAS_STREAK uses in a row, and the first stranger ends the bias for
 * ever, because what two workers use once they use again. With `once` a second worker ends the
 * bias even before there is an owner: for what costs more while that is open.
 *
 * Without membarrier, in a simulation and under ThreadSanitizer (which cannot see through it)
 * everybody takes the inner lock. tests/rt/bias.c has the stress.
 */
#ifndef WEIR_RT_BIAS_H
#define WEIR_RT_BIAS_H

#include "rt/fiber.h"
#include "rt/lock.h"

/* No thread has the index -2 or -3, so they own nothing. */
enum { WEIR__BIAS_STREAK = 32, WEIR__BIAS_NOBODY = -2, WEIR__BIAS_NEVER = -3 };

/* To wait a moment for another processor pays, or does not: then the next chances are let pass,
 * ever more of them. */
struct weir__patience {
	uint16_t lost; /* chances to let pass */
	uint8_t vain;  /* so often in a row it did not pay */
};
bool weir__patience_left(struct weir__patience *p);
void weir__patience_learn(struct weir__patience *p, bool paid);
void weir__patience_pause(int pauses); /* of 10 to 30 ns each */

/* What hardly ever changes comes first, and may end a line of the cache of which the rest begins
 * the next: who looks at the owner and then takes the lock would move that line twice. */
struct weir__bias {
	int16_t owner; /* atomic, relaxed: a worker; NOBODY yet; NEVER again */
	bool keeps;    /* the owner gets the bias back */
	bool once;     /* a second user ends it before there is an owner, too */

	weir__lock lock;
	int16_t last;                /* under the lock: who used it last … */
	uint16_t streak;             /* … and how often in a row; atomic, relaxed */
	struct weir__patience turns; /* under the lock: with changes of hands */
	uint8_t in;                  /* atomic: the owner is inside, without the inner lock */
	uint8_t revoked;             /* atomic: the owner must take the inner lock */
};

#define WEIR__BIAS_INIT                                               \
	{                                                             \
		.owner = WEIR__BIAS_NOBODY, .last = WEIR__BIAS_NOBODY \
	}

/* For what is used by anybody from the start. */
#define WEIR__BIAS_INIT_SHARED                                       \
	{                                                            \
		.owner = WEIR__BIAS_NEVER, .last = WEIR__BIAS_NOBODY \
	}

/* Before the workers start: is there a membarrier? */
void weir__bias_probe(void);
/* As INIT, but shared where nobody can become the owner. */
void weir__bias_init(struct weir__bias *b);
void weir__bias_init_owned(struct weir__bias *b, int owner);
void weir__bias_acquire_slow(struct weir__bias *b, int self);

/* Only as its owner, at a few instructions: true, or nothing happened. */
static inline bool weir__bias_enter(struct weir__bias *b, int self)
{
	if (weir__unlikely(__atomic_load_n(&b->owner, __ATOMIC_RELAXED) != self))
		return false;
	__atomic_store_n(&b->in, 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (weir__likely(!__atomic_load_n(&b->revoked, __ATOMIC_ACQUIRE)))
		return true;
	__atomic_store_n(&b->in, 0, __ATOMIC_RELEASE);
	return false;
}

/* After that. */
static inline void weir__bias_exit(struct weir__bias *b)
{
	__atomic_store_n(&b->in, 0, __ATOMIC_RELEASE);
}

/* Has no owner and never will? */
static inline bool weir__bias_shared(const struct weir__bias *b)
{
	return __atomic_load_n(&b->owner, __ATOMIC_ACQUIRE) == WEIR__BIAS_NEVER;
}

/* `self` is the calling worker's index, or -1 elsewhere; the same for the release. */
static inline void weir__bias_acquire(struct weir__bias *b, int self)
{
	if (weir__unlikely(!weir__bias_enter(b, self)))
		weir__bias_acquire_slow(b, self);
}

/* Does the caller, who holds it, hold it as its owner? Then nobody on another thread can be
 * inside or come in. */
static inline bool weir__bias_owned(const struct weir__bias *b, int self)
{
	/* Only the owner writes `in`, so it may trust it; a stranger may not. */
	return __atomic_load_n(&b->owner, __ATOMIC_RELAXED) == self &&
	       __atomic_load_n(&b->in, __ATOMIC_RELAXED);
}

static inline void weir__bias_release(struct weir__bias *b, int self)
{
	if (weir__likely(weir__bias_owned(b, self))) {
		__atomic_store_n(&b->in, 0, __ATOMIC_RELEASE);
		return;
	}
	if (b->keeps)
		__atomic_store_n(&b->revoked, 0, __ATOMIC_RELEASE);
	weir__lock_release(&b->lock);
}

#endif
