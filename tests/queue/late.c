/* SPDX-License-Identifier: MIT */
/* What gets to the file of a durable store later than it came: it was refused by the disk, or its
 * queue was not durable at first. */
#include "store_file.h"

/* Refuses each transaction that deletes many rows, and the try that follows it. */
struct refusals {
	sqlite3 *db;
	int changes, left;
};

static int refuse_deletes(void *arg)
{
	struct refusals *r = arg;
	int changes = sqlite3_total_changes(r->db) - r->changes;

	r->changes += changes;
	return changes > 100 && r->left && r->left--;
}

TASK(what_a_transaction_that_failed_has_deleted_is_deleted_again)
{
	struct refusals refusals = { .left = 2 };
	weir_store *s;

	fresh();
	s = reopen(ctx, NULL);
	configure(ctx, s, "q", (weir_queue_settings){ .finished_max = 1 });
	refusals.db = ((struct weir__sqlite *)s->engine_data)->db;
	sqlite3_commit_hook(refusals.db, refuse_deletes, &refusals);
	for (int i = 0; i < WEIR__SQL_SEGMENT - 10; i++) {
		weir_job_spec spec = { .data = "x", .len = 1 };
		char id[27];

		while (weir_job_put(ctx, s, "q", &spec, id) < 0)
			;
		(void)weir_job_cancel(ctx, s, id);
	}
	put(ctx, s, "q", "last");
	CHECK_EQ(refusals.left, 0);
	CHECK(rows("job") <= WEIR__SQL_SEGMENT / 2);
	store_end(ctx, s);
	clean();
}

TASK(a_job_on_disk_is_found_also_when_others_got_their_numbers_late)
{
	enum { JOBS = 300, LATE = 150 };
	weir_store *s;
	struct id ids[JOBS], late[LATE];

	fresh();
	weir__cold_window = 8;
	s = reopen(ctx, NULL);
	configure(ctx, s, "m", (weir_queue_settings){ .durability = WEIR_MEMORY });
	for (int i = 0; i < JOBS; i++) {
		if (i < LATE)
			late[i] = put(ctx, s, "m", "late");
		ids[i] = put(ctx, s, "q", "x");
		if (i == 200) /* Those before get their numbers now, behind all others. */
			configure(ctx, s, "m", (weir_queue_settings){ 0 });
		if (i == 201)
			configure(ctx, s, "m", (weir_queue_settings){ .durability = WEIR_MEMORY });
	}
	for (int life = 0; life < 3; life++) {
		CHECK(s->cold_n > JOBS / 2);
		for (int i = life; i < JOBS; i += 7)
			CHECK_STR(state(ctx, s, ids[i]), "queued");
		for (int i = life; i < LATE; i += 7)
			CHECK_STR(state(ctx, s, late[i]), "queued");
		s = reopen(ctx, s);
	}
	store_end(ctx, s);
	clean();
}

TASK(spans_of_numbers_without_jobs_on_disk_make_room_for_others)
{
	enum { TURNS = 200 };
	weir_store *s;
	struct id cold[TURNS];

	fresh();
	weir__cold_window = 4;
	s = reopen(ctx, NULL);
	for (int i = 0; i < 20; i++)
		put(ctx, s, "q", "x");
	for (int i = 0; i < TURNS; i++) {
		configure(ctx, s, "m", (weir_queue_settings){ .durability = WEIR_MEMORY });
		put(ctx, s, "m", "late");
		cold[i] = put(ctx, s, i % 50 ? "p" : "q", "x");
		configure(ctx, s, "m", (weir_queue_settings){ 0 });
		if (i % 50)
			take_soon(ctx, s, "p", "x");
	}
	CHECK(s->journal.spans_cap <= 16);
	for (int i = 0; i < TURNS; i++)
		CHECK_STR(state(ctx, s, cold[i]), i % 50 ? "done" : "queued");
	s = reopen(ctx, s);
	for (int i = 0; i < TURNS; i++)
		CHECK_STR(state(ctx, s, cold[i]), i % 50 ? "done" : "queued");
	store_end(ctx, s);
	clean();
}

/* Does a look at this job go to the disk? */
static bool reads(const weir_ctx *ctx, weir_store *s, const char *id)
{
	sqlite3_stmt *st = ((struct weir__sqlite *)s->engine_data)->sql[WEIR__SQL_READ];
	weir_job_info i;

	(void)sqlite3_stmt_status(st, SQLITE_STMTSTATUS_RUN, true);
	CHECK_EQ(weir_job_get(ctx, s, id, false, &i), -ENOENT);
	return sqlite3_stmt_status(st, SQLITE_STMTSTATUS_RUN, true) > 0;
}

TASK(an_id_that_no_job_can_have_is_unknown_without_a_look_at_the_disk)
{
	weir_store *s;
	struct id first, last;

	fresh();
	weir__cold_window = 8;
	s = reopen(ctx, NULL);
	first = put(ctx, s, "q", "x");
	for (int i = 0; i < 100; i++)
		last = put(ctx, s, "q", "x");
	for (int life = 0; life < 2; life++) {
		CHECK(!reads(ctx, s, "00000000000000000000000000"));
		CHECK(!reads(ctx, s, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
		first.text[25] = first.text[25] == '0' ? '1' : '0';
		last.text[0] = '7';
		CHECK(!reads(ctx, s, last.text));
		s = reopen(ctx, s);
	}
	store_end(ctx, s);
	clean();
}

TASK(jobs_whose_rows_have_left_the_file_give_back_their_place)
{
	enum { JOBS = 100, LEFT = 40 };
	weir_store *s;
	sqlite3 *db;

	fresh();
	weir__cold_window = 8;
	s = reopen(ctx, NULL);
	for (int i = 0; i < JOBS; i++) {
		char text[256] = "";

		memset(text, 'x', (size_t)(i * 2 + 1));
		put(ctx, s, "q", text);
	}
	CHECK_EQ(sqlite3_open(file, &db), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, "DELETE FROM job WHERE num > 40", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	for (int i = 0; i < LEFT; i++) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(20));
		weir_job *j;

		CHECK_EQ(weir_job_take(&soon, s, "q", NULL, &j), 1);
		CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	}
	put(ctx, s, "q", "new"); /* When it is there, those before it have been read. */
	take_soon(ctx, s, "q", "new");
	CHECK_EQ(info(s, "q").queued, 0);
	CHECK_EQ(info(s, "q").bytes, 0);
	store_end(ctx, s);
	clean();
}

static int refuse_some(void *arg)
{
	int *left = arg;

	return *left && (*left)--;
}

static void refuse_next(weir_store *s, int *left)
{
	sqlite3_commit_hook(((struct weir__sqlite *)s->engine_data)->db, refuse_some, left);
}

TASK(a_job_of_a_queue_that_becomes_durable_is_written_again_when_the_disk_refused_it)
{
	weir_queue_settings durable = { 0 };
	int left = 1;
	weir_store *s;

	fresh();
	s = reopen(ctx, NULL);
	configure(ctx, s, "m", (weir_queue_settings){ .durability = WEIR_MEMORY });
	put(ctx, s, "m", "x");
	refuse_next(s, &left);
	CHECK(weir_queue_configure(ctx, s, "m", &durable) < 0);
	CHECK_EQ(left, 0);
	configure(ctx, s, "m", durable);
	CHECK_EQ(rows("job"), 1);
	s = reopen(ctx, s);
	take_and_ack(ctx, s, "m", "x");
	store_end(ctx, s);
	clean();
}

TASK(keys_of_jobs_that_are_to_be_kept_are_kept_with_them)
{
	weir_job_spec one = { .data = "x", .len = 1, .idempotency_key = "one" };
	weir_job_spec done = { .data = "x", .len = 1, .idempotency_key = "done" };
	int left = 1;
	weir_store *s;
	struct id a, b, again;

	fresh();
	s = reopen(ctx, NULL);
	configure(ctx, s, "m",
	          (weir_queue_settings){ .durability = WEIR_MEMORY, .finished_max = 1 });
	CHECK_EQ(weir_job_put(ctx, s, "m", &done, b.text), 0);
	take_and_ack(ctx, s, "m", "x");
	put(ctx, s, "m", "y");
	take_and_ack(ctx, s, "m", "y"); /* The first is forgotten, but not its key. */
	CHECK_EQ(weir_job_put(ctx, s, "m", &one, a.text), 0);
	CHECK_EQ(rows("idem"), 0);
	refuse_next(s, &left);
	CHECK(weir_queue_configure(ctx, s, "m", &(weir_queue_settings){ 0 }) < 0);
	CHECK_EQ(left, 0);
	configure(ctx, s, "m", (weir_queue_settings){ .max = 7 });
	CHECK_EQ(rows("idem"), 2);
	configure(ctx, s, "m", (weir_queue_settings){ .max = 8 });
	CHECK_EQ(rows("idem"), 2);
	s = reopen(ctx, s);
	CHECK_EQ(weir_job_put(ctx, s, "m", &one, again.text), 1);
	CHECK_STR(again.text, a.text);
	CHECK_EQ(weir_job_put(ctx, s, "m", &done, again.text), 1);
	CHECK_STR(again.text, b.text);
	store_end(ctx, s);
	clean();
}

TASK(what_was_in_memory_is_kept_by_a_clean_close_although_the_last_write_failed)
{
	weir_queue_settings set = { 0 };
	int left = 2; /* Both tries of a transaction. */
	weir_store *s;

	fresh();
	s = reopen(ctx, NULL);
	configure(ctx, s, "m", (weir_queue_settings){ .durability = WEIR_MEMORY });
	put(ctx, s, "m", "x");
	refuse_next(s, &left);
	CHECK(weir_queue_configure(ctx, s, "other", &set) < 0);
	CHECK_EQ(left, 0);
	s = reopen(ctx, s);
	take_and_ack(ctx, s, "m", "x");
	store_end(ctx, s);
	clean();
}

TASK(a_close_that_could_not_write_says_so_and_counts_what_is_lost)
{
	int left = 1000;
	size_t kept = 99;
	weir_store *s;
	struct id id;

	fresh();
	s = reopen(ctx, NULL);
	id = put(ctx, s, "q", "x");
	configure(ctx, s, "m", (weir_queue_settings){ .durability = WEIR_MEMORY });
	put(ctx, s, "m", "y");
	put(ctx, s, "m", "z");
	refuse_next(s, &left);
	CHECK_EQ(weir_store_close(ctx, s, &kept), -EIO);
	CHECK_EQ(kept, 1);
	s = reopen(ctx, NULL);
	CHECK_STR(state(ctx, s, id), "queued");
	take_none(ctx, s, "m");

	/* One that is in the file is there as it was, so it may run again. */
	weir_job_return(take(ctx, s, "q"));
	CHECK_EQ(weir_queue_pause(ctx, s, "q", true), 0);
	left = 1000;
	refuse_next(s, &left);
	weir__store_enter(s);
	weir__job_to_queued(s, weir__job_find(s, id.text), "moved", false);
	weir__store_leave(s);
	CHECK_EQ(weir_store_close(ctx, s, &kept), -EIO);
	CHECK_EQ(kept, 1);
	clean();
}
