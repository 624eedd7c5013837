/* SPDX-License-Identifier: MIT */
#include <weir/group.h>
#include <weir/port.h>
#include <weir/sync.h>

#include <malloc.h>

#include "test.h"

struct caller {
	weir_port *port;
	int req, rep, r;
	int64_t limit_ns;
	int64_t took_ns;
};

static int call(const weir_ctx *ctx, void *arg)
{
	struct caller *c = arg;
	int64_t from = weir_now();
	weir_ctx soon = c->limit_ns ? weir_ctx_deadline(ctx, from + c->limit_ns) : *ctx;

	c->r = weir_port_call(&soon, c->port, &c->req, &c->rep);
	c->took_ns = weir_now() - from;
	return 0;
}

/* Answers every request with its double; negative ones are errors. */
static int doubler(const weir_ctx *ctx, void *arg)
{
	weir_call *call;
	int req, rep;

	while (weir_port_recv(ctx, arg, &call, &req) > 0) {
		rep = 2 * req;
		weir_call_reply(call, req < 0 ? req : 0, &rep);
	}
	return 0;
}

static weir_port *ints(size_t cap)
{
	weir_port *p;

	CHECK_EQ(weir_port_new(&p, sizeof(int), sizeof(int), cap), 0);
	return p;
}

static void settle(const weir_ctx *ctx)
{
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
}

TASK(a_call_gets_its_reply)
{
	weir_port *p = ints(1);
	int req, rep = -1;
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, doubler, p), 0);
	for (req = 0; req < 100; req++) {
		CHECK_EQ(weir_port_call(ctx, p, &req, &rep), 0);
		CHECK_EQ(rep, 2 * req);
	}
	weir_port_close(p);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(p);
}

TASK(the_owners_error_reaches_the_caller_and_leaves_the_reply_untouched)
{
	weir_port *p = ints(1);
	int req = -ENOENT, rep = 77;
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, doubler, p), 0);
	CHECK_EQ(weir_port_call(ctx, p, &req, &rep), -ENOENT);
	CHECK_EQ(rep, 77);
	weir_port_close(p);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(p);
}

TASK(a_stop_code_of_the_owner_becomes_eio)
{
	static const int codes[] = { -ECANCELED, -ETIMEDOUT, -ESHUTDOWN };
	weir_port *p = ints(1);
	int rep = 77;
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, doubler, p), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_port_call(ctx, p, &codes[i], &rep), -EIO);
	weir_port_close(p);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(p);
}

SIM(a_dropped_call_is_epipe, 20)
{
	struct caller c = { .port = ints(1), .req = 1, .rep = 77 };
	weir_call *got;
	weir_group g;
	int req;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, call, &c), 0);
	CHECK_EQ(weir_port_recv(ctx, c.port, &got, &req), 1);
	CHECK_EQ(req, 1);
	weir_call_drop(got);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(c.r, -EPIPE);
	CHECK_EQ(c.rep, 77);
	weir_port_free(c.port);
}

SIM(close_gives_callers_epipe_and_the_owner_zero, 50)
{
	struct caller c[3];
	weir_port *p = ints(1);
	weir_call *got;
	int req, rep;
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		c[i] = (struct caller){ .port = p, .req = i };
		CHECK_EQ(weir_group_go(&g, call, &c[i]), 0);
	}
	settle(ctx);
	weir_port_close(p);
	weir_port_close(p);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(c[i].r, -EPIPE);
	CHECK_EQ(weir_port_call(ctx, p, &req, &rep), -EPIPE);
	CHECK_EQ(weir_port_try_call(ctx, p, &req, &rep), -EPIPE);
	CHECK_EQ(weir_port_recv(ctx, p, &got, &req), 0);
	weir_port_free(p);
}

SIM(close_wakes_a_waiting_owner, 20)
{
	weir_port *p = ints(1);
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, doubler, p), 0);
	settle(ctx);
	weir_port_close(p);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(p);
}

SIM(calls_are_received_in_order_beyond_the_places_too, 20)
{
	struct caller c[5];
	weir_port *p = ints(2);
	weir_call *got;
	int req, rep = 0;
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 5; i++) {
		c[i] = (struct caller){ .port = p, .req = i };
		CHECK_EQ(weir_group_go(&g, call, &c[i]), 0);
		settle(ctx);
	}
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(weir_port_recv(ctx, p, &got, &req), 1);
		CHECK_EQ(req, i);
		weir_call_reply(got, 0, &rep);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(p);
}

SIM(try_call_says_eagain_only_when_the_port_is_full, 20)
{
	struct caller c = { .port = ints(1), .req = 4 };
	int req = 5, rep = -1;
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, call, &c), 0);
	settle(ctx);
	CHECK_EQ(weir_port_try_call(ctx, c.port, &req, &rep), -EAGAIN);
	CHECK_EQ(weir_group_go(&g, doubler, c.port), 0);
	settle(ctx);
	CHECK_EQ(c.rep, 8);
	CHECK_EQ(weir_port_try_call(ctx, c.port, &req, &rep), 0);
	CHECK_EQ(rep, 10);
	weir_port_close(c.port);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(c.port);
}

SIM(a_caller_who_left_gives_its_place_back_and_is_not_received, 20)
{
	struct caller c[2];
	weir_port *p = ints(1);
	weir_call *got;
	int req, rep = 0;
	weir_group g;

	weir_group_init(&g, ctx);
	c[0] = (struct caller){ .port = p, .req = 0, .limit_ns = WEIR_MS(10) };
	c[1] = (struct caller){ .port = p, .req = 1 };
	CHECK_EQ(weir_group_go(&g, call, &c[0]), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(20)), 0);
	CHECK_EQ(c[0].r, -ETIMEDOUT);
	CHECK_EQ(weir_group_go(&g, call, &c[1]), 0);
	CHECK_EQ(weir_port_recv(ctx, p, &got, &req), 1);
	CHECK_EQ(req, 1);
	weir_call_reply(got, 0, &rep);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(p);
}

SIM(the_owner_knows_the_callers_deadline_and_that_it_left, 20)
{
	struct caller c = { .port = ints(1), .req = 1, .rep = 77, .limit_ns = WEIR_SEC(1) };
	int64_t from = weir_now();
	int req, rep = 5;
	weir_call *got;
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, call, &c), 0);
	CHECK_EQ(weir_port_recv(ctx, c.port, &got, &req), 1);
	CHECK(!weir_call_gone(got));
	CHECK_EQ(weir_call_deadline(got), from + WEIR_SEC(1));
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(2)), 0);
	CHECK(weir_call_gone(got));
	weir_call_reply(got, 0, &rep);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(c.r, -ETIMEDOUT);
	CHECK_EQ(c.rep, 77);
	weir_port_free(c.port);
}

SIM(a_received_call_may_outlive_its_port, 20)
{
	struct caller c = { .port = ints(1), .req = 1, .limit_ns = WEIR_MS(5) };
	int req, rep = 5;
	weir_call *got;
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, call, &c), 0);
	CHECK_EQ(weir_port_recv(ctx, c.port, &got, &req), 1);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_port_free(c.port);
	CHECK(weir_call_gone(got));
	weir_call_reply(got, 0, &rep);
}

/* The heap in use: the allocator of a sanitizer keeps its own count. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t heap_used(void)
{
	if (__sanitizer_get_current_allocated_bytes)
		return __sanitizer_get_current_allocated_bytes();
	return mallinfo2().uordblks;
}

/* Takes two seconds for each call, longer than its callers wait. */
static int slow_owner(const weir_ctx *ctx, void *arg)
{
	weir_call *got;
	int req, rep;

	while (weir_port_recv(ctx, arg, &got, &req) > 0) {
		(void)weir_sleep(ctx, WEIR_SEC(2));
		rep = 2 * req;
		weir_call_reply(got, 0, &rep);
	}
	return 0;
}

/* Question 1: a limit of 1 s, an owner that stalls. */
SIM(a_stalled_owner_costs_its_callers_their_limit_and_nothing_else, 2)
{
	enum { CROWD = 100, ROUNDS = 100 };
	weir_port *p = ints(16);
	size_t tasks, heap = 0;
	weir_group owner;

	weir_group_init(&owner, ctx);
	CHECK_EQ(weir_group_go(&owner, slow_owner, p), 0);
	settle(ctx);
	tasks = weir_task_count();
	for (int round = 0; round < ROUNDS; round++) {
		static struct caller c[CROWD];
		weir_group g;

		weir_group_init(&g, ctx);
		for (int i = 0; i < CROWD; i++) {
			c[i] = (struct caller){ .port = p, .req = i, .rep = -1 };
			c[i].limit_ns = WEIR_SEC(1);
			CHECK_EQ(weir_group_go(&g, call, &c[i]), 0);
		}
		CHECK_EQ(weir_group_wait(&g), 0);
		for (int i = 0; i < CROWD; i++) {
			CHECK_EQ(c[i].r, -ETIMEDOUT);
			CHECK(c[i].took_ns >= WEIR_SEC(1));
			CHECK(c[i].took_ns < WEIR_MS(1050));
			CHECK_EQ(c[i].rep, -1);
		}
		CHECK_EQ(weir_task_count(), tasks);
		if (round == 3)
			heap = heap_used();
	}
	CHECK(heap_used() <= heap + 4096);
	weir_port_close(p);
	weir_group_cancel(&owner);
	CHECK_EQ(weir_group_wait(&owner), 0);
	weir_port_free(p);
}

enum { CALLERS = 4, CALLS = 4, IDS = CALLERS * CALLS };

/* What happened to each call. */
struct office {
	weir_port *port;
	bool closed, cancelled;
	uint8_t received[IDS], replied[IDS];
	uint32_t next_id;
};

static int busy_caller(const weir_ctx *ctx, void *arg)
{
	struct office *o = arg;

	for (int n = 0; n < CALLS; n++) {
		int id = (int)__atomic_fetch_add(&o->next_id, 1, __ATOMIC_RELAXED), rep = -1, r;
		weir_ctx soon = *ctx;

		if (weir_random(2))
			soon = weir_ctx_deadline(ctx, weir_now() + WEIR_US(weir_random(8)));
		r = weir_random(3) ? weir_port_call(&soon, o->port, &id, &rep) :
		                     weir_port_try_call(&soon, o->port, &id, &rep);
		CHECK_EQ(rep, r == 0 ? 1000 + id : -1);
		switch (r) {
		case 0:
			CHECK(__atomic_load_n(&o->replied[id], __ATOMIC_ACQUIRE) == 1);
			break;
		case -ENOENT:
			CHECK(__atomic_load_n(&o->replied[id], __ATOMIC_ACQUIRE) == 2);
			break;
		case -EPIPE:
			CHECK(__atomic_load_n(&o->replied[id], __ATOMIC_ACQUIRE) == 3 ||
			      __atomic_load_n(&o->closed, __ATOMIC_ACQUIRE));
			break;
		case -ETIMEDOUT:
			CHECK(soon.deadline_ns != WEIR_NEVER);
			CHECK(weir_now() >= soon.deadline_ns);
			break;
		case -ECANCELED:
			CHECK(__atomic_load_n(&o->cancelled, __ATOMIC_ACQUIRE));
			break;
		case -EAGAIN:
			break;
		default:
			CHECK_EQ(r, 0);
		}
	}
	return 0;
}

static int busy_owner(const weir_ctx *ctx, void *arg)
{
	struct office *o = arg;
	weir_call *got;
	int id, rep;

	while (weir_port_recv(ctx, o->port, &got, &id) > 0) {
		CHECK(__atomic_fetch_add(&o->received[id], 1, __ATOMIC_RELAXED) == 0);
		if (weir_random(2))
			(void)weir_sleep(ctx, WEIR_US(weir_random(6)));
		(void)weir_call_gone(got);
		rep = 1000 + id;
		switch (weir_random(4)) {
		case 0:
			__atomic_store_n(&o->replied[id], 2, __ATOMIC_RELEASE);
			weir_call_reply(got, -ENOENT, &rep);
			break;
		case 1:
			__atomic_store_n(&o->replied[id], 3, __ATOMIC_RELEASE);
			weir_call_drop(got);
			break;
		default:
			__atomic_store_n(&o->replied[id], 1, __ATOMIC_RELEASE);
			weir_call_reply(got, 0, &rep);
		}
	}
	return 0;
}

static void office(const weir_ctx *ctx)
{
	struct office o = { .port = ints(1 + weir_random(3)) };
	weir_group callers, owners;
	uint32_t how = weir_random(3);

	weir_group_init(&callers, ctx);
	weir_group_init(&owners, ctx);
	for (int i = 0; i < CALLERS; i++)
		CHECK_EQ(weir_group_go_on(&callers, (int)weir_random((uint32_t)weir_worker_count()),
		                          busy_caller, &o),
		         0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(weir_group_go_on(&owners, (int)weir_random((uint32_t)weir_worker_count()),
		                          busy_owner, &o),
		         0);
	(void)weir_sleep(ctx, WEIR_US(weir_random(12)));
	if (how == 0) {
		__atomic_store_n(&o.closed, true, __ATOMIC_RELEASE);
		weir_port_close(o.port);
	} else if (how == 1) {
		__atomic_store_n(&o.cancelled, true, __ATOMIC_RELEASE);
		weir_group_cancel(&callers);
	}
	CHECK_EQ(weir_group_wait(&callers), 0);
	weir_port_close(o.port);
	CHECK_EQ(weir_group_wait(&owners), 0);
	weir_port_free(o.port);
}

SIM(calls_race_deadlines_cancel_and_close_over_seeds, 10000)
{
	office(ctx);
}

TASK(calls_race_deadlines_cancel_and_close_on_workers)
{
	for (int n = 0; n < 200; n++)
		office(ctx);
}

static int answer_twice(const weir_ctx *ctx, void *arg)
{
	struct caller c = { .port = ints(1), .req = 1 };
	int req, rep = 0;
	weir_call *got;
	weir_group g;

	(void)arg;
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, call, &c), 0);
	CHECK_EQ(weir_port_recv(ctx, c.port, &got, &req), 1);
	weir_call_reply(got, 0, &rep);
	weir_call_reply(got, 0, &rep);
	return weir_group_wait(&g);
}

static void answer_twice_dies(void)
{
	(void)weir_sim(1, answer_twice, NULL);
}

TEST(answering_twice_aborts)
{
	CHECK_DIES(answer_twice_dies, "weir_call_reply: ");
}
