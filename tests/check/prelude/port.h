/* SPDX-License-Identifier: MIT */
extern weir_port *port;
extern weir_ctx soon;
static weir_call *call;
static uint64_t id;
static struct user {
	char name[32];
} user;
int lookup(uint64_t id, struct user *ret);
