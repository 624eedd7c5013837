/* SPDX-License-Identifier: MIT */
/*
 * A RabbitMQ of our own for all tests of a program: it needs seconds to start, and every test is a
 * process. A keeper, forked before the first test, starts it when a test asks for it, and ends it
 * with the program. Its node, ports, epmd and directory are its own, so a RabbitMQ that this
 * machine runs is not met. Between the tests their queues are deleted.
 */
#ifndef RABBIT_SERVER_H
#define RABBIT_SERVER_H

#include "../bus/servers.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>

#define RABBIT_PROGRAM "/usr/lib/rabbitmq/bin/rabbitmq-server"

static int rabbit_keeper[2]; /* a test's end, the keeper's */

/* The line that is said to a test: its port, 0 for none. */
static inline void rabbit_keep(int asked)
{
	char dir[] = "/tmp/weir-rabbit-XXXXXX", env[12][96], port[8], epmd_port[8], c;
	struct bus_server epmd = { .pid = 0 }, server = { .pid = 0 };
	static char *argv[16];
	size_t n = 0;

	while (read(asked, &c, 1) == 1) {
		if (!server.port && access(RABBIT_PROGRAM, X_OK) == 0) {
			CHECK(mkdtemp(dir));
			epmd.port = free_port();
			server.port = free_port();
			snprintf(port, sizeof port, "%d", server.port);
			snprintf(epmd_port, sizeof epmd_port, "%d", epmd.port);
			CHECK(server_start(&epmd,
			                   (char *[]){ "epmd", "-d", "-port", epmd_port, "-address",
			                               "127.0.0.1", NULL },
			                   "epmd running"));
			snprintf(env[0], 96, "PATH=%s", "/usr/bin:/bin");
			snprintf(env[1], 96, "HOME=%s", dir);
			snprintf(env[2], 96, "LANG=C.UTF-8");
			snprintf(env[3], 96, "RUNNING_UNDER_SYSTEMD=1"); /* no shell around it */
			snprintf(env[4], 96, "RABBITMQ_NODENAME=weir%d@localhost", server.port);
			snprintf(env[5], 96, "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1");
			snprintf(env[6], 96, "RABBITMQ_NODE_PORT=%d", server.port);
			snprintf(env[7], 96, "RABBITMQ_DIST_PORT=%d", free_port());
			snprintf(env[8], 96, "RABBITMQ_MNESIA_BASE=%s/db", dir);
			snprintf(env[9], 96, "RABBITMQ_LOG_BASE=%s/log", dir);
			snprintf(env[10], 96, "RABBITMQ_ENABLED_PLUGINS_FILE=%s/plugins", dir);
			snprintf(env[11], 96, "ERL_EPMD_PORT=%d", epmd.port);
			argv[n++] = "env";
			argv[n++] = "-i";
			for (int i = 0; i < 12; i++)
				argv[n++] = env[i];
			argv[n++] = RABBIT_PROGRAM;
			if (!server_start(&server, argv, "completed with"))
				server.port = 0;
		}
		CHECK(write(asked, &server.port, sizeof server.port) == sizeof server.port);
	}
	server_kill(&server, SIGKILL);
	server_kill(&epmd, SIGKILL);
	if (n)
		CHECK(run((char *[]){ "rm", "-rf", dir, NULL }));
}

__attribute__((constructor)) static void rabbit_keeper_start(void)
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, rabbit_keeper) == 0);
	if (fork() == 0) {
		close(rabbit_keeper[0]);
		rabbit_keep(rabbit_keeper[1]);
		_exit(0);
	}
	close(rabbit_keeper[1]);
}

static inline amqp_connection_state_t rabbit_connect(int port)
{
	amqp_connection_state_t c = amqp_new_connection();
	amqp_socket_t *s = amqp_tcp_socket_new(c);

	CHECK_EQ(amqp_socket_open(s, "127.0.0.1", port), AMQP_STATUS_OK);
	CHECK_EQ(amqp_login(c, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest")
	                 .reply_type,
	         AMQP_RESPONSE_NORMAL);
	amqp_channel_open(c, 1);
	return c;
}

static inline bool rabbit_has(int port, const char *queue)
{
	amqp_connection_state_t c = rabbit_connect(port);
	bool there = amqp_queue_declare(c, 1, amqp_cstring_bytes(queue), true, true, false, false,
	                                amqp_empty_table);

	amqp_connection_close(c, AMQP_REPLY_SUCCESS);
	CHECK_EQ(amqp_destroy_connection(c), AMQP_STATUS_OK);
	return there;
}

static inline void rabbit_clean(int port)
{
	static const char *const names[] = { "q", "r", "a.b_c-d", "bench" };
	amqp_connection_state_t c = rabbit_connect(port);
	char name[64];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (int k = -2; k < 4; k++) {
			if (k < 0)
				snprintf(name, sizeof name, "weir.%s.%s",
				         k == -1 ? "queue" : "dead", names[i]);
			else
				snprintf(name, sizeof name, "weir.wait.%d.%s", k, names[i]);
			CHECK(amqp_queue_delete(c, 1, amqp_cstring_bytes(name), false, false));
		}
	amqp_connection_close(c, AMQP_REPLY_SUCCESS);
	CHECK_EQ(amqp_destroy_connection(c), AMQP_STATUS_OK);
}

/* The port of one without queues; 0: there is none. */
static inline int rabbit_server(void)
{
	int port = 0;

	CHECK(write(rabbit_keeper[0], "?", 1) == 1);
	CHECK(read(rabbit_keeper[0], &port, sizeof port) == sizeof port);
	if (port)
		rabbit_clean(port);
	return port;
}

#endif
