/* SPDX-License-Identifier: MIT */
/*
 * The client protocol of NATS, one frame at a time. Pure: it sees bytes and says what they are;
 * nothing is kept between two calls, so it means the same however the bytes were cut into reads.
 */
#ifndef WEIR_NATS_PARSE_H
#define WEIR_NATS_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum weir__nats_op {
	WEIR__NATS_CONNECT = 1,
	WEIR__NATS_PING,
	WEIR__NATS_PONG,
	WEIR__NATS_PUB, /* and HPUB: headers > 0 */
	WEIR__NATS_SUB,
	WEIR__NATS_UNSUB,
	WEIR__NATS_OK,   /* +OK and INFO, which a client has no reason to send */
	WEIR__NATS_ERROR /* -ERR: the client gives up */
};

/* What is wrong with the bytes; the connection ends. */
enum weir__nats_wrong {
	WEIR__NATS_UNKNOWN = -1,   /* no such operation, or no end of line behind a payload */
	WEIR__NATS_ARGS = -2,      /* not its arguments */
	WEIR__NATS_LINE = -3,      /* the control line is too long */
	WEIR__NATS_PAYLOAD = -4,   /* the payload is too large */
	WEIR__NATS_IMPATIENT = -5, /* something else came before CONNECT */
};

struct weir__nats_text {
	char *at; /* NUL-terminated in the caller's buffer; NULL: not given */
	size_t len;
};

struct weir__nats_frame {
	enum weir__nats_op op;
	/* What an operation cannot have is left as it was. */
	struct weir__nats_text subject, reply, queue, sid;
	struct weir__nats_text args; /* CONNECT: its JSON */
	char *body;                  /* PUB: headers, payload, then "\r\n" */
	char *tail; /* PUB: from the reply address or the first size to the end, as it can be
	                              * sent on; NULL when it was not written as a server would */
	size_t headers, total; /* bytes of the headers; of headers and payload */
	uint64_t max;          /* UNSUB; 0: at once */
};

struct weir__nats_limits {
	size_t line, payload;
	bool connect_first; /* only CONNECT may come */
};

/*
 * The frame that buf begins with. Bytes it takes, or 0 when it is not there as a whole: then at
 * least *ret_need bytes are needed to go on, and the buffer is as it was; or what is wrong. Of a
 * whole frame the white space behind each argument becomes a NUL, but not behind a reply address
 * (its `len` tells).
 */
ssize_t weir__nats_parse(const struct weir__nats_limits *limits, char *buf, size_t n,
                         struct weir__nats_frame *ret, size_t *ret_need);

#endif
