/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 syntax (RFC 9112), read strictly: the head of a request, and the chunked coding. No
 * waiting, no memory of its own, no callbacks: the caller keeps the bytes and calls again with more
 * of them.
 */
#ifndef WEIR_HTTP_H1_H
#define WEIR_HTTP_H1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	WEIR__H1_LINE_MAX = 8192, /* of the request line; beyond: 414 */
	WEIR__H1_METHOD_MAX = 32,
	WEIR__H1_EXT_MAX = 4096, /* chunk extensions of one body */
	WEIR__H1_TRAILER_MAX = 8192,
	WEIR__H1_FOREIGN = 1000, /* in the place of a status: who speaks no HTTP gets no answer */
};

struct weir__h1_field {
	const char *name, *value; /* NUL-terminated, in the head's buffer */
	uint32_t name_len, value_len;
};

struct weir__h1_head {
	/* Set by the caller, once. */
	size_t max;
	unsigned fields_max;
	struct weir__h1_field *fields; /* room for fields_max */

	/* Reset by weir__h1_reset(). */
	size_t line, seen; /* where the unfinished line begins; up to where its end was searched */
	bool blank;        /* the one empty line that may come before a request was there */
	unsigned count;
	uint64_t lengths; /* bit n: a name is n bytes long; the last one: 63 or more */
	char *method, *target;
	size_t method_len, target_len;
	char *path, *query; /* in target; not terminated. query NULL: none */
	size_t path_len, query_len;
	const char *host;
	size_t host_len;
	int minor; /* HTTP/1.minor: 0 or 1 */
	bool star; /* OPTIONS * */
	bool keep; /* the client wants to go on with this connection */
	bool chunked, sized, expect;
	bool te_seen, close_seen, keep_seen;
	uint64_t length; /* if sized */
};

static inline uint64_t weir__h1_length_bit(size_t name_len)
{
	return (uint64_t)1 << (name_len < 63 ? name_len : 63);
}

void weir__h1_reset(struct weir__h1_head *h);

/*
 * buf holds the `len` bytes that have arrived, from the first of the request; they may be rewritten
 * (NULs at the ends of strings). > 0: the length of the complete head. 0: more is needed. < 0:
 * minus the *status* to refuse it with; what follows must not be parsed.
 */
ssize_t weir__h1_head(struct weir__h1_head *h, char *buf, size_t len);

/* For a request whose method, target and fields came another way (HTTP/2): checks what they say and
 * fills in the rest. 0, or minus a status. */
int weir__h1_assemble(struct weir__h1_head *h);

/* One more, for which there is room: whoever reads a head adds its fields by this. */
static inline struct weir__h1_field *weir__h1_add(struct weir__h1_head *h, struct weir__h1_field f)
{
	h->lengths |= weir__h1_length_bit(f.name_len);
	h->fields[h->count] = f;
	return &h->fields[h->count++];
}

/* NULL if absent; the first. */
const char *weir__h1_get(const struct weir__h1_head *h, const char *name);

/* Bytes that a field's name (a token) and value may have. */
bool weir__h1_is_token(const char *s, size_t n);
bool weir__h1_is_value(const char *s, size_t n);

/* ---- The chunked coding (RFC 9112 §7.1) ---- */
struct weir__h1_chunks {
	uint8_t state; /* 0 at first */
	uint8_t digits;
	bool done;
	uint32_t ext, trailer;
	uint64_t left; /* data bytes left of the current chunk */
};

/*
 * Takes bytes from in, puts data bytes into out: how many, and in *ret_used how many it took. Stops
 * when either side is used up or the body is done. -EBADMSG when the coding is broken. With left >
 * 0 the next `left` bytes of the connection are plain data that may be read elsewhere, if the
 * caller subtracts them.
 */
ssize_t weir__h1_unchunk(struct weir__h1_chunks *d, const char *in, size_t n, size_t *ret_used,
                         char *out, size_t cap);

#endif
