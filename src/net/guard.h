/* SPDX-License-Identifier: MIT */
/* The guard takes the groups of our children along when we die; src/net/guard.c says how. */
#ifndef WEIR_NET_GUARD_H
#define WEIR_NET_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

/* For what runs between a fork, or a clone that shares memory, and exec. */
#define WEIR__NO_SANITIZE \
	__attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

/* Makes sure that there is one. From one thread only. 0 or an error. */
int weir__guard_start(void);

/* Add or forget a group, and with an added one a descriptor to hold (0: none). 0; -EPIPE or
 * -ECONNRESET: nobody listens any more; -EAGAIN and others: not now, or not with this descriptor.
 * Does not wait unless told to, and then for a second at most; also from a child between clone and
 * exec. */
int weir__guard_tell(bool add, pid_t group, int hold, bool wait);

/* Was it an answer of nobody? */
bool weir__guard_is_dead(int told);

/* Then the next weir__guard_start() makes another. From the same thread. (A guard that lives takes
 * this for our end, and kills all groups that it was told of.) */
void weir__guard_lost(void);

#endif
