/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_OFFLOAD_H
#define WEIR_RT_OFFLOAD_H

/* Ends the pool's threads, once no function runs any more or a stop's budget is used up. */
void weir__offload_stop(void);

#endif
