/* SPDX-License-Identifier: MIT */
/* A request's head is judged the same whether it comes at once or byte by byte, and what it gives
 * lies inside it. */
#include "fuzz.h"

#include "http/h1.h"

enum { MAX = 2048, FIELDS = 16 };

static void inside(const char *buf, size_t n, const char *p, size_t len)
{
	HOLDS(p >= buf);
	HOLDS(p + len <= buf + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__h1_field f1[FIELDS], f2[FIELDS];
	struct weir__h1_head one = { .max = MAX, .fields_max = FIELDS, .fields = f1 };
	struct weir__h1_head two = { .max = MAX, .fields_max = FIELDS, .fields = f2 };
	char *whole, *bytes;
	ssize_t r, s = 0;

	if (n > MAX)
		return 0;
	whole = fuzz_copy(data, n);
	bytes = fuzz_copy(data, n);
	weir__h1_reset(&one);
	weir__h1_reset(&two);
	r = weir__h1_head(&one, whole, n);
	for (size_t i = 1; i <= n && s == 0; i++)
		s = weir__h1_head(&two, bytes, i);
	HOLDS((r > 0) == (s > 0));
	HOLDS(r >= 0 || s < 0); /* Byte by byte a line may be refused before it is whole. */
	HOLDS(r >= 0 || r == -WEIR__H1_FOREIGN || (r <= -400 && r > -600));
	if (r > 0) {
		HOLDS(r == s);
		HOLDS((size_t)r <= n);
		HOLDS(one.count == two.count);
		HOLDS(one.length == two.length);
		HOLDS(one.chunked == two.chunked);
		HOLDS(one.keep == two.keep);
		HOLDS(!(one.chunked && one.sized));
		HOLDS(one.minor == 0 || one.host);
		inside(whole, (size_t)r, one.method, one.method_len);
		inside(whole, (size_t)r, one.target, one.target_len);
		HOLDS(weir__h1_is_token(one.method, one.method_len));
		HOLDS(one.star || one.path_len == 0 ||
		      one.path[0] == '/'); /* empty: "http://host" */
		for (unsigned i = 0; i < one.count; i++) {
			const struct weir__h1_field *f = &one.fields[i];

			inside(whole, (size_t)r, f->name, f->name_len + 1);
			inside(whole, (size_t)r, f->value, f->value_len + 1);
			HOLDS(strlen(f->name) == f->name_len);
			HOLDS(strlen(f->value) == f->value_len);
			HOLDS(weir__h1_is_token(f->name, f->name_len));
			HOLDS(weir__h1_is_value(f->value, f->value_len));
		}
	}
	free(whole);
	free(bytes);
	return 0;
}
