/* SPDX-License-Identifier: MIT */
extern weir_chan *jobs, *ticks;
static int j, t;
void run(int *j);
