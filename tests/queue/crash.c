/* SPDX-License-Identifier: MIT */
/* Power is lost at any moment of a durable store's life, and what was answered is there when it
 * comes back; where a sync is left out, this finds it. */
#include "crash_disk.h"

#include <errno.h>
#include <weir/group.h>

#include "queue/sqlite.h"
#include "queue_test.h"

#include "base/log.h"

enum { JOBS = 48, LATE = 6, LIVES = 3, SEARCHED = 6, TASKS = 3 }; /* jobs at most in a life */

static struct { /* what was answered */
	char id[27];
	bool os;                 /* its queue's durability */
	bool kept, acked, tried; /* put answered; ack answered; an ack was tried */
} jobs[JOBS * (SEARCHED + 1)];
static int jobs_n, jobs_max;
static struct { /* in memory only when they were put */
	char id[27];
	bool kept; /* the queue was made durable, and that answered */
} late[LATE * (SEARCHED + 1)];
static int late_n, late_max;
static const char *wrong; /* the first thing that was not as it should be */

static void say(const char *what)
{
	if (!wrong)
		wrong = what;
}

static int producer(const weir_ctx *ctx, void *arg)
{
	weir_store *s = arg;

	while (!disk_crashed() && jobs_n < jobs_max) {
		int n = jobs_n++;
		char payload[700];
		size_t len = 4 + weir_random(sizeof payload - 4);
		weir_job_spec spec = { .data = payload, .len = len };

		memset(payload, n, sizeof payload);
		memcpy(payload, &n, sizeof n);
		if (weir_random(4) == 0)
			spec.delay_ns = WEIR_MS(weir_random(20));
		/* What the system keeps may go with the power, and takes nothing along. */
		jobs[n].os = weir_random(4) == 0;
		jobs[n].kept =
			weir_job_put(ctx, s, jobs[n].os ? "os" : "q", &spec, jobs[n].id) == 0 &&
			!jobs[n].os;
		weir_sleep(ctx, WEIR_MS(weir_random(5)));
	}
	return 0;
}

static int worker(const weir_ctx *ctx, void *arg)
{
	weir_store *s = arg;
	const char *queue = weir_random(3) ? "q" : "os";
	weir_ctx until = weir_ctx_timeout(ctx, WEIR_SEC(2));
	weir_job *j;

	while (!disk_crashed() && weir_job_take(&until, s, queue, NULL, &j) > 0) {
		size_t len;
		int n;

		memcpy(&n, weir_job_data(j, &len), sizeof n);
		if (n < 0 || n >= jobs_n ||
		    (len > 4 && ((const char *)weir_job_data(j, NULL))[4] != (char)n)) {
			say("a payload is not what was put");
			return weir_job_return(j);
		}
		if (jobs[n].acked)
			say("a job ran although its ack was answered");
		weir_sleep(ctx, WEIR_MS(weir_random(5)));
		if (weir_random(8) == 0) {
			weir_job_nack(ctx, j, WEIR_MS(weir_random(10)), "no");
		} else {
			jobs[n].tried = true;
			jobs[n].acked |= weir_job_ack(ctx, j, "r", 1) == 0 && !jobs[n].os;
		}
	}
	return 0;
}

static int put_late(const weir_ctx *ctx, weir_store *s, int n, char id[27])
{
	char key[24];
	weir_job_spec spec = { .data = &n, .len = sizeof n, .idempotency_key = key };

	snprintf(key, sizeof key, "late %d", n);
	return weir_job_put(ctx, s, "late", &spec, id);
}

/* Jobs that are in memory only, and are kept after all when their queue becomes durable. */
static int latecomer(const weir_ctx *ctx, void *arg)
{
	const weir_queue_settings memory = { .durability = WEIR_MEMORY }, fsync = { 0 };
	weir_store *s = arg;

	while (!disk_crashed() && late_n < late_max) {
		int from = late_n;

		if (weir_queue_configure(ctx, s, "late", &memory) < 0)
			return 0;
		for (int k = (int)weir_random(3); k >= 0 && late_n < late_max; k--) {
			int n = late_n++;

			if (put_late(ctx, s, n, late[n].id) < 0)
				return 0;
			weir_sleep(ctx, WEIR_MS(weir_random(5)));
		}
		if (weir_queue_configure(ctx, s, "late", &fsync) == 0)
			while (from < late_n)
				late[from++].kept = true;
		weir_sleep(ctx, WEIR_MS(weir_random(10)));
	}
	return 0;
}

static void check_late(const weir_ctx *ctx, weir_store *s)
{
	for (int n = 0; n < late_n && !disk_crashed(); n++) {
		weir_job_info i;
		char id[27];
		int r;

		if (!late[n].kept)
			continue;
		r = weir_job_get(ctx, s, late[n].id, true, &i);
		if (r == 0) {
			if (memcmp(i.data, &n, sizeof n))
				say("a payload is not what was put");
			weir_job_info_free(&i);
		} else if (!disk_crashed()) {
			say("a job that was kept late is gone");
		}
		r = put_late(ctx, s, n, id);
		if (r == 0 || (r == 1 && strcmp(id, late[n].id)))
			say("the key of a job that was kept late is gone");
	}
}

/* Is everything there that was answered? */
static void check(const weir_ctx *ctx, weir_store *s)
{
	for (int n = 0; n < jobs_n; n++) {
		weir_job_info i;
		int r;

		if (!jobs[n].kept)
			continue;
		r = weir_job_get(ctx, s, jobs[n].id, true, &i);
		if (r == -EIO && disk_crashed())
			return; /* The power went while this looked; the next life looks again. */
		if (r < 0) {
			say("a job that was accepted is gone");
			continue;
		}
		if (jobs[n].acked && i.state != WEIR_DONE)
			say("an ack that was answered is gone");
		if (!jobs[n].tried && i.state == WEIR_DONE)
			say("a job is done that nobody acknowledged");
		if (memcmp(i.data, &n, sizeof n))
			say("a payload is not what was put");
		weir_job_info_free(&i);
	}
}

static void lives(const weir_ctx *ctx, uint64_t seed, int n)
{
	weir_store *s;

	disk_init(seed);
	/* A missing sync of the log's beginning shows only where it begins anew often. */
	weir__sqlite_log_frames = seed % 3 ? (disk_skip ? 4 : 12) : 30;
	/* In every third one the second file comes into use, as if somebody read the first. */
	weir__sqlite_log_cap = seed % 3 ? 1 << 20 : 20;
	memset(jobs, 0, sizeof jobs);
	memset(late, 0, sizeof late);
	jobs_n = jobs_max = late_n = late_max = 0;
	wrong = NULL;
	for (int life = 0; life <= n && !wrong; life++) {
		int r;
		weir_group g;

		jobs_max += JOBS;
		late_max += LATE;
		if (life < n)
			disk_crash_after((int)weir_random(life ? 120 : 200));
		r = weir_store_open(ctx, "sqlite:jobs.db", NULL, &s);
		if (r < 0) {
			if (!disk_crashed())
				say("the file cannot be opened any more");
			disk_restart();
			continue;
		}
		check(ctx, s);
		check_late(ctx, s);
		weir_queue_configure(ctx, s, "os", &(weir_queue_settings){ .durability = WEIR_OS });
		weir_group_init(&g, ctx);
		weir_group_go(&g, latecomer, s);
		for (int i = 0; i < TASKS; i++) {
			weir_group_go(&g, producer, s);
			weir_group_go(&g, worker, s);
		}
		weir_group_wait(&g);
		weir_store_close(ctx, s, NULL);
		disk_restart(); /* Also after a clean close: then nothing may be missing. */
	}
	if (!wrong && weir_store_open(ctx, "sqlite:jobs.db", NULL, &s) == 0) {
		check(ctx, s);
		check_late(ctx, s);
		weir_store_close(ctx, s, NULL);
	}
	disk_fini();
}

static void quiet(void)
{
	/* CRASH_LOG=1 with --seed shows what the store says. */
	weir__log_set(getenv("CRASH_LOG") ? WEIR__DEBUG : WEIR__ERROR + 1, WEIR__LOG_TEXT);
	weir__cold_window = 4;
}

SIM(power_may_be_lost_at_any_moment, 10000)
{
	if (!test_long && *test_seed > 300)
		return; /* A thousand take too long under a sanitizer. */
	quiet();
	lives(ctx, *test_seed, LIVES);
	if (wrong)
		test_fail(__FILE__, __LINE__, "%s", wrong);
}

static int one(const weir_ctx *ctx, void *arg)
{
	lives(ctx, *(uint64_t *)arg, SEARCHED);
	return 0;
}

/* How many seeds it takes to find that these syncs are not done; 0: a thousand do not. */
static uint64_t finds(enum disk_sync kind)
{
	quiet();
	disk_skip = kind;
	for (uint64_t seed = 1; seed <= 1000; seed++) {
		CHECK_EQ(weir_sim(seed, one, &seed), 0);
		if (wrong) {
			printf("# %llu seeds: %s\n", (unsigned long long)seed, wrong);
			return seed;
		}
	}
	return 0;
}

TEST(a_commit_that_is_not_synced_is_found)
{
	CHECK(finds(SYNC_LOG) > 0);
}

TEST(a_log_brought_home_without_a_sync_is_found)
{
	CHECK(finds(SYNC_DATABASE) > 0);
}

TEST(a_beginning_of_the_log_that_is_not_synced_is_found)
{
	CHECK(finds(SYNC_LOG_HEAD) > 0);
}
