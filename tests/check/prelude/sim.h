/* SPDX-License-Identifier: MIT */
#include <assert.h>
weir_task_fn test;
