/* SPDX-License-Identifier: MIT */
/* Names by pattern: "mail*", where * stands for any run of characters. */
#ifndef WEIR_BASE_GLOB_H
#define WEIR_BASE_GLOB_H

#include <stdbool.h>

bool weir__glob_match(const char *pattern, const char *text);

/* Of subjects, "a.*.>": does pattern a match every one that pattern b matches? Both valid. */
bool weir__subject_covers(const char *a, const char *b);

#endif
