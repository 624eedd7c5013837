/* SPDX-License-Identifier: MIT */
#include "queue/queue_test.h"

SIM(a_lease_that_ran_out_gives_the_job_to_another, 100)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "x");
	int64_t from = weir_now();
	weir_job *first = take(ctx, s, "q"), *second;

	CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &second), 1);
	CHECK(weir_now() - from >= WEIR_SEC(30));
	CHECK(weir_now() - from <= WEIR_SEC(31));
	CHECK_EQ(weir_job_attempt(second), 2);
	CHECK(strcmp(weir_job_lease(first), weir_job_lease(second)) != 0);
	CHECK_EQ(weir_job_ack(ctx, first, NULL, 0), -ESTALE);
	CHECK_STR(state(ctx, s, id), "running");
	CHECK_EQ(weir_job_ack(ctx, second, NULL, 0), 0);
	CHECK_STR(state(ctx, s, id), "done");
	CHECK_EQ(info(s, "q").expired_total, 1);
	store_end(ctx, s);
}

SIM(extend_keeps_a_lease, 50)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "x");
	weir_job *j = take_with(ctx, s, "q", (weir_take_options){ .lease_ns = WEIR_SEC(2) });

	for (int i = 0; i < 10; i++) {
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1500)), 0);
		CHECK_EQ(weir_lease_extend(s, id.text, weir_job_lease(j), 0), 0);
	}
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(3)), 0);
	CHECK_EQ(weir_lease_extend(s, id.text, weir_job_lease(j), 0), -ESTALE);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), -ESTALE);
	store_end(ctx, s);
}

SIM(a_lease_cannot_be_extended_far_past_the_limit_of_the_run, 20)
{
	weir_store *s = store(ctx);
	struct id id = put_with(
		ctx, s, "q", (weir_job_spec){ .timeout_ns = WEIR_SEC(20), .attempts_max = 1 }, "x");
	weir_job *j = take_with(ctx, s, "q", (weir_take_options){ .lease_ns = WEIR_SEC(5) });
	int64_t from = weir_now();

	while (weir_lease_extend(s, id.text, weir_job_lease(j), 0) == 0)
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK(weir_now() - from >= WEIR_SEC(30) && weir_now() - from <= WEIR_SEC(32));
	CHECK_STR(job(ctx, s, id).error, "ran longer than its limit");
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), -ESTALE);
	store_end(ctx, s);
}

SIM(a_lease_that_is_vouched_for_does_not_run_out, 20)
{
	weir_store *s = store(ctx);
	weir_job *j;

	put(ctx, s, "q", "x");
	j = take_with(ctx, s, "q", (weir_take_options){ .renew = true });
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(10)), 0);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

SIM(a_returned_job_comes_back_at_once_in_its_old_place_and_uncounted, 50)
{
	weir_store *s = store(ctx);
	weir_job *j;

	put(ctx, s, "q", "a");
	put(ctx, s, "q", "b");
	for (int i = 0; i < 20; i++) {
		j = take(ctx, s, "q");
		CHECK(job_is(j, "a"));
		CHECK_EQ(weir_job_attempt(j), 1);
		CHECK_EQ(weir_job_return(j), 0);
	}
	take_and_ack(ctx, s, "q", "a");
	store_end(ctx, s);
}

SIM(a_job_whose_leases_all_run_out_is_dead, 20)
{
	weir_store *s = store(ctx);
	struct id id = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 3 }, "x");

	for (int i = 0; i < 3; i++) {
		weir_job *j;

		CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
		weir_job_release(j);
	}
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(31)), 0);
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "its lease ran out");
	store_end(ctx, s);
}

SIM(a_lease_can_be_used_by_text, 20)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "x");
	weir_job *j = take(ctx, s, "q");
	char lease[64], wrong[64];

	snprintf(lease, sizeof lease, "%s", weir_job_lease(j));
	weir_job_release(j);
	snprintf(wrong, sizeof wrong, "%s", lease);
	wrong[0] = wrong[0] == '0' ? '1' : '0';
	CHECK_EQ(weir_lease_ack(ctx, s, id.text, wrong, NULL, 0), -ESTALE);
	CHECK_EQ(weir_lease_ack(ctx, s, id.text, "", NULL, 0), -ESTALE);
	CHECK_EQ(weir_lease_ack(ctx, s, "00000000000000000000000000", lease, NULL, 0), -ENOENT);
	CHECK_EQ(weir_lease_progress(s, id.text, lease, 2.0, NULL), -EINVAL);
	CHECK_EQ(weir_lease_progress(s, id.text, lease, -0.5, NULL), -EINVAL);
	CHECK_EQ(weir_lease_progress(s, id.text, lease, 0.25, "a quarter"), 0);
	CHECK_STR(job(ctx, s, id).note, "a quarter");
	CHECK_EQ(weir_lease_nack(ctx, s, id.text, lease, 0, "no"), 0);
	CHECK_EQ(weir_lease_ack(ctx, s, id.text, lease, NULL, 0), -ESTALE);
	CHECK_STR(state(ctx, s, id), "queued");
	store_end(ctx, s);
}

struct guard {
	weir_job *job;
	int result;
	int64_t at;
};

static int wait_cancel(const weir_ctx *ctx, void *arg)
{
	struct guard *g = arg;

	g->result = weir_job_wait_cancel(ctx, g->job);
	g->at = weir_now();
	return 0;
}

SIM(wait_cancel_hears_cancel, 100)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "x");
	struct guard w = { .job = take(ctx, s, "q"), .result = -1 };
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, wait_cancel, &w), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(w.result, -1);
	CHECK_EQ(weir_job_cancel(ctx, s, id.text), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(w.result, 0);
	CHECK_EQ(weir_job_wait_cancel(ctx, w.job), 0);
	CHECK_EQ(weir_job_nack(ctx, w.job, 0, NULL), 0);
	store_end(ctx, s);
}

SIM(wait_cancel_hears_that_the_lease_is_lost, 100)
{
	weir_store *s = store(ctx);
	struct guard w = { .result = -1 };
	int64_t from;
	weir_group g;

	put(ctx, s, "q", "x");
	w.job = take(ctx, s, "q");
	from = weir_now();
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, wait_cancel, &w), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(w.result, 0);
	CHECK(w.at - from >= WEIR_SEC(30));
	CHECK_EQ(weir_job_return(w.job), -ESTALE);
	store_end(ctx, s);
}

SIM(a_result_that_is_too_large_is_dropped_and_the_job_is_done, 2)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "x");
	size_t n = ((size_t)1 << 20) + 1;
	char *big = calloc(1, n);

	CHECK_EQ(weir_job_ack(ctx, take(ctx, s, "q"), big, n), -EMSGSIZE);
	CHECK_STR(state(ctx, s, id), "done");
	CHECK_EQ(job(ctx, s, id).result_len, 0);
	free(big);
	store_end(ctx, s);
}

SIM(a_lease_that_is_vouched_for_ends_some_time_after_the_limit, 20)
{
	weir_store *s = store(ctx);
	weir_job *j;
	struct id id;

	configure(ctx, s, "q", (weir_queue_settings){ .attempts_max = 1 });
	id = put_with(ctx, s, "q", (weir_job_spec){ .timeout_ns = WEIR_SEC(5) }, "x");
	j = take_with(ctx, s, "q", (weir_take_options){ .renew = true });
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(14)), 0);
	CHECK_STR(state(ctx, s, id), "running");
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(2)), 0);
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "ran longer than its limit");
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), -ESTALE);
	/* Without a limit it does not end. */
	id = put(ctx, s, "q", "x");
	j = take_with(ctx, s, "q", (weir_take_options){ .renew = true });
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(1)), 0);
	CHECK_STR(state(ctx, s, id), "running");
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}
