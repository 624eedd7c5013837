/* SPDX-License-Identifier: MIT */
/*
 * Producers of jobs, each with a connection of its own and one job at a time, the same for Weir
 * over HTTP, beanstalkd and Redis: jobs put a second.
 *
 *	bench-put http|beanstalkd|redis PORT PRODUCERS SECONDS
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD = 128, PRODUCERS_MAX = 1024 };

static char request[1024];
static size_t request_len;
static bool is_http;
static int port;
static double until;
static uint64_t done;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Is there a whole answer? One line, or a head and as many bytes as it says. */
static bool whole(const char *buf, size_t n)
{
	const char *end, *len;

	if (!is_http)
		return n && buf[n - 1] == '\n';
	end = strstr(buf, "\r\n\r\n");
	len = end ? strcasestr(buf, "content-length:") : NULL;
	return len && n >= (size_t)(end + 4 - buf) + strtoul(len + 15, NULL, 10);
}

static void *producer(void *arg)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	char buf[4096];

	(void)arg;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	while (now() < until) {
		size_t n = 0;

		if (send(fd, request, request_len, 0) != (ssize_t)request_len)
			fail("send");
		do {
			ssize_t r = recv(fd, buf + n, sizeof buf - 1 - n, 0);

			if (r <= 0)
				fail("recv");
			n += (size_t)r;
			buf[n] = 0;
		} while (!whole(buf, n));
		if (is_http ? !strstr(buf, " 202 ") : *buf != 'I' && *buf != ':') {
			fprintf(stderr, "refused: %s\n", buf);
			exit(1);
		}
		__atomic_add_fetch(&done, 1, __ATOMIC_RELAXED);
	}
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	static pthread_t threads[PRODUCERS_MAX];
	char payload[PAYLOAD + 1];
	int n;
	double start;

	if (argc != 5)
		return 2;
	memset(payload, 'j', PAYLOAD);
	payload[PAYLOAD] = 0;
	is_http = !strcmp(argv[1], "http");
	port = (int)strtol(argv[2], NULL, 10);
	n = (int)strtol(argv[3], NULL, 10);
	if (n < 1 || n > PRODUCERS_MAX)
		return 2;
	if (is_http)
		snprintf(request, sizeof request,
		         "POST /v1/queues/q/jobs HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: "
		         "%d\r\n\r\n%s",
		         port, PAYLOAD, payload);
	else if (!strcmp(argv[1], "redis"))
		snprintf(request, sizeof request, "LPUSH q %s\r\n", payload);
	else
		snprintf(request, sizeof request, "put 0 0 60 %d\r\n%s\r\n", PAYLOAD, payload);
	request_len = strlen(request);
	start = now();
	until = start + strtod(argv[4], NULL);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, producer, NULL))
			fail("thread");
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("%.0f\n", (double)done / (now() - start));
	return 0;
}
