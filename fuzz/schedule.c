/* SPDX-License-Identifier: MIT */
/* A schedule that is taken has a next time, later than the last and never standing still, or says
 * that it has none. */
#include "fuzz.h"

#include "queue/schedule.h"

#define START INT64_C(1767225600000000000) /* 2026-01-01 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__schedule w;
	char *text = malloc(n + 1);
	int64_t at = START, next;

	HOLDS(text);
	if (n)
		memcpy(text, data, n);
	text[n] = 0;
	if (weir__schedule_parse(text, &w) == 0) {
		for (int i = 0; i < 3 && weir__schedule_next(&w, NULL, at, &next) == 0; i++) {
			HOLDS(next > at);
			HOLDS(w.every_ns || next % INT64_C(60000000000) == 0);
			at = next;
		}
	}
	free(text);
	return 0;
}
