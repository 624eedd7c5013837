/* SPDX-License-Identifier: MIT */
/*
 * Jobs: work that is put into a named queue, taken under a lease, and acknowledged. At least once:
 * a job whose worker vanished or whose lease ran out is run again, until its attempts are used up;
 * then it is dead. A durable store writes a take within 40 ms, since nobody waits for it: if the
 * program or the machine dies before that, the run is not counted as an attempt.
 *
 *	r = weir_store_open(ctx, "mem:", NULL, &store);
 *	r = weir_job_put(ctx, store, "mail", &(weir_job_spec){ .data = "hi", .len = 2 }, id);
 *	while ((r = weir_job_take(ctx, store, "mail", &opt, &job)) > 0) {
 *		send(job);
 *		weir_job_ack(ctx, job, NULL, 0);
 *	}
 *
 * A lease carries a fencing token: an ack with a lease that has ended is refused (-ESTALE). All
 * functions may be called from any task. Times are nanoseconds; `_at` are on the wall clock
 * (weir_wall()).
 */
#ifndef WEIR_QUEUE_H
#define WEIR_QUEUE_H

#include <weir/group.h>
#include <weir/process.h>

WEIR_BEGIN

typedef struct weir_store weir_store; /* an engine with all its queues */
/* a job that was taken: held until ack, nack or weir_job_release() */
typedef struct weir_job weir_job;

enum weir_job_state {
	WEIR_QUEUED,
	WEIR_DELAYED,
	WEIR_RUNNING,
	WEIR_DONE,
	WEIR_DEAD,
	WEIR_CANCELLED
};
WEIR_API const char *weir_job_state_name(enum weir_job_state s);

#define WEIR_JOB_ID_LEN 26 /* base32, sorts by time (ULID-like), plus NUL in ids of [27] */

typedef struct weir_store_options { /* 0: the default */
	size_t queue_max;           /* jobs a queue holds (queued, delayed, running); 100000 */
	size_t queue_bytes;         /* payload bytes a queue holds; 256 MiB */
	size_t memory_max;          /* over all queues, finished jobs too; 1 GiB */
	unsigned queues_max;        /* 1000 */
	size_t finished_max;        /* finished jobs kept per queue; 10000 */
	int64_t finished_ns;        /* … for so long; 24 h */
	int64_t idempotency_ns;     /* 24 h */
	/* file that a clean close writes and open reads back; NULL for none */
	const char *spool;
	/* over an engine: a store of this machine, "sqlite:PATH", that takes jobs while the engine
	 * is away; they are forwarded in order when it is back. NULL: puts fail meanwhile */
	const char *spill;
} weir_store_options;

/*
 * "mem:", or "sqlite:PATH": a file in which everything is before it is answered, so that it
 * survives kill -9 and power loss; one store at a time, which "PATH-lock" is for. What a store in
 * memory spooled, a durable one takes over. 0, -EINVAL, -EPROTONOSUPPORT (also: built without it),
 * -ENOMEM, -EBUSY (another store has it open), -EIO/-EBADMSG for a spool or file that cannot be
 * read, is foreign, damaged or newer (said why; left untouched). Its tasks belong to ctx's scope.
 *
 * Or the queues of another system, which several processes share: "nats://…" is JetStream,
 * "amqp://…" RabbitMQ, "sqs+https://…" SQS (doc/design/engines.md has the URLs, and what each
 * engine can do). Waits for the first
 * connection: also -ECONNREFUSED, -EACCES. From then on it connects again by itself; meanwhile puts
 * fail with -ENOTCONN, takers wait, and what is held goes on. What the engine cannot do is refused
 * with -EOPNOTSUPP, also what is asked here without a context and would have to wait for it.
 */
WEIR_API int weir_store_open(const weir_ctx *ctx, const char *url, const weir_store_options *opt,
                             weir_store **ret);

/* Takes end with 0 and puts with -EPIPE; what is still leased is returned (a durable store keeps
 * leases that run by time: they go on when it opens again); the spool is written (through a
 * temporary file, fsync, rename). 0, the error of the spool, or -EIO: the disk did not take all (it
 * was said what that means). Consumes the store. *ret_spooled: jobs that the next start will find;
 * may be NULL. By the task that opened it. Handles that are still held stay usable: what they say
 * is -ESTALE. */
WEIR_API int weir_store_close(const weir_ctx *ctx, weir_store *s, size_t *ret_spooled);

/*
 * A durable store's file from outside, also while it is served. They block: not in a task. backup:
 * a whole copy into a new file, which can be opened in place of the first; -EEXIST, -ENOENT,
 * -EBADMSG, -ENOSPC, -EIO, -EPROTONOSUPPORT (built without SQLite). check: 0 and how many jobs are
 * queued, delayed or running; -EBADMSG: it is damaged. What is wrong is said in the log.
 */
WEIR_API int weir_store_backup(const char *path, const char *to);
WEIR_API int weir_store_check(const char *path, size_t *ret_jobs);

/* Can it be reached, as far as is known? Always true for one that is here. Never waits. */
WEIR_API bool weir_store_up(weir_store *s);

/* Stop giving out jobs (takers get -ESHUTDOWN… as 0 = closed); puts, acks and extends go on. */
WEIR_API void weir_store_drain(weir_store *s);

/*
 * What is true of a job of a queue when its producer is answered, and of an ack when its worker is:
 * FSYNC it is on disk, and neither kill -9 nor a power loss takes it back; OS the system has it,
 * and only a power loss does; MEMORY only this process has it: a clean close keeps it, kill -9
 * loses it. In a store in memory always MEMORY; a store over an engine has its own
 * (weir_queue_info).
 */
enum weir_durability { WEIR_DURABILITY_DEFAULT, WEIR_FSYNC, WEIR_OS, WEIR_MEMORY };
WEIR_API const char *weir_durability_name(enum weir_durability d); /* "fsync", "os", "memory" */

/* Settings of a queue; 0 = default. A queue is made by its first put or take or by this. */
typedef struct weir_queue_settings {
	size_t max, max_bytes;
	enum weir_durability durability; /* the best that the store has */
	int64_t lease_ns;                /* 30 s */
	unsigned attempts_max;           /* 10 */
	int64_t timeout_ns;              /* limit of one run; none */
	int64_t backoff_ns;              /* 1 s: 1 s · 2ⁿ ± 20 % */
	int64_t backoff_max_ns;          /* 1 h */
	double rate;                     /* jobs given out a second; 0: no limit */
	unsigned rate_burst;
	unsigned concurrency;     /* running at a time; 0: no limit */
	unsigned key_concurrency; /* running at a time per key; 0: no limit */
	size_t finished_max;
	int64_t finished_ns;
	bool paused;
} weir_queue_settings;
/* 0, -EINVAL, -EOPNOTSUPP (a durability that the store does not have; what its engine cannot do),
 * -ENOSPC, -ENOMEM, -EIO. */
WEIR_API int weir_queue_configure(const weir_ctx *ctx, weir_store *s, const char *queue,
                                  const weir_queue_settings *set);

/* Of the last one to two minutes, within a tenth. */
typedef struct weir_queue_latency {
	uint64_t n; /* 0: none, and the others are 0 */
	int64_t p50_ns, p95_ns, p99_ns;
} weir_queue_latency;

typedef struct weir_queue_info {
	char name[65];
	weir_queue_settings set; /* in force */
	size_t queued, delayed, running, done, dead, cancelled, bytes;
	uint64_t put_total, taken_total, acked_total, failed_total, dead_total, refused_total,
		expired_total;
	double put_rate, done_rate; /* a second, smoothed over about 10 s */
	int64_t oldest_ns;          /* age of the oldest queued job */
	weir_queue_latency wait;    /* from being queued to being taken */
	weir_queue_latency run;     /* from being taken to the end of the run, well or not */
	/* what a refused producer is told: from the measured rate, 1–60 s */
	int64_t retry_after_ns;
	const char *
		durability; /* of a job that was accepted: weir_durability_name(), or an engine's */
} weir_queue_info;
/* 0 or -ENOENT. Names: 1–64 of [A-Za-z0-9._-], not starting with a dot. */
WEIR_API int weir_queue_info_get(weir_store *s, const char *queue, weir_queue_info *ret);
/* Of these the last alone, for next to nothing; NULL if there is no such queue. */
WEIR_API const char *weir_queue_durability(weir_store *s, const char *queue);
WEIR_API int weir_queue_each(weir_store *s, int (*fn)(const weir_queue_info *, void *), void *arg);
/* Ask the engine, if there is one, for the counts that the two above give next: 0, or why it could
 * not be asked. */
WEIR_API int weir_queue_refresh(const weir_ctx *ctx, weir_store *s, const char *queue);
WEIR_API bool weir_queue_name_valid(const char *name);
WEIR_API int weir_queue_pause(const weir_ctx *ctx, weir_store *s, const char *queue, bool on);

/* Dead jobs that a redrive left where they are. */
typedef struct weir_redrive_left {
	int64_t n;     /* with an error, 0 may be for unknown */
	char why[192]; /* of the first, or what ended it; "" for nothing */
} weir_redrive_left;
/* Bring dead jobs back with fresh attempts: how many, or -ENOENT; -EAGAIN or -ENOMEM when not one
 * found room; of an engine's also -EOPNOTSUPP and -ENOTCONN. Waits for the disk or the engine.
 * Those for which there was no room stay dead, and so do an engine's that cannot be read or put
 * again, and the rest when it is cut off between two: *ret_left, which may be NULL. */
WEIR_API int64_t weir_queue_redrive(const weir_ctx *ctx, weir_store *s, const char *queue,
                                    weir_redrive_left *ret_left);

typedef struct weir_job_spec {
	const void *data;
	size_t len;
	const char *content_type; /* default application/octet-stream */
	/* up to 255 bytes; the same key within the window gives the first job's id */
	const char *idempotency_key;
	const char *key; /* for key_concurrency; up to 255 bytes */
	int64_t delay_ns;
	int priority;          /* 0 is normal, smaller is sooner; −1000 … 1000 */
	int64_t timeout_ns;    /* 0: the queue's */
	unsigned attempts_max; /* 0: the queue's */
} weir_job_spec;

/* Never waits on a full queue; a durable store waits for the disk. 0, 1 (an earlier job with this
 * idempotency key: its id), -EAGAIN (full), -ENOSPC (memory_max, queues_max or the disk), -EIO,
 * -EINVAL, -EMSGSIZE, -EPIPE. With the context's error it is not known whether the job was taken;
 * an idempotency key makes it safe to ask again. Over an engine also -EOPNOTSUPP
 * (weir_store_lacks() says why) and -ENOTCONN (it is away; not confirmed). */
WEIR_API int weir_job_put(const weir_ctx *ctx, weir_store *s, const char *queue,
                          const weir_job_spec *spec, char ret_id[27]);

/* Many at once, which on disk costs little more than one: waits until all are kept. ret_ids[i] and
 * ret[i] (as weir_job_put() gives it) for each. 0, or the context's error: then those that are not
 * known to be kept have it too. -ENOMEM: none was put. */
WEIR_API int weir_job_put_many(const weir_ctx *ctx, weir_store *s, const char *queue,
                               const weir_job_spec *specs, size_t n, char (*ret_ids)[27], int *ret);

/* What such a job asks for that the store's engine does not have: "priority"; NULL: nothing. */
WEIR_API const char *weir_store_lacks(const weir_store *s, const weir_job_spec *spec);

typedef struct weir_take_options {
	int64_t lease_ns;   /* 0: the queue's */
	const char *worker; /* shown; up to 63 bytes */
	/* the holder vouches for the lease by other means (connection, local task): it does not run
	 * out by time, but for the job's own limit and some seconds */
	bool renew;
} weir_take_options;

/* Waits for a job (put a deadline or until-drain on ctx). 1, 0 (store draining or closed), -EINVAL,
 * -ENOSPC, or the context's error. */
WEIR_API int weir_job_take(const weir_ctx *ctx, weir_store *s, const char *queue,
                           const weir_take_options *opt, weir_job **ret);

/* What the worker sees. Valid while it holds the job. */
WEIR_API const char *weir_job_id(const weir_job *j);
WEIR_API const char *weir_job_queue(const weir_job *j);
WEIR_API const char *weir_job_lease(const weir_job *j); /* fencing token, text */
WEIR_API const void *weir_job_data(const weir_job *j, size_t *ret_len);
WEIR_API const char *weir_job_content_type(const weir_job *j);
WEIR_API unsigned weir_job_attempt(const weir_job *j);
WEIR_API int64_t weir_job_timeout(const weir_job *j); /* ns; 0: none */

/* The handle's ways to end; each consumes the handle, whatever it returns. 0, or -ESTALE when the
 * lease had ended. ack: -EMSGSIZE when the result is over 1 MiB or memory_max leaves no room for
 * it: the job is done then, without its result. */
WEIR_API int weir_job_ack(const weir_ctx *ctx, weir_job *j, const void *result, size_t len);
/* delay < 0: back-off */
WEIR_API int weir_job_nack(const weir_ctx *ctx, weir_job *j, int64_t delay_ns, const char *why);
/* Give the lease back without counting the attempt: the worker stops. */
WEIR_API int weir_job_return(weir_job *j);
/* Drop the handle but leave the lease running (the lease text was handed to a remote worker). */
WEIR_API void weir_job_release(weir_job *j);

/* The same for a lease held elsewhere, by text. 0; -ESTALE; -ENOENT. extend and progress: 1 when
 * the job was cancelled. */
WEIR_API int weir_lease_ack(const weir_ctx *ctx, weir_store *s, const char *id, const char *lease,
                            const void *result, size_t len);
WEIR_API int weir_lease_nack(const weir_ctx *ctx, weir_store *s, const char *id, const char *lease,
                             int64_t delay_ns, const char *why);
/* No attempt will help: to the dead at once. */
WEIR_API int weir_lease_bury(const weir_ctx *ctx, weir_store *s, const char *id, const char *lease,
                             const char *why);
WEIR_API int weir_lease_extend(weir_store *s, const char *id, const char *lease, int64_t lease_ns);
/* fraction: 0…1, or -1: only the note is new. -EINVAL for others. */
WEIR_API int weir_lease_progress(weir_store *s, const char *id, const char *lease, double fraction,
                                 const char *note);
WEIR_API int weir_lease_return(weir_store *s, const char *id, const char *lease);
/* Its worker has vanished without a word. The job is back at once, but the attempt has ended: a job
 * that kills its workers is dead when its attempts are used up. Never waits. */
WEIR_API int weir_lease_lost(weir_store *s, const char *id, const char *lease);

/* Has the job been cancelled, or its lease lost? Waits until then: 0, or the context's error. For
 * the task that guards a run. */
WEIR_API int weir_job_wait_cancel(const weir_ctx *ctx, weir_job *j);
WEIR_API int weir_job_progress(weir_job *j, double fraction, const char *note);

/* A snapshot; free with weir_job_info_free(). */
typedef struct weir_job_event {
	int64_t at_wall;
	const char *state;
	unsigned attempt;
	char note[96];
} weir_job_event;
typedef struct weir_job_info {
	char id[27], queue[65];
	enum weir_job_state state;
	unsigned attempt, attempts_max;
	int priority;
	double progress; /* 0…1, −1: never told */
	char note[96], worker[64], error[160];
	int64_t created_at, due_at, started_at, finished_at; /* wall; 0: not yet */
	size_t len, result_len;
	bool cancel; /* asked for, while running */
	char content_type[96];
	void *data, *result;        /* copies, only with weir_job_get(…, true) */
	weir_job_event history[16]; /* the last changes */
	unsigned histories;         /* how many of it are filled: the oldest is left out first */
	/* told so far, the job's first is 1: the number of history's last entry. Progress counts
	 * none */
	uint64_t changes;
} weir_job_info;
/* 0 or -ENOENT (unknown, or finished and no longer kept). May wait for the disk; with ctx NULL it
 * does not, as a listener must not: a job that waits on disk alone is unknown then. */
WEIR_API int weir_job_get(const weir_ctx *ctx, weir_store *s, const char *id, bool payload,
                          weir_job_info *ret);
WEIR_API void weir_job_info_free(weir_job_info *i);
/* By state (-1: all), in id order, after `after` (NULL: from the start): up to max; how many. */
WEIR_API int weir_job_list(weir_store *s, const char *queue, int state, const char *after,
                           weir_job_info *ret, size_t max);

/* Queued or delayed: cancelled at once. Running: the worker hears. 0, -ENOENT, -EALREADY
 * (finished). */
WEIR_API int weir_job_cancel(const weir_ctx *ctx, weir_store *s, const char *id);
/* A dead, cancelled or done job once more, with fresh attempts. 0, -ENOENT, -EBUSY (not finished),
 * -EAGAIN (queue full). */
WEIR_API int weir_job_retry(const weir_ctx *ctx, weir_store *s, const char *id);

/* Every change, in order, told before the call that made it returns, never waiting: for the bus,
 * SSE and metrics. `event` is a state's name, or "failed" or "progress". The listener may look at
 * the store but not change jobs. One listener; before use. */
typedef void weir_job_listener(const weir_job_info *info, const char *event, void *arg);
WEIR_API void weir_store_listen(weir_store *s, weir_job_listener *fn, void *arg);
/* Asked before each change is copied for the listener, with its argument: does it want to hear?
 * Under the store's lock, so it may only look at something of its own. Before use. */
typedef bool weir_job_wanted(void *arg);
WEIR_API void weir_store_listen_when(weir_store *s, weir_job_wanted *wanted);

/* Memory held, in bytes, and the sum over all queues. */
WEIR_API size_t weir_store_memory(const weir_store *s);

/* ---- Workers ---- */
/* A job's handler: 0 acks (with what weir_job_result() was given), < 0 nacks with back-off; -EINVAL
 * sends it to the dead at once. ctx ends when the job is cancelled, its limit passes, its lease is
 * lost or the workers stop; a run that a stop ended is returned, not failed. */
typedef int weir_job_fn(const weir_ctx *ctx, weir_job *job, void *arg);
/* copied; 0, -EMSGSIZE (over 1 MiB), -ENOMEM */
WEIR_API int weir_job_result(weir_job *j, const void *data, size_t len);
/* Say why the handler is going to fail ("exit status 3"): copied, up to 159 bytes, shown as the
 * job's error. */
WEIR_API void weir_job_why(weir_job *j, const char *why);

/* If the handler fails: run again after so long, instead of the back-off. */
WEIR_API void weir_job_retry_after(weir_job *j, int64_t delay_ns);
/* If the handler fails: this was no attempt. The job goes back, to run again after so long; 0: as
 * soon as it is its turn. */
WEIR_API void weir_job_defer(weir_job *j, int64_t delay_ns);

/* `n` tasks of the group that take and run until drain (then they finish what they run) or cancel;
 * while there is no memory, or no room for the queue, they ask again each second. 0 or
 * -ENOMEM. */
WEIR_API int weir_workers_start(weir_group *g, weir_store *s, const char *queue, unsigned n,
                                weir_job_fn *fn, void *arg);

/* An exec handler: arg is a NULL-terminated argv. Payload on stdin, exit code is the verdict (0
 * ack, 100 dead at once, else nack); stdout is the result (bounded); SIGTERM then SIGKILL to the
 * process group on cancel. Environment: WEIR_JOB_ID, WEIR_QUEUE, WEIR_ATTEMPT. */
WEIR_API int weir_job_exec(const weir_ctx *ctx, weir_job *job, void *argv);

/* The same with limits: arg is a weir_exec. A run over one fails, and its job's error says
 * which. */
typedef struct weir_exec {
	char *const *argv;
	weir_process_limits limits;
} weir_exec;
WEIR_API int weir_job_exec_limited(const weir_ctx *ctx, weir_job *job, void *exec);

/* ---- Cron ---- */
typedef struct weir_cron_info {
	char name[65], queue[65], schedule[128];
	int64_t next_at, last_at;
	size_t len;
} weir_cron_info;
/*
 * The schedule: five fields (minute, hour, day of the month, month, day of the week) as crontab(5)
 * has them, @hourly … @yearly, or "@every 5m"; with "TZ=Europe/Berlin " before the fields by the
 * local clock of that zone, else in UTC. Each tick comes exactly once, also where the local clock
 * jumps: what falls into the hour left out comes when that hour would have begun, and an hour that
 * comes twice counts the first time; a schedule of every hour goes by the time that really passes.
 *
 * Ticks that were missed (the store was closed, the clock was put forward) are made up for by one.
 * A clock put back by up to three hours is waited for; by more, ticks are counted anew from it.
 *
 * Replaces one of that name; with the schedule it had, it keeps its next time. Waits for the
 * zone's file. 0; -EINVAL (name, queue, or a schedule that is none or never comes); -ENOENT (no
 * such zone); -EMSGSIZE (data over 64 KiB); -ENOSPC, -EPIPE, -ENOMEM; the context's error.
 */
WEIR_API int weir_cron_put(const weir_ctx *ctx, weir_store *s, const char *name,
                           const char *schedule, const char *queue, const void *data, size_t len);
WEIR_API int weir_cron_get(weir_store *s, const char *name, weir_cron_info *ret);
WEIR_API int weir_cron_delete(const weir_ctx *ctx, weir_store *s, const char *name);
WEIR_API int weir_cron_each(weir_store *s, int (*fn)(const weir_cron_info *, void *), void *arg);

WEIR_END
#endif
