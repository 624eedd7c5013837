/* SPDX-License-Identifier: MIT */
/* In place of the cluster adapter when nats.c was not there at build time. */
#include "base/log.h"
#include "bus/remote.h"

int weir__cluster_open(const weir_ctx *ctx, const char *url, struct weir__broker *local,
                       struct weir__remote **ret)
{
	(void)ctx, (void)url, (void)local, (void)ret;
	weir__log(WEIR__ERROR, "bus", "weir: built without NATS clusters (needs libnats-dev)");
	return -EPROTONOSUPPORT;
}
