/* SPDX-License-Identifier: MIT */
/* A path that is taken starts at the root, holds no NUL, and no segment that climbs. */
#include "fuzz.h"

#include "http/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__path p;
	char *raw, *out;

	if (n == 0 || data[0] != '/')
		return 0;
	raw = fuzz_copy(data, n);
	out = malloc(n + 2);
	HOLDS(out);
	if (weir__path_parse(&p, raw, n, out) == 0) {
		HOLDS(p.text[0] == '/');
		HOLDS(strlen(p.text) == p.len);
		HOLDS(p.count >= 1);
		HOLDS(p.count <= WEIR__PATH_SEGMENTS);
		for (unsigned i = 0; i < p.count; i++) {
			const char *s = p.text + p.segment[i].at;

			HOLDS(p.segment[i].at + p.segment[i].len <= p.len);
			HOLDS(!(p.segment[i].len == 2 && !memcmp(s, "..", 2)));
			HOLDS(!(p.segment[i].len == 1 && s[0] == '.'));
		}
		HOLDS(!strstr(p.text, "/../") && !strstr(p.text, "/./"));
		HOLDS(p.len < 3 || strcmp(p.text + p.len - 3, "/..") != 0);
	}
	free(raw);
	free(out);
	return 0;
}
