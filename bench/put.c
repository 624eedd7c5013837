/* SPDX-License-Identifier: MIT */
/*
 * Clients of a queue, each with a connection of its own and one request at a time, the same for
 * Weir over HTTP, beanstalkd and Redis: jobs a second, and how many milliseconds the slowest took.
 * They share one thread: on a small machine a thread each takes more processor time than what is
 * measured.
 * Each puts a job ("put"), or puts one, takes one and acknowledges it ("cycle"). "bare" is
 * bench-bare, which knows only puts.
 *
 *	bench-put http|bare|beanstalkd|redis put|cycle PORT CLIENTS SECONDS
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD = 128, CLIENTS_MAX = 1024, BUF = 4096 };

static enum kind { HTTP, BEANSTALKD, REDIS } kind;
static bool cycles;
static char payload[PAYLOAD + 1], put[1024];
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

struct client {
	int fd, step; /* 0 put, 1 take, 2 acknowledge */
	size_t n;
	double at, slowest; /* when it began, in seconds */
	char buf[BUF];
};

static struct client clients[CLIENTS_MAX];

static void say(const struct client *c, const char *text)
{
	size_t len = strlen(text);

	if (send(c->fd, text, len, 0) != (ssize_t)len)
		fail("send");
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

static void take(const struct client *c)
{
	static const char *const texts[] = {
		"POST /v1/queues/q/take?wait=10s HTTP/1.1\r\nHost: localhost\r\n"
		"Content-Length: 0\r\n\r\n",
		"reserve\r\n",
		"LMOVE q busy RIGHT LEFT\r\n", /* Into a list of what is worked on … */
	};

	say(c, texts[kind]);
}

/* What was taken is in the buffer. */
static void acknowledge(const struct client *c)
{
	char text[512], id[64], lease[64];

	switch (kind) {
	case HTTP:
		string_of(c->buf, "\"id\":\"", id, sizeof id);
		string_of(c->buf, "\"lease\":\"", lease, sizeof lease);
		snprintf(text, sizeof text,
		         "POST /v1/jobs/%s/ack?lease=%s HTTP/1.1\r\nHost: localhost\r\n"
		         "Content-Length: 0\r\n\r\n",
		         id, lease);
		break;
	case BEANSTALKD:
		snprintf(text, sizeof text, "delete %lu\r\n", strtoul(c->buf + 9, NULL, 10));
		break;
	case REDIS: /* … and out of it when it is done. */
		snprintf(text, sizeof text, "LREM busy 1 %s\r\n", payload);
		break;
	}
	say(c, text);
}

static void begin(struct client *c)
{
	c->at = now();
	c->step = c->at < until ? 0 : -1;
	if (c->step == 0)
		say(c, put);
}

/* Something has come: reads it, and when that is a whole answer, asks for the next. */
static void go_on(struct client *c)
{
	static const char *const good[][3] = { { "HTTP/1.1 202", "HTTP/1.1 200", "HTTP/1.1 200" },
		                               { "INSERTED", "RESERVED ", "DELETED" },
		                               { ":", "$", ":1" } };
	ssize_t r = recv(c->fd, c->buf + c->n, BUF - 1 - c->n, 0);
	double took;

	if (r <= 0)
		fail("recv");
	c->n += (size_t)r;
	c->buf[c->n] = 0;
	if (!whole(c->buf, c->n))
		return;
	c->n = 0;
	if (strncmp(c->buf, good[kind][c->step], strlen(good[kind][c->step]))) {
		fprintf(stderr, "refused: %s\n", c->buf);
		exit(1);
	}
	if (cycles && c->step == 0) {
		c->step++;
		take(c);
	} else if (cycles && c->step == 1) {
		c->step++;
		acknowledge(c);
	} else {
		done++;
		took = now() - c->at;
		if (took > c->slowest)
			c->slowest = took;
		begin(c);
	}
}

static int dial(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

/* One client waits in recv(), several in epoll. */
static void run(int n)
{
	struct epoll_event events[64];
	int epoll = epoll_create1(0), busy = n;

	for (int i = 0; i < n; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = &clients[i] };

		clients[i].fd = dial();
		if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &e) < 0)
			fail("epoll");
	}
	for (int i = 0; i < n; i++)
		begin(&clients[i]);
	while (n == 1 && clients[0].step >= 0)
		go_on(&clients[0]);
	while (n > 1 && busy) {
		int r = epoll_wait(epoll, events, 64, -1);

		if (r < 0)
			fail("epoll");
		for (int i = 0; i < r; i++) {
			struct client *c = events[i].data.ptr;

			go_on(c);
			busy -= c->step < 0;
		}
	}
}

int main(int argc, char **argv)
{
	double start, slowest = 0;
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
	if (kind == HTTP)
		snprintf(put, sizeof put,
		         "POST /v1/queues/q/jobs HTTP/1.1\r\nHost: localhost:%d\r\n"
		         "Content-Length: %d\r\n\r\n%s",
		         port, PAYLOAD, payload);
	else if (kind == REDIS)
		snprintf(put, sizeof put, "LPUSH q %s\r\n", payload);
	else
		snprintf(put, sizeof put, "put 0 0 60 %d\r\n%s\r\n", PAYLOAD, payload);
	start = now();
	until = start + strtod(argv[5], NULL);
	run(n);
	start = now() - start;
	for (int i = 0; i < n; i++)
		if (clients[i].slowest > slowest)
			slowest = clients[i].slowest;
	printf("%.0f %.0f\n", (double)done / start, slowest * 1e3);
	return 0;
}
