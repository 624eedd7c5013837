/* SPDX-License-Identifier: MIT */
/* What the tests of queues share: a store in memory, and puts and takes that are expected to
 * work. */
#ifndef QUEUE_TEST_H
#define QUEUE_TEST_H

#include <weir/queue.h>

#include "test.h"

struct id {
	char text[27];
};

static inline weir_store *store_with(const weir_ctx *ctx, const weir_store_options *opt)
{
	weir_store *s;

	CHECK_EQ(weir_store_open(ctx, "mem:", opt, &s), 0);
	return s;
}

static inline weir_store *store(const weir_ctx *ctx)
{
	return store_with(ctx, NULL);
}

static inline void store_end(const weir_ctx *ctx, weir_store *s)
{
	CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
}

static inline struct id put_with(const weir_ctx *ctx, weir_store *s, const char *queue,
                                 weir_job_spec spec, const char *text)
{
	struct id id;

	spec.data = text;
	spec.len = strlen(text);
	CHECK_EQ(weir_job_put(ctx, s, queue, &spec, id.text), 0);
	return id;
}

static inline struct id put(const weir_ctx *ctx, weir_store *s, const char *queue, const char *text)
{
	return put_with(ctx, s, queue, (weir_job_spec){ 0 }, text);
}

/* A take that must give a job at once. */
static inline weir_job *take_with(const weir_ctx *ctx, weir_store *s, const char *queue,
                                  weir_take_options opt)
{
	weir_ctx now = weir_ctx_timeout(ctx, 0);
	weir_job *j = NULL;

	CHECK_EQ(weir_job_take(&now, s, queue, &opt, &j), 1);
	return j;
}

static inline weir_job *take(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	return take_with(ctx, s, queue, (weir_take_options){ 0 });
}

/* A take that must find nothing. */
static inline void take_none(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	weir_ctx now = weir_ctx_timeout(ctx, 0);
	weir_job *j;

	CHECK_EQ(weir_job_take(&now, s, queue, NULL, &j), -ETIMEDOUT);
}

static inline bool job_is(const weir_job *j, const char *text)
{
	size_t n;
	const void *data = weir_job_data(j, &n);

	return n == strlen(text) && !memcmp(data, text, n);
}

static inline void take_and_ack(const weir_ctx *ctx, weir_store *s, const char *queue,
                                const char *text)
{
	weir_job *j = take(ctx, s, queue);

	if (!job_is(j, text))
		test_fail(__FILE__, __LINE__, "took %s, not %s",
		          (const char *)weir_job_data(j, NULL), text);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
}

static inline weir_job_info job(const weir_ctx *ctx, weir_store *s, struct id id)
{
	weir_job_info i;

	CHECK_EQ(weir_job_get(ctx, s, id.text, false, &i), 0);
	return i;
}

static inline const char *state(const weir_ctx *ctx, weir_store *s, struct id id)
{
	return weir_job_state_name(job(ctx, s, id).state);
}

static inline weir_queue_info info(weir_store *s, const char *queue)
{
	weir_queue_info i;

	CHECK_EQ(weir_queue_info_get(s, queue, &i), 0);
	return i;
}

static inline void configure(const weir_ctx *ctx, weir_store *s, const char *queue,
                             weir_queue_settings set)
{
	CHECK_EQ(weir_queue_configure(ctx, s, queue, &set), 0);
}

#endif
