/* SPDX-License-Identifier: MIT */
/*
 * The `weir` program: what its files share. A subcommand is one function that gets the options and
 * returns the exit status: 0 done, 1 failed, 2 wrong usage, 3 a forced stop, 4 no server.
 *
 * main.c holds the table of subcommands, options.c the one table from which flags, keys of
 * weir.yaml, names of the environment, --help and `weir config` come. Nothing below weir/ knows of
 * struct options.
 */
#ifndef WEIR_PROGRAM_H
#define WEIR_PROGRAM_H

#include <weir/weir.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_FORCED = 3, EXIT_NO_SERVER = 4 };

enum { LISTEN_MAX = 16, TLS_PAIRS_MAX = 64, ORIGINS_MAX = 32, SETTINGS_MAX = 96, EXEC_MAX = 32 };

/* Where a setting's value came from, the weakest first. */
enum origin { FROM_DEFAULT, FROM_FILE, FROM_ENV, FROM_FLAG };

/* One of `queues:` in the file: what is not said there is 0, the default. */
struct queue_config {
	char name[65];
	weir_queue_settings set;
	/* Who runs its jobs, in the server itself; at most one of exec and webhook. */
	const char *exec[EXEC_MAX + 1]; /* NULL at the end */
	size_t execs;
	weir_process_limits exec_limits;
	const char *webhook;     /* URL */
	const char *secret_file; /* of the webhook; NULL: not signed */
	bool allow_private;
	unsigned workers; /* at a time; 0: the default */
};

/* One of `crons:` in the file. */
struct cron_config {
	char name[65];
	const char *schedule, *queue, *payload;
};

/* What flags, the environment and the file said, with defaults filled in. Strings live until
 * options_free(). */
struct options {
	const struct command *command;
	int nargs;   /* what stands after the subcommand, flags left out */
	char **args; /* NULL at the end */
	/* what stands after "--" where a command is to follow: `work QUEUE -- CMD …` */
	int ntail;
	char **tail; /* NULL at the end */

	/* serve */
	const char *listen[LISTEN_MAX]; /* --listen, repeatable; "127.0.0.1:8080" */
	size_t listens;
	/* by flag, file or environment: LISTEN_FDS does not replace it then */
	bool listen_given;
	const char *nats;              /* --nats; NULL: no NATS clients */
	const char *bus;               /* --bus; "mem:" */
	const char *data;              /* --data; "./weir-data" */
	const char *store;             /* --store; "mem", "sqlite", a file, or an engine's URL */
	size_t queue_max;              /* --queue-max; 100000 */
	size_t queue_bytes;            /* --queue-bytes; 256 MiB */
	size_t memory_max;             /* --memory-max; 1 GiB */
	unsigned queues_max;           /* --queues-max; 1000 */
	size_t finished_max;           /* --finished-max: finished jobs kept per queue; 10000 */
	int64_t finished_keep_ns;      /* --finished-keep; 24 h */
	int64_t idempotency_window_ns; /* --idempotency-window; 24 h */
	size_t body_max;               /* --body-max: bytes of a payload or message; 1 MiB */
	size_t bodies_max;             /* --bodies-max: of all requests together; 256 MiB */
	unsigned conns_max;            /* --conns-max; 100000 */
	/* --streams-max: event streams of each kind at a time; 10000 */
	unsigned streams_max;
	/* --patterns-max: different subjects streamed at a time; 64 */
	unsigned patterns_max;
	int64_t header_ns; /* --header-timeout; 10 s */
	int64_t idle_ns;   /* --idle-timeout; 75 s */
	/* --read-timeout: a client has to send some bytes in it; 10 s */
	int64_t read_ns;
	/* --write-timeout: a client has to take some bytes in it; 10 s */
	int64_t write_ns;
	int64_t handler_ns;     /* --handler-timeout; 30 s */
	int64_t grace_ns;       /* --grace; 30 s */
	int64_t drain_wait_ns;  /* --drain-wait; 0 */
	int workers;            /* --workers; 0: one per core */
	bool log_json;          /* --log text|json */
	bool log_debug;         /* --log-level info|debug */
	const char *token_file; /* --token-file; NULL: no tokens are asked for */
	/* --allow-origin, repeatable: "https://app.example" */
	const char *allow_origin[ORIGINS_MAX];
	size_t allow_origins;
	/* --tls-cert, --tls-key, repeatable */
	const char *tls_cert[TLS_PAIRS_MAX], *tls_key[TLS_PAIRS_MAX];
	size_t tls_certs, tls_keys;
	bool tls_self_signed;
	const char *tls_client_ca;
	const char *config;          /* --config; NULL: none */
	struct queue_config *queues; /* `queues:` of the file */
	size_t nqueues;
	struct cron_config *crons; /* `crons:` of the file */
	size_t ncrons;

	/* clients */
	const char *server;     /* --server, WEIR_SERVER; "http://127.0.0.1:8080" */
	const char *token;      /* --token, WEIR_TOKEN; NULL: none */
	const char *token_path; /* --token-path: the file that holds it */
	const char *ca;         /* --ca; NULL: the system's */
	bool insecure;          /* --insecure */
	const char *client_cert, *client_key;
	bool json;  /* --json: what the server said, for programs */
	bool spill; /* --spill: put into the data directory what the engine cannot take */
	const char *from, *to; /* move: stores' URLs */
	bool engines;          /* queues --engines: what each engine can do */
	const char *from_file; /* enqueue --from-file: a job a line */
	const char *content_type;
	const char *key, *idempotency_key;
	int64_t delay_ns, timeout_ns, kill_after_ns;
	int priority;
	unsigned attempts; /* 0: the queue's */
	bool wait;
	unsigned jobs;              /* work, reply: commands at a time */
	bool once, until_empty;     /* work */
	weir_process_limits limits; /* work: of each command */
	const char *name;           /* work: as shown by the server */
	uint64_t count;             /* subscribe: end after so many; 0: never */
	const char *last_id;        /* subscribe: resume behind it */
	const char *state;          /* jobs */
	unsigned limit;

	/* Of options.c: where each setting's value came from, and the memory of all strings. */
	struct {
		unsigned char from;
		unsigned line;
	} origins[SETTINGS_MAX];
	struct owned {
		struct owned *next;
	} * owned;
};

struct command {
	const char *name, *args; /* "work", "QUEUE -- CMD [ARG…]" */
	const char *summary;     /* "Run a command for each job"; NULL: not shown in the list */
	int (*run)(const struct options *o);
	unsigned char least, most; /* how many arguments */
	bool tail;                 /* a command follows after "--" */
	const char *about;         /* the manual's text on it; NULL: the summary says all */
};

/* The table of main.c, ended by a NULL name. */
extern const struct command commands[];

/* Fills *o from flags, environment and file, in this order of weight. 0; 1 when all is done (--help
 * was printed); -EINVAL after it said on standard error what is wrong and what could have been
 * meant. *o can be freed in any case. */
int options_load(struct options *o, int argc, char **argv);
void options_free(struct options *o);

int cmd_backup(const struct options *o);
int cmd_check(const struct options *o);
int cmd_move(const struct options *o);
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
int cmd_help(const struct options *o);
int cmd_completion(const struct options *o);
int cmd_man(const struct options *o);
int cmd_version(const struct options *o);

#endif
