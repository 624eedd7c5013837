/* SPDX-License-Identifier: MIT */
/* `weir queues --engines`: what the engines of queues can do, from the one table that refusals come
 * from too. doc/design/engines.md holds what is printed here; a test compares them. */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "queue/remote.h"

static int width(const char *text)
{
	int n = (int)strlen(text);

	return n < 3 ? 3 : n; /* "yes" */
}

static void line(const char *first, int pad, const char *cell(const struct weir__engine_row *, int),
                 int of)
{
	printf("| %-*s |", pad, first);
	for (const struct weir__engine_row *e = weir__engine_rows; e->name; e++)
		printf(" %-*s |", width(e->name), cell(e, of));
	putchar('\n');
}

static const char *head(const struct weir__engine_row *e, int of)
{
	(void)of;
	return e->name;
}

static const char *rule(const struct weir__engine_row *e, int of)
{
	(void)of;
	return &"---------"[9 - width(e->name)];
}

static const char *can(const struct weir__engine_row *e, int of)
{
	if (of == WEIR__CAN_DELAY && e->delay_text)
		return e->delay_text; /* the longest */
	return e->can & 1u << of ? "yes" : "no";
}

static void print_table(void)
{
	int pad = 0;

	for (int f = 0; f < WEIR__FEATURES; f++) {
		int n = (int)(strlen(weir__features[f].name) + strlen(weir__features[f].text)) + 2;

		pad = n > pad ? n : pad;
	}
	line("can it", pad, head, 0);
	line("---", pad, rule, 0);
	for (int f = 0; f < WEIR__FEATURES; f++) {
		char text[128];

		snprintf(text, sizeof text, "%s: %s", weir__features[f].name,
		         weir__features[f].text);
		line(text, pad, can, f);
	}
	putchar('\n');
	for (const struct weir__engine_row *e = weir__engine_rows; e->name; e++)
		printf("%s (%s:%s%s): an accepted job is \"%s\"\n", e->name, e->schemes[0],
		       strcmp(e->schemes[0], "mem") && strcmp(e->schemes[0], "sqlite") ? "//…" : "",
		       e->built ? "" : "; not built into this weir", e->durability);
}

static void print_json(void)
{
	struct weir__buf b = WEIR__BUF_INIT;

	weir__buf_str(&b, "{\"engines\":[");
	for (const struct weir__engine_row *e = weir__engine_rows; e->name; e++) {
		const char *comma = "";

		weir__buf_printf(&b,
		                 "%s{\"name\":\"%s\",\"built\":%s,\"durability\":\"%s\",\"can\":[",
		                 e == weir__engine_rows ? "" : ",", e->name,
		                 e->built ? "true" : "false", e->durability);
		for (int f = 0; f < WEIR__FEATURES; f++)
			if (e->can & 1u << f) {
				weir__buf_printf(&b, "%s\"%s\"", comma, weir__features[f].name);
				comma = ",";
			}
		weir__buf_str(&b, "]}");
	}
	weir__buf_str(&b, "]}");
	puts(b.failed ? "{}" : b.data);
	weir__buf_free(&b);
}

int show_engines(const struct options *o)
{
	if (o->json)
		print_json();
	else
		print_table();
	return EXIT_DONE;
}
