/* SPDX-License-Identifier: MIT */
/*
 * The fields of a message that HTTP/2 brought: its head and its trailer, of which the texts are
 * copied into a few pieces of memory, and bounded together.
 */
#ifndef WEIR_HTTP_H2_FIELDS_H
#define WEIR_HTTP_H2_FIELDS_H

#include "http/h2_client.h"

enum { WEIR__H2_FIELDS_MAX = 64 * 1024 }; /* as RFC 9113 §6.5.2 counts: 32 more for each field */

struct weir__h2_text;
struct weir__h2_fields {
	struct weir__h2_field *v;
	size_t n, cap;
};

struct weir__h2_heads { /* all zero: none */
	struct weir__h2_fields head, trailer;
	struct weir__h2_text *texts;
	size_t len; /* as bounded */
};

/* 0; -EMSGSIZE: more than is taken; -ENOMEM. */
int weir__h2_heads_add(struct weir__h2_heads *h, bool trailing, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t value_len);
/* The first of this name; NULL if there is none. */
const struct weir__h2_field *weir__h2_heads_get(const struct weir__h2_heads *h, bool trailing,
                                                const char *name);
void weir__h2_heads_free(struct weir__h2_heads *h);

#endif
