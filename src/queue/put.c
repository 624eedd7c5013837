/* SPDX-License-Identifier: MIT */
/*
 * Putting jobs: what is asked is checked and copied before the lock, accepted under it, and, in a
 * durable store, waited for after it.
 *
 * With a disk each put holds its records until that has spoken, since one batch of puts may fall
 * into two transactions of which the first fails.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/far.h"
#include "queue/inner.h"

static bool text_ok(const char *text, size_t max)
{
	size_t n = text ? strnlen(text, max + 1) : 0;

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return n <= max;
}

bool weir__spec_ok(const weir_job_spec *spec)
{
	return (spec->data || !spec->len) && text_ok(spec->content_type, WEIR__TYPE_MAX) &&
	       text_ok(spec->key, WEIR__KEY_MAX) && text_ok(spec->idempotency_key, WEIR__KEY_MAX) &&
	       spec->priority >= -1000 && spec->priority <= 1000 && spec->delay_ns >= 0 &&
	       spec->delay_ns <= WEIR__DELAY_MAX && spec->timeout_ns >= 0 &&
	       spec->timeout_ns <= WEIR__DELAY_MAX;
}

/* A job on its way in. */
struct put {
	struct weir__record *rec; /* until accepted the put's own; then with a reference, or NULL */
	struct weir__idem *idem;  /* the put's own, unless the job was accepted */
	int r;
};

static int prepare(const weir_store *s, const char *queue, const weir_job_spec *spec, struct put *p)
{
	if (!weir__spec_ok(spec))
		return -EINVAL;
	if (spec->len > s->opt.memory_max)
		return -EMSGSIZE;
	p->rec = weir__job_new(spec);
	if (!p->rec)
		return -ENOMEM;
	if (spec->idempotency_key && *spec->idempotency_key) {
		p->idem = weir__idem_new(queue, spec->idempotency_key);
		if (!p->idem)
			return -ENOMEM;
	}
	return 0;
}

static void drop(struct put *p)
{
	weir__job_free(p->rec);
	p->rec = NULL;
	free(p->idem);
	p->idem = NULL;
}

/* Under the lock. */
static void accept(weir_store *s, const char *queue, const weir_job_spec *spec, struct put *p,
                   char ret_id[27])
{
	p->r = weir__job_accept(s, queue, spec->delay_ns, p->rec, p->idem, ret_id);
	if (p->r < 0 || p->r == 1)
		return;
	p->idem = NULL;
	if (s->journal.on)
		p->rec->refs++;
	else
		p->rec = NULL;
}

/* Is there a put whose job, or the earlier job of whose key, may be on its way to the disk? */
static bool any_waits(const struct put *puts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (puts[i].r == 1 || (puts[i].r == 0 && puts[i].rec->num))
			return true;
	return false;
}

/* Under the lock, when the disk has spoken: is it there? */
static void settle(weir_store *s, struct put *p, int r)
{
	if (p->r == 0) {
		/* Gone without having been refused: it was cancelled and is forgotten already. */
		if (p->rec->refused || (r < 0 && p->rec->pending))
			p->r = r < 0 ? r : -ENOSPC;
		weir__job_unref(s, p->rec);
		p->rec = NULL;
	} else if (p->r == 1 && !weir__idem_find(s, p->idem)) {
		/* Another put's job, which was on its way to the disk and failed there. */
		p->r = r < 0 ? r : -ENOSPC;
	}
}

int weir_job_put_many(const weir_ctx *ctx, weir_store *s, const char *queue,
                      const weir_job_spec *specs, size_t n, char (*ret_ids)[27], int *ret)
{
	struct weir__settle w = { 0 };
	struct put few[4] = { 0 }, *puts = few;
	int r;

	weir__magic_check(s, weir__store_magic);
	r = weir__wait_check(ctx);
	if (r < 0)
		return r;
	if (!weir_queue_name_valid(queue))
		return -EINVAL;
	if (s->far)
		return weir__far_put(ctx, s, queue, specs, n, ret_ids, ret);
	if (n > sizeof few / sizeof *few) {
		puts = calloc(n, sizeof *puts);
		if (!puts)
			return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		puts[i].r = prepare(s, queue, &specs[i], &puts[i]);
		if (puts[i].r < 0)
			drop(&puts[i]);
	}
	for (size_t i = 0; i < n;) {
		weir__store_enter(s);
		for (int k = 0; i < n && k < WEIR__BATCH; k++, i++)
			if (puts[i].rec)
				accept(s, queue, &specs[i], &puts[i], ret_ids[i]);
		if (i == n && s->journal.on && any_waits(puts, n))
			weir__journal_wait_for(s, &w, true);
		weir__store_leave(s);
	}
	r = weir__journal_wait(ctx, s, &w);
	for (size_t i = 0; s->journal.on && i < n;) {
		weir__store_enter(s);
		for (int k = 0; i < n && k < WEIR__BATCH; k++, i++)
			settle(s, &puts[i], r);
		weir__store_leave(s);
	}
	for (size_t i = 0; i < n; i++) {
		ret[i] = puts[i].r;
		drop(&puts[i]);
	}
	if (puts != few)
		free(puts);
	return r == -ECANCELED || r == -ETIMEDOUT || r == -ESHUTDOWN ? r : 0;
}

int weir_job_put(const weir_ctx *ctx, weir_store *s, const char *queue, const weir_job_spec *spec,
                 char ret_id[27])
{
	int each, r = weir_job_put_many(ctx, s, queue, spec, 1, (char(*)[27])ret_id, &each);

	return r < 0 ? r : each;
}
