/* SPDX-License-Identifier: MIT */
#include <weir/ctx.h>
