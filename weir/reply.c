/* SPDX-License-Identifier: MIT */
/* Answers: JSON, and for every failure a problem document whose sentence says what to do. */
#include <stdio.h>
#include <string.h>

#include "handlers.h"
#include "http/exchange.h"
#include "queue/remote.h"

bool wants_head(const weir_http *x)
{
	return !strcmp(weir_http_method(x), "HEAD");
}

int reply_json(const weir_ctx *ctx, weir_http *x, int status, struct weir__buf *b)
{
	int r = b->failed ? -ENOMEM :
	                    weir__http_fixed(x, false, "content-type", "application/json");

	if (r == -ENOMEM)
		r = weir_http_problem(ctx, x, 500, "no memory for the answer");
	else if (r == 0)
		r = weir_http_reply(ctx, x, status, NULL, b->data, b->len);
	weir__buf_free(b);
	return r;
}

int reply_wrong(const weir_ctx *ctx, weir_http *x, const struct params *p)
{
	return weir_http_problem(ctx, x, weir_http_starved(x) ? 507 : 400, "%s", p->error);
}

void retry_after(weir_http *x, int64_t ns)
{
	int64_t s = (ns + WEIR_SEC(1) - 1) / WEIR_SEC(1);
	char text[24];

	snprintf(text, sizeof text, "%lld", (long long)(s < 1 ? 1 : s > 60 ? 60 : s));
	(void)weir_http_set(x, "retry-after",
	                    text); /* Without memory for it the status says enough. */
}

int error_status(int error, const char **ret_detail)
{
	static const struct {
		int error, status;
		const char *detail;
	} table[] = {
		{ -EAGAIN, 503, "the queue is full; try later" },
		{ -ENOSPC, 507,
		  "a bound of the server is reached: its memory or disk, or the number of queues, "
		  "patterns or held leases" },
		{ -ENOBUFS, 503,
		  "nobody has room for the message, or the cluster cannot be reached and what may "
		  "wait for it is full" },
		{ -EINVAL, 400, "not a valid name or value" },
		{ -EMSGSIZE, 413, "larger than the server takes" },
		{ -ENOENT, 404, "there is no such thing, or it is no longer kept" },
		{ -ESTALE, 409, "the lease has ended" },
		{ -EEXIST, 409, "the engine has it with other settings, which cannot be changed" },
		{ -EALREADY, 409, "the job has finished already" },
		{ -EBUSY, 409, "the job has not finished" },
		{ -EPIPE, 503, "the server is stopping" },
		{ -ESHUTDOWN, 503, "the server is stopping" },
		{ -ENOTCONN, 503,
		  "the engine of the queues cannot be reached; it is not known whether it has the "
		  "job" },
		{ -EOPNOTSUPP, 501,
		  "the store of the queues cannot do that; see weir queues --engines" },
		{ -ENETUNREACH, 503, "nobody answers on this subject" },
		{ -ETIMEDOUT, 504, "no answer came in time" },
		{ -ENOMEM, 507, "no memory" },
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (table[i].error != error)
			continue;
		*ret_detail = table[i].detail;
		return table[i].status;
	}
	*ret_detail = strerrordesc_np(-error);
	return 500;
}

const char *store_name(const struct app *app)
{
	const struct weir__engine_row *row = weir__engine_row_of(app->opt->store);

	return row ? row->name : app->opt->store;
}

void lacks_text(char *buf, size_t n, const struct app *app, const char *what)
{
	snprintf(buf, n, "the store, %s, cannot do this: %s; see weir queues --engines",
	         store_name(app), what ? what : "what was asked for");
}

int reply_refused(const weir_ctx *ctx, weir_http *x, struct app *app, int error, const char *queue,
                  const char *what)
{
	char lacks[160];

	if (error != -EOPNOTSUPP)
		return reply_error(ctx, x, app, error, queue);
	lacks_text(lacks, sizeof lacks, app, what);
	return weir_http_problem(ctx, x, 501, "%s", lacks);
}

int reply_error(const weir_ctx *ctx, weir_http *x, struct app *app, int error, const char *queue)
{
	return reply_error_saying(ctx, x, app, error, queue, NULL);
}

int reply_error_saying(const weir_ctx *ctx, weir_http *x, struct app *app, int error,
                       const char *queue, const char *saying)
{
	weir_queue_info info;
	const char *detail;
	int status;

	if (error == -ECANCELED)
		return error; /* Nobody is there to be answered. */
	status = error_status(error, &detail);
	if (saying)
		detail = saying;
	else if (error == -EINVAL && queue && !weir_queue_name_valid(queue))
		detail = "not a queue's name: 1 to 64 of A-Z a-z 0-9 . _ -, and no dot first";
	if (error == -EAGAIN && queue && weir_queue_info_get(app->store, queue, &info) == 0)
		retry_after(x, info.retry_after_ns);
	else if (status == 503)
		retry_after(x, WEIR_SEC(1));
	return weir_http_problem(ctx, x, status, "%s", detail);
}
