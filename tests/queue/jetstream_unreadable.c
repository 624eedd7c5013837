/* SPDX-License-Identifier: MIT */
/* White box: a redrive goes on behind a dead message that it cannot read or put, and tells of it.
 * The server is three functions here, since none that is real gives out what cannot be read. */
#include "queue/far.h"
#include "queue/jetstream.h"
#include "queue_test.h"

static int asked(const weir_ctx *ctx, struct weir__js *js, const char *verb, const char *kind,
                 const char *queue, const char *text, weir_msg *ret);
static int counted(const weir_ctx *ctx, void *engine, const char *queue,
                   struct weir__remote_counts *ret);
static int published(const weir_ctx *ctx, weir_bus *b, const weir_msg *m, weir_msg *ret, size_t n);

#define weir__js_message      asked
#define weir__js_count        counted
#define weir_bus_request_many published
#include "queue/jetstream_redrive.c"

/* What is asked for a number gets the first from there on. */
static const char *const dead[] = {
	"{\"message\":{\"seq\":1,\"data\":\"no base64\"}}",
	"{\"message\":{\"seq\":2,\"data\":\"eA==\"}}", /* x */
	"{\"message\":{\"seq\":3,\"data\":\"ea\n\"}}",
	"{\"message\":{\"seq\":4,\"data\":\"eHh4\"}}", /* xxx, which is too large */
	"{\"message\":{\"seq\":5,\"data\":\"eQ==\"}}", /* y */
	"{\"error\":{\"err_code\":10037}}",
};
static char gone[8], back[8];

static int asked(const weir_ctx *ctx, struct weir__js *js, const char *verb, const char *kind,
                 const char *queue, const char *text, weir_msg *ret)
{
	unsigned long seq = strtoul(text + strlen("{\"seq\":"), NULL, 10);
	const char *answer = "{\"success\":true}";

	(void)ctx;
	(void)js;
	(void)kind;
	(void)queue;
	CHECK(seq >= 1 && seq <= 6);
	if (!strcmp(verb, "GET"))
		answer = dead[seq - 1];
	else
		gone[strlen(gone)] = (char)('0' + seq);
	*ret = (weir_msg){ .data = answer, .len = strlen(answer) };
	return 0;
}

static int counted(const weir_ctx *ctx, void *engine, const char *queue,
                   struct weir__remote_counts *ret)
{
	(void)ctx;
	(void)engine;
	(void)queue;
	*ret = (struct weir__remote_counts){ .dead = 5 };
	return 0;
}

static int published(const weir_ctx *ctx, weir_bus *b, const weir_msg *m, weir_msg *ret, size_t n)
{
	static const char yes[] = "{\"stream\":\"WEIR-q\",\"seq\":1}";

	(void)ctx;
	(void)b;
	CHECK_EQ(n, 1);
	if (m->len > 1)
		return -EMSGSIZE;
	back[strlen(back)] = *(const char *)m->data;
	*ret = (weir_msg){ .data = yes, .len = strlen(yes) };
	return 1;
}

TASK(a_redrive_leaves_what_it_cannot_read_or_put_and_goes_on)
{
	struct weir__redriven d = { 0 };
	struct weir__js js = { .bus = NULL };

	CHECK_EQ(weir__js_redrive(ctx, &js, "q", &d), 0);
	CHECK_STR(back, "xy");
	CHECK_STR(gone, "25");
	CHECK_EQ(d.done, 2);
	CHECK_EQ(d.left.n, 3);
	CHECK_STR(d.left.why, "message 1: it cannot be read");
}
