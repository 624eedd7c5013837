/* SPDX-License-Identifier: MIT */
/*
 * The engines and what each can do: the one table that refusals, `weir queues --engines` and
 * doc/design/engines.md come from (a test compares the last two). An engine that was not built has
 * its row too: what it can do does not depend on this program.
 */
#include <string.h>

#include "queue/remote.h"

const struct weir__feature_name weir__features[WEIR__FEATURES] = {
	[WEIR__CAN_SHARE] = { "share", "serve one queue from several processes" },
	[WEIR__CAN_DURABLE] = { "durable", "keep an accepted job when weir is killed" },
	[WEIR__CAN_BOUND] = { "bound", "refuse jobs when a queue is full" },
	[WEIR__CAN_DELAY] = { "delay", "hold a new job back for a while" },
	[WEIR__CAN_PRIORITY] = { "priority", "run a job before others" },
	[WEIR__CAN_IDEMPOTENCY] = { "idempotency",
	                            "put a job once that is put twice with one key" },
	[WEIR__CAN_BACKOFF] = { "backoff", "let a failed job rest before it is tried again" },
	[WEIR__CAN_ATTEMPTS] = { "attempts", "count and limit the attempts of a job" },
	[WEIR__CAN_UNCOUNTED] = { "return", "take a job back without counting the attempt" },
	[WEIR__CAN_DEAD] = { "dead", "keep what failed for good" },
	[WEIR__CAN_REDRIVE] = { "redrive", "bring the dead jobs of a queue back" },
	[WEIR__CAN_LEASE] = { "lease", "run a job again whose worker fell silent" },
	[WEIR__CAN_COUNT] = { "count", "tell how many jobs wait" },
	[WEIR__CAN_LOOK] = { "look", "show any job by its id, and list them" },
	[WEIR__CAN_CANCEL] = { "cancel", "call off a job that nobody has taken" },
	[WEIR__CAN_RETRY] = { "retry", "run one finished job again" },
	[WEIR__CAN_PAUSE] = { "pause", "make a queue stand still" },
	[WEIR__CAN_RATE] = { "rate", "limit the jobs that begin a second" },
	[WEIR__CAN_CONCURRENCY] = { "concurrency", "limit the jobs that run at a time" },
	[WEIR__CAN_CRON] = { "cron", "put jobs by the clock" },
};

#define BIT(feature) (1u << WEIR__CAN_##feature)
#define ALL          ((1u << WEIR__FEATURES) - 1)

#ifdef WEIR__SQLITE
#define HAVE_SQLITE true
#else
#define HAVE_SQLITE false
#endif
#ifdef WEIR__JETSTREAM
#define JETSTREAM &weir__engine_jetstream, true
#else
#define JETSTREAM NULL, false
#endif
#ifdef WEIR__RABBITMQ
#define RABBITMQ &weir__engine_rabbitmq, true
#else
#define RABBITMQ NULL, false
#endif
#ifdef WEIR__SQS
#define SQS &weir__engine_sqs, true
#else
#define SQS NULL, false
#endif

const struct weir__engine_row weir__engine_rows[] = {
	{ "memory",
	  { "mem" },
	  NULL,
	  "memory",
	  ALL & ~(BIT(SHARE) | BIT(DURABLE)),
	  0,
	  NULL,
	  NULL,
	  NULL,
	  true },
	{ "SQLite",
	  { "sqlite" },
	  "sqlite",
	  "fsync",
	  ALL & ~BIT(SHARE),
	  0,
	  NULL,
	  NULL,
	  NULL,
	  HAVE_SQLITE },
	{ "JetStream",
	  { "nats", "tls" },
	  "nats",
	  "jetstream: written, synced to disk later unless the server has sync_interval: always",
	  BIT(SHARE) | BIT(DURABLE) | BIT(BOUND) | BIT(IDEMPOTENCY) | BIT(BACKOFF) | BIT(ATTEMPTS) |
	          BIT(DEAD) | BIT(REDRIVE) | BIT(LEASE) | BIT(COUNT),
	  0,
	  NULL,
	  NULL,
	  JETSTREAM },
	{ "RabbitMQ",
	  { "amqp", "amqps" },
	  "rabbitmq",
	  "rabbitmq: written and synced by a majority of the quorum queue's nodes",
	  BIT(SHARE) | BIT(DURABLE) | BIT(BOUND) | BIT(DELAY) | BIT(BACKOFF) | BIT(ATTEMPTS) |
	          BIT(DEAD) | BIT(REDRIVE) | BIT(LEASE) | BIT(COUNT),
	  24 * WEIR_MIN(60) * 49,
	  "49d",
	  "delay above 49d",
	  RABBITMQ },
	{ "SQS",
	  { "sqs+http", "sqs+https" },
	  "curl",
	  "sqs: kept by the service on several machines",
	  BIT(SHARE) | BIT(DURABLE) | BIT(DELAY) | BIT(BACKOFF) | BIT(ATTEMPTS) | BIT(DEAD) |
	          BIT(REDRIVE) | BIT(LEASE) | BIT(COUNT),
	  WEIR_MIN(15),
	  "15m",
	  "delay above 15m",
	  SQS },
	{ .name = NULL },
};

const struct weir__engine_row *weir__engine_row_of(const char *url)
{
	size_t n = strcspn(url, ":");

	for (const struct weir__engine_row *row = weir__engine_rows; url[n] && row->name; row++)
		for (const char *const *s = row->schemes; *s; s++)
			if (strlen(*s) == n && !strncmp(url, *s, n))
				return row;
	return NULL;
}
