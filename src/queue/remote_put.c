/* SPDX-License-Identifier: MIT */
/*
 * Putting jobs where they wait in another system.
 *
 * A job's id is made here, and is what the engine drops doubles by: a put that was not confirmed
 * can be sent again. With an idempotency key the id is made of queue and key, so that the engine's
 * own window is the key's window, and whoever asks gets the same id, from any process.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sha256.h"
#include "queue/far.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* 130 bits of a hash, as 26 characters like every id; such ids do not sort by time. */
void weir__far_id(const char *queue, const char *text, char id[WEIR__ID + 1])
{
	unsigned char h[WEIR__SHA256];
	struct weir__sha256 sha;

	weir__sha256_init(&sha);
	weir__sha256_add(&sha, queue, strlen(queue) + 1);
	weir__sha256_add(&sha, text, strlen(text));
	weir__sha256_end(&sha, h);
	for (int i = 0; i < WEIR__ID; i++)
		id[i] = alphabet[h[i] & 31];
	id[WEIR__ID] = 0;
}

bool weir__far_is_id(const char *text)
{
	return strlen(text) == WEIR__ID && strspn(text, alphabet) == WEIR__ID;
}

static bool too_long(const weir_store *s, const weir_job_spec *spec)
{
	return s->far->row->delay_max_ns && spec->delay_ns > s->far->row->delay_max_ns;
}

/* What the job asks for and the engine does not have; NULL: nothing. */
static const char *lacks(const weir_store *s, const weir_job_spec *spec)
{
	enum weir__feature f = WEIR__FEATURES;

	if (spec->delay_ns > 0 && (!weir__far_can(s, WEIR__CAN_DELAY) || too_long(s, spec)))
		f = WEIR__CAN_DELAY;
	else if (spec->priority && !weir__far_can(s, WEIR__CAN_PRIORITY))
		f = WEIR__CAN_PRIORITY;
	else if (spec->idempotency_key && *spec->idempotency_key &&
	         !weir__far_can(s, WEIR__CAN_IDEMPOTENCY))
		f = WEIR__CAN_IDEMPOTENCY;
	if (f == WEIR__CAN_DELAY && too_long(s, spec))
		return s->far->row->delay_refused;
	return f == WEIR__FEATURES ? NULL : weir__features[f].name;
}

const char *weir_store_lacks(const weir_store *s, const weir_job_spec *spec)
{
	weir__magic_check(s, weir__store_magic);
	return s->far ? lacks(s, spec) : NULL;
}

static int check(const weir_store *s, const weir_job_spec *spec)
{
	if (!weir__spec_ok(spec))
		return -EINVAL;
	if (lacks(s, spec))
		return -EOPNOTSUPP;
	return spec->len > s->opt.queue_bytes ? -EMSGSIZE : 0;
}

/* A put on its way: those that passed, and where each came from. */
struct batch {
	struct weir__remote_job *jobs;
	size_t *from;
	int *r;
	size_t n;
};

static int batch_new(weir_store *s, const char *queue, const weir_job_spec *specs, size_t n,
                     char (*ret_ids)[27], int *ret, struct batch *b)
{
	int64_t now = weir_wall();

	b->n = 0;
	b->jobs = calloc(n ? n : 1, sizeof *b->jobs + sizeof *b->from + sizeof *b->r);
	if (!b->jobs)
		return -ENOMEM;
	b->from = (size_t *)(b->jobs + n);
	b->r = (int *)(b->from + n);
	weir__store_enter(s);
	for (size_t i = 0; i < n; i++) {
		const weir_job_spec *spec = &specs[i];
		const char *key = spec->idempotency_key;

		ret[i] = check(s, spec);
		if (ret[i] < 0)
			continue;
		key = key && *key ? key : NULL;
		if (key)
			weir__far_id(queue, key, ret_ids[i]);
		else
			weir__job_next_id(s, ret_ids[i]);
		b->from[b->n] = i;
		b->r[b->n] = -ENOTCONN;
		b->jobs[b->n++] = (struct weir__remote_job){ .id = ret_ids[i],
			                                     .content_type = spec->content_type,
			                                     .key = spec->key,
			                                     .idempotency_key = key,
			                                     .data = spec->data,
			                                     .len = spec->len,
			                                     .delay_ns = spec->delay_ns,
			                                     .timeout_ns = spec->timeout_ns,
			                                     .priority = spec->priority,
			                                     .attempts_max = spec->attempts_max,
			                                     .created_at = now };
	}
	weir__store_leave(s);
	return 0;
}

static void count(weir_store *s, const char *queue, const struct batch *b)
{
	struct weir__queue *q;

	weir__store_enter(s);
	q = weir__queue_find(s, queue);
	for (size_t i = 0; q && i < b->n; i++) {
		if (b->r[i] == 0) {
			q->put_total++;
			weir__meter_count(&q->puts, weir_now());
		} else if (b->r[i] < 0) {
			q->refused_total++;
		}
	}
	weir__store_leave(s);
}

/* There, or behind those that could not go there. */
static int put_there(const weir_ctx *ctx, weir_store *s, const char *queue, struct batch *b)
{
	struct weir__far *f = s->far;
	int r = 0;

	if (!weir__spill_count(s, queue)) {
		r = weir__far_make(ctx, s, queue);
		if (r == 0)
			r = f->ops->put(ctx, f->engine, queue, b->jobs, b->n, b->r);
		else
			for (size_t i = 0; i < b->n; i++)
				b->r[i] = r;
	}
	if (f->spill)
		weir__spill_put(ctx, s, queue, b->jobs, b->n, b->r);
	return r;
}

int weir__far_put(const weir_ctx *ctx, weir_store *s, const char *queue, const weir_job_spec *specs,
                  size_t n, char (*ret_ids)[27], int *ret)
{
	struct batch b;
	int r;

	if (!weir__far_enter(s))
		return -EPIPE;
	r = batch_new(s, queue, specs, n, ret_ids, ret, &b);
	if (r < 0)
		goto out;
	if (b.n)
		r = put_there(ctx, s, queue, &b);
	for (size_t i = 0; i < b.n; i++) {
		/* A job without a key that is there already is our own, sent twice. */
		if (b.r[i] == 1 && !b.jobs[i].idempotency_key)
			b.r[i] = 0;
		ret[b.from[i]] = b.r[i];
	}
	count(s, queue, &b);
	free(b.jobs);
	if (!weir__remote_stops(r))
		r = 0;
out:
	weir__far_leave(s);
	return r;
}

void weir__redrive_leave(struct weir__redriven *d, const char *id, const char *why)
{
	if (d->left.n++ == 0)
		snprintf(d->left.why, sizeof d->left.why, "%.64s: %s", id, why);
}

int64_t weir__far_redrive(const weir_ctx *ctx, weir_store *s, const char *queue,
                          weir_redrive_left *left)
{
	struct weir__redriven d = { 0 };
	int r;

	if (!weir__far_can(s, WEIR__CAN_REDRIVE))
		return -EOPNOTSUPP;
	if (!weir_queue_name_valid(queue))
		return -EINVAL;
	if (!weir__far_enter(s))
		return -EPIPE;
	r = weir__far_make(ctx, s, queue);
	if (r == 0)
		r = s->far->ops->redrive(ctx, s->far->engine, queue, &d);
	weir__far_leave(s);
	if (r < 0)
		d.left.n = d.dead - d.done;
	if (d.left.n && !*d.left.why)
		weir__redrive_why(&d.left, r);
	if (d.left.n)
		weir__log(WEIR__WARN, "queue", "redrive: %lld of the dead of %s are left there: %s",
		          (long long)d.left.n, queue, d.left.why);
	*left = d.left;
	return r < 0 && !d.done ? r : d.done;
}
