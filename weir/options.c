/* SPDX-License-Identifier: MIT */
/*
 * The command line, and how the four sources of a setting come together: default < file <
 * environment < flag.
 *
 * Flags are first only collected, because the file that --config names weighs less than they do. A
 * list given by a stronger source replaces the weaker one's whole list. All mistakes of the command
 * line are told, each with the nearest right name. Nothing here waits or prints, but for
 * options_load().
 */
#include "settings.h"
#include "suggest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A flag as it was given. */
struct given {
	const struct setting *s;
	const char *value;
	char shown[48]; /* "--queue-max", "-j" */
};

struct line {
	struct options *o;
	struct problems *p;
	struct given *flags;
	size_t n;
	bool help;
};

static size_t index_of(const struct setting *s)
{
	return (size_t)(s - settings);
}

static const struct command *find_command(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

static const struct setting *find_flag(const struct command *c, const char *name, size_t len)
{
	for (size_t i = 0; i < settings_n; i++)
		if (setting_of(&settings[i], c) && strlen(settings[i].name) == len &&
		    !memcmp(settings[i].name, name, len))
			return &settings[i];
	return NULL;
}

static const struct setting *find_letter(const struct command *c, char letter)
{
	for (size_t i = 0; i < settings_n; i++)
		if (setting_of(&settings[i], c) && settings[i].letter == letter)
			return &settings[i];
	return NULL;
}

static void unknown_flag(struct line *l, const char *name, size_t len)
{
	const struct command *c = l->o->command;
	char flag[64];
	struct suggest near = SUGGEST_INIT(flag);
	const char *at;

	snprintf(flag, sizeof flag, "%.*s", (int)len, name);
	for (size_t i = 0; i < settings_n; i++)
		if (setting_of(&settings[i], c))
			suggest_offer(&near, settings[i].name);
	if (near.best && near.distance <= 2) {
		problem(l->p, "unknown flag --%s for weir %s; did you mean --%s?", flag, c->name,
		        near.best);
		return;
	}
	/* A flag of another command says more than a name that is only alike. */
	for (size_t i = 0; i < settings_n; i++) {
		if (strcmp(settings[i].name, flag))
			continue;
		at = settings[i].commands + 1;
		problem(l->p, "--%s is no flag of weir %s, but of weir %.*s", flag, c->name,
		        (int)strcspn(at, " "), at);
		return;
	}
	if (near.best)
		problem(l->p, "unknown flag --%s for weir %s; did you mean --%s?", flag, c->name,
		        near.best);
	else
		problem(l->p, "unknown flag --%s; weir %s --help lists them", flag, c->name);
}

static void collect(struct line *l, const struct setting *s, const char *shown, const char *value)
{
	struct given *g = &l->flags[l->n];

	for (size_t i = 0; i < l->n; i++)
		if (l->flags[i].s == s && s->type != SET_LIST) {
			problem(l->p, "%s is given twice", shown);
			return;
		}
	l->n++;
	g->s = s;
	g->value = value;
	snprintf(g->shown, sizeof g->shown, "%s", shown);
}

/* The value of a flag that needs one: the rest of its own argument, or the next. NULL after a
 * problem. */
static const char *value_of(struct line *l, const struct setting *s, const char *shown,
                            const char *own, char ***argv)
{
	if (own)
		return own;
	if (!(*argv)[1] || !strncmp((*argv)[1], "--", 2)) {
		problem(l->p, "%s needs a value: %s %s", shown, shown, s->arg);
		return NULL;
	}
	return *++*argv;
}

static void long_flag(struct line *l, char ***argv)
{
	const char *name = **argv + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct setting *s = find_flag(l->o->command, name, len);
	const char *value;
	char shown[48];

	if (len == 4 && !memcmp(name, "help", 4)) {
		l->help = true;
		return;
	}
	if (!s) {
		unknown_flag(l, name, len);
		return;
	}
	snprintf(shown, sizeof shown, "--%s", s->name);
	if (s->type == SET_SWITCH)
		value = equals ? equals + 1 : "true";
	else
		value = value_of(l, s, shown, equals ? equals + 1 : NULL, argv);
	if (value)
		collect(l, s, shown, value);
}

/* "-j4" or "-j 4"; letters cannot be bundled. */
static void short_flag(struct line *l, char ***argv)
{
	const char *arg = **argv, *value;
	const struct setting *s = find_letter(l->o->command, arg[1]);
	char shown[4] = { '-', arg[1], 0 };

	if (!strcmp(arg, "-h")) {
		l->help = true;
		return;
	}
	if (!s) {
		if (find_flag(l->o->command, arg + 1, strcspn(arg + 1, "=")))
			problem(l->p, "unknown flag %s for weir %s; did you mean -%s?", arg,
			        l->o->command->name, arg);
		else
			problem(l->p, "unknown flag %s for weir %s%s", arg, l->o->command->name,
			        l->o->command->tail ? "; a command to run goes behind --" : "");
		return;
	}
	value = value_of(l, s, shown, arg[2] == '=' ? arg + 3 : arg[2] ? arg + 2 : NULL, argv);
	if (value)
		collect(l, s, shown, value);
}

static void store(struct line *l, const struct setting *s, const char *shown, const char *value,
                  bool first, enum origin from)
{
	struct options *o = l->o;
	struct weir__buf why = WEIR__BUF_INIT;

	if (setting_store(s, o, &o->owned, value, first, &why) < 0)
		problem(l->p, "%s: %s", shown, why.data ? why.data : "out of memory");
	else
		o->origins[index_of(s)].from = (unsigned char)from;
	weir__buf_free(&why);
}

static void take_defaults(struct line *l)
{
	for (size_t i = 0; i < settings_n; i++)
		if (settings[i].fallback && setting_of(&settings[i], l->o->command))
			store(l, &settings[i], settings[i].name, settings[i].fallback, true,
			      FROM_DEFAULT);
}

static const char *env_value(char **env, const struct setting *s)
{
	char name[64];
	size_t n;

	setting_env_name(s, name);
	n = strlen(name);
	for (; *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return (*env)[n + 1] ? *env + n + 1 : NULL;
	return NULL;
}

static void take_env(struct line *l, char **env)
{
	for (size_t i = 0; i < settings_n; i++) {
		const struct setting *s = &settings[i];
		const char *value = s->also & SET_ENV && setting_of(s, l->o->command) ?
		                            env_value(env, s) :
		                            NULL;
		char name[64], *copy, *save = NULL;
		bool first = true;

		if (!value)
			continue;
		setting_env_name(s, name);
		if (s->type != SET_LIST) {
			store(l, s, name, value, true, FROM_ENV);
			continue;
		}
		copy = owned_copy(&l->o->owned, value);
		for (char *item = copy ? strtok_r(copy, ",", &save) : NULL; item;
		     item = strtok_r(NULL, ",", &save)) {
			store(l, s, name, item, first, FROM_ENV);
			first = false;
		}
	}
}

static void take_flags(struct line *l)
{
	for (size_t i = 0; i < l->n; i++) {
		bool first = true;

		for (size_t j = 0; j < i; j++)
			first &= l->flags[j].s != l->flags[i].s;
		store(l, l->flags[i].s, l->flags[i].shown, l->flags[i].value, first, FROM_FLAG);
	}
}

/* `weir config check` looks for a file also where no flag or name of the environment says so. */
static const char *config_path(struct line *l, char **env)
{
	const struct options *o = l->o;
	const struct setting *s = find_flag(o->command, "config", 6);
	bool check =
		!strcmp(o->command->name, "config") && o->nargs && !strcmp(o->args[0], "check");
	const char *path;

	if (!s)
		return NULL;
	if (check && o->nargs > 1)
		return o->args[1];
	for (size_t i = 0; i < l->n; i++)
		if (l->flags[i].s == s)
			return l->flags[i].value;
	path = env_value(env, s);
	return path || !check ? path : "weir.yaml";
}

static void check_arguments(struct line *l)
{
	const struct options *o = l->o;
	const struct command *c = o->command;

	if (o->nargs < c->least)
		problem(l->p, "something is missing; usage: weir %s %s", c->name, c->args);
	else if (o->nargs > c->most && c->tail && !o->ntail)
		problem(l->p, "a command to run goes behind --: weir %s %s -- %s …", c->name,
		        o->args[0], o->args[1]);
	else if (o->nargs > c->most && !c->most)
		problem(l->p, "\"%s\" is too much; weir %s takes only flags", o->args[0], c->name);
	else if (o->nargs > c->most)
		problem(l->p, "\"%s\" is too much; usage: weir %s %s", o->args[c->most], c->name,
		        c->args);
	else if (c->tail && !o->ntail)
		problem(l->p, "the command to run is missing; usage: weir %s %s", c->name, c->args);
}

/* What no single setting can tell. */
static void check_together(struct line *l)
{
	const struct options *o = l->o;

	if (find_flag(o->command, "drain-wait", 10) && o->drain_wait_ns >= o->grace_ns &&
	    o->drain_wait_ns)
		problem(l->p,
		        "drain-wait is part of the stop's budget: it has to be smaller than grace");
	if (o->from_file && o->nargs > 1)
		problem(l->p, "--from-file and a PAYLOAD exclude each other");
	if (o->from_file && o->idempotency_key)
		problem(l->p, "--from-file and --idempotency-key exclude each other: all lines "
		              "would be one job");
	if (o->once && o->until_empty)
		problem(l->p, "--once and --drain exclude each other");
	if (o->once && o->jobs > 1)
		problem(l->p, "--once runs one job: leave --jobs out");
}

/* Two settings for one thing: the one from the stronger source counts. */
static void choose_token(struct line *l)
{
	struct options *o = l->o;
	unsigned token, path;

	if (!o->token || !o->token_path)
		return;
	token = o->origins[index_of(find_flag(o->command, "token", 5))].from;
	path = o->origins[index_of(find_flag(o->command, "token-path", 10))].from;
	if (token == path)
		problem(l->p, "--token and --token-path exclude each other");
	else if (token > path)
		o->token_path = NULL;
	else
		o->token = NULL;
}

static int no_command(const char *name, struct problems *p)
{
	static const char *const words[][2] = { { "pause", "queues" },
		                                { "resume", "queues" },
		                                { "redrive", "queues" },
		                                { "cancel", "jobs" },
		                                { "retry", "jobs" } };
	struct suggest near = SUGGEST_INIT(name);

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcmp(name, words[i][0])) {
			problem(p, "unknown command \"%s\"; did you mean \"weir %s %s\"?", name,
			        words[i][1], name);
			return -EINVAL;
		}
	for (const struct command *c = commands; c->name; c++)
		if (c->summary)
			suggest_offer(&near, c->name);
	if (name[0] == '-')
		problem(p, "%s stands before the command; flags follow it: weir COMMAND %s", name,
		        name);
	else if (near.best)
		problem(p, "unknown command \"%s\"; did you mean \"%s\"?", name, near.best);
	else
		problem(p, "unknown command \"%s\"; weir --help lists them", name);
	return -EINVAL;
}

static int parse(struct line *l, char **argv, char **env)
{
	struct options *o = l->o;
	const char *path;

	for (; *argv; argv++) {
		if (!strcmp(*argv, "--")) {
			argv++;
			break;
		}
		if (!strncmp(*argv, "--", 2))
			long_flag(l, &argv);
		else if ((*argv)[0] == '-' && (*argv)[1])
			short_flag(l, &argv);
		else
			o->args[o->nargs++] = *argv;
	}
	if (o->command->tail) {
		o->tail = argv;
		while (argv[o->ntail])
			o->ntail++;
	} else {
		while (*argv)
			o->args[o->nargs++] = *argv++;
	}
	if (l->help)
		return 1;
	take_defaults(l);
	path = config_path(l, env);
	if (path)
		config_read(o, path, l->p);
	take_env(l, env);
	take_flags(l);
	if (path)
		o->config = path;
	if (find_flag(o->command, "listen", 6))
		o->listen_given = o->origins[index_of(find_flag(o->command, "listen", 6))].from !=
		                  FROM_DEFAULT;
	/* Behind an unknown flag its value looks like an argument too many. */
	if (!l->p->count)
		check_arguments(l);
	if (!l->p->count)
		check_together(l);
	choose_token(l);
	return l->p->count ? -EINVAL : 0;
}

int options_parse(struct options *o, int argc, char **argv, char **env, struct problems *p)
{
	static char *overview[] = { (char *)"weir", (char *)"help", NULL };
	struct line l = { .o = o, .p = p };
	int r;

	*o = (struct options){ 0 };
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		argv = overview;
		argc = 2;
	}
	o->command = find_command(!strcmp(argv[1], "--version") ? "version" : argv[1]);
	if (!o->command)
		return no_command(argv[1], p);
	o->args = calloc((size_t)argc + 1, sizeof *o->args);
	l.flags = calloc((size_t)argc, sizeof *l.flags);
	if (!o->args || !l.flags) {
		problem(p, "out of memory");
		r = -EINVAL;
	} else {
		r = parse(&l, argv + 2, env);
	}
	free(l.flags);
	return r;
}

void options_free(struct options *o)
{
	free(o->args);
	free(o->queues);
	free(o->crons);
	owned_free(&o->owned);
}

/* A name of the environment that was probably meant for us. Others begin with WEIR_ too (Kubernetes
 * sets WEIR_SERVICE_HOST for a service called weir), so that this is a hint and no mistake. */
static void hint_at_env(const struct options *o)
{
	char name[64], known[64], best[64];
	unsigned least, d;

	for (char **env = environ; *env; env++) {
		if (strncmp(*env, "WEIR_", 5) || strcspn(*env, "=") >= sizeof name)
			continue;
		snprintf(name, sizeof name, "%.*s", (int)strcspn(*env, "="), *env);
		least = 3;
		for (size_t i = 0; i < settings_n; i++) {
			if (!(settings[i].also & SET_ENV) || !setting_of(&settings[i], o->command))
				continue;
			setting_env_name(&settings[i], known);
			d = suggest_distance(name, known);
			if (d < least) {
				least = d;
				memcpy(best, known, sizeof best);
			}
		}
		if (least == 1 || least == 2)
			fprintf(stderr,
			        "weir: nothing reads %s of the environment; did you mean %s?\n",
			        name, best);
	}
}

int options_load(struct options *o, int argc, char **argv)
{
	struct problems p = { .text = WEIR__BUF_INIT };
	int r = options_parse(o, argc, argv, environ, &p);

	if (r < 0) {
		if (p.text.data)
			fputs(p.text.data, stderr);
		if (p.count > 20)
			fprintf(stderr, "weir: … and %u more\n", p.count - 20);
	} else if (r > 0) {
		help_command(o->command);
	}
	if (r == 0 && !strcmp(o->command->name, "serve"))
		hint_at_env(o);
	weir__buf_free(&p.text);
	return r;
}
