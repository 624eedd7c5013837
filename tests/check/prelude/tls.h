/* SPDX-License-Identifier: MIT */
#include <weir/group.h>
static weir_listener *l;
static weir_conn *c;
static weir_tls *tls;
static weir_group conns;
weir_task_fn serve;
