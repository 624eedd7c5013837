/* SPDX-License-Identifier: MIT */
/*
 * Puts into JetStream by one producer, through Weir and through nats.c alone: one at a time, and
 * 256 in flight. Both put the same bytes with a message id into the same stream and wait for the
 * server's answer to each.
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

static natsMsg *message(uint64_t n)
{
	natsMsg *m;
	char id[32];

	snprintf(id, sizeof id, "nats-c-%llu", (unsigned long long)n);
	ok(natsMsg_Create(&m, "weir.queue.bench", NULL, payload, PAYLOAD));
	ok(natsMsgHeader_Set(m, "Nats-Msg-Id", id));
	return m;
}

static void through_nats_c(void)
{
	natsConnection *nc;
	jsCtx *js;
	jsOptions opt;
	uint64_t n = 0, from;
	struct start since;

	ok(natsConnection_ConnectTo(&nc, url));
	jsOptions_Init(&opt);
	opt.PublishAsync.MaxPending = BATCH;
	ok(natsConnection_JetStream(&js, nc, &opt));
	for (since = begin(); weir_now() < since.at + TIME; n++) {
		natsMsg *m = message(n);

		ok(js_PublishMsg(NULL, js, m, NULL, NULL));
		natsMsg_Destroy(m);
	}
	report("put-one-at-a-time", "nats.c", n, since);
	from = n;
	for (since = begin(); weir_now() < since.at + TIME;) {
		for (int i = 0; i < BATCH; i++, n++) {
			natsMsg *m = message(n);

			ok(js_PublishMsgAsync(js, &m, NULL));
		}
		ok(js_PublishAsyncComplete(js, NULL));
	}
	report("put-256-in-flight", "nats.c", n - from, since);
	jsCtx_Destroy(js);
	natsConnection_Destroy(nc);
}

int main(int argc, char **argv)
{
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: %s nats://HOST:PORT\n", argv[0]);
		return 2;
	}
	url = argv[1];
	r = weir_main(through_weir, NULL);
	if (r == 0)
		through_nats_c();
	return r;
}
