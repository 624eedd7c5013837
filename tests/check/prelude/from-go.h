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
weir_task_fn work, serve_conn;
weir_msg_fn on_order;
int run(const weir_ctx *ctx, struct job *j);
int tick(const weir_ctx *ctx);
int lookup(uint64_t id, struct user *ret);
