/* SPDX-License-Identifier: MIT */
/*
 * The queues from inside: the records that the files of this layer share.
 *
 * One short lock per store guards everything in it: queues, records, heaps, lists, counters. It is
 * held for some hundred nanoseconds and never across a wait, an allocation of payload size, a free
 * of one or a listener. A lock per queue was weighed: it would need a second one for ids,
 * idempotency keys and memory anyway, and every operation would take both.
 *
 * An operation stands between weir__store_enter() and weir__store_leave(). What must not happen
 * under the lock is collected in the store meanwhile and done by leave(): waiters that were claimed
 * are woken, changes are told to the listener, records nobody holds are freed.
 *
 * Where a record is, by state:
 *	queued     in its queue's ready heap (or its key's, which stands in the ready heap), and in
 *	           the queue's `waiting` list
 *	delayed    in the store's due heap
 *	running    in its queue's `running` list, and in the store's due heap unless its lease does
 *	           not run out by time; `token` is the lease
 *	done, cancelled   in its queue's `finished` list and in the store's, oldest first
 *	dead       in its queue's `dead` list, oldest first
 * Every record is in the store's hash by id and in its queue's `all` list, in id order. Heaps have
 * room for every job that is held (queued, delayed or running) from the moment it is accepted, so
 * no change of state can fail for want of memory.
 *
 * Locks, outer first: `tell` (order of the listener's calls), `lock`. A rate limiter's own lock is
 * inside `lock`.
 */
#ifndef WEIR_QUEUE_INNER_H
#define WEIR_QUEUE_INNER_H

#include <weir/group.h>
#include <weir/queue.h>
#include <weir/sync.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "queue/remote.h"
#include "queue/schedule.h"
#include "queue/store.h"
#include "rt/lock.h"
#include "rt/wait.h"

enum {
	WEIR__ID = WEIR_JOB_ID_LEN,
	WEIR__TOKEN = 26, /* characters of a lease token: 130 random bits */
	WEIR__NAME_MAX = 64,
	WEIR__KEY_MAX = 255,
	WEIR__TYPE_MAX = 95,
	WEIR__STATES = 6,
	WEIR__HISTORY = 16,
	WEIR__RATE_SECONDS = 10,
	WEIR__RESULT_MAX = 1 << 20,
	WEIR__CRONS_MAX = 1000,
	WEIR__CRON_DATA_MAX = 64 << 10,
	WEIR__BATCH = 64, /* changes made under the lock at once */
};

/* Tests compile files of this layer once more with bugs to switch on, to see that they would be
 * found. */
#ifndef WEIR__PLANT
#define WEIR__PLANT(bug) false
#endif

#define WEIR__DELAY_MAX WEIR_HOUR(24 * 3660) /* ten years */

#define weir__store_magic 0x73746f72u
#define weir__job_magic   0x6a6f6273u
#define weir__taken_magic 0x74616b65u

struct weir__queue;
struct weir__record;
struct weir__far;     /* what a store has whose queues are in another system: see remote.c */
struct weir__hold;    /* a job of such a queue that is held here */
struct weir__fetcher; /* the task that brings some */

/* Something that happens at a point of time: it stands in the store's due heap, and `fn` runs under
 * the lock when it is time. */
struct weir__due {
	struct weir__heap_node node;
	int64_t at_ns;
	uint64_t seq;
	void (*fn)(weir_store *s, struct weir__due *d);
};

/* A waiting task that was claimed and is to be woken by leave(). Lives on its stack. */
struct weir__sleeper {
	struct weir__list node;     /* among those who wait for the same, until claimed or lost */
	struct weir__sleeper *wake; /* the next to be woken */
	struct weir__wait wait;
};

/* What a ready heap holds: a job, or a key that has ready jobs and may run one more. */
struct weir__ready {
	struct weir__heap_node node;
	int priority;
	bool is_key;
	uint64_t seq;
};

/* Jobs of one queue that share a key. Lives while such jobs are held. */
struct weir__key {
	struct weir__hash_node node;
	struct weir__list link;   /* the queue's `keys` */
	struct weir__ready ready; /* with its best job's order */
	struct weir__heap jobs;
	struct weir__queue *queue;
	size_t held, running;
	size_t len;
	char text[];
};

enum { WEIR__CHANGES = 4 }; /* so many a job has in its own memory: most have no more */
struct weir__change {
	int64_t at_wall;
	char *note; /* or NULL */
	uint32_t attempt;
	const char *event;
};

/* A job. */
struct weir__record {
	uint32_t magic;
	uint32_t refs; /* the store's own, handles and those who look; under the lock */
	/* What a durable engine keeps of it; see journal.c. */
	struct weir__list dirty;  /* journal->jobs, with a reference */
	uint64_t num;             /* its number there; 0: none yet */
	uint64_t change;          /* the engine's: its newest change, 0: none */
	struct weir__idem *fresh; /* its idempotency key, while pending */
	bool pending;             /* accepted, and not on disk: nobody may run it */
	bool saved;               /* it was written once */
	bool changed, writes;     /* since it was taken to be written; when it was */
	bool syncs;               /* what changed is only kept once it is synced */
	bool gone, refused;       /* out of the store; because the disk would not have it */
	char id[WEIR__ID + 1];
	uint8_t state;
	struct weir__hold *hold; /* its other half, for a job that lives in another system */
	bool held;               /* counted in its queue's bounds */
	bool cancel, renew;
	char token[WEIR__TOKEN + 1]; /* of the lease, while running; "" otherwise */
	uint8_t changes_len, changes_cap;
	struct weir__hash_node by_id;
	struct weir__queue *queue;
	struct weir__list all;        /* queue->all, in id order */
	struct weir__list link;       /* queue->waiting, ->running, ->finished or ->dead */
	struct weir__list link_store; /* store->finished */
	struct weir__ready ready;
	struct weir__due due;
	struct weir__key *key_entry;  /* while held */
	struct weir__list sleepers;   /* in weir_job_wait_cancel() */
	struct weir__change *changes; /* first_changes, or malloc */
	struct weir__change first_changes[WEIR__CHANGES];
	uint64_t changes_total;
	uint32_t attempt, attempts_max;
	int64_t timeout_ns, lease_ns;
	int64_t limit_ns;  /* of the running lease, however often it is extended */
	int64_t queued_ns; /* since when it is queued (weir_now()) */
	int64_t created_at, due_at, started_at, finished_at;
	double progress;
	char *note, *worker, *error; /* or NULL */
	struct weir__result *result; /* or NULL */
	size_t charge;               /* of the store's memory */
	char *content_type, *key;    /* or NULL; in `data` behind the payload */
	size_t len;
	struct weir__record *trash;
	char data[];
};

/* A result, shared by the record and those who are copying it outside the lock. */
struct weir__result {
	uint32_t refs; /* atomic */
	size_t len;
	char data[];
};

/* Where somebody who walks a queue's jobs has come to; removing that job moves it on. */
struct weir__cursor {
	struct weir__list link; /* queue->cursors */
	struct weir__list *at;  /* in queue->all */
};

struct weir__meter { /* events a second over the last seconds */
	int64_t second;
	int64_t since_second; /* when it began */
	uint32_t count[WEIR__RATE_SECONDS];
	int64_t last_ns; /* the last event; of ends also when the queue was empty last; 0: none */
	int64_t gap_ns;  /* smoothed; 0: none */
};

struct weir__cold_run { /* of numbers of jobs */
	uint64_t from;
	uint32_t n;
};

struct weir__cold { /* of one priority; runs[first … end) */
	int priority;
	struct weir__cold_run *runs;
	size_t first, end, cap;
};

enum { WEIR__CLASSES = 128 };
struct weir__latency { /* see latency.c */
	int64_t minute;
	uint32_t count[WEIR__CLASSES], before[WEIR__CLASSES];
};

struct weir__queue {
	weir_store *store;
	char name[WEIR__NAME_MAX + 1];
	weir_queue_settings given;     /* as configured: 0 is the default */
	weir_queue_settings set;       /* in force */
	bool configured;               /* stays when it is empty */
	size_t crons;                  /* that put into it; it stays meanwhile */
	struct weir__fetcher *fetcher; /* of a queue in another system, while somebody takes */
	bool kept;                     /* it is in use, so that it stays … */
	bool made;                     /* … and there, with its settings */
	struct weir__remote_counts there;
	struct weir__list all, waiting, running, finished, dead;
	struct weir__list keys;
	struct weir__list takers;  /* struct weir__taker, first come first served */
	struct weir__list cursors; /* struct weir__cursor */
	size_t pending;            /* jobs that are not on disk yet; it stays meanwhile */
	struct weir__cold *colds;  /* jobs that are only on disk, by priority */
	size_t colds_n, cold_n;    /* priorities; jobs */
	size_t away, away_bytes;   /* the same and those being read; their payloads */
	bool reading;              /* some of them are to come back */
	bool coming;               /* some are being read, neither there nor here … */
	int coming_priority;       /* … of this priority */
	bool dirty;                /* its settings are to be written */
	struct weir__heap ready;
	size_t count[WEIR__STATES];
	size_t held, bytes;
	weir_rate rate;
	struct weir__due rate_due;   /* the next token, while jobs wait for it */
	struct weir__due retain_due; /* when the oldest finished job is to go */
	struct weir__meter puts, dones;
	struct weir__latency wait, run;
	uint64_t put_total, taken_total, acked_total, failed_total, dead_total, refused_total,
		expired_total;
};

/* What a taker wants; lives on its stack. */
struct weir__taker {
	struct weir__sleeper sleeper;
	weir_job *job; /* its handle, empty until granted */
	int64_t lease_ns;
	const char *worker;
	bool renew;
};

/* A handle. */
struct weir_job {
	uint32_t magic;
	weir_store *store;
	struct weir__record *rec; /* NULL until granted */
	char queue[WEIR__NAME_MAX + 1];
	char token[WEIR__TOKEN + 1];
	uint32_t attempt;
	int64_t timeout_ns;
	struct weir__result *result;
	char *why;
	int64_t retry_ns, defer_ns; /* what a handler that fails wants; −1: nothing */
};

struct weir__idem {
	struct weir__hash_node node;
	struct weir__list link; /* store->idems, oldest first */
	int64_t until_wall;
	struct weir__record *pending; /* whose `fresh` it is */
	bool kept, dirty;             /* on disk or on its way there; it is to be written alone */
	char id[WEIR__ID + 1];
	size_t len;
	char text[]; /* queue name, NUL, key */
};

struct weir__cron {
	weir_store *store;
	struct weir__due due;
	struct weir__schedule when;
	struct weir__zone *zone; /* of `when`; NULL: UTC, or it could not be read: see `asleep` */
	bool asleep; /* it was kept over a restart, but its zone is not known any more */
	char name[WEIR__NAME_MAX + 1];
	char text[128];
	struct weir__queue *queue;
	int64_t next_at, last_at; /* wall */
	int64_t since_at;         /* what the wall clock was when next_at was counted */
	bool dirty;               /* to be written */
	size_t len;
	char data[];
};

struct weir__told; /* a change that waits for the listener */

/* Numbers of jobs over which ids rise; see spans.c. */
struct weir__span {
	uint64_t from, to;
	char first[WEIR__ID + 1], last[WEIR__ID + 1];
};

/* What is to be written by an engine that keeps changes; see journal.c. */
struct weir__journal {
	bool on;        /* there is such an engine */
	bool applying;  /* what changes now is on disk already */
	bool keeps;     /* what is in memory only is to be kept after all: the store closes */
	bool unwritten; /* there was such a job: keys may stand for some */
	enum { WEIR__BUSY, WEIR__DOZING, WEIR__ASLEEP } writer;
	bool news, urgent;      /* by the operation that holds the lock */
	struct weir__list jobs; /* records that have changed */
	/* The same, of running ones for which nobody waits: most end, and are written, before long.
	 * Those that have been here longer, and the others. */
	struct weir__list later[2];
	int64_t later_ns; /* when the first of these are to be written, and the others take their place */
	size_t jobs_n;                      /* in all three */
	bool queues, crons;                 /* some are dirty */
	size_t idems_n;                     /* keys that are */
	struct weir__cron_gone *crons_gone; /* deleted, and still to be deleted on disk */
	struct weir__list waits;            /* struct weir__settle, by ticket */
	bool reads;                         /* cold jobs are asked for */
	struct weir__list thaws;            /* struct weir__thaw */
	uint64_t tickets;
	uint64_t last_num;
	struct weir__span *spans;
	size_t spans_n, spans_cap;
};

struct weir_store {
	uint32_t magic;
	uint32_t refs; /* atomic: the opener's and one per handle */
	const struct weir__engine *engine;
	weir_store_options opt; /* in force */
	char *spool;
	weir_group group;            /* of the clock task; the opener's */
	weir_job_listener *listener; /* set before use */
	weir_job_wanted *wanted;     /* or NULL: the listener wants to hear all */
	void *listener_arg;

	int telling;     /* 1 + the worker that calls the listener now; 0: none. Atomic */
	weir__lock tell; /* held while the listener is called, so that changes are told in order */
	weir__lock lock; /* guards what follows */
	int64_t now_ns, wall_ns; /* of weir__store_now() and _wall(); 0: not looked at yet */
	bool draining, closed;
	struct weir__queue **queues; /* sorted by name */
	size_t queues_n, queues_cap;
	struct weir__cron **crons; /* sorted by name */
	size_t crons_n;
	bool had_cron;       /* since it was opened */
	weir_latch any_cron; /* opened by the first */
	struct weir__hash_table jobs, idem, keys;
	struct weir__list finished; /* done and cancelled jobs of all queues, oldest first */
	struct weir__list idems;
	size_t idem_bytes;
	struct weir__due idem_due;
	size_t memory;       /* also read atomically without the lock */
	size_t held;         /* over all queues */
	size_t cold_n;       /* of these */
	size_t coming;       /* and of these: being read */
	uint64_t seq;        /* order of arrival */
	uint64_t last_id[2]; /* the newest id, as 128 bits */
	unsigned char random[2048];
	size_t random_left;

	struct weir__heap due;
	size_t due_more;            /* room in it that is promised to others than jobs */
	struct weir__sleeper clock; /* the task that watches the due heap */
	bool clock_parked;
	int64_t clock_until;

	/* For leave(). */
	struct weir__sleeper *wakes;
	struct weir__record *trash;
	struct weir__told *told, **told_last;
	struct weir__told *told_free; /* a few, kept for the next */
	unsigned told_free_n;
	bool told_new; /* by the operation that holds the lock */

	struct weir__journal journal;
	void *engine_data;
	struct weir__far *far; /* NULL: its queues are here */
};

/* ---- store.c: the lock, time, memory, random numbers ---- */
void weir__store_enter(weir_store *s);
void weir__store_leave(weir_store *s);
/* The time, looked at once while the lock is held: each look costs as much as the lock. */
int64_t weir__store_now(weir_store *s);
int64_t weir__store_wall(weir_store *s);
void weir__store_ref(weir_store *s);
void weir__store_unref(weir_store *s);
void weir__store_random(weir_store *s, void *buf, size_t n);
/* Claims the sleeper for leave() to wake; false if it had ended otherwise. Unlinks it in any
 * case. */
bool weir__store_claim(weir_store *s, struct weir__sleeper *w, int value);
/* Room in the due heap must have been promised: by weir__store_promise() or by a held job. */
void weir__due_arm(weir_store *s, struct weir__due *d, int64_t at_ns);
void weir__due_stop(weir_store *s, struct weir__due *d);
int weir__store_promise(weir_store *s, size_t n);
void weir__store_charge(weir_store *s, size_t more, size_t less);
/* Is there room for so much, once finished jobs were thrown out? */
bool weir__store_room(weir_store *s, size_t more);

/* ---- tell.c: history and listener ---- */
/* The record has changed: into its history, and to the listener. note may be NULL. */
void weir__job_tell(weir_store *s, struct weir__record *j, const char *event, const char *note);
void weir__job_tell_progress(weir_store *s, struct weir__record *j);
void weir__told_deliver(weir_store *s); /* by leave(), outside the lock */
void weir__told_fini(weir_store *s);
void weir__job_snapshot(const struct weir__record *j, weir_job_info *ret);
unsigned weir__job_history(const struct weir__record *j, weir_job_event ret[WEIR__HISTORY]);
/* A change of an earlier life, the next in order: false if there is no such event. note may be
 * NULL. */
bool weir__job_recall(struct weir__record *j, int64_t at_wall, const char *event, unsigned attempt,
                      const char *note);

/* ---- job.c: records ---- */
struct weir__record *weir__job_new(const weir_job_spec *spec); /* outside the lock; no state yet */
void weir__job_free(struct weir__record *j);
struct weir__record *weir__job_find(weir_store *s, const char *id);
void weir__job_unref(weir_store *s, struct weir__record *j);
void weir__job_recharge(weir_store *s, struct weir__record *j);
/* Replaces it; without memory it is dropped. */
void weir__job_text(char **field, const char *text, size_t max);
/* Into a queue that has room (weir__queue_room()): heaps, lists, hash, memory. Then to be made
 * queued, delayed or dead. 0 or -ENOMEM. */
int weir__job_admit(weir_store *s, struct weir__queue *q, struct weir__record *j);
void weir__job_next_id(weir_store *s, char id[WEIR__ID + 1]);
void weir__job_id_seen(weir_store *s, const char *id);
/* Checks bounds and puts; as weir_job_put(), but j and idem (may be NULL) are taken over only by
 * 0. */
int weir__job_accept(weir_store *s, const char *queue, int64_t delay_ns, struct weir__record *j,
                     struct weir__idem *idem, char ret_id[WEIR__ID + 1]);
/* An admitted record to where it waits: queued or, by due_at, delayed. Who can take it is for
 * dispatch. */
void weir__job_place(weir_store *s, struct weir__record *j);
/* Out of the store for good. */
void weir__job_remove(weir_store *s, struct weir__record *j);
/* Changes of state; from whatever state the record is in. */
void weir__job_to_queued(weir_store *s, struct weir__record *j, const char *note, bool in_front);
void weir__job_to_delayed(weir_store *s, struct weir__record *j, int64_t delay_ns,
                          const char *note);
void weir__job_to_finished(weir_store *s, struct weir__record *j, enum weir_job_state state,
                           const char *note);
/* Out of the places that belong to its state. */
void weir__job_detach(weir_store *s, struct weir__record *j);
/* Counts against its queue's bounds, with a place in its heaps. 0 or -ENOMEM. */
int weir__job_hold(weir_store *s, struct weir__record *j);
/* Why a redrive ended before it was through. */
void weir__redrive_why(weir_redrive_left *l, int error);
int weir__job_hold_bytes(weir_store *s, struct weir__queue *q, size_t len); /* without a record */
/* Cold jobs: out of memory but held; back; never to come back. */
void weir__job_forget(weir_store *s, struct weir__record *j);
void weir__job_admit_held(weir_store *s, struct weir__queue *q, struct weir__record *j);
void weir__job_come_back(weir_store *s, struct weir__record *j);
void weir__job_lost(weir_store *s, struct weir__queue *q);
void weir__job_unhold(weir_store *s, struct weir__record *j);
/* It waits in another system again. */
void weir__job_to_elsewhere(weir_store *s, struct weir__record *j, int64_t delay_ns,
                            const char *note);

/* ---- queue.c ---- */
struct weir__queue *weir__queue_find(weir_store *s, const char *name);
/* Makes it if it is not there. 0, -ENOSPC, -ENOMEM. */
int weir__queue_get(weir_store *s, const char *name, struct weir__queue **ret);
void weir__queue_idle(weir_store *s, struct weir__queue *q); /* frees it if nothing holds it */
void weir__queue_free(struct weir__queue *q);
int weir__queue_room(const struct weir__queue *q, size_t len); /* 0 or -EAGAIN */
void weir__queue_set(weir_store *s, struct weir__queue *q, const weir_queue_settings *set);
bool weir__queue_settings_ok(const weir_queue_settings *set);
void weir__queue_defaults(const weir_store *s, weir_queue_settings *set); /* fills the zeros */
int64_t weir__queue_retry_after(const struct weir__queue *q, int64_t now);
void weir__meter_count(struct weir__meter *m, int64_t now);
double weir__meter_rate(const struct weir__meter *m, int64_t now);

/* ---- ready.c: who is next ---- */
void weir__ready_add(struct weir__queue *q, struct weir__record *j);
void weir__ready_remove(struct weir__queue *q, struct weir__record *j);
/* Room and key; 0 or -ENOMEM. */
int weir__ready_hold(weir_store *s, struct weir__queue *q, struct weir__record *j);
void weir__ready_unhold(weir_store *s, struct weir__queue *q, struct weir__record *j);
void weir__ready_running(struct weir__queue *q, struct weir__record *j, int by); /* +1, −1 */
void weir__ready_refresh(struct weir__queue *q); /* the caps have changed */
/* Who may run now, or NULL. */
struct weir__record *weir__ready_next(weir_store *s, struct weir__queue *q);
void weir__ready_dispatch(weir_store *s, struct weir__queue *q); /* jobs to waiting takers */
int weir__ready_room(struct weir__queue *q, size_t n);           /* in its heap; 0 or -ENOMEM */
int weir__ready_priority(const struct weir__queue *q); /* the best one; INT_MAX: none is ready */
void weir__ready_fini(struct weir__queue *q);
void weir__rate_due(weir_store *s, struct weir__due *d);

/* ---- lease.c ---- */
void weir__lease_start(weir_store *s, struct weir__record *j, const struct weir__taker *t);
/* A running job's due: the lease ran out. */
void weir__lease_due(weir_store *s, struct weir__due *d);
/* The lease is over: nobody may use its token; whoever guards the run is told. */
void weir__lease_end(weir_store *s, struct weir__record *j);
enum weir__verdict { WEIR__ACK, WEIR__NACK, WEIR__KILL, WEIR__RETURN };
bool weir__lease_is(const struct weir__record *j, const char *token);
/* By time, of one that was taken out of the due heap meanwhile. */
void weir__lease_keep(weir_store *s, struct weir__record *j);
int weir__lease_finish(weir_store *s, struct weir__record *j, const char *token,
                       enum weir__verdict v, struct weir__result **result, int64_t delay_ns,
                       const char *why);
/* Consumes the handle. In take.c. */
int weir__taken_finish(const weir_ctx *ctx, weir_job *j, enum weir__verdict v, int64_t delay_ns,
                       const char *why);
struct weir__settle;
/* Waits until a verdict is kept, also for a worker that is being stopped: what was done is done. r,
 * or what the disk said. */
int weir__lease_settle(const weir_ctx *ctx, weir_store *s, struct weir__settle *w, int r);
void weir__lease_wake_guards(weir_store *s, struct weir__record *j);

/* ---- look.c ---- */
/* A copy; 0, -EMSGSIZE, -ENOMEM. Nothing (NULL) for no bytes. */
int weir__result_new(const void *data, size_t len, struct weir__result **ret);
void weir__result_unref(struct weir__result *r);
void weir__cursors_pass(struct weir__queue *q, struct weir__list *leaving);

/* ---- latency.c ---- */
void weir__latency_count(struct weir__latency *l, int64_t ns, int64_t now);
weir_queue_latency weir__latency_get(struct weir__latency *l, int64_t now);

/* ---- retry.c ---- */
int64_t weir__retry_backoff(const weir_queue_settings *set, unsigned attempt);

/* ---- idempotency.c ---- */
/* Outside the lock; NULL without memory. */
struct weir__idem *weir__idem_new(const char *queue, const char *key);
/* The id that the key stands for, or NULL. */
const char *weir__idem_find(weir_store *s, const struct weir__idem *like);
int weir__idem_room(weir_store *s, const struct weir__idem *i); /* 0 or -ENOSPC */
void weir__idem_add(weir_store *s, struct weir__idem *i, const char *id, int64_t until_wall);
/* It is over, or its job was not accepted after all. */
void weir__idem_drop(weir_store *s, struct weir__idem *i);
/* All that stand for jobs of this queue and are in memory only: to be written. Or this one
 * again. */
void weir__idem_keep(weir_store *s, const struct weir__queue *q);
void weir__idem_again(weir_store *s, const char *text, size_t len);
void weir__idem_due(weir_store *s, struct weir__due *d);
void weir__idem_fini(weir_store *s);

/* ---- retention.c ---- */
void weir__retain_add(weir_store *s, struct weir__record *j);
void weir__retain_due(weir_store *s, struct weir__due *d);
void weir__retain_check(weir_store *s, struct weir__queue *q);
/* Throws out finished jobs until there is room. */
bool weir__retain_evict(weir_store *s, size_t more);

/* ---- journal.c: what is to be written, and who waits for it ---- */
struct weir__settle { /* somebody who waits; on its stack */
	struct weir__sleeper sleeper;
	uint64_t ticket;
	bool put;  /* for a new job, which may fail alone */
	bool wait; /* there is something to wait for */
};
void weir__journal_job(weir_store *s, struct weir__record *j); /* it has changed */
/* It has not, and is to be written again in the next transaction. */
void weir__journal_anew(weir_store *s, struct weir__record *j);
void weir__journal_gone(weir_store *s, struct weir__record *j);
/* Jobs that were in memory only are written after all: of this queue; of all, when it closes. */
void weir__journal_keep(weir_store *s, struct weir__queue *q);
void weir__journal_keep_all(weir_store *s);
void weir__journal_queue(weir_store *s, struct weir__queue *q);
void weir__journal_cron(weir_store *s, struct weir__cron *c);
int weir__journal_cron_gone(weir_store *s, const char *name); /* 0 or -ENOMEM */
/* Under the lock, by the operation that changed something; then, when it has left it, wait: 0, or
 * what the disk said, or the context's error. Without a context the wait ends with the write. */
void weir__journal_wait_for(weir_store *s, struct weir__settle *w, bool put);
/* For a change of this job; one that is in memory only is waited for by nobody. */
void weir__journal_wait_for_job(weir_store *s, struct weir__settle *w, struct weir__record *j);
int weir__journal_wait(const weir_ctx *ctx, weir_store *s, struct weir__settle *w);
int weir__journal_sync(const weir_ctx *ctx, weir_store *s); /* all that has changed so far */
bool weir__journal_wakes(weir_store *s); /* by leave(), under the lock: the writer is to be woken */

/* ---- cold.c: jobs that are only on disk ---- */
extern size_t weir__cold_window; /* ready jobs that a queue has in memory; tests make it few */
struct weir__thaw {              /* somebody who waits for one of them; on its stack */
	struct weir__sleeper sleeper;
	char id[WEIR__ID + 1];
};
/* Would a job of this priority wait on disk alone? Is there one that comes before `priority`? */
bool weir__cold_wanted(const struct weir__queue *q, int priority);
bool weir__cold_first(const struct weir__queue *q, int priority);
/* Out of memory, if it is to wait on disk. */
bool weir__cold_freeze(weir_store *s, struct weir__record *j);
/* When a store opens: one that is on disk stays there. 0 or -ENOMEM. */
int weir__cold_load(weir_store *s, struct weir__queue *q, int priority, uint64_t num, size_t len);
void weir__cold_refill(weir_store *s, struct weir__queue *q); /* asks for some, if few are left */
/* The next, for the engine to read: how many. Or this one; false if it is none. */
size_t weir__cold_take(weir_store *s, struct weir__queue *q, uint64_t *nums, size_t max);
bool weir__cold_remove(weir_store *s, struct weir__queue *q, int priority, uint64_t num);
/* Has it any of these numbers? */
bool weir__cold_within(const struct weir__queue *q, uint64_t from, uint64_t to);
/* Not under the lock: if the job is on disk alone it comes back. Waits for the disk. 0, -ENOMEM,
 * -EIO, the context's error. */
int weir__cold_thaw(const weir_ctx *ctx, weir_store *s, const char *id);
void weir__cold_fini(weir_store *s, struct weir__queue *q);

/* ---- spans.c: which numbers the job of an id may have ---- */
int weir__span_room(weir_store *s); /* for the next one: 0 or -ENOMEM */
void weir__span_note(weir_store *s, uint64_t num, const char *id); /* the highest so far */
/* The first span from this number on in which the id may be; false if there is none. */
bool weir__span_find(const weir_store *s, const char *id, uint64_t from, struct weir__span *ret);
/* Would it find this number? A span may have made room while its job was on the way to the disk. */
bool weir__span_holds(const weir_store *s, uint64_t num);
void weir__span_fini(weir_store *s);

/* ---- cron.c ---- */
int weir__cron_adopt(weir_store *s, const char *name, const char *schedule, const char *queue,
                     const void *data, size_t len, int64_t next_at, int64_t last_at);
weir_task_fn weir__cron_watch; /* a task of the store: the wall clock was set */
void weir__cron_fini(weir_store *s);

/* ---- spool.c ---- */
int weir__spool_read(weir_store *s, const char *path, const bool *stop);
int weir__spool_remove(const char *path); /* what it held is kept elsewhere now */
int weir__spool_write(weir_store *s, const char *path, const bool *stop, size_t *ret_jobs);

#endif
