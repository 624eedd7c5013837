/* SPDX-License-Identifier: MIT */
static weir_bus *bus;
static weir_nats_server *n;
static weir_listener *l;
