/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_OFFLOAD_H
#define WEIR_RT_OFFLOAD_H

enum { WEIR__OFFLOAD_STACK = 512 * 1024 }; /* what a function on a thread of the pool has */

/* Ends the pool's threads, once no function runs any more or a stop's budget is used up. */
void weir__offload_stop(void);

#endif
