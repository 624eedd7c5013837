/* SPDX-License-Identifier: MIT */
/* neco's side of `script/bench runtime`: the same work as ../chan.c, ../select.c and ../spawn.c. */
#include <neco.h>

#include "bench.h"

#undef MUST
#define MUST(call) must((call) != NECO_OK, #call)

static neco_chan *channel(size_t cap)
{
	neco_chan *c;

	MUST(neco_chan_make(&c, sizeof(long), cap));
	return c;
}

static void echo(int argc, void *argv[])
{
	neco_chan *in = argv[0], *out = argv[1];
	long n = *(long *)argv[2], v;

	(void)argc;
	for (long i = 0; i < n; i++) {
		MUST(neco_chan_recv(in, &v));
		MUST(neco_chan_send(out, &v));
	}
}

static void produce(int argc, void *argv[])
{
	long n = *(long *)argv[1];

	(void)argc;
	for (long i = 0; i < n; i++)
		MUST(neco_chan_send(argv[0], &i));
}

static void produce_in_turn(int argc, void *argv[])
{
	long n = *(long *)argv[2];

	(void)argc;
	for (long i = 0; i < n; i++)
		MUST(neco_chan_send(argv[i % 2], &i));
}

static void turn(int argc, void *argv[])
{
	long n = *(long *)argv[0];

	(void)argc;
	for (long i = 0; i < n; i++)
		MUST(neco_yield());
}

static void nothing(int argc, void *argv[])
{
	(void)argc;
	(void)argv;
}

static void done(int argc, void *argv[])
{
	(void)argc;
	MUST(neco_waitgroup_done(argv[0]));
}

static void pingpong(long n)
{
	neco_chan *there = channel(0), *back = channel(0);
	long v;

	MUST(neco_start(echo, 3, there, back, &n));
	for (long i = 0; i < n; i++) {
		MUST(neco_chan_send(there, &i));
		MUST(neco_chan_recv(back, &v));
	}
	MUST(neco_chan_release(there));
	MUST(neco_chan_release(back));
}

static void one_to_one(long n, size_t cap)
{
	neco_chan *c = channel(cap);
	long v;

	MUST(neco_start(produce, 2, c, &n));
	for (long i = 0; i < n; i++)
		MUST(neco_chan_recv(c, &v));
	MUST(neco_chan_release(c));
}

static void unbuffered(long n)
{
	one_to_one(n, 0);
}

static void buffered(long n)
{
	one_to_one(n, 128);
}

static void select_blocked(long n)
{
	neco_chan *c[2] = { channel(0), channel(0) };
	long v;

	MUST(neco_start(produce_in_turn, 3, c[0], c[1], &n));
	for (long i = 0; i < n; i++)
		MUST(neco_chan_case(c[neco_chan_select(2, c[0], c[1])], &v));
	MUST(neco_chan_release(c[0]));
	MUST(neco_chan_release(c[1]));
}

static void select_none_ready(long n)
{
	neco_chan *a = channel(0), *b = channel(0);

	for (long i = 0; i < n; i++)
		must(neco_chan_tryselect(2, a, b) >= 0, "neco_chan_tryselect found something");
	MUST(neco_chan_release(a));
	MUST(neco_chan_release(b));
}

static void spawn_one(long n)
{
	for (long i = 0; i < n; i++) {
		MUST(neco_start(nothing, 0));
		MUST(neco_join(neco_lastid()));
	}
}

static void spawn_thousand(long n)
{
	neco_waitgroup all;

	for (long i = 0; i < n; i += 1000) {
		MUST(neco_waitgroup_init(&all));
		MUST(neco_waitgroup_add(&all, 1000));
		for (int k = 0; k < 1000; k++)
			MUST(neco_start(done, 1, &all));
		MUST(neco_waitgroup_wait(&all));
	}
}

static void yields(long n)
{
	long half = n / 2;

	MUST(neco_start(turn, 1, &half));
	for (long i = 0; i < half; i++)
		MUST(neco_yield());
}

static void run(int argc, void *argv[])
{
	(void)argc;
	(void)argv;
	bench("chan-pingpong-unbuffered", pingpong, 1000000);
	bench("chan-1to1-unbuffered", unbuffered, 2000000);
	bench("chan-1to1-buffered-128", buffered, 5000000);
	bench("select-2-blocked", select_blocked, 2000000);
	bench("select-2-none-ready", select_none_ready, 5000000);
	bench("spawn-join-1", spawn_one, 1000000);
	bench("spawn-join-1000", spawn_thousand, 1000000);
	bench("yield", yields, 5000000);
	exit(0);
}

int main(void)
{
	return neco_start(run, 0);
}
