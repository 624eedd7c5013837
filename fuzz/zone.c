/* SPDX-License-Identifier: MIT */
/* A zone's file that is taken cuts time into spans that follow each other without a gap. */
#include "fuzz.h"

#include "queue/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__zone *z;
	struct weir__zone_span a, b;
	int64_t at = INT64_C(1767225600); /* 2026-01-01 */

	if (weir__zone_parse(data, n, &z) < 0)
		return 0;
	for (int i = 0; i < 8; i++) {
		weir__zone_span_at(z, at, &a);
		HOLDS(a.from <= at && at < a.until);
		HOLDS(a.offset > -200000 && a.offset < 200000);
		if (a.until == INT64_MAX)
			break;
		weir__zone_span_at(z, a.until, &b);
		HOLDS(b.from <= a.until && a.until < b.until);
		at = a.until;
	}
	weir__zone_free(z);
	return 0;
}
