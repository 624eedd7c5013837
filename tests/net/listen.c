/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <weir/group.h>
#include <weir/net.h>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "net/addr.h"
#include "net/conn.h"

/* A client without Weir, so that nothing of it needs a task. */
static int raw_dial(const char *addr)
{
	struct weir__addr a;
	int fd;

	CHECK_EQ(weir__addr_parse(addr, &a), 0);
	fd = socket(a.ip.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK_EQ(connect(fd, &a.ip.any, a.len), 0);
	return fd;
}

struct closing {
	weir_listener *l;
	int64_t woke_ns;
};

static int accept_until_closed(const weir_ctx *ctx, void *arg)
{
	struct closing *c = arg;
	weir_conn *conn;

	CHECK_EQ(weir_accept(ctx, c->l, &conn), 0);
	__atomic_store_n(&c->woke_ns, weir_now(), __ATOMIC_RELAXED);
	return 0;
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void see(const weir_task_info *info, void *arg)
{
	if (info->waits_on && !strcmp(info->waits_on, "accept"))
		*(bool *)arg = true;
}

static void close_wakes(const weir_ctx *ctx, const char *addr)
{
	enum { ROUNDS = 1000 };
	int64_t *took = calloc(ROUNDS, sizeof *took);

	for (int i = 0; i < ROUNDS; i++) {
		struct closing c = { 0 };
		bool waits = false;
		int64_t from;
		weir_group g;

		CHECK_EQ(weir_listen(addr, &c.l), 0);
		weir_group_init(&g, ctx);
		CHECK_EQ(weir_group_go_on(&g, !weir_worker(), accept_until_closed, &c), 0);
		while (!waits) {
			weir_each_task(see, &waits);
			weir_yield(ctx);
		}
		from = weir_now();
		weir_listener_close(c.l);
		CHECK_EQ(weir_group_wait(&g), 0);
		took[i] = c.woke_ns - from;
		weir_listener_free(c.l);
	}
	qsort(took, ROUNDS, sizeof *took, by_size);
	printf("  close wakes accept on %s: median %lld us, 99%% %lld us\n", addr,
	       (long long)took[ROUNDS / 2] / 1000, (long long)took[ROUNDS * 99 / 100] / 1000);
	CHECK(took[ROUNDS / 2] < WEIR_MS(1));
	free(took);
}

TASK(close_wakes_accept_within_a_millisecond)
{
	close_wakes(ctx, "127.0.0.1:0");
	close_wakes(ctx, "mem:close");
}

TASK(what_the_kernel_accepted_is_handed_out_after_close)
{
	char unix_addr[64];
	const char *kinds[] = { "127.0.0.1:0", unix_addr, "mem:handed" };

	snprintf(unix_addr, sizeof unix_addr, "unix:/tmp/weir-test-%d.sock", (int)getpid());
	for (int k = 0; k < 3; k++) {
		weir_conn *c, *late, *client[5];
		char addr[WEIR__ADDR_TEXT_MAX], x;
		weir_listener *l;

		CHECK_EQ(weir_listen(kinds[k], &l), 0);
		snprintf(addr, sizeof addr, "%s", weir_listener_addr(l));
		for (int i = 0; i < 5; i++) {
			CHECK_EQ(weir_dial(ctx, addr, &client[i]), 0);
			CHECK_EQ(weir_conn_write(ctx, client[i], &"01234"[i], 1), 0);
		}
		weir_listener_close(l);
		weir_listener_close(l);
		for (int i = 0; i < 5; i++) {
			CHECK_EQ(weir_accept(ctx, l, &c), 1);
			CHECK_EQ(weir_conn_read(ctx, c, &x, 1), 1);
			CHECK_EQ(x, "01234"[i]);
			weir_conn_free(c);
		}
		CHECK_EQ(weir_accept(ctx, l, &c), 0);
		CHECK_EQ(weir_accept(ctx, l, &c), 0);
		CHECK(weir_dial(ctx, addr, &late) < 0);
		for (int i = 0; i < 5; i++)
			weir_conn_free(client[i]);
		weir_listener_free(l);
	}
}

TASK(accept_ends_with_its_context)
{
	const char *kinds[] = { "127.0.0.1:0", "mem:ctx" };

	for (int k = 0; k < 2; k++) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5)), live, dead;
		weir_listener *l;
		weir_conn *c, *client;

		CHECK_EQ(weir_listen(kinds[k], &l), 0);
		CHECK_EQ(weir_accept(&soon, l, &c), -ETIMEDOUT);
		CHECK_EQ(weir_dial(ctx, weir_listener_addr(l), &client), 0);
		CHECK_EQ(weir_scope_open(ctx, &dead), 0);
		live = weir_ctx_until_drain(&dead);
		weir_scope_drain(dead.scope);
		CHECK_EQ(weir_accept(&live, l, &c), -ESHUTDOWN);
		weir_scope_close(dead.scope);
		CHECK_EQ(weir_accept(ctx, l, &c), 1); /* it stayed there */
		weir_conn_free(c);
		weir_conn_free(client);
		weir_listener_free(l);
	}
}

static int accept_any(const weir_ctx *ctx, void *arg)
{
	weir_conn *c;

	return weir_accept(ctx, arg, &c);
}

TASK(a_second_accept_is_busy)
{
	weir_listener *l;
	bool waits = false;
	weir_group g;
	weir_conn *c;

	CHECK_EQ(weir_listen("127.0.0.1:0", &l), 0);
	weir_group_init(&g, ctx);
	CHECK_EQ(weir_group_go(&g, accept_any, l), 0);
	while (!waits) {
		weir_each_task(see, &waits);
		weir_yield(ctx);
	}
	CHECK_EQ(weir_accept(ctx, l, &c), -EBUSY);
	weir_listener_close(l);
	CHECK_EQ(weir_group_wait(&g), 0);
	weir_listener_free(l);
}

TASK(accepted_connections_know_their_peer_and_do_not_delay)
{
	weir_listener *l;
	weir_conn *c;
	int fd, on = 0;
	socklen_t len = sizeof on;

	CHECK_EQ(weir_listen(":0", &l), 0);
	CHECK(!strncmp(weir_listener_addr(l), "[::]:", 5));
	fd = raw_dial(weir_listener_addr(l));
	CHECK_EQ(weir_accept(ctx, l, &c), 1);
	CHECK(!strncmp(weir_conn_peer(c), "[::1]:", 6));
	CHECK_EQ(getsockopt(weir__conn_fd(c)->fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	CHECK(on);
	CHECK(fcntl(weir__conn_fd(c)->fd, F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(weir__conn_fd(c)->fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	weir_conn_free(c);
	weir_listener_free(l);
}

TASK(every_interface_takes_ipv4_too)
{
	char addr[64];
	weir_listener *l;
	weir_conn *c;
	int fd;

	CHECK_EQ(weir_listen(":0", &l), 0);
	snprintf(addr, sizeof addr, "127.0.0.1%s", strrchr(weir_listener_addr(l), ':'));
	fd = raw_dial(addr);
	CHECK_EQ(weir_accept(ctx, l, &c), 1);
	CHECK(!strncmp(weir_conn_peer(c), "127.0.0.1:", 10));
	close(fd);
	weir_conn_free(c);
	weir_listener_free(l);
}

TASK(a_taken_address_is_refused)
{
	weir_listener *l, *m;

	CHECK_EQ(weir_listen("127.0.0.1:0", &l), 0);
	CHECK_EQ(weir_listen(weir_listener_addr(l), &m), -EADDRINUSE);
	weir_listener_free(l);
	CHECK_EQ(weir_listen("mem:taken", &l), 0);
	CHECK_EQ(weir_listen("mem:taken", &m), -EADDRINUSE);
	weir_listener_close(l);
	CHECK_EQ(weir_listen("mem:taken", &m), 0);
	weir_listener_free(l);
	weir_listener_free(m);
	CHECK_EQ(weir_listen("example.org:80", &l), -EINVAL);
	CHECK_EQ(weir_listen("nonsense", &l), -EINVAL);
}

TASK(the_file_of_a_dead_server_is_replaced_and_of_a_live_one_respected)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char addr[64], *path = addr + 5;
	weir_listener *l, *m;
	struct stat st;
	int fd;

	snprintf(addr, sizeof addr, "unix:/tmp/weir-test-%d.sock", (int)getpid());
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	CHECK_EQ(listen(fd, 1), 0);
	CHECK_EQ(weir_listen(addr, &l), -EADDRINUSE);
	close(fd); /* as if killed: the file stays */

	CHECK_EQ(weir_listen(addr, &l), 0);
	CHECK_STR(weir_listener_addr(l), addr);
	CHECK_EQ(weir_listen(addr, &m), -EADDRINUSE);
	weir_listener_close(l);
	CHECK_EQ(stat(path, &st), -1);

	/* The next server's file survives the end of this one. */
	CHECK_EQ(weir_listen(addr, &m), 0);
	weir_listener_free(l);
	CHECK_EQ(stat(path, &st), 0);
	weir_listener_free(m);
	CHECK_EQ(stat(path, &st), -1);

	/* What is no socket is not touched. */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	CHECK_EQ(weir_listen(addr, &l), -EADDRINUSE);
	CHECK_EQ(unlink(path), 0);
}

TASK(a_listening_socket_is_taken_over_and_left_alive_for_others)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), copy, client, on = 0;
	socklen_t len = sizeof on;
	weir_listener *l;
	weir_conn *c;

	CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	CHECK_EQ(weir_listen_fd(fd, &l), -EINVAL);
	CHECK_EQ(listen(fd, 5), 0);
	copy = dup(fd);
	CHECK_EQ(weir_listen_fd(fd, &l), 0);
	client = raw_dial(weir_listener_addr(l));
	weir_listener_close(l);
	CHECK_EQ(weir_accept(ctx, l, &c), 1);
	CHECK_EQ(weir_accept(ctx, l, &c), 0);
	/* A peer that vanishes is noticed on these connections, too. */
	CHECK_EQ(getsockopt(weir__conn_fd(c)->fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
	CHECK(on);
	CHECK_EQ(getsockopt(weir__conn_fd(c)->fd, IPPROTO_TCP, TCP_KEEPIDLE, &on, &len), 0);
	CHECK_EQ(on, 60);
	CHECK_EQ(getsockopt(copy, SOL_SOCKET, SO_ACCEPTCONN, &on, &len), 0);
	CHECK(on);
	close(raw_dial(weir_listener_addr(l)));
	close(client);
	close(copy);
	weir_conn_free(c);
	weir_listener_free(l);
}

TASK(running_out_of_descriptors_waits_and_goes_on)
{
	struct rlimit old, none;
	struct timespec from, to;
	weir_listener *l;
	weir_conn *c;
	weir_ctx soon;
	int fd;

	CHECK_EQ(weir_listen("127.0.0.1:0", &l), 0);
	soon = weir_ctx_timeout(ctx, WEIR_MS(1));
	CHECK_EQ(weir_accept(&soon, l, &c), -ETIMEDOUT); /* registered now */
	fd = raw_dial(weir_listener_addr(l));
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = (rlim_t)fd + 1; /* the lowest free number may be a hole below */
	setrlimit(RLIMIT_NOFILE, &none);
	int fill[64], n = 0;
	while (n < 64 && (fill[n] = dup(0)) >= 0)
		n++;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	soon = weir_ctx_timeout(ctx, WEIR_MS(450));
	CHECK_EQ(weir_accept(&soon, l, &c), -ETIMEDOUT);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	CHECK((to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec < WEIR_MS(200));

	setrlimit(RLIMIT_NOFILE, &old);
	CHECK_EQ(weir_accept(ctx, l, &c), 1);
	while (n > 0)
		close(fill[--n]);
	close(fd);
	weir_conn_free(c);
	weir_listener_free(l);
}

/* ---- Dialing ---- */

TASK(nobody_there_is_refused)
{
	char addr[WEIR__ADDR_TEXT_MAX];
	weir_listener *l;
	weir_conn *c;

	CHECK_EQ(weir_listen("127.0.0.1:0", &l), 0);
	snprintf(addr, sizeof addr, "%s", weir_listener_addr(l));
	weir_listener_free(l);
	CHECK_EQ(weir_dial(ctx, addr, &c), -ECONNREFUSED);
	CHECK_EQ(weir_dial(ctx, "mem:nobody", &c), -ECONNREFUSED);
	CHECK_EQ(weir_dial(ctx, "unix:/nonexistent/sock", &c), -ENOENT);
	CHECK_EQ(weir_dial(ctx, "127.0.0.1", &c), -EINVAL);
}

TASK(localhost_finds_ipv6_when_ipv4_refuses)
{
	char addr[64];
	weir_listener *l;
	weir_conn *c;

	CHECK_EQ(weir_listen("[::1]:0", &l), 0);
	snprintf(addr, sizeof addr, "localhost%s", strrchr(weir_listener_addr(l), ':'));
	CHECK_EQ(weir_dial(ctx, addr, &c), 0);
	CHECK_STR(weir_conn_peer(c), weir_listener_addr(l));
	weir_conn_free(c);
	weir_listener_free(l);
}

TASK(names_are_looked_up_by_dial)
{
	char host[64], addr[128];
	struct addrinfo *found;
	weir_listener *l;
	weir_conn *c;

	/* The one name that a machine knows without asking others, if it knows any. */
	if (gethostname(host, sizeof host) < 0 || getaddrinfo(host, NULL, NULL, &found) != 0)
		return;
	freeaddrinfo(found);
	CHECK_EQ(weir_listen(":0", &l), 0);
	snprintf(addr, sizeof addr, "%s%s", host, strrchr(weir_listener_addr(l), ':'));
	CHECK_EQ(weir_dial(ctx, addr, &c), 0);
	weir_conn_free(c);
	weir_listener_free(l);
}

TASK(a_dial_that_nobody_answers_ends_with_its_context)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM, 0), filler[8];
	char addr[64];
	weir_ctx soon;
	weir_conn *c;

	/* A full queue of accepted connections makes the kernel drop what comes next. */
	CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	CHECK_EQ(listen(fd, 0), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	for (int i = 0; i < 8; i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(filler[i], (struct sockaddr *)&at, len);
	}
	snprintf(addr, sizeof addr, "127.0.0.1:%d", ntohs(at.sin_port));
	soon = weir_ctx_timeout(ctx, WEIR_MS(30));
	CHECK_EQ(weir_dial(&soon, addr, &c), -ETIMEDOUT);
	for (int i = 0; i < 8; i++)
		close(filler[i]);
	close(fd);
}

TASK(a_full_unix_queue_is_waited_for)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), first;
	char addr[64];
	weir_ctx soon;
	weir_conn *c, *d;

	snprintf(addr, sizeof addr, "unix:/tmp/weir-test-%d.sock", (int)getpid());
	strcpy(un.sun_path, addr + 5);
	CHECK_EQ(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	CHECK_EQ(listen(fd, 0), 0);
	CHECK_EQ(weir_dial(ctx, addr, &c), 0);
	soon = weir_ctx_timeout(ctx, WEIR_MS(20));
	CHECK_EQ(weir_dial(&soon, addr, &d), -ETIMEDOUT);
	first = accept(fd, NULL, NULL);
	CHECK_EQ(weir_dial(ctx, addr, &d), 0);
	close(first);
	close(fd);
	unlink(un.sun_path);
	weir_conn_free(c);
	weir_conn_free(d);
}

/* A host of two addresses of which the first is silent: its queue is full, and what comes is
 * dropped. */
TASK(a_silent_address_leaves_the_next_one_its_part_of_the_time)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(2));
	struct sockaddr_in at = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), full[8];
	weir_listener *l;
	char addr[40];
	weir_conn *c;

	CHECK_EQ(bind(silent, (struct sockaddr *)&at, len), 0);
	CHECK_EQ(listen(silent, 0), 0);
	CHECK_EQ(getsockname(silent, (struct sockaddr *)&at, &len), 0);
	snprintf(addr, sizeof addr, "[::1]:%u", ntohs(at.sin_port));
	if (weir_listen(addr, &l) < 0) {
		printf("# skipped: no IPv6\n");
		close(silent);
		return;
	}
	for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
		full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(full[i], (struct sockaddr *)&at, len);
	}
	snprintf(addr, sizeof addr, "localhost:%u", ntohs(at.sin_port));
	CHECK_EQ(weir_dial(&soon, addr, &c), 0);
	weir_conn_free(c);
	weir_listener_free(l);
	for (size_t i = 0; i < sizeof full / sizeof *full; i++)
		close(full[i]);
	close(silent);
}
