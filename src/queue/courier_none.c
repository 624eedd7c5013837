/* SPDX-License-Identifier: MIT */
/* Built without libcurl. */
#include <errno.h>

#include "queue/courier.h"

int weir__courier_post(const weir_ctx *ctx, struct weir__parcel *p)
{
	(void)ctx;
	(void)p;
	return -ENOSYS;
}
