/* SPDX-License-Identifier: MIT */
/*
 * One wait, and all who race to end it (src/rt/wait.h): a sender on another worker, the deadline
 * and a stop on the waiter's own. The waiter's stack is alive only while it waits. Exactly one
 * wins; the value is delivered if and only if the sender won; nobody touches the stack after the
 * waiter has returned; the waiter always returns.
 *
 * With -DBROKEN the sender looks at the waiter's stack after it has left the lock, as a loser.
 */
#define OPEN 0
#define SENT 1
#define TIMED 2
#define STOPPED 3

byte claim = OPEN;
bit lock, linked, alive, woken, parked, returned, delivered, took;

inline acquire() { atomic { lock == 0 -> lock = 1 } }
inline release() { lock = 0 }
inline try_claim(by, won) {
	d_step { assert(alive); won = (claim == OPEN); if :: won -> claim = by :: else fi }
}

/* The home worker: parks the task, then runs timer and stop in any order, and the inbox. One
 * thread, so its steps interleave only with the sender's. */
proctype home()
{
	bit won, timer_fired, stop_came;

	acquire();
	alive = 1;
	claim = OPEN;
	linked = 1;
	release();
	parked = 1;
	do
	:: woken -> break
	:: !timer_fired && !woken ->
		timer_fired = 1; try_claim(TIMED, won); if :: won -> woken = 1 :: else fi
	:: !stop_came && !woken ->
		stop_came = 1; try_claim(STOPPED, won); if :: won -> woken = 1 :: else fi
	od;
	/* The task runs again. Whoever was not the channel leaves its node in the queue. */
	if
	:: claim != SENT ->
		acquire();
		if :: linked -> linked = 0 :: else fi;
		release()
	:: else -> assert(!linked)
	fi;
	took = (claim == SENT);
	alive = 0;
	returned = 1
}

proctype sender()
{
	bit won;

	acquire();
	if
	:: linked ->
		linked = 0;                        /* unlink */
		try_claim(SENT, won);              /* claim */
		if
		:: won -> assert(alive); delivered = 1; release(); woken = 1
		:: else ->
			release();
#ifdef BROKEN
			assert(alive);
#endif
		fi
	:: else -> release()
	fi
}

init {
	atomic { run home(); run sender() };
	_nr_pr == 1 -> assert(returned && took == delivered)
}
