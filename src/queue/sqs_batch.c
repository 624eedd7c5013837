/* SPDX-License-Identifier: MIT */
/*
 * Batches: what several tasks want of one queue at a time goes there in the same requests, ten
 * entries each. Nobody waits for a batch to fill up: who comes while few are sending sends at once;
 * who comes later waits in the lane until somebody who sends takes his entries along, or until it
 * is his turn to send (a leader).
 *
 * A leader sends up to WEIR__SQS_ROUND requests at a time until none of his own entries waits, then
 * hands his place to the first in the lane. Who has more than that calls one helper, a task that
 * leads as well: while the one looks at answers and signs, the service has the other's requests.
 * What they send are others' too, so it is not cut off with the leader: it has its own time (a
 * shield). For the same reason a task whose entries are being sent by another waits for that,
 * whatever its context says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "queue/sqs.h"

#define SEND_MAX WEIR_SEC(20)

struct weir__sqs_errand {
	size_t waiting, left; /* of its entries: in the lane, without a result */
	bool leads, called;   /* called: its latch is down */
	weir_latch latch;     /* goes down when it is to lead, or is done */
};

void weir__sqs_lane_init(struct weir__sqs_lane *l, struct weir__sqs *s, struct weir__sqs_queue *q,
                         const char *action, bool dead)
{
	*l = (struct weir__sqs_lane){ .sqs = s, .queue = q, .action = action, .dead = dead };
	weir__list_init(&l->waiting);
}

/* ---- One request ---- */

struct batch {
	struct weir__sqs_entry *entry[WEIR__SQS_BATCH];
	size_t n;
};

/* Under the lock: the next entries of the lane. */
static void fill(struct weir__sqs_lane *l, struct batch *b)
{
	size_t size = 0;

	b->n = 0;
	while (b->n < WEIR__SQS_BATCH && !weir__list_empty(&l->waiting)) {
		struct weir__sqs_entry *e =
			weir__container(l->waiting.next, struct weir__sqs_entry, link);

		if (b->n && size + e->size > WEIR__SQS_BYTES)
			break;
		weir__list_remove(&e->link);
		e->of->waiting--;
		size += e->size;
		b->entry[b->n++] = e;
	}
}

static void write_body(const struct weir__sqs_lane *l, const struct batch *b, struct weir__buf *to)
{
	size_t n = WEIR__SQS_URL + 40;

	for (size_t i = 0; i < b->n; i++)
		n += b->entry[i]->json.len + 20;
	weir__buf_clear(to);
	(void)weir__buf_reserve(to, n);
	weir__sqs_begin(l->queue, l->dead, to);
	weir__buf_str(to, ",\"Entries\":[");
	for (size_t i = 0; i < b->n; i++) {
		weir__buf_str(to, i ? ",{\"Id\":\"" : "{\"Id\":\"");
		weir__buf_byte(to, (char)('0' + i)); /* WEIR__SQS_BATCH of them */
		weir__buf_byte(to, '"');
		weir__buf_add(to, b->entry[i]->json.data, b->entry[i]->json.len);
		weir__buf_byte(to, '}');
	}
	weir__buf_str(to, "]}");
}

/* The answer, as it is read. */
struct reading {
	const struct weir__sqs_lane *lane;
	struct batch *b;
	bool failed; /* in the list of those that failed */
	bool theirs; /* it is the service's fault */
	size_t at;   /* the entry's number */
	const char *code, *why;
};

static void member(const struct weir__json_member *m, void *arg)
{
	struct reading *r = arg;
	struct weir__sqs_entry *e;

	if (m->depth == 1 && m->key)
		r->failed = !strcmp(m->key, "Failed");
	if (m->depth == 2 && m->kind == WEIR__JSON_OTHER) {
		r->at = WEIR__SQS_BATCH;
		r->code = r->why = "";
		r->theirs = false;
	}
	if (m->depth == 3 && m->key && m->kind == WEIR__JSON_BOOL && !strcmp(m->key, "SenderFault"))
		r->theirs = !m->yes;
	if (m->depth == 3 && m->key && m->kind == WEIR__JSON_TEXT) {
		if (!strcmp(m->key, "Id"))
			r->at = strtoul(m->text, NULL, 10);
		else if (!strcmp(m->key, "Code"))
			r->code = m->text;
		else if (!strcmp(m->key, "Message"))
			r->why = m->text;
	}
	if (m->depth != 2 || m->kind != WEIR__JSON_END || r->at >= r->b->n)
		return;
	e = r->b->entry[r->at];
	e->result = r->failed ? weir__sqs_error(r->code, r->why) : 0;
	if (e->result == -EIO && r->theirs)
		e->result = -ENOTCONN;
	if (e->result == -EIO || e->result == -ENOTCONN)
		weir__log_rare(WEIR__WARN, "queue", "SQS: %s: %s: %s", r->lane->action, r->code,
		               r->why);
}

static void take_answer(const struct weir__sqs_lane *l, struct batch *b, struct weir__sqs_call *c)
{
	struct reading r = { .lane = l, .b = b, .at = WEIR__SQS_BATCH };
	/* The time of who led is not that of the others. */
	bool ended = weir__remote_stops(c->result);

	for (size_t i = 0; i < b->n; i++)
		b->entry[i]->result = c->result < 0 && !ended ? c->result : -ENOTCONN;
	if (c->result == 0 && weir__json_walk(c->answer.data, c->answer.len, member, &r) < 0)
		weir__log_rare(WEIR__WARN, "queue", "SQS: %s is answered by no JSON", l->action);
}

/* ---- Leading ---- */

static void call(struct weir__sqs_errand *of)
{
	of->called = true;
	weir_latch_down(&of->latch);
}

/* Under the lock: the results are there. */
static void settle(struct weir__sqs_errand *me, const struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct weir__sqs_errand *of = b->entry[i]->of;

		if (--of->left == 0 && of != me && !of->called)
			call(of);
	}
}

/* Under the lock: somebody is to lead in the place of one who has done so. */
static void hand_over(struct weir__sqs_lane *l)
{
	l->leaders--;
	weir__list_each (n, &l->waiting) {
		struct weir__sqs_errand *of = weir__container(n, struct weir__sqs_entry, link)->of;

		if (of->leads)
			continue;
		of->leads = true;
		l->leaders++;
		call(of);
		return;
	}
}

static void send_round(const weir_ctx *ctx, struct weir__sqs_lane *l, struct batch *b, size_t n)
{
	struct weir__sqs_call c[WEIR__SQS_ROUND] = { 0 };
	bool gone = false;

	for (size_t i = 0; i < n; i++) {
		c[i].action = l->action;
		write_body(l, &b[i], &c[i].body);
		if (c[i].body.failed)
			c[i].result = -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		if (c[i].result < 0)
			n = i; /* Those behind it have no memory either. */
	(void)weir__sqs_call(ctx, l->sqs, c, n);
	for (size_t i = 0; i < n; i++)
		gone = gone || c[i].result == -ENOENT;
	/* The others are there already, or may be. */
	if (gone && weir__sqs_remake(ctx, l->sqs, l->queue) == 0)
		for (size_t i = 0; i < n; i++) {
			if (c[i].result != -ENOENT)
				continue;
			write_body(l, &b[i], &c[i].body);
			if (!c[i].body.failed)
				(void)weir__sqs_call(ctx, l->sqs, &c[i], 1);
		}
	for (size_t i = 0; i < WEIR__SQS_ROUND; i++)
		if (b[i].n)
			take_answer(l, &b[i], &c[i]);
	weir__sqs_call_free(c, WEIR__SQS_ROUND);
}

static int help(const weir_ctx *ctx, void *lane);

/* Under the lock: there is more than goes at once. A task that sends it by turns with us keeps the
 * service busy while we look at answers and sign. */
static bool wants_help(struct weir__sqs_lane *l)
{
	bool yes = !weir__list_empty(&l->waiting) && l->leaders < WEIR__SQS_LEADERS;

	l->leaders += yes;
	return yes;
}

static void call_help(struct weir__sqs_lane *l)
{
	if (weir_group_go(&l->sqs->group, help, l) == 0)
		return;
	weir__lock_acquire(&l->lock);
	l->leaders--; /* We are one: somebody leads. */
	weir__lock_release(&l->lock);
}

/* Under the lock, which is given up while it sends: what waits longest, as much as goes at once. */
static void next_round(const weir_ctx *ctx, struct weir__sqs_lane *l, struct weir__sqs_errand *me,
                       bool *may_call)
{
	struct batch b[WEIR__SQS_ROUND] = { 0 };
	bool helped;
	size_t n;

	for (n = 0; n < WEIR__SQS_ROUND && !weir__list_empty(&l->waiting); n++)
		fill(l, &b[n]);
	helped = *may_call && wants_help(l);
	*may_call = *may_call && !helped;
	weir__lock_release(&l->lock);
	if (helped)
		call_help(l);
	send_round(ctx, l, b, n);
	weir__lock_acquire(&l->lock);
	for (size_t i = 0; i < n; i++)
		settle(me, &b[i]);
}

/* Until none of its own waits. True: all of them have their results. */
static bool lead(const weir_ctx *ctx, struct weir__sqs_lane *l, struct weir__sqs_errand *me)
{
	weir_ctx own = weir_ctx_shield(ctx, SEND_MAX);
	bool may_call = true, done;

	weir__lock_acquire(&l->lock);
	while (me->waiting)
		next_round(&own, l, me, &may_call);
	me->leads = false;
	hand_over(l);
	/* Others may still be sending what is ours. */
	done = me->called = me->left == 0;
	if (!done)
		weir_latch_init(&me->latch, 1);
	weir__lock_release(&l->lock);
	return done;
}

/* Leads until nothing waits, and has nothing there itself. */
static int help(const weir_ctx *ctx, void *lane)
{
	struct weir__sqs_errand nobody = { .waiting = 0 };
	struct weir__sqs_lane *l = lane;
	bool may_call = false;

	weir_task_name("sqs sender");
	weir__lock_acquire(&l->lock);
	while (!weir__list_empty(&l->waiting)) {
		weir_ctx own = weir_ctx_shield(ctx, SEND_MAX);

		next_round(&own, l, &nobody, &may_call);
	}
	l->leaders--;
	weir__lock_release(&l->lock);
	return 0;
}

/* Out of the lane, what is still in it. */
static void withdraw(struct weir__sqs_errand *me, struct weir__sqs_entry *e, size_t n, int why)
{
	for (size_t i = 0; i < n; i++)
		if (weir__list_linked(&e[i].link)) {
			weir__list_remove(&e[i].link);
			e[i].result = why;
			me->waiting--;
			me->left--;
		}
}

int weir__sqs_send(const weir_ctx *ctx, struct weir__sqs_lane *l, struct weir__sqs_entry *e,
                   size_t n)
{
	struct weir__sqs_errand me = { .waiting = n, .left = n };
	bool done, leads;
	int r;

	weir_latch_init(&me.latch, 1);
	weir__lock_acquire(&l->lock);
	for (size_t i = 0; i < n; i++) {
		e[i].of = &me;
		e[i].result = -ENOTCONN;
		weir__list_append(&l->waiting, &e[i].link);
	}
	me.leads = n && l->leaders < WEIR__SQS_LEADERS;
	l->leaders += me.leads;
	leads = me.leads;
	weir__lock_release(&l->lock);
	r = 0;
	if (n && !leads)
		r = weir_latch_wait(ctx, &me.latch);
	weir__lock_acquire(&l->lock);
	if (r < 0 && !me.leads)
		withdraw(&me, e, n, r);
	leads = me.leads;
	done = me.left == 0;
	weir__lock_release(&l->lock);
	if (leads)
		done = lead(ctx, l, &me);
	while (!done) { /* It has an end, since those who send have. */
		weir_ctx until = weir_ctx_shield(ctx, SEND_MAX);

		done = weir_latch_wait(&until, &me.latch) == 0;
	}
	for (size_t i = 0; i < n; i++)
		weir__buf_free(&e[i].json);
	return r;
}
