/* SPDX-License-Identifier: MIT */
/* Servers that tests of the bus talk to: a real nats-server, or `weir serve --nats`. They end with
 * the test, however it ends. */
#ifndef TESTS_BUS_SERVERS_H
#define TESTS_BUS_SERVERS_H

#include "test.h"

#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct bus_server {
	pid_t pid;
	int port, log;
	char url[64], dir[32];
};

/* A free one: taken and let go of. */
static inline int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	close(fd);
	return ntohs(a.sin_port);
}

static inline const char *weir_program(void)
{
	static char path[PATH_MAX + 32];
	char exe[PATH_MAX] = "";
	const char *set = getenv("WEIR");

	if (set)
		return set;
	if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
		return "weir";
	snprintf(path, sizeof path, "%s/../weir", dirname(exe));
	return path;
}

/* Runs it and reads its log until it has said `ready`. False when the program is not there. */
static inline bool server_start(struct bus_server *s, char *const argv[], const char *ready)
{
	char seen[16384];
	size_t n = 0;
	int fds[2];

	CHECK(pipe(fds) == 0);
	s->pid = fork();
	CHECK(s->pid >= 0);
	if (s->pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(fds[1]);
	s->log = fds[0];
	for (;;) {
		ssize_t got = read(fds[0], seen + n, sizeof seen - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
		seen[n] = 0;
		if (strstr(seen, ready))
			return true;
		CHECK(n < sizeof seen - 1);
	}
	waitpid(s->pid, NULL, 0);
	close(fds[0]);
	s->pid = 0;
	return false;
}

static inline bool nats_server_start(struct bus_server *s, int port)
{
	char text[8];

	s->port = port;
	snprintf(text, sizeof text, "%d", port);
	snprintf(s->url, sizeof s->url, "nats://127.0.0.1:%d", port);
	return server_start(s, (char *[]){ "nats-server", "-a", "127.0.0.1", "-p", text, NULL },
	                    "Server is ready");
}

static inline void server_kill(struct bus_server *s, int sig)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, sig);
	waitpid(s->pid, NULL, 0);
	close(s->log);
	s->pid = 0;
}

/* Runs it to its end: did it end well? */
static inline bool run(char *const argv[])
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr));
		execvp(argv[0], argv);
		_exit(127);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Reads the log on until it has said `text` so many times. */
static inline void server_says(struct bus_server *s, const char *text, int times)
{
	char line[1024];
	size_t n = 0;

	while (times > 0 && read(s->log, line + n, 1) == 1) {
		if (line[n] != '\n' && n < sizeof line - 2) {
			n++;
			continue;
		}
		line[n] = 0;
		n = 0;
		times -= strstr(line, text) != NULL;
	}
	CHECK_EQ(times, 0);
}

static inline void skip(const char *why)
{
	fprintf(stderr, "skipped: %s\n", why);
}

#endif
