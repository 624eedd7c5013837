/* SPDX-License-Identifier: MIT */
/* A job run by a command: payload in, exit status out. Everything about processes is
 * weir/process.h's; here is only what the status means. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/inner.h"

enum { OUT_MAX = 64 << 10, DEAD_AT_ONCE = 100, ENV_MAX = 128 };

int weir_job_exec_limited(const weir_ctx *ctx, weir_job *job, void *arg)
{
	const weir_exec *exec = arg;
	char id[ENV_MAX], queue[ENV_MAX], attempt[ENV_MAX], why[128];
	char *const env[] = { id, queue, attempt, NULL };
	weir_process_spec spec = { .argv = exec->argv,
		                   .env = env,
		                   .out_max = OUT_MAX,
		                   .limits = exec->limits,
		                   .die_with_parent = true };
	weir_process_result res = { 0 };
	int r;

	snprintf(id, sizeof id, "WEIR_JOB_ID=%s", weir_job_id(job));
	snprintf(queue, sizeof queue, "WEIR_QUEUE=%s", weir_job_queue(job));
	snprintf(attempt, sizeof attempt, "WEIR_ATTEMPT=%u", weir_job_attempt(job));
	spec.in = weir_job_data(job, &spec.in_len);
	if (spec.limits.output > spec.out_max)
		spec.out_max = spec.limits.output < WEIR__RESULT_MAX ? spec.limits.output :
		                                                       WEIR__RESULT_MAX;
	r = weir_process_run(ctx, &spec, &res);
	if (r == -ECANCELED || r == -ETIMEDOUT || r == -ESHUTDOWN)
		goto out;
	if (r == 0 && res.truncated)
		(void)weir_job_progress(job, -1, "its output is longer than what is kept, 64 KiB");
	if (r == 0 && res.code == 0) {
		r = weir_job_result(job, res.out, res.out_len);
		goto out;
	}
	weir_process_why(&spec, &res, r, why, sizeof why);
	weir_job_why(job, why);
	if (r == 0 || r == -EFBIG) /* Else it could not be begun. */
		r = res.code == DEAD_AT_ONCE ? -EINVAL : -EIO;
out:
	free(res.out);
	return r;
}

int weir_job_exec(const weir_ctx *ctx, weir_job *job, void *argv)
{
	weir_exec exec = { .argv = argv };

	return weir_job_exec_limited(ctx, job, &exec);
}
