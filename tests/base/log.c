/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

TEST(a_text_into_a_pipe_that_nobody_reads_is_given_up_and_goes_whole_when_somebody_does)
{
	static char much[100000], got[sizeof much];
	int p[2];
	size_t n = 0;
	ssize_t r;

	memset(much, 'x', sizeof much);
	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	CHECK_EQ(weir__log_write(p[1], "one\n", 4), 0);
	CHECK_EQ(weir__log_write(p[1], much, sizeof much), -EAGAIN); /* More than it holds. */
	CHECK_EQ(weir__log_write(p[1], "two\n", 4), -EAGAIN);
	CHECK_EQ(fcntl(p[0], F_SETFL, O_NONBLOCK), 0);
	while ((r = read(p[0], got + n, sizeof got - n)) > 0)
		n += (size_t)r;
	CHECK(n > 4 && n < sizeof much && !memcmp(got, "one\nx", 5));
	CHECK_EQ(weir__log_write(p[1], "three\n", 6), 0);
	CHECK_EQ(read(p[0], got, sizeof got), 6);
	CHECK(!memcmp(got, "three\n", 6));
	signal(SIGPIPE, SIG_IGN);
	close(p[0]);
	CHECK_EQ(weir__log_write(p[1], "x", 1), -EPIPE);
	close(p[1]);
}

/* What one line of the log says, from its last ':' or "msg" on. */
static const char *logged(enum weir__log_form form, const char *text)
{
	static char got[8192];
	int p[2], err = dup(STDERR_FILENO);
	ssize_t n;

	CHECK(err >= 0);
	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	CHECK(dup2(p[1], STDERR_FILENO) >= 0);
	weir__log_set(WEIR__INFO, form);
	weir__log(WEIR__INFO, "test", "%s", text);
	weir__log_set(WEIR__INFO, WEIR__LOG_TEXT);
	CHECK(dup2(err, STDERR_FILENO) >= 0);
	close(err);
	close(p[1]);
	n = read(p[0], got, sizeof got - 1);
	CHECK(n > 0);
	got[n] = 0;
	close(p[0]);
	return strstr(got, form == WEIR__LOG_JSON ? "\"msg\"" : "weir: ");
}

TEST(a_line_holds_neither_control_bytes_nor_what_is_no_utf_8)
{
	CHECK_STR(logged(WEIR__LOG_PLAIN, "a\nb\x1b \xc3\xa9 \xff\xc3"),
	          "weir: a\\x0ab\\x1b \xc3\xa9 \\xff\\xc3\n");
	CHECK_STR(logged(WEIR__LOG_JSON, "a\nb\" \xc3\xa9 \xff\xc3"),
	          "\"msg\":\"a\\u000ab\\\" \xc3\xa9 \\u00ff\\u00c3\"}\n");
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

TEST(a_worker_gives_up_a_pipe_that_nobody_reads_long_before_a_second)
{
	static char much[100000];
	int64_t least = INT64_MAX;
	int p[2];

	memset(much, 'x', sizeof much);
	CHECK_EQ(weir__log_patience(WEIR__LOG_WORKER_MS), WEIR__LOG_LAST_WORDS_MS);
	for (int i = 0; i < 5; i++) { /* Once of five the machine is not busy elsewhere. */
		int64_t from;

		CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
		CHECK_EQ(weir__log_write(p[1], "one\n", 4), 0);
		from = now();
		CHECK_EQ(weir__log_write(p[1], much, sizeof much), -EAGAIN);
		least = now() - from < least ? now() - from : least;
		close(p[0]);
		close(p[1]);
	}
	CHECK_EQ(weir__log_patience(WEIR__LOG_LAST_WORDS_MS), WEIR__LOG_WORKER_MS);
	CHECK(least < 900 * 1000000LL);
}

TEST(who_has_more_patience_than_was_in_vain_still_waits_for_a_reader)
{
	static char much[100000];
	int64_t from;
	int p[2];

	memset(much, 'x', sizeof much);
	weir__log_patience(WEIR__LOG_WORKER_MS);
	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	CHECK_EQ(weir__log_write(p[1], much, sizeof much), -EAGAIN);
	CHECK_EQ(weir__log_patience(5 * WEIR__LOG_WORKER_MS), WEIR__LOG_WORKER_MS);
	from = now();
	CHECK_EQ(weir__log_write(p[1], "two\n", 4), -EAGAIN);
	CHECK(now() - from > 4 * WEIR__LOG_WORKER_MS * 1000000LL);
	close(p[0]);
	close(p[1]);
	weir__log_patience(WEIR__LOG_LAST_WORDS_MS);
}

TEST(a_text_into_a_terminal_that_nobody_reads_is_given_up)
{
	int reader = posix_openpt(O_RDWR | O_NOCTTY), terminal;
	static char line[201];
	int r = 0;

	CHECK(reader >= 0 && grantpt(reader) == 0 && unlockpt(reader) == 0);
	terminal = open(ptsname(reader), O_WRONLY | O_NOCTTY);
	CHECK(terminal >= 0);
	memset(line, 'x', sizeof line - 1);
	line[sizeof line - 2] = '\n';
	for (int i = 0; i < 10000 && r == 0; i++)
		r = weir__log_write(terminal, line, sizeof line - 1);
	CHECK_EQ(r, -EAGAIN);
	close(terminal);
	close(reader);
}
