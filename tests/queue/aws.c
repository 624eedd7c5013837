/* SPDX-License-Identifier: MIT */
#include "queue/aws.h"
#include "../test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/time.h>

static char dir[64];

/* None of what this machine may have. */
static void no_keys(void)
{
	static const char *const names[] = { "AWS_ACCESS_KEY_ID",
		                             "AWS_SECRET_ACCESS_KEY",
		                             "AWS_SESSION_TOKEN",
		                             "AWS_PROFILE",
		                             "AWS_DEFAULT_PROFILE",
		                             "AWS_REGION",
		                             "AWS_DEFAULT_REGION",
		                             "AWS_SHARED_CREDENTIALS_FILE",
		                             "AWS_CONFIG_FILE",
		                             "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		                             "AWS_CONTAINER_CREDENTIALS_FULL_URI" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		CHECK_EQ(unsetenv(names[i]), 0);
	snprintf(dir, sizeof dir, "/tmp/weir-aws-XXXXXX");
	CHECK(mkdtemp(dir));
	setenv("HOME", dir, 1);
}

static void end(void)
{
	char path[128];
	static const char *const names[] = { "/.aws/credentials", "/.aws/config", "/.aws", "/other",
		                             "" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s%s", dir, names[i]);
		(void)remove(path);
	}
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/.aws", dir);
	(void)mkdir(path, 0700);
	snprintf(path, sizeof path, "%s%s", dir, name);
	f = fopen(path, "w");
	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void key_is(const weir_ctx *ctx, const char *id, const char *secret, const char *token)
{
	struct weir__aws_key *k;

	CHECK_EQ(weir__aws_key_get(ctx, NULL, &k), 0);
	CHECK_STR(k->id, id);
	CHECK_STR(k->secret, secret);
	if (token)
		CHECK_STR(k->token, token);
	else
		CHECK(!k->token);
	weir__aws_key_free(k);
}

TEST(a_setting_is_found_in_its_section)
{
	static const char text[] = "# [a]\n[a]\nx = 1\n\n[b] \r\nxx=3\n x = 9\nx =  2 3\t\r\ny=\n";
	char v[16];

	CHECK(weir__aws_setting(text, "a", "x", v, sizeof v));
	CHECK_STR(v, "1");
	CHECK(weir__aws_setting(text, "b", "x", v, sizeof v));
	CHECK_STR(v, "2 3");
	CHECK(weir__aws_setting(text, "b", "y", v, sizeof v));
	CHECK_STR(v, "");
	CHECK(!weir__aws_setting(text, "a", "y", v, sizeof v));
	CHECK(!weir__aws_setting(text, "c", "x", v, sizeof v));
	CHECK(weir__aws_setting(text, "b", "x", v, 2));
	CHECK_STR(v, "2");
}

TEST(times_are_read_to_the_second_in_utc)
{
	CHECK_EQ(weir__aws_time("2015-08-30T12:36:00Z"), 1440938160);
	CHECK_EQ(weir__aws_time("2015-08-30T12:36:00.123456Z"), 1440938160);
	CHECK_EQ(weir__aws_time("2015-08-30T12:36:00"), -1);
	CHECK_EQ(weir__aws_time("2015-08-30T12:36:00+02:00"), -1);
	CHECK_EQ(weir__aws_time("soon"), -1);
}

static int parse(const char *text, int64_t now, struct weir__aws_key **ret)
{
	char *copy = strdup(text);
	int r = weir__aws_key_parse(copy, strlen(text), now, ret);

	free(copy);
	return r;
}

TEST(a_key_of_a_container_is_renewed_before_it_ends)
{
	enum { END = 1440938160 };
	static const char text[] =
		"{\"RoleArn\":\"r\",\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s\","
		"\"Token\":\"t\",\"Expiration\":\"2015-08-30T12:36:00Z\"}";
	struct weir__aws_key *k;

	CHECK_EQ(parse(text, END - 3600, &k), 0);
	CHECK_STR(k->id, "a");
	CHECK_STR(k->secret, "s");
	CHECK_STR(k->token, "t");
	CHECK_EQ(k->expires_at, END);
	CHECK_EQ(k->refresh_at, END - 300);
	weir__aws_key_free(k);
	CHECK_EQ(parse(text, END - 100, &k), 0);
	CHECK_EQ(k->refresh_at, END - 50);
	weir__aws_key_free(k);
	CHECK_EQ(parse("{\"AccessKeyId\":\"a\"}", 0, &k), -EINVAL);
	CHECK_EQ(parse("{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s\",\"Expiration\":\"x\"}", 0,
	               &k),
	         -EINVAL);
	CHECK_EQ(parse("no", 0, &k), -EINVAL);
}

TASK(the_environment_comes_before_the_files)
{
	no_keys();
	write_file("/.aws/credentials",
	           "[default]\naws_access_key_id=f\naws_secret_access_key=g\n");
	key_is(ctx, "f", "g", NULL);
	setenv("AWS_ACCESS_KEY_ID", "e", 1);
	key_is(ctx, "f", "g", NULL); /* half a key is none */
	setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
	key_is(ctx, "e", "s", NULL);
	setenv("AWS_SESSION_TOKEN", "t", 1);
	key_is(ctx, "e", "s", "t");
	end();
}

TASK(a_profile_is_chosen_and_may_be_in_either_file)
{
	no_keys();
	write_file("/.aws/credentials", "[default]\naws_access_key_id=f\naws_secret_access_key=g\n"
	                                "[p]\naws_access_key_id = p1\naws_secret_access_key = p2\n"
	                                "aws_session_token = p3\n");
	write_file("/.aws/config", "[profile q]\naws_access_key_id=q1\naws_secret_access_key=q2\n"
	                           "region = eu-north-1\n");
	setenv("AWS_PROFILE", "p", 1);
	key_is(ctx, "p1", "p2", "p3");
	setenv("AWS_PROFILE", "q", 1);
	key_is(ctx, "q1", "q2", NULL);
	end();
}

TASK(the_region_is_the_environments_or_the_profiles)
{
	char region[WEIR__AWS_REGION];

	no_keys();
	CHECK_EQ(weir__aws_region(ctx, region), 0);
	CHECK_STR(region, "");
	write_file("/.aws/config", "[default]\nregion = eu-north-1\n");
	CHECK_EQ(weir__aws_region(ctx, region), 0);
	CHECK_STR(region, "eu-north-1");
	setenv("AWS_DEFAULT_REGION", "eu-west-1", 1);
	CHECK_EQ(weir__aws_region(ctx, region), 0);
	CHECK_STR(region, "eu-west-1");
	setenv("AWS_REGION", "eu-west-2", 1);
	CHECK_EQ(weir__aws_region(ctx, region), 0);
	CHECK_STR(region, "eu-west-2");
	end();
}

TASK(files_may_be_elsewhere_and_are_read_anew)
{
	char path[128];

	no_keys();
	snprintf(path, sizeof path, "%s/other", dir);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	write_file("/other", "[default]\naws_access_key_id=a\naws_secret_access_key=b\n");
	key_is(ctx, "a", "b", NULL);
	write_file("/other", "[default]\naws_access_key_id=c\naws_secret_access_key=d\n");
	key_is(ctx, "c", "d", NULL);
	end();
}

TASK(without_any_key_there_is_none)
{
	struct weir__aws_key *k;

	no_keys();
	CHECK_EQ(weir__aws_key_get(ctx, NULL, &k), -EACCES);
	write_file("/.aws/config", "[default]\ncredential_process = /bin/true\n");
	CHECK_EQ(weir__aws_key_get(ctx, NULL, &k), -EACCES);
	end();
}

/* What is not on this machine and not AWS's own gets no token over HTTP. */
TASK(a_containers_endpoint_elsewhere_is_not_asked_over_http)
{
	struct weir__courier *c = weir__courier_new();
	struct weir__aws_key *k;

	no_keys();
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/keys", 1);
	CHECK_EQ(weir__aws_key_get(ctx, c, &k), -EACCES);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://user@127.0.0.1/keys", 1);
	CHECK_EQ(weir__aws_key_get(ctx, c, &k), -EACCES);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/keys", 1);
	CHECK_EQ(weir__aws_key_get(ctx, c, &k), -ENOTCONN);
	weir__courier_free(c);
	end();
}
