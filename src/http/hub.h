/* SPDX-License-Identifier: MIT */
/* What the two files of the hub share: the hub, which every worker touches under its lock, and
 * its parts, one per worker. */
#ifndef WEIR_HTTP_HUB_H
#define WEIR_HTTP_HUB_H

#include <weir/sse.h>

#include "base/list.h"
#include "http/exchange.h"
#include "http/replay.h"
#include "rt/lock.h"
#include "rt/msg.h"
#include "rt/timer.h"
#include "rt/wait.h"

#define WEIR__HUB_MAGIC    0x57485542u
#define WEIR__CLIENT_MAGIC 0x57434c49u

/* The end goes on only. Parts follow by message, each at its next round. */
enum weir__hub_state { WEIR__HUB_OPEN, WEIR__HUB_DRAINING, WEIR__HUB_CUT };

struct weir_hub {
	uint32_t magic;
	char epoch[WEIR__HUB_EPOCH];
	weir_hub_options opt;         /* with the defaults filled in; name is ours */
	struct weir__hub_chunk *ping; /* the heartbeat */
	int home, part_count;
	weir_hook hook; /* on the home worker */
	struct weir__msg unhook;

	weir__lock lock; /* guards the rest, and what the parts say; nothing is locked under it */
	enum weir__hub_state state;
	bool closed;   /* no publishing any more */
	uint64_t last; /* the number of the last event */
	struct weir__replay replay;
	size_t clients;
	size_t users;              /* clients, and messages on their way */
	struct weir__wait *closer; /* waits for no users, or for its hook to be off */
	bool hooked;
	struct weir__hub_part **parts; /* by worker; NULL until a client comes there */
};

struct weir__hub_log {
	struct weir__hub_chunk *chunk;
	uint64_t bytes; /* of all that ever came before it */
};

/* One worker's clients. Touched on that worker only, but for what the hub's lock guards. */
struct weir__hub_part {
	struct weir_hub *hub;
	int worker;

	/* Under the hub's lock. */
	struct weir__msg msg;
	struct weir__hub_part *post_next; /* of whoever is about to post msg */
	bool posted;
	bool wanted;                    /* it has clients: events are put into the inbox */
	struct weir__hub_chunk **inbox; /* a ring of pending_max */
	size_t inbox_first, inbox_count;

	/* On the worker. A client is in `all`, and in `quiet` or `blocked`, both in order of its
	 * time. */
	struct weir__list all, quiet, blocked;
	struct weir__list *cursor; /* the next client of the round; NULL between rounds */
	uint64_t rounds;           /* begun so far */
	bool more;                 /* another round is wanted after this one */
	enum weir__hub_state state;
	struct weir__timer timer;
	struct weir__hub_log *log; /* a ring of log_cap, by position: log_first … log_end - 1 */
	size_t log_cap;
	uint64_t log_first, log_end, log_bytes;
	uint64_t last; /* the number of the last event that came in */

	/* Written here, read anywhere: relaxed. */
	uint64_t delivered, dropped, closed_slow, gaps;
};

struct weir__hub_client {
	uint32_t magic;
	bool blocked; /* its socket is full and watched */
	bool told;    /* … which is its current chunk, or sent */
	enum weir_overflow overflow;
	struct weir__hub_part *part;
	struct weir__list all, timed;
	weir__stream *stream;
	struct weir__hub_chunk *current; /* being written: owned */
	size_t offset;                   /* … so far */
	uint64_t next;                   /* position in the log */
	uint64_t from;                   /* events below this number it got before it came */
	uint64_t missed;                 /* events dropped since its last gap event */
	uint64_t last_round;             /* from then on goodbye once it has all; 0: it stays */
	size_t pending_max;
	int64_t since_ns; /* when bytes last left */
};

/* hub_part.c */

/* The part of this worker, made if need be; NULL without memory. */
struct weir__hub_part *weir__hub_part_get(weir_hub *h);
void weir__hub_part_free(struct weir__hub_part *p);
/* Under the hub's lock: one more event for its clients; true if the caller then has to post
 * p->msg, after the lock. */
bool weir__hub_part_push(struct weir__hub_part *p, struct weir__hub_chunk *k);
bool weir__hub_part_nudge(struct weir__hub_part *p);
/* On its worker, under the hub's lock: make it known to its part, before it has a stream; no
 * wait until it has one. */
void weir__hub_client_add(struct weir__hub_part *p, struct weir__hub_client *c);
void weir__hub_client_drop(struct weir__hub_client *c); /* … which did not work */
weir__stream_fn weir__hub_client_stop;

/* A `gap` event: how many were missed; UINT64_MAX: nobody knows. NULL without memory. */
struct weir__hub_chunk *weir__hub_gap(uint64_t missed);

/* hub.c: a client or a message has gone. Takes the lock. */
void weir__hub_leave(weir_hub *h, size_t users, size_t clients);

#define weir__hub_count(p, field, n)                                                        \
	__atomic_store_n(&(p)->field, __atomic_load_n(&(p)->field, __ATOMIC_RELAXED) + (n), \
	                 __ATOMIC_RELAXED)

#endif
