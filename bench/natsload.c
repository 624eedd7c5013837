/* SPDX-License-Identifier: MIT */
/*
 * Load for a NATS server, in its protocol and without a client library, so that the server is what
 * is measured: `natsload PORT PID`. Prints "NAME NANOSECONDS" with the server's CPU time for each
 * message (publish only), delivery (one to one, one to ten) and request; and "idle-bytes" for a
 * connection with one subscription.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SUBS_MAX = 10, CHUNK = 64 * 1024, AHEAD = 8 << 20, WINDOW = 64, IDLE = 5000 };

static int port;
static pid_t server;
static char buf[256 * 1024];

struct conn {
	int fd;
	size_t frame;    /* bytes of a message as it comes */
	uint64_t in;     /* bytes that came */
	char out[CHUNK]; /* to be sent: */
	size_t len, sent;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t cpu_ns(void)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(server, &clock) || clock_gettime(clock, &t))
		die("the server's CPU clock");
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void report(const char *name, int size, int64_t since, uint64_t n)
{
	printf("%s-%d %.1f\n", name, size, (double)(cpu_ns() - since) / (double)n);
	fflush(stdout);
}

static void send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r < 0)
			die("send");
		p += r;
		n -= (size_t)r;
	}
}

/* Waits for a PONG, with nothing else on its way. */
static void sync_with(struct conn *c)
{
	size_t n = 0;

	send_all(c->fd, "PING\r\n", 6);
	do {
		ssize_t r = recv(c->fd, buf + n, sizeof buf - 1 - n, 0);

		if (r <= 0)
			die("recv");
		n += (size_t)r;
		buf[n] = 0;
	} while (!strstr(buf, "PONG\r\n"));
}

static void dial(struct conn *c, const char *sub)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		                  .sin_port = htons((uint16_t)port),
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
	int on = 1;

	memset(c, 0, sizeof *c);
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof at) < 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	send_all(c->fd, hello, sizeof hello - 1);
	if (sub)
		send_all(c->fd, sub, strlen(sub));
	sync_with(c);
}

/* What has come on a socket, not more than is there. */
static size_t take(struct conn *c)
{
	ssize_t r = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);

	if (r == 0 || (r < 0 && errno != EAGAIN))
		die("recv");
	if (r > 0)
		c->in += (uint64_t)r;
	return r > 0 ? (size_t)r : 0;
}

static void push(struct conn *c)
{
	ssize_t r = send(c->fd, c->out + c->sent, c->len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (r < 0 && errno != EAGAIN)
		die("send");
	if (r > 0)
		c->sent += (size_t)r;
	if (c->sent == c->len)
		c->sent = c->len = 0;
}

static size_t message(char *to, const char *subject, int size)
{
	size_t n = (size_t)sprintf(to, "PUB %s %d\r\n", subject, size);

	memset(to + n, 'x', (size_t)size);
	memcpy(to + n + size, "\r\n", 2);
	return n + (size_t)size + 2;
}

/* n messages to `subs` subscribers, no more than AHEAD bytes before the slowest. */
static void publish(const char *name, int size, uint64_t n, int subs)
{
	static struct conn p, s[SUBS_MAX];
	struct pollfd fds[SUBS_MAX + 1];
	static char one[2048];
	size_t len = message(one, "load", size), per = sizeof p.out / len;
	uint64_t queued = 0, got = 0;
	char frame[64];
	int64_t since;

	dial(&p, NULL);
	for (int i = 0; i < subs; i++) {
		dial(&s[i], "SUB load 1\r\n");
		s[i].frame = (size_t)snprintf(frame, sizeof frame, "MSG load 1 %d\r\n", size) +
		             (size_t)size + 2;
	}
	since = cpu_ns();
	while (queued < n || p.len || (subs && got < n)) {
		if (!p.len && queued < n && (!subs || (queued - got) * len < AHEAD)) {
			for (size_t i = 0; i < per && queued < n; i++, queued++, p.len += len)
				memcpy(p.out + p.len, one, len);
		}
		fds[subs] = (struct pollfd){ p.fd, p.len ? POLLOUT : 0, 0 };
		for (int i = 0; i < subs; i++)
			fds[i] = (struct pollfd){ s[i].fd, POLLIN, 0 };
		if (poll(fds, (nfds_t)subs + 1, 5000) <= 0)
			die("nothing moves");
		if (p.len)
			push(&p);
		got = subs ? UINT64_MAX : 0;
		for (int i = 0; i < subs; i++) {
			if (fds[i].revents)
				take(&s[i]);
			if (s[i].in / s[i].frame < got)
				got = s[i].in / s[i].frame;
		}
	}
	sync_with(&p);
	report(name, size, since, subs ? n * (uint64_t)subs : n);
	close(p.fd);
	for (int i = 0; i < subs; i++)
		close(s[i].fd);
}

/* One who asks and one who answers, WINDOW questions at a time. */
static void request(int size, uint64_t n)
{
	static struct conn asker, answerer;
	static char question[2048], answer[2048], text[64];
	size_t ask_len, answer_len = message(answer, "in.box", size);
	uint64_t asked = 0, answered = 0, got = 0;
	int64_t since;

	dial(&asker, "SUB in.box 1\r\n");
	dial(&answerer, "SUB svc 1\r\n");
	ask_len = message(question, "svc in.box", size);
	asker.frame =
		(size_t)snprintf(text, sizeof text, "MSG in.box 1 %d\r\n", size) + (size_t)size + 2;
	answerer.frame = (size_t)snprintf(text, sizeof text, "MSG svc 1 in.box %d\r\n", size) +
	                 (size_t)size + 2;
	since = cpu_ns();
	while (got < n) {
		struct pollfd fds[] = { { asker.fd, POLLIN, 0 }, { answerer.fd, POLLIN, 0 } };

		for (; asked < n && asked - got < WINDOW; asked++, asker.len += ask_len)
			memcpy(asker.out + asker.len, question, ask_len);
		push(&asker);
		if (poll(fds, 2, 5000) <= 0)
			die("nothing moves");
		take(&answerer);
		for (; answered < answerer.in / answerer.frame;
		     answered++, answerer.len += answer_len)
			memcpy(answerer.out + answerer.len, answer, answer_len);
		push(&answerer);
		take(&asker);
		got = asker.in / asker.frame;
	}
	report("request-64", size, since, n);
	close(asker.fd);
	close(answerer.fd);
}

static uint64_t resident(void)
{
	unsigned long size, pages = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/statm", server);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%lu %lu", &size, &pages) != 2)
		die(path);
	fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void idle(void)
{
	static struct conn c;
	uint64_t before = resident();

	for (int i = 0; i < IDLE; i++) {
		char sub[64];

		snprintf(sub, sizeof sub, "SUB idle.%d 1\r\n", i);
		dial(&c, sub);
	}
	printf("idle-bytes %.0f\n", (double)(resident() - before) / IDLE);
}

int main(int argc, char **argv)
{
	static const int sizes[] = { 16, 128, 1024 };

	if (argc != 3)
		return 2;
	port = atoi(argv[1]);
	server = atoi(argv[2]);
	idle();
	for (int i = 0; i < 3; i++) {
		uint64_t n = sizes[i] == 1024 ? 500000 : 2000000;

		publish("publish", sizes[i], n, 0);
		publish("one-to-one", sizes[i], n / 2, 1);
		publish("one-to-ten", sizes[i], n / 8, 10);
	}
	request(16, 200000);
	return 0;
}
