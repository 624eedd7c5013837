/* SPDX-License-Identifier: MIT */
/* Streams in memory, for their listeners. */
#ifndef WEIR_NET_MEM_H
#define WEIR_NET_MEM_H

#include <weir/net.h>

/* Two ends whose peer is "mem:NAME". 0 or -ENOMEM. */
int weir__mem_pair(const char *name, weir_conn *ret[2]);

/* How long something takes to the other side: 0, but in a simulation what the oracle says. */
int64_t weir__mem_delay(void);

#endif
