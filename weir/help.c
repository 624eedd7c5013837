/* SPDX-License-Identifier: MIT */
/* --help and the manual, both made from the tables of commands and settings. */
#include "settings.h"

#include <stdio.h>
#include <string.h>

enum { COLUMN = 30, WIDTH = 96 };

/* Characters, not bytes: the texts hold a few that take more than one. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

/* Prints text from column `at` on, broken at spaces; further lines begin at `indent`. */
static void wrapped(const char *text, size_t at, size_t indent)
{
	bool first = true;
	size_t word;

	while (*text) {
		char one[WIDTH];

		word = strcspn(text, " ");
		snprintf(one, sizeof one, "%.*s", (int)word, text);
		if (!first && at + 1 + width(one) > WIDTH) {
			printf("\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			putchar(' ');
			at++;
		}
		fputs(one, stdout);
		at += width(one);
		text += word;
		text += strspn(text, " ");
		first = false;
	}
	putchar('\n');
}

/* A term and its text. */
static void entry(const char *term, const char *text, size_t column)
{
	size_t at = width(term) + 2;

	printf("  %s", term);
	if (at + 2 > column) {
		putchar('\n');
		at = 0;
	}
	printf("%*s", (int)(column - at), "");
	wrapped(text, column, column);
}

void help_overview(void)
{
	fputs("weir — tasks, jobs, messages and events over HTTP, and every wait has a way out\n"
	      "\n"
	      "  weir serve                          serve on http://127.0.0.1:8080\n"
	      "  weir enqueue mail hello             put a job into the queue mail\n"
	      "  weir work mail -- sh -c 'cat >&2'   run a command for each job of it\n"
	      "\n"
	      "Commands:\n",
	      stdout);
	for (const struct command *c = commands; c->name; c++)
		if (c->summary)
			entry(c->name, c->summary, 14);
	fputs("\nweir COMMAND --help tells more; weir man | man -l - shows the manual,\n"
	      "and source <(weir completion) teaches bash all of it.\n",
	      stdout);
}

static void term_of(const struct setting *s, char out[80])
{
	snprintf(out, 80, "%s%c%s--%s%s%s", s->letter ? "-" : "", s->letter ? s->letter : ' ',
	         s->letter ? ", " : "   ", s->name, s->arg ? " " : "", s->arg ? s->arg : "");
}

/* The help text with what the table knows besides. */
static void text_of(const struct setting *s, struct weir__buf *out)
{
	char env[64];

	weir__buf_str(out, s->help);
	if (s->fallback)
		weir__buf_printf(out, " [%s]", s->fallback);
	else if (s->type == SET_WORD) {
		weir__buf_str(out, ": ");
		for (const char *p = s->choices; *p; p++)
			if (*p == '|')
				weir__buf_str(out, ", ");
			else
				weir__buf_byte(out, *p);
	}
	/* What is a key too is named by rule; only the others need to be said. */
	if (s->also == SET_ENV) {
		setting_env_name(s, env);
		weir__buf_printf(out, " (%s)", env);
	}
}

void help_command(const struct command *c)
{
	struct weir__buf text = WEIR__BUF_INIT;
	char term[80];
	bool serves = !strcmp(c->name, "config") || !strcmp(c->name, "serve");
	bool any = false, keys = false;

	printf("usage: weir %s%s%s%s\n\n%s.\n", c->name, any ? "" : " [FLAG…]", *c->args ? " " : "",
	       c->args, c->summary ? c->summary : "Written to standard output");
	if (c->about) {
		putchar('\n');
		wrapped(c->about, 0, 0);
	}
	for (size_t i = 0; i < settings_n; i++) {
		const struct setting *s = &settings[i];

		if (!setting_of(s, c))
			continue;
		if (s->heading || !any)
			printf("\n%s:\n", s->heading ? s->heading : "Flags");
		any = true;
		keys |= (s->also & SET_KEY) != 0 && !c->tail;
		weir__buf_clear(&text);
		text_of(s, &text);
		term_of(s, term);
		entry(term, text.data ? text.data : "", COLUMN);
	}
	if (keys && !serves)
		fputs("\nBoth can also be set in the environment (WEIR_DATA, WEIR_STORE).\n",
		      stdout);
	if (keys && serves) {
		fputs("\nEach can also be set in the file (`queue-max: 1000`) and in the "
		      "environment (WEIR_QUEUE_MAX); a flag\n"
		      "weighs more than the environment, and that more than the file. Times are "
		      "written 250ms, 30s, 5m, 1h,\n"
		      "sizes 64KiB, 256MiB.\n"
		      "\nThe file may also have `queues:`, where each queue may be told\n",
		      stdout);
		for (size_t i = 0; i < queue_settings_n; i++)
			entry(queue_settings[i].name, queue_settings[i].help, COLUMN);
		fputs("and `crons:`, each with `schedule` (five fields, TZ=Europe/Berlin and five "
		      "fields, or @every 5m), `queue` and "
		      "`payload`:\n"
		      "\n  queues:\n    mail: { lease: 1m, attempts: 5, rate: 10/s }\n"
		      "  crons:\n    nightly: { schedule: \"0 3 * * *\", queue: mail, payload: "
		      "report }\n",
		      stdout);
	}
	if (serves)
		fputs("\nExit status: 0 done, 2 wrong usage or configuration, 3 a forced stop.\n",
		      stdout);
	else
		fputs("\nExit status: 0 done, 1 failed, 2 wrong usage, 3 a forced stop, 4 no "
		      "server.\n",
		      stdout);
	weir__buf_free(&text);
}

/* Text for troff: a backslash, a dash, and a dot or quote that would begin a request. */
static void roff(const char *text)
{
	bool start = true;

	for (; *text; text++) {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else if (*text == '`')
			fputs("\\(aq", stdout);
		else
			putchar(*text);
		start = *text == '\n';
	}
}

static void roff_item(const char *term, const char *text)
{
	fputs(".TP\n.B ", stdout);
	roff(term);
	putchar('\n');
	roff(text);
	putchar('\n');
}

void help_manual(void)
{
	struct weir__buf text = WEIR__BUF_INIT;
	char term[80];

	fputs(".TH WEIR 1 \"\" \"weir " WEIR_PROGRAM_VERSION "\" \"User Commands\"\n.SH NAME\n"
	      "weir \\- tasks, jobs, messages and events over HTTP\n"
	      ".SH SYNOPSIS\n.B weir\n.I COMMAND\n[\\fIFLAG\\fR...] [\\fIARGUMENT\\fR...]\n"
	      ".SH DESCRIPTION\nOne server takes HTTP requests, holds job queues, passes messages "
	      "and streams what happens; "
	      "the other commands are its clients. Every wait has a way out.\n.SH COMMANDS\n",
	      stdout);
	for (const struct command *c = commands; c->name; c++) {
		if (!c->summary)
			continue;
		fputs(".SS ", stdout);
		printf("\"weir %s%s%s\"\n", c->name, *c->args ? " " : "", c->args);
		roff(c->summary);
		fputs(".\n", stdout);
		if (c->about) {
			roff(c->about);
			putchar('\n');
		}
		/* config takes the flags of serve: once is enough. */
		for (size_t i = 0; i < settings_n && strcmp(c->name, "config"); i++) {
			if (!setting_of(&settings[i], c) ||
			    (settings[i].also == SET_ENV && strcmp(c->name, "serve")))
				continue;
			weir__buf_clear(&text);
			text_of(&settings[i], &text);
			term_of(&settings[i], term);
			roff_item(term + (term[0] == ' ' ? 4 : 0), text.data ? text.data : "");
		}
	}
	fputs(".SH \"FLAGS OF ALL CLIENTS\"\n", stdout);
	for (size_t i = 0; i < settings_n; i++)
		if (settings[i].also == SET_ENV && strcmp(settings[i].name, "config")) {
			weir__buf_clear(&text);
			text_of(&settings[i], &text);
			term_of(&settings[i], term);
			roff_item(term + 4, text.data ? text.data : "");
		}
	fputs(".SH \"CONFIGURATION FILE\"\nThe keys of a weir.yaml are the flags of weir serve "
	      "without their dashes in front. "
	      "Besides them there are\n.B queues\nand\n.BR crons .\nA queue may be told\n",
	      stdout);
	for (size_t i = 0; i < queue_settings_n; i++)
		roff_item(queue_settings[i].name, queue_settings[i].help);
	fputs(".PP\nand a cron has\n.BR schedule \" (five fields, TZ=Europe/Berlin and five "
	      "fields, or @every 5m),\"\n.B "
	      "queue\nand\n.BR payload .\n"
	      ".SH ENVIRONMENT\nWEIR_QUEUE_MAX sets queue\\-max, and so on for every key. A flag "
	      "weighs more than the environment, "
	      "and that more than the file. NO_COLOR turns colours off.\n"
	      ".SH \"EXIT STATUS\"\n0 done, 1 failed, 2 wrong usage, 3 a forced stop, 4 no "
	      "server.\n",
	      stdout);
	weir__buf_free(&text);
}

/* bash: the first word is a command, later ones its flags, or files. */
static void completion(void)
{
	fputs("# bash completion for weir; written by `weir completion`\n_weir()\n{\n"
	      "\tlocal word=${COMP_WORDS[COMP_CWORD]} words=\n"
	      "\tif ((COMP_CWORD == 1)); then\n\t\twords='",
	      stdout);
	for (const struct command *c = commands; c->name; c++)
		if (c->summary)
			printf("%s ", c->name);
	fputs("'\n\telse\n\t\tcase ${COMP_WORDS[1]} in\n", stdout);
	for (const struct command *c = commands; c->name; c++) {
		if (!c->summary)
			continue;
		printf("\t\t%s) words='", c->name);
		for (size_t i = 0; i < settings_n; i++)
			if (setting_of(&settings[i], c))
				printf("--%s ", settings[i].name);
		fputs("--help' ;;\n", stdout);
	}
	fputs("\t\tesac\n\t\t[[ $word == -* ]] || words=\n\tfi\n"
	      "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\n"
	      "complete -o default -F _weir weir\n",
	      stdout);
}

int cmd_completion(const struct options *o)
{
	(void)o;
	completion();
	return EXIT_DONE;
}

int cmd_man(const struct options *o)
{
	(void)o;
	help_manual();
	return EXIT_DONE;
}

int cmd_help(const struct options *o)
{
	if (!o->nargs) {
		help_overview();
		return EXIT_DONE;
	}
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, o->args[0])) {
			help_command(c);
			return EXIT_DONE;
		}
	fprintf(stderr, "weir: unknown command \"%s\"; weir help lists them\n", o->args[0]);
	return EXIT_USAGE;
}

int cmd_version(const struct options *o)
{
	printf(o->json ? "{\"version\":\"%s\"}\n" : "weir %s\n", WEIR_PROGRAM_VERSION);
	return EXIT_DONE;
}
