/* SPDX-License-Identifier: MIT */
/* The C client against Weir: nats_c SERVER,… basics | stay, as tests/clients/nats.cjs. */
#include <nats/nats.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVERS_MAX = 4, TIMEOUT_MS = 20000 };

static char *servers[SERVERS_MAX];
static int servers_n;

static void must(natsStatus s, const char *what)
{
	if (s == NATS_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(s));
	exit(1);
}
#define MUST(call) must((call), #call)

static void check(bool cond, const char *what)
{
	if (cond)
		return;
	fprintf(stderr, "not so: %s\n", what);
	exit(1);
}
#define CHECK(cond) check((cond), #cond)

static void say(const char *what, natsConnection *nc)
{
	char url[256] = "";

	if (nc)
		natsConnection_GetConnectedUrl(nc, url, sizeof url);
	printf("%s%s%s\n", what, nc ? " " : "", url);
	fflush(stdout);
}

static void disconnected(natsConnection *nc, void *arg)
{
	(void)nc;
	(void)arg;
	say("disconnected", NULL);
}

static void reconnected(natsConnection *nc, void *arg)
{
	(void)arg;
	say("reconnected", nc);
}

static void lame_duck(natsConnection *nc, void *arg)
{
	(void)nc;
	(void)arg;
	say("told to leave", NULL);
}

static natsConnection *dial(bool stay)
{
	natsOptions *o;
	natsConnection *nc;

	MUST(natsOptions_Create(&o));
	MUST(natsOptions_SetServers(o, (const char **)servers, servers_n));
	MUST(natsOptions_SetNoRandomize(o, true));
	MUST(natsOptions_SetReconnectWait(o, 50));
	MUST(natsOptions_SetMaxReconnect(o, 100000));
	if (stay) {
		MUST(natsOptions_SetDisconnectedCB(o, disconnected, NULL));
		MUST(natsOptions_SetReconnectedCB(o, reconnected, NULL));
		MUST(natsOptions_SetLameDuckModeCB(o, lame_duck, NULL));
	}
	MUST(natsConnection_Connect(&nc, o));
	natsOptions_Destroy(o);
	return nc;
}

static void square(natsConnection *nc, natsSubscription *sub, natsMsg *m, void *arg)
{
	char text[32];
	long n = atol(natsMsg_GetData(m));

	(void)sub;
	(void)arg;
	snprintf(text, sizeof text, "%ld", n * n);
	MUST(natsConnection_PublishString(nc, natsMsg_GetReply(m), text));
	natsMsg_Destroy(m);
}

static void publish_and_subscribe(natsConnection *nc, natsConnection *other)
{
	natsSubscription *sub;
	const char *value;
	natsMsg *m, *out;

	MUST(natsConnection_SubscribeSync(&sub, nc, "orders.*"));
	MUST(natsSubscription_AutoUnsubscribe(sub, 2));
	MUST(natsConnection_Flush(nc));
	MUST(natsMsg_Create(&out, "orders.new", NULL, "hello", 5));
	MUST(natsMsgHeader_Add(out, "Kind", "one"));
	MUST(natsConnection_PublishMsg(other, out));
	natsMsg_Destroy(out);
	MUST(natsConnection_PublishString(other, "orders.old", "bye"));
	MUST(natsConnection_PublishString(other, "orders.late", "no"));
	MUST(natsSubscription_NextMsg(&m, sub, TIMEOUT_MS));
	CHECK(!strcmp(natsMsg_GetSubject(m), "orders.new") && !strcmp(natsMsg_GetData(m), "hello"));
	MUST(natsMsgHeader_Get(m, "Kind", &value));
	CHECK(!strcmp(value, "one"));
	natsMsg_Destroy(m);
	MUST(natsSubscription_NextMsg(&m, sub, TIMEOUT_MS));
	CHECK(!strcmp(natsMsg_GetData(m), "bye"));
	natsMsg_Destroy(m);
	CHECK(natsSubscription_NextMsg(&m, sub, 50) == NATS_MAX_DELIVERED_MSGS);
	natsSubscription_Destroy(sub);
}

static void queue_group(natsConnection *nc, natsConnection *other)
{
	natsSubscription *member[2];
	natsConnection *of[] = { nc, other };
	bool seen[100] = { false };

	for (int i = 0; i < 2; i++) {
		MUST(natsConnection_QueueSubscribeSync(&member[i], of[i], "work", "crew"));
		MUST(natsConnection_Flush(of[i]));
	}
	for (int i = 0; i < 100; i++) {
		char text[8];

		snprintf(text, sizeof text, "%d", i);
		MUST(natsConnection_PublishString(nc, "work", text));
	}
	for (int i = 0; i < 2; i++) {
		natsMsg *m;

		MUST(natsConnection_Flush(nc));
		MUST(natsConnection_Flush(of[i]));
		while (natsSubscription_NextMsg(&m, member[i], 0) == NATS_OK) {
			int n = atoi(natsMsg_GetData(m));

			CHECK(n >= 0 && n < 100 && !seen[n]);
			seen[n] = true;
			natsMsg_Destroy(m);
		}
		natsSubscription_Destroy(member[i]);
	}
	for (int i = 0; i < 100; i++)
		CHECK(seen[i]);
}

static void requests(natsConnection *nc, natsConnection *other)
{
	natsSubscription *sub;
	natsMsg *m;

	MUST(natsConnection_Subscribe(&sub, other, "square", square, NULL));
	MUST(natsConnection_Flush(other));
	for (int i = 0; i < 200; i++) {
		char text[8];

		snprintf(text, sizeof text, "%d", i);
		MUST(natsConnection_RequestString(&m, nc, "square", text, TIMEOUT_MS));
		CHECK(atoi(natsMsg_GetData(m)) == i * i);
		natsMsg_Destroy(m);
	}
	CHECK(natsConnection_RequestString(&m, nc, "nobody", "", TIMEOUT_MS) == NATS_NO_RESPONDERS);
	natsSubscription_Destroy(sub);
}

static void count(natsConnection *nc, natsSubscription *sub, natsMsg *m, void *arg)
{
	(void)nc;
	(void)sub;
	++*(int *)arg;
	natsMsg_Destroy(m);
}

static void drain(natsConnection *nc, natsConnection *other)
{
	natsSubscription *sub;
	int handled = 0;

	MUST(natsConnection_Subscribe(&sub, other, "last", count, &handled));
	MUST(natsConnection_Flush(other));
	for (int i = 0; i < 1000; i++)
		MUST(natsConnection_PublishString(nc, "last", "x"));
	MUST(natsConnection_Flush(nc));
	MUST(natsSubscription_Drain(sub));
	MUST(natsSubscription_WaitForDrainCompletion(sub, TIMEOUT_MS));
	CHECK(handled == 1000);
	natsSubscription_Destroy(sub);
}

static void large(natsConnection *nc)
{
	int64_t max = natsConnection_GetMaxPayload(nc);
	char *body = calloc(1, (size_t)max + 1);
	natsSubscription *sub;
	natsMsg *m;

	CHECK(body);
	MUST(natsConnection_SubscribeSync(&sub, nc, "big"));
	MUST(natsConnection_Publish(nc, "big", body, (int)max));
	MUST(natsSubscription_NextMsg(&m, sub, TIMEOUT_MS));
	CHECK(natsMsg_GetDataLength(m) == max);
	CHECK(natsConnection_Publish(nc, "big", body, (int)max + 1) == NATS_MAX_PAYLOAD);
	natsMsg_Destroy(m);
	natsSubscription_Destroy(sub);
	free(body);
}

static void basics(void)
{
	natsConnection *nc = dial(false), *other = dial(false);

	publish_and_subscribe(nc, other);
	queue_group(nc, other);
	requests(nc, other);
	large(nc);
	drain(nc, other);
	natsConnection_Destroy(nc);
	natsConnection_Destroy(other);
	printf("basics ok\n");
}

static void stay(void)
{
	natsConnection *nc = dial(true);
	natsSubscription *sub;
	bool over = false;

	MUST(natsConnection_SubscribeSync(&sub, nc, "stay"));
	MUST(natsConnection_Flush(nc));
	say("connected", nc);
	while (!over) {
		natsMsg *m;
		natsStatus s = natsSubscription_NextMsg(&m, sub, TIMEOUT_MS);

		if (s != NATS_SLOW_CONSUMER) /* Its own, of too many messages that wait here. */
			must(s, "natsSubscription_NextMsg");
		if (s != NATS_OK)
			continue;
		over = !strcmp(natsMsg_GetData(m), "end");
		if (!over && natsMsg_GetDataLength(m) < 100) {
			printf("got %s\n", natsMsg_GetData(m));
			fflush(stdout);
		}
		natsMsg_Destroy(m);
	}
	MUST(natsConnection_Drain(nc));
	printf("drained\n");
	natsSubscription_Destroy(sub);
	natsConnection_Destroy(nc);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	for (char *s = strtok(argv[1], ","); s && servers_n < SERVERS_MAX; s = strtok(NULL, ","))
		servers[servers_n++] = s;
	if (!strcmp(argv[2], "basics"))
		basics();
	else
		stay();
	nats_Close();
	return 0;
}
