/* SPDX-License-Identifier: MIT */
#include <weir/weir.h>
struct part {
	int n;
};
struct job {
	char body[512];
};
struct user {
	char name[32];
};
extern weir_chan *jobs, *ticks;
extern weir_bus *bus;
extern weir_hub *hub;
extern weir_http_server *http;
extern weir_listener *l;
extern weir_http *x;
extern weir_grpc *stream;
static struct part part;
static struct job j;
static struct user u;
static uint64_t id;
static size_t n;
static int64_t d;
static int t;
static weir_group g, conns;
static weir_mutex m;
static weir_sem sem;
static weir_rate rate;
static weir_port *users;
static weir_call *call;
static weir_conn *c;
static weir_sub *sub;
static weir_msg msg;
weir_task_fn work, serve_conn;
weir_msg_fn on_order;
weir_http_fn get_user, report, events;
int run(const weir_ctx *ctx, struct job *j);
int tick(const weir_ctx *ctx);
int lookup(uint64_t id, struct user *ret);
