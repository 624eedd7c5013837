/* SPDX-License-Identifier: MIT */
/*
 * grpc.health.v1. What is known lies in a list under one lock; watchers wait for its generation to
 * change. Drain needs no call of anybody: who asks while it goes on is told NOT_SERVING, and
 * watchers are told it as their last word.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <weir/grpc_protobuf.h>

#include "grpc/server.h"
#include "health.pb-c.h"
#include "sync/waiter.h"

enum { LIST_MAX = 100 };

typedef Grpc__Health__V1__HealthCheckRequest request;
typedef Grpc__Health__V1__HealthCheckResponse response;

enum {
	SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
	NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
	SERVICE_UNKNOWN = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN,
};

struct service {
	struct service *next;
	bool serving;
	char name[];
};

struct weir_grpc_health {
	weir__lock lock; /* guards all below */
	struct service *services;
	unsigned count;
	uint64_t generation;
	struct weir__list watchers;
};

static struct service *find(weir_grpc_health *h, const char *name)
{
	struct service *s = h->services;

	while (s && strcmp(s->name, name) != 0)
		s = s->next;
	return s;
}

static int status_of(const weir_ctx *ctx, weir_grpc_health *h, const char *name,
                     uint64_t *ret_generation)
{
	struct service *s;
	int status;

	weir__lock_acquire(&h->lock);
	s = find(h, name);
	status = !s ? SERVICE_UNKNOWN : s->serving ? SERVING : NOT_SERVING;
	*ret_generation = h->generation;
	weir__lock_release(&h->lock);
	return s && weir_ctx_draining(ctx) ? NOT_SERVING : status;
}

static int send_status(const weir_ctx *ctx, weir_grpc *call, int status)
{
	response out = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	out.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
	return weir_grpc_send_pb(ctx, call, &out);
}

static int check(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	uint64_t generation;
	request *in;
	int status, r;

	r = weir_grpc_recv_pb(ctx, call, grpc__health__v1__health_check_request, &in);
	if (r <= 0)
		return r;
	status = status_of(ctx, arg, in->service, &generation);
	if (status == SERVICE_UNKNOWN)
		return weir_grpc_fail(call, WEIR_GRPC_NOT_FOUND, "service %s is not known",
		                      in->service);
	return send_status(ctx, call, status);
}

static int changed(const weir_ctx *ctx, weir_grpc_health *h, uint64_t seen)
{
	int r = weir__wait_check(ctx);

	if (r < 0)
		return r;
	weir__lock_acquire(&h->lock);
	if (h->generation == seen)
		return weir__waiter_park(ctx, &h->watchers, &h->lock, NULL, "grpc health", h);
	weir__lock_release(&h->lock);
	return 0;
}

static int watch(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int last = -1, status, r;
	uint64_t seen;
	request *in;

	r = weir_grpc_recv_pb(ctx, call, grpc__health__v1__health_check_request, &in);
	if (r <= 0)
		return r;
	do {
		status = status_of(ctx, arg, in->service, &seen);
		r = status == last ? 0 : send_status(ctx, call, status);
		last = status;
		if (r == 0)
			r = changed(&live, arg, seen);
	} while (r == 0);
	if (r == -ESHUTDOWN && last == SERVING)
		(void)send_status(ctx, call, NOT_SERVING);
	return r;
}

static int list(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	Grpc__Health__V1__HealthListResponse out = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
	Grpc__Health__V1__HealthListResponse__StatusesEntry *entries, **at;
	Grpc__Health__V1__HealthListRequest *in;
	bool draining = weir_ctx_draining(ctx);
	weir_grpc_health *h = arg;
	response *values;
	size_t n = 0;
	int r;

	r = weir_grpc_recv_pb(ctx, call, grpc__health__v1__health_list_request, &in);
	if (r <= 0)
		return r;
	entries = weir_grpc_alloc(call, LIST_MAX * sizeof *entries);
	values = weir_grpc_alloc(call, LIST_MAX * sizeof *values);
	at = weir_grpc_alloc(call, LIST_MAX * sizeof *at);
	if (!entries || !values || !at)
		return -ENOMEM;
	/* Services are never taken away, so their names stay. */
	weir__lock_acquire(&h->lock);
	for (struct service *s = h->services; s && n < LIST_MAX; s = s->next, n++) {
		grpc__health__v1__health_check_response__init(&values[n]);
		grpc__health__v1__health_list_response__statuses_entry__init(&entries[n]);
		values[n].status =
			(Grpc__Health__V1__HealthCheckResponse__ServingStatus)(s->serving && !draining ?
		                                                                       SERVING :
		                                                                       NOT_SERVING);
		entries[n].key = s->name;
		entries[n].value = &values[n];
		at[n] = &entries[n];
	}
	r = h->count > LIST_MAX;
	weir__lock_release(&h->lock);
	if (r)
		return weir_grpc_fail(call, WEIR_GRPC_RESOURCE_EXHAUSTED,
		                      "there are more than %d services", LIST_MAX);
	out.n_statuses = n;
	out.statuses = at;
	return weir_grpc_send_pb(ctx, call, &out);
}

int weir_grpc_health_set(weir_grpc_health *h, const char *service, bool serving)
{
	struct weir__list won;
	struct service *s, *made;
	size_t n = strlen(service) + 1;

	made = malloc(sizeof *made + n);
	if (!made)
		return -ENOMEM;
	weir__list_init(&won);
	weir__lock_acquire(&h->lock);
	s = find(h, service);
	if (!s) {
		s = made;
		memcpy(s->name, service, n);
		s->next = h->services;
		h->services = s;
		h->count++;
		made = NULL;
	}
	s->serving = serving;
	h->generation++;
	weir__waiter_claim_all(&h->watchers, 0, false, &won);
	weir__lock_release(&h->lock);
	weir__waiter_wake_all(&won);
	free(made);
	return 0;
}

void weir__grpc_health_free(weir_grpc_health *h)
{
	struct service *s;

	if (!h)
		return;
	while ((s = h->services)) {
		h->services = s->next;
		free(s);
	}
	free(h);
}

int weir_grpc_health_add(weir_http_server *s, weir_grpc_health **ret)
{
	struct weir__grpc_server *g = weir__grpc_server(s);
	weir_grpc_health *h;
	int r;

	if (!g)
		return -ENOMEM;
	if (g->health) {
		*ret = g->health;
		return 0;
	}
	h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	weir__list_init(&h->watchers);
	g->health = h;
	r = weir_grpc_health_set(h, "", true);
	if (r == 0)
		r = weir_grpc_method(s, "/grpc.health.v1.Health/Check", check, h);
	if (r == 0)
		r = weir_grpc_method(s, "/grpc.health.v1.Health/Watch", watch, h);
	if (r == 0)
		r = weir_grpc_method(s, "/grpc.health.v1.Health/List", list, h);
	*ret = h;
	return r;
}
