/* SPDX-License-Identifier: MIT */
/*
 * The whole server in simulated time and on a simulated network: producers, workers that vanish,
 * connections that are lost, a drain in the middle, and the next start from the spool. Every job is
 * done, none twice at a time.
 */
#include "app.h"
#include "test.h"

#include <dirent.h>
#include <unistd.h>
#include <weir/http_client.h>

#include "base/log.h"

enum { PRODUCERS = 3, WORKERS = 3, EACH = 4, JOBS = PRODUCERS * EACH };

/* options.c looks at it; nothing is parsed here. */
const struct command commands[] = { { NULL, NULL, NULL, NULL, 0, 0, false, NULL } };

struct world {
	char data[64];
	struct options opt;
	struct app app;
	weir_group server, workers;
	int status;
	bool lossy, over;
	unsigned put, acked[JOBS], holders[JOBS];
};

static int run_server(const weir_ctx *ctx, void *arg)
{
	struct world *w = arg;

	w->status = serve(ctx, &w->app);
	return 0;
}

static void start(const weir_ctx *ctx, struct world *w)
{
	memset(&w->app, 0, sizeof w->app);
	w->app.opt = &w->opt;
	weir_group_init(&w->server, ctx);
	CHECK_EQ(weir_group_go(&w->server, run_server, w), 0);
	while (!w->app.server || !weir_server_ready(w->app.server))
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(10)), 0);
}

static void make_world(struct world *w)
{
	/* Else every seed tells of its start and stop. */
	weir__log_set(WEIR__ERROR, WEIR__LOG_TEXT);
	memset(w, 0, sizeof *w);
	snprintf(w->data, sizeof w->data, "/tmp/weir-sim-XXXXXX");
	CHECK(mkdtemp(w->data));
	w->opt = (struct options){
		.data = w->data,
		.store = "mem",
		.bus = "mem:",
		.listens = 1,
		.listen = { "mem:weir" },
		.patterns_max = 4,
	};
}

static void end_world(struct world *w)
{
	char path[512];
	struct dirent *e;
	DIR *d = opendir(w->data);

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof path, "%s/%s", w->data, e->d_name);
		unlink(path);
	}
	closedir(d);
	rmdir(w->data);
}

/* One request on a connection of its own or on `c`: the status, or < 0. */
static int ask(const weir_ctx *ctx, weir_http_client *c, const char *target,
               const char *const *headers, const char *body, char *answer, size_t n)
{
	weir_http_req req = { .method = "POST",
		              .target = target,
		              .headers = headers,
		              .body = body,
		              .body_len = body ? strlen(body) : 0 };
	weir_http_res res;
	ssize_t r;

	r = weir_http_client_do(ctx, c, &req, &res);
	if (r == 0)
		r = weir_http_client_read_all(ctx, c, answer, n);
	return r < 0 ? (int)r : res.status;
}

static int produce(const weir_ctx *ctx, void *arg)
{
	struct world *w = arg;
	unsigned first = w->put;
	char answer[1024], key[64], body[16];
	weir_http_client *c;

	w->put += EACH;
	CHECK_EQ(weir_http_client_new("mem:weir", &c), 0);
	for (unsigned i = first; i < first + EACH; i++) {
		const char *headers[] = { key, NULL };
		int r;

		/* Asked again until it is answered: the key makes it one job. */
		snprintf(key, sizeof key, "idempotency-key: job-%u", i);
		snprintf(body, sizeof body, "%u", i);
		do
			r = ask(ctx, c, "/v1/queues/q/jobs", headers, body, answer, sizeof answer);
		while (r < 0 && r != -ECANCELED);
		CHECK_EQ(r, 202);
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(weir_random(500))), 0);
	}
	weir_http_client_free(c);
	return 0;
}

static const char *field(const char *json, const char *name, char *out, size_t n)
{
	char mark[32];
	const char *at;

	snprintf(mark, sizeof mark, "\"%s\":\"", name);
	at = strstr(json, mark);
	CHECK(at);
	at += strlen(mark);
	snprintf(out, n, "%.*s", (int)strcspn(at, "\""), at);
	return out;
}

/* Works on one job over a connection of its own; one time in four it vanishes in the middle. */
static void work_once(const weir_ctx *ctx, struct world *w)
{
	char answer[2048], id[64], lease[64], payload[32], target[256];
	weir_http_client *c;
	unsigned job;
	int r;

	CHECK_EQ(weir_http_client_new("mem:weir", &c), 0);
	r = ask(ctx, c, "/v1/queues/q/take?wait=5s&lease=connection", NULL, NULL, answer,
	        sizeof answer);
	if (r == 200) {
		field(answer, "id", id, sizeof id);
		field(answer, "lease", lease, sizeof lease);
		job = (unsigned)atoi(field(answer, "payload", payload, sizeof payload));
		CHECK(job < JOBS);
		w->holders[job]++;
		/* Who lost its connection does not know yet; else a job has one holder. */
		CHECK(w->lossy || w->holders[job] == 1);
		(void)weir_sleep(ctx, WEIR_MS(weir_random(2000)));
		w->holders[job]--;
		snprintf(target, sizeof target, "/v1/jobs/%s/ack?lease=%s", id, lease);
		if (weir_random(4) && ask(ctx, c, target, NULL, "ok", answer, sizeof answer) == 200)
			w->acked[job]++;
	}
	weir_http_client_free(c);
	if (r < 0)
		(void)weir_sleep(ctx, WEIR_MS(100));
}

static int work(const weir_ctx *ctx, void *arg)
{
	struct world *w = arg;

	while (!w->over)
		work_once(ctx, w);
	return 0;
}

/* How many jobs of the queue are in this state, by the store itself. */
static size_t count(struct world *w, const char *state)
{
	weir_queue_info q;

	if (weir_queue_info_get(w->app.store, "q", &q) < 0)
		return 0;
	return !strcmp(state, "done")    ? q.done :
	       !strcmp(state, "running") ? q.running :
	                                   q.queued + q.delayed;
}

static void live(const weir_ctx *ctx, struct world *w, bool drain_between)
{
	weir_group producers;

	start(ctx, w);
	weir_group_init(&producers, ctx);
	weir_group_init(&w->workers, ctx);
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(weir_group_go(&producers, produce, w), 0);
	CHECK_EQ(weir_group_wait(&producers), 0);
	for (int i = 0; i < WORKERS; i++)
		CHECK_EQ(weir_group_go(&w->workers, work, w), 0);
	if (drain_between) {
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(weir_random(3000))), 0);
		weir_group_drain(&w->server);
		CHECK_EQ(weir_group_wait(&w->server), 0);
		CHECK_EQ(w->status, 0);
		start(ctx, w);
	}
	for (int i = 0; count(w, "running") + count(w, "queued") > 0; i++) {
		CHECK(i < 6000);
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(100)), 0);
	}
	w->over = true;
	CHECK_EQ(weir_group_wait(&w->workers), 0);
	if (!drain_between)
		CHECK_EQ(count(w, "done"), JOBS);
	for (int i = 0; i < JOBS; i++) {
		CHECK(w->acked[i] <= 1);
		/* Only with a lost answer can a job be done without its worker knowing. */
		CHECK(w->acked[i] == 1 || w->lossy);
	}
	weir_group_drain(&w->server);
	CHECK_EQ(weir_group_wait(&w->server), 0);
	CHECK_EQ(w->status, 0);
}

SIM(every_job_is_done_once_though_workers_vanish, 3000)
{
	static struct world w;

	weir_sim_net_set(&(weir_sim_net){ .latency_ns = WEIR_MS(5) });
	make_world(&w);
	live(ctx, &w, false);
	end_world(&w);
}

SIM(every_job_is_done_though_connections_are_lost, 3000)
{
	static struct world w;

	weir_sim_net_set(&(weir_sim_net){ .latency_ns = WEIR_MS(5), .loss = 200 });
	make_world(&w);
	w.lossy = true;
	live(ctx, &w, false);
	end_world(&w);
}

SIM(a_stop_in_between_loses_no_job, 3000)
{
	static struct world w;

	weir_sim_net_set(&(weir_sim_net){ .latency_ns = WEIR_MS(5) });
	make_world(&w);
	live(ctx, &w, true);
	end_world(&w);
}
