/* SPDX-License-Identifier: MIT */
#include "rt/bias.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In uses, but for PAUSES, each of 10 to 30 ns, and the chances lost in vain. */
enum { TURN = 48, TURN_MIN = 4, PAUSES = 48, LOOKS_MAX = 6, LOST = 64, VAIN_MAX = 6 };

static bool works;

void weir__bias_probe(void)
{
#ifndef WEIR__TSAN
	works = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
}

bool weir__patience_left(struct weir__patience *p)
{
	if (!p->lost)
		return true;
	p->lost--;
	return false;
}

void weir__patience_learn(struct weir__patience *p, bool paid)
{
	if (paid) {
		p->vain = 0;
		return;
	}
	p->lost = (uint16_t)(LOST << p->vain);
	if (p->vain < VAIN_MAX)
		p->vain++;
}

void weir__patience_pause(int pauses)
{
	for (int i = 0; i < pauses; i++)
		weir__relax();
}

void weir__bias_init(struct weir__bias *b)
{
	*b = (struct weir__bias)WEIR__BIAS_INIT;
	if (!works || weir__simulating)
		b->owner = WEIR__BIAS_NEVER;
}

void weir__bias_init_owned(struct weir__bias *b, int owner)
{
	memset(b, 0, sizeof *b);
	b->owner = works && !weir__simulating ? (int16_t)owner : WEIR__BIAS_NEVER;
	b->keeps = true;
}

/* Under the inner lock: nobody owns it yet. */
static void count_use(struct weir__bias *b, int self)
{
	if (self < 0 || (b->once && b->last != self && b->last != WEIR__BIAS_NOBODY)) {
		__atomic_store_n(&b->owner, WEIR__BIAS_NEVER, __ATOMIC_RELEASE);
		return;
	}
	if (b->last != self) {
		b->last = (int16_t)self;
		b->streak = 0;
	}
	if (++b->streak == WEIR__BIAS_STREAK)
		__atomic_store_n(&b->owner, (int16_t)self, __ATOMIC_RELAXED);
}

/* Under the inner lock: makes sure that the owner is out and stays out. */
static void evict(struct weir__bias *b)
{
	int saved = errno;

	__atomic_store_n(&b->revoked, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	for (int spins = 0; __atomic_load_n(&b->in, __ATOMIC_ACQUIRE); spins++)
		if (spins > 100)
			sched_yield(); /* The owner's thread was preempted inside. */
	if (!b->keeps)
		__atomic_store_n(&b->owner, WEIR__BIAS_NEVER, __ATOMIC_RELEASE);
	errno = saved;
}

/*
 * Under the inner lock, which two workers use in turn: every change of hands costs more than many
 * uses. So who finds that the other's turn has been short lets it go on for a moment, as long as
 * it does; not where that was in vain, as when the two answer each other.
 */
static void take_turn(struct weir__bias *b, int self)
{
	uint16_t was, now = b->streak;

	if (b->last == self) {
		__atomic_store_n(&b->streak, (uint16_t)(now + 1), __ATOMIC_RELAXED);
		return;
	}
	if (now < TURN && weir__patience_left(&b->turns)) {
		weir__lock_release(&b->lock);
		for (int looks = 0; looks < LOOKS_MAX; looks++) {
			weir__patience_pause(PAUSES);
			was = now;
			now = __atomic_load_n(&b->streak, __ATOMIC_RELAXED);
			if (now == was || now >= TURN)
				break;
		}
		weir__lock_acquire(&b->lock);
		weir__patience_learn(&b->turns, now >= TURN_MIN);
	}
	b->last = (int16_t)self;
	__atomic_store_n(&b->streak, 1, __ATOMIC_RELAXED);
}

void weir__bias_acquire_slow(struct weir__bias *b, int self)
{
	int owner;

	weir__lock_acquire(&b->lock);
	if (!works || weir__simulating)
		return;
	owner = __atomic_load_n(&b->owner, __ATOMIC_RELAXED);
	if (owner == WEIR__BIAS_NOBODY)
		count_use(b, self);
	else if (owner >= 0 && owner != self)
		evict(b);
	else if (owner == WEIR__BIAS_NEVER)
		take_turn(b, self);
}
