/* SPDX-License-Identifier: MIT */
/*
 * The `weir` program: what its files share. A subcommand is one function that gets the options and
 * returns the exit status: 0 done, 1 failed, 2 wrong usage, 3 a forced stop, 4 no server.
 *
 * main.c holds the table of subcommands, options.c the one table from which flags, keys of weir.yaml,
 * names of the environment, --help and `weir config` come. Nothing below weir/ knows of struct options.
 */
#ifndef WEIR_PROGRAM_H
#define WEIR_PROGRAM_H

#include <weir/weir.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_FORCED = 3, EXIT_NO_SERVER = 4 };

enum { LISTEN_MAX = 16, ORIGINS_MAX = 32 };

/* What flags, the file and the environment said, with defaults filled in. Strings live as long as the program. */
struct options {
	const struct command *command;
	int nargs;                       /* what stands after the subcommand and its flags: `work QUEUE -- CMD …` */
	char **args;                     /* NULL at the end */

	/* serve */
	const char *listen[LISTEN_MAX];  /* --listen, repeatable; "127.0.0.1:8080" */
	size_t listens;
	bool listen_given;               /* by flag, file or environment: LISTEN_FDS does not replace it then */
	const char *data;                /* --data; "./weir-data" */
	const char *store;               /* --store; "mem" */
	size_t queue_max;                /* --queue-max; 100000 */
	size_t queue_bytes;              /* --queue-bytes; 256 MiB */
	size_t memory_max;               /* --memory-max; 1 GiB */
	unsigned queues_max;             /* --queues-max; 1000 */
	size_t body_max;                 /* --body-max: bytes of a payload or message; 1 MiB */
	unsigned conns_max;              /* --conns-max; 100000 */
	unsigned streams_max;            /* --streams-max: event streams of each kind at a time; 10000 */
	unsigned patterns_max;           /* --patterns-max: different subjects streamed at a time; 64 */
	int64_t write_ns;                /* --write-timeout: a client has to take some bytes in it; 10 s */
	int64_t grace_ns;                /* --grace; 30 s */
	int64_t drain_wait_ns;           /* --drain-wait; 0 */
	int workers;                     /* --workers; 0: one per core */
	bool log_json;                   /* --log text|json */
	bool log_debug;                  /* --log-level info|debug */
	const char *token_file;          /* --token-file; NULL: no tokens are asked for */
	const char *allow_origin[ORIGINS_MAX]; /* --allow-origin, repeatable: "https://app.example" */
	size_t allow_origins;

	/* for all */
	const char *config;              /* --config; NULL: none */

	/* clients */
	const char *server;              /* --server, WEIR_SERVER; "http://127.0.0.1:8080" */
	const char *token;               /* --token, WEIR_TOKEN; NULL: none */

	void *client;                    /* what the flags of one client subcommand said; known to its file only */
};

struct command {
	const char *name, *args, *summary; /* "work", "QUEUE -- CMD…", "Run a command for each job" */
	int (*run)(const struct options *o);
};

/* The table of main.c, ended by a NULL name. */
extern const struct command commands[];

/* Fills *o from flags, environment and file, in this order of weight. 0; 1 when all is done (--help was printed);
 * -EINVAL after it said on standard error what is wrong and what could have been meant. */
int options_load(struct options *o, int argc, char **argv);

int cmd_serve(const struct options *o);
int cmd_enqueue(const struct options *o);
int cmd_work(const struct options *o);
int cmd_publish(const struct options *o);
int cmd_subscribe(const struct options *o);
int cmd_request(const struct options *o);
int cmd_reply(const struct options *o);
int cmd_jobs(const struct options *o);
int cmd_queues(const struct options *o);
int cmd_status(const struct options *o);
int cmd_drain(const struct options *o);
int cmd_tasks(const struct options *o);
int cmd_config(const struct options *o);

#endif
