/* SPDX-License-Identifier: MIT */
/*
 * How a worker sleeps and is woken (src/rt/sched.c): no message is left behind while the worker
 * sleeps for ever. Two wakers post a message each. With -DBROKEN the worker does not look again
 * after it has said that it sleeps.
 */
byte inbox, done;
bit sleeping, event;

proctype waker()
{
	inbox++;                                   /* publish … */
	bit was;
	d_step { was = sleeping; sleeping = 0 };   /* … then exchange */
	if
	:: was -> event = 1
	:: else
	fi
}

proctype worker()
{
	do
	:: done == 2 -> break
	:: else ->
		if
		:: inbox > 0 ->
			d_step { done = done + inbox; inbox = 0 }
		:: else ->
			sleeping = 1;
#ifndef BROKEN
			if
			:: inbox > 0 -> sleeping = 0; goto again
			:: else
			fi;
#endif
			event == 1; /* epoll_wait; an invalid end state if nobody writes */
			event = 0;
			sleeping = 0
		fi
again:		skip
	od
}

init { atomic { run worker(); run waker(); run waker() } }
