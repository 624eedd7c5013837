/* SPDX-License-Identifier: MIT */
/* A stream means the same however it is cut into reads. */
#include "fuzz.h"

#include "http/sse_parse.h"

static void put(struct weir__buf *out, const struct weir__buf *b)
{
	weir__buf_printf(out, "%zu:", b->len);
	weir__buf_add(out, b->data, b->len);
}

static void parse(const uint8_t *data, size_t n, size_t step, struct weir__buf *out)
{
	struct weir__sse_parser p;

	weir__sse_init(&p);
	for (size_t at = 0; at < n;) {
		size_t part = n - at < step ? n - at : step;
		char *piece = fuzz_copy(data + at, part);
		bool event = false;
		ssize_t r = weir__sse_feed(&p, piece, part, &event);

		HOLDS(r > 0);
		HOLDS((size_t)r <= part);
		HOLDS(event || (size_t)r == part);
		if (event) {
			put(out, &p.event);
			put(out, &p.id);
			put(out, &p.data);
		}
		at += (size_t)r;
		free(piece);
	}
	weir__buf_printf(out, "%lld", (long long)p.retry_ns);
	weir__sse_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__buf whole = WEIR__BUF_INIT, cut = WEIR__BUF_INIT;
	size_t step;

	if (n == 0)
		return 0;
	step = 1 + data[0] % 7;
	parse(data + 1, n - 1, SIZE_MAX, &whole);
	parse(data + 1, n - 1, step, &cut);
	HOLDS(whole.len == cut.len);
	HOLDS(!memcmp(whole.data, cut.data, whole.len));
	weir__buf_free(&whole);
	weir__buf_free(&cut);
	return 0;
}
