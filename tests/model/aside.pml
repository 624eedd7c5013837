/* SPDX-License-Identifier: MIT */
/*
 * New tasks that are put aside while a thief has the lock of the queue (src/rt/fresh.h): no task is
 * left there when its worker sleeps. The owner starts two and runs what it finds; a thief takes
 * half, twice. Between the moment that it has taken the list and that in which the queue is longer,
 * the tasks are in neither.
 *
 * With -DBROKEN the owner, before it sleeps, does not look whether somebody has the lock.
 */
#define TASKS 2

byte aside, count, ran, loot;
bit lock;

inline acquire() { atomic { lock == 0 -> lock = 1 } }
inline release() { lock = 0 }
inline gather(n) {
	d_step { n = aside; aside = 0 };
	count = count + n;
	n = 0
}

proctype owner()
{
	byte started, n;

	do
	:: started == TASKS -> break
	:: else ->
		started++;
		if
		:: atomic { lock == 0 -> lock = 1 };
			gather(n);
			count++;
			release()
		:: lock -> aside++
		fi
	od;
	do
	:: true ->
		if
		:: aside > 0 -> skip
		:: else ->
#ifndef BROKEN
			if
			:: lock -> skip
			:: else ->
#endif
				if
				:: count > 0 -> skip
				:: else -> break
				fi
#ifndef BROKEN
			fi
#endif
		fi;
		acquire();
		gather(n);
		if
		:: count > 0 -> count--; ran++
		:: else
		fi;
		release()
	od
}

proctype thief()
{
	byte n, times;

	do
	:: times == 2 -> break
	:: else ->
		times++;
		acquire();
		gather(n);
		d_step { n = (count + 1) / 2; count = count - n; loot = loot + n; n = 0 };
		release()
	od
}

init {
	atomic { run owner(); run thief() };
	_nr_pr == 1;
	assert(ran + loot == TASKS)
}
