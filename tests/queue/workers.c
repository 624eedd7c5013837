/* SPDX-License-Identifier: MIT */
#include <weir/chan.h>

#include "queue/queue_test.h"

struct crew {
	weir_store *store;
	int runs, ended, now, most;
	int result;
	int64_t sleep_ns, stopped_after;
	const char *why;
};

static int work(const weir_ctx *ctx, weir_job *j, void *arg)
{
	struct crew *c = arg;
	int64_t from = weir_now();
	int r;

	__atomic_add_fetch(&c->runs, 1, __ATOMIC_RELAXED);
	if (++c->now > c->most)
		c->most = c->now;
	r = weir_sleep(ctx, c->sleep_ns);
	c->now--;
	c->stopped_after = weir_now() - from;
	__atomic_add_fetch(&c->ended, 1, __ATOMIC_RELAXED);
	if (r < 0)
		return r;
	if (c->why)
		weir_job_why(j, c->why);
	CHECK_EQ(weir_job_result(j, "result", 6), 0);
	return c->result;
}

static void until_finished(const weir_ctx *ctx, weir_store *s, const char *queue, size_t n)
{
	weir_queue_info i = info(s, queue);

	while (i.done + i.dead + i.cancelled < n) {
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(100)), 0);
		i = info(s, queue);
	}
}

SIM(workers_run_all_jobs_and_end_at_drain, 100)
{
	weir_store *s = store(ctx);
	struct crew c = { .sleep_ns = WEIR_SEC(1) };
	weir_group g;
	struct id id;
	weir_job_info i;

	for (int n = 0; n < 10; n++)
		id = put(ctx, s, "q", "x");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 3, work, &c), 0);
	until_finished(ctx, s, "q", 10);
	CHECK_EQ(c.runs, 10);
	CHECK_EQ(c.most, 3);
	CHECK_EQ(weir_job_get(ctx, s, id.text, true, &i), 0);
	CHECK_STR((char *)i.result, "result");
	weir_job_info_free(&i);
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	store_end(ctx, s);
}

SIM(drain_lets_running_handlers_finish_and_takes_nothing_new, 100)
{
	weir_store *s = store(ctx);
	struct crew c = { .sleep_ns = WEIR_SEC(10) };
	weir_group g;

	for (int n = 0; n < 5; n++)
		put(ctx, s, "q", "x");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 2, work, &c), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(info(s, "q").done, 2);
	CHECK_EQ(info(s, "q").queued, 3);
	store_end(ctx, s);
}

SIM(cancel_of_the_workers_returns_their_jobs_uncounted, 100)
{
	weir_store *s = store(ctx);
	struct crew c = { .sleep_ns = WEIR_SEC(10) };
	struct id id = put(ctx, s, "q", "x");
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 1, work, &c), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_STR(state(ctx, s, id), "running");
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_STR(state(ctx, s, id), "queued");
	CHECK_EQ(job(ctx, s, id).attempt, 0);
	CHECK_EQ(info(s, "q").failed_total, 0);
	store_end(ctx, s);
}

SIM(cancel_of_a_job_ends_its_handler, 200)
{
	weir_store *s = store(ctx);
	struct crew c = { .sleep_ns = WEIR_HOUR(1) };
	struct id id = put(ctx, s, "q", "x");
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 1, work, &c), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(weir_job_cancel(ctx, s, id.text), 0);
	until_finished(ctx, s, "q", 1);
	CHECK_STR(state(ctx, s, id), "cancelled");
	CHECK(c.stopped_after < WEIR_SEC(2));
	put(ctx, s, "q", "y"); /* The worker lives on. */
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(c.runs, 2);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	store_end(ctx, s);
}

SIM(a_job_that_outlives_its_limit_is_cut_and_fails, 100)
{
	weir_store *s = store(ctx);
	struct crew c = { .sleep_ns = WEIR_SEC(5) };
	struct id id = put_with(
		ctx, s, "q", (weir_job_spec){ .timeout_ns = WEIR_SEC(2), .attempts_max = 1 }, "x");
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 1, work, &c), 0);
	until_finished(ctx, s, "q", 1);
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "ran longer than its limit of 2 s");
	CHECK(c.stopped_after >= WEIR_SEC(2) && c.stopped_after < WEIR_MS(2100));
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	store_end(ctx, s);
}

SIM(the_limit_of_a_queue_holds_for_jobs_without_their_own, 20)
{
	weir_store *s = store(ctx);
	struct crew c = { .sleep_ns = WEIR_SEC(5) };
	weir_group g;

	configure(ctx, s, "q",
	          (weir_queue_settings){ .timeout_ns = WEIR_SEC(1), .attempts_max = 2 });
	put(ctx, s, "q", "x");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 1, work, &c), 0);
	until_finished(ctx, s, "q", 1);
	CHECK_EQ(info(s, "q").dead, 1);
	CHECK_EQ(c.runs, 2);
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	store_end(ctx, s);
}

SIM(a_failing_handler_is_retried_and_einval_is_dead_at_once, 50)
{
	weir_store *s = store(ctx);
	struct crew c = { .result = -EIO, .why = "no disk" };
	struct id id = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 3 }, "x");
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 2, work, &c), 0);
	until_finished(ctx, s, "q", 1);
	CHECK_EQ(c.runs, 3);
	CHECK_STR(job(ctx, s, id).error, "no disk");
	c.result = -EINVAL;
	c.why = NULL;
	id = put(ctx, s, "q", "y");
	until_finished(ctx, s, "q", 2);
	CHECK_EQ(c.runs, 4);
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "Invalid argument");
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	store_end(ctx, s);
}

SIM(workers_of_a_queue_for_which_there_is_no_room_wait_for_it, 50)
{
	weir_store *s = store_with(
		ctx, &(weir_store_options){ .queues_max = 1, .finished_ns = WEIR_SEC(1) });
	struct crew c = { .sleep_ns = WEIR_MS(1) };
	weir_group g;

	put(ctx, s, "other", "x");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 2, work, &c), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(5)), 0);
	CHECK_EQ(weir_group_count(&g), 2);
	CHECK_EQ(weir_job_ack(ctx, take(ctx, s, "other"), NULL, 0), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(5)), 0); /* It is forgotten, and its queue with it. */
	put(ctx, s, "q", "x");
	until_finished(ctx, s, "q", 1);
	CHECK_EQ(c.runs, 1);
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	store_end(ctx, s);
}

SIM(closing_the_store_ends_the_workers, 100)
{
	weir_store *s = store(ctx);
	struct crew c = { .sleep_ns = WEIR_SEC(10) };
	weir_group g;

	put(ctx, s, "q", "x");
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 3, work, &c), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	store_end(ctx, s);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK(c.stopped_after < WEIR_SEC(2)); /* Its lease was lost. */
}

/* ---- Commands ---- */

struct command {
	weir_store *store;
	char *argv[4];
	int runs;
};

static int command(const weir_ctx *ctx, weir_job *j, void *arg)
{
	struct command *c = arg;

	c->runs++;
	return weir_job_exec(ctx, j, c->argv);
}

/* Listening makes waiting an event, not a poll. */
struct ending {
	weir_chan *chan;
};

static void ended(const weir_job_info *i, const char *event, void *arg)
{
	struct ending *e = arg;
	char c = i->state == WEIR_RUNNING && !strcmp(event, "running") ? 'r' :
	         i->finished_at                                        ? 'f' :
	                                                                 0;

	if (c)
		CHECK_EQ(weir_chan_try_send(e->chan, &c), 0);
}

static void await(const weir_ctx *ctx, struct ending *e, char which)
{
	char c;

	do
		CHECK_EQ(weir_chan_recv(ctx, e->chan, &c), 1);
	while (c != which);
}

static struct id run_script(const weir_ctx *ctx, weir_store *s, struct command *c, weir_group *g,
                            struct ending *e, char *script, weir_job_spec spec, const char *payload)
{
	struct id id;

	*c = (struct command){ .store = s, .argv = { "/bin/sh", "-c", script, NULL } };
	e->chan = weir_chan_new(1, 64);
	CHECK(e->chan);
	weir_store_listen(s, ended, e);
	id = put_with(ctx, s, "q", spec, payload);
	weir_group_init(g, ctx);
	CHECK_EQ(weir_workers_start(g, s, "q", 1, command, c), 0);
	return id;
}

static void run_end(const weir_ctx *ctx, weir_store *s, weir_group *g, struct ending *e)
{
	weir_group_drain(g);
	CHECK_EQ(weir_group_wait(g), 0);
	store_end(ctx, s);
	weir_chan_free(e->chan);
}

TASK(a_command_gets_the_payload_and_its_output_is_the_result)
{
	weir_store *s = store(ctx);
	struct command c;
	struct ending e;
	weir_job_info i;
	weir_group g;
	struct id id =
		run_script(ctx, s, &c, &g, &e, "printf '%s %s ' $WEIR_QUEUE $WEIR_ATTEMPT; cat",
	                   (weir_job_spec){ 0 }, "payload");

	await(ctx, &e, 'f');
	CHECK_EQ(weir_job_get(ctx, s, id.text, true, &i), 0);
	CHECK_STR(weir_job_state_name(i.state), "done");
	CHECK_STR((char *)i.result, "q 1 payload");
	weir_job_info_free(&i);
	run_end(ctx, s, &g, &e);
}

TASK(a_command_hears_the_id_of_its_job)
{
	weir_store *s = store(ctx);
	struct command c;
	struct ending e;
	weir_job_info i;
	weir_group g;
	struct id id =
		run_script(ctx, s, &c, &g, &e, "printf $WEIR_JOB_ID", (weir_job_spec){ 0 }, "");

	await(ctx, &e, 'f');
	CHECK_EQ(weir_job_get(ctx, s, id.text, true, &i), 0);
	CHECK_STR((char *)i.result, id.text);
	weir_job_info_free(&i);
	run_end(ctx, s, &g, &e);
}

TASK(a_commands_failure_is_a_failed_attempt)
{
	weir_store *s = store(ctx);
	struct command c;
	struct ending e;
	weir_group g;
	struct id id =
		run_script(ctx, s, &c, &g, &e, "exit 3", (weir_job_spec){ .attempts_max = 1 }, "x");

	await(ctx, &e, 'f');
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "exit status 3");
	run_end(ctx, s, &g, &e);
}

TASK(exit_status_100_is_dead_at_once)
{
	weir_store *s = store(ctx);
	struct command c;
	struct ending e;
	weir_group g;
	struct id id = run_script(ctx, s, &c, &g, &e, "exit 100",
	                          (weir_job_spec){ .attempts_max = 9 }, "x");

	await(ctx, &e, 'f');
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "exit status 100");
	CHECK_EQ(c.runs, 1);
	run_end(ctx, s, &g, &e);
}

TASK(a_command_that_cannot_be_started_fails_its_job)
{
	weir_store *s = store(ctx);
	struct command c;
	struct ending e;
	weir_group g;
	struct id id =
		run_script(ctx, s, &c, &g, &e, "",
	                   (weir_job_spec){ .attempts_max = 1, .delay_ns = WEIR_MS(10) }, "x");

	c.argv[0] = "/no/such/command";
	await(ctx, &e, 'f');
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "/no/such/command: No such file or directory");
	run_end(ctx, s, &g, &e);
}

TASK(cancel_of_a_job_kills_its_whole_process_group)
{
	weir_store *s = store(ctx);
	struct command c;
	struct ending e;
	weir_group g;
	int64_t from = weir_now();
	/* The shell waits for a child of its own, which holds stdout open: if it lived on, the run
	 * would not end. */
	struct id id =
		run_script(ctx, s, &c, &g, &e, "sleep 100 & wait", (weir_job_spec){ 0 }, "x");

	await(ctx, &e, 'r');
	CHECK_EQ(weir_job_cancel(ctx, s, id.text), 0);
	await(ctx, &e, 'f');
	CHECK_STR(state(ctx, s, id), "cancelled");
	CHECK(weir_now() - from < WEIR_SEC(20));
	run_end(ctx, s, &g, &e);
}

TASK(a_command_past_its_limit_is_killed)
{
	weir_store *s = store(ctx);
	struct command c;
	struct ending e;
	weir_group g;
	struct id id =
		run_script(ctx, s, &c, &g, &e, "exec sleep 100",
	                   (weir_job_spec){ .timeout_ns = WEIR_MS(200), .attempts_max = 1 }, "x");

	await(ctx, &e, 'f');
	CHECK_STR(state(ctx, s, id), "dead");
	CHECK_STR(job(ctx, s, id).error, "ran longer than its limit of 0.2 s");
	run_end(ctx, s, &g, &e);
}
