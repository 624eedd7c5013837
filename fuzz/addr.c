/* SPDX-License-Identifier: MIT */
/* An address that parses, shown as text, parses to the same text. */
#include "fuzz.h"

#include "net/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = malloc(n + 1), once[WEIR__ADDR_TEXT_MAX], twice[WEIR__ADDR_TEXT_MAX];
	struct weir__addr a, b;

	HOLDS(text);
	if (n)
		memcpy(text, data, n);
	text[n] = 0;
	if (weir__addr_parse(text, &a) == 0 &&
	    (a.kind == WEIR__ADDR_IP || a.kind == WEIR__ADDR_UNIX)) {
		weir__addr_format(&a.ip, a.len, once, sizeof once);
		HOLDS(weir__addr_parse(once, &b) == 0);
		HOLDS(a.kind == b.kind);
		weir__addr_format(&b.ip, b.len, twice, sizeof twice);
		HOLDS(!strcmp(once, twice));
	}
	free(text);
	return 0;
}
