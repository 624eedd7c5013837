/* SPDX-License-Identifier: MIT */
/*
 * The server's side of HTTP/2 (RFC 9113): a session of nghttp2 over a connection, its streams, and
 * the waits of the tasks that use them. h2_server.c makes exchanges of streams. (The client's side
 * is h2_client.h.)
 *
 * A session belongs to one worker and is touched there only, in tasks, watches, timers and
 * messages; it holds no task of its own. The calls below that take a context may come from any
 * task: from another worker they are carried over.
 *
 * Flow control. What a task writes is taken when the peer's windows and the connection's buffer
 * have room for it, straight from the task's memory; until then the task waits. What arrives is
 * held per stream, at most WEIR__H2_WINDOW bytes of it, and the stream's window opens as the task
 * reads.
 *
 * One reader and one writer at a time per stream (-EBUSY); they may be different tasks.
 */
#ifndef WEIR_HTTP_H2_H
#define WEIR_HTTP_H2_H

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "base/pool.h"
#include "net/conn.h"
#include "rt/timer.h"

enum {
	WEIR__H2_WINDOW = 256 * 1024, /* of a stream that is received */
	WEIR__H2_HELD =
		1024 * 1024, /* unread bytes of a connection, beyond which its window shrinks */
	WEIR__H2_OUT = 64 * 1024, /* framed bytes that wait for the socket */
	WEIR__H2_ENDS = 32,
	WEIR__H2_PIECE = 16384 + 256, /* the most that nghttp2 hands out at once */
};

struct weir__h2;
struct weir__h2_stream;

/* ---- a stream, for tasks ---- */

/* What is sent in one go: a response's head (or none when it has left), bytes, and the end, with
 * trailers or without. Everything is borrowed until the call returns. */
struct weir__h2_send {
	const nghttp2_nv *head;
	size_t head_n;
	const struct iovec *iov;
	int n;
	bool end;
	const nghttp2_nv *trailers; /* with end only */
	size_t trailers_n;
};

/* Waits until all is framed. 0, -EPIPE (reset, or the connection has gone), -EBUSY, -ETIMEDOUT when
 * no byte moved for progress_ns (WEIR_NEVER: no limit), the context's error. After an error the
 * stream is good for a reset only. What can be framed at once is framed whatever the context
 * says. NULL: waits only, for what was lent. */
int weir__h2_send(const weir_ctx *ctx, struct weir__h2_stream *st, int64_t progress_ns,
                  const struct weir__h2_send *what);

/* Bytes of DATA, > 0; 0 at the end (then the trailers are there); -EPIPE (reset, or the connection
 * has gone), -EBUSY, the context's error. */
ssize_t weir__h2_read(const weir_ctx *ctx, struct weir__h2_stream *st, void *buf, size_t n);

/* Ends the stream at once with an error code (NGHTTP2_CANCEL …). Does nothing to one that is over.
 * Any task. */
void weir__h2_reset(struct weir__h2_stream *st, uint32_t code);

/* The code with which the peer (or we) reset it; NGHTTP2_INTERNAL_ERROR when the connection was
 * lost; NGHTTP2_NO_ERROR otherwise. */
uint32_t weir__h2_error(const struct weir__h2_stream *st);

/* ---- a stream, for callbacks on its worker (exchange.h) ---- */

ssize_t weir__h2_try_writev(struct weir__h2_stream *st, const struct iovec *iov, int n);
void weir__h2_watch(
	struct weir__h2_stream *st); /* then role->writable() once it may be tried again */
void weir__h2_unwatch(struct weir__h2_stream *st);
void weir__h2_end(struct weir__h2_stream *st); /* END_STREAM behind what was written */
/* As weir__h2_send() without waiting: what it points to has to live until the stream is closed. */
int weir__h2_send_off(struct weir__h2_stream *st, const struct weir__h2_send *what);
/* On its worker. Has role->push() called once the tasks that are ready have had their turn, before
 * the session writes. There the head and bytes may be lent: they are framed when there is room, and
 * have to stay until weir__h2_send() with NULL has said so, or weir__h2_unlend(), which cuts what
 * has not been framed. */
void weir__h2_owe(struct weir__h2_stream *st);
int weir__h2_lend(struct weir__h2_stream *st, const struct weir__h2_send *what);
void weir__h2_unlend(struct weir__h2_stream *st);
/* No task is interested any more: what is not ended is reset, with `code` if our side is open. */
void weir__h2_leave(struct weir__h2_stream *st, uint32_t code);

/* ---- what the server provides ---- */

/*
 * On the session's worker. `open`, `field`, `head` and `frame` are called from inside nghttp2:
 * they may submit frames and start tasks, nothing else. The others are called between.
 */
enum weir__h2_way { WEIR__H2_CAME, WEIR__H2_REFUSED, WEIR__H2_SENT };
struct weir__h2_role {
	/* A client begins a stream: NULL refuses it. */
	struct weir__h2_stream *(*open)(struct weir__h2 *h2, int32_t id);
	/* A field of the head that arrives; trailer: behind the body. < 0: the stream is reset. */
	int (*field)(struct weir__h2_stream *st, const char *name, size_t name_len,
	             const char *value, size_t value_len, bool trailer);
	/* The head is whole. */
	void (*head)(struct weir__h2_stream *st, bool end);
	/* A frame came, or was refused, or was sent. For counting. */
	void (*frame)(struct weir__h2 *h2, const nghttp2_frame *frame, enum weir__h2_way way);
	void (*ping_ack)(struct weir__h2 *h2, const uint8_t opaque[8]);
	/* The stream is over on the wire. It stays until weir__h2_stream_fini(). */
	void (*closed)(struct weir__h2_stream *st);
	void (*writable)(struct weir__h2_stream *st);
	/* Of a stream that weir__h2_owe() was called for: lend what there is to send. */
	void (*push)(struct weir__h2_stream *st);
	/* Something has been done: look whether the connection is to end. May free the session. */
	void (*settle)(struct weir__h2 *h2);
	/* Its deadline has come: what is due? Gives the next one. */
	int64_t (*tick)(struct weir__h2 *h2, int64_t now);
};

struct weir__h2_chunk;
struct weir__h2_op;

#define WEIR__H2_STREAM_MAGIC 0x48325354u
struct weir__h2_stream {
	uint32_t magic;
	int32_t id;
	struct weir__h2 *h2;
	struct weir__list link;  /* in h2->streams */
	struct weir__list fired; /* in h2->fired: something is to be told */
	struct weir__list owed;  /* in h2->owed: role->push() is to be called */
	uint32_t error;
	bool closed;     /* over on the wire */
	bool reset;      /* by us */
	bool in_end;     /* END_STREAM came */
	bool left_alone; /* weir__h2_leave() */
	bool discards;   /* nobody will read what still comes */
	bool head_seen;  /* the (final) head came */
	bool deferred;   /* nghttp2 waits for us to resume its data */
	bool out_end;    /* the end follows what is to go … */
	bool out_ended;  /* … and was framed */
	bool watched, may_write, tell_closed;
	bool has_data; /* a data provider was submitted */
	bool lent;     /* *out is `lent_iov`: no task waits for it to be framed … */
	bool more;     /* … and role->push() has more, once it is */

	struct weir__h2_chunk *in_first, *in_last;
	size_t in_len;
	struct weir__h2_op *reader;

	struct weir__h2_op *writer;
	const struct iovec *out;
	struct iovec lent_iov;
	size_t out_skip, out_left; /* bytes of *out that have gone; bytes left of all */
	uint64_t moved;            /* bytes ever framed */
	const nghttp2_nv *trailers;
	size_t trailers_n;
};

struct weir__h2_out {
	size_t at, len;
	char bytes[WEIR__H2_OUT];
};

#define WEIR__H2_MAGIC 0x48325345u
struct weir__h2 {
	uint32_t magic;
	int worker;
	int dead; /* < 0: the connection is of no use any more, and why */
	const struct weir__h2_role *role;
	weir_conn *io;
	nghttp2_session *session;
	struct weir__pool *pool; /* of its worker */
	struct weir__list streams, fired, owed;
	int32_t newest;                  /* the greatest stream begun */
	struct weir__h2_stream *heads;   /* whose head comes, or came last; or NULL */
	uint32_t ends;                   /* streams that have ended, so far … */
	int32_t ended_id[WEIR__H2_ENDS]; /* … the last of them; negative: we reset it */
	struct weir__h2_out *out;
	struct weir__msg msg; /* write, tell, settle */
	bool posted, out_watched, busy;
	bool deaf;   /* what comes is not read any more */
	bool unread; /* there may be more than was read */
	size_t in_held, in_owed;
	int64_t write_ns, stalls_at; /* the socket has to take bytes in that time; until then */
	struct weir__timer timer;
	int64_t deadline_ns;
	uint8_t head[13], head_len; /* of the frame that comes (and what PRIORITY depends on) … */
	uint32_t payload;           /* … and what is to come of it, or of the preface */
	uint64_t came, framed, left; /* bytes */
	int64_t came_ns;             /* when the last of them came */
	uint64_t goaway_at;          /* `framed` behind the last GOAWAY; 0: none was sent */
};

/* On the connection's worker, whose pool its small things come from. 0, -ENOMEM: nothing happened.
 * Then to be started with the bytes that were read from `io` already. */
int weir__h2_init(struct weir__h2 *h2, const struct weir__h2_role *role, weir_conn *io,
                  struct weir__pool *pool, const nghttp2_settings_entry *settings,
                  size_t settings_n);
void weir__h2_start(struct weir__h2 *h2, const void *first, size_t n);
/* Frees the session; the connection stays the caller's. No task is in a call of it. */
void weir__h2_fini(struct weir__h2 *h2);

/* Write what was submitted, soon. */
void weir__h2_flush(struct weir__h2 *h2);
/* Is everything that was submitted in the socket? */
bool weir__h2_flushed(const struct weir__h2 *h2);
/* Have both sides said all there is to say? */
bool weir__h2_over(const struct weir__h2 *h2);
/* role->tick() at the latest then. */
void weir__h2_deadline(struct weir__h2 *h2, int64_t at_ns);
/* Both sides' streams are cut, settle() follows. */
void weir__h2_die(struct weir__h2 *h2, int error);

/* Nobody reads what came and comes. On its worker. */
void weir__h2_discard(struct weir__h2_stream *st);

void weir__h2_stream_init(struct weir__h2_stream *st, struct weir__h2 *h2, int32_t id);
/* It is over on the wire, and no task is in a call of it. */
void weir__h2_stream_fini(struct weir__h2_stream *st);

/* Between h2.c and h2_stream.c. `take` copies what is to leave, `came` keeps or hands out what
 * arrived (how much it keeps, < 0 without memory; n 0: the end), `wake` ends all waits. */
void weir__h2_stream_take(struct weir__h2_stream *st, char *to, size_t n);
ssize_t weir__h2_stream_came(struct weir__h2_stream *st, const char *data, size_t n);
void weir__h2_stream_wake(struct weir__h2_stream *st);
void weir__h2_unhold(struct weir__h2 *h2, size_t n);
void weir__h2_fire(struct weir__h2_stream *st);
/* Frames what can be framed, and flushes. Not from inside nghttp2. */
void weir__h2_pump(struct weir__h2 *h2);
/* The source of a stream's DATA. */
nghttp2_data_provider weir__h2_provider(struct weir__h2_stream *st);

/* Runs fn on a worker, in a message if need be, and waits for it: it must not wait. */
void weir__h2_at_home(int worker, void (*fn)(void *arg), void *arg);

#endif
