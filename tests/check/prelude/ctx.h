/* SPDX-License-Identifier: MIT */
#include <weir/chan.h>
extern weir_chan *jobs;
static int job;
int work(const weir_ctx *ctx, int *job);
