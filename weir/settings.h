/* SPDX-License-Identifier: MIT */
/*
 * The one table of settings. A row is a flag (--queue-max), for some also a key of weir.yaml
 * (`queue-max:`) and a name of the environment (WEIR_QUEUE_MAX); it knows its type, bounds,
 * default, place in struct options and help text. The command line, the file, the environment,
 * `--help`, the manual and `weir config` all read it and know no setting by name.
 *
 * Keys are flat and the same as the flags, so that there is one name for a thing wherever it is
 * set. Only `queues:` and `crons:` are sections, because they hold many of a kind.
 */
#ifndef WEIR_SETTINGS_H
#define WEIR_SETTINGS_H

#include "weir.h"

#include "base/buf.h"

enum setting_type {
	SET_SWITCH, /* bool: --once, `once: true` */
	SET_NUMBER,
	SET_DURATION, /* int64_t nanoseconds: 30s */
	SET_BYTES,    /* size_t: 256MiB */
	SET_RATE,     /* double per second: 10/s */
	SET_CHOICE,   /* the index of one of `choices` in a number or bool */
	SET_WORD,     /* one of `choices` as text */
	SET_TEXT,
	SET_PATH,
	SET_LIST, /* texts; a flag may be given often, the environment separates by commas */
};

enum { SET_KEY = 1, SET_ENV = 2 }; /* setting.also: where else than on the command line */

struct setting {
	const char *name;
	char letter; /* -j; 0: none */
	unsigned char also;
	enum setting_type type;
	const char *commands;        /* " serve config " */
	size_t at, size;             /* in struct options, or queue_config */
	size_t count_at, most_items; /* of a list: where the size_t is, and how many fit */
	const char *arg;             /* "N", shown in help */
	const char *fallback;        /* the default as text; NULL: zero, empty */
	const char *choices;         /* "text|json" */
	int64_t least, most;         /* of numbers, durations and bytes */
	bool (*check)(const char *text, const char **ret_why); /* of texts */
	const char *member; /* of a queue's: its name in the HTTP API, where it is another one */
	const char *help;
	const char *heading; /* in help this row begins a section */
};

extern const struct setting settings[];
extern const size_t settings_n;
/* What one queue may be told, in `queues:` of the file; `at` is in struct queue_config. */
extern const struct setting queue_settings[];
extern const size_t queue_settings_n;

bool setting_of(const struct setting *s, const struct command *c);

/*
 * Reads text into its place below `base`. With `first` a list starts anew. Texts are copied into
 * *owned. 0, or -EINVAL and in *why what is wrong, to be put behind the setting's name: `: "30" is
 * not a duration; …`.
 */
int setting_store(const struct setting *s, void *base, struct owned **owned, const char *text,
                  bool first, struct weir__buf *why);
/* The value in force, as it could be written; several of a list are separated by ", ". */
void setting_format(const struct setting *s, const void *base, struct weir__buf *out);

/* Is the text fit for its use? If not, *ret_why continues the sentence `"TEXT" …`. */
bool setting_check_address(const char *text, const char **ret_why);
bool setting_check_origin(const char *text, const char **ret_why);
bool setting_check_server(const char *text, const char **ret_why);
bool setting_check_store(const char *text, const char **ret_why);
bool setting_check_bus(const char *text, const char **ret_why);
bool setting_check_webhook(const char *text, const char **ret_why);
bool setting_check_header(const char *text, const char **ret_why);
bool setting_check_key(const char *text, const char **ret_why);

/* WEIR_QUEUE_MAX for queue-max. */
void setting_env_name(const struct setting *s, char out[64]);

/* A copy that lives until the owner is freed; NULL without memory. */
char *owned_copy(struct owned **owned, const char *text);
void owned_free(struct owned **owned);

/* Mistakes are collected, so that all those of a file are told at once. At most 20 are kept as
 * text. */
struct problems {
	struct weir__buf text; /* lines "weir: …\n" */
	unsigned count;
};
void problem(struct problems *p, const char *fmt, ...) WEIR_PRINTF(2, 3);

/* config.c: reads a weir.yaml into *o; every mistake becomes a problem "FILE:LINE:COLUMN: …". */
void config_read(struct options *o, const char *path, struct problems *p);

/* options.c: options_load() without printing, for tests. `env` is as environ. */
int options_parse(struct options *o, int argc, char **argv, char **env, struct problems *p);

/* help.c, all to standard output. */
void help_overview(void);
void help_command(const struct command *c);
void help_manual(void);

#endif
