/* SPDX-License-Identifier: MIT */
/* weir config check|show. All reading was done by options_load(), which has also told every
 * mistake. */
#include "settings.h"
#include "suggest.h"

#include <stdio.h>
#include <string.h>

static void origin_of(const struct options *o, size_t i, char out[256])
{
	char env[64];

	switch (o->origins[i].from) {
	case FROM_FILE:
		snprintf(out, 256, "%s:%u", o->config, o->origins[i].line);
		break;
	case FROM_ENV:
		setting_env_name(&settings[i], env);
		snprintf(out, 256, "%s", env);
		break;
	case FROM_FLAG:
		snprintf(out, 256, "--%s", settings[i].name);
		break;
	default:
		snprintf(out, 256, "default");
	}
}

static void show_text(const struct options *o)
{
	struct weir__buf value = WEIR__BUF_INIT;
	char origin[256];

	for (size_t i = 0; i < settings_n; i++) {
		if (!(settings[i].also & SET_KEY))
			continue;
		weir__buf_clear(&value);
		setting_format(&settings[i], o, &value);
		origin_of(o, i, origin);
		printf("%-20s %-28s # %s\n", settings[i].name, value.len ? value.data : "-",
		       origin);
	}
	for (size_t i = 0; i < o->nqueues; i++) {
		printf("queues.%s\n", o->queues[i].name);
		for (size_t j = 0; j < queue_settings_n; j++) {
			static const struct queue_config none;
			const struct setting *s = &queue_settings[j];

			if (!memcmp((const char *)&o->queues[i] + s->at,
			            (const char *)&none + s->at, s->size))
				continue;
			weir__buf_clear(&value);
			setting_format(s, &o->queues[i], &value);
			printf("  %-18s %-28s # %s\n", s->name, value.len ? value.data : "",
			       o->config);
		}
	}
	for (size_t i = 0; i < o->ncrons; i++)
		printf("crons.%s\n  %-18s %s\n  %-18s %s\n  %-18s %s\n", o->crons[i].name,
		       "schedule", o->crons[i].schedule, "queue", o->crons[i].queue, "payload",
		       o->crons[i].payload ? o->crons[i].payload : "");
	weir__buf_free(&value);
}

static void show_json(const struct options *o)
{
	struct weir__buf out = WEIR__BUF_INIT, value = WEIR__BUF_INIT;
	char origin[256];

	weir__buf_byte(&out, '{');
	for (size_t i = 0; i < settings_n; i++) {
		if (!(settings[i].also & SET_KEY))
			continue;
		weir__buf_clear(&value);
		setting_format(&settings[i], o, &value);
		origin_of(o, i, origin);
		weir__buf_printf(&out, "%s\"%s\":{\"value\":", out.len > 1 ? "," : "",
		                 settings[i].name);
		weir__buf_json(&out, value.data ? value.data : "", value.len);
		weir__buf_str(&out, ",\"origin\":");
		weir__buf_json(&out, origin, strlen(origin));
		weir__buf_byte(&out, '}');
	}
	weir__buf_str(&out, "}");
	puts(out.data ? out.data : "");
	weir__buf_free(&value);
	weir__buf_free(&out);
}

int cmd_config(const struct options *o)
{
	struct suggest near = SUGGEST_INIT(o->args[0]);

	if (!strcmp(o->args[0], "check")) {
		printf("%s is fine: %zu queue%s, %zu cron%s\n", o->config, o->nqueues,
		       o->nqueues == 1 ? "" : "s", o->ncrons, o->ncrons == 1 ? "" : "s");
		return EXIT_DONE;
	}
	if (!strcmp(o->args[0], "show") && o->nargs == 1) {
		if (o->json)
			show_json(o);
		else
			show_text(o);
		return EXIT_DONE;
	}
	suggest_offer(&near, "check");
	suggest_offer(&near, "show");
	if (!strcmp(o->args[0], "show"))
		fprintf(stderr,
		        "weir: \"%s\" is too much; usage: weir config show [--config FILE]\n",
		        o->args[1]);
	else if (near.best)
		fprintf(stderr, "weir: unknown word \"%s\"; did you mean \"weir config %s\"?\n",
		        o->args[0], near.best);
	else
		fprintf(stderr,
		        "weir: unknown word \"%s\"; usage: weir config check [FILE] | show\n",
		        o->args[0]);
	return EXIT_USAGE;
}
