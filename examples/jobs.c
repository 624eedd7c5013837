/* SPDX-License-Identifier: MIT */
/*
 * Fire and forget, under control: HTTP answers at once, a queue holds jobs, workers run them.
 *
 *	build/examples/example-jobs --queue sqlite:jobs.db :8080 10 10 0 &   # a queue of 10, jobs of 10 s, no limit
 *	curl -i 'localhost:8080?user_id=1'              # 202; the eleventh: 503 with Retry-After; without user_id: 400
 *	curl localhost:8080/jobs/ID                     # what became of it
 *
 * With ":8080 10 5 2" a job wants 5 s and may run for 2: cancelled, tried once more, and dead. A
 * stop lets running jobs finish. In a file, 202 means that the job is on disk: kill -9 loses none.
 * With "--queue nats://localhost:4222" several of these share the queue of a JetStream, with
 * "--queue amqp://localhost:5672" of RabbitMQ, with
 * "--queue sqs+https://sqs.eu-central-1.amazonaws.com" of SQS.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/queue.h>
#include <weir/server.h>

enum { WORKERS = 3 };

struct app {
	const char *addr;
	size_t queue_max;
	double job_s, limit_s;
	weir_store *store;
	const char *url;
};

/* In a worker. Its context ends with a cancel, at the job's limit, or when the program stops. */
static int send_mail(const weir_ctx *ctx, weir_job *job, void *arg)
{
	const long *user = weir_job_data(job, NULL);
	struct app *app = arg;
	int r;

	fprintf(stderr, "user %ld: attempt %u begins\n", *user, weir_job_attempt(job));
	r = weir_sleep(ctx, (int64_t)(app->job_s * 1e9)); /* the work */
	fprintf(stderr, "user %ld: %s\n", *user, r == 0 ? "sent" : "stopped");
	return r; /* 0: done. Else it is tried later, or, when the program stops, goes back. */
}

static int workers(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	weir_group g;
	int r;

	weir_group_init(&g, ctx);
	r = weir_workers_start(&g, app->store, "mail", WORKERS, send_mail, app);
	if (r < 0)
		weir_group_cancel(&g);
	return weir_group_wait(&g) < 0 ? -EIO : r;
}

static int enqueue(const weir_ctx *ctx, weir_http *x, void *arg)
{
	const char *user_id = weir_http_query(x, "user_id");
	struct app *app = arg;
	long user = user_id ? strtol(user_id, NULL, 10) : 0;
	weir_job_spec job = { .data = &user, .len = sizeof user };
	weir_queue_info info;
	char id[27], seconds[24];
	int r;

	if (!user)
		return weir_http_problem(ctx, x, 400, "say whom: ?user_id=1");
	r = weir_job_put(ctx, app->store, "mail", &job, id);
	if (r == -EAGAIN && weir_queue_info_get(app->store, "mail", &info) == 0) {
		/* As long as the queue, measured, takes to have a place again. */
		snprintf(seconds, sizeof seconds, "%d", (int)(info.retry_after_ns / WEIR_SEC(1)));
		weir_http_set(x, "Retry-After", seconds);
		return weir_http_problem(ctx, x, 503, "the queue is full, try later");
	}
	if (r < 0)
		return r;
	weir_http_status(x, 202);
	return weir_http_printf(ctx, x, "queued as %s\n", id);
}

static int show(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct app *app = arg;
	weir_job_info job;
	int r = weir_job_get(ctx, app->store, weir_http_path(x, "id"), false, &job);

	if (r < 0)
		return r; /* -ENOENT answers 404 */
	return weir_http_printf(ctx, x, "%s %s\n", weir_job_state_name(job.state), job.error);
}

static int run(const weir_ctx *ctx, void *arg)
{
	struct app *app = arg;
	weir_queue_settings set = { .max = app->queue_max, .attempts_max = 2 };
	weir_server *s = weir_server_new(NULL);
	int r = s ? weir_store_open(ctx, app->url, NULL, &app->store) : -ENOMEM;

	set.timeout_ns = (int64_t)(app->limit_s * 1e9);
	set.rate = 5; /* five begin a second */
	if (r == 0)
		r = weir_queue_configure(ctx, app->store, "mail", &set);
	if (r == -EOPNOTSUPP) { /* An engine whose queue others serve too does not count them. */
		fprintf(stderr, "no limit of jobs a second over this engine\n");
		set.rate = 0;
		r = weir_queue_configure(ctx, app->store, "mail", &set);
	}
	if (r == 0 && (r = weir_server_service(s, "workers", workers, app, NULL)) == 0 &&
	    (r = weir_http_route(weir_server_http(s), "GET /{$}", enqueue, app, NULL)) == 0 &&
	    (r = weir_http_route(weir_server_http(s), "GET /jobs/{id}", show, app, NULL)) == 0 &&
	    (r = weir_server_listen(s, app->addr)) == 0 &&
	    fprintf(stderr, "listening on %s\n", weir_server_addr(s, 0)) > 0)
		r = weir_server_run(ctx, s);
	weir_server_free(s);
	if (app->store)
		weir_store_close(ctx, app->store, NULL);
	return r;
}

int main(int argc, char **argv)
{
	struct app app = { ":8080", 10, 10, 0, NULL, "mem:" };

	if (argc > 2 && !strcmp(argv[1], "--queue")) {
		app.url = argv[2];
		argc -= 2;
		argv += 2;
	}
	if (argc > 4) {
		app.addr = argv[1];
		app.queue_max = strtoul(argv[2], NULL, 10);
		app.job_s = strtod(argv[3], NULL);
		app.limit_s = strtod(argv[4], NULL);
	}
	return weir_main(run, &app);
}
