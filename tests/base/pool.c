/* SPDX-License-Identifier: MIT */
#include "base/pool.h"

#include "test.h"

TEST(pieces_of_all_sizes_hold_what_was_put_into_them_and_go_back)
{
	enum { N = 1200 };
	static unsigned char *v[N];
	struct weir__pool p = { 0 };

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < N; i++) {
			v[i] = weir__pool_get(&p, i);
			CHECK(v[i] && (uintptr_t)v[i] % 16 == 0);
			memset(v[i], (int)(i & 255), i);
		}
		for (size_t i = 0; i < N; i++) {
			for (size_t k = 0; k < i; k++)
				CHECK_EQ(v[i][k], i & 255);
			weir__pool_put(&p, v[i]);
		}
	}
	for (size_t i = 0; i < WEIR__POOL_MAX / WEIR__POOL_STEP; i++)
		CHECK(p.kept[i] <= WEIR__POOL_KEPT);
	weir__pool_put(&p, NULL);
	weir__pool_clear(&p);
	CHECK(!p.free[0] && !p.kept[0]);
}

TEST(no_more_is_kept_of_a_size_than_the_bound)
{
	enum { N = 2 * WEIR__POOL_KEPT };
	static void *v[N];
	struct weir__pool p = { 0 };

	for (int i = 0; i < N; i++)
		CHECK(v[i] = weir__pool_get(&p, 100));
	for (int i = 0; i < N; i++)
		weir__pool_put(&p, v[i]);
	CHECK(p.kept[100 / WEIR__POOL_STEP] <= WEIR__POOL_KEPT);
	weir__pool_clear(&p);
}

TEST(a_piece_that_grows_keeps_its_bytes)
{
	struct weir__pool p = { 0 };
	char *piece = weir__pool_resize(&p, NULL, 5);

	memcpy(piece, "five", 5);
	for (size_t n = 6; n < 3000; n += 100) {
		piece = weir__pool_resize(&p, piece, n);
		CHECK(piece && !strcmp(piece, "five"));
	}
	weir__pool_put(&p, piece);
	CHECK(!weir__pool_get(&p, SIZE_MAX));
	weir__pool_clear(&p);
}
