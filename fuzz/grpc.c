/* SPDX-License-Identifier: MIT */
/* The bytes of a call mean the same messages however they are cut into reads, and no message takes
 * more memory than the limits say; what gRPC puts into fields survives the way there and back. */
#include "fuzz.h"

#include <weir/grpc_protobuf.h>

#include "grpc/call.h"
#include "weir.pb-c.h"

enum { RECV_MAX = 2048, FIELD_MAX = 256 };

struct source {
	weir_grpc call; /* first */
	const uint8_t *data;
	size_t n, step;
	bool unpacks;
};

static ssize_t give(const weir_ctx *ctx, weir_grpc *call, void *buf, size_t n)
{
	struct source *s = (struct source *)call;

	(void)ctx;
	HOLDS(n > 0);
	if (n > s->step)
		n = s->step;
	if (n > s->n)
		n = s->n;
	memcpy(buf, s->data, n);
	s->data += n;
	s->n -= n;
	return (ssize_t)n;
}

static int ended(const weir_ctx *ctx, weir_grpc *call, int error)
{
	(void)ctx;
	(void)call;
	return error;
}

static const struct weir__grpc_io io = { .read = give, .ended = ended };

static int next(struct source *s, struct weir__buf *out)
{
	Weir__V1__TakeRequest *in;
	const void *msg;
	size_t n;
	int r;

	if (s->unpacks) {
		r = weir_grpc_recv_pb(NULL, &s->call, weir__v1__take_request, &in);
		HOLDS(s->call.unpack_size <= 16 * RECV_MAX);
		if (r > 0)
			weir__buf_printf(out, "%d;", (int)in->kind_case);
		return r;
	}
	r = weir_grpc_recv(NULL, &s->call, &msg, &n);
	if (r > 0) {
		HOLDS(n <= RECV_MAX);
		weir__buf_printf(out, "%zu %d:", n, weir_grpc_was_compressed(&s->call));
		weir__buf_add(out, msg, n);
	}
	return r;
}

static void receive(const uint8_t *data, size_t n, size_t step, uint8_t kind, struct weir__buf *out)
{
	struct source *s = malloc(sizeof *s);
	int r;

	HOLDS(s);
	weir__grpc_init(&s->call, &io, "/f.F/F", RECV_MAX);
	s->data = data;
	s->n = n;
	s->step = step;
	s->unpacks = kind & 1;
	s->call.in_gzip = kind & 2;
	while ((r = next(s, out)) > 0)
		HOLDS(s->call.in_cap <= 2 * 16384);
	HOLDS(r == 0 || r == -EBADMSG || r == -EMSGSIZE);
	HOLDS(r < 0 || s->n == 0);
	/* It stays over, but for a message that was cut out well and is none of its type. */
	HOLDS(s->unpacks || next(s, out) == r);
	weir__buf_printf(out, "%d", r);
	weir__grpc_fini(&s->call);
	free(s);
}

static void fields(const char *text, size_t n)
{
	struct weir__buf once = WEIR__BUF_INIT, again = WEIR__BUF_INIT;
	char out[WEIR__GRPC_TIMEOUT_MAX];
	int64_t ns, back;
	int code;

	if (weir__grpc_timeout_parse(text, &ns) == 0) {
		HOLDS(ns >= 0);
		weir__grpc_timeout_format(out, ns);
		HOLDS(strlen(out) < sizeof out);
		HOLDS(weir__grpc_timeout_parse(out, &back) == 0);
		HOLDS(back >= ns);
	}
	weir__grpc_percent_encode(&once, text, n);
	weir__grpc_percent_decode(&again, once.data ? once.data : "", once.len);
	HOLDS(again.len == n && (!n || !memcmp(again.data, text, n)));
	weir__buf_clear(&again);
	weir__grpc_percent_decode(&again, text, n);
	HOLDS(again.len <= n);
	weir__buf_clear(&once);
	weir__buf_clear(&again);
	weir__grpc_bin_encode(&once, text, n);
	HOLDS(weir__grpc_bin_decode(&again, once.data ? once.data : "", once.len) == 0);
	HOLDS(again.len == n && (!n || !memcmp(again.data, text, n)));
	weir__buf_clear(&again);
	if (weir__grpc_bin_decode(&again, text, n) == 0)
		HOLDS(again.len <= n);
	code = weir__grpc_code_parse(text, n);
	HOLDS(code >= 0 && code <= WEIR_GRPC_UNAUTHENTICATED);
	HOLDS(!weir__grpc_name_ok(text) || !weir__grpc_reserved(text, strlen(text)));
	(void)weir__grpc_type_ok(text);
	weir__buf_free(&once);
	weir__buf_free(&again);
}

/* The first byte says what the others are: messages (1: of protobuf, 2: compressed by gzip), or a
 * field (128). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__buf whole = WEIR__BUF_INIT, pieces = WEIR__BUF_INIT;
	char text[FIELD_MAX];

	if (n == 0)
		return 0;
	if (data[0] & 128) {
		n = n < FIELD_MAX ? n - 1 : FIELD_MAX - 1;
		memcpy(text, data + 1, n);
		text[n] = 0;
		fields(text, n);
		return 0;
	}
	receive(data + 1, n - 1, SIZE_MAX, data[0], &whole);
	receive(data + 1, n - 1, 1, data[0], &pieces);
	HOLDS(!whole.failed && !pieces.failed);
	HOLDS(whole.len == pieces.len && !memcmp(whole.data, pieces.data, whole.len));
	weir__buf_free(&whole);
	weir__buf_free(&pieces);
	return 0;
}
