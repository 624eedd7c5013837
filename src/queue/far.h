/* SPDX-License-Identifier: MIT */
/* What the files of a store over another system share; remote.c says how it works. */
#ifndef WEIR_QUEUE_FAR_H
#define WEIR_QUEUE_FAR_H

#include "queue/inner.h"

/* A job that is held here, and, once its record has let go of it, what is still to be said
 * there. */
struct weir__hold {
	struct weir__list link; /* far->held, or far->outbox */
	struct weir__delivery *d;
	struct weir__record *rec; /* NULL: in the outbox */
	uint32_t refs;
	int64_t at_ns; /* when to renew it, or to say it again */
	bool settling; /* its end is being said */
	enum weir__verdict verdict;
	int64_t delay_ns;
	char queue[WEIR__NAME_MAX + 1];
	char why[160];
};

/* Brings jobs while somebody waits for them. */
struct weir__fetcher {
	weir_store *store;
	weir_scope *scope; /* of the fetch that waits now */
	size_t coming;     /* takers that are about to queue up */
	char queue[WEIR__NAME_MAX + 1];
};

struct weir__far {
	const struct weir__engine_row *row;
	const struct weir__remote_engine *ops;
	void *engine;
	weir_store *spill; /* NULL: none */
	weir_sem spilled;  /* there is something to forward */

	/* Under the store's lock. */
	bool stopping;
	size_t users;                /* tasks in the engine's verbs */
	struct weir__sleeper *leave; /* who waits until there are none */
	struct weir__list held;      /* struct weir__hold, by at_ns nearly */
	struct weir__list outbox;
	struct weir__sleeper keeper;
	bool keeper_parked;
};

/* ---- remote.c ---- */
/* A task in the engine's verbs: false when the store closes. */
bool weir__far_enter(weir_store *s);
void weir__far_leave(weir_store *s);
/* The queue is there. 0 or what the engine says. Inside enter and leave. */
int weir__far_make(const weir_ctx *ctx, weir_store *s, const char *queue);
/* Before a taker queues up: somebody fetches, and stays for it. Then, under the lock: it is about
 * to. 0 or -ENOMEM. */
int weir__far_fetch(weir_store *s, const char *queue);
int weir__far_taker_in(weir_store *s, const char *queue);
/* Its wait has ended without a job: nobody fetches for nobody. */
void weir__far_taker_out(weir_store *s, const char *queue, struct weir__taker *t);
void weir__far_drain(weir_store *s);
void weir__far_stop(weir_store *s);
/* When no task is left. */
void weir__far_end(const weir_ctx *ctx, weir_store *s);
void weir__far_fill(const struct weir__queue *q, weir_queue_info *ret);
void weir__far_spilled(const weir_store *s, weir_queue_info *ret); /* without the lock */
bool weir__far_refuses(const weir_store *s, const weir_queue_settings *set, const bool *paused);
bool weir__far_can(const weir_store *s, enum weir__feature f);

/* ---- remote_put.c ---- */
/* An id made of a queue's name and a text: the same one for the same two, at every process. */
void weir__far_id(const char *queue, const char *text, char id[WEIR__ID + 1]);
bool weir__far_is_id(const char *text);
bool weir__spec_ok(const weir_job_spec *spec); /* in put.c */
int64_t weir__far_redrive(const weir_ctx *ctx, weir_store *s, const char *queue,
                          weir_redrive_left *left);
int weir__far_put(const weir_ctx *ctx, weir_store *s, const char *queue, const weir_job_spec *specs,
                  size_t n, char (*ret_ids)[27], int *ret);

/* ---- remote_spill.c ---- */
int weir__spill_open(const weir_ctx *ctx, weir_store *s, const char *url);
/* Those whose r is -ENOTCONN, which becomes the spill's. */
void weir__spill_put(const weir_ctx *ctx, weir_store *s, const char *queue,
                     const struct weir__remote_job *jobs, size_t n, int *r);
/* How many of the queue wait in it; 0 without one. */
size_t weir__spill_count(const weir_store *s, const char *queue);

/* ---- remote_end.c ---- */
/* A run's end by who waits for it: first there, then here. With the lock before and after. `last`:
 * nobody can say it again, so what could not be confirmed is said until it is too late. */
int weir__far_finish(const weir_ctx *ctx, weir_store *s, struct weir__record *j, const char *token,
                     enum weir__verdict v, struct weir__result **result, int64_t delay_ns,
                     const char *why, bool last);
/* Under the lock: the record ends here; there it is said later, unless it was. */
void weir__far_hand(weir_store *s, struct weir__record *j, enum weir__verdict v, int64_t delay_ns,
                    const char *why);
void weir__hold_free(struct weir__hold *h);
/* The record has it no more, and nothing is to be said there. */
void weir__hold_drop(struct weir__record *j);
/* The engine holds it for us whatever the time, until its end is said. */
bool weir__far_held(const weir_store *s, const struct weir__hold *h);
void weir__far_wake_keeper(weir_store *s);
weir_task_fn weir__far_keeper;
/* What the outbox holds, once each; tells in the log what could not be said. */
void weir__far_flush(const weir_ctx *ctx, weir_store *s);

#endif
