/* SPDX-License-Identifier: MIT */
/* White box: the numbers by which the line of puts knows what was confirmed. */
#include "queue/rabbit_put.c"
#include "../test.h"

static void hear_of(struct weir__rmq_line *l, uint64_t no)
{
	amqp_basic_ack_t ack = { .delivery_tag = no };
	amqp_frame_t f = { .payload.method = { .id = AMQP_BASIC_ACK_METHOD, .decoded = &ack } };

	CHECK_EQ(weir__rmq_puts.hear(l, &f), 0);
}

TEST(a_late_confirmation_is_not_taken_for_that_of_another_message)
{
	struct puts *p = calloc(1, sizeof *p);
	struct weir__rmq_op *op = weir__rmq_op_new(WEIR__RMQ_PUT, "q", 0);
	struct weir__rmq_line l = { .state = p };
	uint64_t no = WEIR__RMQ_WINDOW + 1; /* in the place of number 1, which was given up */
	int each = -ENOTCONN;

	weir__list_init(&p->waiting);
	weir__list_append(&p->waiting, &op->link);
	p->first = no;
	p->next = no + 1;
	op->each = &each;
	op->n = op->open = 1;
	*at(p, no) = (struct sent){ op, 0 };
	hear_of(&l, 1);
	CHECK(!op->ended);
	CHECK_EQ(each, -ENOTCONN);
	hear_of(&l, no);
	CHECK(op->ended);
	CHECK_EQ(each, 0);
	weir__rmq_op_unref(op);
	free(p);
}
