/* SPDX-License-Identifier: MIT */
/*
 * Puts into JetStream by one producer, through Weir and through nats.c alone: one at a time, and
 * 256 in flight. Both put the same bytes with the same headers (an id and a time that each message
 * has of its own, as long as Weir's) into the same stream, wait for the server's answer to each and
 * look at it: nats.c's user by the handler that nats.c calls for each answer. They take turns of
 * half a second in one run, ABBA, so that neither has the stream when it is shorter.
 *
 *	bench-engines nats://127.0.0.1:4222     nanoseconds each, "name weir|nats.c n"; with -cpu those of
 *	                                        this process, the rest is the server and waiting
 */
#include <nats/nats.h>
#include <weir/offload.h>

#include "puts.h"

enum { TURNS = 8 };
#define TURN (TIME / 4)

static void ok(natsStatus st)
{
	if (st == NATS_OK)
		return;
	fprintf(stderr, "nats.c: %s\n", natsStatus_GetText(st));
	exit(1);
}

/* ---- nats.c, on a thread that it may block ---- */

struct peer {
	natsConnection *nc;
	jsCtx *js;
	uint64_t last;       /* message */
	uint64_t taken;      /* atomic: answers that say so */
	size_t batch;        /* of the turn */
	struct tally *tally; /* of the turn */
};

static natsMsg *message(uint64_t n)
{
	natsMsg *m;
	char text[32];

	ok(natsMsg_Create(&m, "weir.queue.bench", NULL, payload, PAYLOAD));
	snprintf(text, sizeof text, "NATS-C%020llu", (unsigned long long)n);
	ok(natsMsgHeader_Set(m, "Nats-Msg-Id", text));
	snprintf(text, sizeof text, "%lld", (long long)weir_wall());
	ok(natsMsgHeader_Set(m, "Weir-Created", text));
	return m;
}

static void on_answer(jsCtx *js, natsMsg *m, jsPubAck *ack, jsPubAckErr *error, void *peer)
{
	struct peer *p = peer;

	(void)js;
	if (error) {
		fprintf(stderr, "nats.c: %s\n", error->ErrText);
		exit(1);
	}
	__atomic_fetch_add(&p->taken, ack != NULL && !ack->Duplicate, __ATOMIC_RELAXED);
	natsMsg_Destroy(m);
}

static void put_one(struct peer *p)
{
	natsMsg *m = message(++p->last);
	jsPubAck *ack = NULL;

	ok(js_PublishMsg(&ack, p->js, m, NULL, NULL));
	p->taken += !ack->Duplicate;
	jsPubAck_Destroy(ack);
	natsMsg_Destroy(m);
}

static void put_batch(struct peer *p)
{
	for (int i = 0; i < BATCH; i++) {
		natsMsg *m = message(++p->last);

		ok(js_PublishMsgAsync(p->js, &m, NULL));
	}
	ok(js_PublishAsyncComplete(p->js, NULL));
	if (__atomic_load_n(&p->taken, __ATOMIC_RELAXED) == p->last)
		return;
	fprintf(stderr, "nats.c: a put was not taken\n");
	exit(1);
}

static int turn_of_nats_c(void *peer)
{
	struct peer *p = peer;
	struct start since = begin();
	uint64_t from = p->last;

	while (weir_now() < since.at + TURN)
		if (p->batch == 1)
			put_one(p);
		else
			put_batch(p);
	tally_add(p->tally, p->last - from, since);
	return 0;
}

static void peer_open(struct peer *p)
{
	jsOptions opt;

	ok(natsConnection_ConnectTo(&p->nc, url));
	jsOptions_Init(&opt);
	opt.PublishAsync.MaxPending = BATCH;
	opt.PublishAsync.AckHandler = on_answer;
	opt.PublishAsync.AckHandlerClosure = p;
	ok(natsConnection_JetStream(&p->js, p->nc, &opt));
}

/* ---- In turns ---- */

static void compare(const weir_ctx *ctx, weir_store *s, struct peer *p, const char *name,
                    size_t batch)
{
	struct tally weir = { 0 }, nats_c = { 0 };

	p->batch = batch;
	p->tally = &nats_c;
	for (int i = 0; i < TURNS; i++)
		if (i % 4 == 0 || i % 4 == 3)
			weir_turn(ctx, s, batch, TURN, &weir);
		else
			MUST(weir_offload(ctx, turn_of_nats_c, p, NULL));
	tally_report(name, "weir", &weir);
	tally_report(name, "nats.c", &nats_c);
}

static int all(const weir_ctx *ctx, void *arg)
{
	struct peer p = { 0 };
	struct tally warm = { 0 };
	weir_store *s;

	(void)arg;
	s = weir_open(ctx);
	weir_turn(ctx, s, 1, WEIR_MS(50), &warm); /* Makes the stream, too. */
	peer_open(&p);
	compare(ctx, s, &p, "put-one-at-a-time", 1);
	compare(ctx, s, &p, "put-256-in-flight", BATCH);
	MUST(weir_store_close(ctx, s, NULL));
	jsCtx_Destroy(p.js);
	natsConnection_Destroy(p.nc);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s nats://HOST:PORT\n", argv[0]);
		return 2;
	}
	url = argv[1];
	return weir_main(all, NULL);
}
