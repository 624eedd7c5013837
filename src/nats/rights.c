/* SPDX-License-Identifier: MIT */
/*
 * Rights as nats-server has them: allow and deny lists per direction, deny wins. A subscription is
 * checked once, as a whole: one allowing pattern must cover it. What a denied pattern covers only
 * in part ("foo.*" with "foo.secret" denied) is let in, and its messages are looked at one by one.
 *
 * Beyond that, subjects may be open for publishing whatever the lists say: the server's own doors,
 * with patterns as the token file has them for queues.
 */
#include "nats/rights.h"

#include "base/assert.h"
#include "base/glob.h"

#include <stdlib.h>
#include <string.h>

weir_nats_user *weir_nats_user_new(const char *name)
{
	struct weir__rights *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->magic = WEIR__RIGHTS_MAGIC;
	r->refs = 1;
	r->name = strdup(name);
	if (!r->name) {
		free(r);
		return NULL;
	}
	return (weir_nats_user *)r;
}

static int add(weir_nats_user *u, unsigned what, const char *pattern, enum weir__right_kind kind)
{
	struct weir__rights *r = (struct weir__rights *)u;
	struct weir__right *more;
	char *copy;

	weir__magic_check(r, WEIR__RIGHTS_MAGIC);
	if (kind != WEIR__OPENED && !weir_subject_valid(pattern, true))
		return -EINVAL;
	if (r->n == WEIR__RIGHTS_MAX)
		return -ENOMEM;
	copy = strdup(pattern);
	more = copy ? realloc(r->rights, (r->n + 1) * sizeof *more) : NULL;
	if (!more) {
		free(copy);
		return -ENOMEM;
	}
	r->rights = more;
	r->rights[r->n++] = (struct weir__right){ what, kind, copy };
	if (kind == WEIR__DENIED && (what & WEIR_NATS_SUBSCRIBE))
		r->denies_some_subscribing = true;
	return 0;
}

int weir_nats_user_allow(weir_nats_user *u, unsigned what, const char *pattern)
{
	return add(u, what, pattern, WEIR__ALLOWED);
}

int weir_nats_user_deny(weir_nats_user *u, unsigned what, const char *pattern)
{
	return add(u, what, pattern, WEIR__DENIED);
}

int weir_nats_user_open(weir_nats_user *u, const char *glob)
{
	return add(u, WEIR_NATS_PUBLISH, glob, WEIR__OPENED);
}

void weir_nats_user_free(weir_nats_user *u)
{
	weir__rights_unref((struct weir__rights *)u);
}

void weir__rights_ref(struct weir__rights *r)
{
	__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
}

void weir__rights_unref(struct weir__rights *r)
{
	if (!r || __atomic_fetch_sub(&r->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	for (size_t i = 0; i < r->n; i++)
		free(r->rights[i].pattern);
	free(r->rights);
	free(r->name);
	r->magic = 0;
	free(r);
}

static bool listed(const struct weir__rights *r, unsigned what, enum weir__right_kind kind,
                   const char *subject)
{
	for (size_t i = 0; i < r->n; i++)
		if ((r->rights[i].what & what) && r->rights[i].kind == kind &&
		    (kind == WEIR__OPENED ? weir__glob_match :
		                            weir__subject_covers)(r->rights[i].pattern, subject))
			return true;
	return false;
}

/* Wildcards in a subject that is published are plain letters for the index, but would be covered by
 * what they stand for; so who has to be checked may not use them. */
bool weir__rights_publish(const struct weir__rights *r, const char *subject)
{
	if (!r)
		return true;
	return weir_subject_valid(subject, false) &&
	       (listed(r, WEIR_NATS_PUBLISH, WEIR__OPENED, subject) ||
	        (listed(r, WEIR_NATS_PUBLISH, WEIR__ALLOWED, subject) &&
	         !listed(r, WEIR_NATS_PUBLISH, WEIR__DENIED, subject)));
}

bool weir__rights_subscribe(const struct weir__rights *r, const char *pattern)
{
	if (!r)
		return true;
	return listed(r, WEIR_NATS_SUBSCRIBE, WEIR__ALLOWED, pattern) &&
	       !listed(r, WEIR_NATS_SUBSCRIBE, WEIR__DENIED, pattern);
}

bool weir__rights_hidden(const struct weir__rights *r, const char *subject)
{
	return r && r->denies_some_subscribing &&
	       listed(r, WEIR_NATS_SUBSCRIBE, WEIR__DENIED, subject);
}
