/* SPDX-License-Identifier: MIT */
#include <weir/bus.h>

#include "bus/trie.h"
#include "test.h"

TEST(a_subject_is_tokens_with_dots_between)
{
	CHECK(weir_subject_valid("a", false));
	CHECK(weir_subject_valid("orders.new.eu-west_1$", false));
	CHECK(weir_subject_valid("größe.日本", false));
	CHECK(!weir_subject_valid("", false));
	CHECK(!weir_subject_valid(".a", false));
	CHECK(!weir_subject_valid("a.", false));
	CHECK(!weir_subject_valid("a..b", false));
	CHECK(!weir_subject_valid(".", false));
}

TEST(a_subject_holds_no_space_or_control_byte)
{
	CHECK(!weir_subject_valid("a b", false));
	CHECK(!weir_subject_valid("a\tb", false));
	CHECK(!weir_subject_valid("a\r\nPUB x 0", false));
	CHECK(!weir_subject_valid("a\x7f", false));
	CHECK(!weir_subject_valid("a\x01", true));
}

TEST(a_wildcard_is_one_only_alone_in_its_token)
{
	CHECK(!weir_subject_valid("a.*", false));
	CHECK(!weir_subject_valid(">", false));
	CHECK(weir_subject_valid("a*.b>.>c", false));
	CHECK(weir_subject_valid("a.*.c.>", true));
	CHECK(weir_subject_match("a*", "a*"));
	CHECK(!weir_subject_match("a*", "ab"));
	CHECK(!weir_subject_match("a.b>", "a.b.c"));
}

TEST(the_rest_wildcard_comes_last)
{
	CHECK(weir_subject_valid(">", true));
	CHECK(!weir_subject_valid(">.a", true));
	CHECK(!weir_subject_valid("a.>.b", true));
}

TEST(a_subject_has_at_most_1024_bytes)
{
	char s[WEIR_SUBJECT_MAX + 2];

	memset(s, 'a', sizeof s);
	s[WEIR_SUBJECT_MAX] = 0;
	CHECK(weir_subject_valid(s, false));
	s[WEIR_SUBJECT_MAX] = 'a';
	s[WEIR_SUBJECT_MAX + 1] = 0;
	CHECK(!weir_subject_valid(s, false));
}

static const struct {
	const char *pattern, *subject;
	bool match;
} cases[] = {
	{ "a", "a", true },         { "a", "b", false },         { "a", "a.b", false },
	{ "a.b", "a", false },      { "a.b", "a.b", true },      { "a.b", "a.bc", false },
	{ "*", "a", true },         { "*", "a.b", false },       { "*.b", "a.b", true },
	{ "*.b", "b", false },      { "a.*", "a.b", true },      { "a.*", "a", false },
	{ "a.*", "a.b.c", false },  { "a.*.c", "a.b.c", true },  { "a.*.c", "a.b.d", false },
	{ "*.*", "a.b", true },     { "*.*.*", "a.b", false },   { ">", "a", true },
	{ ">", "a.b.c", true },     { "a.>", "a", false },       { "a.>", "a.b", true },
	{ "a.>", "a.b.c.d", true }, { "a.>", "b.b", false },     { "*.>", "a", false },
	{ "*.>", "a.b.c", true },   { "a.*.>", "a.b", false },   { "a.*.>", "a.b.c", true },
	{ "*.b.*", "a.b.c", true }, { "*.b.*", "a.c.c", false }, { "a.b.c.d.e", "a.b.c.d.e", true },
};

TEST(patterns_match_as_in_nats)
{
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (weir_subject_match(cases[i].pattern, cases[i].subject) != cases[i].match)
			test_fail(__FILE__, __LINE__, "%s against %s", cases[i].pattern,
			          cases[i].subject);
}

struct item {
	struct weir__trie_entry entry;
	char pattern[32];
	int hits;
};

static void hit(struct weir__trie_entry *e, void *arg)
{
	weir__container(e, struct item, entry)->hits++;
	++*(int *)arg;
}

TEST(the_index_finds_what_the_patterns_say)
{
	enum { N = sizeof cases / sizeof cases[0] };
	struct item items[N];
	struct weir__trie t;
	int found;

	weir__trie_init(&t, 7);
	for (int i = 0; i < N; i++) {
		items[i] = (struct item){ .hits = 0 };
		CHECK_EQ(weir__trie_insert(&t, &items[i].entry, cases[i].pattern), 0);
	}
	for (int s = 0; s < N; s++) {
		found = 0;
		weir__trie_match(&t, cases[s].subject, hit, &found);
		for (int i = 0; i < N; i++) {
			CHECK_EQ(items[i].hits,
			         weir_subject_match(cases[i].pattern, cases[s].subject));
			items[i].hits = 0;
		}
	}
	for (int i = 0; i < N; i++)
		weir__trie_remove(&t, &items[i].entry);
	weir__trie_fini(&t);
}

/* A random pattern or subject of up to four tokens from three letters. */
static void make(char *out, bool wild)
{
	int n = 1 + rand() % 4;

	for (int i = 0; i < n; i++) {
		int k = rand() % 8;

		if (i)
			*out++ = '.';
		*out++ = wild && k == 0 ? '*' : wild && k == 1 && i == n - 1 ? '>' : "abc"[k % 3];
	}
	*out = 0;
}

TEST(the_index_and_the_plain_match_agree_while_it_changes)
{
	enum { N = 200 };
	static struct item items[N];
	struct weir__trie t;
	char subject[32];

	srand(1);
	weir__trie_init(&t, 3);
	for (int round = 0; round < 20000; round++) {
		struct item *it = &items[rand() % N];
		int found = 0, want = 0;

		if (it->entry.node) {
			weir__trie_remove(&t, &it->entry);
		} else {
			make(it->pattern, true);
			CHECK_EQ(weir__trie_insert(&t, &it->entry, it->pattern), 0);
		}
		make(subject, false);
		weir__trie_match(&t, subject, hit, &found);
		for (int i = 0; i < N; i++)
			want += items[i].entry.node &&
			        weir_subject_match(items[i].pattern, subject);
		CHECK_EQ(found, want);
	}
	for (int i = 0; i < N; i++)
		weir__trie_remove(&t, &items[i].entry);
	weir__trie_fini(&t);
}

TEST(the_longest_subject_needs_no_more_stack_than_a_short_one)
{
	char deep[WEIR_SUBJECT_MAX + 1] = "a", wild[WEIR_SUBJECT_MAX + 1] = "*";
	struct item a = { .hits = 0 }, b = { .hits = 0 };
	struct weir__trie t;
	int found = 0;

	while (strlen(deep) + 2 <= WEIR_SUBJECT_MAX) {
		strcat(deep, ".a");
		strcat(wild, ".*");
	}
	weir__trie_init(&t, 1);
	CHECK_EQ(weir__trie_insert(&t, &a.entry, deep), 0);
	CHECK_EQ(weir__trie_insert(&t, &b.entry, wild), 0);
	weir__trie_match(&t, deep, hit, &found);
	CHECK_EQ(found, 2);
	weir__trie_remove(&t, &a.entry);
	weir__trie_remove(&t, &b.entry);
	weir__trie_fini(&t);
}
