/* SPDX-License-Identifier: MIT */
/*
 * The contracts as tables: what each call gives in each state, under each context, and what ends it
 * when it waits. Simulated, so a wait that should not end is a deadlock and not a hang.
 */
#include <weir/chan.h>
#include <weir/group.h>
#include <weir/port.h>
#include <weir/select.h>

#include "test.h"

/* It waits. */
enum { WAITS = 12345 };

static int untouched = 77;

/* ---- Contexts: what they make of a call that is ready, or would wait. ---- */

enum under { LIVE, EXPIRED, DRAINED, UNTIL_DRAINED, CANCELED, CANCELED_EXPIRED, SHIELDED, UNDERS };

static const struct {
	const char *name;
	int ready; /* 0: the call's own result */
	int waits; /* 0: it waits on */
	int err;   /* of weir_ctx_err() */
	bool draining;
} unders[UNDERS] = {
	[LIVE] = { "live", 0, 0, 0, false },
	[EXPIRED] = { "expired", 0, -ETIMEDOUT, -ETIMEDOUT, false },
	[DRAINED] = { "drained", 0, 0, 0, true },
	[UNTIL_DRAINED] = { "until drain, drained", -ESHUTDOWN, -ESHUTDOWN, -ESHUTDOWN, true },
	[CANCELED] = { "cancelled", -ECANCELED, -ECANCELED, -ECANCELED, true },
	[CANCELED_EXPIRED] = { "cancelled, expired", -ECANCELED, -ECANCELED, -ECANCELED, true },
	[SHIELDED] = { "shielded, cancelled", 0, -ETIMEDOUT, 0, true },
};

/* A scope of its own in the state, and the context below it. */
static weir_ctx make_ctx(const weir_ctx *ctx, enum under u, weir_ctx *scope)
{
	CHECK_EQ(weir_scope_open(ctx, scope), 0);
	if (u == DRAINED || u == UNTIL_DRAINED)
		weir_scope_drain(scope->scope);
	if (u == CANCELED || u == CANCELED_EXPIRED || u == SHIELDED)
		weir_scope_cancel(scope->scope, -EIO, "the table");
	if (u == EXPIRED || u == CANCELED_EXPIRED)
		return weir_ctx_deadline(scope, weir_now() - 1);
	if (u == UNTIL_DRAINED)
		return weir_ctx_until_drain(scope);
	if (u == SHIELDED)
		return weir_ctx_shield(scope, WEIR_MS(5));
	return *scope;
}

#define ROW_CHECK(got, want, ...)                                                      \
	do {                                                                           \
		int got_ = (got), want_ = (want);                                      \
		if (got_ != want_) {                                                   \
			fprintf(stderr, __VA_ARGS__);                                  \
			test_fail(__FILE__, __LINE__, ": %d and not %d", got_, want_); \
		}                                                                      \
	} while (0)

SIM(a_scope_tells_its_state_as_the_table_says, 3)
{
	for (enum under u = 0; u < UNDERS; u++) {
		const char *why = NULL;
		weir_ctx scope, c = make_ctx(ctx, u, &scope);
		bool canceled = u == CANCELED || u == CANCELED_EXPIRED || u == SHIELDED;

		ROW_CHECK(weir_ctx_err(&c), unders[u].err, "err, %s", unders[u].name);
		ROW_CHECK(weir_ctx_draining(&c), unders[u].draining, "draining, %s",
		          unders[u].name);
		ROW_CHECK(weir_ctx_cause(&c, &why), canceled ? -EIO : 0, "cause, %s",
		          unders[u].name);
		CHECK_EQ(why != NULL, canceled);
		ROW_CHECK(weir_yield(&c), unders[u].err, "yield, %s", unders[u].name);
		if (unders[u].waits)
			ROW_CHECK(weir_sleep(&c, WEIR_SEC(1)), unders[u].waits, "sleep, %s",
			          unders[u].name);
		weir_scope_close(scope.scope);
	}
}

/* ---- Channels and select ---- */

enum state { EMPTY, FULL, RENDEZVOUS, SENDER_WAITS, RECEIVER_WAITS, CLOSED, CLOSED_FULL, STATES };
enum op { SEND, RECV, OPS };
enum form { PLAIN, SELECT, TRY, TRY_SELECT, FORMS };

static const char *const state_names[STATES] = { "empty",
	                                         "full",
	                                         "rendezvous",
	                                         "a sender waits",
	                                         "a receiver waits",
	                                         "closed",
	                                         "closed with a value" };
static const char *const form_names[FORMS] = { "", "select ", "try ", "try select " };
static const char *const op_names[OPS] = { "send", "recv" };

static const int results[OPS][STATES] = {
	[SEND] = { 0, WAITS, WAITS, WAITS, 0, -EPIPE, -EPIPE },
	[RECV] = { WAITS, 1, WAITS, 1, WAITS, 0, 1 },
};

/* What a select makes of it: the case's index, or -EPIPE when that is closed. */
static int as_form(enum form f, enum op op, int r)
{
	if (r == WAITS)
		return f == TRY || f == TRY_SELECT ? -EAGAIN : WAITS;
	if (f == PLAIN || f == TRY)
		return r;
	return r < 0 ? r : op == RECV && r == 0 ? -EPIPE : 0;
}

static int call(const weir_ctx *ctx, weir_chan *c, enum form f, enum op op, int *v)
{
	weir_case send[] = { WEIR_SEND(c, v) }, recv[] = { WEIR_RECV(c, v) };

	switch (f) {
	case PLAIN:
		return op == SEND ? weir_chan_send(ctx, c, v) : weir_chan_recv(ctx, c, v);
	case TRY:
		return op == SEND ? weir_chan_try_send(c, v) : weir_chan_try_recv(c, v);
	case SELECT:
		return op == SEND ? weir_select(ctx, send) : weir_select(ctx, recv);
	default:
		return op == SEND ? weir_try_select(send) : weir_try_select(recv);
	}
}

struct setup {
	weir_chan *c;
	weir_group peers;
	enum state state;
};

static int peer_sends(const weir_ctx *ctx, void *arg)
{
	int v = 1, r = weir_chan_send(ctx, arg, &v);

	return r == -ECANCELED || r == -EPIPE ? 0 : r;
}

static int peer_receives(const weir_ctx *ctx, void *arg)
{
	int v, r = weir_chan_recv(ctx, arg, &v);

	return r == -ECANCELED || r > 0 ? 0 : r;
}

static void set_up(const weir_ctx *ctx, struct setup *s, enum state state)
{
	bool buffered = state == EMPTY || state == FULL || state == CLOSED_FULL || state == CLOSED;
	int v = 1;

	s->state = state;
	s->c = weir_chan_new(sizeof v, buffered);
	CHECK(s->c != NULL);
	weir_group_init(&s->peers, ctx);
	if (state == FULL || state == CLOSED_FULL)
		CHECK_EQ(weir_chan_send(ctx, s->c, &v), 0);
	if (state == CLOSED || state == CLOSED_FULL)
		weir_chan_close(s->c);
	if (state == SENDER_WAITS)
		CHECK_EQ(weir_group_go(&s->peers, peer_sends, s->c), 0);
	if (state == RECEIVER_WAITS)
		CHECK_EQ(weir_group_go(&s->peers, peer_receives, s->c), 0);
	CHECK_EQ(weir_sleep(ctx, 1), 0); /* The clock goes on only when all wait. */
}

static void tear_down(struct setup *s)
{
	weir_group_cancel(&s->peers);
	CHECK_EQ(weir_group_wait(&s->peers), 0);
	weir_chan_free(s->c);
}

SIM(channel_and_select_give_what_the_table_says_under_each_context, 20)
{
	for (int i = 0; i < OPS * FORMS * STATES * UNDERS; i++) {
		enum op op = i % OPS;
		enum form f = i / OPS % FORMS;
		enum state state = i / OPS / FORMS % STATES;
		enum under u = i / OPS / FORMS / STATES;
		bool tries = f == TRY || f == TRY_SELECT;
		int want = as_form(f, op, results[op][state]), v = op == SEND ? 2 : untouched;
		size_t len;
		weir_ctx scope, c;
		struct setup s;

		if (!tries && want == WAITS)
			want = unders[u].waits;
		else if (!tries && unders[u].ready)
			want = unders[u].ready;
		if (!tries && !want && results[op][state] == WAITS)
			continue; /* See the next table. */
		set_up(ctx, &s, state);
		c = make_ctx(ctx, u, &scope);
		len = weir_chan_len(s.c);
		ROW_CHECK(call(&c, s.c, f, op, &v), want, "%s%s, %s, %s", form_names[f],
		          op_names[op], state_names[state], unders[u].name);
		/* What failed has moved nothing. */
		if (want < 0) {
			CHECK_EQ(v, op == SEND ? 2 : untouched);
			CHECK_EQ(weir_chan_len(s.c), len);
		} else if (op == RECV && results[RECV][state] == 1) {
			CHECK_EQ(v, 1);
		}
		weir_scope_close(scope.scope);
		tear_down(&s);
	}
}

enum end { BY_PEER, BY_CLOSE, BY_CANCEL, BY_OWN_GROUP, BY_DRAIN, BY_DEADLINE, ENDS };

static const char *const end_names[ENDS] = { "a peer",          "close", "cancel",
	                                     "its own group's", "drain", "deadline" };

struct ender {
	enum end end;
	enum op op;
	weir_chan *c;
	weir_scope *scope;
	weir_group *own;
};

static int ends_it(const weir_ctx *ctx, void *arg)
{
	struct ender *e = arg;
	int v = 1;

	CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	switch (e->end) {
	case BY_PEER:
		CHECK_EQ(call(ctx, e->c, PLAIN, e->op == SEND ? RECV : SEND, &v), e->op == SEND);
		break;
	case BY_CLOSE:
		weir_chan_close(e->c);
		break;
	case BY_CANCEL:
		weir_scope_cancel(e->scope, -EIO, "the table");
		break;
	case BY_OWN_GROUP:
		weir_group_cancel(e->own);
		break;
	case BY_DRAIN:
		weir_scope_drain(e->scope);
		break;
	default:
		break; /* Its deadline ends it. */
	}
	return 0;
}

struct waiting {
	weir_ctx ctx; /* above the task's own */
	weir_chan *c;
	enum form form;
	enum op op;
	int value, result;
};

static int waits(const weir_ctx *ctx, void *arg)
{
	struct waiting *w = arg;

	(void)ctx;
	w->result = call(&w->ctx, w->c, w->form, w->op, &w->value);
	return 0;
}

SIM(what_ends_a_wait_gives_what_the_table_says, 20)
{
	static const int by[OPS][ENDS] = {
		[SEND] = { 0, -EPIPE, -ECANCELED, -ECANCELED, -ESHUTDOWN, -ETIMEDOUT },
		[RECV] = { 1, 0, -ECANCELED, -ECANCELED, -ESHUTDOWN, -ETIMEDOUT },
	};

	for (int i = 0; i < 2 * OPS * 2 * ENDS; i++) {
		enum op op = i % OPS;
		enum form f = i / OPS % 2;
		enum end end = i / OPS / 2 % ENDS;
		bool buffered = i / OPS / 2 / ENDS;
		enum state state = !buffered ? RENDEZVOUS : op == SEND ? FULL : EMPTY;
		struct waiting w = { .form = f, .op = op, .value = op == SEND ? 2 : untouched };
		weir_group own, enders;
		struct ender e = { .end = end, .op = op, .own = &own };
		int64_t from = weir_now();
		weir_ctx scope;
		struct setup s;

		set_up(ctx, &s, state);
		w.ctx = make_ctx(ctx, LIVE, &scope);
		if (end == BY_DRAIN)
			w.ctx = weir_ctx_until_drain(&w.ctx);
		if (end == BY_DEADLINE)
			w.ctx = weir_ctx_timeout(&w.ctx, WEIR_MS(2));
		w.c = e.c = s.c;
		e.scope = scope.scope;
		weir_group_init(&own, &scope);
		weir_group_init(&enders, ctx);
		CHECK_EQ(weir_group_go(&own, waits, &w), 0);
		CHECK_EQ(weir_group_go(&enders, ends_it, &e), 0);
		CHECK_EQ(weir_group_wait(&enders), 0);
		CHECK_EQ(weir_group_wait(&own), 0);
		ROW_CHECK(w.result, as_form(f, op, by[op][end]), "%s%s ended by %s, %s",
		          form_names[f], op_names[op], end_names[end], state_names[state]);
		CHECK_EQ(w.value, op == SEND ? 2 : w.result < 0 || end == BY_CLOSE ? untouched : 1);
		CHECK(weir_now() - from >= WEIR_MS(end == BY_DEADLINE ? 2 : 1));
		weir_scope_close(scope.scope);
		tear_down(&s);
	}
}

/* ---- Ports ---- */

enum port_state { OWNED, NOBODY, CROWDED, SHUT, PORT_STATES };

static const char *const port_names[PORT_STATES] = { "an owner waits", "no owner", "full",
	                                             "closed" };

static int answers(const weir_ctx *ctx, void *arg)
{
	weir_call *c;
	int v, r;

	while ((r = weir_port_recv(ctx, arg, &c, &v)) > 0) {
		v *= 2;
		weir_call_reply(c, 0, &v);
	}
	return r == -ECANCELED ? 0 : r;
}

static int calls_in_vain(const weir_ctx *ctx, void *arg)
{
	int v = 1, r = weir_port_call(ctx, arg, &v, &v);

	CHECK(r == -ECANCELED);
	return 0;
}

SIM(ports_give_what_the_table_says_under_each_context, 20)
{
	/* A call waits for the reply even where a place is free. */
	static const int calls[2][PORT_STATES] = { { 0, WAITS, WAITS, -EPIPE },
		                                   { 0, WAITS, -EAGAIN, -EPIPE } };

	for (int i = 0; i < 2 * PORT_STATES * UNDERS; i++) {
		bool tries = i % 2;
		enum port_state state = i / 2 % PORT_STATES;
		enum under u = i / 2 / PORT_STATES;
		int want = calls[tries][state], v = 21, reply = untouched;
		weir_ctx scope, c;
		weir_group peers;
		weir_port *p;

		want = want == WAITS ? unders[u].waits : unders[u].ready ? unders[u].ready : want;
		if (calls[tries][state] == WAITS && !want)
			continue;
		/* Whoever is answered has waited, and hears its deadline first. */
		if (state == OWNED && u == EXPIRED)
			continue;
		CHECK_EQ(weir_port_new(&p, sizeof v, sizeof v, 1), 0);
		weir_group_init(&peers, ctx);
		if (state == OWNED)
			CHECK_EQ(weir_group_go(&peers, answers, p), 0);
		if (state == CROWDED)
			CHECK_EQ(weir_group_go(&peers, calls_in_vain, p), 0);
		if (state == SHUT)
			weir_port_close(p);
		CHECK_EQ(weir_sleep(ctx, 1), 0);
		c = make_ctx(ctx, u, &scope);
		ROW_CHECK(tries ? weir_port_try_call(&c, p, &v, &reply) :
		                  weir_port_call(&c, p, &v, &reply),
		          want, "%scall, %s, %s", tries ? "try " : "", port_names[state],
		          unders[u].name);
		CHECK_EQ(reply, want == 0 ? 42 : untouched);
		weir_scope_close(scope.scope);
		weir_group_cancel(&peers);
		CHECK_EQ(weir_group_wait(&peers), 0);
		weir_port_free(p);
	}
}

/* ---- Groups ---- */

static int returns(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	return *(int *)arg;
}

static int returns_err(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	return weir_ctx_err(ctx);
}

static int joins_its_own(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	CHECK_EQ(weir_group_wait(arg), -EDEADLK);
	return 0;
}

SIM(groups_give_what_the_table_says, 20)
{
	static int ok = 0, failed = -EIO, worse = -ENOENT, canceled = -ECANCELED;

	for (int i = 0; i < 3; i++) { /* live, drained, cancelled */
		weir_group g;

		weir_group_init(&g, ctx);
		if (i == 1)
			weir_group_drain(&g);
		if (i == 2)
			weir_group_cancel(&g);
		ROW_CHECK(weir_group_go(&g, returns, &ok), i == 2 ? -ECANCELED : 0, "go %d", i);
		ROW_CHECK(weir_group_go(&g, joins_its_own, &g), i == 2 ? -ECANCELED : 0, "go %d",
		          i);
		ROW_CHECK(weir_group_hold(&g), 0, "hold %d", i);
		CHECK(weir_group_count(&g) >= 1);
		weir_group_release(&g);
		/* The codes that follow from its own stop are no errors; others are. */
		if (i < 2)
			CHECK_EQ(weir_group_go(&g, returns_err, NULL), 0);
		ROW_CHECK(weir_group_wait(&g), 0, "wait %d", i);
	}
	for (int i = 0; i < 3; i++) { /* the first error; one that nobody caused; none */
		weir_group g;

		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go(&g, returns,
		                       i == 0 ? &failed :
		                       i == 1 ? &canceled :
		                                &ok),
		         0);
		CHECK_EQ(weir_sleep(ctx, 1), 0);
		if (i == 0)
			CHECK_EQ(weir_group_go(&g, returns, &worse), 0);
		ROW_CHECK(weir_group_wait(&g),
		          i == 0 ? -EIO :
		          i == 1 ? -ECANCELED :
		                   0,
		          "wait %d", i);
	}
}
