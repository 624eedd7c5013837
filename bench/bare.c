/* SPDX-License-Identifier: MIT */
/*
 * The least that a durable put over a socket can be: one thread that receives and answers, another
 * that writes and syncs, and a hand-over between them there and back. It writes as many bytes as
 * SQLite's log takes for a job, over and over into a file that does not grow, and knows one
 * connection.
 *
 *	bench-bare PORT FILE
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME = 4120, FRAMES = 4096 };

static sem_t asked, done;
static int file;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *writer(void *arg)
{
	static const char frame[FRAME];

	(void)arg;
	for (int n = 0;; n = (n + 1) % FRAMES) {
		while (sem_wait(&asked) < 0)
			;
		if (pwrite(file, frame, FRAME, (off_t)n * FRAME) != FRAME || fdatasync(file) < 0)
			fail("write");
		sem_post(&done);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, fd;
	static const char head[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 233\r\n\r\n";
	static char answer[sizeof head - 1 + 233], frame[FRAME]; /* as long as Weir's */
	pthread_t thread;
	char buf[4096];

	if (argc != 3)
		return 2;
	file = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (int i = 0; file >= 0 && i < FRAMES; i++)
		if (pwrite(file, frame, FRAME, (off_t)i * FRAME) != FRAME)
			fail("write");
	memset(answer, 'x', sizeof answer);
	memcpy(answer, head, sizeof head - 1);
	sem_init(&asked, 0, 0);
	sem_init(&done, 0, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)strtol(argv[1], NULL, 10));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (file < 0 || fsync(file) < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 ||
	    listen(listener, 16) < 0)
		fail(argv[2]);
	if (pthread_create(&thread, NULL, writer, NULL))
		fail("thread");
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		while (recv(fd, buf, sizeof buf, 0) > 0) {
			sem_post(&asked);
			while (sem_wait(&done) < 0)
				;
			if (send(fd, answer, sizeof answer, MSG_NOSIGNAL) < 0)
				break;
		}
		close(fd);
	}
	return 0;
}
