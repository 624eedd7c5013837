/* SPDX-License-Identifier: MIT */
/*
 * A buffered channel with two sides (src/sync/sides.c): a sender puts a value under the senders'
 * lock alone, a receiver takes one under the receivers' alone, and who has to wait, or finds
 * somebody waiting, takes both. Every value arrives once, in order, and nobody waits for ever. Each
 * store is a step of its own; what the other side may read meanwhile is `sent` and `taken`.
 *
 * With -DBROKEN a receiver that has to wait takes its own lock only.
 */
#define CAP 1
#define N 3

bit send_lock, recv_lock;
byte buf[CAP], sent, taken;              /* values so far */
bit receiver_waits, sender_waits;        /* in the queues: one task a side */
bit receiver_woken, sender_woken;
byte handed, held;                       /* on the waiters' stacks */

inline lock(l) { atomic { l == 0 -> l = 1 } }

proctype sender()
{
	byte i, seen;

	do
	:: i == N -> break
	:: else ->
		lock(send_lock);
		if
		:: receiver_waits -> goto both
		:: else
		fi;
		seen = taken;
		if
		:: sent - seen < CAP ->
			buf[sent % CAP] = i;
			sent++;
			send_lock = 0;
			goto next
		:: else
		fi;
both:		send_lock = 0;
		lock(send_lock);
		lock(recv_lock);
		if
		:: receiver_waits ->
			assert(sent == taken); /* a receiver waits only where there is nothing */
			handed = i;
			receiver_waits = 0;
			recv_lock = 0;
			send_lock = 0;
			receiver_woken = 1
		:: else ->
			if
			:: sent - taken < CAP ->
				buf[sent % CAP] = i;
				sent++;
				recv_lock = 0;
				send_lock = 0
			:: else ->
				held = i;
				sender_waits = 1;
				recv_lock = 0;
				send_lock = 0;
				sender_woken == 1;
				sender_woken = 0
			fi
		fi;
next:		i++
	od
}

proctype receiver()
{
	byte i, v, seen;

	do
	:: i == N -> break
	:: else ->
		lock(recv_lock);
		if
		:: sender_waits -> goto both
		:: else
		fi;
		seen = sent;
		if
		:: seen != taken ->
			v = buf[taken % CAP];
			taken++;
			recv_lock = 0;
			goto got
		:: else
		fi;
both:		recv_lock = 0;
#ifndef BROKEN
		lock(send_lock);
#endif
		lock(recv_lock);
		if
		:: sent != taken ->
			v = buf[taken % CAP];
			taken++;
			if
			:: sender_waits ->
				buf[sent % CAP] = held;
				sent++;
				sender_waits = 0;
				sender_woken = 1
			:: else
			fi;
			recv_lock = 0;
#ifndef BROKEN
			send_lock = 0
#endif
		:: else ->
			assert(!sender_waits); /* a sender waits only where it is full */
			receiver_waits = 1;
			recv_lock = 0;
#ifndef BROKEN
			send_lock = 0;
#endif
			receiver_woken == 1;
			receiver_woken = 0;
			v = handed
		fi;
got:		assert(v == i);
		i++
	od
}

init { atomic { run sender(); run receiver() } }
