/* SPDX-License-Identifier: MIT */
/*
 * AWS Signature Version 4: how a request to AWS proves whose it is ("Create a signed AWS API
 * request" in the IAM user guide). Only what requests with a body and without a query need.
 */
#ifndef WEIR_QUEUE_SIGV4_H
#define WEIR_QUEUE_SIGV4_H

#include "base/buf.h"

#include <stdint.h>

enum {
	WEIR__SIGV4_TIME = 17, /* "20150830T123600Z" and a NUL */
	WEIR__SIGV4_DAY = 8,   /* characters of it that are the day */
	WEIR__SIGV4_KEY = 32,
};

struct weir__sigv4_header {
	const char *name, *value; /* the name in lower case; the value without blanks around it */
};

struct weir__sigv4 {
	const char *key_id, *secret;
	const unsigned char *key; /* weir__sigv4_key(), kept by the caller; NULL: made for this */
	const char *region, *service;
	const char *method, *path;
	char time[WEIR__SIGV4_TIME]; /* as in the header x-amz-date, which is to be signed too */
	const struct weir__sigv4_header *headers; /* sorted by name; host is among them */
	size_t headers_n;
	const void *body;
	size_t len;
};

/* Seconds since 1970 as a signature has them. */
void weir__sigv4_time(int64_t at, char ret[WEIR__SIGV4_TIME]);

/* What signs on the day of s->time with this secret, region and service; it is as secret as they
 * are. The rest of s is not looked at. False: no memory. */
bool weir__sigv4_key(const struct weir__sigv4 *s, unsigned char ret[WEIR__SIGV4_KEY]);

/* Appends the value of the header Authorization. */
void weir__sigv4_sign(const struct weir__sigv4 *s, struct weir__buf *to);

#endif
