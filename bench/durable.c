/* SPDX-License-Identifier: MIT */
/*
 * Durable queues: what a put costs that is on disk before it is answered, beside the least that
 * it could cost, a bare loop of write and fdatasync of as many bytes as SQLite writes for it.
 *
 *	bench-durable [DIR [N]]     where to put the files: on the disk that is meant; only the first N
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/queue.h>
#include <weir/sync.h>

#include "bench.h"

enum {
	PAYLOAD = 128,
	PRODUCERS = 64,
	ROWS = 100,
	SECONDS = 2,
	WARM = 800,
	RUNS = 5,
	RUNS_MAX = 31
};

static const char *dir = ".";
static char payload[PAYLOAD];

static weir_store *open_store(const weir_ctx *ctx)
{
	char url[512];
	weir_store *s;

	snprintf(url, sizeof url, "sqlite:%s/bench-durable.db", dir);
	for (int i = 0; i < 3; i++) {
		static const char *const ends[] = { "", "-wal", "-shm" };
		char path[512];

		snprintf(path, sizeof path, "%s%s", url + 7, ends[i]);
		unlink(path);
	}
	MUST(weir_store_open(ctx, url,
	                     &(weir_store_options){ .queue_max = 100000000,
	                                            .queue_bytes = (size_t)32 << 30,
	                                            .memory_max = (size_t)8 << 30 },
	                     &s));
	return s;
}

struct load {
	weir_store *store;
	int64_t until;
	uint64_t done;
	int rows;
	bool cycle;
};

static void put_rows(const weir_ctx *ctx, struct load *l)
{
	weir_job_spec specs[ROWS];
	char ids[ROWS][27];
	int each[ROWS];

	for (int i = 0; i < l->rows; i++)
		specs[i] = (weir_job_spec){ .data = payload, .len = PAYLOAD };
	MUST(weir_job_put_many(ctx, l->store, "q", specs, (size_t)l->rows, ids, each));
	for (int i = 0; i < l->rows; i++)
		MUST(each[i]);
}

static int producer(const weir_ctx *ctx, void *arg)
{
	struct load *l = arg;

	while (weir_now() < l->until) {
		put_rows(ctx, l);
		if (l->cycle) {
			weir_job *j;

			MUST(weir_job_take(ctx, l->store, "q", NULL, &j));
			MUST(weir_job_ack(ctx, j, NULL, 0));
		}
		__atomic_add_fetch(&l->done, (uint64_t)l->rows, __ATOMIC_RELAXED);
	}
	return 0;
}

/* Until the log has had its full length: from then on it is written over, as in a store that has
 * served for a while. */
static void warm(const weir_ctx *ctx, weir_store *s)
{
	weir_job_spec specs[ROWS];
	char ids[ROWS][27];
	int each[ROWS];

	for (int i = 0; i < ROWS; i++)
		specs[i] = (weir_job_spec){ .data = payload, .len = PAYLOAD };
	for (int i = 0; i < WARM; i++)
		MUST(weir_job_put_many(ctx, s, "warm", specs, ROWS, ids, each));
}

/* Jobs a second. */
static double measure(const weir_ctx *ctx, int producers, int rows, bool cycle)
{
	struct load l = { .store = open_store(ctx), .rows = rows, .cycle = cycle };
	int64_t start;
	weir_group g;

	warm(ctx, l.store);
	start = weir_now();
	l.until = start + WEIR_SEC(SECONDS);
	weir_group_init(&g, ctx);
	for (int i = 0; i < producers; i++)
		MUST(weir_group_go(&g, producer, &l));
	MUST(weir_group_wait(&g));
	start = weir_now() - start;
	MUST(weir_store_close(ctx, l.store, NULL));
	return (double)l.done * 1e9 / (double)start;
}

/* A put of one job makes SQLite write one frame to its log, over what has its full length already:
 * a sync of a file that grows costs twice as much. */
static double bare(void)
{
	enum { FRAME = 4120, FRAMES = 4096 };
	static const char block[FRAME];
	char path[512];
	int64_t start, now;
	uint64_t n = 0;
	int fd;

	snprintf(path, sizeof path, "%s/bench-durable.bare", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd);
	for (int i = 0; i < FRAMES; i++)
		MUST((int)pwrite(fd, block, FRAME, (off_t)i * FRAME));
	MUST(fdatasync(fd));
	start = weir_now();
	do {
		MUST((int)pwrite(fd, block, FRAME, (off_t)(n % FRAMES) * FRAME));
		MUST(fdatasync(fd));
		n++;
		now = weir_now();
	} while (now < start + WEIR_SEC(SECONDS));
	close(fd);
	unlink(path);
	return (double)n * 1e9 / (double)(now - start);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, compare);
	return v[n / 2];
}

static int compare_all(const weir_ctx *ctx, void *arg)
{
	static const struct {
		const char *name;
		int producers, rows;
		bool cycle;
	} cases[] = {
		{ "bare fdatasync of as many bytes", 0, 0, false },
		{ "put, one producer", 1, 1, false },
		{ "put, 64 producers", PRODUCERS, 1, false },
		{ "put, one producer, 100 a time", 1, ROWS, false },
		{ "put, take and ack, one task", 1, 1, true },
		{ "put, take and ack, 64 tasks", PRODUCERS, 1, true },
	};
	static double v[sizeof cases / sizeof *cases][RUNS_MAX], ratio[RUNS_MAX];
	int runs = getenv("ROUNDS") ? (int)strtol(getenv("ROUNDS"), NULL, 10) : RUNS;
	size_t n = arg ? strtoul(arg, NULL, 10) : sizeof cases / sizeof *cases;

	runs = runs < 1 ? 1 : runs > RUNS_MAX ? RUNS_MAX : runs;
	n = n < 1 || n > sizeof cases / sizeof *cases ? sizeof cases / sizeof *cases : n;
	for (int run = 0; run < runs; run++)
		for (size_t i = 0; i < n; i++)
			v[i][run] = cases[i].producers ? measure(ctx, cases[i].producers,
			                                         cases[i].rows, cases[i].cycle) :
			                                 bare();
	/* The first last: the others are set beside it in its order. */
	for (size_t i = n; i-- > 0;) {
		double each, beside;

		for (int run = 0; run < runs; run++)
			ratio[run] = v[0][run] / v[i][run];
		beside = median(ratio, runs);
		each = median(v[i], runs);
		printf("%-40s %10.0f jobs/s %8.1f us %7.2f times the bare one\n", cases[i].name,
		       each, 1e6 / each, beside);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		dir = argv[1];
	return weir_run(NULL, compare_all, argc > 2 ? argv[2] : NULL) < 0;
}
