/* SPDX-License-Identifier: MIT */
/* Names by pattern: "mail*", where * stands for any run of characters. */
#ifndef WEIR_BASE_GLOB_H
#define WEIR_BASE_GLOB_H

#include <stdbool.h>

bool weir__glob_match(const char *pattern, const char *text);

#endif
