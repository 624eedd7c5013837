/* SPDX-License-Identifier: MIT */
/* What the kinds of listeners (descriptor, memory) provide; src/net/listen.c goes round them. */
#ifndef WEIR_NET_LISTENER_H
#define WEIR_NET_LISTENER_H

#include <weir/net.h>

#include "net/addr.h"
#include "rt/wait.h"

#define WEIR__LISTENER_MAGIC 0x6c737472u

enum {
	WEIR__LISTENER_ACCEPTING = 1,
	WEIR__LISTENER_CLOSED = 2,
	WEIR__LISTENER_CLOSING = 4, /* somebody is in weir_listener_close() */
	WEIR__LISTENER_FREED = 8,
};

struct weir__listener_ops {
	int (*try_accept)(weir_listener *l,
	                  weir_conn **ret); /* 1, -EAGAIN, -EMFILE and its like, or an error */
	int (*wait)(const weir_ctx *ctx,
	            weir_listener *l);   /* after -EAGAIN; 0 or -EPIPE once closed */
	void (*close)(weir_listener *l); /* any task, once: wake the wait; what has arrived stays */
	void (*emptied)(
		weir_listener *l); /* closed, and what had arrived is handed out; may come twice */
	void (*destroy)(weir_listener *l);
};

struct weir_listener {
	uint32_t magic;
	uint32_t state;       /* atomic: the bits below */
	uint32_t after_close; /* handed out since the close; the accepting task's */
	const struct weir__listener_ops *ops;
	char addr[WEIR__ADDR_TEXT_MAX];
};

/* In memory. 0, -EADDRINUSE, -ENOMEM; dial: 0, -ECONNREFUSED, -ENOMEM, the context's error (it
 * waits in a simulation only). */
int weir__mem_listen(const char *name, weir_listener **ret);
int weir__mem_dial(const weir_ctx *ctx, const char *name, weir_conn **ret);

#endif
