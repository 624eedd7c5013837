/* SPDX-License-Identifier: MIT */
/*
 * A stop against a task that is started on a worker which has no part in the scope yet
 * (src/rt/scope.c, weir__spawn() in spawn.c): the task never sleeps through the stop. Whoever
 * spawns pushes the worker's part, then hands the task over; the worker links it in, looks at the
 * state and parks; the stop's message may come before the task or after it.
 *
 * With -DBROKEN the spawner looks at the state before it pushes the part, and the worker trusts
 * that.
 */
bit state, part, message, task, member, ended;

proctype stopper()
{
	state = 1;
	if
	:: part -> message = 1                     /* post to the part's worker */
	:: else
	fi
}

proctype spawner()
{
#ifdef BROKEN
	if :: state -> ended = 1; goto out :: else fi;
#endif
	part = 1;
	task = 1;                                  /* post the task */
out:	skip
}

proctype worker()
{
	do
	:: ended -> break
	:: task ->
		task = 0;
		member = 1;
#ifndef BROKEN
		if :: state -> ended = 1 :: else fi    /* else it parks */
#endif
	:: message ->
		message = 0;
		if :: member -> ended = 1 :: else fi   /* walk the members */
	od
}

init { atomic { run worker(); run spawner(); run stopper() } }
