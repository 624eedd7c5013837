/* SPDX-License-Identifier: MIT */
/* The token file in memory, for auth.c (who sends a request) and auth_nats.c (who signs in). */
#ifndef WEIR_PROGRAM_AUTH_H
#define WEIR_PROGRAM_AUTH_H

#include "handlers.h"
#include "base/sha256.h"
#include "rt/lock.h"

#define NKEY "nkey:"
#define CERT "cert:"

enum {
	GRANTS_MAX = 64, /* a token */
	NAME_BYTES = 65,
};

struct grant {
	unsigned right;
	char *pattern; /* NULL: anything */
};

struct token {
	char name[NAME_BYTES];
	unsigned char hash[WEIR__SHA256];
	struct grant grants[GRANTS_MAX];
	size_t grants_n;
};

struct table {
	uint32_t refs; /* atomic */
	struct token *tokens;
	size_t n;
};

struct auth {
	unsigned char secret[WEIR__SHA256];
	const char *file; /* the options' */
	weir__lock lock;  /* of: */
	struct table *table;
};

/* The table in force, held until it is let go. */
struct table *auth_table(struct auth *a);
void auth_table_unref(struct table *t);

/* By what stands in the place of the token; and by a token, which a public key is not. NULL:
 * none. */
const struct token *auth_find_line(const struct table *a, const char *text);
const struct token *auth_find_token(const struct table *a, const char *text);

#endif
