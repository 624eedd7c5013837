/* SPDX-License-Identifier: MIT */
#include "queue/storm.h"

SIM(a_storm_of_workers_loses_nothing_and_runs_nothing_twice_at_a_time, 10000)
{
	storm(ctx);
}

/* ---- The same on real workers, for the thread sanitizer: counted, not ordered. ---- */

enum { PRODUCERS = 4, EACH = 2500, WORKERS = 6 };

struct stress {
	weir_store *store;
	int done, failed, refused, told_done;
};

static int produce(const weir_ctx *ctx, void *arg)
{
	struct stress *st = arg;

	for (int i = 0; i < EACH; i++) {
		weir_job_spec spec = {
			.data = "x", .len = 1, .priority = i % 3, .key = i % 2 ? "k" : NULL
		};
		char id[27];
		int r;

		while ((r = weir_job_put(ctx, st->store, "q", &spec, id)) == -EAGAIN) {
			__atomic_add_fetch(&st->refused, 1, __ATOMIC_RELAXED);
			CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
		}
		CHECK_EQ(r, 0);
	}
	return 0;
}

static int handle(const weir_ctx *ctx, weir_job *j, void *arg)
{
	struct stress *st = arg;

	if (weir_random(64) == 0) {
		__atomic_add_fetch(&st->failed, 1, __ATOMIC_RELAXED);
		return weir_random(2) ? -EIO : weir_sleep(ctx, WEIR_MS(1)) == 0 ? -EIO : -ECANCELED;
	}
	if (weir_random(16) == 0)
		weir_job_progress(j, 0.5, "half");
	return 0;
}

static void count(const weir_job_info *i, const char *event, void *arg)
{
	struct stress *st = arg;

	/* Under the store's order of telling: no atomics needed. */
	if (!strcmp(event, "done"))
		st->told_done++;
	(void)i;
}

static int look(const weir_ctx *ctx, void *arg)
{
	struct stress *st = arg;
	weir_job_info *v = calloc(50, sizeof *v);

	while (weir_sleep(ctx, WEIR_MS(2)) == 0) {
		int n = weir_job_list(st->store, "q", -1, "00000000000000000000000000", v, 50);
		const char *id = n > 0 ? v[weir_random((uint32_t)n)].id : NULL;
		weir_job_info i;

		if (id && weir_job_get(ctx, st->store, id, true, &i) == 0)
			weir_job_info_free(&i);
		if (id)
			weir_job_cancel(ctx, st->store, id);
	}
	free(v);
	return 0;
}

TASK(workers_on_several_threads_finish_every_job)
{
	struct stress st = { .store = store_with(
				     ctx, &(weir_store_options){ .queue_max = 500,
		                                                 .finished_max = 1000000 }) };
	weir_group producers, workers, lookers;
	weir_queue_info i;

	weir_store_listen(st.store, count, &st);
	configure(ctx, st.store, "q",
	          (weir_queue_settings){
			  .backoff_ns = WEIR_MS(1), .attempts_max = 50, .key_concurrency = 2 });
	weir_group_init(&producers, ctx);
	weir_group_init(&workers, ctx);
	weir_group_init(&lookers, ctx);
	CHECK_EQ(weir_workers_start(&workers, st.store, "q", WORKERS, handle, &st), 0);
	CHECK_EQ(weir_group_go(&lookers, look, &st), 0);
	for (int n = 0; n < PRODUCERS; n++)
		CHECK_EQ(weir_group_go(&producers, produce, &st), 0);
	CHECK_EQ(weir_group_wait(&producers), 0);
	do {
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(10)), 0);
		i = info(st.store, "q");
	} while (i.queued + i.delayed + i.running);
	weir_group_cancel(&lookers);
	CHECK_EQ(weir_group_wait(&lookers), 0);
	weir_group_drain(&workers);
	CHECK_EQ(weir_group_wait(&workers), 0);
	i = info(st.store, "q");
	CHECK_EQ(i.done + i.cancelled, PRODUCERS * EACH);
	CHECK_EQ(i.dead, 0);
	CHECK_EQ(i.put_total, PRODUCERS * EACH);
	CHECK_EQ(i.acked_total, i.done);
	CHECK_EQ(st.told_done, i.done);
	store_end(ctx, st.store);
}
