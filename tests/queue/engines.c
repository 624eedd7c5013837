/* SPDX-License-Identifier: MIT */
/*
 * What a queue promises, as a table that is run over every engine. What an engine's row says it
 * cannot do has to be refused there, with a word for it; so a test asks the row first.
 */
#include "engine_servers.h"
#include "queue_test.h"

#include <weir/bus.h>
#include <weir/group.h>

#include "queue/far.h"
#ifdef WEIR__RABBITMQ
#include "queue/rabbit.h"
#endif

/* A test waits for its server most of the time. */
__attribute__((constructor)) static void one_lane_each(void)
{
	static const char *const names[] = { "memory_",   "sqlite_", "jetstream_",
		                             "rabbitmq_", "sqs_",    NULL };

	test_lanes = names;
}

struct engine {
	const struct weir__engine_row *row;
	const char *url;
};
typedef void contract_fn(const weir_ctx *ctx, const struct engine *e);

static void over(const weir_ctx *ctx, const char *name, contract_fn *fn)
{
	const struct engine_under_test *t = engine_named(name);
	struct engine_server server = { .missing = "it is not there" };
	struct engine e = { .row = row_named(name), .url = server.url };

	if (!e.row->built) {
		skip("not built");
		return;
	}
	if (t->start(&server))
		fn(ctx, &e);
	else
		skip(server.missing);
	engine_end(&server);
}

#define CONTRACT(name)                                                 \
	static void name(const weir_ctx *ctx, const struct engine *e); \
	TASK(memory_##name)                                            \
	{                                                              \
		over(ctx, "memory", name);                             \
	}                                                              \
	TASK(sqlite_##name)                                            \
	{                                                              \
		over(ctx, "SQLite", name);                             \
	}                                                              \
	TASK(jetstream_##name)                                         \
	{                                                              \
		over(ctx, "JetStream", name);                          \
	}                                                              \
	TASK(rabbitmq_##name)                                          \
	{                                                              \
		over(ctx, "RabbitMQ", name);                           \
	}                                                              \
	TASK(sqs_##name)                                               \
	{                                                              \
		over(ctx, "SQS", name);                                \
	}                                                              \
	static void name(const weir_ctx *ctx, const struct engine *e)

static bool can(const struct engine *e, enum weir__feature f)
{
	return e->row->can & 1u << f;
}

static weir_store *open_url(const weir_ctx *ctx, const struct engine *e)
{
	weir_store *s;

	CHECK_EQ(weir_store_open(ctx, e->url, NULL, &s), 0);
	return s;
}

/* An engine needs its time to bring a job. */
static weir_job *get_with(const weir_ctx *ctx, weir_store *s, const char *queue,
                          weir_take_options opt)
{
	weir_ctx some = weir_ctx_timeout(ctx, WEIR_SEC(30));
	weir_job *j = NULL;

	CHECK_EQ(weir_job_take(&some, s, queue, &opt, &j), 1);
	return j;
}

static weir_job *get(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	return get_with(ctx, s, queue, (weir_take_options){ 0 });
}

static void get_none(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	weir_ctx some = weir_ctx_timeout(ctx, WEIR_MS(200));
	weir_job *j;

	CHECK_EQ(weir_job_take(&some, s, queue, NULL, &j), -ETIMEDOUT);
}

static weir_queue_info counts(const weir_ctx *ctx, weir_store *s, const char *queue)
{
	CHECK_EQ(weir_queue_refresh(ctx, s, queue), 0);
	return info(s, queue);
}

CONTRACT(what_is_put_is_taken_with_all_it_had)
{
	static const char data[] = "a\0b\r\n\xff";
	weir_store *s = open_url(ctx, e);
	weir_job_spec spec = { .data = data,
		               .len = sizeof data,
		               .content_type = "text/x; a=\"b\"",
		               .key = " k ",
		               .timeout_ns = WEIR_SEC(9) };
	char id[27];
	weir_job *j;
	size_t n;

	CHECK_EQ(weir_job_put(ctx, s, "a.b_c-d", &spec, id), 0);
	CHECK_EQ(strlen(id), WEIR_JOB_ID_LEN);
	j = get(ctx, s, "a.b_c-d");
	CHECK_STR(weir_job_id(j), id);
	CHECK_STR(weir_job_queue(j), "a.b_c-d");
	CHECK_STR(weir_job_content_type(j), "text/x; a=\"b\"");
	CHECK_EQ(weir_job_timeout(j), WEIR_SEC(9));
	CHECK_EQ(weir_job_attempt(j), 1);
	CHECK(!memcmp(weir_job_data(j, &n), data, sizeof data));
	CHECK_EQ(n, sizeof data);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	CHECK_STR(info(s, "a.b_c-d").durability, e->row->durability);
	store_end(ctx, s);
}

CONTRACT(an_acked_job_is_gone)
{
	weir_store *s = open_url(ctx, e);
	struct id id = put(ctx, s, "q", "");
	weir_job *j = get(ctx, s, "q");

	CHECK(job_is(j, ""));
	if (can(e, WEIR__CAN_COUNT))
		CHECK_EQ(counts(ctx, s, "q").running, 1);
	CHECK_STR(state(ctx, s, id), "running");
	CHECK_EQ(weir_job_ack(ctx, j, "r", 1), 0);
	CHECK_STR(state(ctx, s, id), "done");
	get_none(ctx, s, "q");
	if (can(e, WEIR__CAN_COUNT)) {
		CHECK_EQ(counts(ctx, s, "q").running, 0);
		CHECK_EQ(counts(ctx, s, "q").queued, 0);
	}
	store_end(ctx, s);
}

CONTRACT(a_failed_job_comes_again_and_its_attempts_are_counted)
{
	weir_store *s = open_url(ctx, e);
	struct id id = put(ctx, s, "q", "x");
	weir_job *j;

	for (unsigned i = 1; i <= 3; i++) {
		j = get(ctx, s, "q");
		CHECK_STR(weir_job_id(j), id.text);
		if (can(e, WEIR__CAN_ATTEMPTS))
			CHECK_EQ(weir_job_attempt(j), i);
		CHECK_EQ(weir_job_nack(ctx, j, 0, "no"), 0);
	}
	store_end(ctx, s);
}

CONTRACT(a_failed_job_rests_before_it_comes_again)
{
	weir_store *s = open_url(ctx, e);
	int64_t since;

	if (!can(e, WEIR__CAN_BACKOFF)) {
		store_end(ctx, s);
		return;
	}
	put(ctx, s, "q", "x");
	since = weir_now();
	CHECK_EQ(weir_job_nack(ctx, get(ctx, s, "q"), WEIR_SEC(1), "later"), 0);
	CHECK_EQ(weir_job_ack(ctx, get(ctx, s, "q"), NULL, 0), 0);
	CHECK(weir_now() - since >= WEIR_MS(900));
	store_end(ctx, s);
}

CONTRACT(a_job_that_fails_too_often_is_dead_and_kept)
{
	weir_store *s = open_url(ctx, e);
	weir_queue_settings set = { .attempts_max = 2 };

	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), 0);
	put(ctx, s, "q", "x");
	CHECK_EQ(weir_job_nack(ctx, get(ctx, s, "q"), 0, "no"), 0);
	CHECK_EQ(weir_job_nack(ctx, get(ctx, s, "q"), 0, "no"), 0);
	get_none(ctx, s, "q");
	if (can(e, WEIR__CAN_DEAD))
		CHECK_EQ(counts(ctx, s, "q").dead, 1);
	store_end(ctx, s);
}

CONTRACT(a_job_that_no_attempt_will_help_is_dead_at_once)
{
	weir_store *s = open_url(ctx, e);
	weir_job *j;

	put(ctx, s, "q", "x");
	j = get(ctx, s, "q");
	CHECK_EQ(weir_lease_bury(ctx, s, weir_job_id(j), weir_job_lease(j), "bad"), 0);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), -ESTALE);
	get_none(ctx, s, "q");
	if (can(e, WEIR__CAN_DEAD))
		CHECK_EQ(counts(ctx, s, "q").dead, 1);
	store_end(ctx, s);
}

CONTRACT(the_dead_come_back_with_fresh_attempts)
{
	weir_store *s = open_url(ctx, e);
	weir_queue_settings set = { .attempts_max = 2 };
	struct id id;
	weir_job *j;

	if (!can(e, WEIR__CAN_REDRIVE)) {
		CHECK_EQ(weir_queue_redrive(ctx, s, "q", NULL), -EOPNOTSUPP);
		store_end(ctx, s);
		return;
	}
	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), 0);
	id = put_with(ctx, s, "q", (weir_job_spec){ .key = "k" }, "x");
	put(ctx, s, "q", "y");
	for (int n = 0; n < 2; n++) { /* They may die once more. */
		for (int i = 0; i < 4; i++)
			CHECK_EQ(weir_job_nack(ctx, get(ctx, s, "q"), 0, "no"), 0);
		/* RabbitMQ brings them there in its own time. */
		while (counts(ctx, s, "q").dead < 2)
			CHECK_EQ(weir_sleep(ctx, WEIR_MS(5)), 0);
		CHECK_EQ(weir_queue_redrive(ctx, s, "q", NULL), 2);
		CHECK_EQ(weir_queue_redrive(ctx, s, "q", NULL), 0);
	}
	for (int i = 0; i < 2; i++) {
		j = get(ctx, s, "q");
		CHECK_EQ(weir_job_attempt(j), 1);
		CHECK(job_is(j, "y") || !strcmp(weir_job_id(j), id.text));
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	get_none(ctx, s, "q");
	store_end(ctx, s);
}

CONTRACT(a_lease_that_ran_out_is_stale_and_the_job_runs_again)
{
	weir_store *s = open_url(ctx, e);
	struct id id = put(ctx, s, "q", "x");
	weir_job *old = get_with(ctx, s, "q", (weir_take_options){ .lease_ns = WEIR_MS(50) });
	weir_job *j = get(ctx, s, "q");

	CHECK_STR(weir_job_id(j), id.text);
	if (can(e, WEIR__CAN_ATTEMPTS))
		CHECK_EQ(weir_job_attempt(j), 2);
	CHECK_EQ(weir_job_ack(ctx, old, NULL, 0), -ESTALE);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

CONTRACT(a_lease_goes_on_while_it_is_extended)
{
	weir_store *s = open_url(ctx, e);
	weir_job *j;

	put(ctx, s, "q", "x");
	j = get_with(ctx, s, "q", (weir_take_options){ .lease_ns = WEIR_SEC(60) });
	CHECK_EQ(weir_lease_extend(s, weir_job_id(j), weir_job_lease(j), WEIR_SEC(60)), 0);
	CHECK_EQ(weir_lease_extend(s, weir_job_id(j), "wrong", WEIR_SEC(60)), -ESTALE);
	CHECK_EQ(weir_lease_ack(ctx, s, weir_job_id(j), weir_job_lease(j), NULL, 0), 0);
	weir_job_release(j);
	store_end(ctx, s);
}

/* Longer than the engine itself would let it: somebody renews it. */
CONTRACT(a_worker_in_this_process_keeps_its_job_for_as_long_as_it_runs)
{
	weir_store *s = open_url(ctx, e);
	weir_queue_settings set = { .lease_ns = WEIR_SEC(2) };
	weir_job *j;

	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), 0);
	put(ctx, s, "q", "x");
	j = get_with(ctx, s, "q", (weir_take_options){ .renew = true });
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(4)), 0);
	get_none(ctx, s, "q");
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

CONTRACT(a_job_that_is_given_back_comes_again)
{
	weir_store *s = open_url(ctx, e);
	weir_job *j;

	put(ctx, s, "q", "x");
	CHECK_EQ(weir_job_return(get(ctx, s, "q")), 0);
	j = get(ctx, s, "q");
	if (can(e, WEIR__CAN_UNCOUNTED))
		CHECK_EQ(weir_job_attempt(j), 1);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

CONTRACT(the_same_key_is_the_same_job)
{
	weir_store *s = open_url(ctx, e);
	weir_job_spec spec = { .data = "x", .len = 1, .idempotency_key = "k" };
	char a[27], b[27];

	if (!can(e, WEIR__CAN_IDEMPOTENCY)) {
		CHECK_EQ(weir_job_put(ctx, s, "q", &spec, a), -EOPNOTSUPP);
		CHECK_STR(weir_store_lacks(s, &spec), "idempotency");
		store_end(ctx, s);
		return;
	}
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, a), 0);
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, b), 1);
	CHECK_STR(a, b);
	CHECK_EQ(weir_job_ack(ctx, get(ctx, s, "q"), NULL, 0), 0);
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, b), 1);
	get_none(ctx, s, "q");
	store_end(ctx, s);
}

CONTRACT(a_full_queue_refuses)
{
	weir_store *s = open_url(ctx, e);
	weir_queue_settings set = { .max = 3 };
	weir_job_spec spec = { .data = "x", .len = 1 };
	char id[27];
	int r;

	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), 0);
	if (can(e, WEIR__CAN_BOUND)) {
		for (int i = 0; i < 3; i++)
			CHECK_EQ(weir_job_put(ctx, s, "q", &spec, id), 0);
		/* RabbitMQ finds that it is full when it is over it, and takes jobs again when a
		 * fifth of it is free. */
		if (!strcmp(e->row->name, "RabbitMQ"))
			CHECK_EQ(weir_job_put(ctx, s, "q", &spec, id), 0);
		CHECK_EQ(weir_job_put(ctx, s, "q", &spec, id), -EAGAIN);
		CHECK_EQ(weir_job_ack(ctx, get(ctx, s, "q"), NULL, 0), 0);
		if (!strcmp(e->row->name, "RabbitMQ"))
			CHECK_EQ(weir_job_ack(ctx, get(ctx, s, "q"), NULL, 0), 0);
		while ((r = weir_job_put(ctx, s, "q", &spec, id)) == -EAGAIN)
			CHECK_EQ(weir_sleep(ctx, WEIR_MS(5)), 0);
		CHECK_EQ(r, 0);
	}
	store_end(ctx, s);
}

CONTRACT(what_it_cannot_do_is_refused_by_name)
{
	weir_store *s = open_url(ctx, e);
	const struct {
		enum weir__feature f;
		weir_job_spec spec;
	} puts[] = { { WEIR__CAN_DELAY, { .delay_ns = WEIR_SEC(1) } },
		     { WEIR__CAN_PRIORITY, { .priority = -1 } },
		     { WEIR__CAN_IDEMPOTENCY, { .idempotency_key = "k" } } };
	const struct {
		enum weir__feature f;
		weir_queue_settings set;
	} sets[] = { { WEIR__CAN_RATE, { .rate = 5 } },
		     { WEIR__CAN_CONCURRENCY, { .concurrency = 1 } },
		     { WEIR__CAN_CONCURRENCY, { .key_concurrency = 1 } },
		     { WEIR__CAN_PAUSE, { .paused = true } } };
	weir_job_info list[1];
	char id[27];
	int r;

	for (size_t i = 0; i < sizeof puts / sizeof *puts; i++) {
		bool yes = can(e, puts[i].f);

		CHECK_EQ(weir_job_put(ctx, s, "q", &puts[i].spec, id), yes ? 0 : -EOPNOTSUPP);
		if (yes)
			CHECK(!weir_store_lacks(s, &puts[i].spec));
		else
			CHECK_STR(weir_store_lacks(s, &puts[i].spec),
			          weir__features[puts[i].f].name);
	}
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
		CHECK_EQ(weir_queue_configure(ctx, s, "r", &sets[i].set),
		         can(e, sets[i].f) ? 0 : -EOPNOTSUPP);
	r = weir_cron_put(ctx, s, "c", "@daily", "q", "", 0);
	CHECK_EQ(r, can(e, WEIR__CAN_CRON) ? 0 : -EOPNOTSUPP);
	r = weir_job_list(s, "none", -1, NULL, list, 1);
	CHECK_EQ(r, can(e, WEIR__CAN_LOOK) ? 0 : -EOPNOTSUPP);
	r = weir_job_cancel(ctx, s, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
	CHECK_EQ(r, can(e, WEIR__CAN_CANCEL) ? -ENOENT : -EOPNOTSUPP);
	r = weir_job_retry(ctx, s, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
	CHECK_EQ(r, can(e, WEIR__CAN_RETRY) ? -ENOENT : -EOPNOTSUPP);
	store_end(ctx, s);
}

CONTRACT(many_at_once_are_each_answered)
{
	enum { N = 300 };
	weir_store *s = open_url(ctx, e);
	static weir_job_spec specs[N];
	static char ids[N][27], text[N][8];
	static int r[N];

	for (int i = 0; i < N; i++) {
		snprintf(text[i], sizeof text[i], "%d", i);
		specs[i] = (weir_job_spec){ .data = text[i], .len = strlen(text[i]) };
	}
	specs[7].priority = 5000; /* wrong */
	CHECK_EQ(weir_job_put_many(ctx, s, "q", specs, N, ids, r), 0);
	for (int i = 0; i < N; i++)
		CHECK_EQ(r[i], i == 7 ? -EINVAL : 0);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < i && i != 7; k++)
			CHECK(k == 7 || strcmp(ids[i], ids[k]) != 0);
	if (can(e, WEIR__CAN_COUNT))
		CHECK_EQ(counts(ctx, s, "q").queued, N - 1);
	for (int i = 0; i < N - 1; i++)
		CHECK_EQ(weir_job_ack(ctx, get(ctx, s, "q"), NULL, 0), 0);
	get_none(ctx, s, "q");
	store_end(ctx, s);
}

struct crew {
	unsigned seen[500];
	unsigned runs; /* atomic */
};

static int count_run(const weir_ctx *ctx, weir_job *j, void *arg)
{
	struct crew *c = arg;

	(void)ctx;
	__atomic_add_fetch(&c->seen[atoi(weir_job_data(j, NULL))], 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&c->runs, 1, __ATOMIC_RELEASE);
	return 0;
}

CONTRACT(workers_run_every_job_once)
{
	enum { N = 500 };
	weir_store *s = open_url(ctx, e);
	struct crew c = { .runs = 0 };
	weir_group g;
	char text[8];

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_workers_start(&g, s, "q", 8, count_run, &c), 0);
	for (int i = 0; i < N; i++) {
		snprintf(text, sizeof text, "%d", i);
		put(ctx, s, "q", text);
	}
	while (__atomic_load_n(&c.runs, __ATOMIC_ACQUIRE) < N)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(5)), 0);
	weir_group_drain(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < N; i++)
		CHECK_EQ(c.seen[i], 1);
	store_end(ctx, s);
}

CONTRACT(a_store_that_closes_gives_back_what_it_held)
{
	weir_store *s, *other;
	weir_job *held, *j;

	if (!can(e, WEIR__CAN_SHARE))
		return;
	s = open_url(ctx, e);
	other = open_url(ctx, e);
	put(ctx, s, "q", "x");
	held = get(ctx, s, "q");
	get_none(ctx, other, "q");
	store_end(ctx, s);
	j = get(ctx, other, "q");
	CHECK(job_is(j, "x"));
	CHECK_EQ(weir_job_ack(ctx, held, NULL, 0), -ESTALE);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, other);
}

/* Takers that come and go use up no attempts. */
CONTRACT(takers_that_leave_take_nothing_with_them)
{
	weir_store *s = open_url(ctx, e);
	weir_job *j;

	for (int i = 0; i < 5; i++)
		get_none(ctx, s, "q");
	put(ctx, s, "q", "x");
	j = get(ctx, s, "q");
	if (can(e, WEIR__CAN_ATTEMPTS))
		CHECK_EQ(weir_job_attempt(j), 1);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

#if defined(WEIR__RABBITMQ) || defined(WEIR__JETSTREAM)
static int take_one(const weir_ctx *ctx, void *arg)
{
	CHECK_EQ(weir_job_ack(ctx, get(ctx, arg, "q"), NULL, 0), 0);
	return 0;
}
#endif

#ifdef WEIR__JETSTREAM
static void a_stream_deleted_between_two_takes_is_made_again(const weir_ctx *ctx,
                                                             const struct engine *e)
{
	weir_store *s = open_url(ctx, e);
	int64_t until = weir_now() + WEIR_SEC(30);
	weir_job_spec spec = { .data = "b", .len = 1 };
	weir_group g;
	weir_bus *b;
	weir_msg m;
	char id[27];
	int r;

	put(ctx, s, "q", "a");
	CHECK_EQ(take_one(ctx, s), 0);
	CHECK_EQ(weir_bus_open(ctx, e->url, &b), 0);
	CHECK_EQ(weir_bus_request(ctx, b, "$JS.API.STREAM.DELETE.WEIR-q", "", 0, &m), 1);
	weir_msg_free(&m);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, take_one, s), 0); /* It finds it first, or the put. */
	while ((r = weir_job_put(ctx, s, "q", &spec, id)) == -ENOTCONN)
		CHECK(weir_now() < until);
	CHECK_EQ(r, 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_bus_close(b);
	store_end(ctx, s);
}

TASK(jetstream_a_stream_deleted_between_two_takes_is_made_again)
{
	over(ctx, "JetStream", a_stream_deleted_between_two_takes_is_made_again);
}
#endif

#ifdef WEIR__RABBITMQ
/* RabbitMQ closes the channel of who asks for the jobs of a queue that is not there. */
static void a_queue_deleted_between_two_takes_is_made_again(const weir_ctx *ctx,
                                                            const struct engine *e)
{
	weir_store *s = open_url(ctx, e);
	int port = atoi(strrchr(e->url, ':') + 1);
	int64_t until = weir_now() + WEIR_SEC(30);
	weir_group g;

	put(ctx, s, "q", "a");
	CHECK_EQ(take_one(ctx, s), 0);
	rabbit_clean(port);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, take_one, s), 0);
	while (!rabbit_has(port, "weir.queue.q")) {
		CHECK(weir_now() < until);
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(50)), 0);
	}
	put(ctx, s, "q", "b");
	CHECK_EQ(weir_group_wait(&g), 0);
	store_end(ctx, s);
}

/* Nothing is dropped without a word to the server, which would keep it for the connection's
 * life. */
static void a_double_of_a_held_job_comes_when_that_has_ended(const weir_ctx *ctx,
                                                             const struct engine *e)
{
	amqp_basic_properties_t props = { ._flags = AMQP_BASIC_MESSAGE_ID_FLAG };
	weir_store *s = open_url(ctx, e);
	amqp_connection_state_t c;
	struct id id = put(ctx, s, "q", "a");
	weir_job *held = get(ctx, s, "q"), *j;

	CHECK_STR(weir_job_id(held), id.text);
	c = rabbit_connect(atoi(strrchr(e->url, ':') + 1));
	props.message_id = amqp_cstring_bytes(id.text);
	CHECK_EQ(amqp_basic_publish(c, 1, amqp_empty_bytes, amqp_cstring_bytes("weir.queue.q"),
	                            false, false, &props, amqp_cstring_bytes("b")),
	         AMQP_STATUS_OK);
	get_none(ctx, s, "q");
	CHECK_EQ(weir_job_ack(ctx, held, NULL, 0), 0);
	j = get(ctx, s, "q");
	CHECK(job_is(j, "b"));
	CHECK_EQ(weir_job_attempt(j), 1);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	amqp_connection_close(c, AMQP_REPLY_SUCCESS);
	CHECK_EQ(amqp_destroy_connection(c), AMQP_STATUS_OK);
	store_end(ctx, s);
}

TASK(rabbitmq_a_double_of_a_held_job_comes_when_that_has_ended)
{
	over(ctx, "RabbitMQ", a_double_of_a_held_job_comes_when_that_has_ended);
}

/* Else the server would take back all that came over the channel. */
static void a_job_held_past_hold_is_given_back_once(const weir_ctx *ctx, const struct engine *e)
{
	weir_store *s = open_url(ctx, e);
	struct weir__rmq *rmq = s->far->engine;
	const struct weir__delivery *d;
	weir_job *held, *j;
	int64_t until;

	/* It is renewed after a third of this; heartbeats come in five seconds. */
	__atomic_store_n(&rmq->takes.silence_ns, WEIR_SEC(6), __ATOMIC_RELEASE);
	put(ctx, s, "q", "a");
	held = get_with(ctx, s, "q", (weir_take_options){ .lease_ns = WEIR_SEC(600) });
	weir__store_enter(s);
	d = weir__container(s->far->held.next, struct weir__hold, link)->d;
	weir__store_leave(s);
	CHECK_EQ(e->row->remote->extend(ctx, rmq, "q", d, &until), 0);
	rmq->url.hold_ns = WEIR_MS(1); /* The URL takes a minute at least. */
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(2)), 0);
	CHECK_EQ(e->row->remote->extend(ctx, rmq, "q", d, &until), -ESTALE);
	j = get(ctx, s, "q");
	CHECK(job_is(j, "a"));
	CHECK_EQ(weir_job_attempt(j), 2);
	CHECK_EQ(weir_job_ack(ctx, held, NULL, 0), -ESTALE);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	get_none(ctx, s, "q");
	store_end(ctx, s);
}

TASK(rabbitmq_a_job_held_past_hold_is_given_back_once)
{
	over(ctx, "RabbitMQ", a_job_held_past_hold_is_given_back_once);
}

/* With an id that is none of Weir's, or without one. */
static void a_message_that_somebody_else_put_is_a_job(const weir_ctx *ctx, const struct engine *e)
{
	static const char *const ids[] = { "7", NULL };
	amqp_basic_properties_t props = { ._flags = 0 };
	weir_store *s = open_url(ctx, e);
	amqp_connection_state_t c;

	put(ctx, s, "q", "a");
	CHECK_EQ(take_one(ctx, s), 0);
	c = rabbit_connect(atoi(strrchr(e->url, ':') + 1));
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		weir_job *j;

		props._flags = ids[i] ? AMQP_BASIC_MESSAGE_ID_FLAG : 0;
		props.message_id = amqp_cstring_bytes(ids[i] ? ids[i] : "");
		CHECK_EQ(amqp_basic_publish(c, 1, amqp_empty_bytes,
		                            amqp_cstring_bytes("weir.queue.q"), false, false,
		                            &props, amqp_cstring_bytes("b")),
		         AMQP_STATUS_OK);
		j = get(ctx, s, "q");
		CHECK(job_is(j, "b"));
		CHECK_EQ(strlen(weir_job_id(j)), WEIR_JOB_ID_LEN);
		CHECK_EQ(weir_job_nack(ctx, j, WEIR_MS(1), "once more"), 0);
		j = get(ctx, s, "q");
		CHECK(job_is(j, "b"));
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	get_none(ctx, s, "q");
	CHECK_EQ(counts(ctx, s, "q").dead, 0);
	amqp_connection_close(c, AMQP_REPLY_SUCCESS);
	CHECK_EQ(amqp_destroy_connection(c), AMQP_STATUS_OK);
	store_end(ctx, s);
}

TASK(rabbitmq_a_message_that_somebody_else_put_is_a_job)
{
	over(ctx, "RabbitMQ", a_message_that_somebody_else_put_is_a_job);
}

TASK(rabbitmq_a_queue_deleted_between_two_takes_is_made_again)
{
	over(ctx, "RabbitMQ", a_queue_deleted_between_two_takes_is_made_again);
}
#endif
