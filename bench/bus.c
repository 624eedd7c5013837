/* SPDX-License-Identifier: MIT */
/* What a message costs on the bus in process: by its way, its size, and how many subscriptions
 * there are; with "-- nats://HOST:PORT" over a NATS server. "bus-subscription-bytes" is bytes, not
 * nanoseconds: what each of a million costs in memory. */
#include <malloc.h>

#include <weir/bus.h>
#include <weir/sim.h>

#include "bench.h"

static weir_bus *open_bus(const weir_ctx *ctx)
{
	weir_bus *b;

	MUST(weir_bus_open(ctx, "mem:", &b));
	return b;
}

static int on_message(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)ctx, (void)arg;
	keep((int64_t)m->len);
	return 0;
}

/* To so many subscriptions, none of which loses any. The time of a delivery, for n of them. */
static void fan_out(const weir_ctx *ctx, int64_t n, int subs, size_t size)
{
	static char data[1024];
	weir_bus *b = open_bus(ctx);
	weir_sub_options opt = { .overflow = WEIR_SUB_BLOCK };
	weir_sub *s;

	for (int i = 0; i < subs; i++)
		MUST(weir_bus_subscribe_with(ctx, b, "a.b", &opt, on_message, NULL, &s));
	for (int64_t i = 0; i < (subs ? n / subs : n); i++)
		MUST(weir_bus_publish(ctx, b, "a.b", data, size));
	MUST(weir_bus_drain(ctx, b));
}

static void to_nobody(const weir_ctx *ctx, int64_t n)
{
	fan_out(ctx, n, 0, 16);
}

static void one_16(const weir_ctx *ctx, int64_t n)
{
	fan_out(ctx, n, 1, 16);
}

static void one_128(const weir_ctx *ctx, int64_t n)
{
	fan_out(ctx, n, 1, 128);
}

static void one_1024(const weir_ctx *ctx, int64_t n)
{
	fan_out(ctx, n, 1, 1024);
}

static void ten_16(const weir_ctx *ctx, int64_t n)
{
	fan_out(ctx, n, 10, 16);
}

static void hundred_16(const weir_ctx *ctx, int64_t n)
{
	fan_out(ctx, n, 100, 16);
}

static int answer(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	return weir_msg_reply(ctx, m, m->data, m->len);
}

static void request(const weir_ctx *ctx, int64_t n)
{
	weir_bus *b = open_bus(ctx);
	weir_sub *s;
	weir_msg m;

	MUST(weir_bus_subscribe(ctx, b, "ping", answer, NULL, &s));
	for (int64_t i = 0; i < n; i++) {
		MUST(weir_bus_request(ctx, b, "ping", "0123456789abcdef", 16, &m));
		weir_msg_free(&m);
	}
	MUST(weir_bus_drain(ctx, b));
}

struct asking {
	weir_bus *bus;
	int64_t n;
};

static int ask(const weir_ctx *ctx, void *arg)
{
	struct asking *a = arg;
	weir_msg m;

	for (int64_t i = 0; i < a->n; i++) {
		MUST(weir_bus_request(ctx, a->bus, "ping", "0123456789abcdef", 16, &m));
		weir_msg_free(&m);
	}
	return 0;
}

static void request_64(const weir_ctx *ctx, int64_t n)
{
	struct asking a = { open_bus(ctx), n / 64 };
	weir_group g;
	weir_sub *s;

	MUST(weir_bus_subscribe(ctx, a.bus, "ping", answer, NULL, &s));
	weir_group_init(&g, ctx);
	for (int i = 0; i < 64; i++)
		MUST(weir_group_go(&g, ask, &a));
	MUST(weir_group_wait(&g));
	MUST(weir_bus_drain(ctx, a.bus));
}

/* ---- Over a cluster ---- */

static const char *cluster;

static void over_cluster(const weir_ctx *ctx, int64_t n, bool hear, size_t size)
{
	static char data[1024];
	weir_sub_options opt = { .pending_max = 1 << 22, .pending_bytes = 1 << 30 };
	weir_sub *s;
	weir_bus *b;

	MUST(weir_bus_open(ctx, cluster, &b));
	if (hear)
		MUST(weir_bus_subscribe_with(ctx, b, "a.b", &opt, on_message, NULL, &s));
	for (int64_t i = 0; i < n; i++)
		MUST(weir_bus_publish(ctx, b, "a.b", data, size));
	MUST(weir_bus_drain(ctx, b));
}

static void cluster_publish(const weir_ctx *ctx, int64_t n)
{
	over_cluster(ctx, n, false, 16);
}

static void cluster_one_16(const weir_ctx *ctx, int64_t n)
{
	over_cluster(ctx, n, true, 16);
}

static void cluster_one_1024(const weir_ctx *ctx, int64_t n)
{
	over_cluster(ctx, n, true, 1024);
}

static void cluster_ask(const weir_ctx *ctx, int64_t n, int askers)
{
	struct asking a = { NULL, n / askers };
	weir_group g;
	weir_sub *s;

	MUST(weir_bus_open(ctx, cluster, &a.bus));
	MUST(weir_bus_subscribe(ctx, a.bus, "ping", answer, NULL, &s));
	weir_group_init(&g, ctx);
	for (int i = 0; i < askers; i++)
		MUST(weir_group_go(&g, ask, &a));
	MUST(weir_group_wait(&g));
	MUST(weir_bus_drain(ctx, a.bus));
}

static void cluster_request(const weir_ctx *ctx, int64_t n)
{
	cluster_ask(ctx, n, 1);
}

static void cluster_request_64(const weir_ctx *ctx, int64_t n)
{
	cluster_ask(ctx, n, 64);
}

static void run_cluster(const weir_ctx *ctx)
{
	bench_argc = 1;
	bench(ctx, "cluster-publish-16", cluster_publish, 1000000);
	bench(ctx, "cluster-one-to-one-16", cluster_one_16, 1000000);
	bench(ctx, "cluster-one-to-one-1024", cluster_one_1024, 300000);
	bench(ctx, "cluster-request", cluster_request, 10000);
	bench(ctx, "cluster-request-64", cluster_request_64, 100000);
}

/* ---- A million subscriptions ---- */

enum { MANY = 1000000 };
static weir_bus *crowd;
static weir_sub **crowd_subs;

static void crowd_make(const weir_ctx *ctx)
{
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, after;
	weir_sub_options opt = { .pending_max = 1 };
	int64_t from;
	char subject[48];

	crowd = open_bus(ctx);
	crowd_subs = calloc(MANY, sizeof(weir_sub *));
	from = weir_now();
	for (int i = 0; i < MANY; i++) {
		snprintf(subject, sizeof subject, i % 10 ? "device.%d.up" : "device.%d.*", i);
		MUST(weir_bus_follow(ctx, crowd, subject, &opt, &crowd_subs[i]));
	}
	printf("bus-subscribe-a-million %.2f\n", (double)(weir_now() - from) / MANY);
	after = mallinfo2().uordblks + mallinfo2().hblkhd;
	printf("bus-subscription-bytes %.2f\n",
	       (double)(after - before - MANY * sizeof(weir_sub *)) / MANY);
}

/* Into those of `hot` devices, over and over. */
static void into_crowd(const weir_ctx *ctx, int64_t n, uint32_t hot)
{
	char subject[48];

	for (int64_t i = 0; i < n; i++) {
		snprintf(subject, sizeof subject, "device.%u.up", weir_random(hot) * (MANY / hot));
		MUST(weir_bus_publish(ctx, crowd, subject, "x", 1));
	}
}

static void crowd_hot(const weir_ctx *ctx, int64_t n)
{
	into_crowd(ctx, n, 100);
}

static void crowd_cold(const weir_ctx *ctx, int64_t n)
{
	into_crowd(ctx, n, MANY);
}

static void crowd_request(const weir_ctx *ctx, int64_t n)
{
	weir_sub *s;
	weir_msg m;

	MUST(weir_bus_subscribe(ctx, crowd, "ping", answer, NULL, &s));
	for (int64_t i = 0; i < n; i++) {
		MUST(weir_bus_request(ctx, crowd, "ping", "0123456789abcdef", 16, &m));
		weir_msg_free(&m);
	}
	MUST(weir_sub_drain(ctx, s));
}

static int run(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	if (bench_argc == 3 && !strcmp(bench_argv[1], "--")) {
		cluster = bench_argv[2];
		run_cluster(ctx);
		return 0;
	}
	bench(ctx, "bus-publish-to-nobody", to_nobody, 3000000);
	bench(ctx, "bus-one-to-one-16", one_16, 3000000);
	bench(ctx, "bus-one-to-one-128", one_128, 3000000);
	bench(ctx, "bus-one-to-one-1024", one_1024, 2000000);
	bench(ctx, "bus-one-to-ten-16", ten_16, 5000000);
	bench(ctx, "bus-one-to-hundred-16", hundred_16, 5000000);
	bench(ctx, "bus-request", request, 200000);
	bench(ctx, "bus-request-64", request_64, 400000);
	if (bench_argc > 1 && !strstr(bench_argv[1], "million"))
		return 0;
	crowd_make(ctx);
	bench(ctx, "bus-into-a-million-hot", crowd_hot, 2000000);
	bench(ctx, "bus-into-a-million-cold", crowd_cold, 500000);
	bench(ctx, "bus-request-among-a-million", crowd_request, 100000);
	for (int i = 0; i < MANY; i++)
		(void)weir_sub_close(crowd_subs[i]);
	free(crowd_subs);
	weir_bus_close(crowd);
	return 0;
}

BENCH_MAIN(run)
