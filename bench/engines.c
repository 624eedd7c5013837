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

#include "puts.h"

static void ok(natsStatus st)
{
	if (st == NATS_OK)
		return;
	fprintf(stderr, "nats.c: %s\n", natsStatus_GetText(st));
	exit(1);
}

/* ---- nats.c, on a thread that it may block ---- */

struct nats {
	struct peer peer;
	natsConnection *nc;
	jsCtx *js;
	uint64_t taken; /* atomic: answers that say so */
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
	struct nats *p = peer;

	(void)js;
	if (error) {
		fprintf(stderr, "nats.c: %s\n", error->ErrText);
		exit(1);
	}
	__atomic_fetch_add(&p->taken, ack != NULL && !ack->Duplicate, __ATOMIC_RELAXED);
	natsMsg_Destroy(m);
}

static void put_one(struct nats *p)
{
	natsMsg *m = message(++p->peer.last);
	jsPubAck *ack = NULL;

	ok(js_PublishMsg(&ack, p->js, m, NULL, NULL));
	p->taken += !ack->Duplicate;
	jsPubAck_Destroy(ack);
	natsMsg_Destroy(m);
}

static void put_batch(struct nats *p)
{
	for (int i = 0; i < BATCH; i++) {
		natsMsg *m = message(++p->peer.last);

		ok(js_PublishMsgAsync(p->js, &m, NULL));
	}
	ok(js_PublishAsyncComplete(p->js, NULL));
	if (__atomic_load_n(&p->taken, __ATOMIC_RELAXED) == p->peer.last)
		return;
	fprintf(stderr, "nats.c: a put was not taken\n");
	exit(1);
}

static int turn_of_nats_c(void *peer)
{
	struct nats *p = peer;
	struct start since = begin();
	uint64_t from = p->peer.last;

	while (weir_now() < since.at + TURN)
		if (p->peer.batch == 1)
			put_one(p);
		else
			put_batch(p);
	tally_add(&p->peer.tally, p->peer.last - from, since);
	return 0;
}

static int peer_open(void *peer)
{
	struct nats *p = peer;
	jsOptions opt;

	ok(natsConnection_ConnectTo(&p->nc, url));
	jsOptions_Init(&opt);
	opt.PublishAsync.MaxPending = BATCH;
	opt.PublishAsync.AckHandler = on_answer;
	opt.PublishAsync.AckHandlerClosure = p;
	ok(natsConnection_JetStream(&p->js, p->nc, &opt));
	return 0;
}

static void peer_close(void *peer)
{
	struct nats *p = peer;

	jsCtx_Destroy(p->js);
	natsConnection_Destroy(p->nc);
}

int main(int argc, char **argv)
{
	struct nats p = { .peer = { .name = "nats.c",
		                    .open = peer_open,
		                    .turn = turn_of_nats_c,
		                    .close = peer_close } };

	if (argc != 2) {
		fprintf(stderr, "usage: %s nats://HOST:PORT\n", argv[0]);
		return 2;
	}
	url = argv[1];
	return weir_main(side_by_side, &p);
}
