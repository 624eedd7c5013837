/* SPDX-License-Identifier: MIT */
/*
 * The race table: every pair of operations on one channel at once, and a ledger that tells what
 * came of it. race.c runs it over seeds and on real workers, planted.c against planted bugs.
 *
 * For each pair there are two tasks of each operation, and a sender and a receiver, below one scope
 * that the pair may drain or cancel; beside them, where nothing else ends their waits, a reader and
 * a writer that nobody stops. Checked: what a send said was sent was received once, nothing else
 * was; one sender's values keep their order; a destination is touched only by success; codes come
 * only from their cause; and everyone ends (else the simulation reports a deadlock).
 */
#ifndef TEST_RACE_H
#define TEST_RACE_H

#include <weir/group.h>
#include <weir/select.h>
#include <weir/sim.h>

#include "rt/lock.h"
#include "test.h"

enum op { SEND, RECV, TRY, SELECT, CLOSE, CANCEL, DRAIN, DEADLINE, OPS };

static const char *const op_names[OPS] = { "send",  "recv",   "try",   "select",
	                                   "close", "cancel", "drain", "deadline" };

enum { TURNS = 3, TASKS = 16, VALUES = 256 };

struct value {
	uint32_t id, from, turn, check;
};

struct race;
struct racer {
	struct race *race;
	uint32_t number;
	bool stoppable;       /* below the scope that is stopped */
	uint32_t last[TASKS]; /* 1 + the last turn received from each */
};

struct race {
	enum op a, b;
	weir_chan *chan, *other;
	weir_ctx stop; /* of the scope that is stopped */
	bool closed, cancelled, drained;
	bool settled; /* the stop has arrived on every worker */
	uint32_t ids, racers, closers;
	uint8_t sent[VALUES], got[VALUES];
	struct racer racer[TASKS];
};

#define RACE_CHECK(race, cond)                                                                  \
	do {                                                                                    \
		if (!(cond))                                                                    \
			test_fail(__FILE__, __LINE__, "%s against %s: %s", op_names[(race)->a], \
			          op_names[(race)->b], #cond);                                  \
	} while (0)

#define race_get(x)    __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define race_set(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

static struct value race_value(struct racer *me, uint32_t turn)
{
	uint32_t id = __atomic_fetch_add(&me->race->ids, 1, __ATOMIC_RELAXED);

	RACE_CHECK(me->race, id < VALUES);
	return (struct value){ id, me->number, turn, ~id };
}

static const struct value race_nothing = { 0xa5a5a5a5, 0xa5a5a5a5, 0xa5a5a5a5, 0xa5a5a5a5 };

static void race_got(struct racer *me, const struct value *v, bool got)
{
	if (!got) {
		RACE_CHECK(me->race, memcmp(v, &race_nothing, sizeof *v) == 0);
		return;
	}
	RACE_CHECK(me->race, v->check == ~v->id);
	RACE_CHECK(me->race, __atomic_fetch_add(&me->race->got[v->id], 1, __ATOMIC_RELAXED) == 0);
	RACE_CHECK(me->race, me->last[v->from] <= v->turn);
	me->last[v->from] = v->turn + 1;
}

static void race_sent(struct racer *me, const struct value *v, bool sent)
{
	if (sent)
		race_set(me->race->sent[v->id], 1);
}

/* Is `r`, which is no success, right under ctx, whose error before the call was `before`? */
static void race_code(struct racer *me, const weir_ctx *ctx, int r)
{
	struct race *race = me->race;

	switch (r) {
	case 0: /* of a receive */
	case -EPIPE:
		RACE_CHECK(race, race_get(race->closed));
		break;
	case -ECANCELED:
		RACE_CHECK(race, me->stoppable);
		RACE_CHECK(race, race_get(race->cancelled));
		break;
	case -ESHUTDOWN:
		RACE_CHECK(race, me->stoppable);
		RACE_CHECK(race, race_get(race->drained));
		break;
	case -ETIMEDOUT:
		RACE_CHECK(race, ctx->deadline_ns != WEIR_NEVER);
		RACE_CHECK(race, weir_now() >= ctx->deadline_ns);
		break;
	default:
		test_fail(__FILE__, __LINE__, "%s against %s: result %d", op_names[race->a],
		          op_names[race->b], r);
	}
}

/* A stop that has arrived before the call ends the call. */
static void race_stopped(struct racer *me, int before, int r)
{
	if (!race_get(me->race->settled))
		return;
	if (before == -ECANCELED)
		RACE_CHECK(me->race, r == -ECANCELED);
	if (before == -ESHUTDOWN)
		RACE_CHECK(me->race, r == -ESHUTDOWN || r == -ECANCELED);
}

/* Some time or some turns, or none. */
static void race_pause(const weir_ctx *ctx)
{
	switch (weir_random(4)) {
	case 0:
		(void)weir_sleep(ctx, WEIR_US(1 + weir_random(4)));
		break;
	case 1:
		for (uint32_t n = weir_random(8); n > 0; n--)
			(void)weir_yield(ctx);
		break;
	}
}

static weir_ctx race_ctx(struct racer *me, const weir_ctx *ctx)
{
	return me->stoppable ? weir_ctx_until_drain(ctx) : *ctx;
}

static int race_send_under(const weir_ctx *ctx, struct racer *me, uint32_t turn)
{
	struct value v = race_value(me, turn);
	int before = weir_ctx_err(ctx), r;

	r = weir_chan_send(ctx, me->race->chan, &v);
	race_sent(me, &v, r == 0);
	if (r != 0)
		race_code(me, ctx, r);
	race_stopped(me, before, r);
	return r;
}

static int race_recv_under(const weir_ctx *ctx, struct racer *me)
{
	struct value v = race_nothing;
	int before = weir_ctx_err(ctx), r;

	r = weir_chan_recv(ctx, me->race->chan, &v);
	race_got(me, &v, r == 1);
	if (r != 1)
		race_code(me, ctx, r);
	race_stopped(me, before, r);
	return r;
}

static int race_send(const weir_ctx *ctx, void *arg)
{
	struct racer *me = arg;
	weir_ctx live = race_ctx(me, ctx);

	for (uint32_t turn = 0; turn < TURNS; turn++) {
		race_pause(&live);
		if (race_send_under(&live, me, turn) < 0)
			break;
	}
	return 0;
}

static int race_recv(const weir_ctx *ctx, void *arg)
{
	struct racer *me = arg;
	weir_ctx live = race_ctx(me, ctx);

	for (uint32_t turn = 0; turn < TURNS; turn++) {
		race_pause(&live);
		if (race_recv_under(&live, me) <= 0)
			break;
	}
	return 0;
}

static int race_read_all(const weir_ctx *ctx, void *arg)
{
	while (race_recv_under(ctx, arg) > 0)
		;
	return 0;
}

static int race_try(const weir_ctx *ctx, void *arg)
{
	struct racer *me = arg;

	for (uint32_t turn = 0; turn < 2 * TURNS; turn++) {
		struct value in = race_nothing, out = race_value(me, turn);
		int r;

		race_pause(ctx);
		r = weir_chan_try_send(me->race->chan, &out);
		race_sent(me, &out, r == 0);
		if (r != 0 && r != -EAGAIN)
			race_code(me, ctx, r);
		r = weir_chan_try_recv(me->race->chan, &in);
		race_got(me, &in, r == 1);
		if (r != 1 && r != -EAGAIN)
			race_code(me, ctx, r);
	}
	return 0;
}

/* Sends to and receives from the same channel, and another that nobody sends to. */
static int race_select(const weir_ctx *ctx, void *arg)
{
	enum { IN, OUT, OTHER };
	struct racer *me = arg;
	weir_ctx live = race_ctx(me, ctx);

	for (uint32_t turn = 0; turn < TURNS; turn++) {
		struct value in = race_nothing, other = race_nothing, out = race_value(me, turn);
		weir_case cs[] = {
			[IN] = WEIR_RECV(me->race->chan, &in),
			[OUT] = WEIR_SEND(me->race->chan, &out),
			[OTHER] = WEIR_RECV(me->race->other, &other),
		};
		bool waits = weir_random(4);
		int before, r;

		race_pause(&live);
		before = weir_ctx_err(&live);
		r = waits ? weir_select(&live, cs) : weir_try_select(cs);
		race_got(me, &in, r == IN);
		race_sent(me, &out, r == OUT);
		race_got(me, &other, false);
		RACE_CHECK(me->race, r != OTHER);
		if (waits)
			race_stopped(me, before, r);
		if (r == -EAGAIN && !waits)
			continue;
		if (r >= 0)
			RACE_CHECK(me->race, cs[r].result == (r == IN));
		if (r >= 0)
			continue;
		race_code(me, &live, r);
		break;
	}
	return 0;
}

static int race_deadline(const weir_ctx *ctx, void *arg)
{
	struct racer *me = arg;
	weir_ctx live = race_ctx(me, ctx);
	bool sends = weir_random(2);

	for (uint32_t turn = 0; turn < TURNS; turn++) {
		weir_ctx soon = weir_ctx_deadline(&live, weir_now() + WEIR_US(weir_random(6)));
		int r = sends ? race_send_under(&soon, me, turn) : race_recv_under(&soon, me);

		if (r != -ETIMEDOUT && r <= 0 && !(sends && r == 0))
			break;
	}
	return 0;
}

static int race_close(const weir_ctx *ctx, void *arg)
{
	struct race *race = ((struct racer *)arg)->race;

	race_pause(ctx);
	if (__atomic_fetch_add(&race->closers, 1, __ATOMIC_RELAXED) > 0)
		return 0;
	race_set(race->closed, true);
	weir_chan_close(race->chan);
	return 0;
}

static int race_cancel(const weir_ctx *ctx, void *arg)
{
	struct race *race = ((struct racer *)arg)->race;

	race_pause(ctx);
	race_set(race->cancelled, true);
	weir_scope_cancel(race->stop.scope, -ECANCELED, "the race's cancel");
	return 0;
}

static int race_drain(const weir_ctx *ctx, void *arg)
{
	struct race *race = ((struct racer *)arg)->race;

	race_pause(ctx);
	race_set(race->drained, true);
	weir_scope_drain(race->stop.scope);
	return 0;
}

static void race_go(struct race *race, weir_group *g, weir_task_fn *fn, bool stoppable)
{
	struct racer *me = &race->racer[race->racers];

	RACE_CHECK(race, race->racers < TASKS);
	*me = (struct racer){ .race = race, .number = race->racers++, .stoppable = stoppable };
	RACE_CHECK(race, weir_group_go_on(g, (int)weir_random((uint32_t)weir_worker_count()), fn,
	                                  me) == 0);
}

static bool race_has(const struct race *race, enum op op)
{
	return race->a == op || race->b == op;
}

/*
 * A channel that one worker has used often enough belongs to it, until another comes (rt/bias.h):
 * half of the races on workers start with such a channel.
 */
static void race_own(weir_chan *c)
{
	struct value v;

	if (!weir__simulating && weir_random(2))
		for (int i = 0; i < 40; i++)
			CHECK_EQ(weir_chan_try_recv(c, &v), -EAGAIN);
}

static void race_pair(const weir_ctx *ctx, enum op a, enum op b)
{
	static weir_task_fn *const fns[OPS] = {
		race_send,  race_recv,   race_try,   race_select,
		race_close, race_cancel, race_drain, race_deadline
	};
	struct race race = { .a = a, .b = b };
	weir_group senders, receivers, writer, reader, stoppers;
	bool stops = race_has(&race, CLOSE) || race_has(&race, CANCEL) || race_has(&race, DRAIN);
	bool helped = !stops || weir_random(2);

	race.chan = weir_chan_new(sizeof(struct value), weir_random(3));
	race.other = weir_chan_new(sizeof(struct value), weir_random(2));
	CHECK(race.chan && race.other);
	race_own(race.chan);
	race_own(race.other);
	CHECK_EQ(weir_scope_open(ctx, &race.stop), 0);
	weir_group_init(&senders, &race.stop);
	weir_group_init(&receivers, &race.stop);
	weir_group_init(&writer, ctx);
	weir_group_init(&reader, ctx);
	weir_group_init(&stoppers, ctx);
	race_go(&race, &senders, race_send, true);
	race_go(&race, &receivers, race_recv, true);
	for (int i = 0; i < 4; i++) {
		enum op op = i & 1 ? b : a;

		if (op < CLOSE || op == DEADLINE)
			race_go(&race, op == RECV || op == DEADLINE ? &receivers : &senders,
			        fns[op], true);
	}
	if (helped) {
		race_go(&race, &writer, race_send, false);
		race_go(&race, &reader, race_read_all, false);
	}
	for (int i = 0; i < 2; i++) {
		enum op op = i ? b : a;

		if (op >= CLOSE && op != DEADLINE)
			race_go(&race, &stoppers, fns[op], false);
	}
	CHECK_EQ(weir_group_wait(&stoppers), 0);
	if (weir__simulating) {
		/* The clock moves only when all workers are idle, so all messages have arrived. */
		CHECK_EQ(weir_sleep(ctx, WEIR_US(1)), 0);
		race_set(race.settled, true);
	}
	CHECK_EQ(weir_group_wait(&writer), 0);
	CHECK_EQ(weir_group_wait(&senders), 0);
	if (!race.closed) {
		race_set(race.closed, true);
		weir_chan_close(race.chan);
	}
	CHECK_EQ(weir_group_wait(&receivers), 0);
	CHECK_EQ(weir_group_wait(&reader), 0);
	weir_scope_close(race.stop.scope);
	/* What is still buffered was sent too. */
	race.racer[0] = (struct racer){ .race = &race };
	CHECK_EQ(race_read_all(ctx, &race.racer[0]), 0);
	for (uint32_t id = 0; id < race.ids; id++)
		RACE_CHECK(&race, race.sent[id] == race.got[id]);
	weir_chan_free(race.chan);
	weir_chan_free(race.other);
}

/* Every pair once. */
static void race_table(const weir_ctx *ctx)
{
	for (enum op a = 0; a < OPS; a++)
		for (enum op b = a; b < OPS; b++)
			race_pair(ctx, a, b);
}

#endif
