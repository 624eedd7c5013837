/* SPDX-License-Identifier: MIT */
/* libdill's side of `script/bench runtime`: the same work as ../chan.c, ../select.c and
 * ../spawn.c. */
#include <libdill.h>

#include "bench.h"

static coroutine void echo(int c, long n)
{
	long v;

	for (long i = 0; i < n; i++) {
		MUST(chrecv(c, &v, sizeof(v), -1));
		MUST(chsend(c, &v, sizeof(v), -1));
	}
}

static coroutine void produce(int c, long n)
{
	for (long i = 0; i < n; i++)
		MUST(chsend(c, &i, sizeof(i), -1));
}

static coroutine void produce_in_turn(int a, int b, long n)
{
	for (long i = 0; i < n; i++)
		MUST(chsend(i % 2 ? b : a, &i, sizeof(i), -1));
}

static coroutine void turn(long n)
{
	for (long i = 0; i < n; i++)
		MUST(yield());
}

static coroutine void nothing(void)
{
}

static void hclose2(const int c[2])
{
	MUST(hclose(c[0]));
	MUST(hclose(c[1]));
}

static void pingpong(long n)
{
	int c[2], peer;
	long v;

	MUST(chmake(c));
	MUST(peer = go(echo(c[1], n)));
	for (long i = 0; i < n; i++) {
		MUST(chsend(c[0], &i, sizeof(i), -1));
		MUST(chrecv(c[0], &v, sizeof(v), -1));
	}
	MUST(hclose(peer));
	hclose2(c);
}

static void one_to_one(long n)
{
	int c[2], peer;
	long v;

	MUST(chmake(c));
	MUST(peer = go(produce(c[1], n)));
	for (long i = 0; i < n; i++)
		MUST(chrecv(c[0], &v, sizeof(v), -1));
	MUST(hclose(peer));
	hclose2(c);
}

static void choose_blocked(long n)
{
	int a[2], b[2], peer;
	long x, y;

	MUST(chmake(a));
	MUST(chmake(b));
	MUST(peer = go(produce_in_turn(a[1], b[1], n)));
	for (long i = 0; i < n; i++) {
		struct chclause cases[] = { { CHRECV, a[0], &x, sizeof(x) },
			                    { CHRECV, b[0], &y, sizeof(y) } };

		MUST(choose(cases, 2, -1));
	}
	MUST(hclose(peer));
	hclose2(a);
	hclose2(b);
}

static void choose_none_ready(long n)
{
	int a[2], b[2];
	long x, y;

	MUST(chmake(a));
	MUST(chmake(b));
	for (long i = 0; i < n; i++) {
		struct chclause cases[] = { { CHRECV, a[0], &x, sizeof(x) },
			                    { CHRECV, b[0], &y, sizeof(y) } };

		must(choose(cases, 2, 0) >= 0, "choose found something");
	}
	hclose2(a);
	hclose2(b);
}

static void spawn_one(long n)
{
	int peer;

	for (long i = 0; i < n; i++) {
		MUST(peer = go(nothing()));
		MUST(hclose(peer));
	}
}

static void spawn_thousand(long n)
{
	int all;

	for (long i = 0; i < n; i += 1000) {
		MUST(all = bundle());
		for (int k = 0; k < 1000; k++)
			MUST(bundle_go(all, nothing()));
		MUST(bundle_wait(all, -1));
		MUST(hclose(all));
	}
}

static void yields(long n)
{
	int peer;

	MUST(peer = go(turn(n / 2)));
	for (long i = 0; i < n / 2; i++)
		MUST(yield());
	MUST(hclose(peer));
}

int main(void)
{
	bench("chan-pingpong-unbuffered", pingpong, 1000000);
	bench("chan-1to1-unbuffered", one_to_one, 2000000);
	bench("select-2-blocked", choose_blocked, 2000000);
	bench("select-2-none-ready", choose_none_ready, 5000000);
	bench("spawn-join-1", spawn_one, 1000000);
	bench("spawn-join-1000", spawn_thousand, 1000000);
	bench("yield", yields, 5000000);
	return 0;
}
