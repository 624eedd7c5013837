/* SPDX-License-Identifier: MIT */
/* A NATS client's bytes mean the same however they are cut into reads, and a CONNECT's JSON is read
 * within its bounds. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/json.h"
#include "nats/parse.h"

static void member(const struct weir__json_member *m, void *arg)
{
	struct weir__buf *out = arg;

	HOLDS(m->key);
	HOLDS((m->kind == WEIR__JSON_TEXT) == (m->text != NULL));
	weir__buf_printf(out, "%s=%s %d,", m->key, m->text ? m->text : "", (int)m->kind);
}

static void put(struct weir__buf *out, const struct weir__nats_text *t)
{
	if (t->at)
		weir__buf_add(out, t->at, t->len);
	weir__buf_byte(out, '|');
}

static void put_frame(struct weir__buf *out, const struct weir__nats_frame *f)
{
	weir__buf_printf(out, "%d:", (int)f->op);
	put(out, &f->subject);
	put(out, &f->reply);
	put(out, &f->queue);
	put(out, &f->sid);
	HOLDS(f->headers <= f->total);
	if (f->body)
		weir__buf_add(out, f->body, f->total);
	if (f->tail) {
		HOLDS(f->tail < f->body);
		HOLDS(f->tail == (f->reply.at ? f->reply.at : f->tail));
	}
	weir__buf_printf(out, "%llu;", (unsigned long long)f->max);
	if (f->op == WEIR__NATS_CONNECT)
		weir__buf_printf(out, "%d;",
		                 weir__json_object(f->args.at, f->args.len, member, out));
}

/* As a connection does: what is not there as a whole stays, and is looked at again when `need`
 * are. */
static void parse(const uint8_t *data, size_t n, size_t step, struct weir__buf *out)
{
	struct weir__nats_limits limits = { .line = 64, .payload = 256 };
	size_t from = 0, have = 0, need = 1;
	ssize_t r = 0;

	while (r >= 0 && from + have < n) {
		have = n - from - have < step ? n - from : have + step;
		while (have >= need && have) {
			char *piece = fuzz_copy(data + from, have);
			struct weir__nats_frame f = { 0 };

			r = weir__nats_parse(&limits, piece, have, &f, &need);
			HOLDS(r <= (ssize_t)have);
			if (r == 0) {
				HOLDS(need > have);
				HOLDS(need <= limits.line + 2 + limits.payload + 2);
				HOLDS(!memcmp(piece, data + from, have));
			}
			if (r > 0) {
				put_frame(out, &f);
				from += (size_t)r;
				have -= (size_t)r;
				need = 1;
			}
			free(piece);
			if (r <= 0)
				break;
		}
	}
	weir__buf_printf(out, "%d", r < 0 ? (int)r : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__buf whole = WEIR__BUF_INIT, cut = WEIR__BUF_INIT;

	if (n == 0)
		return 0;
	parse(data + 1, n - 1, SIZE_MAX / 2, &whole);
	parse(data + 1, n - 1, 1 + data[0] % 7, &cut);
	HOLDS(whole.len == cut.len);
	HOLDS(!memcmp(whole.data, cut.data, whole.len));
	weir__buf_free(&whole);
	weir__buf_free(&cut);
	return 0;
}
