/* SPDX-License-Identifier: MIT */
/* Jobs that outlive the store: every field comes back, and what was answered is in the file. */
#include "queue/lockfile.h"
#include "store_file.h"

TASK(a_job_that_was_put_is_there_when_the_store_opens_again)
{
	weir_store *s;
	struct id id;

	fresh();
	s = reopen(ctx, NULL);
	id = put_with(ctx, s, "q",
	              (weir_job_spec){ .priority = -3, .key = "k", .content_type = "a/b" }, "hi");
	s = reopen(ctx, s);
	CHECK_STR(state(ctx, s, id), "queued");
	CHECK_EQ(job(ctx, s, id).priority, -3);
	CHECK_STR(job(ctx, s, id).content_type, "a/b");
	take_and_ack(ctx, s, "q", "hi");
	s = reopen(ctx, s);
	CHECK_STR(state(ctx, s, id), "done");
	take_none(ctx, s, "q");
	store_end(ctx, s);
	clean();
}

TASK(a_second_store_on_the_same_file_is_refused)
{
	weir_store *s, *second = NULL;
	char link[80], by_link[90];

	fresh();
	snprintf(link, sizeof link, "%s/link.db", dir);
	snprintf(by_link, sizeof by_link, "sqlite:%s", link);
	CHECK_EQ(symlink(file, link), 0); /* To what is not there yet. */
	CHECK_EQ(weir_store_open(ctx, by_link, NULL, &s), 0);
	put(ctx, s, "q", "one");
	CHECK_EQ(weir_store_open(ctx, url, NULL, &second), -EBUSY);
	CHECK_EQ(weir_store_open(ctx, by_link, NULL, &second), -EBUSY);
	CHECK(second == NULL);
	s = reopen(ctx, s);
	take_soon(ctx, s, "q", "one");
	store_end(ctx, s);
	clean();
}

TASK(who_comes_while_another_makes_the_file_hears_that_it_is_in_use)
{
	char lock[80], pid[WEIR__LOCKFILE_PID];
	weir_store *s;
	sqlite3 *db;
	int fd;

	fresh();
	snprintf(lock, sizeof lock, "%s-lock", file);
	fd = weir__lockfile(lock, pid);
	CHECK(fd >= 0);
	CHECK_EQ(sqlite3_open(file, &db), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, "PRAGMA user_version=1; BEGIN EXCLUSIVE", NULL, NULL, NULL),
	         SQLITE_OK);
	CHECK_EQ(weir_store_open(ctx, url, NULL, &s), -EBUSY);
	sqlite3_close(db);
	unlink(file);
	close(fd);
	s = open_with(ctx, NULL);
	store_end(ctx, s);
	clean();
}

TASK(what_is_behind_the_window_waits_on_disk_in_order)
{
	enum { JOBS = 500 };
	size_t before;
	weir_store *s;
	struct id ids[JOBS];

	fresh();
	weir__cold_window = 16;
	s = reopen(ctx, NULL);
	for (int life = 0; life < 2; life++) {
		before = weir_store_memory(s);
		for (int i = 0; i < JOBS; i++) {
			char text[16];

			snprintf(text, sizeof text, "%d", i);
			ids[i] = put(ctx, s, "q", text);
		}
		CHECK_EQ(info(s, "q").queued, JOBS);
		CHECK(weir_store_memory(s) - before < 40 * 600);
		if (life)
			s = reopen(ctx, s);
		CHECK_EQ(info(s, "q").queued, JOBS);
		CHECK_STR(state(ctx, s, ids[JOBS - 1]), "queued");        /* It can be looked at, */
		CHECK_EQ(weir_job_cancel(ctx, s, ids[JOBS - 2].text), 0); /* and cancelled. */
		put_with(ctx, s, "q", (weir_job_spec){ .priority = -1 }, "first");
		take_soon(ctx, s, "q", "first");
		for (int i = 0; i < JOBS; i++) {
			char text[16];

			snprintf(text, sizeof text, "%d", i);
			if (i != JOBS - 2)
				take_soon(ctx, s, "q", text);
		}
		CHECK_EQ(info(s, "q").queued, 0);
		CHECK_STR(state(ctx, s, ids[JOBS - 2]), "cancelled");
	}
	store_end(ctx, s);
	clean();
}

TASK(everything_that_a_job_is_comes_back)
{
	weir_store *s;
	weir_job_info i;
	weir_queue_info q;
	weir_cron_info c, c2;
	weir_job *j;
	struct id delayed, dead, running, done, cancelled;
	char lease[27];

	fresh();
	s = reopen(ctx, NULL);
	configure(ctx, s, "q",
	          (weir_queue_settings){ .max = 7,
	                                 .lease_ns = WEIR_SEC(90),
	                                 .rate = 5e6,
	                                 .rate_burst = 3,
	                                 .key_concurrency = 2,
	                                 .finished_max = 11 });
	delayed = put_with(ctx, s, "later",
	                   (weir_job_spec){ .delay_ns = WEIR_HOUR(1),
	                                    .timeout_ns = WEIR_SEC(7),
	                                    .attempts_max = 5 },
	                   "x");
	dead = put_with(ctx, s, "poison", (weir_job_spec){ .attempts_max = 1 }, "x");
	CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "poison"), -1, "it broke"), 0);
	running = put(ctx, s, "q", "x");
	j = take_with(ctx, s, "q", (weir_take_options){ .worker = "w1" });
	memcpy(lease, weir_job_lease(j), sizeof lease);
	CHECK_EQ(weir_job_progress(j, 0.25, "a quarter"), 0);
	weir_job_release(j);
	done = put(ctx, s, "d", "x");
	CHECK_EQ(weir_job_ack(ctx, take(ctx, s, "d"), "result", 6), 0);
	cancelled = put(ctx, s, "d", "x");
	CHECK_EQ(weir_job_cancel(ctx, s, cancelled.text), 0);
	CHECK_EQ(weir_cron_put(ctx, s, "c", "@every 1h", "q", "tick", 4), 0);
	CHECK_EQ(weir_cron_put(ctx, s, "gone", "@every 1h", "q", "tick", 4), 0);
	CHECK_EQ(weir_cron_delete(ctx, s, "gone"), 0);
	CHECK_EQ(weir_cron_get(s, "c", &c), 0);
	CHECK_EQ(weir_queue_pause(ctx, s, "d", true), 0);
	s = reopen(ctx, s);

	q = info(s, "q");
	CHECK(q.set.max == 7 && q.set.lease_ns == WEIR_SEC(90) && q.set.rate == 5e6 &&
	      q.set.rate_burst == 3 && q.set.key_concurrency == 2 && q.set.finished_max == 11);
	i = job(ctx, s, delayed);
	CHECK(i.state == WEIR_DELAYED && i.attempts_max == 5 &&
	      i.due_at > weir_wall() + WEIR_SEC(3000));
	i = job(ctx, s, dead);
	CHECK(i.state == WEIR_DEAD && i.attempt == 1);
	CHECK_STR(i.error, "it broke");
	i = job(ctx, s, running);
	CHECK(i.state == WEIR_RUNNING && i.progress == 0.25);
	CHECK_STR(i.note, "a quarter");
	CHECK_STR(i.worker, "w1");
	CHECK_EQ(weir_lease_ack(ctx, s, running.text, "00000000000000000000000000", NULL, 0),
	         -ESTALE);
	CHECK_EQ(weir_lease_ack(ctx, s, running.text, lease, NULL, 0), 0);
	CHECK_EQ(weir_job_get(ctx, s, done.text, true, &i), 0);
	CHECK(i.state == WEIR_DONE && i.result_len == 6 && !memcmp(i.result, "result", 6));
	weir_job_info_free(&i);
	CHECK_STR(state(ctx, s, cancelled), "cancelled");
	CHECK_EQ(weir_cron_get(s, "c", &c2), 0);
	CHECK(c2.next_at == c.next_at && c2.len == 4);
	CHECK_EQ(weir_cron_get(s, "gone", &c2), -ENOENT);
	CHECK(info(s, "d").set.paused);
	CHECK_EQ(weir_queue_redrive(ctx, s, "poison", NULL), 1);
	s = reopen(ctx, s);
	CHECK_STR(state(ctx, s, dead), "queued");
	take_and_ack(ctx, s, "poison", "x");
	store_end(ctx, s);
	clean();
}

TASK(a_key_stands_for_its_job_also_after_a_restart)
{
	weir_job_spec spec = { .data = "x", .len = 1, .idempotency_key = "once" };
	weir_store *s;
	struct id a, b;

	fresh();
	s = reopen(ctx, NULL);
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, a.text), 0);
	s = reopen(ctx, s);
	CHECK_EQ(weir_job_put(ctx, s, "q", &spec, b.text), 1);
	CHECK_STR(a.text, b.text);
	CHECK_EQ(info(s, "q").queued, 1);
	store_end(ctx, s);
	clean();
}

TASK(a_queue_may_be_kept_by_the_system_or_in_memory_only)
{
	weir_job_spec keyed = { .data = "k", .len = 1, .idempotency_key = "once" };
	weir_store *s;
	struct id a, b, done, first, again;

	fresh();
	s = reopen(ctx, NULL);
	CHECK_STR((put(ctx, s, "f", "x"), info(s, "f").durability), "fsync");
	CHECK_EQ(rows("job"), 1);
	configure(ctx, s, "o", (weir_queue_settings){ .durability = WEIR_OS });
	a = put(ctx, s, "o", "x");
	CHECK_STR(info(s, "o").durability, "os");
	CHECK_EQ(rows("job"), 2);
	configure(ctx, s, "m", (weir_queue_settings){ .durability = WEIR_MEMORY });
	b = put(ctx, s, "m", "y");
	done = put(ctx, s, "m", "z");
	CHECK_EQ(weir_job_put(ctx, s, "m", &keyed, first.text), 0);
	CHECK_STR(info(s, "m").durability, "memory");
	take_and_ack(ctx, s, "m", "y");
	CHECK_EQ(weir_job_cancel(ctx, s, done.text), 0);
	CHECK_EQ(rows("job"), 2);
	CHECK_EQ(rows("change"), 0);

	/* A clean close keeps all of it. */
	s = reopen(ctx, s);
	CHECK_EQ(info(s, "m").set.durability, WEIR_MEMORY);
	CHECK_STR(state(ctx, s, a), "queued");
	CHECK_STR(state(ctx, s, b), "done");
	CHECK_STR(state(ctx, s, done), "cancelled");
	CHECK_EQ(weir_job_put(ctx, s, "m", &keyed, again.text), 1);
	CHECK_STR(again.text, first.text);
	take_and_ack(ctx, s, "m", "k");
	take_none(ctx, s, "m");

	/* What is in memory is written when the queue is to be durable after all. */
	put(ctx, s, "m", "late");
	CHECK_EQ(rows("job"), 5);
	configure(ctx, s, "m", (weir_queue_settings){ 0 });
	CHECK_EQ(rows("job"), 6);
	store_end(ctx, s);
	clean();
}

TASK(durability_that_the_store_does_not_have_is_refused)
{
	weir_queue_settings set = { .durability = WEIR_FSYNC };
	weir_store *s;

	CHECK_EQ(weir_store_open(ctx, "mem:", NULL, &s), 0);
	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), -EOPNOTSUPP);
	set.durability = WEIR_OS;
	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), -EOPNOTSUPP);
	set.durability = (enum weir_durability)4;
	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), -EINVAL);
	set.durability = WEIR_MEMORY;
	CHECK_EQ(weir_queue_configure(ctx, s, "q", &set), 0);
	store_end(ctx, s);
}

TASK(the_history_of_a_job_goes_on_after_a_restart)
{
	weir_job_info before, after;
	weir_store *s;
	struct id id;

	fresh();
	s = reopen(ctx, NULL);
	id = put(ctx, s, "q", "x");
	for (int i = 0; i < 7; i++)
		CHECK_EQ(weir_job_nack(ctx, take(ctx, s, "q"), 0, i ? "again\nand again" : NULL),
		         0);
	before = job(ctx, s, id);
	CHECK_EQ(before.histories, 16);
	s = reopen(ctx, s);
	after = job(ctx, s, id);
	CHECK_EQ(after.histories, 16);
	CHECK_EQ(after.changes, before.changes);
	for (int i = 0; i < 16; i++) {
		CHECK_EQ(after.history[i].at_wall, before.history[i].at_wall);
		CHECK_EQ(after.history[i].attempt, before.history[i].attempt);
		CHECK_STR(after.history[i].state, before.history[i].state);
		CHECK_EQ(strlen(after.history[i].note), strlen(before.history[i].note));
	}
	take_and_ack(ctx, s, "q", "x");
	CHECK_EQ(job(ctx, s, id).changes, before.changes + 2);
	CHECK_STR(job(ctx, s, id).history[15].state, "done");
	store_end(ctx, s);
	clean();
}

/* What the first version wrote. */
static const char version_1[] =
	"PRAGMA journal_mode=WAL; PRAGMA application_id=1464158546; PRAGMA user_version=1;"
	"CREATE TABLE job(num INTEGER PRIMARY KEY, id TEXT NOT NULL, queue TEXT NOT NULL,"
	" state INTEGER NOT NULL, priority INTEGER NOT NULL, ord INTEGER NOT NULL,"
	" due_at INTEGER, key TEXT, attempts_max INTEGER NOT NULL, timeout_ns INTEGER,"
	" created_at INTEGER NOT NULL, content_type TEXT, size INTEGER NOT NULL, payload BLOB);"
	"CREATE TABLE change(n INTEGER PRIMARY KEY, job INTEGER NOT NULL, state INTEGER NOT NULL,"
	" ord INTEGER NOT NULL, attempt INTEGER NOT NULL, due_at INTEGER, started_at INTEGER,"
	" finished_at INTEGER, lease TEXT, lease_ns INTEGER, lease_until INTEGER, renew INTEGER,"
	" cancel INTEGER, worker TEXT, progress REAL, note TEXT, error TEXT, result BLOB);"
	"CREATE TABLE idem(n INTEGER PRIMARY KEY, until INTEGER NOT NULL, queue TEXT NOT NULL,"
	" key TEXT NOT NULL, id TEXT NOT NULL);"
	"CREATE TABLE queue(name TEXT PRIMARY KEY, paused INTEGER NOT NULL, max INTEGER,"
	" max_bytes INTEGER, lease_ns INTEGER, attempts_max INTEGER, timeout_ns INTEGER,"
	" backoff_ns INTEGER, backoff_max_ns INTEGER, rate REAL, rate_burst INTEGER,"
	" concurrency INTEGER, key_concurrency INTEGER, finished_max INTEGER, finished_ns INTEGER)"
	" WITHOUT ROWID;"
	"CREATE TABLE cron(name TEXT PRIMARY KEY, schedule TEXT NOT NULL, queue TEXT NOT NULL,"
	" next_at INTEGER NOT NULL, last_at INTEGER, payload BLOB) WITHOUT ROWID;"
	"INSERT INTO job VALUES(1,'01JDV0000000000000000000AA','q',0,0,1,NULL,NULL,10,NULL,"
	" 1732800000000000000,NULL,3,x'6f6c64');"
	"INSERT INTO job VALUES(2,'01JDV0000000000000000000AB','q',0,0,2,NULL,NULL,10,NULL,"
	" 1732800000000000000,NULL,3,x'746f6f');"
	"INSERT INTO queue "
	"VALUES('q',0,7,NULL,NULL,NULL,NULL,NULL,NULL,0.0,NULL,NULL,NULL,NULL,NULL);";
/* The second file, as a crash left it while somebody read the first. */
static const char version_1_more[] = "INSERT INTO change VALUES(1,2,2,2,1,NULL,1732800000000000000,"
				     " NULL,'0123456789ABCDEFGHJKMNPQRS',3600000000000,9e18,NULL,"
				     " NULL,'w',NULL,NULL,NULL,NULL);";

static void write_old(const char *path, const char *rows)
{
	sqlite3 *db;

	CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, version_1, NULL, NULL, NULL), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

TASK(a_file_of_an_older_weir_is_brought_up_to_date)
{
	char more[80];
	weir_store *s;
	size_t jobs;

	fresh();
	snprintf(more, sizeof more, "%s-more", file);
	write_old(file, "");
	write_old(more, version_1_more);
	for (int life = 0; life < 2; life++) {
		s = reopen(ctx, life ? s : NULL);
		CHECK_EQ(info(s, "q").set.max, 7);
		CHECK_EQ(info(s, "q").set.durability, WEIR_FSYNC);
		CHECK_STR(state(ctx, s, (struct id){ "01JDV0000000000000000000AA" }), "queued");
		CHECK_STR(state(ctx, s, (struct id){ "01JDV0000000000000000000AB" }), "running");
	}
	CHECK_EQ(weir_lease_ack(ctx, s, "01JDV0000000000000000000AB", "0123456789ABCDEFGHJKMNPQRS",
	                        NULL, 0),
	         0);
	take_and_ack(ctx, s, "q", "old");
	store_end(ctx, s);
	CHECK_EQ(weir_store_check(file, &jobs), 0); /* It has the views, too. */
	clean();
}

TASK(the_views_of_a_file_are_those_of_the_weir_that_serves_it)
{
	weir_store *s;
	sqlite3 *db;

	fresh();
	s = reopen(ctx, NULL);
	configure(ctx, s, "empty", (weir_queue_settings){ .paused = true });
	put(ctx, s, "q", "x");
	for (int life = 0; life < 2; life++) {
		CHECK_EQ(rows("queues"), 2);
		CHECK_EQ(rows("queues WHERE name = 'empty' AND paused AND queued = 0"), 1);
		CHECK_EQ(rows("queues WHERE name = 'q' AND queued = 1 AND NOT paused"), 1);
		store_end(ctx, s);
		CHECK_EQ(sqlite3_open(file, &db), SQLITE_OK);
		CHECK_EQ(sqlite3_exec(db,
		                      "DROP VIEW dead; DROP VIEW queues;"
		                      "CREATE VIEW queues AS SELECT queue FROM job",
		                      NULL, NULL, NULL),
		         SQLITE_OK);
		sqlite3_close(db);
		s = open_with(ctx, NULL);
	}
	CHECK_EQ(rows("dead"), 0);
	store_end(ctx, s);
	clean();
}

/* What somebody who lists the queue is about to look at next: the job that is being written. */
struct looker {
	weir_store *store;
	struct weir__cursor cursor;
};

static int look_at_last(void *arg)
{
	struct looker *l = arg;
	struct weir__queue *q;

	weir__store_enter(l->store);
	q = weir__queue_find(l->store, "q");
	if (!l->cursor.at) {
		l->cursor.at = q->all.prev;
		weir__list_append(&q->cursors, &l->cursor.link);
	}
	weir__store_leave(l->store);
	return 0;
}

TASK(who_lists_a_queue_does_not_stumble_over_a_job_that_goes_to_disk_alone)
{
	struct looker l = { .cursor.at = NULL };
	struct weir__queue *q;

	fresh();
	weir__cold_window = 1;
	l.store = reopen(ctx, NULL);
	put(ctx, l.store, "q", "first");
	sqlite3_commit_hook(((struct weir__sqlite *)l.store->engine_data)->db, look_at_last, &l);
	put(ctx, l.store, "q", "second");
	weir__store_enter(l.store);
	q = weir__queue_find(l.store, "q");
	CHECK_EQ(q->cold_n, 1);
	CHECK(l.cursor.at == &q->all);
	weir__list_remove(&l.cursor.link);
	weir__store_leave(l.store);
	store_end(ctx, l.store);
	clean();
}

static uint64_t changes(const weir_store *s)
{
	return ((struct weir__sqlite *)s->engine_data)->changes;
}

/* Transactions go on meanwhile. */
static void pass(const weir_ctx *ctx, weir_store *s, int64_t ns)
{
	for (int64_t end = weir_now() + ns; weir_now() < end;) {
		put(ctx, s, "other", "x");
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	}
}

SIM(a_take_is_written_when_the_end_of_its_job_does_not_follow_soon, 20)
{
	weir_store *s;
	weir_job *j;

	fresh();
	s = reopen(ctx, NULL);
	put(ctx, s, "q", "short");
	take_and_ack(ctx, s, "q", "short");
	CHECK_EQ(changes(s), 1);
	put(ctx, s, "q", "long");
	j = take(ctx, s, "q");
	pass(ctx, s, WEIR_MS(9));
	CHECK_EQ(changes(s), 1);
	pass(ctx, s, WEIR_MS(12));
	CHECK_EQ(changes(s), 2);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	CHECK_EQ(changes(s), 3);
	put(ctx, s, "q", "quiet");
	j = take(ctx, s, "q");
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(30)), 0);
	CHECK_EQ(changes(s), 4);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
	clean();
}

TASK(what_is_done_with_leaves_the_file_again)
{
	struct stat st;
	weir_store *s;

	fresh();
	s = open_with(ctx, &(weir_store_options){ .finished_max = 10 });
	for (int i = 0; i < 40; i++) {
		weir_job_spec specs[500];
		char ids[500][27];
		int each[500];

		for (int k = 0; k < 500; k++)
			specs[k] = (weir_job_spec){ .data = url, .len = sizeof url };
		CHECK_EQ(weir_job_put_many(ctx, s, "q", specs, 500, ids, each), 0);
		for (int k = 0; k < 500; k++) {
			weir_job *j = take(ctx, s, "q");

			weir_job_release(j);
			CHECK_EQ(each[k], 0);
		}
		for (int k = 0; k < 500; k += 1)
			CHECK_EQ(weir_job_cancel(ctx, s, ids[k]), 0);
		CHECK_EQ(weir_queue_pause(ctx, s, "q", false), 0);
	}
	store_end(ctx, s);
	CHECK_EQ(stat(file, &st), 0);
	CHECK(st.st_size < 9 << 20); /* A third of it is histories. */
	clean();
}

/* Is a lock left beside the file? */
static bool locked(void)
{
	char name[128];

	snprintf(name, sizeof name, "%s-lock", file);
	return access(name, F_OK) == 0;
}

static void refused(const weir_ctx *ctx, const char *sql)
{
	char command[512];
	struct stat a, b;
	weir_store *s;

	fresh();
	snprintf(command, sizeof command, "sqlite3 %s \"%s\"", file, sql);
	CHECK_EQ(system(command), 0);
	CHECK_EQ(stat(file, &a), 0);
	CHECK_EQ(weir_store_open(ctx, url, NULL, &s), -EBADMSG);
	CHECK_EQ(stat(file, &b), 0);
	CHECK(a.st_size == b.st_size && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec);
	CHECK(!locked());
	clean();
}

TASK(a_file_of_another_program_is_refused_and_left_alone)
{
	refused(ctx, "CREATE TABLE t(x)");
}

TASK(a_file_of_a_newer_weir_is_refused_and_left_alone)
{
	refused(ctx,
	        "PRAGMA application_id = 1464158546; PRAGMA user_version = 99; CREATE TABLE t(x)");
}

TASK(a_damaged_file_is_refused)
{
	weir_store *s;
	FILE *f;

	fresh();
	s = reopen(ctx, NULL);
	for (int i = 0; i < 200; i++)
		put(ctx, s, "q", "some text that fills pages");
	store_end(ctx, s);
	f = fopen(file, "r+");
	CHECK(f && fseek(f, 8192, SEEK_SET) == 0);
	for (int i = 0; i < 16384; i++)
		fputc(0x5a, f);
	fclose(f);
	CHECK_EQ(weir_store_open(ctx, url, NULL, &s), -EBADMSG);
	CHECK(!locked());
	clean();
}

TASK(a_store_in_memory_hands_over_its_spool)
{
	char spool[80];
	weir_store_options opt = { .spool = spool };
	weir_job_spec keyed = { .data = "a", .len = 1, .idempotency_key = "k" };
	weir_store *s;
	struct id id;

	fresh();
	snprintf(spool, sizeof spool, "%s/spool", dir);
	s = store_with(ctx, &opt);
	CHECK_EQ(weir_job_put(ctx, s, "q", &keyed, id.text), 0);
	store_end(ctx, s);
	CHECK_EQ(access(spool, F_OK), 0);
	s = open_with(ctx, &opt);
	CHECK(access(spool, F_OK) < 0);
	CHECK_EQ(weir_job_put(ctx, s, "q", &keyed, id.text), 1);
	s = reopen(ctx, s);
	CHECK_EQ(weir_job_put(ctx, s, "q", &keyed, id.text), 1);
	take_and_ack(ctx, s, "q", "a");
	store_end(ctx, s);
	clean();
}

static sqlite3 *reader(void)
{
	sqlite3 *db;

	CHECK_EQ(sqlite3_open(file, &db), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, "BEGIN; SELECT count(*) FROM jobs", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static int64_t log_size(void)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof path, "%s-wal", file);
	return stat(path, &st) < 0 ? 0 : st.st_size;
}

TASK(a_reader_that_stays_makes_neither_the_log_grow_nor_producers_wait)
{
	enum { JOBS = 3000 };
	int64_t cap = 100 * 4120;
	weir_store *s;
	sqlite3 *db;
	char path[80];

	fresh();
	weir__sqlite_log_frames = 20;
	weir__sqlite_log_cap = 60;
	weir__cold_window = 256;
	s = reopen(ctx, NULL);
	put(ctx, s, "q", "0");
	for (int life = 0; life < 2; life++) {
		db = reader();
		for (int i = 1; i < JOBS; i++) {
			char text[16];

			snprintf(text, sizeof text, "%d", i);
			put(ctx, s, "q", text);
			if (i % 100 == 0)
				CHECK(log_size() < cap);
		}
		CHECK_EQ(weir_cron_put(ctx, s, "c", "@every 1h", "q2", "tick", 4), 0);
		CHECK_EQ(weir_cron_delete(ctx, s, "c"), 0);
		take_soon(ctx, s, "q", "0");
		if (life) { /* Opened while the second file is in use: all comes from there. */
			CHECK_EQ(weir_store_close(ctx, s, NULL), 0);
			sqlite3_close(db);
			s = open_with(ctx, NULL);
		} else { /* The reader leaves, and there is one file again. */
			sqlite3_close(db);
		}
		for (int i = 1; i < JOBS; i++) {
			char text[16];

			snprintf(text, sizeof text, "%d", i);
			take_soon(ctx, s, "q", text);
		}
		CHECK_EQ(info(s, "q").queued, 0);
		put(ctx, s, "q", "0");
	}
	store_end(ctx, s);
	snprintf(path, sizeof path, "%s-more", file);
	for (int i = 0; i < 100 && access(path, F_OK) == 0;
	     i++) { /* It may still have been on its way. */
		s = open_with(ctx, NULL);
		store_end(ctx, s);
	}
	CHECK(access(path, F_OK) < 0);
	s = open_with(ctx, NULL);
	CHECK_EQ(info(s, "q").done, 2 * JOBS);
	take_soon(ctx, s, "q", "0");
	store_end(ctx, s);
	clean();
}
