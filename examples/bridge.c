/* SPDX-License-Identifier: MIT */
/*
 * A library with threads of its own and callbacks, bridged into tasks. Its callbacks must not wait,
 * so they use only what never does: a try_send into a channel made for foreign threads, which is
 * bounded and counts what found no place, and the start of a task in a group that they hold.
 *	build/examples/example-bridge          # sums 1000 readings, handles an alarm in a task of its own
 */
#include <pthread.h>
#include <stdio.h>
#include <weir/chan.h>
#include <weir/group.h>

/* ---- The library, as one would find it: it knows nothing of tasks. ---- */

enum { READINGS = 1000 };

struct sensor {
	void (*on_reading)(void *arg, int value);
	void (*on_alarm)(void *arg, int value);
	void (*on_end)(void *arg);
	void *arg;
	pthread_t thread;
};

static void *sensor_main(void *arg)
{
	struct sensor *s = arg;

	for (int i = 1; i <= READINGS; i++) {
		s->on_reading(s->arg, i);
		if (i == READINGS / 2)
			s->on_alarm(s->arg, i);
	}
	s->on_end(s->arg);
	return NULL;
}

static int sensor_start(struct sensor *s)
{
	return -pthread_create(&s->thread, NULL, sensor_main, s);
}

static void sensor_join(struct sensor *s)
{
	pthread_join(s->thread, NULL);
}

/* ---- The bridge. ---- */

struct bridge {
	weir_chan *readings; /* bounded: the library must not fill the memory */
	unsigned lost;       /* readings that found no place; the library's thread's until on_end */
	weir_group alarms;   /* held while the library may call */
	int alarm;
};

/* In the library's thread. */
static void reading(void *arg, int value)
{
	struct bridge *b = arg;

	if (weir_chan_try_send(b->readings, &value) < 0)
		b->lost++;
}

/* A task of the application: it may wait. */
static int handle_alarm(const weir_ctx *ctx, void *arg)
{
	struct bridge *b = arg;

	b->alarm++;
	return weir_sleep(ctx, WEIR_MS(1));
}

/* In the library's thread. */
static void alarm_raised(void *arg, int value)
{
	struct bridge *b = arg;

	(void)value;
	if (weir_group_go(&b->alarms, handle_alarm, b) < 0)
		fprintf(stderr, "an alarm found no memory or a stopped program\n");
}

/* In the library's thread: its last word. The release comes last: after it the bridge may be
 * gone. */
static void ended(void *arg)
{
	struct bridge *b = arg;

	weir_chan_close(b->readings);
	weir_group_release(&b->alarms);
}

static int app(const weir_ctx *ctx, void *arg)
{
	struct bridge b = { .readings = weir_chan_new_foreign(sizeof(int), 64) };
	struct sensor s = {
		.on_reading = reading, .on_alarm = alarm_raised, .on_end = ended, .arg = &b
	};
	long sum = 0, n = 0;
	bool started;
	int value, r;

	(void)arg;
	if (!b.readings)
		return -ENOMEM;
	weir_group_init(&b.alarms, ctx);
	r = weir_group_hold(&b.alarms);
	if (r == 0) {
		r = sensor_start(&s);
		if (r < 0)
			weir_group_release(&b.alarms);
	}
	started = r == 0;
	/* Until the library closes the channel. Should the wait end before, by a stop, the
	 * library's readings find no place, and it ends all the same. */
	while (r >= 0 && (r = weir_chan_recv(ctx, b.readings, &value)) > 0) {
		sum += value;
		n++;
	}
	weir_group_wait(&b.alarms);
	/* The group was released by the thread's last words, so this takes no time. */
	if (started)
		sensor_join(&s);
	if (r == 0) {
		printf("%ld readings, %u lost, sum %ld, %d alarm\n", n, b.lost, sum, b.alarm);
		r = n + b.lost == READINGS && b.alarm == 1 ? 0 : -EIO;
	}
	weir_chan_free(b.readings);
	return r;
}

int main(void)
{
	return weir_main(app, NULL);
}
