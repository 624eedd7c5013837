/* SPDX-License-Identifier: MIT */
#include "base/crc.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "test.h"

struct number {
	struct weir__heap_node heap;
	struct weir__hash_node hash;
	unsigned value, seq;
};

static bool less(const struct weir__heap_node *a, const struct weir__heap_node *b)
{
	const struct number *x = weir__container(a, struct number, heap),
			    *y = weir__container(b, struct number, heap);

	return x->value != y->value ? x->value < y->value : x->seq < y->seq;
}

static unsigned dice(unsigned *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

TEST(heap_gives_the_smallest_and_equal_ones_in_order_of_arrival)
{
	enum { N = 1000 };
	struct weir__heap h = WEIR__HEAP_INIT(less);
	struct number *v = calloc(N, sizeof *v), *before = NULL;
	unsigned state = 1;

	for (unsigned i = 0; i < N; i++) {
		v[i].value = dice(&state) % 50;
		v[i].seq = i;
		CHECK(weir__heap_push(&h, &v[i].heap));
	}
	for (unsigned i = 0; i < N; i++) {
		struct number *x = weir__container(weir__heap_first(&h), struct number, heap);

		weir__heap_remove(&h, &x->heap);
		CHECK(!before || less(&before->heap, &x->heap));
		before = x;
	}
	CHECK(!weir__heap_first(&h));
	weir__heap_free(&h);
	free(v);
}

TEST(heap_lets_any_item_go_or_move)
{
	enum { N = 300 };
	struct weir__heap h = WEIR__HEAP_INIT(less);
	struct number *v = calloc(N, sizeof *v), *before = NULL;
	unsigned state = 7, left = N;

	CHECK(weir__heap_reserve(&h, N));
	for (unsigned i = 0; i < N; i++) {
		v[i].value = dice(&state);
		v[i].seq = i;
		CHECK(weir__heap_push(&h, &v[i].heap));
	}
	for (unsigned i = 0; i < N; i += 3) {
		weir__heap_remove(&h, &v[i].heap);
		CHECK(!weir__heap_in(&v[i].heap));
		left--;
		v[i + 1].value = dice(&state);
		weir__heap_moved(&h, &v[i + 1].heap);
	}
	weir__heap_trim(&h, 0);
	for (; left; left--) {
		struct number *x = weir__container(weir__heap_first(&h), struct number, heap);

		weir__heap_remove(&h, &x->heap);
		CHECK(!before || less(&before->heap, &x->heap));
		before = x;
	}
	CHECK_EQ(h.n, 0);
	weir__heap_free(&h);
	free(v);
}

TEST(hash_finds_what_was_added_and_nothing_else)
{
	enum { N = 5000 };
	struct weir__hash_table t = { .seed = { 1, 2 } };
	struct number *v = calloc(N, sizeof *v);

	for (unsigned i = 0; i < N; i++) {
		v[i].value = i;
		weir__hash_add(&t, &v[i].hash, weir__hash(t.seed, &i, sizeof i));
	}
	for (unsigned i = 0; i < N; i += 2)
		weir__hash_remove(&t, &v[i].hash);
	for (unsigned i = 0; i < N; i++) {
		unsigned found = 0;

		weir__hash_each (x, &t, weir__hash(t.seed, &i, sizeof i))
			found += weir__container(x, struct number, hash)->value == i;
		CHECK_EQ(found, i % 2);
	}
	for (unsigned i = 1; i < N; i += 2)
		weir__hash_remove(&t, &v[i].hash);
	CHECK_EQ(t.n, 0);
	CHECK(t.cap <= 16);
	weir__hash_free(&t);
	free(v);
}

TEST(crc_gives_the_check_value_of_rfc_3720_also_in_parts)
{
	CHECK_EQ(weir__crc32c(0, "123456789", 9), 0xe3069283u);
	CHECK_EQ(weir__crc32c(weir__crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}
