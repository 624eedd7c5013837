/* SPDX-License-Identifier: MIT */
/*
 * What the files of the NATS server share: the server, a connection, its subscriptions.
 *
 * A connection belongs to one worker, where it is read, written and ended; others only put messages
 * into its out queue, under its lock. It holds a task and a block of memory only while something is
 * read (conn.c); an idle one is this record, a watch and a timer.
 *
 * Locks, none taken under another, but for a connection's under a worker's list (monitor): a
 * worker's list of connections, a connection's, the broker's.
 */
#ifndef WEIR_NATS_SERVER_H
#define WEIR_NATS_SERVER_H

#include <weir/nats.h>
#include <weir/sync.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/list.h"
#include "bus/bus.h"
#include "nats/parse.h"
#include "nats/rights.h"
#include "rt/lock.h"
#include "rt/msg.h"
#include "rt/timer.h"

enum {
	/* What is read at once: a stream of large messages pays the kernel for each read. */
	WEIR__NATS_BLOCK = 256 * 1024,
	WEIR__NATS_BLOCKS = 4,         /* free ones that a worker keeps */
	WEIR__NATS_CHUNK_SMALL = 2048, /* of an out queue: the first … */
	WEIR__NATS_CHUNK = 32 * 1024,  /* … and the others, of which a worker keeps some */
	WEIR__NATS_CHUNKS = 64,
	WEIR__NATS_CACHE = 256, /* subjects whose subscriptions a worker remembers */
	WEIR__NATS_CACHE_SUBJECT = 64,
	WEIR__NATS_NONCE = 16, /* bytes as text */
	WEIR__NATS_SUBS_SHOWN = 1000,
};

/* Clients choose what they may use by the version: that of the protocol spoken here. */
#define WEIR__NATS_VERSION "2.10.0"

/* ---- Workers ---- */

struct weir__nats_block {
	struct weir__nats_block *next;
	size_t cap, len, pos; /* arrived; taken */
	char data[];
};

struct weir__nats_chunk {
	struct weir__nats_chunk *next;
	uint32_t cap, len, off;
	size_t *sum; /* what it is counted in; NULL: a small one */
	char data[];
};

/* What a subject found when the index was of that generation. */
struct weir__nats_found {
	uint64_t generation;
	unsigned pins; /* deliveries that go through it now, and may wait */
	bool used;
	struct weir__rights *allowed; /* with a reference: they may publish to it */
	size_t len;
	char subject[WEIR__NATS_CACHE_SUBJECT];
	struct weir__hits hits;
};

struct weir__nats_worker {
	weir__lock lock; /* guards conns */
	struct weir__list conns;
	uint32_t conn_count; /* atomic: also those on their way here */

	/* The worker's own. */
	struct weir__nats_block *blocks;
	unsigned block_count, chunk_count;
	struct weir__nats_chunk *chunks;
	struct weir__nats_found *found; /* WEIR__NATS_CACHE of them, or NULL */
	uint64_t hits, misses;          /* of it; atomic */
} __attribute__((aligned(64)));

#define WEIR__NATS_SERVER_MAGIC 0x4e415453u

struct weir_nats_server {
	uint32_t magic;
	weir_nats_options opt; /* with the defaults filled in */
	struct weir__broker *broker;
	struct weir__rights *anybody; /* where nobody signs in; NULL: all is allowed */
	char *name, id[25];
	uint64_t seed[2]; /* of tables whose keys clients choose */
	struct weir__nats_worker *workers;
	int worker_count; /* atomic: from when there are workers */
	int64_t started_ns, started_wall;
	weir__lock lock;           /* guards: */
	struct weir__list serving; /* every weir__nats_serving */

	/* Atomic. */
	uint32_t conns;
	size_t chunk_bytes; /* in out queues, but for first chunks */
	uint64_t last_id, conns_total, subs, inserts, removes;
	uint64_t slow, stale, refused, ended_in_drain, left_in_drain, lost;
	uint64_t in_msgs, in_bytes, out_msgs, out_bytes; /* in: added once a turn */
};

/* One weir_nats_serve(). */
struct weir__nats_serving {
	weir_nats_server *server;
	weir_tls *tls; /* NULL: none */
	struct weir__list link;
	weir_group conns;
	weir_hook hook; /* hears the cancel, for those without a task */
	char host[58];
	int port;
	uint32_t count, leaving, told; /* atomic: connections; clients are to leave; gone is open */
	weir_latch gone;
};

/* ---- Connections ---- */

enum weir__nats_state {
	WEIR__NATS_TURN,   /* a task of the group reads it */
	WEIR__NATS_IDLE,   /* watched */
	WEIR__NATS_LINGER, /* all is said, its sending side shut; what still comes is discarded */
	WEIR__NATS_ENDED,  /* off its worker's list; only its memory is left */
};

#define WEIR__NATS_CONN_MAGIC 0x4e434f4eu

struct weir__nats_conn {
	uint32_t magic;
	uint32_t
		refs; /* atomic: one while it lives, one for each subscription, message on its way */
	struct weir__nats_serving *serving;
	weir_nats_server *server;
	struct weir__nats_worker *worker;
	int16_t worker_index;

	/* Its worker's own. */
	uint8_t state; /* enum weir__nats_state */
	bool must_sign_in, peer_left, leave;
	bool plain; /* a socket without TLS */
	bool verbose, pedantic, no_responders;
	uint8_t protocol, pings_out;
	weir_conn *io;
	struct weir__nats_block *block; /* a turn's; or what waits for the rest of a frame */
	char *carry;                    /* a short rest */
	uint32_t carry_len;
	struct weir__timer timer;
	int64_t deadline_ns, signin_ns, ping_ns, stalled_ns; /* WEIR_NEVER: not now */
	int64_t linger_ns;
	/* Written under the lock, too; others read them there. */
	struct weir__rights *rights; /* NULL: all is allowed */
	char *client;                /* name, lang, version: three texts, each with its NUL; NULL */
	char nonce[WEIR__NATS_NONCE + 1];

	uint64_t id;
	int64_t start_ns;
	struct weir__list link;     /* in worker->conns; under that lock */
	int64_t active_ns;          /* atomic: when something came */
	uint64_t in_msgs, in_bytes; /* atomic, written by its worker */

	/* Under the lock. */
	weir__lock lock;
	bool queued;  /* somebody will see to it that it is flushed */
	bool blocked; /* its socket is full; the watch goes on */
	bool cut;     /* takes no more, and is to end: `why` */
	bool echo, headers;
	const char *why;
	struct weir__nats_chunk *out, *out_last;
	struct weir__nats_chunk *writing, *writing_last; /* its worker's own */
	size_t pending;
	uint64_t out_msgs, out_bytes;
	struct weir__hash_table subs; /* by sid */
	size_t sub_count;
	struct weir__list stalled;            /* publishers that wait until it has taken some */
	int64_t progress_ns;                  /* when its socket last took something */
	struct weir__nats_conn *touched_next; /* in a turn's list; whose `queued` it is */

	struct weir__msg flush_msg; /* in flight while it holds a reference: `queued` */
};

/* What one turn of reading has to see to before it ends or waits. */
struct weir__nats_turn {
	const weir_ctx *ctx;
	struct weir__nats_conn *conn;
	struct weir__nats_conn *touched; /* queued by us, each with a reference */
	struct weir__nats_conn
		*stall;             /* one that has more to take than is good; with a reference */
	uint64_t published, bytes;  /* not yet counted by the broker … */
	uint64_t in_msgs, in_bytes; /* … and those that are, but not yet by us */
	uint64_t delivered, delivered_bytes;
};

static inline void weir__nats_conn_ref(struct weir__nats_conn *c)
{
	__atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
}
void weir__nats_conn_unref(struct weir__nats_conn *c);

/* conn.c */
void weir__nats_conn_start(struct weir__nats_serving *sv, weir_conn *io);
/* On its worker, by who holds a reference: tell the client to leave; or end it, after what has
 * arrived is dealt with. */
void weir__nats_conn_lame(struct weir__nats_conn *c);
void weir__nats_conn_leave(struct weir__nats_conn *c);
void weir__nats_conn_end(struct weir__nats_conn *c);
void weir__nats_conn_half_close(struct weir__nats_conn *c); /* all is written */
/* New rights; ends subscriptions that they do not cover. NULL: the user is no more. */
void weir__nats_conn_renew(struct weir__nats_conn *c, struct weir__rights *rights);
void weir__nats_deadline(struct weir__nats_conn *c);

/* out.c: the out queue. With the lock, w being the caller's worker: make sure that a frame of n
 * bytes may go into it, then put its pieces. False when it takes no more: it is cut. */
bool weir__nats_room(struct weir__nats_conn *c, struct weir__nats_worker *w, size_t n);
bool weir__nats_put(struct weir__nats_conn *c, struct weir__nats_worker *w, const void *p,
                    size_t n);
/* A line of the server's own, on the connection's worker. Flushed with the turn. */
void weir__nats_say(struct weir__nats_turn *t, const char *text, size_t n);
void weir__nats_sayf(struct weir__nats_turn *t, const char *fmt, ...) WEIR_PRINTF(2, 3);
/* Takes no more, and ends when its worker sees it. With the lock. `why` is static. */
extern const char weir__nats_slow[];
void weir__nats_cut(struct weir__nats_conn *c, const char *why);
/* On its worker: write what is there, as far as the socket takes it. */
void weir__nats_flush(struct weir__nats_conn *c);
/* With the lock: does it have to be handed over to be flushed? Then weir__nats_touch() without it:
 * to the turn, or (NULL) to its worker. */
bool weir__nats_wants_flush(struct weir__nats_conn *c);
void weir__nats_touch(struct weir__nats_turn *t, struct weir__nats_conn *c);
void weir__nats_flush_touched(struct weir__nats_turn *t);
/* With the lock: did its socket take something a moment ago? */
bool weir__nats_moves(const struct weir__nats_conn *c);
/* Lets the one that lags behind, but moves, catch up. 0 or -ECANCELED. */
int weir__nats_stall(struct weir__nats_turn *t);
size_t weir__nats_drop_out(struct weir__nats_conn *c);   /* all of it; how much it was */
void weir__nats_wake_stalled(struct weir__nats_conn *c); /* publishers */

/* server.c */
void weir__nats_serving_less(struct weir__nats_serving *sv); /* a connection has ended */
void weir__nats_random_text(char *to, size_t n);             /* letters and digits, and a NUL */

/* sub.c */
void weir__nats_sub(struct weir__nats_turn *t, const struct weir__nats_frame *f);
void weir__nats_unsub(struct weir__nats_turn *t, const struct weir__nats_frame *f);
void weir__nats_unsub_all(struct weir__nats_conn *c);
void weir__nats_unsub_denied(struct weir__nats_turn *t);
void weir__nats_subs_json(struct weir__nats_conn *c, struct weir__buf *b);

/* publish.c */
void weir__nats_publish(struct weir__nats_turn *t, const struct weir__nats_frame *f);
void weir__nats_count(struct weir__nats_turn *t);    /* what the turn has not yet counted */
void weir__nats_forget(struct weir__nats_worker *w); /* all that it remembers of subjects */

/* connect.c. 0, or the text of the -ERR with which the connection ends. */
const char *weir__nats_connect(struct weir__nats_turn *t, const struct weir__nats_frame *f);
void weir__nats_info(struct weir__nats_conn *c, bool lame, struct weir__buf *out);

/* A subscription of a client. */
struct weir__nats_sub {
	struct weir__target target;
	struct weir__nats_conn *conn; /* with a reference */
	struct weir__hash_node node;  /* in conn->subs; under its lock, as the rest */
	bool closed;
	uint16_t sid_len;
	uint64_t delivered, max;
	const char *sid, *subject; /* behind the struct */
	char text[];
};

extern const struct weir__target_ops weir__nats_target_ops;

/* A message on its way to subscriptions: its texts and the pieces of its body, the last of which
 * ends with "\r\n". The payload begins with pieces[first_data]. */
struct weir__nats_view {
	struct weir__nats_text subject, reply;
	const struct weir__nats_conn *from; /* NULL: not a client of ours */
	const char *tail; /* all behind the sid, in one piece; NULL: put it together */
	size_t tail_len;
	size_t headers, total; /* bytes, without the last "\r\n" */
	unsigned first_data, pieces_n;
	struct iovec pieces[5];
	/* What stands behind sid and reply address: " 12 28\r\n", and without headers " 16\r\n". */
	unsigned full_len, bare_len;
	char full[32], bare[24];
};
int weir__nats_deliver(struct weir__nats_turn *t, struct weir__nats_sub *s,
                       struct weir__nats_view *v);
/* On its connection's lock being free: out of the index and the table. */
void weir__nats_sub_close(struct weir__nats_sub *s);

#endif
