/* SPDX-License-Identifier: MIT */
/* White box: orders in a line to RabbitMQ, a line that finds no server, and what counts as
 * heard. */
#include "queue/rabbit_op.c"
#include "queue_test.h"

#include <amqp_tcp_socket.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void line_init(struct weir__rmq_line *l)
{
	*l = (struct weir__rmq_line){ .up = true };
	weir__list_init(&l->orders);
	l->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK(l->event >= 0);
}

static struct weir__rmq_op *order(enum weir__rmq_verb verb, size_t bytes)
{
	struct weir__rmq_op *op = weir__rmq_op_new(verb, "q", bytes);

	CHECK(op);
	return op;
}

TASK(a_put_whose_task_has_left_is_not_begun)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(10));
	struct weir__rmq_op *op = order(WEIR__RMQ_PUT, 100);
	struct weir__rmq_line l;

	line_init(&l);
	CHECK_EQ(weir__rmq_call(&soon, &l, op), -ETIMEDOUT);
	CHECK_EQ(op->refs, 1);
	weir__rmq_op_unref(op);
	CHECK(!weir__rmq_next(&l));
	CHECK_EQ(l.orders_n, 0);
	CHECK_EQ(l.orders_bytes, 0);
	close(l.event);
}

TASK(the_end_of_a_job_is_said_whether_somebody_waits_or_not)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(10));
	struct weir__rmq_op *op = order(WEIR__RMQ_ACK, 0);
	struct weir__rmq_line l;

	line_init(&l);
	CHECK_EQ(weir__rmq_call(&soon, &l, op), -ETIMEDOUT);
	CHECK(weir__rmq_next(&l) == op);
	weir__rmq_op_unref(op);
	weir__rmq_end(op, 0);
	close(l.event);
}

TEST(an_order_that_cannot_be_begun_now_is_the_next_one_until_its_time_is_over)
{
	struct weir__rmq_op *op = order(WEIR__RMQ_PUT, 0), *other = order(WEIR__RMQ_PUT, 0);
	struct weir__rmq_line l;

	line_init(&l);
	CHECK_EQ(hand_over(&l, op), 0);
	CHECK_EQ(hand_over(&l, other), 0);
	CHECK(weir__rmq_next(&l) == op);
	weir__rmq_not_yet(&l, op);
	CHECK(weir__rmq_next(&l) == op);
	op->end_ns = 0;
	weir__rmq_not_yet(&l, op);
	CHECK(op->ended);
	CHECK_EQ(op->result, -EAGAIN);
	CHECK(weir__rmq_next(&l) == other);
	other->left = true; /* between the two, which its task does not see */
	weir__rmq_not_yet(&l, other);
	CHECK(!weir__rmq_next(&l));
	weir__rmq_op_unref(op);
	weir__rmq_op_unref(other);
	close(l.event);
}

TEST(puts_that_wait_are_bounded_in_bytes_and_in_number)
{
	enum { SOME = 1 << 20 };
	struct weir__rmq_op *op, *more;
	struct weir__rmq_line l;
	size_t n = 0;

	line_init(&l);
	while (hand_over(&l, op = order(WEIR__RMQ_PUT, SOME)) == 0)
		n++;
	CHECK(n > 1 && n <= ORDERS_BYTES / SOME);
	more = order(WEIR__RMQ_ACK, 0); /* what ends jobs finds its place all the same */
	CHECK_EQ(hand_over(&l, more), 0);
	free(op);
	while ((op = weir__rmq_next(&l)))
		free(op);
	for (n = 0; hand_over(&l, op = order(WEIR__RMQ_PUT, 0)) == 0; n++)
		CHECK(n < ORDERS_MAX);
	CHECK_EQ(n, ORDERS_MAX);
	free(op);
	while ((op = weir__rmq_next(&l)))
		free(op);
	close(l.event);
}

/* ---- Servers that are not there ---- */

/* It takes connections, and never says a word. */
static int mute_server(struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof *at;

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)at, len) == 0 && listen(fd, 16) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)at, &len) == 0);
	return fd;
}

TASK(a_handshake_that_is_not_answered_holds_up_nobody)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(100));
	struct sockaddr_in at;
	int64_t since = weir_now();
	weir_store *s;
	char url[64];
	int fd = mute_server(&at);

	snprintf(url, sizeof url, "amqp://127.0.0.1:%d", ntohs(at.sin_port));
	CHECK_EQ(weir_store_open(&soon, url, NULL, &s), -ETIMEDOUT);
	CHECK(weir_now() - since < WEIR_SEC(4)); /* it is given up by itself after 5 s */
	close(fd);
}

/* The bits of blocked signals of all threads of this process, by their number; how many. */
static int threads(long tid[64], uint64_t blocked[64])
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	CHECK(d);
	while ((e = readdir(d)) && n < 64) {
		char path[300], line[256];
		FILE *f;

		snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
		f = *e->d_name == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		while (fgets(line, sizeof line, f))
			if (!strncmp(line, "SigBlk:", 7))
				blocked[n] = strtoull(line + 7, NULL, 16);
		tid[n++] = strtol(e->d_name, NULL, 10);
		fclose(f);
	}
	closedir(d);
	return n;
}

TASK(a_lines_thread_takes_no_signals)
{
	weir_ctx none = weir_ctx_timeout(ctx, 0);
	static long before[64], after[64];
	static uint64_t blocked[64];
	struct weir__rmq *rmq = calloc(1, sizeof *rmq);
	int fd, old, now, fresh = 0;
	struct sockaddr_in at;
	char url[64];

	fd = mute_server(&at);
	rmq->refs = 1;
	weir__list_init(&rmq->queues);
	snprintf(url, sizeof url, "amqp://127.0.0.1:%d", ntohs(at.sin_port));
	CHECK_EQ(weir__rmq_url_read(&rmq->url, url), 0);
	old = threads(before, blocked);
	CHECK_EQ(weir__rmq_line_start(&rmq->puts, rmq, &weir__rmq_puts), 0);
	now = threads(after, blocked);
	for (int i = 0; i < now; i++) {
		bool known = false;

		for (int k = 0; k < old; k++)
			known = known || before[k] == after[i];
		if (known)
			continue;
		fresh++;
		CHECK(blocked[i] >> (SIGTERM - 1) & 1);
		CHECK(blocked[i] >> (SIGUSR1 - 1) & 1);
	}
	CHECK_EQ(fresh, 1);
	weir__rmq_line_end(&none, &rmq->puts);
	weir__rmq_unref(rmq);
	close(fd);
}

TEST(what_any_call_has_read_counts_as_heard)
{
	struct weir__rmq rmq = { .url = { .host = { "localhost" } } };
	struct weir__rmq_line l = { .rmq = &rmq, .silence_ns = WEIR_SEC(10) };
	amqp_socket_t *s;
	struct sockaddr_in at;
	int fd = mute_server(&at), ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), theirs;
	char c;

	CHECK(connect(ours, (struct sockaddr *)&at, sizeof at) == 0);
	theirs = accept(fd, NULL, NULL);
	CHECK(theirs >= 0 && write(theirs, "x", 1) == 1);
	CHECK(read(ours, &c, 1) == 1); /* as a call of rabbitmq-c does, without a word */
	l.conn = amqp_new_connection();
	s = amqp_tcp_socket_new(l.conn);
	amqp_tcp_socket_set_sockfd(s, ours);
	l.heard = weir_now() - WEIR_SEC(60);
	CHECK(!weir__rmq_silent(&l));
	CHECK(weir_now() - l.heard < WEIR_SEC(9));
	l.silence_ns = 0;
	CHECK(weir__rmq_silent(&l));
	CHECK_EQ(amqp_destroy_connection(l.conn), AMQP_STATUS_OK);
	close(theirs);
	close(fd);
}
