/* SPDX-License-Identifier: MIT */
/*
 * The engines that the contract of queues is run against, each with a server of its own that ends
 * with the test. An engine is one entry of `engines`: start makes a server, or says why there is
 * none (a test is skipped then); kill and again are for those whose server is a program.
 */
#ifndef ENGINE_SERVERS_H
#define ENGINE_SERVERS_H

#include "../bus/servers.h"
#include "queue/remote.h"
#ifdef WEIR__RABBITMQ
#include "rabbit_server.h"
#endif

struct engine_server {
	struct bus_server server;
	char url[128], dir[32];
	const char *missing; /* why it could not be started */
};

struct engine_under_test {
	const char *name; /* as in weir__engine_rows */
	bool (*start)(struct engine_server *e);
	bool (*again)(struct engine_server *e); /* after a kill, with what it had on disk */
};

static inline void engine_dir(struct engine_server *e)
{
	snprintf(e->dir, sizeof e->dir, "/tmp/weir-engine-XXXXXX");
	CHECK(mkdtemp(e->dir));
}

static inline void engine_end(struct engine_server *e)
{
	server_kill(&e->server, SIGKILL);
	if (*e->dir)
		CHECK(run((char *[]){ "rm", "-rf", e->dir, NULL }));
}

static inline bool memory_start(struct engine_server *e)
{
	snprintf(e->url, sizeof e->url, "mem:");
	return true;
}

static inline bool sqlite_start(struct engine_server *e)
{
	engine_dir(e);
	snprintf(e->url, sizeof e->url, "sqlite:%s/jobs.db", e->dir);
	return true;
}

static inline bool jetstream_again(struct engine_server *e)
{
	char port[8];

	snprintf(port, sizeof port, "%d", e->server.port);
	e->missing = "nats-server is not installed";
	return server_start(&e->server,
	                    (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", port, "-js", "-sd",
	                                e->dir, NULL },
	                    "Server is ready");
}

static inline bool jetstream_start(struct engine_server *e)
{
	engine_dir(e);
	e->server.port = free_port();
	snprintf(e->url, sizeof e->url, "nats://127.0.0.1:%d", e->server.port);
	return jetstream_again(e);
}

/* The repo's own server of SQS's protocol, tests/sqs_server.py; or, when WEIR_TEST_SQS names one by
 * its URL, that (doc/design/engines.md tells which have been tried). Queues get a prefix, since
 * others may be there. */
static inline bool sqs_again(struct engine_server *e)
{
	char port[8], log[64];

	snprintf(port, sizeof port, "%d", e->server.port);
	snprintf(log, sizeof log, "%s/sqs.log", e->dir);
	e->missing = "python3 is not installed";
	return server_start(
		&e->server,
		(char *[]){ "python3", SQS_SERVER, "--port", port, "--file", log, NULL },
		"listening");
}

static inline bool sqs_start(struct engine_server *e)
{
	const char *other = getenv("WEIR_TEST_SQS");

	setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 1);
	setenv("AWS_REGION", "us-east-1", 1);
	if (other) {
		snprintf(e->url, sizeof e->url, "%s?wait=1&prefix=t%d-%lld-", other,
		         getpid() % 1000, (long long)weir_now() % 1000000);
		return true;
	}
	engine_dir(e);
	e->server.port = free_port();
	snprintf(e->url, sizeof e->url, "sqs+http://127.0.0.1:%d?wait=1", e->server.port);
	return sqs_again(e);
}

static inline bool rabbitmq_start(struct engine_server *e)
{
#ifdef WEIR__RABBITMQ
	int port = rabbit_server();

	snprintf(e->url, sizeof e->url, "amqp://guest:guest@127.0.0.1:%d", port);
	if (port)
		return true;
#endif
	e->missing = "rabbitmq-server is not installed";
	return false;
}

static const struct engine_under_test engines[] = {
	{ "memory", memory_start, NULL },
	{ "SQLite", sqlite_start, NULL },
	{ "JetStream", jetstream_start, jetstream_again },
	{ "RabbitMQ", rabbitmq_start, NULL },
	{ "SQS", sqs_start, sqs_again },
};

static inline const struct engine_under_test *engine_named(const char *name)
{
	for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
		if (!strcmp(engines[i].name, name))
			return &engines[i];
	return NULL;
}

static inline const struct weir__engine_row *row_named(const char *name)
{
	for (const struct weir__engine_row *r = weir__engine_rows; r->name; r++)
		if (!strcmp(r->name, name))
			return r;
	return NULL;
}

#endif
