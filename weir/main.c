/* SPDX-License-Identifier: MIT */
/* The table of subcommands, and nothing else: options.c reads the command line, each command its
 * options. */
#include "weir.h"

const struct command commands[] = {
	{ "serve", "", "Run the server", cmd_serve, 0, 0, false,
	  "Serves the HTTP API, job queues, messages and the dashboard until SIGTERM or `weir "
	  "drain`; then what was "
	  "accepted is finished within --grace and a report says what was done. A second signal "
	  "stops at once. "
	  "Exit status 0 tells a clean stop, 3 a forced one." },
	{ "enqueue", "QUEUE [PAYLOAD | -]", "Put a job into a queue", cmd_enqueue, 1, 2, false,
	  "The payload is the argument, or standard input. Prints the job's id. With --wait it "
	  "follows the job and "
	  "prints its result." },
	{ "work", "QUEUE -- CMD [ARG…]", "Run a command for each job of a queue", cmd_work, 1, 1,
	  true,
	  "The payload is the command's standard input, its standard output becomes the job's "
	  "result. Exit status 0 "
	  "acknowledges the job, 100 sends it to the dead ones, any other lets it be tried again "
	  "later. The command "
	  "also gets WEIR_JOB_ID, WEIR_QUEUE and WEIR_ATTEMPT. When the job is cancelled it gets "
	  "SIGTERM, then SIGKILL. "
	  "Should weir itself be killed, the command dies with it and the server gives the job to "
	  "another worker at "
	  "once. On SIGTERM nothing new is taken, and what runs may finish within --grace." },
	{ "publish", "SUBJECT [PAYLOAD | -]", "Publish a message", cmd_publish, 1, 2, false,
	  "Prints how many subscriptions got it." },
	{ "subscribe", "SUBJECT", "Print the messages of a subject", cmd_subscribe, 1, 1, false,
	  "`orders.*` takes one word in the place of the star, `orders.>` one or more at the end. "
	  "A lost connection is "
	  "taken up again behind the last message; a gap is told." },
	{ "request", "SUBJECT [PAYLOAD | -]", "Ask on a subject and print the answer", cmd_request,
	  1, 2, false, NULL },
	{ "reply", "SUBJECT -- CMD [ARG…]", "Answer requests on a subject with a command",
	  cmd_reply, 1, 1, true,
	  "The request is the command's standard input, its standard output the answer. "
	  "WEIR_SUBJECT names the subject." },
	{ "jobs", "QUEUE | ID | cancel ID | retry ID",
	  "List a queue's jobs; show, cancel or retry one", cmd_jobs, 1, 2, false, NULL },
	{ "queues", "[QUEUE | pause QUEUE | resume QUEUE | redrive QUEUE | --engines]",
	  "List the queues; pause, resume or redrive one; show what engines can do", cmd_queues, 0,
	  2, false,
	  "redrive brings dead jobs back with fresh attempts. --engines prints what queues can do "
	  "in each engine that --store may name; no server is asked." },
	{ "status", "", "Show what the server does", cmd_status, 0, 0, false, NULL },
	{ "drain", "", "Tell the server to finish and stop", cmd_drain, 0, 0, false,
	  "Shows what is still open until the server has gone." },
	{ "tasks", "", "List the server's tasks", cmd_tasks, 0, 0, false, NULL },
	{ "backup", "FILE", "Copy a durable store into a new file", cmd_backup, 1, 1, false,
	  "Works while the server runs. To restore, stop the server and put FILE in the place of "
	  "the data directory's jobs.db (and remove jobs.db-wal, jobs.db-shm and jobs.db-more)." },
	{ "check", "[FILE]", "Check a durable store", cmd_check, 0, 1, false,
	  "Reads all of FILE, or of the store that the settings name, also while the server "
	  "runs." },
	{ "move", "--from URL --to URL [QUEUE]", "Move jobs from one store to another", cmd_move, 0,
	  1, false,
	  "Moves what is ready, in its order; what is delayed, dead or finished stays, and a moved "
	  "job begins its attempts anew. The server of a durable store must be stopped. A move "
	  "that "
	  "was cut off is done again: a job leaves the one store when the other has it, and what "
	  "comes twice is dropped there, for as long as it remembers ids (a day)." },
	{ "config", "check [FILE] | show", "Check a configuration, or show the one in force",
	  cmd_config, 1, 2, false,
	  "check reads FILE (else --config, WEIR_CONFIG or weir.yaml) and names every mistake with "
	  "its line and column. "
	  "show prints each setting with its value and where it came from." },
	{ "help", "[COMMAND]", "Show help", cmd_help, 0, 1, false, NULL },
	{ "version", "", "Show the version", cmd_version, 0, 0, false, NULL },
	{ "completion", "", NULL, cmd_completion, 0, 0, false, NULL },
	{ "man", "", NULL, cmd_man, 0, 0, false, NULL },
	{ NULL, NULL, NULL, NULL, 0, 0, false, NULL },
};

int main(int argc, char **argv)
{
	struct options o;
	int r;

	r = options_load(&o, argc, argv);
	if (r == 0)
		r = o.command->run(&o);
	else
		r = r < 0 ? EXIT_USAGE : EXIT_DONE;
	options_free(&o);
	return r;
}
