/* SPDX-License-Identifier: MIT */
/* What a user may publish and subscribe to: patterns, shared by reference count, immutable once a
 * connection has them. */
#ifndef WEIR_NATS_RIGHTS_H
#define WEIR_NATS_RIGHTS_H

#include <weir/nats.h>

enum { WEIR__RIGHTS_MAX = 256 };

enum weir__right_kind { WEIR__ALLOWED, WEIR__DENIED, WEIR__OPENED };

struct weir__right {
	unsigned what; /* WEIR_NATS_PUBLISH | WEIR_NATS_SUBSCRIBE */
	enum weir__right_kind kind;
	char *pattern; /* of WEIR__OPENED: a glob */
};

#define WEIR__RIGHTS_MAGIC 0x52494748u

struct weir__rights { /* also known as weir_nats_user */
	uint32_t magic;
	uint32_t refs; /* atomic */
	char *name;
	struct weir__right *rights;
	size_t n;
	bool denies_some_subscribing; /* what arrives has to be looked at, too */
};

void weir__rights_ref(struct weir__rights *r);
void weir__rights_unref(struct weir__rights *r); /* NULL is fine */

/* NULL allows all. The subject is without wildcards. */
bool weir__rights_publish(const struct weir__rights *r, const char *subject);
/* The whole pattern has to be allowed by one pattern, and not be denied as a whole. */
bool weir__rights_subscribe(const struct weir__rights *r, const char *pattern);
/* A message for a pattern that is allowed: is its subject denied? */
bool weir__rights_hidden(const struct weir__rights *r, const char *subject);

#endif
