/* SPDX-License-Identifier: MIT */
/* Messages between workers: posted from any thread, run on the worker between tasks. fn must not
 * wait and may free its message. */
#ifndef WEIR_RT_MSG_H
#define WEIR_RT_MSG_H

struct weir__msg {
	struct weir__msg *next;
	void (*fn)(struct weir__msg *m);
};

struct weir__worker;

void weir__post(int worker, struct weir__msg *m);
void weir__post_to(struct weir__worker *w, struct weir__msg *m);

/* To the own worker, for when no task of it is ready any more, or a few dozen have run: what
 * several tasks of one turn gather leaves together. On a worker only. */
void weir__post_late(struct weir__msg *m);

#endif
