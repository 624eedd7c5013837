/* SPDX-License-Identifier: MIT */
/*
 * A call as both ends share it: messages in and out over a transport, metadata, memory. The two
 * ends put it into a struct of their own: server.c around an exchange of the HTTP server, client.c
 * around a stream of an HTTP/2 connection.
 *
 * Everything of a call is touched on its worker only.
 */
#ifndef WEIR_GRPC_CALL_H
#define WEIR_GRPC_CALL_H

#include <weir/grpc.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/list.h"
#include "grpc/wire.h"

enum {
	WEIR__GRPC_IN = 1024,    /* bytes of messages in the call itself */
	WEIR__GRPC_ARENA = 512,  /* the same for what lives as long as the call */
	WEIR__GRPC_UNPACK = 512, /* … or as a message */
	WEIR__GRPC_METADATA = 32 * 1024,
	WEIR__GRPC_RECV_MAX = 4 * 1024 * 1024,
	WEIR__GRPC_INTERCEPTORS = 16,
};

struct weir__grpc_io {
	/* Bytes of messages: > 0, 0 at their end, or an error. */
	ssize_t (*read)(const weir_ctx *ctx, weir_grpc *call, void *buf, size_t n);
	/* Copies all, sends the initial metadata before them. */
	int (*write)(const weir_ctx *ctx, weir_grpc *call, const struct iovec *iov, int n);
	/* A field that arrived, before or after the messages; NULL if there is none. */
	const char *(*field)(weir_grpc *call, bool trailing, const char *name, size_t *ret_len);
	/* The messages have ended, or cannot go on (error < 0): what weir_grpc_recv() is to say. */
	int (*ended)(const weir_ctx *ctx, weir_grpc *call, int error);
	/* Memory for what arrives: 0, or -ENOBUFS when that is too much. NULL: whoever called asked
	 * for it. */
	int (*charge)(weir_grpc *call, size_t bytes);
};

struct weir__grpc_field {
	struct weir__grpc_field *next;
	const char *name, *value; /* value as it travels */
	size_t len;
};

struct weir__grpc_fields {
	struct weir__grpc_field *first, **last;
};

struct weir__grpc_chunk {
	struct weir__grpc_chunk *next;
	size_t used, size;
	_Alignas(16) char bytes[];
};

struct weir__grpc_interceptors {
	unsigned n;
	struct {
		weir_grpc_fn *fn;
		void *arg;
	} v[WEIR__GRPC_INTERCEPTORS];
};

#define WEIR__GRPC_MAGIC 0x67525063u
struct weir_grpc {
	uint32_t magic;
	const struct weir__grpc_io *io;
	const char *path, *peer;
	int worker;
	size_t recv_max;
	bool head_sent;
	bool end_sent; /* clients: no more messages follow */
	bool in_over;  /* the last message was received */
	bool in_gzip;  /* what arrives may be compressed … */
	bool out_gzip; /* … and the other side can read it */
	bool announce; /* somebody asked for compression before the head left */
	bool compress, was_compressed;
	int in_error;

	/* Bytes that arrived: data[pos..len), of which the first `taken` are the last message. */
	char *in;
	size_t in_pos, in_len, in_cap, taken;
	struct weir__buf unzipped, zipped;

	struct weir__grpc_fields initial, trailing; /* to be sent */
	size_t metadata;

	int status; /* -1: not known yet */
	const char *message;
	const void *details;
	size_t details_len;

	/* Servers. */
	const struct weir__grpc_interceptors *interceptors;
	unsigned step;
	weir_grpc_fn *handler;
	void *handler_arg;

	size_t arena_used, heap_used;
	struct weir__grpc_chunk *heap;

	/* The last message, unpacked (protobuf.c). */
	size_t unpack_used, unpack_size;
	bool unpack_full;
	struct weir__grpc_chunk *unpacked;

	_Alignas(16) char arena[WEIR__GRPC_ARENA];
	_Alignas(16) char unpack_here[WEIR__GRPC_UNPACK];
	char in_here[WEIR__GRPC_IN];
};

void weir__grpc_init(weir_grpc *call, const struct weir__grpc_io *io, const char *path,
                     size_t recv_max);
/* The limit that was asked for: 0 is the default, and no message is longer than its prefix can
 * say. */
size_t weir__grpc_recv_max(size_t max);
void weir__grpc_fini(weir_grpc *call);
/* Aborts on what is no call, or in a task of another worker. */
void weir__grpc_live(const weir_grpc *call, const char *what);

/* After the last message: do the messages end here? 1, 0 if another follows, or an error. */
int weir__grpc_at_end(const weir_ctx *ctx, weir_grpc *call);

/* For protobuf.c: sends what stands at msg + WEIR__GRPC_PREFIX, n bytes of it; the prefix is
 * written before it. */
int weir__grpc_send_framed(const weir_ctx *ctx, weir_grpc *call, char *msg, size_t n);

void weir__grpc_unpacked_free(weir_grpc *call);
/* Memory beside the last message that was unpacked, which goes with it; NULL without. */
void *weir__grpc_alloc_until_next(weir_grpc *call, size_t n);

/* Is a content type gRPC's ("application/grpc", "…+proto", "…;x")? */
bool weir__grpc_type_ok(const char *type);

#endif
