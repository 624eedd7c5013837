/* SPDX-License-Identifier: MIT */
/*
 * Load for event streams: `sseload PORT CLIENTS EVENTS` follows GET /events with so many clients,
 * then publishes one event at a time by POST /events, each when the one before has reached all
 * clients. Prints deliveries and seconds.
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

int main(int argc, char **argv)
{
	uint16_t port = argc == 4 ? (uint16_t)atoi(argv[1]) : 0;
	int clients = argc == 4 ? atoi(argv[2]) : 0, events = argc == 4 ? atoi(argv[3]) : 0;
	struct rlimit files;
	int epoll = epoll_create1(0), poster;
	char buf[4096];
	double from;

	if (!port || clients < 1 || events < 1) {
		fprintf(stderr, "usage: %s PORT CLIENTS EVENTS\n", argv[0]);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (int i = 0; i < clients; i++) {
		int fd = dial(port);
		struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

		say(fd, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
		/* The head and the first `retry:`; only then is the stream live. */
		for (size_t have = 0; have < 6 || !strstr(buf, "retry:");) {
			ssize_t n = recv(fd, buf + have, sizeof buf - 1 - have, 0);

			must(n > 0, "a stream did not begin");
			have += (size_t)n;
			buf[have] = 0;
		}
		must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
	}
	poster = dial(port);
	from = now();
	for (int i = 0; i < events; i++) {
		say(poster, "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
		            "8\r\n\r\n~1234567");
		must(collect(epoll, '~', clients) == clients, "an event came twice");
		must(recv(poster, buf, sizeof buf, 0) > 0, "no answer to a publish");
	}
	printf("%d %.4f\n", clients * events, now() - from);
	return 0;
}
