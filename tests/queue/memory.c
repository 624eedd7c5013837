/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail, at every place in turn: each operation then says -ENOMEM or goes on with
 * less to tell, and the queue is as good as before. The program's own malloc counts down and passes
 * on to libc's, or to AddressSanitizer's; clang's sanitizers bring one that cannot be replaced, so
 * with them this file tests nothing.
 */
#include "queue/queue_test.h"

#if defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
#define REAL(name) __interceptor_##name
#elif !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define REAL(name) __libc_##name
#endif

#ifdef REAL
void *REAL(malloc)(size_t n);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t n);

static _Thread_local int fail_in; /* the n-th allocation from now fails; 0: none does */

static bool fails(void)
{
	return fail_in > 0 && --fail_in == 0;
}

void *malloc(size_t n)
{
	return fails() ? NULL : REAL(malloc)(n);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : REAL(calloc)(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails() ? NULL : REAL(realloc)(p, n);
}

static void quiet(const weir_job_info *i, const char *event, void *arg)
{
	(void)i;
	(void)event;
	(void)arg;
}

/* One life of a job in which the n-th allocation fails. True: one did. */
static bool life(const weir_ctx *ctx, weir_store *s, const char *queue, int n)
{
	weir_job_spec spec = {
		.data = "x", .len = 1, .key = "k", .idempotency_key = NULL, .attempts_max = 3
	};
	char key[16], id[27];
	weir_ctx now = weir_ctx_timeout(ctx, 0);
	weir_job *j;
	bool failed;
	int r;

	snprintf(key, sizeof key, "i%d", n);
	spec.idempotency_key = key;
	fail_in = n;
	r = weir_job_put(ctx, s, queue, &spec, id);
	CHECK(r == 0 || r == -ENOMEM);
	if (r < 0) {
		fail_in = 0;
		CHECK_EQ(weir_job_put(ctx, s, queue, &spec, id),
		         0); /* And nothing of it stayed behind. */
	}
	for (int i = 0; i < 2; i++) {
		r = weir_job_take(&now, s, queue, &(weir_take_options){ .worker = "w" }, &j);
		if (r == -ENOMEM)
			r = weir_job_take(&now, s, queue, NULL, &j);
		CHECK_EQ(r, 1);
		CHECK(weir_job_progress(j, 0.5, "half") == 0);
		if (i == 0)
			CHECK_EQ(weir_job_nack(ctx, j, 0, "once more"), 0);
	}
	r = weir_job_ack(ctx, j, "result", 6);
	CHECK(r == 0 || r == -ENOMEM);
	r = weir_cron_put(ctx, s, "c", "@hourly", queue, "x", 1);
	CHECK(r == 0 || r == -ENOMEM);
	failed = fail_in <= 0 && n > 0;
	fail_in = 0;
	(void)weir_cron_delete(ctx, s, "c");
	return failed;
}

TASK(an_allocation_that_fails_loses_no_job)
{
	weir_store *s = store(ctx);
	int n = 1;
	bool more = true;

	weir_store_listen(s, quiet, NULL);
	for (; more; n++) {
		char queue[16];

		snprintf(queue, sizeof queue, "q%d", n); /* A new queue is made too. */
		more = life(ctx, s, queue, n);
		CHECK_EQ(info(s, queue).queued + info(s, queue).running + info(s, queue).delayed,
		         0);
		CHECK_EQ(info(s, queue).done, 1);
	}
	CHECK(n > 8);
	store_end(ctx, s);
}

TASK(a_store_that_cannot_be_opened_for_want_of_memory_says_so)
{
	for (int n = 1; n <= 4; n++) { /* What it allocates itself; then a task is started. */
		weir_store *s;

		fail_in = n;
		CHECK_EQ(weir_store_open(ctx, "mem:",
		                         &(weir_store_options){ .spool = "/tmp/weir-none" }, &s),
		         -ENOMEM);
		fail_in = 0;
	}
}
#endif
