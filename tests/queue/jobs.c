/* SPDX-License-Identifier: MIT */
#include <weir/sync.h>

#include "queue/queue_test.h"

SIM(a_job_is_queued_then_running_then_done, 50)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "mail", "hi");
	weir_job *j;

	CHECK_STR(state(ctx, s, id), "queued");
	j = take(ctx, s, "mail");
	CHECK_STR(weir_job_id(j), id.text);
	CHECK_STR(weir_job_queue(j), "mail");
	CHECK_STR(weir_job_content_type(j), "application/octet-stream");
	CHECK_EQ(weir_job_attempt(j), 1);
	CHECK(job_is(j, "hi"));
	CHECK_STR(state(ctx, s, id), "running");
	CHECK_EQ(weir_job_ack(ctx, j, "sent", 4), 0);
	CHECK_STR(state(ctx, s, id), "done");
	store_end(ctx, s);
}

SIM(a_finished_job_shows_its_result_and_history, 50)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "mail", "hi");
	weir_job_info i;

	CHECK_EQ(weir_job_ack(ctx, take_with(ctx, s, "mail", (weir_take_options){ .worker = "w1" }),
	                      "sent", 4),
	         0);
	CHECK_EQ(weir_job_get(ctx, s, id.text, true, &i), 0);
	CHECK_EQ(i.result_len, 4);
	CHECK(!memcmp(i.result, "sent", 4));
	CHECK_STR((char *)i.data, "hi");
	CHECK_STR(i.worker, "w1");
	CHECK_EQ(i.histories, 3);
	CHECK_EQ(i.changes, 3);
	CHECK_STR(i.history[0].state, "queued");
	CHECK_STR(i.history[1].state, "running");
	CHECK_STR(i.history[2].state, "done");
	CHECK(i.created_at <= i.started_at && i.started_at <= i.finished_at);
	weir_job_info_free(&i);
	store_end(ctx, s);
}

SIM(smaller_priority_comes_first_and_equal_ones_in_order, 20)
{
	weir_store *s = store(ctx);

	put(ctx, s, "q", "b");
	put_with(ctx, s, "q", (weir_job_spec){ .priority = 5 }, "d");
	put(ctx, s, "q", "c");
	put_with(ctx, s, "q", (weir_job_spec){ .priority = -5 }, "a");
	take_and_ack(ctx, s, "q", "a");
	take_and_ack(ctx, s, "q", "b");
	take_and_ack(ctx, s, "q", "c");
	take_and_ack(ctx, s, "q", "d");
	store_end(ctx, s);
}

SIM(a_delayed_job_comes_when_it_is_due, 50)
{
	weir_store *s = store(ctx);
	int64_t from = weir_now();
	struct id id = put_with(ctx, s, "q", (weir_job_spec){ .delay_ns = WEIR_MIN(10) }, "later");
	weir_job *j;

	CHECK_STR(state(ctx, s, id), "delayed");
	take_none(ctx, s, "q");
	CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
	CHECK(weir_now() - from >= WEIR_MIN(10));
	CHECK(weir_now() - from < WEIR_MIN(10) + WEIR_SEC(1));
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

SIM(bad_input_is_refused, 1)
{
	weir_store *s = store(ctx), *other;
	char id[27], name[66];
	weir_job *j;
	const weir_job_spec bad[] = {
		{ .len = 1 },       { .priority = 1001 }, { .priority = -1001 },
		{ .delay_ns = -1 }, { .timeout_ns = -1 }, { .content_type = "a\nb" },
		{ .key = "\x01" },
	};
	const char *const names[] = { "", ".hidden", "a/b", "a b", "ä", "a\n", NULL };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_EQ(weir_job_put(ctx, s, "q", &bad[i], id), -EINVAL);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		CHECK(!weir_queue_name_valid(names[i]));
		CHECK_EQ(weir_job_put(ctx, s, names[i], &(weir_job_spec){ 0 }, id), -EINVAL);
		CHECK_EQ(weir_job_take(ctx, s, names[i], NULL, &j), -EINVAL);
	}
	memset(name, 'a', 65);
	name[65] = 0;
	CHECK(!weir_queue_name_valid(name));
	name[64] = 0;
	CHECK(weir_queue_name_valid(name));
	CHECK_EQ(weir_store_open(ctx, "other://x", NULL, &other), -EPROTONOSUPPORT);
	CHECK_EQ(weir_store_open(ctx, "mem:x", NULL, &other), -EINVAL);
	CHECK_EQ(weir_store_open(ctx, "", NULL, &other), -EINVAL);
	CHECK_EQ(weir_store_memory(s), 0);
	store_end(ctx, s);
}

SIM(a_cancelled_context_puts_and_takes_nothing, 20)
{
	weir_store *s = store(ctx);
	weir_ctx child;
	weir_job *j;
	char id[27];

	put(ctx, s, "q", "x");
	CHECK_EQ(weir_scope_open(ctx, &child), 0);
	weir_scope_cancel(child.scope, -ECANCELED, "test");
	CHECK_EQ(weir_job_put(&child, s, "q", &(weir_job_spec){ 0 }, id), -ECANCELED);
	CHECK_EQ(weir_job_take(&child, s, "q", NULL, &j), -ECANCELED);
	weir_scope_close(child.scope);
	CHECK_EQ(info(s, "q").queued, 1);
	store_end(ctx, s);
}

SIM(the_same_idempotency_key_gives_the_first_id_within_the_window, 50)
{
	weir_store *s = store(ctx);
	weir_job_spec spec = { .idempotency_key = "order-7" };
	struct id first = put_with(ctx, s, "q", spec, "x"), again;

	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, again.text), 1);
	CHECK_STR(again.text, first.text);
	take_and_ack(ctx, s, "q", "x");
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, again.text), 1);
	CHECK_EQ(weir_job_put(ctx, s, "other", &spec, again.text), 0);
	CHECK(strcmp(again.text, first.text) != 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(24) + WEIR_SEC(1)), 0);
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, again.text), 0);
	CHECK(strcmp(again.text, first.text) != 0);
	store_end(ctx, s);
}

SIM(cancel_ends_a_waiting_job_at_once, 20)
{
	weir_store *s = store(ctx);
	struct id a = put(ctx, s, "q", "a"),
		  b = put_with(ctx, s, "q", (weir_job_spec){ .delay_ns = WEIR_SEC(1) }, "b");

	CHECK_EQ(weir_job_cancel(ctx, s, a.text), 0);
	CHECK_EQ(weir_job_cancel(ctx, s, b.text), 0);
	CHECK_STR(state(ctx, s, a), "cancelled");
	CHECK_STR(state(ctx, s, b), "cancelled");
	CHECK_EQ(weir_job_cancel(ctx, s, a.text), -EALREADY);
	CHECK_EQ(weir_job_cancel(ctx, s, "00000000000000000000000000"), -ENOENT);
	CHECK_EQ(weir_job_cancel(ctx, s, "short"), -ENOENT);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(2)), 0);
	take_none(ctx, s, "q");
	store_end(ctx, s);
}

SIM(cancel_reaches_a_running_job_through_extend_and_progress, 20)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "a");
	weir_job *j = take(ctx, s, "q");

	CHECK_EQ(weir_job_progress(j, 0.5, "half"), 0);
	CHECK_EQ(weir_lease_extend(s, id.text, weir_job_lease(j), 0), 0);
	CHECK_EQ(weir_job_cancel(ctx, s, id.text), 0);
	CHECK(job(ctx, s, id).cancel);
	CHECK_EQ(weir_job_progress(j, 0.6, "more"), 1);
	CHECK_EQ(weir_lease_extend(s, id.text, weir_job_lease(j), 0), 1);
	CHECK_EQ(weir_job_nack(ctx, j, 0, "stopped"), 0);
	CHECK_STR(state(ctx, s, id), "cancelled");
	store_end(ctx, s);
}

SIM(an_ack_of_a_cancelled_run_counts_as_done, 20)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "a");
	weir_job *j = take(ctx, s, "q");

	CHECK_EQ(weir_job_cancel(ctx, s, id.text), 0);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	CHECK_STR(state(ctx, s, id), "done");
	store_end(ctx, s);
}

SIM(a_failing_job_is_tried_again_with_growing_delays_and_then_dead, 100)
{
	weir_store *s = store(ctx);
	struct id id = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 5 }, "x");

	for (int i = 0; i < 5; i++) {
		int64_t from = weir_now(), waited;
		weir_job *j;

		CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
		waited = weir_now() - from;
		CHECK_EQ(weir_job_attempt(j), i + 1);
		if (i > 0) {
			int64_t expected = WEIR_SEC(1) << (i - 1);

			CHECK(waited >= expected / 10 * 8 &&
			      waited <= expected / 10 * 12 + WEIR_MS(100));
		}
		CHECK_EQ(weir_job_nack(ctx, j, -1, "no luck"), 0);
	}
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "no luck");
	CHECK_EQ(info(s, "q").dead_total, 1);
	CHECK_EQ(info(s, "q").failed_total, 5);
	store_end(ctx, s);
}

SIM(back_off_stops_growing_at_its_maximum, 20)
{
	weir_store *s = store(ctx);

	configure(ctx, s, "q",
	          (weir_queue_settings){ .backoff_ns = WEIR_SEC(10),
	                                 .backoff_max_ns = WEIR_SEC(30) });
	put(ctx, s, "q", "x");
	for (int i = 0; i < 8; i++) {
		int64_t from = weir_now();
		weir_job *j;

		CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
		CHECK(weir_now() - from <= WEIR_SEC(36) + WEIR_MS(100));
		CHECK_EQ(weir_job_nack(ctx, j, -1, NULL), 0);
	}
	store_end(ctx, s);
}

SIM(a_redrive_into_a_full_queue_says_how_many_stay_dead_and_why, 50)
{
	weir_queue_settings set = { .max = 3 };
	weir_store *s = store(ctx);
	weir_redrive_left left;

	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), 0);
	for (int i = 0; i < 3; i++) {
		put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 1 }, "x");
		CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, "bad"), 0);
	}
	put(ctx, s, "q", "a");
	CHECK_EQ(weir_queue_redrive(ctx, s, "q", &left), 2);
	CHECK_EQ(left.n, 1);
	CHECK_STR(left.why, "the queue is full");
	CHECK_EQ(weir_queue_redrive(ctx, s, "q", &left), -EAGAIN);
	CHECK_EQ(left.n, 1);
	CHECK_STR(left.why, "the queue is full");
	CHECK_EQ(weir_job_ack(ctx, take(ctx, s, "q"), NULL, 0), 0);
	CHECK_EQ(weir_queue_redrive(ctx, s, "q", &left), 1);
	CHECK_EQ(left.n, 0);
	CHECK_STR(left.why, "");
	CHECK_EQ(weir_queue_redrive(ctx, s, "q", &left), 0);
	CHECK_EQ(left.n, 0);
	store_end(ctx, s);
}

SIM(redrive_brings_the_dead_back_with_fresh_attempts, 50)
{
	weir_store *s = store(ctx);
	struct id id = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 1 }, "x");
	weir_job *j;

	CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, "bad"), 0);
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_EQ(weir_queue_redrive(ctx, s, "q", NULL), 1);
	CHECK_STR(state(ctx, s, id), "queued");
	j = take(ctx, s, "q");
	CHECK_EQ(weir_job_attempt(j), 1);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	CHECK_EQ(weir_queue_redrive(ctx, s, "q", NULL), 0);
	CHECK_EQ(weir_queue_redrive(ctx, s, "none", NULL), -ENOENT);
	store_end(ctx, s);
}

SIM(retry_runs_a_finished_job_once_more, 20)
{
	weir_store *s = store(ctx);
	struct id id = put(ctx, s, "q", "x");

	CHECK_EQ(weir_job_retry(ctx, s, id.text), -EBUSY);
	take_and_ack(ctx, s, "q", "x");
	CHECK_EQ(weir_job_retry(ctx, s, id.text), 0);
	CHECK_STR(state(ctx, s, id), "queued");
	take_and_ack(ctx, s, "q", "x");
	CHECK_EQ(weir_job_retry(ctx, s, "00000000000000000000000000"), -ENOENT);
	store_end(ctx, s);
}

SIM(a_paused_queue_gives_nothing_out_until_it_is_resumed, 50)
{
	weir_store *s = store(ctx);

	CHECK_EQ(weir_queue_pause(ctx, s, "none", false), -ENOENT);
	CHECK_EQ(weir_queue_pause(ctx, s, "q", true), 0);
	put(ctx, s, "q", "x");
	take_none(ctx, s, "q");
	CHECK(info(s, "q").set.paused);
	CHECK_EQ(weir_queue_pause(ctx, s, "q", false), 0);
	take_and_ack(ctx, s, "q", "x");
	store_end(ctx, s);
}

struct waiter {
	weir_store *store;
	int got, result;
	bool keep;
};

static int take_one(const weir_ctx *ctx, void *arg)
{
	struct waiter *w = arg;
	weir_job *j;

	w->result = weir_job_take(ctx, w->store, "q", NULL, &j);
	if (w->result == 1) {
		w->got++;
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	return 0;
}

SIM(a_put_wakes_exactly_one_taker, 300)
{
	weir_store *s = store(ctx);
	struct waiter w[3] = { { .store = s }, { .store = s }, { .store = s } };
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_group_go(&g, take_one, &w[i]), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	put(ctx, s, "q", "x");
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(w[0].got + w[1].got + w[2].got, 1);
	put(ctx, s, "q", "y");
	put(ctx, s, "q", "z");
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(w[0].got + w[1].got + w[2].got, 3);
	store_end(ctx, s);
}

SIM(drain_turns_takers_away_but_lets_work_be_finished, 200)
{
	weir_store *s = store(ctx);
	struct waiter w = { .store = s, .result = -1 };
	struct id id = put(ctx, s, "work", "x");
	weir_job *j = take(ctx, s, "work"), *none;
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, take_one, &w), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	weir_store_drain(s);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(w.result, 0);
	put(ctx, s, "work", "y");
	CHECK_EQ(weir_job_take(ctx, s, "work", NULL, &none), 0);
	CHECK_EQ(weir_lease_extend(s, id.text, weir_job_lease(j), 0), 0);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

SIM(close_wakes_takers_and_makes_leases_stale, 200)
{
	weir_store *s = store(ctx);
	struct waiter w = { .store = s, .result = -1 };
	weir_group g;
	weir_job *j;

	put(ctx, s, "work", "x");
	j = take(ctx, s, "work");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, take_one, &w), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	store_end(ctx, s);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(w.result, 0);
	CHECK(job_is(j, "x"));
	CHECK_EQ(weir_job_progress(j, 0.1, NULL), -ENOENT);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), -ESTALE);
}

SIM(no_more_than_concurrency_run_at_a_time, 50)
{
	weir_store *s = store(ctx);
	weir_job *a, *b;

	configure(ctx, s, "q", (weir_queue_settings){ .concurrency = 2 });
	for (int i = 0; i < 4; i++)
		put(ctx, s, "q", "x");
	a = take(ctx, s, "q");
	b = take(ctx, s, "q");
	take_none(ctx, s, "q");
	CHECK_EQ(weir_job_ack(ctx, a, NULL, 0), 0);
	a = take(ctx, s, "q");
	take_none(ctx, s, "q");
	CHECK_EQ(weir_job_return(a), 0);
	CHECK_EQ(weir_job_ack(ctx, b, NULL, 0), 0);
	store_end(ctx, s);
}

SIM(no_more_than_key_concurrency_run_of_a_key_and_others_pass, 50)
{
	weir_store *s = store(ctx);
	weir_job *j;

	configure(ctx, s, "q", (weir_queue_settings){ .key_concurrency = 1 });
	put_with(ctx, s, "q", (weir_job_spec){ .key = "k" }, "k1");
	put_with(ctx, s, "q", (weir_job_spec){ .key = "k" }, "k2");
	put_with(ctx, s, "q", (weir_job_spec){ .key = "l" }, "l1");
	put(ctx, s, "q", "free");
	j = take(ctx, s, "q");
	CHECK(job_is(j, "k1"));
	take_and_ack(ctx, s, "q", "l1");
	take_and_ack(ctx, s, "q", "free");
	take_none(ctx, s, "q");
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	take_and_ack(ctx, s, "q", "k2");
	store_end(ctx, s);
}

SIM(jobs_of_keys_keep_priority_and_order_over_the_queue, 20)
{
	weir_store *s = store(ctx);

	put_with(ctx, s, "q", (weir_job_spec){ .key = "k" }, "2");
	put(ctx, s, "q", "3");
	put_with(ctx, s, "q", (weir_job_spec){ .key = "k", .priority = -1 }, "1");
	put_with(ctx, s, "q", (weir_job_spec){ .key = "l" }, "4");
	put_with(ctx, s, "q", (weir_job_spec){ .key = "k" }, "5");
	for (int i = 1; i <= 5; i++)
		take_and_ack(ctx, s, "q", (char[]){ (char)('0' + i), 0 });
	store_end(ctx, s);
}

SIM(a_rate_limits_what_is_given_out, 50)
{
	weir_store *s = store(ctx);
	int64_t from = weir_now();

	configure(ctx, s, "q", (weir_queue_settings){ .rate = 2, .rate_burst = 1 });
	for (int i = 0; i < 10; i++)
		put(ctx, s, "q", "x");
	for (int i = 0; i < 10; i++) {
		weir_job *j;

		CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	CHECK(weir_now() - from >= WEIR_MS(4500) - WEIR_MS(10));
	CHECK(weir_now() - from <= WEIR_MS(5000));
	store_end(ctx, s);
}

SIM(a_list_is_in_order_of_ids_and_goes_on_after_one, 20)
{
	enum { N = 30 };
	weir_store *s = store(ctx);
	weir_job_info *v = calloc(N, sizeof *v);
	struct id id[N];

	for (int i = 0; i < N; i++)
		id[i] = put(ctx, s, "q", "x");
	CHECK_EQ(weir_job_list(s, "q", -1, NULL, v, 10), 10);
	for (int i = 0; i < 10; i++)
		CHECK_STR(v[i].id, id[i].text);
	CHECK_EQ(weir_job_list(s, "q", -1, id[9].text, v, N), 20);
	CHECK_STR(v[0].id, id[10].text);
	CHECK_EQ(weir_job_cancel(ctx, s, id[3].text), 0);
	CHECK_EQ(weir_job_list(s, "q", WEIR_CANCELLED, NULL, v, N), 1);
	CHECK_STR(v[0].id, id[3].text);
	CHECK_EQ(weir_job_list(s, "q", WEIR_QUEUED, "00000000000000000000000000", v, N), N - 1);
	CHECK_EQ(weir_job_list(s, "none", -1, NULL, v, N), 0);
	for (int i = 1; i < N; i++)
		CHECK(strcmp(id[i - 1].text, id[i].text) < 0);
	free(v);
	store_end(ctx, s);
}

struct heard {
	weir_store *store;
	char text[1024];
};

static void hear(const weir_job_info *i, const char *event, void *arg)
{
	struct heard *h = arg;
	weir_job_info now;
	weir_queue_info q;

	/* It may look at the store. */
	CHECK_EQ(weir_job_get(NULL, h->store, i->id, false, &now), 0);
	CHECK_EQ(weir_queue_info_get(h->store, i->queue, &q), 0);
	strncat(h->text, event, sizeof h->text - strlen(h->text) - 2);
	strcat(h->text, " ");
}

SIM(the_listener_hears_every_change_in_order, 50)
{
	weir_store *s = store(ctx);
	struct heard h = { .store = s };
	struct id id;
	weir_job *j;

	weir_store_listen(s, hear, &h);
	id = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 2, .delay_ns = WEIR_SEC(1) },
	              "x");
	CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
	CHECK_EQ(weir_job_progress(j, 0.5, "half"), 0);
	CHECK_EQ(weir_job_nack(ctx, j, 0, "once"), 0);
	CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, "twice"), 0);
	CHECK_EQ(weir_job_retry(ctx, s, id.text), 0);
	CHECK_EQ(weir_job_cancel(ctx, s, id.text), 0);
	CHECK_STR(h.text, "delayed queued running progress failed queued running failed dead "
	                  "queued cancelled ");
	store_end(ctx, s);
}

static bool open_ears;

static bool wants(void *arg)
{
	(void)arg;
	return open_ears;
}

SIM(a_listener_that_wants_nothing_hears_nothing, 5)
{
	weir_store *s = store(ctx);
	struct heard h = { .store = s };
	weir_job *j;

	weir_store_listen(s, hear, &h);
	weir_store_listen_when(s, wants);
	open_ears = false;
	put(ctx, s, "q", "x");
	CHECK_STR(h.text, "");
	open_ears = true;
	CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
	CHECK_STR(h.text, "running ");
	open_ears = false;
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	CHECK_STR(h.text, "running ");
	store_end(ctx, s);
}

static const weir_ctx *meddler;

static void meddle(const weir_job_info *i, const char *event, void *arg)
{
	(void)event;
	weir_job_cancel(meddler, arg, i->id);
}

static int meddling(const weir_ctx *ctx, void *arg)
{
	weir_store *s = store(ctx);

	(void)arg;
	meddler = ctx;
	weir_store_listen(s, meddle, s);
	put(ctx, s, "q", "x");
	return 0;
}

static void run_meddling(void)
{
	weir_sim(1, meddling, NULL);
}

TEST(a_listener_that_changes_a_job_is_a_wrong_program)
{
	CHECK_DIES(run_meddling, "a job listener changed a job");
}

SIM(history_keeps_the_last_changes_and_counts_all, 5)
{
	weir_store *s = store(ctx);
	struct id id = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 100 }, "x");
	weir_job_info i;

	for (int n = 0; n < 20; n++)
		CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, "again"), 0);
	i = job(ctx, s, id);
	CHECK_EQ(i.histories, 16);
	CHECK_EQ(i.changes, 1 + 20 * 3);
	CHECK_STR(i.history[15].state, "queued");
	CHECK_STR(i.history[14].state, "failed");
	CHECK_STR(i.history[14].note, "again");
	store_end(ctx, s);
}

SIM(a_queue_tells_how_long_jobs_wait_and_run, 20)
{
	weir_store *s = store(ctx);
	weir_queue_info i;

	put(ctx, s, "q", "a job that keeps the queue");
	i = info(s, "q");
	CHECK_EQ(i.wait.n + i.run.n, 0);
	CHECK_EQ(weir_job_ack(ctx, take(ctx, s, "q"), NULL, 0), 0);
	/* Of a hundred, 90 wait 10 ms and run 1 ms; 10 wait a second and run 300 ms. */
	for (int n = 0; n < 99; n++) {
		bool slow = n % 10 == 9;
		weir_job *j;

		put(ctx, s, "q", "x");
		CHECK_EQ(weir_sleep(ctx, slow ? WEIR_SEC(1) : WEIR_MS(10)), 0);
		j = take(ctx, s, "q");
		CHECK_EQ(weir_sleep(ctx, slow ? WEIR_MS(300) : WEIR_MS(1)), 0);
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	i = info(s, "q");
	CHECK_EQ(i.wait.n, 100);
	CHECK_EQ(i.run.n, 100);
	CHECK(i.wait.p50_ns > WEIR_MS(9) && i.wait.p50_ns < WEIR_MS(12));
	CHECK(i.wait.p95_ns > WEIR_MS(900) && i.wait.p95_ns < WEIR_MS(1100));
	CHECK(i.run.p50_ns > WEIR_US(900) && i.run.p50_ns < WEIR_US(1200));
	CHECK(i.run.p99_ns > WEIR_MS(270) && i.run.p99_ns < WEIR_MS(330));
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(2)), 0);
	i = info(s, "q");
	CHECK_EQ(i.wait.n + i.run.n, 0);
	store_end(ctx, s);
}
