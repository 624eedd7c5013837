/* SPDX-License-Identifier: MIT */
/*
 * The yardstick: a bare epoll loop that answers every read with the same bytes and parses nothing
 * but which of three requests it is: GET /events follows, POST /events sends one event to each who
 * does, anything else is a hello. What a server needs beyond this is its own cost. "epoll" prints
 * the address it listens on and serves until it is killed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
			     "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\nhello, world\n";
static const char stream[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
			     "Transfer-Encoding: chunked\r\n\r\nd\r\nretry: 3000\n\n\r\n";
static const char event[] = "24\r\nid: 0123456789-1000\ndata: ~1234567\n\n\r\n";
static int followers[16384], followers_n;

static void must(int r, const char *what)
{
	if (r < 0) {
		perror(what);
		exit(1);
	}
}

static void watch(int epoll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
}

static void accept_all(int epoll, int listener)
{
	int one = 1, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		watch(epoll, fd);
	}
}

static void serve(int fd)
{
	char request[4096];
	ssize_t n = recv(fd, request, sizeof request, 0);

	if (n > 12 && !memcmp(request, "GET /events", 11) && followers_n < 16384) {
		followers[followers_n++] = fd;
		(void)!send(fd, stream, sizeof stream - 1, MSG_NOSIGNAL);
		return;
	}
	if (n > 12 && !memcmp(request, "POST /events", 12))
		for (int i = 0; i < followers_n; i++)
			(void)!send(followers[i], event, sizeof event - 1, MSG_NOSIGNAL);
	if (n > 0)
		(void)!send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
	else if (n == 0 || errno != EAGAIN)
		close(fd);
}

int main(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), n;
	struct epoll_event events[256];
	socklen_t len = sizeof at;

	must(bind(listener, (struct sockaddr *)&at, sizeof at), "bind");
	must(listen(listener, 4096), "listen");
	must(getsockname(listener, (struct sockaddr *)&at, &len), "getsockname");
	watch(epoll, listener);
	printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		n = epoll_wait(epoll, events, 256, -1);
		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				accept_all(epoll, listener);
			else
				serve(events[i].data.fd);
	}
}
