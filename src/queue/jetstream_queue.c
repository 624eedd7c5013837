/* SPDX-License-Identifier: MIT */
/* A queue as a stream and a consumer: making them, changing them, and what they count. */
#include "queue/jetstream.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { API = 160, CONFIG = 1024, NO_CONSUMER = 10014, IN_USE = 10058, NO_ROOM = 10047 };

#define ACK_WAIT_MIN WEIR_SEC(2) /* a shorter lease is kept here */
#define ACK_WAIT_MAX WEIR_SEC(300)

struct weir__js_queue *weir__js_find(struct weir__js *js, const char *queue)
{
	struct weir__js_queue *found = NULL;

	weir__lock_acquire(&js->lock);
	weir__list_each (l, &js->queues) {
		struct weir__js_queue *q = weir__container(l, struct weir__js_queue, link);

		if (!strcmp(q->name, queue)) {
			found = q;
			break;
		}
	}
	weir__lock_release(&js->lock);
	return found;
}

/* One call of the API; *ret_code 0, or the error's, of which nothing is said in the log. */
static int call(const weir_ctx *ctx, struct weir__js *js, const char *verb, const char *name,
                const char *config, int64_t *ret_code)
{
	char subject[API];
	weir_msg m;
	int r;

	snprintf(subject, sizeof subject, "$JS.API.%s.%s", verb, name);
	r = weir__js_ask(ctx, js, subject, config, &m);
	if (r < 0)
		return r;
	*ret_code = strstr(m.data, "\"error\":") ? weir__js_number(&m, "err_code") : 0;
	if (*ret_code && *ret_code != IN_USE)
		weir__log_rare(WEIR__WARN, "queue", "JetStream: %s %s: %.200s", verb, name,
		               (const char *)m.data);
	weir_msg_free(&m);
	return 0;
}

/* Make it, or change what is there. */
static int stream(const weir_ctx *ctx, struct weir__js *js, const char *name, const char *config)
{
	int64_t code;
	int r = call(ctx, js, "STREAM.CREATE", name, config, &code);

	if (r == 0 && code == IN_USE)
		r = call(ctx, js, "STREAM.UPDATE", name, config, &code);
	return r < 0 ? r : code == NO_ROOM ? -ENOSPC : code ? -EIO : 0;
}

static int make_streams(const weir_ctx *ctx, struct weir__js *js, const char *queue,
                        const weir_queue_settings *set)
{
	char name[WEIR__JS_NAME], subject[WEIR__JS_NAME], config[CONFIG];
	/* Bytes are set aside when a stream is made: so many mean no bound. */
	long long bytes = set->max_bytes >= (size_t)1 << 40 ? -1 : (long long)set->max_bytes;
	int r;

	weir__js_name(name, "WEIR-", queue);
	weir__js_name(subject, "weir.queue.", queue);
	snprintf(config, sizeof config,
	         "{\"name\":\"%s\",\"subjects\":[\"%s\"],\"retention\":\"workqueue\","
	         "\"storage\":\"file\",\"discard\":\"new\",\"max_msgs\":%zu,\"max_bytes\":%lld,"
	         "\"num_replicas\":%u,\"duplicate_window\":%lld,\"max_consumers\":-1,"
	         "\"max_age\":0,\"max_msg_size\":-1}",
	         name, subject, set->max, bytes, js->replicas, (long long)js->duplicates_ns);
	r = stream(ctx, js, name, config);
	if (r < 0)
		return r;
	weir__js_name(name, "WEIR-DEAD-", queue);
	weir__js_name(subject, "weir.dead.", queue);
	snprintf(config, sizeof config,
	         "{\"name\":\"%s\",\"subjects\":[\"%s\"],\"retention\":\"limits\","
	         "\"storage\":\"file\",\"discard\":\"old\",\"max_msgs\":%d,"
	         "\"num_replicas\":%u,\"max_consumers\":-1,\"max_age\":0,\"max_bytes\":-1,"
	         "\"max_msg_size\":-1}",
	         name, subject, WEIR__JS_DEAD, js->replicas);
	return stream(ctx, js, name, config);
}

static int make_consumer(const weir_ctx *ctx, struct weir__js *js, const char *queue,
                         int64_t ack_wait_ns)
{
	char name[WEIR__JS_NAME], at[WEIR__JS_NAME + 16], config[CONFIG];
	int64_t code;
	int r;

	weir__js_name(name, "WEIR-", queue);
	snprintf(at, sizeof at, "%s.workers", name);
	snprintf(config, sizeof config,
	         "{\"stream_name\":\"%s\",\"config\":{\"durable_name\":\"workers\","
	         "\"ack_policy\":\"explicit\",\"ack_wait\":%lld,\"max_deliver\":-1,"
	         "\"max_ack_pending\":-1,\"deliver_policy\":\"all\","
	         "\"replay_policy\":\"instant\"}}",
	         name, (long long)ack_wait_ns);
	r = call(ctx, js, "CONSUMER.DURABLE.CREATE", at, config, &code);
	return r < 0 ? r : code ? -EIO : 0;
}

int weir__js_make(const weir_ctx *ctx, void *engine, const char *queue,
                  const weir_queue_settings *set)
{
	struct weir__js *js = engine;
	struct weir__js_queue *fresh;
	int64_t wait = set->lease_ns < ACK_WAIT_MIN ? ACK_WAIT_MIN :
	               set->lease_ns > ACK_WAIT_MAX ? ACK_WAIT_MAX :
	                                              set->lease_ns;
	int r = make_streams(ctx, js, queue, set);

	if (r == 0)
		r = make_consumer(ctx, js, queue, wait);
	if (r < 0)
		return r;
	fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return -ENOMEM;
	memcpy(fresh->name, queue, strlen(queue) + 1);
	fresh->ack_wait_ns = wait;
	fresh->made = *set;
	weir__lock_acquire(&js->lock);
	weir__list_each (l, &js->queues) {
		struct weir__js_queue *q = weir__container(l, struct weir__js_queue, link);

		if (!strcmp(q->name, queue)) {
			__atomic_store_n(&q->ack_wait_ns, wait, __ATOMIC_RELAXED);
			q->made = *set;
			free(fresh);
			fresh = NULL;
			break;
		}
	}
	if (fresh)
		weir__list_append(&js->queues, &fresh->link);
	weir__lock_release(&js->lock);
	return 0;
}

/* The answer of an INFO; -ENOENT when it is not there. */
int weir__js_info(const weir_ctx *ctx, struct weir__js *js, const char *verb, const char *name,
                  weir_msg *ret)
{
	char subject[API];
	int r;

	snprintf(subject, sizeof subject, "$JS.API.%s.INFO.%s", verb, name);
	r = weir__js_ask(ctx, js, subject, "", ret);
	if (r == 0 && strstr(ret->data, "\"error\":")) {
		int64_t code = weir__js_number(ret, "err_code");

		r = code == WEIR__JS_NO_STREAM || code == NO_CONSUMER ? -ENOENT : -EIO;
		weir_msg_free(ret);
	}
	return r;
}

int weir__js_mend(const weir_ctx *ctx, struct weir__js *js, const char *queue)
{
	struct weir__js_queue *q = weir__js_find(js, queue);
	char name[WEIR__JS_NAME], at[WEIR__JS_NAME + 16];
	weir_queue_settings set;
	weir_msg m;
	int r;

	weir__js_name(name, "WEIR-", queue);
	snprintf(at, sizeof at, "%s.workers", name);
	r = weir__js_info(ctx, js, "CONSUMER", at, &m);
	if (r == 0)
		weir_msg_free(&m);
	if (r != -ENOENT)
		return r;
	weir__lock_acquire(&js->lock);
	set = q->made;
	weir__lock_release(&js->lock);
	r = weir__js_make(ctx, js, queue, &set);
	if (r == 0)
		weir__log(WEIR__WARN, "queue", "JetStream: queue %s was gone, and is made again",
		          queue);
	return r;
}

int weir__js_count(const weir_ctx *ctx, void *engine, const char *queue,
                   struct weir__remote_counts *ret)
{
	struct weir__js *js = engine;
	char name[WEIR__JS_NAME], at[WEIR__JS_NAME + 16];
	struct weir__remote_counts c = { .delayed = WEIR__UNKNOWN };
	weir_msg m;
	int r;

	weir__js_name(name, "WEIR-", queue);
	snprintf(at, sizeof at, "%s.workers", name);
	r = weir__js_info(ctx, js, "STREAM", name, &m);
	if (r < 0)
		return r;
	c.bytes = weir__js_number(&m, "bytes");
	weir_msg_free(&m);
	r = weir__js_info(ctx, js, "CONSUMER", at, &m);
	if (r < 0)
		return r;
	/* Not what the stream holds: after a kill a server may keep messages there that it knows to
	 * be acknowledged, and gives them to nobody. */
	c.queued = weir__js_number(&m, "num_pending");
	c.running = weir__js_number(&m, "num_ack_pending");
	weir_msg_free(&m);
	weir__js_name(name, "WEIR-DEAD-", queue);
	r = weir__js_info(ctx, js, "STREAM", name, &m);
	if (r < 0)
		return r;
	c.dead = weir__js_number(&m, "messages");
	weir_msg_free(&m);
	*ret = c;
	return 0;
}
