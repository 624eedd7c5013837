/* SPDX-License-Identifier: MIT */
/*
 * Load that wrk does not make.
 *
 *	httpload events PORT CLIENTS EVENTS BURST
 *		follows GET /events with so many clients, then publishes by POST /events, BURST
 *		events at a time, each burst when the one before has reached all clients. Prints
 *		deliveries and seconds.
 *	httpload idle PORT CLIENTS PATH PID
 *		asks for PATH on so many connections, which then idle. Prints the bytes that each
 *		of them costs the process PID.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	at.sin_port = htons(port);
	must(fd >= 0, "socket");
	must(connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect");
	return fd;
}

static void say(int fd, const char *text)
{
	must(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text), "send");
}

/* How often the mark, a byte that is nowhere else in what the servers send, arrived on any of the
 * streams. */
static int collect(int epoll, int mark, int wanted)
{
	struct epoll_event events[256];
	char buf[65536];
	int seen = 0;

	while (seen < wanted) {
		int n = epoll_wait(epoll, events, 256, 10000);

		must(n > 0, "a stream fell silent");
		for (int i = 0; i < n; i++) {
			ssize_t got = recv(events[i].data.fd, buf, sizeof buf, 0);

			must(got > 0, "a stream ended");
			for (const char *p = buf; (p = memchr(p, mark, (size_t)(buf + got - p)));
			     p++)
				seen++;
		}
	}
	return seen;
}

/* Clients that asked for a path and have the beginning of what comes: the whole answer to "/", or
 * the head of a stream and its first `retry:`. Returns an epoll of them. */
static int follow(uint16_t port, int clients, const char *path)
{
	const char *sign = strcmp(path, "/") ? "retry:" : "hello, world\n";
	int epoll = epoll_create1(0);
	char buf[4096];

	must(epoll >= 0, "epoll_create1");
	for (int i = 0; i < clients; i++) {
		int fd = dial(port);
		struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

		snprintf(buf, sizeof buf, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
		say(fd, buf);
		*buf = 0;
		for (size_t have = 0; !strstr(buf, sign);) {
			ssize_t n = recv(fd, buf + have, sizeof buf - 1 - have, 0);

			must(n > 0, "an answer did not begin");
			have += (size_t)n;
			buf[have] = 0;
		}
		must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
	}
	return epoll;
}

static void deliver(uint16_t port, int clients, int events, int burst)
{
	static const char publish[] =
		"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n~1234567";
	size_t len = (size_t)burst * (sizeof publish - 1);
	int epoll = follow(port, clients, "/events"), poster = dial(port);
	char buf[65536], *all = malloc(len + 1);
	double from = now();

	must(all != NULL, "malloc");
	for (int i = 0; i < burst; i++)
		memcpy(all + (size_t)i * (sizeof publish - 1), publish, sizeof publish);
	for (int i = 0; i < events; i += burst) {
		say(poster, all);
		must(collect(epoll, '~', clients * burst) == clients * burst,
		     "an event came twice");
		must(recv(poster, buf, sizeof buf, 0) > 0, "no answer to a publish");
		while (recv(poster, buf, sizeof buf, MSG_DONTWAIT) > 0)
			;
	}
	printf("%d %.4f\n", clients * events, now() - from);
	free(all);
}

static long resident(const char *pid)
{
	char path[64];
	long pages = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%s/statm", pid);
	f = fopen(path, "r");
	must(f && fscanf(f, "%*d %ld", &pages) == 1, path);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
	uint16_t port = argc == 6 ? (uint16_t)atoi(argv[2]) : 0;
	int clients = argc == 6 ? atoi(argv[3]) : 0;
	struct rlimit files;

	if (!port || clients < 1) {
		fprintf(stderr,
		        "usage: %s events PORT CLIENTS EVENTS BURST | idle PORT CLIENTS PATH PID\n",
		        argv[0]);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (!strcmp(argv[1], "idle")) {
		long before = resident(argv[5]);

		follow(port, clients, argv[4]);
		printf("%ld\n", (resident(argv[5]) - before) / clients);
	} else {
		deliver(port, clients, atoi(argv[4]), atoi(argv[5]));
	}
	return 0;
}
