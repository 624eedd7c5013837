/* SPDX-License-Identifier: MIT */
/*
 * The journal as the engine's writer sees it. A round of the writer:
 *
 *	r = weir__journal_take(s, &b, false);              what is dirty
 *	while ((n = weir__journal_rows(s, &b, at, rows, 64)))
 *		write the rows
 *	weir__journal_done(s, &b, r_put, r_rest);          pending jobs to their places, waiters told
 */
#ifndef WEIR_QUEUE_JOURNAL_H
#define WEIR_QUEUE_JOURNAL_H

#include "queue/inner.h"

/* A record as it is to be written. */
struct weir__row {
	struct weir__record *rec;
	bool fresh;   /* not on disk yet: with its payload */
	bool changed; /* since it was written last */
	bool gone;    /* no longer of interest to anybody once this is written */
	bool cancel, renew;
	bool insert;     /* the engine's: its job is written */
	uint64_t change; /* the engine's: the number of the change that is, or 0 */
	uint8_t state;
	uint32_t attempt;
	uint64_t ord;
	int64_t due_at, started_at, finished_at, lease_ns, lease_until; /* wall; 0: none */
	double progress;
	uint64_t changes; /* told so far, of which these are the last */
	unsigned histories;
	weir_job_event history[WEIR__HISTORY];
	struct weir__result *result; /* with a reference, or NULL */
	int64_t idem_until;
	char token[WEIR__TOKEN + 1], queue[WEIR__NAME_MAX + 1], worker[64], note[96], error[160],
		idem[WEIR__KEY_MAX + 1];
};

struct weir__queue_row {
	char name[WEIR__NAME_MAX + 1];
	weir_queue_settings given;
};

struct weir__cron_row {
	char name[WEIR__NAME_MAX + 1], queue[WEIR__NAME_MAX + 1], schedule[128];
	int64_t next_at, last_at;
	size_t len;
	char data[];
};

struct weir__idem_row { /* of a key whose job was in memory only when it came */
	int64_t until;
	char id[WEIR__ID + 1];
	size_t len;
	char text[]; /* queue name, NUL, key */
};

struct weir__cron_gone {
	struct weir__cron_gone *next;
	char name[WEIR__NAME_MAX + 1];
};

struct weir__batch {
	uint64_t ticket;
	bool sync;                  /* before it is answered */
	struct weir__record **jobs; /* each with a reference */
	size_t jobs_n, jobs_cap;
	struct weir__queue_row *queues;
	size_t queues_n;
	struct weir__cron_row **crons;
	size_t crons_n;
	struct weir__cron_gone *crons_gone;
	struct weir__idem_row **idems; /* they go with the new jobs */
	size_t idems_n;
};

/* Under the lock. Is there anything to write? Does somebody wait for it? */
bool weir__journal_work(const weir_store *s);
bool weir__journal_urgent(const weir_store *s);

/* 1; 0: there is nothing that is to be written now; -ENOMEM. Of running jobs for which nobody
 * waits, with `all`, what is dirty as well; else only what has been so for a while. */
int weir__journal_take(weir_store *s, struct weir__batch *b, bool all);
size_t weir__journal_rows(weir_store *s, const struct weir__batch *b, size_t at,
                          struct weir__row *rows, size_t max);
/* How it went with new jobs, and with the rest: 0 or -Exxx. Empties the batch. */
void weir__journal_done(weir_store *s, struct weir__batch *b, int r_put, int r_rest);
void weir__batch_free(struct weir__batch *b);
/* There is no writer any more. 0, or -EIO: something was not written, and that was said; of held
 * jobs so many are nowhere else. */
int weir__journal_end(weir_store *s, size_t *ret_lost);

/* In cron.c: into a row that has room for its data. */
void weir__cron_row(const struct weir__cron *c, struct weir__cron_row *row);

#endif
