/* SPDX-License-Identifier: MIT */
#include "suggest.h"
#include "test.h"

#include "weir.h"

const struct command commands[] = { { NULL, NULL, NULL, NULL, 0, 0, false, NULL } };

TEST(distance_counts_letters)
{
	CHECK_EQ(suggest_distance("", ""), 0);
	CHECK_EQ(suggest_distance("abc", ""), 3);
	CHECK_EQ(suggest_distance("kitten", "sitting"), 3);
	CHECK_EQ(suggest_distance("srve", "serve"), 1);
	CHECK_EQ(suggest_distance("sevre", "serve"), 1);
	CHECK_EQ(suggest_distance("QUEUE_MAX", "queue-max"), 0);
}

TEST(distance_of_endless_names_is_bounded)
{
	char a[5000], b[5000];

	memset(a, 'a', sizeof a - 1);
	memset(b, 'b', sizeof b - 1);
	a[sizeof a - 1] = b[sizeof b - 1] = 0;
	CHECK_EQ(suggest_distance(a, b), 63);
}

static const char *nearest(const char *wrong)
{
	static const char *const names[] = { "serve",     "enqueue",     "work", "queues",
		                             "queue-max", "queue-bytes", "data", "log" };
	struct suggest s = SUGGEST_INIT(wrong);

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		suggest_offer(&s, names[i]);
	return s.best ? s.best : "";
}

TEST(the_nearest_name_is_suggested)
{
	CHECK_STR(nearest("srve"), "serve");
	CHECK_STR(nearest("wrok"), "work");
	CHECK_STR(nearest("queue"), "queues");
	CHECK_STR(nearest("queue-m"), "queue-max");
	CHECK_STR(nearest("dat"), "data");
}

TEST(nothing_is_suggested_for_what_is_far)
{
	CHECK_STR(nearest("banana"), "");
	CHECK_STR(nearest("x"), "");
	CHECK_STR(nearest("xyz"), "");
	CHECK_STR(nearest(""), "");
}
