/* SPDX-License-Identifier: MIT */
/*
 * A webhook is a handler: it signs, has the courier carry, and turns the answer into a verdict. The
 * signature covers the payload as it is sent; the id is the job's, so that a receiver that has seen
 * it drops a second delivery.
 *
 * 410 and 429 are about the receiver and not about one job. 410 pauses the queue: that is kept over
 * restarts, is seen and undone wherever queues are, and needs no second kind of switch. 429 is kept
 * here, as a time before which no worker sends anything: each waits with the one job it has, and
 * does not take the others only to put them off. An attempt in which nothing was sent does not
 * count.
 */
#include <weir/webhook.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/log.h"
#include "base/sha256.h"
#include "queue/inner.h"
#include "queue/url.h"

enum {
	SECRET_LEAST = 24,
	SECRET_MOST = 64,
	RESULT_KEPT = 64 << 10,
	HEADER_BYTES = 160,
};

#define WEBHOOK_MAGIC 0x77656268u
#define TIMEOUT       WEIR_SEC(30)
#define RETRY_MOST    WEIR_HOUR(24)

struct weir_webhook {
	uint32_t magic;
	char *text;
	struct weir__url url;
	unsigned char secret[SECRET_MOST];
	size_t secret_len; /* 0: none */
	int64_t timeout_ns;
	bool allow_private;
	int64_t not_before; /* atomic; weir_now(): the receiver has asked for a pause */
};

/* ---- Making one ---- */

static int read_secret(const char *text, weir_webhook *h)
{
	struct weir__buf b = WEIR__BUF_INIT;
	int r = -EBADMSG;

	if (!strncmp(text, "whsec_", 6) &&
	    weir__base64_decode(&b, text + 6, strlen(text + 6)) == 0 && b.len >= SECRET_LEAST &&
	    b.len <= SECRET_MOST) {
		memcpy(h->secret, b.data, b.len);
		h->secret_len = b.len;
		r = 0;
	}
	if (b.data)
		explicit_bzero(b.data, b.len);
	weir__buf_free(&b);
	return r;
}

int weir_webhook_new(const weir_webhook_options *opt, weir_webhook **ret)
{
	weir_webhook *h;
	int r = -EINVAL;

	if (!WEIR__HAVE_CURL)
		return -ENOSYS;
	if (!opt->url || opt->timeout_ns < 0 || opt->timeout_ns > WEIR__DELAY_MAX)
		return -EINVAL;
	h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->magic = WEBHOOK_MAGIC;
	h->timeout_ns = opt->timeout_ns ? opt->timeout_ns : TIMEOUT;
	h->allow_private = opt->allow_private;
	if (!weir__url_parse(opt->url, &h->url))
		goto fail;
	r = opt->secret ? read_secret(opt->secret, h) : 0;
	if (r < 0)
		goto fail;
	r = -ENOMEM;
	h->text = strdup(opt->url);
	if (!h->text)
		goto fail;
	*ret = h;
	return 0;
fail:
	weir_webhook_free(h);
	return r;
}

void weir_webhook_free(weir_webhook *h)
{
	if (!h)
		return;
	free(h->text);
	explicit_bzero(h, sizeof *h);
	free(h);
}

/* ---- One delivery ---- */

struct delivery {
	struct weir__parcel parcel;
	struct weir__url_addrs addrs;
	char id[HEADER_BYTES], time[HEADER_BYTES], signature[HEADER_BYTES], type[HEADER_BYTES],
		queue[HEADER_BYTES], attempt[HEADER_BYTES];
};

/* Standard Webhooks 1.0.0: over "id.timestamp.payload". */
static int sign(const weir_webhook *h, struct delivery *d, const char *id, long long at)
{
	struct weir__buf signed_text = WEIR__BUF_INIT, coded = WEIR__BUF_INIT;
	unsigned char mac[WEIR__SHA256];
	int r = -ENOMEM;

	weir__buf_printf(&signed_text, "%s.%lld.", id, at);
	weir__buf_add(&signed_text, d->parcel.data, d->parcel.len);
	if (!signed_text.failed) {
		weir__hmac_sha256(h->secret, h->secret_len, signed_text.data, signed_text.len, mac);
		weir__base64_encode(&coded, mac, sizeof mac);
	}
	if (!signed_text.failed && !coded.failed) {
		snprintf(d->signature, sizeof d->signature, "webhook-signature: v1,%s", coded.data);
		r = 0;
	}
	weir__buf_free(&signed_text);
	weir__buf_free(&coded);
	return r;
}

static int write_headers(const weir_webhook *h, weir_job *job, struct delivery *d)
{
	const char **v = d->parcel.headers, *id = weir_job_id(job);
	long long at = weir_wall() / WEIR_SEC(1);
	size_t n = 0;
	int r;

	snprintf(d->id, sizeof d->id, "webhook-id: %s", id);
	snprintf(d->time, sizeof d->time, "webhook-timestamp: %lld", at);
	snprintf(d->type, sizeof d->type, "content-type: %s", weir_job_content_type(job));
	snprintf(d->queue, sizeof d->queue, "weir-queue: %s", weir_job_queue(job));
	snprintf(d->attempt, sizeof d->attempt, "weir-attempt: %u", weir_job_attempt(job));
	v[n++] = d->id;
	v[n++] = d->time;
	v[n++] = d->type;
	v[n++] = d->queue;
	v[n++] = d->attempt;
	if (!h->secret_len)
		return 0;
	r = sign(h, d, id, at);
	v[n++] = d->signature;
	return r;
}

_Static_assert(WEIR__COURIER_HEADERS >= 6, "room for all headers");

/* What an answer means. 0, or < 0 for a failure of which `why` was said. */
static int judge(const weir_ctx *ctx, weir_webhook *h, weir_job *job, const struct weir__parcel *p)
{
	int64_t after = p->retry_after_ns < RETRY_MOST ? p->retry_after_ns : RETRY_MOST;
	char why[64];

	if (p->status / 100 == 2)
		return p->answer.failed ? 0 : weir_job_result(job, p->answer.data, p->answer.len);
	snprintf(why, sizeof why, "the receiver answered %ld", p->status);
	if (p->status == 410) {
		weir__log(WEIR__WARN, "queue", "%s answered 410: queue %s is paused", h->url.host,
		          weir_job_queue(job));
		snprintf(why, sizeof why, "the receiver answered 410: the queue is paused");
		(void)weir_queue_pause(ctx, job->store, weir_job_queue(job), true);
		weir_job_defer(job, 0);
	} else if ((p->status == 429 || p->status == 503) && after > 0) {
		weir_job_retry_after(job, after);
		__atomic_store_n(&h->not_before, weir_now() + after, __ATOMIC_RELAXED);
	}
	weir_job_why(job, why);
	return -EIO;
}

int weir_job_webhook(const weir_ctx *ctx, weir_job *job, void *hook)
{
	weir_webhook *h = hook;
	weir_ctx live = weir_ctx_until_drain(ctx); /* A stop need not wait for what is not sent. */
	int64_t pause;
	struct delivery *d;
	int r;

	weir__magic_check(h, WEBHOOK_MAGIC);
	while ((pause = __atomic_load_n(&h->not_before, __ATOMIC_RELAXED) - weir_now()) > 0) {
		(void)weir_job_progress(job, -1, "the receiver has asked for a pause");
		r = weir_sleep(&live, pause);
		if (r < 0) {
			weir_job_defer(job, 0);
			return r;
		}
	}
	d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->parcel = (struct weir__parcel){ .url = h->text,
		                           .host = h->url.host,
		                           .port = h->url.port,
		                           .timeout_ns = h->timeout_ns,
		                           .answer_max = RESULT_KEPT,
		                           .allow_private = h->allow_private,
		                           .answer = WEIR__BUF_INIT };
	d->parcel.data = weir_job_data(job, &d->parcel.len);
	r = write_headers(h, job, d);
	if (r == 0)
		r = weir__url_look_up(ctx, h->url.host, h->url.port, &d->addrs, &d->parcel);
	if (r == -EHOSTUNREACH)
		weir_job_why(job, "its host is not known");
	if (r == 0)
		r = weir__courier_post(ctx, &d->parcel);
	if (r == 0)
		r = judge(ctx, h, job, &d->parcel);
	else if (d->parcel.error[0])
		weir_job_why(job, d->parcel.error);
	weir__buf_free(&d->parcel.answer);
	free(d);
	return r;
}
