/* SPDX-License-Identifier: MIT */
/*
 * What two threads pay to answer each other without any runtime, each on a processor of its own: by
 * spinning on a word, which is what the machine takes to move a line of its cache there and back,
 * and by futex(2), asleep each time: the bound of chan-pingpong-across, and with a millisecond
 * between, the measure of chan-pingpong-asleep.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPUN = 1000000, SLEPT = 20000, APART = 1000 };

struct side {
	_Alignas(64) uint32_t turn; /* atomic: how often it was called */
};
static struct side ping, pong;
static bool sleeps, there;

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void call(struct side *s, uint32_t turn)
{
	__atomic_store_n(&s->turn, turn, __ATOMIC_RELEASE);
	if (sleeps)
		syscall(SYS_futex, &s->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void hear(struct side *s, uint32_t turn)
{
	uint32_t is;

	while ((is = __atomic_load_n(&s->turn, __ATOMIC_ACQUIRE)) != turn)
		if (sleeps)
			syscall(SYS_futex, &s->turn, FUTEX_WAIT_PRIVATE, is, NULL, NULL, 0);
}

static void *echo(void *arg)
{
	uint32_t turns = *(uint32_t *)arg;

	pin(1);
	__atomic_store_n(&there, true, __ATOMIC_RELEASE);
	for (uint32_t i = 1; i <= turns; i++) {
		hear(&ping, i);
		call(&pong, i);
	}
	return NULL;
}

static void measure(const char *name, uint32_t turns, bool asleep, bool apart)
{
	struct timespec moment = { .tv_nsec = 1000000 };
	pthread_t other;
	int64_t from, took = 0;

	ping.turn = pong.turn = 0;
	sleeps = asleep;
	there = false;
	if (pthread_create(&other, NULL, echo, &turns))
		return;
	while (!__atomic_load_n(&there, __ATOMIC_ACQUIRE))
		nanosleep(&moment, NULL); /* It may have to leave this processor first. */
	from = now();
	for (uint32_t i = 1; i <= turns; i++) {
		if (apart) {
			nanosleep(&moment, NULL);
			from = now();
		}
		call(&ping, i);
		hear(&pong, i);
		if (apart || i == turns)
			took += now() - from;
	}
	printf("%s %.2f\n", name, (double)took / turns);
	pthread_join(other, NULL);
}

int main(void)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return 0;
	pin(0);
	measure("chan-pingpong-across spinning", SPUN, false, false);
	measure("chan-pingpong-across futex", SLEPT, true, false);
	measure("chan-pingpong-asleep futex", APART, true, true);
	return 0;
}
