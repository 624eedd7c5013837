/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/queue_test.h"

struct dir {
	char path[64], spool[96];
};

static struct dir dir_new(void)
{
	struct dir d;

	strcpy(d.path, "/tmp/weir-spool-XXXXXX");
	CHECK(mkdtemp(d.path));
	snprintf(d.spool, sizeof d.spool, "%s/jobs.spool", d.path);
	return d;
}

static void dir_end(const struct dir *d)
{
	unlink(d->spool);
	CHECK_EQ(rmdir(d->path), 0); /* Nothing else was left in it. */
}

static weir_store *open_spool(const weir_ctx *ctx, const struct dir *d)
{
	return store_with(ctx, &(weir_store_options){ .spool = d->spool });
}

static size_t close_spool(const weir_ctx *ctx, weir_store *s)
{
	size_t n = 0;

	CHECK_EQ(weir_store_close(ctx, s, &n), 0);
	return n;
}

enum { KEPT = 40 };

static int stops_cleanly(const weir_ctx *ctx, void *arg)
{
	weir_store *s = open_spool(ctx, arg);

	for (int i = 0; i < KEPT; i++)
		(void)put(ctx, s, "q", "kept");
	weir_sim_crash(6);
	CHECK_EQ(close_spool(ctx, s), KEPT);
	return 0;
}

static int finds_all_or_nothing(const weir_ctx *ctx, void *arg)
{
	const struct dir *d = arg;
	bool written = access(d->spool, F_OK) == 0;

	CHECK_EQ(close_spool(ctx, open_spool(ctx, d)), written ? KEPT : 0);
	return 0;
}

TEST(a_crash_amid_the_clean_stop_leaves_a_whole_spool_or_none)
{
	char tmp[128];
	int crashes = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct dir d = dir_new();
		pid_t pid = fork();
		int status;

		if (pid == 0)
			_exit(weir_sim(seed, stops_cleanly, &d));
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status));
		CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 86);
		crashes += WEXITSTATUS(status) == 86;
		CHECK_EQ(weir_sim(seed, finds_all_or_nothing, &d), 0);
		snprintf(tmp, sizeof tmp, "%s.tmp", d.spool);
		unlink(tmp);
		dir_end(&d);
	}
	CHECK(crashes > 5 && crashes < 40);
}

SIM(what_queues_hold_is_there_again_after_a_clean_stop, 20)
{
	struct dir d = dir_new();
	weir_store *s = open_spool(ctx, &d);
	struct id queued, leased, delayed, dead, done;
	weir_job_info i;
	weir_job *j, *held;
	int64_t due;

	leased = put(ctx, s, "q", "leased");
	held = take(ctx, s, "q");
	queued =
		put_with(ctx, s, "q",
	                 (weir_job_spec){ .content_type = "text/plain", .key = "k", .priority = 3 },
	                 "queued");
	delayed = put_with(ctx, s, "q", (weir_job_spec){ .delay_ns = WEIR_HOUR(1) }, "delayed");
	dead = put_with(ctx, s, "d", (weir_job_spec){ .attempts_max = 1 }, "dead");
	CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "d"), 0, "poison"), 0);
	done = put(ctx, s, "d", "done");
	take_and_ack(ctx, s, "d", "done");
	due = job(ctx, s, delayed).due_at;
	CHECK_EQ(close_spool(ctx, s), 3);
	CHECK_EQ(weir_job_ack(ctx, held, NULL, 0), -ESTALE);
	CHECK_EQ(access(d.spool, F_OK), 0);

	CHECK_EQ(weir_sleep(ctx, WEIR_MIN(10)), 0);
	s = open_spool(ctx, &d);
	CHECK(access(d.spool, F_OK) < 0);
	CHECK_STR(state(ctx, s, leased), "queued");
	CHECK_EQ(job(ctx, s, leased).attempt, 0);
	CHECK_STR(state(ctx, s, queued), "queued");
	CHECK_STR(state(ctx, s, delayed), "delayed");
	CHECK_STR(state(ctx, s, dead), "dead");
	CHECK_STR(job(ctx, s, dead).error, "poison");
	CHECK_EQ(weir_job_get(ctx, s, done.text, false, &i), -ENOENT);
	i = job(ctx, s, queued);
	CHECK_STR(i.content_type, "text/plain");
	CHECK_EQ(i.priority, 3);
	CHECK(job(ctx, s, delayed).due_at >= due &&
	      job(ctx, s, delayed).due_at < due + WEIR_SEC(1));
	take_and_ack(ctx, s, "q", "leased");
	take_and_ack(ctx, s, "q", "queued");
	CHECK_EQ(weir_job_take(ctx, s, "q", NULL, &j), 1);
	CHECK(job_is(j, "delayed"));
	CHECK(weir_wall() >= due && weir_wall() < due + WEIR_SEC(1));
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	CHECK_EQ(weir_queue_redrive(ctx, s, "d", NULL), 1);
	take_and_ack(ctx, s, "d", "dead");
	CHECK_EQ(close_spool(ctx, s), 0);
	dir_end(&d);
}

SIM(a_dead_job_is_kept_no_longer_for_a_restart, 2)
{
	struct dir d = dir_new();
	weir_store *s = open_spool(ctx, &d);
	struct id dead = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 1 }, "x");
	weir_queue_info q;
	weir_job_info i;

	CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, "poison"), 0);
	CHECK_EQ(close_spool(ctx, s), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(23)), 0);
	s = open_spool(ctx, &d);
	CHECK_STR(state(ctx, s, dead), "dead");
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(2)), 0);
	CHECK_EQ(weir_job_get(ctx, s, dead.text, false, &i), -ENOENT);
	dead = put_with(ctx, s, "q", (weir_job_spec){ .attempts_max = 1 }, "y");
	CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, "poison"), 0);
	CHECK_EQ(close_spool(ctx, s), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(25)), 0);
	s = open_spool(ctx, &d);
	CHECK_EQ(weir_queue_info_get(s, "q", &q), -ENOENT);
	CHECK_EQ(close_spool(ctx, s), 0);
	dir_end(&d);
}

SIM(order_survives_and_new_jobs_come_behind, 5)
{
	struct dir d = dir_new();
	weir_store *s = open_spool(ctx, &d);
	struct id last, next;
	weir_job *j;

	put(ctx, s, "q", "1");
	put(ctx, s, "q", "2");
	last = put(ctx, s, "q", "3");
	j = take(ctx, s, "q");
	CHECK_EQ(weir_job_return(j), 0);
	CHECK_EQ(close_spool(ctx, s), 3);
	s = open_spool(ctx, &d);
	next = put(ctx, s, "q", "4");
	CHECK(strcmp(last.text, next.text) < 0);
	for (int i = 1; i <= 4; i++)
		take_and_ack(ctx, s, "q", (char[]){ (char)('0' + i), 0 });
	CHECK_EQ(close_spool(ctx, s), 0);
	dir_end(&d);
}

SIM(settings_crons_and_idempotency_keys_survive, 5)
{
	struct dir d = dir_new();
	weir_store *s = open_spool(ctx, &d);
	weir_job_spec spec = { .idempotency_key = "once" };
	struct id first = put_with(ctx, s, "q", spec, "x"), again;
	weir_queue_settings set;
	weir_cron_info c;

	take_and_ack(ctx, s, "q", "x");
	configure(ctx, s, "r",
	          (weir_queue_settings){ .max = 7, .rate = 2.5, .concurrency = 3, .paused = true });
	CHECK_EQ(weir_cron_put(ctx, s, "tick", "@every 1h", "q", "data", 4), 0);
	CHECK_EQ(close_spool(ctx, s), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_HOUR(5)),
	         0); /* Five ticks are missed: one makes up for them. */
	s = open_spool(ctx, &d);
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, again.text), 1);
	CHECK_STR(again.text, first.text);
	set = info(s, "r").set;
	CHECK_EQ(set.max, 7);
	CHECK(set.rate == 2.5);
	CHECK_EQ(set.concurrency, 3);
	CHECK(set.paused);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(info(s, "q").queued, 1);
	take_and_ack(ctx, s, "q", "data");
	CHECK_EQ(weir_cron_get(s, "tick", &c), 0);
	CHECK(c.next_at > weir_wall() && c.next_at <= weir_wall() + WEIR_HOUR(1));
	CHECK_EQ(weir_cron_delete(ctx, s, "tick"), 0);
	close_spool(ctx, s);
	dir_end(&d);
}

SIM(with_nothing_to_keep_no_file_is_written, 2)
{
	struct dir d = dir_new();
	weir_store *s = open_spool(ctx, &d);

	put(ctx, s, "q", "x");
	take_and_ack(ctx, s, "q", "x");
	CHECK_EQ(close_spool(ctx, s), 0);
	CHECK(access(d.spool, F_OK) < 0);
	dir_end(&d);
}

SIM(what_was_accepted_comes_back_also_under_smaller_bounds, 2)
{
	struct dir d = dir_new();
	weir_store *s = open_spool(ctx, &d);

	put(ctx, s, "a", "x");
	put(ctx, s, "a", "y");
	put(ctx, s, "b", "z");
	CHECK_EQ(close_spool(ctx, s), 3);
	s = store_with(ctx, &(weir_store_options){ .spool = d.spool,
	                                           .queue_max = 1,
	                                           .queues_max = 1,
	                                           .memory_max = 100 });
	take_and_ack(ctx, s, "a", "x");
	take_and_ack(ctx, s, "a", "y");
	take_and_ack(ctx, s, "b", "z");
	close_spool(ctx, s);
	dir_end(&d);
}

SIM(a_cancelled_program_still_keeps_its_jobs, 20)
{
	struct dir d = dir_new();
	weir_ctx child;
	weir_store *s;

	CHECK_EQ(weir_scope_open(ctx, &child), 0);
	s = open_spool(&child, &d);
	put(&child, s, "q", "x");
	weir_scope_cancel(child.scope, -ECANCELED, "test");
	CHECK_EQ(close_spool(&child, s), 1);
	weir_scope_close(child.scope);
	s = open_spool(ctx, &d);
	take_and_ack(ctx, s, "q", "x");
	close_spool(ctx, s);
	dir_end(&d);
}

/* ---- Files that are not to be trusted ---- */

static size_t slurp(const char *path, unsigned char *buf, size_t cap)
{
	FILE *f = fopen(path, "r");
	size_t n;

	CHECK(f);
	n = fread(buf, 1, cap, f);
	fclose(f);
	return n;
}

static void spit(const char *path, const void *buf, size_t n)
{
	FILE *f = fopen(path, "w");

	CHECK(f && (!n || fwrite(buf, n, 1, f) == 1) && fclose(f) == 0);
}

/* The file is refused and stays as it is. */
static void refused(const weir_ctx *ctx, const struct dir *d, const void *buf, size_t n)
{
	static unsigned char after[65536];
	weir_store *s;

	spit(d->spool, buf, n);
	CHECK_EQ(weir_store_open(ctx, "mem:", &(weir_store_options){ .spool = d->spool }, &s),
	         -EBADMSG);
	CHECK_EQ(slurp(d->spool, after, sizeof after), n);
	CHECK(!memcmp(after, buf, n));
}

static size_t make_spool(const weir_ctx *ctx, const struct dir *d, unsigned char *buf, size_t cap)
{
	weir_store *s = open_spool(ctx, d);

	put_with(ctx, s, "q", (weir_job_spec){ .idempotency_key = "i", .key = "k" }, "payload");
	put_with(ctx, s, "q", (weir_job_spec){ .delay_ns = WEIR_HOUR(1) }, "later");
	configure(ctx, s, "q", (weir_queue_settings){ .max = 7 });
	CHECK_EQ(weir_cron_put(ctx, s, "c", "@hourly", "q", "x", 1), 0);
	close_spool(ctx, s);
	return slurp(d->spool, buf, cap);
}

SIM(a_damaged_spool_is_refused_whatever_byte_is_wrong, 1)
{
	static unsigned char buf[65536];
	struct dir d = dir_new();
	size_t n = make_spool(ctx, &d, buf, sizeof buf);

	CHECK_EQ(dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO),
	         STDERR_FILENO); /* Hundreds of refusals. */
	for (size_t i = 0; i < n; i++) {
		buf[i] ^= 0x40;
		refused(ctx, &d, buf, n);
		buf[i] ^= 0x40;
	}
	for (size_t i = 0; i < n; i++) /* Cut short, everywhere. */
		refused(ctx, &d, buf, i);
	buf[n] = 0;
	refused(ctx, &d, buf, n + 1);
	spit(d.spool, buf, n);
	store_end(ctx, open_spool(ctx, &d)); /* And whole it is taken. */
	dir_end(&d);
}

SIM(a_foreign_file_and_one_from_the_future_are_refused, 1)
{
	struct dir d = dir_new();
	char big[5000];

	memset(big, 'x', sizeof big);
	refused(ctx, &d, "", 0);
	refused(ctx, &d, "#!/bin/sh\n", 10);
	refused(ctx, &d, big, sizeof big);
	refused(ctx, &d, "WEIRSPOL\2\0\0\0", 12);
	dir_end(&d);
}

SIM(a_directory_in_place_of_the_spool_is_refused, 1)
{
	struct dir d = dir_new();
	weir_store *s;

	CHECK_EQ(mkdir(d.spool, 0700), 0);
	CHECK_EQ(weir_store_open(ctx, "mem:", &(weir_store_options){ .spool = d.spool }, &s),
	         -EBADMSG);
	CHECK_EQ(rmdir(d.spool), 0);
	dir_end(&d);
}

SIM(a_spool_that_cannot_be_written_is_an_error, 1)
{
	weir_store *s = store_with(
		ctx, &(weir_store_options){ .spool = "/tmp/weir-no-such-directory/spool" });
	size_t n = 9;

	put(ctx, s, "q", "x");
	CHECK_EQ(weir_store_close(ctx, s, &n), -ENOENT);
	CHECK_EQ(n, 0);
}
