/* SPDX-License-Identifier: MIT */
/* White box: queues in an engine that is made up here, and goes away, is full or brings what finds
 * no memory when the test wants it. */
#include <string.h>

#include "queue/far.h"

/* Of a job of the type "large" there is no copy while memory is short. */
static bool short_of_memory;

static struct weir__record *job_new(const weir_job_spec *spec)
{
	bool none = __atomic_load_n(&short_of_memory, __ATOMIC_ACQUIRE) && spec->content_type &&
	            !strcmp(spec->content_type, "large");

	return none ? NULL : weir__job_new(spec);
}
#define weir__job_new job_new
#include "../../src/queue/remote.c"
const struct weir__engine_row *known_row_of(const char *url);
#define weir__engine_row_of known_row_of
#include "../../src/queue/engines.c"
#undef weir__engine_row_of
#include "queue_test.h"

#include <weir/group.h>

/* ---- The engine ---- */

static struct {
	bool up;
	unsigned arrived;   /* puts that were taken */
	unsigned asked;     /* whether it is up */
	unsigned made, max; /* how often a queue was, and with which bound at last */
	unsigned acked, extended;
	bool given;
	bool late;           /* a fetch brings one when nobody waits for it any more */
	weir_store *changes; /* a queue's settings, while it is made */
} engine;

static int open_it(const weir_ctx *ctx, const char *at, const weir_store_options *opt, void **ret)
{
	(void)ctx;
	(void)at;
	(void)opt;
	*ret = &engine;
	return 0;
}

static void close_it(const weir_ctx *ctx, void *e)
{
	(void)ctx;
	(void)e;
}

static bool is_up(void *e)
{
	(void)e;
	CHECK(__atomic_add_fetch(&engine.asked, 1, __ATOMIC_RELAXED) < 100000);
	return __atomic_load_n(&engine.up, __ATOMIC_ACQUIRE);
}

static int make(const weir_ctx *ctx, void *e, const char *queue, const weir_queue_settings *set)
{
	weir_store *s = engine.changes;

	(void)e;
	engine.made++;
	engine.max = (unsigned)set->max;
	engine.changes = NULL;
	return s ? weir_queue_configure(ctx, s, queue, &(weir_queue_settings){ .max = 5 }) : 0;
}

/* Queues whose names begin with "full" are full. */
static int put_all(const weir_ctx *ctx, void *e, const char *queue,
                   const struct weir__remote_job *jobs, size_t n, int *ret)
{
	(void)ctx;
	(void)jobs;
	for (size_t i = 0; i < n; i++) {
		ret[i] = !is_up(e) ? -ENOTCONN : !strncmp(queue, "full", 4) ? -EAGAIN : 0;
		if (ret[i] == 0)
			__atomic_fetch_add(&engine.arrived, 1, __ATOMIC_RELEASE);
	}
	return 0;
}

static int fits(void *e, const struct weir__remote_job *job)
{
	(void)e;
	(void)job;
	return 0;
}

/* When two wait: one that is large, and one that is not. */
static int fetch_two(const weir_ctx *ctx, void *e, const char *queue, size_t max,
                     struct weir__delivery **ret)
{
	struct weir__remote_job job = { .id = "large", .content_type = "large", .created_at = 1 };
	int r;

	(void)e;
	(void)queue;
	if (engine.late && !engine.given) {
		weir_ctx shield = weir_ctx_shield(ctx, WEIR_SEC(2));

		engine.given = true;
		job.id = "01JDV0000000000000000000AA";
		CHECK_EQ(weir_sleep(&shield, WEIR_SEC(1)), 0);
		ret[0] = weir__delivery_new(&job, 1, "1", weir_now() + WEIR_SEC(60));
		return 1;
	}
	if (engine.given)
		return (r = weir_sleep(ctx, WEIR_MS(100))) < 0 ? r : 0;
	if (max < 2)
		return (r = weir_sleep(ctx, WEIR_MS(1))) < 0 ? r : 0;
	engine.given = true;
	ret[0] = weir__delivery_new(&job, 1, "1", weir_now() + WEIR_SEC(60));
	job.id = job.content_type = "small";
	ret[1] = weir__delivery_new(&job, 1, "2", weir_now() + WEIR_SEC(60));
	return 2;
}

static int ack(const weir_ctx *ctx, void *e, const char *queue, const struct weir__delivery *d)
{
	engine.acked++;
	(void)ctx;
	(void)e;
	(void)queue;
	(void)d;
	return 0;
}

static int nack(const weir_ctx *ctx, void *e, const char *queue, const struct weir__delivery *d,
                int64_t delay_ns, bool counted)
{
	(void)delay_ns;
	(void)counted;
	return ack(ctx, e, queue, d);
}

static int bury(const weir_ctx *ctx, void *e, const char *queue, const struct weir__delivery *d,
                const char *why)
{
	(void)why;
	return ack(ctx, e, queue, d);
}

static int extend(const weir_ctx *ctx, void *e, const char *queue, const struct weir__delivery *d,
                  int64_t *ret_until_ns)
{
	(void)ctx;
	(void)e;
	(void)queue;
	(void)d;
	engine.extended++;
	*ret_until_ns = weir_now() + WEIR_SEC(60);
	return 0;
}

static int count_it(const weir_ctx *ctx, void *e, const char *queue,
                    struct weir__remote_counts *ret)
{
	(void)ctx;
	(void)e;
	(void)queue;
	*ret = (struct weir__remote_counts){ .queued = 0 };
	return 0;
}

static const struct weir__remote_engine made_up = { .open = open_it,
	                                            .close = close_it,
	                                            .up = is_up,
	                                            .make = make,
	                                            .put = put_all,
	                                            .fits = fits,
	                                            .fetch = fetch_two,
	                                            .ack = ack,
	                                            .nack = nack,
	                                            .bury = bury,
	                                            .extend = extend,
	                                            .count = count_it };

const struct weir__engine_row *weir__engine_row_of(const char *url)
{
	static const struct weir__engine_row row = {
		"made up", { "made-up" }, NULL, "not at all", BIT(SHARE) | BIT(LEASE),
		0,         NULL,          NULL, &made_up,     true
	};

	return strncmp(url, "made-up:", 8) ? known_row_of(url) : &row;
}

/* ---- What it shows ---- */

TASK(what_is_spilled_is_forwarded_however_many_queues_are_full_there)
{
	weir_store_options opt = { .spill = "mem:" };
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(20));
	weir_store *s;
	char name[16], id[27];
	int r = 0;

	engine.up = false;
	CHECK_EQ(weir_store_open(ctx, "made-up://here", &opt, &s), 0);
	for (int i = 0; i < 70; i++) { /* more than are looked at at a time */
		snprintf(name, sizeof name, "full%02d", i);
		CHECK_EQ(weir_job_put(ctx, s, name, &(weir_job_spec){ .data = "x", .len = 1 }, id),
		         0);
	}
	CHECK_EQ(weir_job_put(ctx, s, "last", &(weir_job_spec){ .data = "x", .len = 1 }, id), 0);
	__atomic_store_n(&engine.up, true, __ATOMIC_RELEASE);
	while (r == 0 && !__atomic_load_n(&engine.arrived, __ATOMIC_ACQUIRE))
		r = weir_sleep(&soon, WEIR_MS(5));
	CHECK_EQ(r, 0);
	CHECK_EQ(engine.arrived, 1);
	CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
}

SIM(what_cannot_be_forwarded_yet_is_not_asked_for_without_a_pause, 5)
{
	weir_store_options opt = { .spill = "mem:" };
	weir_ctx soon;
	weir_store *s;
	char id[27];
	int r = 0;

	engine.up = false;
	engine.arrived = 0;
	CHECK_EQ(weir_store_open(ctx, "made-up://here", &opt, &s), 0);
	CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ .data = "x", .len = 1 }, id), 0);
	CHECK_EQ(weir_queue_pause(ctx, s->far->spill, "q", true), 0);
	engine.up = true;
	engine.asked = 0;
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(10)), 0);
	CHECK(engine.asked >= 10 && engine.asked < 100);
	CHECK_EQ(engine.arrived, 0);
	CHECK_EQ(weir_queue_pause(ctx, s->far->spill, "q", false), 0);
	soon = weir_ctx_timeout(ctx, WEIR_MS(100)); /* It is waited for, not looked for. */
	while (r == 0 && !engine.arrived)
		r = weir_sleep(&soon, WEIR_MS(5));
	CHECK_EQ(r, 0);
	CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
}

SIM(settings_that_come_while_a_queue_is_made_are_made_too, 5)
{
	weir_store *s;
	char id[27];

	memset(&engine, 0, sizeof engine);
	engine.up = true;
	CHECK_EQ(weir_store_open(ctx, "made-up://here", NULL, &s), 0);
	engine.changes = s;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_job_put(ctx, s, "q", &(weir_job_spec){ .data = "x", .len = 1 }, id),
		         0);
	CHECK_EQ(engine.made, 2);
	CHECK_EQ(engine.max, 5);
	CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
}

SIM(a_job_whose_taker_has_left_can_be_cancelled_and_is_kept_no_longer, 5)
{
	static const char id[] = "01JDV0000000000000000000AA";
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(100));
	weir_job_info info;
	weir_store *s;
	weir_job *j;

	memset(&engine, 0, sizeof engine);
	engine.up = engine.late = true;
	CHECK_EQ(weir_store_open(ctx, "made-up://here", NULL, &s), 0);
	CHECK_EQ(weir_job_take(&soon, s, "q", NULL, &j), -ETIMEDOUT);
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(1100)), 0);
	CHECK_EQ(weir_job_get(ctx, s, id, false, &info), 0);
	CHECK_EQ(info.state, WEIR_QUEUED);
	CHECK_EQ(weir_job_cancel(ctx, s, id), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(100)), 0);
	CHECK_EQ(engine.acked, 1);
	CHECK_EQ(engine.extended, 0);
	CHECK_EQ(weir_job_get(ctx, s, id, false, &info), 0);
	CHECK_EQ(info.state, WEIR_CANCELLED);
	CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
}

struct taking {
	weir_store *s;
	unsigned small, large; /* atomic: taken */
};

static int take_one(const weir_ctx *ctx, void *arg)
{
	struct taking *t = arg;
	weir_job *j;
	int r = weir_job_take(ctx, t->s, "q", NULL, &j);

	if (r <= 0)
		return r;
	__atomic_fetch_add(strcmp(weir_job_content_type(j), "large") ? &t->small : &t->large, 1,
	                   __ATOMIC_RELEASE);
	return weir_job_ack(ctx, j, NULL, 0);
}

static bool comes(const weir_ctx *ctx, const unsigned *n)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(20));
	int r = 0;

	while (r == 0 && !__atomic_load_n(n, __ATOMIC_ACQUIRE))
		r = weir_sleep(&soon, WEIR_MS(5));
	return r == 0;
}

TASK(a_job_that_finds_no_memory_keeps_none_of_those_behind_it)
{
	struct taking t = { .small = 0 };
	weir_group g;

	engine.up = true;
	short_of_memory = true;
	CHECK_EQ(weir_store_open(ctx, "made-up://here", NULL, &t.s), 0);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, take_one, &t), 0);
	CHECK_EQ(weir_group_go(&g, take_one, &t), 0);
	CHECK(comes(ctx, &t.small));
	CHECK_EQ(__atomic_load_n(&t.large, __ATOMIC_ACQUIRE), 0);
	__atomic_store_n(&short_of_memory, false, __ATOMIC_RELEASE); /* Then it comes, too. */
	CHECK(comes(ctx, &t.large));
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(weir_store_close(ctx, t.s, NULL), 0);
}
