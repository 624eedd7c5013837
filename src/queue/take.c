/* SPDX-License-Identifier: MIT */
/*
 * Taking a job, and the handle one gets.
 *
 * A taker makes its handle before it waits, so that whoever hands it a job cannot fail. The handle
 * holds the record (the payload stays readable even when the lease has been lost) and the store's
 * memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/far.h"
#include "queue/inner.h"

static weir_job *handle_new(weir_store *s)
{
	weir_job *j = calloc(1, sizeof *j);

	if (!j)
		return NULL;
	j->magic = weir__taken_magic;
	j->retry_ns = j->defer_ns = -1;
	j->store = s;
	weir__store_ref(s);
	return j;
}

/* Not under the lock. */
static void handle_free(weir_job *j)
{
	weir_store *s = j->store;

	if (j->rec) {
		weir__store_enter(s);
		weir__job_unref(s, j->rec);
		weir__store_leave(s);
	}
	weir__result_unref(j->result);
	free(j->why);
	j->magic = 0;
	free(j);
	weir__store_unref(s);
}

/* Under the lock: at once if a job is ready, else in line. 1, 0 (draining or closed), -EAGAIN when
 * in line, or an error. */
static int take_or_queue(weir_store *s, const char *queue, struct weir__taker *t)
{
	struct weir__record *j = NULL;
	struct weir__queue *q;
	int r;

	if (s->draining)
		return 0;
	r = weir__queue_get(s, queue, &q);
	if (r < 0)
		return r;
	/* Who waits already came first: then nothing is ready, or the clock is about to hand it
	 * out. */
	if (weir__list_empty(&q->takers))
		j = weir__ready_next(s, q);
	if (j) {
		weir__lease_start(s, j, t);
		return 1;
	}
	weir__wait_init(&t->sleeper.wait);
	weir__list_append(&q->takers, &t->sleeper.node);
	return -EAGAIN;
}

int weir_job_take(const weir_ctx *ctx, weir_store *s, const char *queue,
                  const weir_take_options *opt, weir_job **ret)
{
	static const weir_take_options none;
	struct weir__taker t = { 0 };
	struct weir__queue *q;
	int r;

	weir__magic_check(s, weir__store_magic);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	if (!opt)
		opt = &none;
	if (!weir_queue_name_valid(queue) || opt->lease_ns < 0 || opt->lease_ns > WEIR__DELAY_MAX)
		return -EINVAL;
	t.lease_ns = opt->lease_ns;
	t.worker = opt->worker;
	t.renew = opt->renew;
	t.job = handle_new(s);
	if (!t.job)
		return -ENOMEM;
	r = s->far ? weir__far_fetch(s, queue) : 0;
	if (r < 0) {
		handle_free(t.job);
		return r;
	}
	weir__store_enter(s);
	r = s->far ? weir__far_taker_in(s, queue) : 0;
	if (r == 0)
		r = take_or_queue(s, queue, &t);
	weir__store_leave(s);
	if (r == -EAGAIN) {
		r = weir__wait_park(&t.sleeper.wait, ctx, "job take", s);
		if (s->far && r < 0)
			weir__far_taker_out(s, queue, &t);
		weir__store_enter(s);
		if (weir__list_linked(&t.sleeper.node))
			weir__list_remove(&t.sleeper.node);
		q = r < 0 ? weir__queue_find(s, queue) : NULL;
		if (q) {
			/* A job may have been let out for this taker in vain. */
			weir__ready_dispatch(s, q);
			weir__queue_idle(s, q);
		}
		weir__store_leave(s);
	}
	if (r != 1) {
		handle_free(t.job);
		return r;
	}
	*ret = t.job;
	return 1;
}

/* ---- The handle ---- */

const char *weir_job_id(const weir_job *j)
{
	weir__magic_check(j, weir__taken_magic);
	return j->rec->id;
}

const char *weir_job_queue(const weir_job *j)
{
	weir__magic_check(j, weir__taken_magic);
	return j->queue;
}

const char *weir_job_lease(const weir_job *j)
{
	weir__magic_check(j, weir__taken_magic);
	return j->token;
}

const void *weir_job_data(const weir_job *j, size_t *ret_len)
{
	weir__magic_check(j, weir__taken_magic);
	if (ret_len)
		*ret_len = j->rec->len;
	return j->rec->data;
}

const char *weir_job_content_type(const weir_job *j)
{
	weir__magic_check(j, weir__taken_magic);
	return j->rec->content_type ? j->rec->content_type : "application/octet-stream";
}

unsigned weir_job_attempt(const weir_job *j)
{
	weir__magic_check(j, weir__taken_magic);
	return j->attempt;
}

int64_t weir_job_timeout(const weir_job *j)
{
	weir__magic_check(j, weir__taken_magic);
	return j->timeout_ns;
}

int weir_job_result(weir_job *j, const void *data, size_t len)
{
	struct weir__result *copy;
	int r;

	weir__magic_check(j, weir__taken_magic);
	r = weir__result_new(data, len, &copy);
	if (r < 0)
		return r;
	weir__result_unref(j->result);
	j->result = copy;
	return 0;
}

void weir_job_why(weir_job *j, const char *why)
{
	weir__magic_check(j, weir__taken_magic);
	weir__job_text(&j->why, why, sizeof(((weir_job_info *)0)->error) - 1);
}

void weir_job_retry_after(weir_job *j, int64_t delay_ns)
{
	weir__magic_check(j, weir__taken_magic);
	j->retry_ns = delay_ns;
}

void weir_job_defer(weir_job *j, int64_t delay_ns)
{
	weir__magic_check(j, weir__taken_magic);
	j->defer_ns = delay_ns;
}

int weir__taken_finish(const weir_ctx *ctx, weir_job *j, enum weir__verdict v, int64_t delay_ns,
                       const char *why)
{
	struct weir__settle w = { 0 };
	weir_store *s = j->store;
	int r;

	weir__magic_check(j, weir__taken_magic);
	weir__store_enter(s);
	if (s->far && ctx)
		r = weir__far_finish(ctx, s, j->rec, j->token, v, &j->result, delay_ns, why, true);
	else
		r = weir__lease_finish(s, j->rec, j->token, v, &j->result, delay_ns, why);
	if (r >= 0 && ctx)
		weir__journal_wait_for_job(s, &w, j->rec);
	weir__store_leave(s);
	r = weir__lease_settle(ctx, s, &w, r);
	handle_free(j);
	return r;
}

int weir_job_ack(const weir_ctx *ctx, weir_job *j, const void *result, size_t len)
{
	int r = 0;

	weir__magic_check(j, weir__taken_magic);
	if (result) {
		r = weir_job_result(j, result, len);
		if (r < 0)
			weir_job_result(j, NULL, 0);
	}
	if (r < 0) { /* Done all the same: that its result is lost is no reason to run it again. */
		int done = weir__taken_finish(ctx, j, WEIR__ACK, 0,
		                              "its result was too large to keep");

		return done < 0 ? done : r;
	}
	return weir__taken_finish(ctx, j, WEIR__ACK, 0, NULL);
}

int weir_job_nack(const weir_ctx *ctx, weir_job *j, int64_t delay_ns, const char *why)
{
	return weir__taken_finish(ctx, j, WEIR__NACK, delay_ns, why);
}

int weir_job_return(weir_job *j)
{
	return weir__taken_finish(NULL, j, WEIR__RETURN, 0, "returned");
}

void weir_job_release(weir_job *j)
{
	weir__magic_check(j, weir__taken_magic);
	handle_free(j);
}

int weir_job_progress(weir_job *j, double fraction, const char *note)
{
	weir__magic_check(j, weir__taken_magic);
	return weir_lease_progress(j->store, j->rec->id, j->token, fraction, note);
}

/* ---- Guarding a run ---- */

int weir_job_wait_cancel(const weir_ctx *ctx, weir_job *job)
{
	struct weir__sleeper w = { 0 };
	struct weir__record *j;
	weir_store *s;
	bool over;
	int r;

	weir__magic_check(job, weir__taken_magic);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	s = job->store;
	j = job->rec;
	weir__store_enter(s);
	over = j->cancel || strcmp(j->token, job->token) != 0;
	if (!over) {
		weir__wait_init(&w.wait);
		weir__list_append(&j->sleepers, &w.node);
	}
	weir__store_leave(s);
	if (over)
		return 0;
	r = weir__wait_park(&w.wait, ctx, "job cancel", job);
	weir__store_enter(s);
	if (weir__list_linked(&w.node))
		weir__list_remove(&w.node);
	weir__store_leave(s);
	return r;
}
