/* SPDX-License-Identifier: MIT */
/* A chunked body gives the same bytes and the same verdict however it is cut, and takes nothing
 * beyond its end. */
#include "fuzz.h"

#include <errno.h>

#include "http/h1.h"

struct end {
	size_t used, made;
	bool bad, done;
};

static struct end take(const uint8_t *data, size_t n, size_t step, size_t room, char *out)
{
	struct weir__h1_chunks d = { 0 };
	struct end e = { 0 };

	while (e.used < n && !d.done) {
		size_t part = n - e.used < step ? n - e.used : step, used = 0;
		char *piece = fuzz_copy(data + e.used, part);
		ssize_t r = weir__h1_unchunk(&d, piece, part, &used, out + e.made, room);

		free(piece);
		if (r < 0) {
			HOLDS(r == -EBADMSG);
			e.bad = true;
			break;
		}
		HOLDS((size_t)r <= room);
		HOLDS(used <= part);
		HOLDS(used > 0);
		e.used += used;
		e.made += (size_t)r;
	}
	e.done = d.done;
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *a = malloc(n + 256), *b = malloc(n + 256);
	struct end x, y;

	HOLDS(a);
	HOLDS(b);
	if (n > 1) {
		x = take(data + 1, n - 1, SIZE_MAX, n, a);
		y = take(data + 1, n - 1, 1 + data[0] % 5, 1 + data[0] / 5, b);
		HOLDS(x.bad == y.bad);
		HOLDS(x.done == y.done);
		if (!x.bad) {
			HOLDS(x.used == y.used);
			HOLDS(x.made == y.made);
			HOLDS(!memcmp(a, b, x.made));
		}
	}
	free(a);
	free(b);
	return 0;
}
