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
#include <time.h>
#include <weir/queue.h>

#include "bench.h"

enum { PAYLOAD = 128, BATCH = 256 };
#define TIME WEIR_SEC(2)

static char payload[PAYLOAD];
static const char *url;

/* What a measurement began with: the clock, and this process's CPU time. */
struct start {
	int64_t at, cpu;
};

static int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct start begin(void)
{
	return (struct start){ weir_now(), cpu_ns() };
}

static void report(const char *name, const char *who, uint64_t n, struct start since)
{
	printf("%s %s %.0f\n", name, who, (double)(weir_now() - since.at) / (double)n);
	printf("%s-cpu %s %.0f\n", name, who, (double)(cpu_ns() - since.cpu) / (double)n);
	fflush(stdout);
}

static void weir_puts(const weir_ctx *ctx, weir_store *s, const char *name, size_t batch)
{
	weir_job_spec specs[BATCH];
	struct start since = begin();
	char ids[BATCH][27];
	int each[BATCH];
	uint64_t n = 0;

	for (size_t i = 0; i < batch; i++)
		specs[i] = (weir_job_spec){ .data = payload, .len = PAYLOAD };
	for (; weir_now() < since.at + TIME; n += batch) {
		MUST(weir_job_put_many(ctx, s, "bench", specs, batch, ids, each));
		for (size_t i = 0; i < batch; i++)
			MUST(each[i]);
	}
	report(name, "weir", n, since);
}

static int through_weir(const weir_ctx *ctx, void *arg)
{
	const weir_store_options opt = { .queue_max = 100000000,
		                         .queue_bytes = (size_t)1 << 30,
		                         .idempotency_ns = WEIR_SEC(120) };
	weir_store *s;

	(void)arg;
	MUST(weir_store_open(ctx, url, &opt, &s));
	weir_puts(ctx, s, "put-one-at-a-time", 1);
	weir_puts(ctx, s, "put-256-in-flight", BATCH);
	MUST(weir_store_close(ctx, s, NULL));
	return 0;
}

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
