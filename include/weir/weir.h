/* SPDX-License-Identifier: MIT */
/* All of Weir. Each header is also fit to be included alone. */
#ifndef WEIR_H
#define WEIR_H

#include <weir/api.h>
#include <weir/time.h>
#include <weir/ctx.h>
#include <weir/task.h>
#include <weir/group.h>
#include <weir/offload.h>
#include <weir/process.h>
#include <weir/chan.h>
#include <weir/select.h>
#include <weir/port.h>
#include <weir/sync.h>
#include <weir/sim.h>
#include <weir/net.h>
#include <weir/tls.h>
#include <weir/http.h>
#include <weir/http_client.h>
#include <weir/sse.h>
#include <weir/grpc.h>
#include <weir/bus.h>
#include <weir/nats.h>
#include <weir/queue.h>
#include <weir/webhook.h>
#include <weir/server.h>

#endif
