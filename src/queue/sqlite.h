/* SPDX-License-Identifier: MIT */
/*
 * The SQLite engine from inside. One connection, used by one thread at a time: while the store
 * opens by an offload thread, then by the writer.
 *
 * The file (application id "WEIR", user_version the schema's):
 *	job     a row for each job that was accepted, with its payload; written once
 *	change  what became of it since; appended. The newest of a job says its state
 *	idem    idempotency keys, in the order in which they end
 *	queue   settings that were given
 *	cron    crons with their next and last tick
 * and for people the views jobs, queues, dead. Times are nanoseconds since 1970.
 */
#ifndef WEIR_QUEUE_SQLITE_H
#define WEIR_QUEUE_SQLITE_H

#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>

#include "base/buf.h"
#include "queue/journal.h"

enum {
	WEIR__SQL_VERSION = 2,
	WEIR__SQL_ID = 0x57454952, /* "WEIR" */
	WEIR__SQL_BUSY_MS = 10000, /* for how long somebody else may keep the file locked */
	WEIR__SQL_ROWS = 64,
	WEIR__SQL_SEGMENT = 1024,  /* jobs whose rows go together */
	WEIR__SQL_READ_MAX = 1024, /* cold jobs that are read at once */
	WEIR__SQL_OLD_MAX = 2048,  /* changes that are looked at in one round */
};

enum weir__sql {
	WEIR__SQL_BEGIN,
	WEIR__SQL_COMMIT,
	WEIR__SQL_ROLLBACK,
	WEIR__SQL_JOB,
	WEIR__SQL_CHANGE,
	WEIR__SQL_IDEM,
	WEIR__SQL_IDEM_OVER,
	WEIR__SQL_QUEUE,
	WEIR__SQL_CRON,
	WEIR__SQL_CRON_GONE,
	WEIR__SQL_DELETE,
	WEIR__SQL_DELETE_RANGE,
	WEIR__SQL_OLD,
	WEIR__SQL_OLD_OVER,
	WEIR__SQL_READ,
	WEIR__SQL_STATEMENTS
};

/* Which of a thousand jobs are of no interest any more. */
struct weir__segment {
	uint32_t gone, deleted;
	bool clearing; /* the rows of those that are gone are deleted by this transaction */
	uint64_t bits[WEIR__SQL_SEGMENT / 64];
};

struct weir__sqlite {
	weir_store *store;
	char *path;
	int lock; /* a descriptor, or < 0 */
	char *lock_file;
	sqlite3 *db;
	sqlite3_stmt **sql; /* of the file that is written */
	sqlite3_stmt *sets[2][WEIR__SQL_STATEMENTS];
	bool attached, more, copying; /* see sqlite_more.c */
	bool relaxed;                 /* a transaction is not synced now */
	int64_t again_at, copy_at, copied_job, copied_change;
	struct weir__batch batch;
	struct weir__row rows[WEIR__SQL_ROWS];
	size_t rows_n;
	struct weir__buf text; /* of a row's history */
	uint64_t changes;      /* the newest change's number */
	uint64_t changes_from; /* up to this they were deleted */
	int64_t idem_at;       /* when to look for keys that are over */
	uint64_t cleared;      /* the same, by the transaction that goes on */
	uint64_t changes_live; /* how many may be of use, when one looked last */
	struct {
		uint64_t change, job;
		char id[WEIR__ID + 1];
	} old[WEIR__SQL_OLD_MAX];
	struct weir__segment **segments;
	size_t segments_n;                 /* by number of job / WEIR__SQL_SEGMENT */
	int log[2];                        /* frames in the logs of the two files */
	int log_room[2];                   /* how many would fit, as far as is known */
	int log_next;                      /* when it is to come home */
	uint64_t nums[WEIR__SQL_READ_MAX]; /* cold jobs that are read */
	struct weir__record *read[WEIR__SQL_READ_MAX];
	char queue[WEIR__NAME_MAX + 1]; /* of the last one */

	bool stop;  /* loading is to end; atomic */
	bool quit;  /* the writer is to end; under the store's lock, as is: */
	bool tried; /* it has begun a round since then: if that fails, it ends */
	bool running;
	bool rested; /* since the last round, or it is the last: everything is to be written */
	bool brisk;  /* the writer was woken soon after it had gone to sleep */
	pthread_t thread;
	sem_t woken;
	struct weir__sleeper sleeper; /* in a simulation the writer is a task */
	weir_group group;
};

/* sqlite_open.c: 0, or -EBADMSG (said why; the file is as it was), -EIO, … */
int weir__sqlite_open(struct weir__sqlite *q);
void weir__sqlite_shut(struct weir__sqlite *q);
int weir__sqlite_prepare(struct weir__sqlite *q, int set);
int weir__sqlite_tables(struct weir__sqlite *q, const char *name); /* "main", "more" */
bool weir__sqlite_exists(const char *path);
int weir__sqlite_error(struct weir__sqlite *q, int code, const char *doing); /* said; as -Exxx */

/* sqlite_load.c */
int weir__sqlite_load(struct weir__sqlite *q);
/* A row of WEIR__SQL_JOBS as a record, checked: 0, -EBADMSG or -ENOMEM. */
int weir__sqlite_record(sqlite3_stmt *st, struct weir__record **ret, int *ret_state);
#define WEIR__SQL_JOBS_OF(table)                                                   \
	"SELECT num, id, queue, state, priority, ord, due_at, key, attempts_max, " \
	"timeout_ns, created_at, content_type, payload, size FROM " table " "
#define WEIR__SQL_JOBS WEIR__SQL_JOBS_OF("main.job")

/* sqlite_more.c: when a reader keeps the log from beginning anew */
extern int weir__sqlite_log_cap; /* frames */
int weir__sqlite_more_begin(struct weir__sqlite *q);
void weir__sqlite_more_step(struct weir__sqlite *q);   /* home again, a piece at a time */
int weir__sqlite_more_home(struct weir__sqlite *q);    /* all of what is found when it opens */
void weir__sqlite_more_remove(struct weir__sqlite *q); /* the empty file, when all is closed */

/* sqlite_read.c: what is asked for of cold jobs */
void weir__sqlite_reads(struct weir__sqlite *q);

/* sqlite_log.c */
extern int weir__sqlite_log_frames; /* of the log that are worth bringing home; tests make it few */
void weir__sqlite_log_room(struct weir__sqlite *q); /* in a transaction: makes room ahead */
void weir__sqlite_log_mind(struct weir__sqlite *q); /* behind it: home, if it is worth it */

/* sqlite_rows.c: what is in `rows` can be read as tables */
int weir__sqlite_rows(struct weir__sqlite *q);

/* sqlite_write.c: one round; what is to be written is taken from the journal. */
int weir__sqlite_round(struct weir__sqlite *q);
int weir__sqlite_idems(struct weir__sqlite *q); /* all keys anew: 0 or -Exxx */

#endif
