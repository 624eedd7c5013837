/* SPDX-License-Identifier: MIT */
/*
 * Keys of AWS, from where its own tools look for them: the environment (AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), a profile of the shared files
 * (~/.aws/credentials and ~/.aws/config; AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE,
 * AWS_CONFIG_FILE), and the endpoint of the container (AWS_CONTAINER_CREDENTIALS_FULL_URI or
 * …_RELATIVE_URI, with AWS_CONTAINER_AUTHORIZATION_TOKEN or …_TOKEN_FILE), in this order.
 *
 * Not asked: the metadata service of EC2, single sign-on, web identities, programs
 * (credential_process) and roles to assume. What makes the key available in one of the ways above
 * is theirs.
 */
#ifndef WEIR_QUEUE_AWS_H
#define WEIR_QUEUE_AWS_H

#include <weir/ctx.h>

#include "queue/courier.h"

enum { WEIR__AWS_REGION = 40, WEIR__AWS_FILE_MAX = 256 << 10 };

/* In one piece of memory, not changed any more. */
struct weir__aws_key {
	const char *id, *secret;
	const char *token;  /* or NULL */
	int64_t refresh_at; /* seconds since 1970: a new one should be asked for; INT64_MAX: never */
	int64_t expires_at; /* …: and then it is none any more */
};

/* A copy; NULL without memory. */
struct weir__aws_key *weir__aws_key_new(const char *id, const char *secret, const char *token,
                                        int64_t refresh_at, int64_t expires_at);
void weir__aws_key_free(struct weir__aws_key *k); /* wiped; NULL is fine */

/* From the first place that has one: 0; -EACCES: none has, or what it has is not usable (said why
 * in the log); -ENOTCONN: the container's endpoint does not answer; the context's error. Waits for
 * files and for that. */
int weir__aws_key_get(const weir_ctx *ctx, struct weir__courier *c, struct weir__aws_key **ret);

/* The region that the environment or the profile tells; "" if none. Waits for files. */
int weir__aws_region(const weir_ctx *ctx, char ret[WEIR__AWS_REGION]);

/* ---- What those are made of ---- */

/* A setting of a section in the text of such a file: its value without blanks around it into ret,
 * cut at n; false if it is not there. */
bool weir__aws_setting(const char *text, const char *section, const char *name, char *ret,
                       size_t n);

/* What the container's endpoint answers, which is overwritten. `now`: seconds since 1970. 0,
 * -EINVAL or -ENOMEM. */
int weir__aws_key_parse(char *json, size_t n, int64_t now, struct weir__aws_key **ret);

/* "2026-11-28T21:00:00Z", perhaps with a fraction: seconds since 1970; or -1. */
int64_t weir__aws_time(const char *text);

#endif
