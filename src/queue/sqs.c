/* SPDX-License-Identifier: MIT */
/*
 * The engine "sqs+https://…" and "sqs+http://…": Amazon SQS, or a server that speaks its JSON
 * protocol, by requests signed with AWS's signature v4. They are carried by libcurl on a thread of
 * the engine's own (courier.h); keys come from where AWS's tools look for them (aws.h).
 *
 *	sqs+https://sqs.eu-central-1.amazonaws.com
 *	sqs+http://localhost:9324?region=us-east-1&prefix=test-&wait=2
 *
 *	region   what requests are signed for; else the host's, the environment's, the profile's, or
 *	         us-east-1
 *	prefix   before the names of all queues there
 *	wait     seconds that a poll for jobs waits there, 1 to 20; 2 if it is not said
 *
 *	put      SendMessageBatch; a job that is not confirmed may be there or not, and SQS drops no
 *	         doubles (sqs_batch.c, sqs_msg.c)
 *	fetch    ReceiveMessage, hidden for the lease (sqs_take.c)
 *	ack      DeleteMessageBatch
 *	nack     ChangeMessageVisibilityBatch to the delay; to the lease: extend
 *	bury     sent to NAME-dead, then deleted
 *
 * The dead are put there by Weir and not by SQS's own RedrivePolicy: that counts receipts alone,
 * for the whole queue, when the next one is asked for; it does not know a job's own limit, nor a
 * job that no attempt will help, and cannot say why.
 *
 * Locks, none held while waiting: a lane's, before a latch's; s->lock; q->lock.
 */
#include "queue/sqs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define PROBE_EVERY WEIR_MS(500)
#define PROBE_MAX   WEIR_SEC(2)

/* ---- Is it there? ---- */

/* Any answer will do. */
static void probe(const weir_ctx *ctx, struct weir__sqs *s)
{
	struct weir__url_addrs addrs;
	struct weir__parcel p = { .url = s->endpoint,
		                  .host = s->at.host,
		                  .port = s->at.port,
		                  .get = true,
		                  .timeout_ns = PROBE_MAX,
		                  .allow_private = true,
		                  .ca_file = s->ca_file };

	if (weir__sqs_look_up(ctx, s, &addrs, &p) == 0 &&
	    weir__courier_carry(ctx, s->courier, &p, 1) == 0 && p.result == 0)
		weir__sqs_up(s, true);
	weir__buf_free(&p.answer);
}

/* Whether it is back is asked by nobody else while it is away: a weir that is not ready gets no
 * jobs. */
static int prober(const weir_ctx *ctx, void *arg)
{
	struct weir__sqs *s = arg;
	bool up;
	int r = 0;

	weir_task_name("sqs prober");
	while (r == 0) {
		r = weir_sem_take(ctx, &s->fallen);
		do {
			if (r == 0)
				r = weir_sleep(ctx, PROBE_EVERY);
			if (r == 0)
				probe(ctx, s);
			weir__lock_acquire(&s->lock);
			up = s->up;
			s->falling = !up;
			weir__lock_release(&s->lock);
		} while (r == 0 && !up);
	}
	return r;
}

static bool up(void *engine)
{
	struct weir__sqs *s = engine;
	bool r;

	weir__lock_acquire(&s->lock);
	r = s->up;
	weir__lock_release(&s->lock);
	return r;
}

/* ---- Put ---- */

static int put(const weir_ctx *ctx, void *engine, const char *queue,
               const struct weir__remote_job *jobs, size_t n, int *ret)
{
	struct weir__sqs_queue *q = weir__sqs_find(engine, queue);
	struct weir__sqs_entry *e = calloc(n, sizeof *e + sizeof(size_t));
	size_t *from = (size_t *)(void *)(e + n), m = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		ret[i] = e ? weir__sqs_entry_of(&jobs[i], NULL, &e[m]) : -ENOMEM;
		if (ret[i] == 0)
			from[m++] = i;
	}
	r = weir__sqs_send(ctx, &q->send, e, m);
	for (size_t i = 0; i < m; i++) {
		int each = e[i].result;

		ret[from[i]] = each == -EACCES || each == -ENOENT ? -ENOTCONN :
		               each == -EIO                       ? -EBADMSG :
		                                                    each;
	}
	free(e);
	return r;
}

static int fits(void *engine, const struct weir__remote_job *job)
{
	struct weir__sqs_entry e;
	int r = weir__sqs_entry_of(job, NULL, &e);

	(void)engine;
	if (r == 0)
		weir__buf_free(&e.json);
	return r;
}

/* ---- Life ---- */

static bool is(const char *name, size_t n, const char *what)
{
	return strlen(what) == n && !memcmp(name, what, n);
}

/* One "name=value" behind the '?'. */
static int option(struct weir__sqs *s, const char *name, size_t n, const char *value, size_t len)
{
	char *end;

	if (is(name, n, "region") && len && len < sizeof s->region) {
		memcpy(s->region, value, len);
		return 0;
	}
	if (is(name, n, "prefix") && len < sizeof s->prefix) {
		memcpy(s->prefix, value, len);
		return strspn(s->prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		                         "0123456789-_") == len ?
		               0 :
		               -EINVAL;
	}
	if (is(name, n, "wait")) {
		s->wait_s = strtol(value, &end, 10);
		return end == value + len && s->wait_s >= 1 && s->wait_s <= 20 ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int read_url(struct weir__sqs *s, const char *url)
{
	const char *at;
	bool plain;
	int r;

	if (!weir__url_parse(url + strlen("sqs+"), &s->at))
		return -EINVAL;
	at = s->at.rest + (*s->at.rest == '/');
	r = *at && *at != '?' ? -EINVAL : 0;
	for (at += *at == '?'; r == 0 && *at;) {
		size_t len = strcspn(at, "&"), n = strcspn(at, "=");

		r = n < len ? option(s, at, n, at + n + 1, len - n - 1) : -EINVAL;
		at += len + (at[len] == '&');
	}
	plain = s->at.port == (s->at.tls ? 443 : 80);
	snprintf(s->host, sizeof s->host, strchr(s->at.host, ':') ? "[%s]" : "%s", s->at.host);
	if (!plain)
		snprintf(s->host + strlen(s->host), sizeof s->host - strlen(s->host), ":%u",
		         s->at.port);
	snprintf(s->endpoint, sizeof s->endpoint, "%s://%s/", s->at.tls ? "https" : "http",
	         s->host);
	return r;
}

/* sqs.REGION.amazonaws.com, also …com.cn and sqs-fips.… */
static void region_of_host(struct weir__sqs *s)
{
	const char *dot = strchr(s->at.host, '.'), *end;

	if (strncmp(s->at.host, "sqs", 3) || !dot)
		return;
	end = strchr(++dot, '.');
	if (end && !strncmp(end, ".amazonaws.com", 14) && (size_t)(end - dot) < sizeof s->region)
		memcpy(s->region, dot, (size_t)(end - dot));
}

/* Is it there, and does it know our key? Whether it allows this one request does not matter. */
static int greet(const weir_ctx *ctx, struct weir__sqs *s)
{
	struct weir__sqs_call c = { .action = "ListQueues" };
	int r;

	weir__buf_str(&c.body, "{\"MaxResults\":1}");
	r = c.body.failed ? -ENOMEM : weir__sqs_call(ctx, s, &c, 1);
	if (r == 0)
		r = c.result;
	if (r == -EACCES && (!strncmp(c.code, "AccessDenied", 12)))
		r = 0;
	if (r == -ENOTCONN) {
		weir__log(WEIR__ERROR, "queue", "SQS at %s cannot be reached", s->host);
		r = -ECONNREFUSED;
	} else if (r == -EIO) {
		weir__log(WEIR__ERROR, "queue", "%s does not speak the JSON protocol of SQS",
		          s->host);
		r = -EPROTO;
	}
	weir__sqs_call_free(&c, 1);
	return r;
}

static void close_sqs(const weir_ctx *ctx, void *engine)
{
	struct weir__sqs *s = engine;
	struct weir__list *l;

	(void)ctx;
	weir_group_cancel(&s->group);
	(void)weir_group_wait(&s->group);
	weir__courier_free(s->courier);
	while ((l = weir__list_pop(&s->queues)))
		free(weir__container(l, struct weir__sqs_queue, link));
	weir__aws_key_free(s->key);
	free(s);
}

static int open_sqs(const weir_ctx *ctx, const char *url, const weir_store_options *opt, void **ret)
{
	struct weir__sqs *s = calloc(1, sizeof *s);
	int r;

	(void)opt;
	if (!s)
		return -ENOMEM;
	weir__list_init(&s->queues);
	weir_sem_init(&s->fallen, 0);
	weir_mutex_init(&s->asking);
	s->wait_s = 2;
	s->ca_file = getenv("AWS_CA_BUNDLE");
	r = read_url(s, url);
	if (r < 0) {
		weir__log(WEIR__ERROR, "queue", /* Somebody may have put a key into it. */
		          "the URL of SQS is "
		          "sqs+https://HOST[:PORT][?region=NAME&prefix=TEXT&wait=1…20]");
		free(s);
		return r;
	}
	weir_group_init(&s->group, ctx);
	s->courier = weir__courier_new();
	r = s->courier ? 0 : -ENOMEM;
	if (r == 0 && !*s->region)
		region_of_host(s);
	if (r == 0 && !*s->region)
		r = weir__aws_region(ctx, s->region);
	if (r == 0 && !*s->region)
		snprintf(s->region, sizeof s->region, "us-east-1");
	if (r == 0)
		r = greet(ctx, s);
	if (r == 0)
		r = weir_group_go(&s->group, prober, s);
	if (r < 0) {
		close_sqs(ctx, s);
		return r;
	}
	*ret = s;
	return 0;
}

const struct weir__remote_engine weir__engine_sqs = {
	.open = open_sqs,
	.close = close_sqs,
	.up = up,
	.make = weir__sqs_make,
	.put = put,
	.fits = fits,
	.fetch = weir__sqs_fetch,
	.ack = weir__sqs_ack,
	.nack = weir__sqs_nack,
	.bury = weir__sqs_bury,
	.extend = weir__sqs_extend,
	.count = weir__sqs_count,
	.redrive = weir__sqs_redrive,
};
