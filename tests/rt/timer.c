/* SPDX-License-Identifier: MIT */
#include <weir/sim.h>

#include "rt/timer.h"
#include "test.h"

enum { TIMERS = 64 };

struct alarm {
	struct weir__timer timer;
	int64_t at_ns;
	uint32_t order; /* of its arming */
	bool armed;
};

static struct alarm alarms[TIMERS];
static int64_t last_at;
static uint32_t order, last_order, armed;

static void rang(struct weir__timer *t)
{
	struct alarm *a = (struct alarm *)t;

	CHECK(a->armed);
	CHECK(weir_now() >= a->at_ns);
	CHECK(a->at_ns > last_at || (a->at_ns == last_at && a->order > last_order));
	last_at = a->at_ns;
	last_order = a->order;
	a->armed = false;
	armed--;
	/* The callback may arm its own timer again. */
	if (weir_random(8) == 0) {
		a->armed = true;
		armed++;
		a->order = ++order;
		a->at_ns = weir_now() + 1 + weir_random(50);
		weir__timer_start(t, a->at_ns, rang);
	}
}

static void start(struct alarm *a, int64_t at_ns)
{
	armed += !a->armed;
	a->armed = true;
	a->order = ++order;
	a->at_ns = at_ns;
	weir__timer_start(&a->timer, at_ns, rang);
	CHECK(weir__timer_armed(&a->timer));
}

static void stop(struct alarm *a)
{
	weir__timer_stop(&a->timer);
	CHECK(!weir__timer_armed(&a->timer));
	armed -= a->armed;
	a->armed = false;
}

SIM(timers_fire_in_order_each_once_and_stopped_ones_never, 2000)
{
	memset(alarms, 0, sizeof alarms);
	order = armed = last_order = 0;
	last_at = 0;
	for (int round = 0; round < 8; round++) {
		for (uint32_t n = weir_random(2 * TIMERS); n > 0; n--) {
			struct alarm *a = &alarms[weir_random(TIMERS)];

			if (weir_random(3))
				start(a, weir_now() + 1 + weir_random(20));
			else
				stop(a);
		}
		CHECK_EQ(weir_sleep(ctx, weir_random(40)), 0);
	}
	for (int i = 0; i < TIMERS; i++)
		stop(&alarms[i]);
	CHECK_EQ(armed, 0);
}
