/* SPDX-License-Identifier: MIT */
/*
 * A select on two channels against a sender on each and a deadline (src/sync/select.c): at most one
 * value is taken, it is the one that select says, a sender whose value was not taken knows it, and
 * the select always returns.
 *
 * With -DBROKEN the senders claim by look and set instead of one compare-and-set.
 */
#define OPEN 255
#define DEADLINE 2

byte claim = OPEN;
bit lock[2], linked[2], sent[2], alive, woken, returned;
byte result;

inline acquire(i) { atomic { lock[i] == 0 -> lock[i] = 1 } }
inline release(i) { lock[i] = 0 }

proctype selecting()
{
	bit won;

	acquire(0);
	acquire(1);
	alive = 1;
	linked[0] = 1;
	linked[1] = 1;
	release(1);
	release(0);
	do
	:: woken -> break
	:: !woken && claim == OPEN ->
		d_step {
			won = (claim == OPEN);
			if :: won -> claim = DEADLINE; woken = 1 :: else fi
		}
	od;
	result = claim;
	if :: result != 0 -> acquire(0); linked[0] = 0; release(0) :: else fi;
	if :: result != 1 -> acquire(1); linked[1] = 0; release(1) :: else fi;
	alive = 0;
	returned = 1
}

proctype sender(byte i)
{
	bit won;

	acquire(i);
	if
	:: linked[i] ->
		linked[i] = 0;
		assert(alive);
#ifdef BROKEN
		won = (claim == OPEN);
		if :: won -> claim = i :: else fi;
#else
		d_step { won = (claim == OPEN); if :: won -> claim = i :: else fi };
#endif
		if
		:: won -> sent[i] = 1; release(i); woken = 1
		:: else -> release(i)
		fi
	:: else -> release(i)
	fi
}

init {
	atomic { run selecting(); run sender(0); run sender(1) };
	_nr_pr == 1 -> assert(returned && sent[0] == (result == 0) && sent[1] == (result == 1))
}
