/* SPDX-License-Identifier: MIT */
/* White box: what requests to SQS do about names that are not known and about answers that come
 * when their task is to stop. */
#include "queue/sqs.h"
#include "queue_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weir/group.h>

TASK(a_host_that_is_not_known_makes_the_engine_away)
{
	struct weir__sqs *s = calloc(1, sizeof *s);
	struct weir__parcel p = { .url = NULL };
	struct weir__url_addrs addrs;

	weir_sem_init(&s->fallen, 0);
	s->up = true;
	snprintf(s->at.host, sizeof s->at.host, "a..b"); /* no name server is asked */
	s->at.port = 80;
	CHECK_EQ(weir__sqs_look_up(ctx, s, &addrs, &p), -ENOTCONN);
	CHECK(!s->up);
	CHECK_EQ(weir_sem_try_take(&s->fallen), 0); /* its prober is called */
	free(s);
}

struct carrying {
	struct weir__courier *courier;
	struct weir__parcel p;
	int result;
};

static int carry(const weir_ctx *ctx, void *arg)
{
	struct carrying *c = arg;

	c->result = weir__courier_carry(ctx, c->courier, &c->p, 1);
	return 0;
}

/* How a request ends that is answered after its task was cancelled. */
static struct carrying answer_late(const weir_ctx *ctx, int64_t late_ns)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
	struct sockaddr_in at = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), peer;
	struct carrying c = { .courier = weir__courier_new() };
	char url[64], buf[1024];
	weir_group g;

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 1) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
	snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(at.sin_port));
	c.p = (struct weir__parcel){ .url = url,
		                     .host = "127.0.0.1",
		                     .port = ntohs(at.sin_port),
		                     .addrs = { "127.0.0.1" },
		                     .timeout_ns = WEIR_SEC(60),
		                     .late_ns = late_ns,
		                     .answer_max = 16,
		                     .get = true,
		                     .allow_private = true };
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, carry, &c), 0);
	while ((peer = accept(fd, NULL, NULL)) < 0)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	CHECK(fcntl(peer, F_SETFL, O_NONBLOCK) == 0);
	while (read(peer, buf, sizeof buf) <= 0)
		CHECK_EQ(weir_sleep(ctx, WEIR_MS(1)), 0);
	weir_group_cancel(&g);
	if (late_ns)
		CHECK(write(peer, answer, sizeof answer - 1) == sizeof answer - 1);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir__buf_free(&c.p.answer);
	weir__courier_free(c.courier);
	close(peer);
	close(fd);
	return c;
}

TASK(an_answer_that_cannot_be_called_back_is_waited_for_when_its_task_is_to_stop)
{
	struct carrying c = answer_late(ctx, WEIR_SEC(60));

	CHECK_EQ(c.result, 0);
	CHECK_EQ(c.p.result, 0);
	CHECK_EQ(c.p.status, 200);
}

TASK(what_can_be_called_back_ends_with_its_task)
{
	struct carrying c = answer_late(ctx, 0);

	CHECK_EQ(c.result, -ECANCELED);
	CHECK_EQ(c.p.result, -ECANCELED);
}
