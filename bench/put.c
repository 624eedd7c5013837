/* SPDX-License-Identifier: MIT */
/*
 * Clients of a queue, each with a connection of its own and one request at a time, the same for
 * Weir over HTTP, beanstalkd and Redis: jobs a second, and how many milliseconds the slowest took.
 * Each puts a job ("put"), or puts one, takes one and acknowledges it ("cycle"). "bare" is
 * bench-bare, which knows only puts.
 *
 *	bench-put http|bare|beanstalkd|redis put|cycle PORT CLIENTS SECONDS
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

enum { PAYLOAD = 128, CLIENTS_MAX = 1024, BUF = 4096 };

static enum kind { HTTP, BEANSTALKD, REDIS } kind;
static bool cycles;
static char payload[PAYLOAD + 1];
static int port;
static double until;
static double longest[CLIENTS_MAX]; /* of each client, in seconds */
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

/* Is there a whole answer? */
static bool whole(const char *buf, size_t n)
{
	const char *end, *len;

	if (kind == HTTP) {
		end = strstr(buf, "\r\n\r\n");
		len = end ? strcasestr(buf, "content-length:") : NULL;
		return len && n >= (size_t)(end + 4 - buf) + strtoul(len + 15, NULL, 10);
	}
	if (n < 2 || buf[n - 1] != '\n')
		return false;
	if (*buf != 'R' && *buf != '$') /* One line; else a line and as many bytes as it says. */
		return true;
	end = strchr(buf, '\n');
	for (len = end; len[-1] != ' ' && len[-1] != '$';)
		len--;
	return n >= (size_t)(end + 1 - buf) + strtoul(len, NULL, 10) + 2;
}

static void ask(int fd, const char *text, char buf[BUF], const char *good)
{
	size_t n = 0, len = strlen(text);

	if (send(fd, text, len, 0) != (ssize_t)len)
		fail("send");
	do {
		ssize_t r = recv(fd, buf + n, BUF - 1 - n, 0);

		if (r <= 0)
			fail("recv");
		n += (size_t)r;
		buf[n] = 0;
	} while (!whole(buf, n));
	if (strncmp(buf, good, strlen(good))) {
		fprintf(stderr, "refused: %s\n", buf);
		exit(1);
	}
}

/* The string that is the member of this name. */
static const char *string_of(const char *json, const char *name, char *to, size_t cap)
{
	const char *at = strstr(json, name);
	size_t n;

	if (!at)
		fail(name);
	at += strlen(name);
	n = strcspn(at, "\"");
	snprintf(to, cap, "%.*s", (int)n, at);
	return to;
}

static void take_and_end(int fd, char buf[BUF])
{
	char text[512], id[64], lease[64];

	switch (kind) {
	case HTTP:
		snprintf(text, sizeof text,
		         "POST /v1/queues/q/take?wait=10s HTTP/1.1\r\nHost: localhost\r\n"
		         "Content-Length: 0\r\n\r\n");
		ask(fd, text, buf, "HTTP/1.1 200");
		string_of(buf, "\"id\":\"", id, sizeof id);
		string_of(buf, "\"lease\":\"", lease, sizeof lease);
		snprintf(text, sizeof text,
		         "POST /v1/jobs/%s/ack?lease=%s HTTP/1.1\r\nHost: localhost\r\n"
		         "Content-Length: 0\r\n\r\n",
		         id, lease);
		ask(fd, text, buf, "HTTP/1.1 200");
		break;
	case BEANSTALKD:
		ask(fd, "reserve\r\n", buf, "RESERVED ");
		snprintf(text, sizeof text, "delete %lu\r\n", strtoul(buf + 9, NULL, 10));
		ask(fd, text, buf, "DELETED");
		break;
	case REDIS: /* Into a list of what is worked on, and out of it when it is done. */
		ask(fd, "LMOVE q busy RIGHT LEFT\r\n", buf, "$");
		snprintf(text, sizeof text, "LREM busy 1 %s\r\n", payload);
		ask(fd, text, buf, ":1");
		break;
	}
}

static void *client(void *arg)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	static const char *const good[] = { "HTTP/1.1 202", "INSERTED", ":" };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	char put[1024], buf[BUF];
	double *slowest = arg, at, took;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (kind == HTTP)
		snprintf(put, sizeof put,
		         "POST /v1/queues/q/jobs HTTP/1.1\r\nHost: localhost:%d\r\n"
		         "Content-Length: %d\r\n\r\n%s",
		         port, PAYLOAD, payload);
	else if (kind == REDIS)
		snprintf(put, sizeof put, "LPUSH q %s\r\n", payload);
	else
		snprintf(put, sizeof put, "put 0 0 60 %d\r\n%s\r\n", PAYLOAD, payload);
	while ((at = now()) < until) {
		ask(fd, put, buf, good[kind]);
		if (cycles)
			take_and_end(fd, buf);
		took = now() - at;
		if (took > *slowest)
			*slowest = took;
		__atomic_add_fetch(&done, 1, __ATOMIC_RELAXED);
	}
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	static pthread_t threads[CLIENTS_MAX];
	double start, at, slowest = 0;
	int n;

	if (argc != 6)
		return 2;
	memset(payload, 'j', PAYLOAD);
	kind = !strcmp(argv[1], "beanstalkd") ? BEANSTALKD :
	       !strcmp(argv[1], "redis")      ? REDIS :
	                                        HTTP;
	cycles = !strcmp(argv[2], "cycle");
	port = (int)strtol(argv[3], NULL, 10);
	n = (int)strtol(argv[4], NULL, 10);
	if (n < 1 || n > CLIENTS_MAX)
		return 2;
	start = now();
	until = start + strtod(argv[5], NULL);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, client, &longest[i]))
			fail("thread");
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	at = now();
	for (int i = 0; i < n; i++)
		if (longest[i] > slowest)
			slowest = longest[i];
	printf("%.0f %.0f\n", (double)done / (at - start), slowest * 1e3);
	return 0;
}
