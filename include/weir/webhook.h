/* SPDX-License-Identifier: MIT */
/*
 * Jobs delivered as webhooks: each run is a POST of the payload to a URL, signed as Standard
 * Webhooks have it (https://www.standardwebhooks.com). The answer is the verdict.
 *
 *	weir_webhook *hook;
 *	r = weir_webhook_new(&(weir_webhook_options){ .url = "https://example.com/hook",
 *	                                              .secret = "whsec_…" }, &hook);
 *	r = weir_workers_start(&group, store, "mail", 4, weir_job_webhook, hook);
 *	r = weir_group_wait(&group);
 *	weir_webhook_free(hook);
 *
 * Headers: webhook-id (the job's id, the same in every attempt), webhook-timestamp,
 * webhook-signature ("v1," and an HMAC-SHA256 over id, timestamp and payload), and weir-queue and
 * weir-attempt. 2xx: done, with the answer's body as the result. 410: the queue is paused, and the
 * job waits in it; who resumes the queue uses the URL again. 429 and 503 with Retry-After: this job
 * fails with that delay, and the queue's others are not sent before. Anything else failed. A
 * redirect is not followed: it failed.
 *
 * Addresses that are not of the public internet (loopback, private, link-local …) are refused
 * unless allowed. The address is judged when the connection is made, so a name that changes its
 * address after a first look does not help.
 *
 * Built without libcurl, weir_webhook_new() returns -ENOSYS.
 */
#ifndef WEIR_WEBHOOK_H
#define WEIR_WEBHOOK_H

#include <weir/queue.h>

WEIR_BEGIN

typedef struct weir_webhook weir_webhook;

typedef struct weir_webhook_options { /* 0: the default */
	const char *url;              /* http or https, without user or fragment */
	const char *secret;           /* "whsec_" and base64 of 24 to 64 bytes; NULL: not signed */
	int64_t timeout_ns;           /* of one request; 30 s. The job's own limit counts too */
	bool allow_private;
} weir_webhook_options;

/* Copies what it is given. 0, -EINVAL (the URL), -EBADMSG (the secret), -ENOSYS, -ENOMEM. */
WEIR_API int weir_webhook_new(const weir_webhook_options *opt, weir_webhook **ret);
/* When no worker uses it any more. NULL is fine. */
WEIR_API void weir_webhook_free(weir_webhook *hook);

/* A handler for weir_workers_start(); arg is a weir_webhook. Any number of workers may share it.
 * Its waits end with the context. */
WEIR_API int weir_job_webhook(const weir_ctx *ctx, weir_job *job, void *hook);

WEIR_END
#endif
