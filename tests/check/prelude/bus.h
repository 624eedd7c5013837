/* SPDX-License-Identifier: MIT */
static weir_bus *bus;
static weir_sub *sub;
static int state;
weir_msg_fn on_order;
