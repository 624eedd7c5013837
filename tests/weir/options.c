/* SPDX-License-Identifier: MIT */
#include "settings.h"
#include "test.h"

#include <stdio.h>
#include <unistd.h>

/* The table as main.c has it, as far as options.c looks at it. */
const struct command commands[] = {
	{ "serve", "", "Serve", NULL, 0, 0, false, NULL },
	{ "enqueue", "QUEUE [PAYLOAD | -]", "Enqueue", NULL, 1, 2, false, NULL },
	{ "work", "QUEUE -- CMD", "Work", NULL, 1, 1, true, NULL },
	{ "config", "check | show", "Config", NULL, 1, 2, false, NULL },
	{ "help", "", "Help", NULL, 0, 1, false, NULL },
	{ NULL, NULL, NULL, NULL, 0, 0, false, NULL },
};

static struct options o;
static struct problems p;

/* Parses "weir LINE" (split at spaces) with an environment of one name, or none. */
static int parse(const char *line, const char *env)
{
	static char words[1024];
	char *argv[32] = { (char *)"weir" }, *environment[2] = { (char *)env, NULL }, *save;
	int argc = 1;

	options_free(&o);
	weir__buf_free(&p.text);
	p.count = 0;
	snprintf(words, sizeof words, "%s", line);
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	return options_parse(&o, argc, argv, environment, &p);
}

/* The same with weir.yaml at hand. */
static int parse_file(const char *yaml, const char *flags, const char *env)
{
	char path[] = "/tmp/weir-test-XXXXXX", line[256];
	int fd = mkstemp(path), r;

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, yaml, strlen(yaml)), strlen(yaml));
	close(fd);
	snprintf(line, sizeof line, "serve --config %s %s", path, flags);
	r = parse(line, env);
	unlink(path);
	return r;
}

static void end(void)
{
	options_free(&o);
	weir__buf_free(&p.text);
	o = (struct options){ 0 };
	p = (struct problems){ 0 };
}

/* The only problem, or one of them, says this. */
static void says(const char *text)
{
	CHECK(p.count > 0);
	if (!strstr(p.text.data, text))
		test_fail(__FILE__, __LINE__, "\"%s\" is not in: %s", text, p.text.data);
}

TEST(defaults_are_those_that_are_promised)
{
	CHECK_EQ(parse("serve", NULL), 0);
	CHECK_EQ(o.listens, 1);
	CHECK_STR(o.listen[0], "127.0.0.1:8080");
	CHECK(!o.listen_given);
	CHECK_STR(o.data, "./weir-data");
	CHECK_EQ(o.queue_max, 100000);
	CHECK_EQ(o.queue_bytes, 256 << 20);
	CHECK_EQ(o.queues_max, 1000);
	CHECK_EQ(o.finished_max, 10000);
	CHECK_EQ(o.finished_keep_ns, WEIR_HOUR(24));
	CHECK_EQ(o.idempotency_window_ns, WEIR_HOUR(24));
	CHECK_EQ(o.body_max, 1 << 20);
	CHECK_EQ(o.header_ns, WEIR_SEC(10));
	CHECK_EQ(o.idle_ns, WEIR_SEC(75));
	CHECK_EQ(o.handler_ns, WEIR_SEC(30));
	CHECK_EQ(o.grace_ns, WEIR_SEC(30));
	CHECK_EQ(o.drain_wait_ns, 0);
	CHECK(!o.log_json && !o.log_debug && !o.token_file && !o.config);
	end();
}

TEST(flag_weighs_more_than_environment_and_that_more_than_the_file)
{
	CHECK_EQ(parse_file("queue-max: 1\n", "", NULL), 0);
	CHECK_EQ(o.queue_max, 1);
	CHECK_EQ(parse_file("queue-max: 1\n", "", "WEIR_QUEUE_MAX=2"), 0);
	CHECK_EQ(o.queue_max, 2);
	CHECK_EQ(parse_file("queue-max: 1\n", "--queue-max 3", "WEIR_QUEUE_MAX=2"), 0);
	CHECK_EQ(o.queue_max, 3);
	CHECK_EQ(parse_file("queue-max: 1\n", "--queue-max=3", NULL), 0);
	CHECK_EQ(o.queue_max, 3);
	end();
}

TEST(a_stronger_list_replaces_the_weaker_one)
{
	CHECK_EQ(parse_file("listen: [':1', ':2']\n", "", NULL), 0);
	CHECK_EQ(o.listens, 2);
	CHECK_STR(o.listen[1], ":2");
	CHECK(o.listen_given);
	CHECK_EQ(parse_file("listen: :1\n", "", "WEIR_LISTEN=:3,:4,:5"), 0);
	CHECK_EQ(o.listens, 3);
	CHECK_STR(o.listen[0], ":3");
	CHECK_EQ(parse_file("listen: :1\n", "--listen :6 --listen unix:/x", "WEIR_LISTEN=:3,:4,:5"),
	         0);
	CHECK_EQ(o.listens, 2);
	CHECK_STR(o.listen[0], ":6");
	CHECK_STR(o.listen[1], "unix:/x");
	end();
}

TEST(an_empty_name_of_the_environment_is_not_there)
{
	CHECK_EQ(parse("serve", "WEIR_QUEUE_MAX="), 0);
	CHECK_EQ(o.queue_max, 100000);
	end();
}

TEST(letters_take_their_value_in_any_way)
{
	CHECK_EQ(parse("work mail -j 4 -- x", NULL), 0);
	CHECK_EQ(o.jobs, 4);
	CHECK_EQ(parse("work mail -j4 -- x", NULL), 0);
	CHECK_EQ(o.jobs, 4);
	CHECK_EQ(parse("work --jobs=4 mail -- x", NULL), 0);
	CHECK_EQ(o.jobs, 4);
	end();
}

TEST(what_follows_two_dashes_belongs_to_the_command)
{
	CHECK_EQ(parse("work mail --once -- sh --once -c x", NULL), 0);
	CHECK_EQ(o.nargs, 1);
	CHECK_EQ(o.ntail, 4);
	CHECK_STR(o.tail[1], "--once");
	CHECK_EQ(parse("enqueue mail -- --wait", NULL), 0);
	CHECK_EQ(o.nargs, 2);
	CHECK_STR(o.args[1], "--wait");
	CHECK(!o.wait);
	CHECK_EQ(parse("enqueue mail -", NULL), 0);
	CHECK_STR(o.args[1], "-");
	end();
}

TEST(a_negative_number_is_a_value)
{
	CHECK_EQ(parse("enqueue mail --priority -5", NULL), 0);
	CHECK_EQ(o.priority, -5);
	end();
}

TEST(wrong_flags_name_the_nearest_right_one)
{
	CHECK_EQ(parse("serve --queue-mx 3", NULL), -EINVAL);
	says("did you mean --queue-max?");
	CHECK_EQ(parse("serve --QUEUE_MAX 3", NULL), -EINVAL);
	says("did you mean --queue-max?");
	CHECK_EQ(parse("serve --delay 3s", NULL), -EINVAL);
	says("no flag of weir serve, but of weir enqueue");
	CHECK_EQ(parse("sreve", NULL), -EINVAL);
	says("did you mean \"serve\"?");
	CHECK_EQ(parse("serve --zzzzzzzz", NULL), -EINVAL);
	says("weir serve --help lists them");
	end();
}

TEST(every_mistake_of_a_command_line_is_told)
{
	CHECK_EQ(parse("serve --grace 30 --queue-max 0 --log xml --body-max 2G", NULL), -EINVAL);
	CHECK_EQ(p.count, 4);
	says("did you mean \"30s\"?");
	says("the least is 1");
	says("not one of text, json");
	says("did you mean \"2GiB\"?");
	end();
}

TEST(values_out_of_range_are_refused_at_the_edge)
{
	CHECK_EQ(parse("serve --workers 256", NULL), 0);
	CHECK_EQ(parse("serve --workers 257", NULL), -EINVAL);
	CHECK_EQ(parse("serve --workers -1", NULL), -EINVAL);
	says("the least is 0");
	CHECK_EQ(parse("serve --queue-max 99999999999999999999", NULL), -EINVAL);
	says("too large");
	CHECK_EQ(parse("enqueue q --priority -1001", NULL), -EINVAL);
	says("the least is -1000");
	end();
}

TEST(help_is_asked_for_before_anything_is_judged)
{
	CHECK_EQ(parse("serve --queue-max x --help", NULL), 1);
	CHECK_EQ(parse("enqueue -h", NULL), 1);
	CHECK_EQ(parse("", NULL), 0);
	CHECK_STR(o.command->name, "help");
	end();
}

TEST(the_file_sets_every_type)
{
	CHECK_EQ(
		parse_file("queue-max: 7\nqueue-bytes: 5MiB\ngrace: 1m\nlog: json\ndata: /tmp/x y\n"
	                   "allow-origin:\n  - https://a.example\n  - http://localhost:3000\n",
	                   "", NULL),
		0);
	CHECK_EQ(o.queue_max, 7);
	CHECK_EQ(o.queue_bytes, 5 << 20);
	CHECK_EQ(o.grace_ns, WEIR_MIN(1));
	CHECK(o.log_json);
	CHECK_STR(o.data, "/tmp/x y");
	CHECK_EQ(o.allow_origins, 2);
	CHECK_STR(o.allow_origin[1], "http://localhost:3000");
	end();
}

TEST(queues_and_crons_have_sections)
{
	CHECK_EQ(parse_file("queues:\n  mail: {max: 10, lease: 1m, attempts: 5, rate: 120/m, "
	                    "concurrency: 4, paused: true}\n"
	                    "  plain:\ncrons:\n  nightly: {schedule: '0 3 * * *', queue: mail, "
	                    "payload: 5}\n",
	                    "", NULL),
	         0);
	CHECK_EQ(o.nqueues, 2);
	CHECK_STR(o.queues[0].name, "mail");
	CHECK_EQ(o.queues[0].set.max, 10);
	CHECK_EQ(o.queues[0].set.lease_ns, WEIR_MIN(1));
	CHECK_EQ(o.queues[0].set.attempts_max, 5);
	CHECK(o.queues[0].set.rate > 1.999 && o.queues[0].set.rate < 2.001);
	CHECK_EQ(o.queues[0].set.concurrency, 4);
	CHECK(o.queues[0].set.paused);
	CHECK_STR(o.queues[1].name, "plain");
	CHECK_EQ(o.queues[1].set.max, 0);
	CHECK_EQ(o.ncrons, 1);
	CHECK_STR(o.crons[0].schedule, "0 3 * * *");
	CHECK_STR(o.crons[0].payload, "5");
	end();
}

TEST(an_empty_file_is_all_defaults)
{
	CHECK_EQ(parse_file("", "", NULL), 0);
	CHECK_EQ(parse_file("# nothing\n", "", NULL), 0);
	CHECK_EQ(parse_file("---\n", "", NULL), 0);
	end();
}

TEST(mistakes_of_a_file_are_told_with_their_place)
{
	static const struct {
		const char *yaml, *says;
	} table[] = {
		{ "queue-mx: 3\n", ":1:1: unknown key \"queue-mx\"; did you mean \"queue-max\"?" },
		{ "grace: 5s\nqueue_max: 3\n",
		  ":2:1: unknown key \"queue_max\"; did you mean \"queue-max\"?" },
		{ "queue-max: 1\ngrace: 1s\nqueue-max: 2\n",
		  ":3:1: queue-max is here for the second time; the first is in line 1" },
		{ "queue-max: ten\n", ":1:12: queue-max: \"ten\" is not a whole number" },
		{ "queue-max: \"10\"\n", "leave the quotes out" },
		{ "queue-max:\n", "the value is missing" },
		{ "queue-max: [1, 2]\n", "a list is not a whole number" },
		{ "queue-max: {a: 1}\n", "a section is not a whole number" },
		{ "listen: []\n", "the list is empty" },
		{ "listen: [[':1']]\n", "a list is not a text" },
		{ "config: x\n", "cannot be set in the file itself" },
		{ "delay: 5s\n", "unknown key \"delay\"" },
		{ "a: &x 1\nqueue-max: *x\n", "an alias (*x) cannot be used here" },
		{ "queue-max: !!int 3\n", "a tag (tag:yaml.org,2002:int) cannot be used here" },
		{ "<<: {queue-max: 1}\n", "merge keys" },
		{ "- a\n", "here should be keys" },
		{ "word\n", "\"word\" stands where keys" },
		{ "queue-max: 1\n---\nqueue-max: 2\n", "a second document begins here" },
		{ "queue-max: 1\n  grace: 2\n", "this is not YAML" },
		{ "queue-max: \"1\n", "this is not YAML" },
		{ "data: \xff\n", "is not text in UTF-8" },
		{ "data: \"a\\0b\"\n", "the value holds a NUL" },
		{ "[a]: 1\n", "a key has to be a word" },
		{ "queues: mail\n", "\"mail\" stands where a section" },
		{ "queues: [mail]\n", "queues: here should be a section" },
		{ "queues: {mail: 3}\n", "queues.mail: \"3\" stands where its settings" },
		{ "queues: {mail: {lese: 3s}}\n",
		  "unknown key \"lese\" in queues.mail; did you mean \"lease\"?" },
		{ "queues: {mail: {max: 1, max: 2}}\n",
		  "queues.mail.max is here for the second time" },
		{ "queues: {mail: {}, mail: {}}\n", "queues.mail is here for the second time" },
		{ "queues: {a b: {}}\n", "\"a b\" in queues is not a name" },
		{ "queues: {mail: {rate: 10/d}}\n", "\"10/d\" is not a rate; write it like 10/s" },
		{ "queues: {mail: {rate: 0/s}}\n",
		  "\"0/s\" would let no job run: pause the queue" },
		{ "queues: {mail: {paused: yes}}\n",
		  "\"yes\" is not true or false; did you mean \"true\"?" },
		{ "queues: {mail: {paused: 'true'}}\n", "leave the quotes out" },
		{ "crons: {x: {queue: mail}}\n", "crons.x: schedule is missing" },
		{ "crons: {x: {schedule: '@daily', queue: mail, payloda: y}}\n",
		  "did you mean \"payload\"?" },
		{ "crons: {x: {schedule: '61 * * * *', queue: mail}}\n",
		  ":1:23: crons.x.schedule: \"61 * * * *\" is not a schedule" },
		{ "crons: {x: {schedule: '0 0 30 2 *', queue: mail}}\n",
		  ":1:23: crons.x.schedule: \"0 0 30 2 *\" never comes" },
		{ "crons: {x: {schedule: '@daily', queue: 'm l'}}\n",
		  "\"m l\" is not a queue's name" },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		CHECK_EQ(parse_file(table[i].yaml, "", NULL), -EINVAL);
		says(table[i].says);
	}
	end();
}

TEST(all_mistakes_of_a_file_are_told_at_once)
{
	CHECK_EQ(parse_file("queue-mx: {a: [1, {b: 2}]}\ngrace: 30\nlog: xml\nqueues: {m: {x: 1, "
	                    "max: 0}}\n",
	                    "", NULL),
	         -EINVAL);
	CHECK_EQ(p.count, 5);
	end();
}

TEST(a_file_with_endless_mistakes_is_told_of_twenty)
{
	char yaml[4096] = "";

	for (int i = 0; i < 200; i++)
		snprintf(yaml + strlen(yaml), sizeof yaml - strlen(yaml), "x%d: 1\n", i);
	CHECK_EQ(parse_file(yaml, "", NULL), -EINVAL);
	CHECK_EQ(p.count, 200);
	CHECK(p.text.len < 4096);
	end();
}

TEST(every_default_fits_its_own_bounds)
{
	struct weir__buf why = WEIR__BUF_INIT, text = WEIR__BUF_INIT;
	struct options fresh = { 0 };

	for (size_t i = 0; i < settings_n; i++) {
		const struct setting *s = &settings[i];

		if (!s->fallback)
			continue;
		CHECK_EQ(setting_store(s, &fresh, &fresh.owned, s->fallback, true, &why), 0);
		weir__buf_clear(&text);
		setting_format(s, &fresh, &text);
		CHECK_EQ(setting_store(s, &fresh, &fresh.owned, text.data, true, &why), 0);
	}
	CHECK_EQ(why.len, 0);
	weir__buf_free(&text);
	weir__buf_free(&why);
	options_free(&fresh);
}

TEST(names_of_one_command_differ)
{
	for (const struct command *c = commands; c->name; c++)
		for (size_t i = 0; i < settings_n; i++)
			for (size_t j = 0; j < i; j++)
				if (setting_of(&settings[i], c) && setting_of(&settings[j], c)) {
					CHECK(strcmp(settings[i].name, settings[j].name) != 0);
					CHECK(!settings[i].letter ||
					      settings[i].letter != settings[j].letter);
				}
}
