/* SPDX-License-Identifier: MIT */
/*
 * A mutex that one worker has without atomics (src/sync/mutex.c) until another comes, on a machine
 * where stores reach memory later and in order (a buffer per processor; only the owner's matters).
 * The owner says `in`, looks at `revoked`, changes `state` by a plain store and is out. The
 * stranger takes the inner lock, sets `revoked`, makes the owner pass a barrier (membarrier) and
 * waits until it is out; from then on both change `state` by compare-and-set. The two never hold
 * the mutex together, and nobody waits for ever.
 *
 * With -DBROKEN the stranger does not wait until the owner is out: it may have looked at `revoked`
 * before, and store after the barrier.
 */
#define ROUNDS 3

mtype = { IN, STATE };
chan stores = [6] of { mtype, bit };     /* the owner's, on their way */
bit in, state, revoked, lock;            /* in memory */
byte holders;

inline reach(what, v) { if :: what == IN -> in = v :: else -> state = v fi }
inline flush() {
	atomic {
		do
		:: nempty(stores) -> stores?w, v; reach(w, v)
		:: empty(stores) -> break
		od
	}
}

active proctype memory()
{
	mtype w;
	bit v;

end:	do
	:: atomic { stores?w, v; reach(w, v) }
	od
}

inline hold() { holders++; assert(holders == 1); holders-- }

active proctype owner()
{
	byte n;
	bit seen, v;
	mtype w;

	do
	:: n == ROUNDS -> break
	:: else ->
		n++;
		stores!IN, 1;
		seen = revoked;                    /* a load may pass stores on their way */
		if
		:: !seen ->
			/* It has the bias, so nobody else writes: its last store, 0, is what it
			 * would read. */
			stores!STATE, 1;
			stores!IN, 0
		:: else ->
			flush();
			stores!IN, 0;
			flush();                   /* the inner lock's atomic is a barrier */
			atomic { lock == 0 -> lock = 1 };
			lock = 0;
			atomic { state == 0 -> state = 1 }
		fi;
		hold();
		stores!IN, 1;
		seen = revoked;
		if
		:: !seen ->
			stores!STATE, 0;
			stores!IN, 0
		:: else ->
			flush();
			stores!IN, 0;
			flush();
			atomic { lock == 0 -> lock = 1 };
			lock = 0;
			assert(state == 1);
			state = 0
		fi
	od
}

active proctype stranger()
{
	byte n;
	bit v;
	mtype w;

	atomic { lock == 0 -> lock = 1 };
	revoked = 1;
	flush();                                   /* membarrier */
#ifndef BROKEN
	in == 0;
#endif
	lock = 0;
	do
	:: n == ROUNDS -> break
	:: else ->
		n++;
		atomic { state == 0 -> state = 1 };
		hold();
		state = 0
	od
}
