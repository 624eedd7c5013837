/* SPDX-License-Identifier: MIT */
/* What the messaging subcommands share, whether they speak to a weir or to a NATS cluster. */
#ifndef WEIR_PROGRAM_BUS_CMDS_H
#define WEIR_PROGRAM_BUS_CMDS_H

#include "client.h"

enum { FOLLOW_END = 1 << 8 }; /* added to an exit status, to tell it from "go on" */

/* The answer to a request, into c->out. */
void print_answer(struct client *c, const void *data, size_t len);
/* A message as a line, into c->out; its subject only where somebody looks. 0 or -ENOMEM. */
int print_text(struct client *c, const char *subject, const void *data, size_t len);
/* Out with it. 0, or FOLLOW_END + an exit status, also when it was the last. */
int print_flush(const weir_ctx *ctx, struct client *c, bool last);

/* Hands a request to the tasks that run commands; waits while all are busy. 0 or -ENOMEM. */
struct replier;
int replier_ask(const weir_ctx *ctx, struct replier *p, const char *subject, const char *reply,
                const void *data, size_t len);

/* nats_cmds.c: with c->bus. */
client_fn nats_publish, nats_request, nats_subscribe;
int nats_reply(const weir_ctx *ctx, struct client *c, struct replier *p);

/* grpc_cmds.c: with c->grpc. open: 0 or -Exxx, in a task as close. */
int grpc_open(struct client *c);
void grpc_close(struct client *c);
client_fn grpc_enqueue, grpc_publish, grpc_request, grpc_subscribe;

#endif
