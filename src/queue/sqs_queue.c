/* SPDX-License-Identifier: MIT */
/*
 * A queue there, and the one of its dead: finding or making them, and what they count.
 *
 * A queue is looked for first and made only when it is not there, so that queues which others made,
 * with their own settings, are used as they are, and no right to make any is needed. What Weir asks
 * of a message (how long it is hidden) it asks with each request, not by the queue's settings.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "queue/sqs.h"

#define LEASE_MIN 2 /* seconds; a shorter lease is kept here */
#define LEASE_MAX 300

enum { KEPT = 14 * 24 * 3600 /* seconds: the longest a message may wait there */ };

struct weir__sqs_queue *weir__sqs_find(struct weir__sqs *s, const char *queue)
{
	struct weir__sqs_queue *found = NULL;

	weir__lock_acquire(&s->lock);
	weir__list_each (l, &s->queues) {
		struct weir__sqs_queue *q = weir__container(l, struct weir__sqs_queue, link);

		if (!strcmp(q->name, queue)) {
			found = q;
			break;
		}
	}
	weir__lock_release(&s->lock);
	return found;
}

/* SQS has letters, digits, '-' and '_'; a dot is "_-", which no name may have itself. */
static int name_of(const struct weir__sqs *s, const char *queue, bool dead,
                   char ret[WEIR__SQS_NAME])
{
	const char *end = dead ? "-dead" : "";
	size_t n = strlen(s->prefix);

	if (strstr(queue, "_-")) {
		weir__log(WEIR__ERROR, "queue",
		          "SQS: a queue's name may not have \"_-\", which is a dot there: %s",
		          queue);
		return -EINVAL;
	}
	memcpy(ret, s->prefix, n);
	for (const char *c = queue; *c && n < WEIR__SQS_NAME - 8; c++) {
		ret[n++] = *c == '.' ? '_' : *c;
		if (*c == '.')
			ret[n++] = '-';
		if (!c[1]) {
			memcpy(ret + n, end, strlen(end) + 1);
			return 0;
		}
	}
	weir__log(WEIR__ERROR, "queue", "SQS: queue %s%s has too long a name: 72 characters there",
	          s->prefix, queue);
	return -ENAMETOOLONG;
}

/* The member "QueueUrl", quoted again. */
static void url_member(const struct weir__json_member *m, void *arg)
{
	if (m->kind == WEIR__JSON_TEXT && !strcmp(m->key, "QueueUrl"))
		weir__buf_json(arg, m->text, strlen(m->text));
}

static int ask_url(const weir_ctx *ctx, struct weir__sqs *s, struct weir__sqs_call *c,
                   char ret[WEIR__SQS_URL])
{
	struct weir__buf url = WEIR__BUF_INIT;
	int r = c->body.failed ? -ENOMEM : weir__sqs_call(ctx, s, c, 1);

	if (r == 0)
		r = c->result;
	if (r == 0) {
		(void)weir__json_object(c->answer.data, c->answer.len, url_member, &url);
		r = url.failed ? -ENOMEM : url.len && url.len < WEIR__SQS_URL ? 0 : -EIO;
		if (r == 0)
			memcpy(ret, url.data, url.len + 1);
		weir__buf_free(&url);
	}
	weir__sqs_call_free(c, 1);
	return r;
}

static int find_or_make(const weir_ctx *ctx, struct weir__sqs *s, const char *name, int64_t lease_s,
                        char ret[WEIR__SQS_URL])
{
	struct weir__sqs_call find = { .action = "GetQueueUrl" },
			      make = { .action = "CreateQueue" };
	int r;

	weir__buf_printf(&find.body, "{\"QueueName\":\"%s\"}", name);
	r = ask_url(ctx, s, &find, ret);
	if (r != -ENOENT)
		return r;
	weir__buf_printf(&make.body,
	                 "{\"QueueName\":\"%s\",\"Attributes\":{\"VisibilityTimeout\":\"%lld\","
	                 "\"MessageRetentionPeriod\":\"%d\"}}",
	                 name, (long long)lease_s, KEPT);
	r = ask_url(ctx, s, &make, ret);
	if (r == 0)
		weir__log(WEIR__INFO, "queue", "SQS: queue %s was made", name);
	return r == -EEXIST ? -ENOTCONN : r; /* Another weir was faster: it is found next time. */
}

int weir__sqs_remake(const weir_ctx *ctx, struct weir__sqs *s, struct weir__sqs_queue *q)
{
	char name[WEIR__SQS_NAME], url[WEIR__SQS_URL], dead_url[WEIR__SQS_URL];
	int64_t lease = __atomic_load_n(&q->lease_s, __ATOMIC_RELAXED);
	int r = name_of(s, q->name, false, name);

	if (r == 0)
		r = find_or_make(ctx, s, name, lease, url);
	if (r == 0)
		r = name_of(s, q->name, true, name);
	if (r == 0)
		r = find_or_make(ctx, s, name, lease, dead_url);
	if (r < 0)
		return r;
	weir__lock_acquire(&q->lock);
	memcpy(q->url, url, sizeof url);
	memcpy(q->dead_url, dead_url, sizeof dead_url);
	weir__lock_release(&q->lock);
	return 0;
}

void weir__sqs_begin(struct weir__sqs_queue *q, bool dead, struct weir__buf *body)
{
	char url[WEIR__SQS_URL];

	weir__lock_acquire(&q->lock);
	memcpy(url, dead ? q->dead_url : q->url, sizeof url);
	weir__lock_release(&q->lock);
	weir__buf_printf(body, "{\"QueueUrl\":%s", url);
}

int weir__sqs_make(const weir_ctx *ctx, void *engine, const char *queue,
                   const weir_queue_settings *set)
{
	struct weir__sqs *s = engine;
	struct weir__sqs_queue *q = weir__sqs_find(s, queue), *fresh;
	int64_t lease = (set->lease_ns + WEIR_SEC(1) - 1) / WEIR_SEC(1);
	int r;

	lease = lease < LEASE_MIN ? LEASE_MIN : lease > LEASE_MAX ? LEASE_MAX : lease;
	if (q) {
		__atomic_store_n(&q->lease_s, lease, __ATOMIC_RELAXED);
		return 0;
	}
	fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return -ENOMEM;
	memcpy(fresh->name, queue, strlen(queue) + 1);
	fresh->lease_s = lease;
	weir__sqs_lane_init(&fresh->send, s, fresh, "SendMessageBatch", false);
	weir__sqs_lane_init(&fresh->remove, s, fresh, "DeleteMessageBatch", false);
	weir__sqs_lane_init(&fresh->hide, s, fresh, "ChangeMessageVisibilityBatch", false);
	weir__sqs_lane_init(&fresh->bury, s, fresh, "SendMessageBatch", true);
	weir__sqs_lane_init(&fresh->raise, s, fresh, "DeleteMessageBatch", true);
	weir__sqs_lane_init(&fresh->rebury, s, fresh, "ChangeMessageVisibilityBatch", true);
	r = weir__sqs_remake(ctx, s, fresh);
	if (r < 0) {
		free(fresh);
		return r == -EACCES || r == -EAGAIN ? -ENOTCONN : r;
	}
	weir__lock_acquire(&s->lock);
	weir__list_each (l, &s->queues)
		if (!strcmp(weir__container(l, struct weir__sqs_queue, link)->name, queue))
			q = weir__container(l, struct weir__sqs_queue, link);
	if (!q)
		weir__list_append(&s->queues, &fresh->link);
	weir__lock_release(&s->lock);
	if (q)
		free(fresh);
	return 0;
}

/* ---- Counts ---- */

struct numbers {
	int64_t visible, hidden, delayed;
};

static void number(const struct weir__json_member *m, void *arg)
{
	struct numbers *n = arg;

	if (m->depth != 2 || !m->key || m->kind != WEIR__JSON_TEXT)
		return;
	if (!strcmp(m->key, "ApproximateNumberOfMessages"))
		n->visible = strtoll(m->text, NULL, 10);
	else if (!strcmp(m->key, "ApproximateNumberOfMessagesNotVisible"))
		n->hidden = strtoll(m->text, NULL, 10);
	else if (!strcmp(m->key, "ApproximateNumberOfMessagesDelayed"))
		n->delayed = strtoll(m->text, NULL, 10);
}

int weir__sqs_count(const weir_ctx *ctx, void *engine, const char *queue,
                    struct weir__remote_counts *ret)
{
	struct weir__sqs *s = engine;
	struct weir__sqs_queue *q = weir__sqs_find(s, queue);
	struct weir__sqs_call c[2] = { { .action = "GetQueueAttributes" },
		                       { .action = "GetQueueAttributes" } };
	struct numbers n[2] = { 0 };
	int r;

	for (int i = 0; i < 2; i++) {
		weir__sqs_begin(q, i == 1, &c[i].body);
		weir__buf_str(&c[i].body, ",\"AttributeNames\":[\"All\"]}");
	}
	r = c[0].body.failed || c[1].body.failed ? -ENOMEM : weir__sqs_call(ctx, s, c, 2);
	for (int i = 0; i < 2 && r == 0; i++) {
		r = c[i].result;
		if (r == 0)
			(void)weir__json_walk(c[i].answer.data, c[i].answer.len, number, &n[i]);
	}
	weir__sqs_call_free(c, 2);
	if (r == -ENOENT)
		r = weir__sqs_remake(ctx, s, q); /* Then it is empty. */
	if (r < 0)
		return r;
	*ret = (struct weir__remote_counts){ .queued = n[0].visible,
		                             .delayed = n[0].delayed,
		                             .running = n[0].hidden,
		                             .dead = n[1].visible + n[1].hidden,
		                             .bytes = WEIR__UNKNOWN };
	return 0;
}
