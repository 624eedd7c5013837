/* SPDX-License-Identifier: MIT */
/*
 * One job for a C handler, which does what the payload says; then what became of it, as
 * "STATE ATTEMPTS ERROR|RESULT". workers STORE PAYLOAD: put it; workers STORE: the one that is
 * there.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

static const char *url, *payload;

static int handle(const weir_ctx *ctx, weir_job *job, void *arg)
{
	const char *what = weir_job_data(job, NULL);
	bool first = weir_job_attempt(job) == 1;

	(void)arg;
	if (!strcmp(what, "failed") || (first && !strcmp(what, "retried"))) {
		weir_job_why(job, "it says so");
		return -EIO;
	}
	if (!strcmp(what, "timed out") || !strcmp(what, "cancelled"))
		return weir_sleep(ctx, WEIR_HOUR(1));
	if (first && !strcmp(what, "killed")) {
		/* That a job runs is written soon, but nobody waits for it: a process that dies in
		 * the same moment has not begun. */
		(void)weir_sleep(ctx, WEIR_MS(300));
		raise(SIGKILL);
	}
	return weir_job_result(job, "result", 6);
}

static bool finished(enum weir_job_state s)
{
	return s == WEIR_DONE || s == WEIR_DEAD || s == WEIR_CANCELLED;
}

static int follow(const weir_ctx *ctx, weir_store *s, const char *id)
{
	weir_job_info i;
	int r;

	for (;;) {
		r = weir_job_get(ctx, s, id, true, &i);
		if (r < 0)
			return r;
		if (finished(i.state))
			break;
		if (i.state == WEIR_RUNNING && payload && !strcmp(payload, "cancelled"))
			(void)weir_job_cancel(ctx, s, id);
		weir_job_info_free(&i);
		r = weir_sleep(ctx, WEIR_MS(10));
		if (r < 0)
			return r;
	}
	printf("%s %u %s\n", weir_job_state_name(i.state), i.attempt,
	       i.result ? (char *)i.result : i.error);
	weir_job_info_free(&i);
	return 0;
}

static int run(const weir_ctx *ctx, void *arg)
{
	weir_job_spec spec = { .data = payload, .len = payload ? strlen(payload) : 0 };
	weir_job_info known;
	weir_store *s;
	weir_group g;
	char id[27];
	int r;

	(void)arg;
	r = weir_store_open(ctx, url, NULL, &s);
	if (r < 0)
		return r;
	if (payload) {
		bool once = !strcmp(payload, "failed") || !strcmp(payload, "timed out");

		spec.attempts_max = once ? 1 : 3;
		spec.timeout_ns = !strcmp(payload, "timed out") ? WEIR_MS(200) : 0;
		r = weir_job_put(ctx, s, "q", &spec, id);
	} else {
		r = weir_job_list(s, "q", -1, NULL, &known, 1) == 1 ? 0 : -ENOENT;
		memcpy(id, known.id, sizeof id);
	}
	weir_group_init(&g, ctx);
	if (r == 0)
		r = weir_workers_start(&g, s, "q", 2, handle, NULL);
	if (r == 0)
		r = follow(ctx, s, id);
	weir_group_cancel(&g);
	weir_group_wait(&g);
	weir_store_close(ctx, s, NULL);
	return r;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	url = argv[1];
	payload = argv[2];
	return weir_run(NULL, run, NULL);
}
