/* SPDX-License-Identifier: MIT */
/*
 * The biased lock (src/rt/bias.h) on a machine where a store may wait in a buffer while later loads
 * are done: the owner's store of `in` reaches memory at any later moment, at the latest at a
 * barrier. membarrier(2) is the stranger making the owner pass one. Owner and stranger are never
 * inside together.
 *
 * With -DBROKEN the stranger does not call membarrier.
 */
bit in_memory, in_buffered, buffered, revoked, lock, done;
byte inside;

/* The owner's store buffer, one entry. */
proctype buffer()
{
	do
	:: d_step { buffered -> in_memory = in_buffered; buffered = 0 }
	:: done && !buffered -> break
	od
}
inline store_in(v) { d_step { in_buffered = v; buffered = 1 } }
inline flush() { d_step { if :: buffered -> in_memory = in_buffered; buffered = 0 :: else fi } }

proctype owner()
{
	byte n;
	bit seen;

	do
	:: n == 2 -> break
	:: else ->
		n++;
		store_in(1);
		seen = revoked;                    /* a load may pass the buffered store */
		if
		:: !seen ->
			inside++;
			assert(inside == 1);
			inside--;
			flush(); /* a release store: what was before it is visible first */
			store_in(0)
		:: else ->
			flush();
			store_in(0);
			flush();                   /* the inner lock's atomic is a barrier */
			atomic { lock == 0 -> lock = 1 };
			inside++;
			assert(inside == 1);
			inside--;
			revoked = 0;
			lock = 0
		fi
	od;
	flush();
	done = 1
}

proctype stranger()
{
	atomic { lock == 0 -> lock = 1 };
	revoked = 1;
#ifndef BROKEN
	flush();                                   /* membarrier */
#endif
	in_memory == 0;
	inside++;
	assert(inside == 1);
	inside--;
	revoked = 0;
	lock = 0
}

init { atomic { run buffer(); run owner(); run stranger() } }
