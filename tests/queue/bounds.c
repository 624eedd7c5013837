/* SPDX-License-Identifier: MIT */
#include <malloc.h>

#include "queue/queue_test.h"

SIM(a_full_queue_says_so_at_once_and_takes_again_when_a_job_has_ended, 20)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queue_max = 10 });
	char id[27];

	for (int i = 0; i < 10; i++)
		put(ctx, s, "q", "x");
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ 0 }, id), -EAGAIN);
	CHECK_EQ(info(s, "q").refused_total, 1);
	put(ctx, s, "other", "x");
	take_and_ack(ctx, s, "q", "x");
	put(ctx, s, "q", "x");
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ 0 }, id), -EAGAIN);
	store_end(ctx, s);
}

SIM(running_and_delayed_jobs_count_too, 20)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queue_max = 2 });
	weir_job *j;
	char id[27];

	put(ctx, s, "q", "x");
	j = take(ctx, s, "q");
	put_with(ctx, s, "q", (weir_job_spec){ .delay_ns = WEIR_SEC(5) }, "y");
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ 0 }, id), -EAGAIN);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	put(ctx, s, "q", "z");
	store_end(ctx, s);
}

SIM(payload_bytes_of_a_queue_are_bounded, 5)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queue_bytes = 100 });
	char text[101] = "", id[27];

	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ .data = text, .len = 101 }, id),
	         -EMSGSIZE);
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ .data = text, .len = 60 }, id), 0);
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ .data = text, .len = 60 }, id),
	         -EAGAIN);
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ .data = text, .len = 40 }, id), 0);
	CHECK_EQ(info(s, "q").bytes, 100);
	store_end(ctx, s);
}

SIM(finished_jobs_make_place_when_memory_is_short_and_then_it_is_refused, 5)
{
	enum { LEN = 10000 };
	weir_store *s = store_with(ctx, &(weir_store_options){ .memory_max = 105000 });
	char *text = calloc(1, LEN), id[27];
	weir_job_spec spec = { .data = text, .len = LEN };
	int n = 0, r;

	for (int i = 0; i < 100; i++) {
		CHECK_EQ(weir_job_put(ctx, s, "q", &spec, id), 0);
		CHECK_EQ(weir_job_ack(ctx, take(ctx, s, "q"), NULL, 0), 0);
		CHECK(weir_store_memory(s) <= 105000);
	}
	CHECK(info(s, "q").done >= 5);
	while ((r = weir_job_put(ctx, s, "q", &spec, id)) == 0)
		n++;
	CHECK_EQ(r, -ENOSPC);
	CHECK(n >= 8);
	CHECK_EQ(info(s, "q").done, 0);
	CHECK(weir_store_memory(s) <= 105000);
	free(text);
	store_end(ctx, s);
}

SIM(queues_are_bounded_and_those_with_nothing_in_them_do_not_count, 2)
{
	weir_store *s = store_with(
		ctx, &(weir_store_options){ .queues_max = 3, .finished_ns = WEIR_SEC(10) });
	weir_job *j;
	char id[27];

	for (int i = 0; i < 50; i++) {
		char name[32];

		snprintf(name, sizeof name, "empty-%d", i);
		take_none(ctx, s, name);
	}
	put(ctx, s, "a", "x");
	put(ctx, s, "b", "x");
	put(ctx, s, "c", "x");
	CHECK_EQ(weir_job_put(ctx, s, "d", &(weir_job_spec){ 0 }, id), -ENOSPC);
	CHECK_EQ(weir_job_take(ctx, s, "d", NULL, &j), -ENOSPC);
	CHECK_EQ(weir_queue_configure(ctx, s, "d", &(weir_queue_settings){ 0 }), -ENOSPC);
	take_and_ack(ctx, s, "a", "x");
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(11)), 0);
	put(ctx, s, "d", "x");
	store_end(ctx, s);
}

SIM(finished_jobs_are_kept_by_number_and_by_age, 20)
{
	weir_store *s = store_with(
		ctx, &(weir_store_options){ .finished_max = 5, .finished_ns = WEIR_MIN(1) });
	struct id dead = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 1 }, "x"), id[8];
	weir_job_info i;

	CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, NULL), 0);
	for (int n = 0; n < 8; n++) {
		id[n] = put(ctx, s, "q", "x");
		take_and_ack(ctx, s, "q", "x");
	}
	CHECK_EQ(info(s, "q").done, 5);
	CHECK_EQ(weir_job_get(ctx, s, id[2].text, false, &i), -ENOENT);
	CHECK_STR(state(ctx, s, id[3]), "done");
	CHECK_STR(state(ctx, s, dead), "dead"); /* Not washed away by the done ones. */
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(1) + WEIR_SEC(1)), 0);
	CHECK_EQ(weir_queue_info_get(s, "q", &(weir_queue_info){ 0 }), -ENOENT);
	CHECK_EQ(weir_store_memory(s), 0);
	store_end(ctx, s);
}

SIM(idempotency_keys_are_bounded, 1)
{
	weir_store *s = store_with(
		ctx, &(weir_store_options){ .memory_max = 100000, .idempotency_ns = WEIR_MIN(1) });
	char key[32], id[27];
	int n = 0, r = 0;

	while (r == 0) {
		snprintf(key, sizeof key, "key-%d", n++);
		r = weir_job_put(ctx, s, "q", &(weir_job_spec){ .idempotency_key = key }, id);
		if (r == 0)
			take_and_ack(ctx, s, "q", "");
	}
	CHECK_EQ(r, -ENOSPC);
	CHECK(n > 50);
	put(ctx, s, "q", "without a key");
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(2)), 0);
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ .idempotency_key = key }, id), 0);
	store_end(ctx, s);
}

SIM(retry_after_follows_the_measured_rate, 5)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queue_max = 1000 });

	for (int i = 0; i < 200; i++)
		put(ctx, s, "q", "x");
	CHECK_EQ(info(s, "q").retry_after_ns, WEIR_SEC(60));
	for (int i = 0; i < 20; i++) { /* One in five seconds. */
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(5)), 0);
		take_and_ack(ctx, s, "q", "x");
	}
	CHECK(info(s, "q").retry_after_ns >= WEIR_SEC(4));
	CHECK(info(s, "q").retry_after_ns <= WEIR_SEC(6));
	CHECK(info(s, "q").done_rate > 0.15 && info(s, "q").done_rate < 0.25);
	for (int i = 0; i < 3; i++) { /* One in twenty seconds: beyond the window of the rate. */
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(20)), 0);
		take_and_ack(ctx, s, "q", "x");
	}
	CHECK(info(s, "q").retry_after_ns >= WEIR_SEC(10));
	CHECK(info(s, "q").retry_after_ns <= WEIR_SEC(20));
	for (int i = 0; i < 100; i++) { /* Ten a second. */
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(100)), 0);
		take_and_ack(ctx, s, "q", "x");
	}
	CHECK_EQ(info(s, "q").retry_after_ns, WEIR_SEC(1));
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(5)), 0);
	CHECK_EQ(info(s, "q").retry_after_ns, WEIR_SEC(60));
	store_end(ctx, s);
}

SIM(figures_show_the_oldest_job_and_the_counts, 5)
{
	weir_store *s = store(ctx);
	weir_queue_info i;

	put(ctx, s, "q", "x");
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(3)), 0);
	put_with(ctx, s, "q", (weir_job_spec){ .priority = -1 }, "y");
	i = info(s, "q");
	CHECK(i.oldest_ns >= WEIR_SEC(3) && i.oldest_ns < WEIR_SEC(4));
	CHECK_EQ(i.queued, 2);
	CHECK_EQ(i.put_total, 2);
	CHECK_STR(i.durability, "memory");
	CHECK_EQ(i.set.attempts_max, 10);
	CHECK_EQ(i.set.lease_ns, WEIR_SEC(30));
	store_end(ctx, s);
}

static int name(const weir_queue_info *i, void *arg)
{
	strcat(arg, i->name);
	strcat(arg, " ");
	return 0;
}

SIM(each_shows_all_queues_by_name, 2)
{
	weir_store *s = store(ctx);
	char text[64] = "";

	put(ctx, s, "b", "x");
	put(ctx, s, "a", "x");
	configure(ctx, s, "c", (weir_queue_settings){ .max = 1 });
	CHECK_EQ(weir_queue_each(s, name, text), 0);
	CHECK_STR(text, "a b c ");
	store_end(ctx, s);
}

static void find_clock(const weir_task_info *i, void *arg)
{
	if (i->waits_on && !strcmp(i->waits_on, "store clock"))
		*(int64_t *)arg = i->left_ns;
}

/* What the store's clock waits for; −1 while it does not wait. */
static int64_t clock_left(const weir_ctx *ctx)
{
	int64_t left = -1;

	CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0); /* It has run until it waits. */
	weir_each_task(find_clock, &left);
	return left;
}

SIM(an_idle_store_sets_no_timer, 20)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .finished_ns = WEIR_MIN(1) });
	weir_job *j;

	CHECK_EQ(clock_left(ctx), WEIR_NEVER);
	put(ctx, s, "q", "x");
	CHECK_EQ(clock_left(ctx), WEIR_NEVER);
	j = take(ctx, s, "q");
	CHECK(clock_left(ctx) <= WEIR_SEC(30));
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(2)), 0);
	CHECK_EQ(clock_left(ctx), WEIR_NEVER);
	store_end(ctx, s);
}

static size_t in_use(void)
{
	return mallinfo2().uordblks;
}

/* Does the loop leave memory as it was after its first tenth? (The sanitizers' allocators count
 * nothing here.) */
static void flat(size_t before)
{
	size_t now = in_use();

	if (now > before + 65536)
		test_fail(__FILE__, __LINE__, "memory grew from %zu to %zu", before, now);
}

static int million(void)
{
	return test_long ? 1000000 : 100000;
}

TASK(a_million_refused_puts_leave_memory_flat)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queue_max = 10 });
	size_t heap = 0, own = 0;
	char id[27];

	for (int i = 0; i < 10; i++)
		put(ctx, s, "q", "x");
	for (int i = 0; i < million(); i++) {
		CHECK_EQ(weir_job_put(ctx, s, "q",
		                      &(weir_job_spec){ .idempotency_key = "k", .key = "k" }, id),
		         -EAGAIN);
		if (i == million() / 10) {
			heap = in_use();
			own = weir_store_memory(s);
		}
	}
	CHECK_EQ(weir_store_memory(s), own);
	flat(heap);
	store_end(ctx, s);
}

TASK(a_million_queue_names_leave_memory_flat)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .queues_max = 20 });
	size_t heap = 0, own = 0;
	char id[27], text[32];
	weir_ctx now = weir_ctx_timeout(ctx, 0);
	weir_job *j;

	for (int i = 0; i < 19; i++) {
		snprintf(text, sizeof text, "full-%d", i);
		put(ctx, s, text, "x");
	}
	for (int i = 0; i < million(); i++) {
		snprintf(text, sizeof text, "name-%d", i);
		if (i == 1)
			CHECK_EQ(weir_job_put(ctx, s, "full-19", &(weir_job_spec){ 0 }, id), 0);
		CHECK_EQ(weir_job_take(&now, s, text, NULL, &j), i ? -ENOSPC : -ETIMEDOUT);
		if (i)
			CHECK_EQ(weir_job_put(ctx, s, text, &(weir_job_spec){ 0 }, id), -ENOSPC);
		if (i == million() / 10) {
			heap = in_use();
			own = weir_store_memory(s);
		}
	}
	CHECK_EQ(weir_store_memory(s), own);
	flat(heap);
	store_end(ctx, s);
}

TASK(a_million_finished_jobs_leave_memory_flat)
{
	weir_store *s = store_with(ctx, &(weir_store_options){ .finished_max = 100 });
	size_t heap = 0, own = 0;

	for (int i = 0; i < million(); i++) {
		put(ctx, s, "q", "x");
		take_and_ack(ctx, s, "q", "x");
		if (i == million() / 10) {
			heap = in_use();
			own = weir_store_memory(s);
		}
	}
	CHECK_EQ(weir_store_memory(s), own);
	CHECK_EQ(info(s, "q").done, 100);
	flat(heap);
	store_end(ctx, s);
}
