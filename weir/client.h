/* SPDX-License-Identifier: MIT */
/*
 * What the client subcommands share: the frame in which they run, a call to the server, tables, and
 * output.
 *
 * A subcommand is `return client_run(o, fn, arg)`. fn runs as the root task, says itself on
 * standard error what went wrong, and returns an exit status. What it adds to c->out is printed
 * when it has returned, so that no task waits for a slow terminal; who prints as it goes uses
 * client_flush().
 */
#ifndef WEIR_CLIENT_H
#define WEIR_CLIENT_H

#include <jansson.h>
#include <weir/bus.h>
#include <weir/http_client.h>

#include "base/buf.h"
#include "weir.h"

struct client {
	const struct options *o;
	weir_http_client *http;
	weir_bus *bus;                  /* NULL: the server is no NATS cluster */
	struct weir_grpc_channel *grpc; /* NULL: it is not asked over gRPC */
	weir_tls *tls; /* for https; shared with copies, of which the first is the last to go */
	char *auth;    /* "authorization: Bearer …", or NULL */
	const char *subject; /* what a refusal is about: a queue, a job; may be NULL */
	struct weir__buf out;
	bool tty;   /* standard output is a terminal */
	bool color; /* … and NO_COLOR is not set */
	void *arg;
};

/* engines_cmd.c: the table of engines. The exit status. */
int show_engines(const struct options *o);

/* Is --server a NATS cluster? publish, request, subscribe and reply can speak to one. */
bool client_is_nats(const struct options *o);

/* Is it a weir that this command asks over gRPC? enqueue, publish, request, subscribe and work
 * can. */
bool client_is_grpc(const struct options *o);

typedef int client_fn(const weir_ctx *ctx, struct client *c);
int client_run(const struct options *o, client_fn *fn, void *arg);

/* Another connection for another task, with the same server and token. 0 or -ENOMEM. The out buffer
 * is its own. */
int client_copy(struct client *c, const struct client *from);
void client_close(struct client *c);

struct answer {
	int status;
	struct weir__buf body;
	json_t *json; /* the body, when it is JSON */
};
void answer_free(struct answer *a);

enum { CLIENT_HEADERS = 12 };
struct request {
	const char *method, *target;
	const void *body;
	size_t len;
	const char *headers[CLIENT_HEADERS]; /* "name: value" */
	int64_t timeout_ns;                  /* 0: 30 s */
};

/* One exchange: 0 with any status, or -Exxx without a word. */
int client_exchange(const weir_ctx *ctx, struct client *c, const struct request *q,
                    struct answer *a);
/* The same, and what is not 2xx is said on standard error: 0 or an exit status. *a can be freed in
 * any case. */
int client_call(const weir_ctx *ctx, struct client *c, const struct request *q, struct answer *a);
/* Begins a stream of events at target, behind last_id if not NULL: the status, or -Exxx. */
int client_stream(const weir_ctx *ctx, struct client *c, const char *target, const char *last_id,
                  int64_t timeout_ns);

/* Says why there was no answer, or what a refusal said. Returns the exit status for it. */
int client_say_error(const struct client *c, int error);
int client_say_refusal(const struct client *c, const struct answer *a);

/* A pause before the next try: twice as long each time up to 10 s, ± 50 %. *tries counts. 0 or the
 * context's error. */
int client_pause(const weir_ctx *ctx, unsigned *tries, int64_t at_least_ns);

/* Prints c->out now; waits for whoever reads it. 0 or an exit status. */
int client_flush(const weir_ctx *ctx, struct client *c);
/* Reads what standard input (or another descriptor) has: bytes, 0 at the end, or -Exxx. */
ssize_t client_read(const weir_ctx *ctx, int fd, void *buf, size_t n);

/* PAYLOAD as an argument, or all of standard input when it is absent or "-". Outside of tasks. 0 or
 * an exit status. */
int client_payload(const struct options *o, int arg, struct weir__buf *ret);

/* Adds a payload to c->out: as it is for a pipe or file; for a terminal without what it would obey,
 * and with an end of line. */
void put_shown(struct client *c, const void *data, size_t n);
/* "name: value"; NULL without memory, to be freed. A NULL value gives an empty text. */
char *client_header(const char *name, const char *value);
/* text with all but unreserved characters as %XX (RFC 3986 §2.1). */
void put_escaped(struct weir__buf *b, const char *text);
/* A job's payload or result: NAME or NAME_base64 of a JSON object; 0, -ENOENT or -EINVAL. */
int get_bytes(const json_t *object, const char *name, struct weir__buf *ret);
/* A member as text, "" if absent; as a number, 0 if absent. */
const char *get_text(const json_t *object, const char *name);
json_int_t get_int(const json_t *object, const char *name);
/* Unless the name is one, says so: 0 or EXIT_USAGE. */
int need_queue(const char *name);
int need_subject(const char *subject, bool wildcards);

/* ---- Tables: cells of text, columns aligned, a head in bold ---- */
struct table {
	struct weir__buf cells; /* texts, each ended by NUL */
	unsigned columns, n;
	const char *align; /* "lrr…": left or right */
};
void table_init(struct table *t, const char *align);
void table_cell(struct table *t, const char *fmt, ...) WEIR_PRINTF(2, 3);
/* Into c->out; frees the table. The first row is the head. */
void table_print(struct table *t, struct client *c);

#endif
