/* SPDX-License-Identifier: MIT */
/* A consumer that waits for the end of a message which its stream has forgotten, as a killed server
 * may leave one behind: made here by giving a server the consumer's file of before the end. */
#include "engine_servers.h"
#include "queue_test.h"

#include <weir/bus.h>

#include "queue/far.h"
#include "queue/jetstream.h"

static weir_job *get(const weir_ctx *ctx, weir_store *s)
{
	weir_ctx some = weir_ctx_timeout(ctx, WEIR_SEC(30));
	weir_job *j = NULL;

	CHECK_EQ(weir_job_take(&some, s, "q", NULL, &j), 1);
	return j;
}

/* What the consumer has given out and waits for. */
static int64_t held(const weir_ctx *ctx, struct weir__js *js)
{
	weir_msg m;
	int64_t n;

	CHECK_EQ(weir__js_info(ctx, js, "CONSUMER", "WEIR-q.workers", &m), 0);
	n = weir__js_number(&m, "num_ack_pending");
	weir_msg_free(&m);
	return n;
}

/* The server stops and comes back with what it has written of the consumer, or with that of
 * before. */
static void stop_and_start(const weir_ctx *ctx, const struct engine_under_test *t,
                           struct engine_server *e, struct weir__js *js, const char *verb)
{
	uint64_t before = weir__js_reconnects(js);
	char now[160], kept[96];

	snprintf(now, sizeof now, "%s/jetstream/$G/streams/WEIR-q/obs/workers/o.dat", e->dir);
	snprintf(kept, sizeof kept, "%s/kept", e->dir);
	server_kill(&e->server, SIGTERM);
	if (!strcmp(verb, "keep"))
		CHECK(run((char *[]){ "cp", now, kept, NULL }));
	else
		CHECK(run((char *[]){ "cp", kept, now, NULL }));
	CHECK(t->again(e));
	while (weir__js_reconnects(js) == before || !weir__js_up(js))
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
}

static void a_ghost(const weir_ctx *ctx, const struct engine_under_test *t, struct engine_server *e)
{
	struct weir__js_queue *q;
	weir_job *alive, *gone;
	struct weir__js *js;
	weir_store *s;

	CHECK_EQ(weir_store_open(ctx, e->url, NULL, &s), 0);
	put(ctx, s, "q", "alive");
	alive = get(ctx, s);
	put(ctx, s, "q", "gone");
	gone = get(ctx, s);
	js = s->far->engine;
	q = weir__js_find(js, "q");
	stop_and_start(ctx, t, e, js, "keep");
	CHECK_EQ(weir_job_ack(ctx, gone, NULL, 0), 0);
	stop_and_start(ctx, t, e, js, "put back");
	if (held(ctx, js) == 2) {
		CHECK_EQ(weir__js_lay_ghosts(ctx, js, q), 0);
		while (held(ctx, js) == 2) /* It takes an ack without a word, in its own time. */
			CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	} else {
		skip("this nats-server looks for ghosts itself");
	}
	CHECK_EQ(held(ctx, js), 1);
	CHECK_EQ(weir_job_ack(ctx, alive, NULL, 0), 0);
	store_end(ctx, s);
}

TASK(what_is_gone_from_the_stream_is_ended_for_the_consumer_although_nothing_else_waits)
{
	const struct engine_under_test *t = engine_named("JetStream");
	struct engine_server e = { .missing = "" };

	if (t->start(&e))
		a_ghost(ctx, t, &e);
	else
		skip(e.missing);
	engine_end(&e);
}
