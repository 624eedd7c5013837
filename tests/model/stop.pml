/* SPDX-License-Identifier: MIT */
/*
 * A stop against a task that waits under the scope on a worker which has no part in it yet (src/rt/scope.c): the task never sleeps through
 * the stop.
 *
 * With -DBROKEN the newcomer looks at the state before it has pushed its part.
 */
bit state, part, message, parked, woken, ended;

proctype stopper()
{
	state = 1;
	if
	:: part -> message = 1                     /* post to the part's worker */
	:: else
	fi
}

proctype worker()
{
#ifdef BROKEN
	if :: state -> ended = 1; goto out :: else fi;
	part = 1;
#else
	part = 1;                                  /* the task's first run: join the scope */
	if :: state -> ended = 1; goto out :: else fi; /* a wait looks at the state, then parks */
#endif
	parked = 1;
	message == 1;                              /* the inbox; an invalid end state if nothing comes */
	woken = 1;
	ended = 1;
out:	skip
}

init { atomic { run worker(); run stopper() } }
