/* SPDX-License-Identifier: MIT */
/*
 * A bus between the parts of a program, in process or over a NATS cluster: the same program,
 * another URL. Questions everyone has who wraps one:
 *
 *  - The program publishes and exits, and the handler never ran. Here subscribing returns once the
 *    subscription is live, and draining the bus delivers what has arrived and joins the handlers,
 *    so leaving is safe, without a sleep.
 *  - A receiver is to answer, but the message names no reply address. Its subscription names a
 *    subject for that case.
 *  - Several receivers answer one question. Their answers are gathered, so many or for so long.
 *
 *	$ ./example-bus                            # or: ./example-bus nats://127.0.0.1:4222
 *	price of a pen: 3 (asked and answered)
 *	price of a car: nobody sells that
 *	receipt: 3 (no reply address, but the subscription has one)
 *	offers for a bike: 2
 *	stock: 1 book
 *	mail: 1 book
 *	stock: 2 pens
 *	mail: 2 pens
 *	stock handled 2, mail handled 2
 */
#include <weir/bus.h>

#include <stdio.h>
#include <string.h>

struct counter {
	const char *name;
	int n;
};

/* A handler gets one message at a time, in a task of its own: it may wait, and needs no lock for
 * what only it uses. */
static int on_order(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	struct counter *c = arg;
	/* Slower than the publisher: messages wait in the subscription's queue. */
	int r = weir_sleep(ctx, WEIR_MS(5));

	if (r < 0)
		return r;
	printf("%s: %.*s\n", c->name, (int)m->len, (const char *)m->data);
	c->n++;
	return 0;
}

static int on_price(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	return weir_msg_reply(ctx, m, "3", 1);
}

static void ask(const weir_ctx *ctx, weir_bus *bus, const char *thing)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1));
	char subject[64];
	weir_msg answer;
	int r;

	snprintf(subject, sizeof subject, "price.%s", thing);
	r = weir_bus_request(&soon, bus, subject, NULL, 0, &answer);
	if (r == -ENETUNREACH) {
		printf("price of a %s: nobody sells that\n", thing);
	} else if (r < 0) {
		printf("price of a %s: %s\n", thing, strerror(-r));
	} else {
		printf("price of a %s: %.*s (asked and answered)\n", thing, (int)answer.len,
		       (const char *)answer.data);
		weir_msg_free(&answer);
	}
}

static int on_offer(const weir_ctx *ctx, const weir_msg *m, void *arg)
{
	(void)arg;
	return weir_msg_reply(ctx, m, "250", 3);
}

/* All who answer within a fifth of a second, eight at most. */
static void ask_all(const weir_ctx *ctx, weir_bus *bus)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(200));
	weir_msg ask = { .subject = "offers.bike" }, offers[8];
	int n = weir_bus_request_many(&soon, bus, &ask, offers, 8);

	printf("offers for a bike: %d\n", n);
	while (n > 0)
		weir_msg_free(&offers[--n]);
}

static int app(const weir_ctx *ctx, void *arg)
{
	struct counter stock = { "stock", 0 }, mail = { "mail", 0 };
	weir_sub_options with_address = { .ack_subject = "receipts" };
	weir_sub *sub, *receipts;
	const char *url = arg;
	weir_bus *bus;
	weir_msg m;
	int r;

	r = weir_bus_open(ctx, url, &bus);
	if (r < 0) {
		fprintf(stderr, "no bus at %s: %s\n", url, strerror(-r));
		return r;
	}
	/* Two subscriptions with a handler: live as soon as the call has returned. */
	r = weir_bus_subscribe(ctx, bus, "orders.*", on_order, &stock, &sub);
	if (r == 0)
		r = weir_bus_subscribe(ctx, bus, "orders.>", on_order, &mail, &sub);
	if (r == 0)
		r = weir_bus_publish(ctx, bus, "orders.new", "1 book", 6);
	if (r == 0)
		r = weir_bus_publish(ctx, bus, "orders.new", "2 pens", 6);
	/* A handler that answers. */
	if (r == 0)
		r = weir_bus_subscribe_with(ctx, bus, "price.pen", &with_address, on_price, NULL,
		                            &sub);
	for (int i = 0; i < 2 && r == 0; i++)
		r = weir_bus_subscribe(ctx, bus, "offers.*", on_offer, NULL, &sub);
	/* No handler: messages are taken one by one, and whoever follows also closes. */
	if (r == 0)
		r = weir_bus_follow(ctx, bus, "receipts", NULL, &receipts);
	if (r < 0)
		goto out;
	ask(ctx, bus, "pen");
	ask(ctx, bus, "car");
	r = weir_bus_publish(ctx, bus, "price.pen", NULL, 0);
	if (r == 0 && weir_sub_next(ctx, receipts, &m) > 0)
		printf("receipt: %.*s (no reply address, but the subscription has one)\n",
		       (int)m.len, (const char *)m.data);
	weir_sub_close(receipts);
	ask_all(ctx, bus);
out:
	/* The end: returns when every message above has been handled, and over a cluster when what
	 * was published has got there. Nothing sleeps and nothing is lost. */
	if (weir_bus_drain(ctx, bus) < 0)
		fputs("not everything was handed over\n", stderr);
	printf("stock handled %d, mail handled %d\n", stock.n, mail.n);
	return r;
}

int main(int argc, char **argv)
{
	return weir_main(app, argc > 1 ? argv[1] : "mem:");
}
