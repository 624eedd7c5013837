/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <weir/http_client.h>
#include <weir/port.h>
#include <weir/server.h>

#include "server/notify.h"

/* What happened, in order: "open a", "run b", … */
static char story[512];

static void tell(const char *what, const char *who)
{
	size_t n = strlen(story);

	snprintf(story + n, sizeof story - n, "%s%s %s", n ? ", " : "", what, who);
}

static int open_it(const weir_ctx *ctx, void *name)
{
	(void)ctx;
	tell("open", name);
	return 0;
}

static int fail_to_open(const weir_ctx *ctx, void *name)
{
	(void)ctx;
	tell("fail", name);
	return -ENODEV;
}

static int run_it(const weir_ctx *ctx, void *name)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int r = weir_sleep(&live, WEIR_HOUR(1));

	CHECK(r == -ESHUTDOWN || r == -ECANCELED);
	tell("end", name);
	return 0;
}

static int close_it(const weir_ctx *ctx, void *name)
{
	tell("close", name);
	return weir_sleep(ctx, WEIR_MS(10)); /* It may wait, even after a cancel. */
}

static void on_step(const char *step, void *arg)
{
	(void)arg;
	tell("step", step);
}

static weir_service service(const char *name)
{
	return (weir_service){ .name = name,
		               .open = open_it,
		               .run = run_it,
		               .close = close_it,
		               .arg = (void *)(uintptr_t)name };
}

struct running {
	weir_server *server;
	weir_group group;
	int result;
};

static int run_server(const weir_ctx *ctx, void *arg)
{
	struct running *run = arg;

	run->result = weir_server_run(ctx, run->server);
	return 0;
}

/* A server at mem:ADDR with a service a, then b. */
static void start(const weir_ctx *ctx, struct running *run, const char *addr)
{
	weir_service a = service("a"), b = service("b");

	story[0] = '\0';
	run->server = weir_server_new(NULL);
	CHECK(run->server);
	CHECK_EQ(weir_server_add(run->server, &a), 0);
	CHECK_EQ(weir_server_add(run->server, &b), 0);
	CHECK_EQ(weir_server_listen(run->server, addr), 0);
	weir_server_on_step(run->server, on_step, NULL);
	weir_group_init(&run->group, ctx);
}

static void go(struct running *run)
{
	CHECK_EQ(weir_group_go(&run->group, run_server, run), 0);
}

static void finish(struct running *run)
{
	CHECK_EQ(weir_group_wait(&run->group), 0);
	weir_server_free(run->server);
}

SIM(services_close_in_reverse_order_each_after_the_one_above_it_was_joined, 50)
{
	struct running run;

	start(ctx, &run, "mem:order");
	go(&run);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK(weir_server_ready(run.server));
	weir_group_drain(&run.group);
	finish(&run);
	CHECK_EQ(run.result, 0);
	CHECK_STR(story,
	          "open a, open b, step ready, step drain, step listeners-closed, step drained, "
	          "end b, close b, end a, close a");
}

SIM(close_may_wait_although_all_was_cancelled, 50)
{
	struct running run;

	start(ctx, &run, "mem:cancel");
	go(&run);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	weir_group_drain(&run.group);
	weir_group_cancel(&run.group);
	finish(&run);
	CHECK_EQ(run.result, 0);
	CHECK(strstr(story, "close b") && strstr(story, "close a"));
}

static int fail_to_run(const weir_ctx *ctx, void *name)
{
	(void)ctx;
	tell("fail", name);
	return -EIO;
}

SIM(the_first_error_of_a_service_is_the_result_and_the_others_close_all_the_same, 50)
{
	struct running run;
	weir_service c = {
		.name = "c", .run = fail_to_run, .close = fail_to_open, .arg = (void *)"c"
	};

	start(ctx, &run, "mem:failing");
	CHECK_EQ(weir_server_add(run.server, &c), 0);
	go(&run);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	weir_group_drain(&run.group);
	finish(&run);
	CHECK_EQ(run.result, -EIO);
	CHECK(strstr(story, "fail c, end b, close b, end a, close a"));
}

static int fail_later(const weir_ctx *ctx, void *name)
{
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	tell("fail", name);
	return -EIO;
}

static int be_done(const weir_ctx *ctx, void *name)
{
	CHECK_EQ(weir_sleep(ctx, WEIR_MS(500)), 0);
	tell("done", name);
	return 0;
}

SIM(a_service_that_fails_ends_the_server_with_its_error_and_one_that_is_done_does_not, 50)
{
	struct running run;
	weir_service c = { .name = "c", .run = be_done, .arg = (void *)"c" };
	weir_service d = { .name = "d", .run = fail_later, .arg = (void *)"d" };

	start(ctx, &run, "mem:ends");
	CHECK_EQ(weir_server_add(run.server, &c), 0);
	CHECK_EQ(weir_server_add(run.server, &d), 0);
	go(&run);
	finish(&run); /* Nobody asks for the stop. */
	CHECK_EQ(run.result, -EIO);
	CHECK_STR(story, "open a, open b, step ready, done c, fail d, step drain, "
	                 "step listeners-closed, step drained, end b, close b, end a, close a");
}

SIM(a_service_that_fails_while_others_start_keeps_the_server_from_serving, 50)
{
	struct running run;
	weir_service c = { .name = "c", .run = fail_to_run, .arg = (void *)"c" };
	weir_service d = { .name = "d", .open = close_it, .arg = (void *)"d" }; /* waits */

	start(ctx, &run, "mem:early");
	CHECK_EQ(weir_server_add(run.server, &c), 0);
	CHECK_EQ(weir_server_add(run.server, &d), 0);
	go(&run);
	finish(&run);
	CHECK_EQ(run.result, -EIO);
	CHECK(!strstr(story, "step ready"));
}

SIM(a_server_runs_once_and_a_second_run_is_refused, 50)
{
	struct running run;

	start(ctx, &run, "mem:once");
	go(&run);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(weir_server_run(ctx, run.server), -EBUSY);
	CHECK(weir_server_ready(run.server));
	weir_group_drain(&run.group);
	CHECK_EQ(weir_group_wait(&run.group), 0);
	CHECK_EQ(run.result, 0);
	CHECK_EQ(weir_server_run(ctx, run.server), -EINVAL);
	weir_server_free(run.server);
}

SIM(two_servers_run_in_one_program_at_once_and_in_turn, 50)
{
	struct running run[2];

	for (int round = 0; round < 2; round++) {
		start(ctx, &run[0], "mem:first");
		start(ctx, &run[1], "mem:second");
		go(&run[0]);
		go(&run[1]);
		CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
		CHECK(weir_server_ready(run[0].server) && weir_server_ready(run[1].server));
		/* One of both ends first, and it is not always the one that began first. */
		weir_group_drain(&run[round].group);
		CHECK_EQ(weir_group_wait(&run[round].group), 0);
		CHECK(weir_server_ready(run[!round].server));
		weir_group_drain(&run[!round].group);
		CHECK_EQ(weir_group_wait(&run[!round].group), 0);
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(run[i].result, 0);
			weir_server_free(run[i].server);
		}
	}
}

static int sleep_long(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	return weir_sleep(ctx, WEIR_HOUR(1));
}

static int run_for_a_second(const weir_ctx *ctx, void *arg)
{
	weir_ctx second = weir_ctx_timeout(ctx, WEIR_SEC(1));

	return run_server(&second, arg);
}

SIM(a_server_whose_time_is_over_has_stopped_cleanly_and_the_program_goes_on, 50)
{
	struct running run = { .server = weir_server_new(NULL) };

	CHECK_EQ(weir_server_service(run.server, "sleeper", sleep_long, NULL, NULL), 0);
	CHECK_EQ(weir_server_listen(run.server, "mem:time"), 0);
	weir_group_init(&run.group, ctx);
	CHECK_EQ(weir_group_go(&run.group, run_for_a_second, &run), 0);
	finish(&run);
	CHECK_EQ(run.result, 0);
	CHECK(weir_stop_left() == WEIR_NEVER);
}

SIM(what_was_opened_is_closed_when_a_later_service_fails, 50)
{
	struct running run;
	weir_service c = {
		.name = "c", .open = fail_to_open, .close = close_it, .arg = (void *)"c"
	};

	start(ctx, &run, "mem:fail");
	CHECK_EQ(weir_server_add(run.server, &c), 0);
	go(&run);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK(!weir_server_ready(run.server));
	finish(&run);
	CHECK_EQ(run.result, -ENODEV);
	CHECK_STR(story, "open a, open b, fail c, end b, close b, end a, close a");
}

/* An owner that answers every call with a number, as slowly as it is asked to. */
struct owner {
	weir_port *port;
};

static int own(const weir_ctx *ctx, void *arg)
{
	struct owner *o = arg;
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_call *call;
	int64_t ns;
	int r;

	while ((r = weir_port_recv(&live, o->port, &call, &ns)) > 0) {
		int answer = 42;

		(void)weir_sleep(ctx, ns);
		weir_call_reply(call, 0, &answer);
	}
	weir_port_close(o->port);
	return 0;
}

static int ask(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct owner *o = arg;
	int64_t ns = WEIR_SEC(2);
	int answer, r;

	r = weir_port_call(ctx, o->port, &ns, &answer);
	return r < 0 ? r : weir_http_printf(ctx, x, "%d", answer);
}

static int late_client(const weir_ctx *ctx, void *arg)
{
	const char *url = arg;
	weir_http_client *c;
	weir_http_res res;
	char body[16];

	CHECK_EQ(weir_http_client_new(url, &c), 0);
	CHECK_EQ(weir_http_client_do(ctx, c, &(weir_http_req){ .method = "GET", .target = "/ask" },
	                             &res),
	         0);
	CHECK_EQ(res.status, 200);
	CHECK_EQ(weir_http_client_read_all(ctx, c, body, sizeof body), 2);
	CHECK_STR(body, "42");
	weir_http_client_free(c);
	return 0;
}

SIM(an_owner_outlives_the_requests_that_need_it, 50)
{
	struct running run;
	struct owner o;
	weir_group clients;

	CHECK_EQ(weir_port_new(&o.port, sizeof(int64_t), sizeof(int), 4), 0);
	start(ctx, &run, "mem:owner");
	CHECK_EQ(weir_server_service(run.server, "owner", own, &o, NULL), 0);
	CHECK_EQ(weir_http_route(weir_server_http(run.server), "GET /ask", ask, &o, NULL), 0);
	go(&run);
	weir_group_init(&clients, ctx);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	CHECK_EQ(weir_group_go(&clients, late_client, (void *)"mem:owner"), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_SEC(1)), 0);
	weir_group_drain(&run.group); /* The request waits for the owner now. */
	CHECK_EQ(weir_group_wait(&clients), 0);
	finish(&run);
	CHECK_EQ(run.result, 0);
	weir_port_free(o.port);
}

SIM(the_address_of_a_listener_is_told, 5)
{
	weir_server *s = weir_server_new(NULL);

	CHECK_EQ(weir_server_listen(s, "mem:told"), 0);
	CHECK_EQ(weir_server_listen(s, "nonsense"), -EINVAL);
	CHECK_EQ(weir_server_listen(s, "fd:x"), -EINVAL);
	CHECK_STR(weir_server_addr(s, 0), "mem:told");
	CHECK(weir_server_addr(s, 1) == NULL);
	weir_server_free(s);
}

TEST(sockets_meant_for_another_process_are_not_taken)
{
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "1", 1);
	CHECK_EQ(weir__notify_listen_fds(), 0);
	unsetenv("LISTEN_PID");
	CHECK_EQ(weir__notify_listen_fds(), 0);
}

TEST(a_service_manager_that_is_not_there_holds_up_nothing)
{
	unsetenv("NOTIFY_SOCKET");
	CHECK_EQ(weir__notify("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
	CHECK(weir__notify("READY=1") < 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	CHECK_EQ(weir__notify("READY=1"), -EINVAL);
}
