/* SPDX-License-Identifier: MIT */
/*
 * weir.yaml, read strictly: unknown and repeated keys, wrong types, aliases, tags and further
 * documents are mistakes, and all of them are told at once, with line and column. The file's top
 * level holds the keys of the settings' table;
 *
 *	queue-max: 1000
 *	listen: [":8080", "unix:/run/weir.sock"]
 *	queues:
 *	  mail: { lease: 1m, attempts: 5, rate: 10/s }
 *	crons:
 *	  nightly: { schedule: "0 3 * * *", queue: mail, payload: report }
 *
 * The parser works on libyaml's events and not on its documents: those forget where a key stood
 * when it is twice there, and follow aliases. A file is read whole, at most 1 MiB.
 */
#include "settings.h"
#include "suggest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "queue/schedule.h"

enum { CRON_SCHEDULE, CRON_QUEUE };
enum { FILE_MAX = 1 << 20, QUEUES_MAX = 10000, CRONS_MAX = 1000 };

struct reader {
	yaml_parser_t yaml;
	yaml_event_t event; /* the current one */
	bool have_event;
	bool broken; /* not YAML any more: unwind */
	const char *file;
	struct options *o;
	struct problems *p;
};

/* A key as it stood in the file. */
struct key {
	char name[72];
	unsigned line, column;
};

static void complain(struct reader *r, const yaml_mark_t *at, const char *fmt, ...)
	WEIR_PRINTF(3, 4);
static void complain(struct reader *r, const yaml_mark_t *at, const char *fmt, ...)
{
	struct weir__buf text = WEIR__BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	weir__buf_vprintf(&text, fmt, ap);
	va_end(ap);
	problem(r->p, "%s:%zu:%zu: %s", r->file, at->line + 1, at->column + 1,
	        text.data ? text.data : "out of memory");
	weir__buf_free(&text);
}

static void next(struct reader *r)
{
	if (r->have_event)
		yaml_event_delete(&r->event);
	r->have_event = false;
	if (r->broken)
		return;
	if (yaml_parser_parse(&r->yaml, &r->event)) {
		r->have_event = true;
		return;
	}
	r->broken = true;
	if (r->yaml.error == YAML_READER_ERROR)
		problem(r->p, "%s: byte %zu is not text in UTF-8: %s", r->file,
		        r->yaml.problem_offset, r->yaml.problem);
	else if (r->yaml.error == YAML_MEMORY_ERROR)
		problem(r->p, "%s: out of memory", r->file);
	else
		complain(r, &r->yaml.problem_mark, "this is not YAML: %s", r->yaml.problem);
}

/* Stops at what ends the value under way, so that one mistake is told once. */
static void skip_value(struct reader *r)
{
	unsigned depth = 0;

	do {
		yaml_event_type_t type = r->event.type;

		if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT)
			depth--;
		next(r);
	} while (!r->broken && depth);
}

static bool is_plain(const yaml_event_t *e)
{
	return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_null(const yaml_event_t *e)
{
	const char *text;

	if (e->type != YAML_SCALAR_EVENT || !is_plain(e))
		return false;
	text = (const char *)e->data.scalar.value;
	return !*text || !strcmp(text, "~") || !strcmp(text, "null");
}

/* Is the current event a scalar of plain content? Otherwise says what it is; `expected` is "a
 * duration". */
static bool is_text(struct reader *r, const char *name, const char *expected)
{
	const yaml_event_t *e = &r->event;

	if (e->type == YAML_ALIAS_EVENT)
		complain(r, &e->start_mark,
		         "%s: an alias (*%s) cannot be used here; write the value out", name,
		         e->data.alias.anchor);
	else if (e->type != YAML_SCALAR_EVENT)
		complain(r, &e->start_mark, "%s: %s is not %s", name,
		         e->type == YAML_SEQUENCE_START_EVENT ? "a list" : "a section", expected);
	else if (e->data.scalar.tag && is_plain(e))
		complain(r, &e->start_mark, "%s: a tag (%s) cannot be used here", name,
		         e->data.scalar.tag);
	else if (is_null(e))
		complain(r, &e->start_mark, "%s: the value is missing", name);
	else if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
		complain(r, &e->start_mark, "%s: the value holds a NUL", name);
	else
		return true;
	return false;
}

static const char *kind_of(enum setting_type type)
{
	static const char *const kinds[] = {
		[SET_SWITCH] = "true or false", [SET_NUMBER] = "a whole number",
		[SET_DURATION] = "a duration",  [SET_BYTES] = "a size",
		[SET_RATE] = "a rate",          [SET_CHOICE] = "a word",
		[SET_WORD] = "a word",          [SET_TEXT] = "a text",
		[SET_PATH] = "a path",          [SET_LIST] = "a text or a list of texts",
	};

	return kinds[type];
}

static bool store(struct reader *r, const struct setting *s, void *base, const char *name,
                  bool first)
{
	struct weir__buf why = WEIR__BUF_INIT;
	const yaml_event_t *e = &r->event;
	const char *text;
	bool good = false;

	if (!is_text(r, name, kind_of(s->type)))
		return false;
	text = (const char *)e->data.scalar.value;
	if (!is_plain(e) && (s->type == SET_NUMBER || s->type == SET_SWITCH))
		complain(r, &e->start_mark, "%s: a text in quotes is not %s; leave the quotes out",
		         name, kind_of(s->type));
	else if (setting_store(s, base, &r->o->owned, text, first, &why) < 0)
		complain(r, &e->start_mark, "%s: %s", name, why.data ? why.data : "out of memory");
	else
		good = true;
	weir__buf_free(&why);
	return good;
}

/* The value of one setting; the current event is its first. */
static bool read_setting(struct reader *r, const struct setting *s, void *base, const char *name)
{
	bool good = true, first = true;

	if (s->type != SET_LIST || r->event.type != YAML_SEQUENCE_START_EVENT) {
		good = store(r, s, base, name, true);
		skip_value(r);
		return good;
	}
	next(r);
	while (!r->broken && r->event.type != YAML_SEQUENCE_END_EVENT) {
		good &= store(r, s, base, name, first);
		first = false;
		skip_value(r);
	}
	if (first)
		complain(r, &r->event.start_mark, "%s: the list is empty", name);
	next(r);
	return good && !first;
}

/* Reads the key that is the current event and moves to its value. False when there is no such
 * key. */
static bool read_key(struct reader *r, const char *section, struct key *ret)
{
	const yaml_event_t *e = &r->event;
	const char *text;
	bool merge;

	ret->line = (unsigned)e->start_mark.line + 1;
	ret->column = (unsigned)e->start_mark.column + 1;
	if (e->type != YAML_SCALAR_EVENT) {
		complain(r, &e->start_mark, "%s%sa key has to be a word", section,
		         *section ? ": " : "");
		skip_value(r);
		return false;
	}
	text = (const char *)e->data.scalar.value;
	merge = !strcmp(text, "<<");
	if (merge)
		complain(r, &e->start_mark,
		         "%s%smerge keys (<<) cannot be used here; write the settings out", section,
		         *section ? ": " : "");
	ret->name[0] = 0;
	if (strlen(text) == e->data.scalar.length)
		strncat(ret->name, text, sizeof ret->name - 1);
	next(r);
	return !merge;
}

static yaml_mark_t mark_of(const struct key *k)
{
	return (yaml_mark_t){ .line = k->line - 1, .column = k->column - 1 };
}

/* Begins a mapping: true when the current event was one and the first key is there. */
static bool enter(struct reader *r, const char *name, const char *expected)
{
	if (r->event.type == YAML_MAPPING_START_EVENT) {
		next(r);
		return true;
	}
	if (r->event.type == YAML_ALIAS_EVENT || is_null(&r->event) ||
	    r->event.type == YAML_SEQUENCE_START_EVENT)
		complain(r, &r->event.start_mark, "%s: here should be %s", name, expected);
	else
		complain(r, &r->event.start_mark, "%s: \"%.60s\" stands where %s should be", name,
		         r->event.data.scalar.value, expected);
	skip_value(r);
	return false;
}

static bool at_key(const struct reader *r)
{
	return !r->broken && r->event.type != YAML_MAPPING_END_EVENT;
}

/* ---- Sections ---- */

static void read_queue(struct reader *r, struct queue_config *q)
{
	unsigned lines[32] = { 0 };
	char section[96], name[192];
	struct key k;

	_Static_assert(sizeof lines / sizeof lines[0] >= 24, "one for each of queue_settings");
	snprintf(section, sizeof section, "queues.%s", q->name);
	if (is_null(&r->event)) { /* "mail:" alone makes a queue of defaults. */
		next(r);
		return;
	}
	if (!enter(r, section, "its settings"))
		return;
	while (at_key(r)) {
		struct suggest near = SUGGEST_INIT(k.name);
		yaml_mark_t at;
		size_t i;

		if (!read_key(r, section, &k)) {
			skip_value(r);
			continue;
		}
		at = mark_of(&k);
		for (i = 0; i < queue_settings_n && strcmp(queue_settings[i].name, k.name); i++)
			suggest_offer(&near, queue_settings[i].name);
		snprintf(name, sizeof name, "%s.%s", section, k.name);
		if (i == queue_settings_n) {
			complain(r, &at,
			         near.best ? "unknown key \"%s\" in %s; did you mean \"%s\"?" :
			                     "unknown key \"%s\" in %s%s",
			         k.name, section, near.best ? near.best : "");
			skip_value(r);
		} else if (lines[i]) {
			complain(r, &at, "%s is here for the second time; the first is in line %u",
			         name, lines[i]);
			skip_value(r);
		} else {
			lines[i] = k.line;
			read_setting(r, &queue_settings[i], q, name);
		}
	}
	if (q->execs && q->webhook)
		complain(r, &r->event.start_mark, "%s: exec and webhook exclude each other",
		         section);
	if (!q->webhook && (q->secret_file || q->allow_private))
		complain(r, &r->event.start_mark, "%s: settings of a webhook, but no webhook",
		         section);
	if (!q->execs && (q->exec_limits.memory || q->exec_limits.cpu_ns || q->exec_limits.file ||
	                  q->exec_limits.output))
		complain(r, &r->event.start_mark, "%s: limits of a command, but no exec", section);
	if (q->set.rate_burst && q->set.rate <= 0)
		complain(r, &r->event.start_mark, "%s: burst, but no rate", section);
	if (!q->webhook && !q->execs && q->workers)
		complain(r, &r->event.start_mark, "%s: workers, but neither exec nor webhook",
		         section);
	next(r);
}

/* Adds a zeroed record to a growing array. NULL after a complaint. */
static void *add_record(struct reader *r, const struct key *k, const char *section, void **array,
                        size_t *n, size_t size, size_t most)
{
	yaml_mark_t at = mark_of(k);
	void *grown;

	if (!weir_queue_name_valid(k->name)) {
		complain(r, &at,
		         "\"%s\" in %s is not a name: 1 to 64 of A–Z a–z 0–9 . _ -, and no dot "
		         "first",
		         k->name, section);
		return NULL;
	}
	for (size_t i = 0; i < *n; i++)
		if (!strcmp((char *)*array + i * size,
		            k->name)) { /* Each record begins with its name. */
			complain(r, &at, "%s.%s is here for the second time", section, k->name);
			return NULL;
		}
	if (*n == most) {
		complain(r, &at, "%s: there are more than %zu", section, most);
		return NULL;
	}
	grown = realloc(*array, (*n + 1) * size);
	if (!grown) {
		problem(r->p, "%s: out of memory", r->file);
		return NULL;
	}
	*array = grown;
	grown = memset((char *)grown + *n * size, 0, size);
	memcpy(grown, k->name, strlen(k->name) + 1);
	++*n;
	return grown;
}

static void read_queues(struct reader *r)
{
	struct queue_config *q;
	struct key k;

	if (!enter(r, "queues", "a section: a queue's name, then its settings"))
		return;
	while (at_key(r)) {
		q = read_key(r, "queues", &k) ? add_record(r, &k, "queues", (void **)&r->o->queues,
		                                           &r->o->nqueues, sizeof *q, QUEUES_MAX) :
		                                NULL;
		if (q)
			read_queue(r, q);
		else
			skip_value(r);
	}
	next(r);
}

/* What the store would refuse at the start is told now. */
static void check_schedule(struct reader *r, const char *name, const char *text)
{
	struct weir__schedule schedule;
	struct weir__zone *zone = NULL;
	int64_t next;

	if (strlen(text) >= sizeof((weir_cron_info *)0)->schedule ||
	    weir__schedule_parse(text, &schedule) < 0)
		complain(r, &r->event.start_mark,
		         "%s: \"%s\" is not a schedule; write five fields like \"0 3 * * *\", "
		         "@daily, or @every 5m",
		         name, text);
	else if (schedule.zone[0] && weir__zone_load(schedule.zone, &zone) < 0)
		complain(r, &r->event.start_mark, "%s: the system's tz database has no zone \"%s\"",
		         name, schedule.zone);
	else if (weir__schedule_next(&schedule, zone, 0, &next) < 0)
		complain(r, &r->event.start_mark, "%s: \"%s\" never comes", name, text);
	weir__zone_free(zone);
}

/* One value of a cron; the current event is its scalar. */
static const char *cron_value(struct reader *r, const char *name, size_t which)
{
	const char *text;

	if (!is_text(r, name, "a text"))
		return NULL;
	text = (const char *)r->event.data.scalar.value;
	if (which == CRON_SCHEDULE)
		check_schedule(r, name, text);
	if (which == CRON_QUEUE && !weir_queue_name_valid(text))
		complain(r, &r->event.start_mark, "%s: \"%s\" is not a queue's name", name, text);
	return owned_copy(&r->o->owned, text);
}

static void read_cron(struct reader *r, struct cron_config *c, const struct key *cron)
{
	static const char *const names[] = {
		[CRON_SCHEDULE] = "schedule", [CRON_QUEUE] = "queue", "payload"
	};
	const char **values[] = { &c->schedule, &c->queue, &c->payload };
	unsigned lines[3] = { 0 };
	char section[96], name[192];
	yaml_mark_t at;
	struct key k;

	snprintf(section, sizeof section, "crons.%s", c->name);
	if (!enter(r, section, "schedule, queue and payload"))
		return;
	while (at_key(r)) {
		struct suggest near = SUGGEST_INIT(k.name);
		size_t i;

		if (!read_key(r, section, &k)) {
			skip_value(r);
			continue;
		}
		at = mark_of(&k);
		for (i = 0; i < 3 && strcmp(names[i], k.name); i++)
			suggest_offer(&near, names[i]);
		snprintf(name, sizeof name, "%s.%s", section, k.name);
		if (i == 3) {
			complain(r, &at,
			         near.best ? "unknown key \"%s\" in %s; did you mean \"%s\"?" :
			                     "unknown key \"%s\" in %s%s",
			         k.name, section, near.best ? near.best : "");
		} else if (lines[i]) {
			complain(r, &at, "%s is here for the second time; the first is in line %u",
			         name, lines[i]);
		} else {
			lines[i] = k.line;
			*values[i] = cron_value(r, name, i);
		}
		skip_value(r);
	}
	at = mark_of(cron);
	if (!lines[CRON_SCHEDULE] || !lines[CRON_QUEUE])
		complain(r, &at, "%s: %s is missing", section,
		         !lines[CRON_SCHEDULE] ? "schedule" : "queue");
	next(r);
}

static void read_crons(struct reader *r)
{
	struct cron_config *c;
	struct key k;

	if (!enter(r, "crons", "a section: a name, then schedule, queue and payload"))
		return;
	while (at_key(r)) {
		c = read_key(r, "crons", &k) ? add_record(r, &k, "crons", (void **)&r->o->crons,
		                                          &r->o->ncrons, sizeof *c, CRONS_MAX) :
		                               NULL;
		if (c)
			read_cron(r, c, &k);
		else
			skip_value(r);
	}
	next(r);
}

/* ---- The top ---- */

/* A key that is none: what was meant? Underscores, flags' dashes and nested spellings lead to the
 * right one too. */
static void unknown_key(struct reader *r, const struct key *k)
{
	struct suggest near = SUGGEST_INIT(k->name);
	yaml_mark_t at = mark_of(k);

	for (size_t i = 0; i < settings_n; i++)
		if (settings[i].also & SET_KEY)
			suggest_offer(&near, settings[i].name);
	suggest_offer(&near, "queues");
	suggest_offer(&near, "crons");
	if (!strcmp(k->name, "config"))
		complain(r, &at, "config cannot be set in the file itself");
	else if (near.best)
		complain(r, &at, "unknown key \"%s\"; did you mean \"%s\"?", k->name, near.best);
	else
		complain(r, &at, "unknown key \"%s\"; weir serve --help lists them", k->name);
}

static void read_top(struct reader *r)
{
	unsigned lines[SETTINGS_MAX] = { 0 }, sections[2] = { 0 };

	while (at_key(r)) {
		unsigned *line;
		struct key k;
		size_t i = settings_n;

		if (!read_key(r, "", &k)) {
			skip_value(r);
			continue;
		}
		if (!strcmp(k.name, "queues") || !strcmp(k.name, "crons")) {
			line = &sections[k.name[0] == 'c'];
		} else {
			for (i = 0; i < settings_n; i++)
				if (settings[i].also & SET_KEY && !strcmp(settings[i].name, k.name))
					break;
			line = i < settings_n ? &lines[i] : NULL;
		}
		if (!line) {
			unknown_key(r, &k);
			skip_value(r);
			continue;
		}
		if (*line) {
			yaml_mark_t at = mark_of(&k);

			complain(r, &at, "%s is here for the second time; the first is in line %u",
			         k.name, *line);
			skip_value(r);
			continue;
		}
		*line = k.line;
		if (i < settings_n) {
			if (read_setting(r, &settings[i], r->o, k.name)) {
				r->o->origins[i].from = FROM_FILE;
				r->o->origins[i].line = k.line;
			}
		} else if (k.name[0] == 'q') {
			read_queues(r);
		} else {
			read_crons(r);
		}
	}
	next(r);
}

static void read_stream(struct reader *r)
{
	next(r); /* the stream's start */
	next(r);
	if (r->broken || r->event.type == YAML_STREAM_END_EVENT)
		return; /* An empty file is all defaults. */
	next(r);        /* behind the document's start */
	if (r->broken)
		return;
	if (is_null(&r->event))
		next(r);
	else if (enter(r, "the file", "keys with values, like `queue-max: 1000`"))
		read_top(r);
	if (r->broken)
		return;
	next(r); /* behind the document's end */
	if (!r->broken && r->event.type != YAML_STREAM_END_EVENT)
		complain(r, &r->event.start_mark,
		         "a second document begins here; only one is read");
}

static char *read_file(const char *path, size_t *ret_n, struct problems *p)
{
	FILE *f = fopen(path, "re"); /* no task yet */
	char *data = NULL;
	size_t n;

	if (!f) {
		problem(p, "%s: %s", path, strerror(errno));
		return NULL;
	}
	data = malloc(FILE_MAX + 1);
	n = data ? fread(data, 1, FILE_MAX + 1, f) : 0; /* no task yet */
	if (!data) {
		problem(p, "%s: out of memory", path);
	} else if (ferror(f)) {
		problem(p, "%s: %s", path, strerror(errno));
	} else if (n > FILE_MAX) {
		problem(p, "%s: it is larger than 1MiB", path);
	} else {
		*ret_n = n;
		fclose(f);
		return data;
	}
	free(data);
	fclose(f);
	return NULL;
}

void config_read(struct options *o, const char *path, struct problems *p)
{
	struct reader r = { .file = path, .o = o, .p = p };
	size_t n;
	char *data = read_file(path, &n, p);

	if (!data)
		return;
	if (!yaml_parser_initialize(&r.yaml)) {
		problem(p, "%s: out of memory", path);
		free(data);
		return;
	}
	yaml_parser_set_input_string(&r.yaml, (const unsigned char *)data, n);
	read_stream(&r);
	if (r.have_event)
		yaml_event_delete(&r.event);
	yaml_parser_delete(&r.yaml);
	free(data);
}
