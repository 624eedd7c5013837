/* SPDX-License-Identifier: MIT */
weir_task_fn worker;
static int arg;
