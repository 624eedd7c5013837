/* SPDX-License-Identifier: MIT */
/* The table of subcommands, and nothing else: options.c reads the command line, each command its options. */
#include "weir.h"

const struct command commands[] = {
	{ "serve", "", "Run the server", cmd_serve },
	{ "enqueue", "QUEUE [PAYLOAD | -]", "Put a job into a queue", cmd_enqueue },
	{ "work", "QUEUE -- CMD [ARG…]", "Run a command for each job of a queue", cmd_work },
	{ "publish", "SUBJECT [PAYLOAD | -]", "Publish a message", cmd_publish },
	{ "subscribe", "SUBJECT", "Print the messages of a subject, wildcards allowed", cmd_subscribe },
	{ "request", "SUBJECT [PAYLOAD | -]", "Publish a message and print the answer", cmd_request },
	{ "reply", "SUBJECT -- CMD [ARG…]", "Answer each request on a subject with a command's output", cmd_reply },
	{ "jobs", "QUEUE | JOB", "List the jobs of a queue, or show one", cmd_jobs },
	{ "queues", "[QUEUE]", "List the queues, or show one", cmd_queues },
	{ "status", "", "Show what the server does", cmd_status },
	{ "drain", "", "Tell the server to finish and stop", cmd_drain },
	{ "tasks", "", "List the server's tasks", cmd_tasks },
	{ "config", "check | show", "Check a configuration, or show the one in force", cmd_config },
	{ NULL, NULL, NULL, NULL },
};

int main(int argc, char **argv)
{
	struct options o;
	int r;

	r = options_load(&o, argc, argv);
	if (r < 0)
		return EXIT_USAGE;
	if (r > 0)
		return EXIT_DONE;
	return o.command->run(&o);
}
