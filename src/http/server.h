/* SPDX-License-Identifier: MIT */
/*
 * What the files of the HTTP server share: the server, a connection, an exchange.
 *
 * A connection belongs to one worker; everything of it is touched there only, but what says
 * otherwise. Its states:
 *
 *	RUNNING  a task of the server's group serves requests, with a block of buffers and an exchange
 *	IDLE     between requests: no task, no block; a watch, a timer, a hook
 *	LINGER   the answer is out and the sending side shut; what still comes is discarded, so that
 *	         the client can read it
 *	STREAM   its exchange was handed over (exchange.h)
 *
 * A stream is what one exchange runs on: the connection itself in HTTP/1.1, one of many in HTTP/2
 * (h2_server.c), where the connection's state is H2 for good. A worker's list of streams is guarded
 * by its lock, so that the report and the supervisor can read it while the worker spins. Order of
 * locks: that one, then a connection's inside src/net.
 */
#ifndef WEIR_HTTP_SERVER_H
#define WEIR_HTTP_SERVER_H

#include <weir/http.h>
#include <weir/sync.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/pool.h"
#include "http/exchange.h"
#include "http/h1.h"
#include "http/path.h"
#include "http/router.h"
#include "rt/lock.h"
#include "rt/super.h"
#include "rt/timer.h"

enum {
	WEIR__HTTP_OUT = 16 * 1024,       /* collected bytes of an answer */
	WEIR__HTTP_ARENA = 2048,          /* of an exchange, before malloc */
	WEIR__HTTP_BLOCKS = 64,           /* blocks a worker keeps */
	WEIR__HTTP_BODY_FREE = 16 * 1024, /* bytes of a body that bodies_max does not count */
	WEIR__HTTP_DISCARD =
		256 *
		1024, /* unread bytes of a body that are read to keep or end a connection well */
};
#define WEIR__HTTP_LINGER_NS WEIR_SEC(2)
#define WEIR__HTTP_ON_ITS_WAY_NS \
	WEIR_MS(100) /* after drain began, for a request that was already sent */

struct weir__http_worker {
	weir__lock lock; /* guards streams */
	struct weir__list streams;
	uint32_t conn_count;        /* atomic: also those on their way here */
	struct weir__block *blocks; /* free ones */
	unsigned block_count;
	struct weir__pool pool; /* of its HTTP/2 sessions */
	time_t date_s;
	char date[32];         /* "Thu, 01 Jan 2026 00:00:00 GMT" */
	weir_http_stats stats; /* written here, read anywhere: relaxed */
	uint64_t turn;         /* the supervisor's: as it was at its last look */
} __attribute__((aligned(64)));

/* One weir_http_serve(). */
struct weir__serving {
	weir_http_server *server;
	weir_tls *tls; /* NULL: none is spoken */
	weir_group conns;
};

struct weir__http_guest {
	void (*free)(struct weir__http_guest *guest);
	/* Before a refusal (4xx, 5xx) leaves as an answer of HTTP/2: true if it has put it into the
	 * head in its own words. `detail` is that of the problem, or NULL. */
	bool (*refusal)(weir_http *x, const char *detail);
};

#define WEIR__HTTP_SERVER_MAGIC 0x48545053u
struct weir_http_server {
	uint32_t magic;
	weir_http_limits limits;
	struct weir__router router;
	weir_http_fn *filter;
	void *filter_arg;
	struct weir__http_guest *guest; /* what src/grpc keeps with it, freed with it; or NULL */
	int (*unrouted)(const weir_ctx *ctx, weir_http *x, void *arg, bool *ret_done);
	void *unrouted_arg;
	struct weir__list statics;
	weir__lock lock; /* guards the next two */
	struct weir__http_worker *workers;
	int worker_count, servings;
	weir_sem slots;
	struct weir__tick tick;
	size_t in_cap;
	uint32_t goodbye; /* atomic: every answer is its connection's last */
	uint64_t limited; /* atomic: answers that the handler limit gave */
	size_t bodies;    /* atomic: bytes of weir__http_charge() */
};

/* ---- an exchange ---- */

struct weir__out_field {
	struct weir__out_field *next;
	const char *name, *value;
	size_t name_len, value_len;
	bool fixed; /* both texts are constants of the program */
};

/* In decimal, at most 20 digits: the end. answer.c. */
char *weir__put_number(char *p, uint64_t v);

/* A copy in the exchange's memory, its name in lower case for HTTP/2. NULL without memory.
 * answer.c. */
struct weir__out_field *weir__out_field(weir_http *x, const char *name, const char *value);

struct weir__arena_chunk {
	struct weir__arena_chunk *next;
	size_t used, size;
	_Alignas(16) char bytes[];
};

/* Who owns the first byte of an answer. Above the two bits a connection's claim counts its
 * exchanges, so that the supervisor cannot claim the next one's. */
enum weir__claim { WEIR__NOBODY, WEIR__HANDLER, WEIR__LIMIT, WEIR__CLAIM_MASK };
enum weir__exchange_state { WEIR__X_UNUSED, WEIR__X_LIVE, WEIR__X_HANDED, WEIR__X_OVER };

#define WEIR__HTTP_MAGIC 0x48545058u
struct weir_http {
	uint32_t magic;
	uint32_t state; /* atomic: a stray task may look */
	struct weir__http_conn *conn;
	struct weir__http_stream *stream;
	struct weir__route *route; /* NULL: none matched */
	const weir_http_limits *limits;
	struct weir__h1_head head;
	struct weir__path path;
	char *segments; /* path.text with NULs for the slashes between segments */

	/* The request's body. */
	struct weir__h1_chunks chunks;
	uint64_t body_left, body_read;
	bool body_done, wants_continue;
	int body_error;
	char *body;     /* malloc: weir_http_body() … */
	bool body_lent; /* … or the exchange's own memory */
	size_t charged; /* of server->bodies */

	/* The answer. */
	int status;
	bool head_sent, chunked, no_body, close, broken, has_type;
	bool sized;            /* the handler set content-length */
	bool unsized;          /* no length is sent, whatever is known of it */
	const char *detail;    /* of a problem, for the guest; or NULL */
	uint64_t length, sent; /* that, and body bytes written (or collected) so far */
	struct weir__out_field *fields, **fields_last, *trailers, **trailers_last;
	size_t out_len, out_lent; /* collected; of it, what HTTP/2 was lent (h2_answer.c) */

	/* Memory. */
	size_t arena_used, heap_used;
	bool starved; /* there was no memory for something */
	struct weir__arena_chunk *heap;
};

/* What a connection holds only while its task runs. */
struct weir__block {
	struct weir__block *next;
	weir_http x;
	char arena[WEIR__HTTP_ARENA];
	char out[WEIR__HTTP_OUT];
	char *in;              /* in_cap bytes, after the fields */
	size_t in_len, in_pos; /* arrived; taken. Before head_end is the head */
	size_t head_end;
	bool dry; /* the last read got less than it asked for: the next one would say -EAGAIN */
	struct weir__h1_field fields[];
};

/* ---- a connection ---- */

/*
 * What one exchange runs on. `limit`, `route`, `task` and `since` are read by other threads under
 * the worker's lock; atomic.
 */
#define WEIR__HTTP_STREAM_MAGIC 0x48545054u
struct weir__http_stream {
	uint32_t magic;
	uint32_t claim;
	struct weir__http_conn *conn;
	struct weir__h2_stream *h2; /* NULL: HTTP/1.1 */
	weir_scope *scope;          /* the handler runs under it */
	struct weir__block *block;
	struct weir__list link; /* in worker->streams */
	int64_t limit_ns;       /* when the handler's time is up; WEIR_NEVER */
	const char *route;      /* NULL: nothing runs */
	uint64_t task;
	int64_t since_ns;
	bool peer_left; /* its end of the stream was seen */

	/* When handed over. */
	bool chunked, keep, stop_told;
	weir__stream_fn *stop;
	void *stop_arg;
	weir__stream_ready_fn *ready;
	void *ready_arg;
};

enum weir__conn_state { WEIR__RUNNING, WEIR__IDLE, WEIR__LINGER, WEIR__STREAM, WEIR__H2 };

#define WEIR__HTTP_CONN_MAGIC 0x48545043u
struct weir__http_conn {
	uint32_t magic;
	enum weir__conn_state state;
	struct weir__serving *serving;
	weir_http_server *server;
	struct weir__http_worker *worker;
	int worker_index;
	bool draining, canceled;
	bool kept;    /* weir_http_conn_keep() */
	bool blank;   /* an empty line has come since the last request */
	bool only_h2; /* that was agreed on in the handshake */
	weir_conn *io;
	weir_scope *scope; /* of the connection; its requests run under it */
	weir_hook hook;
	struct weir__timer timer; /* lazy: fires at or before deadline_ns, then looks */
	int64_t deadline_ns;
	size_t discarded;
	struct weir__http_stream stream; /* of HTTP/1.1 */
	struct weir__h2_server *h2;      /* in state H2 */
};

/* conn.c */
void weir__http_conn_start(struct weir__serving *sv, weir_conn *io);
void weir__http_limit(struct weir__http_conn *c); /* any thread that keeps the connection alive */
void weir__http_deadline(struct weir__http_conn *c, int64_t at_ns);
void weir__http_conn_idle(struct weir__http_conn *c);
void weir__http_conn_linger(struct weir__http_conn *c);
void weir__http_conn_end(struct weir__http_conn *c);
struct weir__block *weir__block_get(weir_http_server *s, struct weir__http_worker *w);
void weir__block_put(struct weir__http_worker *w, struct weir__block *b);

/* exchange.c: the request. What becomes of the connection: */
enum weir__verdict { WEIR__KEEP, WEIR__LINGER_CLOSE, WEIR__CLOSE, WEIR__STREAMING, WEIR__UPGRADE };
void weir__exchange_init(weir_http *x, struct weir__http_stream *s);
enum weir__verdict weir__exchange_run(weir_http *x);
enum weir__verdict weir__exchange_refuse(weir_http *x, int status); /* the head could not be read */
void weir__exchange_fini(weir_http *x);
bool weir__http_discard(const weir_ctx *ctx,
                        weir_http *x); /* the rest of the body; false: it is too much */
/* Counts memory that holds what the client sent against the server's bodies_max, until the exchange
 * is over. 0 or -ENOBUFS, which stays the body's error. body.c. */
int weir__http_charge(weir_http *x, size_t bytes);
_Noreturn void weir__http_not_live(const weir_http *x, const char *call);
/* Aborts after the handler returned. */
static inline void weir__http_live(const weir_http *x, const char *call)
{
	if (weir__unlikely(x->magic != WEIR__HTTP_MAGIC ||
	                   __atomic_load_n(&x->state, __ATOMIC_RELAXED) != WEIR__X_LIVE))
		weir__http_not_live(x, call);
}

/* answer.c */
int weir__answer_finish(const weir_ctx *ctx, weir_http *x);
bool weir__answer_claim(weir_http *x);
bool weir__answer_silent(const weir_http *x); /* it has no body */
/* What was said of an answer that failed: its error is not to be kept in its place. */
void weir__answer_forget(weir_http *x);
int weir__answer_error(const weir_ctx *ctx, weir_http *x, int status, const char *detail);
static inline enum weir__claim weir__answer_owner(const struct weir__http_stream *s)
{
	return (enum weir__claim)(__atomic_load_n(&s->claim, __ATOMIC_ACQUIRE) & WEIR__CLAIM_MASK);
}
int weir__http_send(const weir_ctx *ctx, weir_http *x, struct iovec *iov, int n);

/* problem.c */
void weir__problem(struct weir__buf *b, int status, const char *detail); /* detail may be NULL */
void weir__problem_keep(weir_http *x, const char *detail);               /* for the guest */
#define WEIR__HTTP_TOO_LATE "The handler did not answer within its limit."
size_t weir__answer_limit(char *out, size_t cap); /* the whole answer then; any thread */

/* server.c */
const char *weir__http_date(struct weir__http_worker *w); /* now, on that worker */
void weir__http_date_of(char out[32], time_t s);          /* any thread */

#define weir__stat_add(worker, field, n)                                                  \
	__atomic_store_n(&(worker)->stats.field,                                          \
	                 __atomic_load_n(&(worker)->stats.field, __ATOMIC_RELAXED) + (n), \
	                 __ATOMIC_RELAXED)

#endif
