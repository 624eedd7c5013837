/* SPDX-License-Identifier: MIT */
/* From one store to another, for `weir move`. */
#ifndef WEIR_QUEUE_MOVE_H
#define WEIR_QUEUE_MOVE_H

#include <weir/queue.h>

struct weir__move {
	weir_store *from, *to; /* nobody else uses a store of this machine meanwhile */
	uint64_t moved;        /* so far; atomic */
	uint64_t known;        /* of these `to` had so many already: an earlier move was cut off */
	char refused[27];      /* the job that `to` cannot have as it is; "" for none */
	const char *lacks;     /* what it asks for */
};

/*
 * All jobs of a queue that are ready, in their order. A job leaves `from` when `to` has it, and
 * `to` drops one that comes twice: what was cut off can be done again. 0; -EOPNOTSUPP with
 * `refused`; what `to` says to a put (-EAGAIN: full); or the context's error.
 */
int weir__move_queue(const weir_ctx *ctx, struct weir__move *m, const char *queue);

#endif
