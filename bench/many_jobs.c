/* SPDX-License-Identifier: MIT */
/*
 * A durable queue with millions of jobs: how long its store takes to open, what memory that takes,
 * and puts and takes beside those of a store whose queue is empty, in turns. What is put is taken
 * again, so that the one stays full and the other is empty between two measurements.
 *
 *	bench-many_jobs fill FILE N [PRIORITIES]  makes a store with N queued jobs, each of another
 *	                                          priority than the one before
 *	bench-many_jobs compare FILE N EMPTY      opens it, and another that it makes
 */
#include <time.h>
#include <weir/queue.h>

#include "bench.h"

enum { PAYLOAD = 200, ROWS = 256, FILLERS = 8, TASKS = 64 };
#define EACH WEIR_SEC(1)

static char payload[PAYLOAD];
static char **args;
static uint64_t wanted;
static int priorities = 1;

static weir_store *open_store(const weir_ctx *ctx, const char *file)
{
	char url[512];
	weir_store *s;

	snprintf(url, sizeof url, "sqlite:%s", file);
	MUST(weir_store_open(ctx, url,
	                     &(weir_store_options){ .queue_max = 100000000,
	                                            .queue_bytes = (size_t)64 << 30,
	                                            .memory_max = (size_t)8 << 30 },
	                     &s));
	return s;
}

/* Bytes of memory of this process that are not a file's. */
static int64_t memory(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	int64_t kib = 0;

	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, "RssAnon:", 8))
			kib = strtol(line + 8, NULL, 10);
	if (f)
		fclose(f);
	return kib * 1024;
}

static int fill_share(const weir_ctx *ctx, void *arg)
{
	weir_job_spec specs[ROWS];
	char ids[ROWS][27];
	int each[ROWS];

	for (int i = 0; i < ROWS; i++)
		specs[i] = (weir_job_spec){ .data = payload,
			                    .len = PAYLOAD,
			                    .priority = i % priorities };
	for (uint64_t left = wanted / FILLERS, n; left; left -= n) {
		n = left < ROWS ? left : ROWS;
		MUST(weir_job_put_many(ctx, arg, "q", specs, n, ids, each));
		for (uint64_t i = 0; i < n; i++)
			MUST(each[i]);
	}
	return 0;
}

static int fill(const weir_ctx *ctx, void *arg)
{
	weir_store *s = open_store(ctx, args[0]);
	int64_t before = memory();
	weir_group g;

	(void)arg;
	weir_group_init(&g, ctx);
	for (int i = 0; i < FILLERS; i++)
		MUST(weir_group_go(&g, fill_share, s));
	MUST(weir_group_wait(&g));
	fprintf(stderr, "filled: %.1f MB of memory, %.1f bytes a job\n",
	        (double)(memory() - before) * 1e-6, (double)(memory() - before) / (double)wanted);
	MUST(weir_store_close(ctx, s, NULL));
	return 0;
}

static int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct load {
	weir_store *store;
	int each;
};

static int put(const weir_ctx *ctx, void *arg)
{
	struct load *l = arg;
	char id[27];

	for (int i = 0; i < l->each; i++)
		MUST(weir_job_put(ctx, l->store, "q",
		                  &(weir_job_spec){ .data = payload, .len = PAYLOAD }, id));
	return 0;
}

static int take(const weir_ctx *ctx, void *arg)
{
	struct load *l = arg;
	weir_job *j;

	for (int i = 0; i < l->each; i++) {
		MUST(weir_job_take(ctx, l->store, "q", NULL, &j));
		MUST(weir_job_ack(ctx, j, NULL, 0));
	}
	return 0;
}

/* Puts by so many tasks and takes of as many, until both took their time. */
static void measure(const weir_ctx *ctx, weir_store *s, int tasks, const char *who)
{
	static int (*const fns[])(const weir_ctx *, void *) = { put, take };
	static const char *const names[] = { "put", "take-ack" };
	struct load l = { .store = s, .each = 32 };
	int64_t spent[2] = { 0 }, cpu[2] = { 0 }, n = 0;
	weir_group g;

	while (spent[0] < EACH / 2 || spent[1] < EACH / 2) {
		for (int what = 0; what < 2; what++) {
			int64_t at = weir_now(), busy = cpu_ns();

			weir_group_init(&g, ctx);
			for (int i = 0; i < tasks; i++)
				MUST(weir_group_go(&g, fns[what], &l));
			MUST(weir_group_wait(&g));
			spent[what] += weir_now() - at;
			cpu[what] += cpu_ns() - busy;
		}
		n += tasks * l.each;
	}
	for (int what = 0; what < 2; what++) {
		printf("%s-%d %s %.0f\n", names[what], tasks, who, (double)spent[what] / (double)n);
		printf("%s-%d-cpu %s %.0f\n", names[what], tasks, who,
		       (double)cpu[what] / (double)n);
	}
	fflush(stdout);
}

static int compare(const weir_ctx *ctx, void *arg)
{
	int rounds = getenv("ROUNDS") ? (int)strtol(getenv("ROUNDS"), NULL, 10) : 5;
	weir_store *empty = open_store(ctx, args[2]), *full;
	int64_t before = memory(), at = weir_now(), opened, after;
	weir_queue_info info;

	(void)arg;
	full = open_store(ctx, args[0]);
	opened = weir_now() - at;
	MUST(weir_queue_info_get(full, "q", &info));
	if (info.queued != wanted) {
		fprintf(stderr, "there are %zu jobs\n", info.queued);
		exit(1);
	}
	after = memory();
	fprintf(stderr, "%zu jobs: opened in %.2f s, with %.1f MB of memory, %.1f bytes a job\n",
	        info.queued, (double)opened * 1e-9, (double)(after - before) * 1e-6,
	        (double)(after - before) / (double)info.queued);
	for (int i = 0; i < rounds; i++)
		for (int tasks = 1; tasks <= TASKS; tasks *= TASKS) {
			measure(ctx, full, tasks, "full");
			measure(ctx, empty, tasks, "empty");
		}
	fprintf(stderr, "memory after the rounds, of both: %.1f MB more than before\n",
	        (double)(memory() - before) * 1e-6);
	MUST(weir_store_close(ctx, full, NULL));
	MUST(weir_store_close(ctx, empty, NULL));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 4 || (argc < 5 && strcmp(argv[1], "fill") != 0))
		return 2;
	args = argv + 2;
	wanted = strtoull(argv[3], NULL, 10) / FILLERS * FILLERS;
	if (argc > 4 && !strcmp(argv[1], "fill"))
		priorities = (int)strtol(argv[4], NULL, 10);
	if (priorities < 1)
		return 2;
	return weir_run(NULL, !strcmp(argv[1], "fill") ? fill : compare, NULL) < 0;
}
