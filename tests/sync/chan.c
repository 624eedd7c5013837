/* SPDX-License-Identifier: MIT */
#include <weir/chan.h>
#include <weir/group.h>
#include <weir/select.h>
#include <weir/sync.h>

#include <pthread.h>
#include <unistd.h>

#include "rt/fiber.h"
#include "test.h"

/* One task that does one thing to a channel and keeps its result. */
struct one {
	weir_chan *chan;
	int v, r;
	int64_t at_ns;
};

static int one_recv(const weir_ctx *ctx, void *arg)
{
	struct one *o = arg;

	o->r = weir_chan_recv(ctx, o->chan, &o->v);
	o->at_ns = weir_now();
	return 0;
}

static int one_send(const weir_ctx *ctx, void *arg)
{
	struct one *o = arg;

	o->r = weir_chan_send(ctx, o->chan, &o->v);
	o->at_ns = weir_now();
	return 0;
}

/* In a simulation: when this returns everybody waits. */
static void settle(const weir_ctx *ctx)
{
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
}

static weir_chan *ints(size_t cap)
{
	weir_chan *c = weir_chan_new(sizeof(int), cap);

	CHECK(c);
	return c;
}

TASK(a_buffered_channel_gives_values_in_order)
{
	weir_chan *c = ints(3);
	int v;

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 3; i++)
			CHECK_EQ(weir_chan_send(ctx, c, &i), 0);
		CHECK_EQ(weir_chan_len(c), 3);
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(weir_chan_recv(ctx, c, &v), 1);
			CHECK_EQ(v, i);
		}
	}
	weir_chan_free(c);
}

SIM(a_rendezvous_send_waits_for_its_receiver, 20)
{
	struct one o = { .chan = ints(0), .v = 7 };
	weir_group g;
	int v = 0;

	o.r = 99;
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, one_send, &o), 0);
	settle(ctx);
	CHECK_EQ(o.r, 99);
	CHECK_EQ(weir_chan_recv(ctx, o.chan, &v), 1);
	CHECK_EQ(v, 7);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(o.r, 0);
	weir_chan_free(o.chan);
}

TASK(after_close_receivers_get_what_is_buffered_then_zero)
{
	weir_chan *c = ints(2);
	int v = 1;

	CHECK_EQ(weir_chan_send(ctx, c, &v), 0);
	v = 2;
	CHECK_EQ(weir_chan_send(ctx, c, &v), 0);
	weir_chan_close(c);
	CHECK_EQ(weir_chan_recv(ctx, c, &v), 1);
	CHECK_EQ(v, 1);
	CHECK_EQ(weir_chan_try_recv(c, &v), 1);
	CHECK_EQ(v, 2);
	CHECK_EQ(weir_chan_recv(ctx, c, &v), 0);
	CHECK_EQ(weir_chan_try_recv(c, &v), 0);
	CHECK_EQ(v, 2);
	weir_chan_free(c);
}

TASK(sending_to_a_closed_channel_is_epipe)
{
	weir_chan *c = ints(2);
	int v = 1;

	weir_chan_close(c);
	CHECK_EQ(weir_chan_send(ctx, c, &v), -EPIPE);
	CHECK_EQ(weir_chan_try_send(c, &v), -EPIPE);
	CHECK_EQ(weir_chan_len(c), 0);
	weir_chan_free(c);
}

SIM(close_wakes_waiting_receivers_with_zero, 50)
{
	struct one o[3] = { 0 };
	weir_chan *c = ints(1);
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		o[i] = (struct one){ .chan = c, .v = -1, .r = 99 };
		CHECK_EQ(weir_group_go(&g, one_recv, &o[i]), 0);
	}
	settle(ctx);
	weir_chan_close(c);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(o[i].r, 0);
		CHECK_EQ(o[i].v, -1);
	}
	weir_chan_free(c);
}

/* By turns, one waits for this alone, and one for something else as well. */
struct crowd {
	weir_chan *c, *other;
	weir_latch waiting;
	int ended; /* atomic */
};

static int wait_for_close(const weir_ctx *ctx, void *arg)
{
	struct crowd *k = arg;
	int v;

	weir_latch_down(&k->waiting);
	CHECK_EQ(weir_chan_recv(ctx, k->c, &v), 0);
	__atomic_add_fetch(&k->ended, 1, __ATOMIC_RELAXED);
	return 0;
}

static int select_close(const weir_ctx *ctx, void *arg)
{
	struct crowd *k = arg;
	int v, w;
	weir_case cs[] = { WEIR_RECV(k->other, &w), WEIR_RECV(k->c, &v) };

	weir_latch_down(&k->waiting);
	for (int i = 0; i < 2; i++) { /* The second finds it closed, with the same cases. */
		CHECK_EQ(weir_select(ctx, cs), -EPIPE);
		CHECK_EQ(cs[1].result, 0);
	}
	__atomic_add_fetch(&k->ended, 1, __ATOMIC_RELAXED);
	return 0;
}

static void close_a_crowd(const weir_ctx *ctx, int n, int run)
{
	struct crowd k = { weir_chan_new(sizeof(int), 0), weir_chan_new(sizeof(int), 0) };
	weir_group g;

	weir_latch_init(&k.waiting, (uint32_t)n);
	weir_group_init(&g, ctx);
	for (int i = 0; i < n; i++)
		CHECK_EQ(weir_group_go_on(&g, i / run % weir_worker_count(),
		                          i % 3 ? wait_for_close : select_close, &k),
		         0);
	CHECK_EQ(weir_latch_wait(ctx, &k.waiting), 0);
	weir_chan_close(k.c);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(k.ended, n);
	weir_chan_free(k.c);
	weir_chan_free(k.other);
}

TASK(close_wakes_a_crowd_on_all_workers)
{
	for (int run = 1; run < 1000; run *= 9)
		close_a_crowd(ctx, 2000, run);
}

SIM(close_wakes_a_crowd_of_many_places, 20)
{
	close_a_crowd(ctx, 60, 1 + (int)weir_random(20));
	close_a_crowd(ctx, 600, 300);
}

SIM(close_wakes_waiting_senders_with_epipe, 50)
{
	struct one o[3] = { 0 };
	weir_chan *c = ints(0);
	weir_group g;
	int v;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++) {
		o[i] = (struct one){ .chan = c, .r = 99 };
		CHECK_EQ(weir_group_go(&g, one_send, &o[i]), 0);
	}
	settle(ctx);
	weir_chan_close(c);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(o[i].r, -EPIPE);
	CHECK_EQ(weir_chan_recv(ctx, c, &v), 0);
	weir_chan_free(c);
}

SIM(waiting_senders_are_served_first_come_first_served, 20)
{
	struct one o[4] = { 0 };
	weir_chan *c = ints(1);
	weir_group g;
	int v;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 4; i++) {
		o[i] = (struct one){ .chan = c, .v = i };
		CHECK_EQ(weir_group_go(&g, one_send, &o[i]), 0);
		settle(ctx);
	}
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(weir_chan_recv(ctx, c, &v), 1);
		CHECK_EQ(v, i);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_chan_free(c);
}

SIM(waiting_receivers_are_served_first_come_first_served, 20)
{
	struct one o[4] = { 0 };
	weir_chan *c = ints(2);
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 4; i++) {
		o[i] = (struct one){ .chan = c, .v = -1 };
		CHECK_EQ(weir_group_go(&g, one_recv, &o[i]), 0);
		settle(ctx);
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(weir_chan_send(ctx, c, &i), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(o[i].v, i);
	weir_chan_free(c);
}

SIM(a_receive_that_waits_ends_at_its_deadline_and_not_before, 50)
{
	weir_ctx soon = weir_ctx_deadline(ctx, weir_now() + WEIR_MS(250));
	weir_chan *c = ints(1);
	int v = -1;

	CHECK_EQ(weir_chan_recv(&soon, c, &v), -ETIMEDOUT);
	CHECK(weir_now() >= soon.deadline_ns);
	CHECK(weir_now() < soon.deadline_ns + WEIR_MS(20));
	CHECK_EQ(v, -1);
	weir_chan_free(c);
}

SIM(a_send_that_waits_ends_at_its_deadline_and_sends_nothing, 50)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(250));
	weir_chan *c = ints(0);
	int v = 1;

	CHECK_EQ(weir_chan_send(&soon, c, &v), -ETIMEDOUT);
	CHECK_EQ(weir_chan_try_recv(c, &v), -EAGAIN);
	weir_chan_free(c);
}

TASK(what_is_ready_is_taken_even_after_the_deadline)
{
	weir_ctx late = weir_ctx_deadline(ctx, weir_now() - 1);
	weir_chan *c = ints(1);
	int v = 5;

	CHECK_EQ(weir_chan_send(&late, c, &v), 0);
	CHECK_EQ(weir_chan_recv(&late, c, &v), 1);
	CHECK_EQ(weir_chan_recv(&late, c, &v), -ETIMEDOUT);
	weir_chan_free(c);
}

TASK(cancel_comes_before_data_and_the_data_stays)
{
	weir_chan *c = ints(2);
	int v = 5;
	weir_ctx sub;

	CHECK_EQ(weir_scope_open(ctx, &sub), 0);
	CHECK_EQ(weir_chan_send(ctx, c, &v), 0);
	weir_scope_cancel(sub.scope, -ECANCELED, "test");
	v = -1;
	CHECK_EQ(weir_chan_recv(&sub, c, &v), -ECANCELED);
	CHECK_EQ(weir_chan_send(&sub, c, &v), -ECANCELED);
	CHECK_EQ(v, -1);
	CHECK_EQ(weir_chan_len(c), 1);
	weir_scope_close(sub.scope);
	weir_chan_free(c);
}

TASK(drain_comes_before_data_only_under_until_drain)
{
	weir_chan *c = ints(2);
	int v = 5;
	weir_ctx sub, live;

	CHECK_EQ(weir_scope_open(ctx, &sub), 0);
	live = weir_ctx_until_drain(&sub);
	CHECK_EQ(weir_chan_send(&live, c, &v), 0);
	weir_scope_drain(sub.scope);
	CHECK_EQ(weir_chan_recv(&live, c, &v), -ESHUTDOWN);
	CHECK_EQ(weir_chan_recv(&sub, c, &v), 1);
	weir_scope_close(sub.scope);
	weir_chan_free(c);
}

SIM(cancel_ends_a_wait, 50)
{
	struct one o = { .chan = ints(0), .v = -1 };
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, one_recv, &o), 0);
	settle(ctx);
	weir_group_cancel(&g);
	CHECK_EQ(weir_group_wait(&g), 0);
	CHECK_EQ(o.r, -ECANCELED);
	CHECK_EQ(o.v, -1);
	weir_chan_free(o.chan);
}

TASK(try_calls_say_eagain_instead_of_waiting)
{
	weir_chan *c = ints(1), *rendezvous = ints(0);
	int v = 1;

	CHECK_EQ(weir_chan_try_recv(c, &v), -EAGAIN);
	CHECK_EQ(weir_chan_try_send(c, &v), 0);
	CHECK_EQ(weir_chan_try_send(c, &v), -EAGAIN);
	CHECK_EQ(weir_chan_try_send(rendezvous, &v), -EAGAIN);
	CHECK_EQ(weir_chan_try_recv(rendezvous, &v), -EAGAIN);
	weir_chan_free(c);
	weir_chan_free(rendezvous);
}

TASK(values_of_any_size_arrive_whole)
{
	static const size_t sizes[] = { 1, 7, 8, 9, 1000 };
	char in[1000], out[1000];

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		weir_chan *c = weir_chan_new(sizes[i], 3);

		CHECK(c);
		for (int n = 0; n < 7; n++) {
			memset(in, 'a' + n, sizeof in);
			memset(out, 0, sizeof out);
			CHECK_EQ(weir_chan_send_(ctx, c, in, sizes[i]), 0);
			CHECK_EQ(weir_chan_recv_(ctx, c, out, sizes[i]), 1);
			CHECK(memcmp(in, out, sizes[i]) == 0);
			CHECK(sizes[i] == sizeof out || out[sizes[i]] == 0);
		}
		weir_chan_free(c);
	}
}

TEST(a_channel_too_large_for_memory_is_null)
{
	CHECK(!weir_chan_new(SIZE_MAX, 2));
	CHECK(!weir_chan_new(SIZE_MAX, 1));
	CHECK(!weir_chan_new(0, UINT32_MAX));
	weir_chan_free(NULL);
}

static int pong(const weir_ctx *ctx, void *arg)
{
	weir_chan **c = arg;
	int v;

	while (weir_chan_recv(ctx, c[0], &v) > 0)
		CHECK_EQ(weir_chan_send(ctx, c[1], &v), 0);
	return 0;
}

TASK(values_cross_workers)
{
	weir_chan *c[2] = { ints(0), ints(0) };
	weir_group g;
	int v;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go_on(&g, 1 - weir_worker(), pong, c), 0);
	for (int i = 0; i < 2000; i++) {
		CHECK_EQ(weir_chan_send(ctx, c[0], &i), 0);
		CHECK_EQ(weir_chan_recv(ctx, c[1], &v), 1);
		CHECK_EQ(v, i);
	}
	weir_chan_close(c[0]);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_chan_free(c[0]);
	weir_chan_free(c[1]);
}

enum { FOREIGN_VALUES = 2000 };

static void *produce(void *arg)
{
	weir_chan *c = arg;

	for (int i = 0; i < FOREIGN_VALUES;)
		i += weir_chan_try_send(c, &i) == 0;
	weir_chan_close(c);
	return NULL;
}

TASK(a_foreign_thread_feeds_a_channel_made_for_it)
{
	weir_chan *c = weir_chan_new_foreign(sizeof(int), 16);
	pthread_t thread;
	int v, next = 0;

	CHECK(c);
	CHECK_EQ(pthread_create(&thread, NULL, produce, c), 0);
	while (weir_chan_recv(ctx, c, &v) > 0)
		CHECK_EQ(v, next++);
	CHECK_EQ(next, FOREIGN_VALUES);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	weir_chan_free(c);
}

static int in_sim(const weir_ctx *ctx, void *arg)
{
	void (*fn)(const weir_ctx *) = *(void (**)(const weir_ctx *))arg;

	fn(ctx);
	return 0;
}

static void wrong_size(const weir_ctx *ctx)
{
	weir_chan *c = ints(1);
	char v = 1;

	(void)weir_chan_send(ctx, c, &v);
}

static void free_waited(const weir_ctx *ctx)
{
	struct one o = { .chan = ints(0) };
	weir_group g;

	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, one_recv, &o), 0);
	settle(ctx);
	weir_chan_free(o.chan);
}

static void (*dying)(const weir_ctx *);

static void die(void)
{
	(void)weir_sim(1, in_sim, &dying);
}

static void use_outside(void)
{
	weir_chan *c = ints(1);
	int v = 1;

	(void)weir_chan_try_send(c, &v);
}

TEST(a_value_of_another_size_aborts_and_names_the_channel)
{
	dying = wrong_size;
	CHECK_DIES(die, "a value of 1 bytes, but the channel made at ");
}

static int leaves_a_channel(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	weir_task_name("the forgetful one");
	*(weir_chan **)arg = weir_chan_new(sizeof(int), 1);
	return 0;
}

TEST(a_channel_that_nobody_frees_is_named_with_its_maker)
{
	char said[1024];
	weir_chan *c;
	int out[2];
	ssize_t n;

	CHECK(pipe(out) == 0);
	dup2(out[1], STDERR_FILENO);
	CHECK_EQ(weir_run(NULL, leaves_a_channel, &c), 0);
	n = read(out[0], said, sizeof said - 1);
	said[n > 0 ? n : 0] = 0;
	CHECK(strstr(said, "sync/chan.c:"));
	CHECK(strstr(said, "by task the forgetful one was not freed"));
	weir_chan_free(c);
}

TEST(freeing_a_channel_on_which_a_task_waits_aborts)
{
	dying = free_waited;
	CHECK_DIES(die, "weir_chan_free: a task waits on the channel");
}

TEST(a_foreign_thread_on_a_tasks_channel_aborts)
{
	CHECK_DIES(use_outside, "a foreign thread needs weir_chan_new_foreign()");
}
